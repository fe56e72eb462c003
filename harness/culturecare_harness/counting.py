"""Counts in words: one post, two posts."""

from __future__ import annotations

__all__ = ["are", "counted"]


def counted(number: int, one: str, many: str = "") -> str:
    """A count with its noun, such as `1 post` and `2,000 posts`.

    Args:
        number: How many.
        one: The noun for one.
        many: The noun for any other number, by default with an s.
    """
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def are(number: int) -> str:
    """The verb that goes with a count: `is` or `are`."""
    return "is" if number == 1 else "are"
