"""Colours and type: the palette is data, from which style sheet, gradio's theme and the contrast test are made."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gradio.themes import Base

__all__ = ["HEAT", "PALETTE", "contrast", "gradio_theme", "ink_on", "style_sheet"]

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
    "warn_panel": ("#fff6e3", "#2e2716"),
    "bad_panel": ("#fdeeee", "#351f20"),
    "good_panel": ("#eaf6ee", "#182a1f"),
}
"""Each colour in light and in dark."""

HEAT: tuple[str, ...] = ("#f7f4ea", "#e3e9dc", "#c4dbd6", "#9dc8cd", "#73b0c1", "#4c95b2", "#2f789f", "#1d5a87", "#123f6b")
"""Sequential scale from grade 1 to grade 5: its lightness falls evenly, so that it reads without seeing colour, and in print."""

_FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Noto Sans", "Arial", "sans-serif")
_MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "DejaVu Sans Mono", "monospace")


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


def style_sheet() -> str:
    """The style sheet of every page."""
    light, dark = ("".join(f"--{name.replace('_', '-')}:{pair[index]};" for name, pair in PALETTE.items()) for index in (0, 1))
    heat = "".join(f".cc .heat-{step}{{background:{colour};color:{ink_on(colour)}}}" for step, colour in enumerate(HEAT))
    rules = (Path(__file__).parent / "style.css").read_text(encoding="utf-8")
    return f":root{{{light}}}.dark{{{dark}}}{rules}{heat}"


def gradio_theme() -> Base:
    """Gradio's own parts in the same colours, with the system's fonts: no font is loaded from anywhere."""
    import gradio as gr

    def both(name: str, *variables: str) -> dict[str, str]:
        light, dark = PALETTE[name]
        return {key: value for variable in variables for key, value in ((variable, light), (f"{variable}_dark", dark))}

    theme = gr.themes.Base(font=[gr.themes.Font(name) for name in _FONTS], font_mono=[gr.themes.Font(name) for name in _MONO])
    return theme.set(
        **both("paper", "body_background_fill", "background_fill_primary", "block_background_fill", "button_primary_text_color"),
        **both("panel", "background_fill_secondary", "button_secondary_background_fill"),
        **both("ink", "body_text_color", "button_secondary_text_color", "block_label_text_color", "block_title_text_color"),
        **both("muted", "body_text_color_subdued", "block_info_text_color"),
        **both("edge", "border_color_primary", "block_border_color", "button_secondary_border_color"),
        **both("link", "link_text_color", "link_text_color_hover", "link_text_color_visited", "link_text_color_active"),
        **both("accent", "button_primary_background_fill", "button_primary_background_fill_hover"),
    )
