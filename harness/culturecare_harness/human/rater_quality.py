"""How far a rater can be relied on: attention checks, answers to what was asked twice, severity and time."""

from __future__ import annotations

import itertools
import math
import statistics
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from pydantic import Field

from culturecare import Record
from culturecare_harness.agreement import Estimate, jackknife
from culturecare_harness.human.answers import join_answers
from culturecare_harness.human.ratings import LEFT_BLANK, LEFT_OUT, TAKEN_BACK, completeness, latest

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from culturecare_harness.human.answers import Cells, RatedReply
    from culturecare_harness.human.items import Key, KeyEntry, OpenPacket
    from culturecare_harness.human.ratings import Rating

__all__ = ["FEWEST_TIMED", "FailRule", "RaterQuality", "rater_quality"]

FEWEST_TIMED = 3
"""Fewest spans between two items that a median time is made of."""

_NO_SEVERITY = Estimate(None, None, None, None, 0, "no reply was graded by the rater and another")


class FailRule(Record):
    """When a rater has failed; a condition that is null is not looked at.

    Attributes:
        failed_checks: A rater fails who answers more than this share of the answered attention checks otherwise than they say.
        repeat_difference: A rater fails whose two grades of the same reply differ by more than this on average.
    """

    failed_checks: float | None = Field(default=1 / 3, ge=0, le=1)
    repeat_difference: float | None = Field(default=None, ge=0)


class RaterQuality(Record):
    """One rater.

    Attributes:
        items: Number of the rater's items, checks and repeats included.
        finished: Items whose required questions all have an answer, or a reason why there is none.
        required: Number of required answers.
        answered: How many of them have a value.
        declined: How many of them have a reason in place of a value.
        reasons: Count of these reasons; what raters wrote themselves counts as `own words`.
        superseded: Answers that the rater gave again later.
        checks: Number of the rater's attention checks.
        checks_answered: How many of them have an answer.
        checks_failed: How many were answered otherwise than they say.
        repeated: Scales and choices that the rater answered twice about the same reply.
        repeated_exact: Share of them with the same answer; null where there are none.
        repeated_difference: Mean absolute difference of the two grades on scales; null where there are none.
        grades: Number of grades on scales, checks and repeats not counted.
        mean: Mean of these grades.
        spread: Their standard deviation; null with fewer than two.
        severity: How much higher the rater grades than the culture's raters do on average, in grades; below 0 is sterner. The rater's part
            in the additive model grade = reply + rater + rest, by least squares over what two raters or more graded. Null with a reason.
        severity_low: Lower end of its 95 % interval (`jackknife` over posts); null with a reason.
        severity_high: Upper end of the interval.
        severity_reason: Why severity or its interval is null.
        seconds_per_item: Median time from one finished item to the next; null where answers have no times of their own, as in a workbook.
        failed: Why the rater failed by the rule; empty where the rater did not.
    """

    rater: str
    culture: str
    items: int = Field(ge=0)
    finished: int = Field(ge=0)
    required: int = Field(ge=0)
    answered: int = Field(ge=0)
    declined: int = Field(ge=0)
    reasons: dict[str, int]
    superseded: int = Field(ge=0)
    checks: int = Field(ge=0)
    checks_answered: int = Field(ge=0)
    checks_failed: int = Field(ge=0)
    repeated: int = Field(ge=0)
    repeated_exact: float | None = Field(ge=0, le=1)
    repeated_difference: float | None = Field(ge=0)
    grades: int = Field(ge=0)
    mean: float | None
    spread: float | None
    severity: float | None
    severity_low: float | None
    severity_high: float | None
    severity_reason: str | None
    seconds_per_item: float | None = Field(ge=0)
    failed: tuple[str, ...]


