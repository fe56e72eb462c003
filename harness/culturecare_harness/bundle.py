"""Bundles: what is handed in to a leaderboard, and the one reader of it, which trusts nothing.

A bundle is four files, in a folder on a board or in one ZIP file on its way there: `submission.json` (who hands in what, under which
protocol, and the fingerprints of the other files), `result.json`, `replies.jsonl` and `verdicts.jsonl`. It holds no post, no key and no
path of the machine it was made on. The reader never unpacks anything to disk; whatever does not fit is refused with a reason.
"""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
import io
import json
import math
import os
import re
import stat
import struct
import zipfile
import zlib
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, Field, StringConstraints, ValidationError, field_validator, model_validator

from culturecare import DataError, Record, Split
from culturecare_harness.jury import JuryResult, JuryVerdict
from culturecare_harness.records import Hash, Result, Verdict, digest, reply_id, whole_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

__all__ = [
    "FILES",
    "LIMITS",
    "MODEL_NAME",
    "SUBMISSION",
    "WITHHELD",
    "Bundle",
    "BundleError",
    "PublicReply",
    "Submission",
    "contents",
    "leaks",
    "pack",
    "printable",
    "read_bundle",
    "read_plain_file",
    "read_submission",
    "write_bundle",
]

R = TypeVar("R", bound=BaseModel)

SUBMISSION, RESULT, REPLIES, VERDICTS = "submission.json", "result.json", "replies.jsonl", "verdicts.jsonl"
FILES = (SUBMISSION, RESULT, REPLIES, VERDICTS)
LIMITS: Mapping[str, int] = {SUBMISSION: 64 * 1024, RESULT: 4 * 1024**2, REPLIES: 48 * 1024**2, VERDICTS: 48 * 1024**2}
"""The most bytes that each file may have."""

WITHHELD = "it repeats the post, which may not be shown"
"""The one reason for which a reply's text may be left out."""

_MOST_ZIPPED = 64 * 1024**2
_LARGEST_DIRECTORY = 64 * 1024
_MOST_LINES: Mapping[str, int] = {REPLIES: 10_000, VERDICTS: 80_000}
_LONGEST_LINE = 512 * 1024
_LONGEST_TEXT = 40_000
_LONGEST_REASON = 400
_DEEPEST = 16
_MOST_DIGITS = 32
_MOST_VALUES, _MOST_VALUES_IN_RESULT = 500, 250_000

MODEL_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9][A-Za-z0-9._-]{0,95})?$"
"""Names as the Hub gives them. ASCII alone: no name can pass for another by look-alike letters."""

_PATH = re.compile(
    r"(?<![\w/.:])/(?:home|Users|root|mnt|tmp|var|opt|srv|data|scratch|workspace)/\S|\b[A-Za-z]:\\\\?\w|\bfile://|(?<!\S)~/\w"
)
_KEY = re.compile(
    r"\b(?:sk-[\w-]{16,}|hf_[A-Za-z0-9]{20,}|AKIA[0-9A-Z]{16}|gh[pousr]_\w{20,}|xox[abprs]-[\w-]{10,}|AIza[\w-]{30,})"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY"
)

