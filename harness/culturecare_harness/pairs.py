"""Pairwise preference: which of two replies to a post a judge finds better, asked in both orders.

The judge answers on a scale from 1 (the first reply is much better) to 5 (the second is), so that every back end, mode and store serves as
for grades. Each pair is asked twice with the replies' places exchanged, since judges favour a place (Zheng et al., 2023, "Judging
LLM-as-a-Judge with MT-Bench and Chatbot Arena", section 3.3).
"""

from __future__ import annotations

import datetime as dt
import functools
import importlib.metadata
import itertools
import math
import platform
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from culturecare import SYNTHETIC_SPLITS, CultureCareError, Record, Split, cultures, parse_record, read_yaml
from culturecare_harness.asking import Reading, ask
from culturecare_harness.backends import check_backend, open_backend
from culturecare_harness.judge import EMPTY_REPLY
from culturecare_harness.judges import NO_MEASURE
from culturecare_harness.jury import model_families
from culturecare_harness.progress import Progress, counter
from culturecare_harness.ranking import PairSummary, Ranking, rank, summarise_pairs
from culturecare_harness.records import SCHEMA_VERSION, Dataset, Grade, Hash, Judge, digest, write_json, write_records
from culturecare_harness.rubrics import JudgePrompts
from culturecare_harness.store import open_store
from culturecare_harness.templates import fence_mark, fill, part_template_marks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from culturecare import Instance
    from culturecare_harness.backends import Backend
    from culturecare_harness.judges import JudgeFile
    from culturecare_harness.records import Reply
    from culturecare_harness.runs import JudgeOptions
    from culturecare_harness.store import VerdictStore

__all__ = [
    "PEER",
    "Pair",
    "PairRubric",
    "PairVerdict",
    "Pairing",
    "PairsResult",
    "Preference",
    "Side",
    "against_model",
    "against_peer",
    "against_strategy",
    "build_pairs_result",
    "compare",
    "compare_and_score",
    "pair_rubrics",
    "round_robin",
    "select_pair_rubric",
]

PEER = "peer"
"""Contestant that the peers' replies in the dataset are."""

Winner = Literal["first", "second", "tie"]


# --- Records ---------------------------------------------------------------------------------------------------------------------


class Side(Record):
    """One of the two replies of a pair.

    Attributes:
        contestant: Who is compared: `model:strategy`, or `peer`.
        model: The model that wrote the reply; null for a peer.
        reply_id: The reply's id; null for a peer's.
        text: The reply.
    """

    contestant: str
    model: str | None
    reply_id: Hash | None
    text: str


class Pair(Record):
    """Two replies to one post.

    Attributes:
        post: The post's text, or its excerpt.
        excerpt: Whether the post is known by its annotated phrases alone.
    """

    instance_id: str
    culture: str
    split: Split
    dataset_revision: Hash
    excerpt: bool
    post: str
    first: Side
    second: Side

    @model_validator(mode="after")
    def _two_contestants(self) -> Pair:
        if self.first.contestant == self.second.contestant:
            raise ValueError(f"{self.first.contestant!r} is compared with itself")
        return self


class Pairing(Record):
    """Pairs that are to be compared.

    Attributes:
        notes: What was left out, and why.
    """

    pairs: tuple[Pair, ...]
    notes: tuple[str, ...] = ()


class Preference(Record):
    """What a judge said of a pair in one order.

    Attributes:
        score: In [1, 5] as it was asked: 1 where the reply that was shown first is much better, 3 where both are equal, 5 where the
            other is; the expectation (`logprob`), the mean of the samples (`sampled`) or the answer (`argmax`). Null where no answer
            could be read.
        winner: In terms of the pair, not of the order: the outcome of 1 or 2, 3, and 4 or 5 that has the most probability or samples.
            Where both replies have the same and the most, it is a tie.
        reason: Why `score` is null; null where there is a score.
        distribution: Probabilities (or shares of the samples) of 1 to 5.
        digit_mass: Share of the next-token probability that the five digits held before they were normalised (`logprob` alone).
        answers: What the judge answered, word for word (`sampled`, `argmax`).
        prompt_tokens: Tokens of the prompt, null where the server does not say.
        completion_tokens: Tokens of the answers, null where the server does not say.
    """

    score: Grade | None
    winner: Winner | None
    reason: str | None
    distribution: Annotated[tuple[float, ...], Field(min_length=5, max_length=5)] | None = None
    digit_mass: float | None = Field(default=None, ge=0, le=1.0001)
    answers: tuple[str, ...] | None = None
    prompt_tokens: int | None = Field(default=None, ge=0)
    completion_tokens: int | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _score_or_reason(self) -> Preference:
        if (self.score is None) == (self.reason is None) or (self.score is None) != (self.winner is None):
            raise ValueError("a preference has either a score and a winner, or a reason why there are none")
        return self