def rater_quality(packet: OpenPacket, key: Key, ratings: Sequence[Rating], rule: FailRule) -> list[RaterQuality]:
    """Describes each rater of a packet, those without an answer included.

    Args:
        packet: The packet.
        key: Its key.
        ratings: All ratings, superseded ones included.
        rule: When a rater has failed.
    """
    kept = latest(ratings)
    given = {rating.cell: rating.value for rating in kept.ratings}
    answers = join_answers(packet, key, kept.ratings, list(packet.assignments))
    severities = {
        rater: estimate
        for culture in answers.cultures
        for rater, estimate in _severities([row for row in answers.replies if row.culture == culture]).items()
    }
    grades: dict[str, list[float]] = defaultdict(list)
    for row in answers.replies:
        grades[row.rater] += _grades(row).values()
    reasons = _reasons(packet, kept.ratings)
    times: dict[str, list[Rating]] = defaultdict(list)
    for rating in ratings:
        times[rating.rater].append(rating)
    return [
        RaterQuality(
            **progress.model_dump(include={"rater", "culture", "items", "finished", "required", "answered", "declined"}),
            reasons=dict(reasons[progress.rater]),
            superseded=kept.superseded.get(progress.rater, 0),
            **_reliability(packet, key, progress.rater, given, rule),
            **_grading(grades[progress.rater], severities.get(progress.rater, _NO_SEVERITY)),
            seconds_per_item=_seconds_per_item(times[progress.rater]),
        )
        for progress in completeness(packet, kept.ratings)
    ]


def _reasons(packet: OpenPacket, ratings: Iterable[Rating]) -> dict[str, Counter[str]]:
    """By rater, why required answers are not there."""
    reasons: dict[str, Counter[str]] = defaultdict(Counter)
    for rating in ratings:
        if rating.reason is not None and packet.packet.form.question(rating.question).required:
            reasons[rating.rater][rating.reason if rating.reason in {LEFT_BLANK, LEFT_OUT, TAKEN_BACK} else "own words"] += 1
    return reasons


def _reliability(packet: OpenPacket, key: Key, rater: str, given: Cells, rule: FailRule) -> dict[str, Any]:
    """A rater's attention checks and repeats, and why the rater failed, as fields of `RaterQuality`."""
    mine = set(packet.assignments[rater].items)
    entries = [entry for entry in key.entries if entry.item in mine]
    checks, answered, failed = _checks(rater, entries, given)
    pairs = _repeated(packet, rater, entries, given)
    apart = [abs(first - second) for first, second in pairs if isinstance(first, int) and isinstance(second, int)]
    difference = math.fsum(apart) / len(apart) if apart else None
    return {
        "checks": checks,
        "checks_answered": answered,
        "checks_failed": failed,
        "repeated": len(pairs),
        "repeated_exact": sum(first == second for first, second in pairs) / len(pairs) if pairs else None,
        "repeated_difference": difference,
        "failed": _failed(rule, answered, failed, difference),
    }


def _grading(grades: Sequence[float], severity: Estimate) -> dict[str, Any]:
    """How a rater grades, as fields of `RaterQuality`."""
    return {
        "grades": len(grades),
        "mean": math.fsum(grades) / len(grades) if grades else None,
        "spread": statistics.stdev(grades) if len(grades) > 1 else None,
        "severity": severity.value,
        "severity_low": severity.low,
        "severity_high": severity.high,
        "severity_reason": severity.reason,
    }


def _failed(rule: FailRule, answered: int, failed: int, difference: float | None) -> tuple[str, ...]:
    why = []
    if rule.failed_checks is not None and answered and failed / answered > rule.failed_checks:
        why.append(f"failed {failed} of {answered} attention checks")
    if rule.repeat_difference is not None and difference is not None and difference > rule.repeat_difference:
        why.append(f"graded the same replies {difference:.2f} apart on average")
    return tuple(why)


# --- Checks and repeats ----------------------------------------------------------------------------------------------------------


def _checks(rater: str, entries: Iterable[KeyEntry], given: Cells) -> tuple[int, int, int]:
    """Number of attention checks, of those with an answer, and of those that were answered otherwise than they say."""
    checks = [entry for entry in entries if entry.kind == "check"]
    answers = [(given.get((rater, entry.item, entry.label, entry.question or "")), entry.expected) for entry in checks]
    answered = [(answer, expected) for answer, expected in answers if answer is not None]
    return len(checks), len(answered), sum(answer != expected for answer, expected in answered)


