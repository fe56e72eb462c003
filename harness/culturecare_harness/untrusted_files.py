"""Files that a stranger put into a folder or a ZIP file, read without following, unpacking or running anything."""

from __future__ import annotations

import io
import os
import stat
import struct
import zipfile
import zlib
from typing import TYPE_CHECKING

from culturecare_harness.untrusted_json import BundleError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["read_files", "read_plain_file"]

_MOST_ZIPPED = 64 * 1024**2
_LARGEST_DIRECTORY = 64 * 1024


def read_files(path: Path, limits: Mapping[str, int]) -> dict[str, bytes]:
    """Reads the files of a folder or ZIP file, which must hold these and no other.

    Args:
        path: The folder or ZIP file.
        limits: The most bytes that each file may have, by name.

    Returns:
        The files by name, in the order of `limits`.

    Raises:
        BundleError: One is missing, too large or not plain, something else is there, or it can't be read.
    """
    return _read_folder(path, limits) if path.is_dir() else _read_zip(path, limits)


def read_plain_file(path: Path, most: int, name: str, *, follow: bool = False) -> bytes:
    """Reads a file that a stranger may have put there.

    Args:
        path: The file.
        most: The most bytes that it may have.
        name: What to call it in messages.
        follow: Whether a link is followed.

    Raises:
        FileNotFoundError: It is not there.
        BundleError: It is a link, a folder, a pipe or a device, which may never end, or is too large, or cannot be read.
    """
    # Without `O_NONBLOCK`, opening a pipe waits for who writes into it.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | (0 if follow else getattr(os, "O_NOFOLLOW", 0))
    try:
        descriptor = os.open(path, flags)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise BundleError(f"{name}: is not a plain file")
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                content = file.read(most + 1)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise BundleError(f"{name}: cannot be read; it must be a file of its own, not a link ({error.strerror})") from error
    if len(content) > most:
        raise BundleError(_too_large(name, most))
    return content


def _too_large(name: str, most: int) -> str:
    return f"{name}: is larger than {most / 1024**2:g} MiB, the most that it may have"


def _read_folder(path: Path, limits: Mapping[str, int]) -> dict[str, bytes]:
    try:
        _check_names(sorted(os.listdir(path)), limits)  # noqa: PTH208 - names alone; nothing is followed.
        return {name: read_plain_file(path / name, limits[name], name) for name in limits}
    except OSError as error:
        raise BundleError(f"{path.name}: cannot be read ({error.strerror})") from error


def _read_zip(path: Path, limits: Mapping[str, int]) -> dict[str, bytes]:
    try:
        packed = read_plain_file(path, _MOST_ZIPPED, path.name, follow=True)
    except (FileNotFoundError, ValueError) as error:  # ValueError: a NUL in the path.
        raise BundleError(f"{path.name}: is not there; name a bundle's ZIP file or folder") from error
    _check_end(packed, path.name, len(limits))
    try:
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            listed = archive.infolist()
            _check_names([info.filename for info in listed], limits)
            members = {info.filename: info for info in listed}
            return {name: _read_member(archive, members[name], most) for name, most in limits.items()}
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OverflowError) as error:
        raise BundleError(
            f"{path.name}: is not a readable ZIP file ({' '.join(str(error).split())[:200] or type(error).__name__})"
        ) from error


def _check_end(packed: bytes, name: str, number: int) -> None:
    """Looks at the end record before the directory is read: a directory of millions of files would take minutes and gigabytes."""
    record = struct.Struct("<4s4H2LH")
    if len(packed) < record.size:
        raise BundleError(f"{name}: is not a readable ZIP file (it is too short)")
    mark, *_, size, offset, comment = record.unpack(packed[-record.size :])
    if mark != b"PK\x05\x06" or comment:
        raise BundleError(
            f"{name}: is not a readable ZIP file (its directory is not at its end: it was cut off, or something stands behind)"
        )
    if packed[-record.size - 20 :].startswith(b"PK\x06\x07"):
        raise BundleError(f"{name}: is a ZIP64 file, which no bundle is large enough to need")
    if size > _LARGEST_DIRECTORY:
        raise BundleError(f"{name}: lists far more files than the {number} that a bundle holds")
    if offset + size + record.size != len(packed):
        raise BundleError(f"{name}: is not a readable ZIP file (something stands before it)")


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, most: int) -> bytes:
    name = info.filename
    if stat.S_ISLNK(info.external_attr >> 16):
        raise BundleError(f"{name}: is a link; it must be a file of its own")
    if info.flag_bits & 0x1:
        raise BundleError(f"{name}: is encrypted")
    # Others may ask for gigabytes of memory before they give a byte.
    if info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise BundleError(f"{name}: is compressed by method {info.compress_type}; deflate it, or store it as it is")
    # What the header says of the size is not believed, but where it says too much, nothing needs to be read.
    if info.file_size > most:
        raise BundleError(_too_large(name, most))
    with archive.open(info) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise BundleError(_too_large(name, most))
    return content


def _check_names(names: list[str], wanted: Mapping[str, int]) -> None:
    if stray := next((name for name in names if name not in wanted), None):
        raise BundleError(f"{stray[:80]!r}: does not belong in a bundle, which holds {', '.join(wanted)} and nothing else")
    if missing := next((name for name in wanted if name not in names), None):
        raise BundleError(f"{missing}: is missing; a bundle holds {', '.join(wanted)}")
    if len(names) > len(wanted):
        twice = next(name for name in names if names.count(name) > 1)
        raise BundleError(f"{twice}: is there {names.count(twice)} times")
