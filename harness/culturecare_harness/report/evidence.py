"""What a report rests on: runs with their verdicts, comparisons with peers, checks of judges and scores by people."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from culturecare import CultureCareError, DataError, cultures, parse_record
from culturecare_harness.check import CheckReport
from culturecare_harness.counting import counted
from culturecare_harness.judges import is_said_no_measure, judges
from culturecare_harness.jury import JuryResult, JuryVerdict
from culturecare_harness.pairs import PairsResult, PairVerdict
from culturecare_harness.protocols import protocols
from culturecare_harness.records import Judge, Result, Verdict, digest, read_records
from culturecare_harness.report.people import PeopleScores, read_people
from culturecare_harness.report.reading import read_json
from culturecare_harness.runs import MANIFEST, Manifest, load_replies
from culturecare_harness.scoring import graded_metrics

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from culturecare_harness.progress import Progress
    from culturecare_harness.runs import ReplySet

__all__ = ["Evidence", "Graded", "Panel", "Preferences", "Run", "Tokens", "read_evidence"]

Values = dict[str, dict[str, dict[str, float | None]]]
"""Of each metric and strategy, each instance's value; null where there is none."""


_RESULT = "a result of `culturecare judge` or `judge compare`"
_CHECK = "a report of `culturecare judge check --out`"


@dataclass(frozen=True)
class Panel:
    """Who graded: a judge or a jury. Scores by equal panels stand in one table.

    Attributes:
        name: For headings.
        judges: The judge, or the jurors.
        measure: Whether the grades mean something.
        is_jury: Whether the grades are a jury's.
    """

    name: str
    judges: tuple[Judge, ...]
    measure: bool
    is_jury: bool

    @property
    def key(self) -> str:
        """Names the panel. A jury is the same one where a juror sat out, as over a model of its own family."""
        return digest([self.name]) if self.is_jury else digest(self.judges[0].model_dump(mode="json"))


@dataclass(frozen=True)
class Tokens:
    """What judging took.

    Attributes:
        prompt: Tokens of the prompts that the server told.
        completion: Tokens of the answers.
        untold: Number of verdicts whose tokens are not known.
        verdicts: Number of verdicts.
    """

    prompt: int
    completion: int
    untold: int
    verdicts: int


@dataclass(frozen=True)
class Run:
    """A run's folder.

    Attributes:
        label: The model's name, with the folder's where two runs are of one model: as much of its path as tells them apart.
        there: Replies and posts.
        manifest: What the run was asked to do; null for lm-eval's samples.
    """

    label: str
    there: ReplySet
    manifest: Manifest | None

    @property
    def strategies(self) -> tuple[str, ...]:
        """In the order of the run."""
        return tuple(dict.fromkeys(reply.strategy for reply in self.there.replies))


@dataclass(frozen=True)
class Graded:
    """A run as one panel graded it.

    Attributes:
        values: Value of each metric, strategy and instance.
        by_reply: The graded metrics of each reply.
        tokens: What it took; null for a jury, whose answers stand with the jurors' own results.
        digit_mass: Mean share of the probability that the five grades held, where the mode tells it.
    """

    run: Run
    panel: Panel
    result: Result | JuryResult
    values: Values
    by_reply: dict[str, dict[str, float | None]]
    tokens: Tokens | None
    digit_mass: float | None

    @property
    def cultures(self) -> dict[str, str]:
        """Culture of each instance."""
        return {reply.instance_id: reply.culture for reply in self.run.there.replies}


@dataclass(frozen=True)
class Preferences:
    """A result of `judge compare`, with its verdicts."""

    panel: Panel
    result: PairsResult
    verdicts: tuple[PairVerdict, ...]