def _repeated(packet: OpenPacket, rater: str, entries: Iterable[KeyEntry], given: Cells) -> list[tuple[object, object]]:
    """Both answers to each scale and choice that the rater answered twice about the same reply."""
    pairs: list[tuple[object, object]] = []
    for entry in entries:
        if entry.kind != "repeat" or entry.repeats is None:
            continue
        for question in packet.packet.form.of_replies:
            if question.values:
                first = given.get((rater, entry.repeats, entry.repeats_label, question.key))
                second = given.get((rater, entry.item, entry.label, question.key))
                if first is not None and second is not None:
                    pairs.append((first, second))
    return pairs


# --- Severity --------------------------------------------------------------------------------------------------------------------


def _grades(row: RatedReply) -> dict[str, float]:
    """The row's answers on scales."""
    return {question: float(answer) for question, answer in row.answers.items() if isinstance(answer, int)}


def _severities(rows: Sequence[RatedReply]) -> dict[str, Estimate]:
    """Each rater's part in the additive model over what a culture's raters graded; see `RaterQuality.severity`.

    With the replies' parts swept out, what is left are normal equations in the raters alone (Searle, 1971, "Linear Models", chapter 7).
    They are sums over posts, so that a post is left out by leaving out its part of the sum.
    """
    import numpy as np

    units: dict[tuple[str, str, str, str], dict[str, float]] = defaultdict(dict)
    for row in rows:
        for question, grade in _grades(row).items():
            units[row.instance_id, row.item, row.label, question][row.rater] = grade
    shared = {unit: grades for unit, grades in units.items() if len(grades) > 1}
    raters = sorted({rater for grades in shared.values() for rater in grades})
    posts = sorted({unit[0] for unit in shared})
    place, post_place = {rater: number for number, rater in enumerate(raters)}, {post: number for number, post in enumerate(posts)}
    left, right = np.zeros((len(posts), len(raters), len(raters))), np.zeros((len(posts), len(raters)))
    for (post, *_), grades in shared.items():
        members, values = [place[rater] for rater in grades], np.array(list(grades.values()))
        left[post_place[post]][np.ix_(members, members)] += np.eye(len(members)) - 1 / len(members)
        right[post_place[post], members] += values - values.mean()
    known: dict[bytes, NDArray[np.float64] | None] = {}

    def parts(weights: NDArray[np.float64]) -> NDArray[np.float64] | None:
        key = weights.tobytes()
        if key not in known:
            # The solution of least length, whose parts have the mean 0.
            solution, _, rank, _ = np.linalg.lstsq(np.tensordot(weights, left, 1), weights @ right, rcond=1e-9)
            known[key] = np.asarray(solution, dtype=float) if rank == len(raters) - 1 else None
        return known[key]

    def of(number: int, weights: NDArray[np.float64]) -> float | None:
        solution = parts(weights)
        return None if solution is None else float(solution[number])

    undefined = "the culture's raters share too few replies to be held against each other"
    return {
        rater: jackknife(lambda weights, number=number: of(number, weights), posts, scale="plain", undefined=undefined)  # type: ignore[misc]
        for number, rater in enumerate(raters)
    }


# --- Time ------------------------------------------------------------------------------------------------------------------------


def _seconds_per_item(ratings: Iterable[Rating]) -> float | None:
    """Median time between finishing an item and the next; an item is finished with the last of its first answers."""
    first: dict[tuple[str, str | None, str], dt.datetime] = {}
    for rating in ratings:
        cell = (rating.item, rating.label, rating.question)
        first[cell] = min(rating.at, first.get(cell, rating.at))
    finished: dict[str, dt.datetime] = {}
    for (item, _, _), at in first.items():
        finished[item] = max(at, finished.get(item, at))
    order = sorted(finished.values())
    spans = [(after - before).total_seconds() for before, after in itertools.pairwise(order)]
    # Answers that came in one file share its time.
    return statistics.median(spans) if len(spans) >= FEWEST_TIMED and any(spans) else None
