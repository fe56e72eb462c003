"""What people say of each condition (a model under a strategy, or the peer): means, shares, ranks, and paired comparisons.

Raters are averaged within a post first and cultures' means are averaged, as in all scores of the project. Intervals are over posts: they
tell how far a number would move with other posts, not with other raters. Means of grades and ranks have Student's t, as all scores of the
project have; it is too narrow where nearly all grades are the highest, or a culture has fewer than five posts (`mean_of_means_interval`).
Shares have `bounded_mean_interval`, which is honest there but wider than it need be for means in the middle of a scale (of those with 19
posts it covered 99 %).
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar

from pydantic import Field

from culturecare import CultureCareError, Record
from culturecare_harness.agreement import Coefficient, agreement_coefficients
from culturecare_harness.human.answers import SUMMARIES, answer_metric, bounds_of, rubric_of, upper_answers, upper_metric
from culturecare_harness.pairs import PEER
from culturecare_harness.ranking import Match, Ranking, Rate, rank_matches
from culturecare_harness.significance import Comparison, bounded_mean_interval, compare_many, compare_paired, win_rate, with_holm
from culturecare_harness.stats import mean_of_means, mean_of_means_interval

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from culturecare_harness.human.answers import Answers, RankedItem
    from culturecare_harness.human.forms import Form, Question

__all__ = [
    "ALL",
    "MODELS",
    "PEERS",
    "RANKING",
    "AnswerShare",
    "ConditionScore",
    "Contrast",
    "RankScore",
    "WinRate",
    "agreement_among_raters",
    "compare_conditions",
    "compare_models_with_peers",
    "condition_scores",
    "metric_names",
    "rank_conditions",
    "rank_scores",
    "shares",
    "tested_metrics",
    "win_rates",
]

ALL = "all"
MODELS, PEERS = "models", "peers"
RANKING = "ranking"

_Key = TypeVar("_Key")


class ConditionScore(Record):
    """People's mean grade of one condition.

    Attributes:
        condition: `model:strategy`, or `peer`.
        culture: Culture of the posts, or `all`: the mean over the cultures' means.
        metric: A scale of the form, or `overall`, `emotional`, `cultural`, `quality` where the form asks for a whole rubric.
        mean: Null with a reason.
        low: Lower end of the 95 % interval (`mean_of_means_interval` over posts); null with a reason.
        high: Upper end of the interval.
        n: Number of posts with a value.
        ratings: Number of values, one a rater and reply.
        raters: Number of raters who gave them.
        coverage: `ratings` over the number that the raters were asked for.
        reason: Why there is no mean, or else no interval.
    """

    condition: str
    culture: str
    metric: str
    mean: float | None
    low: float | None
    high: float | None
    n: int = Field(ge=0)
    ratings: int = Field(ge=0)
    raters: int = Field(ge=0)
    coverage: float = Field(ge=0, le=1)
    reason: str | None


class AnswerShare(Record):
    """How often people gave one answer.

    Attributes:
        question: Key of the question.
        value: Which answer.
        about: Whose replies: `models`, `peers`, or one condition.
        culture: Culture of the posts, or `all`.
        share: In [0, 1]: mean over the cultures of the mean over posts; null with a reason.
        low: Lower end of the 95 % interval (`bounded_mean_interval` over posts).
        high: Upper end of the interval.
        items: Number of posts with an answer.
        ratings: Number of answers.
        reason: Why there is no share.
    """

    question: str
    value: int | str
    about: str
    culture: str
    share: float | None = Field(ge=0, le=1)
    low: float | None = Field(ge=0, le=1)
    high: float | None = Field(ge=0, le=1)
    items: int = Field(ge=0)
    ratings: int = Field(ge=0)
    reason: str | None


class RankScore(Record):
    """Where people put one condition among the replies of an item.

    Attributes:
        places: Replies of an item.
        mean_rank: 1 is best; null with a reason.
        rank_low: Lower end of the 95 % interval (`mean_of_means_interval` over posts); null with a reason.
        rank_high: Upper end of the interval.
        first: Share of the items in which it came first.
        first_low: Lower end of its interval (`bounded_mean_interval` over posts).
        first_high: Upper end of the interval.
        n: Number of posts.
        coverage: Share of the rankings that the raters were asked for.
        reason: Why there is no mean rank, or else no interval of it.
    """

    condition: str
    culture: str
    places: int = Field(ge=2)
    mean_rank: float | None
    rank_low: float | None
    rank_high: float | None
    first: float | None
    first_low: float | None
    first_high: float | None
    n: int = Field(ge=0)
    coverage: float = Field(ge=0, le=1)
    reason: str | None


class WinRate(Record):
    """How often people find a condition's reply better than the peer's to the same post, ties counting half.

    Attributes:
        metric: What was compared, or `ranking`: how many of a post's raters put it before the peer's.
        rate: Mean over the cultures in which both have a value, with `bounded_mean_interval` over posts.
        n: Number of posts on which both have a value.
        reason: Why there is no rate.
    """

    condition: str
    metric: str
    rate: Rate
    n: int = Field(ge=0)
    reason: str | None


class Contrast(Record):
    """Models' replies against peers' on how often people gave an answer, as the paper contrasts them.

    Attributes:
        values: The answers that are counted; of a scale the upper ones, such as agree and strongly agree.
        models: Share over all models' replies.
        peers: Share over peers' replies.
        comparison: Of the two, paired by post; Holm's correction is for all contrasts of the packet.
    """

    question: str
    values: tuple[int | str, ...]
    models: Rate
    peers: Rate
    comparison: Comparison


# --- Agreement -------------------------------------------------------------------------------------------------------------------


def agreement_among_raters(answers: Answers) -> dict[str, list[Coefficient]]:
    """How well the raters agree, by culture and for `all` of them.

    A reply in an item is a unit, and posts are what is left out for the interval. A scale has ordinal alpha, and kappa and AC2 with
    quadratic weights. A choice has nominal alpha, kappa and AC1; and since a form does not say whether a choice's answers have an order,
    those for ordered answers too, in the form's order, to be read where they do. A ranking has the coefficients of the places it gives.
    """
    return {
        culture: [
            coefficient
            for question in [*answers.of_replies, *filter(None, [answers.ranking])]
            for coefficient in _coefficients(answers, question, culture)
        ]
        for culture in (*answers.cultures, ALL)
    }


def _coefficients(answers: Answers, question: Question, culture: str) -> list[Coefficient]:
    values: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    origin: dict[tuple[str, str], tuple[str, str]] = {}
    size = 0
    if question.kind == "ranking":
        for item in _rankings_of(answers, culture):
            for place, label in enumerate(item.labels or (), 1):
                values[item.item, label][item.rater] = float(place)
            for label in item.conditions:
                origin[item.item, label] = (item.instance_id, item.culture)
            size = max(size, len(item.conditions))
    else:
        places = {value.value: place for place, value in enumerate(question.values, 1)}
        size = len(places)
        for row in answers.replies:
            if culture in {row.culture, ALL}:
                origin[row.item, row.label] = (row.instance_id, row.culture)
                answer = row.answers[question.key]
                if answer is not None:
                    values[row.item, row.label][row.rater] = float(places[answer])
    raters = sorted({rater for of_unit in values.values() for rater in of_unit})
    units = list(origin)
    levels: list[Literal["nominal", "ordinal"]] = ["ordinal"]
    if question.kind == "choice":
        levels = ["nominal", "ordinal"] if size > 2 else ["nominal"]
    return [
        coefficient
        for level in levels
        for coefficient in agreement_coefficients(
            question.key,
            [[values[unit].get(rater) for unit in units] for rater in raters],
            [origin[unit][0] for unit in units],
            [float(place) for place in range(1, max(size, 2) + 1)],
            level=level,
            cultures=[origin[unit][1] for unit in units] if culture == ALL else None,
        )
    ]


def _rankings_of(answers: Answers, culture: str) -> list[RankedItem]:
    return [item for item in answers.rankings if culture in {item.culture, ALL}]


# --- Means and shares ------------------------------------------------------------------------------------------------------------


class _Mean(NamedTuple):
    mean: float | None
    low: float | None
    high: float | None
    n: int
    reason: str | None


def _mean(samples: Mapping[str, Sequence[float]], bounds: tuple[float, float]) -> _Mean:
    """Mean over the cultures' means, with Student's t interval over posts."""
    if (nothing := _nothing(samples)) is not None:
        return nothing
    groups, n = list(samples.values()), sum(map(len, samples.values()))
    mean, interval = mean_of_means(groups), mean_of_means_interval(groups, bounds)
    if interval is None:
        if min(map(len, groups)) < 2:
            return _Mean(mean, None, None, n, "one post in a culture tells nothing of how far the mean may vary")
        which = "all posts" if len(groups) == 1 else "all posts of each culture"
        return _Mean(mean, None, None, n, f"{which} have the same value, which tells nothing of how far the mean may vary")
    return _Mean(mean, *interval, n, None)


def _share(samples: Mapping[str, Sequence[float]]) -> _Mean:
    """Mean over the cultures' means of shares, with `bounded_mean_interval` over posts."""
    if (nothing := _nothing(samples)) is not None:
        return nothing
    groups = list(samples.values())
    low, high = bounded_mean_interval(groups) or (None, None)
    return _Mean(mean_of_means(groups), low, high, sum(map(len, groups)), None)


