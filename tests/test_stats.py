"""Statistics: means over cultures and their intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from culturecare_harness.stats import LEVEL, mean_of_means, mean_of_means_interval

GRADES = st.lists(st.floats(1, 5), min_size=2, max_size=12)
CULTURES = st.lists(GRADES, min_size=1, max_size=4)
ROUNDING = 1e-9


def interval_of(*samples: list[float]) -> tuple[float, float]:
    interval = mean_of_means_interval(samples)
    assert interval is not None
    return interval


def test_every_culture_weighs_the_same() -> None:
    assert mean_of_means([[1.0], [4.0, 4.0, 4.0]]) == 2.5
    assert mean_of_means([[2.0, 3.0]]) == 2.5


@pytest.mark.parametrize("samples", [[], [[]], [[1.0], []]])
def test_without_a_value_in_every_culture_there_is_no_mean(samples: list[list[float]]) -> None:
    assert mean_of_means(samples) is None
    assert mean_of_means_interval(samples) is None


@pytest.mark.parametrize("samples", [[[3.0]], [[1.0, 2.0, 3.0], [3.0]]])
def test_one_value_in_a_culture_tells_nothing_of_its_spread(samples: list[list[float]]) -> None:
    assert mean_of_means(samples) is not None
    assert mean_of_means_interval(samples) is None


@given(CULTURES)
def test_the_mean_lies_among_the_values_and_ignores_order(samples: list[list[float]]) -> None:
    mean = mean_of_means(samples)
    assert mean is not None
    assert min(map(min, samples)) - ROUNDING <= mean <= max(map(max, samples)) + ROUNDING
    assert mean_of_means([sample[::-1] for sample in samples[::-1]]) == pytest.approx(mean)


@given(CULTURES)
def test_the_interval_holds_the_mean_in_its_middle(samples: list[list[float]]) -> None:
    mean, (low, high) = mean_of_means(samples), interval_of(*samples)
    assert mean is not None
    assert low <= mean <= high
    assert (low + high) / 2 == pytest.approx(mean)


@given(CULTURES)
def test_the_interval_is_cut_off_at_the_ends_of_the_scale(samples: list[list[float]]) -> None:
    mean, interval = mean_of_means(samples), mean_of_means_interval(samples, (1, 5))
    assert mean is not None
    assert interval is not None
    assert 1 <= interval[0] <= mean + ROUNDING
    assert mean - ROUNDING <= interval[1] <= 5


@given(GRADES, st.floats(-10, 10), st.floats(0.1, 10))
def test_the_interval_moves_and_stretches_with_the_values(sample: list[float], shift: float, scale: float) -> None:
    low, high = interval_of(sample)
    moved = interval_of([shift + scale * value for value in sample])
    assert moved == pytest.approx((shift + scale * low, shift + scale * high), abs=1e-6)


def test_equal_values_have_an_interval_of_no_width() -> None:
    assert interval_of([3.0, 3.0], [4.0, 4.0, 4.0]) == (3.5, 3.5)


def test_a_culture_of_equal_values_beside_another_is_no_obstacle() -> None:
    low, high = interval_of([3.0, 3.0], [1.0, 5.0, 4.0])
    assert low < high


def test_one_culture_has_the_interval_of_students_t() -> None:
    # Quantile 0.975 of t with 2 degrees of freedom, from any table.
    assert interval_of([1.0, 2.0, 3.0]) == pytest.approx((2 - 4.302653 / math.sqrt(3), 2 + 4.302653 / math.sqrt(3)))


def test_two_values_have_an_interval_as_wide_as_it_must_be() -> None:
    assert interval_of([3.0, 4.0]) == pytest.approx((3.5 - 12.7062 / 2, 3.5 + 12.7062 / 2), rel=1e-5)


def test_two_cultures_have_the_width_of_welchs_test() -> None:
    from scipy.stats import ttest_ind

    first, second = [1.0, 2.5, 3.0, 4.0], [4.0, 4.5, 5.0, 3.0, 4.0, 4.2]
    of_difference = ttest_ind(first, second, equal_var=False).confidence_interval(LEVEL)
    low, high = interval_of(first, second)
    assert high - low == pytest.approx((of_difference.high - of_difference.low) / 2)


def test_more_values_give_a_narrower_interval() -> None:
    few, many = interval_of([1.0, 2.0, 3.0, 4.0, 5.0]), interval_of([1.0, 2.0, 3.0, 4.0, 5.0] * 20)
    assert many[1] - many[0] < (few[1] - few[0]) / 3


@pytest.mark.parametrize("sizes", [(3,), (4, 3), (30, 20), (5, 5, 5, 5)])
def test_intervals_cover_the_true_mean_about_as_often_as_they_say(sizes: tuple[int, ...]) -> None:
    rng = np.random.default_rng(5)
    drawn = [[rng.normal(3, 1 + position, size).tolist() for position, size in enumerate(sizes)] for _ in range(1000)]
    covered = sum(low <= 3 <= high for low, high in (interval_of(*samples) for samples in drawn)) / len(drawn)
    assert covered == pytest.approx(LEVEL, abs=0.025)
