"""Scores of a packet: what is known of a made-up study is found again, and what cannot be told is not."""

from __future__ import annotations

import datetime as dt
import io
import json
import math
import random
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
from rich.console import Console

from culturecare import CultureCareError, DataError
from culturecare_harness.against_people import PersonGrade, judge_against_people
from culturecare_harness.human.analysis import HumanResult, PeopleTables, score_packet, score_ratings, scores_path
from culturecare_harness.human.answers import Answers, RatedReply
from culturecare_harness.human.condition_scores import condition_scores
from culturecare_harness.human.forms import Question, select_form
from culturecare_harness.human.items import Key, open_packet, read_key
from culturecare_harness.human.judge_choice import JudgeScores, read_judges
from culturecare_harness.human.packets import MadePacket, make_packet
from culturecare_harness.human.rater_quality import FailRule
from culturecare_harness.human.ratings import append_ratings, read_ratings
from culturecare_harness.human.tables import print_human_result
from culturecare_harness.judges import select_judge
from culturecare_harness.jury import JuryVerdict, build_jury_result, jury_verdicts, seat
from culturecare_harness.pairs import PEER
from culturecare_harness.records import Model, Verdict, reply_id, write_json, write_records
from culturecare_harness.report.people import read_people
from culturecare_harness.rubrics import select_rubric
from tests.bundles import jury_of
from tests.raters import NOON, answers, make_run, small_packet

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from culturecare_harness.human.items import Item, KeyEntry, OpenPacket
    from culturecare_harness.human.rater_quality import RaterQuality
    from culturecare_harness.human.ratings import Rating
    from culturecare_harness.runs import ReplySet

    Answer = Callable[[Question, Item, str | None], int | str | Sequence[str] | None]

QUALITY = {
    "lab/Listener-7B:standard": 2.5,
    "lab/Listener-7B:cga": 3.5,
    "lab/Speaker-8B:standard": 2.9,
    "lab/Speaker-8B:cga": 3.9,
    PEER: 2.1,
}
DIMENSIONS = [dimension.key for dimension in select_rubric("culturecare").dimensions]
JUDGE = select_judge("llama-3.1-70b").judge


def many_posts(model: str, copies: int, cultures: Sequence[str] = ("german", "american")) -> ReplySet:
    """Replies to the sample's posts, each post taken several times under other names."""
    run = make_run(model, cultures=cultures)
    replies, posts, instances = [], {}, []
    for number in range(copies):
        for instance in run.instances:
            instances.append(instance.model_copy(update={"id": f"{instance.id}-{number}"}))
            posts[f"{instance.id}-{number}"] = run.posts[instance.id]
        for reply in run.replies:
            name = f"{reply.instance_id}-{number}"
            changed = {"instance_id": name, "id": reply_id(name, reply.strategy, model, reply.text)}
            replies.append(reply.model_copy(update=changed))
    replies.sort(key=lambda reply: reply.strategy, reverse=True)
    return run.model_copy(update={"replies": tuple(replies), "posts": posts, "instances": tuple(instances)})


class Study(NamedTuple):
    """A made-up study and its truth.

    Attributes:
        severity: Each careful rater's, less the mean of the culture's.
        truth: What each reply of a post is worth.
    """

    made: MadePacket
    ratings: list[Rating]
    severity: dict[str, float]
    truth: dict[tuple[str, str], float]

    def judge(self, name: str, noise: float, bias: float = 0.0, *, seed: int = 0, measure: bool = True) -> JudgeScores:
        """A judge that sees the truth with noise, and is off by a bias."""
        chance = random.Random(f"{name}/{seed}")  # noqa: S311 - no secret.
        scores: dict[str, dict[str, float | None]] = {}
        for entry in self.made.key.entries:
            if entry.kind == "reply" and entry.reply_id is not None and entry.reply_id not in scores:
                seen = self.truth[entry.instance_id, str(entry.condition)] + bias + chance.gauss(0, noise)
                scores[entry.reply_id] = {key: min(5.0, max(1.0, seen + chance.gauss(0, 0.1))) for key in DIMENSIONS}
        return JudgeScores(name, "culturecare", JUDGE.model_copy(update={"name": name}), measure, scores)

    def score(self, *judged: JudgeScores, **settings: Any) -> HumanResult:
        return score_ratings(self.made.packet, self.made.key, self.ratings, judged, at=NOON, **settings)


def known_study(
    folder: Path,
    seed: int,
    *,
    copies: int = 3,
    noise: float = 0.5,
    reply_spread: float = 0.4,
    careless: bool = False,
    missing: float = 0.0,
    quality: Mapping[str, float] = QUALITY,
    severities: Sequence[float] = (-0.5, -0.2, 0.1, 0.6),
    cultures: Sequence[str] = ("german", "american"),
    per_item: int = 5,
) -> Study:
    """Raters of known severity and noise grade conditions of known quality; the last rater of each culture may be careless."""
    chance = random.Random(f"study/{seed}")  # noqa: S311 - no secret.
    runs = [many_posts(model, copies, cultures) for model in ("lab/Listener-7B", "lab/Speaker-8B")]
    made = make_packet(
        runs,
        select_form("annotator"),
        out=folder / f"packet-{seed}",
        raters=dict.fromkeys(cultures, len(severities)),
        raters_per_item=3,
        per_item=per_item,
        seed=seed,
    )
    entries = {(entry.item, entry.label): entry for entry in made.key.entries}
    truth: dict[tuple[str, str], float] = {}
    for run in runs:
        for instance in run.instances:
            level = chance.gauss(0, 0.2)
            for condition, mean in quality.items():
                truth.setdefault((instance.id, condition), mean + level + chance.gauss(0, reply_spread))
    severity, ratings = {}, []
    for rater, assignment in made.packet.assignments.items():
        number = int(rater.rpartition("-")[2]) - 1
        if careless and number == len(severities) - 1:
            ratings += answers(made.packet, rater, answer=careless_answers(chance, entries))
        else:
            ratings += answers(made.packet, rater, answer=careful_answers(chance, entries, truth, severities[number], noise, missing))
            severity[rater] = severities[number] - sum(severities) / len(severities)
        assert assignment.culture in cultures
    return Study(made, ratings, severity, truth)


