"""Where training data comes from: the packaged split, or a file, through the gate and the leak check to examples.

A file is JSON Lines of one kind, told by its first row: instances in the released format, examples or preferences as `distillation` and
`preferences` write them, or own pairs of a post and a reply (`OwnPair`) whose rights allow it.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn, TypeVar

from pydantic import StringConstraints

import culturecare
from culturecare import (
    CultureCareError,
    DataError,
    Demographics,
    Instance,
    Post,
    Record,
    Response,
    Training,
    cultures,
    detect_language,
    load_instances,
    parse_record,
    read_instances,
    read_json_lines,
    select_cultures,
)
from culturecare_harness.adaptation.examples import Example, Preference, example_id
from culturecare_harness.adaptation.leakage import (
    Benchmark,
    Leak,
    deduplicate,
    find_leaks,
    released_files,
    released_instances,
    sample_benchmark,
)
from culturecare_harness.adaptation.permission import Candidate, Permission, candidate_of, pass_gate, read_permission
from culturecare_harness.dataset import is_held_out
from culturecare_harness.records import Hash, digest
from culturecare_harness.strategies import render, select_strategies, strategies

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from culturecare_harness.adaptation.examples import Written
    from culturecare_harness.strategies import Strategy

__all__ = [
    "PACKAGED_SPLIT",
    "PROJECT_LICENCE",
    "Admission",
    "OwnPair",
    "TrainingData",
    "admit",
    "asked_about",
    "candidate_to_train",
    "example_of",
    "licence_of",
    "load_training_data",
    "refuse_folder",
]

T = TypeVar("T")
M = TypeVar("M", Example, Preference)

PACKAGED_SPLIT = "train"
"""What names the project-written split wherever training data is asked for; a file of that name is `./train`."""

_BASELINE = ("standard",)
PROJECT_LICENCE = "CC-BY-4.0"
"""Licence of what the project wrote."""
_RESEARCH = "research only, by permission"
_NOT_STATED = "not stated"

_Text = Annotated[str, StringConstraints(pattern=r"\S")]
_Kind = Literal["instances", "examples", "preferences", "own pairs"]
_KINDS: dict[_Kind, frozenset[str]] = {
    "instances": frozenset({"culture", "post_id", "post", "response"}),
    "preferences": frozenset({"chosen", "rejected"}),
    "examples": frozenset({"user", "reply"}),
    "own pairs": frozenset({"post", "reply"}),
}
"""The fields by which a row of each kind is known, the most particular first."""


class OwnPair(Record):
    """A post and a reply that somebody else than this project holds the rights in.

    Attributes:
        id: Names the post; pairs of one post have one id. By default made from the post.
        culture: Key of the culture registry, such as `chinese`.
        language: ISO 639-1 code of the post's language, by default detected.
        post: The post.
        reply: The reply to be learnt.
        licence: Licence of post and reply, as its owner names it.
        training: `allowed`, said by whoever holds the rights.
        url: Where the post stands, if it stands anywhere.
    """

    id: _Text | None = None
    culture: str
    language: str | None = None
    post: _Text
    reply: _Text
    licence: _Text
    training: Training
    url: str | None = None


class TrainingData(Record):
    """What a model is trained on, with all that its card must say of it: examples or preferences, never both.

    Attributes:
        name: The split, or the file's name without its folder.
        revision: Fingerprint of the split or of the file's content.
        examples: Prompts with the reply to be learnt.
        preferences: Prompts with two replies.
        permission: The written arrangement that something here needed; null where nothing did.
        left_out: How many records were left out, by reason.
        notes: Sentences that must be read with a model trained on this.
    """

    name: str
    revision: Hash
    examples: tuple[Example, ...]
    preferences: tuple[Preference, ...]
    permission: Permission | None
    left_out: dict[str, int]
    notes: tuple[str, ...]

    @property
    def instance_ids(self) -> tuple[str, ...]:
        """The instances that a model sees, in order, for the adapter's record (`leakage.trained_on`)."""
        return tuple(sorted({record.instance_id for record in (*self.examples, *self.preferences)}))

    @property
    def licences(self) -> tuple[str, ...]:
        """The licences of what a model sees, each once."""
        return tuple(sorted({record.licence for record in (*self.examples, *self.preferences)}))