class PairVerdict(Record):
    """What a judge says of a pair. It holds no post and no reply.

    Attributes:
        first: Contestant of the first side.
        second: Contestant of the second side.
        judge: Who judged; `rubric` and `prompt_hash` are those of the pairwise pack.
        forward: With the first side shown first.
        backward: With the second side shown first.
        value: What the first side won, in [0, 1]: the mean over both orders of 1 for a win, 0.5 for a tie and 0 for a loss. Null where an
            order has no preference.
        flip: Whether the two orders name different winners. Null as `value` is; so is `tie`.
        tie: Whether both orders find the replies equal.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    instance_id: str
    culture: str
    first: str
    second: str
    first_reply: Hash | None
    second_reply: Hash | None
    judge: Judge
    forward: Preference
    backward: Preference
    value: float | None = Field(ge=0, le=1)
    flip: bool | None
    tie: bool | None


class PairsResult(Record):
    """Comparisons by one judge, with all that a reader needs to know how they were made.

    Attributes:
        judge: Who judged; `rubric` and `prompt_hash` are those of the pairwise pack.
        summaries: One a comparison and culture, and one for all cultures.
        ranking: Of all contestants; null where some were not compared, even through others.
        coverage: Share of the pairs that have a value.
        reasons: Count of each reason for a missing preference; each pair has two.
        notes: Sentences that must be read with the numbers.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    created: dt.datetime
    dataset: Dataset
    judge: Judge
    summaries: tuple[PairSummary, ...]
    ranking: Ranking | None
    coverage: float = Field(ge=0, le=1)
    reasons: dict[str, int]
    notes: tuple[str, ...]
    versions: dict[str, str]


# --- Rubric ----------------------------------------------------------------------------------------------------------------------


class PairRubric(Record):
    """A pairwise rubric pack.

    Attributes:
        name: The file's name without its ending.
        instructions: What is asked, and what the digits 1 to 5 mean.
        post: Jinja template over `post` and `mark`.
        question: Jinja template over `reply_a`, `reply_b` and `mark`; its question stands last.
    """

    name: str
    version: int = Field(ge=1)
    instructions: str
    post: str
    question: str

    @property
    def hash(self) -> str:
        """Hash of the whole pack."""
        return digest(self.model_dump(mode="json"))

    def prompts(self, post: str, first: str, second: str) -> JudgePrompts:
        """Renders the prompts about one pair: one question an order, the first side shown first in the first of them.

        Instructions and post are shared by both. The mark that fences the texts is derived from the hash of all; it is the same in both
        orders, so that nothing but the order differs.
        """
        post, first, second = (part_template_marks(text).strip() for text in (post, first, second))
        mark = fence_mark(post, *sorted([first, second]))
        return JudgePrompts(
            system=fill(self.instructions),
            item=fill(self.post, post=post, mark=mark),
            questions=tuple(fill(self.question, reply_a=a, reply_b=b, mark=mark) for a, b in ((first, second), (second, first))),
        )


@functools.cache
def pair_rubrics() -> Mapping[str, PairRubric]:
    """All pairwise rubric packs by name; each is a YAML file in `rubrics/pairwise`.

    Raises:
        DataError: A pack's file does not fit.
    """
    paths = sorted((Path(__file__).parent / "rubrics" / "pairwise").glob("*.yaml"))
    return {path.stem: parse_record(PairRubric, {"name": path.stem, **read_yaml(path)}, where=str(path)) for path in paths}


def select_pair_rubric(name: str) -> PairRubric:
    """The pairwise rubric pack of that name.

    Raises:
        CultureCareError: There is none.
    """
    if name not in pair_rubrics():
        raise CultureCareError(f"unknown pairwise rubric {name!r}: choose from {', '.join(pair_rubrics())}")
    return pair_rubrics()[name]


# --- Pairing ---------------------------------------------------------------------------------------------------------------------


