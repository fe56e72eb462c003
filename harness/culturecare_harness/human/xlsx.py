"""Workbooks: a rater's items as an XLSX file to be filled in, and the answers read back from it.

One row is one reply, or several merged rows where its text is too long for one. Texts are locked, answers are chosen from lists. Reading
compares every locked cell with the packet, so that a reply that was moved, edited or deleted is noticed instead of being graded in
another's place.
"""

from __future__ import annotations

import contextlib
import math
import re
import unicodedata
import zipfile
import zlib
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Any, NamedTuple

from culturecare import CultureCareError, DataError
from culturecare_harness.human.forms import select_language
from culturecare_harness.human.items import asked, instructions, shown_post, shown_reply
from culturecare_harness.human.ratings import LEFT_BLANK, rate, shortened
from culturecare_harness.records import digest, whole_file

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from openpyxl import Workbook
    from openpyxl.cell import Cell, MergedCell
    from openpyxl.worksheet.worksheet import Worksheet

    from culturecare_harness.human.forms import Form, Language, Question
    from culturecare_harness.human.items import Item, OpenPacket
    from culturecare_harness.human.ratings import Rating

__all__ = ["check_openpyxl", "read_workbook", "write_workbook", "write_workbooks"]

_LONGEST_CELL = 32_767  # Characters; Excel cuts off what is longer.
_HIGHEST_ROW = 409.0  # Points; no program shows a row that is higher.
_FIRST_ROW = 3  # Row 1 holds the columns' keys and is hidden, row 2 the headings.
_HIDDEN = "culturecare"
_MARK = "culturecare-ratings/1"
_BEGINS_FORMULA = ("=", "+", "-", "@")
_RIGHT_TO_LEFT = "\u200f"
_TEXTS = ("post", "reply")  # Columns whose texts are in whatever language they were written in.
# openpyxl has no error of its own for a damaged file: these come through from zipfile, zlib, two XML parsers (SyntaxError) and its classes.
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, LookupError, SyntaxError, TypeError, ValueError)


class _Column(NamedTuple):
    """A column of the ratings sheet.

    Attributes:
        question: What is asked in it; null for a column of texts and for that of the reason.
    """

    key: str
    heading: str
    width: int
    question: Question | None = None


class _Row(NamedTuple):
    """What the ratings sheet says of a reply of an item.

    Attributes:
        place: The item's place in the rater's order, from 1.
        first: Whether it is the first reply of its item, in whose row the questions about the item are answered.
    """

    place: int
    item: Item
    label: str
    text: str
    post: str
    first: bool


class _Place(NamedTuple):
    """Where a reply stands in the ratings sheet.

    Attributes:
        first: Number of its first row.
        last: Number of its last row; all its rows but the first are merged into that.
        height: Points of each of them.
    """

    first: int
    last: int
    height: float


def check_openpyxl() -> None:
    """Sees to it that workbooks can be read and written.

    Raises:
        CultureCareError: The library for them is not installed.
    """
    try:
        import openpyxl  # noqa: F401
    except ModuleNotFoundError as error:
        raise CultureCareError("workbooks need openpyxl: pip install 'culturecare[human]'") from error


def write_workbooks(packet: OpenPacket, folder: Path) -> list[Path]:
    """Writes a workbook for each rater into a folder.

    Args:
        packet: The packet.
        folder: Where to; made where it is not there.

    Returns:
        The files, in the packet's order of raters.

    Raises:
        CultureCareError: A file is there already, or a text does not fit into a cell.
    """
    return [write_workbook(packet, rater, folder / f"{rater}.xlsx") for rater in packet.assignments]


def write_workbook(packet: OpenPacket, rater: str, path: Path) -> Path:
    """Writes a rater's workbook, with instructions in the rater's language.

    Args:
        packet: The packet.
        rater: Whose.
        path: The file, which must not be there.

    Returns:
        The file.

    Raises:
        CultureCareError: The packet has no such rater, the file is there already, or a text does not fit into a cell.
    """
    check_openpyxl()
    from openpyxl import Workbook

    if path.exists():
        raise CultureCareError(f"{path}: is there already, and workbooks are never overwritten; it may hold answers")
    form = packet.form_of(rater)
    language = select_language(form.language)
    columns = _columns(form, language)
    rows = _rows(packet, rater, language)
    book = Workbook()
    sheet = book.active
    if sheet is None:
        raise CultureCareError(f"{path}: the workbook has no sheet")
    sheet.title = language.interface.instructions_sheet
    _write_instructions(sheet, form, language, instructions(packet, rater, language.interface))
    lists = book.create_sheet(_HIDDEN)
    ratings = book.create_sheet(language.interface.ratings_sheet, 1)
    _write_ratings(ratings, lists, columns, rows, language)
    _write_hidden(lists, packet, rater)
    for of_book in (sheet, ratings):
        of_book.sheet_view.rightToLeft = language.direction == "rtl"
    with whole_file(path) as temporary:
        book.save(temporary)
    return path


