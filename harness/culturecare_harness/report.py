"""Showing a result on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from culturecare import cultures

if TYPE_CHECKING:
    from rich.console import Console

    from culturecare_harness.records import Result, Score

__all__ = ["print_result"]

_SUMMARIES = ("emotional", "cultural", "quality", "overall")


def print_result(result: Result, console: Console) -> None:
    """Prints a result as a table: one row a strategy and culture, means with their 95 % intervals, and what must be read with them."""
    dataset, judge = result.dataset, result.judge
    console.print(
        f"\n[bold]{result.model.name}[/bold] on {dataset.instances} {'excerpts' if dataset.excerpt else 'posts'} of split {dataset.split} "
        f"(revision {dataset.revision}), "
        + (f"judged by {judge.name} ({judge.model}, {judge.mode}, rubric {judge.rubric} {judge.prompt_hash})" if judge else "not judged"),
        highlight=False,
    )
    table = Table(title_justify="left", header_style="bold")
    columns = (*_SUMMARIES, "coverage") if judge else ()
    for name in ("strategy", "culture", "replies", *columns, "same language", "characters"):
        table.add_column(name, justify="left" if name in ("strategy", "culture") else "right")
    scores = {(score.strategy, score.culture, score.metric): score for score in result.scores}
    for strategy in result.strategies:
        for culture in (*dataset.cultures, "all"):
            language = scores[strategy, culture, "same_language"]
            characters = scores[strategy, culture, "reply_characters"]
            cells = [_mean(scores[strategy, culture, metric]) for metric in _SUMMARIES] if judge else []
            if judge:
                cells.append(f"{scores[strategy, culture, 'overall'].coverage:.2f}")
            table.add_row(
                strategy,
                "all (mean)" if culture == "all" else cultures()[culture].name,
                str(characters.n),
                *cells,
                "–" if language.mean is None else f"{100 * language.mean:.0f} %",
                "–" if characters.mean is None else f"{characters.mean:.0f}",
                end_section=culture == "all",
                style="bold" if culture == "all" else None,
            )
    console.print(table)
    if result.coverage is not None:
        missing = ", ".join(f"{reason} ({count})" for reason, count in result.reasons.items())
        console.print(
            f"Coverage {result.coverage:.3f} of all verdicts." + (f" Without a score: {missing}." if missing else ""),
            highlight=False,
        )
    for note in result.notes:
        console.print(f"Note: {note}", highlight=False)


def _mean(score: Score) -> str:
    if score.mean is None:
        return "–"
    if score.low is None or score.high is None:
        return f"{score.mean:.2f}"
    return f"{score.mean:.2f} [{score.low:.2f}, {score.high:.2f}]"
