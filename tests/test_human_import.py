"""What people answered: kept, checked, and read back from workbooks and from Label Studio without loss."""

from __future__ import annotations

import datetime as dt
import json
import os
import random
import re
import sys
import xml.etree.ElementTree as ET
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openpyxl import load_workbook
from openpyxl.utils import get_column_letter

from culturecare import CultureCareError, DataError
from culturecare_harness.human.forms import languages, select_language
from culturecare_harness.human.items import OpenPacket, asked, open_packet
from culturecare_harness.human.label_studio import labelling_config, tasks_of, write_projects
from culturecare_harness.human.ratings import (
    LEFT_BLANK,
    LEFT_OUT,
    Rating,
    add_ratings,
    append_ratings,
    completeness,
    import_ratings,
    latest,
    rate,
    ratings_path,
    read_ratings,
)
from culturecare_harness.human.xlsx import _plain, write_workbook, write_workbooks
from culturecare_harness.records import write_records
from tests.raters import NOON, answers, draw, make_run, saved_at, small_packet

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from openpyxl import Workbook
    from openpyxl.worksheet.worksheet import Worksheet

LATER = NOON + dt.timedelta(hours=1)
RATER = "german-1"


@pytest.fixture(scope="module")
def packets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, OpenPacket]:
    """A packet of each form, in whose folders nothing is written."""
    folder = tmp_path_factory.mktemp("packets")
    return {form: small_packet(folder / form, form, runs=[make_run()]).packet for form in ("annotator", "psychologist")}


@pytest.fixture
def packet(tmp_path: Path) -> OpenPacket:
    return small_packet(tmp_path / "packet", runs=[make_run()]).packet


def first_reply(packet: OpenPacket, rater: str = RATER) -> str:
    """An item of the rater that has several replies."""
    return next(name for name in packet.assignment(rater).items if len(packet.items[name].replies) > 1)


# --- Ratings ---


def test_a_rating_is_a_line_that_reads_back_as_it_was(packet: OpenPacket) -> None:
    given = answers(packet, RATER)
    append_ratings(packet, given)
    assert read_ratings(packet, RATER) == given == read_ratings(packet)
    values = {type(rating.value) for rating in given}
    assert values == {int, str, tuple}


def test_answers_are_appended_and_the_later_one_counts(packet: OpenPacket) -> None:
    item = first_reply(packet)
    for value, at in ((2, NOON), (5, LATER), (3, NOON)):
        append_ratings(packet, [rate(packet, RATER, item, "A", "empathy", value, at=at)])
    kept = latest(read_ratings(packet))
    assert [rating.value for rating in kept.ratings] == [5]
    assert kept.superseded == {RATER: 2}


def test_of_two_answers_at_the_same_time_the_last_one_counts(packet: OpenPacket) -> None:
    item = first_reply(packet)
    kept = latest([rate(packet, RATER, item, "A", "empathy", value, at=NOON) for value in (2, 5)])
    assert [rating.value for rating in kept.ratings] == [5]


@pytest.mark.parametrize("cut", [1, 20, 150])
def test_a_torn_last_line_is_passed_over_and_mended_when_more_is_appended(packet: OpenPacket, cut: int) -> None:
    given = answers(packet, RATER)[:3]
    append_ratings(packet, given)
    path = ratings_path(packet, RATER)
    path.write_bytes(path.read_bytes()[:-cut])
    torn = path.read_bytes()
    whole = given if cut == 1 else given[:2]  # A line that lacks its line break alone is whole.
    assert read_ratings(packet, RATER) == whole
    assert path.read_bytes() == torn
    append_ratings(packet, [given[2]])
    assert read_ratings(packet, RATER) == [*whole, given[2]]


def test_a_broken_line_in_the_middle_is_told(packet: OpenPacket) -> None:
    append_ratings(packet, answers(packet, RATER)[:2])
    path = ratings_path(packet, RATER)
    path.write_bytes(b"{\n" + path.read_bytes())
    with pytest.raises(DataError, match=r"german-1.jsonl:1: is not valid JSON"):
        read_ratings(packet)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"value": 6}, r"must be one of 1, 2, 3, 4, 5, not 6"),
        ({"value": "5"}, r"must be one of 1, 2, 3, 4, 5, not '5'"),
        ({"value": True}, r"value: must be a scale's whole number, .* or for a ranking a list of labels such as A, not True$"),
        ({"value": 2.5}, r"value: must be a scale's whole number, .*, not 2.5$"),
        ({"value": ["A", "b"]}, r"value: must be a scale's whole number, .*, not \['A', 'b'\]$"),
        ({"value": 10**200}, r"not 10{59}…$"),
        ({"value": None}, "either a value or a reason"),
        ({"value": 3, "reason": "hard"}, "either a value or a reason"),
        ({"label": "Z"}, "is not asked; the item's replies are A, B, C"),
        ({"label": None}, "is not asked; about the item as a whole is asked: ranking, comment"),
        ({"question": "rhyme"}, "is not asked; about each reply is asked: empathy"),
        ({"question": "ranking", "label": None, "value": ["A", "B"]}, "must name each of A, B, C once"),
        ({"question": "comment", "label": None, "value": " "}, "must be a text"),
        ({"question": "comment", "label": None, "value": "x" * 10_001}, "a text has at most 10000"),
        ({"item": "nowhere"}, "the packet has no item 'nowhere'"),
        ({"rater": "american-1"}, "was not given to rater 'american-1'"),
        ({"rater": "nobody"}, "the packet has no rater 'nobody'; its raters are american-1"),
        ({"packet": "0" * 16}, "is of packet '0000000000000000', not of"),
        ({"at": "2026-01-01T12:00:00"}, "at: input should have timezone info"),
    ],
)
def test_an_answer_that_does_not_fit_is_told(packet: OpenPacket, changes: dict[str, Any], message: str) -> None:
    fields = rate(packet, RATER, first_reply(packet), "A", "empathy", 3, at=NOON).model_dump(mode="json") | changes
    path = packet.folder.parent / "given.jsonl"
    path.write_text(json.dumps(fields) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=message):
        import_ratings(packet, path, at=LATER)


def test_a_torn_last_line_of_a_file_to_import_is_told(packet: OpenPacket, tmp_path: Path) -> None:
    # A rater's own file may be torn by a process that was killed; a file that somebody sends is to be whole.
    path = tmp_path / "given.jsonl"
    write_records(path, answers(packet, RATER)[:2])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"given.jsonl:2: is not valid JSON"):
        import_ratings(packet, path, at=LATER)


def test_nothing_is_appended_where_one_answer_does_not_fit(packet: OpenPacket) -> None:
    good = rate(packet, RATER, first_reply(packet), "A", "empathy", 3, at=NOON)
    with pytest.raises(DataError, match="must be one of"):
        append_ratings(packet, [good, good.model_copy(update={"value": 9})])
    assert read_ratings(packet) == []


