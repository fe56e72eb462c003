"""Agreement between raters, people or models: Krippendorff's alpha, weighted kappa and Gwet's AC, each with an interval over instances.

Which to read: alpha is the one that the project reports first; it takes any number of raters, missing values and scores between the
grades. Where nearly all grades are equal, alpha and kappa fall to about 0 however well raters agree, since chance would do nearly as well
(the "kappa paradox"); AC2 does not. A low alpha beside a high AC2 says that the replies differ little, not that the raters are poor.

Intervals are the jackknife's, on Fisher's z, which were chosen over the bootstrap's by what they cover. In 1,000 simulated studies of each
kind (alpha, kappa and AC2; two and three raters; three replies an instance; from middling to high agreement; up to six of ten grades the
highest), 95 % intervals covered

| instances | percentile bootstrap | BCa bootstrap | jackknife, t | jackknife, t on Fisher's z |
|---|---|---|---|---|
| 12 | 86–92 % | 88–94 % | 91–96 % | 92–97 % |
| 28 | 90–94 % | 91–95 % | 93–96 % | 93–96 % |
| 100 | 93–95 % | 93–95 % | 94–96 % | 94–96 % |

Where five of six grades or more are the highest, few instances tell of disagreement, and the intervals of kappa and alpha fail their
promise: kappa's covered 83–93 % with 12 instances, 88–95 % with 28 and 92–96 % with 100, alpha's 87–91, 93–97 and 94–97 %; AC2's 92–98 %.
At 19 of 20, read no interval of kappa or alpha below 100 instances (78–91 %).

Over several cultures, few instances in one of them tell little of how far its coefficient may vary. In 500 studies of each kind (28 or 100
instances in one culture, middling, high and skewed agreement), intervals over two cultures covered 78–86 % with two instances in the
other, 86–93 % with three, 90–96 % with five and 92–96 % with ten. So an interval asks for five in each.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from pydantic import Field, model_validator

from culturecare import CultureCareError, Record
from culturecare_harness.counting import are, counted
from culturecare_harness.stats import LEVEL

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Weights = NDArray[np.float64]

__all__ = [
    "FEWEST_CLUSTERS",
    "FEWEST_IN_STRATUM",
    "Agreement",
    "Coefficient",
    "CoefficientName",
    "Estimate",
    "Level",
    "Scale",
    "Weighting",
    "agree",
    "agreement_coefficients",
    "category_weights",
    "gwet_ac",
    "jackknife",
    "krippendorff_alpha",
    "ordinal_alpha",
    "weighted_kappa",
]

FEWEST_CLUSTERS = 10
"""Fewest instances that an interval is made over: with fewer, a jackknife's is too unsteady."""

FEWEST_IN_STRATUM = 5
"""Fewest of them in each stratum, such as a culture; what intervals cover with few stands at the head of this module."""

Level = Literal["nominal", "ordinal", "interval"]
"""How far apart two values are: different or not; by the values that lie between them; by their difference."""

Weighting = Literal["identity", "linear", "ordinal", "quadratic"]
"""How much two categories count as agreeing."""

Scale = Literal["correlation", "share", "plain"]
"""What a statistic's ends are: it ends at 1, it lies in [0, 1], or it has no ends."""

CoefficientName = Literal[
    "alpha_nominal",
    "alpha_ordinal",
    "alpha_interval",
    "kappa",
    "weighted_kappa",
    "ac1",
    "ac2",
    "spearman",
    "kendall",
    "mean_difference",
    "pairwise_accuracy",
]


# --- Records ---------------------------------------------------------------------------------------------------------------------


