"""The report's tables: every number with its coverage and interval, over the cultures that it names, and of the run that it names."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from culturecare import CultureCareError
from culturecare_harness.dataset import Selection
from culturecare_harness.human.analysis import score_packet
from culturecare_harness.human.forms import select_form
from culturecare_harness.human.ratings import append_ratings
from culturecare_harness.judges import select_judge
from culturecare_harness.records import Reply, Result, Verdict, read_records, write_json, write_records
from culturecare_harness.report import make_report
from culturecare_harness.report.claims import answer_claims
from culturecare_harness.report.content import build_report
from culturecare_harness.report.evidence import read_evidence
from culturecare_harness.report.figures import cultures_listed, of_all
from culturecare_harness.report.methods import describe_methods
from culturecare_harness.report.people import PeopleScores
from culturecare_harness.report.ratings import people_tables, without_names
from culturecare_harness.runs import REPLIES
from culturecare_harness.scoring import build_result
from tests import published_runs
from tests.published_runs import JUDGE, RELEASED, WHEN, Means, flat_means, make_comparison, make_release, make_run, published_means
from tests.raters import NOON, answers, small_packet
from tests.test_report import Silent, check_report, quality_by_people, sample_run

if TYPE_CHECKING:
    from pathlib import Path

    from culturecare_harness.report.page import Report, Section, Table

QWEN = "Qwen2.5-7B-Instruct"


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made-up release of 12 posts a culture, with full text."""
    return make_release(tmp_path_factory.mktemp("release"), dict.fromkeys(RELEASED, 12))


