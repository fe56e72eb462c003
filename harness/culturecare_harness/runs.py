"""A run: one model's replies, verdicts and result in one folder, each made from the file before it and resumed where it stopped."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import culturecare
from culturecare import CultureCareError, DataError, Record
from culturecare_harness.adaptation.leakage import ADAPTATION, post_hash, trained_on
from culturecare_harness.annotation.posts import annotator_note
from culturecare_harness.backends import Metered, check_backend, open_backend
from culturecare_harness.counting import counted
from culturecare_harness.dataset import Selection, select_instances
from culturecare_harness.engines import Engine, check_engine
from culturecare_harness.generate import Generation, ModelChoice, generate_replies
from culturecare_harness.judge import JudgeItem, judge_replies
from culturecare_harness.progress import Progress, counter
from culturecare_harness.records import (
    Hash,
    Instance,
    Model,
    Reply,
    Result,
    digest,
    read_records,
    whole_file,
    write_json,
    write_records,
)
from culturecare_harness.rubrics import select_rubric
from culturecare_harness.samples import find_samples, read_samples
from culturecare_harness.scoring import build_result
from culturecare_harness.store import default_store_path, open_store
from culturecare_harness.strategies import select_strategies

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from culturecare_harness.backends import Backend
    from culturecare_harness.judges import JudgeFile

__all__ = [
    "MANIFEST",
    "POSTS",
    "REPLIES",
    "JudgeOptions",
    "Manifest",
    "ReplySet",
    "evaluate",
    "judge_and_score",
    "load_replies",
    "manifest_of",
    "refuse_what_was_learnt",
]

MANIFEST = "run.json"
REPLIES = "replies.jsonl"
POSTS = "posts.jsonl"
"""Copy of a user's own posts, so that a run on them can be read again wherever their file is by then."""


class JudgeOptions(Record):
    """How judging runs; nothing here can move a grade.

    Attributes:
        store: File of the verdict store, null for `default_store_path()`.
        retry_failed: Whether verdicts without a score are asked for again.
        engine: `embedded` judges in this process, `ray` on a Ray cluster.
        ray_address: Address of a running cluster; null starts Ray on this machine.
    """

    store: Path | None = None
    retry_failed: bool = False
    engine: Engine = "embedded"
    ray_address: str | None = None


class Manifest(Record):
    """What a run was asked to do: all that its replies depend on. It holds neither keys nor the folder of the released files.

    Attributes:
        base_identity: Of a model with an adapter, the identity of the model without it.
        held_out: Whether it was about the half of split `test` alone that is never trained on.
        notes: What must be read with the scores of a model with an adapter.
    """

    model: Model
    model_identity: Hash
    batch_size: int
    split: culturecare.Split
    dataset_revision: Hash
    cultures: tuple[str, ...]
    text: str
    per_culture: int | None
    strategies: dict[str, Hash]
    generation: Generation
    base_identity: Hash | None = None
    held_out: bool = False
    notes: tuple[str, ...] = ()

    @property
    def hash(self) -> str:
        """Names the run; fields with defaults came later, and leave the name of a run without them as it was."""
        return digest(self.model_dump(mode="json", exclude_defaults=True))


def manifest_of(choice: ModelChoice, strategies: Iterable[str], selection: Selection, generation: Generation) -> Manifest:
    """The manifest of a run that is to be made.

    Raises:
        CultureCareError: A strategy, culture, or the data is not there.
    """
    return Manifest(
        model=choice.model,
        model_identity=choice.identity,
        batch_size=choice.batch_size,
        split=selection.split,
        dataset_revision=culturecare.dataset_revision(selection.split, selection.release),
        cultures=culturecare.select_cultures(selection.cultures, selection.split),
        text=selection.text,
        per_culture=selection.per_culture,
        strategies={strategy.name: strategy.hash for strategy in select_strategies(strategies)},
        generation=generation,
        base_identity=None if choice.adapter is None else choice.base.identity,
        held_out=selection.held_out,
        notes=tuple(_adapter_notes(choice, selection)),
    )


