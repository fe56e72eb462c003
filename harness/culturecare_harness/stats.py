"""Statistics of scores: means over cultures with their intervals."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["LEVEL", "mean_of_means", "mean_of_means_interval"]

LEVEL = 0.95
"""Confidence level of every interval in the project."""


def mean_of_means(samples: Sequence[Sequence[float]]) -> float | None:
    """Mean over the samples of each sample's mean, so that a culture with more items weighs no more; null where a sample is empty."""
    if not samples or not all(samples):
        return None
    return math.fsum(math.fsum(sample) / len(sample) for sample in samples) / len(samples)


def mean_of_means_interval(
    samples: Sequence[Sequence[float]], bounds: tuple[float, float] = (-math.inf, math.inf)
) -> tuple[float, float] | None:
    """Student t interval of `mean_of_means`, with the Welch-Satterthwaite degrees of freedom (Satterthwaite, 1946).

    The values are one for each instance, so that instances are what varies. Unlike a bootstrap, the interval stays honest for a few
    values: with two of them it is as wide as it must be.

    Args:
        samples: One sequence of values a culture.
        bounds: Ends of the scale, at which the interval is cut off.

    Returns:
        Lower and upper end at `LEVEL`, or null where a sample has fewer than two values, which tell nothing of their spread.
    """
    mean = mean_of_means(samples)
    if mean is None or any(len(sample) < 2 for sample in samples):
        return None
    # Variance of each sample's share in the mean of means.
    variances = [statistics.variance(sample) / len(sample) / len(samples) ** 2 for sample in samples]
    total = math.fsum(variances)
    if total == 0:
        return mean, mean
    from scipy.special import stdtrit

    freedom = total**2 / math.fsum(variance**2 / (len(sample) - 1) for variance, sample in zip(variances, samples, strict=True))
    half = float(stdtrit(freedom, (1 + LEVEL) / 2)) * math.sqrt(total)
    return max(bounds[0], mean - half), min(bounds[1], mean + half)
