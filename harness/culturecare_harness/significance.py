"""Whether two conditions differ: paired tests, corrected for their number, with effect sizes, win rates and what could have been seen.

Conditions (models, strategies, people's replies) are compared on the same instances, so that what makes an instance easy or hard cancels
out. Cultures weigh the same, as in all scores of the project.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from pydantic import Field, model_validator

from culturecare import CultureCareError, Record
from culturecare_harness.counting import counted
from culturecare_harness.ranking import Rate
from culturecare_harness.stats import LEVEL, mean_of_means, mean_of_means_error, mean_of_means_interval

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "FEWEST_PAIRS",
    "RESAMPLES",
    "Comparison",
    "bounded_mean_interval",
    "compare_many",
    "compare_paired",
    "hedges_correction",
    "holm",
    "minimum_detectable_difference",
    "p_below",
    "paired_differences",
    "permutation_p",
    "power_of_t",
    "win_rate",
    "wins",
    "with_holm",
]

RESAMPLES = 9999
"""Random sign flips of a permutation test; where there are no more than so many in all (up to 13 instances), each is taken once."""

_FEW = 10
"""With fewer flips as far out as what was seen, a large family of tests draws more of them (`permutation_p`)."""

_FLIPS_A_TEST = 200
"""So many are drawn for each test of the family at most."""

FEWEST_PAIRS = 6
"""Fewest instances that are tested: with five, no outcome has a two-sided p below 0.0625."""

_SEED = 1234
_BATCH = 1000
"""So many flips are held in memory at once."""


class Comparison(Record):
    """How two conditions differ on one metric.

    Attributes:
        a: Name of the first condition.
        b: Name of the second.
        metric: What was compared, such as a dimension.
        n: Number of instances on which both have a value.
        difference: Mean over the cultures of the mean of a's value less b's; null with a reason.
        low: Lower end of its 95 % interval (Student t over instances, as in `mean_of_means_interval`); null without a difference, and where
            all differences of each culture are equal.
        high: Upper end of the interval.
        p: Two-sided p of the permutation test `permutation_p`.
        p_adjusted: The same after Holm's correction for the family of comparisons; null until there is one (`with_holm`).
        effect: Cohen's d_z, the difference over the standard deviation of the instances' differences, with Hedges' correction; null where
            these are all equal.
        superiority: Mean over the cultures of the share of instances on which a is higher, ties counting half; Cliff's delta for pairs is
            twice that less 1.
        reason: Why there is no difference; null where there is one.
    """

    a: str
    b: str
    metric: str
    n: int = Field(ge=0)
    difference: float | None
    low: float | None
    high: float | None
    p: float | None = Field(ge=0, le=1)
    p_adjusted: float | None = Field(ge=0, le=1)
    effect: float | None
    superiority: float | None = Field(ge=0, le=1)
    reason: str | None

    @model_validator(mode="after")
    def _difference_or_reason(self) -> Comparison:
        if (self.difference is None) == (self.reason is None):
            raise ValueError("there is either a difference or a reason why there is none")
        if (self.difference is None) != (self.p is None):
            raise ValueError("a difference comes with its p")
        return self


# --- Two conditions --------------------------------------------------------------------------------------------------------------


def compare_paired(
    a: Mapping[str, float | None],
    b: Mapping[str, float | None],
    cultures: Mapping[str, str],
    *,
    names: tuple[str, str],
    metric: str,
    family: int = 1,
) -> Comparison:
    """Compares two conditions on the instances where both have a value.

    Args:
        a: Value of each instance under the first condition, null where there is none; several replies to one are averaged before.
        b: The same under the second.
        cultures: Culture of each instance.
        names: Names of the two conditions.
        metric: What is compared.
        family: Number of comparisons that `with_holm` is to correct for, so that p can be small enough for it.

    Returns:
        Without a difference where the two share fewer than `FEWEST_PAIRS` instances, or a culture in which they share some has fewer than
        two, which tell nothing of how far its mean may vary.

    Raises:
        CultureCareError: An instance has no culture, or a value is not a finite number.
    """
    differences = paired_differences(a, b, cultures)
    reason = _why_untested(differences)
    if reason is not None:
        return _untested(names, metric, sum(map(len, differences.values())), reason)
    return _tested(names, metric, list(differences.values()), family)


def paired_differences(a: Mapping[str, float | None], b: Mapping[str, float | None], cultures: Mapping[str, str]) -> dict[str, list[float]]:
    """Of each culture a's values less b's on the instances that have both, in the order of `a`.

    Args:
        a: Value of each instance under the first condition, null where there is none.
        b: The same under the second.
        cultures: Culture of each instance.

    Raises:
        CultureCareError: An instance has no culture, or a value is not a finite number.
    """
    found: dict[str, list[float]] = defaultdict(list)
    for instance, first in a.items():
        second = b.get(instance)
        if first is None or second is None:
            continue
        if not (math.isfinite(first) and math.isfinite(second)):
            raise CultureCareError(f"instance {instance!r}: {first} and {second} can't be compared; a missing value is null")
        if instance not in cultures:
            raise CultureCareError(f"instance {instance!r} has values but no culture")
        found[cultures[instance]].append(first - second)
    return dict(found)


def _why_untested(differences: Mapping[str, Sequence[float]]) -> str | None:
    n = sum(map(len, differences.values()))
    if n < FEWEST_PAIRS:
        return f"both have a value on {counted(n, 'instance')}, but a test needs {FEWEST_PAIRS}"
    few = next((culture for culture, sample in differences.items() if len(sample) < 2), None)
    return None if few is None else f"culture {few!r} has one instance on which both have a value, but needs two"


def _untested(names: tuple[str, str], metric: str, n: int, reason: str) -> Comparison:
    return Comparison(
        a=names[0],
        b=names[1],
        metric=metric,
        n=n,
        difference=None,
        low=None,
        high=None,
        p=None,
        p_adjusted=None,
        effect=None,
        superiority=None,
        reason=reason,
    )


def _tested(names: tuple[str, str], metric: str, samples: Sequence[Sequence[float]], family: int) -> Comparison:
    """The comparison of two or more differences a culture."""
    mean = mean_of_means(samples)
    if mean is None:
        raise CultureCareError(f"{' and '.join(names)}, {metric}: no difference in a culture can't be tested")
    low, high = mean_of_means_interval(samples) or (None, None)
    return Comparison(
        a=names[0],
        b=names[1],
        metric=metric,
        n=sum(map(len, samples)),
        difference=mean,
        low=low,
        high=high,
        p=permutation_p(samples, family),
        p_adjusted=None,
        effect=_effect(samples, mean),
        superiority=mean_of_means([[wins(value, 0.0) for value in sample] for sample in samples]),
        reason=None,
    )


def permutation_p(samples: Sequence[Sequence[float]], family: int = 1) -> float:
    """Two-sided p of a sign-flip test (Fisher's paired permutation test) on the mean over cultures of the mean difference.

    If the two conditions were exchangeable on each instance, each difference might as well have the other sign. Signs are flipped within
    instances and thus within cultures. The p is exact where all flips are taken, else that of seeded random ones, the observed one counted
    among them (Phipson and Smyth, 2010).

    `RESAMPLES` flips give no p below 0.0001, which Holm's correction for a large family takes above any level. So where fewer than ten of
    them are as far out as what was seen, more are drawn, until ten are or there are 200 for each test of the family (Besag and Clifford,
    1991, "Sequential Monte Carlo p-values"): enough for an adjusted p of 0.005. Families of up to 50 tests never need it.

    Args:
        samples: Differences, one sequence a culture.
        family: Number of tests that the p is corrected for.
    """
    import numpy as np
    from scipy.stats import monte_carlo_test, permutation_test

    flat = np.array([value for sample in samples for value in sample])
    share = np.array([1 / len(samples) / len(sample) for sample in samples for _ in sample])

    def statistic(differences: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
        # Rounding, so that flips that tie in truth tie here.
        rounded: NDArray[np.float64] = np.round(np.abs((differences * share).sum(axis=axis)), 12)
        return rounded

    if 2 ** len(flat) <= RESAMPLES:
        exact = permutation_test(
            (flat,), statistic, permutation_type="samples", vectorized=True, n_resamples=RESAMPLES, alternative="greater"
        )
        return float(exact.pvalue)
    random = np.random.default_rng(_SEED)

    def flipped(size: tuple[int, ...]) -> NDArray[np.float64]:
        signs: NDArray[np.float64] = flat * (2 * random.integers(0, 2, size=size, dtype=np.int8) - 1)
        return signs

    # The same flips as `permutation_test` takes, drawn without an order of each pair's two values, which is some ten times faster.
    first = monte_carlo_test(flat, flipped, statistic, vectorized=True, n_resamples=RESAMPLES, batch=_BATCH, alternative="greater", axis=-1)
    wanted = _FLIPS_A_TEST * family - 1
    as_far = round(float(first.pvalue) * (RESAMPLES + 1)) - 1
    if as_far >= _FEW or wanted <= RESAMPLES:
        return float(first.pvalue)
    return _drawn_on(flat * share, float(first.statistic), as_far, wanted, random)


def _drawn_on(shares: NDArray[np.float64], observed: float, as_far: int, wanted: int, random: np.random.Generator) -> float:
    """The p of `permutation_p` from further flips, after `RESAMPLES` of which few were as far out as what was seen.

    Args:
        shares: Each instance's difference times its share in the mean.
        observed: Absolute mean that was seen.
        as_far: How many of the flips were as far out.
        wanted: Most flips in all.
        random: Where the further ones come from.
    """
    import numpy as np

    drawn = RESAMPLES
    while drawn < wanted:
        size = min(_BATCH, wanted - drawn)
        bits = np.unpackbits(np.frombuffer(random.bytes(-(-size * len(shares) // 8)), np.uint8), count=size * len(shares))
        means = 2 * bits.reshape(size, -1).astype(float) @ shares - shares.sum()
        places = np.flatnonzero(np.abs(means) >= observed - 1e-11)
        if as_far + len(places) >= _FEW:
            return _FEW / (drawn + int(places[_FEW - as_far - 1]) + 1)
        as_far += len(places)
        drawn += size
    return (as_far + 1) / (wanted + 1)


def _effect(samples: Sequence[Sequence[float]], difference: float) -> float | None:
    freedom = sum(map(len, samples)) - len(samples)
    spread = math.sqrt(math.fsum(statistics.variance(sample) for sample in samples) / len(samples))
    return None if spread < 1e-12 else hedges_correction(freedom) * difference / spread


def hedges_correction(freedom: int) -> float:
    """Factor that takes the bias from a standardised difference (Hedges, 1981, equation 6e): about 1 - 3 / (4 freedom - 1).

    Args:
        freedom: Degrees of freedom of the standard deviation, at least 2.
    """
    return math.exp(math.lgamma(freedom / 2) - math.lgamma((freedom - 1) / 2)) / math.sqrt(freedom / 2)


# --- Many comparisons ------------------------------------------------------------------------------------------------------------


def holm(values: Sequence[float]) -> list[float]:
    """p-values adjusted by Holm's step-down method (Holm, 1979, "A Simple Sequentially Rejective Multiple Test Procedure").

    The chance that any true null hypothesis has an adjusted p below the level is at most the level, however the tests depend.

    Args:
        values: The family's p-values.

    Returns:
        One adjusted p-value for each, in the same order.
    """
    adjusted = [0.0] * len(values)
    highest = 0.0
    for place, number in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        highest = max(highest, min(1.0, (len(values) - place) * values[number]))
        adjusted[number] = highest
    return adjusted


def with_holm(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The comparisons with `p_adjusted` for the family that they are; those without a p are no part of it."""
    tested = [comparison for comparison in comparisons if comparison.p is not None]
    adjusted = iter(holm([comparison.p for comparison in tested if comparison.p is not None]))
    return [
        comparison if comparison.p is None else comparison.model_copy(update={"p_adjusted": next(adjusted)}) for comparison in comparisons
    ]


def compare_many(
    values: Mapping[str, Mapping[str, Mapping[str, float | None]]],
    cultures: Mapping[str, str],
    *,
    baseline: str | None = None,
    compared: Callable[[str, str], bool] | None = None,
) -> list[Comparison]:
    """Compares conditions on each metric; all comparisons are one family for Holm's correction.

    Args:
        values: For each metric, each condition's value of each instance, null where there is none.
        cultures: Culture of each instance.
        baseline: Condition that the others are compared with; by default each pair is compared, the later less the earlier.
        compared: Whether two conditions, the earlier first, are compared without a baseline; by default all are.

    Raises:
        CultureCareError: A metric lacks the baseline, or has fewer than two conditions.
    """
    wanted: list[tuple[str, str, str]] = []
    for metric, conditions in values.items():
        if baseline is not None and baseline not in conditions:
            raise CultureCareError(f"{metric}: no condition {baseline!r} to compare with; there are {', '.join(conditions) or 'none'}")
        if len(conditions) < 2:
            raise CultureCareError(f"{metric}: {counted(len(conditions), 'condition')}, but a comparison needs two")
        if baseline is None:
            pairs = itertools.combinations(conditions, 2)
            wanted += [(metric, second, first) for first, second in pairs if compared is None or compared(first, second)]
        else:
            wanted += [(metric, name, baseline) for name in conditions if name != baseline]
    return with_holm(
        [
            compare_paired(values[metric][a], values[metric][b], cultures, names=(a, b), metric=metric, family=len(wanted))
            for metric, a, b in wanted
        ]
    )


# --- Win rates -------------------------------------------------------------------------------------------------------------------


def wins(a: float, b: float) -> float:
    """1 where a is higher, 0 where b is, 0.5 where they are equal but for rounding."""
    if math.isclose(a, b, abs_tol=1e-9):
        return 0.5
    return float(a > b)


def win_rate(a: Mapping[str, float | None], b: Mapping[str, float | None], cultures: Mapping[str, str]) -> Rate:
    """How often a condition's reply to an instance is higher than another's, such as the peer's; ties count half.

    Args:
        a: Value of each instance under the first condition, null where there is none.
        b: The same under the second.
        cultures: Culture of each instance.

    Returns:
        The mean over the cultures, with `bounded_mean_interval`; null where no instance has both values.

    Raises:
        CultureCareError: An instance has no culture, or a value is not a finite number.
    """
    samples = [[wins(value, 0.0) for value in sample] for sample in paired_differences(a, b, cultures).values()]
    mean, interval = mean_of_means(samples), bounded_mean_interval(samples)
    if mean is None or interval is None:
        return Rate(mean=None, low=None, high=None)
    return Rate(mean=mean, low=interval[0], high=interval[1])


def bounded_mean_interval(samples: Sequence[Sequence[float]], bounds: tuple[float, float] = (0.0, 1.0)) -> tuple[float, float] | None:
    """Interval of the mean of means of values that have ends, honest also near them: Wilson's at the effective sample size.

    Wilson's score interval takes each instance for a coin; where there are ties, or an instance's value is a mean of several, values vary
    less, and it covers up to 100 %. So it is made at the number of coins whose mean would vary as this one does (Korn and Graubard, 1998;
    Dean and Pagano, 2015), with Student's t in the normal quantile's place. The variance of each sample takes in one more value that varies
    like a coin, without which it is nothing where all values are equal, and the interval too.

    Student's t fails near the ends: of 3,000 samples of a win rate of 0.95 its interval was there and held it in 34 % with 8 instances, in
    76 % with 28 and in 89 % with 100; this one in 94, 95 and 97 %. Of grades of which nine of ten are the highest, t covered 57, 81 and
    93 %, this one 98, 97 and 95 %. In the middle both cover 94–96 % from 28 instances on; with 8, this one is wider and covers 97–99 %, or
    all where values keep to the middle. Where one value of a hundred is far from all others, 100 instances are too few for either (85 and
    90 %).

    Args:
        samples: One sequence of values a culture.
        bounds: Ends of the scale.

    Returns:
        Lower and upper end; null where there is no sample, or one is empty.

    Raises:
        CultureCareError: A value lies outside the bounds.
    """
    from scipy.special import ndtri, stdtrit

    found = _bounded(samples, bounds)
    if found is None:
        return None
    low, high = bounds
    share, size, freedom = found.share, found.size, found.freedom
    quantile = float(ndtri((1 + LEVEL) / 2) if math.isinf(freedom) else stdtrit(freedom, (1 + LEVEL) / 2))
    centre = (share + quantile**2 / (2 * size)) / (1 + quantile**2 / size)
    half = quantile / (1 + quantile**2 / size) * math.sqrt(share * (1 - share) / size + quantile**2 / (4 * size**2))
    ends = min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half))
    return low + (high - low) * ends[0], low + (high - low) * ends[1]


