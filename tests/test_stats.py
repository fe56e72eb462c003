"""Statistics: means over cultures and their intervals, and the ranks that rows may have."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from culturecare_harness.stats import FEWEST_VALUES, LEVEL, mean_of_means, mean_of_means_error, mean_of_means_interval, rank_intervals

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


def varied(samples: list[list[float]]) -> bool:
    """Whether the values vary by more than rounding."""
    return any(max(sample) - min(sample) > 1e-6 for sample in samples)


@given(CULTURES)
def test_the_interval_holds_the_mean_in_its_middle(samples: list[list[float]]) -> None:
    assume(varied(samples))
    mean, (low, high) = mean_of_means(samples), interval_of(*samples)
    assert mean is not None
    assert low <= mean <= high
    assert (low + high) / 2 == pytest.approx(mean)


@given(CULTURES)
def test_the_interval_is_cut_off_at_the_ends_of_the_scale(samples: list[list[float]]) -> None:
    assume(varied(samples))
    mean, interval = mean_of_means(samples), mean_of_means_interval(samples, (1, 5))
    assert mean is not None
    assert interval is not None
    assert 1 <= interval[0] <= mean + ROUNDING
    assert mean - ROUNDING <= interval[1] <= 5


@given(GRADES, st.floats(-10, 10), st.floats(0.1, 10))
def test_the_interval_moves_and_stretches_with_the_values(sample: list[float], shift: float, scale: float) -> None:
    assume(varied([sample]))
    low, high = interval_of(sample)
    moved = interval_of([shift + scale * value for value in sample])
    assert moved == pytest.approx((shift + scale * low, shift + scale * high), abs=1e-6)


@pytest.mark.parametrize("samples", [[[3.0, 3.0], [4.0, 4.0, 4.0]], [[11 / 3, 1.1 * 10 / 3, 11 / 3 + 4e-16]]])
def test_equal_values_tell_nothing_of_how_far_their_mean_may_vary(samples: list[list[float]]) -> None:
    assert mean_of_means(samples) is not None
    assert mean_of_means_interval(samples) is mean_of_means_error(samples) is None


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


def coverage(sizes: tuple[int, ...], grades: list[float], shares: list[float], studies: int = 2000) -> float:
    """Share of the intervals of grades drawn with these shares that hold the true mean."""
    rng, truth = np.random.default_rng(6), float(np.dot(grades, shares))
    drawn = [[rng.choice(grades, size, p=shares).tolist() for size in sizes] for _ in range(studies)]
    intervals = [interval for samples in drawn if (interval := mean_of_means_interval(samples)) is not None]
    return sum(low - 1e-9 <= truth <= high + 1e-9 for low, high in intervals) / len(intervals)


def test_a_culture_of_two_beside_many_makes_intervals_far_too_narrow() -> None:
    # Known, stated in the docstring, and noted in results.
    assert coverage((100, 2), [4, 5], [0.5, 0.5], studies=500) == pytest.approx(0.5, abs=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("beside", [(), (100,), (100, 100, 100), (28, 28, 28)])
@pytest.mark.parametrize("few", [FEWEST_VALUES, 10])
def test_from_the_fewest_values_on_intervals_in_the_middle_of_the_scale_cover_what_they_say(few: int, beside: tuple[int, ...]) -> None:
    sizes = (*beside, few) if beside else (few,) * 4
    for grades, shares in (([1, 2, 3, 4, 5], [0.1, 0.2, 0.4, 0.2, 0.1]), ([4, 5], [0.5, 0.5])):
        assert 0.93 <= coverage(sizes, [float(grade) for grade in grades], shares) + 0.01 <= 0.99


# --- Ranks -----------------------------------------------------------------------------------------------------------------------


def ranks(means: list[float], error: float | list[float] = 0.1, freedom: float = 50.0) -> list[tuple[float, float]]:
    errors = error if isinstance(error, list) else [error] * len(means)
    best, worst = rank_intervals(means, errors, [freedom] * len(means))
    return list(zip(best.tolist(), worst.tolist(), strict=True))


def test_rows_that_are_far_apart_have_a_rank_each_and_the_highest_mean_the_first() -> None:
    assert ranks([1.0, 5.0, 3.0]) == [(3, 3), (1, 1), (2, 2)]


def test_rows_that_chance_could_part_share_ranks() -> None:
    assert ranks([3.0, 3.1, 1.0]) == [(1, 2), (1, 2), (3, 3)]
    assert ranks([3.0, 3.0, 3.0]) == [(1, 3)] * 3


def test_equal_means_without_any_error_share_their_ranks() -> None:
    assert ranks([2.0, 4.0, 2.0], error=0.0, freedom=math.inf) == [(2, 3), (1, 1), (2, 3)]


def test_a_row_alone_is_first() -> None:
    assert ranks([3.0]) == [(1, 1)]


def test_no_row_has_no_ranks() -> None:
    assert ranks([]) == []


def test_a_row_without_a_mean_has_no_rank_and_takes_none() -> None:
    [first, without, last] = ranks([4.0, math.nan, 2.0])
    assert (first, last) == ((1, 1), (2, 2))
    assert all(map(math.isnan, without))
    assert all(math.isnan(end) for row in ranks([math.nan, math.nan]) for end in row)


def test_a_row_whose_error_is_unknown_may_have_any_rank_and_bounds_no_others() -> None:
    assert ranks([5.0, 3.0, 1.0], error=[0.1, math.nan, 0.1]) == [(1, 2), (1, 3), (2, 3)]


def test_few_degrees_of_freedom_make_ranks_wider() -> None:
    assert ranks([4.0, 3.0], freedom=1.0) == [(1, 2), (1, 2)]
    assert ranks([4.0, 3.0], freedom=100.0) == [(1, 1), (2, 2)]
    best, worst = rank_intervals([4.0, 3.0], [0.1, 0.1], [math.nan, math.inf])
    assert best.tolist() == [1, 1]
    assert worst.tolist() == [2, 2]


@given(st.lists(st.floats(1, 5) | st.just(math.nan), max_size=12), st.floats(0, 1))
def test_ranks_lie_among_the_rows_and_hold_the_rank_of_the_mean(means: list[float], error: float) -> None:
    known = [mean for mean in means if not math.isnan(mean)]
    for mean, (best, worst) in zip(means, ranks(means, error), strict=True):
        if not math.isnan(mean):
            assert 1 <= best <= 1 + sum(other > mean for other in known)
            assert len(known) - sum(other < mean for other in known) <= worst <= len(known)


@given(st.permutations([1.0, 2.0, 2.05, 3.0, math.nan]))
def test_the_order_of_rows_moves_no_rank(means: list[float]) -> None:
    def by_mean(rows: list[float]) -> dict[str, str]:
        return {repr(mean): repr(row) for mean, row in zip(rows, ranks(rows), strict=True)}

    assert by_mean(means) == by_mean([1.0, 2.0, 2.05, 3.0, math.nan])


@pytest.mark.parametrize(("apart", "size"), [(0.0, 8), (0.1, 8), (0.4, 20)])
def test_intervals_of_ranks_cover_the_true_rank_at_least_as_often_as_they_say(apart: float, size: int) -> None:
    generator = np.random.default_rng(11)
    true = np.arange(12) * apart  # The last is the best; equal ones share every rank between them.
    best_true = 1 + (true[None, :] > true[:, None]).sum(axis=1)
    worst_true = 12 - (true[None, :] < true[:, None]).sum(axis=1)
    covered = np.zeros(12)
    for _ in range(400):
        samples = generator.normal(true[:, None], 1.0, (12, size))
        errors = [mean_of_means_error([row.tolist()]) or (math.nan, math.nan) for row in samples]
        best, worst = rank_intervals(samples.mean(axis=1), [error for error, _ in errors], [freedom for _, freedom in errors])
        covered += (best <= best_true) & (worst_true <= worst)
    assert covered.min() / 400 >= LEVEL - 0.01


def test_ten_thousand_rows_take_less_than_two_seconds() -> None:
    generator = np.random.default_rng(3)
    start = time.process_time()
    best, worst = rank_intervals(generator.uniform(1, 5, 10_000), np.full(10_000, 0.05), np.full(10_000, 100.0))
    assert time.process_time() - start < 2
    assert (best <= worst).all()
