"""Pages: from the state of a board and an address to HTML, in which nothing foreign is markup."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from culturecare import CultureCareError
from culturecare_harness.colours import HEAT
from culturecare_harness.inert import inert, prose
from culturecare_harness.judges import judges
from culturecare_harness.report.published import published
from culturecare_harness.strategies import strategies
from culturecare_leaderboard.address import ANY, SIZES, TABS, Address
from culturecare_leaderboard.commands import commands, given_to
from culturecare_leaderboard.views.gains import gains_of
from culturecare_leaderboard.views.heat import across_cultures, culture_by_dimension
from culturecare_leaderboard.views.items import compare, items_of
from culturecare_leaderboard.views.ranking import COLUMNS, PAGE, WORDS, ranking
from culturecare_leaderboard.views.settling import settle
from culturecare_leaderboard.views.tables import GROUPS, SUMMARIES, standing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from culturecare_harness.board import Entry
    from culturecare_harness.bundle import Bundle
    from culturecare_harness.protocols import Protocol
    from culturecare_leaderboard.source import State
    from culturecare_leaderboard.views.settling import Settled
    from culturecare_leaderboard.views.tables import Tables

__all__ = ["checked", "footer", "page"]

_LINES, _GAINS, _ITEMS, _PAIRS, _CHOICES, _REFUSED = PAGE, 40, 5, 25, 60, 200
_NOT_SAID = ("not said", "Not said")

CITATION = """@inproceedings{liu-etal-2026-tailored,
  title     = {Tailored Emotional {LLM}-Supporter: Enhancing Cultural Sensitivity},
  author    = {Liu and Arnaout and Kovačić and Atzil-Slonim and Gurevych},
  booktitle = {Proceedings of EACL 2026},
  year      = {2026},
  pages     = {535--574},
  note      = {arXiv:2508.07902}
}"""


# --- Filters of the templates ----------------------------------------------------------------------------------------------------


def _signed(value: float) -> str:
    text = f"{abs(value):.2f}"
    return text if text == "0.00" else f"{'+' if value > 0 else '−'}{text}"


def _percent(value: float) -> str:
    # Rounded down, so that 99.96 % is not shown as all.
    return f"{int(value * 1000 + 1e-9) / 10:g} %"


def _counted(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def _size(parameters: float | None) -> str:
    if parameters is None:
        return "not said"
    for unit, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M")):
        if parameters >= unit:
            return f"{parameters / unit:.3g}{letter}"
    return f"{parameters:,}"


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "inert": inert,
        "prose": prose,
        "signed": _signed,
        "percent": _percent,
        "size": _size,
        "standing": standing,
        "counted": _counted,
    }
    return environment


# --- Pages -----------------------------------------------------------------------------------------------------------------------


def page(state: State, source: str, address: Address, notices: Sequence[str] = (), *, accepted: bool = False) -> str:
    """The page that an address asks for.

    Args:
        state: What there is to show.
        source: What was opened, as it was named.
        address: What is asked for.
        notices: Sentences about what could not be understood.
        accepted: Whether the reader has seen the warning and wants to see replies.
    """
    frame: dict[str, Any] = {
        "tabs": TABS,
        "source": source,
        "problem": state.problem,
        "read": _moment(state),
        "protocol": None,
        "notices": notices,
        "address": address,
        "start": Address(),
        "published": None,
        "title": TABS[address.tab],
    }
    if state.tables is None:
        return _render("unread.html", frame | {"title": "No board" if state.problem else "Reading the board"})
    tables = state.tables
    settled = settle(tables, address)
    address, protocol = settled.address, settled.protocol
    frame |= {
        "address": address,
        "protocol": protocol,
        "protocols": [(known.name, known.title + (" (retired)" if known.status == "retired" else "")) for known in tables.board.protocols],
        "notices": (*notices, *settled.notices),
        "start": Address(protocol=address.protocol),
        "cultures": tables.culture_names(protocol),
        "names": tables.metrics(protocol),
        "groups": tables.dimensions(protocol),
        "steps": len(HEAT),
    }
    if not tables.entries(protocol.name) and address.tab not in ("submit", "about"):
        return _render("empty.html", frame | _how_to_submit(protocol, source) | {"published": published()})
    if address.tab == "submit":
        frame |= _how_to_submit(protocol, source)
    return _PAGES[address.tab](tables, settled, frame, accepted)


def footer(state: State, source: str) -> str:
    """What stands below every page: where the board comes from, and how many submissions are not shown."""
    context = {
        "read": _moment(state),
        "source": source,
        "refused": len(state.tables.board.refused) if state.tables is not None else 0,
        "start": Address(),
    }
    return _render("footer.html", context)


def checked(source: str, reasons: Sequence[str], bundle: Bundle | None) -> str:
    """What the check of an uploaded bundle found: reasons for a refusal, or what would be taken, or neither where there was no file."""
    return _render("checked.html", {"commands": given_to(source), "reasons": reasons, "bundle": bundle})


def _how_to_submit(protocol: Protocol, source: str) -> dict[str, Any]:
    judge = protocol.judges[0]
    file = judges().get(judge.name) if protocol.jury is None else None
    return {"commands": commands(protocol, source), "judge": judge, "judge_file": file, "on_hub": source.startswith("hf://")}


def _moment(state: State) -> str:
    return state.read.strftime("%Y-%m-%d %H:%M UTC") if state.read else ""


def _render(name: str, context: dict[str, Any]) -> str:
    return _environment().get_template(name).render(context)


def _ranking(tables: Tables, settled: Settled, frame: dict[str, Any], _accepted: bool) -> str:  # noqa: FBT001 - pages have one signature.
    address, protocol = settled.address, settled.protocol
    made = ranking(tables, protocol.name, address)
    entries = tables.entries(protocol.name)
    common = [note for note in _notes(entries[0], protocol) if all(note in entry.notes for entry in entries)]
    frame |= _choices(tables, settled) | {
        "ranking": made,
        "published": published(),
        "common_notes": common,
        "headings": _headings(address),
        "filters": ("culture", "strategy", "judge"),
        "judge_choices": [(ANY, "Any"), *((judge, judge) for judge in made.judges)],
    }
    return _render("ranking.html", frame)


def _notes(entry: Entry, protocol: Protocol) -> tuple[str, ...]:
    """A submission's notes without what the banner of a protocol that measures nothing says on every page."""
    return tuple(note for note in entry.notes if protocol.measure or not note.startswith(f"Protocol {protocol.name!r} "))


