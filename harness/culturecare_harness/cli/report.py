"""The command `report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from culturecare_harness.cli._app import app
from culturecare_harness.cli._options import Release, progress_bar


@app.command(
    epilog="Examples:\n\n  culturecare report runs/demo\n\n"
    "  culturecare report runs/aya-… runs/qwen-… runs/llama-… --release path/to/release --out paper.html\n\n"
    "  culturecare report runs/my-model-… --peer comparisons --check o3-mini-check.json --human packet.scores.json"
)
def report(
    runs: Annotated[
        list[Path], typer.Argument(help="Folders of judged runs on one dataset, or of lm_eval's samples once judged.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--out", help="The HTML file; a Markdown file of the same name is written beside it.")] = Path(
        "report.html"
    ),
    release: Release = None,
    peer: Annotated[
        list[Path] | None,
        typer.Option(
            "--peer",
            help="Result of `culturecare judge compare`, or a folder of them, besides those in the runs' folders; may be repeated.",
            show_default=False,
        ),
    ] = None,
    human: Annotated[
        list[Path] | None,
        typer.Option("--human", help="Result of `culturecare human score`, or the packet's folder; may be repeated.", show_default=False),
    ] = None,
    check: Annotated[
        list[Path] | None, typer.Option("--check", help="Report of `culturecare judge check --out`; may be repeated.", show_default=False)
    ] = None,
) -> None:
    """Report on runs: scores beside the published ones, tests, and an answer to each of the paper's four claims, as one HTML page.

    The page opens offline and prints well; a Markdown file beside it holds the same. Nothing is concluded where the data can't carry it.
    """
    from culturecare_harness.report import make_report

    with progress_bar() as progress:
        html, markdown = make_report(runs, out, progress, release=release, compared=peer or (), people=human or (), checks=check or ())
    typer.echo(f"Report: {html}\nMarkdown: {markdown}")
