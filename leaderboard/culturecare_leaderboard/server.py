"""The server: the app, its exports, and headers that keep the browser from asking any other host."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from culturecare import CultureCareError
from culturecare_leaderboard.address import read_address
from culturecare_leaderboard.export import TABLES, export_table, to_csv, to_json
from culturecare_leaderboard.source import Source
from culturecare_leaderboard.theme import gradio_theme, style_sheet
from culturecare_leaderboard.views.settling import settle

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from fastapi import FastAPI
    from starlette.requests import Request
    from starlette.responses import Response

    from culturecare_harness.progress import Progress

__all__ = ["create_app", "launch"]

# gradio's page holds inline scripts and compiles its templates, so that these two can't be forbidden; other hosts can.
_POLICY = {
    "default-src": "'self'",
    "script-src": "'self' 'unsafe-inline' 'unsafe-eval'",
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "'self' data: blob:",
    "font-src": "'self' data:",
    "connect-src": "'self'",
    "worker-src": "'self' blob:",
    "object-src": "'none'",
    "base-uri": "'self'",
    "form-action": "'self'",
    "frame-ancestors": "'self' https://huggingface.co",
}
_HEADERS = [
    (b"content-security-policy", "; ".join(f"{name} {value}" for name, value in _POLICY.items()).encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
]


class _Headers:
    """ASGI middleware that adds `_HEADERS` to every answer."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_HEADERS]
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)


def create_app(source: Source) -> FastAPI:
    """The whole app: pages at `/`, tables at `/export/…`.

    Args:
        source: The board to show, read already.
    """
    # Read by gradio when it is imported.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    import gradio as gr
    from fastapi import FastAPI

    from culturecare_leaderboard.space import build

    app = FastAPI(title="CultureCare leaderboard", docs_url=None, redoc_url=None, openapi_url=None)

    app.add_route("/export/{table}.{form}", lambda request: _export(source, request), methods=["GET"])
    app.add_middleware(_Headers)
    served: FastAPI = gr.mount_gradio_app(
        app,
        build(source),
        path="/",
        footer_links=[],
        run_history=False,
        show_error=False,
        max_file_size="64mb",
        ssr_mode=False,
        mcp_server=False,
        enable_monitoring=False,
        theme=gradio_theme(),
        # As `css`, gradio would prefix each selector, and cut those with `:is(a, b)` in two.
        head=f"<style>{style_sheet()}</style>",
    )
    return served


def _export(source: Source, request: Request) -> Response:
    from starlette.responses import PlainTextResponse, Response

    table, form = request.path_params["table"], request.path_params["form"]
    if table not in TABLES or form not in ("csv", "json"):
        return PlainTextResponse(f"There is no such table; there are {', '.join(TABLES)}, each as .csv and .json.", 404)
    tables = source.state.tables
    if tables is None:
        return PlainTextResponse("The board is not there yet; ask again in a few minutes.", 503)
    settled = settle(tables, read_address(request.url.query)[0])
    rows = export_table(tables, settled.protocol, settled.address, table)
    return Response(
        to_csv(rows) if form == "csv" else to_json(rows, settled.protocol),
        media_type="text/csv; charset=utf-8" if form == "csv" else "application/json",
        headers={"Content-Disposition": f'attachment; filename="culturecare-{settled.protocol.name}-{table}.{form}"'},
    )


def launch(
    results: str, progress: Progress, *, host: str = "127.0.0.1", port: int = 7860, patient: bool = False, open_browser: bool = False
) -> None:
    """Serves a board until it is interrupted; nothing is ever written to it.

    Args:
        results: A folder, or `hf://datasets/OWNER/NAME[@REVISION]`.
        progress: Told what is read, and where the board can be seen.
        host: Address to listen on; `0.0.0.0` for everyone.
        port: Port to listen on.
        patient: Whether the page is there before the board is read, and also where it can't be, as a Space must be.
        open_browser: Whether the page is opened in the user's browser.

    Raises:
        CultureCareError: No board is named, it can't be read, or the port is taken.
    """
    import socket

    import uvicorn

    if not results.strip():
        raise CultureCareError(f"{results!r} names no board: give a folder, or hf://datasets/OWNER/NAME")
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((host, port))
        except OSError as error:
            raise CultureCareError(f"{host}:{port}: can't be listened on ({error.strerror}); choose --host or --port") from error
    source = Source(results, progress)
    if not patient:
        source.read()
        if source.state.problem:
            raise CultureCareError(source.state.problem)
    source.watch()
    app = create_app(source)
    shown = f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}"  # noqa: S104
    progress.say(f"Leaderboard of {results}: {shown} (stop with Ctrl+C)")
    if open_browser:
        import webbrowser

        webbrowser.open(shown)
    try:
        uvicorn.run(app, host=host, port=port, log_level="warning", access_log=False)
    finally:
        source.stop()