def _nothing(samples: Mapping[str, Sequence[float]]) -> _Mean | None:
    n = sum(map(len, samples.values()))
    empty = [culture for culture, sample in samples.items() if not sample]
    if not empty and samples:
        return None
    return _Mean(None, None, None, n, "nobody gave a value" + (f" in culture {empty[0]!r}" if n else ""))


def _rate(found: _Mean) -> Rate:
    return Rate(mean=found.mean, low=found.low, high=found.high)


def _by_culture(answers: Answers, values: Mapping[str, float]) -> list[tuple[str, dict[str, list[float]]]]:
    """The samples of each culture, and of all of them."""
    samples = answers.samples(values)
    return [*((culture, {culture: sample}) for culture, sample in samples.items()), (ALL, samples)]


def _means(values: Mapping[_Key, Sequence[float]]) -> dict[_Key, float]:
    return {key: math.fsum(of_key) / len(of_key) for key, of_key in values.items()}


def _coverage(given: Sequence[object], asked: Sequence[object]) -> float:
    return len(given) / len(asked) if asked else 0.0


def condition_scores(answers: Answers) -> list[ConditionScore]:
    """People's mean grades of each condition, in each culture and over all."""
    return [
        _condition_score(answers, condition, culture, metric, samples)
        for condition in answers.conditions
        for metric in answers.graded
        for culture, samples in _by_culture(answers, answers.values(metric, {condition}))
    ]


