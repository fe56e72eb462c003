"""Agreement: Krippendorff's alpha, weighted kappa, Gwet's AC, and their intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import krippendorff
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from culturecare import CultureCareError
from culturecare_harness.agreement import (
    FEWEST_CLUSTERS,
    FEWEST_IN_STRATUM,
    Agreement,
    Coefficient,
    Weighting,
    agree,
    agreement_coefficients,
    category_weights,
    gwet_ac,
    jackknife,
    krippendorff_alpha,
    ordinal_alpha,
    weighted_kappa,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from culturecare_harness.agreement import Level

GRADES = (1, 2, 3, 4, 5)

# Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability", sections C and D: four observers, twelve units, five values, some
# missing.
PUBLISHED: list[list[float | None]] = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
    [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
]


# Gwet (2014), "Handbook of Inter-Rater Reliability", 4th edition, page 120: four raters, twelve subjects, five categories, some missing
# (`cac.raw4raters` in his R package irrCAC).
GWET: list[list[float | None]] = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, None],
    [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, 3],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
]

# The same book: two abstractors of 100 pregnant women in three categories, and two ways of diagnosing 223 patients in four (irrCAC's
# `cont3x3abstractors` and `cont4x4diagnosis`).
ABSTRACTORS = [[13, 0, 0], [0, 20, 7], [0, 4, 56]]
DIAGNOSES = [[40, 6, 4, 15], [4, 25, 1, 5], [4, 2, 21, 9], [17, 13, 12, 45]]


def by_raters(*ratings: Sequence[float]) -> list[list[float | None]]:
    return [list(of_rater) for of_rater in ratings]


def from_table(table: Sequence[Sequence[int]]) -> list[list[float | None]]:
    """Two raters' ratings, from how often each pair of categories came about."""
    pairs = [(row, column) for row, counts in enumerate(table) for column, count in enumerate(counts) for _ in range(count)]
    return [[row for row, _ in pairs], [column for _, column in pairs]]


def grades_by(raters: int) -> st.SearchStrategy[list[list[float | None]]]:
    grade = st.one_of(st.none(), st.integers(1, 5).map(float))
    return st.integers(1, 8).flatmap(
        lambda units: st.lists(st.lists(grade, min_size=units, max_size=units), min_size=raters, max_size=raters)
    )


def noisy_raters(units: int, noise: float, seed: int = 0) -> list[list[float | None]]:
    """Three raters of `units` replies, whose true quality varies by 1, and each rater's error by `noise`."""
    generator = np.random.default_rng(seed)
    truth = generator.normal(size=units)
    return [list((truth + noise * generator.normal(size=units)).tolist()) for _ in range(3)]