def evaluate(
    choice: ModelChoice,
    strategies: Iterable[str],
    selection: Selection,
    generation: Generation,
    judge: JudgeFile | None,
    folder: Path,
    progress: Progress,
    options: JudgeOptions,
) -> tuple[Result, Path]:
    """Generates, judges and scores; whatever the folder holds of the same run already is used.

    Args:
        choice: The model under test.
        strategies: Names of the strategies.
        selection: Which instances.
        generation: Generation settings.
        judge: Who judges; null to generate alone.
        folder: The run's folder, made where it is not there.
        progress: Told how it gets on.
        options: How judging runs.

    Returns:
        The result, and the file that holds it.

    Raises:
        CultureCareError: Something that was asked for is not there, or the folder holds another run.
    """
    manifest = manifest_of(choice, strategies, selection, generation)
    # What can be known to be wrong is said before a model is loaded, and before anything is written.
    instances = select_instances(selection)
    refuse_what_was_learnt(choice, instances)
    if judge is not None:
        check_backend(judge)
        check_engine(options.engine)
    _check_folder(folder)
    claimed = _is_claimed(folder, manifest)

    def begin() -> None:
        if selection.split == "own":
            _keep_posts(culturecare.own_file(selection.release), folder / POSTS, manifest)
        if not claimed:
            write_json(folder / MANIFEST, manifest)

    strategies_chosen = select_strategies(manifest.strategies)
    replies = generate_replies(choice, strategies_chosen, selection, generation, folder / REPLIES, begin, progress.say)
    _check_replies(replies, folder, manifest)
    posts = {instance.id: instance.post_text for instance in instances}
    return judge_and_score(replies, posts, judge, manifest.model, folder, progress, options, _run_notes(manifest, instances))


def _keep_posts(file: Path, copy: Path, manifest: Manifest) -> None:
    """Copies own posts into the run's folder before the first reply is written there.

    Raises:
        CultureCareError: They are no longer those that the run was asked about.
    """
    with whole_file(copy) as temporary:
        shutil.copyfile(file, temporary)
        if culturecare.dataset_revision("own", temporary) != manifest.dataset_revision:
            raise CultureCareError(f"{file}: changed while the model was loaded; call it again")


def _check_replies(replies: Iterable[Reply], folder: Path, manifest: Manifest) -> None:
    """Sees to it that replies answer the posts that the run is about, and not what their file held in between.

    Raises:
        CultureCareError: One does not.
    """
    if stray := next((reply for reply in replies if reply.dataset_revision != manifest.dataset_revision), None):
        raise CultureCareError(
            f"{folder / REPLIES}: reply {stray.id} to {stray.instance_id!r} was made from revision {stray.dataset_revision} of the posts, "
            f"but the run is about {manifest.dataset_revision}: make it again in another folder"
        )


class ReplySet(Record):
    """Replies that are there already, with what it takes to judge them.

    Attributes:
        replies: Of one model.
        posts: What each reply answers, by instance: the post's text, or its excerpt.
        instances: The posts' instances; empty where they came from lm-eval's samples, which hold the posts alone.
        model: Who replied.
        notes: Sentences to be read with their scores.
        folder: Where verdicts and results are kept unless told otherwise.
    """

    replies: tuple[Reply, ...]
    posts: dict[str, str]
    instances: tuple[Instance, ...]
    model: Model
    notes: tuple[str, ...]
    folder: Path


def load_replies(path: Path, release: Path | None, progress: Progress) -> ReplySet:
    """Reads the replies of a run, or those that `lm_eval --log_samples` saved.

    Args:
        path: Folder of a run, or file or folder of samples.
        release: Folder of the released files, for a run on split `test`.
        progress: Told what is read.

    Raises:
        CultureCareError: There is neither, or the dataset is not the one that a run's replies were made from.
    """
    if not path.exists():
        raise DataError(f"{path}: is not there; name the folder of a run, or a file or folder of lm_eval's --log_samples")
    if (path / MANIFEST).exists():
        return _load_run(path, release)
    replies: list[Reply] = []
    posts: dict[str, str] = {}
    files = find_samples(path)
    for file in files:
        progress.say(f"Reading {file.name}.")
        of_file, posts_of_file = read_samples(file)
        replies += of_file
        posts |= posts_of_file
    if not replies:
        raise DataError(f"{files[0]}: holds no reply")
    model = Model(name=replies[0].model, backend="lm-eval", arguments={})
    return ReplySet(replies=tuple(replies), posts=posts, instances=(), model=model, notes=(), folder=files[0].parent)


