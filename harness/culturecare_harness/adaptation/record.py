"""`adaptation.json`: all that an adapter's reader needs to know of how it was made. It holds no path and no text of a post or reply."""

from __future__ import annotations

import collections
import datetime as dt
import importlib.metadata
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from culturecare import CultureCareError, Record, parse_record
from culturecare_harness.adaptation.base_model import Device
from culturecare_harness.adaptation.checkpoints import read_json
from culturecare_harness.adaptation.examples import Example, Preference
from culturecare_harness.adaptation.heldout import HeldOutLoss
from culturecare_harness.adaptation.leakage import ADAPTATION
from culturecare_harness.adaptation.permission import Permission
from culturecare_harness.adaptation.settings import Settings
from culturecare_harness.leaks import leaks
from culturecare_harness.records import Hash, digest
from culturecare_harness.scoring import package_versions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from culturecare_harness.adaptation.sources import TrainingData

__all__ = [
    "ADAPTATION",
    "AdaptationRecord",
    "BenchmarkScore",
    "BenchmarkScores",
    "DataRecord",
    "LossPoint",
    "TrainingIdentity",
    "data_record",
    "read_adaptation",
    "refuse_leaks",
    "thin_losses",
    "told_of",
    "training_versions",
]

_POINTS = 200
_PACKAGES = ("accelerate", "bitsandbytes", "peft", "trl")

SCHEMA_VERSION: Literal[1] = 1
"""Version of the records below; raised whenever a field changes its name or meaning."""


class TrainingIdentity(Record):
    """What makes two trainings one: only then may one go on where the other stopped.

    Attributes:
        model: Name of the base model, without the path of a folder.
        model_identity: Hash of what it is loaded from, paths included.
        revision: Revision on the Hub, null for the newest.
        settings: The settings; those that move no weight may differ.
        precision: What `auto` came to.
        quantisation: What `auto` came to.
        data: Hash of the examples, in order: of what is learnt, and of the ids, cultures and licences that the record tells of.
        heldout: Hash of the held-out examples.
        permission: SHA-256 of the written arrangement, null for none.
        culture: The one culture that the adapter is for, null for all of the data.
    """

    model: str
    model_identity: Hash
    revision: str | None
    settings: Settings
    precision: str
    quantisation: str
    data: Hash
    heldout: Hash
    permission: str | None
    culture: str | None


class DataRecord(Record):
    """What an adapter was trained on.

    Attributes:
        source: Name of the split, or of the file.
        revision: Fingerprint of the split or of the file's content.
        hash: Hash of the examples, in order.
        examples: Number of examples (or pairs, for `dpo`) that it was trained on.
        instances: Number of instances behind them.
        per_culture: Number of examples of each culture.
        languages: ISO 639-1 codes of the posts' languages.
        strategies: Number of examples of each strategy.
        licences: Number of examples under each licence.
        synthetic: Whether every post was written for a dataset and tells of no real person.
        written_by: Models that wrote what was learnt, each once; empty for people's replies.
        left_out: How many records were left out, by reason.
        notes: Sentences that must be read with the model.
    """

    source: str
    revision: Hash
    hash: Hash
    examples: int = Field(ge=1)
    instances: int = Field(ge=1)
    per_culture: dict[str, int]
    languages: tuple[str, ...]
    strategies: dict[str, int]
    licences: dict[str, int]
    synthetic: bool
    written_by: tuple[str, ...]
    left_out: dict[str, int]
    notes: tuple[str, ...]


class LossPoint(Record):
    """The mean training loss of some steps: of a reply's tokens (`sft`), or of preferring (`dpo`, where it begins at ln 2).

    Attributes:
        step: The last of the steps.
        loss: Their mean loss.
    """

    step: int = Field(ge=1)
    loss: float


class BenchmarkScore(Record):
    """A score of the benchmark with and without the adapter, on the same instances.

    Attributes:
        strategy: Strategy of the replies.
        metric: A dimension or summary, as in a result.
        base: Mean without the adapter, null where there is none.
        adapted: Mean with it.
        difference: Paired mean difference, adapted less base.
        low: Lower end of its 95 % interval.
        high: Upper end.
        n: Number of instances.
    """

    strategy: str
    metric: str
    base: float | None
    adapted: float | None
    difference: float | None
    low: float | None
    high: float | None
    n: int = Field(ge=0)


class BenchmarkScores(Record):
    """Scores before and after, as `culturecare adapt compare` makes them.

    Attributes:
        split: Split of the instances.
        dataset_revision: Fingerprint of the split.
        judge: Name of the judge, null for none.
        notes: Sentences that must be read with the numbers.
        scores: One row a strategy and metric.
    """

    split: str
    dataset_revision: Hash
    judge: str | None
    notes: tuple[str, ...]
    scores: tuple[BenchmarkScore, ...]


