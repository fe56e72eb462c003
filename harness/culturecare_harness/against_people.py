"""How well a judge agrees with people, held against how well the people agree with one another.

People differ, so no judge can agree with them wholly. The ceiling is one of them: each rater is compared with the mean of the others, and
the judge with the same means of the others on the same replies, so that both aim at the same mark (the leave-one-out comparison of
Calderon, Reichart and Dror, 2025, "The Alternative Annotator Test for LLM-as-a-Judge"). A judge that reaches the ceiling is as good a rater
as one of them.

Replies to one post are no independent evidence: all intervals are made over posts. Cultures have raters of their own; with several
cultures each number is the mean of the cultures' numbers.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from culturecare import CultureCareError, Record
from culturecare_harness.agreement import Coefficient, CoefficientName, Estimate, jackknife, krippendorff_alpha
from culturecare_harness.significance import bounded_mean_interval
from culturecare_harness.stats import mean_of_means, mean_of_means_error, mean_of_means_interval

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    Values = NDArray[np.float64]

__all__ = ["CLEAR", "FEWEST_SHARED", "Ceiling", "JudgeQuality", "PersonGrade", "judge_against_people"]

CLEAR = 0.5
"""How far apart, in grades, people must find two replies on average for their order to be clear."""

FEWEST_SHARED = 10
"""Fewest replies that a rater shares with others to be compared with them."""

CeilingName = Literal["spearman", "kendall", "alpha_interval", "pairwise_accuracy"]


class PersonGrade(NamedTuple):
    """What one person gave one reply: a row of the long table.

    Attributes:
        culture: Culture of the post.
        item: The post, whose replies are left out of a resample together.
        reply: The reply.
        rater: Who graded it.
        value: The grade.
    """

    culture: str
    item: str
    reply: str
    rater: str
    value: float


class Ceiling(Record):
    """A judge beside one of the people, both compared with the mean of the other people.

    A judge whose scores are expectations has no ties, and people's grades have many: tau-b and Spearman allow for that, but not wholly.

    Attributes:
        people: A rater against the mean of the others, averaged over raters.
        judge: The judge against the same means on the same replies, averaged over the same raters.
        difference: The judge's less the people's; below 0 the judge is worse than one of them.
    """

    people: Coefficient
    judge: Coefficient
    difference: Coefficient


class JudgeQuality(Record):
    """How well a judge agrees with people on one metric.

    Attributes:
        metric: What was graded.
        spearman: Rank correlation of the judge's scores with the mean of people over replies.
        kendall: Kendall's tau-b of the same.
        alpha: Krippendorff's interval alpha of the same; unlike a correlation it falls where the judge is stricter or kinder than people.
        mean_difference: The judge's scores less the means of people, a mean over posts.
        pairwise_accuracy: Of the pairs of replies to one post that people order clearly (their grades differ by `CLEAR` or more on average
            over those who graded both), the share that the judge orders in the same way. Where the judge has both equal, half a pair
            counts; pairs that people don't order clearly don't count. A mean over the posts that have such a pair.
        ceilings: Beside one of the people, for each of these but the mean difference.
        coverage: Share of the replies graded by people that the judge has a score for.
    """

    metric: str
    spearman: Coefficient
    kendall: Coefficient
    alpha: Coefficient
    mean_difference: Coefficient
    pairwise_accuracy: Coefficient
    ceilings: dict[CeilingName, Ceiling]
    coverage: float


def judge_against_people(
    metric: str, grades: Sequence[PersonGrade], judge: Mapping[str, float | None], *, clear: float = CLEAR
) -> JudgeQuality:
    """Compares a judge's scores with people's grades on one metric.

    Spearman, Kendall and alpha have the jackknife's interval (`agreement.jackknife`), the mean difference Student's t over posts, the
    accuracy `bounded_mean_interval` over posts.

    Args:
        metric: What was graded.
        grades: All people's grades; those without a value are left out before.
        judge: Score of each reply, null or absent where there is none.
        clear: Least mean difference of two replies that people order clearly.

    Raises:
        CultureCareError: There is no grade, a person graded a reply twice, a reply belongs to two posts or a post to two cultures, or
            `clear` is not above 0.
    """
    if not clear > 0:
        raise CultureCareError(f"clear is {clear:g}, but must be above 0: equal grades order nothing")
    table = _Table(metric, grades, judge)
    covered = ~np.isnan(table.judge)
    mean = table.mean
    correlated: dict[CoefficientName, Coefficient] = {
        name: _coefficient(
            metric,
            name,
            jackknife(
                _on_rows(_STATISTICS[name], table.judge, mean),
                table.items.tolist(),
                table.cultures.tolist(),
                counted=covered,
                undefined=_UNDEFINED[name],
            ),
            table,
            int(covered.sum()),
        )
        for name in _STATISTICS
    }
    return JudgeQuality(
        metric=metric,
        spearman=correlated["spearman"],
        kendall=correlated["kendall"],
        alpha=correlated["alpha_interval"],
        mean_difference=_mean_difference(table, covered),
        pairwise_accuracy=_accuracy(table, clear),
        ceilings=_ceilings(table, clear),
        coverage=float(covered.mean()),
    )


# --- The table -------------------------------------------------------------------------------------------------------------------


class _Table:
    """People's grades as raters by replies, NaN where there is none, beside the judge's scores."""

    def __init__(self, metric: str, grades: Sequence[PersonGrade], judge: Mapping[str, float | None]) -> None:
        if not grades:
            raise CultureCareError(f"{metric}: there is no grade by a person")
        self.metric = metric
        replies = {grade.reply: (grade.culture, grade.item) for grade in grades}
        cultures = {grade.item: grade.culture for grade in grades}
        raters = sorted({grade.rater for grade in grades})
        place = {reply: number for number, reply in enumerate(replies)}
        row = {rater: number for number, rater in enumerate(raters)}
        self.people = np.full((len(raters), len(replies)), np.nan)
        for grade in grades:
            if replies[grade.reply] != (grade.culture, grade.item) or cultures[grade.item] != grade.culture:
                raise CultureCareError(f"{metric}: reply {grade.reply!r} belongs to two posts, or post {grade.item!r} to two cultures")
            if not math.isnan(self.people[row[grade.rater], place[grade.reply]]):
                raise CultureCareError(f"{metric}: rater {grade.rater!r} graded reply {grade.reply!r} twice; keep one of the grades")
            self.people[row[grade.rater], place[grade.reply]] = grade.value
        self.items = np.array([item for _, item in replies.values()], dtype=object)
        self.cultures = np.array([culture for culture, _ in replies.values()], dtype=object)
        scores = [judge.get(reply) for reply in replies]
        self.judge: Values = np.array([np.nan if score is None else score for score in scores], dtype=float)
        by_item: dict[str, list[int]] = {}
        for number, item in enumerate(self.items):
            by_item.setdefault(item, []).append(number)
        pairs = [(first, second) for members in by_item.values() for i, first in enumerate(members) for second in members[i + 1 :]]
        self.pairs = np.array(pairs, dtype=int).reshape(-1, 2)

    @property
    def mean(self) -> Values:
        """Mean of the people's grades of each reply."""
        mean: Values = np.nanmean(self.people, axis=0)
        return mean

    def others(self, rater: int) -> Values:
        """Mean of the other people's grades of each reply that the rater graded; NaN elsewhere."""
        rest = np.delete(self.people, rater, axis=0)
        return np.where(np.isnan(self.people[rater]), np.nan, _mean(rest))

    def order(self, raters: NDArray[np.bool_]) -> Values:
        """Mean over those of the raters who graded both of the first reply's grade less the second's, for each pair."""
        differences = self.people[raters][:, self.pairs[:, 0]] - self.people[raters][:, self.pairs[:, 1]]
        return _mean(differences)