# --- Layout ----------------------------------------------------------------------------------------------------------------------


def _columns(form: Form, language: Language) -> list[_Column]:
    words = language.interface
    fixed = [
        _Column("number", words.number, 6),
        _Column("item", "", 12),
        _Column("post", words.post, 46),
        _Column("label", words.reply.format(label="").strip(), 8),
        _Column("reply", words.reply.format(label="").strip(), 46),
    ]
    questions = [
        _Column(f"q:{question.key}", _heading(question, language), 40 if question.kind == "text" else 24, question)
        for question in (*form.of_replies, *form.of_items)
    ]
    return [*fixed, *questions, _Column("reason", words.blank_reason, 30)]


def _heading(question: Question, language: Language) -> str:
    name = language.interface.rank if question.kind == "ranking" else question.name
    mark = "" if question.required else f" ({language.interface.optional})"
    return f"{name}{mark}\n{question.question}"


def _rows(packet: OpenPacket, rater: str, language: Language) -> list[_Row]:
    rows = []
    for place, name in enumerate(packet.assignment(rater).items, 1):
        item = packet.items[name]
        post = shown_post(item.post, language.interface)
        for number, reply in enumerate(item.replies):
            rows.append(_Row(place, item, reply.label, shown_reply(reply, language.interface), post if not number else "", not number))
    return rows


def _fixed(row: _Row) -> dict[str, str | int]:
    """What the locked cells of a row hold, by column."""
    return {
        "number": row.place,
        "item": row.item.id,
        "post": _plain(row.post),
        "label": row.label,
        "reply": _plain(row.text),
    }


def _places(columns: Sequence[_Column], rows: Sequence[_Row]) -> list[_Place]:
    """Gives each reply the rows that it takes to show it in full, and each post in full beside all its replies."""
    width = {column.key: column.width for column in columns}
    places: list[_Place] = []
    beside = 0.0
    for row in rows:
        if row.first:
            beside = _height(row.post, width["post"]) / len(row.item.replies)
        height = max(45.0, beside, _height(row.text, width["reply"]))
        taken = math.ceil(height / _HIGHEST_ROW)
        first = places[-1].last + 1 if places else _FIRST_ROW
        places.append(_Place(first, first + taken - 1, height / taken))
    return places


def _asks(row: _Row, column: _Column) -> bool:
    """Whether a column's question is answered in this row."""
    question = column.question
    if question is None:
        return column.key == "reason"
    if question.kind == "ranking":
        return len(row.item.replies) > 1
    return question.about == "reply" or row.first


