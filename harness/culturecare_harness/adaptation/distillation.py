"""Context distillation: a model learns to reply without annotation as it replies with it.

The model answers posts under a strategy that shows it everything (`cga`), a judge grades the replies, and the best of those that pass are
written as examples under the prompt that shows nothing (`standard`). Trained on them, the model needs no annotation at use (Snell et al.,
2022, "Learning by distilling context"; keeping the best of several by a score is rejection sampling).
"""

from __future__ import annotations

import collections
import shutil
import statistics
from typing import TYPE_CHECKING, Any

from pydantic import Field

import culturecare
from culturecare import CultureCareError, Record
from culturecare_harness.adaptation.examples import Example
from culturecare_harness.adaptation.leakage import deduplicate
from culturecare_harness.adaptation.making import (
    Graded,
    LeftOut,
    Made,
    admit_posts,
    check_out,
    counted_reasons,
    one_strategy,
    write_made,
)
from culturecare_harness.adaptation.sources import example_of, licence_of, refuse_folder
from culturecare_harness.dataset import Selection, select_instances
from culturecare_harness.generate import Generation, ModelChoice
from culturecare_harness.judges import NO_MEASURE
from culturecare_harness.packaged import resolve_model
from culturecare_harness.records import Reply, Verdict, read_records, whole_file
from culturecare_harness.runs import POSTS, REPLIES, JudgeOptions, evaluate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from culturecare_harness.judges import JudgeFile
    from culturecare_harness.progress import Progress
    from culturecare_harness.records import Instance
    from culturecare_harness.strategies import Strategy

__all__ = ["Asked", "Distilled", "distil"]

_CUT = "cut at the longest length"
_LONGER = "; give longer replies room with --max-gen-toks (in another --out), or keep them as they are with --keep-cut"
_SLACK = 4
"""A reply within so many tokens of the longest one counts as cut: read again as text it can have a few tokens fewer than it was made of."""


class Asked(Record):
    """How replies are made and which of them are kept.

    Attributes:
        teacher: Strategy that the model is asked by.
        student: Strategy under whose prompt the replies are written.
        candidates: Replies to each post, each by a seed of its own.
        per_post: The most examples of one post, the best first.
        min_emotional: Least mean of the emotional dimensions, in [1, 5].
        min_cultural: Least mean of the cultural dimensions, in [1, 5].
        keep_cut: Whether replies that were cut at the longest length are kept, for trying it out with a model that hardly ever ends by
            itself. What is learnt from them does not end either.
    """

    teacher: str = "cga"
    student: str = "standard"
    candidates: int = Field(default=1, ge=1)
    per_post: int = Field(default=1, ge=1)
    min_emotional: float = Field(default=4.0, ge=1, le=5)
    min_cultural: float = Field(default=3.5, ge=1, le=5)
    keep_cut: bool = False


class Distilled(Made):
    """What distillation made; `left_out` counts replies, which together with `kept` are all.

    Attributes:
        emotional: Mean of the kept replies' emotional grades.
        cultural: Mean of their cultural grades.
    """

    emotional: float
    cultural: float


def distil(
    choice: ModelChoice,
    judge: JudgeFile | None,
    selection: Selection,
    out: Path,
    progress: Progress,
    *,
    asked: Asked | None = None,
    generation: Generation | None = None,
    options: JudgeOptions | None = None,
    permission: Path | None = None,
    release: Path | None = None,
) -> Distilled:
    """Has a model reply with all its context, and writes what passes as examples without it.

    Beside `out` stand a page `.md` for people, and a folder `.run` with a run for each seed, by which a killed call goes on where it
    stopped. Own posts are copied there, and what is replied to is the copy, whatever becomes of their file meanwhile.

    Args:
        choice: The model.
        judge: Who grades its replies.
        selection: The posts; never the benchmark's.
        out: JSON Lines file of examples.
        progress: Told how it gets on.
        asked: How replies are made and kept, by default as `Asked` says.
        generation: Generation settings; each further candidate has the next seed. By default the paper's.
        options: How judging runs.
        permission: File with a written arrangement for posts that are forbidden otherwise.
        release: Folder of the released files, for the leak check.

    Raises:
        CultureCareError: Posts are forbidden or the benchmark's, a setting does not fit, something else stands at `out`, or no reply
            passes.
    """
    asked, generation, options = asked or Asked(), generation or Generation(), options or JudgeOptions()
    check_out(out, Example)
    student = _check_asked(asked, generation)
    if judge is None:
        raise CultureCareError("distillation keeps the replies that a judge graded high, so it needs a judge: name one with --judge")
    instances = _read_posts(selection, permission)
    where = str(selection.release) if selection.split == "own" else f"split {selection.split!r}"
    admission = admit_posts([(where, instance) for instance in instances], permission, release)
    folder = out.with_suffix(".run")
    graded = _graded(choice, judge, _keep_posts(selection, instances, folder), folder, progress, asked, generation, options)
    is_cut = _cut_teller(choice, generation)
    left_out: LeftOut = collections.Counter()
    passing = _passing(graded, asked, admission.held_out, is_cut, left_out, folder)
    posts = {instance.id: instance for instance in instances}
    examples = _best([_example(each, posts[each.reply.instance_id], student, judge) for each in passing], asked.per_post, left_out)
    distilled = Distilled(
        path=out,
        posts=len(posts),
        replies=len(graded),
        kept=len(examples),
        left_out=dict(left_out),
        emotional=statistics.fmean(example.written.emotional for example in examples if example.written),
        cultural=statistics.fmean(example.written.cultural for example in examples if example.written),
        notes=(*admission.notes, *_notes(judge, is_cut, choice, examples)),
    )
    write_made(out, f"Examples distilled from {choice.shown_name}", _facts(distilled, asked, judge), examples, distilled.notes)
    return distilled


