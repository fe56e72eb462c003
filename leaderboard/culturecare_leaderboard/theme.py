"""Colours and type: the style sheet, and gradio's own parts in the same colours."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from culturecare_harness.colours import PALETTE, heat_rules, variables

if TYPE_CHECKING:
    from gradio.themes import Base

__all__ = ["gradio_theme", "style_sheet"]

_FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Noto Sans", "Arial", "sans-serif")
_MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "DejaVu Sans Mono", "monospace")


def style_sheet() -> str:
    """The style sheet of every page."""
    light, dark = variables()
    rules = (Path(__file__).parent / "style.css").read_text(encoding="utf-8")
    return f":root{{{light}}}.dark{{{dark}}}{rules}{heat_rules('.cc ')}"


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
