"""Juries: several judges over the same replies, their mean, and how well they agree.

A jury of judges from different families is less biased than one judge, and costs less than one large one (Verga et al., 2024,
"Replacing Judges with Juries"). Each is a YAML file in `juries`, or anywhere; adding one needs no code.
"""

from __future__ import annotations

import datetime as dt
import functools
import json
import math
import re
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from culturecare import CultureCareError, Record, parse_record, read_yaml
from culturecare_harness.agreement import Agreement, agree
from culturecare_harness.backends import check_backend, open_backend
from culturecare_harness.judge import EMPTY_REPLY, JudgeItem, judge_replies
from culturecare_harness.judges import JudgeFile, select_judge
from culturecare_harness.progress import Progress, counter
from culturecare_harness.protocols import followed
from culturecare_harness.records import (
    SCHEMA_VERSION,
    Dataset,
    Grade,
    Hash,
    Judge,
    Model,
    Score,
    Verdict,
    digest,
    write_json,
    write_records,
)
from culturecare_harness.rubrics import select_rubric
from culturecare_harness.scoring import build_result
from culturecare_harness.store import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from culturecare_harness.backends import Backend
    from culturecare_harness.records import Reply
    from culturecare_harness.runs import JudgeOptions
    from culturecare_harness.store import VerdictStore

__all__ = [
    "Jury",
    "JuryFile",
    "JuryResult",
    "JuryVerdict",
    "Seats",
    "ask_jury",
    "build_jury_result",
    "juries",
    "jury_and_score",
    "jury_verdicts",
    "model_families",
    "seat",
    "select_jury",
]

_FOLDER = Path(__file__).parent / "juries"
_FAMILIES = _FOLDER / "families.yaml"


# --- Records ---------------------------------------------------------------------------------------------------------------------


class JuryFile(Record):
    """A jury, as its YAML file declares it.

    Attributes:
        name: The file's name without its ending.
        summary: One line for tables and help texts.
        jurors: Its judges. In the file, `judges` lists names or files, or mappings with `judge` and, under `set`, changed settings.
        at_least: Fewest jurors that must have scored a reply on a dimension for a mean; null where all must.
    """

    name: str
    summary: str
    jurors: tuple[JudgeFile, ...] = Field(min_length=1)
    at_least: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _jurors_fit_together(self) -> JuryFile:
        names = [juror.name for juror in self.jurors]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"judge {twice[0]!r} is named twice; give one of them another name, with `set: {{name: …}}`")
        if len(rubrics := sorted({juror.rubric for juror in self.jurors})) > 1:
            raise ValueError(f"the judges grade by different rubrics ({', '.join(rubrics)}), whose scores have no mean")
        if self.at_least is not None and self.at_least > len(names):
            raise ValueError(f"at_least is {self.at_least}, but the jury has {len(names)} judges")
        return self


class Jury(Record):
    """Which jury gave a verdict: two verdicts with equal `Jury` are comparable.

    Attributes:
        name: Name of the jury's file.
        judges: Who judged.
        at_least: As in `JuryFile`.
        left_out: Judges of the jury that did not judge, each with the reason.
    """

    name: str
    judges: tuple[Judge, ...]
    at_least: int | None
    left_out: dict[str, str]

    @property
    def hash(self) -> str:
        """Names the jury in its verdicts."""
        return digest(self.model_dump(mode="json"))


class JuryVerdict(Record):
    """What a jury says of one reply on one dimension.

    Attributes:
        jury: `Jury.hash`.
        score: Mean of the jurors' scores; null where too few have one.
        reason: Why `score` is null; null where there is a score.
        jurors: Each juror's score by the judge's name, null where it has none.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    reply_id: Hash
    jury: Hash
    dimension: str
    score: Grade | None
    reason: str | None
    jurors: dict[str, Grade | None]

    @model_validator(mode="after")
    def _score_or_reason(self) -> JuryVerdict:
        if (self.score is None) == (self.reason is None):
            raise ValueError("a verdict has either a score or a reason why there is none")
        return self


class JuryResult(Record):
    """One model's scores under a jury, with all that a reader needs to know how they were made.

    Attributes:
        strategies: Prompt hash of each strategy.
        scores: Of the jury's means.
        judges: Each juror's own scores, by the judge's name.
        agreement: Between the jurors, one a dimension.
        coverage: Share of the jury's verdicts that have a score.
        judge_coverage: Share of each juror's verdicts that have a score.
        reasons: Count of each reason for a missing score of the jury.
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
    jury: Jury
    scores: tuple[Score, ...]
    judges: dict[str, tuple[Score, ...]]
    agreement: tuple[Agreement, ...]
    coverage: float = Field(ge=0, le=1)
    judge_coverage: dict[str, float]
    reasons: dict[str, int]
    notes: tuple[str, ...]
    versions: dict[str, str]


