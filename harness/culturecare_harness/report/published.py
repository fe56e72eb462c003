"""The paper's published figures, as reference: facts of another evaluation, shown beside one's own and never ranked among them."""

from __future__ import annotations

import functools
import re
from pathlib import Path

from culturecare import Record, parse_record, read_yaml

__all__ = ["Published", "PublishedRow", "PublishedShare", "published", "published_model"]


class PublishedRow(Record):
    """One model and strategy.

    Attributes:
        cultures: Emotional and cultural score by culture.
        mean: Emotional and cultural score over the cultures, as published.
        overall: As published.
    """

    model: str
    strategy: str
    cultures: dict[str, tuple[float, float]]
    mean: tuple[float, float]
    overall: float


class PublishedShare(Record):
    """How often the psychologists gave an answer.

    Attributes:
        question: Key of the question in the psychologist's form.
        values: Values of the form that the share counts.
        answer: The same in words.
        models: Per cent of the answers about models' replies.
        peers: Per cent of those about peers' replies; null where it was not published.
    """

    question: str
    values: tuple[int | str, ...]
    answer: str
    models: float
    peers: float | None


class Published(Record):
    """The table, with what must be read with it."""

    source: str
    link: str
    differs: tuple[str, ...]
    cultures: tuple[str, ...]
    rows: tuple[PublishedRow, ...]
    psychologists: tuple[PublishedShare, ...]


@functools.cache
def published() -> Published:
    """The published figures.

    Raises:
        DataError: Their file does not fit.
    """
    path = Path(__file__).parent / "published.yaml"
    return parse_record(Published, read_yaml(path), where=str(path))


def published_model(name: str) -> str | None:
    """The published model that a run's model is, by the last part of its name; null where the paper has none of that name."""
    last = re.sub(r"[^a-z0-9]", "", name.rpartition("/")[2].lower())
    return next((row.model for row in published().rows if re.sub(r"[^a-z0-9]", "", row.model.lower()) == last), None)