def _plain(text: str) -> str:
    """A text as a cell holds it: line breaks of one kind, and a mark in place of characters that XML does not have."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return re.sub("[\x00-\x08\x0b-\x1f\ufffe\uffff]", "\ufffd", text)


# --- Writing ---------------------------------------------------------------------------------------------------------------------


def _put(
    cell: Cell | MergedCell, value: str | int | None, *, rtl: bool, locked: bool = True, bold: bool = False, fill: str | None = None
) -> None:
    from openpyxl.cell import Cell
    from openpyxl.styles import Alignment, Font, PatternFill, Protection

    if not isinstance(cell, Cell):
        raise TypeError(f"{cell.coordinate} is part of merged cells; they are merged last")
    cell.value = value
    if isinstance(value, str):
        if len(value) > _LONGEST_CELL:
            raise CultureCareError(
                f"a text of {len(value)} characters does not fit into a cell, which holds {_LONGEST_CELL}; "
                "leave --workbooks out, and use the web form or Label Studio"
            )
        # Without this, a text that begins with = would be a formula: what models write must never be run.
        cell.data_type = "s"
        if value.startswith(_BEGINS_FORMULA):
            cell.quotePrefix = True
        cell.number_format = "@"
    # Order 0 is meant to follow the text itself, but LibreOffice takes it for left to right; what a rater will write is not known yet.
    cell.alignment = Alignment(wrap_text=True, vertical="top", readingOrder=2 if rtl else int(locked))
    cell.protection = Protection(locked=locked)
    cell.font = Font(name="Calibri", size=11, bold=bold)  # A font without name and size is another one in each program.
    if fill:
        cell.fill = PatternFill("solid", start_color=fill)


def _write_instructions(sheet: Worksheet, form: Form, language: Language, told: Sequence[str]) -> None:
    words = language.interface
    rtl = language.direction == "rtl"
    sheet.column_dimensions["A"].width = 110
    lines: list[tuple[str, bool]] = [(words.title, True), (form.title, True), (form.introduction, False)]
    lines += [(words.consent_title, True), *((text, False) for text in words.consent)]
    lines += [(words.warning_title, True), *((text, False) for text in words.warning)]
    lines += [(words.support_title, True), *((text, False) for text in words.support)]
    lines += [(f"{contact.name}: {contact.reach}", False) for contact in language.contacts]
    lines += [(words.instructions_sheet, True), *((text, False) for text in (*told, *words.workbook_help))]
    for question in form.questions:
        lines += [(question.name, True), (question.question, False)]
        lines += [(f"{value.value} = {value.wording}" if question.kind == "scale" else value.wording, False) for value in question.values]
        if question.kind == "ranking":
            lines.append((f"1 = {words.best}", False))
    for number, (text, bold) in enumerate(lines, 1):
        _put(sheet.cell(number, 1), text, rtl=rtl, bold=bold)
        sheet.row_dimensions[number].height = min(_HIGHEST_ROW, _height(text, 110))
    sheet.protection.sheet = True


def _write_ratings(sheet: Worksheet, lists: Worksheet, columns: Sequence[_Column], rows: Sequence[_Row], language: Language) -> None:
    from openpyxl.utils import get_column_letter

    rtl = language.direction == "rtl"
    for number, column in enumerate(columns, 1):
        letter = get_column_letter(number)
        sheet.column_dimensions[letter].width = column.width
        sheet.column_dimensions[letter].hidden = column.key == "item"
        _put(sheet.cell(1, number), column.key, rtl=rtl)
        _put(sheet.cell(2, number), column.heading, rtl=rtl, bold=True, fill="E7ECF3")
    sheet.row_dimensions[1].hidden = True
    sheet.row_dimensions[2].height = min(_HIGHEST_ROW, max(_height(column.heading, column.width) for column in columns))
    places = _places(columns, rows)
    for of_reply, row in zip(places, rows, strict=True):
        fixed = _fixed(row)
        for place, column in enumerate(columns, 1):
            cell = sheet.cell(of_reply.first, place)
            if column.key in fixed:
                text = str(fixed[column.key])
                _put(cell, fixed[column.key] or None, rtl=_runs_rtl(text, otherwise=rtl) if column.key in _TEXTS else rtl)
            elif _asks(row, column):
                _put(cell, None, rtl=rtl, locked=False, fill="FFF8D6")
                if column.question is None or column.question.kind == "text":
                    cell.number_format = "@"
            else:
                _put(cell, None, rtl=rtl, fill="E3E3E3")
    _merge(sheet, columns, rows, places)
    _validate(sheet, lists, columns, rows, places, language)
    sheet.freeze_panes = f"F{_FIRST_ROW}"
    sheet.protection.sheet = True
    # Without a password: the lock is against slips. What is allowed are wider columns and higher rows.
    sheet.protection.formatColumns = False
    sheet.protection.formatRows = False


def _merge(sheet: Worksheet, columns: Sequence[_Column], rows: Sequence[_Row], places: Sequence[_Place]) -> None:
    """Shows each post once beside all its replies, and each reply in all its rows."""
    for index, (place, row) in enumerate(zip(places, rows, strict=True)):
        for number in range(place.first, place.last + 1):
            sheet.row_dimensions[number].height = place.height
        for column, _ in enumerate(columns, 1):
            last = place.last
            if columns[column - 1].key == "post":
                if not row.first:
                    continue
                last = places[index + len(row.item.replies) - 1].last
            if last > place.first:
                sheet.merge_cells(start_row=place.first, start_column=column, end_row=last, end_column=column)


def _validate(
    sheet: Worksheet, lists: Worksheet, columns: Sequence[_Column], rows: Sequence[_Row], places: Sequence[_Place], language: Language
) -> None:
    """Puts lists of the answers to choose from behind the cells; they stand on a hidden sheet, since lists hold 255 characters."""
    from openpyxl.utils import get_column_letter
    from openpyxl.worksheet.datavalidation import DataValidation

    used = 1  # Column 1 of the hidden sheet says whose workbook it is.
    for place, column in enumerate(columns, 1):
        question = column.question
        if question is None or question.kind == "text":
            continue
        cells: dict[tuple[str | int, ...], list[str]] = {}
        for of_reply, row in zip(places, rows, strict=True):
            if _asks(row, column):
                where = f"{get_column_letter(place)}{of_reply.first}"
                cells.setdefault(tuple(_offers(question, len(row.item.replies))), []).append(where)
        for offers, asking in cells.items():
            used += 1
            for number, offer in enumerate(offers, 1):
                _put(lists.cell(number, used), offer, rtl=False)
            letter = get_column_letter(used)
            validation = DataValidation(type="list", formula1=f"{_HIDDEN}!${letter}$1:${letter}${len(offers)}", allow_blank=True)
            validation.showErrorMessage = True
            validation.showInputMessage = True
            validation.promptTitle = question.name[:32]
            validation.prompt = _prompt(question, language)
            validation.error = language.interface.choose
            for where in asking:
                validation.add(where)
            sheet.add_data_validation(validation)


def _offers(question: Question, replies: int) -> list[str | int]:
    if question.kind == "ranking":
        return list(range(1, replies + 1))
    return [value.value if question.kind == "scale" else value.wording for value in question.values]


def _prompt(question: Question, language: Language) -> str:
    """What is shown beside the cell, in at most 255 characters: the ends of a scale, or what is asked.

    It has no reading order of its own, so that a mark before each line says it where that is from right to left.
    """
    if question.kind == "ranking":
        lines = [f"1 = {language.interface.best}"]
    elif question.kind == "scale":
        lines = [f"{value.value} = {value.wording}" for value in (question.values[0], question.values[-1])]
    else:
        lines = question.question.split("\n")
    mark = _RIGHT_TO_LEFT if language.direction == "rtl" else ""
    return "\n".join(f"{mark}{line}" for line in lines)[:255]


def _write_hidden(sheet: Worksheet, packet: OpenPacket, rater: str) -> None:
    for number, value in enumerate((_MARK, *_belongs_to(packet, rater)), 1):
        _put(sheet.cell(number, 1), value, rtl=False)
    sheet.sheet_state = "hidden"
    sheet.protection.sheet = True


def _belongs_to(packet: OpenPacket, rater: str) -> list[str]:
    """What the hidden sheet says: packet, rater, form and items."""
    return [packet.packet.id, rater, packet.packet.form.hash, digest(list(packet.assignment(rater).items))]


def _runs_rtl(text: str, *, otherwise: bool) -> bool:
    """Whether a text runs from right to left, as its first letter says; a post may be in another script than the form."""
    directions = (unicodedata.bidirectional(character) for character in text)
    first = next((direction for direction in directions if direction in {"L", "R", "AL"}), None)
    return otherwise if first is None else first != "L"


def _height(text: str, width: int) -> float:
    """Points that a wrapped text takes in a column of that width; wide characters count twice, as they are drawn.

    A row may be lower than that (`_HIGHEST_ROW`).
    """
    lines = 0
    for line in text.split("\n"):
        drawn = sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in line)
        lines += max(1, -(-drawn // max(1, width - 2)))
    return 15.0 * lines + 3


# --- Reading ---------------------------------------------------------------------------------------------------------------------


def read_workbook(packet: OpenPacket, path: Path) -> list[Rating]:
    """Reads the answers out of a filled workbook. They count as given when it was last saved.

    A scale's number may have been typed as a number or as text, in the digits of any script; a choice by its wording or its key, whatever
    its case. A required cell that is blank is a rating without a value, for the reason that the rater gave in that row; a blank answer to
    an optional question is none. An item of which every cell is blank has not been rated yet, and has no rating.

    Args:
        packet: The packet that the workbook was made from.
        path: The file.

    Raises:
        CultureCareError: The file is no such workbook, a locked cell was changed, or a cell holds what is no answer; the message names the
            cell.
    """
    book = _load(path)
    at = _last_saved(path)
    rater = _whose(book, packet, path)
    form = packet.form_of(rater)
    language = select_language(form.language)
    columns = _columns(form, language)
    rows = _rows(packet, rater, language)
    title = language.interface.ratings_sheet
    if title not in book.sheetnames:
        raise DataError(f"{path}: has no sheet {title!r}; it was renamed or deleted")
    sheet = book[title]
    numbers = _numbers(sheet, columns, rows, path)
    _check_locked(sheet, columns, rows, numbers, path)
    answers = _read_rows(sheet, columns, rows, numbers, path)
    ratings = []
    for place, name in enumerate(packet.assignment(rater).items, 1):
        if name not in answers.touched:
            continue
        where = f"{path}: {language.interface.number} {place}"
        for question, label in asked(packet.packet.form, packet.items[name]):
            value = _order_of(answers.ranks[name], path) if question.kind == "ranking" else answers.values[name, label, question.key]
            if value is not None or question.required:
                reason = answers.reasons[name, label or packet.items[name].labels[0]]
                ratings.append(rate(packet, rater, name, label, question.key, value, at=at, reason=reason, where=where))
    return ratings


class _Answers(NamedTuple):
    """What the cells of the ratings sheet say.

    Attributes:
        values: Answers by item, label (null where about the item) and question, rankings left out.
        ranks: By item, each reply's place with the cell that it stands in.
        reasons: Reasons for what was left blank, by item and label of the row.
        touched: Items of which at least one cell was filled in.
    """

    values: dict[tuple[str, str | None, str], int | str | None]
    ranks: dict[str, dict[str, tuple[int | None, str]]]
    reasons: dict[tuple[str, str], str]
    touched: set[str]


def _read_rows(sheet: Worksheet, columns: Sequence[_Column], rows: Sequence[_Row], numbers: Sequence[int], path: Path) -> _Answers:
    answers = _Answers({}, {}, {}, set())
    for number, row in zip(numbers, rows, strict=True):
        name = row.item.id
        for place, column in enumerate(columns, 1):
            if not _asks(row, column):
                continue
            cell, question = sheet.cell(number, place), column.question
            text = _text(cell, path)
            if text:
                answers.touched.add(name)
            if question is None:
                answers.reasons[name, row.label] = text or LEFT_BLANK
            elif question.kind == "ranking":
                rank = _number(text, range(1, len(row.item.replies) + 1), f"{path}: {cell.coordinate}")
                answers.ranks.setdefault(name, {})[row.label] = (rank, cell.coordinate)
            else:
                label = row.label if question.about == "reply" else None
                answers.values[name, label, question.key] = _answer(question, text, f"{path}: {cell.coordinate}")
    return answers


def _load(path: Path) -> Workbook:
    check_openpyxl()
    from openpyxl import load_workbook
    from openpyxl.utils.exceptions import InvalidFileException

    try:
        return load_workbook(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    except InvalidFileException as error:
        raise DataError(f"{path}: is no XLSX workbook; open it where it was filled in, and save it as .xlsx") from error
    except _DAMAGED as error:
        why = " ".join(str(error).split())
        raise DataError(f"{path}: is no XLSX workbook, or a damaged one ({why}); save it as .xlsx, or have it sent again") from error


def _last_saved(path: Path) -> datetime:
    """When a workbook was last saved: what the spreadsheet program wrote into it, or else the file's own time.

    A workbook that is imported twice has the same time twice, so that it does not undo what was answered since.
    """
    # openpyxl would put the time of reading in place of one that is not there.
    with contextlib.suppress(OSError, *_DAMAGED):
        with zipfile.ZipFile(path) as archive:
            found = re.search(rb"<(?:\w+:)?modified\b[^>]*>\s*([^<\s]+)", archive.read("docProps/core.xml"))
        if found is not None:
            saved = datetime.fromisoformat(found[1].decode())
            return saved if saved.tzinfo is not None else saved.replace(tzinfo=UTC)
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)


def _whose(book: Workbook, packet: OpenPacket, path: Path) -> str:
    if _HIDDEN not in book.sheetnames or book[_HIDDEN].cell(1, 1).value != _MARK:
        raise DataError(f"{path}: is no workbook made by `culturecare human make`, or its hidden sheet was deleted")
    found = [book[_HIDDEN].cell(number, 1).value for number in range(2, 6)]
    of_packet, rater = found[0], str(found[1])
    if of_packet != packet.packet.id:
        raise DataError(f"{path}: was made from packet {of_packet}, not from {packet.packet.id} in {packet.folder}")
    if found != _belongs_to(packet, rater):
        raise DataError(f"{path}: what the hidden sheet says of form and items does not fit the packet; it was changed")
    return rater


def _numbers(sheet: Worksheet, columns: Sequence[_Column], rows: Sequence[_Row], path: Path) -> list[int]:
    """Numbers of the replies' first rows, which alone name an item: how many rows a reply takes is up to who wrote the workbook."""
    place = [column.key for column in columns].index("item") + 1
    numbers = [number for number in range(_FIRST_ROW, sheet.max_row + 1) if sheet.cell(number, place).value is not None]
    if len(numbers) != len(rows):
        raise DataError(
            f"{path}: has {len(numbers)} replies, but the rater was given {len(rows)}; rows were deleted or added: "
            "copy the answers into a fresh workbook"
        )
    return numbers


