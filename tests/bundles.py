"""Made-up bundles and boards: replies that nobody wrote and grades that no judge gave, in the shape of real ones."""

from __future__ import annotations

import datetime as dt
import random
from functools import cache
from typing import TYPE_CHECKING, Any

from culturecare_harness.board import put
from culturecare_harness.bundle import PublicReply, pack
from culturecare_harness.dataset import Selection, select_instances
from culturecare_harness.judges import select_judge
from culturecare_harness.jury import JuryFile, build_jury_result, jury_verdicts, seat
from culturecare_harness.protocols import JuryPin, Protocol, select_protocol
from culturecare_harness.records import Model, Reply, Verdict, reply_id
from culturecare_harness.rubrics import select_rubric
from culturecare_harness.scoring import build_result
from culturecare_harness.suspicion import look_at
from culturecare_harness.verification import Discrepancy, Rejudged, Verification, draw_size

if TYPE_CHECKING:
    from pathlib import Path

    from culturecare_harness.bundle import Bundle
    from culturecare_harness.records import Instance

WHEN = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
WORDS = (
    *(
        "that",
        "sounds",
        "heavy",
        "and",
        "I",
        "hear",
        "how",
        "tired",
        "you",
        "are",
        "what",
        "would",
        "help",
        "with",
        "your",
        "family",
        "this",
    ),
    *(
        "week",
        "someone",
        "to",
        "sit",
        "beside",
        "can",
        "we",
        "look",
        "at",
        "one",
        "small",
        "step",
        "tonight",
        "before",
        "sleep",
        "no",
        "need",
    ),
    *(
        "for",
        "an",
        "answer",
        "yet",
        "people",
        "who",
        "love",
        "us",
        "do",
        "not",
        "always",
        "know",
        "which",
        "hurt",
        "maybe",
        "write",
        "then",
    ),
)


@cache
def posts(protocol: str) -> tuple[Instance, ...]:
    chosen = select_protocol(protocol).posts
    return select_instances(Selection(split=chosen.split, per_culture=chosen.per_culture))


def make_run(
    model: str = "example/listener",
    *,
    protocol: str = "demo",
    strategies: tuple[str, ...] = ("standard", "cga"),
    quality: float = 3.0,
    seed: int = 0,
) -> tuple[list[Reply], list[Verdict]]:
    """Replies of a model that does not exist, with grades around `quality`; strategy `cga` is half a grade better on culture."""
    chance = random.Random(f"{model}/{seed}")  # noqa: S311 - no secret.
    chosen = select_protocol(protocol)
    judge = select_judge(chosen.judges[0].name)
    replies, verdicts = [], []
    for strategy in strategies:
        for instance in posts(protocol):
            text = " ".join(chance.choices(WORDS, k=30)).capitalize() + "."
            reply = Reply(
                id=reply_id(instance.id, strategy, model, text),
                instance_id=instance.id,
                culture=instance.culture,
                language=instance.language,
                split=chosen.posts.split,
                dataset_revision=chosen.posts.revision,
                strategy=strategy,
                prompt_hash=chosen.strategies[strategy],
                excerpt=chosen.posts.excerpt,
                model=model,
                text=text,
                generation=dict(chosen.generation),
            )
            replies.append(reply)
            level = chance.gauss(quality, 0.4)
            for dimension in select_rubric(judge.rubric).dimensions:
                better = 0.5 if strategy == "cga" and dimension.group == "cultural" else 0.0
                verdicts.append(verdict(reply.id, dimension.key, min(5.0, max(1.0, chance.gauss(level + better, 0.3))), protocol))
    return replies, verdicts


def verdict(reply: str, dimension: str, score: float, protocol: str = "demo") -> Verdict:
    """A verdict in mode `logprob`: the two grades around `score` share the probability."""
    low = min(4, int(score))
    shares = [0.0] * 5
    shares[low - 1], shares[low] = low + 1 - score, score - low
    expectation = sum(grade * share for grade, share in enumerate(shares, 1))
    return Verdict(
        reply_id=reply,
        judge=select_protocol(protocol).judges[0],
        dimension=dimension,
        score=expectation,
        reason=None,
        distribution=tuple(shares),
        digit_mass=0.8,
    )


def make_bundle(
    model: str = "example/listener",
    *,
    protocol: str = "demo",
    strategies: tuple[str, ...] = ("standard", "cga"),
    quality: float = 3.0,
    seed: int = 0,
    **submission: Any,
) -> Bundle:
    """A bundle that is admitted, unless `submission` spoils it."""
    replies, verdicts = make_run(model, protocol=protocol, strategies=strategies, quality=quality, seed=seed)
    chosen = select_protocol(protocol)
    # `build_result` tells each reply's language, which takes long and matters to no test here.
    silent = [reply.model_copy(update={"language": None}) for reply in replies]
    result = build_result(silent, verdicts, select_judge(chosen.judges[0].name), Model(name=model, backend="hf", arguments={}))
    public = [PublicReply(**reply.model_dump()) for reply in silent]
    fields = {
        "protocol": protocol,
        "protocol_hash": chosen.hash,
        "model": model,
        "submitter": "somebody",
        "submitted": WHEN + dt.timedelta(minutes=seed),
        **submission,
    }
    return pack(fields, result, public, verdicts)


