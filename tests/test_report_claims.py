"""The claims' answers: when data can carry one, and what each says of what it rests on."""

from __future__ import annotations

import dataclasses
import json
import random
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from culturecare import CultureCareError
from culturecare_harness.human.analysis import score_ratings
from culturecare_harness.human.forms import select_form
from culturecare_harness.human.items import read_key
from culturecare_harness.human.packets import make_packet
from culturecare_harness.jury import build_jury_result, jury_verdicts, seat, select_jury
from culturecare_harness.records import Model, Reply, Verdict, read_records, write_json, write_records
from culturecare_harness.report import testing
from culturecare_harness.report.claims import answer_claims
from culturecare_harness.report.evidence import read_evidence
from culturecare_harness.report.people import PeopleScores
from culturecare_harness.report.testing import Pair
from culturecare_harness.runs import REPLIES
from tests import raters
from tests.published_runs import RELEASED, STRATEGIES, flat_means, make_comparison, make_release, make_run
from tests.test_report import ADAPTED, CLEAR, Silent, agreement, answers, judge_by_people, people

if TYPE_CHECKING:
    from pathlib import Path

    from culturecare_harness.human.forms import Question
    from culturecare_harness.human.items import Item
    from culturecare_harness.report.claims import Answer

KEPT = (0.4, 0.15)
"""A spread at which the differences of `CLEAR` are found."""


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made-up release of 12 posts a culture, with full text."""
    return make_release(tmp_path_factory.mktemp("release"), dict.fromkeys(RELEASED, 12))


@pytest.fixture(scope="module")
def clear(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in which `cga` is the best on culture, as its judge says."""
    return make_run(tmp_path_factory.mktemp("clear") / "run", release, "lab/model", CLEAR, spread=KEPT)


@pytest.fixture
def run(clear: Path, tmp_path: Path) -> Path:
    """A copy of that run, which a test may change."""
    return shutil.copytree(clear, tmp_path / "run")


def why(answer: Answer) -> str:
    """Why a claim is undecided."""
    assert answer.status == "undecided"
    return " | ".join(reason for finding in answer.findings for reason in finding.refusals)


# --- Grades ----------------------------------------------------------------------------------------------------------------------


def test_a_judge_that_gives_everything_the_same_grade_decides_nothing(tmp_path: Path, release: Path) -> None:
    same = {(strategy, culture): (5.0, 5.0) for strategy in STRATEGIES for culture in RELEASED}
    found = answers(make_run(tmp_path / "run", release, "lab/model", same, spread=(0.0, 0.0)), release=release)
    assert "gave every reply by cga and culture the same cultural score (5.00)" in why(found[2])
    assert "gave every reply by cga, standard, culture, guided and annotation the same cultural score (5.00)" in why(found[3])
    assert all(test.low is None and test.outcome != "failed" for finding in found[3].findings for test in finding.tests)


@pytest.mark.parametrize(
    ("sizes", "values", "chances"),
    [
        ((12,), (0.0, 2.0), (0.95, 0.05)),
        ((12,) * 4, (0.0, 2.0), (0.95, 0.05)),
        ((40,) * 4, (-0.1, 1.9), (0.9, 0.1)),
        ((12,) * 4, (0.0, 1.0), (0.9, 0.1)),
    ],
)
def test_a_difference_of_interest_that_few_posts_show_is_seldom_called_too_small(
    sizes: tuple[int, ...], values: tuple[float, ...], chances: tuple[float, ...]
) -> None:
    """The true mean is the smallest difference of interest, so that `failed` is a false alarm."""
    chance, studies, failed = random.Random(7), 100, 0  # noqa: S311
    posts = {f"{culture}-{number}": str(culture) for culture, size in enumerate(sizes) for number in range(size)}
    for _ in range(studies):
        a: dict[str, float | None] = {post: chance.choices(values, chances)[0] for post in posts}
        [test] = testing.tested([Pair(("a", "b"), "cultural", a, dict.fromkeys(posts, 0.0), posts, (-4.0, 4.0))], 0.1)
        failed += test.outcome == "failed"
    assert failed <= 6  # The level is 2.5 %.


