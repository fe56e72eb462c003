"""The folder in which a training stands until its adapter is done: what it is a training of, and its checkpoints.

It lies beside the adapter's folder and is called after it, with `.training` behind. A checkpoint counts once its marker is there, which is
written last and names the files of the checkpoint with their sizes; what a killed process left half-written has none. The adapter's own
folder is made by one renaming, so that it is there whole or not at all.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from typing import TYPE_CHECKING

from pydantic import Field

from culturecare import CultureCareError, DataError, Record, parse_record
from culturecare_harness.adaptation.settings import MOVE_NO_WEIGHT
from culturecare_harness.records import write_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from culturecare_harness.adaptation.record import TrainingIdentity

__all__ = ["Marker", "claimed", "differing", "latest_checkpoint", "mark", "publish", "read_json", "work_folder"]

_MANIFEST = "training.json"
_MARKER = "complete.json"


class Marker(Record):
    """Says that a checkpoint is whole.

    Attributes:
        step: Optimiser steps by then.
        seconds: Time that they took, over all sessions.
        files: Size of each file in bytes.
    """

    step: int = Field(ge=1)
    seconds: float = Field(ge=0)
    files: dict[str, int]


def work_folder(out: Path) -> Path:
    """Where a training stands until `out` is there."""
    return out.with_name(f"{out.name}.training")


def read_json(path: Path) -> object:
    """Reads a JSON file.

    Raises:
        DataError: It cannot be read, or is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise DataError(f"{path}: is not valid JSON ({error})") from error


def differing(there: TrainingIdentity, wanted: TrainingIdentity) -> list[str]:
    """Names what two trainings differ in; of their settings, each field that can move a weight."""
    fields = [field for field in type(wanted).model_fields if field != "settings" and getattr(there, field) != getattr(wanted, field)]
    of_settings = [name for name in type(wanted.settings).model_fields if name not in MOVE_NO_WEIGHT]
    fields += [name for name in of_settings if getattr(there.settings, name) != getattr(wanted.settings, name)]
    return fields


@contextlib.contextmanager
def claimed(out: Path, identity: TrainingIdentity) -> Iterator[Path]:
    """Yields the work folder of a training, which no other process has meanwhile.

    Raises:
        CultureCareError: Another process has it, it is that of another training, or it cannot be made.
    """
    import filelock

    folder = work_folder(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CultureCareError(f"{folder}: cannot be made ({error.strerror}); choose another folder with --out") from error
    lock = filelock.FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise CultureCareError(f"{folder}: another process is at this training; wait for it, or choose another --out") from error
    try:
        manifest = folder / _MANIFEST
        if manifest.exists():
            there = parse_record(type(identity), read_json(manifest), where=str(manifest))
            if (fields := differing(there, identity)) and not any(folder.glob("checkpoint-*")):
                write_json(manifest, identity)  # A call that failed before it learnt anything, such as of a model that is not there.
            elif fields:
                raise CultureCareError(
                    f"{folder}: holds another training (its {', '.join(fields)} differ); choose another --out, or delete this folder"
                )
        else:
            write_json(manifest, identity)
        yield folder
    finally:
        lock.release()


def mark(checkpoint: Path, step: int, seconds: float) -> None:
    """Says that a checkpoint is whole."""
    write_json(checkpoint / _MARKER, Marker(step=step, seconds=seconds, files=_sizes(checkpoint)))


def _sizes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in folder.iterdir() if path.is_file()}


def latest_checkpoint(folder: Path) -> tuple[Path, Marker] | None:
    """The newest whole checkpoint of a work folder, null where there is none; what is not whole is deleted."""
    whole = []
    for checkpoint in folder.glob("checkpoint-*"):
        path = checkpoint / _MARKER
        marker = parse_record(Marker, read_json(path), where=str(path)) if path.is_file() else None
        if marker and marker.files.items() <= _sizes(checkpoint).items():
            whole.append((checkpoint, marker))
        else:
            shutil.rmtree(checkpoint)
    return max(whole, key=lambda found: found[1].step, default=None)


def publish(adapter: Path, out: Path) -> None:
    """Gives the finished adapter its name, and takes away what it was made from.

    Raises:
        CultureCareError: It cannot be renamed.
    """
    try:
        if out.is_dir() and not any(out.iterdir()):
            out.rmdir()  # Some systems rename onto no folder, empty or not.
        adapter.rename(out)
    except OSError as error:
        raise CultureCareError(f"{out}: cannot be written ({error.strerror}); the finished adapter stands in {adapter}") from error
