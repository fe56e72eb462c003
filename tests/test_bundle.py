"""Bundles: one reader, which takes what is well formed, refuses the rest with a reason, and never does anything else."""

from __future__ import annotations

import json
import math
import re
import time
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from culturecare_harness.admission import refusals
from culturecare_harness.bundle import (
    FILES,
    REPLIES,
    RESULT,
    SUBMISSION,
    VERDICTS,
    Bundle,
    BundleError,
    contents,
    pack,
    printable,
    read_bundle,
    write_bundle,
)
from culturecare_harness.records import reply_id
from tests import hostile
from tests.bundles import make_bundle

if TYPE_CHECKING:
    from pathlib import Path

SLOWEST = 2.0
"""Seconds that the worst bundle may take."""

# Each example reads a bundle of 112 records.
QUICK = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
HONEST = make_bundle(strategies=("standard",))
FREE_TEXTS = {
    # What a model, a package or a submitter may call as they like; it is shown as text alone.
    (RESULT, "model.backend"),
    (RESULT, "notes.0"),
    *((RESULT, f"versions.{package}") for package in HONEST.result.versions),
}


def reasons_of(path: Path) -> list[str]:
    try:
        bundle = read_bundle(path)
    except BundleError as error:
        return [str(error)]
    return refusals(bundle)


def everything_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


# --- The corpus ------------------------------------------------------------------------------------------------------------------


def test_the_corpus_has_as_many_distinct_cases_as_the_board_was_promised() -> None:
    names = [case.name for case in hostile.CASES]
    assert len(set(names)) == len(names)
    assert hostile.DISTINCT >= 60


@pytest.mark.parametrize("case", hostile.CASES, ids=lambda case: case.name)
def test_a_hostile_bundle_is_refused_with_a_reason_or_is_inert(case: hostile.Case, tmp_path: Path) -> None:
    path = case.make(tmp_path)
    before = everything_below(tmp_path)
    start = time.process_time()
    reasons = reasons_of(path)
    assert time.process_time() - start < SLOWEST
    assert everything_below(tmp_path) == before
    if case.reason is None:
        assert reasons == []
    else:
        assert any(re.search(case.reason, reason) for reason in reasons), reasons
    # A reason goes into terminals and pages: one line, of bounded length.
    assert all(reason.isprintable() and len(reason) <= 401 for reason in reasons)


@pytest.mark.parametrize("text", [hostile.SCRIPT, hostile.FORMULA], ids=["script", "formula"])
@pytest.mark.parametrize(
    ("name", "way"), list(hostile.string_fields()), ids=lambda part: part if isinstance(part, str) else ".".join(map(str, part))
)
def test_script_and_formulas_in_any_text_are_refused_but_where_texts_are_free(
    name: str, way: tuple[str | int, ...], text: str, tmp_path: Path
) -> None:
    reasons = reasons_of(hostile.as_zip(tmp_path, hostile.with_text(name, way, text)))
    assert (reasons == []) == ((name, ".".join(map(str, way))) in FREE_TEXTS)


# --- Whatever comes --------------------------------------------------------------------------------------------------------------


@given(st.binary(max_size=2000))
@QUICK
def test_any_bytes_are_a_bundle_or_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bundle.zip"
    path.write_bytes(content)
    with pytest.raises(BundleError):
        read_bundle(path)


@st.composite
def mutations(draw: st.DrawFn) -> list[tuple[str, float, float, bytes]]:
    kinds = st.sampled_from(["flip", "cut", "insert", "swap", "overwrite"])
    part = st.floats(0, 1, exclude_max=True)
    return draw(st.lists(st.tuples(kinds, part, part, st.binary(min_size=1, max_size=8)), min_size=1, max_size=4))


def mutated(content: bytes, changes: list[tuple[str, float, float, bytes]]) -> bytes:
    for kind, first, second, new in changes:
        one, other = sorted((int(first * len(content)), int(second * len(content))))
        if kind == "flip":
            content = content[:one] + bytes([content[one] ^ (new[0] or 1)]) + content[one + 1 :] if content else content
        elif kind == "cut":
            content = content[:one] + content[min(other, one + 200) :]
        elif kind == "insert":
            content = content[:one] + new + content[one:]
        elif kind == "swap":
            content = content[:one] + content[other : other + 50] + content[one:other] + content[other + 50 :]
        else:
            content = content[:one] + new + content[one + len(new) :]
    return content


@given(mutations())
@QUICK
def test_a_zip_file_with_any_change_is_the_same_bundle_or_none(tmp_path: Path, changes: list[tuple[str, float, float, bytes]]) -> None:
    path = tmp_path / "bundle.zip"
    write_bundle(path, HONEST)
    path.write_bytes(mutated(path.read_bytes(), changes))
    try:
        found = read_bundle(path)
    except BundleError:
        return
    # Other times or rights in a header say nothing.
    assert found == HONEST


@given(st.sampled_from(FILES), mutations())
@settings(QUICK, max_examples=80)
def test_a_file_with_any_change_gives_a_bundle_or_a_reason(
    tmp_path: Path, name: str, changes: list[tuple[str, float, float, bytes]]
) -> None:
    files = contents(HONEST)
    files[name] = mutated(files[name], changes)
    reasons = reasons_of(folder_of_files(tmp_path, files if name == SUBMISSION else hostile.sealed(files)))
    assert all(isinstance(reason, str) for reason in reasons)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
EVERY_FIELD = [
    (name, (*way[:depth],))
    for name in FILES
    for way, _ in hostile._texts(json.loads(contents(HONEST)[name].splitlines()[0] if name.endswith("l") else contents(HONEST)[name]), ())
    for depth in range(1, len(way) + 1)
    if name != RESULT or 1 not in way
]


