"""What people answered, joined with the key: one row for each reply that a rater was given, with the condition that it came from."""

from __future__ import annotations

import functools
import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from culturecare import cultures
from culturecare_harness.human.items import asked
from culturecare_harness.pairs import PEER
from culturecare_harness.rubrics import rubrics
from culturecare_harness.scoring import graded_metrics

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from culturecare_harness.human.forms import Form, Question
    from culturecare_harness.human.items import Assignment, Key, KeyEntry, OpenPacket
    from culturecare_harness.human.ratings import Rating
    from culturecare_harness.rubrics import Rubric

    Cells = Mapping[tuple[str, str, str | None, str], int | str | tuple[str, ...] | None]

__all__ = [
    "SUMMARIES",
    "Answers",
    "RankedItem",
    "RatedReply",
    "answer_metric",
    "bounds_of",
    "join_answers",
    "rubric_of",
    "upper_answers",
    "upper_metric",
]

SUMMARIES = ("overall", "emotional", "cultural", "quality")
"""Metrics that are means of a rubric's dimensions."""


class RatedReply(NamedTuple):
    """A reply that a rater was given, and what the rater answered.

    Attributes:
        instance_id: The post.
        condition: `model:strategy`, or `peer`.
        reply_id: Id of a model's reply, by which verdicts are found; null for a peer's.
        answers: Value of each question about replies, null where there is none.
        metrics: The same as numbers: each scale's value, 1 or 0 for each answer (`answer_metric`), and where the form asks for a whole
            rubric, the means of its groups (null where one of their dimensions is).
    """

    rater: str
    culture: str
    instance_id: str
    item: str
    label: str
    condition: str
    reply_id: str | None
    answers: Mapping[str, int | str | None]
    metrics: Mapping[str, float | None]


class RankedItem(NamedTuple):
    """An item's replies as a rater put them in order.

    Attributes:
        labels: From best to worst; null where the rater did not.
        conditions: Condition of each label.
    """

    rater: str
    culture: str
    instance_id: str
    item: str
    labels: tuple[str, ...] | None
    conditions: Mapping[str, str]


@dataclass(frozen=True)
class Answers:
    """What the raters that count answered about models' and peers' replies; checks and repeats are no part of it.

    Attributes:
        conditions: In the packet's order.
        cultures: Cultures with an answer, in registry order; raters of others are not in the rows, so that no number waits for them.
        raters: Those that count.
        replies: A row for each reply that each of them was given, answered or not.
        rankings: A row for each item that each of them was given, where the form asks for a ranking and the item can be ranked.
    """

    form: Form
    conditions: tuple[str, ...]
    cultures: tuple[str, ...]
    raters: tuple[str, ...]
    replies: tuple[RatedReply, ...]
    rankings: tuple[RankedItem, ...]

    @property
    def of_replies(self) -> tuple[Question, ...]:
        """The scales and choices about replies."""
        return tuple(question for question in self.form.of_replies if question.values)

    @property
    def ranking(self) -> Question | None:
        """The question that asks for a ranking."""
        return next((question for question in self.form.of_items if question.kind == "ranking"), None)

    @functools.cached_property
    def culture_of(self) -> dict[str, str]:
        """Culture of each post."""
        return {row.instance_id: row.culture for row in self.replies}

    @property
    def graded(self) -> tuple[str, ...]:
        """Metrics on a scale of grades, the summaries of a rubric first."""
        scales = tuple(question.key for question in self.of_replies if question.kind == "scale")
        return (*(SUMMARIES if rubric_of(self.form) is not None else ()), *scales)

    def values(self, metric: str, conditions: Collection[str]) -> dict[str, float]:
        """Mean of a metric of each post over its raters and the conditions' replies; posts without a value are left out."""
        found: dict[str, list[float]] = defaultdict(list)
        for row in self.replies:
            value = row.metrics.get(metric)
            if value is not None and row.condition in conditions:
                found[row.instance_id].append(value)
        return {instance: math.fsum(values) / len(values) for instance, values in found.items()}

    def samples(self, values: Mapping[str, float]) -> dict[str, list[float]]:
        """The posts' values by culture; empty where a culture has none."""
        found: dict[str, list[float]] = {culture: [] for culture in self.cultures}
        for instance, value in values.items():
            found[self.culture_of[instance]].append(value)
        return found


def answer_metric(question: str, value: int | str) -> str:
    """Name of the metric that is 1 where a question was answered so, and 0 where otherwise."""
    return f"{question}={value}"


def bounds_of(form: Form, metric: str) -> tuple[float, float]:
    """Lowest and highest value of a metric."""
    if metric in SUMMARIES:
        return 1.0, 5.0
    if "=" in metric:
        return 0.0, 1.0
    values = [value.value for value in form.question(metric).values if isinstance(value.value, int)]
    return float(values[0]), float(values[-1])


