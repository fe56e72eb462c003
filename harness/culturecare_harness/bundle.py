"""Bundles: what is handed in to a leaderboard, and the one reader of it, which trusts nothing.

A bundle is four files, in a folder on a board or in one ZIP file on its way there: `submission.json` (who hands in what, under which
protocol, and the fingerprints of the other files), `result.json`, `replies.jsonl` and `verdicts.jsonl`. It holds no post, no key and no
path of the machine it was made on. The reader never unpacks anything to disk; whatever does not fit is refused with a reason.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import json
import zipfile
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, Field, StringConstraints, ValidationError, field_validator, model_validator

from culturecare import Record, Split
from culturecare_harness.jury import JuryResult, JuryVerdict
from culturecare_harness.leaks import leaks
from culturecare_harness.records import Hash, Result, Verdict, digest, reply_id, whole_file
from culturecare_harness.sketch import sketch
from culturecare_harness.untrusted_files import read_files, read_plain_file
from culturecare_harness.untrusted_json import BundleError, first_error, parse, printable, read_lines, read_record, validated

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

__all__ = [
    "FILES",
    "LIMITS",
    "LONGEST_REASON",
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

SUBMISSION, RESULT, REPLIES, VERDICTS = "submission.json", "result.json", "replies.jsonl", "verdicts.jsonl"
FILES = (SUBMISSION, RESULT, REPLIES, VERDICTS)
LIMITS: Mapping[str, int] = {SUBMISSION: 64 * 1024, RESULT: 4 * 1024**2, REPLIES: 48 * 1024**2, VERDICTS: 48 * 1024**2}
"""The most bytes that each file may have."""

WITHHELD = "it repeats the post, which may not be shown"
"""The one reason for which a reply's text may be left out."""

_MOST_LINES: Mapping[str, int] = {REPLIES: 10_000, VERDICTS: 80_000}
_MOST_VALUES_IN_RESULT = 250_000
LONGEST_REASON = 300
"""The most characters that a verdict's reason may have."""

MODEL_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9][A-Za-z0-9._-]{0,95})?$"
"""Names as the Hub gives them. ASCII alone: no name can pass for another by look-alike letters."""

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


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
        """The least of the fingerprints of the replies' passages, by which two bundles are told to share many of them (`sketch`)."""
        return sketch(self.replies)

    @property
    def judgeable(self) -> tuple[PublicReply, ...]:
        """The replies that can be judged again: those whose text is there and not empty."""
        return tuple(reply for reply in self.replies if reply.text is not None and reply.text.strip())

    @property
    def rubric(self) -> str:
        """Name of the rubric that was judged by.

        Raises:
            BundleError: No judge is named, which `admission` refuses.
        """
        if isinstance(self.result, JuryResult):
            return self.result.jury.judges[0].rubric
        if self.result.judge is None:
            raise BundleError(f"submission {self.id}: was not judged")
        return self.result.judge.rubric


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
        raise BundleError(f"submission: {first_error(error)}") from error
    raw = {SUBMISSION: _json(made), **raw}
    try:
        return Bundle(id=_id_of(made), submission=made, result=result, replies=kept_replies, verdicts=kept_verdicts, raw=raw)
    except ValidationError as error:
        raise BundleError(f"bundle: {first_error(error)}") from error


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
    content = read_files(path, LIMITS)
    submission = read_record(Submission, content[SUBMISSION], SUBMISSION)
    for name, expected in submission.files.items():
        if hashlib.sha256(content[name]).hexdigest() != expected:
            raise BundleError(f"{name}: its SHA-256 is not the one in {SUBMISSION}: the file was changed after the bundle was made")
    fields = parse(content[RESULT], RESULT, _MOST_VALUES_IN_RESULT)
    by_jury = isinstance(fields, dict) and "jury" in fields
    result_model: type[Result | JuryResult] = JuryResult if by_jury else Result
    verdict_model: type[Verdict | JuryVerdict] = JuryVerdict if by_jury else Verdict
    # `model_construct`: all of it is validated here.
    return Bundle.model_construct(
        id=_id_of(submission),
        submission=submission,
        result=validated(result_model, content[RESULT], RESULT),
        replies=tuple(read_lines(PublicReply, content[REPLIES], REPLIES, _MOST_LINES[REPLIES])),
        verdicts=tuple(read_lines(verdict_model, content[VERDICTS], VERDICTS, _MOST_LINES[VERDICTS])),
        raw=content,
    )


def read_submission(path: Path) -> Submission:
    """Reads the file `submission.json` alone.

    Raises:
        BundleError: It is missing or malformed.
    """
    try:
        return read_record(Submission, read_plain_file(path, LIMITS[SUBMISSION], SUBMISSION), SUBMISSION)
    except FileNotFoundError as error:
        raise BundleError(f"{SUBMISSION}: is missing") from error
