"""Preference pairs: of all replies to a post, what a judge graded best against what it graded worst, for direct preference optimisation.

The replies come from runs that are finished: under several strategies, by several seeds, or of several models. The prompt is that of
`standard` whatever a reply was asked by, so that what is preferred is learnt without annotation.
"""

from __future__ import annotations

import collections
import json
import statistics
from typing import TYPE_CHECKING

from pydantic import Field

from culturecare import CultureCareError, DataError, Record, parse_record, read_json_lines
from culturecare_harness.adaptation.examples import Preference, example_id
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
from culturecare_harness.adaptation.sources import asked_about, licence_of
from culturecare_harness.judges import NO_MEASURE, judges
from culturecare_harness.records import Instance, Reply, Verdict
from culturecare_harness.rubrics import select_rubric
from culturecare_harness.runs import MANIFEST, JudgeOptions, Manifest, judge_and_score, load_replies

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from culturecare_harness.adaptation.examples import Written
    from culturecare_harness.judges import JudgeFile
    from culturecare_harness.progress import Progress
    from culturecare_harness.records import Judge
    from culturecare_harness.runs import ReplySet
    from culturecare_harness.strategies import Strategy

__all__ = ["Paired", "Pairing", "pairs"]


class Pairing(Record):
    """Which pairs are made.

    Attributes:
        strategy: Strategy under whose prompt the replies are written.
        min_difference: Least difference between the two overall grades, in [0, 4]; a judge's small differences are noise.
        per_instance: The most pairs of one post: best and worst, then second best and second worst, and so on.
    """

    strategy: str = "standard"
    min_difference: float = Field(default=0.5, gt=0, le=4)
    per_instance: int = Field(default=1, ge=1)


class Paired(Made):
    """What pairing made; `left_out` counts replies with a fault of their own, posts without a pair, and pairs.

    Attributes:
        difference: Mean difference between the two overall grades.
        chosen_characters: Mean length of the preferred replies; a judge that prefers long ones teaches length.
        rejected_characters: Mean length of the others.
    """

    difference: float
    chosen_characters: float
    rejected_characters: float


def pairs(
    folders: Sequence[Path],
    judge: JudgeFile | None,
    out: Path,
    progress: Progress,
    *,
    pairing: Pairing | None = None,
    options: JudgeOptions | None = None,
    permission: Path | None = None,
    release: Path | None = None,
) -> Paired:
    """Makes preference pairs from the replies of finished runs.

    Beside `out` stands a page `.md` for people.

    Args:
        folders: Folders of runs, on the same posts or on different ones, each with an id of its own; never the benchmark's.
        judge: Whose grades count; what it has not judged is judged now. Null for the one judge that has judged all of the runs.
        out: JSON Lines file of preferences.
        progress: Told how it gets on.
        pairing: Which pairs are made, by default as `Pairing` says.
        options: How judging runs.
        permission: File with a written arrangement for posts that are forbidden otherwise.
        release: Folder of the released files, for the leak check.

    Raises:
        CultureCareError: Posts are forbidden or the benchmark's, or not the same in two runs; a folder holds no finished run, it is not
            clear whose grades count, something else stands at `out`, or no two replies are far enough apart.
    """
    pairing, options = pairing or Pairing(), options or JudgeOptions()
    check_out(out, Preference)
    strategy = one_strategy(pairing.strategy, "--strategy")
    runs = _read_runs(folders, release, progress)
    posts = _posts_of(runs)
    admission = admit_posts([(str(folder), instance) for folder, instance in posts.values()], permission, release)
    named = judge.judge if judge is not None else _only_judge(folders)
    graded = [
        Graded.of(reply, verdicts) for folder, run in runs for reply, verdicts in _judged(folder, run, named, judge, progress, options)
    ]
    left_out: LeftOut = collections.Counter()
    by_post = _by_post(graded, posts, admission.held_out, left_out)
    made = [
        pair for name, of_post in by_post.items() for pair in _of_post(of_post, posts[name][1], strategy, named.name, pairing, left_out)
    ]
    preferences, gone = deduplicate(made)
    left_out.update(gone)
    if not preferences:
        raise CultureCareError(_no_pair(by_post, left_out, pairing))
    paired = Paired(
        path=out,
        posts=len(posts),
        replies=len(graded),
        kept=len(preferences),
        left_out=dict(left_out),
        difference=statistics.fmean(_overall(pair.chosen_by) - _overall(pair.rejected_by) for pair in preferences),
        chosen_characters=statistics.fmean(len(pair.chosen) for pair in preferences),
        rejected_characters=statistics.fmean(len(pair.rejected) for pair in preferences),
        notes=(*admission.notes, *_notes(judge, named)),
    )
    write_made(out, f"Preferences by the judge {named.name}", _facts(paired), preferences, paired.notes)
    return paired


