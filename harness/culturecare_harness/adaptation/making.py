"""What making training data of judged replies has in common, be it examples (`distillation`) or pairs (`preferences`)."""

from __future__ import annotations

import collections
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from culturecare import CultureCareError, DataError, Record
from culturecare_harness.adaptation.examples import Example, Preference, Written
from culturecare_harness.adaptation.preview import is_preview, write_preview
from culturecare_harness.adaptation.sources import admit, candidate_to_train
from culturecare_harness.records import Reply, check_place, read_records, write_records
from culturecare_harness.scoring import reply_metrics
from culturecare_harness.strategies import select_strategies

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from culturecare_harness.adaptation.sources import Admission
    from culturecare_harness.records import Instance, Verdict
    from culturecare_harness.strategies import Strategy

__all__ = ["Graded", "LeftOut", "Made", "admit_posts", "check_out", "counted_reasons", "one_strategy", "write_made"]

LeftOut = collections.Counter[str]
"""Number of what was left out, by reason."""


class Made(Record):
    """A file of training data and how it came about.

    Attributes:
        path: The file.
        posts: Number of posts that were replied to.
        replies: Number of replies to them.
        kept: Number of records in the file.
        left_out: Number of what was left out, by reason.
        notes: Sentences that must be read with a model trained on this.
    """

    path: Path
    posts: int = Field(ge=0)
    replies: int = Field(ge=0)
    kept: int = Field(ge=1)
    left_out: dict[str, int]
    notes: tuple[str, ...]


class Graded(Record):
    """A reply with its metrics, as `scoring.reply_metrics` has them."""

    reply: Reply
    metrics: dict[str, float | None]

    @classmethod
    def of(cls, reply: Reply, verdicts: Sequence[Verdict]) -> Graded:
        """The reply with the metrics of one verdict a dimension."""
        return cls(reply=reply, metrics=reply_metrics(reply.text, reply.language, verdicts))

    @property
    def text(self) -> str:
        """What is learnt of it."""
        return self.reply.text.strip()

    @property
    def emotional(self) -> float:
        """Mean of the emotional grades, in [1, 5]; 0 where one is missing."""
        return self.metrics["emotional"] or 0.0

    @property
    def cultural(self) -> float:
        """Mean of the cultural grades, in [1, 5]; 0 where one is missing."""
        return self.metrics["cultural"] or 0.0

    @property
    def overall(self) -> float:
        """Mean of the two."""
        return (self.emotional + self.cultural) / 2

    @property
    def in_its_language(self) -> bool:
        """Whether it is in the post's language, as far as that can be told."""
        return self.metrics["same_language"] == 1

    def fault(self, held_out: frozenset[str]) -> str | None:
        """Why nothing can be learnt from it, null where something can."""
        if self.reply.instance_id in held_out:
            return "held out for the benchmark"
        if not self.text:
            return "empty"
        if self.metrics["coverage"] != 1:
            return "without a grade on every dimension"
        return None

    def written(self, judge: str) -> Written:
        """Who wrote it, and what the judge of that name says of it."""
        reply = self.reply
        return Written(model=reply.model, strategy=reply.strategy, judge=judge, emotional=self.emotional, cultural=self.cultural)


def check_out(out: Path, kind: type[Example | Preference]) -> None:
    """Refuses a place where no data file can be made, or where something would be lost, before anything is made for it.

    What an earlier call made is made again: a file of records of this kind alone, and the page beside it as it was written. Anything else
    that is there is somebody's, such as the posts themselves.

    Args:
        out: The data file to be made.
        kind: Of what records.

    Raises:
        CultureCareError: It does not end in `.jsonl`, nothing can be written there, or another file has its name or its page's.
    """
    if out.suffix != ".jsonl" or out.is_dir():
        raise CultureCareError(
            f"--out {out}: must be a file that ends in .jsonl; the files made beside it take its name with other endings"
        )
    check_place(out)
    if out.exists() and not _holds_only(out, kind):
        raise CultureCareError(
            f"--out {out}: is there already, and no file of {kind.__name__.lower()}s that such a call made; name another file"
        )
    page = _page_of(out)
    if page.exists() and not (page.is_file() and is_preview(page)):
        raise CultureCareError(
            f"--out {out}: {page} is there already, and no page that such a call wrote, or was changed since; name another file"
        )


def _holds_only(path: Path, kind: type[Example | Preference]) -> bool:
    """Whether each line of a file is a record of that kind; an empty file has nothing to lose."""
    if not path.is_file():
        return False
    try:
        read_records(path, kind)
    except DataError:
        return False
    return True


def _page_of(out: Path) -> Path:
    """The page for people that stands beside a data file."""
    return out.with_suffix(".md")


def write_made(out: Path, title: str, facts: Mapping[str, object], records: Sequence[Example | Preference], notes: Iterable[str]) -> None:
    """Writes a data file and its page, if the place is still free: making them took its time.

    Args:
        out: The data file.
        title: The page's heading.
        facts: What the page says of the data as a whole.
        records: The data, all of one kind; at least one.
        notes: Sentences that must be read with it.

    Raises:
        CultureCareError: They cannot be written, or something else is there by now.
    """
    check_out(out, type(records[0]))
    write_preview(_page_of(out), title, facts, records, notes)
    write_records(out, records)


def one_strategy(name: str, option: str) -> Strategy:
    """The strategy of a name, where one alone is meant.

    Args:
        name: Name of a strategy.
        option: Where it was named.

    Raises:
        CultureCareError: It is unknown, or `all`.
    """
    chosen = select_strategies([name])
    if len(chosen) > 1:
        raise CultureCareError(
            f"{option} {name}: one strategy is meant, but this names {len(chosen)}: choose from {', '.join(each.name for each in chosen)}"
        )
    return chosen[0]


def admit_posts(posts: Iterable[tuple[str, Instance]], permission: Path | None, release: Path | None) -> Admission:
    """Sends posts that a model is to be trained on replies to through the gate and the leak check, before anything is made of them.

    Args:
        posts: Each with where it is from.
        permission: File with a written arrangement for posts that are forbidden otherwise.
        release: Folder of the released files, for the leak check.

    Raises:
        CultureCareError: They are forbidden or the benchmark's.
    """
    return admit([candidate_to_train(instance, where) for where, instance in posts], permission=permission, release=release)


def counted_reasons(left_out: Mapping[str, int]) -> str:
    """What was left out, as a list in words."""
    return ", ".join(f"{number} {reason}" for reason, number in left_out.items())
