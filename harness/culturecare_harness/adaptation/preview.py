"""A short page beside a data file, so that a person can see what a model is to learn before it does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from culturecare import DataError
from culturecare_harness.adaptation.examples import Example, Preference
from culturecare_harness.records import digest, whole_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from culturecare_harness.adaptation.examples import Written

__all__ = ["SHOWN", "is_preview", "write_preview"]

SHOWN = 20
"""So many records stand on the page; the data file has all."""


def write_preview(
    path: Path, title: str, facts: Mapping[str, object], records: Sequence[Example | Preference], notes: Iterable[str]
) -> None:
    """Writes a Markdown page: what the data is, and its first records with post, replies and grades.

    Its last line is a comment with a hash of what stands before, by which `is_preview` knows it again.

    Args:
        path: The page.
        title: Its heading.
        facts: What to say of the data as a whole.
        records: The data.
        notes: Sentences that must be read with it.

    Raises:
        DataError: It cannot be written.
    """
    lines = [f"# {title}", "", *(f"- {name}: {value}" for name, value in facts.items()), ""]
    lines += [line for note in notes for line in (f"> **Note.** {note}", "")]
    if len(records) > SHOWN:
        lines += [f"The first {SHOWN} of {len(records)}:", ""]
    for number, record in enumerate(records[:SHOWN], 1):
        lines += [f"## {number}. {record.instance_id} ({record.strategy})", "", "Post:", "", *_quoted(record.post)]
        if isinstance(record, Example):
            lines += [_heading("Reply", record.written), "", *_quoted(record.reply)]
        else:
            lines += [_heading("Preferred reply", record.chosen_by), "", *_quoted(record.chosen)]
            lines += [_heading("The other reply", record.rejected_by), "", *_quoted(record.rejected)]
    page = "\n".join(lines)
    with whole_file(path) as temporary:
        temporary.write_bytes(f"{page}{_mark(page)}".encode())


def is_preview(path: Path) -> bool:
    """Whether a file is a page as `write_preview` wrote it, so that nobody's words are lost if it is written again.

    Raises:
        DataError: It cannot be read.
    """
    try:
        content = path.read_bytes().decode("utf-8", "replace")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    page = content[: -len(_mark(""))]
    return content == f"{page}{_mark(page)}"


def _mark(page: str) -> str:
    return f"\n<!-- culturecare adapt {digest(page)} -->\n"


def _heading(name: str, written: Written | None) -> str:
    if written is None:
        return f"{name}, by a person:"
    return f"{name}, by {written.model} asked by {written.strategy}: emotional {written.emotional:.2f}, cultural {written.cultural:.2f}"


def _quoted(text: str) -> list[str]:
    # Tags in a text stay text wherever the page is shown.
    return [*(f"> {line}".rstrip() for line in text.replace("&", "&amp;").replace("<", "&lt;").splitlines()), ""]
