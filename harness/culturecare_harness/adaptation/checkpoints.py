"""The folder in which a training stands until its adapter is done: what it is a training of, and its checkpoints.

It lies beside the adapter's folder and is called after it, with `.training` behind. What makes it a training's is its manifest: a folder of
that name that has none and holds anything is somebody's own, and nothing in it is touched. A checkpoint counts once its marker is there,
which is written last and names the files of the checkpoint with their sizes; what a killed process left half-written has none. The
adapter's own folder is made by one renaming, so that it is there whole or not at all.
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

__all__ = ["Marker", "claimed", "clear", "differing", "latest_checkpoint", "mark", "publish", "read_json", "work_folder"]

_MANIFEST = "training.json"
_MARKER = "complete.json"
_LOCK = ".lock"


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
        CultureCareError: Another process has it, it is that of another training or holds something else, or it cannot be made.
    """
    import filelock

    folder = work_folder(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CultureCareError(f"{folder}: cannot be made ({error.strerror}); choose another folder with --out") from error
    _refuse_foreign(folder)  # Before anything is written into it.
    lock = filelock.FileLock(folder / _LOCK)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise CultureCareError(f"{folder}: another process is at this training; wait for it, or choose another --out") from error
    try:
        _claim(folder, identity)
        yield folder
    finally:
        lock.release()


def _refuse_foreign(folder: Path) -> None:
    if not (folder / _MANIFEST).exists() and (foreign := _foreign(folder)):
        raise CultureCareError(
            f"{folder}: is where a training would stand until its adapter is done, but holds {min(foreign)!r} and is no training's; "
            "choose another folder with --out"
        )


def _foreign(folder: Path) -> list[str]:
    """What a folder without a manifest holds, but for what a process leaves that was killed before it had written one."""
    return [path.name for path in folder.iterdir() if path.name != _LOCK and not path.name.startswith(f".{_MANIFEST}.")]


def _claim(folder: Path, identity: TrainingIdentity) -> None:
    """Makes a folder that is locked that of a training, where it is not that of another one."""
    manifest = folder / _MANIFEST
    if manifest.exists():
        fields = differing(_read_manifest(manifest, identity), identity)
        # Without a checkpoint, it is of a call that failed before it learnt anything, such as of a model that is not there.
        if fields and any(folder.glob("checkpoint-*")):
            raise CultureCareError(
                f"{folder}: holds another training (its {', '.join(fields)} differ); choose another --out, or delete this folder"
            )
        if not fields:
            return
    write_json(manifest, identity)


def _read_manifest(manifest: Path, identity: TrainingIdentity) -> TrainingIdentity:
    return parse_record(type(identity), read_json(manifest), where=str(manifest))


def clear(out: Path, identity: TrainingIdentity) -> None:
    """Takes away the work folder of an adapter that is done; one that another process or another training has is left."""
    import filelock

    folder = work_folder(out)
    if not _is_left_by(folder, identity):
        return
    # What cannot be deleted now can be by the next call, and the adapter is done.
    with contextlib.suppress(filelock.Timeout, OSError):
        with filelock.FileLock(folder / _LOCK, timeout=0):
            for path in folder.iterdir():
                if path.name not in {_LOCK, _MANIFEST}:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            (folder / _MANIFEST).unlink(missing_ok=True)  # Last, so that what a killed process leaves is known for a training's.
        (folder / _LOCK).unlink(missing_ok=True)
        folder.rmdir()


def _is_left_by(folder: Path, identity: TrainingIdentity) -> bool:
    manifest = folder / _MANIFEST
    if not manifest.exists():
        return (folder / _LOCK).is_file() and not _foreign(folder)
    try:
        return not differing(_read_manifest(manifest, identity), identity)
    except DataError:
        return False


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