SKETCH_SIZE = 64
_SHORTEST_IN_SKETCH = 24

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class BundleError(DataError):
    """A bundle that cannot be read: the message says which file, which line, and what is wrong.

    What a stranger wrote may stand in it, so that it is made `printable`.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class Submission(Record):
    """Who hands in what; all but `files` is the submitter's own word.

    Attributes:
        protocol: Name of the protocol that was followed.
        protocol_hash: `Protocol.hash`.
        model: The model's public name, as on the Hub: `owner/name`, or a name alone.
        submitter: Account of who hands it in.
        submitted: When.
        parameters: Number of the model's parameters, null where it is not known.
        weights: Whether anyone can have the weights, null where it is not said.
        licence: SPDX identifier or short name of the model's licence.
        link: Where to read about the model.
        files: SHA-256 of the other files.
    """

    schema_version: Literal[1] = 1
    protocol: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=64)
    protocol_hash: Hash
    model: str = Field(pattern=MODEL_NAME)
    submitter: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}$")
    submitted: dt.datetime
    parameters: int | None = Field(default=None, ge=1, le=10**14)
    weights: Literal["open", "closed"] | None = None
    licence: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9 .+()-]{0,63}$")
    link: str | None = Field(default=None, pattern=r"^https://[A-Za-z0-9.-]+(/[A-Za-z0-9._~/%?=&#+-]*)?$", max_length=300)
    files: dict[Literal["result.json", "replies.jsonl", "verdicts.jsonl"], Sha256] = Field(min_length=3)

    @field_validator("model")
    @classmethod
    def _as_on_the_hub(cls, model: str) -> str:
        # `a--b` is how the folder of `a/b` is called.
        if "--" in model or ".." in model:
            raise ValueError("a model's name has neither '--' nor '..', as on the Hub")
        return model


class PublicReply(Record):
    """A reply as it may be shown: `Reply`, but that its text may be left out.

    Attributes:
        text: Null where it repeats a post that may not be shown.
        withheld: Why the text is left out; null where it is there.
    """

    schema_version: Literal[1] = 1
    id: Hash
    instance_id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}$")
    culture: str = Field(pattern=r"^[a-z]{1,32}$")
    language: str | None = Field(pattern=r"^[a-z]{2,3}$")
    split: Split
    dataset_revision: Hash
    strategy: str = Field(pattern=r"^[a-z0-9_-]{1,64}$")
    prompt_hash: Hash
    excerpt: bool
    model: str = Field(min_length=1, max_length=300)
    text: str | None
    withheld: str | None = None
    generation: dict[str, Any]

    @model_validator(mode="after")
    def _id_fits(self) -> PublicReply:
        if (self.text is None) == (self.withheld is None):
            raise ValueError("a reply has either a text or a reason why it is withheld")
        if self.text is not None and self.id != reply_id(self.instance_id, self.strategy, self.model, self.text):
            raise ValueError(f"id {self.id} does not belong to this reply: it was changed after it was made")
        return self


class Bundle(Record):
    """A bundle, read and found well formed. Whether its numbers hold is for `admission` and `verify` to say.

    Attributes:
        id: Fingerprint of all that it says, but for the time of submission.
        raw: The files by name, as they were read: what is put onto a board is what was checked, byte for byte.
    """

    id: Hash
    submission: Submission
    result: Result | JuryResult
    replies: tuple[PublicReply, ...]
    verdicts: tuple[Verdict | JuryVerdict, ...]
    raw: dict[str, bytes] = Field(repr=False, exclude=True)

    @property
    def texts_hash(self) -> str:
        """Fingerprint of what the model wrote, by which a replayed bundle is known under another name."""
        return digest(sorted([reply.instance_id, reply.strategy, reply.text or reply.id] for reply in self.replies))

    @property
    def sketch(self) -> tuple[str, ...]:
        """The least of the fingerprints of the replies, by which two bundles are told to share many of them.

        Such a bottom-k sketch is a fair sample (Broder, 1997, "On the resemblance and containment of documents"). Case, spaces and
        punctuation don't count, and replies of a few characters, which models come to share, have no part in it.
        """
        texts = ((reply, re.sub(r"[\W_]+", "", reply.text or "").casefold()) for reply in self.replies)
        prints = {digest([reply.instance_id, reply.strategy, text], 12) for reply, text in texts if len(text) >= _SHORTEST_IN_SKETCH}
        return tuple(sorted(prints)[:SKETCH_SIZE])


# --- Writing ---------------------------------------------------------------------------------------------------------------------


def pack(
    submission: Mapping[str, Any],
    result: Result | JuryResult,
    replies: Iterable[PublicReply],
    verdicts: Iterable[Verdict | JuryVerdict],
) -> Bundle:
    """Makes a bundle.

    Args:
        submission: Fields of `Submission` without `files`.
        result: The run's result.
        replies: What the model wrote.
        verdicts: What the judge or jury said of it.

    Raises:
        BundleError: A field of the submission does not fit, or a reply was changed after it was made.
    """
    kept_replies, kept_verdicts = tuple(replies), tuple(verdicts)
    raw = {RESULT: _json(result), REPLIES: _lines(kept_replies), VERDICTS: _lines(kept_verdicts)}
    try:
        made = Submission.model_validate({**submission, "files": {name: hashlib.sha256(raw[name]).hexdigest() for name in raw}})
    except ValidationError as error:
        raise BundleError(f"submission: {_first(error)}") from error
    raw = {SUBMISSION: _json(made), **raw}
    try:
        return Bundle(id=_id_of(made), submission=made, result=result, replies=kept_replies, verdicts=kept_verdicts, raw=raw)
    except ValidationError as error:
        raise BundleError(f"bundle: {_first(error)}") from error


def _id_of(submission: Submission) -> str:
    return digest(submission.model_dump(mode="json", exclude={"submitted"}))


def contents(bundle: Bundle) -> dict[str, bytes]:
    """The bundle's files, by name."""
    return dict(bundle.raw)