@pytest.mark.parametrize(("level", "alpha"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_krippendorffs_example_gives_his_alphas(level: Level, alpha: float) -> None:
    assert krippendorff_alpha(PUBLISHED, level) == pytest.approx(alpha, abs=0.0005)


@pytest.mark.parametrize("level", ["nominal", "ordinal", "interval"])
@given(ratings=st.integers(2, 4).flatmap(grades_by))
def test_alpha_is_that_of_the_library(level: Level, ratings: list[list[float | None]]) -> None:
    table = np.array([[np.nan if grade is None else grade for grade in row] for row in ratings])
    paired = table[:, (~np.isnan(table)).sum(axis=0) >= 2]
    alpha = krippendorff_alpha(ratings, level)
    if len(np.unique(paired[~np.isnan(paired)])) < 2:
        assert alpha is None
    else:
        assert alpha == pytest.approx(krippendorff.alpha(table, level_of_measurement=level), abs=1e-9)


@given(st.integers(2, 4).flatmap(grades_by))
def test_only_the_order_of_scores_counts(ratings: list[list[float | None]]) -> None:
    stretched = [[None if grade is None else grade**3 for grade in row] for row in ratings]
    assert ordinal_alpha(stretched) == ordinal_alpha(ratings)


def test_equal_raters_agree_wholly_and_opposite_ones_less_than_by_chance() -> None:
    assert ordinal_alpha([[1, 2, 3, 4, 5]] * 3) == 1
    opposite = ordinal_alpha([[1, 2, 3, 4, 5], [5, 4, 3, 2, 1]])
    assert opposite is not None
    assert opposite < -0.5


def test_alpha_falls_with_the_raters_noise_to_none() -> None:
    alphas = [ordinal_alpha(noisy_raters(2000, noise)) for noise in (0.1, 0.5, 1, 3, 1000)]
    present = [alpha for alpha in alphas if alpha is not None]
    assert present == sorted(present, reverse=True)
    assert present[0] > 0.95
    assert present[-1] == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize(
    ("ratings", "why"),
    [
        ([], "at least two judges"),
        ([[1, 2, 3]], "at least two judges"),
        ([[1, None, 3], [None, 2, None]], "no reply has scores by two judges"),
        ([[3, 3, 3], [3, 3, 3]], "all scores are equal"),
    ],
)
def test_without_an_alpha_there_is_a_reason(ratings: list[list[float | None]], why: str) -> None:
    agreement = agree("empathy", ratings, ["a", "b", "c"])
    assert agreement.alpha is None
    assert why in str(agreement.reason)
    assert (agreement.low, agreement.high) == (None, None)


def test_a_few_instances_have_an_alpha_but_no_interval() -> None:
    units = FEWEST_CLUSTERS - 1
    few = agree("empathy", noisy_raters(units, 0.5), [str(unit) for unit in range(units)])
    assert few.alpha is not None
    assert (few.low, few.high, few.raters, few.units) == (None, None, 3, units)


def test_the_interval_holds_the_true_alpha_nineteen_times_of_twenty() -> None:
    truth = ordinal_alpha(noisy_raters(100_000, 0.7))
    assert truth is not None
    clusters = [str(unit) for unit in range(60)]
    intervals = [agree("empathy", noisy_raters(60, 0.7, seed), clusters) for seed in range(60)]
    hits = sum(found.low is not None and found.high is not None and found.low <= truth <= found.high for found in intervals)
    assert hits >= 52  # Of 60 at 95 %, fewer would come once in a hundred times.


def test_replies_to_one_instance_are_no_independent_evidence() -> None:
    ratings = noisy_raters(40, 0.7)
    repeated = [row * 5 for row in ratings]
    names = [str(unit) for unit in range(40)]
    once, five_times = agree("empathy", ratings, names), agree("empathy", repeated, names * 5)
    assert width(five_times) == pytest.approx(width(once), rel=0.15)


def width(agreement: Agreement) -> float:
    assert agreement.low is not None
    assert agreement.high is not None
    return agreement.high - agreement.low


def test_many_scores_of_which_no_two_are_equal_are_no_burden() -> None:
    agreement = agree("empathy", noisy_raters(3000, 0.5), [str(unit) for unit in range(3000)])
    assert agreement.units == 3000
    assert width(agreement) < 0.1


def test_raters_of_different_replies_are_refused() -> None:
    with pytest.raises(CultureCareError, match="3, 2 units"):
        ordinal_alpha([[1, 2, 3], [1, 2]])
    with pytest.raises(CultureCareError, match="3 replies, but 2 instances"):
        agree("empathy", [[1, 2, 3], [1, 2, 3]], ["a", "b"])


# --- Kappa and AC ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weighting", "kappa", "ac"),
    [("identity", 0.763, 0.775), ("linear", 0.814, 0.859), ("ordinal", 0.844, 0.899), ("quadratic", 0.858, 0.914)],
)
def test_gwets_example_gives_his_kappas_and_acs(weighting: Weighting, kappa: float, ac: float) -> None:
    # As irrCAC prints them: conger.kappa.raw and gwet.ac1.raw of cac.raw4raters with these weights.
    assert weighted_kappa(GWET, GRADES, weighting) == pytest.approx(kappa, abs=0.0005)
    assert gwet_ac(GWET, GRADES, weighting) == pytest.approx(ac, abs=0.0005)


@pytest.mark.parametrize(
    ("table", "weighting", "kappa"),
    [(ABSTRACTORS, "identity", 0.7964), (ABSTRACTORS, "quadratic", 0.892), (DIAGNOSES, "identity", 0.432), (DIAGNOSES, "quadratic", 0.383)],
)
def test_cohens_kappa_of_two_raters_is_the_textbooks(table: list[list[int]], weighting: Weighting, kappa: float) -> None:
    # As irrCAC prints them: kappa2.table.
    assert weighted_kappa(from_table(table), range(len(table)), weighting) == pytest.approx(kappa, abs=0.0005)


def test_ac1_of_two_raters_is_the_textbooks() -> None:
    assert gwet_ac(from_table(ABSTRACTORS), range(3), "identity") == pytest.approx(0.8493305, abs=1e-7)


@pytest.mark.parametrize("weighting", ["identity", "linear", "quadratic"])
@given(pairs=st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=20))
def test_kappa_of_two_raters_is_scikit_learns(weighting: Weighting, pairs: list[tuple[int, int]]) -> None:
    from sklearn.metrics import cohen_kappa_score

    first: list[float | None] = [pair[0] for pair in pairs]
    second: list[float | None] = [pair[1] for pair in pairs]
    kappa = weighted_kappa([first, second], GRADES, weighting)
    if len({*first, *second}) == 1:
        assert kappa is None
    else:
        weights = None if weighting == "identity" else weighting
        assert kappa == pytest.approx(cohen_kappa_score(first, second, labels=GRADES, weights=weights), abs=1e-9)


