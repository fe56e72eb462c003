"""JSON files that the user names, with an error that says what is wrong with one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from culturecare import DataError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["read_json"]


def read_json(path: Path, what: str) -> Any:
    """Reads a JSON file.

    Args:
        path: The file.
        what: What it must be, such as "a result of `culturecare human score`".

    Raises:
        DataError: It is not there, can't be read, is no JSON, or is nested too deeply.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file; name {what}") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); it must be {what}") from error
    except RecursionError as error:
        raise DataError(f"{path}: is nested too deeply, and must be {what}") from error
    except ValueError as error:
        raise DataError(f"{path}: is no JSON, but must be {what}") from error
