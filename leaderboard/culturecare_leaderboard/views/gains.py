"""What each strategy adds over `standard`, by the same model on the same posts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from culturecare_leaderboard.address import ANY
from culturecare_leaderboard.views.ranking import matching, number

if TYPE_CHECKING:
    from culturecare_harness.board import Entry
    from culturecare_harness.protocols import Protocol
    from culturecare_leaderboard.address import Address
    from culturecare_leaderboard.views.tables import Tables

__all__ = ["Gain", "Gains", "Summary", "gains_of"]


@dataclass(frozen=True, slots=True)
class Gain:
    """A mean difference to `standard`, with its 95 % interval where there is one."""

    entry: Entry
    strategy: str
    mean: float
    low: float | None
    high: float | None
    n: int

    @property
    def verdict(self) -> str:
        """`better`, `worse`, or `within chance`: a difference that the interval does not set apart from none."""
        if self.low is None or self.high is None or self.low <= 0 <= self.high:
            return "within chance"
        return "better" if self.low > 0 else "worse"


@dataclass(frozen=True, slots=True)
class Summary:
    """A strategy over all submissions that have it."""

    strategy: str
    models: int
    median: float
    better: int
    worse: int
    within: int


@dataclass(frozen=True, slots=True)
class Gains:
    """Gains on one metric.

    Attributes:
        reach: End of a symmetric scale on which all intervals of the page fit.
    """

    summaries: tuple[Summary, ...]
    rows: tuple[Gain, ...]
    page: int
    pages: int
    reach: float


def gains_of(tables: Tables, protocol: Protocol, address: Address, size: int, entry: Entry | None = None) -> Gains:
    """Gains in the address's culture and metric: of one submission, or of all that its filters leave, largest first."""
    frame = tables.gains(protocol.name, address.culture)
    frame = frame[(frame["metric"] == address.metric) & (frame["strategy"] != "standard") & frame["mean"].notna()]
    if entry is not None:
        frame = frame[frame["id"] == entry.id]
    else:
        left = matching(tables, protocol.name, address.model_copy(update={"strategy": ANY, "sort": "-overall"}))
        frame = frame[frame["id"].isin(left["id"])]
    order = {strategy: number for number, strategy in enumerate(protocol.strategies)}
    summaries = []
    for strategy, part in sorted(frame.groupby("strategy"), key=lambda pair: order.get(str(pair[0]), 99)):
        better, worse = int((part["low"] > 0).sum()), int((part["high"] < 0).sum())
        summaries.append(Summary(str(strategy), len(part), float(part["mean"].median()), better, worse, len(part) - better - worse))
    if address.strategy != ANY and entry is None:
        frame = frame[frame["strategy"] == address.strategy]
    frame = frame.sort_values("mean", ascending=False, kind="stable")
    pages = max(1, -(-len(frame) // size))
    page = min(address.page, pages)
    rows = []
    for row in frame.iloc[(page - 1) * size : page * size].to_dict("records"):
        of = tables.entry(protocol.name, row["id"])
        if of is not None:
            rows.append(Gain(of, row["strategy"], row["mean"], number(row["low"]), number(row["high"]), int(row["n"])))
    ends = [abs(end) for row in rows for end in (row.mean, row.low, row.high) if end is not None]
    reach = float(np.ceil(max(ends, default=0.5) * 4) / 4) or 0.25
    return Gains(tuple(summaries), tuple(rows), page, pages, reach)