def careful_answers(
    chance: random.Random,
    entries: Mapping[tuple[str, str], KeyEntry],
    truth: Mapping[tuple[str, str], float],
    severity: float,
    noise: float,
    missing: float,
) -> Answer:
    """Grades and ranks by the truth with noise, and passes attention checks."""

    def seen(item: Item, label: str) -> float:
        entry = entries[item.id, label]
        return truth[entry.instance_id, str(entry.condition)] + severity + chance.gauss(0, noise)

    def answer(question: Question, item: Item, label: str | None) -> int | str | Sequence[str] | None:
        if question.kind == "text":
            return None
        if question.kind == "ranking":
            return sorted(item.labels, key=lambda label: -seen(item, label))
        entry = entries[item.id, str(label)]
        if entry.kind == "check":
            return entry.expected if question.key == entry.question else 3
        if chance.random() < missing:
            return None
        return min(5, max(1, round(seen(item, str(label)))))

    return answer


def careless_answers(chance: random.Random, entries: Mapping[tuple[str, str], KeyEntry]) -> Answer:
    """Grades by chance, and never as a check asks."""

    def answer(question: Question, item: Item, label: str | None) -> int | str | Sequence[str] | None:
        if question.kind == "text":
            return None
        if question.kind == "ranking":
            return chance.sample(item.labels, len(item.labels))
        entry = entries[item.id, str(label)]
        if entry.kind == "check" and question.key == entry.question:
            return 5 if entry.expected != 5 else 1
        return chance.randint(1, 5)

    return answer


def of_rater(result: HumanResult, rater: str) -> RaterQuality:
    return next(one for one in result.rater_quality if one.rater == rater)


def mean_of(tables: PeopleTables, condition: str, metric: str = "overall", culture: str = "all") -> Any:
    [score] = [one for one in tables.scores if (one.condition, one.metric, one.culture) == (condition, metric, culture)]
    return score


def choice_of(tables: PeopleTables, culture: str = "all") -> Any:
    return next(choice for choice in tables.choices if choice.culture == culture)


# --- What is known is found again ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Two cultures, in each of which the last rater is careless."""
    return known_study(tmp_path_factory.mktemp("study"), 1, copies=2, careless=True, missing=0.03)


@pytest.fixture(scope="module")
def result(study: Study) -> HumanResult:
    return study.score()


@pytest.fixture(scope="module")
def judged_study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """One culture, in which the last rater is careless."""
    return known_study(tmp_path_factory.mktemp("judged"), 2, copies=2, careless=True, cultures=["german"])


@pytest.fixture(scope="module")
def plain_study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """One culture, in which nobody is careless."""
    return known_study(tmp_path_factory.mktemp("plain"), 8, copies=2, severities=(-0.5, 0.1, 0.4), cultures=["german"])


@pytest.fixture(scope="module")
def judged(judged_study: Study) -> HumanResult:
    settings = {"good": (0.3, 0.0), "kind": (0.3, 0.6), "poor": (1.0, 0.0), "blind": (50.0, 0.0)}
    return judged_study.score(*(judged_study.judge(name, noise, bias) for name, (noise, bias) in settings.items()))


def test_conditions_come_in_their_true_order(result: HumanResult) -> None:
    best_first = sorted(QUALITY, key=lambda condition: -QUALITY[condition])
    assert result.strengths is not None
    assert [one.contestant for one in result.strengths.strengths] == best_first
    for tables in (result, result.without_failed):
        assert tables is not None
        assert sorted(QUALITY, key=lambda condition: -mean_of(tables, condition).mean) == best_first
    ranks = {one.condition: one.mean_rank or 0.0 for one in result.ranks if one.culture == "all"}
    assert sorted(ranks, key=lambda condition: ranks[condition]) == best_first


def test_the_careless_fail_and_nobody_else(result: HumanResult) -> None:
    failed = {one.rater for one in result.rater_quality if one.failed}
    assert failed == {"german-4", "american-4"}
    careless, careful = of_rater(result, "german-4"), of_rater(result, "german-1")
    assert careless.failed == ("failed 2 of 2 attention checks",)
    assert careful.checks_failed == 0
    assert (careless.repeated_exact or 0) < 0.3 < (careful.repeated_exact or 0)
    assert (careless.repeated_difference or 0) > 2 * (careful.repeated_difference or 0)


