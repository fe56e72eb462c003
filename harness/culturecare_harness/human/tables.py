"""A packet's scores on the terminal, as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from culturecare import cultures
from culturecare_harness.counting import counted
from culturecare_harness.human.answers import answer_metric
from culturecare_harness.human.condition_scores import ALL, metric_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rich.console import Console

    from culturecare_harness.agreement import Coefficient
    from culturecare_harness.human.analysis import HumanResult, PeopleTables
    from culturecare_harness.human.judge_choice import JudgeChoice
    from culturecare_harness.human.rater_quality import RaterQuality

__all__ = ["print_human_result"]

_COEFFICIENTS = {
    "alpha_nominal": "α nominal",
    "alpha_ordinal": "α ordinal",
    "weighted_kappa": "κ quadratic",
    "ac2": "AC2",
}
"""Coefficients that fit a terminal; unweighted κ and AC1 of choices stand in the result file."""


def print_human_result(result: HumanResult, console: Console) -> None:
    """Prints a packet's scores: its raters, their agreement, the conditions, the judges, and what must be read with them."""
    sizes = f"{counted(result.ratings, 'rating')}, {counted(result.raters, 'rater')} and {counted(result.items, 'item')} that count"
    console.print(
        f"\n[bold]Packet {result.packet}[/bold], form {escape(result.form)}: {sizes}, "
        f"{'excerpts' if result.excerpt else 'posts'} of split {result.split}",
        highlight=False,
    )
    console.print(_rater_table(result.rater_quality))
    names = metric_names(result.questions)
    _print_people(result, result.cultures, names, console)
    for which, people in (("without raters who failed", result.without_failed), ("with raters who failed", result.with_failed)):
        if people is not None:
            _print_otherwise(people, which, names, console)
    for note in result.notes:
        console.print(f"Note: {note}", highlight=False, markup=False)


def _print_people(people: PeopleTables, present: Sequence[str], names: Mapping[str, str], console: Console) -> None:
    # The mean over one culture is that culture's, and need not be said twice.
    keys = (*present, ALL) if len(present) > 1 else (ALL,)
    console.print(_agreement_table(people, keys, names))
    if people.scores:
        console.print(_score_table(people, keys, names))
    if people.contrasts:
        console.print(_contrast_table(people, names))
    if people.ranks:
        console.print(_rank_table(people))
    if people.wins:
        console.print(_win_table(people, names))
    if people.comparisons:
        console.print(_comparison_table(people, names))
    for choice in people.choices:
        if choice.culture in keys:
            console.print(_choice_table(choice, names))
            _print_choice(choice, names, console)


def _print_otherwise(people: PeopleTables, which: str, names: Mapping[str, str], console: Console) -> None:
    """The same the other way, in short; all of it stands in the result file."""
    console.print(_agreement_table(people, (ALL,), names, f", {which}"))
    if people.scores:
        console.print(_score_table(people, (ALL,), names, f", {which}"))
    for choice in people.choices:
        if choice.culture == ALL or len(people.agreement_by_culture) > 1:
            _print_choice(choice, names, console, f", {which}")


def _rater_table(raters: Iterable[RaterQuality]) -> Table:
    table = _table(
        "Raters", "rater", "culture", "items", "checks failed", "repeats alike", "apart", "mean", "spread", "severity", "seconds an item"
    )
    for one in raters:
        table.add_row(
            escape(one.rater),
            _culture(one.culture),
            f"{one.finished} of {one.items}",
            f"{one.checks_failed} of {one.checks_answered}",
            "–" if one.repeated_exact is None else f"{one.repeated_exact:.0%} of {one.repeated}",
            _number(one.repeated_difference),
            _number(one.mean),
            _number(one.spread),
            _signed(one.severity, one.severity_low, one.severity_high),
            "–" if one.seconds_per_item is None else f"{one.seconds_per_item:.0f}",
            style="red" if one.failed else None,
        )
    return table


