"""Items: replies with their verdicts, of one submission, and of two on the same posts."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from culturecare_harness.jury import JuryResult
from culturecare_harness.scoring import graded_metrics
from culturecare_harness.stats import mean_of_means, mean_of_means_interval
from culturecare_leaderboard.address import ANY
from culturecare_leaderboard.views.tables import SUMMARIES

if TYPE_CHECKING:
    from culturecare import Instance
    from culturecare_harness.board import Entry
    from culturecare_harness.bundle import PublicReply
    from culturecare_harness.jury import JuryVerdict
    from culturecare_harness.protocols import Protocol
    from culturecare_harness.records import Verdict
    from culturecare_leaderboard.address import Address
    from culturecare_leaderboard.views.tables import Tables

__all__ = ["Difference", "HeadToHead", "Item", "Pair", "compare", "items_of"]


@dataclass(frozen=True, slots=True)
class Item:
    """A reply with its verdicts.

    Attributes:
        post: What it answers, null where it may not be shown or is not in this copy of the dataset.
        verdicts: By dimension, in the rubric's order.
        scores: All metrics, null where there is no value.
        jurors: Names of the judges whose grades a jury's verdicts hold, in the jury's order; none where one judge graded.
    """

    reply: PublicReply
    post: Instance | None
    verdicts: dict[str, Verdict | JuryVerdict]
    scores: dict[str, float | None]
    jurors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two submissions' replies to one post under one strategy; `difference` is the first's overall less the second's."""

    first: Item
    second: Item
    difference: float | None


@dataclass(frozen=True, slots=True)
class Difference:
    """Mean of the first's scores, of the second's, and of their paired differences, with its 95 % interval."""

    metric: str
    first: float | None
    second: float | None
    mean: float | None
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True, slots=True)
class HeadToHead:
    """Two submissions item by item.

    Attributes:
        differences: One a metric.
        pairs: Of the page, largest difference first.
        wins: How often the first scored higher, how often the same, how often lower.
        found: Number of pairs on all pages.
    """

    differences: tuple[Difference, ...]
    pairs: tuple[Pair, ...]
    wins: tuple[int, int, int]
    found: int
    page: int
    pages: int


def items_of(tables: Tables, protocol: Protocol, entry: Entry, address: Address) -> list[Item]:
    """A submission's items in the address's culture and strategy, in the bundle's order.

    Raises:
        CultureCareError: The bundle cannot be read.
    """
    bundle = tables.board.bundle(entry.id)
    rubric, dimensions = protocol.judges[0].rubric, tables.dimensions(protocol)
    jurors = tuple(judge.name for judge in bundle.result.jury.judges) if isinstance(bundle.result, JuryResult) else ()
    by_reply: dict[str, dict[str, Verdict | JuryVerdict]] = defaultdict(dict)
    for verdict in bundle.verdicts:
        by_reply[verdict.reply_id][verdict.dimension] = verdict
    items = []
    for reply in bundle.replies:
        if address.culture in (ANY, reply.culture) and address.strategy in (ANY, reply.strategy):
            verdicts = {key: by_reply[reply.id][key] for key in dimensions if key in by_reply[reply.id]}
            scores = graded_metrics({key: verdicts[key].score if key in verdicts else None for key in dimensions}, rubric)
            items.append(Item(reply, tables.post(entry, reply.instance_id), verdicts, scores, jurors))
    return items


def compare(tables: Tables, protocol: Protocol, first: Entry, second: Entry, address: Address, size: int) -> HeadToHead:
    """Compares two submissions on the posts and strategies that both have.

    Raises:
        CultureCareError: A bundle cannot be read.
    """
    others = {(item.reply.instance_id, item.reply.strategy): item for item in items_of(tables, protocol, second, address)}
    pairs = []
    for item in items_of(tables, protocol, first, address):
        other = others.get((item.reply.instance_id, item.reply.strategy))
        if other is not None:
            mine, theirs = item.scores["overall"], other.scores["overall"]
            pairs.append(Pair(item, other, None if mine is None or theirs is None else mine - theirs))
    differences = tuple(_difference(metric, pairs) for metric in (*SUMMARIES, *tables.dimensions(protocol)))
    known = [pair.difference for pair in pairs if pair.difference is not None]
    wins = (sum(value > 1e-9 for value in known), sum(abs(value) <= 1e-9 for value in known), sum(value < -1e-9 for value in known))
    pairs.sort(key=lambda pair: -1.0 if pair.difference is None else abs(pair.difference), reverse=True)
    pages = max(1, -(-len(pairs) // size))
    page = min(address.page, pages)
    return HeadToHead(differences, tuple(pairs[(page - 1) * size : page * size]), wins, len(pairs), page, pages)


def _difference(metric: str, pairs: list[Pair]) -> Difference:
    first: dict[str, list[float]] = defaultdict(list)
    second: dict[str, list[float]] = defaultdict(list)
    # One value a post: its strategies' differences are averaged, since replies to one post are no independent posts.
    by_post: dict[tuple[str, str], list[float]] = defaultdict(list)
    for pair in pairs:
        mine, theirs = pair.first.scores[metric], pair.second.scores[metric]
        if mine is not None and theirs is not None:
            culture = pair.first.reply.culture
            first[culture].append(mine)
            second[culture].append(theirs)
            by_post[culture, pair.first.reply.instance_id].append(mine - theirs)
    apart: dict[str, list[float]] = defaultdict(list)
    for (culture, _), values in by_post.items():
        apart[culture].append(sum(values) / len(values))
    samples = list(apart.values())
    low, high = mean_of_means_interval(samples, (-4.0, 4.0)) or (None, None)
    return Difference(
        metric,
        mean_of_means(list(first.values())),
        mean_of_means(list(second.values())),
        mean_of_means(samples),
        low,
        high,
        sum(map(len, samples)),
    )