@dataclass(frozen=True)
class Evidence:
    """All that a report rests on.

    Attributes:
        cultures: Keys of the cultures in the runs, in registry order.
        instances: Number of instances that the runs have together.
    """

    runs: tuple[Run, ...]
    graded: tuple[Graded, ...]
    preferences: tuple[Preferences, ...]
    checks: tuple[CheckReport, ...]
    people: tuple[PeopleScores, ...]
    cultures: tuple[str, ...]
    instances: int

    @property
    def panels(self) -> tuple[Panel, ...]:
        """Who graded, juries first."""
        found = {graded.panel.key: graded.panel for graded in self.graded}
        return tuple(sorted(found.values(), key=lambda panel: not panel.is_jury))

    def by(self, panel: Panel) -> tuple[Graded, ...]:
        """What a panel graded, in the order of the runs."""
        return tuple(graded for graded in self.graded if graded.panel.key == panel.key)


def read_evidence(
    paths: Sequence[Path],
    release: Path | None,
    progress: Progress,
    *,
    compared: Sequence[Path] = (),
    people: Sequence[Path] = (),
    checks: Sequence[Path] = (),
) -> Evidence:
    """Reads what a report is to rest on.

    Args:
        paths: Folders of runs, or files or folders of lm-eval's samples, judged.
        release: Folder of the released files, for runs on split `test`.
        progress: Told what is read.
        compared: Results of `judge compare` that stand elsewhere than in the runs' folders, or folders of them.
        people: Results of `human score`, or packets' folders beside which they stand.
        checks: Reports of `judge check`.

    Raises:
        CultureCareError: A file is not what it must be or is named twice, nothing was judged, or the runs can't stand in one report:
            of several splits or revisions, or some on full posts and some on excerpts.
    """
    for named, option in ((paths, "runs"), (compared, "--peer"), (people, "--human"), (checks, "--check")):
        _check_named_once(named, option)
    loaded = [_load(path, release, progress) for path in paths]
    _check_one_dataset(loaded)
    runs = _labelled(loaded)
    graded: list[Graded] = []
    preferences: list[Preferences] = []
    for run, (path, _, _) in zip(runs, loaded, strict=True):
        by_run, compared_there = _results(run, path)
        graded += by_run
        preferences += compared_there
    preferences += [_compared(file) for file in _files(compared)]
    _check_compared(preferences, runs)
    replies = [reply for run in runs for reply in run.there.replies]
    present = {reply.culture for reply in replies}
    return Evidence(
        runs=tuple(runs),
        graded=tuple(graded),
        preferences=tuple({digest(one.result.model_dump(mode="json")): one for one in preferences}.values()),
        checks=tuple(parse_record(CheckReport, read_json(file, _CHECK), where=str(file)) for file in checks),
        people=_people(people, replies[0].dataset_revision),
        cultures=tuple(key for key in cultures() if key in present),
        instances=len({reply.instance_id for reply in replies}),
    )


def _check_named_once(paths: Sequence[Path], what: str) -> None:
    for path, count in Counter(path.resolve() for path in paths).items():
        if count > 1:
            raise CultureCareError(f"{what}: {path} is named {count} times; name it once")


def _labelled(loaded: Sequence[tuple[Path, ReplySet, Manifest | None]]) -> list[Run]:
    """Runs under labels of which no two are equal: what is said of one must not be taken for another's."""
    of_model: dict[str, list[Path]] = defaultdict(list)
    for path, there, _ in loaded:
        of_model[there.replies[0].model].append(path.resolve())
    runs = []
    for path, there, manifest in loaded:
        model = there.replies[0].model
        others = [other for other in of_model[model] if other != path.resolve()]
        runs.append(Run(f"{model} ({_distinct(path.resolve(), others)})" if others else model, there, manifest))
    labels = Counter(run.label for run in runs)
    # A model may be called what another is called with its folder.
    return [replace(run, label=f"{run.label} (run {place})") if labels[run.label] > 1 else run for place, run in enumerate(runs, 1)]


def _distinct(path: Path, others: Sequence[Path]) -> str:
    """The least part of a path's end that no other path ends in."""
    for length in range(1, len(path.parts)):
        end = path.parts[-length:]
        if all(other.parts[-length:] != end for other in others):
            return "/".join(end)
    return str(path)


def _load(path: Path, release: Path | None, progress: Progress) -> tuple[Path, ReplySet, Manifest | None]:
    there = load_replies(path, release, progress)
    file = path / MANIFEST
    return path, there, parse_record(Manifest, read_json(file, "a run's manifest"), where=str(file)) if file.exists() else None