def test_kappa_of_many_raters_is_between_those_of_their_pairs() -> None:
    grades = rounded(noisy_raters(60, 0.7))
    together = weighted_kappa(grades, GRADES)
    pairs = [weighted_kappa([grades[first], grades[second]], GRADES) for first, second in ((0, 1), (0, 2), (1, 2))]
    present = [kappa for kappa in pairs if kappa is not None]
    assert together is not None
    assert min(present) < together < max(present)
    assert together == pytest.approx(np.mean(present), abs=0.01)


@given(st.integers(2, 4).flatmap(grades_by), st.integers(0, 1000))
def test_neither_the_order_of_raters_nor_of_units_counts(ratings: list[list[float | None]], seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(ratings[0]))
    shuffled = [[row[place] for place in order] for row in reversed(ratings)]
    for coefficient in (weighted_kappa, gwet_ac):
        before, after = coefficient(ratings, GRADES), coefficient(shuffled, GRADES)
        assert (before is None) == (after is None)
        assert before is None or before == pytest.approx(after)


def test_weights_are_one_on_the_diagonal_and_zero_in_the_corner() -> None:
    for weighting in ("linear", "ordinal", "quadratic"):
        weights = category_weights(5, weighting)
        assert weights.diagonal().tolist() == [1] * 5
        assert weights[0, 4] == 0
        assert (np.diff(weights[0]) < 0).all()
    assert category_weights(3, "ordinal")[0].tolist() == pytest.approx([1, 2 / 3, 0])  # As irrCAC prints ordinal.weights(1:3).
    assert (category_weights(5, "identity") == np.eye(5)).all()


def test_where_nearly_all_grades_are_equal_ac2_still_tells_agreement() -> None:
    # The kappa paradox: 19 of 20 grades are equal, and the only other one is met by no other rater.
    ratings = by_raters([5.0] * 19 + [4.0], [4.0] + [5.0] * 19)
    alpha, kappa, ac2 = krippendorff_alpha(ratings), weighted_kappa(ratings, GRADES), gwet_ac(ratings, GRADES)
    assert alpha == pytest.approx(0, abs=0.06)
    assert kappa == pytest.approx(0, abs=0.06)
    assert ac2 == pytest.approx(0.99, abs=0.01)


