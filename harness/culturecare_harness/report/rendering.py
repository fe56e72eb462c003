"""The report as a page of HTML that needs nothing else, and as Markdown."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2
from markupsafe import Markup

from culturecare_harness import inert
from culturecare_harness.report import figures
from culturecare_harness.report.published import published
from culturecare_harness.report.testing import ALPHA

if TYPE_CHECKING:
    from culturecare_harness.report.page import Report

__all__ = ["HEAT", "PALETTE", "render_html", "render_markdown"]

_FOLDER = Path(__file__).parent / "templates"

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
    "series-0": ("#51606b", "#a7b3bc"),
    "series-1": ("#8a4b08", "#f0b26a"),
    "series-2": ("#6a4c93", "#c3a6ef"),
    "series-3": ("#1f6fa8", "#74bdf0"),
    "series-4": ("#0b7a55", "#5fd0a5"),
}
"""Each colour in light and in dark; the leaderboard's, with one for each strategy."""

HEAT: tuple[str, ...] = ("#f7f4ea", "#e3e9dc", "#c4dbd6", "#9dc8cd", "#73b0c1", "#4c95b2", "#2f789f", "#1d5a87", "#123f6b")
"""Sequential scale from grade 1 to grade 5: its lightness falls evenly, so that it reads without seeing colour, and in print."""

_DARK_INK, _LIGHT_INK = "#10181d", "#ffffff"


def _luminance(colour: str) -> float:
    channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    red, green, blue = (channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4 for channel in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _contrast(one: str, other: str) -> float:
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _ink_on(colour: str) -> str:
    return max((_DARK_INK, _LIGHT_INK), key=lambda ink: _contrast(ink, colour))


def _style() -> Markup:
    light, dark = ("".join(f"--{name}:{pair[place]};" for name, pair in PALETTE.items()) for place in (0, 1))
    heat = "".join(f".heat-{step}{{background:{colour};color:{_ink_on(colour)}}}" for step, colour in enumerate(HEAT))
    rules = (_FOLDER / "style.css").read_text(encoding="utf-8")
    # Paper is white whatever the screen is.
    return Markup(f":root{{{light}}}@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}\n{rules}{heat}")  # noqa: S704 - the package's own.


@functools.cache
def _environment(*, html: bool) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=html,  # noqa: S701 - Markdown is escaped by the filter `md`, which every foreign text goes through.
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"inert": inert.inert, "prose": inert.prose, "md": inert.markdown, "md_prose": inert.markdown_prose}
    environment.filters |= {"fenced": inert.fenced, "plain": inert.plain}
    environment.filters |= {"p_value": figures.p_value, "signed": figures.signed, "percent": figures.percent}
    environment.globals |= {"signed_interval": figures.signed_interval, "alpha": f"{ALPHA:g}", "paper": published().link}
    return environment


def render_html(report: Report) -> str:
    """The report as one HTML page: style and charts stand in it, and it asks for nothing."""
    return _environment(html=True).get_template("report.html").render(report=report, style=_style())


def render_markdown(report: Report) -> str:
    """The report as Markdown, with tables in the charts' place."""
    return _environment(html=False).get_template("report.md").render(report=report)