def against_peer(replies: Sequence[Reply], instances: Iterable[Instance]) -> Pairing:
    """Pairs each reply with the peer's reply to the same post, where both answer the full post and the peer's reply has a text.

    Args:
        replies: Of one or more models and strategies.
        instances: The posts that they answer.

    Raises:
        CultureCareError: The replies don't belong together, a post is not there, or no pair is left.
    """
    posts = _posts(replies, instances)
    pairs, without = [], 0
    for reply in replies:
        instance = posts[reply.instance_id]
        # The peer read the post whole: against a reply to an excerpt, or as phrases of a reply, the comparison would be of other things.
        if instance.excerpt or instance.response.text is None:
            without += 1
            continue
        peer = Side(contestant=PEER, model=None, reply_id=None, text=instance.response.text)
        pairs.append(_pair(instance, reply, _side(reply), peer))
    note = f"{without} of {len(replies)} replies have no peer's reply with full text to be compared with, and were left out."
    if not pairs:
        raise CultureCareError(
            "no reply can be compared with a peer's: it takes posts and peers' replies with full text, which the released annotations lack"
        )
    return Pairing(pairs=tuple(pairs), notes=(note,) if without else ())


def against_strategy(replies: Sequence[Reply], instances: Iterable[Instance], baseline: str = "standard") -> Pairing:
    """Pairs each reply with the same model's reply to the same post by the baseline strategy.

    Args:
        replies: Of one or more models, by the baseline and other strategies.
        instances: The posts that they answer.
        baseline: Name of the baseline strategy.

    Raises:
        CultureCareError: The replies don't belong together, a post is not there, or no pair is left.
    """
    return _match(
        [reply for reply in replies if reply.strategy != baseline],
        [reply for reply in replies if reply.strategy == baseline],
        instances,
        key=lambda reply: (reply.instance_id, reply.model),
        other=f"reply by strategy {baseline!r}",
    )


def against_model(replies: Sequence[Reply], others: Sequence[Reply], instances: Iterable[Instance]) -> Pairing:
    """Pairs each reply with another model's reply to the same post by the same strategy.

    Args:
        replies: One model's.
        others: Another model's.
        instances: The posts that both answer.

    Raises:
        CultureCareError: The replies don't belong together or one side's are of several models, a post is not there, or no pair is left.
    """
    for side in (replies, others):
        if len(models := dict.fromkeys(reply.model for reply in side)) > 1:
            raise CultureCareError(f"replies of several models are mixed ({', '.join(models)}); compare one model with one other at a time")
    return _match(
        replies, others, instances, key=lambda reply: (reply.instance_id, reply.strategy), other="reply of the other model by its strategy"
    )


def round_robin(replies: Sequence[Reply], instances: Iterable[Instance]) -> Pairing:
    """Pairs every two replies to the same post, whichever models and strategies they are of, as a ranking takes.

    Raises:
        CultureCareError: The replies don't belong together, a post is not there, or no pair is left.
    """
    posts = _posts(replies, instances)
    order = {name: place for place, name in enumerate(dict.fromkeys(_contestant(reply) for reply in replies))}
    by_instance: dict[str, list[Reply]] = defaultdict(list)
    for reply in replies:
        by_instance[reply.instance_id].append(reply)
    pairs = []
    for name, of_instance in by_instance.items():
        of_instance.sort(key=lambda reply: order[_contestant(reply)])
        pairs += [_pair(posts[name], one, _side(one), _side(other)) for one, other in itertools.combinations(of_instance, 2)]
    if not pairs:
        raise CultureCareError("there is nothing to compare: no post has two replies")
    return Pairing(pairs=tuple(pairs))


def _match(
    replies: Sequence[Reply],
    others: Sequence[Reply],
    instances: Iterable[Instance],
    *,
    key: Callable[[Reply], tuple[str, str]],
    other: str,
) -> Pairing:
    posts = _posts([*replies, *others], instances)
    by_key = {key(reply): reply for reply in others}
    pairs = [_pair(posts[reply.instance_id], reply, _side(reply), _side(by_key[key(reply)])) for reply in replies if key(reply) in by_key]
    if not pairs:
        raise CultureCareError(f"there is nothing to compare: no post has both a reply and a {other}")
    without = len(replies) - len(pairs)
    return Pairing(
        pairs=tuple(pairs),
        notes=(f"{without} of {len(replies)} replies have no {other} beside them, and were left out.",) if without else (),
    )


def _posts(replies: Sequence[Reply], instances: Iterable[Instance]) -> dict[str, Instance]:
    """The replies' instances, once it is known that the replies may be compared."""
    posts = {instance.id: instance for instance in instances}
    if len({reply.excerpt for reply in replies}) > 1:
        raise CultureCareError("replies to full posts and replies to excerpts are mixed; they are never compared with each other")
    if len({(reply.split, reply.dataset_revision) for reply in replies}) > 1:
        raise CultureCareError("replies on several splits or revisions of the dataset are mixed; they are never compared with each other")
    for reply in replies:
        if reply.instance_id not in posts:
            raise CultureCareError(f"reply {reply.id} answers post {reply.instance_id!r}, which is not among the instances")
        if reply.excerpt != posts[reply.instance_id].excerpt:
            kinds = ("the full post", "an excerpt")
            raise CultureCareError(
                f"reply {reply.id} answers {kinds[reply.excerpt]} of {reply.instance_id!r}, but here is {kinds[not reply.excerpt]}"
            )
    times = Counter((reply.instance_id, _contestant(reply)) for reply in replies)
    for (name, contestant), count in times.items():
        if count > 1:
            raise CultureCareError(f"post {name!r} has {count} replies by {contestant!r}; a comparison takes one")
    return posts