def test_a_strategy_without_replies_to_some_posts_lacks_coverage(release: Path, run: Path) -> None:
    evidence = read_evidence([run], release, Silent())
    [graded] = evidence.graded
    cultural = graded.values["cultural"]
    fewer = {post: value for post, value in cultural["cga"].items() if graded.cultures[post] != "arabic"}
    changed = dataclasses.replace(graded, values={**graded.values, "cultural": {**cultural, "cga": fewer}})
    found = {answer.claim.number: answer for answer in answer_claims(dataclasses.replace(evidence, graded=(changed,)))}
    assert "only 75.0 % of the posts have a reply by cga with a cultural score, but 98 % must" in why(found[3])


# --- Cultures --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cultures", "where"),
    [(("german",), "lab/model in German alone."), (("arabic", "german"), "lab/model in Arabic and German."), (RELEASED, "lab/model.")],
)
def test_an_answer_says_in_which_cultures_it_holds_where_the_paper_has_more(
    tmp_path: Path, release: Path, cultures: tuple[str, ...], where: str
) -> None:
    means = {place: mean for place, mean in CLEAR.items() if place[1] in cultures}
    run = make_run(tmp_path / "run", release, "lab/model", means, spread=KEPT)
    make_comparison(run, release, dict.fromkeys(ADAPTED, 1.0))
    rated = people(tmp_path / "score.json", unsuitable=(0.12, 0.06, 0.2), cultures=cultures)
    found = answers(run, release=release, people=[rated])
    assert {answer.status for answer in found.values()} == {"supported"}
    assert [found[number].because.startswith(f"It holds for {where}") for number in (1, 2, 3)] == [True] * 3
    assert f"(4 raters (psychologist){where.removeprefix('lab/model').removesuffix('.')})" in found[4].because


def test_models_on_other_cultures_are_told_apart_in_the_answer(tmp_path: Path, clear: Path, release: Path) -> None:
    german = {place: mean for place, mean in CLEAR.items() if place[1] == "german"}
    other = make_run(tmp_path / "other", release, "lab/other", german, spread=KEPT)
    found = answers(clear, other, release=release)[2]
    assert "It holds for lab/model and lab/other (in German alone)." in found.because


# --- Preferences -----------------------------------------------------------------------------------------------------------------


def test_the_interval_of_a_win_rate_is_honest_where_all_were_won(release: Path, run: Path) -> None:
    make_comparison(run, release, dict.fromkeys(ADAPTED, 1.0))
    found = answers(run, release=release)[1]
    assert found.status == "supported"
    for test in found.findings[0].tests:
        assert test.value == 0.5
        assert test.low == pytest.approx(0.43, abs=0.01)
        assert test.high == 0.5


def test_a_win_rate_has_no_interval_beyond_its_ends(release: Path, run: Path) -> None:
    make_comparison(run, release, dict.fromkeys(ADAPTED, 0.97))
    tests = answers(run, release=release)[1].findings[0].tests
    assert all(test.low is not None and test.high is not None and -0.5 <= test.low < test.high <= 0.5 for test in tests)


def test_a_judge_that_prefers_no_reply_to_another_decides_nothing(release: Path, run: Path) -> None:
    make_comparison(run, release, dict.fromkeys(ADAPTED, 1.0))
    file = run / "pairs-peer.verdicts.jsonl"
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        row["backward"] = row["forward"] | {"winner": "second"}
        row |= {"value": 0.5, "flip": True, "tie": False}
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert "found no reply of any pair better, or another one once places were exchanged" in why(answers(run, release=release)[1])


@pytest.mark.parametrize("lines", [slice(60), slice(1, None)], ids=["60 of 192", "all but the first"])
def test_a_comparison_that_lacks_lines_is_refused(release: Path, run: Path, lines: slice) -> None:
    make_comparison(run, release, dict.fromkeys(ADAPTED, 0.9))
    file = run / "pairs-peer.verdicts.jsonl"
    file.write_text("".join(file.read_text(encoding="utf-8").splitlines(keepends=True)[lines]), encoding="utf-8")
    with pytest.raises(CultureCareError, match=r"has \d+ verdicts? on .*, but its result counts 12; compare the replies again"):
        read_evidence([run], release, Silent())


# --- A user's own posts ----------------------------------------------------------------------------------------------------------


