"""Whether adapting helped: the model without and with its adapter under the same strategies, judge and instances."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from culturecare import CultureCareError
from culturecare_harness.adaptation.card import with_scores
from culturecare_harness.adaptation.record import ADAPTATION, BenchmarkScore, BenchmarkScores
from culturecare_harness.dataset import select_instances
from culturecare_harness.report import make_report
from culturecare_harness.report.adapted import ADAPTED, adapted_pairs
from culturecare_harness.report.evidence import read_evidence
from culturecare_harness.runs import evaluate, refuse_what_was_learnt
from culturecare_harness.stats import mean_of_means

if TYPE_CHECKING:
    from collections.abc import Iterable

    from culturecare_harness.dataset import Selection
    from culturecare_harness.generate import Generation, ModelChoice
    from culturecare_harness.judges import JudgeFile
    from culturecare_harness.progress import Progress
    from culturecare_harness.report.adapted import Adapted
    from culturecare_harness.runs import JudgeOptions

__all__ = ["Outcome", "benchmark_scores", "compare_adapter"]


@dataclass(frozen=True)
class Outcome:
    """What a comparison gave.

    Attributes:
        adapted: Every score without and with the adapter.
        report: The HTML report; a Markdown file of the same name stands beside it.
    """

    adapted: Adapted
    report: Path


def compare_adapter(
    base: ModelChoice,
    adapter: str,
    strategies: Iterable[str],
    selection: Selection,
    generation: Generation,
    judge: JudgeFile,
    folder: Path,
    progress: Progress,
    options: JudgeOptions,
) -> Outcome:
    """Benchmarks a model without and with an adapter, and reports on both; a killed comparison goes on where it stopped.

    Both runs have the same seed, so that they differ by the adapter alone. The scores go into the adapter's card where it is a folder.

    Args:
        base: The model without the adapter.
        adapter: Folder or Hub name of the adapter.
        strategies: Names of the strategies.
        selection: Which instances.
        generation: Generation settings.
        judge: Who judges.
        folder: Holds the runs in `base` and `adapted`, and the report.
        progress: Told how it gets on.
        options: How judging runs.

    Raises:
        CultureCareError: The model has an adapter already, a run cannot go on, or the two share too little to be compared.
    """
    if base.adapter is not None:
        raise CultureCareError(f"model {base.shown_name!r}: has an adapter already; name the model without it, and the adapter beside it")
    adapted = base.with_adapter(adapter)
    names = list(strategies)
    # Before the base is run, which may take long.
    refuse_what_was_learnt(adapted, select_instances(selection))
    runs = {"base": base, "adapted": adapted}
    for name, choice in runs.items():
        evaluate(choice, names, selection, generation, judge, folder / name, progress, options)
    places = [folder / name for name in runs]
    evidence = read_evidence(places, selection.release, progress)
    panel = next(graded.panel for graded in evidence.graded if graded.panel.judges == (judge.judge,))
    [outcome] = adapted_pairs(evidence, panel)
    report, _ = make_report(places, folder / "report.html", progress, release=selection.release)
    place = Path(adapter).expanduser()
    if (place / ADAPTATION).is_file():
        with_scores(place, benchmark_scores(outcome))
    return Outcome(outcome, report)


def benchmark_scores(outcome: Adapted) -> BenchmarkScores:
    """The comparison as the adapter's card shows it."""
    result = outcome.adapted.result
    rows = []
    for compared in outcome.same:
        strategy = compared.a.removeprefix(f"{ADAPTED}, ")
        base, adapted = _means_of_both(outcome, strategy, compared.metric)
        rows.append(
            BenchmarkScore(
                strategy=strategy,
                metric=compared.metric,
                base=base,
                adapted=adapted,
                difference=compared.difference,
                low=compared.low,
                high=compared.high,
                n=compared.n,
            )
        )
    return BenchmarkScores(
        split=result.dataset.split,
        dataset_revision=result.dataset.revision,
        judge=outcome.adapted.panel.name,
        notes=result.notes,
        scores=tuple(rows),
    )


def _means_of_both(outcome: Adapted, strategy: str, metric: str) -> tuple[float | None, float | None]:
    """Means over the cultures without and with the adapter, of the instances that have both: they differ by what the pairs differ by."""
    values = [graded.values[metric][strategy] for graded in (outcome.base, outcome.adapted)]
    cultures = {**outcome.base.cultures, **outcome.adapted.cultures}
    samples: tuple[dict[str, list[float]], dict[str, list[float]]] = ({}, {})
    for instance in values[0]:
        both = [of_side.get(instance) for of_side in values]
        if None not in both:
            for sample, value in zip(samples, both, strict=True):
                sample.setdefault(cultures[instance], []).append(value or 0.0)
    without, with_adapter = (mean_of_means(list(sample.values())) for sample in samples)
    return without, with_adapter
