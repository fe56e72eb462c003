"""A packet's scores in a few lines: what counts, who was left out, and which judge to use for which culture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from culturecare import cultures
from culturecare_harness.human.condition_scores import ALL

if TYPE_CHECKING:
    from rich.console import Console

    from culturecare_harness.human.analysis import HumanResult
    from culturecare_harness.human.judge_choice import JudgeChoice

__all__ = ["print_summary"]


def print_summary(result: HumanResult, console: Console) -> None:
    """Prints what a reader of long tables wants to take along."""
    console.print("\n[bold]In short[/bold]")
    console.print(_counted(result), highlight=False, markup=False)
    console.print(_left_out(result), highlight=False, markup=False)
    if result.choices:
        console.print(_judges(result))
    elif result.judges:
        console.print("Which judge to use: cannot be told; the judges grade nothing that this form asks.", highlight=False, markup=False)
    else:
        console.print("Which judge to use: none was held against these people; name judged runs with --run.", highlight=False, markup=False)


def _counted(result: HumanResult) -> str:
    names = [cultures()[culture].name for culture in result.cultures]
    of = f"{len(names)} cultures" if len(names) != 1 else names[0]
    return f"{result.ratings} ratings ({of}); {result.raters} of {len(result.rater_quality)} raters count, with {result.items} items."


def _left_out(result: HumanResult) -> str:
    failed = [one for one in result.rater_quality if one.failed]
    if not failed:
        return "Raters excluded: none; nobody failed."
    who = "; ".join(f"{one.rater} {' and '.join(one.failed)}" for one in failed)
    if result.excluded:
        return f"Raters excluded: {len(failed)} ({who})."
    return f"Raters excluded: none, though {len(failed)} failed ({who}); --exclude-failed leaves them out."


def _judges(result: HumanResult) -> Table:
    metrics = list(dict.fromkeys(choice.metric for choice in result.choices))
    table = Table(title="Which judge to use", title_justify="left", header_style="bold")
    for heading in ("culture", *metrics):
        table.add_column(heading, overflow="fold")
    found = {(choice.culture, choice.metric): choice for choice in result.choices}
    # The mean over one culture is that culture's, and need not be said twice.
    for culture in (*result.cultures, ALL) if len(result.cultures) > 1 else result.cultures:
        name = "all (mean)" if culture == ALL else cultures()[culture].name
        table.add_row(name, *(_advice(found.get((culture, metric))) for metric in metrics))
    return table


def _advice(choice: JudgeChoice | None) -> str:
    if choice is None:
        return "–"
    if choice.status == "use":
        also = f" (or {', '.join(choice.also)})" if choice.also else ""
        return f"[bold green]{escape(f'{choice.judge}{also}')}[/]"
    return {"none": "[bold red]none of these[/]", "undecided": "[bold yellow]undecided[/]"}[choice.status]