class Seats(Record):
    """A jury as it sits over certain models.

    Attributes:
        jury: What verdicts say of it.
        jurors: Who judges.
        notes: Who was left out and why, and what could not be known.
    """

    jury: Jury
    jurors: tuple[JudgeFile, ...]
    notes: tuple[str, ...]


# --- Files -----------------------------------------------------------------------------------------------------------------------


class _Juror(Record):
    """A judge in a jury's file, with changed settings."""

    judge: str
    set: dict[str, Any] = Field(default_factory=dict)


class _File(Record):
    """A jury's file as it is written."""

    summary: str
    judges: tuple[str | _Juror, ...] = Field(min_length=2)
    at_least: int | None = None


@functools.cache
def juries() -> Mapping[str, JuryFile]:
    """The juries that come with the package, by name.

    Raises:
        CultureCareError: A jury's file does not fit.
    """
    return {path.stem: _read(path) for path in sorted(_FOLDER.glob("*.yaml")) if path != _FAMILIES}


def select_jury(name: str) -> JuryFile:
    """The jury of that name, or of that file.

    Args:
        name: Name of a jury that comes with the package, or path of a YAML file; judges' files that it names are looked for beside it.

    Raises:
        CultureCareError: There is no such jury, or its file or one of its judges does not fit.
    """
    if Path(name).suffix in {".yaml", ".yml"} and Path(name).is_file():
        return _read(Path(name))
    if name not in juries():
        raise CultureCareError(f"unknown jury {name!r}: choose from {', '.join(juries())}, or name a YAML file")
    return juries()[name]


def _read(path: Path) -> JuryFile:
    file = parse_record(_File, read_yaml(path), where=str(path))
    jurors = []
    for entry in file.judges:
        juror = _Juror(judge=entry) if isinstance(entry, str) else entry
        is_file = Path(juror.judge).suffix in {".yaml", ".yml"}
        # Overrides are read as YAML, of which JSON is a part.
        overrides = [f"{field}={json.dumps(value)}" for field, value in juror.set.items()]
        try:
            jurors.append(select_judge(str(path.parent / juror.judge) if is_file else juror.judge, overrides))
        except CultureCareError as error:
            raise CultureCareError(f"{path}: judges: {error}") from error
    fields = {"name": path.stem, "summary": file.summary, "jurors": jurors, "at_least": file.at_least}
    return parse_record(JuryFile, fields, where=str(path))


# --- Who may judge whom ----------------------------------------------------------------------------------------------------------


@functools.cache
def _families() -> Mapping[str, re.Pattern[str]]:
    families = {}
    for family, patterns in read_yaml(_FAMILIES).items():
        try:
            families[str(family)] = re.compile("|".join(f"(?:{pattern})" for pattern in patterns), flags=re.IGNORECASE)
        except (re.error, TypeError) as error:
            raise CultureCareError(f"{_FAMILIES}: {family}: must be a list of regular expressions ({error})") from error
    return families


def model_families(model: str) -> frozenset[str]:
    """Families that a model belongs to by its name, as `juries/families.yaml` knows them; empty where it knows none.

    Raises:
        CultureCareError: The file does not fit.
    """
    return frozenset(family for family, pattern in _families().items() if pattern.search(model))


def _bare(model: str) -> str:
    """A model's name without its owner, folder or source, by which it is known again."""
    return model.removeprefix("packaged:").rstrip("/").rpartition("/")[2].casefold()


