"""A judge against people: recovered from studies whose truth is known, and the ceiling that people set."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from culturecare import CultureCareError
from culturecare_harness.against_people import FEWEST_SHARED, JudgeQuality, PersonGrade, judge_against_people
from culturecare_harness.agreement import krippendorff_alpha

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from culturecare_harness.agreement import Coefficient


def study(
    seed: int,
    *,
    posts: int = 28,
    replies: int = 3,
    raters: int = 3,
    judge_noise: float = 0.5,
    rater_noise: float = 0.7,
    bias: float = 0.0,
    culture: str = "german",
) -> tuple[list[PersonGrade], dict[str, float | None]]:
    """People and a judge who see the same truth, each with noise of their own; the judge off by `bias`."""
    generator = np.random.default_rng(seed)
    grades: list[PersonGrade] = []
    judge: dict[str, float | None] = {}
    for post in range(posts):
        level = 3 + 0.5 * generator.normal()
        for number in range(replies):
            truth = level + 0.8 * generator.normal()
            item, reply = f"{culture}-{post}", f"{culture}-{post}-{number}"
            judge[reply] = float(truth + bias + judge_noise * generator.normal())
            for rater in range(raters):
                grade = float(np.clip(round(truth + rater_noise * generator.normal()), 1, 5))
                grades.append(PersonGrade(culture, item, reply, f"{culture}-{rater}", grade))
    return grades, judge


def compare(grades: Sequence[PersonGrade], judge: Mapping[str, float | None]) -> JudgeQuality:
    return judge_against_people("empathy", grades, judge)


def of(*rows: tuple[str, str, str, float]) -> list[PersonGrade]:
    return [PersonGrade("german", *row) for row in rows]


def ends(row: Coefficient) -> tuple[float, float, float]:
    assert row.low is not None
    assert row.value is not None
    assert row.high is not None
    return row.low, row.value, row.high


# --- The judge and the mean of people --------------------------------------------------------------------------------------------


def test_each_number_is_scipys_and_krippendorffs() -> None:
    from scipy.stats import kendalltau, spearmanr

    grades, judge = study(1)
    found = compare(grades, judge)
    replies = list(judge)
    scores = [judge[reply] for reply in replies]
    means = [float(np.mean([grade.value for grade in grades if grade.reply == reply])) for reply in replies]
    assert found.spearman.value == pytest.approx(spearmanr(scores, means).statistic)
    assert found.kendall.value == pytest.approx(kendalltau(scores, means).statistic)
    assert found.alpha.value == krippendorff_alpha([scores, means], "interval")
    assert found.coverage == 1
    for row in (found.spearman, found.kendall, found.alpha, found.mean_difference, found.pairwise_accuracy):
        low, value, high = ends(row)
        assert low < value < high
        assert row.raters == 3
    assert found.spearman.clusters == found.mean_difference.clusters == 28
    assert 0 < found.pairwise_accuracy.clusters <= 28  # Posts with a pair that people order clearly.


def test_a_kinder_judge_ranks_as_well_but_agrees_less() -> None:
    grades, judge = study(2)
    fair, kind = compare(grades, judge), compare(grades, {reply: score + 1 for reply, score in judge.items() if score is not None})
    assert (kind.spearman, kind.pairwise_accuracy) == (fair.spearman, fair.pairwise_accuracy)
    assert (kind.mean_difference.value or 0) - (fair.mean_difference.value or 0) == pytest.approx(1)
    assert (kind.alpha.value or 0) < (fair.alpha.value or 0) - 0.2


def test_a_known_bias_lies_in_its_interval() -> None:
    low, _, high = ends(compare(*study(3, posts=100, rater_noise=0.3, bias=-0.7)).mean_difference)
    assert low < -0.7 < high
    assert high - low < 0.3


def test_a_better_judge_has_better_numbers() -> None:
    good, poor = compare(*study(4, judge_noise=0.2)), compare(*study(4, judge_noise=2))
    for name in ("spearman", "kendall", "alpha", "pairwise_accuracy"):
        assert getattr(good, name).value > getattr(poor, name).value


def test_over_cultures_every_number_is_the_mean_of_the_cultures() -> None:
    german, arabic = study(5, posts=12), study(6, posts=30, culture="arabic")
    together = compare(german[0] + arabic[0], german[1] | arabic[1])
    apart = compare(*german), compare(*arabic)
    for name in ("spearman", "kendall", "alpha", "mean_difference", "pairwise_accuracy"):
        assert getattr(together, name).value == pytest.approx(np.mean([getattr(part, name).value for part in apart]))
    ceilings = [part.ceilings["kendall"].people.value or 0 for part in apart]
    assert together.ceilings["kendall"].people.value == pytest.approx(np.mean(ceilings))


def test_a_reply_without_a_score_lowers_the_coverage_alone() -> None:
    grades, judge = study(7)
    judge |= {"german-0-0": None}
    del judge["german-1-0"]
    found = compare(grades, judge)
    assert found.coverage == pytest.approx(82 / 84)
    assert found.spearman.units == 82


# --- Preferences -----------------------------------------------------------------------------------------------------------------

FOUR_REPLIES = of(
    *[
        (f"post{post}", f"{post}{reply}", rater, grade)
        for post in range(12)
        for rater in "xy"
        for reply, grade in zip("abcd", (1, 3, 3, 5), strict=True)
    ]
)


@pytest.mark.parametrize(
    ("scores", "accuracy"),
    [
        ((1.0, 2.0, 3.0, 4.0), 1.0),
        ((4.0, 3.0, 2.0, 1.0), 0.0),
        ((2.0, 2.0, 2.0, 2.0), 0.5),
        ((1.0, 9.0, 2.0, 4.0), 4 / 5),  # Wrong on b and d alone; b and c are equal to people and don't count.
        ((1.0, 1.0, 2.0, 4.0), 4.5 / 5),  # A tie of a and b is half a pair.
    ],
)
def test_pairs_that_people_order_are_counted_and_the_judges_ties_are_half(scores: tuple[float, ...], accuracy: float) -> None:
    judge: dict[str, float | None] = {f"{post}{reply}": score for post in range(12) for reply, score in zip("abcd", scores, strict=True)}
    found = compare(FOUR_REPLIES, judge).pairwise_accuracy
    assert found.value == pytest.approx(accuracy)
    assert (found.units, found.clusters) == (5 * 12, 12)


def test_an_order_is_clear_only_where_people_differ_enough() -> None:
    grades = of(*[(f"p{post}", f"{post}{reply}", rater, grade) for post in range(12) for reply, rater, grade in
                  (("a", "x", 3), ("b", "x", 3), ("a", "y", 3), ("b", "y", 3), ("a", "z", 3), ("b", "z", 4))])  # fmt: skip
    judge: dict[str, float | None] = {f"{post}{reply}": score for post in range(12) for reply, score in (("a", 1.0), ("b", 2.0))}
    unclear = judge_against_people("empathy", grades, judge).pairwise_accuracy
    assert unclear.value is None
    assert "order no two replies to a post clearly" in str(unclear.reason)
    assert judge_against_people("empathy", grades, judge, clear=1 / 3).pairwise_accuracy.value == 1


def test_a_stern_rater_of_one_reply_alone_makes_no_order() -> None:
    # x graded both alike; y, who is sterner, graded one of them.
    rows = [
        (f"p{post}", f"{post}{reply}", rater, grade)
        for post in range(12)
        for reply, rater, grade in (("a", "x", 4), ("b", "x", 4), ("b", "y", 1))
    ]
    judge: dict[str, float | None] = {f"{post}{reply}": 1.0 for post in range(12) for reply in "ab"}
    assert compare(of(*rows), judge).pairwise_accuracy.value is None


# --- The ceiling -----------------------------------------------------------------------------------------------------------------


def test_the_ceiling_is_each_rater_against_the_mean_of_the_others() -> None:
    from scipy.stats import spearmanr

    grades, judge = study(8)
    table = {rater: [grade.value for grade in grades if grade.rater == f"german-{rater}"] for rater in range(3)}
    others = {rater: np.mean([table[other] for other in range(3) if other != rater], axis=0) for rater in range(3)}
    ceiling = compare(grades, judge).ceilings["spearman"]
    people = np.mean([spearmanr(table[rater], others[rater]).statistic for rater in range(3)])
    same = np.mean([spearmanr(list(judge.values()), others[rater]).statistic for rater in range(3)])
    assert ceiling.people.value == pytest.approx(people)
    assert ceiling.judge.value == pytest.approx(same)
    assert ceiling.difference.value == pytest.approx(same - people)


@pytest.mark.slow
def test_a_judge_like_one_of_the_people_reaches_their_ceiling_and_a_poor_one_does_not() -> None:
    posts = 80
    grades, _ = study(9, posts=posts, raters=4)
    of_one = {grade.reply: grade.value for grade in grades if grade.rater == "german-3"}
    others = [grade for grade in grades if grade.rater != "german-3"]
    generator = np.random.default_rng(10)
    poor = {reply: value + 2 * generator.normal() for reply, value in of_one.items()}
    for name in ("spearman", "kendall", "alpha_interval", "pairwise_accuracy"):
        low, _, high = ends(compare(others, of_one).ceilings[name].difference)
        assert low < 0 < high
        assert ends(compare(others, poor).ceilings[name].difference)[2] < 0


def test_without_enough_shared_replies_there_is_no_ceiling() -> None:
    grades, judge = study(11, posts=(FEWEST_SHARED - 1) // 3, replies=3)
    found = compare(grades, judge)
    for ceiling in found.ceilings.values():
        assert ceiling.people.value is ceiling.difference.value is None
        assert f"shares {FEWEST_SHARED} replies" in str(ceiling.people.reason)
    alone = compare(*study(12, raters=1))
    assert alone.spearman.value is not None
    assert alone.ceilings["spearman"].people.value is None


def test_a_rater_of_one_grade_alone_is_passed_over() -> None:
    grades, judge = study(13)
    constant = [grade._replace(rater="always 3", value=3.0) for grade in grades if grade.rater == "german-0"]
    assert compare(grades + constant, judge).ceilings["spearman"].people.raters == 3


# --- Refusals --------------------------------------------------------------------------------------------------------------------


def test_a_judge_of_one_score_has_no_correlation() -> None:
    grades, judge = study(14)
    found = compare(grades, dict.fromkeys(judge, 3.0))
    assert found.spearman.value is None
    assert "one side's values are all equal" in str(found.spearman.reason)
    assert found.pairwise_accuracy.value == 0.5


def test_a_judge_without_a_score_has_reasons_in_place_of_numbers() -> None:
    found = compare(study(15)[0], {})
    assert found.coverage == 0
    for row in (found.spearman, found.kendall, found.alpha, found.mean_difference, found.pairwise_accuracy):
        assert row.value is None
        assert row.reason


@pytest.mark.parametrize(
    ("grades", "why"),
    [
        ([], "no grade by a person"),
        (of(("p", "a", "x", 1), ("p", "a", "x", 2)), "rater 'x' graded reply 'a' twice"),
        (of(("p", "a", "x", 1), ("q", "a", "y", 2)), "reply 'a' belongs to two posts"),
        ([*of(("p", "a", "x", 1)), PersonGrade("arabic", "p", "b", "x", 2)], "post 'p' to two cultures"),
    ],
)
def test_grades_that_do_not_fit_together_are_refused(grades: list[PersonGrade], why: str) -> None:
    with pytest.raises(CultureCareError, match=why):
        compare(grades, {"a": 1.0})


def test_an_order_by_no_difference_is_refused() -> None:
    with pytest.raises(CultureCareError, match="clear is 0"):
        judge_against_people("empathy", study(1)[0], {}, clear=0)


# --- What intervals cover --------------------------------------------------------------------------------------------------------


def rows_of(found: JudgeQuality) -> dict[str, Coefficient]:
    return {
        "spearman": found.spearman,
        "kendall": found.kendall,
        "alpha": found.alpha,
        "mean_difference": found.mean_difference,
        "pairwise_accuracy": found.pairwise_accuracy,
        "spearman_people": found.ceilings["spearman"].people,
        "spearman_difference": found.ceilings["spearman"].difference,
        "accuracy_people": found.ceilings["pairwise_accuracy"].people,
        "accuracy_difference": found.ceilings["pairwise_accuracy"].difference,
    }


def coverage(posts: int, studies: int) -> dict[str, float]:
    """Share of studies whose intervals hold the mean of what large studies find."""
    large = [rows_of(compare(*study(10_000 + seed, posts=400, bias=0.3))) for seed in range(10)]
    truth = {name: float(np.mean([rows[name].value for rows in large])) for name in large[0]}
    hits = dict.fromkeys(truth, 0)
    for seed in range(studies):
        for name, row in rows_of(compare(*study(seed, posts=posts, bias=0.3))).items():
            hits[name] += row.low is not None and row.high is not None and row.low <= truth[name] <= row.high
    return {name: count / studies for name, count in hits.items()}


@pytest.mark.slow
@pytest.mark.parametrize(("posts", "studies"), [(12, 500), (28, 400), (60, 150)])
def test_intervals_of_a_judges_quality_cover_what_they_say(posts: int, studies: int) -> None:
    tolerance = 0.015 + 2.5 * math.sqrt(0.95 * 0.05 / studies)  # Of nine coefficients at once.
    for name, share in coverage(posts, studies).items():
        # With few posts, `bounded_mean_interval` is wider than it need be: see its docstring.
        wide = 0.025 if name == "pairwise_accuracy" and posts == 12 else 0.0
        assert 0.95 - tolerance <= share <= 0.95 + tolerance + wide, name