def _condition_score(answers: Answers, condition: str, culture: str, metric: str, samples: Mapping[str, Sequence[float]]) -> ConditionScore:
    asked = [row for row in answers.replies if row.condition == condition and culture in {row.culture, ALL}]
    valued = [row for row in asked if row.metrics[metric] is not None]
    return ConditionScore(
        condition=condition,
        culture=culture,
        metric=metric,
        **_mean(samples, bounds_of(answers.form, metric))._asdict(),
        ratings=len(valued),
        raters=len({row.rater for row in valued}),
        coverage=_coverage(valued, asked),
    )


def shares(answers: Answers, *, by_condition: bool) -> list[AnswerShare]:
    """How often each answer was given, over all cultures to models' and to peers' replies, or by condition in each culture and over all."""
    whose = {condition: {condition} for condition in answers.conditions} if by_condition else _models_and_peers(answers)
    return [
        _answer_share(answers, question.key, value.value, about, conditions, culture, samples)
        for question in answers.of_replies
        for value in question.values
        for about, conditions in whose.items()
        for culture, samples in _by_culture(answers, answers.values(answer_metric(question.key, value.value), conditions))
        if by_condition or culture == ALL
    ]


def _answer_share(
    answers: Answers,
    question: str,
    value: int | str,
    about: str,
    conditions: Collection[str],
    culture: str,
    samples: Mapping[str, Sequence[float]],
) -> AnswerShare:
    given = [
        row
        for row in answers.replies
        if row.condition in conditions and culture in {row.culture, ALL} and row.metrics[answer_metric(question, value)] is not None
    ]
    found = _share(samples)
    return AnswerShare(
        question=question,
        value=value,
        about=about,
        culture=culture,
        share=found.mean,
        low=found.low,
        high=found.high,
        items=found.n,
        ratings=len(given),
        reason=found.reason,
    )


