"""One model's scores under one judge: table rows, heat map, forest plot, profile; and the published table."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from culturecare import cultures
from culturecare_harness.counting import counted
from culturecare_harness.report.charts import profile
from culturecare_harness.report.differences import GROUPS, basis, difference_forest, difference_table
from culturecare_harness.report.figures import cultures_listed, grade, interval, listed, number, of_all
from culturecare_harness.report.page import Cell, HeatCell, HeatGroup, ScoreRow, Section, Table
from culturecare_harness.report.published import PublishedRow, published, published_model
from culturecare_harness.rubrics import select_rubric
from culturecare_harness.significance import Comparison, compare_many

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from culturecare_harness.records import Score
    from culturecare_harness.report.differences import Basis
    from culturecare_harness.report.evidence import Graded

    Scores = Mapping[tuple[str, str, str], Score]

__all__ = ["published_table", "section"]

ALL = "all"
"""In a culture's place: the mean over the cultures' means."""

_BASELINE = "standard"
_SIDES = ("emotional", "cultural")
_STEPS = 8
_N = "n: how many of the replies have a grade, where it is not all. No interval: fewer than two of a culture have one, or all are equal."


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
    of_all = [(name, [scores.get((name, ALL, dimension.key)) for dimension in dimensions]) for name in names]
    posts = _posts(graded)
    total = sum(posts.values())
    compared = _differences(graded)
    bases = [basis(graded.values[one.metric][one.a], graded.values[one.metric][one.b], graded.cultures) for one in compared]
    by = f"{graded.run.label}, judged by {graded.panel.name}"
    return Section(
        model=graded.run.label,
        judge=graded.panel.name,
        published_as=paper,
        posts=_posts_in_words(posts),
        over=cultures_listed(tuple(posts)),
        published_over=_published_over(tuple(posts)) if rows else "",
        scores=tuple(ScoreRow(name, tuple(_cells(name, keys, scores, rows.get(name), posts))) for name in names),
        heat=tuple(
            HeatGroup(
                name,
                tuple(
                    (
                        _culture(key),
                        tuple(_heat_cell(scores.get((name, key, dimension.key)), posts.get(key, total)) for dimension in dimensions),
                    )
                    for key in (*posts, ALL)
                ),
            )
            for name in names
        ),
        heat_table=Table(
            caption=f"Mean of each dimension by culture, with 95 % intervals: {by}",
            head=("Strategy", "Dimension", *map(_culture, (*posts, ALL))),
            rows=tuple(
                (name, dimension.name, *(_in_words(scores.get((name, key, dimension.key)), posts.get(key, total)) for key in (*posts, ALL)))
                for name in names
                for dimension in dimensions
            ),
            note=_N,
            numbers=frozenset(range(2, len(posts) + 3)),
        ),
        forest=difference_forest(compared, bases, _BASELINE) if compared else None,
        differences=_difference_table(compared, bases) if compared else None,
        profile=profile(
            names,
            [(dimension.name, [_ends(row[place]) for _, row in of_all]) for place, dimension in enumerate(dimensions)],
        ),
        profile_table=Table(
            caption=f"Mean of each dimension over {cultures_listed(tuple(posts))}, with 95 % intervals: {by}",
            head=("Dimension", *names),
            rows=tuple(
                (dimension.name, *(_in_words(row[place], total) for _, row in of_all)) for place, dimension in enumerate(dimensions)
            ),
            note=_N,
            numbers=frozenset(range(1, len(names) + 1)),
        ),
    )


def _posts(graded: Graded) -> dict[str, int]:
    """Number of the run's posts of each of its cultures."""
    counts = Counter(graded.cultures.values())
    return {key: counts[key] for key in cultures() if key in counts}


def _posts_in_words(posts: Mapping[str, int]) -> str:
    sizes = set(posts.values())
    if len(posts) > 1 and len(sizes) == 1:
        return f"{counted(sizes.pop(), 'post')} of each culture"
    if len(posts) == 1:
        return counted(sizes.pop(), f"{cultures_listed(tuple(posts))} post")
    return f"{listed([f'{number(size)} {cultures()[key].name}' for key, size in posts.items()])} posts"


def _culture(key: str) -> str:
    return "All (mean)" if key == ALL else cultures()[key].name


# --- Score cells -----------------------------------------------------------------------------------------------------------------