def _results(run: Run, path: Path) -> tuple[list[Graded], list[Preferences]]:
    """What stands beside the replies: grades, and preferences."""
    graded: dict[str, tuple[Path, Graded]] = {}
    preferences: list[Preferences] = []
    for file in sorted(run.there.folder.glob("*.result.json")):
        result = _read_result(file)
        if isinstance(result, PairsResult):
            preferences.append(_preferences(file, result))
        elif isinstance(result, JuryResult) or result.judge is not None:
            found = _graded(run, file, result)
            first, known = graded.setdefault(found.panel.key, (file, found))
            if not _says_the_same(known, found):
                raise CultureCareError(
                    f"{file}: {found.panel.name} judged these replies twice, here and in {first.name}, and said something else; keep one"
                )
    if not graded:
        raise CultureCareError(f"{path}: holds no judged result; judge the replies with `culturecare judge {path} --judge NAME` first")
    return [found for _, found in graded.values()], preferences


def _says_the_same(one: Graded, other: Graded) -> bool:
    """Whether a result is a copy of another, or was made again from the same verdicts."""
    free: dict[str, object] = {"created": one.result.created, "versions": one.result.versions}
    return one.by_reply == other.by_reply and one.result == other.result.model_copy(update=free)


def _people(files: Iterable[Path], revision: str) -> tuple[PeopleScores, ...]:
    found = []
    for file in files:
        scores = read_people(file)
        if scores.dataset_revision not in {None, revision}:
            raise CultureCareError(f"{file}: people rated dataset revision {scores.dataset_revision}, but the runs are on {revision}")
        found.append(scores)
    return tuple(found)


def _files(places: Iterable[Path]) -> list[Path]:
    files = []
    for place in places:
        found = sorted(place.glob("pairs-*.result.json")) if place.is_dir() else [place]
        if not found:
            raise DataError(f"{place}: holds no result of `culturecare judge compare` (pairs-….result.json)")
        files += found
    return files


def _check_one_dataset(loaded: Sequence[tuple[Path, ReplySet, Manifest | None]]) -> None:
    (first, there, _), *others = loaded
    reply = there.replies[0]
    for path, other, _ in others:
        found = other.replies[0]
        if (found.split, found.dataset_revision) != (reply.split, reply.dataset_revision):
            raise CultureCareError(
                f"{path} was made from split {found.split!r} (revision {found.dataset_revision}), but {first} from {reply.split!r} "
                f"({reply.dataset_revision}): a report holds one dataset, so make one for each"
            )
        if found.excerpt != reply.excerpt:
            raise CultureCareError(
                f"{first} and {path}: one is on full posts and one on excerpts, which share no report; make one for each"
            )


def _check_compared(preferences: Sequence[Preferences], runs: Sequence[Run]) -> None:
    known = {reply.id for run in runs for reply in run.there.replies}
    for one in preferences:
        compared = [reply for verdict in one.verdicts for reply in (verdict.first_reply, verdict.second_reply) if reply is not None]
        if stray := [reply for reply in compared if reply not in known]:
            raise CultureCareError(f"the comparison by {one.panel.name} is about reply {stray[0]}, which is in none of the runs named here")


def _read_result(path: Path) -> Result | JuryResult | PairsResult:
    fields = read_json(path, _RESULT)
    record: type[Result | JuryResult | PairsResult] = Result
    if isinstance(fields, dict) and "jury" in fields:
        record = JuryResult
    elif isinstance(fields, dict) and "summaries" in fields:
        record = PairsResult
    return parse_record(record, fields, where=str(path))


def _verdicts_file(path: Path) -> Path:
    return path.with_name(path.name.removesuffix(".result.json") + ".verdicts.jsonl")


def _compared(file: Path) -> Preferences:
    result = _read_result(file)
    if not isinstance(result, PairsResult):
        raise DataError(f"{file}: is no result of `culturecare judge compare`")
    return _preferences(file, result)


def _preferences(path: Path, result: PairsResult) -> Preferences:
    verdicts = tuple(read_records(_verdicts_file(path), PairVerdict))
    _check_whole(_verdicts_file(path), verdicts, result)
    return Preferences(_panel(result.judge.name, (result.judge,), result), result, verdicts)


