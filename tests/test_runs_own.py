"""Runs on a user's own posts, seeds that reach a server, and adapters that have seen the answers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from culturecare import CultureCareError, DataError, load_instances, read_instances
from culturecare_harness import runs
from culturecare_harness.adaptation.leakage import post_hash
from culturecare_harness.dataset import Selection, is_held_out, select_instances
from culturecare_harness.generate import Generation, ModelChoice, generate_replies
from culturecare_harness.runs import JudgeOptions, evaluate, load_replies, manifest_of, refuse_what_was_learnt
from tests.published_runs import RELEASED, make_release
from tests.servers import ChatServer, chat

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

POST = "The whole house is asleep and I am still counting what I should have said to my father."


class Silent:
    """A progress that nobody reads."""

    def say(self, sentence: str) -> None:
        """Takes it."""

    def advance(self, finished: int, total: int) -> None:
        """Takes it."""


@pytest.fixture
def server() -> Iterator[ChatServer]:
    server = ChatServer(lambda _: chat("I hear you."))
    yield server
    server.close()


def choice(server: ChatServer, **arguments: object) -> ModelChoice:
    address = {"base_url": f"{server.url}/chat/completions", "num_concurrent": 1, "max_retries": 1}
    return ModelChoice(name="m", backend="local-chat-completions", arguments={**address, **arguments}, batch_size=1)


def own_posts(path: Path, *, annotator: str | None = None) -> Selection:
    row = {
        "culture": "American",
        "post_id": "letter",
        "language": "en",
        **({} if annotator is None else {"annotator": annotator}),
        "post": {
            "text": POST,
            "emotional_distress": [{"phrase": "I am still counting", "intensity": "moderate"}],
            "cultural_signals": [],
            "demographic_info": {},
        },
        "response": {"emotional_support": [], "cultural_signals": [], "empathy_score": ""},
    }
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    return Selection(split="own", release=path)


def run(server: ChatServer, selection: Selection, folder: Path, *strategies: str, generation: Generation | None = None) -> tuple[str, ...]:
    """Makes a run without a judge, and returns the result's notes."""
    settings = generation or Generation()
    result, _ = evaluate(choice(server), strategies, selection, settings, None, folder, Silent(), JudgeOptions())
    return result.notes


def test_every_strategy_works_on_a_users_own_posts(server: ChatServer, tmp_path: Path) -> None:
    run(server, own_posts(tmp_path / "posts.jsonl"), tmp_path / "run", "standard", "cga")
    asked = [request["messages"][-1]["content"] for request in server.requests]
    assert all(POST in prompt for prompt in asked)
    assert "I am still counting" in asked[1].replace(POST, "")


def test_a_run_on_own_posts_can_be_read_where_their_file_is_gone(server: ChatServer, tmp_path: Path) -> None:
    selection = own_posts(tmp_path / "posts.jsonl")
    run(server, selection, tmp_path / "run", "standard")
    (tmp_path / "posts.jsonl").unlink()
    there = load_replies(tmp_path / "run", None, Silent())
    assert there.posts == {"american-letter": POST}
    assert [reply.split for reply in there.replies] == ["own"]


def test_replies_to_posts_that_changed_meanwhile_are_not_taken(server: ChatServer, tmp_path: Path) -> None:
    selection = own_posts(tmp_path / "posts.jsonl")
    run(server, selection, tmp_path / "run", "standard")
    replies = tmp_path / "run" / "replies.jsonl"
    reply = json.loads(replies.read_text(encoding="utf-8"))
    replies.write_text(json.dumps({**reply, "dataset_revision": "0" * 16}) + "\n", encoding="utf-8")
    for read in (lambda: load_replies(tmp_path / "run", None, Silent()), lambda: run(server, selection, tmp_path / "run", "standard")):
        with pytest.raises(CultureCareError, match=f"was made from revision {'0' * 16} of the posts"):
            read()


