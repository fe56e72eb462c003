"""Where the board comes from: it is read once at the start, and again in the background when it changes."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from culturecare import CultureCareError
from culturecare_harness.board import open_board
from culturecare_leaderboard.views.tables import Tables

if TYPE_CHECKING:
    from culturecare_harness.progress import Progress

__all__ = ["Source", "State"]

_LOCAL_SECONDS = 5.0
_HUB_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class State:
    """What there is to show.

    Attributes:
        tables: Of the board as it was last read; null where it never was.
        problem: Why the last reading failed; null where it did not.
        read: When the board was last read.
    """

    tables: Tables | None
    problem: str | None
    read: dt.datetime | None


class Source:
    """A board that is kept up to date.

    Attributes:
        results: A folder, or `hf://datasets/OWNER/NAME[@REVISION]`.
        state: What there is to show; replaced as a whole, so that a page is made from one state.
    """

    def __init__(self, results: str, progress: Progress, *, seconds: float | None = None) -> None:
        """Reads nothing yet; see `read`.

        Args:
            results: A folder, or `hf://datasets/OWNER/NAME[@REVISION]`.
            progress: Told what is read.
            seconds: Time between two looks for changes, by default 5 s for a folder and 10 min for the Hub.
        """
        self.results = results
        self.state = State(None, None, None)
        self._progress = progress
        self._local = not results.startswith("hf://")
        self._seconds = seconds or (_LOCAL_SECONDS if self._local else _HUB_SECONDS)
        self._stamp: int | None = None
        self._stopped = threading.Event()

    def read(self) -> None:
        """Reads the board; where that fails, the state says why and keeps what was read before."""
        stamp = self._look()
        try:
            tables = Tables(open_board(self.results, self._progress))
        except CultureCareError as error:
            self.state = State(self.state.tables, str(error), self.state.read)
            self._stamp = None
            return
        tables.warm()
        self.state = State(tables, None, dt.datetime.now(dt.UTC))
        self._stamp = stamp

    def watch(self) -> None:
        """Reads the board again whenever it has changed, in a thread of its own that ends with the process or with `stop`."""
        threading.Thread(target=self._keep_up, name="board", daemon=True).start()

    def stop(self) -> None:
        """Ends `watch`."""
        self._stopped.set()

    def _keep_up(self) -> None:
        if self.state.read is None:
            self.read()
        while not self._stopped.wait(self._seconds):
            if self._stamp is None or self._look() != self._stamp:
                self.read()

    def _look(self) -> int:
        """A number that changes with the board's folders: whatever is put there is put there whole, and changes the folder around it.

        A board on the Hub always looks changed; asking it what changed is what reading it does.
        """
        if not self._local:
            return -1 if self._stamp != -1 else -2
        stamps = []
        for path, _, _ in os.walk(Path(self.results)):
            with contextlib.suppress(OSError):  # It was moved to its place a moment ago, and changed the folder around it.
                stamps.append((path, os.stat(path).st_mtime_ns))  # noqa: PTH116 - Path takes twice the time.
        return hash(tuple(sorted(stamps)))
