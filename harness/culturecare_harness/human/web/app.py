"""The app: which address shows what to whom, and headers that keep the browser from asking any other host."""

from __future__ import annotations

import datetime as dt
import hmac
import os
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

from culturecare import CultureCareError
from culturecare_harness.human.forms import LONGEST_TEXT, languages, select_language
from culturecare_harness.human.items import asked
from culturecare_harness.human.ratings import LEFT_OUT
from culturecare_harness.human.web.consents import give_consent, read_consent
from culturecare_harness.human.web.fields import MOST_BYTES, FormError, place_name, read_answers, read_form
from culturecare_harness.human.web.journal import Answer, Journal, is_left_out
from culturecare_harness.human.web.pages import ASSETS, ItemState, Visit, consent_page, gate_page, item_page, plain_page

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, MutableMapping

    from fastapi import FastAPI
    from starlette.requests import Request
    from starlette.responses import Response

    from culturecare_harness.human.forms import Form, Question
    from culturecare_harness.human.items import OpenPacket
    from culturecare_harness.human.ratings import Rating
    from culturecare_harness.human.web.fields import Read
    from culturecare_harness.human.web.journal import Cell

__all__ = ["create_app", "rater_of"]

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
# gradio's page holds inline scripts and compiles its templates, so that these two can't be forbidden; other hosts can.
_ORGANISER_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; "
    "frame-ancestors 'none'"
)
_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),  # Addresses hold access codes.
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
    (b"x-robots-tag", b"noindex"),
]
_FOR_EVER = "public, max-age=31536000, immutable"
_WANTED = "open"
"""In the address of an item's page where its rater wanted to go on: what is missing is marked."""
_NOT_STORED = 507
"""Insufficient Storage (RFC 4918, 11.5): what was sent is right, but the disk does not take it."""
_LONGEST_AGE = dt.timedelta(days=30)
_MOST_DIGITS = 12
"""Most digits of a number that a page sends: no page knows of more answers or waits for more milliseconds."""


