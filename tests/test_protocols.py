"""Protocols: what is pinned is what the package has; whoever changes a prompt must make a new protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from culturecare import CultureCareError, dataset_revision
from culturecare_harness.dataset import Selection, select_instances
from culturecare_harness.generate import Generation
from culturecare_harness.judges import select_judge
from culturecare_harness.protocols import Posts, Protocol, followed, protocols, select_protocol, settings_fit
from culturecare_harness.rubrics import select_rubric
from culturecare_harness.scoring import build_result
from culturecare_harness.strategies import strategies
from tests.bundles import make_run

if TYPE_CHECKING:
    from pathlib import Path

    from culturecare_harness.records import Dataset, Reply

CURRENT = [protocol for protocol in protocols().values() if protocol.status == "current"]
OPEN = [protocol for protocol in CURRENT if protocol.posts.split != "test"]
RELEASED = [protocol for protocol in CURRENT if protocol.posts.split == "test"]
NEW_FILE = "it moves scores, so it is a new protocol: a new file, and the old one is retired"


def named(protocol: Protocol) -> str:
    return protocol.name


# --- What is pinned --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", CURRENT, ids=named)
def test_prompts_are_those_of_the_package(protocol: Protocol) -> None:
    assert {name: strategies()[name].hash for name in protocol.strategies} == protocol.strategies, NEW_FILE


@pytest.mark.parametrize("protocol", CURRENT, ids=named)
def test_judges_and_rubric_are_those_of_the_package(protocol: Protocol) -> None:
    for judge in protocol.judges:
        assert select_judge(judge.name).judge == judge, NEW_FILE
        assert select_rubric(judge.rubric).hash == judge.prompt_hash, NEW_FILE


def check_posts(protocol: Protocol, release: Path | None) -> None:
    posts = protocol.posts
    assert dataset_revision(posts.split, release) == posts.revision, NEW_FILE
    chosen = select_instances(
        Selection(
            split=posts.split,
            release=release,
            cultures=tuple(posts.cultures),
            text="excerpt" if posts.excerpt else "full",
            per_culture=posts.per_culture,
        )
    )
    assert {key: sum(instance.culture == key for instance in chosen) for key in posts.cultures} == posts.cultures
    assert Posts.fingerprint((instance.culture, instance.id) for instance in chosen) == posts.instances


@pytest.mark.parametrize("protocol", OPEN, ids=named)
def test_posts_are_those_of_the_package(protocol: Protocol) -> None:
    check_posts(protocol, None)


@pytest.mark.parametrize("protocol", RELEASED, ids=named)
def test_posts_are_those_of_the_release(protocol: Protocol, release: Path) -> None:
    check_posts(protocol, release)


@pytest.mark.parametrize("protocol", CURRENT, ids=named)
def test_settings_of_generation_are_settings_that_a_run_can_have(protocol: Protocol) -> None:
    settings = Generation.model_validate(protocol.generation)
    assert settings_fit(protocol, settings.model_dump())


def test_those_that_measure_come_first() -> None:
    assert list(protocols()) == ["v1", "sample-v1", "demo"]
    assert [protocol.measure for protocol in protocols().values()] == [True, True, False]


def test_the_demos_judge_is_one_that_measures_nothing() -> None:
    for protocol in CURRENT:
        assert all(select_judge(judge.name).measure == protocol.measure for judge in protocol.judges)


# --- What its fingerprint is of --------------------------------------------------------------------------------------------------


DEMO = select_protocol("demo")


@pytest.mark.parametrize(
    "change",
    [
        {"strategies": DEMO.strategies | {"standard": "0" * 16}},
        {"generation": DEMO.generation | {"seed": 1}},
        {"coverage_floor": 0.5},
        {"withheld_ceiling": 0.5},
        {"posts": DEMO.posts.model_copy(update={"revision": "0" * 16})},
        {"required": ("cga",)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_moves_a_score_or_its_acceptance_changes_the_fingerprint(change: dict[str, Any]) -> None:
    assert DEMO.model_copy(update=change).hash != DEMO.hash


def test_what_moves_none_does_not() -> None:
    retired = {"status": "retired", "retired_because": "its judge is gone", "retired_on": "2026-05-01", "title": "Once"}
    assert DEMO.model_copy(update=retired).hash == DEMO.hash


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"judge": None}, "either a judge or a jury"),
        ({"status": "retired"}, "retired_because"),
        ({"retired_because": "x"}, "retired_because"),
        ({"retired_on": "2026-05-01"}, "retired_on"),
        ({"status": "retired", "retired_because": "x"}, "retired_on say why and when"),
        ({"required": ["magic"]}, "'magic' is not among the strategies"),
        ({"name": "../x"}, "name"),
        ({"extra": 1}, "extra"),
    ],
    ids=str,
)
def test_a_protocol_that_contradicts_itself_is_none(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        Protocol.model_validate(DEMO.model_dump() | change)


def test_an_unknown_name_says_which_are_known() -> None:
    with pytest.raises(CultureCareError, match="unknown protocol 'v0': choose from v1, sample-v1, demo"):
        select_protocol("v0")


# --- What a run followed ---------------------------------------------------------------------------------------------------------


REPLIES, VERDICTS = make_run("example/listener", strategies=("standard",))


def dataset() -> Dataset:
    from culturecare_harness.records import Dataset

    posts = DEMO.posts
    return Dataset(split=posts.split, revision=posts.revision, cultures=tuple(posts.cultures), excerpt=posts.excerpt, instances=14)


def follows(
    *,
    replies: list[Reply] | None = None,
    prompts: dict[str, str] | None = None,
    judges: Any = DEMO.judges,
    **of_dataset: Any,
) -> str | None:
    given = {"standard": DEMO.strategies["standard"]} if prompts is None else prompts
    return followed(dataset().model_copy(update=of_dataset), REPLIES if replies is None else replies, given, judges)


def test_a_run_follows_the_protocol_whose_every_part_it_has() -> None:
    assert follows() == "demo"
    assert follows(prompts={name: DEMO.strategies[name] for name in ("standard", "cga")}) == "demo"


def with_settings(**settings: Any) -> list[Reply]:
    return [reply.model_copy(update={"generation": reply.generation | settings}) for reply in REPLIES]


@pytest.mark.parametrize(
    "change",
    [
        {"replies": REPLIES[1:]},
        {"replies": with_settings(temperature=0.0)},
        {"prompts": {"standard": "0" * 16}},
        {"prompts": {"cga": DEMO.strategies["cga"]}},
        {"prompts": {"standard": DEMO.strategies["standard"], "mine": "0" * 16}},
        {"judges": ()},
        {"judges": select_protocol("v1").judges},
        {"judges": (*DEMO.judges, *DEMO.judges)},
        {"revision": "0" * 16},
        {"split": "train"},
        {"excerpt": True},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_run_that_differs_in_anything_follows_none(change: dict[str, Any]) -> None:
    assert follows(**change) is None


def test_a_result_says_which_protocol_was_followed() -> None:
    from culturecare_harness.records import Model

    silent = [reply.model_copy(update={"language": None}) for reply in REPLIES]
    model = Model(name="example/listener", backend="hf", arguments={})
    assert build_result(silent, VERDICTS, select_judge("smollm2"), model).protocol == "demo"
    assert build_result(silent, None, None, model).protocol is None
