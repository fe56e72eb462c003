"""From folders of runs to a page of HTML and a file of Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from culturecare import CultureCareError
from culturecare_harness.counting import counted
from culturecare_harness.records import whole_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from culturecare_harness.progress import Progress

__all__ = ["make_report"]


def make_report(
    runs: Sequence[Path],
    out: Path,
    progress: Progress,
    *,
    release: Path | None = None,
    compared: Sequence[Path] = (),
    people: Sequence[Path] = (),
    checks: Sequence[Path] = (),
) -> tuple[Path, Path]:
    """Writes a report. Equal inputs give equal bytes: its date is that of the newest result.

    Args:
        runs: Folders of runs, or files or folders of lm-eval's samples, judged.
        out: The HTML file; the Markdown file takes its name with the ending `.md`.
        progress: Told what goes on.
        release: Folder of the released files, for runs on split `test`.
        compared: Results of `judge compare`, or folders of them, besides those in the runs' folders.
        people: Results of `human score`, or packets' folders beside which they stand.
        checks: Reports of `judge check`.

    Returns:
        The HTML file and the Markdown file.

    Raises:
        CultureCareError: There is no run, something given is not what it must be, or a file cannot be written.
    """
    from culturecare_harness.report.content import build_report
    from culturecare_harness.report.evidence import read_evidence
    from culturecare_harness.report.rendering import render_html, render_markdown

    if not runs:
        raise CultureCareError("name at least one folder of a run")
    if out.suffix != ".html":
        raise CultureCareError(f"{out}: the report is HTML, so that its name must end in .html")
    evidence = read_evidence(runs, release, progress, compared=compared, people=people, checks=checks)
    progress.say(
        f"Testing and drawing: {counted(len(evidence.runs), 'run')}, {counted(len(evidence.panels), 'judge or jury', 'judges or juries')}."
    )
    report = build_report(evidence)
    written = out, out.with_suffix(".md")
    for path, text in zip(written, (render_html(report), render_markdown(report)), strict=True):
        with whole_file(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return written
