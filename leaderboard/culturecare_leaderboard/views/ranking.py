"""The ranking: filtered, searched, sorted and cut into pages."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from culturecare_leaderboard.address import ANY, SIZES
from culturecare_leaderboard.views.tables import GROUPS

if TYPE_CHECKING:
    import pandas as pd

    from culturecare_harness.board import Entry
    from culturecare_leaderboard.address import Address
    from culturecare_leaderboard.views.tables import Tables

__all__ = ["COLUMNS", "PAGE", "WORDS", "Group", "Ranking", "Row", "matching", "number", "rank_text", "ranking"]

PAGE = 50
"""Rows on a page: what a screen reader can get through, and a browser shows at once."""

COLUMNS: dict[str, str] = {
    "overall": "Overall",
    "model": "Model",
    "strategy": "Strategy",
    "emotional": "Emotional",
    "cultural": "Cultural",
    "quality": "Quality",
    "coverage": "Coverage",
    "judge": "Judge",
    "parameters": "Size",
    "weights": "Weights",
}
"""Columns that can be sorted by."""

WORDS = frozenset({"model", "strategy", "judge", "weights"})
"""Those of them that hold words."""


@dataclass(frozen=True, slots=True)
class Row:
    """One submission and strategy.

    Attributes:
        rank: Such as `3`, or `3–7` where chance alone could have made it any of these; empty where it has none.
        scores: Means by metric, null where there is none.
        interval: 95 % interval of overall, null where there is none.
    """

    entry: Entry
    strategy: str
    rank: str
    scores: dict[str, float | None]
    interval: tuple[float, float] | None
    coverage: float


@dataclass(frozen=True, slots=True)
class Group:
    """Rows of one standing; `count` is how many there are on all pages."""

    key: str
    name: str
    rows: tuple[Row, ...]
    count: int


@dataclass(frozen=True, slots=True)
class Ranking:
    """One page of the ranking.

    Attributes:
        shown: Number of rows that match, on all pages.
        total: Number of rows under the protocol.
        page: The page, from 1.
        pages: Number of pages.
        judges: Names of all judges, for the filter.
        scale: Grades at which bars begin and end: all intervals fit, on every page, and differences can be seen.
    """

    groups: tuple[Group, ...]
    shown: int
    total: int
    page: int
    pages: int
    judges: tuple[str, ...]
    scale: tuple[float, float]


def ranking(tables: Tables, protocol: str, address: Address, of: str | None = None) -> Ranking:
    """The page of the ranking that an address asks for, or the rows `of` one submission.

    Ranks are among all rows of the protocol, culture and strategy; the other filters hide rows and leave ranks as they are.
    """
    whole = tables.ranking(protocol, address.culture, address.strategy)
    found = matching(tables, protocol, address) if of is None else whole[whole["id"] == of]
    pages = max(1, -(-len(found) // PAGE))
    page = min(address.page, pages)
    here = found.iloc[(page - 1) * PAGE : page * PAGE]
    groups = []
    for key, name in GROUPS.items():
        rows = here[here["group"] == key]
        if len(rows):
            made = tuple(_row(tables, protocol, fields) for fields in rows.to_dict("records"))
            groups.append(Group(key=key, name=name, rows=made, count=int((found["group"] == key).sum())))
    return Ranking(
        groups=tuple(groups),
        shown=len(found),
        total=len(whole),
        page=page,
        pages=pages,
        judges=tuple(sorted(whole["judge"].unique())),
        scale=_scale(whole),
    )


def matching(tables: Tables, protocol: str, address: Address) -> pd.DataFrame:
    """All rows that an address asks for, in its order, as in `Tables.ranking`."""
    frame = tables.ranking(protocol, address.culture, address.strategy)
    if address.judge != ANY:
        frame = frame[frame["judge"] == address.judge]
    if address.weights != ANY:
        frame = frame[frame["weights"].isna() if address.weights == "not said" else frame["weights"] == address.weights]
    if address.size in SIZES:
        low, high = SIZES[address.size]
        frame = frame[(frame["parameters"] > low) & (frame["parameters"] <= high)]
    elif address.size != ANY:
        frame = frame[frame["parameters"].isna()]
    if address.verified != ANY:
        frame = frame[frame["group"] == address.verified]
    for word in address.search.casefold().split():
        texts = frame["model"].str.casefold() + " " + frame["submitter"].str.casefold()
        frame = frame[texts.str.contains(word, regex=False)]
    column = address.sort.removeprefix("-")
    if column not in COLUMNS or address.sort == "-overall":
        return frame
    order = frame["group"].map({group: number for number, group in enumerate(GROUPS)})
    by = frame[column].str.casefold() if column in WORDS else frame[column]
    return (
        frame.assign(_order=order, _by=by)
        .sort_values(["_order", "_by"], ascending=[True, not address.sort.startswith("-")], kind="stable", na_position="last")
        .drop(columns=["_order", "_by"])
    )


def _scale(frame: pd.DataFrame) -> tuple[float, float]:
    """The half grades between which all intervals lie, at least one grade apart."""
    low, high = float(frame[["low", "overall"]].min().min()), float(frame[["high", "overall"]].max().max())
    if low != low or high != high:  # noqa: PLR0124 - NaN: no row has a score.
        return 1.0, 5.0
    low, high = math.floor(low * 2) / 2, math.ceil(high * 2) / 2
    return (low, high) if high - low >= 1 else (max(1.0, high - 1), max(2.0, high))


def rank_text(best: float, worst: float) -> str:
    """Ranks as people read them: `4`, `4–9`, or nothing for a row without one."""
    if best != best:  # noqa: PLR0124 - NaN.
        return ""
    return f"{best:.0f}" if best == worst else f"{best:.0f}–{worst:.0f}"


def _row(tables: Tables, protocol: str, fields: dict[str, float | str]) -> Row:
    entry = tables.entry(protocol, str(fields["id"]))
    assert entry is not None  # noqa: S101 - rows are made from entries.
    scores = {metric: number(fields[metric]) for metric in ("overall", "emotional", "cultural", "quality")}
    low, high = number(fields["low"]), number(fields["high"])
    return Row(
        entry=entry,
        strategy=str(fields["strategy"]),
        rank=rank_text(float(fields["best"]), float(fields["worst"])),
        scores=scores,
        interval=None if low is None or high is None else (low, high),
        coverage=float(fields["coverage"]),
    )


def number(value: object) -> float | None:
    """A number of a table, null where it holds none."""
    return float(value) if isinstance(value, (int, float)) and value == value else None  # noqa: PLR0124 - NaN.
