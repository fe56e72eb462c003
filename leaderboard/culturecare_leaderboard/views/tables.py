"""The tables of one state of a board, each made once and kept."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from culturecare import CultureCareError, Instance, cultures, load_instances
from culturecare_harness.rubrics import select_rubric
from culturecare_harness.stats import rank_intervals
from culturecare_leaderboard.address import ANY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from culturecare import Split
    from culturecare_harness.board import Board, Entry
    from culturecare_harness.protocols import Protocol

__all__ = ["GROUPS", "SUMMARIES", "Tables", "posts_that_may_be_shown", "standing"]

SUMMARIES = ("overall", "emotional", "cultural", "quality")
GROUPS: dict[str, str] = {"verified": "Verified", "pending": "Not verified yet", "failed": "Failed verification"}
"""Groups of the ranking, best kept apart: in order, with their headings."""


def standing(entry: Entry) -> str:
    """The group of `GROUPS` that a submission belongs to: one that nobody could decide on is as good as not verified."""
    status = entry.verification.status if entry.verification is not None else "undecided"
    return {"verified": "verified", "failed": "failed"}.get(status, "pending")


@functools.cache
def posts_that_may_be_shown(split: Split) -> Mapping[str, Instance]:
    """The posts of a split by id; none of split `test`, whose posts are people's own and not released."""
    return {} if split == "test" else {instance.id: instance for instance in load_instances(split)}