def _mean(rows: Values) -> Values:
    """Mean over rows of what is there, NaN where nothing is."""
    count = (~np.isnan(rows)).sum(axis=0)
    mean: Values = np.where(count > 0, np.nansum(rows, axis=0) / np.maximum(count, 1), np.nan)
    return mean


def _coefficient(
    metric: str, name: CoefficientName, estimate: Estimate, table: _Table, units: int, raters: int | None = None
) -> Coefficient:
    return Coefficient(metric=metric, name=name, raters=len(table.people) if raters is None else raters, units=units, **estimate._asdict())


# --- The judge and the mean of people --------------------------------------------------------------------------------------------


def _spearman(first: Values, second: Values) -> float | None:
    from scipy.stats import spearmanr

    if len(first) < 3 or not (np.ptp(first) and np.ptp(second)):
        return None
    return float(spearmanr(first, second).statistic)


def _kendall(first: Values, second: Values) -> float | None:
    from scipy.stats import kendalltau

    if len(first) < 3 or not (np.ptp(first) and np.ptp(second)):
        return None
    # The asymptotic p, which is not looked at, spares the exact one's time.
    return float(kendalltau(first, second, method="asymptotic").statistic)


def _alpha(first: Values, second: Values) -> float | None:
    return krippendorff_alpha([first.tolist(), second.tolist()], "interval")