def test_completeness_counts_answers_refusals_and_what_is_open(packet: OpenPacket) -> None:
    given = [rating for rating in answers(packet, RATER) if rating.question != "comment"]
    started = {progress.rater: progress for progress in completeness(packet, [])}
    assert (started[RATER].finished, started[RATER].items, started[RATER].answered) == (0, 12, 0)
    refused = given[0].model_copy(update={"value": None, "reason": LEFT_OUT})
    done = {progress.rater: progress for progress in completeness(packet, [*given, refused.model_copy(update={"at": LATER})])}[RATER]
    assert done.complete
    assert (done.finished, done.answered, done.declined) == (12, len(given) - 1, 1)
    assert done.required == len(given)
    half = {progress.rater: progress for progress in completeness(packet, given[1:])}[RATER]
    assert half.open_items == (given[0].item,)
    assert not half.complete


def test_adding_the_same_answers_twice_adds_nothing(packet: OpenPacket) -> None:
    given = answers(packet, RATER)
    assert add_ratings(packet, given) == (len(given), 0, 0, 0)
    moved = [rating.model_copy(update={"at": LATER}) for rating in given]
    assert add_ratings(packet, moved) == (0, 0, len(given), 0)
    assert read_ratings(packet) == given


def test_what_is_newer_replaces_and_what_is_older_or_blank_does_not(packet: OpenPacket) -> None:
    item = first_reply(packet)

    def given(value: int | None, at: dt.datetime, reason: str | None = None) -> list[Rating]:
        return [rate(packet, RATER, item, "A", "empathy", value, at=at, reason=reason)]

    assert add_ratings(packet, given(3, NOON)) == (1, 0, 0, 0)
    assert add_ratings(packet, given(4, LATER)) == (0, 1, 0, 0)
    assert add_ratings(packet, given(5, NOON)) == (0, 0, 0, 1)
    assert add_ratings(packet, given(None, LATER + dt.timedelta(hours=1))) == (0, 0, 0, 1)
    assert add_ratings(packet, given(None, LATER + dt.timedelta(hours=1), "I know this person")) == (0, 1, 0, 0)
    assert latest(read_ratings(packet)).ratings[0].reason == "I know this person"


def test_a_folder_of_files_is_read_as_a_whole(packet: OpenPacket, tmp_path: Path) -> None:
    given = {rater: answers(packet, rater) for rater in packet.assignments}
    folder = tmp_path / "given"
    for rater, ratings in given.items():
        write_records(folder / f"{rater}.jsonl", ratings)
    (folder / "~$open.xlsx").write_bytes(b"locked")
    assert import_ratings(packet, folder, at=LATER) == [rating for ratings in given.values() for rating in ratings]


def test_no_file_of_a_folder_is_passed_over_for_its_ending(packet: OpenPacket, tmp_path: Path) -> None:
    folder = tmp_path / "given"
    write_records(folder / "one.JSONL", given := answers(packet, RATER))
    assert import_ratings(packet, folder, at=LATER) == given
    (folder / "two.ods").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"two\.ods: is in a format that is not read; save a workbook as \.xlsx"):
        import_ratings(packet, folder, at=LATER)


def test_what_cannot_be_imported_is_told(packet: OpenPacket, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "given.csv").write_text("1", encoding="utf-8")
    (tmp_path / "given.txt").write_text("1", encoding="utf-8")
    (tmp_path / "given.xlsx").write_text("1", encoding="utf-8")
    (tmp_path / "given.json").write_text("1", encoding="utf-8")
    (tmp_path / "empty.jsonl").write_text("\n", encoding="utf-8")
    (tmp_path / "empty.json").write_text("[]", encoding="utf-8")
    (tmp_path / "text.jsonl").write_text("4", encoding="utf-8")
    (tmp_path / "nested.jsonl").write_text("[" * 100_000, encoding="utf-8")
    (tmp_path / "nested.json").write_text("[" * 100_000, encoding="utf-8")
    for name, message in (
        ("empty", "holds no file of ratings"),
        ("nothing.xlsx", "is not there; name a file of ratings"),
        ("given.csv", r"is in a format that is not read; save a workbook as \.xlsx, or export from Label Studio in the format JSON"),
        ("given.txt", "cannot tell what kind of file it is"),
        ("given.xlsx", "is no XLSX workbook"),
        ("given.json", "must be a list of tasks"),
        ("empty.jsonl", "is empty, but must hold a rating a line"),
        ("empty.json", "holds no task; export the project again"),
        ("text.jsonl", "text.jsonl:1: must be a rating, an object with the fields .*question, value.*, not 4"),
        ("nested.jsonl", "is not valid JSON"),
        ("nested.json", "is not valid JSON"),
    ):
        with pytest.raises(CultureCareError, match=message):
            import_ratings(packet, tmp_path / name, at=LATER)


# --- Workbooks ---


def columns_of(sheet: Worksheet) -> dict[str, int]:
    return {str(sheet.cell(1, column).value): column for column in range(1, sheet.max_column + 1)}


def fill(
    packet: OpenPacket, rater: str, book: Workbook, given: Sequence[Rating], *, write: Callable[[Any], Any] = lambda value: value
) -> None:
    """Fills in a workbook as a person would: the drop-down's words, a place for each reply, a reason for the rest."""
    form = packet.form_of(rater)
    sheet = book[select_language(form.language).interface.ratings_sheet]
    columns = columns_of(sheet)
    rows = {
        (str(sheet.cell(row, columns["item"]).value), str(sheet.cell(row, columns["label"]).value)): row
        for row in range(3, sheet.max_row + 1)
    }
    for rating in given:
        question = form.question(rating.question)
        column = columns[f"q:{rating.question}"]
        if rating.value is None:
            sheet.cell(rows[rating.item, rating.label or "A"], columns["reason"]).value = rating.reason
        elif isinstance(rating.value, tuple):
            for place, label in enumerate(rating.value, 1):
                sheet.cell(rows[rating.item, label], column).value = write(place)
        else:
            value = write(rating.value) if question.kind == "scale" else rating.value
            cell = sheet.cell(rows[rating.item, rating.label or "A"], column)
            assert not cell.protection.locked
            cell.value = question.wording(rating.value) if question.kind == "choice" else value


def through_a_workbook(packet: OpenPacket, rater: str, folder: Path, given: Sequence[Rating], **settings: Any) -> list[Rating]:
    path = write_workbook(packet, rater, folder / f"{rater}.xlsx")
    fill_in(packet, rater, path, given, NOON, **settings)
    return import_ratings(packet, path, at=LATER)


def fill_in(packet: OpenPacket, rater: str, path: Path, given: Sequence[Rating], at: dt.datetime | None, **settings: Any) -> None:
    """Fills in a workbook, which says that it was saved then."""
    book = load_workbook(path)
    fill(packet, rater, book, given, **settings)
    book.save(path)
    saved_at(path, at)


