"""One model's scores under one judge: table rows, heat map, forest plot, profile; and the published table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from culturecare import cultures
from culturecare_harness.report.charts import profile
from culturecare_harness.report.differences import GROUPS, difference_forest, difference_table
from culturecare_harness.report.figures import grade, interval, with_interval
from culturecare_harness.report.page import Cell, HeatCell, HeatGroup, ScoreRow, Section, Table
from culturecare_harness.report.published import PublishedRow, published, published_model
from culturecare_harness.rubrics import select_rubric
from culturecare_harness.significance import Comparison, compare_many

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from culturecare_harness.records import Score
    from culturecare_harness.report.evidence import Graded

__all__ = ["published_table", "section"]

_BASELINE = "standard"
_STEPS = 8


def _strategies_of(graded: Graded) -> list[str]:
    """The run's strategies, the known ones in the order of the paper."""
    order = {name: place for place, name in enumerate(("standard", "culture", "guided", "annotation", "cga"))}
    return sorted(graded.result.strategies, key=lambda name: order.get(name, len(order)))


def section(graded: Graded, keys: Sequence[str]) -> Section:
    """What one model's replies got from one judge; `keys` are the cultures of the table's columns."""
    scores = {(score.strategy, score.culture, score.metric): score for score in graded.result.scores}
    names = _strategies_of(graded)
    paper = published_model(graded.run.there.replies[0].model)
    rows = {row.strategy: row for row in published().rows if row.model == paper}
    dimensions = select_rubric(graded.panel.judges[0].rubric).dimensions
    of_all = [(name, [scores.get((name, "all", dimension.key)) for dimension in dimensions]) for name in names]
    compared = _differences(graded)
    return Section(
        model=graded.run.label,
        judge=graded.panel.name,
        published_as=paper,
        scores=tuple(ScoreRow(name, tuple(_cells(name, keys, scores, rows.get(name)))) for name in names),
        heat=tuple(
            HeatGroup(
                name,
                tuple(
                    (
                        "All (mean)" if key == "all" else cultures()[key].name,
                        tuple(_heat_cell(scores.get((name, key, dimension.key))) for dimension in dimensions),
                    )
                    for key in (*(key for key in keys if key in graded.result.dataset.cultures), "all")
                ),
            )
            for name in names
        ),
        forest=difference_forest(compared, _BASELINE) if compared else None,
        differences=_difference_table(compared) if compared else None,
        profile=profile(
            names,
            [(dimension.name, [_ends(row[place]) for _, row in of_all]) for place, dimension in enumerate(dimensions)],
        ),
        profile_table=Table(
            caption=f"Mean of each dimension over the cultures, with 95 % intervals: {graded.run.label}, judged by {graded.panel.name}",
            head=("Dimension", *names),
            rows=tuple((dimension.name, *(_with_interval(row[place]) for _, row in of_all)) for place, dimension in enumerate(dimensions)),
            numbers=frozenset(range(1, len(names) + 1)),
        ),
    )


def _cells(strategy: str, keys: Sequence[str], scores: dict[tuple[str, str, str], Score], row: PublishedRow | None) -> Iterable[Cell]:
    for key in (*keys, "all"):
        pair = [scores.get((strategy, key, metric)) for metric in ("emotional", "cultural")]
        if pair[0] is None:
            yield Cell("–", ())
            continue
        there = None if row is None else row.mean if key == "all" else row.cultures.get(key)
        yield Cell(
            " / ".join(grade(None if score is None else score.mean) for score in pair),
            tuple(interval(score.low, score.high) for score in pair if score is not None and score.low is not None),
            "" if there is None else f"{there[0]:.2f} / {there[1]:.2f}",
        )
    overall = scores[strategy, "all", "overall"]
    yield Cell(
        grade(overall.mean),
        () if overall.low is None else (interval(overall.low, overall.high),),
        "" if row is None else f"{row.overall:.2f}",
    )


def _heat_cell(score: Score | None) -> HeatCell:
    if score is None or score.mean is None:
        return HeatCell("–", None)
    return HeatCell(grade(score.mean), round((score.mean - 1) / 4 * _STEPS))


def _ends(score: Score | None) -> tuple[float | None, float | None, float | None]:
    return (None, None, None) if score is None else (score.mean, score.low, score.high)


def _with_interval(score: Score | None) -> str:
    return "–" if score is None else with_interval(score.mean, score.low, score.high)


def _differences(graded: Graded) -> list[Comparison]:
    """Each strategy less the baseline on the groups' scores: one family for Holm's correction."""
    names = _strategies_of(graded)
    if _BASELINE not in names or len(names) < 2:
        return []
    values = {metric: {name: graded.values[metric][name] for name in names} for metric in GROUPS}
    return compare_many(values, graded.cultures, baseline=_BASELINE)


def _difference_table(compared: Sequence[Comparison]) -> Table:
    return difference_table(
        compared,
        caption=f"Each strategy less {_BASELINE}",
        names=("Strategy", lambda one: one.a),
        higher_on="Higher on: share of the instances on which the strategy is higher than the baseline, ties counting half.",
    )


def published_table() -> Table:
    """The published table."""
    table = published()
    return Table(
        caption="As published: emotional / cultural",
        head=("Model", "Strategy", *(cultures()[key].name for key in table.cultures), "Avg", "All"),
        rows=tuple(
            (
                row.model,
                row.strategy,
                *(f"{row.cultures[key][0]:.2f} / {row.cultures[key][1]:.2f}" for key in table.cultures),
                f"{row.mean[0]:.2f} / {row.mean[1]:.2f}",
                f"{row.overall:.2f}",
            )
            for row in table.rows
        ),
        numbers=frozenset(range(2, 8)),
    )