def test_failed_raters_count_unless_told_otherwise_and_both_ways_are_there(study: Study, result: HumanResult) -> None:
    assert result.excluded == ()
    assert result.with_failed is None
    assert result.without_failed is not None
    assert (result.raters, result.without_failed.raters) == (8, 6)
    assert any("american-4 failed 2 of 2" in note for note in result.notes)
    left_out = study.score(exclude_failed=True)
    assert set(left_out.excluded) == {"german-4", "american-4"}
    assert left_out.without_failed is None
    assert left_out.with_failed is not None
    assert (left_out.raters, left_out.with_failed.raters) == (6, 8)
    assert left_out.scores == result.without_failed.scores
    assert left_out.with_failed.scores == result.scores
    assert len(left_out.rater_quality) == 8  # Who was left out is still described.


def test_without_the_careless_agreement_is_higher(result: HumanResult) -> None:
    assert result.without_failed is not None
    for with_them, without in zip(result.agreement, result.without_failed.agreement, strict=True):
        assert (without.metric, without.name) == (with_them.metric, with_them.name)
        assert (without.value or 0) > (with_them.value or 0)


def test_judges_come_in_their_true_order_and_the_best_is_named(judged: HumanResult) -> None:
    for tables in (judged, judged.without_failed):
        assert tables is not None
        choice = choice_of(tables)
        assert choice.status == "use"
        assert choice.judge == "good"  # As accurate as the kind one for all that can be told, and nearer to people's grades.
        assert "kind" in choice.also
        order = [place.judge for place in choice.places]
        assert set(order[:2]) == {"good", "kind"}
        assert order[2:] == ["poor", "blind"]
        assert not next(place for place in choice.places if place.judge == "blind").fit
        assert "not shown to be above chance" in str(choice.places[-1].reason)
    alphas = {place.judge: place.alpha for place in choice_of(judged).places}
    assert alphas["good"] > alphas["kind"] > alphas["blind"]


def test_a_judge_is_named_for_each_culture_and_over_all(judged: HumanResult) -> None:
    assert [(choice.culture, choice.metric) for choice in judged.choices] == [("german", "overall"), ("all", "overall")]
    assert all(list(judge.cultures) == ["german"] for judge in judged.judges)


@pytest.mark.slow
def test_severity_and_a_judges_bias_are_recovered_within_their_intervals(tmp_path: Path) -> None:
    inside, seen = 0, 0
    for seed in range(3):
        study = known_study(tmp_path, seed, copies=2, missing=0.05, cultures=["german"], severities=(-0.5, 0.1, 0.4))
        found = study.score(study.judge("kind", 0.4, bias=0.5, seed=seed))
        for rater, severity in study.severity.items():
            one = of_rater(found, rater)
            assert one.severity_low is not None
            assert one.severity_high is not None
            # Rounding to grades and the ends of the scale take a little from the distance.
            inside += one.severity_low - 0.05 <= severity <= one.severity_high + 0.05
            seen += 1
        bias = {one.metric: one for one in found.judges[0].metrics}["overall"].mean_difference
        assert bias.low is not None
        assert bias.high is not None
        assert bias.low - 0.05 <= 0.5 <= bias.high + 0.05
    assert inside >= 0.9 * seen


def test_agreement_lies_in_the_interval_of_the_same_study_with_more_posts(tmp_path: Path) -> None:
    few_posts, more_posts = (known_study(tmp_path, copies, copies=copies, cultures=["german"]) for copies in (2, 6))
    small, large = few_posts.score(), more_posts.score()
    close = 0
    for few, many in zip(small.agreement, large.agreement, strict=True):
        assert few.low is not None
        assert few.high is not None
        close += few.low <= (many.value or 0) <= few.high
    assert close >= 0.75 * len(small.agreement)  # The questions share their posts, and so their luck.


def test_paired_comparisons_find_what_differs_and_the_peer_loses(result: HumanResult) -> None:
    found = {(one.a, one.b): one for one in result.comparisons if one.metric == "overall"}
    # Two models by two strategies and the peer, without one model by one strategy against the other by the other.
    assert len(found) == 8
    assert not {("lab/Speaker-8B:cga", "lab/Listener-7B:standard"), ("lab/Speaker-8B:standard", "lab/Listener-7B:cga")} & set(found)
    best, peer = "lab/Speaker-8B:cga", PEER
    assert (found[peer, best].p_adjusted or 1) < 0.01
    assert (found[peer, best].difference or 0) < -0.7
    wins = {(one.condition, one.metric): one.rate for one in result.wins}
    for metric in ("overall", "cultural", "ranking"):
        assert (wins[best, metric].low or 0) > 0.6