def _load_run(folder: Path, release: Path | None) -> ReplySet:
    path = folder / MANIFEST
    manifest = culturecare.parse_record(Manifest, _read_json(path), where=str(path))
    selection = Selection(
        split=manifest.split,
        release=culturecare.release_dir(release) if manifest.split == "test" else folder / POSTS if manifest.split == "own" else None,
        cultures=manifest.cultures,
        text=manifest.text,
        per_culture=manifest.per_culture,
        held_out=manifest.held_out,
    )
    revision = culturecare.dataset_revision(selection.split, selection.release)
    if revision != manifest.dataset_revision:
        raise CultureCareError(
            f"{folder}: the run was made from revision {manifest.dataset_revision} of split {manifest.split!r}, but here is {revision}"
        )
    replies = read_records(folder / REPLIES, Reply)
    instances = select_instances(selection)
    expected = len(manifest.strategies) * len(instances)
    if len(replies) != expected:
        raise CultureCareError(f"{folder}: holds {len(replies)} of {expected} replies; finish the run with `culturecare eval` first")
    order = {name: index for index, name in enumerate(manifest.strategies)}
    posts = _posts(selection)
    if stray := next((reply for reply in replies if reply.strategy not in order or reply.instance_id not in posts), None):
        raise CultureCareError(f"{folder / REPLIES}: reply {stray.id} ({stray.strategy}, {stray.instance_id}) is not of this run")
    _check_replies(replies, folder, manifest)
    replies.sort(key=lambda reply: order[reply.strategy])
    return ReplySet(
        replies=tuple(replies),
        posts=posts,
        instances=instances,
        model=manifest.model,
        notes=tuple(_run_notes(manifest, instances)),
        folder=folder,
    )


def judge_and_score(
    replies: Sequence[Reply],
    posts: Mapping[str, str],
    judge: JudgeFile | None,
    model: Model,
    folder: Path,
    progress: Progress,
    options: JudgeOptions,
    notes: Sequence[str] = (),
) -> tuple[Result, Path]:
    """Judges replies, and writes verdicts and result into the folder. Each verdict is kept in the store as soon as it is there.

    Args:
        replies: What to judge.
        posts: What each reply answers, by instance: the post's text, or its excerpt.
        judge: Who judges; null to describe the replies alone.
        model: Who replied.
        folder: Where verdicts and result are kept, in files named after the judge, so that several judges stand side by side.
        progress: Told how it gets on.
        options: How judging runs.
        notes: Sentences to be read with the numbers.

    Returns:
        The result, and the file that holds it.

    Raises:
        CultureCareError: The judge cannot go on; the answers that it gave by then are kept and used when it is asked again.
    """
    _check_folder(folder)
    if judge is None:
        result = build_result(replies, None, None, model, notes=notes)
        path = folder / "no-judge.result.json"
        write_json(path, result)
        return result, path
    stem = f"{judge.name}-{judge.judge.settings_hash[:6]}{judge.judge.prompt_hash[:6]}"
    size = len(select_rubric(judge.rubric).dimensions)
    progress.say(f"Judging {counted(len(replies), 'reply', 'replies')} by {judge.name} ({judge.mode}).")
    count = counter(progress, len(replies) * size)
    items = [JudgeItem(reply_id=reply.id, post=posts[reply.instance_id], reply=reply.text) for reply in replies]
    if options.engine == "ray":
        from culturecare_harness.engines.ray import judge_with_ray, read_verdicts

        judge_with_ray(
            items,
            judge,
            folder / f"{stem}.verdicts",
            address=options.ray_address,
            store=options.store or default_store_path(),
            advance=count,
            retry_failed=options.retry_failed,
        )
        verdicts = list(read_verdicts(folder / f"{stem}.verdicts"))
    else:
        with open_store(options.store) as store, _spending_told(progress) as opener:
            verdicts = judge_replies(items, judge, store=store, backend=opener, advance=count, retry_failed=options.retry_failed)
    write_records(folder / f"{stem}.verdicts.jsonl", verdicts)
    result = build_result(replies, verdicts, judge, model, notes=notes)
    path = folder / f"{stem}.result.json"
    write_json(path, result)
    return result, path