def write_bundle(path: Path, bundle: Bundle) -> None:
    """Writes a bundle as one ZIP file, in one step; equal bundles give equal bytes.

    Raises:
        DataError: The file cannot be written.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents(bundle).items():
            info = zipfile.ZipInfo(name, date_time=(2020, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    with whole_file(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


def _json(record: BaseModel) -> bytes:
    return json.dumps(record.model_dump(mode="json"), indent=2, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _lines(records: Iterable[BaseModel]) -> bytes:
    return b"".join(json.dumps(record.model_dump(mode="json"), ensure_ascii=False, allow_nan=False).encode() + b"\n" for record in records)


# --- Reading ---------------------------------------------------------------------------------------------------------------------


def read_bundle(path: Path) -> Bundle:
    """Reads a bundle from a ZIP file or from a folder. Nothing is unpacked, followed or run.

    Raises:
        BundleError: It is missing, too large, malformed, or its files are not those that its submission names.
    """
    content = _read_folder(path) if path.is_dir() else _read_zip(path)
    submission = _record(Submission, content[SUBMISSION], SUBMISSION)
    for name, expected in submission.files.items():
        if hashlib.sha256(content[name]).hexdigest() != expected:
            raise BundleError(f"{name}: its SHA-256 is not the one in {SUBMISSION}: the file was changed after the bundle was made")
    fields = _parse(content[RESULT], RESULT)
    by_jury = isinstance(fields, dict) and "jury" in fields
    result_model: type[Result | JuryResult] = JuryResult if by_jury else Result
    verdict_model: type[Verdict | JuryVerdict] = JuryVerdict if by_jury else Verdict
    # `model_construct`: all of it is validated here.
    return Bundle.model_construct(
        id=_id_of(submission),
        submission=submission,
        result=_validated(result_model, content[RESULT], RESULT),
        replies=tuple(_records(PublicReply, content[REPLIES], REPLIES)),
        verdicts=tuple(_records(verdict_model, content[VERDICTS], VERDICTS)),
        raw=content,
    )


def read_submission(path: Path) -> Submission:
    """Reads the file `submission.json` alone.

    Raises:
        BundleError: It is missing or malformed.
    """
    try:
        return _record(Submission, read_plain_file(path, LIMITS[SUBMISSION], SUBMISSION), SUBMISSION)
    except FileNotFoundError as error:
        raise BundleError(f"{SUBMISSION}: is missing") from error


def read_plain_file(path: Path, most: int, name: str, *, follow: bool = False) -> bytes:
    """Reads a file that a stranger may have put there.

    Args:
        path: The file.
        most: The most bytes that it may have.
        name: What to call it in messages.
        follow: Whether a link is followed.

    Raises:
        FileNotFoundError: It is not there.
        BundleError: It is a link, a folder, a pipe or a device, which may never end, or is too large, or cannot be read.
    """
    # Without `O_NONBLOCK`, opening a pipe waits for who writes into it.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | (0 if follow else getattr(os, "O_NOFOLLOW", 0))
    try:
        descriptor = os.open(path, flags)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise BundleError(f"{name}: is not a plain file")
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                content = file.read(most + 1)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise BundleError(f"{name}: cannot be read; it must be a file of its own, not a link ({error.strerror})") from error
    if len(content) > most:
        raise BundleError(_too_large(name, most))
    return content


def _too_large(name: str, most: int) -> str:
    return f"{name}: is larger than {most / 1024**2:g} MiB, the most that it may have"


def _read_folder(path: Path) -> dict[str, bytes]:
    try:
        _check_names(sorted(os.listdir(path)))  # noqa: PTH208 - names alone; nothing is followed.
        return {name: read_plain_file(path / name, LIMITS[name], name) for name in FILES}
    except OSError as error:
        raise BundleError(f"{path.name}: cannot be read ({error.strerror})") from error


def _read_zip(path: Path) -> dict[str, bytes]:
    try:
        packed = read_plain_file(path, _MOST_ZIPPED, path.name, follow=True)
    except (FileNotFoundError, ValueError) as error:  # ValueError: a NUL in the path.
        raise BundleError(f"{path.name}: is not there; name a bundle's ZIP file or folder") from error
    _check_end(packed, path.name)
    try:
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            listed = archive.infolist()
            _check_names([info.filename for info in listed])
            return {info.filename: _read_member(archive, info) for info in sorted(listed, key=lambda info: FILES.index(info.filename))}
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OverflowError) as error:
        raise BundleError(
            f"{path.name}: is not a readable ZIP file ({' '.join(str(error).split())[:200] or type(error).__name__})"
        ) from error


def _check_end(packed: bytes, name: str) -> None:
    """Looks at the end record before the directory is read: a directory of millions of files would take minutes and gigabytes."""
    record = struct.Struct("<4s4H2LH")
    if len(packed) < record.size:
        raise BundleError(f"{name}: is not a readable ZIP file (it is too short)")
    mark, *_, size, offset, comment = record.unpack(packed[-record.size :])
    if mark != b"PK\x05\x06" or comment:
        raise BundleError(
            f"{name}: is not a readable ZIP file (its directory is not at its end: it was cut off, or something stands behind)"
        )
    if packed[-record.size - 20 :].startswith(b"PK\x06\x07"):
        raise BundleError(f"{name}: is a ZIP64 file, which no bundle is large enough to need")
    if size > _LARGEST_DIRECTORY:
        raise BundleError(f"{name}: lists far more files than the {len(FILES)} that a bundle holds")
    if offset + size + record.size != len(packed):
        raise BundleError(f"{name}: is not a readable ZIP file (something stands before it)")


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    name, most = info.filename, LIMITS[info.filename]
    if stat.S_ISLNK(info.external_attr >> 16):
        raise BundleError(f"{name}: is a link; it must be a file of its own")
    if info.flag_bits & 0x1:
        raise BundleError(f"{name}: is encrypted")
    # Others may ask for gigabytes of memory before they give a byte.
    if info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise BundleError(f"{name}: is compressed by method {info.compress_type}; deflate it, or store it as it is")
    # What the header says of the size is not believed, but where it says too much, nothing needs to be read.
    if info.file_size > most:
        raise BundleError(_too_large(name, most))
    with archive.open(info) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise BundleError(_too_large(name, most))
    return content


def _check_names(names: list[str]) -> None:
    if stray := next((name for name in names if name not in FILES), None):
        raise BundleError(f"{stray[:80]!r}: does not belong in a bundle, which holds {', '.join(FILES)} and nothing else")
    if missing := next((name for name in FILES if name not in names), None):
        raise BundleError(f"{missing}: is missing; a bundle holds {', '.join(FILES)}")
    if len(names) > len(FILES):
        twice = next(name for name in names if names.count(name) > 1)
        raise BundleError(f"{twice}: is there {names.count(twice)} times")


def _records(model: type[R], content: bytes, name: str) -> Iterator[R]:
    if not content:
        raise BundleError(f"{name}: is empty")
    if not content.endswith(b"\n"):
        raise BundleError(f"{name}: its last line is cut off")
    if (count := content.count(b"\n")) > _MOST_LINES[name]:
        raise BundleError(f"{name}: has {count} lines, more than the {_MOST_LINES[name]} that it may have")
    for number, line in enumerate(io.BytesIO(content), 1):
        where = f"{name}:{number}"
        if len(line) > _LONGEST_LINE:
            raise BundleError(f"{where}: is longer than {_LONGEST_LINE // 1024} KiB, the most that a line may have")
        yield _record(model, line, where)


def _record(model: type[R], content: bytes, where: str) -> R:
    _parse(content, where)
    return _validated(model, content, where)


def _validated(model: type[R], content: bytes, where: str) -> R:
    """Validates JSON text strictly: a number in quotation marks is no number."""
    try:
        return model.model_validate_json(content, strict=True)
    except ValidationError as error:
        raise BundleError(f"{where}: {_first(error)}") from error


def _first(error: ValidationError) -> str:
    first, *others = error.errors(include_url=False, include_input=False)
    field = ".".join(str(part)[:80] for part in first["loc"]) or "the record"
    more = f" (and {len(others)} more)" if others else ""
    message = first["msg"].removeprefix("Value error, ")
    return f"{field}: {message[:1].lower()}{message[1:400]}{more}"


def _parse(content: bytes, where: str) -> Any:
    """Parses JSON as strictly as can be, and looks at every text in it."""
    try:
        value = _decoder().decode(content.decode("utf-8"))
    except RecursionError as error:
        raise BundleError(f"{where}: is nested too deeply") from error
    except (ValueError, TypeError) as error:
        raise BundleError(f"{where}: is not valid JSON ({str(error)[:200]})") from error
    if not _is_harmless(content):
        _look_through(value, where)
    return value


@functools.cache
def _decoder() -> json.JSONDecoder:
    return json.JSONDecoder(parse_constant=_no_constant, parse_float=_finite, parse_int=_countable, object_pairs_hook=_no_duplicates)


def _is_harmless(content: bytes) -> bool:
    """Whether nothing in a line can be too long, too deep, too much or half a character, as far as its bytes tell, which is quick."""
    return (
        len(content) <= _LONGEST_TEXT
        and content.count(b"[") + content.count(b"{") <= _DEEPEST
        and content.count(b",") < _MOST_VALUES
        and b"\\u" not in content
    )


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError("a number is too large")
    return value


def _countable(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:  # Read as a float, it could be infinite.
        raise ValueError("a number is too large")
    return int(digits)


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)[:40]!r} stands twice in one object")
    return fields


def _look_through(value: Any, where: str) -> None:
    level, count = [value], 0
    most = _MOST_VALUES_IN_RESULT if where == RESULT else _MOST_VALUES
    for _ in range(_DEEPEST):
        count += len(level)
        if count > most:
            raise BundleError(f"{where}: holds more than {most} values")
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below += item.keys()
                below += item.values()
            elif isinstance(item, list):
                below += item
            elif isinstance(item, str):
                _check_text(item, where)
        if not below:
            return
        level = below
    raise BundleError(f"{where}: is nested more than {_DEEPEST} levels deep")


def _check_text(text: str, where: str) -> None:
    if len(text) > _LONGEST_TEXT:
        raise BundleError(f"{where}: a text has {len(text)} characters, more than the {_LONGEST_TEXT} that it may have")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BundleError(f"{where}: a text holds half of a surrogate pair, which is no character") from error


def printable(text: str, most: int = _LONGEST_REASON) -> str:
    """A stranger's text as it can be shown in one line: without control characters or marks that turn the direction of writing."""
    shown = "".join(character if character.isprintable() else f"\\u{ord(character):04x}" for character in text[: most + 1])
    return shown if len(shown) <= most else f"{shown[:most]}…"


# --- What may not leave a machine ------------------------------------------------------------------------------------------------


def leaks(value: Any) -> str | None:
    """What in a value may not leave the machine: `a path`, `a key`, or null where there is nothing of the kind.

    Args:
        value: Anything that JSON can hold.
    """
    pending, texts = [value], set()
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            texts.add(item)
        elif isinstance(item, dict):
            pending += item.keys()
            pending += item.values()
        elif isinstance(item, list | tuple):
            pending += item
    # No pattern reaches over the end of a line.
    together = "\n".join(texts)
    if _KEY.search(together):
        return "a key"
    return "a path" if _PATH.search(together) else None