def seat(jury: JuryFile, models: Iterable[str]) -> Seats:
    """Leaves out of a jury the judges that are, or are kin of, a model under test.

    Args:
        jury: The jury.
        models: Names of the models under test, as in `Reply.model`.

    Raises:
        CultureCareError: No judge is left, or fewer than the jury's `at_least`.
    """
    tested = sorted(set(models))
    left_out: dict[str, str] = {}
    for juror in jury.jurors:
        for model in tested:
            shared = sorted(model_families(juror.model) & model_families(model))
            if _bare(juror.model) == _bare(model):
                left_out[juror.name] = f"it is the model under test, {model}"
            elif shared and juror.name not in left_out:
                left_out[juror.name] = f"its model {juror.model} is of the family {shared[0]}, as the model under test, {model}"
    seated = tuple(juror for juror in jury.jurors if juror.name not in left_out)
    if not seated or len(seated) < (jury.at_least or 0):
        who = "; ".join(f"{name}: {why}" for name, why in left_out.items())
        left = f"{len(seated)} of the {jury.at_least} judges that it needs are left" if seated else "no judge is left"
        raise CultureCareError(f"jury {jury.name!r}: {left} ({who}); name a jury with judges of other families")
    notes = [f"Judge {name!r} was left out of jury {jury.name!r}: {why}." for name, why in left_out.items()]
    notes += [
        f"The family of {model!r} is not known, so no judge could be left out for being of it; juries/families.yaml has the known ones."
        for model in dict.fromkeys([*tested, *(juror.model for juror in seated)])
        if not model_families(model)
    ]
    judges = tuple(juror.judge for juror in seated)
    return Seats(
        jury=Jury(name=jury.name, judges=judges, at_least=jury.at_least, left_out=left_out),
        jurors=seated,
        notes=tuple(notes),
    )


# --- Judging ---------------------------------------------------------------------------------------------------------------------


def ask_jury(
    items: Sequence[JudgeItem],
    seats: Seats,
    *,
    store: VerdictStore | None = None,
    backend: Callable[[JudgeFile], Backend] = open_backend,
    advance: Callable[[int], None] | None = None,
    retry_failed: bool = False,
) -> dict[str, list[Verdict]]:
    """Has every juror grade every reply, one juror after the other, so that one model is loaded at a time.

    Args:
        items: What to judge.
        seats: Who judges.
        store: Where answers are looked up and kept; by default nothing is kept.
        backend: Opens a juror's model.
        advance: Told how many verdicts were finished since it was told last.
        retry_failed: Whether verdicts that the store has without a score are asked for again.

    Returns:
        Each juror's verdicts by the judge's name, as from `judge_replies`.

    Raises:
        CultureCareError: A juror cannot go on; what was answered by then is kept.
    """
    return {
        juror.name: judge_replies(items, juror, store=store, backend=backend, advance=advance, retry_failed=retry_failed)
        for juror in seats.jurors
    }


def jury_verdicts(by_juror: Mapping[str, Sequence[Verdict]], jury: Jury) -> list[JuryVerdict]:
    """The jury's verdicts: means of its jurors' scores.

    A mean over changing jurors is no fair comparison, since some grade more strictly than others: so all must have a score, unless the
    jury's file says how many suffice.

    Args:
        by_juror: Each juror's verdicts by the judge's name, from `ask_jury`.
        jury: Who judged.

    Returns:
        One verdict a reply and dimension, in the order of the first juror's.

    Raises:
        CultureCareError: The verdicts are not those of the jury, or a juror lacks a verdict that another has.
    """
    names = [judge.name for judge in jury.judges]
    if sorted(by_juror) != sorted(names):
        raise CultureCareError(f"jury {jury.name!r} has the judges {', '.join(names)}, but verdicts are by {', '.join(by_juror) or 'none'}")
    found: dict[tuple[str, str], dict[str, Verdict]] = defaultdict(dict)
    for name in names:
        for verdict in by_juror[name]:
            found[verdict.reply_id, verdict.dimension][name] = verdict
    verdicts = []
    needed = jury.at_least or len(names)
    for (reply, dimension), of_jurors in found.items():
        if missing := [name for name in names if name not in of_jurors]:
            raise CultureCareError(f"reply {reply} has no verdict by judge {missing[0]!r} on {dimension!r}; judge the replies again")
        scores = [verdict.score for verdict in of_jurors.values() if verdict.score is not None]
        enough = len(scores) >= needed
        verdicts.append(
            JuryVerdict(
                reply_id=reply,
                jury=jury.hash,
                dimension=dimension,
                score=math.fsum(scores) / len(scores) if enough else None,
                reason=None if enough else _why_missing(of_jurors),
                jurors={name: of_jurors[name].score for name in names},
            )
        )
    return verdicts


def _why_missing(of_jurors: Mapping[str, Verdict]) -> str:
    without = {name: verdict.reason for name, verdict in of_jurors.items() if verdict.score is None}
    if set(without.values()) == {EMPTY_REPLY}:
        return EMPTY_REPLY
    # What stands before the colon is counted by kind.
    return f"too few of the jurors gave a score: {'; '.join(f'{name}: {reason}' for name, reason in without.items())}"


