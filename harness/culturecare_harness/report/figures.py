"""How figures are written in the report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from culturecare import cultures

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "cultures_listed",
    "grade",
    "interval",
    "listed",
    "number",
    "of_all",
    "p_value",
    "percent",
    "share",
    "signed",
    "signed_interval",
    "signed_with_interval",
    "with_interval",
]

NOTHING = "–"


def grade(value: float | None) -> str:
    """A mean grade, or a coefficient."""
    return NOTHING if value is None else _minus(f"{value:z.2f}")


def interval(low: float | None, high: float | None) -> str:
    """An interval of grades; nothing where there is none."""
    return "" if low is None or high is None else f"[{grade(low)}, {grade(high)}]"


def signed(value: float | None) -> str:
    """A difference, with its sign."""
    return NOTHING if value is None else _minus(f"{value:+z.2f}")


def signed_interval(low: float | None, high: float | None) -> str:
    """An interval of differences; nothing where there is none."""
    return "" if low is None or high is None else f"[{signed(low)}, {signed(high)}]"


def with_interval(value: float | None, low: float | None, high: float | None) -> str:
    """A mean grade or a coefficient, with its interval where there is one."""
    return f"{grade(value)} {interval(low, high)}".strip()


def signed_with_interval(value: float | None, low: float | None, high: float | None) -> str:
    """A difference, with its interval where there is one."""
    return f"{signed(value)} {signed_interval(low, high)}".strip()


def share(value: float | None, low: float | None, high: float | None) -> str:
    """A share in [0, 1] as per cent, with its interval where there is one."""
    return percent(value) if low is None or high is None else f"{percent(value)} [{percent(low)}, {percent(high)}]"


def percent(value: float | None, digits: int = 0) -> str:
    """A share in [0, 1] as per cent."""
    return NOTHING if value is None else f"{100 * value:.{digits}f} %"


def p_value(value: float | None) -> str:
    """A p-value to three digits."""
    return NOTHING if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def number(value: int) -> str:
    """A count with its thousands parted."""
    return f"{value:,}"


def of_all(count: int, every: int) -> str:
    """How many of all have a value: the number alone where it is all of them."""
    return number(count) if count == every else f"{number(count)} of {number(every)}"


def _minus(figure: str) -> str:
    return figure.replace("-", "−")


def listed(names: Sequence[str]) -> str:
    """Names as a sentence lists them."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def cultures_listed(keys: Sequence[str]) -> str:
    """Names of cultures as a sentence lists them; a key that the registry does not know stands for itself."""
    return listed([cultures()[key].name if key in cultures() else key for key in keys]) if keys else "no culture"
