"""The report as a page of HTML that needs nothing else, and as Markdown."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2
from markupsafe import Markup, escape

from culturecare_harness import inert
from culturecare_harness.colours import heat_rules, variables
from culturecare_harness.report import figures
from culturecare_harness.report.published import published
from culturecare_harness.report.testing import ALPHA

if TYPE_CHECKING:
    from culturecare_harness.report.page import Report

__all__ = ["render_html", "render_markdown"]

_FOLDER = Path(__file__).parent / "templates"


def _style() -> Markup:
    light, dark = variables()
    rules = (_FOLDER / "style.css").read_text(encoding="utf-8")
    # Paper is white whatever the screen is.
    return Markup(f":root{{{light}}}@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}\n{rules}{heat_rules()}")  # noqa: S704 - the package's own.


def _coded(text: str) -> Markup:
    """The project's own words in HTML, with what stands between backticks as code."""
    words, *rest = text.split("`")
    parts = [escape(words)]
    for place, part in enumerate(rest):
        parts.append(escape(part) if place % 2 else Markup("<code>{}</code>").format(part))
    return Markup("").join(parts)


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
    environment.filters |= {"coded": _coded}
    environment.filters |= {"p_value": figures.p_value, "signed": figures.signed, "percent": figures.percent}
    environment.globals |= {"signed_interval": figures.signed_interval, "alpha": f"{ALPHA:g}", "paper": published().link}
    return environment


def render_html(report: Report) -> str:
    """The report as one HTML page: style and charts stand in it, and it asks for nothing."""
    return _environment(html=True).get_template("report.html").render(report=report, style=_style())


def render_markdown(report: Report) -> str:
    """The report as Markdown, with tables in the charts' place."""
    return _environment(html=False).get_template("report.md").render(report=report)