def _models_and_peers(answers: Answers) -> dict[str, set[str]]:
    groups = {MODELS: set(answers.conditions) - {PEER}, PEERS: set(answers.conditions) & {PEER}}
    return {about: conditions for about, conditions in groups.items() if conditions}


# --- Comparisons -----------------------------------------------------------------------------------------------------------------


def metric_names(questions: Iterable[Question]) -> dict[str, str]:
    """Names of metrics for people to read: of a rubric's summaries, each question, and each answer to it, as the form words them."""
    names = {metric: metric.capitalize() for metric in (*SUMMARIES, RANKING)}
    for question in questions:
        names[question.key] = question.name
        names |= {answer_metric(question.key, value.value): value.wording for value in question.values}
    return names


def tested_metrics(form: Form) -> tuple[str, ...]:
    """What conditions are compared on.

    A rubric's summaries, so that the family of tests stays small; without a rubric each scale, and of each choice how often its first
    answer was given.
    """
    if rubric_of(form) is not None:
        return SUMMARIES
    scales = [question.key for question in form.of_replies if question.kind == "scale"]
    firsts = [answer_metric(question.key, question.values[0].value) for question in form.of_replies if question.kind == "choice"]
    return (*scales, *firsts)


def compare_conditions(answers: Answers) -> list[Comparison]:
    """Compares conditions on the posts that have a value of both, the later less the earlier; all comparisons are one family for Holm.

    Two conditions are compared that share the model or the strategy, and each with the peer: what a difference between one model by one
    strategy and another by another is due to, nobody could say, and such pairs would make the family twice as large and more.
    """
    if len(answers.conditions) < 2:
        return []
    values = {
        metric: {condition: answers.values(metric, {condition}) for condition in answers.conditions}
        for metric in tested_metrics(answers.form)
    }
    return compare_many(values, answers.culture_of, compared=_comparable) if values else []


def _comparable(first: str, second: str) -> bool:
    if PEER in {first, second}:
        return True
    (model, _, strategy), (other_model, _, other_strategy) = first.rpartition(":"), second.rpartition(":")
    return model == other_model or strategy == other_strategy


def compare_models_with_peers(answers: Answers) -> list[Contrast]:
    """Models' replies against peers' on each scale's upper answers and on each answer of a choice; empty without the peer."""
    groups = _models_and_peers(answers)
    if len(groups) < 2:
        return []
    wanted = [(question, metric, counted) for question in answers.of_replies for metric, counted in _contrasted(question)]
    drafts = []
    for question, metric, counted in wanted:
        models, peers = (answers.values(metric, groups[about]) for about in (MODELS, PEERS))
        comparison = compare_paired(models, peers, answers.culture_of, names=(MODELS, PEERS), metric=metric, family=len(wanted))
        rates = [_rate(_share(answers.samples(values))) for values in (models, peers)]
        drafts.append(Contrast(question=question.key, values=counted, models=rates[0], peers=rates[1], comparison=comparison))
    adjusted = with_holm([draft.comparison for draft in drafts])
    return [draft.model_copy(update={"comparison": comparison}) for draft, comparison in zip(drafts, adjusted, strict=True)]


def _contrasted(question: Question) -> list[tuple[str, tuple[int | str, ...]]]:
    """What models and peers are contrasted on, and the answers that it counts."""
    if question.kind == "scale":
        return [(upper_metric(question), upper_answers(question))]
    return [(answer_metric(question.key, value.value), (value.value,)) for value in question.values]