@pytest.mark.parametrize("form", ["annotator", "psychologist"])
@pytest.mark.parametrize("code", sorted(languages()))
def test_a_workbook_in_every_language_gives_back_what_was_filled_in(tmp_path: Path, form: str, code: str) -> None:
    packet = small_packet(tmp_path / "packet", form, runs=[make_run(cultures=["german"])], ask_in={"german": code}).packet
    given = answers(packet, RATER, seed=3)
    assert through_a_workbook(packet, RATER, tmp_path, given) == given


def test_a_workbook_is_answered_when_it_was_last_saved(packet: OpenPacket, tmp_path: Path) -> None:
    path = write_workbook(packet, RATER, tmp_path / "mine.xlsx")
    for saved, wanted in ((LATER, LATER), (None, NOON)):
        fill_in(packet, RATER, path, answers(packet, RATER), saved)
        # What says nothing of itself is as old as its file.
        os.utime(path, times=(NOON.timestamp(), NOON.timestamp()))
        assert {rating.at for rating in import_ratings(packet, path, at=LATER)} == {wanted}
    without_properties = zipfile.ZipFile(path)
    parts = {name: without_properties.read(name) for name in without_properties.namelist() if name != "docProps/core.xml"}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    os.utime(path, times=(NOON.timestamp(), NOON.timestamp()))
    assert {rating.at for rating in import_ratings(packet, path, at=LATER)} == {NOON}


def test_a_workbook_that_was_saved_by_a_clock_far_ahead_is_refused(packet: OpenPacket, tmp_path: Path) -> None:
    path = write_workbook(packet, RATER, tmp_path / "mine.xlsx")
    fill_in(packet, RATER, path, answers(packet, RATER), LATER)
    with pytest.raises(DataError, match=r"mine.xlsx: rater 'german-1' answers item .* at 2026-01-01 13:00, which is still to come"):
        import_ratings(packet, path, at=NOON - dt.timedelta(days=1))
    assert import_ratings(packet, path, at=NOON)  # Another clock may be ahead by some hours.


def test_importing_a_workbook_again_does_not_undo_what_was_corrected_since(packet: OpenPacket, tmp_path: Path) -> None:
    path = write_workbook(packet, RATER, tmp_path / "mine.xlsx")
    given = answers(packet, RATER)
    fill_in(packet, RATER, path, given, NOON)
    assert add_ratings(packet, import_ratings(packet, path, at=LATER)) == (len(given), 0, 0, 0)
    first = next(rating for rating in given if rating.question == "empathy")
    correction = rate(packet, RATER, first.item, first.label, "empathy", 1 + int(first.value == 1), at=NOON + dt.timedelta(minutes=1))
    append_ratings(packet, [correction])
    assert add_ratings(packet, import_ratings(packet, path, at=LATER)) == (0, 0, len(given) - 1, 1)
    assert {rating.cell: rating for rating in latest(read_ratings(packet)).ratings}[first.cell] == correction
    fill_in(packet, RATER, path, given, LATER)
    assert add_ratings(packet, import_ratings(packet, path, at=LATER)) == (0, 1, len(given) - 1, 0)


@pytest.mark.parametrize("half_later", [True, False])
def test_of_two_workbooks_in_a_folder_the_one_filled_in_half_takes_nothing_back(
    packet: OpenPacket, tmp_path: Path, *, half_later: bool
) -> None:
    given = [rating for rating in answers(packet, RATER) if rating.question != "comment"]
    half = [rating for rating in given if rating.question == "empathy"]
    for name, filled, is_later in (("copy", half, half_later), ("whole", given, not half_later)):
        fill_in(packet, RATER, write_workbook(packet, RATER, tmp_path / "filled" / f"{name}.xlsx"), filled, LATER if is_later else NOON)
    rest = len(given) - len(half)
    added = (len(given), 0, len(half), rest) if half_later else (len(given), rest, len(half), 0)
    assert add_ratings(packet, import_ratings(packet, tmp_path / "filled", at=LATER)) == added
    kept = {rating.cell: rating.value for rating in latest(read_ratings(packet)).ratings}
    assert kept == {rating.cell: rating.value for rating in given}


def test_without_the_library_for_workbooks_the_extra_is_named(packet: OpenPacket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_workbook(packet, next(iter(packet.assignments)), tmp_path / "there.xlsx")
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(CultureCareError, match=r"pip install 'culturecare\[human\]'"):
        write_workbooks(packet, tmp_path / "workbooks")
    with pytest.raises(CultureCareError, match=r"pip install 'culturecare\[human\]'"):
        import_ratings(packet, tmp_path / "there.xlsx", at=NOON)
    assert not (tmp_path / "workbooks").exists()


@pytest.mark.parametrize(
    "write", [str, float, lambda value: f" {value} ", lambda value: "٠١٢٣٤٥"[value], lambda value: "０１２３４５"[value]]
)
def test_numbers_may_be_typed_as_numbers_or_as_text_in_any_script(packet: OpenPacket, tmp_path: Path, write: Callable[[int], Any]) -> None:
    given = answers(packet, RATER)
    assert through_a_workbook(packet, RATER, tmp_path, given, write=write) == given


def test_blank_cells_are_missing_with_the_raters_reason_or_none_given(packet: OpenPacket, tmp_path: Path) -> None:
    item = first_reply(packet)

    def answer(question: Any, of: Any, label: str | None) -> Any:
        if of.id == item and (label == "B" or question.kind == "ranking" or (label == "C" and question.key == "fluency")):
            return None
        return draw(question, of, random.Random(question.key))  # noqa: S311

    given = answers(packet, RATER, answer=answer)
    given = [
        rating.model_copy(update={"reason": "too close to me"}) if rating.label == "B" and rating.value is None else rating
        for rating in given
    ]
    back = through_a_workbook(packet, RATER, tmp_path, [rating for rating in given if rating.reason != LEFT_BLANK])
    assert back == given
    assert sum(rating.reason == "too close to me" for rating in back) == 7
    assert sum(rating.reason == LEFT_BLANK for rating in back) == 2


def test_items_that_were_not_begun_have_no_rating_and_stay_open(packet: OpenPacket, tmp_path: Path) -> None:
    item = first_reply(packet)
    given = [rating for rating in answers(packet, RATER) if rating.item == item]
    back = through_a_workbook(packet, RATER, tmp_path, given)
    assert back == given
    progress = next(found for found in completeness(packet, back) if found.rater == RATER)
    assert (progress.finished, len(progress.open_items)) == (1, 11)
    assert through_a_workbook(packet, "german-2", tmp_path, []) == []


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("q:empathy", 6, "'6' is not a whole number from 1 to 5"),
        ("q:empathy", 2.5, "'2.5' is not a whole number from 1 to 5"),
        ("q:empathy", "gut", "'gut' is not a whole number from 1 to 5"),
        ("q:empathy", True, "holds True, which is no answer"),
        ("q:empathy", "=1+1", "holds a formula; write the answer as text"),
        ("q:empathy", dt.datetime(2026, 2, 1), "was turned into a date or time; write the answer again, as text"),  # noqa: DTZ001
        ("q:ranking", 1, "must have the places 1 to 3, each once, or none at all"),
        ("q:ranking", 4, "'4' is not a whole number from 1 to 3"),
        ("reply", "another reply", r"a locked cell was changed \(column 'reply'\)"),
        ("post", None, r"a locked cell was changed \(column 'post'\)"),
        ("label", "B", r"a locked cell was changed \(column 'label'\)"),
        ("item", "0", r"a locked cell was changed \(column 'item'\)"),
    ],
)
def test_a_cell_that_is_no_answer_or_was_locked_is_told_by_its_place(
    packet: OpenPacket, tmp_path: Path, column: str, value: Any, message: str
) -> None:
    path = write_workbook(packet, RATER, tmp_path / "mine.xlsx")
    book = load_workbook(path)
    sheet = book["Bewertung"]
    columns = columns_of(sheet)
    row = next(row for row in range(3, 99) if sheet.cell(row, columns["item"]).value == first_reply(packet))
    sheet.cell(row, columns[column]).value = value
    book.save(path)
    where = sheet.cell(row, columns[column]).coordinate
    with pytest.raises(DataError, match=rf"mine.xlsx: {where}: .*{message}"):
        import_ratings(packet, path, at=NOON)


