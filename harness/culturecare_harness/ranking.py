"""What comparisons add up to: win, flip and tie rates, position bias, and a Bradley-Terry ranking."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from pydantic import Field

from culturecare import CultureCareError, Record, cultures
from culturecare_harness.agreement import bootstrap_interval
from culturecare_harness.stats import LEVEL, mean_of_means

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from culturecare_harness.pairs import PairVerdict

__all__ = ["PRIOR", "Match", "PairSummary", "Ranking", "Rate", "Strength", "rank", "rank_matches", "summarise_pairs"]

PRIOR = 1.0
"""Ties that a ranking adds between any two contestants that were compared."""


class Rate(Record):
    """A mean over instances with its uncertainty.

    Attributes:
        mean: Null where there is no value (for culture `all`: where a culture has none).
        low: Lower end of the 95 % Wilson score interval over instances; null together with `mean`.
        high: Upper end of the interval.
    """

    mean: float | None
    low: float | None
    high: float | None


class PairSummary(Record):
    """How two contestants compare.

    Attributes:
        culture: Culture of the posts, or `all`: the mean over the cultures' means.
        win_rate: Of the first over the second, in [0, 1]; ties and flips count half.
        flip_rate: Share of pairs whose two orders name different winners.
        tie_rate: Share of pairs that both orders find equal.
        position_bias: In [-1, 1]: how much more often the reply that was shown first won than the other; 0 is no bias.
        pairs: Number of pairs.
        instances: Number of instances that have a value, over which the intervals are made.
        coverage: Share of the pairs that have a value.
    """

    first: str
    second: str
    culture: str
    win_rate: Rate
    flip_rate: Rate
    tie_rate: Rate
    position_bias: Rate
    pairs: int = Field(ge=0)
    instances: int = Field(ge=0)
    coverage: float = Field(ge=0, le=1)


class Strength(Record):
    """A contestant's Bradley-Terry strength.

    Attributes:
        strength: On the log-odds scale, 0 on average: the odds that a contestant wins over another are e to the difference of the two.
        low: Lower end of the 95 % interval (percentile bootstrap over instances); null where there are too few of them.
        high: Upper end of the interval.
    """

    contestant: str
    strength: float
    low: float | None
    high: float | None


class Ranking(Record):
    """Bradley-Terry strengths, the strongest first.

    Attributes:
        prior: Ties that were added between any two contestants that were compared. They keep a strength finite where one contestant won
            always, and weigh little beside many instances.
        instances: Number of instances that they rest on.
    """

    strengths: tuple[Strength, ...]
    prior: float
    instances: int


def summarise_pairs(verdicts: Sequence[PairVerdict]) -> list[PairSummary]:
    """Win, flip and tie rates and position bias of each comparison, in each culture and over all.

    Pairs are averaged within an instance first, so that an instance weighs the same however many pairs it has.

    Args:
        verdicts: Of one judge.

    Raises:
        CultureCareError: The verdicts are of several judges.
    """
    _check_one_judge(verdicts)
    by_comparison: dict[tuple[str, str], dict[str, list[PairVerdict]]] = defaultdict(lambda: defaultdict(list))
    for verdict in verdicts:
        by_comparison[verdict.first, verdict.second][verdict.culture].append(verdict)
    summaries = []
    for (first, second), by_culture in by_comparison.items():
        present = [key for key in cultures() if key in by_culture]
        for culture, of_culture in (*((key, [by_culture[key]]) for key in present), ("all", [by_culture[key] for key in present])):
            total = sum(map(len, of_culture))
            valued = [[verdict for verdict in group if verdict.value is not None] for group in of_culture]
            bias = _rate(valued, lambda verdict: (_position_bias(verdict) + 1) / 2)
            summaries.append(
                PairSummary(
                    first=first,
                    second=second,
                    culture=culture,
                    win_rate=_rate(valued, lambda verdict: verdict.value or 0.0),
                    flip_rate=_rate(valued, lambda verdict: float(verdict.flip or False)),
                    tie_rate=_rate(valued, lambda verdict: float(verdict.tie or False)),
                    position_bias=Rate.model_validate(
                        {end: None if place is None else 2 * place - 1 for end, place in bias.model_dump().items()}
                    ),
                    pairs=total,
                    instances=len({verdict.instance_id for group in valued for verdict in group}),
                    coverage=sum(map(len, valued)) / total,
                )
            )
    return summaries


def _check_one_judge(verdicts: Sequence[PairVerdict]) -> None:
    names = {verdict.judge: verdict.judge.name for verdict in verdicts}
    if len(names) > 1:
        raise CultureCareError(f"verdicts of several judges are mixed ({', '.join(sorted(names.values()))}); sum up one judge's at a time")


def _position_bias(verdict: PairVerdict) -> float:
    """1 where what was shown first won in both orders, -1 where the other did."""
    signs = {"first": 1.0, "tie": 0.0, "second": -1.0, None: 0.0}
    return (signs[verdict.forward.winner] - signs[verdict.backward.winner]) / 2


def _rate(groups: Sequence[Sequence[PairVerdict]], value: Callable[[PairVerdict], float]) -> Rate:
    """Mean over the groups' means of a value in [0, 1], with the Wilson (1927) score interval.

    Each instance counts as one trial. A value between 0 and 1 varies no more than a coin of the same mean, so the interval is never too
    narrow for halves; and unlike one from the sample's variance it is honest where all values are equal. Of groups of different sizes, n is
    the size at which one sample's mean would vary as the mean of their means does.
    """
    samples = []
    for group in groups:
        by_instance: dict[str, list[float]] = defaultdict(list)
        for verdict in group:
            by_instance[verdict.instance_id].append(value(verdict))
        samples.append([math.fsum(values) / len(values) for values in by_instance.values()])
    mean = mean_of_means(samples)
    if mean is None:
        return Rate(mean=None, low=None, high=None)
    from scipy.special import ndtri

    size = len(samples) ** 2 / math.fsum(1 / len(sample) for sample in samples)
    z = float(ndtri((1 + LEVEL) / 2))
    centre = (mean + z**2 / (2 * size)) / (1 + z**2 / size)
    half = z / (1 + z**2 / size) * math.sqrt(mean * (1 - mean) / size + z**2 / (4 * size**2))
    return Rate(mean=mean, low=min(mean, max(0.0, centre - half)), high=max(mean, min(1.0, centre + half)))


class Match(NamedTuple):
    """How one comparison of two contestants came out, whoever made it.

    Attributes:
        culture: Culture of the post.
        instance_id: The post, whose comparisons are drawn together in a resample.
        value: In [0, 1]: 1 where the first won, 0 where the second did.
    """

    culture: str
    instance_id: str
    first: str
    second: str
    value: float


def rank(verdicts: Sequence[PairVerdict], prior: float = PRIOR) -> Ranking:
    """Ranks contestants by what one judge prefers (`rank_matches`), each order of a pair counting half.

    Args:
        verdicts: Of one judge; those without a value are passed over.
        prior: Ties that are added between any two contestants that were compared, above 0.

    Raises:
        CultureCareError: The verdicts are of several judges, or as `rank_matches` says.
    """
    _check_one_judge(verdicts)
    matches = [
        Match(verdict.culture, verdict.instance_id, verdict.first, verdict.second, verdict.value)
        for verdict in verdicts
        if verdict.value is not None
    ]
    return rank_matches(matches, prior)


def rank_matches(matches: Sequence[Match], prior: float = PRIOR) -> Ranking:
    """Ranks contestants by their Bradley-Terry strengths (Bradley and Terry, 1952).

    Cultures weigh the same, as in all scores of the project. The interval comes from resampling instances within their cultures.

    Args:
        matches: By one judge, or by the same people.
        prior: Ties that are added between any two contestants that were compared, above 0.

    Raises:
        CultureCareError: There is no match, contestants were not compared, even through others, or the strengths don't converge.
    """
    import numpy as np

    if not matches:
        raise CultureCareError("there is nothing to rank: no pair has a value")
    if not prior > 0:
        raise CultureCareError(f"prior is {prior:g}, but must be above 0: strengths are finite only where nobody won always")
    names = sorted({name for one in matches for name in (one.first, one.second)})
    place = {name: number for number, name in enumerate(names)}
    first = np.array([place[one.first] for one in matches])
    second = np.array([place[one.second] for one in matches])
    value = np.array([one.value for one in matches], dtype=float)
    compared = np.zeros((len(names), len(names)))
    compared[first, second] = compared[second, first] = 1
    _check_connected(names, compared)
    weight, instances = _weights(matches)

    def strengths(drawn: NDArray[np.float64]) -> NDArray[np.float64]:
        wins = compared * prior / 2
        np.add.at(wins, (first, second), weight * drawn * value)
        np.add.at(wins, (second, first), weight * drawn * (1 - value))
        return _bradley_terry(wins)

    best = strengths(np.ones(len(matches)))
    interval = bootstrap_interval(strengths, [one.instance_id for one in matches], strata=[one.culture for one in matches])
    return Ranking(strengths=_ordered(names, best, interval), prior=prior, instances=instances)


def _check_connected(names: Sequence[str], compared: NDArray[np.float64]) -> None:
    import numpy as np
    from scipy.sparse.csgraph import connected_components

    parts, part = connected_components(compared, directed=False)
    if parts > 1:
        apart = names[int(np.flatnonzero(part != part[0])[0])]
        raise CultureCareError(f"{names[0]!r} and {apart!r} cannot be ranked: they were not compared, even through others")


def _weights(matches: Sequence[Match]) -> tuple[NDArray[np.float64], int]:
    """Weight of each match, by which cultures weigh the same, and the number of instances in all."""
    import numpy as np

    by_culture: dict[str, set[str]] = defaultdict(set)
    for one in matches:
        by_culture[one.culture].add(one.instance_id)
    instances = sum(map(len, by_culture.values()))
    return np.array([instances / len(by_culture) / len(by_culture[one.culture]) for one in matches]), instances


def _ordered(
    names: Sequence[str], best: NDArray[np.float64], interval: tuple[NDArray[np.float64], NDArray[np.float64]] | None
) -> tuple[Strength, ...]:
    """The strengths, the strongest first."""
    return tuple(
        Strength(
            contestant=names[number],
            strength=float(best[number]),
            low=None if interval is None else float(interval[0][number]),
            high=None if interval is None else float(interval[1][number]),
        )
        for number in sorted(range(len(names)), key=lambda number: -best[number])
    )


def _bradley_terry(wins: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log strengths about their mean, from how often each row's contestant won over each column's."""
    import evalica
    import numpy as np

    limit = 100_000
    # Only what was compared has an entry, and every contestant was compared.
    rows, columns = np.nonzero(wins)
    result = evalica.bradley_terry(
        rows.tolist(),
        columns.tolist(),
        [evalica.Winner.X] * len(rows),
        weights=wins[rows, columns],
        tolerance=1e-8,
        limit=limit,
    )
    if result.iterations >= limit:
        raise CultureCareError(f"the Bradley-Terry strengths don't converge in {limit} steps; a larger prior helps")
    logs: NDArray[np.float64] = np.log(np.array(result.scores.sort_index(), dtype=float))
    centred: NDArray[np.float64] = logs - logs.mean()
    return centred