class Agreement(Record):
    """How well judges agree on one metric.

    Attributes:
        metric: What was judged, such as a dimension.
        alpha: Krippendorff's alpha for ordered values: 1 is perfect agreement, 0 what chance would give, below 0 is worse than chance.
        low: Lower end of the 95 % interval (`jackknife` over instances); null where there are too few of them, or agreement is perfect.
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


class Coefficient(Record):
    """One number about raters, with its uncertainty.

    Attributes:
        metric: What was rated, such as a dimension.
        name: Which coefficient.
        value: Over several cultures the mean of each culture's value; null with a reason.
        low: Lower end of the 95 % interval; null with a reason.
        high: Upper end of the interval.
        error: Standard error of `value`, by which intervals are made; null together with them.
        raters: Number of raters with a value that counts.
        units: Number of replies that count.
        clusters: Number of instances that those replies belong to, over which the interval is made.
        reason: Why `value` is null, or else why the interval is; null where there are both.
    """

    metric: str
    name: CoefficientName
    value: float | None
    low: float | None
    high: float | None
    error: float | None = Field(ge=0)
    raters: int = Field(ge=0)
    units: int = Field(ge=0)
    clusters: int = Field(ge=0)
    reason: str | None

    @model_validator(mode="after")
    def _whole_or_reason(self) -> Coefficient:
        if (self.value is None or self.low is None or self.high is None) == (self.reason is None):
            raise ValueError("there is either a value with its interval or a reason why one of them is missing")
        return self


class Estimate(NamedTuple):
    """A statistic with its interval.

    Attributes:
        value: Null where the statistic is not defined.
        low: Lower end of the 95 % interval, null where there is none.
        high: Upper end.
        error: Standard error, null together with the interval.
        clusters: Number of clusters.
        reason: Why value or interval is null.
    """

    value: float | None
    low: float | None
    high: float | None
    error: float | None
    clusters: int
    reason: str | None


# --- Coefficients ----------------------------------------------------------------------------------------------------------------


def ordinal_alpha(ratings: Sequence[Sequence[float | None]]) -> float | None:
    """Krippendorff's alpha for ordered values: `krippendorff_alpha` at level `ordinal`."""
    return krippendorff_alpha(ratings, "ordinal")


def krippendorff_alpha(ratings: Sequence[Sequence[float | None]], level: Level = "ordinal") -> float | None:
    """Krippendorff's alpha (Krippendorff, 2011, "Computing Krippendorff's Alpha-Reliability").

    The ordinal distance of two values counts the values that lie between them, so it is the distance of their mid-ranks; with those, alpha
    takes one sort. The library `krippendorff` makes a matrix of all values by all values for each unit instead: six gigabytes for three
    judges of 300 replies where scores are expectations, of which no two are equal. Both give the same.

    Args:
        ratings: For each rater one value a unit, null where there is none.
        level: How far apart values are.

    Returns:
        At most 1; null where no unit has two values, or all values are equal.

    Raises:
        CultureCareError: The raters have different numbers of units.
    """
    return _Ratings(ratings, level).alpha()


def category_weights(size: int, weighting: Weighting) -> NDArray[np.float64]:
    """How much two of `size` ordered, equally spaced categories count as agreeing (Gwet, 2014, section 3.5).

    `quadratic` is 1 - (i - j)² / (q - 1)² (Cohen, 1968), `linear` 1 - |i - j| / (q - 1), `ordinal` one less the number of pairs of
    categories from i to j over the largest such number, `identity` 1 on the diagonal alone.

    Returns:
        A matrix of size by size with 1 on the diagonal.

    Raises:
        CultureCareError: There are fewer than two categories.
    """
    if size < 2:
        raise CultureCareError(f"agreement: the scale has {size} categories, but needs at least two")
    place = np.arange(size)
    apart = np.abs(place[:, None] - place[None, :])
    distance = {
        "identity": (apart > 0).astype(float),
        "linear": apart / (size - 1),
        "ordinal": apart * (apart + 1) / (size * (size - 1)),
        "quadratic": (apart / (size - 1)) ** 2,
    }[weighting]
    return np.asarray(1 - distance, dtype=float)


def weighted_kappa(
    ratings: Sequence[Sequence[float | None]], categories: Sequence[float], weighting: Weighting = "quadratic"
) -> float | None:
    """Weighted kappa: Cohen's (1968) for two raters, and Conger's (1980) generalisation for more.

    Of the ways to have one kappa for many raters, Conger's takes the mean over pairs of raters of observed and of chance agreement before
    dividing. The mean of the pairs' own kappas (Light, 1971) is about the same where everyone rates everything, but is not defined in an
    incomplete design, where many pairs share few items or none. Missing values are met as in Gwet (2014, section 2.4): observed agreement
    over the units with two ratings, chance agreement from all ratings of each rater.

    Args:
        ratings: For each rater one category a unit, null where there is none.
        categories: The scale, in order, whether used or not.
        weighting: `identity` gives the unweighted kappa.

    Returns:
        At most 1; null where no unit has two ratings, or where chance agreement is 1, as when all ratings are equal.

    Raises:
        CultureCareError: A rating is not on the scale, or the raters have different numbers of units.
    """
    return _Categorised(ratings, categories, weighting).kappa()


