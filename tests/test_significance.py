"""Comparisons: permutation test, Holm's correction, effect sizes, win rates, power; and what the project's intervals cover."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from culturecare import CultureCareError
from culturecare_harness import significance
from culturecare_harness.significance import (
    FEWEST_PAIRS,
    RESAMPLES,
    Comparison,
    bounded_mean_interval,
    compare_many,
    compare_paired,
    hedges_correction,
    holm,
    minimum_detectable_difference,
    p_below,
    permutation_p,
    power_of_t,
    win_rate,
    wins,
    with_holm,
)
from culturecare_harness.stats import mean_of_means, mean_of_means_interval

# Darwin's pairs of crossed and self-fertilised maize, differences in eighths of an inch (Fisher, 1935, "The Design of Experiments",
# section 21): of the 32,768 ways to give them signs, 863 have a sum of the 314 observed or more, so that the two-sided p is 0.05267.
DARWIN = [49.0, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]

P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=12)


def values(differences: list[float]) -> tuple[dict[str, float | None], dict[str, float | None], dict[str, str]]:
    """Two conditions with these differences, all of one culture."""
    a: dict[str, float | None] = {str(number): value for number, value in enumerate(differences)}
    return a, dict.fromkeys(a, 0.0), dict.fromkeys(a, "german")


def compared(differences: list[float]) -> Comparison:
    return compare_paired(*values(differences), names=("cga", "standard"), metric="empathy")


# --- The permutation test --------------------------------------------------------------------------------------------------------


def test_fishers_own_example_gives_his_p(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(significance, "RESAMPLES", 2**15)
    assert permutation_p([DARWIN]) == pytest.approx(2 * 863 / 32768, abs=1e-9)


def test_random_flips_come_near_the_exact_p() -> None:
    p = permutation_p([DARWIN])
    assert p == pytest.approx(0.0527, abs=3 * 2 * math.sqrt(0.026 / significance.RESAMPLES))
    assert permutation_p([DARWIN]) == p


@pytest.mark.parametrize("n", [6, 8, 12])
def test_the_smallest_p_of_a_small_study_is_exact(n: int) -> None:
    assert permutation_p([[1.0] * n]) == pytest.approx(2 / 2**n)


def test_equal_conditions_have_a_p_of_one() -> None:
    assert permutation_p([[0.0] * 10]) == 1


def test_flips_that_tie_but_for_rounding_count() -> None:
    # Of tenths, whose sums are not exact, every flip of one sign with another's ties with what was observed.
    assert permutation_p([[0.1, 0.2, 0.3, -0.3, 0.1, 0.2, -0.6]]) == permutation_p([[1.0, 2, 3, -3, 1, 2, -6]]) == 1


def test_a_culture_with_more_instances_weighs_no_more() -> None:
    # The many of one culture point one way, the few of the other as far the other way.
    assert permutation_p([[0.1, 0.2, 0.3] * 5, [-0.1, -0.2, -0.3]]) == pytest.approx(1, abs=0.01)


def test_under_the_null_hypothesis_at_most_one_test_in_twenty_rejects_whatever_the_shape() -> None:
    generator = np.random.default_rng(1)
    # Grades of two exchangeable conditions, skewed and discrete.
    grades = generator.choice([1, 2, 3, 4, 5], size=(400, 2, 2, 4), p=[0.02, 0.05, 0.13, 0.3, 0.5])
    p = np.array([permutation_p((study[0] - study[1]).astype(float).tolist()) for study in grades])
    assert 0 < (p < 0.05).mean() <= 0.05 + 2 * 0.0109


@pytest.mark.slow
@pytest.mark.parametrize("n", [8, 28])
def test_the_level_is_held_at_realistic_sizes(n: int) -> None:
    generator = np.random.default_rng(2)
    grades = generator.choice([1, 2, 3, 4, 5], size=(1500, 2, 4, n), p=[0.02, 0.05, 0.13, 0.3, 0.5])
    p = np.array([permutation_p((study[0] - study[1]).astype(float).tolist()) for study in grades])
    assert (p < 0.05).mean() == pytest.approx(0.05, abs=0.015)


# --- One comparison --------------------------------------------------------------------------------------------------------------


def test_a_comparison_says_how_far_how_sure_and_how_often() -> None:
    found = compared(DARWIN)
    assert found.n == 15
    assert found.difference == pytest.approx(314 / 15)
    # Student's interval, as Fisher's t of 2.148 on 14 degrees of freedom gives it.
    assert (found.low, found.high) == pytest.approx((0.03119, 41.8355), abs=1e-3)
    assert found.p == pytest.approx(0.0527, abs=0.007)
    assert found.p_adjusted is None
    assert found.effect == pytest.approx(2.1480 / math.sqrt(15) * hedges_correction(14), abs=1e-4)
    assert found.superiority == pytest.approx(13 / 15)
    assert found.reason is None


def test_turning_the_comparison_round_turns_every_number_round() -> None:
    a, b, cultures = values(DARWIN)
    there = compare_paired(a, b, cultures, names=("cga", "standard"), metric="empathy")
    back = compare_paired(b, a, cultures, names=("standard", "cga"), metric="empathy")
    assert there.difference is not None
    assert back.difference == -there.difference
    assert there.low is not None
    assert back.high == pytest.approx(-there.low)
    assert back.p == pytest.approx(there.p)
    assert there.superiority is not None
    assert back.superiority == pytest.approx(1 - there.superiority)


def test_only_instances_with_both_values_count() -> None:
    a, b, cultures = values(DARWIN)
    a["0"] = None
    del b["1"]
    b["only here"] = 3.0
    found = compare_paired(a, b, cultures, names=("cga", "standard"), metric="empathy")
    assert found.n == 13
    assert found.difference == pytest.approx(sum(DARWIN[2:]) / 13)


def test_cultures_weigh_the_same() -> None:
    differences = {"german": [1.0] * 12 + [1.2], "arabic": [0.0, 0.2, -0.2]}
    a: dict[str, float | None] = {}
    cultures = {}
    for culture, sample in differences.items():
        for number, value in enumerate(sample):
            a[f"{culture}{number}"] = value
            cultures[f"{culture}{number}"] = culture
    found = compare_paired(a, dict.fromkeys(a, 0.0), cultures, names=("a", "b"), metric="empathy")
    assert found.difference == pytest.approx((13.2 / 13 + 0) / 2)
    assert found.superiority == pytest.approx((1 + 0.5) / 2)


@pytest.mark.parametrize(
    ("differences", "why"),
    [([], "on 0 instances"), ([1.0] * (FEWEST_PAIRS - 1), f"a test needs {FEWEST_PAIRS}")],
)
def test_too_few_instances_are_no_comparison(differences: list[float], why: str) -> None:
    found = compared(differences)
    assert found.difference is found.low is found.p is found.effect is found.superiority is None
    assert why in str(found.reason)


def test_one_instance_in_a_culture_is_no_comparison() -> None:
    a, b, cultures = values(DARWIN)
    cultures["0"] = "arabic"
    found = compare_paired(a, b, cultures, names=("a", "b"), metric="empathy")
    assert found.difference is None
    assert "'arabic' has one instance" in str(found.reason)


def test_equal_differences_have_no_effect_size() -> None:
    found = compared([0.5] * 10)
    assert found.effect is None
    assert (found.difference, found.superiority) == (0.5, 1)


@pytest.mark.parametrize(("difference", "p"), [(1.5, 2 / 2**10), (0.0, 1)])
def test_equal_differences_are_tested_but_tell_nothing_of_how_far_their_mean_may_vary(difference: float, p: float) -> None:
    found = compared([difference] * 10)
    assert (found.difference, found.low, found.high, found.reason) == (difference, None, None, None)
    assert found.p == pytest.approx(p)


def test_what_cannot_be_compared_is_refused() -> None:
    a, b, cultures = values([1.0] * 8)
    with pytest.raises(CultureCareError, match="instance '3' has values but no culture"):
        compare_paired(a, b, {key: value for key, value in cultures.items() if key != "3"}, names=("a", "b"), metric="empathy")
    with pytest.raises(CultureCareError, match="instance '2': nan"):
        compare_paired(a | {"2": math.nan}, b, cultures, names=("a", "b"), metric="empathy")


def test_hedges_correction_is_as_near_to_his_approximation_as_he_says() -> None:
    # Hedges (1981): 1 - 3 / (4 m - 1) is off by about 0.007 at m = 2, and by no more than 0.00034 from m = 10 on.
    assert hedges_correction(2) == pytest.approx(1 / math.sqrt(math.pi))
    for freedom in (2, 5, 10, 50, 1000):
        assert hedges_correction(freedom) == pytest.approx(1 - 3 / (4 * freedom - 1), abs=0.0073 if freedom < 10 else 0.00034)


def test_the_effect_size_is_unbiased() -> None:
    generator = np.random.default_rng(5)
    effects = [compared(generator.normal(0.5, 1, 8).tolist()).effect for _ in range(300)]
    assert np.mean([effect for effect in effects if effect is not None]) == pytest.approx(0.5, abs=3 * 0.4 / math.sqrt(300))


# --- Many comparisons ------------------------------------------------------------------------------------------------------------


def test_holms_correction_is_rs() -> None:
    # p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm") in R.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.3]) == [0.3]


@given(P_VALUES)
def test_adjusted_p_values_keep_their_order_and_are_no_smaller(family: list[float]) -> None:
    adjusted = holm(family)
    assert all(before <= after <= 1 for before, after in zip(family, adjusted, strict=True))
    order = sorted(range(len(family)), key=family.__getitem__)
    assert [adjusted[place] for place in order] == sorted(adjusted)
    assert min(adjusted) == pytest.approx(min(1, len(family) * min(family)))


@given(P_VALUES)
def test_holm_rejects_whatever_bonferroni_rejects(family: list[float]) -> None:
    assert all(after <= min(1, len(family) * before) + 1e-12 for before, after in zip(family, holm(family), strict=True))


def test_false_alarms_in_a_family_stay_below_the_level_though_tests_depend() -> None:
    from scipy.special import ndtr

    generator = np.random.default_rng(6)
    shared = generator.normal(size=(4000, 1))
    z = 0.6 * shared + 0.8 * generator.normal(size=(4000, 6))
    z[:, :2] += 4  # Two that truly differ.
    p = 2 * ndtr(-np.abs(z))
    adjusted = np.array([holm(family.tolist()) for family in p])
    alarms = (adjusted[:, 2:] < 0.05).any(axis=1).mean()
    assert alarms <= 0.05 + 2 * 0.0034
    assert alarms > 0.02
    assert (adjusted[:, :2] < 0.05).mean() > 0.85


def test_each_pair_or_each_with_a_baseline_is_one_family() -> None:
    generator = np.random.default_rng(7)
    cultures = {str(number): "german" for number in range(20)}
    conditions: dict[str, dict[str, float | None]] = {
        name: {key: float(generator.normal(mean)) for key in cultures} for name, mean in (("standard", 0), ("culture", 0.1), ("cga", 2))
    }
    pairs = compare_many({"empathy": conditions}, cultures)
    assert [(found.a, found.b) for found in pairs] == [("culture", "standard"), ("cga", "standard"), ("cga", "culture")]
    some = compare_many({"empathy": conditions}, cultures, compared=lambda first, second: (first, second) != ("standard", "cga"))
    assert [(found.a, found.b) for found in some] == [("culture", "standard"), ("cga", "culture")]
    found = compare_many({"empathy": conditions, "knowledge": conditions}, cultures, baseline="standard")
    assert [(row.metric, row.a, row.b) for row in found] == [
        (metric, name, "standard") for metric in ("empathy", "knowledge") for name in ("culture", "cga")
    ]
    p = [row.p for row in found if row.p is not None]
    assert [row.p_adjusted for row in found] == holm(p)


def test_a_large_family_has_p_values_as_small_as_it_needs() -> None:
    # All of 16 differences are above 0: two of 65,536 flips are as far out.
    samples = [[1.0 + number / 10 for number in range(16)]]
    exact = 2 / 2**16
    assert permutation_p(samples) == permutation_p(samples, 50) == 1 / (RESAMPLES + 1)
    assert permutation_p(samples, 480) == permutation_p(samples, 480) < 0.05 / 480
    assert permutation_p(samples, 5000) == pytest.approx(exact, rel=3 / math.sqrt(30))


def test_what_is_no_candidate_draws_no_more_for_a_large_family() -> None:
    values = np.random.default_rng(13).normal(0.3, 1, 30).tolist()
    assert permutation_p([values], 480) == permutation_p([values])


def test_more_flips_stop_at_the_tenth_that_is_as_far_out() -> None:
    # With one of 14 turned round, 2 × 15 of 16,384 × 4 flips and those that tie with them: about 5 of 10,000.
    samples = [[1.0] * 15 + [-1.0]]
    exact = 2 * (1 + 16) / 2**16
    found = permutation_p(samples, 5000)
    assert found == pytest.approx(exact, rel=3 / math.sqrt(10))
    assert 10 / found == pytest.approx(round(10 / found)), "the tenth flip that is as far out is drawn as number 10 / p"


def test_a_difference_in_a_family_of_hundreds_is_found() -> None:
    generator = np.random.default_rng(14)
    cultures = {str(number): "german" for number in range(24)}
    conditions: dict[str, dict[str, float | None]] = {
        f"{number}": {key: float(generator.normal(3 * (number == 0))) for key in cultures} for number in range(16)
    }
    found = compare_many(dict.fromkeys(("overall", "emotional", "cultural", "quality"), conditions), cultures)
    assert len(found) == 480
    different = [row for row in found if row.b == "0"]
    assert len(different) == 60
    assert all((row.p_adjusted or 1) < 0.05 for row in different)


def test_what_was_not_tested_is_no_part_of_the_family() -> None:
    tested, untested = compared(DARWIN), compared([1.0])
    assert [found.p_adjusted for found in with_holm([untested, tested, untested])] == [None, tested.p, None]


def test_a_family_needs_its_baseline_and_two_conditions() -> None:
    a, b, cultures = values(DARWIN)
    with pytest.raises(CultureCareError, match="no condition 'peer' to compare with; there are cga, standard"):
        compare_many({"empathy": {"cga": a, "standard": b}}, cultures, baseline="peer")
    with pytest.raises(CultureCareError, match="empathy: 1 condition"):
        compare_many({"empathy": {"cga": a}}, cultures)


# --- Win rates and intervals of what has ends ------------------------------------------------------------------------------------


def test_ties_are_half_a_win() -> None:
    assert [wins(2, 1), wins(1, 2), wins(0.1 + 0.2, 0.3)] == [1, 0, 0.5]
    rate = win_rate(*values([1.0, 1.0, 0.0, -1.0]))
    assert rate.mean == 2.5 / 4


def test_no_shared_instance_is_no_rate() -> None:
    rate = win_rate({"1": 1.0}, {"2": 1.0}, {"1": "german", "2": "german"})
    assert (rate.mean, rate.low, rate.high) == (None, None, None)


def test_where_all_were_won_the_interval_is_wilsons() -> None:
    # Wilson's interval of 10 of 10, from any table.
    assert bounded_mean_interval([[1.0] * 10]) == pytest.approx((0.7225, 1), abs=5e-5)
    assert bounded_mean_interval([[5.0] * 10], (1, 5)) == pytest.approx((1 + 4 * 0.7225, 5), abs=2e-4)


def test_many_coins_have_wilsons_interval() -> None:
    from scipy.stats import binomtest

    found = bounded_mean_interval([[1.0] * 600 + [0.0] * 400])
    wilson = binomtest(600, 1000).proportion_ci(method="wilson")
    assert found == pytest.approx((wilson.low, wilson.high), abs=5e-4)


def test_ties_narrow_the_interval_but_not_to_nothing() -> None:
    coins, ties = bounded_mean_interval([[1.0, 0.0] * 10]), bounded_mean_interval([[0.5] * 20])
    assert coins is not None
    assert ties is not None
    assert 0.1 < ties[1] - ties[0] < 0.5 * (coins[1] - coins[0])


@given(st.lists(st.lists(st.floats(0, 1), min_size=1, max_size=10), min_size=1, max_size=4))
def test_the_interval_holds_the_mean_and_keeps_to_the_scale(samples: list[list[float]]) -> None:
    interval, mean = bounded_mean_interval(samples), mean_of_means(samples)
    assert interval is not None
    assert mean is not None
    assert 0 <= interval[0] <= mean + 1e-9
    assert mean - 1e-9 <= interval[1] <= 1
    assert interval[1] - interval[0] > 0


def test_a_value_outside_the_bounds_is_refused() -> None:
    assert bounded_mean_interval([]) is None
    assert bounded_mean_interval([[0.5], []]) is None
    with pytest.raises(CultureCareError, match="2 does not lie between 0 and 1"):
        bounded_mean_interval([[2.0]])


# --- What intervals cover --------------------------------------------------------------------------------------------------------

GRADES = np.array([1.0, 2, 3, 4, 5])
MIDDLING, SKEWED = [0.1, 0.2, 0.4, 0.2, 0.1], [0.02, 0.05, 0.13, 0.3, 0.5]
CEILING = [0, 0, 0.02, 0.08, 0.9]
"""Nine of ten grades are the highest, as for the best published strategies on emotional dimensions."""


def covered(shares: list[float], sizes: tuple[int, int], studies: int, *, bounded: bool = False, scale: np.ndarray = GRADES) -> float:
    """Share of studies (cultures, instances) that have an interval which holds the true mean of values drawn with these shares."""
    drawn = np.random.default_rng(8).choice(scale, size=(studies, *sizes), p=shares)
    truth, ends = float(np.dot(shares, scale)), (float(scale[0]), float(scale[-1]))
    hits = 0
    for study in drawn:
        samples = study.tolist()
        interval = bounded_mean_interval(samples, ends) if bounded else mean_of_means_interval(samples, ends)
        # Where all values are equal, Student's says nothing.
        hits += interval is not None and interval[0] - 1e-9 <= truth <= interval[1] + 1e-9
    return hits / studies


def tolerance(studies: int) -> float:
    """1.5 points, and two standard errors of the simulation."""
    return 0.015 + 2 * math.sqrt(0.95 * 0.05 / studies)


@pytest.mark.parametrize("sizes", [(4, 8), (4, 28), (1, 100)])
@pytest.mark.parametrize("shares", [MIDDLING, SKEWED])
def test_students_interval_of_grades_covers_what_it_says(shares: list[float], sizes: tuple[int, int]) -> None:
    assert covered(shares, sizes, 500) == pytest.approx(0.95, abs=tolerance(500))


@pytest.mark.parametrize(("sizes", "at_most"), [((1, 8), 0.65), ((1, 28), 0.88), ((4, 8), 0.91)])
def test_students_interval_fails_at_the_end_of_the_scale_and_the_bounded_one_does_not(sizes: tuple[int, int], at_most: float) -> None:
    # Known and stated in the docstring of `bounded_mean_interval`.
    assert covered(CEILING, sizes, 500) < at_most
    assert covered(CEILING, sizes, 500, bounded=True) >= 0.95 - tolerance(500)


@pytest.mark.parametrize("sizes", [(1, 28), (4, 8)])
@pytest.mark.parametrize("shares", [[0.3, 0.2, 0.5], [0.08, 0.04, 0.88]])
def test_the_interval_of_a_win_rate_covers_what_it_says(shares: list[float], sizes: tuple[int, int]) -> None:
    share = covered(shares, sizes, 500, bounded=True, scale=np.array([0, 0.5, 1]))
    assert share == pytest.approx(0.95, abs=tolerance(500) + 0.01 * (sizes[1] == 8))


@pytest.mark.slow
@pytest.mark.parametrize("shares", [MIDDLING, SKEWED, CEILING], ids=["middling", "skewed", "ceiling"])
@pytest.mark.parametrize("n", [8, 28, 100])
@pytest.mark.parametrize("cultures", [1, 4])
def test_intervals_of_grades_cover_what_the_docstrings_say(cultures: int, n: int, shares: list[float]) -> None:
    studies = 4000
    student, bounded = (covered(shares, (cultures, n), studies, bounded=choice) for choice in (False, True))
    fails = shares is CEILING and cultures * n <= 100
    small = shares is not CEILING and cultures * n == 8
    if fails:
        assert student < 0.95
    else:
        # With 8 instances of a skewed distribution, 92 to 94 %.
        assert student == pytest.approx(0.95, abs=tolerance(studies) + 0.015 * small)
    assert 0.95 - tolerance(studies) <= bounded <= 0.95 + tolerance(studies) + 0.025 * (n == 8)


@pytest.mark.slow
@pytest.mark.parametrize("shares", [[0.3, 0.2, 0.5], [0.08, 0.04, 0.88], [0.5, 0, 0.5]])
@pytest.mark.parametrize("n", [8, 28, 100])
def test_win_rates_cover_what_they_say(n: int, shares: list[float]) -> None:
    share = covered(shares, (4, n), 4000, bounded=True, scale=np.array([0, 0.5, 1]))
    assert share == pytest.approx(0.95, abs=tolerance(4000) + 0.015 * (n == 8))


# --- Surely below a threshold ----------------------------------------------------------------------------------------------------

SKEWED_DIFFERENCES = [
    ([0.0, 2.0], [0.94, 0.06]),
    ([0.0, 1.0], [0.88, 0.12]),
    ([0.0, 1.0, -1.0], [0.7, 0.21, 0.09]),
    ([-0.1, 1.9], [0.95, 0.05]),
    ([0.0, 4.0], [0.97, 0.03]),
    ([0.0, 3.0], [0.9, 0.1]),
    ([-1.0, 3.0], [0.75, 0.25]),
    ([-2.0, 0.0, 4.0], [0.1, 0.8, 0.1]),
    ([-4.0, 1.0], [0.18, 0.82]),
]
"""Values of differences and their shares; of the first four a sign-flip test about their mean called up to half of the studies lower."""


def p_at_the_threshold(values: list[float], shares: list[float], sizes: tuple[int, ...], studies: int) -> np.ndarray:
    """The p of each of many studies of differences whose true mean is the threshold."""
    generator = np.random.default_rng(15)
    threshold = float(np.dot(values, shares))
    drawn = [[generator.choice(values, size, p=shares).tolist() for size in sizes] for _ in range(studies)]
    return np.array([p_below(samples, threshold, (-4, 4)) or 0.0 for samples in drawn])


@pytest.mark.parametrize("sizes", [(12,), (12, 12, 12, 12)])
@pytest.mark.parametrize(("values", "shares"), SKEWED_DIFFERENCES[:4])
def test_a_mean_at_the_threshold_is_not_called_below_it_however_skewed_the_values(
    values: list[float], shares: list[float], sizes: tuple[int, ...]
) -> None:
    assert (p_at_the_threshold(values, shares, sizes, 200) < 0.025).mean() <= 0.025 + 2 * math.sqrt(0.025 * 0.975 / 200)


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [(6,), (28,), (100,), (300,), (8, 8), (40,) * 4, (115,) * 4, (100, 2), (200, 60)])
@pytest.mark.parametrize(("values", "shares"), SKEWED_DIFFERENCES)
def test_the_test_against_a_threshold_holds_its_level(values: list[float], shares: list[float], sizes: tuple[int, ...]) -> None:
    p = p_at_the_threshold(values, shares, sizes, 2000)
    # At most 2.9 % and 1.0 %, as the docstring says, and two standard errors of the simulation.
    for level, at_most in ((0.025, 0.029), (0.005, 0.01)):
        assert (p < level).mean() <= at_most + 2 * math.sqrt(level / 2000)


def test_enough_instances_show_that_nothing_differs_by_a_tenth() -> None:
    generator = np.random.default_rng(16)
    studies = [[generator.normal(0, 0.5, 115).tolist() for _ in range(4)] for _ in range(40)]
    assert np.mean([(p_below(samples, 0.1, (-4, 4)) or 1) < 0.025 for samples in studies]) >= 0.85
    assert all((p_below(samples, -0.1, (-4, 4)) or 0) > 0.5 for samples in studies)


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=2, max_size=30), st.floats(0.05, 0.95))
def test_what_is_below_by_the_test_is_below_by_the_interval(sample: list[float], threshold: float) -> None:
    p, interval = p_below([sample], threshold, (0, 1)), bounded_mean_interval([sample])
    assert p is not None
    assert interval is not None
    assert 0 <= p <= 1
    if p < 0.0249:
        assert interval[1] < threshold + 1e-9


def test_of_equal_values_the_unseen_far_ones_decide() -> None:
    # With a share of 1/8 of the highest value the mean would be at the threshold; ten instances show none of them by (7/8)^10.
    assert p_below([[-4.0] * 10], -3, (-4, 4)) == pytest.approx((7 / 8) ** 10)
    assert (p_below([[0.0] * 100], 0.1, (-4, 4)) or 0) >= (1 - 0.1 / 4) ** 100


def test_without_values_nothing_is_below() -> None:
    assert p_below([], 0.1, (-4, 4)) is None
    assert p_below([[1.0], []], 0.1, (-4, 4)) is None
    assert p_below([[0.1, 0.1]], 0.1, (-4, 4)) == 1
    with pytest.raises(CultureCareError, match="does not lie between"):
        p_below([[5.0]], 0.1, (-4, 4))
    with pytest.raises(CultureCareError, match="a threshold of 4"):
        p_below([[1.0]], 4, (-4, 4))


# --- What could have been seen ---------------------------------------------------------------------------------------------------


def test_power_is_that_of_r_and_g_power() -> None:
    # power.t.test(n = 34, delta = 0.5, sd = 1, type = "paired") in R: 0.8077775.
    assert power_of_t(0.5, 1 / math.sqrt(34), 33) == pytest.approx(0.8077775, abs=1e-6)
    # Of the normal: with the difference 2.8016 standard errors, 0.8 (Cohen, 1988).
    assert power_of_t(2.8016, 1, math.inf) == pytest.approx(0.8, abs=1e-4)
    assert power_of_t(0, 1, 20) == pytest.approx(0.05)


def test_power_falls_with_the_family_and_rises_with_the_difference() -> None:
    assert power_of_t(0.5, 0.2, 30, family=10) < power_of_t(0.5, 0.2, 30) < power_of_t(0.8, 0.2, 30)


def test_the_detectable_difference_is_found_with_the_wanted_power() -> None:
    samples = [np.random.default_rng(9).normal(size=30).tolist(), np.random.default_rng(10).normal(size=20).tolist()]
    difference = minimum_detectable_difference(samples, power=0.9, family=4)
    assert difference is not None
    from culturecare_harness.stats import mean_of_means_error

    spread = mean_of_means_error(samples)
    assert spread is not None
    assert power_of_t(difference, *spread, family=4) == pytest.approx(0.9, abs=1e-4)


def test_the_detectable_difference_of_34_pairs_is_cohens() -> None:
    # power.t.test(n = 34, sd = 1, power = 0.8, type = "paired") in R: a difference of 0.495.
    base = np.random.default_rng(11).normal(size=34)
    sample = ((base - base.mean()) / base.std(ddof=1)).tolist()
    assert minimum_detectable_difference([sample]) == pytest.approx(0.4950, abs=1e-4)


def test_a_design_without_spread_has_none() -> None:
    assert minimum_detectable_difference([[1.0]]) is None
    assert minimum_detectable_difference([[1.0, 1.0]]) is None


@pytest.mark.parametrize(
    ("options", "why"),
    [({"power": 0.03}, "power is 0.03 and level 0.05"), ({"power": 1.0}, "power is 1"), ({"family": 0}, "family of 0 comparisons")],
)
def test_nonsense_is_refused(options: dict[str, float], why: str) -> None:
    with pytest.raises(CultureCareError, match=why):
        minimum_detectable_difference([[1.0, 2.0, 3.0]], **options)  # type: ignore[arg-type]
