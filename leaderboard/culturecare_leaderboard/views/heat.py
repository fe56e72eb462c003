"""Heat maps: culture by dimension for one submission, and submission by culture for one metric."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from culturecare_harness.colours import HEAT
from culturecare_leaderboard.address import ANY
from culturecare_leaderboard.views.ranking import matching, number

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from culturecare_harness.board import Entry
    from culturecare_harness.protocols import Protocol
    from culturecare_leaderboard.address import Address
    from culturecare_leaderboard.views.tables import Tables

__all__ = ["Cell", "Line", "across_cultures", "culture_by_dimension", "step"]


@dataclass(frozen=True, slots=True)
class Cell:
    """A number with its place on the colour scale; all null where there is none."""

    mean: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    step: int | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """A submission's cells, one a culture."""

    entry: Entry
    strategy: str
    cells: tuple[Cell, ...]


def step(mean: float) -> int:
    """Place of a grade in [1, 5] on the colour scale."""
    return round((min(max(mean, 1.0), 5.0) - 1) / 4 * (len(HEAT) - 1))


def culture_by_dimension(
    tables: Tables, protocol: Protocol, entry: Entry, strategy: str
) -> tuple[tuple[str, ...], dict[str, tuple[Cell, ...]]]:
    """One submission's scores under one strategy.

    Returns:
        Keys of the metrics, and for each culture, `ANY` last, one cell a metric.
    """
    metrics = tuple(tables.metrics(protocol))
    rows = {}
    for culture in (*protocol.posts.cultures, ANY):
        cells = tables.cells(protocol.name, culture)
        rows[culture] = _cells(cells[(cells["id"] == entry.id) & (cells["strategy"] == strategy)], "metric", metrics)
    return metrics, rows


def across_cultures(tables: Tables, protocol: Protocol, address: Address, size: int) -> tuple[tuple[Line, ...], int, int]:
    """Submissions' scores on one metric in each culture, in the order of the ranking.

    Returns:
        The lines of the page, the page, and the number of pages.
    """
    found = matching(tables, protocol.name, address.model_copy(update={"culture": ANY, "sort": "-overall"}))
    pages = max(1, -(-len(found) // size))
    page = min(address.page, pages)
    here = found.iloc[(page - 1) * size : page * size]
    columns = (*protocol.posts.cultures, ANY)
    parts = {}
    for culture in columns:
        cells = tables.cells(protocol.name, culture)
        cells = cells[(cells["metric"] == address.metric) & cells["id"].isin(here["id"])]
        parts[culture] = {(row["id"], row["strategy"]): _cell(row) for row in cells.to_dict("records")}
    lines = []
    for identity, strategy in zip(here["id"], here["strategy"], strict=True):
        entry = tables.entry(protocol.name, identity)
        if entry is not None:
            lines.append(Line(entry, strategy, tuple(parts[culture].get((identity, strategy), Cell()) for culture in columns)))
    return tuple(lines), page, pages


def _cells(rows: pd.DataFrame, column: str, keys: Sequence[str]) -> tuple[Cell, ...]:
    made = {row[column]: _cell(row) for row in rows.to_dict("records")}
    return tuple(made.get(key, Cell()) for key in keys)


def _cell(row: dict[str, object]) -> Cell:
    mean = number(row["mean"])
    return Cell(
        mean=mean,
        low=number(row["low"]),
        high=number(row["high"]),
        n=int(number(row["n"]) or 0),
        step=None if mean is None else step(mean),
    )