def win_rates(answers: Answers) -> list[WinRate]:
    """How often each condition's reply is better than the peer's; empty without the peer."""
    if PEER not in answers.conditions:
        return []
    summaries = [metric for metric in tested_metrics(answers.form) if "=" not in metric]
    peers = {metric: answers.values(metric, {PEER}) for metric in summaries}
    found = []
    for condition in answers.conditions:
        if condition == PEER:
            continue
        for metric in summaries:
            values = answers.values(metric, {condition})
            n = len(set(values) & set(peers[metric]))
            found.append(_win_rate(condition, metric, win_rate(values, peers[metric], answers.culture_of), n))
        preferred: dict[str, list[float]] = defaultdict(list)
        for item in answers.rankings:
            places = _places(item)
            if condition in places and PEER in places:
                preferred[item.instance_id].append(float(places[condition] < places[PEER]))
        if answers.rankings:
            means = _means(preferred)
            samples = {culture: sample for culture, sample in answers.samples(means).items() if sample}
            found.append(_win_rate(condition, RANKING, _rate(_share(samples)), len(means)))
    return found


def _win_rate(condition: str, metric: str, rate: Rate, n: int) -> WinRate:
    reason = "no post has a value of both" if rate.mean is None else None
    return WinRate(condition=condition, metric=metric, rate=rate, n=n, reason=reason)


# --- Rankings --------------------------------------------------------------------------------------------------------------------


def _places(item: RankedItem) -> dict[str, int]:
    """Place of each condition, 1 the best; empty where the rater did not rank."""
    return {item.conditions[label]: place for place, label in enumerate(item.labels or (), 1)}


def rank_scores(answers: Answers) -> list[RankScore]:
    """Mean rank of each condition and how often it came first; empty where the form asks for no ranking."""
    if not answers.rankings:
        return []
    found = []
    for condition in answers.conditions:
        ranks: dict[str, list[float]] = defaultdict(list)
        for item in answers.rankings:
            if condition in (places := _places(item)):
                ranks[item.instance_id].append(float(places[condition]))
        firsts = {instance: [float(place == 1) for place in of_instance] for instance, of_instance in ranks.items()}
        both = zip(_by_culture(answers, _means(ranks)), _by_culture(answers, _means(firsts)), strict=True)
        found += [_rank_score(answers, condition, culture, mean, first) for (culture, mean), (_, first) in both]
    return found


def _rank_score(
    answers: Answers, condition: str, culture: str, ranks: Mapping[str, Sequence[float]], firsts: Mapping[str, Sequence[float]]
) -> RankScore:
    places = max(len(item.conditions) for item in answers.rankings)
    mean, first = _mean(ranks, (1.0, float(places))), _share(firsts)
    asked = [item for item in _rankings_of(answers, culture) if condition in item.conditions.values()]
    return RankScore(
        condition=condition,
        culture=culture,
        places=places,
        mean_rank=mean.mean,
        rank_low=mean.low,
        rank_high=mean.high,
        first=first.mean,
        first_low=first.low,
        first_high=first.high,
        n=mean.n,
        coverage=_coverage([item for item in asked if item.labels is not None], asked),
        reason=mean.reason,
    )


def rank_conditions(answers: Answers) -> tuple[Ranking | None, str | None]:
    """Bradley-Terry strengths of the conditions from the rankings, raters averaged within a post's pair of conditions first.

    Returns:
        The ranking, or null and why there is none.
    """
    if answers.ranking is None:
        return None, "the form asks for no ranking"
    shares_won: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for item in answers.rankings:
        places = _places(item)
        for first, second in itertools.combinations(sorted(places), 2):
            shares_won[item.instance_id, first, second].append(float(places[first] < places[second]))
    matches = [
        Match(answers.culture_of[instance], instance, first, second, share)
        for (instance, first, second), share in _means(shares_won).items()
    ]
    try:
        return rank_matches(matches), None
    except CultureCareError as error:
        return None, str(error)