@pytest.mark.parametrize(
    ("column", "down"),
    [("q:comment", 1), ("beside", 0), ("q:empathy", "below"), ("reply", "below")],
    ids=["grey", "beside", "below", "reply"],
)
def test_an_answer_where_nothing_is_asked_is_told(packet: OpenPacket, tmp_path: Path, column: str, down: int | str) -> None:
    path = write_workbook(packet, RATER, tmp_path / "mine.xlsx")
    book = load_workbook(path)
    sheet = book["Bewertung"]
    columns = columns_of(sheet) | {"beside": sheet.max_column + 2}
    row = next(row for row in range(3, 99) if sheet.cell(row, columns["item"]).value == first_reply(packet))
    row = sheet.max_row + 3 if down == "below" else row + int(down)
    sheet.cell(row, columns[column]).value = "A note."
    book.save(path)
    where = sheet.cell(row, columns[column]).coordinate
    with pytest.raises(DataError, match=rf"mine.xlsx: {where}: holds 'A note.', where nothing is asked; move it to a yellow cell"):
        import_ratings(packet, path, at=NOON)


def test_rows_that_were_deleted_are_told(packet: OpenPacket, tmp_path: Path) -> None:
    path = write_workbook(packet, RATER, tmp_path / "mine.xlsx")
    book = load_workbook(path)
    book["Bewertung"].delete_rows(book["Bewertung"].max_row)
    book.save(path)
    with pytest.raises(DataError, match=r"has 31 replies, but the rater was given 32; .*copy the answers into a fresh workbook"):
        import_ratings(packet, path, at=NOON)