# --- A jury ----------------------------------------------------------------------------------------------------------------------


@cache
def jury_of(*models: str, at_least: int | None = None) -> JuryFile:
    """A jury of judges like the demo's, by these models and in their order called `a`, `b` and so on."""
    like = select_judge("smollm2")
    jurors = [like.model_copy(update={"name": chr(ord("a") + place), "model": model}) for place, model in enumerate(models)]
    return JuryFile(name="bench", summary="Made up.", jurors=tuple(jurors), at_least=at_least)


def jury_protocol(jury: JuryFile) -> Protocol:
    """The demo's protocol, but that a jury judges."""
    pin = JuryPin(name=jury.name, judges=tuple(juror.judge for juror in jury.jurors), at_least=jury.at_least)
    return select_protocol("demo").model_copy(update={"name": "demo-jury", "judge": None, "jury": pin})


def make_jury_bundle(jury: JuryFile, model: str = "example/listener", *, missing: int = 0, **submission: Any) -> Bundle:
    """A bundle that a jury judged; of its first judge's verdicts so many are missing."""
    protocol = jury_protocol(jury)
    replies, verdicts = make_run(model, strategies=("standard",))
    silent = [reply.model_copy(update={"language": None}) for reply in replies]
    seats = seat(jury, {model})
    by_juror = {}
    for place, juror in enumerate(seats.jurors):
        chance = random.Random(juror.name)  # noqa: S311 - no secret.
        given = [
            verdict(one.reply_id, one.dimension, min(5.0, max(1.0, (one.score or 3.0) + chance.gauss(0, 0.3)))).model_copy(
                update={"judge": juror.judge}
            )
            for one in verdicts
        ]
        failed = {"score": None, "reason": "the call failed", "distribution": None, "digit_mass": None}
        by_juror[juror.name] = [one.model_copy(update=failed) for one in given[: 0 if place else missing]] + given[
            0 if place else missing :
        ]
    result = build_jury_result(silent, by_juror, seats, Model(name=model, backend="hf", arguments={}))
    fields = {
        "protocol": protocol.name,
        "protocol_hash": protocol.hash,
        "model": model,
        "submitter": "somebody",
        "submitted": WHEN,
        **submission,
    }
    return pack(fields, result, [PublicReply(**reply.model_dump()) for reply in silent], jury_verdicts(by_juror, seats.jury))


# --- Verifications ---------------------------------------------------------------------------------------------------------------


def make_verification(bundle: Bundle, /, **fields: Any) -> Verification:
    """A record that says `verified`, with figures that fit the bundle, though no judge was asked."""
    protocol = select_protocol(bundle.submission.protocol)
    judgeable = len(bundle.judgeable)
    replies = draw_size(judgeable, protocol)
    strategies = list(dict.fromkeys(reply.strategy for reply in bundle.replies))
    sizes = {strategy: len(range(place, replies, len(strategies))) for place, strategy in enumerate(strategies)}
    dimensions = len(select_rubric(bundle.rubric).dimensions)
    rows = [
        Discrepancy(strategy=strategy, replies=size, verdicts=size * dimensions, difference=0, low=-0.01, high=0.01)
        for strategy, size in {"all": replies, **sizes}.items()
    ]
    rejudged = Rejudged(
        judgeable=judgeable,
        replies=replies,
        rounds=1,
        verdicts=replies * dimensions,
        discrepancies=tuple(rows),
        absolute=0.02,
        scatter=0.02,
        scatter_low=0.01,
        scatter_high=0.03,
        apart=0,
        correlation=0.99,
        missing_now=0,
        missing_submitted=0,
        missing_both=0,
        odd=(),
    )
    record = Verification(
        bundle=bundle.id,
        protocol=protocol.name,
        created=WHEN,
        status="verified",
        reasons=("As the judge said.",),
        flags=(),
        seed=1,
        seed_given=False,
        share=protocol.rejudging.share,
        tolerance=protocol.rejudging.tolerance,
        judges=protocol.judges,
        rejudged=rejudged,
        suspicion=look_at(bundle.replies),
        versions={},
    )
    return record.model_copy(update=fields)


# --- Boards ----------------------------------------------------------------------------------------------------------------------


def make_board(folder: Path, number: int, *, protocol: str = "demo", strategies: tuple[str, ...] = ("standard", "cga")) -> list[Bundle]:
    """Puts so many submissions of as many models onto a board."""
    chance = random.Random(number)  # noqa: S311
    made = []
    for place in range(number):
        open_weights = chance.random() < 0.7
        bundle = make_bundle(
            f"lab-{place % 37}/listener-{place}",
            protocol=protocol,
            strategies=strategies,
            quality=chance.uniform(1.8, 4.4),
            seed=place,
            submitter=f"lab-{place % 37}",
            parameters=chance.choice([135_000_000, 1_700_000_000, 7_000_000_000, 70_000_000_000]) if open_weights else None,
            weights="open" if open_weights else "closed",
            licence="Apache-2.0" if open_weights else None,
        )
        put(folder, bundle)
        made.append(bundle)
    return made
