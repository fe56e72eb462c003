"""Exports: tables as CSV that no spreadsheet runs, and as JSON."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

from culturecare_leaderboard.address import ANY
from culturecare_leaderboard.views.ranking import matching

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from culturecare_harness.protocols import Protocol
    from culturecare_leaderboard.address import Address
    from culturecare_leaderboard.views.tables import Tables

__all__ = ["TABLES", "export_table", "to_csv", "to_json"]

TABLES = ("ranking", "scores", "gains")
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")
_RANKING = {
    "id": "submission",
    "model": "model",
    "submitter": "submitter",
    "strategy": "strategy",
    "culture": "culture",
    "best": "best_rank",
    "worst": "worst_rank",
    "overall": "overall",
    "low": "overall_low",
    "high": "overall_high",
    "emotional": "emotional",
    "cultural": "cultural",
    "quality": "quality",
    "coverage": "coverage",
    "n": "n",
    "judge": "judge",
    "group": "verification",
    "parameters": "parameters",
    "weights": "weights",
    "protocol": "protocol",
}
_WHOLE = ("best_rank", "worst_rank", "n", "parameters")


def export_table(tables: Tables, protocol: Protocol, address: Address, table: str) -> list[dict[str, Any]]:
    """The rows of one of `TABLES`: what the page shows with its filters, on all its pages.

    `scores` and `gains` hold all cultures and metrics of the submissions that the filters leave.
    """
    found = matching(tables, protocol.name, address)
    if table == "ranking":
        frame = found.assign(culture=address.culture, protocol=protocol.name)[list(_RANKING)].rename(columns=_RANKING)
    else:
        whole = tables.board.cells if table == "scores" else tables.board.gains
        models = found.drop_duplicates("id").set_index("id")["model"]
        frame = whole[whole["id"].isin(models.index)]
        if address.strategy != ANY:
            frame = frame[frame["strategy"] == address.strategy]
        frame = frame.assign(model=frame["id"].map(models), protocol=protocol.name).rename(columns={"id": "submission"})
    return _plain(frame)


def _plain(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON knows them: null for a missing value, whole numbers without a point."""
    rows: list[dict[str, Any]] = frame.astype(object).where(frame.notna(), None).to_dict("records")
    for row in rows:
        for name in _WHOLE:
            if isinstance(row.get(name), float):
                row[name] = int(row[name])
        if row.get("freedom") == float("inf"):
            row["freedom"] = None
    return rows


def to_csv(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Rows as CSV in UTF-8 with a byte order mark, which spreadsheets need to know it.

    A text that a spreadsheet would run as a formula gets an apostrophe in front (OWASP, "CSV Injection"); numbers stay as they are.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    if rows:
        writer.writerow(rows[0])
        writer.writerows([[_cell(value) for value in row.values()] for row in rows])
    return b"\xef\xbb\xbf" + text.getvalue().encode()


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA_STARTS) else value


def to_json(rows: Sequence[Mapping[str, Any]], protocol: Protocol) -> bytes:
    """Rows as JSON, with the protocol that they were made under."""
    made = {"protocol": protocol.name, "protocol_hash": protocol.hash, "rows": list(rows)}
    return json.dumps(made, ensure_ascii=False, indent=1, allow_nan=False).encode()
