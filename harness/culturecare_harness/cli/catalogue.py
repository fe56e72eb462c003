"""Commands that list what comes along: `judges`, `strategies`, `protocols`."""

from __future__ import annotations

from culturecare_harness.cli._app import app
from culturecare_harness.cli._options import console


@app.command()
def judges() -> None:
    """List the judges and juries that come with the package."""
    from rich.table import Table

    from culturecare_harness.judges import judges as all_judges
    from culturecare_harness.jury import juries

    table = Table("judge", "back end", "model", "mode", "what it is", header_style="bold")
    for known in all_judges().values():
        table.add_row(known.name, known.backend, known.model, known.mode, known.summary)
    console().print(table)
    table = Table("jury", "judges", "what it is", header_style="bold")
    for jury in juries().values():
        table.add_row(jury.name, ", ".join(juror.name for juror in jury.jurors), jury.summary)
    console().print(table)


@app.command()
def strategies() -> None:
    """List the strategies and the hash of each one's prompt."""
    from rich.table import Table

    from culturecare_harness.strategies import strategies as all_strategies

    table = Table("strategy", "version", "hash", "what it is", header_style="bold")
    for known in all_strategies().values():
        table.add_row(known.name, str(known.version), known.hash, known.summary)
    console().print(table)


@app.command(name="protocols")
def list_protocols() -> None:
    """List the protocols of the leaderboard: what a run must have done for its scores to stand beside others'."""
    from rich.table import Table

    from culturecare_harness.protocols import protocols as all_protocols

    table = Table("protocol", "status", "split", "posts", "judged by", "hash", "what it is", header_style="bold")
    for known in all_protocols().values():
        judges = ", ".join(judge.name for judge in known.judges)
        table.add_row(
            known.name, known.status, known.posts.split, str(sum(known.posts.cultures.values())), judges, known.hash, known.summary
        )
    console().print(table)