def _check_asked(asked: Asked, generation: Generation) -> Strategy:
    """The strategy under whose prompt replies are written, where all that was asked for can be."""
    if asked.candidates > 1 and generation.temperature == 0:
        raise CultureCareError(f"{asked.candidates} candidates at temperature 0 would all be the same: use one, or a higher --temperature")
    one_strategy(asked.teacher, "--teacher-strategy")
    return one_strategy(asked.student, "--strategy")


# --- Posts and replies -----------------------------------------------------------------------------------------------------------


def _read_posts(selection: Selection, permission: Path | None) -> tuple[Instance, ...]:
    if selection.split == "own" and selection.release is not None and selection.release.is_dir():
        refuse_folder(selection.release, permission)
    return select_instances(selection)


def _keep_posts(selection: Selection, instances: tuple[Instance, ...], folder: Path) -> Selection:
    """The same posts, where a user may change their file read from a copy: what passed the gate is what is replied to, on every call."""
    if selection.split != "own":
        return selection
    copy = folder / POSTS
    if not copy.exists():
        with whole_file(copy) as temporary:
            shutil.copyfile(culturecare.own_file(selection.release), temporary)
    kept = selection.model_copy(update={"release": copy})
    if select_instances(kept) != instances:
        raise CultureCareError(f"{copy}: holds other posts than {selection.release}: name another --out for these")
    return kept


def _graded(
    choice: ModelChoice,
    judge: JudgeFile,
    selection: Selection,
    folder: Path,
    progress: Progress,
    asked: Asked,
    generation: Generation,
    options: JudgeOptions,
) -> list[Graded]:
    """The replies of all candidates with their grades, each candidate's made in a run of its own or there already."""
    graded: list[Graded] = []
    for number in range(asked.candidates):
        settings = generation.model_copy(update={"seed": generation.seed + number})
        progress.say(f"Candidate {number + 1} of {asked.candidates} (seed {settings.seed}).")
        run = folder / f"seed-{settings.seed}"
        _, result = evaluate(choice, [asked.teacher], selection, settings, judge, run, progress, options)
        graded += _read_graded(run, result)
    return graded


def _read_graded(folder: Path, result: Path) -> list[Graded]:
    """The replies of a finished run with the metrics of the verdicts that belong to its result."""
    by_reply: dict[str, list[Verdict]] = collections.defaultdict(list)
    for verdict in read_records(result.with_name(result.name.removesuffix(".result.json") + ".verdicts.jsonl"), Verdict):
        by_reply[verdict.reply_id].append(verdict)
    return [Graded.of(reply, by_reply[reply.id]) for reply in read_records(folder / REPLIES, Reply)]


# --- What is kept ----------------------------------------------------------------------------------------------------------------


def _passing(
    graded: Iterable[Graded],
    asked: Asked,
    held_out: frozenset[str],
    is_cut: Callable[[str], bool] | None,
    left_out: LeftOut,
    folder: Path,
) -> list[Graded]:
    """The replies that can be learnt from and are good enough; the others are counted.

    Raises:
        CultureCareError: There is none.
    """
    refused = None if asked.keep_cut else is_cut
    usable = [each for each in graded if not _noted(_why_unusable(each, held_out, refused), left_out)]
    passing = [each for each in usable if not _noted(_why_too_low(each, asked), left_out)]
    if not passing:
        raise CultureCareError(_nothing_passes(usable, left_out, asked, folder))
    return passing


def _noted(reason: str | None, left_out: LeftOut) -> bool:
    if reason is not None:
        left_out[reason] += 1
    return reason is not None


def _why_unusable(each: Graded, held_out: frozenset[str], is_cut: Callable[[str], bool] | None) -> str | None:
    reason = each.fault(held_out)
    if reason is None and not each.in_its_language:
        reason = "not in the post's language, or in one that cannot be told"
    if reason is None and is_cut is not None and is_cut(each.text):
        reason = _CUT
    return reason


