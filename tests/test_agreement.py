"""Agreement: Krippendorff's alpha for ordered scores, and its interval."""

from __future__ import annotations

from typing import TYPE_CHECKING

import krippendorff
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from culturecare import CultureCareError
from culturecare_harness.agreement import FEWEST_CLUSTERS, Agreement, agree, bootstrap_interval, ordinal_alpha

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability", sections C and D: four observers, twelve units, five values, some
# missing; with the ordinal distance its alpha is 0.815.
PUBLISHED: list[list[float | None]] = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
    [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
]


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


def test_the_published_example_gives_its_alpha() -> None:
    assert ordinal_alpha(PUBLISHED) == pytest.approx(0.815, abs=0.0005)


@given(st.integers(2, 4).flatmap(grades_by))
def test_alpha_is_that_of_the_library(ratings: list[list[float | None]]) -> None:
    table = np.array([[np.nan if grade is None else grade for grade in row] for row in ratings])
    paired = table[:, (~np.isnan(table)).sum(axis=0) >= 2]
    alpha = ordinal_alpha(ratings)
    if len(np.unique(paired[~np.isnan(paired)])) < 2:
        assert alpha is None
    else:
        assert alpha == pytest.approx(krippendorff.alpha(table, level_of_measurement="ordinal"), abs=1e-9)


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


# --- The bootstrap ---------------------------------------------------------------------------------------------------------------


def mean_of(values: Sequence[float], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    mean: NDArray[np.float64] = np.array([np.average(values, weights=weights)])
    return mean


def test_clusters_are_drawn_whole_and_within_their_stratum() -> None:
    clusters = [name for name in "abcdefghijkl" for _ in range(2)]
    strata = ["one"] * 12 + ["two"] * 12
    seen = []

    def remember(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        seen.append(weights)
        total: NDArray[np.float64] = weights.sum(keepdims=True)
        return total

    bootstrap_interval(remember, clusters, strata)
    for weights in seen:
        assert (weights[::2] == weights[1::2]).all()
        assert weights[:12].sum() == weights[12:].sum() == 12


def test_a_statistic_that_is_not_defined_on_a_resample_has_no_interval() -> None:
    assert bootstrap_interval(lambda _: None, [str(name) for name in range(20)]) is None


def test_the_interval_of_a_mean_is_that_of_the_textbook() -> None:
    values = np.random.default_rng(3).normal(size=400).tolist()
    interval = bootstrap_interval(lambda weights: mean_of(values, weights), [str(name) for name in range(400)])
    assert interval is not None
    half = 1.96 * np.std(values) / 20
    assert float(interval[0][0]) == pytest.approx(np.mean(values) - half, abs=0.02)
    assert float(interval[1][0]) == pytest.approx(np.mean(values) + half, abs=0.02)
