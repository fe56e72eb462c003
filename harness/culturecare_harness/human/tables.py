"""A packet's scores on the terminal, as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape

from culturecare import cultures
from culturecare_harness.counting import counted
from culturecare_harness.human.answers import answer_metric
from culturecare_harness.human.condition_scores import ALL, metric_names
from culturecare_harness.wide_tables import WideTable

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
    _rater_table(result.rater_quality).print(console)
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
    _agreement_table(people, keys, names).print(console)
    if people.scores:
        _score_table(people, keys, names).print(console)
    if people.contrasts:
        _contrast_table(people, names).print(console)
    if people.ranks:
        _rank_table(people).print(console)
    if people.wins:
        _win_table(people, names).print(console)
    if people.comparisons:
        _comparison_table(people, names).print(console)
    for choice in people.choices:
        if choice.culture in keys:
            _choice_table(choice, names).print(console)
            _print_choice(choice, names, console)


def _print_otherwise(people: PeopleTables, which: str, names: Mapping[str, str], console: Console) -> None:
    """The same the other way, in short; all of it stands in the result file."""
    _agreement_table(people, (ALL,), names, f", {which}").print(console)
    if people.scores:
        _score_table(people, (ALL,), names, f", {which}").print(console)
    for choice in people.choices:
        if choice.culture == ALL or len(people.agreement_by_culture) > 1:
            _print_choice(choice, names, console, f", {which}")


def _rater_table(raters: Iterable[RaterQuality]) -> WideTable:
    figures = ("items", "checks failed", "repeats alike", "apart", "mean", "spread", "severity", "seconds an item")
    table = WideTable("Raters", ("rater", "culture"), figures)
    for one in raters:
        table.add(
            one.rater,
            _culture(one.culture),
            f"{one.finished} of {one.items}",
            f"{one.checks_failed} of {one.checks_answered}",
            "–" if one.repeated_exact is None else f"{one.repeated_exact:.0%} of {one.repeated}",
            _number(one.repeated_difference),
            _number(one.mean),
            _number(one.spread),
            _signed(one.severity, one.severity_low, one.severity_high),
            "–" if one.seconds_per_item is None else f"{one.seconds_per_item:.0f}",
            style="red" if one.failed else "",
        )
    return table


def _agreement_table(people: PeopleTables, keys: Sequence[str], names: Mapping[str, str], which: str = "") -> WideTable:
    rows: list[tuple[str, dict[str, Coefficient]]] = []
    for culture, coefficients in ({**people.agreement_by_culture, ALL: people.agreement}).items():
        if culture not in keys:
            continue
        metrics = dict.fromkeys(one.metric for one in coefficients)
        rows += [(culture, {one.name: one for one in coefficients if one.metric == metric}) for metric in metrics]
    columns = [name for name in _COEFFICIENTS if any(name in of_metric for _, of_metric in rows)]
    figures = (*(_COEFFICIENTS[name] for name in columns), "raters", "replies")
    table = WideTable(f"Agreement of the raters{which}", ("culture", "question"), figures)
    last = ""
    for culture, of_metric in rows:
        if culture != last and last:
            table.end_section()
        first = next(iter(of_metric.values()))
        cells = [_interval(one.value, one.low, one.high) if (one := of_metric.get(name)) else "" for name in columns]
        table.add(_culture(culture) if culture != last else "", _name(first.metric, names), *cells, str(first.raters), str(first.units))
        last = culture
    return table


def _score_table(people: PeopleTables, keys: Sequence[str], names: Mapping[str, str], which: str = "") -> WideTable:
    summaries = [metric for metric in ("overall", "emotional", "cultural", "quality") if any(one.metric == metric for one in people.scores)]
    metrics = summaries or list(dict.fromkeys(one.metric for one in people.scores))
    figures = ("posts", *(_name(metric, names) for metric in metrics), "coverage")
    table = WideTable(f"Mean grades{which}", ("condition", "culture"), figures)
    found = {(one.condition, one.culture, one.metric): one for one in people.scores}
    for condition in dict.fromkeys(one.condition for one in people.scores):
        for culture in keys:
            rows = [found[condition, culture, metric] for metric in metrics]
            table.add(
                condition if culture == keys[0] else "",
                _culture(culture),
                str(max(row.n for row in rows)),
                *(_interval(row.mean, row.low, row.high) for row in rows),
                f"{min(row.coverage for row in rows):.2f}",
                style="bold" if culture == ALL else "",
            )
        table.end_section()
    return table


def _contrast_table(people: PeopleTables, names: Mapping[str, str]) -> WideTable:
    figures = ("models", "peers", "difference", "p (Holm)", "posts")
    table = WideTable("Models' replies against peers'", ("question", "answer"), figures)
    for one in people.contrasts:
        table.add(
            _name(one.question, names),
            " or ".join(names.get(answer_metric(one.question, value), str(value)) for value in one.values),
            _shares(one.models.mean, one.models.low, one.models.high),
            _shares(one.peers.mean, one.peers.low, one.peers.high),
            _signed(one.comparison.difference, one.comparison.low, one.comparison.high),
            _p(one.comparison.p_adjusted),
            str(one.comparison.n),
        )
    return table


def _rank_table(people: PeopleTables) -> WideTable:
    figures = ("mean rank", "came first", "strength (log-odds)", "posts", "coverage")
    table = WideTable("Order of the replies", ("condition",), figures)
    strengths = {} if people.strengths is None else {one.contestant: one for one in people.strengths.strengths}
    rows = [one for one in people.ranks if one.culture == ALL]
    for one in sorted(rows, key=lambda row: row.places + 1 if row.mean_rank is None else row.mean_rank):
        strength = strengths.get(one.condition)
        table.add(
            one.condition,
            _interval(one.mean_rank, one.rank_low, one.rank_high) + f" of {one.places}",
            _shares(one.first, one.first_low, one.first_high),
            "–" if strength is None else _signed(strength.strength, strength.low, strength.high),
            str(one.n),
            f"{one.coverage:.2f}",
        )
    if people.strengths_reason:
        table.caption = f"No strengths: {people.strengths_reason}"
    elif people.strengths is not None and people.strengths.interval_reason:
        table.caption = f"No intervals of strengths: {people.strengths.interval_reason}"
    return table


def _win_table(people: PeopleTables, names: Mapping[str, str]) -> WideTable:
    metrics = list(dict.fromkeys(one.metric for one in people.wins))
    table = WideTable("Win rate over the peer", ("condition",), (*(_name(metric, names) for metric in metrics), "posts"))
    for condition in dict.fromkeys(one.condition for one in people.wins):
        rows = {one.metric: one for one in people.wins if one.condition == condition}
        cells = [_shares(rows[metric].rate.mean, rows[metric].rate.low, rows[metric].rate.high) for metric in metrics]
        table.add(condition, *cells, str(max(row.n for row in rows.values())))
    return table


def _comparison_table(people: PeopleTables, names: Mapping[str, str]) -> WideTable:
    title = f"Conditions that differ: p < 0.05 after Holm's correction for {counted(len(people.comparisons), 'test')}"
    table = WideTable(title, ("first", "second", "metric"), ("first less second", "p (Holm)", "effect d", "posts"))
    for one in people.comparisons:
        if one.p_adjusted is not None and one.p_adjusted < 0.05:
            table.add(
                one.a,
                one.b,
                _name(one.metric, names),
                _signed(one.difference, one.low, one.high),
                _p(one.p_adjusted),
                _number(one.effect),
                str(one.n),
            )
    if not table.rows:
        table.add("none", *[""] * 6)
    return table


_STYLES = {"use": "bold green", "none": "bold red", "undecided": "bold yellow"}


def _choice_table(choice: JudgeChoice, names: Mapping[str, str]) -> WideTable:
    figures = ("pairs ordered alike", "one of the people", "judge less a person", "α", "judge less people", "posts", "coverage")
    title = f"Judges against people, {_culture(choice.culture)}, {_name(choice.metric, names)}"
    table = WideTable(title, ("judge",), figures, ("why not",))
    for place in choice.places:
        table.add(
            place.judge,
            _shares(place.accuracy, place.low, place.high),
            _shares(place.people, place.people_low, place.people_high),
            _signed(place.against_people, place.against_people_low, place.against_people_high),
            _interval(place.alpha, place.alpha_low, place.alpha_high),
            _signed(place.mean_difference, place.mean_difference_low, place.mean_difference_high),
            str(place.posts),
            f"{place.coverage:.2f}",
            place.reason or "",
        )
    return table


def _print_choice(choice: JudgeChoice, names: Mapping[str, str], console: Console, which: str = "") -> None:
    advice = {"use": f"use {choice.judge}", "none": "use none of these judges", "undecided": "undecided"}[choice.status]
    also = f"; not told apart from it: {', '.join(choice.also)}" if choice.also else ""
    style = _STYLES[choice.status]
    why = escape(f"{choice.reason}{also}.")
    by = escape(_name(choice.metric, names))
    console.print(f"{_culture(choice.culture)}, {by}{which}: [{style}]{escape(advice)}[/]: {why}", highlight=False)


# --- Cells -----------------------------------------------------------------------------------------------------------------------


def _name(metric: str, names: Mapping[str, str]) -> str:
    """What the form calls a metric; an answer is called by its question too, since it stands without it. Its key without the form."""
    question, answered, _ = metric.partition("=")
    name = names.get(metric, metric)
    return f"{names[question]}: {name}" if answered and question in names else name


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
