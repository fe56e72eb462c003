"""Ratings: what people answered, how it is kept, and how it is read from other programs' files.

Each rater's answers stand in one JSON Lines file in the packet's folder `ratings`, one line an answer, in the order in which they were
given. An answer that is given again is appended again: the later one counts. A cell that was left blank without a reason says nothing, and
counts only where there is nothing else, whichever was later.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, StrictInt, StrictStr, model_validator

from culturecare import CultureCareError, DataError, Record, parse_record
from culturecare_harness.human.forms import LONGEST_TEXT
from culturecare_harness.human.items import RATINGS, Label, RaterName, asked
from culturecare_harness.records import append_records

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from culturecare_harness.human.forms import Form, Question
    from culturecare_harness.human.items import Item, OpenPacket

__all__ = [
    "LEFT_BLANK",
    "LEFT_OUT",
    "TAKEN_BACK",
    "Added",
    "Completeness",
    "Kind",
    "Latest",
    "Rating",
    "add_ratings",
    "append_ratings",
    "check_ratings",
    "completeness",
    "import_ratings",
    "latest",
    "rate",
    "ratings_path",
    "read_ratings",
    "shortened",
]

SCHEMA_VERSION: Literal[1] = 1

LEFT_BLANK = "left blank"
"""Reason of an answer that is not there, where the rater gave none."""

LEFT_OUT = "left out"
"""Reason of the answers about an item that the rater chose to leave out."""

TAKEN_BACK = "taken back"
"""Reason of a text that the rater emptied on purpose. Unlike a blank cell of a file it overrules what was written before."""

_YEARS = range(2000, 3000)
"""Years in which an answer may be given: beyond, times cannot be counted on from."""

_SLACK = dt.timedelta(days=1)
"""How far ahead of this machine's clock that of another may be."""

Kind = Literal["auto", "jsonl", "xlsx", "label-studio"]


def _is_value(given: Any) -> Any:
    """Says in one sentence what an answer may be, where a union would say of each of its parts why it is not that."""
    of_kind = given is None or (isinstance(given, int | str) and not isinstance(given, bool))
    if not of_kind and not (
        isinstance(given, list | tuple) and all(isinstance(label, str) and re.fullmatch("[A-Z]", label) for label in given)
    ):
        raise ValueError("must be a scale's whole number, a choice's key, a text, or for a ranking a list of labels such as A")
    return _is_text(given)


def _is_text(given: Any) -> Any:
    """Refuses half of a character (a lone surrogate), which JSON can name and no file can hold."""
    if isinstance(given, str) and any(0xD800 <= ord(character) <= 0xDFFF for character in given):
        raise ValueError("holds half of a character, which no file can hold; write the text again")
    return given


def _is_time(given: dt.datetime) -> dt.datetime:
    if given.year not in _YEARS:
        raise ValueError(f"must lie in the years {_YEARS[0]} to {_YEARS[-1]}")
    return given