def test_a_grade_off_the_scale_is_refused() -> None:
    with pytest.raises(CultureCareError, match=r"rater 2, unit 1: 3\.5 is not on the scale, which has 1, 2, 3, 4, 5"):
        weighted_kappa([[3.0], [3.5]], GRADES)
    with pytest.raises(CultureCareError, match="1 categories"):
        gwet_ac([[3.0], [3.0]], [3.0])


# --- Coefficients with intervals -------------------------------------------------------------------------------------------------


def rounded(ratings: Sequence[Sequence[float | None]]) -> list[list[float | None]]:
    return [[None if value is None else float(np.clip(round(3 + value), 1, 5)) for value in row] for row in ratings]


def test_one_call_gives_three_coefficients_and_their_intervals() -> None:
    grades = rounded(noisy_raters(40, 0.5))
    names = [str(unit) for unit in range(40)]
    found = agreement_coefficients("empathy", grades, names, GRADES)
    assert [row.name for row in found] == ["alpha_ordinal", "weighted_kappa", "ac2"]
    assert [row.value for row in found] == [ordinal_alpha(grades), weighted_kappa(grades, GRADES), gwet_ac(grades, GRADES)]
    for row in found:
        assert row.low is not None
        assert row.value is not None
        assert row.high is not None
        assert row.low < row.value < row.high < 1
        assert (row.raters, row.units, row.clusters) == (3, 40, 40)
    nominal = agreement_coefficients("overly positive", grades, names, GRADES, level="nominal")
    assert [row.name for row in nominal] == ["alpha_nominal", "kappa", "ac1"]
    assert [row.value for row in nominal] == [
        krippendorff_alpha(grades, "nominal"),
        weighted_kappa(grades, GRADES, "identity"),
        gwet_ac(grades, GRADES, "identity"),
    ]


def test_over_cultures_a_coefficient_is_the_mean_of_the_cultures() -> None:
    grades = rounded(noisy_raters(60, 0.5))
    names, cultures = [str(unit) for unit in range(60)], ["arabic"] * 20 + ["german"] * 40
    parts = [[row[:20] for row in grades], [row[20:] for row in grades]]
    together = agreement_coefficients("empathy", grades, names, GRADES, cultures=cultures)
    apart = [agreement_coefficients("empathy", part, [str(unit) for unit in range(len(part[0]))], GRADES) for part in parts]
    for row, first, second in zip(together, *apart, strict=True):
        assert row.value == pytest.approx(((first.value or 0) + (second.value or 0)) / 2)
        assert row.error == pytest.approx(np.hypot(first.error or 0, second.error or 0) / 2)


@pytest.mark.parametrize(
    ("ratings", "why"),
    [
        ([], "there are 0 raters"),
        ([[1.0, 2.0]], "there is 1 rater"),
        ([[1.0, None], [None, 2.0]], "no reply has values by two raters"),
    ],
)
def test_without_two_raters_there_is_no_coefficient(ratings: list[list[float | None]], why: str) -> None:
    for row in agreement_coefficients("empathy", ratings, ["a", "b"], GRADES):
        assert row.value is None
        assert why in str(row.reason)


def test_one_category_alone_leaves_ac2_without_an_interval_and_the_others_without_a_value() -> None:
    names = [str(unit) for unit in range(20)]
    alpha, kappa, ac2 = agreement_coefficients("empathy", [[5.0] * 20] * 3, names, GRADES)
    assert alpha.value is kappa.value is None
    assert "nothing tells agreement from chance" in str(alpha.reason)
    assert (ac2.value, ac2.low, ac2.high) == (1, None, None)
    assert "end of the scale" in str(ac2.reason)