def _contestant(reply: Reply) -> str:
    return f"{reply.model}:{reply.strategy}"


def _side(reply: Reply) -> Side:
    return Side(contestant=_contestant(reply), model=reply.model, reply_id=reply.id, text=reply.text)


def _pair(instance: Instance, reply: Reply, first: Side, second: Side) -> Pair:
    return Pair(
        instance_id=instance.id,
        culture=instance.culture,
        split=reply.split,
        dataset_revision=reply.dataset_revision,
        excerpt=reply.excerpt,
        post=instance.post_text,
        first=first,
        second=second,
    )


# --- Asking ----------------------------------------------------------------------------------------------------------------------


def compare(
    pairs: Iterable[Pair],
    judge: JudgeFile,
    *,
    rubric: str = "support",
    store: VerdictStore | None = None,
    backend: Callable[[JudgeFile], Backend] = open_backend,
    advance: Callable[[int], None] | None = None,
    retry_failed: bool = False,
) -> list[PairVerdict]:
    """Has a judge compare pairs, each in both orders.

    Args:
        pairs: What to compare.
        judge: Who judges, and in which mode. Its own rubric, for grades, plays no part.
        rubric: Name of the pairwise rubric pack.
        store: Where answers are looked up and kept, each as soon as it is there; by default nothing is kept.
        backend: Opens the judge's model. It is not called where the store answers everything.
        advance: Told how many preferences were finished since it was told last; each pair has two.
        retry_failed: Whether preferences that the store has without a score are asked for again.

    Returns:
        One verdict a pair, in order. What cannot be read has no value, and its preference a reason.

    Raises:
        CultureCareError: There is no such pack, or the judge cannot go on; what was answered by then is kept.
    """
    pack = select_pair_rubric(rubric)
    named = judge.judge.model_copy(update={"rubric": pack.name, "prompt_hash": pack.hash})
    to_name, to_ask = itertools.tee(pairs)
    prompts = (
        pack.prompts(pair.post, pair.first.text, pair.second.text) if pair.first.text.strip() and pair.second.text.strip() else None
        for pair in to_ask
    )
    asked = ask(prompts, judge, store=store, backend=backend, advance=advance, retry_failed=retry_failed)
    verdicts = []
    for pair, readings in zip(to_name, asked, strict=True):
        if readings is None and advance is not None:
            advance(2)
        forward, backward = readings or (Reading(reason=EMPTY_REPLY), Reading(reason=EMPTY_REPLY))
        verdicts.append(_verdict(pair, named, forward, backward))
    return verdicts


def _verdict(pair: Pair, judge: Judge, forward: Reading, backward: Reading) -> PairVerdict:
    there = _preference(forward, ("first", "second"))
    back = _preference(backward, ("second", "first"))
    value = flip = tie = None
    if there.winner is not None and back.winner is not None:
        value = (_VALUES[there.winner] + _VALUES[back.winner]) / 2
        flip = {there.winner, back.winner} == {"first", "second"}
        tie = there.winner == back.winner == "tie"
    return PairVerdict(
        instance_id=pair.instance_id,
        culture=pair.culture,
        first=pair.first.contestant,
        second=pair.second.contestant,
        first_reply=pair.first.reply_id,
        second_reply=pair.second.reply_id,
        judge=judge,
        forward=there,
        backward=back,
        value=value,
        flip=flip,
        tie=tie,
    )


_VALUES: Mapping[Winner, float] = {"first": 1.0, "tie": 0.5, "second": 0.0}


def _preference(reading: Reading, shown: tuple[Winner, Winner]) -> Preference:
    winner: Winner | None = None
    if reading.distribution is not None:
        first, second = math.fsum(reading.distribution[:2]), math.fsum(reading.distribution[3:])
        winner = "tie"
        # Rounding is no preference.
        if not math.isclose(first, second, abs_tol=1e-9) and max(first, second) > reading.distribution[2]:
            winner = shown[0] if first > second else shown[1]
    return Preference(winner=winner, **reading.fields)