def _agreement_table(people: PeopleTables, keys: Sequence[str], names: Mapping[str, str], which: str = "") -> Table:
    rows: list[tuple[str, dict[str, Coefficient]]] = []
    for culture, coefficients in ({**people.agreement_by_culture, ALL: people.agreement}).items():
        if culture not in keys:
            continue
        metrics = dict.fromkeys(one.metric for one in coefficients)
        rows += [(culture, {one.name: one for one in coefficients if one.metric == metric}) for metric in metrics]
    columns = [name for name in _COEFFICIENTS if any(name in of_metric for _, of_metric in rows)]
    table = _table(
        f"Agreement of the raters{which}", "culture", "question", *(_COEFFICIENTS[name] for name in columns), "raters", "replies"
    )
    last = ""
    for culture, of_metric in rows:
        if culture != last and last:
            table.add_section()
        first = next(iter(of_metric.values()))
        cells = [_interval(one.value, one.low, one.high) if (one := of_metric.get(name)) else "" for name in columns]
        table.add_row(_culture(culture) if culture != last else "", _name(first.metric, names), *cells, str(first.raters), str(first.units))
        last = culture
    return table


def _score_table(people: PeopleTables, keys: Sequence[str], names: Mapping[str, str], which: str = "") -> Table:
    summaries = [metric for metric in ("overall", "emotional", "cultural", "quality") if any(one.metric == metric for one in people.scores)]
    metrics = summaries or list(dict.fromkeys(one.metric for one in people.scores))
    table = _table(f"Mean grades{which}", "condition", "culture", "posts", *(_name(metric, names) for metric in metrics), "coverage")
    found = {(one.condition, one.culture, one.metric): one for one in people.scores}
    for condition in dict.fromkeys(one.condition for one in people.scores):
        for culture in keys:
            rows = [found[condition, culture, metric] for metric in metrics]
            table.add_row(
                escape(condition) if culture == keys[0] else "",
                _culture(culture),
                str(max(row.n for row in rows)),
                *(_interval(row.mean, row.low, row.high) for row in rows),
                f"{min(row.coverage for row in rows):.2f}",
                end_section=culture == ALL,
                style="bold" if culture == ALL else None,
            )
    return table


def _contrast_table(people: PeopleTables, names: Mapping[str, str]) -> Table:
    table = _table("Models' replies against peers'", "question", "answer", "models", "peers", "difference", "p (Holm)", "posts")
    for one in people.contrasts:
        table.add_row(
            _name(one.question, names),
            escape(" or ".join(names.get(answer_metric(one.question, value), str(value)) for value in one.values)),
            _shares(one.models.mean, one.models.low, one.models.high),
            _shares(one.peers.mean, one.peers.low, one.peers.high),
            _signed(one.comparison.difference, one.comparison.low, one.comparison.high),
            _p(one.comparison.p_adjusted),
            str(one.comparison.n),
        )
    return table


def _rank_table(people: PeopleTables) -> Table:
    table = _table("Order of the replies", "condition", "mean rank", "came first", "strength (log-odds)", "posts", "coverage")
    strengths = {} if people.strengths is None else {one.contestant: one for one in people.strengths.strengths}
    rows = [one for one in people.ranks if one.culture == ALL]
    for one in sorted(rows, key=lambda row: row.places + 1 if row.mean_rank is None else row.mean_rank):
        strength = strengths.get(one.condition)
        table.add_row(
            escape(one.condition),
            _interval(one.mean_rank, one.rank_low, one.rank_high) + f" of {one.places}",
            _shares(one.first, one.first_low, one.first_high),
            "–" if strength is None else _signed(strength.strength, strength.low, strength.high),
            str(one.n),
            f"{one.coverage:.2f}",
        )
    if people.strengths_reason:
        table.caption = f"No strengths: {escape(people.strengths_reason)}"
    return table