@pytest.mark.slow
def test_intervals_of_scores_severity_bias_and_agreement_cover_what_they_say(tmp_path: Path) -> None:
    """The truth is the mean of what many studies find; intervals are over posts, so raters are the same in all.

    A whole study takes seconds, so that these are few and the bounds wide; what single intervals cover is told by the next test, by
    `test_agreement`, `test_against_people` and `test_significance`.
    """
    studies = 60
    rows: dict[tuple[str, ...], list[tuple[float, float, float]]] = {}

    def note(name: tuple[str, ...], value: float | None, low: float | None, high: float | None) -> None:
        assert value is not None
        assert low is not None
        assert high is not None
        rows.setdefault(name, []).append((value, low, high))

    orders = 0
    for seed in range(studies):
        study = known_study(tmp_path, 100 + seed, copies=4, cultures=("german",), missing=0.03, per_item=3)
        found = study.score(study.judge("good", 0.4, bias=0.3, seed=seed), study.judge("poor", 1.2, seed=seed))
        for condition in QUALITY:
            for metric in ("overall", "fluency"):
                score = mean_of(found, condition, metric)
                note(("score", condition, metric), score.mean, score.low, score.high)
        for one in found.rater_quality:
            note(("severity", one.rater), one.severity, one.severity_low, one.severity_high)
        for agreement in found.agreement:
            note(("agreement", agreement.metric, agreement.name), agreement.value, agreement.low, agreement.high)
        bias = {one.metric: one for one in found.judges[0].metrics}["overall"].mean_difference
        note(("bias",), bias.value, bias.low, bias.high)
        orders += choice_of(found).judge == "good"
    assert orders >= 0.95 * studies
    shares: dict[str, list[bool]] = {}
    for name, of_name in rows.items():
        truth = float(np.mean([value for value, _, _ in of_name]))
        shares.setdefault(name[0], []).extend(low <= truth <= high for _, low, high in of_name)
    for kind, hits in shares.items():
        share = float(np.mean(hits))
        slack = 0.015 + 2.5 * math.sqrt(0.95 * 0.05 / studies / 2)  # Rows of one study are not independent.
        assert 0.95 - slack <= share <= min(1.0, 0.95 + slack), (kind, share)


GRADE = Question.model_validate(
    {
        "key": "empathy",
        "kind": "scale",
        "about": "reply",
        "required": True,
        "name": "Empathy",
        "question": "How much?",
        "values": {grade: str(grade) for grade in range(1, 6)},
    }
)


def drawn_answers(chance: np.random.Generator, posts: int, cultures: Sequence[str]) -> tuple[Answers, dict[str, float | None]]:
    """What three raters a culture answered to one reply a post, and what a judge said of it, half a grade too kind; no file is written."""
    rows, scores = [], dict[str, float | None]()
    severities = chance.permuted(np.tile([-0.5, 0.1, 0.4], (len(cultures), posts, 1)), axis=2)
    worth = chance.normal(3, 0.6, (len(cultures), posts))
    given = np.clip(np.rint(worth[..., None] + severities + chance.normal(0, 0.5, severities.shape)), 1, 5)
    judged = np.clip(worth + 0.5 + chance.normal(0, 0.4, worth.shape), 1, 5)
    for place, culture in enumerate(cultures):
        for post in range(posts):
            name = f"{culture}-{post}"
            scores[name] = float(judged[place, post])
            for number, grade in enumerate(given[place, post]):
                # Raters share too few replies to be held against each other, which takes long and is not looked at.
                rater = f"{culture}-{post // 3}-{number}"
                metrics = {GRADE.key: float(grade)}
                rows.append(RatedReply(rater, culture, name, name, "A", "lab/model:cga", name, {GRADE.key: int(grade)}, metrics))
    form = select_form("psychologist").model_copy(update={"questions": (GRADE,)})
    raters = tuple(dict.fromkeys(row.rater for row in rows))
    return Answers(form, ("lab/model:cga",), tuple(cultures), raters, tuple(rows), ()), scores


@pytest.mark.slow
@pytest.mark.parametrize(("posts", "cultures"), [(28, ["german"]), (14, ["american", "german"])])
def test_intervals_of_a_mean_grade_and_of_a_judges_bias_cover_95_percent(posts: int, cultures: list[str]) -> None:
    """Within 1.5 points, noise of the simulation included: its standard error is 0.5 points. The truth is the mean over all studies."""
    studies, chance = 2000, np.random.default_rng(5)
    found = np.empty((studies, 2, 3))
    for study in range(studies):
        answers_of_study, scores = drawn_answers(chance, posts, cultures)
        mean = condition_scores(answers_of_study)[-1]
        assert mean.culture == "all"
        grades = [
            PersonGrade(row.culture, row.instance_id, str(row.reply_id), row.rater, float(row.metrics[GRADE.key] or 0))
            for row in answers_of_study.replies
        ]
        bias = judge_against_people(GRADE.key, grades, scores).mean_difference
        found[study] = [[mean.mean, mean.low, mean.high], [bias.value, bias.low, bias.high]]
    truth = found[:, :, 0].mean(axis=0)
    coverage = ((found[:, :, 1] <= truth) & (truth <= found[:, :, 2])).mean(axis=0)
    assert np.abs(coverage - 0.95).max() <= 0.015, coverage


# --- What is computed, by hand ---------------------------------------------------------------------------------------------------


def grades_by_hand(packet: OpenPacket, key: Key, ratings: Sequence[Rating], condition: str, question: str) -> dict[str, dict[str, float]]:
    """Of each culture, each post's mean grade of a condition."""
    entries = {(entry.item, entry.label): entry for entry in key.entries if entry.kind in {"reply", "peer"}}
    found: dict[str, dict[str, list[float]]] = {}
    for rating in ratings:
        entry = entries.get((rating.item, str(rating.label)))
        if entry is not None and entry.condition == condition and rating.question == question and isinstance(rating.value, int):
            found.setdefault(entry.culture, {}).setdefault(entry.instance_id, []).append(float(rating.value))
    assert packet.assignments
    return {culture: {post: float(np.mean(values)) for post, values in posts.items()} for culture, posts in found.items()}


