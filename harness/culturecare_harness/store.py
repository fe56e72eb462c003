"""The verdict store: what judges answered, so that no question is paid for twice.

An SQLite file in WAL mode, safe for several processes. A row holds a judge's raw answer, from which the verdict is read anew each time.
Its key is a hash of everything that can move the answer: back end, server, model, mode and settings, and the whole prompt, which holds the
rubric, the dimension, the post and the reply. No post and no reply stands in the file, only their hashes.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from culturecare import CultureCareError
from culturecare_harness.backends import Answer
from culturecare_harness.packaged import cache_dir

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["VerdictStore", "default_store_path", "open_store"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (key TEXT, sample INTEGER, body TEXT NOT NULL, PRIMARY KEY (key, sample)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS failures (key TEXT, sample INTEGER, body TEXT NOT NULL, PRIMARY KEY (key, sample)) WITHOUT ROWID;
"""
_LOOKUP = 500  # Keys a query; SQLite takes at least 999 variables.


def default_store_path() -> Path:
    """Where verdicts are kept unless told otherwise: `$CULTURECARE_STORE`, else `verdicts.sqlite3` in the cache folder."""
    given = os.environ.get("CULTURECARE_STORE")
    return Path(given).expanduser() if given else cache_dir() / "verdicts.sqlite3"


class VerdictStore:
    """An open store. Every answer that was added is on file when `add` returns, whatever happens to the process."""

    def __init__(self, path: Path | None) -> None:
        """Opens the file, and makes it where it is not there.

        Args:
            path: The file; null keeps answers in memory alone.

        Raises:
            CultureCareError: The file cannot be opened, or is no such store.
        """
        self.path = path
        try:
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
            # Autocommit: each answer is a transaction. One connection, used by one thread at a time.
            self._connection = sqlite3.connect(path or ":memory:", timeout=60, isolation_level=None, check_same_thread=False)
            # In WAL mode, NORMAL loses nothing to a killed process.
            self._connection.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; {_SCHEMA}")
        except (sqlite3.Error, OSError) as error:
            raise CultureCareError(f"{path}: the verdict store cannot be opened ({error}); name another file with --store") from error

    def find(self, keys: Sequence[str]) -> dict[tuple[str, int], Answer]:
        """Answers that are there, by key and sample number; failures stand among them where there is nothing better.

        Raises:
            CultureCareError: The file cannot be read.
        """
        found: dict[tuple[str, int], Answer] = {}
        for table in ("failures", "answers"):
            for start in range(0, len(keys), _LOOKUP):
                part = keys[start : start + _LOOKUP]
                marks = ",".join("?" * len(part))
                with self._errors_named():
                    rows = self._connection.execute(f"SELECT key, sample, body FROM {table} WHERE key IN ({marks})", part)  # noqa: S608
                    for key, sample, body in rows:
                        found[key, sample] = Answer.model_validate_json(body)
        return found

    def add(self, key: str, sample: int, answer: Answer) -> None:
        """Keeps an answer; the first one that was kept stands, and replaces a failure.

        Raises:
            CultureCareError: The file cannot be written.
        """
        with self._errors_named():
            body = answer.model_dump_json(exclude_none=True)
            if answer.failure is not None:
                self._connection.execute("INSERT OR REPLACE INTO failures VALUES (?, ?, ?)", (key, sample, body))
            else:
                self._connection.execute("INSERT OR IGNORE INTO answers VALUES (?, ?, ?)", (key, sample, body))

    def forget(self, keys: Iterable[str]) -> None:
        """Takes answers and failures out, to be asked for again.

        Raises:
            CultureCareError: The file cannot be written.
        """
        rows = [(key,) for key in keys]
        with self._errors_named():
            for table in ("answers", "failures"):
                self._connection.executemany(f"DELETE FROM {table} WHERE key = ?", rows)  # noqa: S608 - a name from above.

    def close(self) -> None:
        """Closes the file."""
        self._connection.close()

    @contextlib.contextmanager
    def _errors_named(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, ValidationError) as error:
            reason = " ".join(str(error).split())[:200]
            raise CultureCareError(f"{self.path}: the verdict store cannot be used ({reason}); name another file with --store") from error


@contextlib.contextmanager
def open_store(path: Path | None = None) -> Iterator[VerdictStore]:
    """Opens the store at `path`, by default `default_store_path()`, and closes it at the end."""
    store = VerdictStore(path or default_store_path())
    try:
        yield store
    finally:
        store.close()
