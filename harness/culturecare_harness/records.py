"""What passes between the stages: prompts, replies, verdicts and results, and the files they stand in.

`Instance`, the first record of the flow, is defined with the dataset's schema in `culturecare`.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import json
import os
import tempfile
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, Field, StringConstraints, model_validator

from culturecare import DataError, Instance, Record, Split, parse_record, read_json_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

__all__ = [
    "Dataset",
    "Grade",
    "Instance",
    "Judge",
    "Message",
    "Model",
    "Prompt",
    "Reply",
    "Result",
    "Score",
    "Verdict",
    "append_records",
    "check_place",
    "digest",
    "json_bytes",
    "read_records",
    "reply_id",
    "whole_file",
    "write_json",
    "write_records",
]

R = TypeVar("R", bound=BaseModel)
Hash = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
Grade = Annotated[float, Field(ge=1, le=5)]
Mode = Literal["logprob", "sampled", "argmax"]

SCHEMA_VERSION: Literal[1] = 1
"""Version of the records below; raised whenever a field changes its name or meaning."""


class Message(Record):
    """One message of a chat."""

    role: Literal["system", "user"]
    content: str


class Prompt(Record):
    """What a strategy asks a model about one instance.

    Attributes:
        prompt_hash: Hash of everything that shaped the wording, from `Strategy.hash`.
        excerpt: Whether the post stood in the prompt as its annotated phrases alone.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    instance_id: str
    culture: str
    language: str | None
    strategy: str
    prompt_hash: Hash
    excerpt: bool
    system: str
    user: str


class Reply(Record):
    """A model's reply to one prompt.

    Attributes:
        id: `reply_id` of what follows.
        model: Name of the model that wrote it.
        text: The reply, possibly empty.
        dataset_revision: Fingerprint of the split it was made from.
        generation: Generation settings, as given to lm-eval.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    id: Hash
    instance_id: str
    culture: str
    language: str | None
    split: Split
    dataset_revision: Hash
    strategy: str
    prompt_hash: Hash
    excerpt: bool
    model: str
    text: str
    generation: dict[str, Any]

    @model_validator(mode="after")
    def _id_fits(self) -> Reply:
        expected = reply_id(self.instance_id, self.strategy, self.model, self.text)
        if self.id != expected:
            raise ValueError(f"id {self.id} does not belong to this reply, whose id is {expected}: the reply was changed after it was made")
        return self


class Judge(Record):
    """Which judge gave a verdict, and how: two verdicts with equal `Judge` are comparable.

    Attributes:
        name: Name of the judge's file.
        prompt_hash: Hash of the rubric pack, its templates included.
        settings_hash: Hash of everything in the judge's file that can move a grade.
    """

    name: str
    backend: Literal["hf", "openai"]
    model: str
    mode: Mode
    rubric: str
    prompt_hash: Hash
    settings_hash: Hash


class Verdict(Record):
    """What a judge said of one reply on one dimension.

    Attributes:
        score: In [1, 5]: the expectation over the grades (`logprob`), the mean of the samples (`sampled`) or the grade (`argmax`);
            null where no grade could be read.
        reason: Why `score` is null; null where there is a score.
        distribution: Probabilities (or shares of the samples) of the grades 1 to 5, summing to 1, where the mode gives one.
        digit_mass: Share of the next-token probability that the five grades held before they were normalised (`logprob` alone).
        answers: What the judge answered, word for word (`sampled`, `argmax`).
        prompt_tokens: Tokens of the prompt, null where the server does not say.
        completion_tokens: Tokens of the answers, null where the server does not say.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    reply_id: Hash
    judge: Judge
    dimension: str
    score: Grade | None
    reason: str | None
    distribution: Annotated[tuple[float, ...], Field(min_length=5, max_length=5)] | None = None
    digit_mass: float | None = Field(default=None, ge=0, le=1.0001)
    answers: tuple[str, ...] | None = None
    prompt_tokens: int | None = Field(default=None, ge=0)
    completion_tokens: int | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _score_or_reason(self) -> Verdict:
        if (self.score is None) == (self.reason is None):
            raise ValueError("a verdict has either a score or a reason why there is none")
        return self


class Score(Record):
    """A mean with its uncertainty.

    Attributes:
        strategy: Strategy of the replies.
        culture: Culture of the replies, or `all`: the mean over the cultures' means, as in the published table.
        metric: A dimension, `emotional`, `cultural`, `quality`, `overall`, `same_language` or `reply_characters`.
        mean: Null where no item has a value.
        low: Lower end of the 95 % interval (Student t, `stats`); null with fewer than two values in a culture, and where
            none varies.
        high: Upper end of the interval.
        n: Number of items that have a value.
        coverage: `n` over the number of replies.
    """

    strategy: str
    culture: str
    metric: str
    mean: float | None
    low: float | None
    high: float | None
    n: int = Field(ge=0)
    coverage: float = Field(ge=0, le=1)


