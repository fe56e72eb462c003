"""Settings as `name=value`, the way command lines take them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from culturecare import CultureCareError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["read_overrides"]


def read_overrides(given: Iterable[str], what: str, example: str) -> dict[str, Any]:
    """Reads settings, the last of one name counting.

    Args:
        given: Each as `name=value`, the value in YAML.
        what: What they are, for the error.
        example: What one looks like, for the error.

    Raises:
        CultureCareError: One is no `name=value`, or its value is not valid YAML.
    """
    changes = {}
    for override in given:
        name, equals, value = override.partition("=")
        if not equals or not name:
            raise CultureCareError(f"{what} {override!r}: must be name=value, such as {example}")
        try:
            changes[name] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise CultureCareError(f"{what} {override!r}: the value is not valid YAML") from error
    return changes