def test_posts_that_change_while_the_model_is_loaded_stop_the_run(
    server: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    selection = own_posts(tmp_path / "posts.jsonl")

    def generate(*arguments: Any) -> Any:
        own_posts(tmp_path / "posts.jsonl", annotator="marker-8b")
        return generate_replies(*arguments)

    monkeypatch.setattr(runs, "generate_replies", generate)
    with pytest.raises(CultureCareError, match="changed while the model was loaded; call it again"):
        run(server, selection, tmp_path / "run", "standard")
    assert not [path.name for path in (tmp_path / "run").iterdir()]


def test_a_result_says_that_a_model_annotated_where_its_annotations_were_shown(server: ChatServer, tmp_path: Path) -> None:
    selection = own_posts(tmp_path / "posts.jsonl", annotator="marker-8b")
    shown = " ".join(run(server, selection, tmp_path / "shown", "standard", "cga"))
    assert "marker-8b" in shown
    assert "cga" in shown
    assert "marker-8b" not in " ".join(run(server, selection, tmp_path / "hidden", "standard"))


def test_the_runs_seed_reaches_a_server(server: ChatServer, tmp_path: Path) -> None:
    run(server, own_posts(tmp_path / "posts.jsonl"), tmp_path / "run", "standard", generation=Generation(seed=77))
    assert [request["seed"] for request in server.requests] == [77]


def adapter(folder: Path, *learnt: str, posts: tuple[str, ...] = ()) -> str:
    folder.mkdir()
    (folder / "adaptation.json").write_text(json.dumps({"instance_ids": learnt, "post_hashes": posts, "training": {}}), encoding="utf-8")
    return str(folder)


def test_an_adapter_is_not_benchmarked_on_what_it_was_trained_on(server: ChatServer, tmp_path: Path) -> None:
    seen = load_instances("sample", "german")[0].id
    learner = choice(server, peft=adapter(tmp_path / "adapter", seen))
    selection = Selection(split="sample", cultures=("german",))
    with pytest.raises(CultureCareError, match=f"trained on 1 of these 8 instances, such as '{seen}'"):
        evaluate(learner, ["standard"], selection, Generation(), None, tmp_path / "run", Silent(), JudgeOptions())
    assert server.requests == []
    assert not (tmp_path / "run").exists()


def test_a_post_that_an_adapter_learnt_is_known_by_its_words_too(server: ChatServer, tmp_path: Path) -> None:
    selection = own_posts(tmp_path / "posts.jsonl")
    learner = choice(server, peft=adapter(tmp_path / "adapter", "own-17", posts=(post_hash(f"  {POST.upper()}"),)))
    with pytest.raises(CultureCareError, match="trained on 1 of these 1 instances"):
        evaluate(learner, ["standard"], selection, Generation(), None, tmp_path / "run", Silent(), JudgeOptions())


def test_an_adapter_that_learnt_another_post_of_the_same_id_may_be_benchmarked(server: ChatServer, tmp_path: Path) -> None:
    learner = choice(server, peft=adapter(tmp_path / "adapter", "american-letter", posts=(post_hash("Another letter."),)))
    refuse_what_was_learnt(learner, select_instances(own_posts(tmp_path / "posts.jsonl")))


def test_an_adapter_is_known_whatever_loads_it(tmp_path: Path) -> None:
    [german, *_] = load_instances("sample", "german")
    learnt = adapter(tmp_path / "adapter", german.id)
    for backend, argument in (("hf", "peft"), ("vllm", "lora_local_path")):
        learner = ModelChoice(name="org/base", backend=backend).with_adapter(learnt)
        assert learner.arguments == {argument: learnt}
        assert (learner.shown_name, learner.model.arguments) == ("org/base+adapter", {argument: "adapter"})
        assert learner.base == ModelChoice(name="org/base", backend=backend)
        with pytest.raises(CultureCareError, match="was trained on 1 of these 1 instances"):
            refuse_what_was_learnt(learner, [german])
    with pytest.raises(CultureCareError, match="loads none: have its server load it, or use back end hf or vllm"):
        ModelChoice(name="m", backend="local-chat-completions").with_adapter(learnt)


def test_a_result_says_that_an_adapter_may_have_another_revision_of_its_base(tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    base = ModelChoice(name="org/base")
    record = {
        "instance_ids": [],
        "post_hashes": [],
        "training": {"model": "org/base", "model_identity": base.identity, "revision": "abc123"},
    }
    (folder / "adaptation.json").write_text(json.dumps(record), encoding="utf-8")

    def notes(**arguments: str) -> tuple[str, ...]:
        learner = base.model_copy(update={"arguments": arguments}).with_adapter(str(folder))
        return manifest_of(learner, ["standard"], Selection(cultures=("german",)), Generation()).notes

    assert notes(revision="abc123") == ()
    assert "perhaps on another base" in " ".join(notes())


def test_a_result_says_that_nothing_is_known_of_what_an_adapter_learnt(tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    [note] = manifest_of(
        ModelChoice(name="m", arguments={"peft": str(folder)}), ["standard"], Selection(cultures=("german",)), Generation()
    ).notes
    assert "no record of what it was trained on" in note


def test_the_held_out_half_of_the_released_posts_can_be_chosen(tmp_path: Path) -> None:
    release = make_release(tmp_path / "release", dict.fromkeys(RELEASED, 12))
    chosen = select_instances(Selection(split="test", release=release, held_out=True))
    assert 0 < len(chosen) < 48
    assert all(is_held_out(instance.id) for instance in chosen)
    with pytest.raises(CultureCareError, match="held out is one half of split 'test'"):
        select_instances(Selection(split="sample", held_out=True))


def test_a_run_on_the_held_out_half_asks_about_its_posts_alone(server: ChatServer, tmp_path: Path) -> None:
    release = make_release(tmp_path / "release", dict.fromkeys(RELEASED, 6))
    selection = Selection(split="test", release=release, held_out=True)
    notes = run(server, selection, tmp_path / "run", "standard")
    assert {reply.instance_id for reply in load_replies(tmp_path / "run", release, Silent()).replies} == {
        instance.id for instance in select_instances(selection)
    }
    assert len(server.requests) == len(select_instances(selection))
    assert "On the half of split 'test' that is never trained on." in notes


def test_a_file_of_own_posts_that_changed_is_read_again(tmp_path: Path) -> None:
    selection = own_posts(tmp_path / "posts.jsonl")
    assert [instance.annotator for instance in select_instances(selection)] == [None]
    own_posts(tmp_path / "posts.jsonl", annotator="marker-8b")
    assert [instance.annotator for instance in select_instances(selection)] == ["marker-8b"]


def test_scores_of_an_adapter_on_split_train_are_said_to_be_no_benchmark(tmp_path: Path) -> None:
    learner = ModelChoice(name="m", arguments={"peft": adapter(tmp_path / "adapter", "synthetic-german-09")})
    notes = manifest_of(learner, ["standard"], Selection(split="train", cultures=("german",)), Generation()).notes
    assert "its scores on them are no benchmark" in " ".join(notes)


@pytest.mark.parametrize("name", ["American", "american", "AMERICAN"])
def test_a_culture_may_be_named_as_on_the_command_line(tmp_path: Path, name: str) -> None:
    own_posts(tmp_path / "posts.jsonl")
    row = json.loads((tmp_path / "posts.jsonl").read_text(encoding="utf-8"))
    (tmp_path / "posts.jsonl").write_text(json.dumps({**row, "culture": name}), encoding="utf-8")
    [instance] = load_instances("own", None, tmp_path / "posts.jsonl")
    assert instance.culture == "american"


def test_what_is_no_object_is_said_without_a_name_of_this_projects_classes(tmp_path: Path) -> None:
    own_posts(tmp_path / "posts.jsonl")
    row = json.loads((tmp_path / "posts.jsonl").read_text(encoding="utf-8"))
    (tmp_path / "posts.jsonl").write_text(json.dumps({**row, "response": None}), encoding="utf-8")
    with pytest.raises(DataError, match=r"posts\.jsonl:1: response: must be an object, not None"):
        load_instances("own", None, tmp_path / "posts.jsonl")


def test_what_an_adapter_has_not_seen_it_is_benchmarked_on(tmp_path: Path) -> None:
    selection = Selection(split="sample", cultures=("german",), per_culture=1)
    learner = ModelChoice(name=str(tmp_path / "base"), arguments={"peft": adapter(tmp_path / "adapter", "another-post")})
    # It is let through to the loading of the model, which is not there.
    with pytest.raises(CultureCareError, match="there is no such folder"):
        evaluate(learner, ["standard"], selection, Generation(), None, tmp_path / "run", Silent(), JudgeOptions())


def test_own_posts_may_be_trained_on_where_their_file_says_so_and_names_a_licence(tmp_path: Path) -> None:
    path = tmp_path / "posts.jsonl"
    own_posts(path)
    row = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**row, "training": "allowed", "licence": "CC-BY-4.0"}), encoding="utf-8")
    [instance] = load_instances("own", None, path)
    assert (instance.training, instance.licence) == ("allowed", "CC-BY-4.0")
    path.write_text(json.dumps(row), encoding="utf-8")
    [instance] = load_instances("own", None, path)
    assert instance.training == "forbidden"


def test_training_is_not_allowed_without_a_licence_or_on_another_split(tmp_path: Path) -> None:
    path = tmp_path / "American_data.jsonl"
    own_posts(path)
    row = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**row, "training": "allowed"}), encoding="utf-8")
    with pytest.raises(DataError, match="no licence is named"):
        load_instances("own", None, path)
    path.write_text(json.dumps({**row, "training": "allowed", "licence": "mine"}), encoding="utf-8")
    with pytest.raises(DataError, match="is never allowed on split 'test'"):
        list(read_instances(path, "test"))