class _Headers:
    """ASGI middleware that adds `_HEADERS` and a policy to every answer, and keeps pages out of every cache."""

    def __init__(self, app: Callable[..., Awaitable[None]], organiser: str | None) -> None:
        self._app = app
        self._organiser = organiser

    async def __call__(self, scope: MutableMapping[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        of_organiser = self._organiser is not None and scope.get("path", "").startswith(self._organiser)
        policy = (b"content-security-policy", (_ORGANISER_POLICY if of_organiser else _POLICY).encode())

        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                names = {name.lower() for name, _ in message["headers"]}
                kept = [] if b"cache-control" in names else [(b"cache-control", b"no-store")]
                message["headers"] = [*message["headers"], *kept, policy, *_HEADERS]
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)


class _Site(NamedTuple):
    """What the app knows.

    Attributes:
        tokens: Raters' access codes, by rater.
        journals: By rater.
        now: Tells the time.
        say: Takes sentences for whoever runs the server.
    """

    packet: OpenPacket
    tokens: Mapping[str, str]
    journals: Mapping[str, Journal]
    now: Callable[[], dt.datetime]
    say: Callable[[str], None]

    def form_in(self, language: str) -> Form:
        """The form in the page's language."""
        return self.packet.packet.wordings[language]


class _Known(NamedTuple):
    """A rater who is known by their code, and the language of the page that they ask for."""

    rater: str
    visit: Visit
    journal: Journal


def rater_of(tokens: Mapping[str, str], code: str) -> str | None:
    """The rater with that access code, null where there is none.

    Codes are compared in a time that does not depend on how much of one is right. They may be typed in capitals, and without hyphens.
    """
    given = _plain(code)
    found = [rater for rater, token in tokens.items() if hmac.compare_digest(_plain(token), given)]
    return found[0] if found else None


def _plain(code: str) -> bytes:
    return "".join(code.casefold().replace("-", " ").split()).encode("utf-8", "replace")


def create_app(
    packet: OpenPacket,
    tokens: Mapping[str, str],
    *,
    now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
    say: Callable[[str], None] = lambda _: None,
    organiser: str | None = None,
    names: Mapping[str, str] | None = None,
) -> FastAPI:
    """The app: `/` asks for an access code, `/r/CODE` shows a rater what they have to rate.

    Args:
        packet: What is rated.
        tokens: Raters' access codes, by rater.
        now: Tells the time, with a time zone.
        say: Takes sentences on what goes on, from several threads.
        organiser: Path of the organiser's page, such as `/organiser/SECRET`; without it there is none.
        names: Raters' names, by rater, for the organiser's page alone.

    Raises:
        CultureCareError: A rater has no code, two have the same, or ratings or consents do not fit the packet.
    """
    from fastapi import FastAPI

    site = _open_site(packet, tokens, now, say)
    app = FastAPI(title="CultureCare form", docs_url=None, redoc_url=None, openapi_url=None)
    for path, (show, methods) in _ROUTES.items():
        app.add_route(path, _threaded(site, show), methods=methods)
    app.add_exception_handler(404, lambda request, _: _html(gate_page(_stranger(site, request), wrong=False), 404))
    app.add_middleware(_Headers, organiser=organiser)
    return app if organiser is None else _with_organiser(app, organiser, site, names or {})


def _open_site(packet: OpenPacket, tokens: Mapping[str, str], now: Callable[[], dt.datetime], say: Callable[[str], None]) -> _Site:
    """Reads all that is there of raters, so that what does not fit is told before anybody rates."""
    _check_tokens(packet, tokens)
    journals = {rater: Journal(packet, rater, now) for rater in packet.assignments}
    for rater, journal in journals.items():
        journal.ratings()
        read_consent(packet, rater)
    return _Site(packet, {rater: tokens[rater] for rater in packet.assignments}, journals, now, say)


def _with_organiser(app: FastAPI, path: str, site: _Site, names: Mapping[str, str]) -> FastAPI:
    # Read by gradio when it is imported.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    from culturecare_harness.human.web.organiser import mount

    return mount(app, path, site.packet, site.tokens, site.journals, names)


def _check_tokens(packet: OpenPacket, tokens: Mapping[str, str]) -> None:
    if missing := [rater for rater in packet.assignments if rater not in tokens]:
        raise CultureCareError(f"{packet.folder}: rater {missing[0]!r} has no access code; codes are made with the packet")
    plain = [_plain(tokens[rater]) for rater in packet.assignments]
    if len(set(plain)) < len(plain) or not all(plain):
        raise CultureCareError(f"{packet.folder}: two raters have the same access code, or an empty one")


def _threaded(site: _Site, show: Callable[..., Response]) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint that reads the form, and then works in a thread, since answers are written to the disk before it is done."""
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import PlainTextResponse

    async def endpoint(request: Request) -> Response:
        body = b""
        if request.method == "POST":
            async for chunk in request.stream():
                body += chunk
                if len(body) > MOST_BYTES:
                    return PlainTextResponse("The form is too long.", 413)
        return await run_in_threadpool(_guarded, site, show, request, body)

    return endpoint


def _guarded(site: _Site, show: Callable[..., Response], request: Request, body: bytes) -> Response:
    try:
        return show(site, request, read_form(body))
    except CultureCareError as error:
        site.say(f"{request.method} failed: {error}")
        return _html(plain_page("problem", _visit(site, request)), 400 if isinstance(error, FormError) else 500)
    except OSError as error:
        _tell_not_kept(site, _who(site, request), error)
        return _html(plain_page("problem", _visit(site, request)), _NOT_STORED)


def _tell_not_kept(site: _Site, known: _Known | None, error: OSError) -> None:
    who = known.rater if known is not None else "somebody unknown"
    site.say(f"{who}: what was sent could not be kept in {site.packet.folder} ({error.strerror or error})")


# --- Who is it? -------------------------------------------------------------------------------------------------------------------


def _gate(site: _Site, request: Request, fields: Mapping[str, str]) -> Response:
    code = fields.get("token") or request.query_params.get("token") or ""
    if not code:
        return _html(gate_page(_stranger(site, request), wrong=request.method == "POST"), 400 if request.method == "POST" else 200)
    rater = rater_of(site.tokens, code)
    return _to(f"/r/{site.tokens[rater]}") if rater is not None else _refuse(site, request)


def _enter(site: _Site, request: Request, _fields: Mapping[str, str]) -> Response:
    known = _who(site, request)
    return _to(known.visit.base) if known is not None else _refuse(site, request)


def _who(site: _Site, request: Request) -> _Known | None:
    """The rater whose code is in the address; a language that they are not asked in is their own."""
    rater = rater_of(site.tokens, request.path_params.get("token", ""))
    if rater is None:
        return None
    own = site.packet.assignment(rater).language
    choices = tuple(dict.fromkeys([own, site.packet.packet.form.language]))
    language = request.path_params.get("language", own)
    _, _, path = request.url.path.removeprefix("/r/").partition("/")
    visit = Visit(site.tokens[rater], language if language in choices else own, choices, path.partition("/")[2].removesuffix("/answer"))
    return _Known(rater, visit, site.journals[rater])


def _visit(site: _Site, request: Request) -> Visit:
    known = _who(site, request)
    return known.visit if known is not None else _stranger(site, request)


def _refuse(site: _Site, request: Request) -> Response:
    return _html(gate_page(_stranger(site, request), wrong=True), 403)


def _stranger(site: _Site, request: Request) -> Visit:
    """A visit by somebody unknown, in the first language that their browser asks for and the interface has."""
    wanted = (part.partition(";")[0].strip().lower()[:2] for part in request.headers.get("accept-language", "").split(","))
    spoken = next((code for code in wanted if code in languages()), site.packet.packet.form.language)
    return Visit(None, spoken, ())


# --- What is shown ----------------------------------------------------------------------------------------------------------------


def _begin(site: _Site, request: Request, fields: Mapping[str, str]) -> Response:
    """Asks for consent, or goes on where the rater stopped."""
    known = _who(site, request)
    if known is None:
        return _refuse(site, request)
    if read_consent(site.packet, known.rater) is not None:
        return _to(_next(known, 0))
    visit = known.visit
    if fields.get("consent") == "no":
        return _html(plain_page("declined", visit))
    if fields.get("consent") == "yes":
        give_consent(site.packet, known.rater, visit.language, site.now())
        site.say(f"{known.rater}: agreed to take part ({select_language(visit.language).name})")
        return _to(_next(known, 0))
    missing = request.method == "POST"
    return _html(consent_page(visit, site.packet, known.rater, site.form_in(visit.language), missing=missing), 422 if missing else 200)


def _pause(site: _Site, request: Request, _fields: Mapping[str, str]) -> Response:
    known = _who(site, request)
    return _html(plain_page("paused", known.visit)) if known is not None else _refuse(site, request)


def _end(site: _Site, request: Request, _fields: Mapping[str, str]) -> Response:
    known = _who(site, request)
    if known is None:
        return _refuse(site, request)
    if read_consent(site.packet, known.rater) is None or known.journal.open_places():
        return _to(known.visit.base)
    return _html(plain_page("finished", known.visit, total=len(site.packet.assignment(known.rater).items)))


def _next(known: _Known, after: int) -> str:
    """Address of the first open item from a place on, then from the start, then of the end."""
    open_places = known.journal.open_places()
    place = next((place for place in open_places if place >= after), open_places[0] if open_places else None)
    return f"{known.visit.base}/{'end' if place is None else place + 1}"


def _item(site: _Site, request: Request, fields: Mapping[str, str]) -> Response:
    known = _who(site, request)
    if known is None:
        return _refuse(site, request)
    place = _place(site, request, known)
    if place is None or read_consent(site.packet, known.rater) is None:
        return _to(known.visit.base)
    if request.method == "POST":
        try:
            return _leave(site, known, place, fields)
        except OSError as error:
            _tell_not_kept(site, known, error)
            return _html(_unsaved_page(site, known, place, fields), _NOT_STORED)
    name = site.packet.assignment(known.rater).items[place]
    told = dict(request.query_params)
    state = _state(site, known, place)
    missing = _missing(site, name, state.given) if _WANTED in told else ()
    return _html(_page(site, known, state._replace(missing=missing, places=_read(site, name, told).places)))


def _state(site: _Site, known: _Known, place: int) -> ItemState:
    name = site.packet.assignment(known.rater).items[place]
    return ItemState(place, known.journal.of_item(name), known.journal.open_places(), seen=len(known.journal.ratings()))


def _unsaved_page(site: _Site, known: _Known, place: int, fields: Mapping[str, str]) -> str:
    """The same page with all that was sent, so that it can be sent again."""
    name = site.packet.assignment(known.rater).items[place]
    read = _read(site, name, fields)
    unsaved = _changed(known, name, read, fields)
    state = _state(site, known, place)
    return _page(site, known, state._replace(unsaved=unsaved, places=read.places, reason=fields.get("reason", "").strip()))


def _page(site: _Site, known: _Known, state: ItemState) -> str:
    return item_page(known.visit, site.packet, known.rater, site.form_in(known.visit.language), state)


def _place(site: _Site, request: Request, known: _Known) -> int | None:
    """The place that the address names: raters count their own items, and cannot name another's."""
    number = request.path_params["number"]
    total = len(site.packet.assignment(known.rater).items)
    place = int(number) - 1 if number.isascii() and number.isdecimal() and len(number) < 7 else -1
    return place if 0 <= place < total else None


# --- What is answered -------------------------------------------------------------------------------------------------------------


def _leave(site: _Site, known: _Known, place: int, fields: Mapping[str, str]) -> Response:
    """Keeps a page's answers and goes on, unless something is missing; or leaves the item out."""
    name = site.packet.assignment(known.rater).items[place]
    reason = fields.get("reason", "").strip()
    if len(reason) > LONGEST_TEXT:
        raise FormError(f"the reason has {len(reason)} characters, but a text has at most {LONGEST_TEXT}")
    was_open = place in known.journal.open_places()
    if "leave_out" in fields:
        required = [(question.key, label) for question, label in _questions(site, name) if question.required]
        known.journal.give(name, dict.fromkeys(required, Answer(None, reason or LEFT_OUT)))
        return _go_on(site, known, place, was_open=was_open)
    read = _read(site, name, fields)
    known.journal.give(name, _changed(known, name, read, fields))
    missing = _missing(site, name, known.journal.of_item(name))
    if missing and not reason:
        # What is missing is worked out again there: that page can be loaded again, and tells what is still missing then.
        places = {place_name(_ranking(site), label): number for label, number in read.places.items()}
        return _to(f"{known.visit.base}/{place + 1}?{urlencode({_WANTED: 1, **places})}")
    known.journal.give(name, dict.fromkeys(missing, Answer(None, reason)))
    return _go_on(site, known, place, was_open=was_open)


def _questions(site: _Site, name: str) -> list[tuple[Question, str | None]]:
    return asked(site.packet.packet.form, site.packet.items[name])


def _ranking(site: _Site) -> str:
    return next(question.key for question in site.packet.packet.form.questions if question.kind == "ranking")


def _missing(site: _Site, name: str, given: Mapping[Cell, Rating]) -> list[Cell]:
    """What is required and has no value; nothing where the item was left out."""
    questions = _questions(site, name)
    if is_left_out(questions, given):
        return []
    required: list[Cell] = [(question.key, label) for question, label in questions if question.required]
    return [cell for cell in required if cell not in given or given[cell].value is None]


def _read(site: _Site, name: str, fields: Mapping[str, str]) -> Read:
    return read_answers(site.packet.packet.form, site.packet.items[name], fields)


def _changed(known: _Known, name: str, read: Read, fields: Mapping[str, str]) -> dict[Cell, Answer]:
    """Those of a page's answers that its rater changed there, so that a page left open long ago does not undo what was said since."""
    seen = fields.get("seen", "")
    is_number = seen.isascii() and seen.isdecimal() and len(seen) <= _MOST_DIGITS
    shown = known.journal.of_item(name, int(seen)) if is_number else {}
    return {
        cell: answer
        for cell, answer in read.answers.items()
        if _as_shown(answer.value) != (_as_shown(shown[cell].value) if cell in shown else None)
    }


def _as_shown(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _go_on(site: _Site, known: _Known, place: int, *, was_open: bool) -> Response:
    if was_open:
        left = len(known.journal.open_places())
        total = len(site.packet.assignment(known.rater).items)
        site.say(f"{known.rater}: {total - left} of {total}" + ("" if left else ", finished"))
    return _to(_next(known, place + 1))


def _answer(site: _Site, request: Request, fields: Mapping[str, str]) -> Response:
    """Keeps one answer as soon as it is given, and says so in JSON once it is on the disk."""
    from starlette.responses import JSONResponse

    known = _who(site, request)
    if known is None:
        return JSONResponse({"error": "code"}, 403)
    place = _place(site, request, known)
    if place is None or read_consent(site.packet, known.rater) is None:
        return JSONResponse({"error": "consent"}, 403)
    name = site.packet.assignment(known.rater).items[place]
    read = _read(site, name, fields)
    age = fields.get("age", "0")
    if not (age.isascii() and age.isdecimal()):
        raise FormError(f"age {age[:40]!r} is no number of milliseconds")
    waited = min(dt.timedelta(milliseconds=min(int(age[:_MOST_DIGITS]), 10**11)), _LONGEST_AGE)
    given = known.journal.give(name, read.answers, waited)
    return JSONResponse({"written": given.written, "passed_over": given.passed_over})


# --- Responses --------------------------------------------------------------------------------------------------------------------


def _html(text: str, status: int = 200) -> Response:
    from starlette.responses import HTMLResponse

    return HTMLResponse(text, status)


def _to(path: str) -> Response:
    from starlette.responses import RedirectResponse

    return RedirectResponse(path, 303)


def _static(_site: _Site, request: Request, _fields: Mapping[str, str]) -> Response:
    from starlette.responses import PlainTextResponse, Response

    asset = ASSETS.get(request.path_params["name"])
    if asset is None:
        return PlainTextResponse("There is no such file.", 404)
    kept = {"cache-control": _FOR_EVER} if asset.version == request.path_params["version"] else None
    return Response(asset.content, media_type=asset.media_type, headers=kept)


def _icon(_site: _Site, _request: Request, _fields: Mapping[str, str]) -> Response:
    """The icon for pages that name none, such as the organiser's."""
    from starlette.responses import Response

    return Response(ASSETS["icon.svg"].content, media_type=ASSETS["icon.svg"].media_type)


_ROUTES: Mapping[str, tuple[Callable[[_Site, Request, Mapping[str, str]], Response], list[str]]] = {
    "/": (_gate, ["GET", "POST"]),
    "/favicon.ico": (_icon, ["GET"]),
    "/static/{version}/{name}": (_static, ["GET"]),
    "/r/{token}": (_enter, ["GET"]),
    "/r/{token}/{language}": (_begin, ["GET", "POST"]),
    "/r/{token}/{language}/pause": (_pause, ["GET"]),
    "/r/{token}/{language}/end": (_end, ["GET"]),
    "/r/{token}/{language}/{number}": (_item, ["GET", "POST"]),
    "/r/{token}/{language}/{number}/answer": (_answer, ["POST"]),
}