def _cells(strategy: str, keys: Sequence[str], scores: Scores, row: PublishedRow | None, posts: Mapping[str, int]) -> Iterable[Cell]:
    for key in keys:
        pair = [score for metric in _SIDES if (score := scores.get((strategy, key, metric))) is not None]
        if pair and key in posts:
            yield _cell(pair, _side_by_side(None if row is None else row.cultures.get(key)), _n(pair, posts[key]))
        else:
            yield Cell("–", ())
    over = _over(keys, posts)
    for metrics, there in zip((_SIDES, ("overall",)), _published_averages(row, tuple(posts)), strict=True):
        averages = [scores[strategy, ALL, metric] for metric in metrics]
        lacking = [key for key in posts if any((score := scores.get((strategy, key, metric))) is None or not score.n for metric in metrics)]
        no_mean = f"no grade in {cultures_listed(lacking)}" if lacking else ""
        known = any(score.mean is not None for score in averages)
        yield _cell(averages, there if known else "", "; ".join(filter(None, (over, _n(averages, sum(posts.values())), no_mean))))


def _cell(scores: Sequence[Score], there: str, rests_on: str) -> Cell:
    return Cell(
        " / ".join(grade(score.mean) for score in scores),
        tuple(_interval(score) for score in scores if score.mean is not None),
        there,
        rests_on,
    )


def _n(scores: Sequence[Score], every: int) -> str:
    """On how many replies a cell rests, where it is not all."""
    counts = sorted({score.n for score in scores})
    return "" if counts == [every] else f"n {' and '.join(map(number, counts))} of {number(every)}"


def _over(keys: Sequence[str], posts: Mapping[str, int]) -> str:
    """Over which cultures an average is taken, where the table has more."""
    return "" if set(keys) == set(posts) else f"over {cultures_listed(tuple(posts))}"


def _interval(score: Score) -> str:
    return interval(score.low, score.high) or "no interval"


def _in_words(score: Score | None, every: int) -> str:
    """A mean with its interval, and with its number of replies where it is not all."""
    if score is None or score.mean is None:
        return "–"
    return ", ".join(filter(None, (f"{grade(score.mean)} {_interval(score)}", _n([score], every))))


def _heat_cell(score: Score | None, every: int) -> HeatCell:
    if score is None or score.mean is None:
        return HeatCell("–", None, f"no grade on {counted(every, 'reply', 'replies')}")
    title = f"{grade(score.mean)} {_interval(score)}, {of_all(score.n, every)} replies"
    return HeatCell(grade(score.mean), round((score.mean - 1) / 4 * _STEPS), title, score.n < every)


def _ends(score: Score | None) -> tuple[float | None, float | None, float | None]:
    return (None, None, None) if score is None else (score.mean, score.low, score.high)


# --- Published figures -----------------------------------------------------------------------------------------------------------


def _side_by_side(pair: tuple[float, float] | None) -> str:
    return "" if pair is None else f"{pair[0]:.2f} / {pair[1]:.2f}"


def _published_averages(row: PublishedRow | None, keys: Sequence[str]) -> tuple[str, str]:
    """Published Avg and All over a run's cultures: as published where these are all, and nothing where the paper lacks one of them."""
    if row is None or not set(keys) <= set(row.cultures):
        return "", ""
    if set(keys) == set(row.cultures):
        return _side_by_side(row.mean), f"{row.overall:.2f}"
    emotional, cultural = (math.fsum(row.cultures[key][side] for key in keys) / len(keys) for side in (0, 1))
    return _side_by_side((emotional, cultural)), f"{(emotional + cultural) / 2:.2f}"


def _published_over(keys: Sequence[str]) -> str:
    """What the published averages beside a run's are, where they are not those that were published."""
    there = published().cultures
    if stray := [key for key in keys if key not in there]:
        return f"no published average, since nothing was published for {cultures_listed(stray)}"
    if set(keys) == set(there):
        return ""
    return f"published averages taken anew over {cultures_listed(keys)} alone"


# --- Differences -----------------------------------------------------------------------------------------------------------------


def _differences(graded: Graded) -> list[Comparison]:
    """Each strategy less the baseline on the groups' scores: one family for Holm's correction."""
    names = _strategies_of(graded)
    if _BASELINE not in names or len(names) < 2:
        return []
    values = {metric: {name: graded.values[metric][name] for name in names} for metric in GROUPS}
    return compare_many(values, graded.cultures, baseline=_BASELINE)


def _difference_table(compared: Sequence[Comparison], bases: Sequence[Basis]) -> Table:
    return difference_table(
        compared,
        bases,
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