@contextlib.contextmanager
def _spending_told(progress: Progress) -> Iterator[Callable[[JudgeFile], Backend]]:
    """Yields what opens a back end, and says at the end, however it comes, what its answers cost."""
    opened: list[Backend] = []

    def opener(judge: JudgeFile) -> Backend:
        opened.append(open_backend(judge, progress.say))
        return opened[-1]

    try:
        yield opener
    finally:
        for backend in opened:
            if isinstance(backend, Metered):
                progress.say(str(backend.spending))


def _posts(selection: Selection) -> dict[str, str]:
    return {instance.id: instance.post_text for instance in select_instances(selection)}


def _run_notes(manifest: Manifest, instances: Sequence[Instance]) -> list[str]:
    notes = list(manifest.notes)
    if manifest.per_culture is not None:
        notes.append(f"A trial: at most {counted(manifest.per_culture, 'instance')} of each culture.")
    if manifest.held_out:
        notes.append("On the half of split 'test' that is never trained on.")
    synthetic = sum(instance.synthetic for instance in instances)
    if manifest.split == "own" and synthetic:
        notes.append(f"{synthetic} of {len(instances)} posts are synthetic, as their file says.")
    if told := annotator_note(instances, select_strategies(manifest.strategies)):
        notes.append(told)
    return notes


def _record_of(choice: ModelChoice) -> Path | None:
    """The record of what an adapter was trained on, where it is a folder that has one."""
    path = None if choice.adapter is None else Path(choice.adapter).expanduser() / ADAPTATION
    return path if path is not None and path.is_file() else None


def _adapter_notes(choice: ModelChoice, selection: Selection) -> Iterable[str]:
    if choice.adapter is None:
        return
    if selection.split == "train":
        yield "Split 'train' is for training: the adapter may have learnt these posts, and its scores on them are no benchmark."
    record = _record_of(choice)
    if record is None:
        yield "The adapter has no record of what it was trained on, so that these posts may be among it."
        return
    training = _read_json(record).get("training", {})
    learnt_on = (training.get("model_identity"), training.get("revision"))
    if learnt_on != (ModelChoice(name=choice.name).identity, choice.arguments.get("revision")):
        yield f"The adapter was trained on {training.get('model')}, and perhaps on another base than it was loaded upon."


def _marks(instance: Instance) -> set[str]:
    """What an instance is known by among what was learnt: its words, and its id, but for own posts, whose ids others use as well."""
    words = post_hash(instance.post_text)
    return {words} if instance.split == "own" else {words, instance.id}


def refuse_what_was_learnt(choice: ModelChoice, instances: Sequence[Instance]) -> None:
    """Refuses to benchmark an adapter on what it was trained on; split `train` is no benchmark.

    Raises:
        CultureCareError: An instance was trained on, by its id or by the words of its post; or the adapter's record does not fit.
    """
    record = _record_of(choice)
    if record is None:
        return
    learnt = trained_on(record.parent)
    met = [instance.id for instance in instances if instance.split != "train" and not learnt.isdisjoint(_marks(instance))]
    if met:
        half = "take the half that is never trained on (--held-out)" if instances[0].split == "test" else "choose another split"
        raise CultureCareError(
            f"adapter {choice.adapter}: was trained on {len(met)} of these {len(instances)} instances, such as {met[0]!r}, so that its "
            f"scores on them would say nothing: {half}, or an adapter that has not seen them"
        )


def _check_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise CultureCareError(f"{folder}: is a file, but --out must name a folder")


def _is_claimed(folder: Path, manifest: Manifest) -> bool:
    """Whether the folder is this run's already; a folder of another run is refused."""
    path = folder / MANIFEST
    if path.exists():
        there = culturecare.parse_record(Manifest, _read_json(path), where=str(path))
        if there != manifest:
            differing = [field for field in Manifest.model_fields if getattr(there, field) != getattr(manifest, field)]
            raise CultureCareError(f"{folder}: holds another run (its {', '.join(differing)} differ); choose another folder with --out")
        return True
    if (folder / REPLIES).exists():
        raise CultureCareError(f"{folder}: holds replies but no {MANIFEST}; choose another folder with --out")
    return False


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); is this the folder of a run?") from error
    except (ValueError, RecursionError) as error:  # The second where it is nested deeper than any record.
        raise DataError(f"{path}: is not valid JSON ({error})") from error