class AdaptationRecord(Record):
    """How an adapter was made.

    Attributes:
        created: When it was finished.
        training: What it is a training of.
        settings_hash: Hash of the settings.
        device: Where it was trained.
        gradient_checkpointing: Whether activations were computed twice.
        parameters: Of the base model.
        trainable_parameters: Of the adapter.
        steps: Optimiser steps.
        seconds: Time that the steps took, in all sessions of a training that was interrupted.
        data: What it was trained on.
        instance_ids: The instances that it was trained on, in order.
        post_hashes: Their posts, as `leakage.post_hash` names them, in order.
        permission: The written arrangement that the data needed, null where they needed none.
        losses: Training loss, at most 200 points.
        heldout: Loss on held-out replies before and after.
        scores: Scores of the benchmark before and after, null until they were made.
        notes: Sentences that must be read with the adapter.
        versions: Of Python and the packages.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    created: dt.datetime
    training: TrainingIdentity
    settings_hash: Hash
    device: Device
    gradient_checkpointing: bool
    parameters: int = Field(ge=1)
    trainable_parameters: int = Field(ge=1)
    steps: int = Field(ge=1)
    seconds: float = Field(ge=0)
    data: DataRecord
    instance_ids: tuple[str, ...]
    post_hashes: tuple[Hash, ...]
    permission: Permission | None
    losses: tuple[LossPoint, ...]
    heldout: HeldOutLoss
    scores: BenchmarkScores | None = None
    notes: tuple[str, ...]
    versions: dict[str, str]


def read_adaptation(folder: Path) -> AdaptationRecord:
    """The record of an adapter's folder.

    Raises:
        CultureCareError: There is none, or it does not fit.
    """
    path = folder / ADAPTATION
    if not path.is_file():
        raise CultureCareError(f"{path}: is not there; name the folder of an adapter that `culturecare adapt` made")
    return parse_record(AdaptationRecord, read_json(path), where=str(path))


def data_record(data: TrainingData, used: Sequence[Example | Preference], left_out: dict[str, int]) -> DataRecord:
    """Describes what a model is trained on.

    Args:
        data: All that was given.
        used: What of it the model sees.
        left_out: How many records were left out after loading, by reason.
    """
    writers = {record.written for record in used if isinstance(record, Example)}
    writers |= {writer for record in used if isinstance(record, Preference) for writer in (record.chosen_by, record.rejected_by)}
    return DataRecord(
        source=data.name,
        revision=data.revision,
        hash=digest([record.id for record in used]),
        examples=len(used),
        instances=len({record.instance_id for record in used}),
        per_culture=_counts(record.culture for record in used),
        languages=tuple(sorted({record.language for record in used if record.language})),
        strategies=_counts(record.strategy for record in used),
        licences=_counts(record.licence for record in used),
        synthetic=all(record.synthetic for record in used),
        written_by=tuple(sorted({writer.model for writer in writers if writer is not None})),
        left_out=dict(data.left_out) | {reason: number for reason, number in left_out.items() if number},
        notes=data.notes,
    )


def told_of(identity: TrainingIdentity, data: TrainingData, heldout: Iterable[Example]) -> Iterator[tuple[str, object]]:
    """What a record will tell of model, settings and data, each with where it stands: all of it that people wrote."""
    yield from identity.model_dump(mode="json").items()
    yield "the data's name", data.name
    yield "the data's notes", data.notes
    yield "what was left out of the data", data.left_out
    yield "the written arrangement's name", data.permission and data.permission.file
    records: tuple[Example | Preference, ...] = (*data.examples, *data.preferences, *heldout)
    seen = set()
    for record in records:
        for field, value in _told_of_record(record):
            if value and (field, value) not in seen:  # Most records share licence, culture and strategy.
                seen.add((field, value))
                yield f"record of instance {record.instance_id!r}: {field} {value!r}", value


def _told_of_record(record: Example | Preference) -> Iterator[tuple[str, str | None]]:
    for field in ("instance_id", "culture", "language", "licence", "strategy"):
        yield field, getattr(record, field)
    for field in ("written", "chosen_by", "rejected_by"):
        if writer := getattr(record, field, None):
            yield f"{field}.model", writer.model


def refuse_leaks(told: Iterable[tuple[str, object]]) -> None:
    """Sees to it that nothing leaves this machine that may not.

    Args:
        told: What an adapter's files would tell, each with where it stands.

    Raises:
        CultureCareError: A path, a key or a private address stands in it.
    """
    for where, value in told:
        if found := leaks(value):
            raise CultureCareError(f"{where}: {found} stands in what the adapter's record would tell; name it otherwise")


def _counts(values: object) -> dict[str, int]:
    return dict(sorted(collections.Counter(values).items()))  # type: ignore[call-overload]


def thin_losses(losses: Sequence[tuple[int, float]]) -> tuple[LossPoint, ...]:
    """At most 200 points of a loss curve, each the mean of the steps since the one before.

    Args:
        losses: Step and loss, in order.
    """
    size = max(1, -(-len(losses) // _POINTS))
    parts = [losses[start : start + size] for start in range(0, len(losses), size)]
    return tuple(LossPoint(step=part[-1][0], loss=sum(loss for _, loss in part) / len(part)) for part in parts)


def training_versions() -> dict[str, str]:
    """Versions of Python and of the packages that an adapter depends on."""
    versions = package_versions()
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue  # An extra that was not installed had no part in the training.
    return dict(sorted(versions.items()))