_STATISTICS: Mapping[CoefficientName, Callable[[Values, Values], float | None]] = {
    "spearman": _spearman,
    "kendall": _kendall,
    "alpha_interval": _alpha,
}

_UNDEFINED: Mapping[CoefficientName, str] = {
    "spearman": "fewer than three replies have both, or one side's values are all equal",
    "kendall": "fewer than three replies have both, or one side's values are all equal",
    "alpha_interval": "no reply has both, or all values are equal",
    "pairwise_accuracy": "people order no two replies to a post clearly",
}


def _on_rows(statistic: Callable[[Values, Values], float | None], first: Values, second: Values) -> Callable[[Values], float | None]:
    """The statistic on the rows of weight 1 that have both values."""
    both = ~(np.isnan(first) | np.isnan(second))

    def of_weights(weights: Values) -> float | None:
        rows = both & (weights > 0)
        return statistic(first[rows], second[rows])

    return of_weights


def _by_culture_and_item(table: _Table, places: NDArray[np.int_], values: Values) -> list[list[float]]:
    """Of each culture, each post's mean of the values that are not NaN; `places` says to which reply a value belongs."""
    found: dict[str, dict[str, list[float]]] = {culture: {} for culture in dict.fromkeys(table.cultures)}
    for place, value in zip(places, values, strict=True):
        if not math.isnan(value):
            found[table.cultures[place]].setdefault(table.items[place], []).append(float(value))
    return [[math.fsum(of_item) / len(of_item) for of_item in items.values()] for items in found.values()]


def _mean_difference(table: _Table, covered: NDArray[np.bool_]) -> Coefficient:
    samples = _by_culture_and_item(table, np.arange(len(table.judge)), table.judge - table.mean)
    value, interval, spread = mean_of_means(samples), mean_of_means_interval(samples), mean_of_means_error(samples)
    clusters = sum(map(len, samples))
    if value is None:
        estimate = Estimate(None, None, None, None, clusters, "the judge has no score in one of the cultures")
    elif interval is None or spread is None:
        reason = "one post in a culture, or equal values in all, tell nothing of how far the value may vary"
        estimate = Estimate(value, None, None, None, clusters, reason)
    else:
        estimate = Estimate(value, *interval, spread[0], clusters, None)
    return _coefficient(table.metric, "mean_difference", estimate, table, int(covered.sum()))


def _ordered_alike(order: Values, target: Values, clear: float) -> Values:
    """1 where the target's clear order is kept, 0 where it is turned round, 0.5 for a tie; NaN where there is nothing to keep."""
    signs = np.where(np.abs(order) < 1e-9, 0.0, np.sign(order))
    kept: Values = (1 + signs * np.sign(target)) / 2
    kept[np.isnan(order) | np.isnan(target) | ~(np.abs(target) >= clear - 1e-9)] = np.nan
    return kept


def _accuracy(table: _Table, clear: float) -> Coefficient:
    kept = _ordered_alike(
        table.judge[table.pairs[:, 0]] - table.judge[table.pairs[:, 1]], table.order(np.ones(len(table.people), bool)), clear
    )
    samples = _by_culture_and_item(table, table.pairs[:, 0], kept)
    value, interval, spread = mean_of_means(samples), bounded_mean_interval(samples), mean_of_means_error(samples)
    clusters = sum(map(len, samples))
    if value is None or interval is None:
        why = f"{_UNDEFINED['pairwise_accuracy']} that the judge has scores for, in one of the cultures"
        estimate = Estimate(None, None, None, None, clusters, why)
    else:
        estimate = Estimate(value, *interval, None if spread is None else spread[0], clusters, None)
    return _coefficient(table.metric, "pairwise_accuracy", estimate, table, int((~np.isnan(kept)).sum()))


# --- The ceiling -----------------------------------------------------------------------------------------------------------------


def _ceilings(table: _Table, clear: float) -> dict[CeilingName, Ceiling]:
    names: tuple[CeilingName, ...] = ("spearman", "kendall", "alpha_interval", "pairwise_accuracy")
    return {name: _ceiling(table, name, clear) for name in names}