class Rating(Record):
    """What one rater answered to one question.

    Attributes:
        packet: The packet's id.
        item: The item's id.
        label: Label of the reply that the question is about; null where it is about the item as a whole.
        question: The question's key.
        value: A scale's number, a choice's key, a text, or for a ranking the labels from best to worst; null where there is no answer.
        reason: Why there is no answer; null where there is one.
        at: When it was answered.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    packet: str
    item: str
    label: Label | None
    rater: RaterName
    question: str
    value: Annotated[StrictInt | StrictStr | tuple[Label, ...] | None, BeforeValidator(_is_value)]
    reason: Annotated[Annotated[str, Field(min_length=1, max_length=LONGEST_TEXT)] | None, BeforeValidator(_is_text)] = None
    at: Annotated[AwareDatetime, AfterValidator(_is_time)]

    @model_validator(mode="after")
    def _value_or_reason(self) -> Rating:
        if (self.value is None) == (self.reason is None):
            raise ValueError("a rating has either a value or a reason why there is none")
        return self

    @property
    def cell(self) -> tuple[str, str, str | None, str]:
        """What was rated by whom: rater, item, label, question."""
        return (self.rater, self.item, self.label, self.question)

    @property
    def blank(self) -> bool:
        """Whether it says nothing: a cell that was left blank without a reason, as in a workbook that was filled in half."""
        return self.reason == LEFT_BLANK


class Latest(NamedTuple):
    """Ratings of which none is superseded.

    Attributes:
        ratings: One a question, reply and rater, in the order in which they were given.
        superseded: How many were given again later, by rater; blank cells are no answers that were given.
    """

    ratings: list[Rating]
    superseded: dict[str, int]


class Completeness(Record):
    """How far a rater has come.

    Attributes:
        items: Number of the rater's items, checks and repeats included.
        finished: Items whose required questions all have an answer, or a reason why there is none.
        required: Number of required answers.
        answered: How many of them have a value.
        declined: How many of them have a reason in place of a value.
        open_items: Items that are not finished, in the rater's order.
    """

    rater: str
    culture: str
    items: int = Field(ge=0)
    finished: int = Field(ge=0)
    required: int = Field(ge=0)
    answered: int = Field(ge=0)
    declined: int = Field(ge=0)
    open_items: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether every item is finished."""
        return not self.open_items


class Added(NamedTuple):
    """What `add_ratings` did.

    Attributes:
        new: Answers to what had none, not even a blank cell.
        replaced: Answers that differ from an earlier one or from a blank cell, and now count in its place.
        unchanged: Answers that were there already, and were not written again.
        passed_over: Answers that were not given later than a different one that is there, and blank cells where something is there.
    """

    new: int
    replaced: int
    unchanged: int
    passed_over: int


# --- Checking --------------------------------------------------------------------------------------------------------------------


def rate(
    packet: OpenPacket,
    rater: str,
    item: str,
    label: str | None,
    question: str,
    value: int | str | Sequence[str] | None,
    *,
    at: dt.datetime,
    reason: str | None = None,
    where: str | None = None,
) -> Rating:
    """Makes a rating that fits the packet and its form.

    Args:
        packet: The packet.
        rater: Who answers.
        item: Id of the item.
        label: Label of the reply; null for a question about the item.
        question: Key of the question.
        value: The answer, as in `Rating.value`; null where there is none.
        at: When.
        reason: Why there is no answer, by default `LEFT_BLANK`.
        where: Begins the message where it does not fit, such as the file's name; by default rater and item.

    Raises:
        CultureCareError: The rating does not fit.
    """
    fields = {
        "packet": packet.packet.id,
        "item": item,
        "label": label,
        "rater": rater,
        "question": question,
        "value": value if value is None or isinstance(value, int | str) else tuple(value),
        "reason": (reason or LEFT_BLANK) if value is None else None,
        "at": at.astimezone(dt.UTC),
    }
    where = where or f"rater {rater!r}, item {item!r}{f', reply {label}' if label else ''}"
    rating = parse_record(Rating, fields, where=where)
    check_ratings(packet, [rating], where=where)
    return rating


def check_ratings(packet: OpenPacket, ratings: Iterable[Rating], where: str) -> None:
    """Checks that ratings are of this packet, and answer what was asked.

    Args:
        packet: The packet.
        ratings: What to check.
        where: Begins the message, such as the file's name.

    Raises:
        DataError: A rating does not fit; the message says which and what would be right.
    """
    for rating in ratings:
        of = f"{where}: item {rating.item!r}{f', reply {rating.label}' if rating.label else ''}, question {rating.question!r}"
        if rating.packet != packet.packet.id:
            raise DataError(f"{where}: is of packet {rating.packet!r}, not of {packet.packet.id!r} in {packet.folder}")
        if rating.rater not in packet.assignments:
            raise DataError(f"{where}: the packet has no rater {rating.rater!r}; its raters are {', '.join(packet.assignments)}")
        if rating.item not in packet.items:
            raise DataError(f"{where}: the packet has no item {rating.item!r}")
        if rating.item not in packet.assignments[rating.rater].items:
            raise DataError(f"{where}: item {rating.item!r} was not given to rater {rating.rater!r}")
        item = packet.items[rating.item]
        about = (rating.question, rating.label)
        question = next((known for known, label in asked(packet.packet.form, item) if (known.key, label) == about), None)
        if question is None:
            raise DataError(f"{of}: is not asked; {_what_is_asked(packet.packet.form, item, rating.label)}")
        if (wrong := _what_is_wrong(question, rating, item)) is not None:
            raise DataError(f"{of}: {wrong}")