def gwet_ac(ratings: Sequence[Sequence[float | None]], categories: Sequence[float], weighting: Weighting = "quadratic") -> float | None:
    """Gwet's AC2, or AC1 with identity weights, for any number of raters and missing values.

    From Gwet (2014), "Handbook of Inter-Rater Reliability", 4th edition, sections 2.4 and 3.5. Chance agreement is T / (q (q - 1)) times
    the sum over categories of π (1 - π), T being the sum of all weights, q the number of categories and π a category's mean share of a
    unit's ratings.

    Args:
        ratings: For each rater one category a unit, null where there is none.
        categories: The scale, in order, whether used or not; its length moves the coefficient.
        weighting: `identity` gives AC1.

    Returns:
        At most 1; null where no unit has two ratings.

    Raises:
        CultureCareError: A rating is not on the scale, or the raters have different numbers of units.
    """
    return _Categorised(ratings, categories, weighting).ac()


def agree(metric: str, ratings: Sequence[Sequence[float | None]], clusters: Sequence[str]) -> Agreement:
    """Agreement on one metric, with its interval.

    Args:
        metric: What was judged.
        ratings: For each rater one score a reply, null where there is none.
        clusters: For each reply its instance; replies to one instance are left out together.

    Raises:
        CultureCareError: The raters, or they and the clusters, have different numbers of units.
    """
    table = _Ratings(ratings)
    _check_clusters(metric, table, clusters)
    reason = None
    if table.raters < 2:
        reason = f"alpha needs at least two judges, and there is {table.raters or 'none'}"
    elif not table.units:
        reason = "no reply has scores by two judges"
    elif table.alpha() is None:
        reason = "all scores are equal, so that nothing tells agreement from chance"
    if reason is not None:
        return Agreement(metric=metric, alpha=None, low=None, high=None, raters=table.raters, units=table.units, reason=reason)
    found = jackknife(table.alpha, clusters, counted=table.paired)
    return Agreement(metric=metric, alpha=found.value, low=found.low, high=found.high, raters=table.raters, units=table.units, reason=None)


def agreement_coefficients(
    metric: str,
    ratings: Sequence[Sequence[float | None]],
    clusters: Sequence[str],
    categories: Sequence[float],
    *,
    level: Literal["nominal", "ordinal"] = "ordinal",
    cultures: Sequence[str] | None = None,
) -> tuple[Coefficient, Coefficient, Coefficient]:
    """Krippendorff's alpha, kappa and Gwet's AC on one metric, each with its interval.

    Args:
        metric: What was rated.
        ratings: For each rater one category a reply, null where there is none.
        clusters: For each reply its instance; replies to one instance are left out together.
        categories: The scale, in order, whether used or not.
        level: `ordinal` gives ordinal alpha, and kappa and AC2 with quadratic weights; `nominal` gives nominal alpha, unweighted kappa and
            AC1.
        cultures: For each reply its culture; each culture has its own raters, so coefficients are means of the cultures'. By default there
            is one.

    Returns:
        The three coefficients, each null with a reason where it can't be had.

    Raises:
        CultureCareError: A rating is not on the scale, or ratings, clusters and cultures don't fit together.
    """
    weighting: Weighting = "quadratic" if level == "ordinal" else "identity"
    table, categorised = _Ratings(ratings, level), _Categorised(ratings, categories, weighting)
    _check_clusters(metric, table, clusters)
    if cultures is not None:
        _check_clusters(metric, table, cultures)

    def coefficient(name: CoefficientName, statistic: Callable[[Weights], float | None]) -> Coefficient:
        raters = int(table.present[:, table.paired].any(axis=1).sum())
        estimate = _estimate(statistic, table, clusters, cultures)
        return Coefficient(metric=metric, name=name, raters=raters, units=table.units, **estimate._asdict())

    return (
        coefficient("alpha_ordinal" if level == "ordinal" else "alpha_nominal", table.alpha),
        coefficient("weighted_kappa" if level == "ordinal" else "kappa", categorised.kappa),
        coefficient("ac2" if level == "ordinal" else "ac1", categorised.ac),
    )


