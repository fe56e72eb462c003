"""Juries: who sits, what their verdicts add up to, and how they agree."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from culturecare import CultureCareError, Instance
from culturecare_harness.backends import Answer
from culturecare_harness.judge import EMPTY_REPLY, JudgeItem, judge_replies
from culturecare_harness.judges import JudgeFile, select_judge
from culturecare_harness.jury import (
    JuryFile,
    JuryResult,
    JuryVerdict,
    Seats,
    ask_jury,
    build_jury_result,
    juries,
    jury_and_score,
    jury_verdicts,
    model_families,
    seat,
    select_jury,
)
from culturecare_harness.records import Model, Reply, read_records, reply_id
from culturecare_harness.rubrics import select_rubric
from culturecare_harness.runs import JudgeOptions
from culturecare_harness.store import VerdictStore
from tests.servers import ChatServer, chat, openai_judge

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from culturecare_harness.backends import Request

DIMENSIONS = [dimension.key for dimension in select_rubric("culturecare").dimensions]
MODELS = {"a": "org/Qwen3-8B", "b": "gpt-4.1", "c": "mistral-large"}
TESTED = Model(name="smollm2", backend="hf", arguments={})


def juror(name: str, model: str | None = None, **fields: Any) -> JudgeFile:
    return JudgeFile.model_validate(
        {"name": name, "summary": "", "backend": "openai", "model": model or MODELS[name], "mode": "argmax", **fields}
    )


def jury_of(*names: str, at_least: int | None = None) -> JuryFile:
    return JuryFile(name="test", summary="", jurors=tuple(juror(name) for name in names), at_least=at_least)


def reply(number: int = 0, text: str = "a reply", model: str = "smollm2") -> Reply:
    instance = f"german-{number}"
    return Reply.model_validate(
        {
            "id": reply_id(instance, "standard", model, text),
            "instance_id": instance,
            "culture": "german",
            "language": "de",
            "split": "sample",
            "dataset_revision": "0" * 16,
            "strategy": "standard",
            "prompt_hash": "1" * 16,
            "excerpt": False,
            "model": model,
            "text": text,
            "generation": {},
        }
    )


class Grader:
    """A juror's model that grades each question by the number of the post, which stands in the prompt."""

    def __init__(self, grade: Callable[[int], str]) -> None:
        self.grade = grade

    def answer(self, requests: Sequence[Request], done: Callable[[int, int, Answer], None]) -> None:
        for position, request in enumerate(requests):
            post = int(request.prompts.item.split("post ")[1].split()[0])
            for number in range(len(request.prompts.questions)):
                done(position, number, Answer(texts=(self.grade(post),)))


def ask(seats: Seats, replies: Sequence[Reply], grades: Mapping[str, Callable[[int], str]]) -> Mapping[str, Any]:
    items = [JudgeItem(reply_id=of.id, post=f"post {of.instance_id.removeprefix('german-')}", reply=of.text) for of in replies]
    return ask_jury(items, seats, backend=lambda judge: Grader(grades[judge.name]))


def verdicts_of(grades: Mapping[str, str], at_least: int | None = None, text: str = "a reply") -> list[JuryVerdict]:
    """The jury's verdicts on one reply, each juror giving one grade in all dimensions."""
    seats = seat(jury_of(*grades, at_least=at_least), ["smollm2"])
    by_juror = ask(seats, [reply(text=text)], {name: lambda _, grade=grade: grade for name, grade in grades.items()})  # type: ignore[misc]
    verdicts = jury_verdicts(by_juror, seats.jury)
    assert [verdict.dimension for verdict in verdicts] == DIMENSIONS
    return verdicts


# --- Files -----------------------------------------------------------------------------------------------------------------------


def test_every_jury_that_comes_with_the_package_is_whole() -> None:
    assert "paper" in juries()
    assert "families" not in juries()
    for jury in juries().values():
        assert jury.summary
        assert len(jury.jurors) >= 2
        for of_jury in jury.jurors:
            assert model_families(of_jury.model), f"juries/families.yaml knows no family of {of_jury.model}"


def test_the_papers_jury_is_its_two_judges() -> None:
    assert [of_jury.model for of_jury in select_jury("paper").jurors] == ["meta-llama/Llama-3.1-70B-Instruct", "o3-mini"]