def _check_locked(sheet: Worksheet, columns: Sequence[_Column], rows: Sequence[_Row], numbers: Sequence[int], path: Path) -> None:
    """Refuses a sheet whose locked cells are not what was written, or that holds something where nothing is asked."""
    wanted: dict[tuple[int, int], str] = {(1, place): column.key for place, column in enumerate(columns, 1)}
    known: set[tuple[int, int]] = set()
    for number, row in zip(numbers, rows, strict=True):
        fixed = _fixed(row)
        wanted |= {(number, place): str(fixed[column.key]) for place, column in enumerate(columns, 1) if column.key in fixed}
        known |= {(number, place) for place, column in enumerate(columns, 1) if column.key in fixed or _asks(row, column)}
    for where, text in wanted.items():
        cell = sheet.cell(*where)
        if _as_written(cell.value) != text:
            raise DataError(
                f"{path}: {cell.coordinate}: a locked cell was changed (column {columns[where[1] - 1].key!r}); "
                "copy the answers into a fresh workbook"
            )
    for cells in sheet.iter_rows(min_row=_FIRST_ROW):
        for cell in cells:
            if (cell.row, cell.column) not in known and (text := _as_written(cell.value).strip()):
                raise DataError(
                    f"{path}: {cell.coordinate}: holds {shortened(text)}, where nothing is asked; move it to a yellow cell, or delete it"
                )


