"""Judges held against people, and which judge to use for which culture."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import Field

from culturecare import CultureCareError, DataError, Record, parse_record, read_json_lines
from culturecare_harness.against_people import JudgeQuality, PersonGrade, judge_against_people
from culturecare_harness.agreement import FEWEST_CLUSTERS
from culturecare_harness.counting import counted
from culturecare_harness.human.answers import rubric_of
from culturecare_harness.human.condition_scores import ALL
from culturecare_harness.judges import NO_MEASURE, judges
from culturecare_harness.jury import JuryResult, JuryVerdict
from culturecare_harness.records import Judge, Verdict
from culturecare_harness.scoring import graded_metrics

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from culturecare_harness.human.answers import Answers
    from culturecare_harness.human.items import Key

__all__ = [
    "LEAST_COVERAGE",
    "RULE",
    "JudgeChoice",
    "JudgePlace",
    "JudgeScores",
    "JudgedByPeople",
    "choose_judges",
    "hold_against_people",
    "read_judges",
]

LEAST_COVERAGE = 0.9
"""Least share of the replies graded by people that a judge must have a score for to be recommended."""

RULE = (
    "A judge may be used whose accuracy of pairwise preference is above chance by its 95 % interval, that has a score for "
    f"{LEAST_COVERAGE:.0%} of the replies, and whose grades are meant as a measure. Of these, take the one of the highest accuracy and "
    "those whose interval reaches it, which the data do not tell apart from it; use the one among them with the highest alpha. None where "
    "no judge may be used, or where the people themselves are not shown to order replies alike more often than chance. Undecided with "
    f"fewer than {FEWEST_CLUSTERS} posts with two replies that people order clearly, or with raters who share too little. The intervals "
    "are not widened for the number of judges."
)

Scores = dict[str, dict[str, float | None]]
"""Of each reply, the score of each dimension."""


class JudgeScores(NamedTuple):
    """What one judge, or one jury, says.

    Attributes:
        name: The judge's name, `jury NAME` for a jury; with a hash where two judges share a name.
        rubric: Name of the rubric.
        judge: How it judged; null for a jury.
        measure: Whether the grades mean something.
        scores: Of each reply, the score of each dimension, null where there is none.
    """

    name: str
    rubric: str
    judge: Judge | None
    measure: bool
    scores: Scores


class JudgedByPeople(Record):
    """How well one judge agrees with people.

    Attributes:
        judge: Name of the judge, `jury NAME` for a jury.
        identity: How the judge judged; null for a jury.
        measure: Whether its grades are meant as a measure.
        replies: Number of replies of the packet that it was asked about.
        metrics: Over all cultures, one for each metric that both graded.
        cultures: The same in each culture.
    """

    judge: str
    identity: Judge | None
    measure: bool
    replies: int = Field(ge=0)
    metrics: tuple[JudgeQuality, ...]
    cultures: dict[str, tuple[JudgeQuality, ...]]


class JudgePlace(Record):
    """A judge's place in one culture. Ends of intervals are null where there is none; results of earlier versions lack some.

    Attributes:
        accuracy: Share of people's clear preferences between two replies that the judge shares (`JudgeQuality.pairwise_accuracy`).
        low: Lower end of its 95 % interval.
        high: Upper end of the interval.
        alpha: Interval alpha of the judge and the mean of people.
        alpha_low: Lower end of its 95 % interval.
        alpha_high: Upper end of the interval.
        mean_difference: The judge's scores less people's.
        mean_difference_low: Lower end of its 95 % interval.
        mean_difference_high: Upper end of the interval.
        people: The same accuracy of one of the people, measured by the others.
        people_low: Lower end of its 95 % interval.
        people_high: Upper end of the interval.
        against_people: The judge's less that, measured by the same others; below 0 the judge is worse than one of them.
        against_people_low: Lower end of its 95 % interval.
        against_people_high: Upper end of the interval.
        posts: Number of posts with two replies that people order clearly.
        coverage: Share of the replies graded by people that the judge has a score for.
        fit: Whether it may be used by the rule.
        reason: Why not; null where it may.
    """

    judge: str
    accuracy: float | None
    low: float | None
    high: float | None
    alpha: float | None
    alpha_low: float | None = None
    alpha_high: float | None = None
    mean_difference: float | None
    mean_difference_low: float | None = None
    mean_difference_high: float | None = None
    people: float | None
    people_low: float | None = None
    people_high: float | None = None
    against_people: float | None
    against_people_low: float | None
    against_people_high: float | None
    posts: int = Field(ge=0)
    coverage: float = Field(ge=0, le=1)
    fit: bool
    reason: str | None


class JudgeChoice(Record):
    """Which judge to use.

    Attributes:
        culture: For which culture, or `all`.
        metric: By which metric judges are ranked.
        status: `use` one, use `none` of them, or `undecided` where there is too little to tell.
        judge: Which one to use.
        also: Other judges that may be used and that the data do not tell apart from the most accurate one.
        reason: Why.
        places: All judges, the most accurate first.
    """

    culture: str
    metric: str
    status: Literal["use", "none", "undecided"]
    judge: str | None
    also: tuple[str, ...]
    reason: str
    places: tuple[JudgePlace, ...]


# --- Reading verdicts ------------------------------------------------------------------------------------------------------------


class _Source(NamedTuple):
    """Whose verdicts a file holds."""

    name: str
    rubric: str
    judge: Judge | None
    measure: bool


def read_judges(folders: Iterable[Path], key: Key) -> list[JudgeScores]:
    """Reads what judges and juries said of a packet's replies.

    Args:
        folders: Folders of judged runs, with `*.verdicts.jsonl` and the results that belong to them; preferences between pairs are passed
            over.
        key: The packet's key.

    Raises:
        CultureCareError: A folder has no verdict, a line is none, none is about a reply of the packet, or a judge gave a reply two scores.
    """
    wanted = {entry.reply_id for entry in key.entries if entry.kind == "reply"}
    found: dict[str, tuple[_Source, Scores]] = {}
    for folder in folders:
        files = sorted(folder.glob("*.verdicts.jsonl"))
        if not files:
            raise DataError(f"{folder}: holds no *.verdicts.jsonl; name the folder of a run that was judged with `culturecare judge`")
        for file in files:
            for key_of_judge, source, reply, dimension, score in _read(file):
                if reply in wanted:
                    _, scores = found.setdefault(key_of_judge, (source, defaultdict(dict)))
                    before = scores[reply].get(dimension)
                    if before is not None and score is not None and before != score:
                        raise CultureCareError(f"{file}: {source.name} gave reply {reply} another score on {dimension!r} than elsewhere")
                    scores[reply][dimension] = before if score is None else score
    if not found:
        where = ", ".join(str(folder) for folder in folders)
        raise CultureCareError(f"{where}: no verdict is about a reply of this packet; name the runs that the packet was made of")
    names = [source.name for source, _ in found.values()]
    return [
        JudgeScores(
            source.name if names.count(source.name) == 1 else f"{source.name} ({_hash(source, number)})",
            source.rubric,
            source.judge,
            source.measure,
            dict(scores),
        )
        for number, (source, scores) in enumerate(found.values(), 1)
    ]


def _hash(source: _Source, number: int) -> str:
    return str(number) if source.judge is None else f"{source.judge.settings_hash[:6]}{source.judge.prompt_hash[:6]}"


def _read(file: Path) -> Iterable[tuple[str, _Source, str, str, float | None]]:
    """Yields for each verdict what names the judge, the judge, the reply, the dimension and the score."""
    silent = {known.model for known in judges().values() if not known.measure}
    jury: _Source | None = None
    known: dict[Judge, tuple[str, _Source]] = {}
    for number, fields in read_json_lines(file):
        where = f"{file}:{number}"
        if isinstance(fields, dict) and "forward" in fields:
            return
        if isinstance(fields, dict) and "jurors" in fields:
            of_jury = parse_record(JuryVerdict, fields, where=where)
            jury = jury or _jury(file, silent)
            yield f"jury {of_jury.jury}", jury, of_jury.reply_id, of_jury.dimension, of_jury.score
        else:
            verdict = parse_record(Verdict, fields, where=where)
            judge = verdict.judge
            if judge not in known:
                known[judge] = (judge.model_dump_json(), _Source(judge.name, judge.rubric, judge, judge.model not in silent))
            yield *known[judge], verdict.reply_id, verdict.dimension, verdict.score


def _jury(file: Path, silent: set[str]) -> _Source:
    path = file.with_name(file.name.removesuffix(".verdicts.jsonl") + ".result.json")
    try:
        fields: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error}), but must say which jury gave the verdicts in {file.name}") from error
    jury = parse_record(JuryResult, fields, where=str(path)).jury
    return _Source(f"jury {jury.name}", jury.judges[0].rubric, None, not any(judge.model in silent for judge in jury.judges))


# --- Holding them against people -------------------------------------------------------------------------------------------------


def hold_against_people(answers: Answers, found: Sequence[JudgeScores]) -> list[JudgedByPeople]:
    """Compares each judge with people, in each culture and over all, on each metric that both graded.

    Raises:
        CultureCareError: People were asked nothing that a judge graded.
    """
    return [_held(answers, judge) for judge in found]


def _held(answers: Answers, judge: JudgeScores) -> JudgedByPeople:
    by_metric = _metrics(answers, judge)
    grades = {metric: _grades(answers, metric) for metric in by_metric}
    if not any(grades.values()):
        raise CultureCareError(
            f"the judge {judge.name} graded nothing that form {answers.form.name!r} asks people, or people graded no reply that it graded"
        )

    def compared(culture: str) -> tuple[JudgeQuality, ...]:
        return tuple(
            judge_against_people(metric, chosen, by_metric[metric])
            for metric, of_metric in grades.items()
            if (chosen := [grade for grade in of_metric if culture in {grade.culture, ALL}])
        )

    by_culture = {culture: compared(culture) for culture in answers.cultures}
    return JudgedByPeople(
        judge=judge.name,
        identity=judge.judge,
        measure=judge.measure,
        replies=len(judge.scores),
        # The mean over one culture is that culture's.
        metrics=compared(ALL) if len(by_culture) > 1 else next(iter(by_culture.values())),
        cultures=by_culture,
    )


def _metrics(answers: Answers, judge: JudgeScores) -> dict[str, dict[str, float | None]]:
    """The judge's value of each reply, for each metric that people graded too."""
    rubric = rubric_of(answers.form)
    dimensions = {dimension for scores in judge.scores.values() for dimension in scores}
    found: dict[str, dict[str, float | None]] = {metric: {} for metric in answers.graded}
    for reply, scores in judge.scores.items():
        values: Mapping[str, float | None] = scores
        if rubric is not None and judge.rubric == rubric.name:
            values = graded_metrics({dimension.key: scores.get(dimension.key) for dimension in rubric.dimensions}, rubric.name)
        for metric, of_metric in found.items():
            if metric in values and (metric in dimensions or rubric is not None):
                of_metric[reply] = values[metric]
    return {metric: of_metric for metric, of_metric in found.items() if of_metric}