# --- Runs ------------------------------------------------------------------------------------------------------------------------


def _read_runs(folders: Sequence[Path], release: Path | None, progress: Progress) -> list[tuple[Path, ReplySet]]:
    if not folders:
        raise CultureCareError("no run was named: name the folders of finished runs, such as those of `culturecare eval --split train`")
    for folder in folders:
        _refuse_benchmark(folder)
    return [(folder, load_replies(folder, release, progress)) for folder in folders]


def _refuse_benchmark(folder: Path) -> None:
    """Refuses a run on the benchmark before anything else is asked of it."""
    path = folder / MANIFEST
    if not path.is_file():
        raise DataError(
            f"{folder}: is not the folder of a run (it has no {MANIFEST}); pairs are made of what `culturecare eval --out` wrote"
        )
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as the record of a run ({error})") from error
    manifest = parse_record(Manifest, fields, where=str(path))
    if manifest.split in ("sample", "test"):
        raise CultureCareError(
            f"{folder}: is a run on split {manifest.split!r}, the benchmark's, which no model is trained on: make a run on posts for "
            "training, such as `culturecare eval --split train`"
        )


def _posts_of(runs: Iterable[tuple[Path, ReplySet]]) -> dict[str, tuple[Path, Instance]]:
    """Every post of the runs with the first of them that has it, by its id.

    Raises:
        CultureCareError: Two runs have different posts of one id: what was replied to the one is no reply to the other, and what one
            file allows the other may forbid.
    """
    posts: dict[str, tuple[Path, Instance]] = {}
    for folder, run in runs:
        for instance in run.instances:
            first, known = posts.setdefault(instance.id, (folder, instance))
            if instance != known:
                differing = [field for field in Instance.model_fields if getattr(instance, field) != getattr(known, field)]
                raise CultureCareError(
                    f"{first} and {folder}: {instance.id!r} is not the same in both (its {', '.join(differing)} differ): pair runs on the "
                    "same posts, or give different posts ids of their own"
                )
    return posts


# --- Grades ----------------------------------------------------------------------------------------------------------------------


def _only_judge(folders: Iterable[Path]) -> Judge:
    """The judge that has judged all of the runs, where it is the only one.

    Raises:
        CultureCareError: There is none, or there are several.
    """
    of_folders = [{verdict.judge for verdict in _verdicts_in(folder)} for folder in folders]
    common = set.intersection(*of_folders)
    if len(common) != 1:
        names = ", ".join(sorted({f"{judge.name} {judge.settings_hash[:6]}" for judge in common or set().union(*of_folders)}))
        what = (
            f"was judged by several ({names})" if common else f"has no judge in common (there are {names})" if names else "was not judged"
        )
        raise CultureCareError(f"{', '.join(str(folder) for folder in folders)}: {what}; name a judge with --judge")
    return common.pop()


def _verdicts_in(folder: Path) -> Iterable[Verdict]:
    """The verdicts of single judges; those of a jury, and preferences between pairs, are passed over."""
    for path in sorted(folder.glob("*.verdicts.jsonl")):
        for number, fields in read_json_lines(path):
            if isinstance(fields, dict) and fields.keys().isdisjoint({"jurors", "forward"}):
                yield parse_record(Verdict, fields, where=f"{path}:{number}")


