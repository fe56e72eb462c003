"""Made-up runs on a made-up release with full text, whose cell means are whatever a test says, such as the published ones.

Nobody wrote these posts and replies, and no judge gave these grades; the files are as real runs leave them.
"""

from __future__ import annotations

import datetime as dt
import json
import random
from functools import cache
from typing import TYPE_CHECKING, Any
from unittest import mock

import culturecare
from culturecare import cultures, detect_language
from culturecare_harness import scoring
from culturecare_harness.dataset import Selection, select_instances
from culturecare_harness.generate import Generation
from culturecare_harness.judges import select_judge
from culturecare_harness.pairs import PairVerdict, Preference, against_peer, build_pairs_result
from culturecare_harness.records import Model, Reply, Verdict, digest, reply_id, write_json, write_records
from culturecare_harness.report.published import published
from culturecare_harness.runs import MANIFEST, REPLIES, Manifest
from culturecare_harness.scoring import build_result
from culturecare_harness.strategies import strategies as all_strategies

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from culturecare import Split

Means = dict[tuple[str, str], tuple[float, float]]
"""Of each strategy and culture the emotional and the cultural mean."""

RELEASED = ("arabic", "chinese", "german", "jewish")
STRATEGIES = ("standard", "culture", "guided", "annotation", "cga")
JUDGE = "llama-3.1-70b"
POSTS = {"arabic": 110, "chinese": 141, "german": 119, "jewish": 92}
"""Posts of each culture in the real release."""


def published_means(model: str) -> Means:
    """The published cell means of a model."""
    return {(row.strategy, culture): scores for row in published().rows if row.model == model for culture, scores in row.cultures.items()}


def flat_means(**changed: tuple[float, float]) -> Means:
    """Equal means for all strategies, but for those that are named."""
    return {(strategy, culture): changed.get(strategy, (4.0, 3.3)) for strategy in STRATEGIES for culture in RELEASED}


def make_release(folder: Path, sizes: Mapping[str, int], *, full: bool = True) -> Path:
    """A release of posts that nobody wrote, with full text, or known by phrases and address alone."""
    folder.mkdir(parents=True, exist_ok=True)
    for key, size in sizes.items():
        rows = [json.dumps(_row(key, number, full=full), ensure_ascii=False) for number in range(size)]
        (folder / f"{cultures()[key].name}_data.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


def _row(key: str, number: int, *, full: bool) -> dict[str, Any]:
    name = cultures()[key].name
    phrase = f"I lie awake over invented worry number {number}"
    address = f"https://example.org/{key}/{number}"
    text = f"This post was made up for a test of {name} items. {phrase}, and my family must not know."
    return {
        "culture": name,
        "post_id": f"made-up-{number}",
        "language": "en",
        "post": {
            "text": text if full else address,
            **({"url": address} if full else {}),
            "emotional_distress": [{"phrase": phrase, "intensity": "moderate"}],
            "cultural_signals": [{"phrase": "my family must not know", "type": "Values"}],
            "demographic_info": {},
        },
        "response": {
            **({"text": f"Made-up peer here, number {number}: I know that feeling."} if full else {}),
            "emotional_support": [],
            "cultural_signals": [],
            "empathy_score": "",
        },
    }


def make_run(
    folder: Path,
    release: Path,
    model: str,
    means: Means,
    *,
    exact: bool = True,
    judge: str = JUDGE,
    seed: int = 0,
    spread: tuple[float, float] = (0.45, 0.5),
    missing: float = 0.0,
    text: str | None = None,
    adapter: str | None = None,
    split: Split = "test",
) -> Path:
    """Writes the folder of a judged run.

    Args:
        folder: Where.
        release: From `make_release`.
        model: Who replied.
        means: What the cells' means are to be; strategies and cultures that it lacks are no part of the run.
        exact: Whether a cell's mean is exactly that, and not that of a population from which the cell is drawn.
        judge: Name of the judge.
        seed: Of the spread.
        spread: Standard deviation of what instances share over the strategies, and of what they don't.
        missing: Share of the verdicts that have no score.
        text: Text of every reply, for hostile ones.
        adapter: Name of an adapter, for a run of the model with it.
        split: `own` where the release is a file of a user's own posts.
    """
    base, model = model, model if adapter is None else f"{model}+{adapter}"
    names = [name for name in STRATEGIES if any(strategy == name for strategy, _ in means)]
    present = tuple(key for key in RELEASED if any(culture == key for _, culture in means))
    instances = select_instances(Selection(split=split, release=release, cultures=present))
    revision = culturecare.dataset_revision(split, release)
    generation = Generation()
    chosen = select_judge(judge)
    chance = random.Random(f"{model}/{seed}")  # noqa: S311 - no secret.
    graded = {
        (name, key): _grades(means[name, key], instances, key, chance, exact, spread, seed)
        for name in names
        for key in RELEASED
        if (name, key) in means
    }
    replies, verdicts = [], []
    for name in names:
        place = dict.fromkeys(RELEASED, 0)
        for instance in instances:
            emotional, cultural = graded[name, instance.culture][place[instance.culture]]
            place[instance.culture] += 1
            said = text or f"I hear how heavy that is for you. Reply {place[instance.culture]} by {name}."
            reply = Reply(
                id=reply_id(instance.id, name, model, said),
                instance_id=instance.id,
                culture=instance.culture,
                language=instance.language,
                split=split,
                dataset_revision=revision,
                strategy=name,
                prompt_hash=all_strategies()[name].hash,
                excerpt=instance.excerpt,
                model=model,
                text=said,
                generation=generation.model_dump(),
            )
            replies.append(reply)
            verdicts += _verdicts(reply, chosen.judge, emotional, cultural, chance, missing)
    manifest = Manifest(
        model=Model(name=model, backend="hf", arguments={"dtype": "bfloat16", **({} if adapter is None else {"peft": adapter})}),
        model_identity=digest([model]),
        base_identity=None if adapter is None else digest([base]),
        batch_size=8,
        split=split,
        dataset_revision=revision,
        cultures=tuple(key for key in RELEASED if any(instance.culture == key for instance in instances)),
        text="auto",
        per_culture=None,
        strategies={name: all_strategies()[name].hash for name in names},
        generation=generation,
    )
    folder.mkdir(parents=True)
    write_json(folder / MANIFEST, manifest)
    write_records(folder / REPLIES, replies)
    write_records(folder / "judged.verdicts.jsonl", verdicts)
    with mock.patch.object(scoring, "detect_language", _language):
        result = build_result(replies, verdicts, chosen, manifest.model)
    write_json(folder / "judged.result.json", result.model_copy(update={"created": WHEN}))
    return folder


WHEN = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)