def _as_written(value: Any) -> str:
    return "" if value is None else _plain(str(value))


def _text(cell: Cell | Any, path: Path) -> str:
    value = cell.value
    if getattr(cell, "data_type", None) == "f":
        raise DataError(f"{path}: {cell.coordinate}: holds a formula; write the answer as text")
    if isinstance(value, bool):
        raise DataError(f"{path}: {cell.coordinate}: holds {value}, which is no answer")
    if isinstance(value, datetime | date | time):
        raise DataError(f"{path}: {cell.coordinate}: was turned into a date or time; write the answer again, as text")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return "" if value is None else _plain(str(value)).strip()


def _answer(question: Question, text: str, where: str) -> int | str | None:
    if question.kind == "scale":
        return _number(text, [value.value for value in question.values if isinstance(value.value, int)], where)
    if question.kind == "text" or not text:
        return text or None
    by_key = {_fold(str(value.value)): value.value for value in question.values}
    by_wording = {_fold(value.wording): value.value for value in question.values}
    if (value := (by_key | by_wording).get(_fold(text))) is not None:
        return value
    wordings = ", ".join(known.wording for known in question.values)
    raise DataError(f"{where}: {text[:40]!r} is not one of {wordings}")


def _fold(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _number(text: str, allowed: Sequence[int], where: str) -> int | None:
    if not text:
        return None
    try:
        number = int(text)  # Reads the digits of every script, such as ٤ or ４.
    except ValueError:
        number = None
    if number is None or number not in allowed:
        raise DataError(f"{where}: {text[:40]!r} is not a whole number from {min(allowed)} to {max(allowed)}")
    return number


def _order_of(ranks: Mapping[str, tuple[int | None, str]], path: Path) -> list[str] | None:
    """The labels from best to worst; null where no reply has a place."""
    given = {label: rank for label, (rank, _) in ranks.items() if rank is not None}
    if not given:
        return None
    if len(given) < len(ranks) or len(set(given.values())) < len(given):
        where = next(iter(ranks.values()))[1]
        raise DataError(f"{path}: {where}: the replies to this post must have the places 1 to {len(ranks)}, each once, or none at all")
    return sorted(given, key=lambda label: given[label])