def test_a_jury_file_may_change_settings_and_name_judges_beside_it(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("summary: x\nbackend: openai\nmodel: gemma-3-27b\nmode: argmax\n")
    (tmp_path / "mine.yaml").write_text(
        "summary: My jury.\nat_least: 2\njudges:\n"
        "  - own.yaml\n  - judge: llama-3.1-70b\n    set: {base_url: 'http://localhost:9/v1', extra_body: {top_k: 5}}\n  - o3-mini\n"
    )
    jury = select_jury(str(tmp_path / "mine.yaml"))
    assert (jury.name, jury.at_least) == ("mine", 2)
    assert [of_jury.name for of_jury in jury.jurors] == ["own", "llama-3.1-70b", "o3-mini"]
    assert (jury.jurors[1].base_url, jury.jurors[1].extra_body) == ("http://localhost:9/v1", {"top_k": 5})


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("summary: x\njudges: [o3-mini]\n", "judges: .*at least 2"),
        ("summary: x\njudges: [o3-mini, o3-mini]\n", "judge 'o3-mini' is named twice; give one of them another name"),
        ("summary: x\njudges: [o3-mini, nobody]\n", "judges: unknown judge 'nobody'"),
        ("summary: x\njudges: [o3-mini, smollm2]\nat_least: 3\n", "at_least is 3, but the jury has 2 judges"),
        ("summary: x\njudges: [o3-mini, smollm2]\nat_least: 0\n", "at_least: .*greater than or equal to 1"),
        ("summary: x\njudges: [o3-mini, smollm2]\njurors: 3\n", "jurors: is not a field"),
        ("summary: x\njudges: [o3-mini, {judge: smollm2, set: {samples: 0}}]\n", "judges: .*samples"),
    ],
)
def test_a_jury_file_that_does_not_fit_says_where_and_why(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(CultureCareError, match=rf"^[^\n]*mine\.yaml: [^\n]*{why}[^\n]*$"):
        select_jury(str(path))


def test_an_unknown_jury_is_named_beside_the_known_ones() -> None:
    with pytest.raises(CultureCareError, match="unknown jury 'nobody': choose from paper, or name a YAML file"):
        select_jury("nobody")


# --- Who may judge whom ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "families"),
    [
        ("meta-llama/Llama-3.1-70B-Instruct", {"llama"}),
        ("codellama/CodeLlama-7b-hf", {"llama"}),
        ("o3-mini", {"gpt"}),
        ("openai/o1", {"gpt"}),
        ("gpt-4o-2024-08-06", {"gpt"}),
        ("openai/gpt-oss-20b", {"gpt"}),
        ("claude-sonnet-4", {"claude"}),
        ("google/gemma-3-27b-it", {"gemini"}),
        ("gemini-2.5-pro", {"gemini"}),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", {"mistral"}),
        ("CohereForAI/aya-expanse-32b", {"aya"}),
        ("c4ai-command-r-plus", {"aya"}),
        ("packaged:smollm2", {"smollm"}),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", {"smollm"}),
        ("Qwen/Qwen2.5-7B-Instruct", {"qwen"}),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", {"deepseek", "qwen"}),
        ("microsoft/phi-4", {"phi"}),
        ("my-own-model", set()),
        ("foo3-model", set()),
        ("delphi-2", set()),
        ("himalaya-7b", set()),
    ],
)
def test_a_models_family_is_read_from_its_name(model: str, families: set[str]) -> None:
    assert model_families(model) == families


@pytest.mark.parametrize("model", ["Qwen/Qwen2.5-0.5B-Instruct", "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"])
def test_a_judge_of_the_models_family_is_left_out_and_said_so(model: str) -> None:
    seats = seat(jury_of("a", "b", "c"), [model])
    assert [of_jury.name for of_jury in seats.jurors] == ["b", "c"]
    assert list(seats.jury.left_out) == ["a"]
    assert seats.notes == (
        f"Judge 'a' was left out of jury 'test': its model org/Qwen3-8B is of the family qwen, as the model under test, {model}.",
    )


def test_a_model_does_not_judge_itself_though_its_family_is_not_known() -> None:
    jury = JuryFile(name="test", summary="", jurors=(juror("own", "/models/my-own"), juror("b")))
    seats = seat(jury, ["my-own"])
    assert seats.jury.left_out == {"own": "it is the model under test, my-own"}
    assert seats.notes[1].startswith("The family of 'my-own' is not known")


def test_the_packaged_model_does_not_judge_itself() -> None:
    jury = JuryFile(name="test", summary="", jurors=(select_judge("smollm2"), juror("b")))
    assert list(seat(jury, ["smollm2"]).jury.left_out) == ["smollm2"]


def test_judges_of_other_families_all_sit() -> None:
    seats = seat(jury_of("a", "b", "c"), ["smollm2"])
    assert (len(seats.jurors), seats.jury.left_out, seats.notes) == (3, {}, ())


def test_where_no_judge_or_too_few_are_left_nobody_judges() -> None:
    with pytest.raises(CultureCareError, match=r"jury 'test': no judge is left \(a: .*; b: .*\); name a jury with judges of other"):
        seat(jury_of("a", "b"), ["qwen-7b", "gpt-4"])
    with pytest.raises(CultureCareError, match="1 of the 2 judges that it needs are left"):
        seat(jury_of("a", "b", at_least=2), ["qwen-7b"])