def _what_is_asked(form: Form, item: Item, label: str | None) -> str:
    if label is not None and label not in item.labels:
        return f"the item's replies are {', '.join(item.labels)}"
    keys = ", ".join(question.key for question, of in asked(form, item) if of == label) or "nothing"
    return f"about {'each reply' if label else 'the item as a whole'} is asked: {keys}"


def _what_is_wrong(question: Question, rating: Rating, item: Item) -> str | None:
    value = rating.value
    if value is None:
        return None
    if question.kind == "text":
        if not isinstance(value, str) or not value.strip():
            return f"must be a text, not {shortened(value)}"
        return f"has {len(value)} characters, but a text has at most {LONGEST_TEXT}" if len(value) > LONGEST_TEXT else None
    if question.kind == "ranking":
        if not isinstance(value, tuple) or sorted(value) != sorted(item.labels):
            return f"must name each of {', '.join(item.labels)} once, from best to worst, not {shortened(value)}"
        return None
    # 1 and True are equal in Python, but strict types let no boolean in.
    known = [allowed.value for allowed in question.values]
    return None if value in known else f"must be one of {', '.join(map(str, known))}, not {shortened(value)}"


def shortened(value: object) -> str:
    """What was found in place of an answer, as it fits into a message."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


# --- Keeping ---------------------------------------------------------------------------------------------------------------------


def ratings_path(packet: OpenPacket, rater: str) -> Path:
    """The file of a rater's answers.

    Raises:
        CultureCareError: The packet has no such rater.
    """
    return packet.folder / RATINGS / f"{packet.assignment(rater).rater}.jsonl"


def append_ratings(packet: OpenPacket, ratings: Sequence[Rating]) -> None:
    """Appends answers to their raters' files, as whole lines that are on the disk when this returns.

    A last line that a killed process left incomplete is mended first, so that no line is glued to it. One process at a time may append for
    a rater.

    Raises:
        CultureCareError: A rating does not fit the packet; then none is written.
    """
    check_ratings(packet, ratings, where=str(packet.folder))
    by_rater: dict[str, list[Rating]] = defaultdict(list)
    for rating in ratings:
        by_rater[rating.rater].append(rating)
    for rater, of_rater in by_rater.items():
        path = ratings_path(packet, rater)
        path.parent.mkdir(exist_ok=True)
        _mend_end(path)
        append_records(path, of_rater)


def _mend_end(path: Path) -> None:
    """Ends a last line that only lacks its line break, and cuts off one that lacks more."""
    if not path.exists():
        return
    with path.open("rb+") as file:
        content = file.read()
        if content and not content.endswith(b"\n"):
            start = content.rfind(b"\n") + 1
            if _is_json(content[start:]):
                file.write(b"\n")
            else:
                file.truncate(start)


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def read_ratings(packet: OpenPacket, rater: str | None = None) -> list[Rating]:
    """Reads answers in the order in which they were given, superseded ones included.

    An incomplete last line, as a killed process leaves it or a running one is about to finish it, is passed over; the file is not changed.

    Args:
        packet: The packet.
        rater: Whose answers, by default everybody's, rater after rater.

    Raises:
        DataError: A line is no rating, or does not fit the packet.
    """
    raters = list(packet.assignments) if rater is None else [rater]
    ratings = []
    for name in raters:
        path = ratings_path(packet, name)
        if path.exists():
            of_rater = _read_lines(path, packet, may_be_torn=True)
            if stray := next((rating for rating in of_rater if rating.rater != name), None):
                raise DataError(f"{path}: holds an answer of rater {stray.rater!r}")
            ratings += of_rater
    return ratings


def _read_lines(path: Path, packet: OpenPacket, *, may_be_torn: bool) -> list[Rating]:
    """Reads ratings from a file; `may_be_torn` passes over a last line that is not complete."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    lines = content.split(b"\n")
    if may_be_torn and lines[-1] and not _is_json(lines[-1]):
        del lines[-1]
    ratings = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{where}: is not valid JSON ({error})") from error
        if not isinstance(fields, dict):
            raise DataError(
                f"{where}: must be a rating, an object with the fields {', '.join(Rating.model_fields)}, not {shortened(fields)}"
            )
        rating = parse_record(Rating, fields, where=where)
        check_ratings(packet, [rating], where)
        ratings.append(rating)
    return ratings


