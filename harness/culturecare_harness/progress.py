"""Progress on the terminal: sentences about what goes on, and a bar where there is something to count."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Protocol

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console

__all__ = ["Progress", "TrainingProgress", "counter", "terminal_progress"]


class Progress(Protocol):
    """Who is told how a stage gets on."""

    def say(self, sentence: str) -> None:
        """Takes a sentence about what begins."""

    def advance(self, finished: int, total: int) -> None:
        """Takes how many verdicts of how many are there."""


class TrainingProgress(Progress, Protocol):
    """Who is told how a training gets on."""

    def step(self, finished: int, total: int, loss: float) -> None:
        """Takes how many optimiser steps of how many are done, and the loss of the last."""


def counter(progress: Progress, total: int) -> Callable[[int], None]:
    """Returns what takes the number of verdicts that are new, and tells `progress` how many of `total` are there."""
    finished = 0

    def count(number: int) -> None:
        nonlocal finished
        finished += number
        progress.advance(finished, total)

    return count


class _TerminalProgress:
    def __init__(self, console: Console) -> None:
        self._console = console
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        self._bar = Bar(*columns, console=console)
        self._task = self._bar.add_task("Verdicts", total=None, visible=False)

    def say(self, sentence: str) -> None:
        self._console.print(sentence, highlight=False, markup=False)

    def advance(self, finished: int, total: int) -> None:
        self._bar.start()  # Does nothing once it runs; the bar appears with the first verdict.
        self._bar.update(self._task, completed=finished, total=total, visible=True)

    def step(self, finished: int, total: int, loss: float) -> None:
        self._bar.update(self._task, description=f"Steps (loss {loss:.3f})")
        self.advance(finished, total)

    def stop(self) -> None:
        self._bar.stop()


@contextlib.contextmanager
def terminal_progress(console: Console) -> Iterator[TrainingProgress]:
    """Yields a `TrainingProgress` that writes to `console`, and takes its bar away at the end."""
    progress = _TerminalProgress(console)
    try:
        yield progress
    finally:
        progress.stop()
