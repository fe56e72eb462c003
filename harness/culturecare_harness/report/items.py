"""The best and the worst replies, with what of them may be shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from culturecare import SYNTHETIC_SPLITS, cultures
from culturecare_harness.quoting import repeats
from culturecare_harness.report.figures import grade
from culturecare_harness.report.page import Item, ItemList

if TYPE_CHECKING:
    from collections.abc import Iterable

    from culturecare_harness.records import Reply
    from culturecare_harness.report.evidence import Graded, Panel

__all__ = ["best_and_worst", "items_note"]

_ITEMS = 3
_WITHHELD = "Not shown: the reply repeats a passage of a post that may not be shown."


def best_and_worst(graded: Graded) -> list[ItemList]:
    """The best and the worst replies by their overall score, no instance twice."""
    scored = []
    for reply in graded.run.there.replies:
        overall = graded.by_reply[reply.id]["overall"]
        if overall is not None:
            scored.append((overall, reply))
    best = _first_of_each(sorted(scored, key=lambda pair: (-pair[0], pair[1].id)))
    worst = _first_of_each(sorted(scored, key=lambda pair: (pair[0], pair[1].id)))
    return [
        ItemList(f"{kind} replies of {graded.run.label}", tuple(_item(graded, reply) for reply in replies))
        for kind, replies in (("Best", best), ("Worst", worst))
        if replies
    ]


def _first_of_each(scored: Iterable[tuple[float, Reply]]) -> list[Reply]:
    found: dict[str, Reply] = {}
    for _, reply in scored:
        found.setdefault(reply.instance_id, reply)
        if len(found) == _ITEMS:
            break
    return list(found.values())


def _item(graded: Graded, reply: Reply) -> Item:
    scores = graded.by_reply[reply.id]
    post = graded.run.there.posts[reply.instance_id]
    may_show = reply.split in SYNTHETIC_SPLITS
    withheld = not may_show and repeats(reply.text, post)
    return Item(
        heading=f"{reply.strategy}: overall {grade(scores['overall'])}",
        scores=", ".join(f"{metric} {grade(scores[metric])}" for metric in ("emotional", "cultural", "quality")),
        culture=cultures()[reply.culture].name,
        instance=reply.instance_id,
        post=post if may_show else None,
        reply=None if withheld else reply.text,
        withheld=_WITHHELD if withheld else "",
    )


def items_note(panel: Panel, split: str) -> str:
    """What must be read with the items: how they were chosen, and what of them is shown."""
    note = f"By overall score under {panel.name}, {_ITEMS} of each kind and model, no post twice. They show what the judge rewards. "
    if split not in SYNTHETIC_SPLITS:
        return note + "Posts are not shown, for their authors' sake: an item is named by culture and id."
    return note + "The posts are synthetic: no real person wrote them. They tell of distress."