def _grades(answers: Answers, metric: str) -> list[PersonGrade]:
    """People's grades of models' replies; what a rater gave a reply in two items is averaged."""
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    origin: dict[str, tuple[str, str]] = {}
    for row in answers.replies:
        value = row.metrics[metric]
        if row.reply_id is not None and value is not None:
            found[row.rater, row.reply_id].append(value)
            origin[row.reply_id] = (row.culture, row.instance_id)
    return [
        PersonGrade(*origin[reply], reply=reply, rater=rater, value=math.fsum(values) / len(values))
        for (rater, reply), values in found.items()
    ]


# --- Choosing --------------------------------------------------------------------------------------------------------------------


def choose_judges(answers: Answers, held: Sequence[JudgedByPeople]) -> list[JudgeChoice]:
    """Says by `RULE` which judge to use for each culture and over all, by `overall`, or else by each metric that both graded."""
    if not held:
        return []
    common = [metric for metric in answers.graded if any(metric == one.metric for judge in held for one in judge.metrics)]
    chosen = ["overall"] if "overall" in common else common
    return [_choose(culture, metric, held) for metric in chosen for culture in (*answers.cultures, ALL)]


def _choose(culture: str, metric: str, held: Sequence[JudgedByPeople]) -> JudgeChoice:
    places, decided, people_at_chance = [], False, None
    for judge in held:
        of_culture = judge.metrics if culture == ALL else judge.cultures.get(culture, ())
        quality = next((one for one in of_culture if one.metric == metric), None)
        if quality is None:
            places.append(_nowhere(judge.judge, f"people graded no reply on {metric!r} that it graded"))
            continue
        too_little = _too_little(quality)
        decided |= too_little is None
        at_chance = None if too_little is not None else _people_at_chance(quality)
        people_at_chance = people_at_chance or at_chance
        places.append(_place(judge, quality, too_little or at_chance or _unfit(judge, quality)))
    places.sort(key=lambda place: -1.0 if place.accuracy is None else place.accuracy, reverse=True)
    if fit := [place for place in places if place.fit]:
        highest = fit[0].accuracy or 0.0
        alike = [place for place in fit if place.high is not None and place.high >= highest]
        best = max(alike, key=lambda place: -math.inf if place.alpha is None else place.alpha)
        shown = f"{_percent(best.accuracy)} of people's clear preferences (95 % interval {_percent(best.low)} to {_percent(best.high)})"
        reason = f"it shares {shown}"
        return JudgeChoice(
            culture=culture,
            metric=metric,
            status="use",
            judge=best.judge,
            also=tuple(place.judge for place in alike if place is not best),
            reason=reason,
            places=tuple(places),
        )
    reason = people_at_chance or "; ".join(f"{place.judge}: {place.reason}" for place in places)
    status: Literal["none", "undecided"] = "none" if decided else "undecided"
    return JudgeChoice(culture=culture, metric=metric, status=status, judge=None, also=(), reason=reason, places=tuple(places))


