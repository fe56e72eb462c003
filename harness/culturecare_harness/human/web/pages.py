"""Pages: from what is known to HTML, in which nothing foreign is markup."""

from __future__ import annotations

import functools
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from culturecare_harness.human.forms import LONGEST_TEXT, select_language
from culturecare_harness.human.items import asked, instructions
from culturecare_harness.human.ratings import LEFT_BLANK, LEFT_OUT, TAKEN_BACK
from culturecare_harness.human.web.fields import cell_name, place_name
from culturecare_harness.human.web.journal import is_left_out
from culturecare_harness.human.web.words import select_words
from culturecare_harness.inert import inert, prose
from culturecare_harness.records import digest

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from culturecare_harness.human.forms import Form, Question
    from culturecare_harness.human.items import Item, OpenPacket
    from culturecare_harness.human.ratings import Rating
    from culturecare_harness.human.web.journal import Answer, Cell

__all__ = ["ASSETS", "Asset", "ItemState", "Visit", "consent_page", "gate_page", "item_page", "plain_page"]

_FOLDER = Path(__file__).parent
_SHORT = 22
_BEGINNING = 70


# --- Files ------------------------------------------------------------------------------------------------------------------------


class Asset(NamedTuple):
    """A file that pages load from the same server.

    Attributes:
        version: Hash of the content, which is part of the address: browsers may keep it for ever.
    """

    content: bytes
    media_type: str
    version: str


def _asset(name: str, media_type: str) -> Asset:
    content = (_FOLDER / name).read_bytes()
    return Asset(content, media_type, digest(content.decode("utf-8"))[:8])


ASSETS: Mapping[str, Asset] = {
    "form.css": _asset("form.css", "text/css; charset=utf-8"),
    "form.js": _asset("form.js", "text/javascript; charset=utf-8"),
    "icon.svg": _asset("icon.svg", "image/svg+xml"),
}


# --- Rendering --------------------------------------------------------------------------------------------------------------------


def _worded(sentence: str, **values: Any) -> Markup:
    """A sentence of the interface with its braces filled in; neither it nor what is filled in is read as markup, unless it is Markup."""
    return Markup(escape(sentence)).format(**values)  # noqa: S704 - escaped.


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_FOLDER / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"inert": inert, "prose": prose}
    environment.globals |= {"worded": _worded, "asset": lambda name: f"/static/{ASSETS[name].version}/{name}", "longest": LONGEST_TEXT}
    return environment


class Visit(NamedTuple):
    """Whose page it is, and in which language.

    Attributes:
        token: The rater's access code, null where nobody is known.
        language: ISO 639-1 code of the page's language.
        choices: Languages to choose from.
        path: Where the same page is in another language, behind the language's code.
    """

    token: str | None
    language: str
    choices: Sequence[str]
    path: str = ""

    @property
    def base(self) -> str:
        """Address of the rater's pages in this language."""
        return f"/r/{self.token}/{self.language}"


def _render(name: str, visit: Visit, **context: Any) -> str:
    language = select_language(visit.language)
    context |= {"visit": visit, "language": language, "interface": language.interface, "words": select_words(visit.language)}
    context["languages"] = [select_language(code) for code in visit.choices]
    return _environment().get_template(name).render(context)


def gate_page(visit: Visit, *, wrong: bool) -> str:
    """Asks for an access code, and says whether the one that was given is not known."""
    return _render("gate.html", visit, wrong=wrong)


def consent_page(visit: Visit, packet: OpenPacket, rater: str, form: Form, *, missing: bool) -> str:
    """Says what it is about and what posts may hold, and asks for consent.

    Args:
        visit: Whose page it is.
        packet: The packet.
        rater: Who is asked.
        form: The form in the page's language.
        missing: Whether neither answer was chosen.
    """
    return _render("consent.html", visit, form=form, told=_instructions(packet, rater, visit), missing=missing)


def plain_page(kind: str, visit: Visit, **context: Any) -> str:
    """A page that asks nothing: `declined`, `paused`, `finished` or `problem`."""
    return _render(f"{kind}.html", visit, **context)


# --- Items ------------------------------------------------------------------------------------------------------------------------


class _Option(NamedTuple):
    """A value to choose.

    Attributes:
        digit: The key that chooses it, empty beyond the ninth.
    """

    id: str
    value: str
    digit: str
    wording: str
    chosen: bool


class _Row(NamedTuple):
    """A reply in a ranking."""

    label: str
    name: str
    beginning: str
    options: list[_Option]


class _Asked(NamedTuple):
    """A question on the page.

    Attributes:
        id: Of its group of fields.
        first: Id of the field that the focus goes to.
        short: Whether its wordings fit side by side.
        missing: Whether it is to be marked as not answered.
    """

    question: Question
    label: str | None
    id: str
    first: str
    name: str
    options: list[_Option]
    rows: list[_Row]
    text: str
    short: bool
    answered: bool
    missing: bool


