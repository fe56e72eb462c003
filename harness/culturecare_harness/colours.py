"""Colours of every page that the project makes: the palette is data, from which style sheets and the contrast tests are made."""

from __future__ import annotations

__all__ = ["HEAT", "PALETTE", "contrast", "heat_rules", "ink_on", "variables"]

PALETTE: dict[str, tuple[str, str]] = {
    "paper": ("#ffffff", "#14181c"),
    "panel": ("#f5f7f8", "#1b2127"),
    "ink": ("#1d2a33", "#e6ebef"),
    "muted": ("#51606b", "#a7b3bc"),
    "line": ("#d5dce1", "#38434c"),
    "edge": ("#73828d", "#8594a0"),
    "link": ("#0b5c7a", "#7cc8e6"),
    "accent": ("#0f6b6b", "#5fc4bd"),
    "good": ("#1f6b3a", "#7fd49b"),
    "bad": ("#9c2f2f", "#f2a3a0"),
    "warn": ("#7a4d00", "#f0c173"),
    "warn-panel": ("#fff6e3", "#2e2716"),
    "bad-panel": ("#fdeeee", "#351f20"),
    "good-panel": ("#eaf6ee", "#182a1f"),
    "series-0": ("#51606b", "#a7b3bc"),
    "series-1": ("#8a4b08", "#f0b26a"),
    "series-2": ("#6a4c93", "#c3a6ef"),
    "series-3": ("#1f6fa8", "#74bdf0"),
    "series-4": ("#0b7a55", "#5fd0a5"),
}
"""Each colour in light and in dark; the series are one for each strategy."""

HEAT: tuple[str, ...] = ("#f7f4ea", "#e3e9dc", "#c4dbd6", "#9dc8cd", "#73b0c1", "#4c95b2", "#2f789f", "#1d5a87", "#123f6b")
"""Sequential scale from grade 1 to grade 5: its lightness falls evenly, so that it reads without seeing colour, and in print."""


def _luminance(colour: str) -> float:
    channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    red, green, blue = (channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4 for channel in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours `#rrggbb`, from 1 to 21 (WCAG 2.2)."""
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def ink_on(colour: str) -> str:
    """Black or white, whichever reads better on a colour."""
    return max(("#10181d", "#ffffff"), key=lambda ink: contrast(ink, colour))


def variables() -> tuple[str, str]:
    """The palette as CSS variables, in light and in dark."""
    light, dark = ("".join(f"--{name}:{pair[place]};" for name, pair in PALETTE.items()) for place in (0, 1))
    return light, dark


def heat_rules(within: str = "") -> str:
    """CSS rules `.heat-0` to `.heat-8`: the scale, each step with the ink that reads on it.

    Args:
        within: Selector that the rules are kept within, such as `.page `.
    """
    return "".join(f"{within}.heat-{step}{{background:{colour};color:{ink_on(colour)}}}" for step, colour in enumerate(HEAT))