def _headings(address: Address) -> dict[str, dict[str, str | bool]]:
    """For each column that can be sorted by: name, whether it holds words, its order (empty where another column has one), and a link.

    The link sorts numbers largest first and words from A to Z, and the other way round where that is so already.
    """
    headings: dict[str, dict[str, str | bool]] = {}
    sorted_by, downwards = address.sort.removeprefix("-"), address.sort.startswith("-")
    for key, name in COLUMNS.items():
        first = key if key in WORDS else f"-{key}"
        other = f"-{key}" if key in WORDS else key
        headings[key] = {
            "name": name,
            "words": key in WORDS,
            "order": ("descending" if downwards else "ascending") if key == sorted_by else "",
            "href": address.href(sort=other if address.sort == first else first),
        }
    return headings


def _choices(tables: Tables, settled: Settled) -> dict[str, Any]:
    protocol = settled.protocol
    return {
        "culture_choices": [(ANY, "All cultures"), *tables.culture_names(protocol).items()],
        "strategy_choices": [(ANY, "All strategies"), *((name, name) for name in protocol.strategies)],
        "metric_choices": list(tables.metrics(protocol).items()),
        "size_choices": [(ANY, "Any size"), *((size, size[:1].upper() + size[1:]) for size in SIZES), _NOT_SAID],
        "weights_choices": [(ANY, "Any"), ("open", "Open"), ("closed", "Closed"), _NOT_SAID],
        "verified_choices": [(ANY, "Any"), *GROUPS.items()],
    }


def _strategy_of(entry: Entry, address: Address) -> str:
    return address.strategy if address.strategy in entry.strategies else entry.strategies[0]


def _heat(tables: Tables, settled: Settled, entry: Entry, strategy: str) -> dict[str, Any]:
    metrics, rows = culture_by_dimension(tables, settled.protocol, entry, strategy)
    return {"entry": entry, "strategy": strategy, "metrics": metrics, "rows": rows}


def _cultures(tables: Tables, settled: Settled, frame: dict[str, Any], _accepted: bool) -> str:  # noqa: FBT001
    address, protocol = settled.address, settled.protocol
    lines, number, pages = across_cultures(tables, protocol, address, _LINES)
    entry = tables.entry(protocol.name, address.model) if address.model else None
    if address.model and entry is None:
        frame["notices"] = (*frame["notices"], f"There is no model or submission “{address.model}” under {protocol.title}.")
    if entry is not None:
        frame |= _heat(tables, settled, entry, _strategy_of(entry, address))
    elif lines:
        frame |= _heat(tables, settled, lines[0].entry, lines[0].strategy)
    else:
        frame["entry"] = None
    frame |= _choices(tables, settled) | {"lines": lines, "page": number, "pages": pages, "filters": ("strategy", "metric")}
    return _render("cultures.html", frame)