def _estimate(
    statistic: Callable[[Weights], float | None], table: _Ratings, clusters: Sequence[str], cultures: Sequence[str] | None
) -> Estimate:
    if table.raters < 2:
        return Estimate(None, None, None, None, 0, f"there {are(table.raters)} {counted(table.raters, 'rater')}, but two are needed")
    if not table.units:
        return Estimate(None, None, None, None, 0, "no reply has values by two raters")
    undefined = "all values are equal, so that nothing tells agreement from chance"
    return jackknife(statistic, clusters, cultures, counted=table.paired, undefined=undefined)


def _check_clusters(metric: str, table: _Ratings, clusters: Sequence[str]) -> None:
    if table.raters and len(clusters) != table.present.shape[1]:
        raise CultureCareError(f"agreement on {metric!r}: {table.present.shape[1]} replies, but {len(clusters)} instances for them")


def _table(ratings: Sequence[Sequence[float | None]]) -> NDArray[np.float64]:
    """Raters by units, NaN where there is no value."""
    if len({len(row) for row in ratings}) > 1:
        raise CultureCareError(f"ratings: raters have {', '.join(str(len(row)) for row in ratings)} units, but must have the same ones")
    table = np.array([[np.nan if value is None else value for value in row] for row in ratings], dtype=float)
    return table.reshape(len(ratings), len(ratings[0]) if ratings else 0)


class _Ratings:
    """A table of raters by units, whose values are numbered once in their order, so that a resample is a new weighting."""

    def __init__(self, ratings: Sequence[Sequence[float | None]], level: Level = "ordinal") -> None:
        table = _table(ratings)
        self.raters = len(ratings)
        self.present = ~np.isnan(table)
        self._level = level
        self._sizes = self.present.sum(axis=0)
        self.paired = self._sizes >= 2
        self.units = int(self.paired.sum())
        # A unit with a single value says nothing of agreement, and its value does not count among the ranks.
        self._columns = np.broadcast_to(np.arange(table.shape[1]), table.shape)[self.present & self.paired]
        self._values = table[self.present & self.paired]
        self._places = np.unique(self._values, return_inverse=True)[1]

    def alpha(self, weights: Weights | None = None) -> float | None:
        """Alpha where each unit counts as often as its weight says, by default once."""
        if not self.units:
            return None
        of_unit = np.ones(len(self._sizes)) if weights is None else weights
        of_value = of_unit[self._columns]
        total = of_value.sum()
        if total < 2:
            return None
        if self._level == "nominal":
            within, expected = self._nominal(of_value, float(total))
        else:
            within, expected = self._squares(of_value, float(total))
        if expected <= 0:
            return None
        return min(1.0, float(1 - (of_unit * within).sum() / total / expected))

    def _squares(self, of_value: Weights, total: float) -> tuple[Weights, float]:
        """Each unit's disagreement and what chance would give, where the distance is a squared difference."""
        if self._level == "ordinal":
            counts = np.bincount(self._places, of_value)
            marks = (np.cumsum(counts) - counts / 2)[self._places]
        else:
            marks = self._values.copy()
        marks -= (of_value * marks).sum() / total  # About their mean, sums of squares lose no digits.
        expected = 2 * (of_value * marks**2).sum() / (total - 1)
        sums = np.bincount(self._columns, marks, minlength=len(self._sizes))
        squares = np.bincount(self._columns, marks**2, minlength=len(self._sizes))
        # Of each unit the squared differences of all its pairs, each pair counted twice, over its size less one.
        within = 2 * (self._sizes * squares - sums**2) / np.maximum(self._sizes - 1, 1)
        # Equal values differ by rounding alone.
        scale = float((of_value * self._values**2).sum()) if self._level == "interval" else total**3
        return within, 0.0 if expected <= 1e-13 * scale / total else float(expected)

    def _nominal(self, of_value: Weights, total: float) -> tuple[Weights, float]:
        counts = np.bincount(self._places, of_value)
        expected = (total**2 - (counts**2).sum()) / (total - 1) / total
        cells = np.zeros((len(self._sizes), len(counts)))
        np.add.at(cells, (self._columns, self._places), 1)
        within = (self._sizes**2 - (cells**2).sum(axis=1)) / np.maximum(self._sizes - 1, 1)
        return np.where(self.paired, within, 0.0), float(expected)