class Model(Record):
    """The model under test; `arguments` are free of keys and tokens."""

    name: str
    backend: str
    arguments: dict[str, Any]


class Dataset(Record):
    """What the model was tested on; `excerpt` says that posts were known by their annotated phrases alone."""

    split: Split
    revision: Hash
    cultures: tuple[str, ...]
    excerpt: bool
    instances: int


class Result(Record):
    """One model's scores under one judge, with all that a reader needs to know how they were made.

    Attributes:
        strategies: Prompt hash of each strategy.
        coverage: Share of all verdicts that have a score; null where no judge was used.
        reasons: Count of each reason for a missing score.
        notes: Sentences that must be read with the numbers.
        protocol: Name of the protocol that was followed, null where it was none.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    created: dt.datetime
    model: Model
    dataset: Dataset
    protocol: str | None = None
    strategies: dict[str, Hash]
    generation: dict[str, Any]
    judge: Judge | None
    scores: tuple[Score, ...]
    coverage: float | None = Field(ge=0, le=1)
    reasons: dict[str, int]
    notes: tuple[str, ...]
    versions: dict[str, str]


def digest(value: object, size: int = 16) -> str:
    """The first `size` hex digits of SHA-256 over `value` as canonical JSON (sorted keys, no NaN)."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:size]


def reply_id(instance_id: str, strategy: str, model: str, text: str) -> str:
    """Identifies a reply by what it answers, who wrote it and what it says."""
    return digest([instance_id, strategy, model, text])


# --- Files -----------------------------------------------------------------------------------------------------------------------


def read_records(path: Path, model: type[R], *, tolerate_torn_end: bool = False) -> list[R]:
    """Reads a JSON Lines file of records.

    Args:
        path: The file.
        model: Record model of its lines.
        tolerate_torn_end: Whether an incomplete last line, as a killed process leaves it, is cut off the file and left out.

    Raises:
        DataError: A line is no such record.
    """
    if tolerate_torn_end and path.exists():
        _cut_torn_end(path)
    return [parse_record(model, fields, where=f"{path}:{number}") for number, fields in read_json_lines(path)]


def _cut_torn_end(path: Path) -> None:
    with path.open("rb+") as file:
        content = file.read()
        if content and not content.endswith(b"\n"):
            file.truncate(content.rfind(b"\n") + 1)


def append_records(path: Path, records: Iterable[BaseModel]) -> None:
    """Appends records as whole lines and waits until they are on the disk, so that a killed run finds them again."""
    with path.open("ab") as file:
        file.write(b"".join(_line(record) for record in records))
        file.flush()
        os.fsync(file.fileno())


def write_records(path: Path, records: Sequence[BaseModel]) -> None:
    """Writes a JSON Lines file in one step: it is there whole or not at all."""
    _write_whole(path, b"".join(_line(record) for record in records))


def write_json(path: Path, record: BaseModel) -> None:
    """Writes one record as strict, indented JSON in one step."""
    _write_whole(path, json_bytes(record))


def json_bytes(record: BaseModel) -> bytes:
    """A record as strict, indented JSON."""
    return json.dumps(record.model_dump(mode="json"), indent=2, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _line(record: BaseModel) -> bytes:
    return json.dumps(record.model_dump(mode="json"), ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _write_whole(path: Path, content: bytes) -> None:
    with whole_file(path) as temporary:
        temporary.write_bytes(content)


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yields a temporary file beside `path`, which takes that name when the block ends well and goes when it does not.

    Raises:
        DataError: Nothing can be written there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(descriptor)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror})") from error
    temporary = path.with_name(os.path.basename(name))  # noqa: PTH119 - a name, not a path of its own.
    try:
        yield temporary
        temporary.chmod(0o644)
        try:
            temporary.replace(path)
        except OSError as error:
            raise DataError(f"{path}: cannot be written ({error.strerror})") from error
    finally:
        temporary.unlink(missing_ok=True)


def check_place(out: Path) -> None:
    """Refuses a place where no file can be written, before what would be written there is paid for. Nothing is left there.

    Args:
        out: The file to be made; folders above it that are not there would be made with it.

    Raises:
        DataError: It is a folder or names none, or the nearest folder above it that is there takes no file.
    """
    try:
        if not out.name or out.is_dir():
            raise DataError(f"--out {str(out)!r}: is a folder; name a file")
        nearest = next(folder for folder in out.absolute().parents if folder.exists())
        with tempfile.TemporaryFile(dir=nearest):  # Permissions do not tell of a file system that is read-only, or of the superuser.
            pass
    except OSError as error:
        raise DataError(f"--out {out}: cannot be written ({error.strerror})") from error
