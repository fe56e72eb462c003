"""Annotating: what is asked, what is read from an answer, what a killed or changed call leaves, and strategies on what comes out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st

import culturecare
from culturecare import CultureCareError, DataError, Instance, load_instances
from culturecare_harness.annotation import prompts
from culturecare_harness.annotation.answers import read_answer
from culturecare_harness.annotation.posts import OwnPost, annotator_note, read_posts, released_row, write_rows
from culturecare_harness.annotation.prompts import answer_schema, pack, render
from culturecare_harness.annotation.stage import GENERATION, Answer, annotate
from culturecare_harness.dataset import Selection, select_instances
from culturecare_harness.generate import CHUNK, Generation, ModelChoice, generate_replies
from culturecare_harness.lm_eval_hooks import support_docs
from culturecare_harness.records import read_records
from culturecare_harness.scoring import build_result
from culturecare_harness.strategies import render as render_strategy
from culturecare_harness.strategies import strategies
from tests.servers import ChatServer, chat, error, llama_server

if TYPE_CHECKING:
    from collections.abc import Sequence

TEXT = "I am so tired of it. Before the feast my mother asked again, and I said nothing."
POST = OwnPost(id="p1", culture="arabic", text=TEXT, language="en")
SAMPLE = load_instances("sample")


def answer(*distress: tuple[str, object], signals: Sequence[tuple[str, object]] = ()) -> str:
    return json.dumps(
        {
            "emotional_distress": [{"phrase": phrase, "intensity": label} for phrase, label in distress],
            "cultural_signals": [{"phrase": phrase, "type": label} for phrase, label in signals],
        }
    )


WHOLE = answer(("so tired of it", "high"), signals=[("Before the feast", "Norms and Morals")])


def posts_of(number: int) -> list[OwnPost]:
    return [OwnPost(id=f"p{index}", culture="german", text=f"Post number {index}: {TEXT}") for index in range(number)]


def behind(server: ChatServer, **arguments: object) -> ModelChoice:
    return ModelChoice(
        name="scripted",
        backend="local-chat-completions",
        arguments={"base_url": f"{server.url}/chat/completions", "max_retries": 1, **arguments},
        batch_size=1,
    )


# --- The request -------------------------------------------------------------------------------------------------------------------


def test_the_request_defines_every_label_and_holds_the_post_as_it_is() -> None:
    system, user = render("japanese", "It's {{ not }} Jinja.")
    for label, definition in (*culturecare.INTENSITY_DEFINITIONS.items(), *culturecare.SIGNAL_TYPE_DEFINITIONS.items()):
        assert f"- {label}: {definition}" in system
    assert "word for word" in system
    assert "It's {{ not }} Jinja." in user
    assert "Japanese" in user


def test_the_shape_that_the_request_shows_is_that_of_the_schema() -> None:
    shown = json.loads(pack().system[pack().system.index('{"emotional_distress"') :])
    for kind, spans in answer_schema()["properties"].items():
        assert list(shown[kind][0]) == spans["items"]["required"]


@pytest.mark.parametrize("instance", SAMPLE, ids=lambda instance: instance.id)
def test_every_annotation_by_people_fits_the_schema(instance: Instance) -> None:
    post = instance.post
    written = answer(
        *((span.phrase, span.label) for span in post.emotional_distress),
        signals=[(span.phrase, span.label) for span in post.cultural_signals],
    )
    jsonschema.validate(json.loads(written), answer_schema())
    reading = read_answer(written, instance.post_text)
    assert reading.emotional_distress == post.emotional_distress
    assert reading.cultural_signals == post.cultural_signals
    assert reading.dropped == {}


@pytest.mark.parametrize("wrong", [answer(("x", "huge")), answer(("x", None)), '{"emotional_distress": []}'])
def test_what_a_server_must_not_let_pass_does_not_fit_the_schema(wrong: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(json.loads(wrong), answer_schema())


# --- Reading an answer -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [
        WHOLE,
        f"```json\n{WHOLE}\n```",
        f"Here it is:\n{WHOLE}\nI hope {{that}} helps.",
        f'<think>{{"emotional_distress": [], "cultural_signals": []}} is too little.</think>{WHOLE}',
        f'{{"note": 1}} {WHOLE}',
        json.dumps(json.loads(WHOLE), indent=2),
    ],
    ids=["alone", "fenced", "in a sentence", "after a thought", "behind another object", "over lines"],
)
def test_the_annotation_is_found_in_whatever_stands_around_it(said: str) -> None:
    reading = read_answer(said, TEXT)
    assert reading.reason is None
    assert [(span.phrase, span.label, span.start) for span in reading.emotional_distress] == [("so tired of it", "high", 5)]
    assert [(span.phrase, span.label) for span in reading.cultural_signals] == [("Before the feast", "Norms and Morals")]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("", "empty"),
        ("<think>hm</think> ", "empty"),
        ("I am sorry to hear that.", "no JSON object"),
        ("{so tired}", "no JSON object"),
        (WHOLE[:60], "unfinished"),
        (WHOLE[:-1], "unfinished"),
        ('{"emotional_distress": []}', "another shape"),
        ('{"emotional_distress": {}, "cultural_signals": []}', "another shape"),
        ("[" * 100_000, "no JSON object"),
        ('{"a":' * 100_000, "no JSON object"),
    ],
    ids=["nothing", "a thought alone", "prose", "no JSON", "cut", "cut at the end", "half", "no lists", "deep lists", "deep objects"],
)
def test_an_answer_that_is_no_annotation_says_why_and_marks_nothing(said: str, reason: str) -> None:
    reading = read_answer(said, TEXT)
    assert reading.reason == reason
    assert not reading.emotional_distress
    assert not reading.cultural_signals


EXAMPLE = json.dumps(
    {"emotional_distress": [{"phrase": "...", "intensity": "low"}], "cultural_signals": [{"phrase": "...", "type": "Values"}]}
)


@pytest.mark.parametrize(
    "said",
    [f"The shape is {EXAMPLE}, so:\n{WHOLE}", f"{answer()}\nOn second thought:\n{WHOLE}", f"{WHOLE}\nThis has the shape of {EXAMPLE}."],
    ids=["the prompt's example first", "an empty draft first", "the prompt's example last"],
)
def test_of_several_objects_the_answer_is_the_last_that_is_about_the_post(said: str) -> None:
    assert read_answer(said, TEXT) == read_answer(WHOLE, TEXT)


def test_an_annotation_of_nothing_is_an_annotation() -> None:
    assert read_answer(answer(), TEXT).reason is None


def test_what_is_not_kept_is_counted() -> None:
    said = json.dumps(
        {
            "emotional_distress": [
                {"phrase": "so tired of it", "intensity": "HIGH"},
                {"phrase": "So  tired of it", "intensity": "light"},
                {"phrase": "utterly exhausted", "intensity": "high"},
                {"phrase": "I said nothing", "intensity": "unbearable"},
                {"phrase": "my mother asked again", "intensity": None},
                {"phrase": "no label"},
                "no object",
            ],
            "cultural_signals": [{"phrase": "so tired of it", "type": "Concepts"}, {"phrase": 7, "type": "Values"}],
        }
    )
    reading = read_answer(said, TEXT)
    assert [(span.phrase, span.label) for span in reading.emotional_distress] == [
        ("so tired of it", "high"),
        ("my mother asked again", None),
    ]
    assert [span.phrase for span in reading.cultural_signals] == ["so tired of it"]
    assert (reading.phrases, reading.located) == (6, 5)
    assert reading.dropped == {"repeated": 1, "not located": 1, "unknown label": 1, "malformed": 3}


@given(st.text())
def test_no_answer_stops_the_reading(said: str) -> None:
    read_answer(said, TEXT)
    read_answer(answer((said, said), signals=[(said, said)]), TEXT)


@given(data=st.data(), instance=st.sampled_from(SAMPLE))
def test_spans_come_back_from_the_file_as_they_were_read(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, instance: Instance
) -> None:
    text = instance.post_text
    cuts = data.draw(st.lists(st.tuples(st.integers(0, len(text) - 1), st.integers(1, 60)), max_size=5))
    phrases = [text[start : start + length].upper() for start, length in cuts]
    reading = read_answer(answer(*((phrase, "light") for phrase in phrases)), text)
    file = tmp_path_factory.mktemp("rows") / "own.jsonl"
    write_rows(file, [released_row(OwnPost(id="p", culture=instance.culture, text=text), reading, "m")])
    [read] = load_instances("own", None, file)
    assert read.post.emotional_distress == reading.emotional_distress


# --- Own posts ---------------------------------------------------------------------------------------------------------------------


def test_posts_are_read_from_lines_and_from_text_files(tmp_path: Path) -> None:
    lines = tmp_path / "posts.jsonl"
    lines.write_text('{"id": "a", "culture": "Chinese", "text": "So tired."}\n\n{"id": "b", "text": "Me too."}\n', encoding="utf-8")
    assert read_posts(lines, "german") == [
        OwnPost(id="a", culture="chinese", text="So tired."),
        OwnPost(id="b", culture="german", text="Me too."),
    ]
    (tmp_path / "one.txt").write_text("So tired.\n", encoding="utf-8")
    assert read_posts(tmp_path, "indian") == [OwnPost(id="one", culture="indian", text="So tired.\n")]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"id": "a", "text": "x"}', "posts.jsonl:1: culture: is not said.*--culture"),
        ('{"id": "a", "text": "x", "culture": "klingon"}', "unknown culture 'klingon'; choose from american"),
        ('{"id": "a", "culture": "german"}', "posts.jsonl:1: text: field required"),
        ('{"id": "a", "culture": "german", "text": " "}', "posts.jsonl:1: text: must be the text of the post"),
        ('{"id": "a", "culture": "german", "text": "https://example.org/a"}', "not an address"),
        ('{"id": "a", "culture": "german", "text": "\\ud800"}', "posts.jsonl:1: text: "),
        ('{"id": "a", "culture": "german", "text": "x", "mood": 1}', "mood: is not a field"),
        ('["a"]', "posts.jsonl:1"),
        ("", "holds no post"),
        ('{"id": "a", "culture": "german", "text": "x"}\n{"id": "a", "culture": "german", "text": "y"}', "the id 'a' occurs 2 times"),
    ],
)
def test_posts_that_do_not_fit_are_refused_with_their_place(tmp_path: Path, line: str, words: str) -> None:
    file = tmp_path / "posts.jsonl"
    file.write_text(line + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=words):
        read_posts(file)


@pytest.mark.parametrize("language", ["English", "EN", "eng", "e", "", "de-AT", "日本", "en\n"])
def test_a_language_is_a_code_of_two_lower_case_letters(tmp_path: Path, language: str) -> None:
    file = tmp_path / "posts.jsonl"
    file.write_text(json.dumps({"id": "a", "culture": "german", "text": "x", "language": language}) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"posts\.jsonl:1: language: must be an ISO 639-1 code of two lower-case letters, such as de"):
        read_posts(file)


def test_the_culture_of_all_posts_must_be_known_even_where_each_says_its_own(tmp_path: Path) -> None:
    file = tmp_path / "posts.jsonl"
    file.write_text('{"id": "a", "culture": "german", "text": "x"}\n', encoding="utf-8")
    with pytest.raises(DataError, match="--culture: unknown culture 'klingon'; choose from american"):
        read_posts(file, "klingon")


def test_the_byte_order_mark_of_a_text_file_is_no_part_of_the_post(tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_bytes(b"\xef\xbb\xbfSo tired.")
    assert [post.text for post in read_posts(tmp_path, "german")] == ["So tired."]


def test_text_files_without_a_culture_are_refused(tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("So tired.", encoding="utf-8")
    with pytest.raises(DataError, match=r"one\.txt: culture: is not said"):
        read_posts(tmp_path)


# --- The stage ---------------------------------------------------------------------------------------------------------------------


def test_posts_become_rows_that_say_who_annotated_them(tmp_path: Path) -> None:
    out = tmp_path / "annotated.jsonl"
    with ChatServer([chat(WHOLE)]) as server:
        summary = annotate(behind(server), [POST], GENERATION, out, lambda _: None)
    assert summary.model_dump() == {
        "posts": 1,
        "answered": 1,
        "unanswered": {},
        "spans": 2,
        "phrases": 2,
        "located": 2,
        "dropped": {},
        "with_schema": 1,
    }
    [instance] = load_instances("own", "arabic", out)
    assert (instance.annotator, instance.source, instance.training, instance.language) == ("scripted", "own", "forbidden", "en")
    assert instance.post_text[slice(instance.post.emotional_distress[0].start, instance.post.emotional_distress[0].end)] == "so tired of it"
    [request] = server.requests
    assert request["response_format"]["json_schema"]["schema"] == answer_schema()
    assert [message["content"] for message in request["messages"]] == list(render("arabic", TEXT))
    assert request["temperature"] == 0
    manifest = json.loads((tmp_path / "annotated.jsonl.run.json").read_text(encoding="utf-8"))
    assert manifest["prompt_hash"] == pack().hash


@pytest.mark.parametrize("out", ["", ".", "..", "folder", "afile/own.jsonl", "afile/deeper/own.jsonl", "/proc/own.jsonl", "x" * 300])
def test_a_place_where_no_file_can_be_written_is_refused_before_the_model_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "afile").write_text("", encoding="utf-8")
    before = sorted(tmp_path.rglob("*"))
    with ChatServer([chat(WHOLE)]) as server, pytest.raises(CultureCareError, match="--out"):
        annotate(behind(server), [POST], GENERATION, Path(out), lambda _: None)
    assert server.requests == []
    assert sorted(tmp_path.rglob("*")) == before


def test_folders_that_are_not_there_yet_are_made(tmp_path: Path) -> None:
    out = tmp_path / "new" / "deeper" / "own.jsonl"
    with ChatServer([chat(WHOLE)]) as server:
        annotate(behind(server), [POST], GENERATION, out, lambda _: None)
    assert len(load_instances("own", None, out)) == 1


def test_a_server_that_refuses_the_schema_is_asked_without_it_and_that_is_said(tmp_path: Path) -> None:
    said: list[str] = []
    with ChatServer(lambda request: error(400, "unknown field") if "response_format" in request else chat(WHOLE)) as server:
        summary = annotate(behind(server), posts_of(CHUNK + 1), GENERATION, tmp_path / "own.jsonl", said.append)
    assert (summary.answered, summary.with_schema) == (CHUNK + 1, 0)
    assert any("refuses a JSON schema (status 400)" in sentence for sentence in said)
    assert sum("response_format" in request for request in server.requests) == 1, "it is offered once"


@pytest.mark.parametrize("status", [400, 401, 500])
def test_an_error_that_is_not_about_the_schema_is_not_taken_for_a_refusal(tmp_path: Path, status: int) -> None:
    with ChatServer([error(status)]) as server, pytest.raises(CultureCareError, match=f"model 'scripted'.*{status}"):
        annotate(behind(server), [POST], GENERATION, tmp_path / "own.jsonl", lambda _: None)
    assert not (tmp_path / "own.jsonl").exists()


def test_several_calls_at_once_and_a_refusal_among_them(tmp_path: Path) -> None:
    with ChatServer(lambda request: error(422) if "response_format" in request else chat(WHOLE)) as server:
        summary = annotate(behind(server, num_concurrent=4), posts_of(4), GENERATION, tmp_path / "own.jsonl", lambda _: None)
    assert (summary.answered, summary.with_schema) == (4, 0)


def test_a_post_whose_answer_is_no_annotation_is_counted_and_left_out(tmp_path: Path) -> None:
    out = tmp_path / "own.jsonl"
    with ChatServer([chat(WHOLE), chat("I am sorry."), chat(None), chat(answer())]) as server:
        summary = annotate(behind(server), posts_of(4), GENERATION, out, lambda _: None)
    assert summary.answered == 2
    assert summary.unanswered["german-p1"] == "no JSON object"
    assert "german-p2" in summary.unanswered
    assert [instance.id for instance in load_instances("own", None, out)] == ["german-p0", "german-p3"]


def test_answers_of_which_none_is_an_annotation_make_no_file(tmp_path: Path) -> None:
    out = tmp_path / "own.jsonl"
    with ChatServer([chat("No."), chat(WHOLE[:40])]) as server:
        with pytest.raises(CultureCareError, match=r"none of 2 answers is an annotation \(no JSON object 1, unfinished 1\)"):
            annotate(behind(server), posts_of(2), GENERATION, out, lambda _: None)
        with pytest.raises(CultureCareError, match="none of 2 answers"):
            annotate(behind(server), posts_of(2), GENERATION, out, lambda _: None)
        assert len(server.requests) == 2, "answers are kept, whatever they are"
    assert not out.exists()


def test_a_call_that_broke_off_goes_on_where_it_stopped(tmp_path: Path) -> None:
    out, posts, broken = tmp_path / "own.jsonl", posts_of(CHUNK + 4), True
    with ChatServer(lambda _: error(500) if broken and len(server.requests) > CHUNK else chat(WHOLE)) as server:
        with pytest.raises(CultureCareError):
            annotate(behind(server), posts, GENERATION, out, lambda _: None)
        assert not out.exists()
        kept = tmp_path / "own.jsonl.answers.jsonl"
        kept.write_bytes(kept.read_bytes() + b'{"culture": "ger')
        broken, before = False, len(server.requests)
        summary = annotate(behind(server), posts, GENERATION, out, lambda _: None)
        assert len(server.requests) - before == 4
    assert summary.answered == len(load_instances("own", None, out)) == CHUNK + 4


def test_the_same_call_again_asks_nothing_and_another_one_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "own.jsonl"
    with ChatServer([chat(WHOLE)]) as server:
        choice = behind(server)
        first = annotate(choice, [POST], GENERATION, out, lambda _: None)
        assert annotate(choice, [POST], GENERATION, out, lambda _: None) == first
        assert len(server.requests) == 1
        with pytest.raises(CultureCareError, match=r"of another call \(its posts differ\)"):
            annotate(choice, posts_of(1), GENERATION, out, lambda _: None)


def test_a_file_that_a_person_corrected_is_never_written_over(tmp_path: Path) -> None:
    out = tmp_path / "own.jsonl"
    with ChatServer([chat(WHOLE)]) as server:
        annotate(behind(server), [POST], GENERATION, out, lambda _: None)
        corrected = out.read_text(encoding="utf-8").replace("high", "moderate")
        out.write_text(corrected, encoding="utf-8")
        with pytest.raises(CultureCareError, match="was changed since it was made"):
            annotate(behind(server), [POST], GENERATION, out, lambda _: None)
    assert out.read_text(encoding="utf-8") == corrected
    (tmp_path / "mine.jsonl").write_text("mine", encoding="utf-8")
    with pytest.raises(CultureCareError, match="is there already"):
        annotate(ModelChoice(name="m"), [POST], GENERATION, tmp_path / "mine.jsonl", lambda _: None)


# --- Strategies on own posts -------------------------------------------------------------------------------------------------------


def test_the_strategies_that_show_annotations_are_known_by_their_templates() -> None:
    assert {name for name, strategy in strategies().items() if strategy.shows_annotations} == {"annotation", "cga"}


def test_a_result_says_when_its_annotations_came_from_a_model() -> None:
    by_model = [instance.model_copy(update={"annotator": "small-model"}) for instance in SAMPLE[:2]]
    note = annotator_note([*by_model, *SAMPLE[2:4]], strategies().values())
    assert note is not None
    assert "annotation, cga came from a model, not from people, in 2 of 4 posts: small-model." in note
    assert annotator_note(by_model, [strategies()["standard"]]) is None
    assert annotator_note(SAMPLE, strategies().values()) is None


def test_cga_shows_what_the_model_marked(tmp_path: Path) -> None:
    out = tmp_path / "own.jsonl"
    with ChatServer([chat(WHOLE)]) as server:
        annotate(behind(server), [POST], GENERATION, out, lambda _: None)
    [doc] = support_docs(strategy="cga", posts=str(out))["test"]
    assert (doc["split"], doc["excerpt"], doc["dataset_revision"]) == ("own", False, culturecare.dataset_revision("own", out))
    assert '- "so tired of it" (high)' in doc["user"]
    assert '- "Before the feast" (Norms and Morals)' in doc["user"]
    assert TEXT in doc["user"]


def test_replies_to_own_posts_follow_no_protocol_and_their_prompts_show_the_annotation(tmp_path: Path) -> None:
    out = tmp_path / "own.jsonl"
    with ChatServer([chat(WHOLE), chat("That sounds hard.")]) as server:
        annotate(behind(server), [POST], GENERATION, out, lambda _: None)
        selection = Selection(split="own", release=out)
        made = generate_replies(
            behind(server), [strategies()["cga"]], selection, Generation(), tmp_path / "replies.jsonl", lambda: None, lambda _: None
        )
    assert [(reply.text, reply.split, reply.instance_id) for reply in made] == [("That sounds hard.", "own", "arabic-p1")]
    assert '- "so tired of it" (high)' in server.requests[-1]["messages"][1]["content"]
    assert build_result(made, None, None, behind(server).model).protocol is None


# --- For real ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_call_that_is_killed_goes_on_where_it_stopped(tmp_path: Path) -> None:
    posts, out, process = posts_of(CHUNK + 2), tmp_path / "own.jsonl", None
    killing = True

    def script(_: dict[str, Any]) -> Any:
        if killing and len(server.requests) == CHUNK + 1:
            assert process is not None
            os.kill(process.pid, signal.SIGKILL)
        return chat(WHOLE)

    with ChatServer(script) as server:
        choice = behind(server)
        code = (
            "import sys, json; from pathlib import Path; from culturecare_harness.annotation.posts import OwnPost\n"
            "from culturecare_harness.annotation.stage import GENERATION, annotate; from culturecare_harness.generate import ModelChoice\n"
            "choice, posts = json.load(sys.stdin)\n"
            "annotate(ModelChoice(**choice), [OwnPost(**post) for post in posts], GENERATION, Path(sys.argv[1]), print)"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(out)], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        process.communicate(json.dumps([choice.model_dump(), [post.model_dump() for post in posts]]).encode())
        assert process.returncode == -signal.SIGKILL
        assert len(read_records(tmp_path / "own.jsonl.answers.jsonl", Answer)) == CHUNK
        killing = False
        before = len(server.requests)
        annotate(choice, posts, GENERATION, out, lambda _: None)
        assert len(server.requests) - before == 2
    assert len(load_instances("own", None, out)) == CHUNK + 2


@pytest.mark.slow
def test_a_model_here_that_answers_no_json_says_so(tmp_path: Path) -> None:
    said: list[str] = []
    posts = [OwnPost(id=instance.id, culture=instance.culture, text=instance.post_text) for instance in SAMPLE[:2]]
    generation = GENERATION.model_copy(update={"max_gen_toks": 8})
    with pytest.raises(CultureCareError, match="none of 2 answers is an annotation"):
        annotate(ModelChoice(name="packaged:smollm2", batch_size=2), posts, generation, tmp_path / "own.jsonl", said.append)
    assert "Back end hf takes no JSON schema; the prompt alone asks for JSON." in said
    assert all(kept.answer for kept in read_records(tmp_path / "own.jsonl.answers.jsonl", Answer))
    long = GENERATION.model_copy(update={"max_gen_toks": 8000})
    with pytest.raises(CultureCareError, match=r"the request for post .* there is room for"):
        annotate(ModelChoice(name="packaged:smollm2"), posts, long, tmp_path / "long.jsonl", said.append)


@pytest.mark.slow
def test_a_real_server_keeps_to_the_schema_and_cga_is_asked_with_what_it_marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The packaged model marks the same phrase until it may not: with three spans of a kind it comes to an end soon.
    monkeypatch.setattr(prompts, "MOST_SPANS", 3)
    out = tmp_path / "own.jsonl"
    posts = [
        OwnPost(id=instance.id, culture=instance.culture, text=instance.post_text) for instance in SAMPLE if instance.culture == "american"
    ][:3]
    generation = GENERATION.model_copy(update={"max_gen_toks": 400})
    with llama_server() as address:
        arguments = {"base_url": f"{address}/v1/chat/completions", "max_retries": 1, "timeout": 800}
        choice = ModelChoice(name="smollm2", backend="local-chat-completions", arguments=arguments, batch_size=1)
        summary = annotate(choice, posts, generation, out, lambda _: None)
    assert summary.with_schema == 3
    kept = read_records(tmp_path / "own.jsonl.answers.jsonl", Answer)
    whole = [json.loads(one.answer) for one in kept if f"{one.culture}-{one.post_id}" not in summary.unanswered]
    assert whole
    for value in whole:
        jsonschema.validate(value, answer_schema())
    assert set(summary.unanswered.values()) <= {"unfinished"}
    instances = select_instances(Selection(split="own", release=out))
    assert len(instances) == summary.answered
    for instance in instances:
        prompt = render_strategy(strategies()["cga"], instance)
        assert instance.post_text in prompt.user
        assert all(f'"{span.phrase}"' in prompt.user for span in instance.post.emotional_distress)