class _Bounded(NamedTuple):
    """A mean of means on the scale from 0 to 1, as a mean of so many coins, with the degrees of freedom of its variance."""

    share: float
    size: float
    freedom: float


def _bounded(samples: Sequence[Sequence[float]], bounds: tuple[float, float]) -> _Bounded | None:
    """The coins of `bounded_mean_interval`; null where there is no sample, or one is empty."""
    import numpy as np

    mean = mean_of_means(samples)
    if mean is None:
        return None
    low, high = bounds
    for sample in samples:
        for value in sample:
            if not low - 1e-9 <= value <= high + 1e-9:
                raise CultureCareError(f"{value:g} does not lie between {low:g} and {high:g}")
    scaled = [[(value - low) / (high - low) for value in sample] for sample in samples]
    share = min(1.0, max(0.0, (mean - low) / (high - low)))
    coin = share * (1 - share)
    if coin <= 1e-12:
        return _Bounded(share, len(samples) ** 2 / math.fsum(1 / len(sample) for sample in samples), math.inf)
    variances = np.array([((len(sample) - 1) * _variance(sample) + coin) / len(sample) ** 2 for sample in scaled]) / len(samples) ** 2
    freedoms = np.array([max(len(sample) - 1, 1) for sample in samples])
    freedom = float(variances.sum() ** 2 / (variances**2 / freedoms).sum())
    return _Bounded(share, coin / float(variances.sum()), freedom)