class _Categorised:
    """A table of raters by units on a scale of categories, of which a resample is a new weighting of the units."""

    def __init__(self, ratings: Sequence[Sequence[float | None]], categories: Sequence[float], weighting: Weighting) -> None:
        table = _table(ratings)
        scale = np.asarray(categories, dtype=float)
        self._weights = category_weights(len(scale), weighting)
        present = ~np.isnan(table)
        chosen = table[..., None] == scale  # Raters by units by categories.
        if (present & ~chosen.any(axis=2)).any():
            rater, unit = (int(place[0]) for place in np.nonzero(present & ~chosen.any(axis=2)))
            shown = ", ".join(f"{value:g}" for value in scale)
            raise CultureCareError(f"rater {rater + 1}, unit {unit + 1}: {table[rater, unit]:g} is not on the scale, which has {shown}")
        self._chosen = chosen.astype(float)
        counts = self._chosen.sum(axis=0)
        sizes = counts.sum(axis=1)
        self._paired = sizes >= 2
        self._rated = sizes >= 1
        self._shares = counts / np.maximum(sizes, 1)[:, None]
        # Of each unit the mean agreement of its pairs of ratings.
        agreeing = (counts * (counts @ self._weights - 1)).sum(axis=1)
        self._agreeing = np.where(self._paired, agreeing / np.maximum(sizes * (sizes - 1), 1), 0.0)

    def _observed(self, weights: Weights) -> float | None:
        total = weights[self._paired].sum()
        return float((weights * self._agreeing).sum() / total) if total > 0 else None

    def kappa(self, weights: Weights | None = None) -> float | None:
        """Conger's kappa where each unit counts as often as its weight says."""
        of_unit = np.ones(len(self._paired)) if weights is None else weights
        observed = self._observed(of_unit)
        by_rater = np.einsum("ruc,u->rc", self._chosen, of_unit)
        by_rater = by_rater[by_rater.sum(axis=1) > 0]
        if observed is None or len(by_rater) < 2:
            return None
        shares = by_rater / by_rater.sum(axis=1, keepdims=True)
        together = shares.sum(axis=0)
        # The mean over all pairs of different raters of how well their shares of the categories agree.
        own = np.einsum("rc,cd,rd->", shares, self._weights, shares)
        chance = float((together @ self._weights @ together - own) / len(shares) / (len(shares) - 1))
        return None if chance >= 1 - 1e-12 else (observed - chance) / (1 - chance)

    def ac(self, weights: Weights | None = None) -> float | None:
        """Gwet's coefficient where each unit counts as often as its weight says."""
        of_unit = np.ones(len(self._paired)) if weights is None else weights
        observed = self._observed(of_unit)
        if observed is None:
            return None
        shares = of_unit @ self._shares / of_unit[self._rated].sum()
        size = len(shares)
        chance = float(self._weights.sum() / size / (size - 1) * (shares * (1 - shares)).sum())
        return (observed - chance) / (1 - chance)


# --- Intervals -------------------------------------------------------------------------------------------------------------------


def jackknife(
    statistic: Callable[[NDArray[np.float64]], float | None],
    clusters: Sequence[str],
    strata: Sequence[str] | None = None,
    *,
    counted: NDArray[np.bool_] | None = None,
    scale: Scale = "correlation",
    undefined: str = "it is not defined on these values",
) -> Estimate:
    """A statistic with an interval by the jackknife over clusters (Efron and Tibshirani, 1993, chapter 11): Student's t on its scale.

    The scale of a coefficient that ends at 1 is Fisher's z (its inverse hyperbolic tangent), to which the standard error is carried by the
    derivative. What these intervals cover stands at the head of this module.

    Args:
        statistic: From a weight for each row, 0 for one that is left out and 1 else, to a number; null where it is not defined.
        clusters: For each row its cluster, which is left out whole.
        strata: For each row its stratum; the value is then the mean over the strata of the statistic on each. By default there is one.
        counted: Which rows the statistic looks at; clusters of others are none. By default all.
        scale: `correlation` for what ends at 1, `share` for what lies in [0, 1] (Wilson's interval for as many coins as would vary so,
            as in `significance.bounded_mean_interval`), `plain` for what has no ends.
        undefined: Why the statistic may not be defined, for the reason.

    Returns:
        The interval is null with fewer than `FEWEST_CLUSTERS` clusters in all or `FEWEST_IN_STRATUM` in a stratum, at a value of 1, and
        where the statistic is not defined without some cluster, which passing over would bias.
    """
    counts = np.ones(len(clusters), dtype=bool) if counted is None else counted
    names = np.array(clusters, dtype=object).astype(str)
    strata_names = np.array([""] * len(names) if strata is None else strata, dtype=object).astype(str)
    total = len(np.unique(names[counts]))
    parts = [_leave_out(statistic, names, strata_names == stratum, counts, stratum, undefined) for stratum in np.unique(strata_names)]
    unvalued = next((part for part in parts if part.value is None), None)
    if unvalued is not None:
        return Estimate(None, None, None, None, total, unvalued.reason)
    value = math.fsum(part.value for part in parts if part.value is not None) / len(parts)
    reason = _why_no_interval(value, parts, total, scale)
    if reason is not None:
        return Estimate(value, None, None, None, total, reason)
    error, freedom = _error(parts)
    low, high = _ends(value, error, freedom, scale)
    return Estimate(value, low, high, error, total, None)


