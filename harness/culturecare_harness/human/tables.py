"""A packet's scores on the terminal, as tables.

Wordings are broken into lines where they do not fit; figures never are. Where a terminal is too narrow for all columns of figures, they are
shared out over several tables.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from rich.cells import cell_len
from rich.markup import escape
from rich.table import Table
from rich.text import Text

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


def _rater_table(raters: Iterable[RaterQuality]) -> _Table:
    figures = ("items", "checks failed", "repeats alike", "apart", "mean", "spread", "severity", "seconds an item")
    table = _Table("Raters", ("rater", "culture"), figures)
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


def _agreement_table(people: PeopleTables, keys: Sequence[str], names: Mapping[str, str], which: str = "") -> _Table:
    rows: list[tuple[str, dict[str, Coefficient]]] = []
    for culture, coefficients in ({**people.agreement_by_culture, ALL: people.agreement}).items():
        if culture not in keys:
            continue
        metrics = dict.fromkeys(one.metric for one in coefficients)
        rows += [(culture, {one.name: one for one in coefficients if one.metric == metric}) for metric in metrics]
    columns = [name for name in _COEFFICIENTS if any(name in of_metric for _, of_metric in rows)]
    figures = (*(_COEFFICIENTS[name] for name in columns), "raters", "replies")
    table = _Table(f"Agreement of the raters{which}", ("culture", "question"), figures)
    last = ""
    for culture, of_metric in rows:
        if culture != last and last:
            table.end_section()
        first = next(iter(of_metric.values()))
        cells = [_interval(one.value, one.low, one.high) if (one := of_metric.get(name)) else "" for name in columns]
        table.add(_culture(culture) if culture != last else "", _name(first.metric, names), *cells, str(first.raters), str(first.units))
        last = culture
    return table


def _score_table(people: PeopleTables, keys: Sequence[str], names: Mapping[str, str], which: str = "") -> _Table:
    summaries = [metric for metric in ("overall", "emotional", "cultural", "quality") if any(one.metric == metric for one in people.scores)]
    metrics = summaries or list(dict.fromkeys(one.metric for one in people.scores))
    figures = ("posts", *(_name(metric, names) for metric in metrics), "coverage")
    table = _Table(f"Mean grades{which}", ("condition", "culture"), figures)
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


def _contrast_table(people: PeopleTables, names: Mapping[str, str]) -> _Table:
    figures = ("models", "peers", "difference", "p (Holm)", "posts")
    table = _Table("Models' replies against peers'", ("question", "answer"), figures)
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


def _rank_table(people: PeopleTables) -> _Table:
    figures = ("mean rank", "came first", "strength (log-odds)", "posts", "coverage")
    table = _Table("Order of the replies", ("condition",), figures)
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


def _win_table(people: PeopleTables, names: Mapping[str, str]) -> _Table:
    metrics = list(dict.fromkeys(one.metric for one in people.wins))
    table = _Table("Win rate over the peer", ("condition",), (*(_name(metric, names) for metric in metrics), "posts"))
    for condition in dict.fromkeys(one.condition for one in people.wins):
        rows = {one.metric: one for one in people.wins if one.condition == condition}
        cells = [_shares(rows[metric].rate.mean, rows[metric].rate.low, rows[metric].rate.high) for metric in metrics]
        table.add(condition, *cells, str(max(row.n for row in rows.values())))
    return table


def _comparison_table(people: PeopleTables, names: Mapping[str, str]) -> _Table:
    title = f"Conditions that differ: p < 0.05 after Holm's correction for {counted(len(people.comparisons), 'test')}"
    table = _Table(title, ("first", "second", "metric"), ("first less second", "p (Holm)", "effect d", "posts"))
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


def _choice_table(choice: JudgeChoice, names: Mapping[str, str]) -> _Table:
    figures = ("pairs ordered alike", "one of the people", "judge less a person", "α", "judge less people", "posts", "coverage")
    title = f"Judges against people, {_culture(choice.culture)}, {_name(choice.metric, names)}"
    table = _Table(title, ("judge",), figures, ("why not",))
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


# --- Layout ----------------------------------------------------------------------------------------------------------------------

_LEAST = 12
"""Columns of the terminal that a wording is given at least, where it has so many letters."""

_EDGES = 3
"""Columns of the terminal that a column takes besides its text, for a line and a space on both sides; a table takes one more."""


class _Row(NamedTuple):
    """A row; `ends` says whether a line is drawn under it."""

    cells: tuple[str, ...]
    style: str
    ends: bool


@dataclass
class _Table:
    """A table of plain text: what rows are called, their figures, and remarks."""

    title: str
    labels: tuple[str, ...]
    figures: tuple[str, ...]
    remarks: tuple[str, ...] = ()
    rows: list[_Row] = field(default_factory=list)
    caption: str | None = None

    @property
    def headings(self) -> tuple[str, ...]:
        return (*self.labels, *self.figures, *self.remarks)

    def add(self, *cells: str, style: str = "") -> None:
        """Adds a row."""
        self.rows.append(_Row(cells, style, ends=False))

    def end_section(self) -> None:
        """Draws a line under the last row."""
        if self.rows:
            self.rows[-1] = self.rows[-1]._replace(ends=True)

    def print(self, console: Console) -> None:
        """Prints the table, or as many as its figures take; what rows are called stands in each of them."""
        widths = [max(cell_len(row.cells[place]) for row in [_Row(self.headings, "", ends=False), *self.rows]) for place in self._places()]
        of_figures = range(len(self.labels), len(self.labels) + len(self.figures))
        least = [width if place in of_figures else min(width, _LEAST) for place, width in enumerate(widths)]
        if self._width(self._places(), least) > console.width:
            for place in of_figures:  # Headings are broken between words before a table is.
                words = [*self.headings[place].split(), *(row.cells[place] for row in self.rows)]
                least[place] = max(map(cell_len, words))
        for number, shown in enumerate(self._share_out(least, console.width)):
            title = f"{self.title} (continued)" if number else self.title
            console.print(self._as_rich(title, shown, {place: least[place] for place in of_figures}))

    def _places(self) -> list[int]:
        return list(range(len(self.headings)))

    @staticmethod
    def _width(shown: Sequence[int], widths: Sequence[int]) -> int:
        return sum(widths[place] + _EDGES for place in shown) + 1

    def _share_out(self, least: Sequence[int], room: int) -> list[list[int]]:
        """Which columns stand in which table: as many as there is room for, and one besides the labels in any case."""
        places = self._places()
        labels, rest = places[: len(self.labels)], places[len(self.labels) :]
        tables = [list(labels)]
        for place in rest:
            if tables[-1] != labels and self._width([*tables[-1], place], least) > room:
                tables.append(list(labels))
            tables[-1].append(place)
        return tables

    def _as_rich(self, title: str, shown: Sequence[int], fixed: Mapping[int, int]) -> Table:
        caption = None if self.caption is None else Text(self.caption)
        table = Table(title=Text(title), title_justify="left", header_style="bold", caption=caption)
        for place in shown:
            table.add_column(Text(self.headings[place]), overflow="fold", width=fixed.get(place))
        for row in self.rows:
            table.add_row(*(Text(row.cells[place]) for place in shown), style=row.style, end_section=row.ends)
        return table


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