class Tables:
    """What views are made from.

    Attributes:
        board: The board as it was read.
    """

    def __init__(self, board: Board) -> None:
        self.board = board
        self._entries = {entry.id: entry for entry in board.entries}
        self._frames: dict[tuple[str, ...], pd.DataFrame] = {}
        self._of_protocol = {
            protocol.name: frozenset(entry.id for entry in board.entries if entry.protocol == protocol.name) for protocol in board.protocols
        }
        # Rows of one culture are what every page asks for; finding them once is what makes pages of a large board quick.
        self._cells = dict(tuple(board.cells.groupby("culture", sort=False)))
        self._gains = dict(tuple(board.gains.groupby("culture", sort=False)))

    def warm(self) -> None:
        """Makes the table of the start page, so that its first reader does not wait for it."""
        self.ranking(self.first_protocol.name)

    @property
    def first_protocol(self) -> Protocol:
        """What is shown unless another is asked for: the newest current protocol that has a submission, or the first where none has."""
        return next((protocol for protocol in self.board.protocols if self._of_protocol[protocol.name]), self.board.protocols[0])

    def protocol(self, name: str) -> Protocol | None:
        """The protocol of that name, where the board has it."""
        return next((protocol for protocol in self.board.protocols if protocol.name == name), None)

    def entry(self, protocol: str, wanted: str) -> Entry | None:
        """A submission under a protocol.

        Args:
            protocol: Name of the protocol.
            wanted: Id of the submission, or name of the model, which stands for its latest submission.
        """
        found = self._entries.get(wanted)
        if found is not None:
            return found if found.protocol == protocol else None
        named = [entry for entry in self.board.entries if entry.protocol == protocol and entry.model == wanted]
        return max(named, key=lambda entry: entry.submitted, default=None)

    def entries(self, protocol: str) -> tuple[Entry, ...]:
        """The submissions under a protocol."""
        return tuple(entry for entry in self.board.entries if entry.protocol == protocol)

    def dimensions(self, protocol: Protocol) -> dict[str, tuple[str, str]]:
        """Name and group of each dimension that the protocol's judge grades, by key."""
        rubric = select_rubric(protocol.judges[0].rubric)
        return {dimension.key: (dimension.name, dimension.group) for dimension in rubric.dimensions}

    def metrics(self, protocol: Protocol) -> dict[str, str]:
        """Names of all metrics that have a cell, by key, the summaries first."""
        return {metric: metric.capitalize() for metric in SUMMARIES} | {key: name for key, (name, _) in self.dimensions(protocol).items()}

    def cells(self, protocol: str, culture: str) -> pd.DataFrame:
        """Scores of all submissions under a protocol in one culture, as in `Board.cells`."""
        return self._of(self._cells, "cells", protocol, culture)

    def gains(self, protocol: str, culture: str) -> pd.DataFrame:
        """Gains over the strategy `standard` of all submissions under a protocol in one culture, as in `Board.gains`."""
        return self._of(self._gains, "gains", protocol, culture)

    def _of(self, frames: dict[Any, pd.DataFrame], kind: str, protocol: str, culture: str) -> pd.DataFrame:
        key = (kind, protocol, culture)
        if key not in self._frames:
            frame = frames.get(culture)
            if frame is None:
                frame = (self.board.cells if kind == "cells" else self.board.gains).iloc[:0]
            self._frames[key] = frame[frame["id"].isin(self._of_protocol.get(protocol, frozenset()))]
        return self._frames[key]

    def ranking(self, protocol: str, culture: str = ANY, strategy: str = ANY) -> pd.DataFrame:
        """One row a submission and strategy, with ranks within its group.

        Args:
            protocol: Name of the protocol.
            culture: The culture whose scores rank, or `ANY` for the mean over the cultures.
            strategy: The strategy whose rows are ranked, or `ANY` for all together.

        Returns:
            Columns id, strategy, the four `SUMMARIES`, low, high, error, coverage and n of overall, model, submitter, judge, parameters,
            weights, group (a key of `GROUPS`), best and worst (ranks, NaN where there is none); by group, then overall.
        """
        key = ("ranking", protocol, culture, strategy)
        if key not in self._frames:
            self._frames[key] = self._rank(protocol, culture, strategy)
        return self._frames[key]

    def _rank(self, protocol: str, culture: str, strategy: str) -> pd.DataFrame:
        cells = self.cells(protocol, culture)
        if strategy != ANY:
            cells = cells[cells["strategy"] == strategy]
        index = ["id", "strategy"]
        overall = cells[cells["metric"] == "overall"].set_index(index)
        means = [cells[cells["metric"] == metric].set_index(index)["mean"].rename(metric) for metric in SUMMARIES]
        kept = [column for column in ("low", "high", "error", "freedom", "n", "coverage") if column in overall]
        frame = pd.concat([*means, overall[kept]], axis=1).reset_index()
        facts = pd.DataFrame(
            [
                (entry.id, entry.model, entry.submitter, entry.judge, entry.parameters, entry.weights, standing(entry))
                for entry in self.entries(protocol)
            ],
            columns=["id", "model", "submitter", "judge", "parameters", "weights", "group"],
        ).astype({"parameters": "float64"})
        frame = frame.merge(facts, on="id", how="left")
        frame["best"] = frame["worst"] = np.nan
        for group in ("verified", "pending"):  # What failed has no rank.
            rows = frame["group"] == group
            if rows.any():
                best, worst = rank_intervals(*(frame.loc[rows, name].to_numpy() for name in ("overall", "error", "freedom")))
                frame.loc[rows, "best"], frame.loc[rows, "worst"] = best, worst
        order = frame["group"].map({group: number for number, group in enumerate(GROUPS)})
        return (
            frame.assign(order=order)
            .sort_values(["order", "overall", "model", "strategy"], ascending=[True, False, True, True], kind="stable")
            .drop(columns="order")
            .reset_index(drop=True)
        )

    def culture_names(self, protocol: Protocol) -> dict[str, str]:
        """Names of the protocol's cultures, by key."""
        known = cultures()
        return {key: known[key].name if key in known else key for key in protocol.posts.cultures}

    def post(self, entry: Entry, instance: str) -> Instance | None:
        """The post that a reply answers, where it may be shown and this copy of the dataset has it."""
        try:
            return posts_that_may_be_shown(entry.split).get(instance)
        except CultureCareError:
            return None
