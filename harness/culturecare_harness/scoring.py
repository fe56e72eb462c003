"""Scoring: from verdicts to scores a strategy, culture and metric, each with its coverage and interval."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import math
import platform
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from culturecare import SYNTHETIC_SPLITS, CultureCareError, cultures, detect_language
from culturecare_harness.judges import NO_MEASURE
from culturecare_harness.protocols import followed
from culturecare_harness.records import Dataset, Model, Result, Score
from culturecare_harness.rubrics import select_rubric
from culturecare_harness.stats import FEWEST_VALUES, LEVEL, mean_of_means, mean_of_means_interval

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from culturecare_harness.judges import JudgeFile
    from culturecare_harness.records import Reply, Verdict

__all__ = ["build_result", "graded_metrics", "metric_names", "package_versions", "reply_metrics", "score_rows", "summarise"]

_GROUPS = ("emotional", "cultural", "quality")
_DESCRIPTIVE = ("same_language", "reply_characters")
_PACKAGES = ("culturecare", "lm-eval", "datasets", "evaluate", "transformers", "torch", "openai", "lingua-language-detector")


def metric_names(rubric: str | None) -> tuple[str, ...]:
    """Names of all metrics under a rubric (null without a judge), the summaries first."""
    if rubric is None:
        return _DESCRIPTIVE
    return ("overall", *_GROUPS, *(dimension.key for dimension in select_rubric(rubric).dimensions), *_DESCRIPTIVE)


def reply_metrics(text: str, language: str | None, verdicts: Sequence[Verdict] | None) -> dict[str, float | None]:
    """All metrics of one reply; null where there is no value.

    Args:
        text: The reply.
        language: ISO 639-1 code of the post's language, null where unknown.
        verdicts: One verdict a dimension, or null where no judge was used.

    Returns:
        `same_language` (0 or 1; null for a reply whose language can't be told), `reply_characters`, and with verdicts each dimension in
        [1, 5], `emotional`, `cultural` and `quality` (means of their dimensions, null where one is missing), `overall` (mean of
        emotional and cultural, as in the paper) and `coverage` (share of the dimensions that have a score).
    """
    spoken = detect_language(text) if text.strip() else None
    metrics: dict[str, float | None] = {
        "same_language": None if language is None or spoken is None else float(spoken == language),
        "reply_characters": float(len(text.strip())),
    }
    if verdicts is None:
        return metrics
    [rubric] = {verdict.judge.rubric for verdict in verdicts}
    return metrics | graded_metrics({verdict.dimension: verdict.score for verdict in verdicts}, rubric)


def graded_metrics(scores: Mapping[str, float | None], rubric: str) -> dict[str, float | None]:
    """The metrics that come from grades.

    Args:
        scores: Score of each dimension of the rubric, null where there is none.
        rubric: Name of the rubric.

    Returns:
        Each dimension, the groups, `overall` and `coverage`, as in `reply_metrics`.
    """
    dimensions = select_rubric(rubric).dimensions
    metrics: dict[str, float | None] = {dimension.key: scores[dimension.key] for dimension in dimensions}
    for group in _GROUPS:
        metrics[group] = _mean_if_whole([scores[dimension.key] for dimension in dimensions if dimension.group == group])
    metrics["overall"] = _mean_if_whole([metrics["emotional"], metrics["cultural"]])
    metrics["coverage"] = sum(score is not None for score in scores.values()) / len(scores)
    return metrics


def _mean_if_whole(values: Sequence[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return math.fsum(present) / len(present) if present and len(present) == len(values) else None


def build_result(
    replies: Sequence[Reply],
    verdicts: Sequence[Verdict] | None,
    judge: JudgeFile | None,
    model: Model,
    notes: Iterable[str] = (),
) -> Result:
    """Scores one model's replies.

    Args:
        replies: One reply a post and strategy.
        verdicts: All verdicts on them by `judge`; null without a judge.
        judge: Who judged.
        model: Who replied.
        notes: Further sentences to be read with the numbers.

    Raises:
        CultureCareError: There is no reply; replies to full posts and to excerpts, or of several splits, revisions or prompts of one
            strategy are mixed; or a reply has not one verdict a dimension.
    """
    if not replies:
        raise CultureCareError("there is no reply to score")
    dataset = _one_dataset(replies)
    prompts: dict[str, str] = {}
    for reply in replies:
        if prompts.setdefault(reply.strategy, reply.prompt_hash) != reply.prompt_hash:
            raise CultureCareError(f"strategy {reply.strategy!r}: replies were made by two versions of its prompt, which share no score")
    by_reply = _verdicts_by_reply(replies, verdicts, judge)
    values: dict[tuple[str, str], list[dict[str, float | None]]] = defaultdict(list)
    for reply in replies:
        values[reply.strategy, reply.culture].append(reply_metrics(reply.text, reply.language, by_reply.get(reply.id)))
    scores = [
        score
        for strategy in prompts
        for metric in metric_names(judge.rubric if judge else None)
        for score in score_rows(strategy, metric, {key: values[strategy, key] for key in dataset.cultures})
    ]
    given = None if verdicts is None else [verdict for of_reply in by_reply.values() for verdict in of_reply]
    return Result(
        created=dt.datetime.now(dt.UTC).replace(microsecond=0),
        model=model,
        dataset=dataset,
        protocol=followed(dataset, replies, prompts, [judge.judge] if judge is not None else []),
        strategies=prompts,
        generation=replies[0].generation,
        judge=judge.judge if judge else None,
        scores=tuple(scores),
        coverage=None if given is None else sum(verdict.score is not None for verdict in given) / len(given),
        # A reason may quote an answer after its colon, and an answer may quote a post: the count keeps the kind alone.
        reasons=dict(Counter(verdict.reason.partition(":")[0] for verdict in given or () if verdict.reason is not None)),
        notes=(*_notes(replies, dataset, judge), *_few_values(scores), *notes),
        versions=package_versions(),
    )


def _one_dataset(replies: Sequence[Reply]) -> Dataset:
    if len({reply.excerpt for reply in replies}) > 1:
        raise CultureCareError("replies to full posts and replies to excerpts are mixed; they never share a score, so score them apart")
    if len({(reply.split, reply.dataset_revision) for reply in replies}) > 1:
        raise CultureCareError("replies on several splits or revisions of the dataset are mixed; score them apart")
    pairs = Counter((reply.instance_id, reply.strategy, reply.model) for reply in replies)
    (instance, strategy, _), times = pairs.most_common(1)[0]
    if times > 1 or len({reply.model for reply in replies}) > 1:
        what = f"post {instance!r} has {times} replies by strategy {strategy!r}" if times > 1 else "replies of several models are mixed"
        raise CultureCareError(f"{what}; score one model's single replies at a time")
    present = {reply.culture for reply in replies}
    return Dataset(
        split=replies[0].split,
        revision=replies[0].dataset_revision,
        cultures=tuple(key for key in cultures() if key in present),
        excerpt=replies[0].excerpt,
        instances=len({reply.instance_id for reply in replies}),
    )


def summarise(by_reply: Sequence[Sequence[Verdict]]) -> dict[str, dict[str, float | int | None]]:
    """Means of the graded metrics over replies that belong to no culture or strategy.

    Args:
        by_reply: For each reply, one verdict a dimension.

    Returns:
        For each metric `mean`, `low`, `high`, `n` and `coverage`, as in `Score`.
    """
    items = [reply_metrics("", None, verdicts) for verdicts in by_reply]
    summary = {}
    for metric in items[0]:
        if metric not in {*_DESCRIPTIVE, "coverage"}:
            [score, _] = score_rows("", metric, {"": items})
            summary[metric] = score.model_dump(include={"mean", "low", "high", "n", "coverage"})
    return summary


def _verdicts_by_reply(replies: Sequence[Reply], verdicts: Sequence[Verdict] | None, judge: JudgeFile | None) -> dict[str, list[Verdict]]:
    if verdicts is None or judge is None:
        return {}
    named = judge.judge
    by_reply: dict[str, dict[str, Verdict]] = defaultdict(dict)
    for verdict in verdicts:
        if verdict.judge == named:
            by_reply[verdict.reply_id][verdict.dimension] = verdict
    keys = [dimension.key for dimension in select_rubric(judge.rubric).dimensions]
    for reply in replies:
        if missing := [key for key in keys if key not in by_reply[reply.id]]:
            raise CultureCareError(f"reply {reply.id} to {reply.instance_id!r} has no verdict on {missing[0]!r}; judge the replies again")
    return {reply.id: [by_reply[reply.id][key] for key in keys] for reply in replies}


def score_rows(strategy: str, metric: str, by_culture: Mapping[str, Sequence[Mapping[str, float | None]]]) -> list[Score]:
    """Scores of one strategy and metric: one row a culture, and one of all.

    Args:
        strategy: Strategy of the replies.
        metric: Which of the items' values.
        by_culture: For each culture, one mapping of metrics to values a reply.
    """
    present = {key: [value for item in items if (value := item[metric]) is not None] for key, items in by_culture.items()}
    total = {key: len(items) for key, items in by_culture.items()}
    rows = [([present[key]], key, total[key]) for key in by_culture]
    rows.append((list(present.values()), "all", sum(total.values())))
    bounds = {"same_language": (0.0, 1.0), "reply_characters": (0.0, math.inf)}.get(metric, (1.0, 5.0))
    scores = []
    for samples, culture, size in rows:
        count = sum(map(len, samples))
        low, high = mean_of_means_interval(samples, bounds) or (None, None)
        mean = mean_of_means(samples)
        scores.append(
            Score(
                strategy=strategy,
                culture=culture,
                metric=metric,
                mean=mean,
                low=low,
                high=high,
                n=count,
                coverage=count / size if size else 0.0,
            )
        )
    return scores


def _notes(replies: Sequence[Reply], dataset: Dataset, judge: JudgeFile | None) -> list[str]:
    notes = []
    if judge is not None and not judge.measure:
        notes.append(f"The judge {judge.name!r} {NO_MEASURE}: its grades are no measure of a reply's quality.")
    if dataset.excerpt:
        notes.append("Posts were known by their annotated phrases alone (excerpts); these scores share no table with scores on full posts.")
    if dataset.split in SYNTHETIC_SPLITS:
        notes.append(f"Split {dataset.split!r} is synthetic: written for this project, by no person in distress.")
    if empty := sum(not reply.text.strip() for reply in replies):
        notes.append(f"{empty} of {len(replies)} replies are empty and were not judged.")
    return notes


def _few_values(scores: Iterable[Score]) -> list[str]:
    """Says in which cultures intervals cover less than they say."""
    few = dict.fromkeys(score.culture for score in scores if score.culture != "all" and 0 < score.n < FEWEST_VALUES)
    if not few:
        return []
    names = ", ".join(cultures()[key].name for key in few)
    where = f"Scores that rest on fewer than {FEWEST_VALUES} replies ({names})"
    return [f"{where}: their intervals, and those over all cultures, may hold the true mean far less often than {LEVEL:.0%} of the time."]


def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages that a result depends on; an extra that is not installed is left out."""
    versions: dict[str, Any] = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue  # An extra that was not installed had no part in the result.
    return versions
