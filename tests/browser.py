"""A leaderboard that is served for real, and Debian's Chromium to look at it."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, BrowserContext, Page

    from culturecare_leaderboard.source import Source

_ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextlib.contextmanager
def served(source: Source) -> Iterator[str]:
    """Serves a leaderboard on a free port of this machine; yields its address, ending in `/`."""
    uvicorn = pytest.importorskip("uvicorn", reason="needs the extra `leaderboard`")
    from culturecare_leaderboard import create_app

    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(create_app(source), log_level="warning", access_log=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + 60
        while not server.started:
            if not thread.is_alive() or time.monotonic() > deadline:
                raise AssertionError("the leaderboard did not start")
            time.sleep(0.02)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
    finally:
        source.stop()
        server.should_exit = True
        thread.join(20)
        listening.close()


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, or what `CHROMIUM` names; a test is skipped where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if path is None:
        pytest.skip("needs Chromium: install Debian's package `chromium`, or name it by the variable CHROMIUM")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(_ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Watched:
    """What a browser's window did while it was watched.

    Attributes:
        hosts: Every host that was asked for anything, or would have been.
        complaints: Errors of the page's scripts, and of its policy.
        alerts: Texts of dialogues, which only a script that was smuggled in would open.
    """

    hosts: set[str] = field(default_factory=set)
    complaints: list[str] = field(default_factory=list)
    alerts: list[str] = field(default_factory=list)


def watch(context: BrowserContext) -> tuple[Page, Watched]:
    """A new window, watched from its first request."""
    seen = Watched()
    context.on("request", lambda request: seen.hosts.add(urlsplit(request.url).netloc or urlsplit(request.url).scheme))
    page = context.new_page()
    page.on("pageerror", lambda error: seen.complaints.append(str(error)))
    page.on("console", lambda message: seen.complaints.append(message.text) if message.type == "error" else None)

    def dismiss(dialog: object) -> None:
        seen.alerts.append(str(dialog))
        dialog.dismiss()  # type: ignore[attr-defined]

    page.on("dialog", dismiss)
    return page, seen


def contrast_failures(page: Page, least: float = 4.5) -> list[str]:
    """Texts on the page whose contrast with what is behind them is below `least`, each with its ratio (WCAG 2.2, 1.4.3)."""
    found: list[str] = page.evaluate(_CONTRAST, least)
    return found


# A text's background is the nearest one behind it that is not transparent.
_CONTRAST = """(least) => {
  const parse = (text) => { const found = text.match(/[\\d.]+/g).map(Number); return found.length < 4 ? [...found, 1] : found; };
  const channel = (value) => { value /= 255; return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4; };
  const luminance = ([red, green, blue]) => 0.2126 * channel(red) + 0.7152 * channel(green) + 0.0722 * channel(blue);
  const failures = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const element = walk.currentNode.parentElement;
    const style = getComputedStyle(element);
    const box = element.getBoundingClientRect();
    if (!walk.currentNode.textContent.trim() || style.visibility === "hidden" || box.width < 2 || ["SCRIPT", "STYLE", "NOSCRIPT"].includes(element.tagName)) continue;
    let behind = element;
    while (behind && parse(getComputedStyle(behind).backgroundColor)[3] === 0) behind = behind.parentElement;
    const [low, high] = [luminance(parse(style.color)), luminance(behind ? parse(getComputedStyle(behind).backgroundColor) : [255, 255, 255])].sort((a, b) => a - b);
    const ratio = (high + 0.05) / (low + 0.05);
    if (ratio < least) failures.push(`${ratio.toFixed(2)} ${element.tagName}.${element.className}: ${walk.currentNode.textContent.trim().slice(0, 60)}`);
  }
  return failures;
}"""  # noqa: E501 - JavaScript.