class _Mark(NamedTuple):
    """A rater, and the judge in the rater's place, beside what both aim at."""

    people: Callable[[Values], float | None]
    judge: Callable[[Values], float | None]
    rows: NDArray[np.bool_]
    culture: str
    rater: int


def _ceiling(table: _Table, name: CeilingName, clear: float) -> Ceiling:
    """A rater, and the judge in that rater's place, against the mean of the others, averaged over raters."""
    marks = [mark for rater in range(len(table.people)) for mark in _marks(table, name, rater, clear)]
    everything = np.ones(len(table.judge))
    # A rater of one grade alone has no correlation; neither side is then compared in that place.
    marks = [mark for mark in marks if mark.people(everything) is not None and mark.judge(everything) is not None]
    rows = np.any([mark.rows for mark in marks], axis=0) if marks else np.zeros(len(table.judge), bool)

    def averaged(value: Callable[[_Mark, Values], float | None]) -> Callable[[Values], float | None]:
        def of_weights(weights: Values) -> float | None:
            inside = set(table.cultures[weights > 0])
            values = [value(mark, weights) for mark in marks if mark.culture in inside]
            present = [one for one in values if one is not None]
            return math.fsum(present) / len(present) if values and len(present) == len(values) else None

        return of_weights

    def less(mark: _Mark, weights: Values) -> float | None:
        judge, people = mark.judge(weights), mark.people(weights)
        return None if judge is None or people is None else judge - people

    def made(value: Callable[[_Mark, Values], float | None], *, is_difference: bool = False) -> Coefficient:
        why = f"no rater shares {FEWEST_SHARED} replies of different grades with others and the judge"
        found = jackknife(
            averaged(value),
            table.items.tolist(),
            table.cultures.tolist(),
            counted=rows,
            scale="plain" if is_difference else "share" if name == "pairwise_accuracy" else "correlation",
            undefined=why,
        )
        return _coefficient(table.metric, name, found, table, int(rows.sum()), raters=len({mark.rater for mark in marks}))

    return Ceiling(
        people=made(lambda mark, weights: mark.people(weights)),
        judge=made(lambda mark, weights: mark.judge(weights)),
        difference=made(less, is_difference=True),
    )


def _marks(table: _Table, name: CeilingName, rater: int, clear: float) -> list[_Mark]:
    """One for each culture in which the rater shares enough replies with others."""
    others = table.others(rater)
    shared = ~(np.isnan(others) | np.isnan(table.judge))
    found = []
    for culture in dict.fromkeys(table.cultures[shared]):
        rows = shared & (table.cultures == culture)
        if rows.sum() < FEWEST_SHARED:
            continue
        if name == "pairwise_accuracy":
            rest = np.arange(len(table.people)) != rater
            target, inside = table.order(rest), rows[table.pairs].all(axis=1)
            target = np.where(inside, target, np.nan)
            people, judge = (_share(table, values, target, clear) for values in (table.people[rater], table.judge))
        else:
            aim = np.where(rows, others, np.nan)
            people, judge = (_on_rows(_STATISTICS[name], values, aim) for values in (table.people[rater], table.judge))
        found.append(_Mark(_once(people, rows), _once(judge, rows), rows, str(culture), rater))
    return found


def _once(statistic: Callable[[Values], float | None], rows: NDArray[np.bool_]) -> Callable[[Values], float | None]:
    """The statistic, computed once for all weights that are alike on the rows it looks at: three jackknives ask for the same."""
    known: dict[bytes, float | None] = {}

    def of_weights(weights: Values) -> float | None:
        key = (weights[rows] > 0).tobytes()
        if key not in known:
            known[key] = statistic(weights)
        return known[key]

    return of_weights


def _share(table: _Table, values: Values, target: Values, clear: float) -> Callable[[Values], float | None]:
    """Share of the pairs that the values order as the target does, a mean over posts."""
    kept = _ordered_alike(values[table.pairs[:, 0]] - values[table.pairs[:, 1]], target, clear)
    counted = ~np.isnan(kept)
    first, posts = table.pairs[counted, 0], np.unique(table.items[table.pairs[counted, 0]].astype(str), return_inverse=True)[1]
    kept = kept[counted]

    def of_weights(weights: Values) -> float | None:
        inside = weights[first] > 0
        if not inside.any():
            return None
        counts = np.bincount(posts[inside])
        sums = np.bincount(posts[inside], kept[inside])
        return float((sums[counts > 0] / counts[counts > 0]).mean())

    return of_weights
