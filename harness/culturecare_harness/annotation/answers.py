"""Answers: from what a model wrote about a post to spans in the dataset's schema, with a count of all that is not kept."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import pydantic_core
from pydantic import Field

import culturecare
from culturecare import DistressSpan, Record, SignalSpan
from culturecare_harness.annotation.locating import locate

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Reading", "Reason", "read_answer"]

S = TypeVar("S", DistressSpan, SignalSpan)

Reason = Literal["empty", "no JSON object", "unfinished", "another shape"]
"""Why an answer is no annotation."""

_END_OF_THOUGHT = re.compile(r"</think(?:ing)?>")


class Reading(Record):
    """What an answer says of a post.

    Attributes:
        reason: Why the answer is no annotation, and then there is nothing else; null where it is one, be it of nothing.
        emotional_distress: Spans of the post, in the answer's order. Their phrases are the post's own words.
        cultural_signals: The same for cultural signals.
        phrases: How many phrases the answer gives.
        located: How many of them stand in the post.
        dropped: How many entries were not kept, by reason: `malformed` (no phrase with a label), `not located`, `unknown label`,
            `repeated` (the stretch is marked already; the first mark of a kind counts).
    """

    reason: Reason | None
    emotional_distress: tuple[DistressSpan, ...] = ()
    cultural_signals: tuple[SignalSpan, ...] = ()
    phrases: int = Field(default=0, ge=0)
    located: int = Field(default=0, ge=0)
    dropped: dict[str, int] = Field(default_factory=dict)


def read_answer(answer: str, text: str) -> Reading:
    """Reads a model's answer.

    The last JSON object that has both lists counts, whatever stands around it; what a model thought aloud before is passed over. An
    object none of whose phrases stands in the post, such as the prompt's own example, counts only where there is no other.
    An object that was cut off is no annotation: what is missing in it was not looked for.

    Args:
        answer: What the model wrote.
        text: The post.
    """
    said = _END_OF_THOUGHT.split(answer)[-1].strip()
    found = list(_objects(said))
    whole = [value for value in found if all(isinstance(value.get(key), list) for key in _KINDS)]
    if not whole:
        return Reading(reason=_reason(said, found))
    readings = [_read_object(value, text) for value in reversed(whole)]
    return next((reading for reading in readings if reading.located or not (reading.phrases or reading.dropped)), readings[0])


def _read_object(whole: dict[str, Any], text: str) -> Reading:
    counts: Counter[str] = Counter()
    distress = _spans(DistressSpan, "emotional_distress", whole, text, counts)
    signals = _spans(SignalSpan, "cultural_signals", whole, text, counts)
    phrases, located = counts.pop("phrases", 0), counts.pop("located", 0)
    return Reading(
        reason=None, emotional_distress=distress, cultural_signals=signals, phrases=phrases, located=located, dropped=dict(counts)
    )


_KINDS: dict[str, tuple[str, Sequence[str]]] = {
    "emotional_distress": ("intensity", culturecare.INTENSITIES),
    "cultural_signals": ("type", culturecare.SIGNAL_TYPES),
}


def _objects(text: str) -> Iterator[dict[str, Any]]:
    decoder = json.JSONDecoder(strict=False)  # Models write line breaks into strings.
    start = text.find("{")
    while start >= 0:
        try:
            value, end = decoder.raw_decode(text, start)
        except ValueError:
            end = start + 1
        except RecursionError:  # Deeper than any annotation; to try each of its levels would take long.
            return
        else:
            yield value
        start = text.find("{", end)


def _reason(text: str, objects: Sequence[dict[str, Any]]) -> Reason:
    if not text:
        return "empty"
    start = text.find("{")
    if start >= 0:
        try:
            pydantic_core.from_json(text[start:].encode("utf-8", "replace"))
        except ValueError as error:
            if "EOF" in str(error):
                return "unfinished"
    return "another shape" if objects else "no JSON object"


def _spans(model: type[S], kind: str, answer: dict[str, Any], text: str, counts: Counter[str]) -> tuple[S, ...]:
    field, labels = _KINDS[kind]
    known: dict[str, str | None] = {label.casefold(): label for label in labels}
    spans: dict[tuple[int, int], S] = {}
    for entry in answer[kind]:
        phrase = entry.get("phrase") if isinstance(entry, dict) else None
        if not isinstance(phrase, str) or field not in entry:
            counts["malformed"] += 1
            continue
        counts["phrases"] += 1
        stretch = locate(phrase, text)
        if stretch is None:
            counts["not located"] += 1
            continue
        counts["located"] += 1
        label = entry[field]
        name = " ".join(label.split()).casefold() if isinstance(label, str) else None
        # The schema lets an annotator leave a label out, so null is one that the model left out.
        if label is not None and name not in known:
            counts["unknown label"] += 1
        elif stretch in spans:
            counts["repeated"] += 1
        else:
            start, end = stretch
            fields = {"phrase": text[start:end], "label": None if name is None else known[name], "start": start, "end": end}
            spans[stretch] = model.model_validate(fields)
    return tuple(spans.values())