def test_a_mean_is_over_raters_then_posts_then_cultures(study: Study, result: HumanResult) -> None:
    by_hand = grades_by_hand(study.made.packet, study.made.key, study.ratings, PEER, "empathy")
    for culture, posts in by_hand.items():
        score = mean_of(result, PEER, "empathy", culture)
        assert score.mean == pytest.approx(np.mean(list(posts.values())))
        assert score.n == len(posts)
    expected = np.mean([np.mean(list(posts.values())) for posts in by_hand.values()])
    score = mean_of(result, PEER, "empathy")
    assert score.mean == pytest.approx(expected)
    assert score.low < score.mean < score.high
    assert 0.9 < score.coverage < 1
    assert score.raters == 8


def test_summaries_are_the_means_of_their_dimensions(study: Study) -> None:
    whole = known_study(study.made.packet.folder.parent, 77, copies=1).score()
    for condition in QUALITY:
        emotional = np.mean([mean_of(whole, condition, metric).mean for metric in ("empathy", "helpfulness")])
        assert mean_of(whole, condition, "emotional").mean == pytest.approx(emotional)
        summary = np.mean([mean_of(whole, condition, metric).mean for metric in ("emotional", "cultural")])
        assert mean_of(whole, condition, "overall").mean == pytest.approx(summary)


def test_shares_of_the_answers_add_up(result: HumanResult) -> None:
    for about in ("models", "peers"):
        shares = [one.share for one in result.shares if (one.question, one.about) == ("empathy", about)]
        assert len(shares) == 5
        assert sum(share or 0 for share in shares) == pytest.approx(1)
    of_one = [one for one in result.shares_by_condition if (one.question, one.value, one.about) == ("empathy", 5, PEER)]
    assert [one.culture for one in of_one][-1] == "all"
    assert of_one[-1].share == pytest.approx(np.mean([one.share for one in of_one[:-1]]))


def test_a_mean_of_equal_grades_has_no_interval_and_says_why(tmp_path: Path) -> None:
    made = small_packet(tmp_path / "packet")
    score = mean_of(scored(made, answers(made.packet, "german-1", answer=constant(5))), PEER)
    assert (score.mean, score.low, score.high) == (5, None, None)
    assert "all posts have the same value" in score.reason


def test_first_places_of_all_conditions_add_up(tmp_path: Path) -> None:
    found = known_study(tmp_path, 5, copies=1).score()
    firsts = [one for one in found.ranks if one.culture == "german"]
    assert sum(one.first or 0 for one in firsts) == pytest.approx(1)
    assert sum(one.mean_rank or 0 for one in firsts) == pytest.approx(1 + 2 + 3 + 4 + 5)


# --- Raters ----------------------------------------------------------------------------------------------------------------------


def scored(made: MadePacket, ratings: Sequence[Rating], **settings: Any) -> HumanResult:
    return score_ratings(made.packet, made.key, ratings, at=NOON, **settings)


def constant(value: int) -> Answer:
    def answer(question: Question, item: Item, _: str | None) -> int | str | Sequence[str] | None:
        return value if question.kind == "scale" else item.labels if question.kind == "ranking" else None

    return answer


def test_a_rater_of_one_grade_is_perfectly_consistent_and_fails_checks(tmp_path: Path) -> None:
    made = small_packet(tmp_path / "packet")
    found = of_rater(scored(made, answers(made.packet, "german-1", answer=constant(3))), "german-1")
    assert found.repeated == 2 * 3 * 7
    assert (found.repeated_exact, found.repeated_difference) == (1, 0)
    assert (found.mean, found.spread) == (3, 0)
    assert found.grades == 8 * 3 * 7  # Neither checks nor repeats.
    wrong = sum(entry.expected != 3 for entry in made.key.entries if entry.kind == "check" and entry.culture == "german")
    assert (found.checks, found.checks_answered, found.checks_failed) == (2, 2, wrong)


def test_severity_is_exact_where_raters_differ_by_a_constant(tmp_path: Path) -> None:
    made = small_packet(tmp_path / "packet", runs=[many_posts("lab/Listener-7B", 2, ["german"])])
    ratings = [rating for number in (1, 2, 3) for rating in answers(made.packet, f"german-{number}", answer=constant(number))]
    found = scored(made, ratings)
    assert [of_rater(found, f"german-{number}").severity for number in (1, 2, 3)] == pytest.approx([-1, 0, 1])