def p_below(samples: Sequence[Sequence[float]], threshold: float, bounds: tuple[float, float]) -> float | None:
    """One-sided p of a test whether the mean of means is surely below a threshold: small where the values show that it is.

    The null hypothesis is a mean at the threshold or above it, whatever the values' distribution. A sign-flip test about the threshold is
    valid for symmetric differences alone: where most are 0 and a few high, it calls a true mean at the threshold lower in up to half of
    the studies. This one takes the largest of three p-values:

    - the one that inverts `bounded_mean_interval`, so that it is below 0.025 only where that interval ends below the threshold;
    - the same with Johnson's (1978) correction for skewness, "Modified t tests and confidence intervals for asymmetrical populations";
    - the chance that a distribution with the threshold as its mean, whose far values are as far as `bounds` let them, shows none of them.

    In 20,000 simulated studies each of differences with a mean at the threshold, skewed either way and tied (19 distributions; 6 to 460
    instances in one to seven cultures, also of unequal size), p was below 0.025 in at most 2.9 % and below 0.005 in at most 1.0 %, mostly
    in far fewer: wide bounds cost power, since a few far values that nobody saw may lift a mean. With 115 instances in each of four
    cultures, bounds of -4 and 4 and no true difference, p for a threshold of 0.1 was below 0.025 in 97 % of the studies where differences
    vary by 0.5, and in 70 % where they vary by 0.8.

    Args:
        samples: Values, such as differences between two conditions, one sequence a culture.
        threshold: What the mean is to be below, such as the smallest difference of interest; strictly within the bounds.
        bounds: Least and greatest possible value: -4 and 4 for differences of grades from 1 to 5.

    Returns:
        Null where there is no sample, or one is empty.

    Raises:
        CultureCareError: A value lies outside the bounds, or the threshold does not lie within them.
    """
    from scipy.special import stdtr

    low, high = bounds
    if not low < threshold < high:
        raise CultureCareError(f"a threshold of {threshold:g} does not lie between {low:g} and {high:g}")
    found = _bounded(samples, bounds)
    if found is None:
        return None
    wanted = (threshold - low) / (high - low)
    if found.share >= wanted:
        return 1.0
    highest = max(max(sample) for sample in samples)
    unseen = 0.0 if highest >= threshold else (1 - (threshold - highest) / (high - highest)) ** sum(map(len, samples))
    error = math.sqrt(found.share * (1 - found.share) / found.size)
    if error == 0:
        return unseen
    by_coins = (found.share - wanted) / math.sqrt(wanted * (1 - wanted) / found.size)
    studentised = (found.share - wanted) / error
    skewness = math.fsum(_third_moment(sample) / len(sample) ** 2 for sample in samples) / (len(samples) * (high - low) * error) ** 3
    by_t = studentised + skewness * (1 + 2 * studentised**2) / 6
    freedom = min(found.freedom, 1e6)  # `stdtr` knows no infinite freedom.
    return max(float(stdtr(freedom, by_coins)), float(stdtr(freedom, by_t)), unseen)


