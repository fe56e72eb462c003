"""JSON that a stranger wrote, read as strictly as can be: nothing in it takes long, goes deep, or is read otherwise than written."""

from __future__ import annotations

import functools
import io
import json
import math
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from culturecare import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["BundleError", "first_error", "parse", "printable", "read_lines", "read_record", "validated"]

R = TypeVar("R", bound=BaseModel)

_LONGEST_LINE = 512 * 1024
_LONGEST_TEXT = 40_000
_LONGEST_SHOWN = 400
_DEEPEST = 16
_MOST_DIGITS = 32
_MOST_VALUES = 500


class BundleError(DataError):
    """A bundle that cannot be read: the message says which file, which line, and what is wrong.

    What a stranger wrote may stand in it, so that it is made `printable`.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


def printable(text: str, most: int = _LONGEST_SHOWN) -> str:
    """A stranger's text as it can be shown in one line: without control characters or marks that turn the direction of writing."""
    shown = "".join(character if character.isprintable() else f"\\u{ord(character):04x}" for character in text[: most + 1])
    return shown if len(shown) <= most else f"{shown[:most]}…"


# --- Records ---------------------------------------------------------------------------------------------------------------------


def read_lines(model: type[R], content: bytes, name: str, most: int) -> Iterator[R]:
    """Reads JSON Lines.

    Args:
        model: What each line is.
        content: The file.
        name: What to call it in messages.
        most: The most lines that it may have.

    Raises:
        BundleError: A line is no such record.
    """
    if not content:
        raise BundleError(f"{name}: is empty")
    if not content.endswith(b"\n"):
        raise BundleError(f"{name}: its last line is cut off")
    if (count := content.count(b"\n")) > most:
        raise BundleError(f"{name}: has {count} lines, more than the {most} that it may have")
    for number, line in enumerate(io.BytesIO(content), 1):
        where = f"{name}:{number}"
        if len(line) > _LONGEST_LINE:
            raise BundleError(f"{where}: is longer than {_LONGEST_LINE // 1024} KiB, the most that a line may have")
        yield read_record(model, line, where)


def read_record(model: type[R], content: bytes, where: str) -> R:
    """Reads one record.

    Raises:
        BundleError: It is none; `where` says which.
    """
    parse(content, where)
    return validated(model, content, where)


def validated(model: type[R], content: bytes, where: str) -> R:
    """Validates JSON text strictly: a number in quotation marks is no number.

    Raises:
        BundleError: It does not fit.
    """
    try:
        return model.model_validate_json(content, strict=True)
    except ValidationError as error:
        raise BundleError(f"{where}: {first_error(error)}") from error


def first_error(error: ValidationError) -> str:
    """What did not fit first, in one line."""
    first, *others = error.errors(include_url=False, include_input=False)
    field = ".".join(str(part)[:80] for part in first["loc"]) or "the record"
    more = f" (and {len(others)} more)" if others else ""
    message = first["msg"].removeprefix("Value error, ")
    return f"{field}: {message[:1].lower()}{message[1:400]}{more}"


# --- Values ----------------------------------------------------------------------------------------------------------------------


def parse(content: bytes, where: str, most: int = _MOST_VALUES) -> Any:
    """Parses JSON as strictly as can be, and looks at every text in it.

    Args:
        content: JSON text in UTF-8.
        where: What to call it in messages.
        most: The most values that it may hold.

    Raises:
        BundleError: It is no such text.
    """
    try:
        value = _decoder().decode(content.decode("utf-8"))
    except RecursionError as error:
        raise BundleError(f"{where}: is nested too deeply") from error
    except (ValueError, TypeError) as error:
        raise BundleError(f"{where}: is not valid JSON ({str(error)[:200]})") from error
    if not _is_harmless(content):
        _look_through(value, where, most)
    return value


@functools.cache
def _decoder() -> json.JSONDecoder:
    return json.JSONDecoder(parse_constant=_no_constant, parse_float=_finite, parse_int=_countable, object_pairs_hook=_no_duplicates)


def _is_harmless(content: bytes) -> bool:
    """Whether nothing in a line can be too long, too deep, too much or half a character, as far as its bytes tell, which is quick."""
    return (
        len(content) <= _LONGEST_TEXT
        and content.count(b"[") + content.count(b"{") <= _DEEPEST
        and content.count(b",") < _MOST_VALUES
        and b"\\u" not in content
    )


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError("a number is too large")
    return value


def _countable(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:  # Read as a float, it could be infinite.
        raise ValueError("a number is too large")
    return int(digits)


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)[:40]!r} stands twice in one object")
    return fields


def _look_through(value: Any, where: str, most: int) -> None:
    level, count = [value], 0
    for _ in range(_DEEPEST):
        count += len(level)
        if count > most:
            raise BundleError(f"{where}: holds more than {most} values")
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below += item.keys()
                below += item.values()
            elif isinstance(item, list):
                below += item
            elif isinstance(item, str):
                _check_text(item, where)
        if not below:
            return
        level = below
    raise BundleError(f"{where}: is nested more than {_DEEPEST} levels deep")


def _check_text(text: str, where: str) -> None:
    if len(text) > _LONGEST_TEXT:
        raise BundleError(f"{where}: a text has {len(text)} characters, more than the {_LONGEST_TEXT} that it may have")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BundleError(f"{where}: a text holds half of a surrogate pair, which is no character") from error
