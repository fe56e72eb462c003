"""Progress on the terminal: sentences about what goes on, and a bar where there is something to count."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console

__all__ = ["progress"]


@contextlib.contextmanager
def progress(console: Console) -> Iterator[tuple[Callable[[str], None], Callable[[int, int], None]]]:
    """Yields `say(sentence)` and `advance(finished, total)`; the bar appears with the first advance."""
    columns = (TextColumn("Judged"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=console)
    task = None

    def say(sentence: str) -> None:
        console.print(sentence, highlight=False, markup=False)

    def advance(finished: int, total: int) -> None:
        nonlocal task
        if task is None:
            task = bar.add_task("Judged", total=total)
            bar.start()
        bar.update(task, completed=finished, total=total)

    try:
        yield say, advance
    finally:
        if task is not None:
            bar.stop()