def own_run(folder: Path, **fields: Any) -> Path:
    """A run on posts of a user's own that have these fields, compared with the peers."""
    posts = folder / "mine.jsonl"
    released = make_release(folder / "posts", dict.fromkeys(RELEASED, 12))
    rows = [json.loads(line) for file in sorted(released.iterdir()) for line in file.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        row |= {"post_id": f"{row['culture']}-{row['post_id']}", **fields}
        row["post"].pop("url")
    posts.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    run = make_run(folder / "own", posts, "lab/model", CLEAR, spread=KEPT, split="own")
    shutil.copy(posts, run / "posts.jsonl")
    return make_comparison(run, posts, dict.fromkeys(ADAPTED, 0.95), split="own")


def test_no_claim_is_concluded_from_own_posts_that_are_synthetic(tmp_path: Path) -> None:
    rated = people(tmp_path / "score.json", unsuitable=(0.12, 0.06, 0.2))
    found = answers(own_run(tmp_path, synthetic=True), release=None, people=[rated])
    assert all("48 of 48 posts are synthetic" in why(found[number]) for number in (1, 2, 3, 4))


def test_claims_are_concluded_from_own_posts_of_people(tmp_path: Path) -> None:
    rated = people(tmp_path / "score.json", unsuitable=(0.12, 0.06, 0.2))
    found = answers(own_run(tmp_path), release=None, people=[rated])
    assert {number: answer.status for number, answer in found.items()} == dict.fromkeys((1, 2, 3, 4), "supported")


def test_no_claim_about_replies_that_show_annotations_is_concluded_where_a_model_annotated(tmp_path: Path) -> None:
    rated = people(tmp_path / "score.json", unsuitable=(0.12, 0.06, 0.2))
    found = answers(own_run(tmp_path, annotator="lab/annotator"), release=None, people=[rated])
    assert all("a model, not people, annotated 48 of 48 posts, and" in why(found[number]) for number in (1, 2, 3, 4))


# --- Judges held against people --------------------------------------------------------------------------------------------------


def judged_by_people(tmp_path: Path, run: Path, release: Path, *, follows: bool, **fields: Any) -> dict[int, Answer]:
    evidence = read_evidence([run], release, Silent())
    file = tmp_path / "held.json"
    file.write_text(json.dumps(judge_by_people(evidence, follows=follows, **fields)), encoding="utf-8")
    return answers(run, release=release, people=[file])


def test_people_disprove_a_judge_by_whatever_name_their_result_calls_it(tmp_path: Path, run: Path, release: Path) -> None:
    found = judged_by_people(tmp_path, run, release, follows=False, name="llama-3.1-70b (2d2dea26ea23)")[3]
    assert "are not shown to follow people's" in why(found)


@pytest.mark.parametrize("changed", [{"mode": "argmax"}, {"settings_hash": "0" * 16}, {"prompt_hash": "0" * 16}, {"model": "lab/other"}])
def test_another_judge_of_the_same_name_is_not_the_one_that_people_were_held_beside(
    tmp_path: Path, run: Path, release: Path, changed: dict[str, str]
) -> None:
    for follows in (True, False):
        found = judged_by_people(tmp_path, run, release, follows=follows, identity=changed)[3]
        assert found.status == "supported"
        assert any(caveat.startswith("Nobody has held the judge llama-3.1-70b against people") for caveat in found.caveats)


def test_a_jury_is_known_by_its_name(tmp_path: Path, run: Path, release: Path) -> None:
    other = make_run(tmp_path / "other", release, "lab/model", CLEAR, judge="o3-mini", spread=KEPT)
    seats = seat(select_jury("paper"), {"lab/model"})
    replies = read_records(run / REPLIES, Reply)
    by_juror = {
        judge: read_records(folder / "judged.verdicts.jsonl", Verdict) for judge, folder in (("llama-3.1-70b", run), ("o3-mini", other))
    }
    write_records(run / "judged.verdicts.jsonl", jury_verdicts(by_juror, seats.jury))
    write_json(run / "judged.result.json", build_jury_result(replies, by_juror, seats, Model(name="lab/model", backend="hf", arguments={})))
    scores = judge_by_people(read_evidence([run], release, Silent()), follows=False)
    file = tmp_path / "held.json"
    for name, status in (("jury paper", "undecided"), ("jury another", "supported")):
        scores["judges"][0] |= {"judge": name, "identity": None}
        file.write_text(json.dumps(scores), encoding="utf-8")
        assert answers(run, release=release, people=[file])[3].status == status


def test_grades_that_people_disprove_leave_the_judges_preferences_without_a_say(tmp_path: Path, run: Path, release: Path) -> None:
    make_comparison(run, release, dict.fromkeys(ADAPTED, 1.0))
    for follows, status in ((True, "supported"), (False, "undecided")):
        evidence = read_evidence([run], release, Silent())
        scores = judge_by_people(evidence, follows=follows)
        scores["judges"][0]["metrics"][0] |= {"metric": "overall"}
        file = tmp_path / "held.json"
        file.write_text(json.dumps(scores), encoding="utf-8")
        found = answers(run, release=release, people=[file])[1]
        assert found.status == status
        assert found.caveats[-1] == (
            "The grades of the judge llama-3.1-70b were held against people's, its preferences between two replies were not."
        )


def test_ratings_of_another_models_replies_do_not_count_for_a_judge_and_are_named(tmp_path: Path, run: Path, release: Path) -> None:
    for follows, also in ((True, ""), (False, ", and its cultural scores are not shown to follow people's there")):
        found = judged_by_people(tmp_path, run, release, follows=follows, conditions=["lab/other:cga", "peer"])[3]
        assert found.status == "supported"
        assert f"The judge llama-3.1-70b was held against people on replies by lab/other alone{also}." in found.caveats


def test_ratings_that_tell_nothing_of_a_judge_are_said_to_be_too_few(tmp_path: Path, run: Path, release: Path) -> None:
    evidence = read_evidence([run], release, Silent())
    scores = judge_by_people(evidence, follows=True)
    scores["judges"][0]["metrics"][0]["metric"] = "emotional"
    file = tmp_path / "held.json"
    file.write_text(json.dumps(scores), encoding="utf-8")
    found = answers(run, release=release, people=[file])[3]
    assert any(caveat.startswith("People's ratings are too few to tell whether the cultural scores of") for caveat in found.caveats)


# --- Psychologists ---------------------------------------------------------------------------------------------------------------


def rated_as(path: Path, coefficients: list[dict[str, Any]], **shares: float) -> Path:
    """A result in which psychologists found 6 % not suitable, with coefficients and shares of other answers as named."""
    file = people(path, unsuitable=(0.06, 0.03, 0.12))
    scores = json.loads(file.read_text(encoding="utf-8"))
    shown = {"question": "training_use", "about": "models", "items": 60, "low": 0.0, "high": 1.0}
    scores["shares"] += [shown | {"value": value, "share": share} for value, share in shares.items()]
    file.write_text(json.dumps(scores | {"agreement": coefficients}), encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("coefficients", "shares", "status"),
    [
        pytest.param([agreement("alpha_ordinal", 0.0, -0.1), agreement("ac2", 0.44, 0.3)], {}, "undecided", id="AC2 alone"),
        pytest.param([agreement("alpha_ordinal", 0.4, 0.2), agreement("ac2", 0.7, 0.5)], {}, "supported", id="alpha"),
        pytest.param(
            [agreement("alpha_ordinal", 0.0, -0.1), agreement("weighted_kappa", 0.4, 0.2)], {}, "undecided", id="kappa with alpha"
        ),
        pytest.param([agreement("alpha_ordinal", None, None), agreement("weighted_kappa", 0.4, 0.2)], {}, "supported", id="kappa alone"),
        pytest.param([agreement("alpha_ordinal", 1.0, None)], {}, "supported", id="alpha is 1"),
        pytest.param([agreement("alpha_ordinal", 1.0, None, items=9)], {}, "undecided", id="alpha is 1 on nine posts"),
        pytest.param(
            [agreement("alpha_ordinal", None, None), agreement("ac2", 1.0, None)], {"with_revision": 1.0}, "supported", id="all equal"
        ),
        pytest.param(
            [agreement("alpha_ordinal", 0.02, -0.1), agreement("ac2", 0.9, 0.8)], {"with_revision": 0.92}, "supported", id="nearly all"
        ),
        pytest.param(
            [agreement("alpha_ordinal", 0.02, -0.1), agreement("ac2", 0.7, 0.6)], {"with_revision": 0.7}, "undecided", id="not nearly all"
        ),
    ],
)
def test_psychologists_agree_where_an_alpha_says_so_or_nearly_all_answers_are_equal(
    tmp_path: Path, run: Path, release: Path, coefficients: list[dict[str, Any]], shares: dict[str, float], status: str
) -> None:
    assert answers(run, release=release, people=[rated_as(tmp_path / "score.json", coefficients, **shares)])[4].status == status


@pytest.mark.parametrize(
    ("kind", "agree"),
    [("at random", False), ("as one", True), ("with noise", True), ("always the same", True)],
    ids=str,
)
def test_psychologists_who_answer_at_random_do_not_agree_and_those_who_answer_alike_do(tmp_path: Path, kind: str, agree: bool) -> None:  # noqa: FBT001
    runs = [raters.make_run("lab/A-7B", ("standard", "culture", "cga"), RELEASED)]
    made = make_packet(
        runs,
        select_form("psychologist"),
        raters={"all": 3},
        out=tmp_path / "packet",
        raters_per_item=3,
        per_item=4,
        checks=0,
        repeats=0,
        seed=1,
    )
    ratings = []
    for rater in made.packet.assignments:
        alone = random.Random(rater)  # noqa: S311

        def answer(question: Question, item: Item, label: str | None, alone: random.Random = alone) -> int | str | None:
            if question.kind == "text":
                return None
            together = random.Random(f"{item.id}{label}{question.key}")  # noqa: S311
            chance = alone if kind == "at random" or (kind == "with noise" and alone.random() < 0.3) else together
            if question.key != "training_use":
                return chance.choice(question.values).value
            if kind == "always the same":
                return "with_revision"
            return chance.choices(("strong_example", "with_revision", "not_suitable"), (46, 42, 12))[0]

        ratings += raters.answers(made.packet, rater, answer=answer)
    result = score_ratings(made.packet, read_key(made.packet), ratings, at=raters.NOON)
    write_json(tmp_path / "score.json", result)
    scores = PeopleScores.model_validate_json((tmp_path / "score.json").read_text(encoding="utf-8"))
    assert (scores.without_agreement("training_use") == []) is agree


def test_ratings_of_another_models_replies_answer_nothing(tmp_path: Path, run: Path, release: Path) -> None:
    conditions = ("lab/another-model:cga", "peer")
    found = answers(run, release=release, people=[people(tmp_path / "score.json", unsuitable=(0.12, 0.06, 0.2), conditions=conditions)])[4]
    assert "packet packet-1 rates replies by lab/another-model alone, which this report is not about" in why(found)
    assert found.findings[0].model == "replies of other models"


def test_ratings_of_another_run_of_the_same_model_answer_nothing(tmp_path: Path, run: Path, release: Path) -> None:
    rated = people(tmp_path / "score.json", unsuitable=(0.06, 0.03, 0.12))
    own = [json.loads(line)["id"] for line in (run / "replies.jsonl").read_text(encoding="utf-8").splitlines()[:3]]
    for replies, status in ((own, "supported"), ([*own, "0" * 16], "undecided")):
        rated.write_text(json.dumps(json.loads(rated.read_text(encoding="utf-8")) | {"replies": replies}), encoding="utf-8")
        found = answers(run, release=release, people=[rated])[4]
        assert found.status == status
    assert "1 of the 4 replies that packet packet-1 rates are of other runs of these models" in why(found)


@pytest.mark.parametrize(("other", "named"), [("lab/other:cga", "lab/other"), ("lab/model:unknown", "lab/model:unknown")])
def test_a_share_over_other_replies_too_answers_nothing(tmp_path: Path, run: Path, release: Path, other: str, named: str) -> None:
    rated = people(tmp_path / "score.json", unsuitable=(0.12, 0.06, 0.2), conditions=("lab/model:cga", other, "peer"))
    found = answers(run, release=release, people=[rated])[4]
    assert f"rates replies by {named} too, which this report is not about, and the share is of all replies together" in why(found)


def test_models_that_no_psychologist_rated_are_named(tmp_path: Path, run: Path, release: Path) -> None:
    other = make_run(tmp_path / "other", release, "lab/other", flat_means())
    rated = people(tmp_path / "score.json", unsuitable=(0.12, 0.06, 0.2))
    found = answers(run, other, release=release, people=[rated])[4]
    assert found.status == "supported"
    assert found.findings[0].model == "replies of lab/model"
    assert found.caveats == ("The psychologists rated no reply of lab/other.",)