def test_a_value_that_hangs_on_one_instance_has_no_interval() -> None:
    grades = by_raters([5.0] * 19 + [1.0], [5.0] * 19 + [2.0])
    alpha = agreement_coefficients("empathy", grades, [str(unit) for unit in range(20)], GRADES)[0]
    assert alpha.value is not None
    assert alpha.low is None
    assert "without one of the instances" in str(alpha.reason)


def test_few_instances_have_a_value_but_no_interval() -> None:
    units = FEWEST_CLUSTERS - 1
    grades = rounded(noisy_raters(units, 0.5))
    for row in agreement_coefficients("empathy", grades, [str(unit) for unit in range(units)], GRADES):
        assert row.value is not None
        assert row.low is None
        assert f"needs {FEWEST_CLUSTERS} instances, and there are {units}" in str(row.reason)


@pytest.mark.parametrize("few", [1, FEWEST_IN_STRATUM - 1])
def test_few_instances_in_one_culture_have_a_value_but_no_interval(few: int) -> None:
    units = 28 + few
    grades, cultures = rounded(noisy_raters(units, 0.5)), ["german"] * 28 + ["arabic"] * few
    row = agreement_coefficients("empathy", grades, [str(unit) for unit in range(units)], GRADES, cultures=cultures)[2]
    assert row.value is not None
    assert (row.low, row.high, row.error) == (None, None, None)
    assert str(row.reason).startswith(f"arabic: an interval needs {FEWEST_IN_STRATUM} instances")


def test_enough_instances_in_each_culture_have_an_interval() -> None:
    units = 28 + FEWEST_IN_STRATUM
    cultures = ["german"] * 28 + ["arabic"] * FEWEST_IN_STRATUM
    row = agreement_coefficients(
        "empathy", rounded(noisy_raters(units, 0.5)), [str(unit) for unit in range(units)], GRADES, cultures=cultures
    )[2]
    assert row.low is not None


def test_a_culture_without_a_value_is_named() -> None:
    grades: list[list[float | None]] = [[1.0, 2.0, 3.0, 3.0], [2.0, 2.0, 3.0, 3.0]]
    row = agreement_coefficients("empathy", grades, list("abcd"), GRADES, cultures=["arabic", "arabic", "german", "german"])[0]
    assert row.value is None
    assert str(row.reason).startswith("german: all values are equal")


def test_a_coefficient_without_a_reason_for_what_it_lacks_is_refused() -> None:
    fields = {"metric": "empathy", "name": "ac2", "low": None, "high": None, "error": None, "raters": 2, "units": 9, "clusters": 9}
    with pytest.raises(ValueError, match="a reason why"):
        Coefficient.model_validate({**fields, "value": 0.5, "reason": None})


# --- The jackknife ---------------------------------------------------------------------------------------------------------------


def test_the_jackknifes_interval_of_a_mean_is_students() -> None:
    from scipy.stats import sem, t

    values = np.random.default_rng(3).normal(size=12)
    found = jackknife(lambda weights: float(np.average(values, weights=weights)), [str(name) for name in range(12)], scale="plain")
    assert found.value == pytest.approx(values.mean())
    assert found.error == pytest.approx(sem(values))
    assert (found.low, found.high) == pytest.approx(t.interval(0.95, 11, values.mean(), sem(values)))


def test_the_jackknifes_interval_of_a_share_is_wilsons_at_coins_that_vary_so() -> None:
    from scipy.stats import t

    values = np.array([1.0] * 15 + [0.0] * 5)
    found = jackknife(lambda weights: float(np.average(values, weights=weights)), [str(name) for name in range(20)], scale="share")
    size, z = 19, t.ppf(0.975, 19)  # A sample's variance with its n - 1 makes one coin fewer.
    centre, half = (0.75 + z**2 / 2 / size) / (1 + z**2 / size), z / (1 + z**2 / size) * np.sqrt(0.1875 / size + z**2 / 4 / size**2)
    assert (found.low, found.high) == pytest.approx((centre - half, centre + half))


