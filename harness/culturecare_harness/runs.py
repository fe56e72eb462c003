"""A run: one model's replies, verdicts and result in one folder, each made from the file before it and resumed where it stopped."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import culturecare
from culturecare import CultureCareError, DataError, Record
from culturecare_harness.dataset import Selection, select_instances
from culturecare_harness.generate import Generation, ModelChoice, generate_replies
from culturecare_harness.judge import JudgeItem, judge_replies
from culturecare_harness.records import (
    Hash,
    Model,
    Reply,
    Result,
    Verdict,
    append_records,
    digest,
    read_records,
    write_json,
    write_records,
)
from culturecare_harness.rubrics import select_rubric
from culturecare_harness.scoring import build_result
from culturecare_harness.strategies import select_strategies

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from culturecare_harness.judges import JudgeFile

__all__ = ["MANIFEST", "REPLIES", "Manifest", "evaluate", "judge_and_score", "judge_run", "manifest_of"]

MANIFEST = "run.json"
REPLIES = "replies.jsonl"


class Manifest(Record):
    """What a run was asked to do: all that its replies depend on. It holds neither keys nor the folder of the released files."""

    model: Model
    batch_size: int
    split: culturecare.Split
    dataset_revision: Hash
    cultures: tuple[str, ...]
    text: str
    per_culture: int | None
    strategies: dict[str, Hash]
    generation: Generation

    @property
    def hash(self) -> str:
        """Names the run."""
        return digest(self.model_dump(mode="json"))


def manifest_of(choice: ModelChoice, strategies: Iterable[str], selection: Selection, generation: Generation) -> Manifest:
    """The manifest of a run that is to be made.

    Raises:
        CultureCareError: A strategy, culture, or the data is not there.
    """
    return Manifest(
        model=choice.model,
        batch_size=choice.batch_size,
        split=selection.split,
        dataset_revision=culturecare.dataset_revision(selection.split, selection.release),
        cultures=culturecare.select_cultures(selection.cultures, selection.split),
        text=selection.text,
        per_culture=selection.per_culture,
        strategies={strategy.name: strategy.hash for strategy in select_strategies(strategies)},
        generation=generation,
    )


def evaluate(
    choice: ModelChoice,
    strategies: Iterable[str],
    selection: Selection,
    generation: Generation,
    judge: JudgeFile | None,
    folder: Path,
    say: Callable[[str], None],
    advance: Callable[[int, int], None],
) -> tuple[Result, Path]:
    """Generates, judges and scores; whatever the folder holds of the same run already is used.

    Args:
        choice: The model under test.
        strategies: Names of the strategies.
        selection: Which instances.
        generation: Generation settings.
        judge: Who judges; null to generate alone.
        folder: The run's folder, made where it is not there.
        say: Told in a sentence what goes on.
        advance: Told how many replies of how many are judged.

    Returns:
        The result, and the file that holds it.

    Raises:
        CultureCareError: Something that was asked for is not there, or the folder holds another run.
    """
    manifest = manifest_of(choice, strategies, selection, generation)
    select_instances(selection)  # What is wrong with the data is said before a model is loaded.
    _claim(folder, manifest)
    replies = generate_replies(choice, select_strategies(manifest.strategies), selection, generation, folder / REPLIES, say)
    return judge_and_score(replies, _posts(selection), judge, manifest.model, folder, say, advance, _run_notes(manifest))


def judge_run(
    folder: Path, release: str | None, judge: JudgeFile, say: Callable[[str], None], advance: Callable[[int, int], None]
) -> tuple[Result, Path]:
    """Judges the replies of a finished run, by the same or another judge.

    Raises:
        CultureCareError: The folder is no finished run, or the dataset is not the one that its replies were made from.
    """
    path = folder / MANIFEST
    manifest = culturecare.parse_record(Manifest, _read_json(path), where=str(path))
    selection = Selection(
        split=manifest.split,
        release=culturecare.release_dir(release) if manifest.split == "test" else None,
        cultures=manifest.cultures,
        text=manifest.text,
        per_culture=manifest.per_culture,
    )
    revision = culturecare.dataset_revision(selection.split, selection.release)
    if revision != manifest.dataset_revision:
        raise CultureCareError(
            f"{folder}: the run was made from revision {manifest.dataset_revision} of split {manifest.split!r}, but here is {revision}"
        )
    replies = read_records(folder / REPLIES, Reply)
    expected = len(manifest.strategies) * len(select_instances(selection))
    if len(replies) != expected:
        raise CultureCareError(f"{folder}: holds {len(replies)} of {expected} replies; finish the run with `culturecare eval` first")
    order = {name: index for index, name in enumerate(manifest.strategies)}
    replies.sort(key=lambda reply: order[reply.strategy])
    return judge_and_score(replies, _posts(selection), judge, manifest.model, folder, say, advance, _run_notes(manifest))


def judge_and_score(
    replies: Sequence[Reply],
    posts: Mapping[str, str],
    judge: JudgeFile | None,
    model: Model,
    folder: Path,
    say: Callable[[str], None],
    advance: Callable[[int, int], None],
    notes: Sequence[str] = (),
) -> tuple[Result, Path]:
    """Judges replies, keeping each verdict in the folder as it comes, and writes the result.

    Args:
        replies: What to judge.
        posts: What each reply answers, by instance: the post's text, or its excerpt.
        judge: Who judges; null to describe the replies alone.
        model: Who replied.
        folder: Where verdicts and result are kept, in files named after the judge, so that several judges stand side by side.
        say: Told in a sentence what goes on.
        advance: Told how many replies of how many are judged.
        notes: Sentences to be read with the numbers.

    Returns:
        The result, and the file that holds it.

    Raises:
        CultureCareError: The judge cannot go on; the verdicts that it gave by then are kept and used when it is asked again.
    """
    if judge is None:
        result = build_result(replies, None, None, model, notes=notes)
        path = folder / "no-judge.result.json"
        write_json(path, result)
        return result, path
    stem = f"{judge.name}-{judge.judge.settings_hash[:6]}{judge.judge.prompt_hash[:6]}"
    verdicts_path = folder / f"{stem}.verdicts.jsonl"
    kept: dict[str, dict[str, Verdict]] = {}
    if verdicts_path.exists():
        for verdict in read_records(verdicts_path, Verdict, tolerate_torn_end=True):
            kept.setdefault(verdict.reply_id, {})[verdict.dimension] = verdict
    dimensions = select_rubric(judge.rubric).dimensions
    left = [reply for reply in replies if len(kept.get(reply.id, {})) < len(dimensions)]
    finished = len(replies) - len(left)
    say(f"Judging {len(left)} replies by {judge.name} ({judge.mode})." + (f" {finished} are judged already." if finished else ""))
    advance(finished, len(replies))

    def keep(of_item: list[Verdict]) -> None:
        nonlocal finished
        append_records(verdicts_path, of_item)
        kept[of_item[0].reply_id] = {verdict.dimension: verdict for verdict in of_item}
        finished += 1
        advance(finished, len(replies))

    judge_replies([JudgeItem(reply_id=reply.id, post=posts[reply.instance_id], reply=reply.text) for reply in left], judge, done=keep)
    verdicts = [kept[reply.id][dimension.key] for reply in replies for dimension in dimensions]
    write_records(verdicts_path, verdicts)  # In the order of the replies, whichever came first.
    result = build_result(replies, verdicts, judge, model, notes=notes)
    path = folder / f"{stem}.result.json"
    write_json(path, result)
    return result, path


def _posts(selection: Selection) -> dict[str, str]:
    return {instance.id: instance.post_text for instance in select_instances(selection)}


def _run_notes(manifest: Manifest) -> list[str]:
    if manifest.per_culture is None:
        return []
    return [f"A trial: at most {manifest.per_culture} instances of each culture."]


def _claim(folder: Path, manifest: Manifest) -> None:
    """Makes the folder this run's, or finds that it is already."""
    path = folder / MANIFEST
    if path.exists():
        there = culturecare.parse_record(Manifest, _read_json(path), where=str(path))
        if there != manifest:
            differing = [field for field in Manifest.model_fields if getattr(there, field) != getattr(manifest, field)]
            raise CultureCareError(f"{folder}: holds another run (its {', '.join(differing)} differ); choose another folder with --out")
        return
    if (folder / REPLIES).exists():
        raise CultureCareError(f"{folder}: holds replies but no {MANIFEST}; choose another folder with --out")
    write_json(path, manifest)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); is this the folder of a run?") from error
    except ValueError as error:
        raise DataError(f"{path}: is not valid JSON ({error})") from error
