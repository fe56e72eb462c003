"""A rater's answers while the form is served: read once, and appended to the rater's file as they are given."""

from __future__ import annotations

import datetime as dt
import threading
from typing import TYPE_CHECKING, NamedTuple

from culturecare_harness.human.items import asked
from culturecare_harness.human.ratings import append_ratings, latest, rate, ratings_path, read_ratings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from culturecare_harness.human.forms import Question
    from culturecare_harness.human.items import OpenPacket
    from culturecare_harness.human.ratings import Rating

__all__ = ["Answer", "Cell", "Given", "Journal", "is_left_out"]

Cell = tuple[str, str | None]
"""What is answered about an item: the question's key, and the reply's label or null."""

_IN_FLIGHT = dt.timedelta(seconds=5)
_TICK = dt.timedelta(microseconds=1)


class Answer(NamedTuple):
    """An answer to one question, as it comes from the page: a value, or a reason why there is none."""

    value: int | str | Sequence[str] | None
    reason: str | None = None


class Given(NamedTuple):
    """What `Journal.give` did.

    Attributes:
        written: Answers that are now in the file.
        passed_over: Answers that were given before what is there, and so did not replace it.
    """

    written: int
    passed_over: int


def is_left_out(questions: Iterable[tuple[Question, str | None]], given: Mapping[Cell, Rating]) -> bool:
    """Whether a rater left an item out: every required question was declined.

    Args:
        questions: What is asked about the item, as from `asked`.
        given: The answers that count.
    """
    required = [given.get((question.key, label)) for question, label in questions if question.required]
    return bool(required) and all(rating is not None and rating.value is None for rating in required)


class Journal:
    """One rater's answers. All may be asked from several threads at once.

    The file is the only state: what is held in memory is read again where the file was changed by somebody else, such as an import.
    """

    def __init__(self, packet: OpenPacket, rater: str, now: Callable[[], dt.datetime]) -> None:
        self._packet = packet
        self._rater = rater
        self._now = now
        self._path = ratings_path(packet, rater)
        self._lock = threading.Lock()
        self._stamp: tuple[int, int] | None = None
        self._ratings: list[Rating] = []

    def ratings(self) -> tuple[Rating, ...]:
        """All answers in the order in which they were given, superseded ones included.

        Raises:
            CultureCareError: The file holds what is no answer of this rater.
        """
        with self._lock:
            self._refresh()
            return tuple(self._ratings)

    def of_item(self, item: str, first: int | None = None) -> dict[Cell, Rating]:
        """The answers about an item that count.

        Args:
            item: The item's id.
            first: Takes only so many of the rater's answers, those that were given first.
        """
        return _of_item(self.ratings()[:first], item)

    def open_places(self) -> list[int]:
        """Places, from 0, of those items in the rater's order that are not finished."""
        given = {rating.cell for rating in self.ratings()}
        assignment, form = self._packet.assignment(self._rater), self._packet.packet.form
        return [
            place
            for place, name in enumerate(assignment.items)
            if any(
                question.required and (self._rater, name, label, question.key) not in given
                for question, label in asked(form, self._packet.items[name])
            )
        ]

    def give(self, item: str, answers: Mapping[Cell, Answer], age: dt.timedelta = dt.timedelta(0)) -> Given:
        """Appends those answers that say something new; they are on the disk when this returns.

        Where the disk takes only some of them, these count, and the others can be given again.

        Args:
            item: The item's id.
            answers: What was answered.
            age: How long ago it was answered: an answer that a browser could not send at once does not overrule a newer one.

        Raises:
            CultureCareError: An answer does not fit, and none is written; or the file holds what is no answer of this rater.
            OSError: They cannot be written.
        """
        with self._lock:
            self._refresh()
            there = _of_item(self._ratings, item)
            now = self._now()
            fresh, passed_over = [], 0
            for (key, label), (value, reason) in answers.items():
                at = now - age
                before = there.get((key, label))
                if before is not None:
                    if age > _IN_FLIGHT and before.at > at and not before.blank:
                        passed_over += 1
                        continue
                    # The later answer counts, also where the clock was set back in between.
                    at = max(at, before.at + _TICK)
                rating = rate(self._packet, self._rater, item, label, key, value, at=at, reason=reason)
                if before is None or (before.value, before.reason) != (rating.value, rating.reason):
                    fresh.append(rating)
            if fresh:
                append_ratings(self._packet, fresh)
                self._ratings += fresh
                self._stamp = self._stat()
            return Given(len(fresh), passed_over)

    def _refresh(self) -> None:
        stamp = self._stat()
        if stamp != self._stamp:
            self._ratings = read_ratings(self._packet, self._rater)
            self._stamp = stamp

    def _stat(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return None
        return (found.st_mtime_ns, found.st_size)


def _of_item(ratings: Sequence[Rating], item: str) -> dict[Cell, Rating]:
    counted = latest(rating for rating in ratings if rating.item == item).ratings
    return {(rating.question, rating.label): rating for rating in counted}