class Admission(Record):
    """What gate and leak check found.

    Attributes:
        permission: The written arrangement that was needed; null where none was.
        held_out: Instances that must be left out: those of split `test` that are never trained on, and copies of them.
        notes: Sentences for the card.
    """

    permission: Permission | None
    held_out: frozenset[str]
    notes: tuple[str, ...]


def admit(candidates: Sequence[Candidate], *, permission: Path | None = None, release: Path | None = None) -> Admission:
    """Sends candidates through the gate and the leak check.

    Split `sample` is never trained on. Split `test` is not either, but for one half of its instances by permission (`is_held_out`).

    Args:
        candidates: All that a model would learn from.
        permission: File with a written arrangement.
        release: Folder of the released files, by default what `CULTURECARE_RELEASE` names; without one, split `test` is known by what
            records say of themselves alone.

    Raises:
        CultureCareError: A candidate is forbidden or leaks; or the permission or the released files cannot be read.
    """
    granted = None if permission is None else read_permission(permission)
    _refuse_leaks(find_leaks(candidates, sample_benchmark()), len(candidates), "sample")
    released = released_instances(release)
    benchmark = Benchmark(released or ())
    forbidden = pass_gate(candidates, benchmark.ids, granted)
    if forbidden:
        _require_all_released(released)
    known = {instance.id for instance in released or ()}
    of_test = {candidate.instance_id for candidate in forbidden if candidate.instance_id in known}
    _refuse_leaks(find_leaks((each for each in candidates if each.instance_id not in of_test), benchmark), len(candidates), "test")
    held_out = {name for name in of_test if is_held_out(name)}
    kept_back = Benchmark(
        [instance for instance in released or () if is_held_out(instance.id)],
        [candidate for candidate in forbidden if candidate.instance_id in held_out],
    )
    to_train = [candidate for candidate in forbidden if candidate.instance_id in of_test - held_out]
    held_out |= {leak.candidate.instance_id for leak in find_leaks(to_train, kept_back)}
    notes = _notes(released, held_out, of_test)
    return Admission(permission=granted if forbidden else None, held_out=frozenset(held_out), notes=tuple(notes))


def _require_all_released(released: Sequence[Instance] | None) -> None:
    """By permission one half of split `test` may be trained on: which of the data are of it, the released files alone tell."""
    present = {instance.culture for instance in released or ()}
    if missing := [key for key in culturecare.released_cultures() if key not in present]:
        raise CultureCareError(
            f"training by permission needs the released files of {', '.join(missing)} too, to keep the benchmark's half out: name "
            f"the folder that holds all of them with --release or {culturecare.RELEASE_VARIABLE}"
        )


def _refuse_leaks(leaks: Sequence[Leak], of: int, split: str) -> None:
    if not leaks:
        return
    shown = [
        f"{leak.candidate.where} {'is' if leak.overlap is None else f'holds {leak.overlap:.0%} of a text of'} {leak.instance_id!r}"
        for leak in leaks[:5]
    ]
    more = f"; and {len(leaks) - len(shown)} more" if len(leaks) > len(shown) else ""
    raise CultureCareError(
        f"{len(leaks)} of {of} records are the benchmark's, which no model is trained on (split {split!r}): {'; '.join(shown)}{more}. "
        "Take them out of the data; no permission allows this"
    )


def _notes(released: Sequence[Instance] | None, held_out: set[str], of_test: set[str]) -> Iterable[str]:
    if released is None:
        yield (
            "Split 'test' could not be checked for leaks: the released files were not at hand "
            f"(--release or {culturecare.RELEASE_VARIABLE}). Split 'sample' was checked."
        )
    else:
        present = {instance.culture for instance in released}
        if missing := [key for key in culturecare.released_cultures() if key not in present]:
            yield f"Split 'test' of {', '.join(missing)} could not be checked for leaks: these released files were not at hand."
    if of_test:
        yield (
            f"By permission: {len(of_test - held_out)} instances of split 'test' may be trained on, and {len(held_out)} are held out. "
            "The model cannot be evaluated on the former."
        )


# --- Reading ---------------------------------------------------------------------------------------------------------------------


