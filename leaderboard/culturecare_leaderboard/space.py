"""The app in the browser: gradio carries addresses to the server and pages back, and takes uploads."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from culturecare_harness.admission import refusals
from culturecare_harness.bundle import BundleError, read_bundle
from culturecare_leaderboard.address import read_address
from culturecare_leaderboard.pages import checked, footer, page

if TYPE_CHECKING:
    from culturecare_harness.bundle import Bundle
    from culturecare_leaderboard.source import Source

__all__ = ["build", "check_upload"]

_LONGEST_QUERY = 4000
_LOADING = """<div class="cc"><header><div class="brand"><h1>CultureCare</h1></div></header>
<p role="status">Loading the board … If nothing comes within a few seconds, load this page again; it needs JavaScript.</p></div>"""


def check_upload(source: Source, path: str | None) -> tuple[list[str], Bundle | None]:
    """Reads and checks an uploaded bundle, and deletes it.

    Returns:
        Every reason why it would be refused, and the bundle where there is none.
    """
    if path is None:
        return [], None
    uploaded = Path(path)
    try:
        bundle = read_bundle(uploaded)
    except BundleError as error:
        return [str(error)], None
    finally:
        uploaded.unlink(missing_ok=True)
    tables = source.state.tables
    there = tables.board.all_entries if tables is not None else ()
    known = {protocol.name: protocol for protocol in tables.board.protocols} if tables is not None else None
    reasons = refusals(bundle, there, known=known)
    return (reasons, None) if reasons else ([], bundle)


def build(source: Source) -> gr.Blocks:
    """The app.

    Args:
        source: The board to show.
    """
    answers = itertools.count()

    def show(event: gr.EventData) -> tuple[str, Any, Any, str]:
        query, accepted = getattr(event, "query", ""), getattr(event, "accepted", False)
        if not isinstance(query, str) or len(query) > _LONGEST_QUERY:
            query = ""
        address, notices = read_address(query)
        html = page(source.state, source.results, address, notices, accepted=accepted is True)
        # The browser is told of a value only where it changed, and waits to be told: no two answers are the same.
        html += f"<!-- {next(answers)} -->"
        checks = address.tab == "submit"
        return html, gr.update(visible=checks), gr.skip() if checks else "", footer(source.state, source.results)

    def check(path: str | None) -> tuple[str, None]:
        return checked(source.results, *check_upload(source, path)), None

    # Where gradio looks for a newer version of itself and counts its users, unless told otherwise.
    with gr.Blocks(analytics_enabled=False, title="CultureCare leaderboard", fill_width=True, delete_cache=(3600, 3600)) as blocks:
        router = gr.HTML(
            _LOADING,
            js_on_load=(Path(__file__).parent / "router.js").read_text(encoding="utf-8"),
            apply_default_css=False,
            elem_id="router",
        )
        with gr.Column(visible=False, elem_id="check") as upload:
            file = gr.File(label="Bundle (one ZIP file, at most 64 MB)", file_types=[".zip"], type="filepath", height=150)
            button = gr.Button("Check the bundle", variant="primary")
            verdict = gr.HTML("", apply_default_css=False, js_on_load=None)
        foot = gr.HTML("", apply_default_css=False, js_on_load=None)
        router.submit(
            show,
            None,
            [router, upload, verdict, foot],
            queue=False,
            show_progress="hidden",
            trigger_mode="always_last",  # Who clicks before the last page has come wants the next one.
            api_visibility="private",
        )
        button.click(check, file, [verdict, file], concurrency_limit=2, show_progress="minimal", api_visibility="private")
    app: gr.Blocks = blocks
    return app
