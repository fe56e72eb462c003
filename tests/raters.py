"""Made-up runs, packets and raters: replies that nobody wrote and ratings that nobody gave, in the shape of real ones."""

from __future__ import annotations

import datetime as dt
import random
import re
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from culturecare import dataset_revision
from culturecare_harness.dataset import Selection, select_instances
from culturecare_harness.human.forms import select_form
from culturecare_harness.human.items import asked
from culturecare_harness.human.packets import make_packet
from culturecare_harness.human.ratings import rate
from culturecare_harness.records import Model, Reply, digest, reply_id
from culturecare_harness.runs import ReplySet

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from culturecare_harness.human.forms import Question
    from culturecare_harness.human.items import Item, OpenPacket
    from culturecare_harness.human.packets import MadePacket
    from culturecare_harness.human.ratings import Rating

NOON = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)


def make_run(
    model: str = "lab/Listener-7B",
    strategies: Sequence[str] = ("standard", "cga"),
    cultures: Sequence[str] = ("german", "american"),
    *,
    per_culture: int | None = None,
    text: Callable[[str, str], str] | None = None,
) -> ReplySet:
    """Replies of a model that does not exist to the synthetic posts of split `sample`.

    Args:
        text: Writes a reply from instance id and strategy.
    """
    instances = select_instances(Selection(split="sample", cultures=tuple(cultures), per_culture=per_culture))
    # No two are equal, and none tells where it came from.
    write = text or (lambda name, strategy: f"I hear you. Take {int(digest([name, strategy, model]), 16) % 10**9} breaths.")
    replies = []
    for strategy in strategies:
        for instance in instances:
            written = write(instance.id, strategy)
            replies.append(
                Reply(
                    id=reply_id(instance.id, strategy, model, written),
                    instance_id=instance.id,
                    culture=instance.culture,
                    language=instance.language,
                    split="sample",
                    dataset_revision=dataset_revision("sample"),
                    strategy=strategy,
                    prompt_hash="0123456789abcdef",
                    excerpt=False,
                    model=model,
                    text=written,
                    generation={},
                )
            )
    return ReplySet(
        replies=tuple(replies),
        posts={instance.id: instance.post_text for instance in instances},
        instances=instances,
        model=Model(name=model, backend="hf", arguments={}),
        notes=(),
        folder=Path(model),
    )


def small_packet(out: Path, form: str = "annotator", runs: Sequence[ReplySet] | None = None, **settings: Any) -> MadePacket:
    """A packet of five conditions for three raters of each of two cultures, unless `settings` say otherwise."""
    chosen = list(runs) if runs is not None else [make_run(), make_run("lab/Speaker-8B")]
    settings.setdefault("raters", dict.fromkeys(dict.fromkeys(reply.culture for run in chosen for reply in run.replies), 3))
    settings.setdefault("per_item", 3)
    return make_packet(chosen, select_form(form), out=out, **settings)


def answers(
    packet: OpenPacket,
    rater: str,
    *,
    seed: int = 0,
    answer: Callable[[Question, Item, str | None], int | str | Sequence[str] | None] | None = None,
    at: dt.datetime = NOON,
) -> list[Rating]:
    """All of a rater's ratings, drawn at random unless `answer` gives them."""
    chance = random.Random(f"{rater}/{seed}")  # noqa: S311 - no secret.
    given = answer or (lambda question, item, _: draw(question, item, chance))
    ratings = []
    for name in packet.assignment(rater).items:
        item = packet.items[name]
        for question, label in asked(packet.packet.form, item):
            value = given(question, item, label)
            if value is not None or question.required:
                ratings.append(rate(packet, rater, name, label, question.key, value, at=at))
    return ratings


def draw(question: Question, item: Item, chance: random.Random) -> int | str | list[str]:
    """An answer to a question by chance."""
    if question.kind == "text":
        return f"A comment, {chance.randrange(1000)}."
    if question.kind == "ranking":
        return chance.sample(item.labels, len(item.labels))
    return chance.choice(question.values).value


def saved_at(path: Path, at: dt.datetime | None) -> None:
    """Has a workbook say that it was last saved then; without a time it says nothing, as some spreadsheet programs leave it."""
    with zipfile.ZipFile(path) as archive:
        parts = {entry: archive.read(entry) for entry in archive.infolist()}
    said = f"{at:%Y-%m-%dT%H:%M:%SZ}" if at else ""
    with zipfile.ZipFile(path, "w") as archive:
        for entry, content in parts.items():
            is_properties = entry.filename == "docProps/core.xml"
            dated = re.sub(rb"(<dcterms:modified[^>]*>)[^<]*", rb"\g<1>" + said.encode(), content) if is_properties else content
            archive.writestr(entry, dated)