@pytest.mark.parametrize("ending", ["ods", "xls", "csv"])
def test_a_workbook_saved_in_another_format_is_told_which_to_choose(packet: OpenPacket, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"mine.{ending}"
    path.write_bytes(b"PK")
    with pytest.raises(DataError, match=rf"mine.{ending}: is no XLSX workbook; open it where it was filled in, and save it as .xlsx$"):
        import_ratings(packet, path, "xlsx", at=NOON)


def test_a_choice_that_is_none_is_told_with_those_that_there_are(packets: dict[str, OpenPacket], tmp_path: Path) -> None:
    packet = packets["psychologist"]
    path = write_workbook(packet, RATER, tmp_path / "mine.xlsx")
    book = load_workbook(path)
    sheet = book["Bewertung"]
    sheet.cell(3, columns_of(sheet)["q:overly_positive"]).value = "vielleicht"
    book.save(path)
    with pytest.raises(DataError, match="'vielleicht' is not one of ja, etwas, nein"):
        import_ratings(packet, path, at=NOON)


def test_rows_that_were_moved_are_noticed(packet: OpenPacket, tmp_path: Path) -> None:
    path = write_workbook(packet, RATER, tmp_path / "mine.xlsx")
    book = load_workbook(path)
    book["Bewertung"].insert_rows(3)
    book.save(path)
    with pytest.raises(DataError, match="a locked cell was changed"):
        import_ratings(packet, path, at=NOON)


def test_a_workbook_of_another_packet_or_program_is_refused(packet: OpenPacket, packets: dict[str, OpenPacket], tmp_path: Path) -> None:
    path = write_workbook(packets["psychologist"], RATER, tmp_path / "mine.xlsx")
    with pytest.raises(DataError, match=r"was made from packet .*, not from"):
        import_ratings(packet, path, at=NOON)
    book = load_workbook(path)
    del book["culturecare"]
    book.save(path)
    with pytest.raises(DataError, match="is no workbook made by `culturecare human make`"):
        import_ratings(packet, path, at=NOON)


def test_an_answer_that_is_too_long_is_told_with_file_and_place(packet: OpenPacket, tmp_path: Path) -> None:
    place = packet.assignment(RATER).items.index(first_reply(packet)) + 1
    path = write_workbook(packet, RATER, tmp_path / "mine.xlsx")
    book = load_workbook(path)
    sheet = book["Bewertung"]
    row = next(row for row in range(3, 99) if sheet.cell(row, columns_of(sheet)["item"]).value == first_reply(packet))
    sheet.cell(row, columns_of(sheet)["q:comment"]).value = "x" * 10_001
    book.save(path)
    with pytest.raises(DataError, match=rf"mine.xlsx: Nr. {place}: .*question 'comment': has 10001 characters"):
        import_ratings(packet, path, at=NOON)


@pytest.mark.filterwarnings("ignore:Workbook contains no stylesheet")
@pytest.mark.parametrize("part", ["[Content_Types].xml", "xl/workbook.xml", "xl/styles.xml", "xl/worksheets/sheet1.xml"])
@pytest.mark.parametrize("content", [b"", b"<", b"<x/>", None])
def test_a_damaged_workbook_is_told_in_one_line(packet: OpenPacket, tmp_path: Path, part: str, content: bytes | None) -> None:
    path = write_workbook(packet, RATER, tmp_path / "mine.xlsx")
    with zipfile.ZipFile(path) as whole:
        parts = {name: whole.read(name) for name in whole.namelist()}
    with zipfile.ZipFile(path, "w") as damaged:
        for name, data in parts.items():
            if name != part:
                damaged.writestr(name, data)
            else:
                damaged.writestr(name, data[: len(data) // 2] if content is None else content)
    if (part, content) == ("xl/worksheets/sheet1.xml", b"<x/>"):
        assert import_ratings(packet, path, at=NOON) == []  # The instructions alone.
        return
    with pytest.raises(DataError, match=r"^\S+mine.xlsx: .+$") as told:
        import_ratings(packet, path, at=NOON)
    assert "\n" not in str(told.value)


def test_bytes_that_were_changed_on_the_way_are_told(packet: OpenPacket, tmp_path: Path) -> None:
    path = write_workbook(packet, RATER, tmp_path / "mine.xlsx")
    with zipfile.ZipFile(path) as whole:
        start = whole.getinfo("xl/worksheets/sheet2.xml").header_offset + 80
    content = bytearray(path.read_bytes())
    content[start : start + 40] = bytes(40)
    path.write_bytes(content)
    with pytest.raises(DataError, match="is no XLSX workbook, or a damaged one"):
        import_ratings(packet, path, at=NOON)


def test_a_workbook_is_ready_to_be_filled_in(packets: dict[str, OpenPacket], tmp_path: Path) -> None:
    book = load_workbook(write_workbook(packets["annotator"], RATER, tmp_path / "mine.xlsx"))
    assert book.sheetnames == ["Anleitung", "Bewertung", "culturecare"]
    sheet = book["Bewertung"]
    columns = columns_of(sheet)
    assert book["culturecare"].sheet_state == "hidden"
    assert sheet.protection.sheet
    assert book["Anleitung"].protection.sheet
    assert sheet.cell(3, columns["reply"]).protection.locked
    assert sheet.freeze_panes == "F3"
    assert sheet.row_dimensions[1].hidden
    assert "Einfühlung" in str(sheet.cell(2, columns["q:empathy"]).value)
    lists = {str(cells): validation for validation in sheet.data_validations.dataValidation for cells in [validation.sqref]}
    assert len(lists) == 8  # Seven scales, and a place for each of three replies; checks have one reply, and no place.
    assert all(validation.type == "list" and str(validation.formula1).startswith("culturecare!$") for validation in lists.values())
    text = "\n".join(str(row[0].value) for row in book["Anleitung"].iter_rows())
    for needed in ("freiwillig", "Suizid", "0800 1110111", "5 = zeigt tiefes Verständnis", "Eine lange Antwort ist keine bessere"):
        assert needed in text


@pytest.mark.parametrize(("code", "rtl"), [("ar", True), ("he", True), ("hi", False), ("en", False)])
def test_sheets_run_from_right_to_left_where_the_script_does(tmp_path: Path, code: str, rtl: bool) -> None:  # noqa: FBT001
    packet = small_packet(tmp_path / "packet", runs=[make_run(cultures=["german"])], ask_in={"german": code}).packet
    book = load_workbook(write_workbook(packet, RATER, tmp_path / "mine.xlsx"))
    assert [bool(sheet.sheet_view.rightToLeft) for sheet in book.worksheets[:2]] == [rtl, rtl]


@pytest.mark.parametrize(("code", "form_is_rtl"), [("ar", True), ("de", False)])
def test_each_text_says_in_which_direction_it_runs(tmp_path: Path, code: str, form_is_rtl: bool) -> None:  # noqa: FBT001
    # LibreOffice does not tell it from the text, and sets what does not say it from left to right: full stops and words change places.
    written = {"standard": "لست وحدك، خذ وقتك.", "cga": "1. You are not alone."}
    run = make_run(cultures=["german"], text=lambda name, strategy: f"{written[strategy]} ({name})")
    packet = small_packet(tmp_path / "packet", runs=[run], ask_in={"german": code}).packet
    book = load_workbook(write_workbook(packet, RATER, tmp_path / "mine.xlsx"))
    sheet = book.worksheets[1]
    columns = columns_of(sheet)
    replies = [sheet.cell(row, columns["reply"]) for row in range(3, sheet.max_row + 1)]
    orders = {start: {cell.alignment.readingOrder for cell in replies if str(cell.value).startswith(start)} for start in ("لست", "1.")}
    assert orders == {"لست": {2}, "1.": {1}}
    told = {row[0].alignment.readingOrder for row in book.worksheets[0].iter_rows()}
    headings = {sheet.cell(2, column).alignment.readingOrder for column in columns.values()}
    assert told == headings == {2 if form_is_rtl else 1}
    assert sheet.cell(3, columns["q:comment"]).alignment.readingOrder == (2 if form_is_rtl else 0)
    prompts = [line for validation in sheet.data_validations.dataValidation for line in str(validation.prompt).split("\n")]
    assert {line.startswith("\u200f") for line in prompts} == {form_is_rtl}


def lines_of(text: str, width: float) -> int:
    """Lines that a text takes at least in a column: an average letter is narrower than the digit that widths are counted in."""
    return sum(max(1, -(-len(line) // int(width * 1.1))) for line in text.split("\n"))


@pytest.mark.parametrize("long", ["post", "reply"])
@pytest.mark.parametrize("code", ["de", "ar"])
def test_a_text_is_shown_in_full_however_long_it_is(tmp_path: Path, long: str, code: str) -> None:
    # A row is at most 409 points high, which is some 27 lines.
    text = "\n\n".join(["These are six words or seven. " * 20] * 8)
    run = make_run(cultures=["german"], text=lambda name, strategy: f"{text if long == 'reply' else 'Short.'} ({name}, {strategy})")
    posts = {name: f"{text} ({name})" if long == "post" else "Short." for name in run.posts}
    packet = small_packet(tmp_path / "packet", runs=[run.model_copy(update={"posts": posts})], ask_in={"german": code}).packet
    path = write_workbook(packet, RATER, tmp_path / "mine.xlsx")
    sheet = load_workbook(path).worksheets[1]
    column = columns_of(sheet)[long]
    width = sheet.column_dimensions[get_column_letter(column)].width
    merged = {(area.min_row, area.min_col): area.max_row for area in sheet.merged_cells.ranges}
    seen = 0
    for row in range(3, sheet.max_row + 1):
        assert sheet.row_dimensions[row].height <= 409
        if (value := sheet.cell(row, column).value) is not None:
            high = sum(sheet.row_dimensions[number].height for number in range(row, merged.get((row, column), row) + 1))
            assert high >= 14.5 * lines_of(str(value), width)
            seen += len(str(value)) > 4000
    assert seen > 5
    given = answers(packet, RATER)
    assert through_a_workbook(packet, RATER, tmp_path / "filled", given) == given


def test_the_columns_that_never_scroll_leave_room_for_answers_in_a_small_window(packets: dict[str, OpenPacket], tmp_path: Path) -> None:
    # A window of 1,024 pixels shows some 135 digits in a line; where the frozen columns fill it, no answer can be reached.
    sheet = load_workbook(write_workbook(packets["annotator"], RATER, tmp_path / "mine.xlsx")).worksheets[1]
    frozen = [letter for letter in "ABCDE" if not sheet.column_dimensions[letter].hidden]
    assert sheet.freeze_panes == "F3"
    assert sum(sheet.column_dimensions[letter].width for letter in frozen) + sheet.column_dimensions["F"].width < 135


def test_every_cell_names_its_font(packets: dict[str, OpenPacket], tmp_path: Path) -> None:
    # Without a name and a size each program takes another, and rows are too low for their texts.
    book = load_workbook(write_workbook(packets["annotator"], RATER, tmp_path / "mine.xlsx"))
    assert {(cell.font.name, cell.font.sz) for sheet in book.worksheets for row in sheet.iter_rows() for cell in row} == {("Calibri", 11)}


@pytest.mark.parametrize("start", ["=", "+", "-", "@"])
def test_a_reply_is_never_run_as_a_formula(tmp_path: Path, start: str) -> None:
    text = f'{start}HYPERLINK("http://example.org")\r\nreads\x07 on\r\n_x0041_'
    packet = small_packet(tmp_path / "packet", runs=[make_run(text=lambda name, strategy: f"{text} {name} {strategy}")]).packet
    path = write_workbook(packet, RATER, tmp_path / "mine.xlsx")
    book = load_workbook(path)
    sheet = book["Bewertung"]
    cells = [sheet.cell(row, columns_of(sheet)["reply"]) for row in range(3, sheet.max_row + 1)]
    risky = [cell for cell in cells if str(cell.value).startswith(start)]
    assert risky
    assert all(cell.data_type == "s" and cell.quotePrefix for cell in risky)
    assert all("<f>" not in zipfile.ZipFile(path).read(f"xl/worksheets/sheet{number}.xml").decode() for number in (1, 2, 3))
    given = answers(packet, RATER)
    fill(packet, RATER, book, given)
    book.save(path)
    saved_at(path, NOON)
    assert import_ratings(packet, path, at=NOON) == given


@given(st.text())
def test_a_cell_holds_any_text_without_what_xml_has_not(text: str) -> None:
    plain = _plain(text)
    assert _plain(plain) == plain
    assert not re.search("[\x00-\x08\x0b-\x1f]", plain)


def test_a_text_longer_than_a_cell_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    packet = small_packet(tmp_path / "packet", runs=[make_run(text=lambda *_: "x" * 40_000)]).packet
    with pytest.raises(CultureCareError, match="does not fit into a cell, which holds 32767; leave --workbooks out"):
        write_workbook(packet, RATER, tmp_path / "books" / "mine.xlsx")
    assert not (tmp_path / "books").exists()


def test_each_rater_has_a_workbook_and_none_is_overwritten(packets: dict[str, OpenPacket], tmp_path: Path) -> None:
    files = write_workbooks(packets["annotator"], tmp_path / "books")
    assert [path.stem for path in files] == list(packets["annotator"].assignments)
    with pytest.raises(CultureCareError, match=r"american-1.xlsx: is there already, and workbooks are never overwritten"):
        write_workbooks(packets["annotator"], tmp_path / "books")


# --- Label Studio ---


def export(packet: OpenPacket, rater: str, given: Sequence[Rating], *, user: Any = 7) -> list[dict[str, Any]]:
    """What Label Studio exports in the format JSON once a rater has answered, in the shape of the export of 1.23.2 in `data`."""
    form = packet.packet.form
    tasks = []
    for number, task in enumerate(tasks_of(packet, rater), 1):
        item = packet.items[task["data"]["item"]]
        results: list[dict[str, Any]] = []
        for rating in given:
            if rating.item != item.id or rating.value is None:
                continue
            kind = form.question(rating.question).kind
            index = None if rating.label is None else item.labels.index(rating.label)
            result: dict[str, Any] = {
                "id": f"Dx_{len(results)}",
                "from_name": f"item_{rating.question}" if index is None else f"reply_{index}_{rating.question}",
                "to_name": "replies" if kind == "ranking" else "post" if index is None else f"text_{index}",
                "origin": "manual",
            }
            if kind == "text":
                result |= {"type": "textarea", "value": {"text": [rating.value]}}
            elif isinstance(rating.value, tuple):
                result |= {"type": "ranker", "value": {"ranker": {"_": [], "ranked": list(rating.value)}}}
            else:
                result |= {"type": "choices", "value": {"choices": [str(rating.value)]}}
            results.append(result)
        annotation = {
            "id": 1000 + number,
            "result": results,
            "was_cancelled": False,
            "ground_truth": False,
            "created_at": "2026-01-01T11:58:49.513742Z",
            "updated_at": "2026-01-01T12:00:00Z",
            "draft_created_at": None,
            "lead_time": 64.288,
            "prediction": {},
            "result_count": len(results),
            "unique_id": f"{number:08d}-0000-4000-8000-000000000000",
            "task": number,
            "project": 1,
            "completed_by": user,
        }
        tasks.append(
            {
                "id": number,
                "annotations": [annotation] if results else [],
                "drafts": [],
                "predictions": [],
                "data": task["data"],
                "meta": {},
                "created_at": "2026-01-01T10:00:00.000000Z",
                "updated_at": "2026-01-01T12:00:00.000000Z",
                "inner_id": number,
                "total_annotations": 1,
                "project": 1,
                "updated_by": 7,
            }
        )
    return tasks


def read_back(packet: OpenPacket, folder: Path, content: Any) -> list[Rating]:
    path = folder / "project-1-at-2026-01-01.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return import_ratings(packet, path, at=LATER)


@pytest.mark.parametrize("form", ["annotator", "psychologist"])
@pytest.mark.parametrize("user", [7, {"id": 7, "email": "somebody@example.org", "first_name": "", "last_name": ""}])
def test_what_was_answered_in_label_studio_comes_back(packets: dict[str, OpenPacket], tmp_path: Path, form: str, user: Any) -> None:
    given = answers(packets[form], RATER, seed=4)
    # A single reply is not ranked, so Label Studio's order of it says nothing.
    assert read_back(packets[form], tmp_path, export(packets[form], RATER, given, user=user)) == given


def test_every_control_of_the_configuration_belongs_to_what_is_asked(packets: dict[str, OpenPacket]) -> None:
    for packet in packets.values():
        for code, form in packet.packet.wordings.items():
            root = ET.fromstring(labelling_config(form))  # noqa: S314 - written by ourselves.
            assert [bucket.get("name") for ranker in root.iter("Ranker") for bucket in ranker] == (
                ["ranked"] if any(question.kind == "ranking" for question in form.questions) else []
            )
            # What may be in another script than the form runs in its own direction.
            of_text = [child.tag for view in root.iter("View") if view.get("className") == "culturecare-text" for child in view]
            assert sorted(of_text) == sorted(element.tag for element in root.iter() if element.tag in {"Text", "Ranker"})
            assert ".culturecare-text div" in str(root.findtext("Style"))
            assert "unicode-bidi: plaintext" in str(root.findtext("Style"))
            # Label Studio would give each choice a key of its own: 3 would answer the first question, whichever is being read.
            assert {choice.get("hotkey") for choice in root.iter("Choice")} == {"ctrl+alt+shift+f19"}
            assert root.tag == "View"
            assert root.get("style") == f"direction: {select_language(code).direction}"
            names = [element.get("name") for element in root.iter() if element.get("name")]
            assert len(set(names)) == len(names)
            for element in root.iter():
                if element.get("toName"):
                    assert element.get("toName") in names
            (repeater,) = root.iter("Repeater")
            assert repeater.attrib == {"on": "$replies", "indexFlag": "{{idx}}"}
            controls = {str(element.get("name")).replace("{{idx}}", "0") for element in root.iter() if element.get("toName")}
            item = packet.items[first_reply(packet)]
            assert controls == {
                f"item_{question.key}" if label is None else f"reply_0_{question.key}"
                for question, label in asked(form, item)
                if label in {None, "A"}
            }
            for choices in root.iter("Choices"):
                question = form.question(str(choices.get("name")).removeprefix("reply_{{idx}}_"))
                assert [choice.get("alias") for choice in choices] == [str(value.value) for value in question.values]
                assert choices.get("required") == "true"


def test_every_field_that_the_configuration_shows_is_in_the_tasks(packets: dict[str, OpenPacket]) -> None:
    packet = packets["annotator"]
    shown = set(re.findall(r'"\$(\w+)', labelling_config(packet.form_of(RATER))))
    assert shown == {"post", "replies", "ranked"}
    tasks = tasks_of(packet, RATER)
    assert [task["data"]["item"] for task in tasks] == list(packet.assignment(RATER).items)
    for task in tasks:
        assert shown <= set(task["data"])
        assert set(task["data"]["replies"][0]) == {"label", "title", "text"}
        assert set(task["data"]["ranked"][0]) == {"id", "title", "body", "text"}


@pytest.mark.parametrize("code", sorted(languages()))
def test_what_raters_are_told_stands_above_each_post_in_label_studio(tmp_path: Path, code: str) -> None:
    packet = small_packet(tmp_path / "packet", runs=[make_run(cultures=["german"])], ask_in={"german": code}).packet
    root = ET.fromstring(labelling_config(packet.packet.wordings[code]))  # noqa: S314 - written by ourselves.
    words, contacts = select_language(code).interface, select_language(code).contacts
    shown = [element.get("value") for element in root.iter("Header")]
    told = (*words.warning, *words.consent, *words.support, *(f"{contact.name}: {contact.reach}" for contact in contacts))
    assert [text for text in shown if text in told] == list(told)
    assert max(map(shown.index, told)) < shown.index(words.post)
    panels = {panel.get("value"): panel.get("open") for panel in root.iter("Panel")}
    # A warning that is folded away warns nobody.
    assert panels == {words.warning_title: "true", words.consent_title: "false", words.support_title: "false"}


def test_a_project_for_each_rater_is_written_once(packets: dict[str, OpenPacket], tmp_path: Path) -> None:
    files = write_projects(packets["annotator"], tmp_path / "ls")
    assert sorted(path.name for path in files) == [
        *(f"american-{number}.tasks.json" for number in (1, 2, 3)),
        "config.de.xml",
        "config.en.xml",
        *(f"german-{number}.tasks.json" for number in (1, 2, 3)),
    ]
    assert json.loads((tmp_path / "ls" / f"{RATER}.tasks.json").read_text(encoding="utf-8")) == tasks_of(packets["annotator"], RATER)
    with pytest.raises(CultureCareError, match="is there already, and is not overwritten"):
        write_projects(packets["annotator"], tmp_path / "ls")


def test_a_skipped_task_is_left_out_and_an_open_one_stays_open(packets: dict[str, OpenPacket], tmp_path: Path) -> None:
    packet = packets["annotator"]
    tasks = export(packet, RATER, answers(packet, RATER))
    tasks[0]["annotations"][0] |= {"was_cancelled": True}
    tasks[1]["annotations"] = []
    back = read_back(packet, tmp_path, tasks)
    names = [task["data"]["item"] for task in tasks]
    assert {rating.reason for rating in back if rating.item == names[0]} == {LEFT_OUT}
    assert not [rating for rating in back if rating.item == names[1]]
    progress = next(found for found in completeness(packet, back) if found.rater == RATER)
    assert progress.open_items == (names[1],)


def test_what_label_studio_has_no_answer_to_is_missing(packets: dict[str, OpenPacket], tmp_path: Path) -> None:
    packet = packets["annotator"]
    given = answers(packet, RATER)
    item = first_reply(packet)
    kept = [rating for rating in given if (rating.item, rating.question) != (item, "ranking")]
    missing = [rating for rating in read_back(packet, tmp_path, export(packet, RATER, kept)) if rating.value is None]
    assert [(rating.item, rating.question, rating.reason) for rating in missing] == [(item, "ranking", LEFT_BLANK)]


def ranked(tasks: list[dict[str, Any]]) -> tuple[int, dict[str, Any]]:
    """The first task that has several replies, with its ranking."""
    number, task = next((number, task) for number, task in enumerate(tasks, 1) if len(task["data"]["replies"]) > 1)
    (result,) = (result for result in task["annotations"][0]["result"] if result["type"] == "ranker")
    return number, result


@pytest.mark.parametrize("left", [{"_": ["A", "B", "C"], "ranked": []}, {"_": ["C", "A", "B"]}, {}])
def test_replies_that_nobody_put_in_order_have_no_ranking(packets: dict[str, OpenPacket], tmp_path: Path, left: dict[str, Any]) -> None:
    # Label Studio writes a result for a Ranker that nobody touched, too.
    packet = packets["annotator"]
    given = answers(packet, RATER)
    tasks = export(packet, RATER, given)
    number, result = ranked(tasks)
    result["value"] = {"ranker": left}
    missing = [rating for rating in read_back(packet, tmp_path, tasks) if rating.value is None]
    item = tasks[number - 1]["data"]["item"]
    assert [(rating.item, rating.question, rating.reason) for rating in missing] == [(item, "ranking", LEFT_BLANK)]


@pytest.mark.parametrize("order", [{"item_ranking": ["A", "B", "C"]}, ["A", "B", "C"], {"_": [], "best": ["A", "B", "C"]}])
def test_an_order_that_may_be_nobodys_is_refused(packets: dict[str, OpenPacket], tmp_path: Path, order: Any) -> None:
    packet = packets["annotator"]
    tasks = export(packet, RATER, answers(packet, RATER))
    number, result = ranked(tasks)
    result["value"] = {"ranker": order}
    with pytest.raises(DataError, match=rf"task {number}: item_ranking: .*the column 'ranked' of the configuration that was written"):
        read_back(packet, tmp_path, tasks)


def test_answers_in_the_other_documented_shapes_are_read_too(packets: dict[str, OpenPacket], tmp_path: Path) -> None:
    packet = packets["annotator"]
    given = answers(packet, RATER)
    tasks = export(packet, RATER, given)
    for task in tasks:
        for result in task["annotations"][0]["result"]:
            if result["type"] == "ranker":
                continue
            if result["type"] == "textarea":
                result["value"] = {"text": result["value"]["text"][0]}
            else:
                result |= {"type": "rating", "value": {"rating": int(result["value"]["choices"][0])}}
    assert read_back(packet, tmp_path, tasks) == given


def test_of_two_annotations_of_a_task_the_later_counts(packets: dict[str, OpenPacket], tmp_path: Path) -> None:
    packet = packets["annotator"]
    first, second = (export(packet, RATER, answers(packet, RATER, seed=seed)) for seed in (1, 2))
    for task, again in zip(first, second, strict=True):
        task["annotations"] += [annotation | {"updated_at": "2026-01-01T13:00:00Z"} for annotation in again["annotations"]]
    kept = latest(read_back(packet, tmp_path, first))
    assert {(rating.cell, rating.value) for rating in kept.ratings} == {
        (rating.cell, rating.value) for rating in answers(packet, RATER, seed=2)
    }
    assert kept.superseded == {RATER: len(kept.ratings)}


def test_a_byte_order_mark_before_an_export_does_no_harm(packets: dict[str, OpenPacket], tmp_path: Path) -> None:
    packet = packets["annotator"]
    given = answers(packet, RATER)
    path = tmp_path / "export.json"
    path.write_text(json.dumps(export(packet, RATER, given)), encoding="utf-8-sig")
    assert import_ratings(packet, path, at=LATER) == given


def test_an_export_as_csv_is_refused_with_the_format_to_choose(packet: OpenPacket, tmp_path: Path) -> None:
    path = tmp_path / "project-1.csv"
    path.write_text('"annotation_id","annotator"\n1,"1"\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"is not valid JSON .*; export from Label Studio in the format JSON, not as CSV or TSV"):
        import_ratings(packet, path, "label-studio", at=LATER)


def test_an_answer_out_of_label_studio_that_does_not_fit_is_told_with_file_and_task(packets: dict[str, OpenPacket], tmp_path: Path) -> None:
    packet = packets["annotator"]
    tasks = export(packet, RATER, answers(packet, RATER))
    number, result = ranked(tasks)
    result["value"] = {"ranker": {"_": ["C"], "ranked": ["A", "B"]}}
    with pytest.raises(DataError, match=rf"\.json: task {number}: .*question 'ranking': must name each of A, B, C once"):
        read_back(packet, tmp_path, tasks)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda tasks: tasks[0].pop("annotations"), r"has no annotations; export in the format JSON \(JSON-MIN leaves out .* skipped\)"),
        (lambda tasks: tasks.insert(0, 4), "task 1: must be an object with data and annotations, as Label Studio exports, not 4$"),
        (lambda tasks: tasks[0].update(data=4), "task 1: data: must be an object, not 4$"),
        (lambda tasks: tasks[0].update(annotations=4), "task 1: annotations: must be a list, not 4$"),
        (lambda tasks: tasks[0].update(annotations=[4]), r"task 1: annotations\.0: must be an object, not 4$"),
        (lambda tasks: tasks[0]["annotations"][0].update(result=4), r"annotations\.0\.result: must be a list, not 4$"),
        (lambda tasks: tasks[0]["annotations"][0].update(result=[4]), r"annotations\.0\.result\.0: must be an object, not 4$"),
        (
            lambda tasks: tasks[0]["annotations"][0].update(completed_by={"email": "x"}),
            "completed_by: must be a user's id, or an object with one, not",
        ),
        (
            lambda tasks: tasks[1]["annotations"][0].update(completed_by=8),
            "were annotated by users 7 and 8; each rater has a project of their own",
        ),
        (lambda tasks: tasks[0]["data"].update(packet="0" * 16), "is of packet '0000000000000000'"),
        (lambda tasks: tasks[0]["data"].update(rater="nobody"), "has no rater 'nobody'"),
        (lambda tasks: tasks[0]["data"].update(item="nothing"), "item 'nothing' was not given to rater 'german-1'"),
        (lambda tasks: tasks[0]["annotations"][0].update(created_at=None, updated_at=None), "says neither created_at nor updated_at"),
        (lambda tasks: tasks[0]["annotations"][0]["result"][0].update(from_name="mood"), "'mood' is no question about item"),
        (lambda tasks: tasks[0]["annotations"][0]["result"][0].update(value={"choices": ["9"]}), "'9' is not one of 1, 2, 3, 4, 5"),
        (lambda tasks: tasks[0]["annotations"][0]["result"][0].update(value={"choices": ["1", "2"]}), "must be one choice"),
        (
            lambda tasks: tasks[0]["annotations"][0]["result"][0].update(type="number", value={"number": 3}),
            "a scale is not answered by 'number'",
        ),
        (lambda tasks: tasks[0]["annotations"][0]["result"][0].pop("from_name"), "result: from_name: field required"),
    ],
)
def test_an_export_that_does_not_fit_is_told(
    packets: dict[str, OpenPacket], tmp_path: Path, spoil: Callable[[list[dict[str, Any]]], Any], message: str
) -> None:
    packet = packets["annotator"]
    tasks = export(packet, RATER, answers(packet, RATER))
    spoil(tasks)
    with pytest.raises(CultureCareError, match=message):
        read_back(packet, tmp_path, tasks)


# --- Files that the programs themselves wrote ---

WRITTEN_ELSEWHERE = Path(__file__).parent / "data" / "human"


@pytest.mark.parametrize("form", ["annotator", "psychologist"])
@pytest.mark.parametrize("program", ["label-studio-1.23.2.json", "libreoffice-7.4.7.xlsx"])
def test_what_was_answered_in_the_real_program_comes_back_as_it_was(form: str, program: str) -> None:
    packet = open_packet(WRITTEN_ELSEWHERE / form)
    path = WRITTEN_ELSEWHERE / f"{form}-{program}"
    given = [json.loads(line) for line in path.with_suffix(".given.jsonl").read_text(encoding="utf-8").splitlines()]
    back = import_ratings(packet, path, at=dt.datetime(2027, 1, 1, tzinfo=dt.UTC))
    assert [
        [rating.item, rating.label, rating.question, list(rating.value) if isinstance(rating.value, tuple) else rating.value, rating.reason]
        for rating in sorted(back, key=lambda rating: packet.assignment(rating.rater).items.index(rating.item))
    ] == given


@pytest.mark.parametrize("form", ["annotator", "psychologist"])
def test_a_workbook_keeps_its_lists_locks_and_frozen_panes_in_libreoffice(form: str) -> None:
    book = load_workbook(WRITTEN_ELSEWHERE / f"{form}-libreoffice-7.4.7.xlsx")
    sheet = book.worksheets[1]
    columns = columns_of(sheet)
    assert [sheet.protection.sheet for sheet in book.worksheets] == [True, True, True]
    assert book["culturecare"].sheet_state == "hidden"
    pane = sheet.sheet_view.pane
    assert pane is not None
    assert (pane.state, pane.xSplit, pane.ySplit) == ("frozen", 5, 2)
    assert sheet.row_dimensions[1].hidden
    assert [sheet.cell(3, columns[key]).protection.locked for key in ("post", "reply", "q:comment")] == [True, True, False]
    listed = {str(area) for validation in sheet.data_validations.dataValidation for area in validation.sqref.ranges}
    for question in open_packet(WRITTEN_ELSEWHERE / form).packet.form.questions:
        if question.kind != "text":
            assert any(area.startswith(get_column_letter(columns[f"q:{question.key}"])) for area in listed)