def load_training_data(
    data: str,
    *,
    strategies: Sequence[str] | None = None,
    cultures: Sequence[str] = ("all",),
    min_empathy: int = 4,
    permission: Path | None = None,
    release: Path | None = None,
) -> TrainingData:
    """Reads training data, refuses what must not be trained on, and makes prompts.

    Args:
        data: `train` for the packaged split, or a JSON Lines file.
        strategies: Strategies to prompt by, by default `standard`. Examples and preferences have their prompts already.
        cultures: Keys of cultures, or `all`.
        min_empathy: Least empathy score of a peer's reply to be learnt from, in 1 to 5: peers' replies are uneven.
        permission: File with a written arrangement for what is forbidden otherwise.
        release: Folder of the released files, for the leak check.

    Raises:
        CultureCareError: The data does not fit, is forbidden, leaks, has no replies to learn, or nothing of it is left.
    """
    load = _Load(frozenset(select_cultures(cultures, "train")), permission, release)
    if data == PACKAGED_SPLIT:
        name, revision = data, culturecare.dataset_revision("train")
        asked = select_strategies(strategies or _BASELINE)
        examples = _of_instances(load_instances("train"), f"split {data!r}", load, asked, min_empathy)
        preferences: list[Preference] = []
    else:
        path = Path(data)
        if data in ("sample", "test") and not path.exists():
            raise CultureCareError(
                f"split {data!r} is the benchmark's, and no model is trained on it; take --data {PACKAGED_SPLIT}, a file of yours, or, "
                "with a written arrangement (--training-permission), a file of the released annotations"
            )
        if path.is_dir():
            refuse_folder(path, permission)
        kind = _kind_of_file(path)
        name, revision = path.name, _fingerprint(path)
        examples, preferences = _read_file(path, kind, load, strategies, min_empathy)
    unique, gone = deduplicate(examples)
    unique_preferences, gone_preferences = deduplicate(preferences)
    load.left_out.update(gone)
    load.left_out.update(gone_preferences)
    if not unique and not unique_preferences:
        why = ", ".join(f"{number} {reason}" for reason, number in load.left_out.items()) or "no record is of the cultures asked for"
        raise CultureCareError(f"{data}: nothing is left to train on ({why})")
    return TrainingData(
        name=name,
        revision=revision,
        examples=unique,
        preferences=unique_preferences,
        permission=load.admission.permission,
        left_out=dict(load.left_out),
        notes=(*load.admission.notes, *_told(load.left_out), *_outdated((*unique, *unique_preferences))),
    )


class _Load:
    """What reading one source needs and finds.

    Attributes:
        admission: What gate and leak check found.
        left_out: Counts by reason.
    """

    admission: Admission

    def __init__(self, keys: frozenset[str], permission: Path | None, release: Path | None) -> None:
        self.left_out: collections.Counter[str] = collections.Counter()
        self._keys, self._permission, self._release = keys, permission, release

    def through(self, records: Sequence[T], candidates: Sequence[Candidate], keys: Sequence[str]) -> list[T]:
        """The records that may be trained on and are of the cultures asked for; all of them must pass the gate, asked for or not.

        Args:
            records: All of the source.
            candidates: The same as the gate looks at them.
            keys: The culture of each.
        """
        self.admission = admit(candidates, permission=self._permission, release=self._release)
        kept = []
        for record, candidate, key in zip(records, candidates, keys, strict=True):
            if key not in self._keys:
                continue  # Not asked for: nothing to tell of.
            if candidate.instance_id in self.admission.held_out:
                self.left_out["held out for the benchmark"] += 1
            else:
                kept.append(record)
        return kept


def refuse_folder(folder: Path, permission: Path | None) -> NoReturn:
    """Refuses a folder where a file is meant; one of released files for what is in them, as each of them would be.

    Args:
        folder: The folder.
        permission: File with a written arrangement.

    Raises:
        CultureCareError: Always.
    """
    files = list(released_files(folder).values())
    candidates = [candidate_to_train(instance, str(file)) for file in files for instance in read_instances(file, "train")]
    pass_gate(candidates, frozenset(), None if permission is None else read_permission(permission))
    meant = f"one of its files, such as {files[0]}" if files else "a JSON Lines file"
    raise DataError(f"{folder}: is a folder; name {meant}")


