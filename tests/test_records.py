"""Records and the files they stand in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from culturecare import DataError, Instance
from culturecare_harness.records import (
    Judge,
    Reply,
    Score,
    Verdict,
    append_records,
    digest,
    read_records,
    reply_id,
    write_json,
    write_records,
)

if TYPE_CHECKING:
    from collections.abc import Callable

HASHES = st.text("0123456789abcdef", min_size=16, max_size=16)
JUDGES = st.builds(Judge, backend=st.sampled_from(["hf", "openai"]), prompt_hash=HASHES, settings_hash=HASHES)
SETTINGS = st.dictionaries(
    st.text(), st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
same_file = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)


@st.composite
def replies(draw: st.DrawFn) -> Reply:
    words = {field: draw(st.text()) for field in ("instance_id", "strategy", "model", "text")}
    fields = {
        "culture": draw(st.text()),
        "language": draw(st.sampled_from(["de", "zh"])),
        "split": draw(st.sampled_from(["test", "train"])),
    }
    hashes = {"dataset_revision": draw(HASHES), "prompt_hash": draw(HASHES)}
    return Reply.model_validate({"id": reply_id(**words), **words, **fields, **hashes, "excerpt": False, "generation": draw(SETTINGS)})


@st.composite
def verdicts(draw: st.DrawFn) -> Verdict:
    score = draw(st.none() | st.floats(1, 5))
    fields = {
        "dimension": draw(st.text()),
        "distribution": draw(st.none() | st.tuples(*[st.floats(0, 1)] * 5)),
        "digit_mass": draw(st.none() | st.floats(0, 1)),
        "answers": draw(st.none() | st.lists(st.text(), max_size=3)),
        "prompt_tokens": draw(st.none() | st.integers(0, 10**6)),
    }
    reason = draw(st.text()) if score is None else None
    return Verdict.model_validate({**fields, "reply_id": draw(HASHES), "judge": draw(JUDGES), "score": score, "reason": reason})


def reply(text: str = "a reply", **fields: object) -> Reply:
    identity = reply_id("i", "standard", "m", text)
    words = {"id": identity, "instance_id": "i", "strategy": "standard", "model": "m", "text": text}
    fixed = {"culture": "german", "language": None, "split": "sample", "dataset_revision": "0" * 16, "prompt_hash": "1" * 16}
    return Reply.model_validate({**words, **fixed, "excerpt": False, "generation": {}, **fields})


# --- Records ---------------------------------------------------------------------------------------------------------------------


def test_a_digest_does_not_depend_on_the_order_of_keys_and_refuses_nan() -> None:
    assert digest({"a": 1, "b": "ü"}) == digest({"b": "ü", "a": 1}) != digest({"a": "1", "b": "ü"})
    with pytest.raises(ValueError, match="JSON"):
        digest(float("nan"))


def test_a_replys_id_tells_what_it_answers_who_wrote_it_and_what_it_says() -> None:
    identities = {reply_id("i", "s", "m", "t"), reply_id("j", "s", "m", "t"), reply_id("i", "r", "m", "t"), reply_id("i", "s", "n", "t")}
    assert len({*identities, reply_id("i", "s", "m", "u"), reply_id("is", "", "m", "t")}) == 6


@given(replies(), st.text())
def test_a_reply_whose_text_was_changed_is_refused(of: Reply, text: str) -> None:
    if text != of.text:
        with pytest.raises(ValidationError, match="the reply was changed after it was made"):
            Reply.model_validate({**of.model_dump(), "text": text})


@pytest.mark.parametrize("fields", [{"score": None, "reason": None}, {"score": 3, "reason": "x"}], ids=["neither", "both"])
def test_a_verdict_has_either_a_score_or_a_reason(fields: dict[str, object]) -> None:
    judge = Judge(name="j", backend="hf", model="m", mode="argmax", rubric="r", prompt_hash="0" * 16, settings_hash="0" * 16)
    with pytest.raises(ValidationError, match="either a score or a reason"):
        Verdict.model_validate({"reply_id": "0" * 16, "judge": judge, "dimension": "d", **fields})


@given(st.floats().filter(lambda score: not 1 <= score <= 5))
def test_a_score_off_the_scale_is_refused_and_so_is_nan(score: float) -> None:
    with pytest.raises(ValidationError, match="score"):
        Verdict.model_validate({"score": score, "reason": None})


# --- Files -----------------------------------------------------------------------------------------------------------------------


@given(st.lists(replies(), max_size=4))
@same_file
def test_replies_come_back_from_a_file_as_they_went(tmp_path: Path, records: list[Reply]) -> None:
    path = tmp_path / "replies.jsonl"
    write_records(path, records)
    assert read_records(path, Reply) == records


@given(st.lists(verdicts(), max_size=4))
@same_file
def test_verdicts_come_back_from_a_file_as_they_went(tmp_path: Path, records: list[Verdict]) -> None:
    path = tmp_path / "verdicts.jsonl"
    path.unlink(missing_ok=True)
    for record in records:
        append_records(path, [record])
    assert (read_records(path, Verdict) if records else []) == records


def test_instances_come_back_from_a_file_as_they_went(tmp_path: Path, sample: list[Instance]) -> None:
    write_records(tmp_path / "instances.jsonl", sample)
    assert read_records(tmp_path / "instances.jsonl", Instance) == sample


def test_line_separators_within_a_text_do_not_tear_a_line(tmp_path: Path) -> None:
    record = reply("a\nb\r\nc\u2028d\u2029e\x85f\x0bg\x00h")
    write_records(tmp_path / "r.jsonl", [record, record])
    assert read_records(tmp_path / "r.jsonl", Reply) == [record, record]


@given(st.integers(0, 2000))
@same_file
def test_a_file_torn_anywhere_keeps_its_whole_lines_and_can_be_continued(tmp_path: Path, length: int) -> None:
    path, records = tmp_path / "r.jsonl", [reply("eins"), reply("zwei ü 二"), reply("drei")]
    write_records(path, records)
    content = path.read_bytes()[:length]
    path.write_bytes(content)
    whole = content.count(b"\n")
    assert read_records(path, Reply, tolerate_torn_end=True) == records[:whole]
    append_records(path, records[whole:])
    assert read_records(path, Reply) == records


def test_a_torn_line_is_refused_unless_it_was_to_be_expected(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    write_records(path, [reply()])
    path.write_bytes(path.read_bytes() + b'{"id": ')
    with pytest.raises(DataError, match=r"r\.jsonl:2: is not valid JSON"):
        read_records(path, Reply)


def test_a_torn_line_within_a_file_is_refused_in_any_case(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text('{"id": \n', encoding="utf-8")
    append_records(path, [reply()])
    with pytest.raises(DataError, match=r"r\.jsonl:1: is not valid JSON"):
        read_records(path, Reply, tolerate_torn_end=True)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"text": "another"}, "the reply was changed"),
        ({"id": "x"}, "id: .*pattern"),
        ({"mood": "kind"}, "mood: is not a field of this record"),
        ({"schema_version": 2}, "schema_version: input should be 1, not 2"),
        ({"split": "dev"}, "split: .*'test', 'sample', 'train' or 'own'.*not 'dev'"),
    ],
    ids=["text", "id", "unknown field", "version", "split"],
)
def test_a_line_that_is_no_such_record_is_refused_by_file_line_and_field(tmp_path: Path, change: dict[str, object], words: str) -> None:
    path = tmp_path / "r.jsonl"
    fields = reply().model_dump(mode="json")
    path.write_text(f"{json.dumps(fields)}\n{json.dumps(fields | change)}\n", encoding="utf-8")
    with pytest.raises(DataError, match=rf"r\.jsonl:2: .*{words}"):
        read_records(path, Reply)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    for tolerate in (True, False):
        with pytest.raises(DataError, match=r"r\.jsonl: cannot be read"):
            read_records(tmp_path / "r.jsonl", Reply, tolerate_torn_end=tolerate)


def test_writing_makes_the_folder_and_leaves_no_other_file(tmp_path: Path) -> None:
    write_json(tmp_path / "a" / "b" / "reply.json", reply("ü"))
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["reply.json"]
    assert '"ü"' in (tmp_path / "a" / "b" / "reply.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("write", [write_records, append_records])
def test_what_is_no_strict_json_is_not_written_and_what_stood_there_stays(
    tmp_path: Path, write: Callable[[Path, list[Score]], None]
) -> None:
    path, good = tmp_path / "r.jsonl", Score(strategy="s", culture="c", metric="m", mean=3, low=None, high=None, n=1, coverage=1)
    write_records(path, [good])
    bad = good.model_copy(update={"mean": float("nan")})
    with pytest.raises(ValueError, match="JSON"):
        write(path, [good, bad])
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, bad)
    assert read_records(path, Score) == [good]


def test_a_setting_that_is_no_json_is_refused_rather_than_written_as_null(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"generation|JSON"):
        write_records(tmp_path / "r.jsonl", [reply(generation={"temperature": float("nan")})])


def test_a_write_that_breaks_off_leaves_what_stood_there_and_no_remains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "r.jsonl"
    write_records(path, [reply()])
    whole = Path.write_bytes

    def half(self: Path, content: bytes) -> int:
        whole(self, content[: len(content) // 2])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", half)
        with pytest.raises((OSError, DataError), match="No space left"):
            write_records(path, [reply("b")])
    assert read_records(path, Reply) == [reply()]
    assert list(tmp_path.iterdir()) == [path]


def test_where_nothing_can_be_written_the_error_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"r\.jsonl: cannot be written"):
        write_records(tmp_path / "file" / "r.jsonl", [reply()])