def test_a_missing_rating_does_not_count_as_a_stern_one(tmp_path: Path) -> None:
    """german-1 leaves out what all grade low; the mean rises, the severity does not."""
    made = small_packet(tmp_path / "packet", runs=[many_posts("lab/Listener-7B", 2, ["german"])], checks=0, repeats=0)
    low = set(sorted(made.packet.items)[: len(made.packet.items) // 2])

    def answer(question: Question, item: Item, _: str | None) -> int | str | Sequence[str] | None:
        return (1 if item.id in low else 4) if question.kind == "scale" else item.labels if question.kind == "ranking" else None

    ratings = [rating for number in (1, 2, 3) for rating in answers(made.packet, f"german-{number}", answer=answer)]
    left = [rating for rating in ratings if rating.rater != "german-1" or rating.item not in low]
    found = of_rater(scored(made, left), "german-1")
    assert found.mean == 4
    assert found.severity == pytest.approx(0)


def test_who_answered_nothing_is_named_and_a_culture_without_answers_is_in_no_number(tmp_path: Path) -> None:
    made = small_packet(tmp_path / "packet")
    found = scored(made, answers(made.packet, "german-1"))
    assert found.cultures == ("german",)
    assert mean_of(found, PEER).n == mean_of(found, PEER, culture="german").n
    assert any("Cultures without a rating that counts, which no number holds: american" in note for note in found.notes)
    assert any("Raters without an answer: american-1, american-2" in note for note in found.notes)
    assert any("Cultures with one rater" in note for note in found.notes)
    assert of_rater(found, "american-1").mean is None
    assert all(one.value is None and one.reason for one in found.agreement)


def test_times_are_between_finished_items_and_a_workbook_has_none(tmp_path: Path) -> None:
    made = small_packet(tmp_path / "packet")
    ratings = answers(made.packet, "german-1")
    assert of_rater(scored(made, ratings), "german-1").seconds_per_item is None
    order = list(made.packet.assignments["german-1"].items)
    timed = [rating.model_copy(update={"at": NOON + dt.timedelta(seconds=90 * order.index(rating.item))}) for rating in ratings]
    # A change long after does not stretch the item.
    late = timed[0].model_copy(update={"at": NOON + dt.timedelta(days=1)})
    found = of_rater(scored(made, [*timed, late]), "german-1")
    assert found.seconds_per_item == 90
    assert found.superseded == 1


def test_the_rule_can_be_changed(tmp_path: Path) -> None:
    made = small_packet(tmp_path / "packet")
    ratings = answers(made.packet, "german-1")
    apart = of_rater(scored(made, ratings), "german-1").repeated_difference
    assert apart is not None
    strict = FailRule(failed_checks=None, repeat_difference=apart - 0.01)
    assert of_rater(scored(made, ratings, rule=strict), "german-1").failed == (f"graded the same replies {apart:.2f} apart on average",)
    assert of_rater(scored(made, ratings, rule=FailRule(failed_checks=None)), "german-1").failed == ()


# --- Psychologists ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def psychologists(tmp_path_factory: pytest.TempPathFactory) -> HumanResult:
    """Psychologists who like models' replies and find peers' ones too positive."""
    runs = [many_posts("lab/Listener-7B", 2)]
    made = make_packet(
        runs, select_form("psychologist"), out=tmp_path_factory.mktemp("p") / "packet", raters={"german": 3, "american": 3}, per_item=3
    )
    entries = {(entry.item, entry.label): entry for entry in made.key.entries}
    chance = random.Random(4)  # noqa: S311 - no secret.

    def answer(question: Question, item: Item, label: str | None) -> int | str | Sequence[str] | None:
        entry = entries[item.id, str(label)]
        if question.kind == "text":
            return None
        if entry.kind == "check" and entry.question == question.key:
            return entry.expected
        likely = entry.condition != PEER
        if question.kind == "scale":
            return chance.choice([4, 5, 5, 3] if likely else [1, 2, 2, 4])
        values = [value.value for value in question.values]
        if question.key == "overly_positive":
            values.reverse()
        return chance.choice([values[0]] * 4 + values) if likely else chance.choice([values[-1]] * 4 + values)

    ratings = [rating for rater in made.packet.assignments for rating in answers(made.packet, rater, answer=answer)]
    return score_ratings(made.packet, made.key, ratings, at=NOON)


def test_models_and_peers_are_contrasted_as_in_the_paper(psychologists: HumanResult) -> None:
    found = {(one.question, one.values): one for one in psychologists.contrasts}
    for question in ("cognitive_empathy", "emotional_empathy", "emotion_regulation"):
        one = found[question, (4, 5)]
        assert one.models.mean == pytest.approx(0.75, abs=0.12)
        assert one.peers.mean == pytest.approx(0.25, abs=0.12)
        assert (one.comparison.a, one.comparison.b) == ("models", "peers")
        assert (one.comparison.p_adjusted or 1) < 0.01
    assert (found["overly_positive", ("yes",)].comparison.difference or 0) < 0
    assert (found["cultural_understanding", ("yes",)].models.mean or 0) > 0.5
    assert (found["training_use", ("strong_example",)].models.low or 0) > 0.4


def test_choices_have_agreement_with_and_without_an_order(psychologists: HumanResult) -> None:
    names = {one.name for one in psychologists.agreement if one.metric == "training_use"}
    assert names == {"alpha_nominal", "kappa", "ac1", "alpha_ordinal", "weighted_kappa", "ac2"}
    assert {one.name for one in psychologists.agreement if one.metric == "cognitive_empathy"} == {"alpha_ordinal", "weighted_kappa", "ac2"}


def test_a_form_without_a_ranking_has_none(psychologists: HumanResult) -> None:
    assert psychologists.ranks == ()
    assert psychologists.strengths is None
    assert psychologists.strengths_reason == "the form asks for no ranking"
    assert {one.metric for one in psychologists.comparisons} >= {"cognitive_empathy", "training_use=strong_example"}


# --- Which judge -----------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_with_few_posts_no_judge_is_named_for_a_culture(tmp_path: Path) -> None:
    study = known_study(tmp_path, 6, copies=1, severities=(0.0, -0.3, 0.3))
    found = study.score(study.judge("good", 0.2))
    choice = choice_of(found, "german")
    assert (choice.status, choice.judge) == ("undecided", None)
    assert "10 are needed" in choice.reason
    assert choice_of(found).status == "use"  # Both cultures together have enough.


def test_where_people_order_by_chance_no_judge_is_named(tmp_path: Path) -> None:
    even = dict.fromkeys(QUALITY, 3.0)
    study = known_study(tmp_path, 7, copies=2, noise=50.0, reply_spread=0.0, quality=even, severities=(0, 0, 0), cultures=["german"])
    choice = choice_of(study.score(study.judge("any", 0.3)))
    assert (choice.status, choice.judge) == ("none", None)
    assert "people themselves" in choice.reason


def test_a_judge_that_orders_by_chance_is_not_named(plain_study: Study) -> None:
    choice = choice_of(plain_study.score(plain_study.judge("blind", 50.0)))
    assert (choice.status, choice.judge) == ("none", None)
    assert "not shown to be above chance" in choice.reason


def test_a_judge_that_measures_nothing_or_leaves_out_much_is_not_named(plain_study: Study) -> None:
    good = plain_study.judge("good", 0.3)
    most = good._replace(name="most", scores=dict(list(good.scores.items())[: int(0.8 * len(good.scores))]))
    choice = choice_of(plain_study.score(plain_study.judge("toy", 0.1, measure=False), most))
    assert choice.status == "none"
    reasons = {place.judge: str(place.reason) for place in choice.places}
    assert "no measure" in reasons["toy"]
    assert "but must for 90%" in reasons["most"]


def test_a_judge_of_other_questions_is_refused(psychologists: HumanResult, tmp_path: Path, plain_study: Study) -> None:
    made = small_packet(tmp_path / "packet", "psychologist")
    assert psychologists.judges == ()
    with pytest.raises(CultureCareError, match="graded nothing that form 'psychologist' asks"):
        score_ratings(made.packet, made.key, answers(made.packet, "german-1"), [plain_study.judge("good", 0.3)], at=NOON)


# --- Files -----------------------------------------------------------------------------------------------------------------------


def write_verdicts(folder: Path, judge: JudgeScores, *, name: str = "judged") -> Path:
    """Verdicts as a run's folder holds them."""
    assert judge.judge is not None
    folder.mkdir(exist_ok=True)
    verdicts = [
        Verdict(reply_id=reply, judge=judge.judge, dimension=key, score=score, reason=None)
        for reply, scores in judge.scores.items()
        for key, score in scores.items()
    ]
    write_records(folder / f"{name}.verdicts.jsonl", verdicts)
    return folder


@pytest.fixture
def packet(tmp_path: Path, plain_study: Study) -> Path:
    """The plain study's packet with its ratings in their files, made again in a folder of its own."""
    again = known_study(tmp_path, 8, copies=2, severities=(-0.5, 0.1, 0.4), cultures=["german"])
    append_ratings(again.made.packet, again.ratings)
    assert again.made.packet.packet.id == plain_study.made.packet.packet.id
    return again.made.packet.folder


@pytest.mark.slow
def test_a_packet_is_scored_from_its_folder_and_the_file_says_the_same(packet: Path, plain_study: Study) -> None:
    good = plain_study.judge("good", 0.3)
    runs = [write_verdicts(packet.parent / "run", good)]
    found, path = score_packet(packet, runs, at=NOON)
    assert path == scores_path(packet) == packet.parent / f"{packet.name}.scores.json"
    assert found == plain_study.score(good)
    assert HumanResult.model_validate_json(path.read_text(encoding="utf-8")) == found


@pytest.mark.parametrize("name", ["{}.key.jsonl", "{}.tokens.json", "{}/items.jsonl", "{}/scores.json"])
def test_a_result_overwrites_nothing_but_an_earlier_result(packet: Path, name: str) -> None:
    score_packet(packet, at=NOON)
    score_packet(packet, at=NOON)
    file = packet.parent / name.format(packet.name)
    before = file.read_bytes() if file.exists() else None
    with pytest.raises(CultureCareError, match=r"with --out"):
        score_packet(packet, at=NOON, out=file)
    assert (file.read_bytes() if file.exists() else None) == before


def test_the_report_reads_what_it_needs(packet: Path, plain_study: Study) -> None:
    _, path = score_packet(packet, [write_verdicts(packet.parent / "run", plain_study.judge("good", 0.3))], at=NOON)
    people = read_people(path)
    assert (people.form, people.raters) == ("annotator", 3)
    assert [judge.judge for judge in people.judges] == ["good"]
    assert {"overall", "emotional", "cultural", *DIMENSIONS} <= {one.metric for one in people.judges[0].metrics}
    share = people.share_of("empathy", 5, "peers")
    assert share is not None
    assert share.items == 16
    assert any(one.metric == "ranking" for one in people.agreement)
    assert (people.name_of("sociopolitical_influence"), people.name_of("ranking")) == ("Sociopolitical influence", "Order")
    assert (people.name_of("overall"), people.name_of("empathy=5")) == ("Overall", select_form("annotator").question("empathy").wording(5))


def test_neither_posts_nor_replies_nor_comments_are_in_the_result(tmp_path: Path) -> None:
    made = small_packet(tmp_path / "packet")
    for rater in made.packet.assignments:
        append_ratings(made.packet, answers(made.packet, rater))
    found, path = score_packet(tmp_path / "packet", at=NOON)
    console = Console(width=160, record=True, file=io.StringIO())
    print_human_result(found, console)
    for text in (path.read_text(encoding="utf-8"), console.export_text()):
        assert "A comment" not in text
        for item in made.packet.items.values():
            assert item.post.text[:30] not in text
            assert all(reply.text[:30] not in text for reply in item.replies)


def test_the_tables_say_who_failed_and_which_judge_to_use(judged: HumanResult) -> None:
    console = Console(width=160, record=True, file=io.StringIO())
    print_human_result(judged, console)
    shown = console.export_text()
    for words in (
        "α ordinal",
        "Win rate over the peer",
        "without raters who failed",
        "german-4 failed 2 of 2",
        "all (mean), Overall: use good",
    ):
        assert words in shown
    assert "…" not in shown


def test_runs_of_no_use_are_refused(packet: Path, plain_study: Study) -> None:
    key = read_key(open_packet(packet))
    empty = packet.parent / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match=r"holds no \*\.verdicts\.jsonl"):
        read_judges([empty], key)
    foreign = plain_study.judge("good", 0.3)._replace(scores={"0" * 16: dict.fromkeys(DIMENSIONS, 3.0)})
    with pytest.raises(CultureCareError, match="no verdict is about a reply of this packet"):
        read_judges([write_verdicts(packet.parent / "foreign", foreign)], key)
    one, other = plain_study.judge("good", 0.3), plain_study.judge("good", 0.3, seed=1)
    folders = [write_verdicts(packet.parent / "one", one), write_verdicts(packet.parent / "other", other)]
    with pytest.raises(CultureCareError, match=r"good gave reply .* another score on 'empathy' than elsewhere"):
        read_judges(folders, key)
    assert [judge.name for judge in read_judges([folders[0], folders[0]], key)] == ["good"]


def test_judges_of_one_name_and_other_settings_are_told_apart(packet: Path, plain_study: Study) -> None:
    one, other = plain_study.judge("good", 0.3), plain_study.judge("good", 0.3, seed=1)
    assert other.judge is not None
    other = other._replace(judge=other.judge.model_copy(update={"settings_hash": "f" * 16}))
    folders = [write_verdicts(packet.parent / "one", one), write_verdicts(packet.parent / "other", other)]
    names = [judge.name for judge in read_judges(folders, read_key(open_packet(packet)))]
    assert len(set(names)) == 2
    assert names[1].startswith("good (ffffff")


def test_a_jury_is_read_with_its_result(packet: Path, plain_study: Study) -> None:
    folder = packet.parent / "jury"
    folder.mkdir()
    scores = plain_study.judge("good", 0.3).scores
    verdicts = [
        JuryVerdict(reply_id=reply, jury="a" * 16, dimension=key, score=score, reason=None, jurors={"x": score})
        for reply, of_reply in scores.items()
        for key, score in of_reply.items()
    ]
    write_records(folder / "jury.verdicts.jsonl", verdicts)
    with pytest.raises(DataError, match="must say which jury gave the verdicts"):
        read_judges([folder], read_key(open_packet(packet)))
    replies = [reply for reply in many_posts("lab/Listener-7B", 2, ["german"]).replies if reply.id in scores]
    silent = [reply.model_copy(update={"language": None}) for reply in replies]
    seats = seat(jury_of("lab/Judge-A", "lab/Judge-B"), {"lab/Listener-7B"})
    by_juror = {
        juror.name: [
            Verdict(reply_id=reply.id, judge=juror.judge, dimension=key, score=scores[reply.id][key], reason=None)
            for reply in silent
            for key in DIMENSIONS
        ]
        for juror in seats.jurors
    }
    result = build_jury_result(silent, by_juror, seats, Model(name="lab/Listener-7B", backend="hf", arguments={}))
    write_json(folder / "jury.result.json", result)
    write_records(folder / "jury.verdicts.jsonl", jury_verdicts(by_juror, seats.jury))
    [jury] = read_judges([folder], read_key(open_packet(packet)))
    assert (jury.name, jury.judge, jury.measure) == ("jury bench", None, True)
    assert jury.scores == {reply.id: pytest.approx(scores[reply.id]) for reply in silent}


def test_nobody_rated(tmp_path: Path) -> None:
    made = small_packet(tmp_path / "packet")
    with pytest.raises(CultureCareError, match="nobody has rated yet"):
        score_packet(made.packet.folder, at=NOON)
    assert not scores_path(made.packet.folder).exists()


def test_when_everybody_failed_nobody_is_left_to_score(tmp_path: Path) -> None:
    made = small_packet(tmp_path / "packet")
    entries = {(entry.item, entry.label): entry for entry in made.key.entries}
    append_ratings(made.packet, answers(made.packet, "german-1", answer=careless_answers(random.Random(1), entries)))  # noqa: S311
    with pytest.raises(CultureCareError, match=r"every rater who rated has failed \(german-1\)"):
        score_packet(made.packet.folder, at=NOON, exclude_failed=True)
    found, path = score_packet(made.packet.folder, at=NOON)
    assert found.without_failed is None
    assert json.loads(path.read_text(encoding="utf-8"))["raters"] == 1
    assert len(read_ratings(made.packet)) == found.ratings