_language = cache(detect_language)  # Runs say the same again and again, and telling a language takes long.


def _grades(
    means: tuple[float, float],
    instances: Sequence[Any],
    key: str,
    chance: random.Random,
    exact: bool,  # noqa: FBT001 - passed on.
    spread: tuple[float, float],
    seed: int,
) -> list[tuple[float, float]]:
    own = [instance.id for instance in instances if instance.culture == key]
    sides = []
    for side, mean in enumerate(means):
        latent = [mean + _shared(identity, seed, side) * spread[0] + chance.gauss(0, spread[1]) for identity in own]
        sides.append(_moved(latent, mean) if exact else [min(5.0, max(1.0, value)) for value in latent])
    return list(zip(*sides, strict=True))


@cache
def _shared(identity: str, seed: int, side: int) -> float:
    return random.Random(f"{identity}/{seed}/{side}").gauss(0, 1)  # noqa: S311


def _moved(values: Sequence[float], mean: float) -> list[float]:
    """The values moved together, and kept on the scale, so that their mean is as wanted."""
    low, high = -10.0, 10.0
    for _ in range(80):
        middle = (low + high) / 2
        moved = [min(5.0, max(1.0, value + middle)) for value in values]
        low, high = (middle, high) if sum(moved) / len(moved) < mean else (low, middle)
    return moved


def _verdicts(reply: Reply, judge: Any, emotional: float, cultural: float, chance: random.Random, missing: float) -> list[Verdict]:
    """One verdict a dimension; those of a group differ, and their mean is the group's score."""
    apart = min(chance.uniform(0, 0.4), 5 - emotional, emotional - 1), min(chance.uniform(0, 0.6), 5 - cultural, cultural - 1)
    scores = {
        "empathy": emotional + apart[0],
        "helpfulness": emotional - apart[0],
        "sociopolitical_influence": cultural - apart[1],
        "knowledge": cultural,
        "cultural_context": cultural + apart[1],
        "fluency": min(5.0, 4.6 + chance.uniform(0, 0.4)),
        "communication": min(5.0, 4.2 + chance.uniform(0, 0.6)),
    }
    found = []
    for dimension, score in scores.items():
        lost = chance.random() < missing
        found.append(
            Verdict(
                reply_id=reply.id,
                judge=judge,
                dimension=dimension,
                score=None if lost else min(5.0, max(1.0, score)),
                reason="the answer holds no grade: made up" if lost else None,
                digit_mass=None if lost else 0.93,
                prompt_tokens=1100,
                completion_tokens=1,
            )
        )
    return found


def make_comparison(
    folder: Path, release: Path, wins: Mapping[str, float], *, judge: str = JUDGE, seed: int = 0, split: Split = "test"
) -> Path:
    """Writes a comparison of the run's replies with the peers' into its folder.

    Args:
        folder: The run's.
        release: From `make_release`.
        wins: Of each strategy the chance that the judge prefers its reply.
        judge: Name of the judge.
        seed: Of the chances.
        split: As the run's.
    """
    from culturecare_harness.records import read_records

    chance = random.Random(f"wins/{seed}")  # noqa: S311
    chosen = select_judge(judge)
    instances = select_instances(Selection(split=split, release=release))
    replies = [reply for reply in read_records(folder / REPLIES, Reply) if reply.strategy in wins]
    pairing = against_peer(replies, instances)
    verdicts = []
    for pair, reply in zip(pairing.pairs, replies, strict=True):
        won = chance.random() < wins[reply.strategy]
        winner = "first" if won else "second"
        preference = Preference.model_validate({"score": 2.0 if won else 4.0, "winner": winner, "reason": None})
        verdicts.append(
            PairVerdict(
                instance_id=pair.instance_id,
                culture=pair.culture,
                first=pair.first.contestant,
                second=pair.second.contestant,
                first_reply=pair.first.reply_id,
                second_reply=None,
                judge=chosen.judge,
                forward=preference,
                backward=preference,
                value=float(won),
                flip=False,
                tie=False,
            )
        )
    write_records(folder / "pairs-peer.verdicts.jsonl", verdicts)
    write_json(folder / "pairs-peer.result.json", build_pairs_result(pairing, verdicts, chosen).model_copy(update={"created": WHEN}))
    return folder