def build_jury_result(
    replies: Sequence[Reply], by_juror: Mapping[str, Sequence[Verdict]], seats: Seats, model: Model, notes: Iterable[str] = ()
) -> JuryResult:
    """Scores one model's replies by a jury.

    Args:
        replies: One reply a post and strategy.
        by_juror: Each juror's verdicts by the judge's name, from `ask_jury`.
        seats: Who judged.
        model: Who replied.
        notes: Further sentences to be read with the numbers.

    Raises:
        CultureCareError: The replies don't belong together, as in `build_result`, or a verdict is missing.
    """
    verdicts = jury_verdicts(by_juror, seats.jury)
    of_jurors = {juror.name: build_result(replies, by_juror[juror.name], juror, model, notes) for juror in seats.jurors}
    # `build_result` scores the verdicts of one judge: the means stand in for those of the first juror, and leave under the jury's name.
    first = seats.jurors[0]
    means = [
        Verdict(reply_id=verdict.reply_id, judge=first.judge, dimension=verdict.dimension, score=verdict.score, reason=verdict.reason)
        for verdict in verdicts
    ]
    result = build_result(replies, means, first, model)
    return JuryResult(
        created=result.created,
        model=model,
        dataset=result.dataset,
        protocol=followed(result.dataset, replies, result.strategies, seats.jury.judges),
        strategies=result.strategies,
        generation=result.generation,
        jury=seats.jury,
        scores=result.scores,
        judges={name: of_juror.scores for name, of_juror in of_jurors.items()},
        agreement=_agreement(replies, verdicts, seats),
        coverage=result.coverage or 0.0,
        judge_coverage={name: of_juror.coverage or 0.0 for name, of_juror in of_jurors.items()},
        reasons=result.reasons,
        notes=tuple(
            dict.fromkeys(
                [*seats.notes, *_partial_note(verdicts, seats.jury), *(note for of_juror in of_jurors.values() for note in of_juror.notes)]
            )
        ),
        versions=result.versions,
    )


def _agreement(replies: Sequence[Reply], verdicts: Sequence[JuryVerdict], seats: Seats) -> tuple[Agreement, ...]:
    found = {(verdict.reply_id, verdict.dimension): verdict.jurors for verdict in verdicts}
    clusters = [reply.instance_id for reply in replies]
    return tuple(
        agree(dimension.key, [[found[reply.id, dimension.key][juror.name] for reply in replies] for juror in seats.jurors], clusters)
        for dimension in select_rubric(seats.jurors[0].rubric).dimensions
    )


def _partial_note(verdicts: Sequence[JuryVerdict], jury: Jury) -> list[str]:
    partial = sum(verdict.score is not None and None in verdict.jurors.values() for verdict in verdicts)
    if not partial:
        return []
    return [f"{partial} of {len(verdicts)} verdicts are means over fewer than all {len(jury.judges)} jurors (at_least: {jury.at_least})."]


def jury_and_score(
    replies: Sequence[Reply],
    posts: Mapping[str, str],
    jury: JuryFile,
    model: Model,
    folder: Path,
    progress: Progress,
    options: JudgeOptions,
    notes: Sequence[str] = (),
) -> tuple[JuryResult, Path]:
    """Has a jury judge replies, and writes its verdicts and result into the folder.

    Args:
        replies: What to judge.
        posts: What each reply answers, by instance: the post's text, or its excerpt.
        jury: Who judges.
        model: Who replied.
        folder: Where verdicts and result are kept, in files named after the jury.
        progress: Told how it gets on.
        options: How judging runs.
        notes: Sentences to be read with the numbers.

    Returns:
        The result, and the file that holds it.

    Raises:
        CultureCareError: No juror may judge the model, or a juror cannot go on; answers given by then are kept.
    """
    seats = seat(jury, {reply.model for reply in replies})
    for juror in seats.jurors:
        check_backend(juror)  # Before the first is asked, so that a missing key of the last is no late surprise.
    total = len(replies) * len(seats.jurors) * len(select_rubric(seats.jurors[0].rubric).dimensions)
    progress.say(f"Judging {len(replies)} replies by the jury {jury.name}: {', '.join(juror.name for juror in seats.jurors)}.")
    count = counter(progress, total)
    items = [JudgeItem(reply_id=reply.id, post=posts[reply.instance_id], reply=reply.text) for reply in replies]
    with open_store(options.store) as store:
        by_juror = ask_jury(items, seats, store=store, advance=count, retry_failed=options.retry_failed)
    result = build_jury_result(replies, by_juror, seats, model, notes)
    stem = f"jury-{jury.name}-{seats.jury.hash[:12]}"
    write_records(folder / f"{stem}.verdicts.jsonl", jury_verdicts(by_juror, seats.jury))
    path = folder / f"{stem}.result.json"
    write_json(path, result)
    return result, path