def _judged(
    folder: Path, run: ReplySet, named: Judge, judge: JudgeFile | None, progress: Progress, options: JudgeOptions
) -> Iterable[tuple[Reply, list[Verdict]]]:
    """Each reply with one verdict a dimension; a run that the judge has not judged in whole is judged now."""
    by_reply = _by_reply(folder, named)
    size = len(select_rubric(named.rubric).dimensions)
    if any(len(by_reply[reply.id]) < size for reply in run.replies):
        if judge is None:
            raise CultureCareError(
                f"{folder}: the judge {named.name!r} has not judged all of its replies; name it with --judge, and it does now"
            )
        judge_and_score(run.replies, run.posts, judge, run.model, folder, progress, options, run.notes)
        by_reply = _by_reply(folder, named)
    return [(reply, list(by_reply[reply.id].values())) for reply in run.replies]


def _by_reply(folder: Path, named: Judge) -> dict[str, dict[str, Verdict]]:
    by_reply: dict[str, dict[str, Verdict]] = collections.defaultdict(dict)
    for verdict in _verdicts_in(folder):
        if verdict.judge == named:
            by_reply[verdict.reply_id][verdict.dimension] = verdict
    return by_reply


def _by_post(graded: Iterable[Graded], posts: Iterable[str], held_out: frozenset[str], left_out: LeftOut) -> dict[str, list[Graded]]:
    """The replies to each post that can be compared; the others are counted."""
    by_post: dict[str, list[Graded]] = {name: [] for name in posts}
    for each in graded:
        if (fault := each.fault(held_out)) is None:
            by_post[each.reply.instance_id].append(each)
        else:
            left_out[fault] += 1
    return by_post


# --- Pairs -----------------------------------------------------------------------------------------------------------------------


def _of_post(
    replies: Sequence[Graded], instance: Instance, strategy: Strategy, judge: str, pairing: Pairing, left_out: LeftOut
) -> Iterable[Preference]:
    """Best and worst, second best and second worst, and so on, while they are far enough apart.

    A reply in another language than the post's may be the worse one and never the better one.
    """
    ordered = sorted(replies, key=lambda reply: reply.overall, reverse=True)
    better = [reply for reply in ordered if reply.in_its_language]
    used = 0
    for best, worst in zip(better, reversed(ordered), strict=False):
        if used == pairing.per_instance or best.overall - worst.overall < pairing.min_difference:
            break
        if best.text == worst.text:
            left_out["pairs of the same words"] += 1
            continue
        used += 1
        yield _preference(best, worst, instance, strategy, judge)
    if not used:
        left_out["posts without two replies far enough apart"] += 1


def _preference(best: Graded, worst: Graded, instance: Instance, strategy: Strategy, judge: str) -> Preference:
    asked = asked_about(strategy, instance, licence_of(instance))
    return Preference(
        **asked,
        id=example_id(asked["system"], asked["user"], best.text, worst.text),
        chosen=best.text,
        rejected=worst.text,
        chosen_by=best.written(judge),
        rejected_by=worst.written(judge),
    )


# --- What is said ----------------------------------------------------------------------------------------------------------------


def _overall(written: Written) -> float:
    return (written.emotional + written.cultural) / 2


def _notes(judge: JudgeFile | None, named: Judge) -> Iterable[str]:
    known = judge or next((each for each in judges().values() if each.judge == named), None)
    if known is not None and not known.measure:
        yield f"The judge {named.name!r} {NO_MEASURE}: its grades are no measure, and neither are these preferences."


def _facts(paired: Paired) -> Mapping[str, object]:
    return {
        "pairs": f"{paired.kept} from {paired.replies} replies to {paired.posts} posts",
        "mean difference of the overall grades": f"{paired.difference:.2f}",
        "mean length": f"{paired.chosen_characters:.0f} characters preferred, {paired.rejected_characters:.0f} not",
        "left out": counted_reasons(paired.left_out) or "nothing",
    }


def _no_pair(by_post: Mapping[str, Sequence[Graded]], left_out: Mapping[str, int], pairing: Pairing) -> str:
    spreads = [
        max(each.overall for each in replies) - min(each.overall for each in replies) for replies in by_post.values() if len(replies) > 1
    ]
    counts = counted_reasons(left_out)
    if not spreads:
        return f"no post has two graded replies ({counts}): give runs of several strategies, seeds or models"
    return (
        f"no two replies to one post are {pairing.min_difference:g} apart ({counts}): the largest difference is {max(spreads):.2f} and the "
        f"median {statistics.median(spreads):.2f}; lower --min-difference, or give more runs"
    )