# --- Verdicts --------------------------------------------------------------------------------------------------------------------


def test_a_jurys_score_is_the_mean_of_its_jurors() -> None:
    for verdict in verdicts_of({"a": "5", "b": "4", "c": "1"}):
        assert verdict.score == pytest.approx(10 / 3)
        assert verdict.jurors == {"a": 5, "b": 4, "c": 1}


def test_a_missing_juror_makes_the_mean_null() -> None:
    for verdict in verdicts_of({"a": "5", "b": "none", "c": "1"}):
        assert verdict.score is None
        assert verdict.reason == "too few of the jurors gave a score: b: the judge's answer holds no number: 'none'"
        assert verdict.jurors == {"a": 5, "b": None, "c": 1}


def test_a_missing_juror_is_passed_over_where_the_jurys_file_says_how_many_suffice() -> None:
    assert {verdict.score for verdict in verdicts_of({"a": "5", "b": "none", "c": "1"}, at_least=2)} == {3}
    assert {verdict.score for verdict in verdicts_of({"a": "5", "b": "none", "c": "?"}, at_least=2)} == {None}


def test_an_empty_reply_is_null_for_every_juror() -> None:
    assert {(verdict.score, verdict.reason) for verdict in verdicts_of({"a": "5", "b": "4"}, text=" ")} == {(None, EMPTY_REPLY)}


def test_verdicts_that_are_not_the_whole_jurys_are_refused() -> None:
    seats = seat(jury_of("a", "b"), ["smollm2"])
    by_juror = ask(seats, [reply()], {"a": lambda _: "5", "b": lambda _: "4"})
    with pytest.raises(CultureCareError, match="has the judges a, b, but verdicts are by a"):
        jury_verdicts({"a": by_juror["a"]}, seats.jury)
    with pytest.raises(CultureCareError, match="has no verdict by judge 'b' on 'communication'"):
        jury_verdicts({**by_juror, "b": by_juror["b"][:-1]}, seats.jury)


# --- Results ---------------------------------------------------------------------------------------------------------------------


def result_of(
    grades: Mapping[str, Callable[[int], str]], size: int = 12, at_least: int | None = None, replies: Sequence[Reply] | None = None
) -> JuryResult:
    replies = replies or [reply(number) for number in range(size)]
    seats = seat(jury_of(*grades, at_least=at_least), ["smollm2"])
    return build_jury_result(replies, ask(seats, replies, grades), seats, TESTED)


def mean(result: JuryResult, metric: str, name: str | None = None) -> float | None:
    [score] = [s for s in (result.scores if name is None else result.judges[name]) if (s.culture, s.metric) == ("german", metric)]
    return score.mean


def test_a_result_has_the_jurys_scores_and_each_judges() -> None:
    result = result_of({"a": lambda _: "5", "b": lambda post: str(post % 2 + 1)})
    assert mean(result, "overall") == pytest.approx((5 + 1.5) / 2)
    assert mean(result, "overall", "a") == 5
    assert mean(result, "overall", "b") == pytest.approx(1.5)
    assert [judge.name for judge in result.jury.judges] == ["a", "b"]
    assert (result.coverage, result.judge_coverage) == (1, {"a": 1, "b": 1})