def latest(ratings: Iterable[Rating]) -> Latest:
    """Keeps of several answers to the same question the one that was given last; of equally late ones the last in order.

    A blank cell is kept only where there is nothing else, whichever was later: it is no answer that somebody gave.
    """
    kept: dict[tuple[str, str, str | None, str], Rating] = {}
    superseded: Counter[str] = Counter()
    for rating in sorted(ratings, key=lambda rating: (not rating.blank, rating.at)):
        before = kept.get(rating.cell)
        superseded[rating.rater] += before is not None and not before.blank
        kept[rating.cell] = rating
    return Latest(sorted(kept.values(), key=lambda rating: rating.at), {rater: number for rater, number in superseded.items() if number})


def add_ratings(packet: OpenPacket, ratings: Sequence[Rating]) -> Added:
    """Appends those answers that say something new, so that importing a file twice changes nothing.

    What is there is replaced only by what was given later, and a cell that was left blank without a reason replaces nothing: a workbook
    that was filled in half does not undo what was answered elsewhere, whether both are added at once or one after the other.

    Raises:
        CultureCareError: A rating does not fit the packet; then none is written.
    """
    raters = dict.fromkeys(rating.rater for rating in ratings)
    there = {rating.cell: rating for rater in raters for rating in latest(read_ratings(packet, rater)).ratings}
    done: Counter[str] = Counter()
    fresh: list[Rating] = []
    added: set[tuple[str, str, str | None, str]] = set()
    for rating in sorted(ratings, key=lambda rating: rating.at):
        before = there.get(rating.cell)
        what = "new" if before is None else _against(before, rating, together=rating.cell in added)
        done[what] += 1
        if what in {"new", "replaced"}:
            there[rating.cell] = rating
            added.add(rating.cell)
            fresh.append(rating)
    append_ratings(packet, fresh)
    return Added(*(done[what] for what in Added._fields))


def _against(before: Rating, rating: Rating, *, together: bool) -> str:
    """What becomes of a rating where another is there, as a field of `Added`.

    Of equally late ones that are added together the last in order counts, as in `latest`.
    """
    if (before.value, before.reason) == (rating.value, rating.reason):
        return "unchanged"
    if rating.blank:
        return "passed_over"
    is_later = rating.at > before.at or (together and rating.at == before.at)
    return "replaced" if before.blank or is_later else "passed_over"


