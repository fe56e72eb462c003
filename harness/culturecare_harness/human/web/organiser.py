"""The organiser's page: how far each rater has come, as it happens, and the address that each is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import gradio as gr

from culturecare import cultures
from culturecare_harness.human.forms import select_language
from culturecare_harness.human.items import called
from culturecare_harness.human.ratings import completeness
from culturecare_harness.human.web.consents import read_consent

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Mapping

    from fastapi import FastAPI

    from culturecare_harness.human.items import OpenPacket
    from culturecare_harness.human.web.journal import Journal

__all__ = ["Standing", "mount", "standings"]

_SECONDS = 5
_WIDTHS = {
    "Rater": 120,
    "State": 104,
    "Finished": 100,
    "Items": 80,
    "Address": 330,
    "Last answer": 150,
    "Declined": 100,
    "Culture": 100,
    "Language": 104,
}
"""Columns and their widths in pixels: no heading breaks within a word, and a narrow window scrolls away first what matters least."""
_STYLE = f"#raters {{ max-width: {sum(_WIDTHS.values()) + 2}px }}"
_FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Noto Sans", "Arial", "sans-serif")


class Standing(NamedTuple):
    """How far a rater has come.

    Attributes:
        state: `not begun` until consent is there, then `at work`, and `finished`.
        declined: Answers with a reason in place of a value.
        last: When the last answer was given.
    """

    rater: str
    culture: str
    language: str
    state: str
    finished: int
    items: int
    declined: int
    last: dt.datetime | None
    path: str


def standings(packet: OpenPacket, tokens: Mapping[str, str], journals: Mapping[str, Journal]) -> list[Standing]:
    """How far each rater has come, in the packet's order of raters.

    Args:
        packet: What is rated.
        tokens: Raters' access codes, by rater.
        journals: Raters' answers, by rater.

    Raises:
        CultureCareError: A file of ratings or a consent does not fit the packet.
    """
    ratings = {rater: journal.ratings() for rater, journal in journals.items()}
    found = []
    for one in completeness(packet, [rating for of_rater in ratings.values() for rating in of_rater]):
        agreed = read_consent(packet, one.rater) is not None
        found.append(
            Standing(
                rater=one.rater,
                culture=one.culture,
                language=packet.assignment(one.rater).language,
                state="finished" if one.complete else "at work" if agreed else "not begun",
                finished=one.finished,
                items=one.items,
                declined=one.declined,
                last=max((rating.at for rating in ratings[one.rater]), default=None),
                path=f"/r/{tokens[one.rater]}",
            )
        )
    return found


def mount(
    app: FastAPI, path: str, packet: OpenPacket, tokens: Mapping[str, str], journals: Mapping[str, Journal], names: Mapping[str, str]
) -> FastAPI:
    """Adds the organiser's page to the app.

    Args:
        app: The app.
        path: Where to. The page names every access code: only its organiser may know the path.
        packet: What is rated.
        tokens: Raters' access codes, by rater.
        journals: Raters' answers, by rater.
        names: Raters' names, by rater, of those who have one.

    Returns:
        The app.
    """

    def look(request: gr.Request) -> list[list[str | int]]:
        base = f"{request.url.scheme}://{request.headers['host']}"
        return [_row(standing, base, names) for standing in standings(packet, tokens, journals)]

    blocks = _blocks(packet.packet.id, look)
    served: FastAPI = gr.mount_gradio_app(
        app,
        blocks,
        path=path,
        footer_links=[],
        run_history=False,
        show_error=False,
        max_file_size=0,
        ssr_mode=False,
        css=_STYLE,
        mcp_server=False,
        enable_monitoring=False,
        theme=gr.themes.Base(font=[gr.themes.Font(name) for name in _FONTS], font_mono=[gr.themes.Font(name) for name in _FONTS]),
    )
    return served


def _blocks(packet_id: str, look: Callable[[gr.Request], list[list[str | int]]]) -> gr.Blocks:
    blocks: gr.Blocks = gr.Blocks(analytics_enabled=False, title="CultureCare raters", fill_width=True)
    with blocks:
        gr.Markdown(
            f"# Raters of packet {packet_id}\nHow far they are, anew every {_SECONDS} seconds. Give each rater their address, and "
            "nobody this page's. Times are in UTC."
        )
        table = gr.Dataframe(
            headers=list(_WIDTHS),
            column_widths=list(_WIDTHS.values()),
            pinned_columns=1,
            interactive=False,
            show_search="filter",
            max_height=2000,
            wrap=True,
            label="Raters",
            elem_id="raters",
            show_label=False,
        )
        timer = gr.Timer(_SECONDS)
        for event in (blocks.load, timer.tick):
            event(look, None, table, show_progress="hidden", queue=False, api_visibility="private")
    return blocks


def _row(standing: Standing, base: str, names: Mapping[str, str]) -> list[str | int]:
    return [
        called(standing.rater, names),
        standing.state,
        standing.finished,
        standing.items,
        base + standing.path,
        f"{standing.last:%Y-%m-%d %H:%M}" if standing.last else "–",
        standing.declined,
        cultures()[standing.culture].name,
        select_language(standing.language).name,
    ]
