"""Tables for terminals of any width.

Wordings are broken into lines where they do not fit; figures never are. Where a terminal is too narrow for all columns of figures, they are
shared out over several tables.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

__all__ = ["WideTable"]

_LEAST = 12
"""Columns of the terminal that a wording is given at least, where it has so many letters."""

_EDGES = 3
"""Columns of the terminal that a column takes besides its text, for a line and a space on both sides; a table takes one more."""


class _Row(NamedTuple):
    """A row; `ends` says whether a line is drawn under it."""

    cells: tuple[str, ...]
    style: str
    ends: bool


@dataclass
class WideTable:
    """A table of plain text that is read whole on a terminal of any usual width.

    Attributes:
        title: Stands over the table, and with "(continued)" over those that go on with it.
        labels: Headings of what rows are called; these columns stand in every table.
        figures: Headings of the figures; no cell of theirs is cut or broken.
        remarks: Headings of wordings that stand after the figures.
        align: Of the figures.
        caption: Stands under the table.
        rows: What `add` was given.
    """

    title: str
    labels: tuple[str, ...]
    figures: tuple[str, ...]
    remarks: tuple[str, ...] = ()
    align: Literal["left", "right"] = "left"
    caption: str | None = None
    rows: list[_Row] = field(default_factory=list)

    @property
    def headings(self) -> tuple[str, ...]:
        """Of all columns, as `add` takes their cells."""
        return (*self.labels, *self.figures, *self.remarks)

    def add(self, *cells: str, style: str = "") -> None:
        """Adds a row."""
        self.rows.append(_Row(cells, style, ends=False))

    def end_section(self) -> None:
        """Draws a line under the last row."""
        if self.rows:
            self.rows[-1] = self.rows[-1]._replace(ends=True)

    def print(self, console: Console) -> None:
        """Prints the table, or as many as its figures take; what rows are called stands in each of them."""
        widths = [max(cell_len(row.cells[place]) for row in [_Row(self.headings, "", ends=False), *self.rows]) for place in self._places()]
        of_figures = range(len(self.labels), len(self.labels) + len(self.figures))
        least = [width if place in of_figures else min(width, _LEAST) for place, width in enumerate(widths)]
        if self._width(self._places(), least) > console.width:
            for place in of_figures:  # Headings are broken between words before a table is.
                words = [*self.headings[place].split(), *(row.cells[place] for row in self.rows)]
                least[place] = max(map(cell_len, words))
        for number, shown in enumerate(self._share_out(least, console.width)):
            title = f"{self.title} (continued)" if number else self.title
            console.print(self._as_rich(title, shown, {place: least[place] for place in of_figures}))

    def _places(self) -> list[int]:
        return list(range(len(self.headings)))

    @staticmethod
    def _width(shown: Sequence[int], widths: Sequence[int]) -> int:
        return sum(widths[place] + _EDGES for place in shown) + 1

    def _share_out(self, least: Sequence[int], room: int) -> list[list[int]]:
        """Which columns stand in which table: as many as there is room for, and one besides the labels in any case."""
        places = self._places()
        labels, rest = places[: len(self.labels)], places[len(self.labels) :]
        tables = [list(labels)]
        for place in rest:
            if tables[-1] != labels and self._width([*tables[-1], place], least) > room:
                tables.append(list(labels))
            tables[-1].append(place)
        return tables

    def _as_rich(self, title: str, shown: Sequence[int], fixed: Mapping[int, int]) -> Table:
        caption = None if self.caption is None else Text(self.caption)
        table = Table(title=Text(title), title_justify="left", header_style="bold", caption=caption)
        for place in shown:
            justify = self.align if place in fixed else "left"
            table.add_column(Text(self.headings[place]), justify=justify, overflow="fold", width=fixed.get(place))
        for row in self.rows:
            table.add_row(*(Text(row.cells[place]) for place in shown), style=row.style, end_section=row.ends)
        return table
