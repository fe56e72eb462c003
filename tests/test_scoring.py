"""Scoring: metrics of a reply, and scores of a strategy, culture and metric."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pytest

from culturecare import CultureCareError
from culturecare_harness.judges import JudgeFile
from culturecare_harness.records import Model, Reply, Result, Score, Verdict, reply_id, write_json
from culturecare_harness.rubrics import select_rubric
from culturecare_harness.scoring import build_result, metric_names, reply_metrics, summarise
from culturecare_harness.stats import FEWEST_VALUES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

DIMENSIONS = [dimension.key for dimension in select_rubric("culturecare").dimensions]
JUDGE = JudgeFile(name="test", summary="", backend="hf", model="none", mode="argmax")
MODEL = Model(name="m", backend="hf", arguments={})
GERMAN = "Das klingt wirklich sehr anstrengend, und ich verstehe gut, dass du müde bist."
GRADES: dict[str, float | None] = dict(zip(DIMENSIONS, (5.0, 4.0, 3.0, 2.0, 1.0, 5.0, 2.0), strict=True))


def reply(instance: str, culture: str = "german", text: str = GERMAN, **fields: object) -> Reply:
    settings: dict[str, Any] = {"language": "de", "split": "sample", "dataset_revision": "0" * 16, "strategy": "standard", "model": "m"}
    settings |= {"prompt_hash": "1" * 16, "excerpt": False, "generation": {"temperature": 0.7}, **fields}
    identity = reply_id(instance, settings["strategy"], settings["model"], text)
    return Reply.model_validate({"id": identity, "instance_id": instance, "culture": culture, "text": text, **settings})


def verdicts(
    of: Reply, grades: float | Mapping[str, float | None] | None, reason: str = "failed: 'x'", judge: JudgeFile = JUDGE
) -> list[Verdict]:
    by_dimension = grades if isinstance(grades, dict) else dict.fromkeys(DIMENSIONS, grades)
    fields = {"reply_id": of.id, "judge": judge.judge}
    return [
        Verdict.model_validate({**fields, "dimension": key, "score": grade, "reason": reason if grade is None else None})
        for key, grade in by_dimension.items()
    ]


def result_of(graded: Sequence[tuple[Reply, float | Mapping[str, float | None] | None]], judge: JudgeFile = JUDGE) -> Result:
    all_verdicts = [verdict for of, grades in graded for verdict in verdicts(of, grades, judge=judge)]
    return build_result([of for of, _ in graded], all_verdicts, judge, MODEL)


def score(result: Result, culture: str, metric: str, strategy: str = "standard") -> Score:
    [found] = [s for s in result.scores if (s.strategy, s.culture, s.metric) == (strategy, culture, metric)]
    return found


# --- One reply -------------------------------------------------------------------------------------------------------------------


def test_composites_are_means_of_their_dimensions_and_overall_leaves_quality_out() -> None:
    metrics = reply_metrics(GERMAN, "de", verdicts(reply("a"), GRADES))
    assert {key: metrics[key] for key in ("emotional", "cultural", "quality", "overall", "coverage")} == {
        "emotional": 4.5,
        "cultural": 2,
        "quality": 3.5,
        "overall": 3.25,
        "coverage": 1,
    }
    assert {key: metrics[key] for key in DIMENSIONS} == GRADES


@pytest.mark.parametrize(
    ("missing", "nulls"),
    [
        ("empathy", {"empathy", "emotional", "overall"}),
        ("knowledge", {"knowledge", "cultural", "overall"}),
        ("fluency", {"fluency", "quality"}),
    ],
)
def test_a_missing_dimension_makes_its_composites_null_and_no_others(missing: str, nulls: set[str]) -> None:
    metrics = reply_metrics(GERMAN, "de", verdicts(reply("a"), {**GRADES, missing: None}))
    assert {key for key, value in metrics.items() if value is None} == nulls
    assert metrics["coverage"] == pytest.approx(6 / 7)


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [(GERMAN, "de", 1), (GERMAN, "en", 0), ("", "de", None), (" \n", "de", None), (GERMAN, None, None), ("12345", "de", None)],
)
def test_same_language_is_null_where_either_language_is_unknown(text: str, language: str | None, expected: float | None) -> None:
    metrics = reply_metrics(text, language, None)
    assert metrics == {"same_language": expected, "reply_characters": len(text.strip())}


def test_metrics_of_a_reply_are_those_that_are_named() -> None:
    assert set(reply_metrics(GERMAN, "de", verdicts(reply("a"), 3))) == {*metric_names("culturecare"), "coverage"}
    assert set(reply_metrics(GERMAN, "de", None)) == set(metric_names(None))


# --- One model -------------------------------------------------------------------------------------------------------------------


def test_a_score_is_the_mean_over_the_cultures_items() -> None:
    found = score(result_of([(reply("a"), 2), (reply("b"), 4), (reply("c"), 3)]), "german", "empathy")
    assert (found.mean, found.n, found.coverage) == (3, 3, 1)
    assert found.low is not None
    assert found.high is not None
    assert 1 <= found.low < 3 < found.high <= 5


def test_all_is_the_mean_of_the_cultures_means() -> None:
    result = result_of([(reply("a"), 1), (reply("b", "arabic"), 4), (reply("c", "arabic"), 4), (reply("d", "arabic"), 4)])
    found = score(result, "all", "overall")
    assert (found.mean, found.n) == (2.5, 4)
    assert (found.low, found.high) == (None, None)
    assert result.dataset.cultures == ("arabic", "german")


def test_a_missing_verdict_lowers_coverage_and_not_the_mean() -> None:
    result = result_of([(reply("a"), 4), (reply("b"), {**GRADES, "knowledge": None})])
    found = score(result, "german", "knowledge")
    assert (found.mean, found.n, found.coverage) == (4, 1, 0.5)
    assert score(result, "german", "cultural").n == 1
    assert score(result, "german", "quality").n == 2
    assert result.coverage == pytest.approx(13 / 14)


def test_a_culture_without_a_value_makes_all_null_rather_than_another_mean() -> None:
    result = result_of([(reply("a"), 4), (reply("b"), 4), (reply("c", "arabic"), None)])
    assert score(result, "german", "overall").mean == 4
    assert score(result, "arabic", "overall").mean is None
    found = score(result, "all", "overall")
    assert (found.mean, found.low, found.high, found.n) == (None, None, None, 2)
    assert found.coverage == pytest.approx(2 / 3)


def test_intervals_stay_on_the_scale_of_their_metric() -> None:
    result = result_of([(reply("a"), 1), (reply("b"), 5), (reply("c", text="This one answers in English, as it seems."), 5)])
    for metric, lowest, highest in (("overall", 1, 5), ("same_language", 0, 1), ("reply_characters", 0, math.inf)):
        found = score(result, "german", metric)
        assert found.low is not None
        assert found.high is not None
        assert lowest <= found.low < found.high <= highest


def test_replies_that_belong_nowhere_are_summarised_over_the_same_metrics() -> None:
    graded = [verdicts(reply("a"), 2), verdicts(reply("b"), 4), verdicts(reply("c"), {**GRADES, "fluency": None})]
    summary = summarise(graded)
    assert set(summary) == {"overall", "emotional", "cultural", "quality", *DIMENSIONS}
    assert (summary["fluency"]["mean"], summary["fluency"]["n"]) == (3, 2)
    assert summary["fluency"]["coverage"] == pytest.approx(2 / 3)
    assert summary["empathy"]["mean"] == pytest.approx(11 / 3)


def test_reasons_are_counted_by_kind_without_quoting_an_answer() -> None:
    assert result_of([(reply("a"), None), (reply("b"), 3)]).reasons == {"failed": 7}


def test_strategies_are_scored_apart() -> None:
    result = result_of([(reply("a"), 2), (reply("a", strategy="cga", prompt_hash="2" * 16), 5)])
    assert [score(result, "german", "overall", name).mean for name in ("standard", "cga")] == [2, 5]
    assert result.strategies == {"standard": "1" * 16, "cga": "2" * 16}
    assert result.dataset.instances == 1


def test_without_a_judge_only_what_describes_replies_is_scored() -> None:
    result = build_result([reply("a"), reply("b")], None, None, MODEL)
    assert {found.metric for found in result.scores} == {"same_language", "reply_characters"}
    assert (result.judge, result.coverage, result.reasons) == (None, None, {})


def test_the_result_says_how_it_was_made() -> None:
    result = build_result([reply("a")], verdicts(reply("a"), 3), JUDGE, MODEL, notes=["Mine."])
    assert (result.judge, result.model) == (JUDGE.judge, MODEL)
    assert result.generation == {"temperature": 0.7}
    assert result.versions["python"].startswith("3.")
    assert result.notes[-1] == "Mine."
    assert any("synthetic" in note for note in result.notes)


def test_notes_warn_of_excerpts_empty_replies_and_a_judge_that_measures_nothing() -> None:
    judge = JUDGE.model_copy(update={"measure": False})
    first = reply("a", text="", excerpt=True, split="test")
    notes = " ".join(result_of([(first, None)], judge).notes)
    for words in ("no measure", "share no table", "1 of 1 replies are empty"):
        assert words in notes
    assert "synthetic" not in notes


def test_a_culture_with_few_values_is_noted_for_its_intervals_hold_less_than_they_say() -> None:
    many = [(reply(f"g{number}"), 3 + number % 2) for number in range(FEWEST_VALUES)]
    few = [(reply(f"a{number}", "arabic"), 3 + number % 2) for number in range(FEWEST_VALUES - 1)]
    assert any("Scores that rest on fewer than 5 replies (Arabic): their intervals" in note for note in result_of([*many, *few]).notes)
    enough = result_of([*many, *few, (reply("a9", "arabic"), 4)])
    assert not any("Fewer than" in note for note in enough.notes)


def test_grades_that_are_all_equal_have_a_mean_without_an_interval() -> None:
    found = score(result_of([(reply(f"g{number}"), 5) for number in range(8)]), "all", "overall")
    assert (found.mean, found.low, found.high, found.n) == (5, None, None, 8)


@pytest.mark.parametrize(
    ("replies", "words"),
    [
        ([], "no reply"),
        ([reply("a"), reply("b", excerpt=True)], "full posts and replies to excerpts are mixed"),
        ([reply("a"), reply("b", model="n")], "several models are mixed"),
        ([reply("a"), reply("a", text="Another.")], "'a' has 2 replies by strategy 'standard'"),
        ([reply("a"), reply("b", split="train")], "several splits or revisions"),
        ([reply("a"), reply("b", dataset_revision="9" * 16)], "several splits or revisions"),
        ([reply("a"), reply("b", prompt_hash="9" * 16)], "two versions of its prompt"),
    ],
    ids=["nothing", "excerpts", "models", "twice", "splits", "revisions", "prompts"],
)
def test_what_shares_no_score_is_refused_together(replies: list[Reply], words: str) -> None:
    graded = [verdict for of in replies for verdict in verdicts(of, 3)]
    with pytest.raises(CultureCareError, match=words):
        build_result(replies, graded, JUDGE, MODEL)


def test_a_reply_without_all_its_verdicts_is_refused() -> None:
    partial = [verdict for verdict in verdicts(reply("a"), 3) if verdict.dimension != "fluency"]
    with pytest.raises(CultureCareError, match="has no verdict on 'fluency'; judge the replies again"):
        build_result([reply("a")], partial, JUDGE, MODEL)


def test_verdicts_of_another_judge_are_not_taken_for_this_ones() -> None:
    other = JUDGE.model_copy(update={"model": "other"})
    with pytest.raises(CultureCareError, match="has no verdict"):
        build_result([reply("a")], verdicts(reply("a"), 3, judge=other), JUDGE, MODEL)


def test_a_written_result_is_strict_json_and_reads_back_the_same(tmp_path: Path) -> None:
    result = result_of([(reply("a"), GRADES), (reply("b"), 3), (reply("c", "arabic", text=""), None)])
    write_json(tmp_path / "result.json", result)
    text = (tmp_path / "result.json").read_text(encoding="utf-8")

    def refuse(name: str) -> None:
        pytest.fail(f"{name} in the JSON")

    fields = json.loads(text, parse_constant=refuse)
    assert Result.model_validate(fields) == result
    assert all(math.isfinite(s["mean"]) for s in fields["scores"] if s["mean"] is not None)