def _why_too_low(each: Graded, asked: Asked) -> str | None:
    if each.emotional < asked.min_emotional:
        return f"emotional below {asked.min_emotional:g}"
    if each.cultural < asked.min_cultural:
        return f"cultural below {asked.min_cultural:g}"
    return None


def _best(passing: Iterable[Example], per_post: int, left_out: LeftOut) -> tuple[Example, ...]:
    """The best examples of each post, near-duplicates apart, in the posts' order."""
    order: dict[str, list[Example]] = {}
    for example in passing:
        order.setdefault(example.instance_id, []).append(example)
    kept: list[Example] = []
    for examples in order.values():
        unique, gone = deduplicate(sorted(examples, key=_grade, reverse=True))
        left_out.update(gone)
        kept += unique[:per_post]
        if len(unique) > per_post:
            left_out["not the best of its post"] += len(unique) - per_post
    return tuple(kept)


def _grade(example: Example) -> float:
    return example.written.emotional + example.written.cultural if example.written else 0.0


def _example(each: Graded, instance: Instance, student: Strategy, judge: JudgeFile) -> Example:
    return example_of(student, instance, each.text, licence_of(instance), each.written(judge.name))


def _cut_teller(choice: ModelChoice, generation: Generation) -> Callable[[str], bool] | None:
    """What tells whether a reply was cut at the longest length; null where the model's tokenizer is not at hand."""
    if choice.backend != "hf":
        return None
    import transformers

    arguments = choice.arguments
    try:
        tokenizer: Any = transformers.AutoTokenizer.from_pretrained(
            arguments.get("tokenizer") or resolve_model(choice.name),
            revision=arguments.get("revision", "main"),
            trust_remote_code=bool(arguments.get("trust_remote_code", False)),
        )
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise CultureCareError(f"model {choice.shown_name!r}: its tokenizer cannot be loaded ({reason})") from error
    return lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"]) >= generation.max_gen_toks - _SLACK


# --- What is said ----------------------------------------------------------------------------------------------------------------


def _notes(judge: JudgeFile, is_cut: Callable[[str], bool] | None, choice: ModelChoice, examples: Sequence[Example]) -> Iterable[str]:
    if not judge.measure:
        yield f"The judge {judge.name!r} {NO_MEASURE}: its grades are no measure, and neither is what was kept by them."
    if is_cut is None:
        yield f"Whether a reply was cut at the longest length cannot be told on backend {choice.backend!r}."
    elif cut := sum(is_cut(example.reply) for example in examples):
        yield f"{cut} of {len(examples)} replies were cut at the longest length: what is learnt from them does not end."


def _facts(distilled: Distilled, asked: Asked, judge: JudgeFile) -> Mapping[str, object]:
    return {
        "examples": f"{distilled.kept} of {distilled.replies} replies to {distilled.posts} posts",
        "asked by": f"{asked.teacher}; to be learnt under {asked.student}",
        "kept": f"emotional at least {asked.min_emotional:g} and cultural at least {asked.min_cultural:g}, by the judge {judge.name}",
        "means of what was kept": f"emotional {distilled.emotional:.2f}, cultural {distilled.cultural:.2f}",
        "left out": counted_reasons(distilled.left_out) or "nothing",
    }


def _nothing_passes(usable: Sequence[Graded], left_out: Mapping[str, int], asked: Asked, folder: Path) -> str:
    """Why nothing is written, and which thresholds would have kept half."""
    counts = counted_reasons(left_out)
    if not usable:
        return f"{folder}: no reply can be learnt from ({counts}){_LONGER if _CUT in left_out else ''}"
    emotional = sorted(each.emotional for each in usable)
    cultural = sorted(each.cultural for each in usable)
    low_emotional, low_cultural = _keeping_half(usable, emotional, cultural)
    return (
        f"{folder}: no reply has emotional at least {asked.min_emotional:g} and cultural at least {asked.min_cultural:g} ({counts}). "
        f"Emotional is {emotional[-1]:.2f} at best and {statistics.median(emotional):.2f} in the median, cultural {cultural[-1]:.2f} and "
        f"{statistics.median(cultural):.2f}; --min-emotional {low_emotional:.2f} --min-cultural {low_cultural:.2f} would keep half. "
        "The replies are kept: called again with these, nothing is generated or judged anew"
    )


def _keeping_half(usable: Sequence[Graded], emotional: Sequence[float], cultural: Sequence[float]) -> tuple[float, float]:
    """The highest thresholds of one rank on both scales that at least half of the replies reach, rounded down to hundredths."""
    for rank in range(len(usable) // 2, -1, -1):
        lows = (int(emotional[rank] * 100) / 100, int(cultural[rank] * 100) / 100)
        reached = sum(each.emotional >= lows[0] and each.cultural >= lows[1] for each in usable)
        if 2 * reached >= len(usable):
            break
    return lows