def _win_table(people: PeopleTables, names: Mapping[str, str]) -> Table:
    metrics = list(dict.fromkeys(one.metric for one in people.wins))
    table = _table("Win rate over the peer", "condition", *(_name(metric, names) for metric in metrics), "posts")
    for condition in dict.fromkeys(one.condition for one in people.wins):
        rows = {one.metric: one for one in people.wins if one.condition == condition}
        cells = [_shares(rows[metric].rate.mean, rows[metric].rate.low, rows[metric].rate.high) for metric in metrics]
        table.add_row(escape(condition), *cells, str(max(row.n for row in rows.values())))
    return table


def _comparison_table(people: PeopleTables, names: Mapping[str, str]) -> Table:
    title = f"Conditions that differ: p < 0.05 after Holm's correction for {counted(len(people.comparisons), 'test')}"
    table = _table(title, "first", "second", "metric", "first less second", "p (Holm)", "effect d", "posts")
    for one in people.comparisons:
        if one.p_adjusted is not None and one.p_adjusted < 0.05:
            table.add_row(
                escape(one.a),
                escape(one.b),
                _name(one.metric, names),
                _signed(one.difference, one.low, one.high),
                _p(one.p_adjusted),
                _number(one.effect),
                str(one.n),
            )
    if not table.row_count:
        table.add_row("none", *[""] * 6)
    return table


_STYLES = {"use": "bold green", "none": "bold red", "undecided": "bold yellow"}


def _choice_table(choice: JudgeChoice, names: Mapping[str, str]) -> Table:
    table = _table(
        f"Judges against people, {_culture(choice.culture)}, {_name(choice.metric, names)}",
        "judge",
        "pairs ordered alike",
        "one of the people",
        "judge less a person",
        "α",
        "judge less people",
        "posts",
        "coverage",
        "why not",
    )
    for place in choice.places:
        table.add_row(
            escape(place.judge),
            _shares(place.accuracy, place.low, place.high),
            "–" if place.people is None else f"{place.people:.0%}",
            _signed(place.against_people, place.against_people_low, place.against_people_high),
            _number(place.alpha),
            _signed(place.mean_difference, None, None),
            str(place.posts),
            f"{place.coverage:.2f}",
            escape(place.reason or ""),
        )
    return table


def _print_choice(choice: JudgeChoice, names: Mapping[str, str], console: Console, which: str = "") -> None:
    advice = {"use": f"use {choice.judge}", "none": "use none of these judges", "undecided": "undecided"}[choice.status]
    also = f"; not told apart from it: {', '.join(choice.also)}" if choice.also else ""
    style = _STYLES[choice.status]
    why = escape(f"{choice.reason}{also}.")
    by = _name(choice.metric, names)
    console.print(f"{_culture(choice.culture)}, {by}{which}: [{style}]{escape(advice)}[/]: {why}", highlight=False)


# --- Cells -----------------------------------------------------------------------------------------------------------------------


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", header_style="bold")
    for column in columns:
        table.add_column(column, no_wrap=column != "why not")
    return table


def _name(metric: str, names: Mapping[str, str]) -> str:
    """What the form calls a metric; an answer is called by its question too, since it stands without it. Its key without the form."""
    question, answered, _ = metric.partition("=")
    name = names.get(metric, metric)
    return escape(f"{names[question]}: {name}" if answered and question in names else name)


def _culture(key: str) -> str:
    return "all (mean)" if key == ALL else cultures()[key].name


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _interval(value: float | None, low: float | None, high: float | None) -> str:
    if value is None or low is None or high is None:
        return _number(value)
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"


def _shares(value: float | None, low: float | None, high: float | None) -> str:
    if value is None or low is None or high is None:
        return "–" if value is None else f"{value:.0%}"
    return f"{value:.0%} [{low:.0%}, {high:.0%}]"


def _signed(value: float | None, low: float | None, high: float | None) -> str:
    if value is None or low is None or high is None:
        return "–" if value is None else f"{value:+.2f}"
    return f"{value:+.2f} [{low:+.2f}, {high:+.2f}]"


def _p(value: float | None) -> str:
    return "–" if value is None else "<0.001" if value < 0.001 else f"{value:.3f}"