@given(st.sampled_from(list(dict.fromkeys(EVERY_FIELD))), JSON)
@settings(QUICK, max_examples=150)
def test_any_value_in_any_field_gives_a_bundle_or_a_reason(tmp_path: Path, field: tuple[str, tuple[Any, ...]], value: Any) -> None:
    reasons = reasons_of(folder_of_files(tmp_path, hostile.with_text(*field, value)))
    assert all(reason.isprintable() for reason in reasons)


def folder_of_files(tmp_path: Path, files: dict[str, bytes]) -> Path:
    folder = tmp_path / "bundle"
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


# --- There and back --------------------------------------------------------------------------------------------------------------


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=60), min_size=1, max_size=4))
@QUICK
def test_replies_in_any_script_come_back_as_they_were(tmp_path: Path, texts: list[str]) -> None:
    bundle = saying(HONEST, [texts[number % len(texts)] for number in range(len(HONEST.replies))])
    write_bundle(tmp_path / "bundle.zip", bundle)
    there = read_bundle(tmp_path / "bundle.zip")
    assert there == bundle
    assert read_bundle(folder_of_files(tmp_path, contents(bundle))) == there


def test_a_bundle_has_one_id_as_zip_and_as_folder(tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle.zip", HONEST)
    assert read_bundle(tmp_path / "bundle.zip") == read_bundle(hostile.as_folder(tmp_path, contents(HONEST))) == HONEST


def test_equal_bundles_make_equal_files(tmp_path: Path) -> None:
    for name in ("one.zip", "other.zip"):
        write_bundle(tmp_path / name, HONEST)
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "other.zip").read_bytes()


def test_what_zip_programs_write_is_read(tmp_path: Path) -> None:
    for number, method in enumerate((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)):
        path = tmp_path / f"{number}.zip"
        with zipfile.ZipFile(path, "w", method) as archive:
            for name in reversed(FILES):
                archive.writestr(zipfile.ZipInfo(name, (1999, 12, 31, 23, 59, 58)), contents(HONEST)[name], method)
        assert read_bundle(path) == HONEST


def test_files_are_kept_byte_for_byte_however_they_were_written(tmp_path: Path) -> None:
    # Written again in this package's own way, a file would no longer have the fingerprint that the submission names.
    files = hostile.sealed(contents(HONEST) | {RESULT: contents(HONEST)[RESULT].replace(b"\n", b"\r\n") + b"  \n"})
    bundle = read_bundle(hostile.as_zip(tmp_path, files))
    assert contents(bundle) == files
    assert read_bundle(folder_of_files(tmp_path, contents(bundle))).id == bundle.id


def test_the_id_is_of_all_that_is_said_but_the_time() -> None:
    def made(**fields: Any) -> Bundle:
        return pack({**HONEST.submission.model_dump(exclude={"files"}), **fields}, HONEST.result, HONEST.replies, HONEST.verdicts)

    assert made().id == HONEST.id
    assert made(submitted="2026-02-02T00:00:00Z").id == HONEST.id
    assert len({made(**fields).id for fields in ({}, {"submitter": "other"}, {"parameters": 7}, {"model": "a/b"}, {"licence": "MIT"})}) == 5


def saying(bundle: Bundle, texts: list[str], model: str | None = None) -> Bundle:
    """The bundle with other texts, and perhaps by another model; its verdicts are no longer those on its replies."""
    replies = []
    for reply, text in zip(bundle.replies, texts, strict=True):
        name = model or reply.model
        made = {"text": text, "model": name, "id": reply_id(reply.instance_id, reply.strategy, name, text)}
        replies.append(reply.model_copy(update=made))
    return pack(bundle.submission.model_dump(exclude={"files"}), bundle.result, replies, bundle.verdicts)


def test_replies_are_known_again_under_another_models_name() -> None:
    renamed = saying(HONEST, [reply.text or "" for reply in HONEST.replies], model="b")
    assert renamed.id != HONEST.id
    assert (renamed.texts_hash, renamed.sketch) == (HONEST.texts_hash, HONEST.sketch)


def test_a_reply_that_was_changed_is_not_packed() -> None:
    changed = [reply.model_copy(update={"text": "Better."}) for reply in HONEST.replies]
    with pytest.raises(BundleError, match=r"^bundle: replies\.0: .*changed after it was made"):
        pack(HONEST.submission.model_dump(exclude={"files"}), HONEST.result, changed, HONEST.verdicts)


def test_a_submission_that_does_not_fit_is_not_packed() -> None:
    fields = HONEST.submission.model_dump(exclude={"files"})
    with pytest.raises(BundleError, match=r"^submission: link: string should match"):
        pack({**fields, "link": "http://a.example"}, HONEST.result, HONEST.replies, HONEST.verdicts)


def test_numbers_come_back_to_the_last_digit(tmp_path: Path) -> None:
    [first, *rest] = HONEST.verdicts
    exact = first.model_copy(update={"digit_mass": math.nextafter(0.1, 1)})
    bundle = pack(HONEST.submission.model_dump(exclude={"files"}), HONEST.result, HONEST.replies, [exact, *rest])
    assert read_bundle(hostile.as_zip(tmp_path, contents(bundle))).verdicts[0] == exact


# --- Reasons ---------------------------------------------------------------------------------------------------------------------


@given(st.text())
def test_what_is_printable_is_one_line_of_bounded_length(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert len(shown) <= 401


def test_what_is_printable_stays() -> None:
    assert printable("Ein Grund, 理由, سبب.") == "Ein Grund, 理由, سبب."


assert {SUBMISSION, VERDICTS, REPLIES} < set(FILES)