def _third_moment(sample: Sequence[float]) -> float:
    mean = math.fsum(sample) / len(sample)
    return math.fsum((value - mean) ** 3 for value in sample) / len(sample)


def _variance(sample: Sequence[float]) -> float:
    return statistics.variance(sample) if len(sample) > 1 else 0.0


# --- What could have been seen ---------------------------------------------------------------------------------------------------


def power_of_t(difference: float, error: float, freedom: float, *, family: int = 1, level: float = 1 - LEVEL) -> float:
    """Chance that a two-sided t test finds a true difference (noncentral t; Cohen, 1988, chapter 2).

    Args:
        difference: True difference.
        error: Standard error of the estimated one, above 0.
        freedom: Degrees of freedom of the error.
        family: Number of comparisons; each is tested at the level over it, as the first step of Holm's method is.
        level: Chance of a false alarm in the whole family.
    """
    from scipy.stats import nct, norm, t

    if math.isinf(freedom) or freedom > 1e6:
        critical = float(norm.isf(level / family / 2))
        return float(norm.sf(critical - difference / error) + norm.cdf(-critical - difference / error))
    critical = float(t.isf(level / family / 2, freedom))
    shift = abs(difference) / error
    if shift > 30:  # Beyond it the noncentral t loses its digits, and power is 1 but for absurdly few instances.
        return float(t.sf(critical - shift, freedom))
    # The far tail counts only where the difference is next to nothing.
    far = float(nct.cdf(-critical, freedom, shift))
    return float(nct.sf(critical, freedom, shift)) + (far if math.isfinite(far) else 0.0)


