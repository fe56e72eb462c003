"""What stands on the page: tables, charts, items and sentences, as one structure for HTML and Markdown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from culturecare_harness.report.charts import Forest, Profile
    from culturecare_harness.report.claims import Answer
    from culturecare_harness.report.methods import Methods

__all__ = ["AdaptedSection", "Cell", "HeatCell", "HeatGroup", "Item", "ItemList", "Judgement", "Report", "ScoreRow", "Section", "Table"]


@dataclass(frozen=True)
class Table:
    """A plain table; the first cell of a row names it.

    Attributes:
        note: What must be read with it.
        numbers: Places of the columns that hold figures.
    """

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    numbers: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Cell:
    """A cell of the score table: emotional and cultural score, or the overall one, and the published figures beside it.

    Attributes:
        intervals: One for each mean.
        basis: On how many replies and which cultures it rests, where these are fewer than the row's and the table's.
    """

    figures: str
    intervals: tuple[str, ...]
    published: str = ""
    basis: str = ""


@dataclass(frozen=True)
class ScoreRow:
    """A strategy's row of the score table."""

    label: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class HeatCell:
    """A cell of a heat map.

    Attributes:
        text: The mean.
        step: From 0 (grade 1) to 8 (grade 5), null where there is no mean.
        title: The mean with its interval and its number of replies.
        is_partial: Whether it rests on some of the replies alone, which a mark says.
    """

    text: str
    step: int | None
    title: str
    is_partial: bool = False


@dataclass(frozen=True)
class HeatGroup:
    """A strategy's rows of a heat map: one a culture, and one of all."""

    strategy: str
    rows: tuple[tuple[str, tuple[HeatCell, ...]], ...]


@dataclass(frozen=True)
class Item:
    """A reply among the best or the worst.

    Attributes:
        post: The post; null where it may not be shown.
        reply: The reply; null where it may not be shown.
        withheld: Why not.
    """

    heading: str
    scores: str
    culture: str
    instance: str
    post: str | None
    reply: str | None
    withheld: str


@dataclass(frozen=True)
class ItemList:
    """The best or the worst replies of a model."""

    title: str
    items: tuple[Item, ...]


@dataclass(frozen=True)
class Section:
    """What one model's replies got from one judge.

    Attributes:
        posts: How many posts of each culture the replies are to.
        over: The cultures that means over cultures are taken over.
        published_over: What the published averages beside the model's are, where they are not those that were published.
        scores: Its rows of the score table.
        heat_table: The heat map's means with their intervals.
        differences: Of each strategy to the baseline; null where the run lacks it.
        forest: The same as a chart.
    """

    model: str
    judge: str
    published_as: str | None
    posts: str
    over: str
    published_over: str
    scores: tuple[ScoreRow, ...]
    heat: tuple[HeatGroup, ...]
    heat_table: Table
    forest: Forest | None
    differences: Table | None
    profile: Profile
    profile_table: Table

    @property
    def is_partial(self) -> bool:
        """Whether a mean of the heat map does not rest on all replies."""
        return any(cell.is_partial for group in self.heat for _, cells in group.rows for cell in cells)


@dataclass(frozen=True)
class AdaptedSection:
    """A model with its adapter beside the model without, as one judge graded both."""

    adapted: str
    base: str
    judge: str
    anchor: str
    forest: Forest
    differences: Table


@dataclass(frozen=True)
class Judgement:
    """What one judge or jury says of all runs."""

    judge: str
    anchor: str
    sections: tuple[Section, ...]


@dataclass(frozen=True)
class Report:
    """The whole report."""

    title: str
    date: str
    summary: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    answers: tuple[Answer, ...]
    culture_names: tuple[str, ...]
    dimensions: tuple[str, ...]
    judgements: tuple[Judgement, ...]
    adapted: tuple[AdaptedSection, ...]
    published: Table
    published_notes: tuple[str, ...]
    items: tuple[ItemList, ...]
    items_note: str
    quality: tuple[Table, ...]
    people: tuple[Table, ...]
    people_notes: tuple[str, ...]
    costs: Table
    methods: Methods
