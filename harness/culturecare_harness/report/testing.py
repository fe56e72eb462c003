"""Paired tests against no difference and against the smallest difference of interest, for a family of comparisons."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from culturecare_harness.significance import (
    bounded_mean_interval,
    compare_paired,
    holm,
    minimum_detectable_difference,
    p_below,
    paired_differences,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from culturecare_harness.significance import Comparison

__all__ = ["ALPHA", "Outcome", "Pair", "Test", "tested"]

Outcome = Literal["passed", "failed", "open"]

ALPHA = 0.025
"""Chance of a false alarm that each family of one-sided tests may have: a single test is passed where its 95 % interval lies above 0."""


@dataclass(frozen=True)
class Test:
    """One figure that a finding rests on, and what follows from it.

    Attributes:
        what: What was measured, such as `cga less guided`.
        value: A difference, or for claim 4 a share; null with a reason.
        low: Lower end of its 95 % interval; null where there is none.
        high: Upper end of the interval.
        n: Number of instances or items.
        reason: Why there is no value.
        p_above: One-sided p that the difference is above 0, after Holm's correction; null for claim 4, and without a value.
        p_below: One-sided p that it is below the smallest of interest, after Holm's correction.
        detectable: True difference that this test would have found four times of five; null where it can't be told.
    """

    what: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    reason: str | None
    p_above: float | None = None
    p_below: float | None = None
    detectable: float | None = None
    outcome: Outcome = "open"


@dataclass(frozen=True)
class Pair:
    """Two conditions to compare: instances' values under each, null where there is none.

    Attributes:
        cultures: Culture of each instance.
        bounds: Least and greatest difference that there can be.
        is_rate: Whether it is a rate less a fixed one. Its interval is then `bounded_mean_interval`, which is honest also where the rate
            is near 0 or 1; else it is Student's t.
    """

    names: tuple[str, str]
    metric: str
    a: Mapping[str, float | None]
    b: Mapping[str, float | None]
    cultures: Mapping[str, str]
    bounds: tuple[float, float]
    is_rate: bool = False

    @property
    def samples(self) -> dict[str, list[float]]:
        """Of each culture the differences on the instances that have both values."""
        return paired_differences(self.a, self.b, self.cultures)


def tested(pairs: Sequence[Pair], smallest: float) -> list[Test]:
    """Tests a family of comparisons against no difference, and against the smallest difference of interest.

    The first is the sign-flip test, whose null hypothesis is that the two conditions are exchangeable on each instance. Its p is two-sided;
    flips are symmetric, so half of it is the p on the side that the difference lies on. A mean at the smallest difference of interest is no
    such hypothesis: that test is `significance.p_below`, which is valid also where a few differences are far from all others. As a test of
    the mean alone the first is too lenient there: of 1,500 studies of 48 differences of which 19 of 20 are 0.1 and one is -1.9, so that the
    true mean is 0, 9 % had a p below 0.025.

    Args:
        pairs: What is compared.
        smallest: Smallest difference of interest.
    """
    compared = [compare_paired(pair.a, pair.b, pair.cultures, names=pair.names, metric=pair.metric) for pair in pairs]
    measured = [(pair, comparison) for pair, comparison in zip(pairs, compared, strict=True) if comparison.difference is not None]
    above = iter(holm([_p_above(comparison) for _, comparison in measured]))
    below = iter(holm([_p_below(pair, smallest) for pair, _ in measured]))
    tests = []
    for pair, comparison in zip(pairs, compared, strict=True):
        test = Test(
            what=" less ".join(pair.names),
            value=comparison.difference,
            low=None,
            high=None,
            n=comparison.n,
            reason=comparison.reason,
        )
        if comparison.difference is not None:
            p_above, p_below_smallest = next(above), next(below)
            low, high = _interval(pair, comparison)
            test = replace(
                test,
                low=low,
                high=high,
                p_above=p_above,
                p_below=p_below_smallest,
                detectable=minimum_detectable_difference(list(pair.samples.values()), family=len(measured)),
                outcome="failed" if p_below_smallest < ALPHA else "passed" if p_above < ALPHA else "open",
            )
        tests.append(test)
    return tests


def _interval(pair: Pair, comparison: Comparison) -> tuple[float | None, float | None]:
    if pair.is_rate:
        return bounded_mean_interval(list(pair.samples.values()), pair.bounds) or (None, None)
    # Where all differences are equal, nothing tells how far their mean may be from the true one.
    return (None, None) if comparison.low == comparison.high else (comparison.low, comparison.high)


def _p_above(comparison: Comparison) -> float:
    if comparison.p is None or comparison.difference is None:
        return 1.0
    return comparison.p / 2 if comparison.difference > 0 else 1 - comparison.p / 2


def _p_below(pair: Pair, smallest: float) -> float:
    p = p_below(list(pair.samples.values()), smallest, pair.bounds)
    return 1.0 if p is None else p