class ItemState(NamedTuple):
    """How far a rater has come with an item, and what its page says of that.

    Attributes:
        place: The item's place in the rater's order, from 0.
        given: The answers that count.
        open_places: Places of the items that are not finished.
        seen: How many answers of this rater the page knows of.
        missing: What was not answered when the rater wanted to go on.
        places: Places in a ranking that is not complete.
        unsaved: Answers that could not be written down; they stand on the page in place of `given`. Null where nothing failed.
        reason: The reason for leaving something blank that was given with it.
    """

    place: int
    given: Mapping[Cell, Rating]
    open_places: Collection[int]
    seen: int
    missing: Collection[Cell] = ()
    places: Mapping[str, int] = {}
    unsaved: Mapping[Cell, Answer] | None = None
    reason: str = ""

    def value(self, cell: Cell) -> int | str | tuple[str, ...] | None:
        """The answer that stands on the page, null where there is none; of a ranking, labels from best to worst."""
        if self.unsaved and cell in self.unsaved:
            value = self.unsaved[cell].value
            return value if value is None or isinstance(value, int | str) else tuple(value)
        return self.given[cell].value if cell in self.given else None


def item_page(visit: Visit, packet: OpenPacket, rater: str, form: Form, state: ItemState) -> str:
    """A post with its replies and questions.

    Args:
        visit: Whose page it is.
        packet: The packet.
        rater: Whose item it is.
        form: The form in the page's language.
        state: How far they have come with it.
    """
    assignment = packet.assignment(rater)
    item = packet.items[assignment.items[state.place]]
    questions = asked(form, item)
    shown = [_ask(question, label, item, state) for question, label in questions]
    unanswered = next((entry for entry in shown if not entry.answered and entry.question.required), shown[0])
    return _render(
        "item.html",
        visit,
        form=form,
        told=_instructions(packet, rater, visit),
        item=item,
        place=state.place,
        total=len(assignment.items),
        open_places=state.open_places,
        replies=[(reply, [entry for entry in shown if entry.label == reply.label]) for reply in item.replies],
        of_item=[entry for entry in shown if entry.label is None],
        missing=[entry for entry in shown if entry.missing],
        failed=state.unsaved is not None,
        left_out=is_left_out(questions, state.given),
        reason=state.reason or _given_reason(state.given),
        seen=state.seen,
        skip_to=unanswered.first,
        keys=min(9, max((len(entry.options) for entry in shown), default=5)),
        # Where a browser keeps what it could not send; it tells nothing to who else uses that browser.
        store=digest([packet.packet.id, rater, item.id]),
    )


def _instructions(packet: OpenPacket, rater: str, visit: Visit) -> tuple[str, ...]:
    return (*instructions(packet, rater, select_language(visit.language).interface), select_words(visit.language).saving)


def _given_reason(given: Mapping[Cell, Rating]) -> str:
    """The first reason that a rater wrote themselves, empty where there is none."""
    return next(
        (rating.reason for rating in given.values() if rating.reason and rating.reason not in {LEFT_OUT, LEFT_BLANK, TAKEN_BACK}), ""
    )


def _ask(question: Question, label: str | None, item: Item, state: ItemState) -> _Asked:
    cell = (question.key, label)
    value = state.value(cell)
    group = f"q-{label or 'item'}-{question.key}"
    options = [
        _Option(
            f"{group}-{known.value}",
            str(known.value),
            str(known.value) if question.kind == "scale" else str(number),
            known.wording,
            known.value == value,
        )
        for number, known in enumerate(question.values, 1)
    ]
    rows = _rows(question, item, group, value if isinstance(value, tuple) else (), state.places) if question.kind == "ranking" else []
    return _Asked(
        question=question,
        label=label,
        id=group,
        first=_first(group, options, rows),
        name=cell_name(question.key, label),
        options=options,
        rows=rows,
        text=value if question.kind == "text" and isinstance(value, str) else "",
        short=all(_width(known.wording) <= _SHORT for known in question.values),
        answered=value is not None and cell not in (state.unsaved or ()),
        missing=cell in state.missing,
    )


def _first(group: str, options: Sequence[_Option], rows: Sequence[_Row]) -> str:
    """The chosen field, as the key Tab would go to, or else the first one."""
    fields = options or (rows[0].options if rows else [])
    return next((option.id for option in fields if option.chosen), fields[0].id if fields else f"{group}-text")


def _rows(question: Question, item: Item, group: str, order: Sequence[str], places: Mapping[str, int]) -> list[_Row]:
    chosen = {label: place for place, label in enumerate(order, 1)} | dict(places)
    rows = []
    for reply in item.replies:
        options = [
            _Option(f"{group}-{reply.label}-{place}", str(place), str(place), "", chosen.get(reply.label) == place)
            for place in range(1, len(item.replies) + 1)
        ]
        beginning = " ".join(reply.text.split())
        beginning = beginning if len(beginning) <= _BEGINNING else beginning[:_BEGINNING].rstrip() + "…"
        rows.append(_Row(reply.label, place_name(question.key, reply.label), beginning, options))
    return rows


def _width(text: str) -> int:
    """How many columns a text takes where wide characters take two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)