def _too_little(quality: JudgeQuality) -> str | None:
    """Why nothing can be told of a judge; null where there is enough."""
    posts, people = quality.pairwise_accuracy.clusters, quality.ceilings["pairwise_accuracy"].people
    if posts < FEWEST_CLUSTERS:
        return f"people order two replies clearly on {counted(posts, 'post')}, but {FEWEST_CLUSTERS} are needed"
    if people.value is None or (people.low is None and people.value < 1):
        return f"how well the people agree cannot be told: {people.reason}"
    return None


def _people_at_chance(quality: JudgeQuality) -> str | None:
    people = quality.ceilings["pairwise_accuracy"].people
    if people.low is not None and people.low <= 0.5:
        return (
            "the people themselves are not shown to order replies alike more often than chance "
            f"({_percent(people.value)}, 95 % interval {_percent(people.low)} to {_percent(people.high)})"
        )
    return None


def _unfit(judge: JudgedByPeople, quality: JudgeQuality) -> str | None:
    accuracy = quality.pairwise_accuracy
    if not judge.measure:
        return f"it {NO_MEASURE}: its grades are no measure"
    if quality.coverage < LEAST_COVERAGE:
        return f"it has a score for {_percent(quality.coverage)} of the replies, but must for {_percent(LEAST_COVERAGE)}"
    if accuracy.low is None or accuracy.low <= 0.5:
        return (
            f"its accuracy is not shown to be above chance ({_percent(accuracy.value)}, 95 % interval {_percent(accuracy.low)} to "
            f"{_percent(accuracy.high)})"
        )
    return None