# --- Summing up ------------------------------------------------------------------------------------------------------------------


def build_pairs_result(pairing: Pairing, verdicts: Sequence[PairVerdict], judge: JudgeFile, notes: Iterable[str] = ()) -> PairsResult:
    """Sums up comparisons by one judge.

    Args:
        pairing: What was compared.
        verdicts: One a pair, from `compare`.
        judge: Who judged.
        notes: Further sentences to be read with the numbers.

    Raises:
        CultureCareError: There is no pair, or not one verdict a pair by one judge.
    """
    pairs = pairing.pairs
    if not pairs or len(pairs) != len(verdicts):
        raise CultureCareError(f"there are {len(pairs)} pairs and {len(verdicts)} verdicts, but each pair must have one")
    summaries = summarise_pairs(verdicts)
    preferences = [preference for verdict in verdicts for preference in (verdict.forward, verdict.backward)]
    present = {pair.culture for pair in pairs}
    try:
        ranking, unranked = rank(verdicts), []
    except CultureCareError as error:
        ranking, unranked = None, [f"There is no ranking: {error}."]
    return PairsResult(
        created=dt.datetime.now(dt.UTC).replace(microsecond=0),
        dataset=Dataset(
            split=pairs[0].split,
            revision=pairs[0].dataset_revision,
            cultures=tuple(key for key in cultures() if key in present),
            excerpt=pairs[0].excerpt,
            instances=len({pair.instance_id for pair in pairs}),
        ),
        judge=verdicts[0].judge,
        summaries=tuple(summaries),
        ranking=ranking,
        coverage=sum(verdict.value is not None for verdict in verdicts) / len(verdicts),
        # A reason may quote an answer after its colon, and an answer may quote a post: the count keeps the kind alone.
        reasons=dict(Counter(preference.reason.partition(":")[0] for preference in preferences if preference.reason is not None)),
        notes=(*_notes(pairs, judge), *pairing.notes, *unranked, *notes),
        versions={
            "python": platform.python_version(),
            **{package: importlib.metadata.version(package) for package in ("culturecare", "evalica")},
        },
    )


def _notes(pairs: Sequence[Pair], judge: JudgeFile) -> list[str]:
    notes = []
    if not judge.measure:
        notes.append(f"The judge {judge.name!r} {NO_MEASURE}: its preferences are no measure of a reply's quality.")
    models = dict.fromkeys(side.model for pair in pairs for side in (pair.first, pair.second) if side.model is not None)
    if kin := [model for model in models if model_families(model) & model_families(judge.model)]:
        notes.append(f"The judge {judge.name!r} is of the family of {', '.join(kin)}: judges favour what is written as they write.")
    if pairs[0].excerpt:
        notes.append("Posts were known by their annotated phrases alone (excerpts); these rates share no table with rates on full posts.")
    if pairs[0].split in SYNTHETIC_SPLITS:
        notes.append(f"Split {pairs[0].split!r} is synthetic: written for this project, by no person in distress.")
    return notes


def compare_and_score(
    pairing: Pairing,
    judge: JudgeFile,
    folder: Path,
    progress: Progress,
    options: JudgeOptions,
    rubric: str = "support",
    notes: Sequence[str] = (),
) -> tuple[PairsResult, Path]:
    """Has pairs compared, and writes verdicts and result into the folder.

    Args:
        pairing: What to compare.
        judge: Who judges.
        folder: Where verdicts and result are kept, in files named after the judge and what was compared.
        progress: Told how it gets on.
        options: How judging runs.
        rubric: Name of the pairwise rubric pack.
        notes: Sentences to be read with the numbers.

    Returns:
        The result, and the file that holds it.

    Raises:
        CultureCareError: The judge cannot go on; answers given by then are kept.
    """
    check_backend(judge)
    pairs = pairing.pairs
    progress.say(f"Comparing {len(pairs)} pairs of replies by {judge.name} ({judge.mode}), each in both orders.")
    count = counter(progress, 2 * len(pairs))
    with open_store(options.store) as store:
        verdicts = compare(pairs, judge, rubric=rubric, store=store, advance=count, retry_failed=options.retry_failed)
    result = build_pairs_result(pairing, verdicts, judge, notes)
    what = digest([[pair.first.contestant, pair.second.contestant, pair.instance_id] for pair in pairs])[:6]
    stem = f"pairs-{judge.name}-{result.judge.settings_hash[:6]}{result.judge.prompt_hash[:6]}-{what}"
    write_records(folder / f"{stem}.verdicts.jsonl", verdicts)
    path = folder / f"{stem}.result.json"
    write_json(path, result)
    return result, path
