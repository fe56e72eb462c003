"""Where a chart's marks stand. The templates draw them as SVG; nothing here knows of colours or markup."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["SHAPES", "Forest", "ForestRow", "Mark", "Profile", "ProfileRow", "Tick", "forest", "profile"]

SHAPES = ("circle", "square", "diamond", "triangle", "cross")
"""Shapes of the strategies' marks, in their order: they are told apart without colour."""

_STEPS = (0.1, 0.2, 0.25, 0.5, 1.0)
_WIDEST = 2.0  # Differences beyond so many grades are drawn as an arrow: they come from a few instances.


@dataclass(frozen=True)
class Tick:
    """A mark on an axis."""

    x: float
    text: str


@dataclass(frozen=True)
class ForestRow:
    """A row of a forest plot: a heading where there is no value.

    Attributes:
        y: Middle of the row.
        x: Of the point; `low` and `high` of the interval's ends, cut off at the plot's ends.
        cut_low: Whether the interval goes on beyond the left end; `cut_high` beyond the right one.
        figures: Difference and interval in words.
        p: The p-value in words.
        reading: What it says, in a word; it is drawn by shape too.
        is_partial: Whether it rests on fewer instances than were asked for, which a mark says.
    """

    y: float
    label: str
    is_heading: bool = False
    x: float | None = None
    low: float | None = None
    high: float | None = None
    cut_low: bool = False
    cut_high: bool = False
    figures: str = ""
    p: str = ""
    reading: str = ""
    is_partial: bool = False


@dataclass(frozen=True)
class Forest:
    """A forest plot."""

    width: float
    height: float
    left: float
    right: float
    zero: float
    reference: str
    ticks: tuple[Tick, ...]
    rows: tuple[ForestRow, ...]


def forest(
    groups: Sequence[tuple[str, Sequence[tuple[str, float | None, float | None, float | None, str, str, str, bool]]]], reference: str
) -> Forest:
    """Lays out differences with their intervals, in groups.

    Args:
        groups: Of each group its heading and rows: label, difference, ends of the interval, figures and p in words, reading, and whether
            it rests on fewer instances than were asked for.
        reference: What lies at 0.
    """
    left, right, step = 148.0, 520.0, 26.0
    ends = [abs(end) for _, rows in groups for row in rows for end in row[1:4] if end is not None]
    reach = min(_WIDEST, max([*ends, 0.1]))
    size = next(size for size in _STEPS if reach / size <= 5)
    reach = math.ceil(reach / size - 1e-9) * size

    def place(value: float) -> float:
        return round(left + (max(-reach, min(reach, value)) + reach) / (2 * reach) * (right - left), 2)

    rows: list[ForestRow] = []
    y = 34.0
    for heading, members in groups:
        rows.append(ForestRow(y=y, label=heading, is_heading=True))
        y += step
        for label, value, low, high, figures, p, reading, is_partial in members:
            rows.append(
                ForestRow(
                    y=y,
                    label=label,
                    x=None if value is None else place(value),
                    low=None if low is None else place(low),
                    high=None if high is None else place(high),
                    cut_low=low is not None and low < -reach,
                    cut_high=high is not None and high > reach,
                    figures=figures,
                    p=p,
                    reading=reading,
                    is_partial=is_partial,
                )
            )
            y += step
        y += 8
    marks = range(-round(reach / size), round(reach / size) + 1)
    digits = 2 if size == 0.25 else 1
    ticks = tuple(Tick(place(mark * size), f"{mark * size:+z.{digits}f}".replace("-", "−") if mark else "0") for mark in marks)
    return Forest(width=760, height=y + 18, left=left, right=right, zero=place(0), reference=reference, ticks=ticks, rows=tuple(rows))


@dataclass(frozen=True)
class Mark:
    """A strategy's mean on a dimension, with its interval."""

    x: float
    y: float
    low: float | None
    high: float | None
    series: int
    shape: str


@dataclass(frozen=True)
class ProfileRow:
    """A dimension's row."""

    y: float
    top: float
    height: float
    label: str
    marks: tuple[Mark, ...]


@dataclass(frozen=True)
class Profile:
    """A dimension profile: one row a dimension, one mark a strategy."""

    width: float
    height: float
    left: float
    right: float
    ticks: tuple[Tick, ...]
    rows: tuple[ProfileRow, ...]
    legend: tuple[tuple[Mark, str], ...]


def profile(series: Sequence[str], rows: Iterable[tuple[str, Sequence[tuple[float | None, float | None, float | None]]]]) -> Profile:
    """Lays out grades from 1 to 5.

    Args:
        series: Names of the strategies.
        rows: Of each dimension its name, and mean and ends of the interval of each strategy.
    """
    left, right, step, width = 160.0, 740.0, 13.0, 760.0
    height = step * len(series) + 12

    def place(grade: float) -> float:
        return round(left + (grade - 1) / 4 * (right - left), 2)

    legend, x, y = [], left, 18.0
    for number, name in enumerate(series):
        needed = 30 + 7.6 * len(name)
        if x + needed > width and x > left:
            x, y = left, y + 20
        legend.append((Mark(x=x + 6, y=y, low=None, high=None, series=number % len(SHAPES), shape=SHAPES[number % len(SHAPES)]), name))
        x += needed
    laid, top = [], y + 36
    for label, values in rows:
        marks = tuple(
            Mark(
                x=place(mean),
                y=round(top + 6 + step * (number + 0.5), 2),
                low=None if low is None else place(low),
                high=None if high is None else place(high),
                series=number % len(SHAPES),
                shape=SHAPES[number % len(SHAPES)],
            )
            for number, (mean, low, high) in enumerate(values)
            if mean is not None
        )
        laid.append(ProfileRow(y=top + height / 2, top=top, height=height, label=label, marks=marks))
        top += height
    ticks = tuple(Tick(place(mark), str(mark)) for mark in range(1, 6))
    return Profile(width=width, height=top + 24, left=left, right=right, ticks=ticks, rows=tuple(laid), legend=tuple(legend))
