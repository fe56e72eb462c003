"""How a model is asked to annotate a post: the prompt pack, and the JSON schema of the answer."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from pydantic import Field

import culturecare
from culturecare import Record, cultures, parse_record, read_yaml
from culturecare_harness.records import digest
from culturecare_harness.templates import fill

__all__ = ["Pack", "answer_schema", "pack", "render", "response_format"]

MOST_SPANS = 20
"""Spans of a kind that an answer may hold: more than any released post has (17), and an end for a model that repeats itself."""


class Pack(Record):
    """The wording of the request.

    Attributes:
        version: Raised by hand when the wording changes; the hash changes by itself.
        summary: One line for tables and help texts.
        system: Jinja template of the system message.
        user: Jinja template of the user message.
    """

    version: int = Field(ge=1)
    summary: str
    system: str
    user: str

    @property
    def hash(self) -> str:
        """Hash of everything that shapes a request and what may be answered."""
        demonyms = {key: culture.demonym for key, culture in cultures().items()}
        definitions = [dict(culturecare.INTENSITY_DEFINITIONS), dict(culturecare.SIGNAL_TYPE_DEFINITIONS)]
        return digest([self.version, self.system, self.user, demonyms, definitions, answer_schema()])


@functools.cache
def pack() -> Pack:
    """The prompt pack.

    Raises:
        DataError: Its file does not fit.
    """
    path = Path(__file__).with_name("prompt.yaml")
    return parse_record(Pack, read_yaml(path), where=str(path))


def render(culture: str, text: str) -> tuple[str, str]:
    """System and user message that ask for the annotation of one post.

    Args:
        culture: Key of the author's culture.
        text: The post.
    """
    names = {
        "demonym": cultures()[culture].demonym,
        "intensities": culturecare.INTENSITY_DEFINITIONS,
        "signal_types": culturecare.SIGNAL_TYPE_DEFINITIONS,
        "post": text,
    }
    return fill(pack().system, **names), fill(pack().user, **names)


def answer_schema() -> dict[str, Any]:
    """JSON schema (draft 2020-12) of an answer, kept to what servers with constrained decoding have in common.

    A label is asked for everywhere: that an annotator may leave one out is no offer to a model.
    """
    return _object(
        emotional_distress=_spans(intensity=culturecare.INTENSITIES),
        cultural_signals=_spans(type=culturecare.SIGNAL_TYPES),
    )


def _spans(**labels: tuple[str, ...]) -> dict[str, Any]:
    [(name, values)] = labels.items()
    label = {"type": "string", "enum": list(values)}
    return {"type": "array", "maxItems": MOST_SPANS, "items": _object(phrase={"type": "string"}, **{name: label})}


def _object(**properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "required": list(properties), "properties": properties}


def response_format() -> dict[str, Any]:
    """The schema as an OpenAI-compatible server takes it in `response_format`."""
    return {"type": "json_schema", "json_schema": {"name": "annotation", "strict": True, "schema": answer_schema()}}