def test_jurors_that_agree_have_alpha_one_and_a_random_one_none() -> None:
    same = result_of({"a": lambda post: str(post % 5 + 1), "b": lambda post: str(post % 5 + 1)}, size=40)
    assert [agreement.metric for agreement in same.agreement] == DIMENSIONS
    assert {agreement.alpha for agreement in same.agreement} == {1}
    unrelated = result_of({"a": lambda post: str(post % 5 + 1), "b": lambda post: str(post // 5 % 5 + 1)}, size=50)
    for agreement in unrelated.agreement:
        assert agreement.low is not None
        assert agreement.high is not None
        assert agreement.low < 0 < agreement.high


def test_one_juror_or_equal_grades_have_no_alpha_but_a_reason() -> None:
    seats = seat(jury_of("a", "b"), ["qwen3"])
    replies = [reply(number, model="qwen3") for number in range(3)]
    alone = build_jury_result(replies, ask(seats, replies, {"b": lambda _: "5"}), seats, TESTED)
    assert {agreement.reason for agreement in alone.agreement} == {"alpha needs at least two judges, and there is 1"}
    assert alone.notes[0].startswith("Judge 'a' was left out")
    equal = result_of({"a": lambda _: "4", "b": lambda _: "4"})
    assert {agreement.reason for agreement in equal.agreement} == {"all scores are equal, so that nothing tells agreement from chance"}


def test_what_jurors_left_out_lowers_the_coverage_and_is_said() -> None:
    grades: dict[str, Callable[[int], str]] = {"a": lambda _: "5", "b": lambda post: "1" if post < 9 else "none", "c": lambda _: "3"}
    strict = result_of(grades)
    assert strict.coverage == pytest.approx(9 / 12)
    assert strict.judge_coverage == pytest.approx({"a": 1, "b": 9 / 12, "c": 1})
    assert strict.reasons == {"too few of the jurors gave a score": 3 * len(DIMENSIONS)}
    lenient = result_of(grades, at_least=2)
    assert (lenient.coverage, lenient.reasons) == (1, {})
    assert "21 of 84 verdicts are means over fewer than all 3 jurors (at_least: 2)." in lenient.notes
    assert mean(lenient, "overall") == pytest.approx((9 * 3 + 3 * 4) / 12)


def test_notes_on_the_replies_are_said_once() -> None:
    result = result_of({"a": lambda _: "5", "b": lambda _: "4"}, replies=[reply(0), reply(1, text="")])
    assert len(result.notes) == len(set(result.notes))
    assert "1 of 2 replies are empty and were not judged." in result.notes


class Silence:
    """Nobody is told how it gets on."""

    def __init__(self) -> None:
        self.finished = 0

    def say(self, sentence: str) -> None: ...

    def advance(self, finished: int, total: int) -> None:
        assert finished <= total
        self.finished = finished


def test_a_jury_over_http_writes_strict_json_and_shares_the_store_with_its_judges(tmp_path: Path) -> None:
    replies, progress = [reply(0), reply(1)], Silence()
    options = JudgeOptions(store=tmp_path / "store")
    with ChatServer([chat("4")]) as one, ChatServer([chat("2")]) as other:
        jurors = tuple(
            openai_judge(tmp_path, server.url, name=name, model=model)
            for name, model, server in (("a", "qwen", one), ("b", "gpt-4", other))
        )
        jury = JuryFile(name="test", summary="", jurors=jurors)
        posts = {of.instance_id: "the post" for of in replies}
        result, path = jury_and_score(replies, posts, jury, TESTED, tmp_path / "out", progress, options, ["A note."])
        asked = len(one.requests) + len(other.requests)
        # The two replies and posts are equal, so each question is asked once.
        assert (asked, progress.finished) == (2 * len(DIMENSIONS), 2 * 2 * len(DIMENSIONS))
        items = [JudgeItem(reply_id=of.id, post="the post", reply=of.text) for of in replies]
        judge_replies(items, jurors[0], store=VerdictStore(options.store))
        assert len(one.requests) == len(DIMENSIONS)
    assert mean(result, "overall") == 3
    assert "A note." in result.notes
    assert JuryResult.model_validate(json.loads(path.read_text(), parse_constant=pytest.fail)) == result
    [verdicts] = (tmp_path / "out").glob("jury-test-*.verdicts.jsonl")
    assert {verdict.score for verdict in read_records(verdicts, JuryVerdict)} == {3}
    assert {verdict.jury for verdict in read_records(verdicts, JuryVerdict)} == {result.jury.hash}


def test_a_jury_whose_last_judge_has_no_key_stops_before_the_first_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with ChatServer([chat("4")]) as server:
        jurors = (openai_judge(tmp_path, server.url, name="a", model="qwen"), juror("b", api_key_env="NO_SUCH_KEY"))
        jury = JuryFile(name="test", summary="", jurors=jurors)
        with pytest.raises(CultureCareError, match="needs an API key in the environment variable NO_SUCH_KEY"):
            jury_and_score([reply()], {"german-0": "p"}, jury, TESTED, tmp_path / "out", Silence(), JudgeOptions(store=tmp_path / "store"))
        assert server.requests == []


@pytest.mark.slow
def test_the_real_small_model_sits_on_a_jury(monkeypatch: pytest.MonkeyPatch, sample: list[Instance]) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    two = tuple(select_judge("smollm2", overrides) for overrides in (["name=expected"], ["name=plain", "chat=false"]))
    seats = seat(JuryFile(name="test", summary="", jurors=two), ["some-model"])
    replies = [reply(number, text=instance.response_text, model="some-model") for number, instance in enumerate(sample[:2])]
    items = [JudgeItem(reply_id=of.id, post=instance.post_text, reply=of.text) for of, instance in zip(replies, sample, strict=False)]
    by_juror = ask_jury(items, seats)
    result = build_jury_result(replies, by_juror, seats, TESTED)
    assert result.coverage == 1
    for verdict in jury_verdicts(by_juror, seats.jury):
        scores = [score for score in verdict.jurors.values() if score is not None]
        assert verdict.score == pytest.approx(sum(scores) / 2)
    assert all(agreement.alpha is not None for agreement in result.agreement)
    assert any("exercises the plumbing alone" in note for note in result.notes)