def minimum_detectable_difference(
    samples: Sequence[Sequence[float]], *, power: float = 0.8, family: int = 1, level: float = 1 - LEVEL
) -> float | None:
    """Smallest true difference that a comparison of these would find with the wanted power, from the spread of its differences.

    It is a property of the design, to be read where a comparison found nothing: what it could have missed.

    Args:
        samples: Differences between two conditions, one sequence a culture.
        power: Wanted chance of finding it.
        family: Number of comparisons that Holm's method is to correct for.
        level: Chance of a false alarm in the whole family.

    Returns:
        Null where the spread can't be told: fewer than two differences in a culture, or all of each culture are equal.

    Raises:
        CultureCareError: Power or level is not between 0 and 1, power is not above the level, or the family is empty.
    """
    spread = mean_of_means_error(samples)
    if spread is None:
        return None
    return detectable(spread[0], spread[1], power=power, family=family, level=level)


def detectable(error: float, freedom: float, *, power: float = 0.8, family: int = 1, level: float = 1 - LEVEL) -> float:
    """The difference at which `power_of_t` is the wanted power.

    Raises:
        CultureCareError: Power or level is not between 0 and 1, power is not above the level, or the family is empty.
    """
    from scipy.optimize import brentq

    if not 0 < level < power < 1:
        raise CultureCareError(f"power is {power:g} and level {level:g}, but must be 0 < level < power < 1")
    if family < 1:
        raise CultureCareError(f"a family of {counted(family, 'comparison')}: there must be at least one")
    if error == 0:
        return 0.0
    upper = error
    while power_of_t(upper, error, freedom, family=family, level=level) < power:
        upper *= 2
    return float(brentq(lambda size: power_of_t(size, error, freedom, family=family, level=level) - power, 0.0, upper, xtol=1e-6 * error))
