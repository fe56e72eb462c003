"""Strategies: what each prompt says, and what it must not say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import culturecare
from culturecare import CultureCareError, DistressSpan, Instance, SignalSpan, cultures
from culturecare_harness.strategies import Strategy, render, select_strategies, strategies
from culturecare_harness.templates import fill

if TYPE_CHECKING:
    from culturecare_harness.records import Prompt

NAMES = ("standard", "annotation", "culture", "guided", "cga")
NAMES_OF_CULTURES = re.compile(
    "|".join(sorted({word for culture in cultures().values() for word in (culture.name, culture.demonym)})), re.IGNORECASE
)


def prompt(name: str, instance: Instance) -> Prompt:
    return render(strategies()[name], instance)


def with_post(instance: Instance, **fields: object) -> Instance:
    return instance.model_copy(update={"post": instance.post.model_copy(update=fields)})


@pytest.fixture
def excerpt(sample: list[Instance]) -> Instance:
    spans = {"emotional_distress": (DistressSpan(phrase="third", label="high"), DistressSpan(phrase="first", label=None))}
    return with_post(sample[0], text=None, **spans, cultural_signals=(SignalSpan(phrase="second", label=None),))


def test_there_are_a_baseline_and_four_adaptations() -> None:
    assert tuple(strategies()) == NAMES
    assert all(strategy.name == name and strategy.summary for name, strategy in strategies().items())


@pytest.mark.parametrize("name", NAMES)
def test_every_strategy_renders_for_every_sample_in_the_posts_language_and_without_leftovers(name: str, sample: list[Instance]) -> None:
    for instance in sample:
        made = prompt(name, instance)
        assert (made.instance_id, made.culture, made.language, made.strategy) == (instance.id, instance.culture, instance.language, name)
        assert instance.post_text.strip() in made.user
        assert not re.search(r"\{\{|\}\}|\{%|\bNone\b|Undefined", made.system + made.user.replace(instance.post_text, ""))
        assert "Write in the language of the post." in made.system
        assert "the reply and nothing else" in made.system


@pytest.mark.parametrize("name", ["standard", "guided", "annotation"])
def test_strategies_without_a_role_name_no_culture(name: str, sample: list[Instance]) -> None:
    for instance in sample:
        made = prompt(name, instance)
        rest = made.user.replace(instance.post_text.strip(), "")
        for span in (*instance.post.emotional_distress, *instance.post.cultural_signals):
            rest = rest.replace(f'"{span.phrase}"', "")
        assert NAMES_OF_CULTURES.findall(made.system + rest) == []


@pytest.mark.parametrize("name", ["standard", "guided", "annotation"])
def test_without_a_role_the_system_message_is_the_same_for_every_culture(name: str, sample: list[Instance]) -> None:
    assert len({prompt(name, instance).system for instance in sample}) == 1


@pytest.mark.parametrize("name", ["culture", "cga"])
def test_role_play_names_the_authors_culture_and_no_other(name: str, sample: list[Instance]) -> None:
    for instance in sample:
        demonym = cultures()[instance.culture].demonym
        article = "an" if demonym in {"American", "Arab", "Indian"} else "a"
        made = prompt(name, instance)
        assert made.system.startswith(f"You are {article} {demonym} Reddit user.")
        assert set(NAMES_OF_CULTURES.findall(made.system)) == {demonym}


@pytest.mark.parametrize(("name", "number"), [("standard", 0), ("culture", 0), ("guided", 7), ("annotation", 0), ("cga", 4)])
def test_principles_are_numbered_and_as_many_as_in_the_paper(name: str, number: int, sample: list[Instance]) -> None:
    strategy = strategies()[name]
    listed = re.findall(r"^(\d)\. (.+)$", prompt(name, sample[0]).system, re.MULTILINE)
    assert listed == [(str(position), principle) for position, principle in enumerate(strategy.principles, 1)]
    assert len(set(strategy.principles)) == number


def test_cga_takes_its_principles_from_guided() -> None:
    guided = strategies()["guided"].principles
    assert strategies()["cga"].principles == guided[2:6]


@pytest.mark.parametrize("name", ["annotation", "cga"])
def test_annotation_defines_the_labels_and_lists_every_span_with_its_own(name: str, sample: list[Instance]) -> None:
    for instance in sample:
        made = prompt(name, instance)
        for label, definition in (*culturecare.INTENSITY_DEFINITIONS.items(), *culturecare.SIGNAL_TYPE_DEFINITIONS.items()):
            assert f"- {label}: {definition}\n" in made.system
        _, distress, signals = re.split(r"Marked as .+:\n", made.user)
        assert distress.strip() == "\n".join(f'- "{span.phrase}" ({span.label})' for span in instance.post.emotional_distress)
        assert signals.removesuffix("Your reply:").strip() == "\n".join(
            f'- "{span.phrase}" ({span.label})' for span in instance.post.cultural_signals
        )


@pytest.mark.parametrize("name", ["standard", "culture", "guided"])
def test_strategies_without_annotation_say_nothing_of_labels(name: str, sample: list[Instance]) -> None:
    assert all("Marked as" not in prompt(name, instance).user for instance in sample)


def test_a_span_without_a_label_says_so_and_a_post_without_spans_too(excerpt: Instance) -> None:
    made = prompt("annotation", excerpt)
    assert '- "first" (intensity not given)' in made.user
    assert '- "second" (type not given)' in made.user
    bare = prompt("annotation", with_post(excerpt, text="A post.", emotional_distress=(), cultural_signals=()))
    assert bare.user.count("- nothing was marked") == 2


@pytest.mark.parametrize("name", NAMES)
def test_an_excerpt_says_so_and_lists_its_phrases_in_order(name: str, excerpt: Instance, sample: list[Instance]) -> None:
    made = prompt(name, excerpt)
    assert made.excerpt
    assert made.user.startswith("The post is known in part only.")
    assert "\n\nthird\nfirst\nsecond\n\n" in made.user
    assert not prompt(name, sample[0]).excerpt
    assert "in part" not in prompt(name, sample[0]).user.replace(sample[0].post_text, "")


@pytest.mark.parametrize("field", ["system", "user"])
def test_the_hash_changes_with_the_wording(field: str) -> None:
    for strategy in strategies().values():
        changed = strategy.model_copy(update={field: getattr(strategy, field) + "Please."})
        assert changed.hash != strategy.hash


def test_the_hash_changes_with_a_principle_a_definition_and_the_version(monkeypatch: pytest.MonkeyPatch) -> None:
    guided = strategies()["guided"]
    assert guided.model_copy(update={"principles": guided.principles[::-1]}).hash != guided.hash
    assert guided.model_copy(update={"version": 2}).hash != guided.hash
    before = strategies()["annotation"].hash
    monkeypatch.setattr(culturecare, "INTENSITY_DEFINITIONS", {**culturecare.INTENSITY_DEFINITIONS, "high": "another"})
    assert strategies()["annotation"].hash != before


def test_the_hash_is_the_same_in_every_process_and_told_apart_between_strategies(sample: list[Instance]) -> None:
    code = "from culturecare_harness.strategies import strategies; print(*(s.hash for s in strategies().values()))"
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    printed = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True).stdout.split()
    assert printed == [strategy.hash for strategy in strategies().values()]
    assert len(set(printed)) == len(NAMES)
    assert prompt("guided", sample[0]).prompt_hash == strategies()["guided"].hash


@pytest.mark.parametrize("name", NAMES)
def test_what_looks_like_jinja_in_a_post_stays_text(name: str, sample: list[Instance]) -> None:
    text = "{{ demonym }} {% for x in y %} {# note #} <b>&amp;</b>"
    assert text in prompt(name, with_post(sample[0], text=text)).user


@pytest.mark.parametrize("template", ["{{ nobody }}", "{% if %}", "{{ post.__class__.__mro__ }}"], ids=["undefined", "no Jinja", "Python"])
def test_a_template_that_cannot_be_rendered_is_refused(template: str) -> None:
    with pytest.raises(CultureCareError, match="cannot be rendered"):
        fill(template, post="x")


def test_names_choose_strategies_in_the_order_given() -> None:
    assert [strategy.name for strategy in select_strategies("cga, standard,cga")] == ["cga", "standard"]
    assert [strategy.name for strategy in select_strategies(["all"])] == list(NAMES)


@pytest.mark.parametrize(("names", "words"), [("kind", "unknown strategy 'kind'.*standard.*cga"), ("", "no strategy"), ([], "no strategy")])
def test_a_choice_that_cannot_be_met_is_refused(names: str | list[str], words: str) -> None:
    with pytest.raises(CultureCareError, match=words):
        select_strategies(names)


def test_a_strategy_has_no_further_fields() -> None:
    with pytest.raises(ValueError, match="mood"):
        Strategy.model_validate({**strategies()["standard"].model_dump(), "mood": "kind"})
