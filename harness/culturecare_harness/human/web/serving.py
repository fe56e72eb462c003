"""Serving: the form on a port of this machine, and what its organiser sees on the terminal."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import secrets
import socket
from typing import TYPE_CHECKING

from culturecare import CultureCareError
from culturecare_harness.human.items import RATINGS, called, open_packet, read_names, read_tokens
from culturecare_harness.human.ratings import completeness, ratings_path, read_ratings
from culturecare_harness.human.web.app import create_app
from culturecare_harness.human.web.consents import read_consent

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from culturecare_harness.human.items import OpenPacket
    from culturecare_harness.progress import Progress

__all__ = ["overview", "serve"]

_LOCK = ".serving"


def serve(folder: Path, progress: Progress, *, host: str = "127.0.0.1", port: int = 7861, open_browser: bool = False) -> None:
    """Serves the form for a packet until it is interrupted. Answers are on the disk as soon as they are given.

    Args:
        folder: The packet.
        progress: Told each rater's address, and how far they come.
        host: Address to listen on; `0.0.0.0` for everyone in the network.
        port: Port to listen on; 0 for one that is free.
        open_browser: Whether the organiser's page is opened in the browser.

    Raises:
        CultureCareError: The packet, its access codes or its ratings do not fit, a file of ratings cannot be written to, it is served
            already, or the port is taken.
    """
    import uvicorn

    packet = open_packet(folder)
    tokens, names = read_tokens(folder), read_names(folder)
    organiser = f"/organiser/{secrets.token_urlsafe(16)}"
    _check_writable(packet)
    with _alone(folder), _listen(host, port) as listening:
        app = create_app(packet, tokens, say=progress.say, organiser=organiser, names=names)
        base = f"http://{_shown(host)}:{listening.getsockname()[1]}"
        for sentence in overview(packet, tokens, base, names):
            progress.say(sentence)
        if not _is_loopback(host):
            progress.say(
                "Warning: what is sent is not encrypted, and whoever has an address is that rater. "
                "Use this in a network that you trust, or behind a proxy that adds TLS."
            )
        progress.say(f"Organiser's page, not for raters: {base}{organiser}")
        progress.say(f"Form for {folder}: {base} (stop with Ctrl+C; every answer is on the disk as soon as it is given)")
        if open_browser:
            import webbrowser

            webbrowser.open(base + organiser)
        config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=3)
        with contextlib.suppress(KeyboardInterrupt):  # Raised again by uvicorn, once it has shut down.
            uvicorn.Server(config).run(sockets=[listening])
        for sentence in overview(packet, tokens, base, names):
            progress.say(sentence)


def _check_writable(packet: OpenPacket) -> None:
    """Tells the organiser before the first rater finds out."""
    for rater in packet.assignments:
        path = ratings_path(packet, rater)
        if path.exists() and not os.access(path, os.W_OK):
            raise CultureCareError(f"{path}: cannot be written to, so that no answer of rater {rater!r} could be kept")


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keeps a second server from a packet. The system frees what a killed one held."""
    from filelock import FileLock, Timeout

    try:
        (folder / RATINGS).mkdir(exist_ok=True)
        held = FileLock(folder / RATINGS / _LOCK).acquire(timeout=0)
    except Timeout:
        raise CultureCareError(f"{folder}: is being served already; one server at a time keeps a packet's ratings") from None
    except OSError as error:
        raise CultureCareError(f"{folder}: cannot be written to ({error.strerror})") from error
    with held:
        yield


def overview(packet: OpenPacket, tokens: Mapping[str, str], base: str, names: Mapping[str, str] | None = None) -> list[str]:
    """A sentence for each rater: their address, who they are, and how far they have come.

    Args:
        packet: The packet.
        tokens: Raters' access codes, by rater.
        base: Address of the server.
        names: Raters' names, by rater, of those who have one.

    Raises:
        CultureCareError: A file of ratings does not fit the packet.
    """
    sentences = []
    shown = {rater: called(rater, names or {}) for rater in packet.assignments}
    longest = max(map(len, shown.values()), default=0)
    for found in completeness(packet, read_ratings(packet)):
        done = "finished" if found.complete else f"{found.finished} of {found.items}"
        if read_consent(packet, found.rater) is None:
            done = f"{found.items} items, not begun"
        language = packet.assignment(found.rater).language
        sentences.append(f"  {base}/r/{tokens[found.rater]}  {shown[found.rater]:<{longest}}  {language}  {done}")
    return sentences


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise CultureCareError(f"{host}:{port}: can't be listened on ({error.strerror}); choose --host or --port") from error


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _shown(host: str) -> str:
    """The host as it stands in an address; one that stands for every address is shown by this machine's name."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.is_unspecified:
        return socket.gethostname()
    return f"[{host}]" if address.version == 6 else host