def _why_no_interval(value: float, parts: Sequence[_Stratum], clusters: int, scale: Scale) -> str | None:
    if clusters < FEWEST_CLUSTERS:
        return f"an interval needs {FEWEST_CLUSTERS} instances, and there {are(clusters)} {clusters}"
    if _at_an_end(value, scale):
        return "nothing varies at the end of the scale, so that nothing tells how far the value may be from it"
    reason = next((part.reason for part in parts if part.reason), None)
    if reason is None and not any(part.variance for part in parts):
        return "leaving out an instance changes nothing, so that nothing tells how far the value may vary"
    return reason


def _error(parts: Sequence[_Stratum]) -> tuple[float, float]:
    """Standard error of the mean over the strata, and its degrees of freedom (Satterthwaite, 1946)."""
    summed = math.fsum(part.variance for part in parts)
    freedom = summed**2 / math.fsum(part.variance**2 / (part.clusters - 1) for part in parts)
    return math.sqrt(summed) / len(parts), freedom


def _at_an_end(value: float, scale: Scale) -> bool:
    return (scale == "correlation" and abs(value) >= 1 - 1e-12) or (scale == "share" and min(value, 1 - value) <= 1e-12)


def _ends(value: float, error: float, freedom: float, scale: Scale) -> tuple[float, float]:
    """Ends of Student's interval on its scale."""
    from scipy.special import stdtrit

    quantile = float(stdtrit(freedom, (1 + LEVEL) / 2))
    half = quantile * error
    if scale == "plain":
        return value - half, value + half
    if scale == "share":
        size = value * (1 - value) / error**2
        centre = (value + quantile**2 / (2 * size)) / (1 + quantile**2 / size)
        half = quantile / (1 + quantile**2 / size) * math.sqrt(value * (1 - value) / size + quantile**2 / (4 * size**2))
        return max(0.0, centre - half), min(1.0, centre + half)
    on_z = math.atanh(value), half / (1 - value**2)
    return math.tanh(on_z[0] - on_z[1]), math.tanh(on_z[0] + on_z[1])


class _Stratum(NamedTuple):
    """A statistic on one stratum, with its jackknife variance, or why it has none of them."""

    value: float | None
    variance: float
    clusters: int
    reason: str | None


def _leave_out(
    statistic: Callable[[NDArray[np.float64]], float | None],
    names: NDArray[np.str_],
    inside: NDArray[np.bool_],
    counted: NDArray[np.bool_],
    stratum: str,
    undefined: str,
) -> _Stratum:
    """The stratum's value, and its variance from the values without each of its clusters."""
    value = statistic(inside.astype(float))
    own = np.unique(names[inside & counted])
    where = f"{stratum}: " if stratum else ""
    if value is None:
        return _Stratum(None, 0.0, len(own), where + undefined)
    if len(own) < FEWEST_IN_STRATUM:
        why = f"{where}an interval needs {FEWEST_IN_STRATUM} instances, and there {are(len(own))} {len(own)}"
        return _Stratum(value, 0.0, len(own), why)
    without = [statistic((inside & (names != name)).astype(float)) for name in own]
    defined = [left for left in without if left is not None]
    if len(defined) < len(own):
        return _Stratum(value, 0.0, len(own), f"{where}without one of the instances the value is not defined")
    return _Stratum(value, (len(own) - 1) * float(np.var(defined)), len(own), None)
