"""Paired tests against no difference and against the smallest difference of interest, for a family of comparisons."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from culturecare_harness.significance import compare_paired, holm, minimum_detectable_difference, paired_differences

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
        low: Lower end of its 95 % interval.
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
    """Two conditions to compare: instances' values under each, null where there is none."""

    names: tuple[str, str]
    metric: str
    a: Mapping[str, float | None]
    b: Mapping[str, float | None]
    cultures: Mapping[str, str]

    @property
    def samples(self) -> dict[str, list[float]]:
        """Of each culture the differences on the instances that have both values."""
        return paired_differences(self.a, self.b, self.cultures)


def tested(pairs: Sequence[Pair], smallest: float) -> list[Test]:
    """Tests a family of comparisons against no difference, and against the smallest difference of interest.

    The p of the sign-flip test is two-sided; flips are symmetric, so half of it is the p on the side that the difference lies on.

    Args:
        pairs: What is compared.
        smallest: Smallest difference of interest.
    """
    compared = [compare_paired(pair.a, pair.b, pair.cultures, names=pair.names, metric=pair.metric) for pair in pairs]
    measured = [(pair, comparison) for pair, comparison in zip(pairs, compared, strict=True) if comparison.difference is not None]
    above = iter(holm([_one_sided(comparison, above=True) for _, comparison in measured]))
    below = iter(holm([_surely_below(pair, comparison, smallest) for pair, comparison in measured]))
    tests = []
    for pair, comparison in zip(pairs, compared, strict=True):
        test = Test(
            what=" less ".join(pair.names),
            value=comparison.difference,
            low=comparison.low,
            high=comparison.high,
            n=comparison.n,
            reason=comparison.reason,
        )
        if comparison.difference is not None:
            p_above, p_below = next(above), next(below)
            test = replace(
                test,
                p_above=p_above,
                p_below=p_below,
                detectable=minimum_detectable_difference(list(pair.samples.values()), family=len(measured)),
                outcome="failed" if p_below < ALPHA else "passed" if p_above < ALPHA else "open",
            )
        tests.append(test)
    return tests


def _one_sided(comparison: Comparison, *, above: bool) -> float:
    if comparison.p is None or comparison.difference is None:
        return 1.0
    lies_there = comparison.difference > 0 if above else comparison.difference < 0
    return comparison.p / 2 if lies_there else 1 - comparison.p / 2


def _surely_below(pair: Pair, comparison: Comparison, smallest: float) -> float:
    if comparison.difference is None or comparison.difference >= smallest:
        return 1.0  # More than a half, which no correction makes small: the test can be spared.
    moved = {instance: None if value is None else value + smallest for instance, value in pair.b.items()}
    return _one_sided(compare_paired(pair.a, moved, pair.cultures, names=pair.names, metric=pair.metric), above=False)