@pytest.fixture(scope="module")
def whole(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on all four cultures whose replies all have grades."""
    return make_run(tmp_path_factory.mktemp("whole") / "run", release, QWEN, published_means(QWEN))


@pytest.fixture
def partial_run(whole: Path, tmp_path: Path) -> Path:
    """A run that lost grades: on guided in German all but two, on cga in German all."""
    run = shutil.copytree(whole, tmp_path / "partial")
    lose(run, {("guided", "german"): 2, ("cga", "german"): 0})
    return run


def only(monkeypatch: pytest.MonkeyPatch, *keys: str) -> None:
    """Has runs made of these cultures alone."""
    monkeypatch.setattr(published_runs, "Selection", partial(Selection, cultures=keys))


def of_cultures(means: Means, *keys: str) -> Means:
    return {place: mean for place, mean in means.items() if place[1] in keys}


def lose(run: Path, kept: dict[tuple[str, str], int]) -> None:
    """Takes the grades of all replies of a strategy and culture but the first so many."""
    replies = read_records(run / REPLIES, Reply)
    lost = {
        reply.id
        for (strategy, culture), number in kept.items()
        for reply in [reply for reply in replies if (reply.strategy, reply.culture) == (strategy, culture)][number:]
    }
    verdicts = [
        verdict.model_copy(update={"score": None, "reason": "no answer", "digit_mass": None}) if verdict.reply_id in lost else verdict
        for verdict in read_records(run / "judged.verdicts.jsonl", Verdict)
    ]
    before = Result.model_validate_json((run / "judged.result.json").read_text(encoding="utf-8"))
    write_records(run / "judged.verdicts.jsonl", verdicts)
    write_json(
        run / "judged.result.json",
        build_result(replies, verdicts, select_judge(JUDGE), before.model).model_copy(update={"created": WHEN}),
    )


def report_of(*runs: Path, release: Path, **also: Any) -> Report:
    return build_report(read_evidence(runs, release, Silent(), **also))


def section_of(report: Report) -> Section:
    [section] = report.judgements[0].sections
    return section


def row_of(section: Section, strategy: str) -> Any:
    return next(row.cells for row in section.scores if row.label == strategy)


def table_of(tables: tuple[Table, ...], start: str) -> Table:
    return next(table for table in tables if table.caption.startswith(start))


# --- Runs of one model -----------------------------------------------------------------------------------------------------------


def test_two_runs_of_one_model_in_folders_of_one_name_are_two_runs(tmp_path: Path, release: Path) -> None:
    good = make_run(tmp_path / "s1" / "run", release, "lab/two", flat_means(cga=(4.5, 4.0)), spread=(0.4, 0.15), text="One.")
    bad = make_run(tmp_path / "s2" / "run", release, "lab/two", flat_means(cga=(4.5, 2.6)), spread=(0.4, 0.15), text="Two.")
    evidence = read_evidence([good, bad], release, Silent())
    assert [run.label for run in evidence.runs] == ["lab/two (s1/run)", "lab/two (s2/run)"]
    found = answer_claims(evidence)[2]
    assert [(finding.model, finding.status == "supported") for finding in found.findings] == [
        ("lab/two (s1/run)", True),
        ("lab/two (s2/run)", False),
    ]
    assert "It holds for lab/two (s1/run)." in found.because
    assert "the judges do not agree" not in found.because


def test_a_label_takes_as_little_of_the_path_as_tells_runs_apart(tmp_path: Path, release: Path) -> None:
    places = ("s1/run", "s2/run", "other")
    runs = [make_run(tmp_path / place, release, "lab/two", flat_means(), text=f"I hear you, {place}.") for place in places]
    odd = make_run(tmp_path / "odd", release, "lab/two (other)", flat_means())
    labels = [run.label for run in read_evidence([*runs, odd], release, Silent()).runs]
    assert labels[:2] == ["lab/two (s1/run)", "lab/two (s2/run)"]
    assert labels[2:] == ["lab/two (other) (run 3)", "lab/two (other) (run 4)"]


# --- One judge's result twice ----------------------------------------------------------------------------------------------------


def test_a_copy_of_a_result_counts_once(tmp_path: Path, release: Path, whole: Path) -> None:
    run = shutil.copytree(whole, tmp_path / "run")
    for kind in ("verdicts.jsonl", "result.json"):
        shutil.copy(run / f"judged.{kind}", run / f"again.{kind}")
    report = report_of(run, release=release)
    once = report_of(whole, release=release)
    assert [len(judgement.sections) for judgement in report.judgements] == [1]
    assert section_of(report).differences == section_of(once).differences
    assert len(report.costs.rows) == 1


def test_two_results_of_one_judge_that_differ_are_refused(tmp_path: Path, release: Path, whole: Path) -> None:
    run = shutil.copytree(whole, tmp_path / "run")
    for kind in ("verdicts.jsonl", "result.json"):
        shutil.copy(run / f"judged.{kind}", run / f"again.{kind}")
    lose(run, {("cga", "german"): 3})
    with pytest.raises(
        CultureCareError, match=r"judged\.result\.json: .*llama-3\.1-70b judged these replies twice, here and in again\.result"
    ):
        read_evidence([run], release, Silent())


# --- Repeating a run -------------------------------------------------------------------------------------------------------------


def test_the_command_of_a_run_on_the_half_that_is_never_trained_on_says_so(release: Path, whole: Path) -> None:
    evidence = read_evidence([whole], release, Silent())
    run, graded = evidence.runs[0], evidence.graded[0]
    assert run.manifest is not None
    assert "--held-out" not in describe_methods(evidence).commands
    half = replace(run, manifest=run.manifest.model_copy(update={"held_out": True}))
    commands = describe_methods(replace(evidence, runs=(half,), graded=(replace(graded, run=half),))).commands
    assert "--split test --release path/to/release --held-out --cultures" in commands


# --- Files that are none ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [500, 100_000])
def test_a_result_that_goes_deep_is_an_error_that_names_it(tmp_path: Path, release: Path, whole: Path, depth: int) -> None:
    run = shutil.copytree(whole, tmp_path / "run")
    (run / "judged.result.json").write_text('{"scores": ' + "[" * depth + "]" * depth + "}", encoding="utf-8")
    with pytest.raises(CultureCareError, match=r"judged\.result\.json: "):
        read_evidence([run], release, Silent())


def test_people_s_scores_that_go_deep_are_an_error_that_names_them(tmp_path: Path, release: Path, whole: Path) -> None:
    file = tmp_path / "score.json"
    file.write_text("[" * 100_000, encoding="utf-8")
    with pytest.raises(CultureCareError, match=r"score\.json: is nested too deeply, and must be a result of `culturecare human score`"):
        read_evidence([whole], release, Silent(), people=[file])


# --- Averages beside the published ones ------------------------------------------------------------------------------------------


def test_published_averages_stand_as_published_beside_a_run_on_the_same_cultures(release: Path, whole: Path) -> None:
    section = section_of(report_of(whole, release=release))
    assert (section.posts, section.published_over) == ("12 posts of each culture", "")
    assert [cell.published for cell in row_of(section, "standard")[4:]] == ["4.15 / 3.12", "3.63"]


def test_a_published_average_is_taken_over_the_cultures_of_the_run(
    tmp_path: Path, release: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, "german")
    german = make_run(tmp_path / "german", release, QWEN, of_cultures(published_means(QWEN), "german"))
    section = section_of(report_of(german, release=release))
    assert section.posts == "12 German posts"
    assert section.published_over == "published averages taken anew over German alone"
    assert [cell.published for cell in row_of(section, "standard")] == ["3.89 / 2.66", "3.89 / 2.66", "3.28"]
    # Beside a run on all cultures, the average says over which it is.
    both = report_of(whole, german, release=release).judgements[0].sections
    assert [row_of(one, "standard")[4].basis for one in both] == ["", "over German"]
    assert [row_of(one, "standard")[4].published for one in both] == ["4.15 / 3.12", "3.89 / 2.66"]
    assert [cell.figures for cell in row_of(both[1], "standard")[:2]] == ["–", "–"]
    assert both[1].profile_table.caption.startswith("Mean of each dimension over German, with")


def test_a_published_average_over_three_of_four_cultures_is_their_mean(
    tmp_path: Path, release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    three = ("arabic", "german", "jewish")
    only(monkeypatch, *three)
    run = make_run(tmp_path / "three", release, QWEN, of_cultures(published_means(QWEN), *three))
    [mean, overall] = row_of(section_of(report_of(run, release=release)), "standard")[3:]
    assert (mean.published, mean.figures) == ("4.11 / 3.09", "4.11 / 3.09")
    assert (overall.published, overall.figures) == ("3.60", "3.60")


def test_no_published_average_stands_beside_one_over_cultures_that_nothing_was_published_for() -> None:
    from culturecare_harness.report.published import published
    from culturecare_harness.report.scores import _published_averages, _published_over

    row = published().rows[0]
    assert _published_averages(row, ("german", "japanese")) == ("", "")
    assert _published_over(("german", "japanese")) == "no published average, since nothing was published for Japanese"


# --- Coverage --------------------------------------------------------------------------------------------------------------------


def test_a_cell_that_rests_on_some_of_the_replies_says_on_how_many(release: Path, partial_run: Path) -> None:
    section = section_of(report_of(partial_run, release=release))
    guided, cga = row_of(section, "guided"), row_of(section, "cga")
    assert [cell.basis for cell in guided] == ["", "", "n 2 of 12", "", "n 38 of 48", "n 38 of 48"]
    assert len(guided[2].intervals) == 2
    assert (cga[2].figures, cga[2].basis) == ("– / –", "n 0 of 12")
    assert (cga[4].figures, cga[4].basis) == ("– / –", "n 36 of 48; no grade in German")
    assert cga[4].published == ""
    assert {cell.basis for name in ("standard", "culture", "annotation") for cell in row_of(section, name)} == {""}


def test_a_mean_without_an_interval_says_so(tmp_path: Path, release: Path, whole: Path) -> None:
    run = shutil.copytree(whole, tmp_path / "run")
    lose(run, {("guided", "german"): 1})
    section = section_of(report_of(run, release=release))
    assert row_of(section, "guided")[2].intervals == ("no interval", "no interval")
    assert row_of(section, "guided")[4].intervals == ("no interval", "no interval")
    [row] = [row for row in section.heat_table.rows if row[:2] == ("guided", "Empathy")]
    assert row[4].endswith(" no interval, n 1 of 12")


def test_heat_maps_mark_cells_that_rest_on_some_of_the_replies_and_have_a_table_with_intervals(release: Path, partial_run: Path) -> None:
    section = section_of(report_of(partial_run, release=release))
    guided = dict(next(group.rows for group in section.heat if group.strategy == "guided"))
    assert section.is_partial
    assert all(cell.is_partial and cell.title.endswith("], 2 of 12 replies") for cell in guided["German"])
    assert all(not cell.is_partial and cell.title.endswith("], 12 replies") for cell in guided["Arabic"])
    table = section.heat_table
    assert table.head == ("Strategy", "Dimension", "Arabic", "Chinese", "German", "Jewish", "All (mean)")
    assert len(table.rows) == 5 * 7
    for row in table.rows:
        for place, culture in enumerate(("Arabic", "Chinese", "German", "Jewish"), 2):
            partly = culture == "German" and row[0] in {"guided", "cga"}
            assert "[" in row[place] or row[place] == "–"
            assert ("n 2 of 12" in row[place]) == (partly and row[0] == "guided")


def test_a_whole_run_has_no_mark(release: Path, whole: Path) -> None:
    section = section_of(report_of(whole, release=release))
    assert not section.is_partial
    assert {cell.basis for row in section.scores for cell in row.cells} == {""}
    assert section.forest is not None
    assert not any(row.is_partial for row in section.forest.rows)
    assert section.differences is not None
    assert "Mean over" not in section.differences.head
    assert "mean over Arabic, Chinese, German and Jewish" in section.differences.caption
    assert {row[7] for row in section.differences.rows} == {"48"}


def test_differences_over_fewer_cultures_than_others_say_over_which(release: Path, partial_run: Path) -> None:
    section = section_of(report_of(partial_run, release=release))
    assert section.differences is not None
    assert "mean over the cultures named in each row" in section.differences.caption
    assert section.differences.head[-1] == "Mean over"
    found = {row[1]: (row[7], row[-1]) for row in section.differences.rows if row[0] == "Cultural"}
    assert found == {
        "culture": ("48", "Arabic, Chinese, German and Jewish"),
        "guided": ("38 of 48", "Arabic, Chinese, German and Jewish"),
        "annotation": ("48", "Arabic, Chinese, German and Jewish"),
        "cga": ("36 of 48", "Arabic, Chinese and Jewish"),
    }
    assert section.forest is not None
    assert {row.label for row in section.forest.rows if row.is_partial} == {"guided", "cga"}


def test_an_adapter_s_differences_say_what_they_rest_on(tmp_path: Path, release: Path) -> None:
    base = make_run(tmp_path / "base", release, "lab/model", flat_means())
    adapted = make_run(tmp_path / "adapted", release, "lab/model", flat_means(), adapter="listener")
    lose(adapted, {("standard", "german"): 0})
    [section] = report_of(base, adapted, release=release).adapted
    found = {row[1]: (row[7], row[-1]) for row in section.differences.rows if row[0] == "Overall"}
    assert found["adapted, standard less base, standard"] == ("36 of 48", "Arabic, Chinese and Jewish")
    assert found["adapted, cga less base, cga"] == ("48", "Arabic, Chinese, German and Jewish")
    assert {row.label for row in section.forest.rows if row.is_partial} == {"standard", "standard (base: cga)"}


def test_html_and_markdown_say_it_too(tmp_path: Path, release: Path, partial_run: Path, whole: Path) -> None:
    html, md = (path.read_text(encoding="utf-8") for path in make_report([partial_run], tmp_path / "r.html", Silent(), release=release))
    for text in (html, md):
        assert "n 2 of 12" in text
        assert "n 36 of 48; no grade in German" in text
        assert "12 posts of each culture" in text
        assert "Mean of each dimension by culture, with 95 % intervals: Qwen2.5-7B-Instruct, judged by llama-3.1-70b" in text
    assert "*</td>" in html
    assert "*: not all replies have a grade" in html
    whole_page = make_report([whole], tmp_path / "w.html", Silent(), release=release)[0].read_text(encoding="utf-8")
    assert "*</td>" not in whole_page
    assert "*: not all replies have a grade" not in whole_page


# --- Judges ----------------------------------------------------------------------------------------------------------------------


def test_preferences_have_an_interval_for_every_rate(tmp_path: Path, release: Path, whole: Path) -> None:
    run = make_comparison(shutil.copytree(whole, tmp_path / "run"), release, {"cga": 0.9, "standard": 0.5})
    table = table_of(report_of(run, release=release).quality, "Preferences: ")
    assert table.caption.endswith("mean over Arabic, Chinese, German and Jewish")
    for row in table.rows:
        assert all("[" in cell for cell in row[3:6])
        assert row[6:] == ("48", "100 %")


def test_preferences_over_fewer_cultures_say_over_which(
    tmp_path: Path, release: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, "german", "arabic")
    two = make_run(tmp_path / "two", release, "lab/two", of_cultures(flat_means(), "german", "arabic"))
    make_comparison(two, release, {"cga": 0.9})
    table = table_of(report_of(whole, two, release=release).quality, "Preferences: ")
    assert "mean over the cultures named in each row" in table.caption
    assert [row[-1] for row in table.rows] == ["Arabic and German"]


def test_a_judge_held_against_people_has_an_interval_and_a_number_for_every_figure(tmp_path: Path, release: Path, whole: Path) -> None:
    quality = quality_by_people(read_evidence([whole], release, Silent()), follows=True)
    people = people_scores(judges=[{"judge": JUDGE, "identity": None, "metrics": [quality.model_dump(mode="json")]}])
    file = tmp_path / "score.json"
    file.write_text(json.dumps(people), encoding="utf-8")
    table = table_of(report_of(whole, release=release, people=[file]).quality, "The judge llama-3.1-70b held against people")
    [row] = table.rows
    assert all("[" in cell for cell in row[1:7])
    assert "pairs" in row[6]
    assert row[7:] == ("240", "100 %")
    assert "Without a value or an interval" not in table.note


def test_why_a_judge_s_figure_has_no_interval_is_said(tmp_path: Path, release: Path, whole: Path) -> None:
    quality = quality_by_people(read_evidence([whole], release, Silent()), follows=True).model_dump(mode="json")
    quality["kendall"] |= {"low": None, "high": None, "reason": "too few posts"}
    people = people_scores(judges=[{"judge": JUDGE, "identity": None, "metrics": [quality]}])
    file = tmp_path / "score.json"
    file.write_text(json.dumps(people), encoding="utf-8")
    table = table_of(report_of(whole, release=release, people=[file]).quality, "The judge llama-3.1-70b held against people")
    assert table.note.endswith("Without a value or an interval: Kendall of Cultural: too few posts.")


def test_checks_say_their_coverage(tmp_path: Path, release: Path, whole: Path) -> None:
    check = tmp_path / "check.json"
    check.write_text(json.dumps(check_report(wins=20, n=20, low=0.84, high=1.0)), encoding="utf-8")
    [row] = table_of(report_of(whole, release=release, checks=[check]).quality, "Checks of the judges").rows
    assert row[4] == "+0.10 [+0.00, +0.20], 20 posts"
    assert row[6] == "100.0 %"


# --- People ----------------------------------------------------------------------------------------------------------------------


def people_scores(**fields: Any) -> dict[str, Any]:
    """A `human score` result that says little."""
    return {
        "packet": "packet-1",
        "form": "annotator",
        "questions": [question.model_dump(mode="json") for question in select_form("annotator").questions],
        "raters": 2,
        "items": 48,
        "split": "test",
        "conditions": ["lab/model:cga", "peer"],
        "cultures": ["german"],
        "judges": [],
        **fields,
    }


def test_people_s_means_have_raters_and_coverage() -> None:
    score = {
        "condition": "lab/model:cga",
        "metric": "empathy",
        "mean": 4.0,
        "low": 3.5,
        "high": 4.5,
        "n": 4,
        "ratings": 4,
        "raters": 2,
        "coverage": 0.1,
        "reason": None,
    }
    bare = {"mean": 4.0, "low": None, "high": None, "n": 1, "reason": "one post in a culture tells nothing of how far the mean may vary"}
    scores = [score | {"culture": "german"}, score | {"culture": "all"}, score | bare | {"culture": "all", "metric": "helpfulness"}]
    people = PeopleScores.model_validate(people_scores(scores=scores))
    table = table_of(tuple(people_tables_of(people)), "Mean grades by people over German")
    assert table.head == ("Condition", "Question", "Mean", "95 % interval", "Posts", "Raters", "Coverage")
    assert table.rows[0][2:] == ("4.00", "[3.50, 4.50]", "4", "2", "10 %")
    assert table.rows[1][3] == bare["reason"]


def people_tables_of(*people: PeopleScores) -> list[Table]:
    from types import SimpleNamespace

    return list(people_tables(SimpleNamespace(people=people)))  # type: ignore[arg-type]


def test_raters_appear_under_codes() -> None:
    names = ("ann", "ann-2", "ben", "german-1", "an")
    people = PeopleScores.model_validate(people_scores(rater_quality=[{"rater": name, "items": 3} for name in names]))
    note = "Raters who failed count (the tables without them: without_failed): ben failed 2 of 2 attention checks; ann-2 failed 1 of 2."
    assert without_names(people, note) == (
        "Raters who failed count (the tables without them: without_failed): rater 3 failed 2 of 2 attention checks; rater 2 failed 1 of 2."
    )
    assert without_names(people, "Raters without an answer: ann, german-1.") == "Raters without an answer: rater 1, german-1."


def test_the_names_of_a_packet_s_raters_stand_nowhere_in_the_report(tmp_path: Path) -> None:
    names = {"german": ["ann", "ben", "cho"], "american": ["dov", "eva", "fay"]}
    packet = small_packet(tmp_path / "packet", raters=names, checks=2).packet
    for rater in list(packet.assignments)[:5]:
        append_ratings(packet, answers(packet, rater))
    _, file = score_packet(packet.folder, at=NOON)
    for path in make_report([sample_run(tmp_path / "run")], tmp_path / "report.html", Silent(), people=[file]):
        text = path.read_text(encoding="utf-8")
        assert "attention checks" in text
        assert "Raters without an answer" in text
        assert not re.search(r"\b(ann|ben|cho|dov|eva|fay)\b", text)


def test_a_rater_s_name_that_is_a_word_leaves_other_notes_alone() -> None:
    people = PeopleScores.model_validate(people_scores(rater_quality=[{"rater": "an"}, {"rater": "posts"}]))
    note = "Intervals are over posts: they tell how far a number would move with other posts, not with other raters."
    assert without_names(people, note) == note


# --- Figures ---------------------------------------------------------------------------------------------------------------------


def test_counts_and_cultures_in_words() -> None:
    assert (of_all(12, 12), of_all(1002, 2000)) == ("12", "1,002 of 2,000")
    assert (cultures_listed(("german",)), cultures_listed(("arabic", "unheard-of"))) == ("German", "Arabic and unheard-of")
    assert cultures_listed(()) == "no culture"
