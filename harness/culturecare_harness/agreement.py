"""Agreement between judges: Krippendorff's alpha for ordered scores, with an interval over instances."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field, model_validator

from culturecare import CultureCareError, Record
from culturecare_harness.stats import LEVEL

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

__all__ = ["FEWEST_CLUSTERS", "RESAMPLES", "Agreement", "agree", "bootstrap_interval", "ordinal_alpha"]

RESAMPLES = 1000
"""Resamples of every bootstrap."""

FEWEST_CLUSTERS = 10
"""Fewest instances that a bootstrap is made over: with fewer, its interval would be far too narrow."""

_SEED = 1234


class Agreement(Record):
    """How well judges agree on one metric.

    Attributes:
        metric: What was judged, such as a dimension.
        alpha: Krippendorff's alpha for ordered values: 1 is perfect agreement, 0 what chance would give, below 0 is worse than chance.
        low: Lower end of the 95 % interval (percentile bootstrap over instances); null where there are too few of them.
        high: Upper end of the interval.
        raters: Number of judges.
        units: Number of replies that at least two judges gave a score.
        reason: Why `alpha` is null; null where there is one.
    """

    metric: str
    alpha: float | None = Field(le=1)
    low: float | None
    high: float | None
    raters: int = Field(ge=0)
    units: int = Field(ge=0)
    reason: str | None

    @model_validator(mode="after")
    def _alpha_or_reason(self) -> Agreement:
        if (self.alpha is None) == (self.reason is None):
            raise ValueError("there is either an alpha or a reason why there is none")
        return self


def ordinal_alpha(ratings: Sequence[Sequence[float | None]]) -> float | None:
    """Krippendorff's alpha for ordered values (Krippendorff, 2011, "Computing Krippendorff's Alpha-Reliability").

    The ordinal distance of two values counts the values that lie between them, so it is the distance of their mid-ranks; with those, alpha
    takes one sort. The library `krippendorff` makes a matrix of all values by all values for each unit instead: six gigabytes for three
    judges of 300 replies where scores are expectations, of which no two are equal. Both give the same.

    Args:
        ratings: For each rater one value a unit, null where there is none.

    Returns:
        At most 1; null where no unit has two values, or all values are equal.

    Raises:
        CultureCareError: The raters have different numbers of units.
    """
    return _Ratings(ratings).alpha()


def agree(metric: str, ratings: Sequence[Sequence[float | None]], clusters: Sequence[str]) -> Agreement:
    """Agreement on one metric, with its interval.

    Args:
        metric: What was judged.
        ratings: For each rater one score a reply, null where there is none.
        clusters: For each reply its instance; replies to one instance are resampled together.

    Raises:
        CultureCareError: The raters, or they and the clusters, have different numbers of units.
    """
    table = _Ratings(ratings)
    if table.raters and len(clusters) != table.present.shape[1]:
        raise CultureCareError(f"agreement on {metric!r}: {table.present.shape[1]} replies, but {len(clusters)} instances for them")
    alpha = table.alpha()
    reason = None
    if table.raters < 2:
        reason = f"alpha needs at least two judges, and there is {table.raters or 'none'}"
    elif not table.units:
        reason = "no reply has scores by two judges"
    elif alpha is None:
        reason = "all scores are equal, so that nothing tells agreement from chance"
    interval = None
    if alpha is not None:
        # Only what has two scores counts, so only its instances can be resampled.
        paired = table.present.sum(axis=0) >= 2
        names = [name for name, is_paired in zip(clusters, paired, strict=True) if is_paired]

        def statistic(weights: NDArray[np.float64]) -> NDArray[np.float64] | None:
            spread = np.zeros(len(paired))
            spread[paired] = weights
            value = table.alpha(spread)
            return None if value is None else np.array([value])

        interval = bootstrap_interval(statistic, names)
    return Agreement(
        metric=metric,
        alpha=alpha,
        low=None if interval is None else float(interval[0][0]),
        high=None if interval is None else float(interval[1][0]),
        raters=table.raters,
        units=table.units,
        reason=reason,
    )


class _Ratings:
    """A table of raters by units, whose values are numbered once in their order, so that a resample is a new weighting."""

    def __init__(self, ratings: Sequence[Sequence[float | None]]) -> None:
        if len({len(row) for row in ratings}) > 1:
            raise CultureCareError(f"ratings: raters have {', '.join(str(len(row)) for row in ratings)} units, but must have the same ones")
        table = np.array([[np.nan if value is None else value for value in row] for row in ratings], dtype=float)
        table = table.reshape(len(ratings), len(ratings[0]) if ratings else 0)
        self.raters = len(ratings)
        self.present = ~np.isnan(table)
        self._sizes = self.present.sum(axis=0)
        self.units = int((self._sizes >= 2).sum())
        # A unit with a single value says nothing of agreement, and its value does not count among the ranks.
        self._columns = np.broadcast_to(np.arange(table.shape[1]), table.shape)[self.present & (self._sizes >= 2)]
        values = table[self.present & (self._sizes >= 2)]
        self._places = np.unique(values, return_inverse=True)[1]

    def alpha(self, weights: NDArray[np.float64] | None = None) -> float | None:
        """Alpha where each unit counts as often as its weight says, by default once."""
        if not self.units:
            return None
        of_unit = np.ones(len(self._sizes)) if weights is None else weights
        of_value = of_unit[self._columns]
        counts = np.bincount(self._places, of_value)
        ranks = (np.cumsum(counts) - counts / 2)[self._places]
        total = of_value.sum()
        ranks -= (of_value * ranks).sum() / total  # About their mean, sums of squares lose no digits.
        expected = 2 * (of_value * ranks**2).sum() / (total - 1)
        if expected <= 0:
            return None
        sums = np.bincount(self._columns, ranks, minlength=len(self._sizes))
        squares = np.bincount(self._columns, ranks**2, minlength=len(self._sizes))
        # Of each unit the squared differences of all its pairs, each pair counted twice, over its size less one.
        within = 2 * (self._sizes * squares - sums**2) / np.maximum(self._sizes - 1, 1)
        return min(1.0, float(1 - (of_unit * within).sum() / total / expected))


def bootstrap_interval(
    statistic: Callable[[NDArray[np.float64]], NDArray[np.float64] | None],
    clusters: Sequence[str],
    strata: Sequence[str] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Percentile interval of a bootstrap over clusters (Efron and Tibshirani, 1993, chapter 13).

    Args:
        statistic: From a weight for each row, how often it was drawn, to one or more numbers; null where they are not defined.
        clusters: For each row its cluster, which is drawn whole.
        strata: For each row its stratum, within which its cluster is drawn; by default there is one.

    Returns:
        Lower and upper ends at `LEVEL`; null with fewer than `FEWEST_CLUSTERS` clusters, or where the statistic is not defined on a
        resample, which leaving out would bias.
    """
    first_rows, rows = np.unique(np.array(clusters, dtype=object).astype(str), return_index=True, return_inverse=True)[1:]
    if len(first_rows) < FEWEST_CLUSTERS:
        return None
    of_cluster: NDArray[Any] = np.zeros(len(first_rows), dtype=int)
    if strata is not None:
        of_cluster = np.unique(np.array(strata, dtype=object).astype(str), return_inverse=True)[1][first_rows]
    members = [np.flatnonzero(of_cluster == stratum) for stratum in np.unique(of_cluster)]
    generator = np.random.default_rng(_SEED)
    draws = []
    for _ in range(RESAMPLES):
        weights = np.zeros(len(first_rows))
        for stratum in members:
            weights[stratum] = generator.multinomial(len(stratum), np.full(len(stratum), 1 / len(stratum)))
        drawn = statistic(weights[rows])
        if drawn is None:
            return None
        draws.append(drawn)
    low, high = np.quantile(np.stack(draws), [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return low, high
