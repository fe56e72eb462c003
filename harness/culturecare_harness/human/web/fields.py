"""Fields of a page's form: how they are called, and how answers are read from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qsl

from culturecare import CultureCareError
from culturecare_harness.human.forms import LONGEST_TEXT
from culturecare_harness.human.items import asked
from culturecare_harness.human.ratings import TAKEN_BACK
from culturecare_harness.human.web.journal import Answer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from culturecare_harness.human.forms import Form, Question
    from culturecare_harness.human.items import Item
    from culturecare_harness.human.web.journal import Cell

__all__ = ["MOST_BYTES", "FormError", "Read", "cell_name", "place_name", "read_answers", "read_form"]

MOST_BYTES = 4_000_000
"""Longest form that is read: the answers to 26 replies with long comments in a script whose letters take nine bytes each."""

_MOST_FIELDS = 2_000


class FormError(CultureCareError):
    """A form says what its page could not have sent."""


class Read(NamedTuple):
    """What a form says.

    Attributes:
        answers: By what is answered; what the form says nothing about is not in it.
        places: Places that replies were given in a ranking that is not complete, by label.
    """

    answers: dict[Cell, Answer]
    places: dict[str, int]


def cell_name(key: str, label: str | None) -> str:
    """The field of a question about a reply, or about the item where there is no label."""
    return f"{label or ''}.{key}"


def place_name(key: str, label: str) -> str:
    """The field of a reply's place in a ranking."""
    return f".{key}.{label}"


def read_form(body: bytes) -> dict[str, str]:
    """The fields of a form, of equal ones the last.

    Raises:
        FormError: It is none, or has too many fields.
    """
    try:
        return dict(parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=_MOST_FIELDS))
    except ValueError as error:
        raise FormError(f"the form cannot be read ({error})") from error


def read_answers(form: Form, item: Item, fields: Mapping[str, str]) -> Read:
    """Reads the answers about an item.

    Fields that are not there say nothing; a text that was emptied is an answer without a value, for the reason `TAKEN_BACK`.

    Raises:
        FormError: A field holds what is no answer to its question.
    """
    answers: dict[Cell, Answer] = {}
    places: dict[str, int] = {}
    for question, label in asked(form, item):
        if question.kind == "ranking":
            places = _read_places(question, item, fields)
            if sorted(places.values()) == list(range(1, len(item.labels) + 1)):
                answers[question.key, None] = Answer(sorted(places, key=places.__getitem__))
                places = {}
        elif (given := fields.get(cell_name(question.key, label))) is not None:
            answers[question.key, label] = _read_answer(question, given)
    return Read(answers, places)


def _read_places(question: Question, item: Item, fields: Mapping[str, str]) -> dict[str, int]:
    given = {label: fields[name] for label in item.labels if (name := place_name(question.key, label)) in fields}
    allowed = {str(place): place for place in range(1, len(item.labels) + 1)}
    if wrong := next((place for place in given.values() if place not in allowed), None):
        raise FormError(f"question {question.key!r}: {wrong[:40]!r} is not a place from 1 to {len(allowed)}")
    return {label: allowed[place] for label, place in given.items()}


def _read_answer(question: Question, given: str) -> Answer:
    if question.kind == "text":
        text = "\n".join(given.splitlines()).strip()
        if len(text) > LONGEST_TEXT:
            raise FormError(f"question {question.key!r}: has {len(text)} characters, but a text has at most {LONGEST_TEXT}")
        return Answer(text) if text else Answer(None, TAKEN_BACK)
    known = {str(value.value): value.value for value in question.values}
    if given not in known:
        raise FormError(f"question {question.key!r}: {given[:40]!r} is not one of {', '.join(known)}")
    return Answer(known[given])