def _kind_of_file(path: Path) -> _Kind:
    """The kind of the first row, which all rows must have."""
    kind: _Kind | None = None
    for number, fields in read_json_lines(path):
        here = _kind_of_row(fields, f"{path}:{number}")
        if kind is None:
            kind = here
        elif here != kind:
            raise DataError(f"{path}:{number}: is one of {here}, but the first row is one of {kind}: give each kind a file of its own")
    if kind is None:
        raise DataError(f"{path}: holds no record")
    return kind


def _kind_of_row(fields: Any, where: str) -> _Kind:
    if isinstance(fields, dict):
        for kind, known_by in _KINDS.items():
            if known_by <= fields.keys():
                return kind
    raise DataError(
        f"{where}: is no training record: it must be an instance in the released format (culture, post_id, post, response), an example "
        "or a preference of `culturecare adapt`, or an own pair (culture, post, reply, licence, training)"
    )


def _read_file(
    path: Path, kind: _Kind, load: _Load, names: Sequence[str] | None, min_empathy: int
) -> tuple[list[Example], list[Preference]]:
    if kind == "instances":
        asked = select_strategies(names or _BASELINE)
        return _of_instances(list(read_instances(path, "train")), str(path), load, asked, min_empathy), []
    if kind == "own pairs":
        return _read_own(path, load, _without_annotation(names, path)), []
    if names is not None:
        raise CultureCareError(f"{path}: holds {kind}, whose prompts are made already: leave the strategies out")
    if kind == "examples":
        return _read_made(path, load, Example), []
    return [], _read_made(path, load, Preference)


