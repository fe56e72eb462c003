"""Which instances a run uses, and in what order."""

from __future__ import annotations

import functools
import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol, TypeVar

from pydantic import BeforeValidator, Field

from culturecare import CultureCareError, Instance, Record, Split, dataset_revision, load_instances, select_cultures
from culturecare_harness.records import digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Selection", "interleave", "is_held_out", "select_instances"]


class _OfCulture(Protocol):
    @property
    def culture(self) -> str: ...


C = TypeVar("C", bound=_OfCulture)


def _as_names(value: Any) -> Any:
    return tuple(value.split(",")) if isinstance(value, str) else value


class Selection(Record):
    """A choice of instances.

    Attributes:
        split: Split to read.
        release: Folder of the released files, for split `test`; file of the posts, for split `own`.
        cultures: Keys of cultures, or `all`.
        text: `full` posts, `excerpt`s, or whichever the split has (`auto`).
        per_culture: At most so many instances of each culture, null for all.
        held_out: Whether of split `test` the half alone is taken that is never trained on (`is_held_out`).
    """

    split: Split = "sample"
    release: Path | None = None
    cultures: Annotated[tuple[str, ...], BeforeValidator(_as_names)] = ("all",)
    text: Literal["auto", "full", "excerpt"] = "auto"
    per_culture: int | None = Field(default=None, ge=1)
    held_out: bool = False


def is_held_out(instance_id: str) -> bool:
    """Whether an instance of split `test` is never trained on, even by permission: the half of them whose hash is even.

    The choice hangs on the id alone, so that it is the same for everyone, at any time, and in any part of the data.
    """
    return int(digest([instance_id]), 16) % 2 == 0


def select_instances(selection: Selection) -> tuple[Instance, ...]:
    """Reads what was chosen, culture after culture.

    Raises:
        CultureCareError: Nothing fits, or `auto` meets full posts and excerpts together: they never share a score.
    """
    # The revision, so that files which changed are read again.
    return _select_instances(selection, dataset_revision(selection.split, selection.release))


@functools.lru_cache(maxsize=8)
def _select_instances(selection: Selection, _: str) -> tuple[Instance, ...]:
    if selection.held_out and selection.split != "test":
        raise CultureCareError(f"held out is one half of split 'test', but this is split {selection.split!r}")
    keys = select_cultures(selection.cultures, selection.split)
    instances = load_instances(selection.split, keys, selection.release)
    if selection.held_out:
        instances = [instance for instance in instances if is_held_out(instance.id)]
    if selection.text == "auto":
        excerpts = sum(instance.excerpt for instance in instances)
        if 0 < excerpts < len(instances):
            raise CultureCareError(
                f"split {selection.split!r} has {len(instances) - excerpts} posts with text and {excerpts} known by excerpts alone, "
                "which never share a score: choose text 'full' or text 'excerpt'"
            )
    else:
        instances = [instance for instance in instances if instance.excerpt == (selection.text == "excerpt")]
    chosen = [
        instance for key in keys for instance in [instance for instance in instances if instance.culture == key][: selection.per_culture]
    ]
    if not chosen:
        raise CultureCareError(f"split {selection.split!r} has no post with text {selection.text!r} in {', '.join(keys)}")
    return tuple(chosen)


def interleave(items: Iterable[C]) -> list[C]:
    """Orders items so that their cultures take turns, each culture's own order kept: any first part holds all cultures alike."""
    by_culture: dict[str, list[C]] = {}
    for item in items:
        by_culture.setdefault(item.culture, []).append(item)
    rounds: Iterable[Sequence[C | None]] = itertools.zip_longest(*by_culture.values())
    return [item for turn in rounds for item in turn if item is not None]
