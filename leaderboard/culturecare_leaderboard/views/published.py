"""The paper's published table, as reference: facts of another evaluation, never ranked among the board's."""

from __future__ import annotations

import functools
from pathlib import Path

from culturecare import Record, parse_record, read_yaml

__all__ = ["Published", "PublishedRow", "published"]


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


class Published(Record):
    """The table, with what must be read with it."""

    source: str
    link: str
    differs: tuple[str, ...]
    cultures: tuple[str, ...]
    rows: tuple[PublishedRow, ...]


@functools.cache
def published() -> Published:
    """The published table.

    Raises:
        DataError: Its file does not fit.
    """
    path = Path(__file__).parent.parent / "published.yaml"
    return parse_record(Published, read_yaml(path), where=str(path))