def _strategies(tables: Tables, settled: Settled, frame: dict[str, Any], _accepted: bool) -> str:  # noqa: FBT001
    address = settled.address
    # A gain is kept for the summaries alone; a dimension that another page has chosen stands at its default here.
    if address.metric not in SUMMARIES:
        address = address.model_copy(update={"metric": "overall"})
    frame |= _choices(tables, settled) | {
        "address": address,
        "metric_choices": [(metric, name) for metric, name in tables.metrics(settled.protocol).items() if metric in SUMMARIES],
        "gains": gains_of(tables, settled.protocol, address, _GAINS),
        "strategy_summaries": {name: strategy.summary for name, strategy in strategies().items()},
        "filters": ("culture", "strategy", "metric"),
    }
    return _render("strategies.html", frame)


def _finder(tables: Tables, settled: Settled, into: str) -> dict[str, Any]:
    words = settled.address.search.casefold().split()
    found = [
        entry
        for entry in sorted(tables.entries(settled.protocol.name), key=lambda entry: entry.model.casefold())
        if all(word in f"{entry.model} {entry.submitter}".casefold() for word in words)
    ]
    return {"choices": found[:_CHOICES], "found": len(found), "into": into}


def _model(tables: Tables, settled: Settled, frame: dict[str, Any], accepted: bool) -> str:  # noqa: FBT001
    address, protocol = settled.address, settled.protocol
    entry = tables.entry(protocol.name, address.model) if address.model else None
    if entry is None:
        return _render("model.html", frame | _finder(tables, settled, "model") | {"entry": None})
    own = ranking(tables, protocol.name, address.model_copy(update={"strategy": ANY, "search": "", "sort": "-overall"}), of=entry.id)
    gains = gains_of(tables, protocol, address.model_copy(update={"metric": "overall", "page": 1}), 99, entry)
    frame |= _choices(tables, settled) | _heat(tables, settled, entry, _strategy_of(entry, address))
    frame |= {"title": entry.model, "scores": [row for group in own.groups for row in group.rows], "scale": own.scale, "gains": gains}
    frame |= {"notes": _notes(entry, protocol), "accepted": accepted, "unreadable": "", "items": (), "found": 0, "page": 1, "pages": 1}
    if accepted:
        try:
            items = items_of(tables, protocol, entry, address)
        except CultureCareError as error:
            frame["unreadable"] = str(error)
        else:
            pages = max(1, -(-len(items) // _ITEMS))
            number = min(address.page, pages)
            frame |= {"items": items[(number - 1) * _ITEMS : number * _ITEMS], "found": len(items), "page": number, "pages": pages}
    return _render("model.html", frame)


def _compare(tables: Tables, settled: Settled, frame: dict[str, Any], accepted: bool) -> str:  # noqa: FBT001
    address, protocol = settled.address, settled.protocol
    first, second = (tables.entry(protocol.name, wanted) if wanted else None for wanted in (address.model, address.compare))
    missing = next((wanted for wanted, entry in ((address.model, first), (address.compare, second)) if wanted and entry is None), "")
    frame |= {"first": first, "second": second, "missing": missing, "comparison": None, "unreadable": "", "accepted": accepted}
    if first is None or second is None:
        return _render("compare.html", frame | _finder(tables, settled, "compare" if first is not None else "model"))
    try:
        frame["comparison"] = compare(tables, protocol, first, second, address, _PAIRS)
    except CultureCareError as error:
        frame["unreadable"] = str(error)
    return _render("compare.html", frame | _choices(tables, settled))


def _submit(_tables: Tables, _settled: Settled, frame: dict[str, Any], _accepted: bool) -> str:  # noqa: FBT001
    return _render("submit.html", frame)


def _about(tables: Tables, settled: Settled, frame: dict[str, Any], _accepted: bool) -> str:  # noqa: FBT001
    refused = sorted(tables.board.refused.items())
    frame |= {
        "as_data": settled.protocol.model_dump(mode="json", exclude={"title", "summary"}, exclude_none=True),
        "reasons": refused[:_REFUSED],
        "more": max(0, len(refused) - _REFUSED),
        "accepted_count": len(tables.board.all_entries),
        "citation": CITATION,
    }
    return _render("about.html", frame)


_PAGES: dict[str, Callable[[Tables, Settled, dict[str, Any], bool], str]] = {
    "ranking": _ranking,
    "cultures": _cultures,
    "strategies": _strategies,
    "model": _model,
    "compare": _compare,
    "submit": _submit,
    "about": _about,
}
