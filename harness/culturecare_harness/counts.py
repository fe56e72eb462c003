"""Counting what the dataset holds."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING, Any

import culturecare
from culturecare import RELEASE_VARIABLE, Instance, Split, cultures

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rich.console import Console

__all__ = ["available_splits", "count", "print_counts"]

_COLUMNS = ("posts", "replies", "distress", "signals", "strategies")


def available_splits(release: str | None) -> tuple[Split, ...]:
    """The splits that can be read: `test` where a folder is given or `CULTURECARE_RELEASE` is set."""
    return ("test", "sample", "train") if release or os.environ.get(RELEASE_VARIABLE) else ("sample", "train")


def count(release: str | None = None) -> dict[str, dict[str, Any]]:
    """Counts by split, and in it by culture and for `all`.

    Returns:
        For each: `posts`; `replies` (those with an empathy score); `distress`, `signals` (of post and reply) and `strategies` (spans);
        and under `labels` and `languages` how often each occurs.

    Raises:
        CultureCareError: A file is missing or does not fit the schema.
    """
    counts: dict[str, dict[str, Any]] = {}
    for split in available_splits(release):
        instances = culturecare.load_instances(split, None, release if split == "test" else None)
        groups = {key: [instance for instance in instances if instance.culture == key] for key in cultures()}
        counts[split] = {key: _count(group) for key, group in groups.items() if group}
        counts[split]["all"] = _count(instances)
    return counts


def _count(instances: Iterable[Instance]) -> dict[str, Any]:
    instances = list(instances)
    distress = [span for instance in instances for span in instance.post.emotional_distress]
    signals = [span for instance in instances for span in (*instance.post.cultural_signals, *instance.response.cultural_signals)]
    support = [span for instance in instances for span in instance.response.emotional_support]
    labels = {
        "intensity": Counter(str(span.label or "null") for span in distress),
        "signal": Counter(str(span.label or "null") for span in signals),
        "strategy": Counter(str(span.label or "null") for span in support),
        "empathy_score": Counter(str(instance.response.empathy_score or "null") for instance in instances),
    }
    return {
        "posts": len(instances),
        "replies": sum(instance.response.empathy_score is not None for instance in instances),
        "distress": len(distress),
        "signals": len(signals),
        "strategies": len(support),
        "labels": {name: dict(sorted(counter.items())) for name, counter in labels.items()},
        "languages": dict(sorted(Counter(str(instance.language or "null") for instance in instances).items())),
    }


def print_counts(counts: Mapping[str, Mapping[str, Any]], console: Console) -> None:
    """Prints one table a split."""
    from rich.table import Table

    kinds = {"test": "released annotations", "sample": "synthetic", "train": "synthetic, may be trained on"}
    for split, by_culture in counts.items():
        table = Table(title=f"Split {split} ({kinds[split]})", title_justify="left", header_style="bold")
        table.add_column("culture")
        for column in (*_COLUMNS, "languages"):
            table.add_column(column, justify="left" if column == "languages" else "right")
        for key, numbers in by_culture.items():
            languages = ", ".join(f"{code} {number}" for code, number in numbers["languages"].items())
            name = "All" if key == "all" else cultures()[key].name
            table.add_row(name, *(str(numbers[column]) for column in _COLUMNS), languages, style="bold" if key == "all" else None)
        console.print(table)