def _place(judge: JudgedByPeople, quality: JudgeQuality, reason: str | None) -> JudgePlace:
    accuracy, ceiling = quality.pairwise_accuracy, quality.ceilings["pairwise_accuracy"]
    return JudgePlace(
        judge=judge.judge,
        accuracy=accuracy.value,
        low=accuracy.low,
        high=accuracy.high,
        alpha=quality.alpha.value,
        alpha_low=quality.alpha.low,
        alpha_high=quality.alpha.high,
        mean_difference=quality.mean_difference.value,
        mean_difference_low=quality.mean_difference.low,
        mean_difference_high=quality.mean_difference.high,
        people=ceiling.people.value,
        people_low=ceiling.people.low,
        people_high=ceiling.people.high,
        against_people=ceiling.difference.value,
        against_people_low=ceiling.difference.low,
        against_people_high=ceiling.difference.high,
        posts=accuracy.clusters,
        coverage=quality.coverage,
        fit=reason is None,
        reason=reason,
    )


def _nowhere(judge: str, reason: str) -> JudgePlace:
    missing = dict.fromkeys(
        ("accuracy", "low", "high", "alpha", "mean_difference", "people", "against_people", "against_people_low", "against_people_high")
    )
    return JudgePlace.model_validate({"judge": judge, **missing, "posts": 0, "coverage": 0.0, "fit": False, "reason": reason})


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"