def _check_whole(file: Path, verdicts: Sequence[PairVerdict], result: PairsResult) -> None:
    """Refuses a comparison that has lost lines, or holds some twice."""
    lines = Counter((verdict.first, verdict.second, verdict.culture) for verdict in verdicts)
    said = {(one.first, one.second, one.culture): one.pairs for one in result.summaries if one.culture != "all"}
    for first, second, culture in {**lines, **said}:
        found, wanted = lines[first, second, culture], said.get((first, second, culture), 0)
        if found != wanted:
            raise CultureCareError(
                f"{file}: has {counted(found, 'verdict')} on {first} and {second} in {culture}, but its result counts {wanted}; compare "
                "the replies again"
            )
    pairs = Counter((verdict.first, verdict.second, verdict.instance_id) for verdict in verdicts)
    if twice := next((pair for pair, count in pairs.items() if count > 1), None):
        raise CultureCareError(f"{file}: has {twice[0]} and {twice[1]} on post {twice[2]} twice; compare the replies again")


def _panel(name: str, judged_by: tuple[Judge, ...], result: Result | JuryResult | PairsResult) -> Panel:
    silent = {known.model for known in judges().values() if not known.measure}
    protocol = None if isinstance(result, PairsResult) else result.protocol
    measure = (
        not any(judge.model in silent for judge in judged_by)
        and not is_said_no_measure(result.notes)
        and (protocol is None or protocol not in protocols() or protocols()[protocol].measure)
    )
    return Panel(name=name, judges=judged_by, measure=measure, is_jury=isinstance(result, JuryResult))


def _graded(run: Run, path: Path, result: Result | JuryResult) -> Graded:
    file = _verdicts_file(path)
    tokens = mass = None
    scores: dict[str, dict[str, float | None]] = {}
    if isinstance(result, JuryResult):
        panel = _panel(f"jury {result.jury.name}", result.jury.judges, result)
        for of_jury in read_records(file, JuryVerdict):
            scores.setdefault(of_jury.reply_id, {})[of_jury.dimension] = of_jury.score
    else:
        judge = result.judge
        if judge is None:
            raise CultureCareError(f"{path}: nobody judged")
        panel = _panel(judge.name, (judge,), result)
        verdicts = [verdict for verdict in read_records(file, Verdict) if verdict.judge == judge]
        for verdict in verdicts:
            scores.setdefault(verdict.reply_id, {})[verdict.dimension] = verdict.score
        tokens = _tokens(verdicts)
        masses = [verdict.digit_mass for verdict in verdicts if verdict.digit_mass is not None]
        mass = sum(masses) / len(masses) if masses else None
    values: Values = {}
    by_reply = {}
    for reply in run.there.replies:
        if reply.id not in scores:
            raise CultureCareError(f"{file}: has no verdict on reply {reply.id}; judge the replies again")
        by_reply[reply.id] = _metrics(scores[reply.id], panel.judges[0].rubric, f"{file}: reply {reply.id}")
        for metric, value in by_reply[reply.id].items():
            values.setdefault(metric, {}).setdefault(reply.strategy, {})[reply.instance_id] = value
    return Graded(run=run, panel=panel, result=result, values=values, by_reply=by_reply, tokens=tokens, digit_mass=mass)


def _metrics(scores: Mapping[str, float | None], rubric: str, where: str) -> dict[str, float | None]:
    try:
        return graded_metrics(scores, rubric)
    except KeyError as error:
        raise DataError(f"{where} has no verdict on {error}; judge the replies again") from error


def _tokens(verdicts: Sequence[Verdict]) -> Tokens:
    told = [verdict for verdict in verdicts if verdict.prompt_tokens is not None and verdict.completion_tokens is not None]
    return Tokens(
        prompt=sum(verdict.prompt_tokens or 0 for verdict in told),
        completion=sum(verdict.completion_tokens or 0 for verdict in told),
        untold=sum(verdict.score is not None for verdict in verdicts) - sum(verdict.score is not None for verdict in told),
        verdicts=len(verdicts),
    )