def upper_answers(question: Question) -> tuple[int | str, ...]:
    """The two highest values of a scale of four or more, such as agree and strongly agree, else the highest alone."""
    values = [value.value for value in question.values]
    return tuple(values[-2:] if len(values) >= 4 else values[-1:])


@functools.cache
def _rubric_of(scales: frozenset[tuple[str, int, int]]) -> Rubric | None:
    return next(
        (rubric for rubric in rubrics().values() if {(dimension.key, 1, 5) for dimension in rubric.dimensions} <= scales),
        None,
    )


def rubric_of(form: Form) -> Rubric | None:
    """The rubric all of whose dimensions a form asks for, from 1 to 5; null where there is none."""
    scales = [question for question in form.of_replies if question.kind == "scale"]
    return _rubric_of(frozenset((scale.key, int(scale.values[0].value), int(scale.values[-1].value)) for scale in scales))


def join_answers(packet: OpenPacket, key: Key, ratings: Iterable[Rating], raters: Collection[str]) -> Answers:
    """Joins ratings with the key.

    Args:
        packet: The packet.
        key: Its key.
        ratings: None of them superseded.
        raters: Whose answers count.
    """
    entries: dict[str, list[KeyEntry]] = defaultdict(list)
    for entry in key.entries:
        if entry.kind in {"reply", "peer"}:
            entries[entry.item].append(entry)
    given = {rating.cell: rating.value for rating in ratings}
    form = packet.packet.form
    replies, rankings = [], []
    for rater, assignment in packet.assignments.items():
        for name in assignment.items if rater in raters else ():
            of_item = entries.get(name, [])
            replies += [_rated_reply(assignment, entry, form, given) for entry in of_item]
            ranking = next((question for question, _ in asked(form, packet.items[name]) if question.kind == "ranking"), None)
            if of_item and ranking is not None:
                rankings.append(_ranked_item(assignment, of_item, ranking, given))
    present = {row.culture for row in replies if any(answer is not None for answer in row.answers.values())}
    present |= {item.culture for item in rankings if item.labels is not None}
    return Answers(
        form=form,
        conditions=key.header.conditions,
        cultures=tuple(culture for culture in cultures() if culture in present),
        raters=tuple(rater for rater in packet.assignments if rater in raters),
        replies=tuple(row for row in replies if row.culture in present),
        rankings=tuple(item for item in rankings if item.culture in present),
    )


def _rated_reply(assignment: Assignment, entry: KeyEntry, form: Form, given: Cells) -> RatedReply:
    questions = [question for question in form.of_replies if question.values]
    answers = {question.key: _plain(given.get((assignment.rater, entry.item, entry.label, question.key))) for question in questions}
    return RatedReply(
        rater=assignment.rater,
        culture=assignment.culture,
        instance_id=entry.instance_id,
        item=entry.item,
        label=entry.label,
        condition=entry.condition or PEER,
        reply_id=entry.reply_id,
        answers=answers,
        metrics=_metrics(form, questions, answers),
    )


def _ranked_item(assignment: Assignment, entries: Sequence[KeyEntry], ranking: Question, given: Cells) -> RankedItem:
    first = entries[0]
    order = given.get((assignment.rater, first.item, None, ranking.key))
    return RankedItem(
        rater=assignment.rater,
        culture=assignment.culture,
        instance_id=first.instance_id,
        item=first.item,
        labels=order if isinstance(order, tuple) else None,
        conditions={entry.label: entry.condition or PEER for entry in entries},
    )


def _plain(value: int | str | tuple[str, ...] | None) -> int | str | None:
    """A value of a scale or choice, which is never a ranking's."""
    return None if isinstance(value, tuple) else value


def _metrics(form: Form, questions: Sequence[Question], answers: Mapping[str, int | str | None]) -> dict[str, float | None]:
    metrics: dict[str, float | None] = {}
    rubric = rubric_of(form)
    if rubric is not None:
        scores = {dimension.key: _number(answers[dimension.key]) for dimension in rubric.dimensions}
        graded = graded_metrics(scores, rubric.name)
        metrics |= {name: graded[name] for name in SUMMARIES}
    for question in questions:
        answer = answers[question.key]
        if question.kind == "scale":
            metrics[question.key] = _number(answer)
        for value in question.values:
            metrics[answer_metric(question.key, value.value)] = None if answer is None else float(answer == value.value)
        upper = upper_answers(question)
        if question.kind == "scale" and len(upper) > 1:
            metrics[upper_metric(question)] = None if answer is None else float(answer in upper)
    return metrics


def upper_metric(question: Question) -> str:
    """Name of the metric that is 1 where a scale was answered by one of its `upper_answers`."""
    return answer_metric(question.key, " or ".join(str(value) for value in upper_answers(question)))


def _number(value: int | str | None) -> float | None:
    return float(value) if isinstance(value, int) else None