def _fingerprint(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


# --- Instances -------------------------------------------------------------------------------------------------------------------


def licence_of(instance: Instance) -> str:
    """The licence of an instance's texts: research alone for released posts, this project's for its own, else what their file says."""
    if instance.source in ("release", "hydrated"):
        return _RESEARCH
    return PROJECT_LICENCE if is_packaged(instance) else instance.licence or _NOT_STATED


def is_packaged(instance: Instance) -> bool:
    """Whether an instance is one of split `train`, word for word: that it calls itself synthetic says nothing of who wrote it."""
    return _packaged().get(instance.id) == instance


@functools.cache
def _packaged() -> dict[str, Instance]:
    return {instance.id: instance for instance in load_instances("train")}


def _of_instances(instances: Sequence[Instance], where: str, load: _Load, asked: Sequence[Strategy], min_empathy: int) -> list[Example]:
    candidates = [candidate_to_train(instance, where) for instance in instances]
    through = load.through(instances, candidates, [instance.culture for instance in instances])
    return [
        example_of(strategy, instance, reply, licence_of(instance))
        for instance in through
        if (reply := _reply_to_learn(instance, min_empathy, where, load.left_out)) is not None
        for strategy in asked
    ]


def candidate_to_train(instance: Instance, where: str) -> Candidate:
    """An instance as a candidate; what is neither this project's nor names a licence may not be trained on, whatever it says."""
    candidate = candidate_of(instance, where)
    is_allowed = instance.training == "allowed" and (instance.licence is not None or is_packaged(instance))
    return candidate if is_allowed else dataclasses.replace(candidate, training="forbidden")


def _reply_to_learn(instance: Instance, min_empathy: int, where: str, left_out: collections.Counter[str]) -> str | None:
    """The reply, or null where it is left out, which is counted."""
    response = instance.response
    reply = response.text if response.text and response.text.strip() else None
    if instance.excerpt or (reply is None and (response.emotional_support or response.empathy_score is not None)):
        raise CultureCareError(
            f"{where}: {instance.id}: the text of its {'post' if instance.excerpt else 'reply'} is not there, so that there is nothing to "
            "learn: hydrated rows alone have texts, and training on those needs a written arrangement (--training-permission)"
        )
    if reply is None:
        left_out["without a reply"] += 1
    elif response.empathy_score is None:
        left_out["without an empathy score"] += 1
    elif response.empathy_score < min_empathy:
        left_out[f"with an empathy score below {min_empathy}"] += 1
    else:
        return reply
    return None


def example_of(strategy: Strategy, instance: Instance, reply: str, licence: str, written: Written | None = None) -> Example:
    """An instance's reply under a strategy's prompt, as a model learns it, or is measured on it.

    Args:
        strategy: The strategy.
        instance: The post.
        reply: The reply.
        licence: Licence of both.
        written: Who wrote the reply; null for a person.
    """
    asked = asked_about(strategy, instance, licence)
    return Example(**asked, id=example_id(asked["system"], asked["user"], reply), reply=reply, written=written)


def asked_about(strategy: Strategy, instance: Instance, licence: str) -> dict[str, Any]:
    """The fields that examples and preferences share: which post, by whose leave, and how the model is asked about it."""
    prompt = render(strategy, instance)
    return {
        "instance_id": instance.id,
        "culture": instance.culture,
        "language": instance.language,
        "synthetic": instance.synthetic,
        "training": instance.training,
        "licence": licence,
        "strategy": strategy.name,
        "prompt_hash": prompt.prompt_hash,
        "post": instance.post_text,
        "system": prompt.system,
        "user": prompt.user,
    }


# --- Own pairs -------------------------------------------------------------------------------------------------------------------


def _without_annotation(names: Sequence[str] | None, path: Path) -> tuple[Strategy, ...]:
    asked = select_strategies(names or _BASELINE)
    if needing := [strategy.name for strategy in asked if strategy.shows_annotations]:
        free = [strategy.name for strategy in strategies().values() if not strategy.shows_annotations]
        raise CultureCareError(
            f"{path}: holds own pairs, whose posts nobody annotated, but strategy {needing[0]!r} needs annotation: "
            f"choose from {', '.join(free)}"
        )
    return asked


def _read_own(path: Path, load: _Load, asked: Sequence[Strategy]) -> list[Example]:
    pairs, candidates = [], []
    for number, fields in read_json_lines(path):
        where = f"{path}:{number}"
        pair = parse_record(OwnPair, fields, where=where)
        if pair.culture not in cultures():
            raise DataError(f"{where}: culture: unknown culture {pair.culture!r}; known are {', '.join(cultures())}")
        instance = _instance_of(pair)
        pairs.append((instance, pair))
        candidates.append(Candidate(where, instance.id, pair.training, pair.url, pair.post, (pair.reply,)))
    through = load.through(pairs, candidates, [pair.culture for _, pair in pairs])
    return [example_of(strategy, instance, pair.reply, pair.licence) for instance, pair in through for strategy in asked]


def _instance_of(pair: OwnPair) -> Instance:
    """An own pair as strategies render it; it has no annotation."""
    return Instance(
        id=pair.id or f"own-{digest([pair.post])}",
        culture=pair.culture,
        split="own",
        language=pair.language or detect_language(pair.post),
        source="own",
        synthetic=False,
        training=pair.training,
        url=pair.url,
        theme=None,
        post=Post(text=pair.post, emotional_distress=(), cultural_signals=(), demographic_info={}, demographics=Demographics()),
        response=Response(text=pair.reply, emotional_support=(), cultural_signals=(), empathy_score=None),
    )


# --- What was made already -------------------------------------------------------------------------------------------------------


def _read_made(path: Path, load: _Load, model: type[M]) -> list[M]:
    rows = [(f"{path}:{number}", fields) for number, fields in read_json_lines(path)]
    records = [parse_record(model, fields, where=where) for where, fields in rows]
    candidates = [_candidate_of_made(record, where) for record, (where, _) in zip(records, rows, strict=True)]
    return load.through(records, candidates, [record.culture for record in records])


def _candidate_of_made(record: Example | Preference, where: str) -> Candidate:
    replies = (record.reply,) if isinstance(record, Example) else (record.chosen, record.rejected)
    # The prompt too: it is what the model sees, whatever stands beside it as the post.
    return Candidate(where, record.instance_id, record.training, None, record.post, (f"{record.system}\n{record.user}", *replies))


def _told(left_out: collections.Counter[str]) -> Iterable[str]:
    if left_out:
        yield f"Left out: {', '.join(f'{number} {reason}' for reason, number in left_out.items())}."


def _outdated(records: Iterable[Example | Preference]) -> Iterable[str]:
    known = strategies()
    changed = {each.strategy for each in records if each.strategy not in known or known[each.strategy].hash != each.prompt_hash}
    if changed:
        yield f"Prompts were made by another version of {', '.join(sorted(changed))} than is installed: a model is asked otherwise at use."