def test_clusters_are_left_out_whole() -> None:
    values = np.random.default_rng(3).normal(size=12)
    names = [str(name) for name in range(12)]
    once = jackknife(lambda weights: float(np.average(values, weights=weights)), names, scale="plain")
    many = np.repeat(values, 5)
    five_times = jackknife(lambda weights: float(np.average(many, weights=weights)), np.repeat(names, 5).tolist(), scale="plain")
    assert five_times.clusters == 12
    assert (five_times.value, five_times.low, five_times.high) == pytest.approx((once.value, once.low, once.high))


def simulated_grades(generator: np.random.Generator, posts: int, raters: int, noise: float, shift: float) -> list[list[float | None]]:
    """Grades of three replies to each post, which resemble each other."""
    truth = 0.6 * generator.normal(size=(posts, 1)) + 0.8 * generator.normal(size=(posts, 3)) + shift
    graded = (np.clip(np.round(3 + truth + noise * generator.normal(size=truth.shape)), 1, 5) for _ in range(raters))
    return by_raters(*(of_rater.ravel().tolist() for of_rater in graded))


def coverage(posts: int, raters: int, noise: float, shift: float, studies: int, few: int = 0) -> list[float]:
    """Share of simulated studies whose intervals of alpha, kappa and AC2 hold the value of a very large study.

    Where `few` is given, the study has another culture with so many posts.
    """
    large = simulated_grades(np.random.default_rng(0), 60_000, raters, noise, shift)
    truths = ordinal_alpha(large), weighted_kappa(large, GRADES), gwet_ac(large, GRADES)
    clusters = [str(post) for post in range(posts + few) for _ in range(3)]
    cultures = ["german"] * 3 * posts + ["arabic"] * 3 * few
    generator = np.random.default_rng(1)
    hits = np.zeros(3)
    for _ in range(studies):
        grades = simulated_grades(generator, posts + few, raters, noise, shift)
        found = agreement_coefficients("empathy", grades, clusters, GRADES, cultures=cultures)
        for place, (row, truth) in enumerate(zip(found, truths, strict=True)):
            assert truth is not None
            hits[place] += row.low is not None and row.high is not None and row.low <= truth <= row.high
    return list(hits / studies)


def test_intervals_of_agreement_hold_the_truth_as_often_as_they_say() -> None:
    # 300 studies tell a coverage to 1.3 points, and two of that beside the 1.5 points that are promised.
    assert coverage(posts=28, raters=3, noise=0.8, shift=0, studies=300) == pytest.approx([0.95] * 3, abs=0.015 + 2 * 0.0126)


@pytest.mark.slow
@pytest.mark.parametrize("posts", [12, 28, 100])
@pytest.mark.parametrize(("noise", "shift"), [(0.8, 0), (0.8, 1.3), (0.3, 0)], ids=["middling", "skewed", "high"])
def test_intervals_of_agreement_hold_the_truth_at_every_realistic_size(posts: int, noise: float, shift: float) -> None:
    studies = 2000 if posts < 100 else 1000
    # With 12 instances, kappa of skewed grades covers 92 to 93 %: see the table in `jackknife`.
    tolerance = (0.03 if posts == 12 else 0.015) + 2 * (0.95 * 0.05 / studies) ** 0.5
    assert coverage(posts, 3, noise, shift, studies) == pytest.approx([0.95] * 3, abs=tolerance)


@pytest.mark.slow
@pytest.mark.parametrize(("noise", "shift"), [(0.8, 0), (0.8, 1.3), (0.3, 0)], ids=["middling", "skewed", "high"])
def test_with_few_posts_in_one_culture_intervals_of_agreement_cover_what_the_module_says(noise: float, shift: float) -> None:
    hits = coverage(28, 3, noise, shift, 500, few=FEWEST_IN_STRATUM)
    assert all(0.9 - 0.03 <= share <= 0.98 for share in hits)