def completeness(packet: OpenPacket, ratings: Iterable[Rating]) -> list[Completeness]:
    """How far each rater has come, in the packet's order of raters."""
    given: Mapping[tuple[str, str, str | None, str], Rating] = {rating.cell: rating for rating in latest(ratings).ratings}
    found = []
    for rater, assignment in packet.assignments.items():
        answered, declined, required = 0, 0, 0
        open_items = []
        for name in assignment.items:
            questions = asked(packet.packet.form, packet.items[name])
            cells = [(rater, name, label, question.key) for question, label in questions if question.required]
            there = [given[cell] for cell in cells if cell in given]
            required += len(cells)
            answered += sum(rating.value is not None for rating in there)
            declined += sum(rating.value is None for rating in there)
            if len(there) < len(cells):
                open_items.append(name)
        found.append(
            Completeness(
                rater=rater,
                culture=assignment.culture,
                items=len(assignment.items),
                finished=len(assignment.items) - len(open_items),
                required=required,
                answered=answered,
                declined=declined,
                open_items=tuple(open_items),
            )
        )
    return found


# --- Importing -------------------------------------------------------------------------------------------------------------------

_SUFFIXES: Mapping[str, Kind] = {".jsonl": "jsonl", ".xlsx": "xlsx", ".json": "label-studio"}
_OTHER_SUFFIXES = (".ods", ".xls", ".csv", ".tsv")
_SAVE_AS = "is in a format that is not read; save a workbook as .xlsx, or export from Label Studio in the format JSON"


def import_ratings(packet: OpenPacket, path: Path, kind: Kind = "auto", *, at: dt.datetime) -> list[Rating]:
    """Reads ratings from a file that another program wrote, and checks them against packet and form. Nothing is written; see `add_ratings`.

    Args:
        packet: The packet that the file answers.
        path: A file; or a folder, of which all files of that kind are read.
        kind: Ratings in JSON Lines, a filled workbook, or an export of Label Studio in JSON; by default what the file's ending says.
        at: Now; what claims to be answered later is refused.

    Raises:
        CultureCareError: The file cannot be read, is empty, or holds an answer that does not fit or is still to be given by its time; the
            message says where.
    """
    if path.is_dir():
        suffixes = {suffix for suffix, of in _SUFFIXES.items() if kind in {"auto", of}}
        # Spreadsheet programs lay files whose names begin so beside a workbook that is open.
        there = sorted(file for file in path.iterdir() if not file.name.startswith(("~$", ".")))
        if other := next((file for file in there if file.suffix.lower() in _OTHER_SUFFIXES), None):
            raise DataError(f"{other}: {_SAVE_AS}")  # Passed over, its answers would be missed by nobody.
        files = [file for file in there if file.suffix.lower() in suffixes]
        if not files:
            raise DataError(f"{path}: holds no file of ratings (.jsonl, .xlsx, or .json for Label Studio)")
        return [rating for file in files for rating in import_ratings(packet, file, kind, at=at)]
    if not path.exists():
        raise DataError(f"{path}: is not there; name a file of ratings (.jsonl, .xlsx, or .json for Label Studio)")
    ratings = _read_file(packet, path, _SUFFIXES.get(path.suffix.lower()) if kind == "auto" else kind)
    # Nothing that is answered until then would overrule it.
    if early := next((rating for rating in ratings if rating.at > at + _SLACK), None):
        raise DataError(
            f"{path}: rater {early.rater!r} answers item {early.item!r} at {early.at:%Y-%m-%d %H:%M}, which is still to come; "
            "mend the time, or save the file again where the clock is right"
        )
    return ratings


def _read_file(packet: OpenPacket, path: Path, kind: Kind | None) -> list[Rating]:
    if kind == "jsonl":
        ratings = _read_lines(path, packet, may_be_torn=False)
        if not ratings:
            raise DataError(f"{path}: is empty, but must hold a rating a line, as the files in a packet's folder {RATINGS!r} do")
        return ratings
    if kind == "xlsx":
        from culturecare_harness.human.xlsx import read_workbook

        return read_workbook(packet, path)
    if kind == "label-studio":
        from culturecare_harness.human.label_studio import read_export

        return read_export(packet, path)
    if path.suffix.lower() in _OTHER_SUFFIXES:
        raise DataError(f"{path}: {_SAVE_AS}")
    raise CultureCareError(f"{path}: cannot tell what kind of file it is; name it with --kind jsonl, xlsx or label-studio")
