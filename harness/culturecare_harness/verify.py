"""Verification: whether the protocol's judge really gave a submission's scores.

Scores are recomputed from the verdicts, and a random share of the replies is judged again. The draw is made after the submission was handed
in, from a seed that nobody could know before, and is recorded, so that anyone can repeat it. What the judge says now must agree with what
was submitted, within the protocol's tolerance; and replies that a person should look at are flagged (`suspicion`).

What it finds: of N replies of which D have verdicts that the judge did not give, a draw of n meets one with probability
1 - C(N-D, n) / C(N, n), the hypergeometric distribution (Cochran, 1977, "Sampling Techniques", chapter 3; auditors call it discovery
sampling). Of 2,310 replies, a draw of 116 meets one of 59 (2.6 %) with 95 %, and one of 116 (5 %) with 99.8 %: see `detection_probability`.

What it cannot find: replies that another model or a person wrote, and verdicts on withheld replies, which nobody can judge again; the
protocol keeps their number small.
"""

from __future__ import annotations

import datetime as dt
import itertools
import math
import secrets
from collections import defaultdict
from typing import TYPE_CHECKING, Literal

from pydantic import Field

import culturecare
from culturecare import CultureCareError, Record
from culturecare_harness.admission import refusals
from culturecare_harness.backends import Metered, check_backend, open_backend
from culturecare_harness.bundle import read_bundle
from culturecare_harness.dataset import Selection, select_instances
from culturecare_harness.judge import JudgeItem, judge_replies
from culturecare_harness.judges import JudgeFile, select_judge
from culturecare_harness.jury import Seats, ask_jury, jury_verdicts, seat, select_jury
from culturecare_harness.progress import counter
from culturecare_harness.protocols import protocols
from culturecare_harness.quoting import repeats
from culturecare_harness.records import Hash, Judge, digest, json_bytes
from culturecare_harness.rubrics import select_rubric
from culturecare_harness.scoring import package_versions
from culturecare_harness.stats import LEVEL
from culturecare_harness.suspicion import Suspicion, look_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from culturecare_harness.backends import Backend
    from culturecare_harness.bundle import Bundle, PublicReply
    from culturecare_harness.jury import JuryVerdict
    from culturecare_harness.progress import Progress
    from culturecare_harness.protocols import Protocol
    from culturecare_harness.records import Verdict

__all__ = ["Comparison", "Rejudged", "Verification", "detection_probability", "draw", "propose", "readable", "targets", "verify"]

APART = 0.5
"""Grades by which two scores are told apart."""

Scores = dict[tuple[str, str], float | None]
"""Score of each reply and dimension, null where there is none."""


# --- Records ---------------------------------------------------------------------------------------------------------------------


class Comparison(Record):
    """Submitted scores beside those that the judge gives now.

    Attributes:
        strategy: Strategy of the replies, or `all`.
        replies: Number of replies with a verdict on both sides.
        verdicts: Number of verdicts with a score on both sides.
        difference: Mean of the submitted scores less the new ones, in grades; null without a verdict.
        low: Lower end of its 95 % interval, over posts; null with fewer than two of them.
        high: Upper end of the interval.
    """

    strategy: str
    replies: int = Field(ge=0)
    verdicts: int = Field(ge=0)
    difference: float | None
    low: float | None
    high: float | None


class Rejudged(Record):
    """What judging again gave.

    Attributes:
        replies: Number of replies that were drawn.
        rounds: How often each was judged: twice where a judge may answer otherwise the second time (modes `sampled` and `argmax`).
        verdicts: Number of verdicts that were compared or are missing.
        comparisons: Over all strategies, then each.
        absolute: Mean absolute difference of a submitted and a new score; null without one.
        scatter: The same less the mean absolute difference of two new scores (0 in mode `logprob`): 0 where submitted scores scatter as
            much as the judge's own do.
        scatter_low: Lower end of its 95 % interval, over posts.
        scatter_high: Upper end of the interval.
        apart: Share of the verdicts that are more than half a grade apart.
        correlation: Pearson's, null where one side does not vary.
        missing_now: Verdicts with a submitted score alone.
        missing_submitted: Verdicts with a new score alone.
        missing_both: Verdicts without either.
        odd: Replies whose scores are more than half a grade apart on average, in mode `logprob` alone, where a judge repeats itself.
    """

    replies: int = Field(ge=0)
    rounds: int = Field(ge=1)
    verdicts: int = Field(ge=0)
    comparisons: tuple[Comparison, ...]
    absolute: float | None
    scatter: float | None
    scatter_low: float | None
    scatter_high: float | None
    apart: float | None = Field(ge=0, le=1)
    correlation: float | None
    missing_now: int = Field(ge=0)
    missing_submitted: int = Field(ge=0)
    missing_both: int = Field(ge=0)
    odd: tuple[Hash, ...]


class Verification(Record):
    """What `culturecare verify` found.

    Attributes:
        bundle: `Bundle.id`.
        protocol: Name of the protocol.
        created: When.
        status: `verified`: the judge gives these scores again, within the tolerance. `failed`: it does not. `undecided`: too little could
            be compared to say either.
        reasons: Sentences that say why.
        flags: Sentences about what a person should look at; they change no status.
        seed: Of the draw.
        share: Share of the replies that was to be judged again.
        tolerance: The protocol's.
        judges: Who judged again.
        rejudged: What that gave; null where nothing had to be judged to tell that the bundle fails.
        suspicion: What stands behind the flags.
        versions: Of the packages that verified.
    """

    schema_version: Literal[1] = 1
    bundle: Hash
    protocol: str
    created: dt.datetime
    status: Literal["verified", "failed", "undecided"]
    reasons: tuple[str, ...]
    flags: tuple[str, ...]
    seed: int = Field(ge=0)
    share: float = Field(gt=0, le=1)
    tolerance: float
    judges: tuple[Judge, ...]
    rejudged: Rejudged | None
    suspicion: Suspicion
    versions: dict[str, str]


# --- Verifying -------------------------------------------------------------------------------------------------------------------


def verify(
    bundle: Bundle,
    *,
    progress: Progress,
    release: Path | None = None,
    judge_settings: Sequence[str] = (),
    share: float | None = None,
    seed: int | None = None,
    known: Mapping[str, Protocol] | None = None,
    backend: Callable[[JudgeFile], Backend] | None = None,
) -> Verification:
    """Verifies one bundle.

    `verified` needs all of these, each at 95 %. The mean difference between submitted and new scores lies within the protocol's tolerance,
    over all strategies and in each (two one-sided tests: Schuirmann, 1987). Submitted scores scatter about the new ones by no more than
    the tolerance beyond the judge's own scatter, as scores that were moved from one reply to another do. No more verdicts are missing on
    one side than the protocol lets be missing. No single reply is off. `failed` needs an interval wholly beyond the tolerance, two single
    replies that are off, or a bundle whose own numbers contradict each other.

    Args:
        bundle: What was handed in.
        progress: Told how it gets on.
        release: Folder of the released files, for a protocol on split `test`.
        judge_settings: Settings of the judge as `field=value`, none of which may move a grade, such as `base_url`.
        share: Share of the replies to judge again, by default the protocol's; never fewer replies than the protocol's `at_least`.
        seed: Of the draw, by default one that the operating system draws now.
        known: Protocols by name, by default those of the package.
        backend: Opens a judge's model.

    Raises:
        CultureCareError: The protocol, its judge or its dataset is not here, or the judge cannot go on.
    """
    protocol = _protocol_of(bundle, protocols() if known is None else known)
    seed = secrets.randbits(53) if seed is None else seed  # 53 bits: JSON readers keep whole numbers up to there.
    share = protocol.rejudging.share if share is None else share
    suspicion = look_at(bundle.replies)
    reasons = [*refusals(bundle, known={protocol.name: protocol}, standing=True)]
    status: Literal["verified", "failed", "undecided"] = "failed"
    judges: tuple[Judge, ...] = protocol.judges
    rejudged = None
    if not reasons:
        judgeable = readable(bundle.replies)
        drawn = draw(judgeable, protocol, share, seed)
        judging = _judging(bundle, protocol, judge_settings)
        posts = _posts(protocol, release)
        reasons += _quoting(bundle, protocol, posts)
    if not reasons:
        if backend is None:
            for judge in judging.judges:  # Before the first is asked, so that a missing key of the last is no late surprise.
                check_backend(judge)
        judges = tuple(juror.judge for juror in judging.judges)
        rounds = _judge_again(bundle, drawn, posts, judging, progress, backend)
        rejudged = _compare(bundle, drawn, rounds)
        status, reasons = _decide(rejudged, protocol, all_drawn=len(drawn) == len(judgeable))
    return Verification(
        bundle=bundle.id,
        protocol=protocol.name,
        created=dt.datetime.now(dt.UTC).replace(microsecond=0),
        status=status,
        reasons=tuple(reasons),
        flags=tuple(_flags(suspicion)),
        seed=seed,
        share=share,
        tolerance=protocol.rejudging.tolerance,
        judges=judges,
        rejudged=rejudged,
        suspicion=suspicion,
        versions=package_versions(),
    )


def _quoting(bundle: Bundle, protocol: Protocol, posts: Mapping[str, str]) -> list[str]:
    """What `submit` would have withheld: a bundle made by other means may show what must not be shown."""
    if protocol.posts.split != "test":
        return []
    quoting = [reply.id for reply in bundle.replies if reply.text is not None and repeats(reply.text, posts[reply.instance_id])]
    return [f"replies repeat posts that may not be shown and must be withheld: {len(quoting)}, {quoting[0]} for one"] if quoting else []


def _protocol_of(bundle: Bundle, known: Mapping[str, Protocol]) -> Protocol:
    made = bundle.submission
    found = known.get(made.protocol)
    if found is None or found.hash != made.protocol_hash:
        what = f"here are {', '.join(known)}" if found is None else f"its text here is {found.hash}, the bundle's {made.protocol_hash}"
        raise CultureCareError(
            f"bundle {bundle.id}: protocol {made.protocol!r} is not here ({what}); verify with the version of culturecare that made it"
        )
    return found


# --- Drawing ---------------------------------------------------------------------------------------------------------------------


def readable(replies: Iterable[PublicReply]) -> list[PublicReply]:
    """The replies that can be judged again: those whose text is there and not empty."""
    return [reply for reply in replies if reply.text is not None and reply.text.strip()]


def draw(replies: Sequence[PublicReply], protocol: Protocol, share: float, seed: int) -> list[PublicReply]:
    """Draws replies at random, of each strategy and culture as many as their part in the whole asks for.

    Within a strategy and culture those replies are drawn whose fingerprint together with the seed is lowest, so that the draw depends on no
    library's random numbers.

    Args:
        replies: Those that can be judged again.
        protocol: Says the least number.
        share: Share of the replies to draw, in (0, 1].
        seed: Of the draw.

    Returns:
        The drawn replies, in their order.
    """
    number = min(len(replies), max(protocol.rejudging.at_least, math.ceil(share * len(replies))))
    strata: dict[tuple[str, str], list[PublicReply]] = defaultdict(list)
    for reply in replies:
        strata[reply.strategy, reply.culture].append(reply)
    quotas = {key: number * len(members) / len(replies) for key, members in strata.items()}
    sizes = {key: math.floor(quota) for key, quota in quotas.items()}
    # What rounding down left goes to the largest remainders; among equal ones the seed decides.
    by_remainder = sorted(strata, key=lambda key: (sizes[key] - quotas[key], digest([seed, *key])))
    for key in by_remainder[: number - sum(sizes.values())]:
        sizes[key] += 1
    drawn = {
        reply.id for key, members in strata.items() for reply in sorted(members, key=lambda reply: digest([seed, reply.id]))[: sizes[key]]
    }
    return [reply for reply in replies if reply.id in drawn]


def detection_probability(replies: int, doctored: int, drawn: int, at_least: int = 1) -> float:
    """Probability that a draw meets doctored replies (hypergeometric; exact for a simple draw, close for one by strategy and culture).

    Args:
        replies: Number of replies that may be drawn.
        doctored: Number of those whose verdicts were doctored.
        drawn: Number that is drawn.
        at_least: Number of doctored ones that it must meet.
    """
    from scipy.stats import hypergeom

    return float(hypergeom.sf(at_least - 1, replies, doctored, drawn))


# --- Judging again ---------------------------------------------------------------------------------------------------------------


class _Judging(Record):
    """Who judges again: one judge, or the seats of a jury."""

    judges: tuple[JudgeFile, ...]
    seats: Seats | None

    @property
    def rounds(self) -> int:
        """Twice where a judge may answer otherwise the second time, so that its own scatter is known."""
        return 1 if all(judge.mode == "logprob" for judge in self.judges) else 2


def _judging(bundle: Bundle, protocol: Protocol, settings: Sequence[str]) -> _Judging:
    if protocol.jury is None:
        chosen = select_judge(protocol.judges[0].name, settings)
        _check_judge(chosen, protocol.judges[0], protocol)
        judging = _Judging(judges=(chosen,), seats=None)
    else:
        if settings:
            raise CultureCareError(
                f"protocol {protocol.name!r} has a jury, whose file {protocol.jury.name!r} says the settings of each judge"
            )
        seats = seat(select_jury(protocol.jury.name), {bundle.result.model.name})
        pinned = {judge.name: judge for judge in protocol.judges}
        for juror in seats.jurors:
            if juror.name not in pinned:
                raise CultureCareError(f"jury {protocol.jury.name!r} has judge {juror.name!r} here, but not in protocol {protocol.name!r}")
            _check_judge(juror, pinned[juror.name], protocol)
        judging = _Judging(judges=seats.jurors, seats=seats)
    return judging


def _check_judge(chosen: JudgeFile, pinned: Judge, protocol: Protocol) -> None:
    if chosen.judge != pinned:
        differing = [field for field in Judge.model_fields if getattr(chosen.judge, field) != getattr(pinned, field)]
        raise CultureCareError(
            f"judge {chosen.name!r} is not the one that protocol {protocol.name!r} fixes (its {', '.join(differing)} differ); change "
            "nothing that can move a grade, and use the version of culturecare that the protocol came with"
        )


def _posts(protocol: Protocol, release: Path | None) -> dict[str, str]:
    wanted = protocol.posts
    folder = culturecare.release_dir(release) if wanted.split == "test" else None
    revision = culturecare.dataset_revision(wanted.split, folder)
    if revision != wanted.revision:
        raise CultureCareError(
            f"protocol {protocol.name!r} is about revision {wanted.revision} of split {wanted.split!r}, but here is {revision}"
        )
    selection = Selection(
        split=wanted.split,
        release=folder,
        cultures=tuple(wanted.cultures),
        text="excerpt" if wanted.excerpt else "full",
        per_culture=wanted.per_culture,
    )
    return {instance.id: instance.post_text for instance in select_instances(selection)}


def _judge_again(
    bundle: Bundle,
    drawn: Sequence[PublicReply],
    posts: Mapping[str, str],
    judging: _Judging,
    progress: Progress,
    backend: Callable[[JudgeFile], Backend] | None,
) -> list[Scores]:
    """Judges the drawn replies, without a store: it would answer with what it was told before."""
    names = ", ".join(judge.name for judge in judging.judges)
    progress.say(f"Judging {len(drawn)} of {len(bundle.replies)} replies of {bundle.submission.model} again by {names}.")
    items = [JudgeItem(reply_id=reply.id, post=posts[reply.instance_id], reply=reply.text or "") for reply in drawn]
    size = len(select_rubric(judging.judges[0].rubric).dimensions)
    advance = counter(progress, len(items) * size * len(judging.judges) * judging.rounds)
    opened: dict[str, Backend] = {}

    def opener(judge: JudgeFile) -> Backend:
        # Kept from round to round, since loading a model may take longer than judging.
        if judge.name not in opened:
            opened[judge.name] = open_backend(judge, progress.say) if backend is None else backend(judge)
        return opened[judge.name]

    rounds = []
    try:
        for _ in range(judging.rounds):
            if judging.seats is None:
                rounds.append(_scores(judge_replies(items, judging.judges[0], backend=opener, advance=advance)))
            else:
                by_juror = ask_jury(items, judging.seats, backend=opener, advance=advance)
                rounds.append(_scores(jury_verdicts(by_juror, judging.seats.jury)))
    finally:
        for model in opened.values():
            if isinstance(model, Metered):
                progress.say(str(model.spending))
    return rounds


def _scores(verdicts: Iterable[Verdict | JuryVerdict]) -> Scores:
    return {(verdict.reply_id, verdict.dimension): verdict.score for verdict in verdicts}


# --- Comparing -------------------------------------------------------------------------------------------------------------------


def _compare(bundle: Bundle, drawn: Sequence[PublicReply], rounds: Sequence[Scores]) -> Rejudged:
    import numpy as np

    submitted = _scores(bundle.verdicts)
    pairs = [(reply, submitted[key], [scores[key] for scores in rounds]) for reply in drawn for key in rounds[0] if key[0] == reply.id]
    whole = [
        (reply, given, [score for score in now if score is not None])
        for reply, given, now in pairs
        if given is not None and None not in now
    ]
    missing = [(given is None, None in now) for _, given, now in pairs]
    posts = np.array([reply.instance_id for reply, _, _ in whole], dtype=object)
    strategies = np.array([reply.strategy for reply, _, _ in whole], dtype=object)
    ids = np.array([reply.id for reply, _, _ in whole], dtype=object)
    given = np.array([given for _, given, _ in whole], dtype=float)
    now = np.array([now for _, _, now in whole], dtype=float).reshape(len(whole), len(rounds))
    difference = given - now.mean(axis=1)
    absolute = np.abs(given[:, None] - now).mean(axis=1)
    own = [np.abs(now[:, one] - now[:, other]) for one, other in itertools.combinations(range(len(rounds)), 2)]
    scatter = absolute - np.mean(own, axis=0) if own else absolute
    comparisons = []
    for strategy in ("all", *dict.fromkeys(reply.strategy for reply in drawn)):
        rows = np.full(len(whole), fill_value=True) if strategy == "all" else strategies == strategy
        low, high = _interval(difference[rows], posts[rows]) or (None, None)
        comparisons.append(
            Comparison(
                strategy=strategy,
                replies=len(set(ids[rows])),
                verdicts=int(rows.sum()),
                difference=_mean(difference[rows]),
                low=low,
                high=high,
            )
        )
    scatter_low, scatter_high = _interval(scatter, posts) or (None, None)
    varies = len(whole) > 1 and given.std() > 0 and now.mean(axis=1).std() > 0
    odd = [reply.id for reply in drawn if len(rounds) == 1 and (_mean(absolute[ids == reply.id]) or 0.0) > APART]
    return Rejudged(
        replies=len(drawn),
        rounds=len(rounds),
        verdicts=len(pairs),
        comparisons=tuple(comparisons),
        absolute=_mean(absolute),
        scatter=_mean(scatter),
        scatter_low=scatter_low,
        scatter_high=scatter_high,
        apart=_mean((absolute > APART).astype(float)),
        correlation=float(np.corrcoef(given, now.mean(axis=1))[0, 1]) if varies else None,
        missing_now=missing.count((False, True)),
        missing_submitted=missing.count((True, False)),
        missing_both=missing.count((True, True)),
        odd=tuple(odd),
    )


def _mean(values: NDArray[np.float64]) -> float | None:
    return float(values.mean()) if len(values) else None


def _interval(values: NDArray[np.float64], clusters: NDArray[np.object_]) -> tuple[float, float] | None:
    """Student t interval of the mean of values that come in clusters, at `LEVEL`.

    Verdicts on one post are not independent. The variance is the cluster-robust one with its correction for few clusters, on one degree of
    freedom fewer than there are clusters (Cameron and Miller, 2015, "A Practitioner's Guide to Cluster-Robust Inference", section II).

    Returns:
        Null with fewer than two clusters, which tell nothing of their spread.
    """
    import numpy as np
    from scipy.special import stdtrit

    members = np.unique(clusters.astype(str), return_inverse=True)[1]
    number = len(np.unique(members))
    if number < 2:
        return None
    mean = float(values.mean())
    sums = np.bincount(members, values - mean)
    error = math.sqrt(number / (number - 1) * float((sums**2).sum())) / len(values)
    half = float(stdtrit(number - 1, (1 + LEVEL) / 2)) * error
    return mean - half, mean + half


# --- Deciding --------------------------------------------------------------------------------------------------------------------


def _decide(rejudged: Rejudged, protocol: Protocol, *, all_drawn: bool) -> tuple[Literal["verified", "failed", "undecided"], list[str]]:
    tolerance = protocol.rejudging.tolerance
    failures: list[str] = []
    doubts: list[str] = []
    for row in rejudged.comparisons:
        _weigh(row, tolerance, failures, doubts)
    scatter, low, high = rejudged.scatter, rejudged.scatter_low, rejudged.scatter_high
    if scatter is not None and low is not None and high is not None:
        shown = f"by {scatter:.2f} [{low:.2f}, {high:.2f}] grades more than the judge's own answers do"
        if low > tolerance:
            failures.append(f"Submitted scores scatter about the judge's {shown}, beyond the tolerance of {tolerance:g}.")
        elif high > tolerance:
            doubts.append(f"Submitted scores may scatter about the judge's {shown}; the tolerance is {tolerance:g}.")
    if rejudged.odd:
        named = f"{', '.join(rejudged.odd[:3])}{' …' if len(rejudged.odd) > 3 else ''}"
        sentence = f"{len(rejudged.odd)} of {rejudged.replies} replies have scores more than {APART} grades off on average ({named})."
        (failures if len(rejudged.odd) > 1 else doubts).append(sentence)
    alone = rejudged.missing_now + rejudged.missing_submitted
    if alone > (1 - protocol.coverage_floor) * rejudged.verdicts:
        doubts.append(
            f"{alone} of {rejudged.verdicts} verdicts have a score on one side alone ({rejudged.missing_now} are missing now, "
            f"{rejudged.missing_submitted} were when it was handed in): the two sides are not of the same verdicts."
        )
    if failures:
        return "failed", [*failures, *doubts]
    if doubts:
        return "undecided", doubts if all_drawn else [*doubts, "Verify again with a larger --share."]
    whole = rejudged.comparisons[0]
    shown = f"{whole.difference:+z.3f} [{whole.low:+z.3f}, {whole.high:+z.3f}]"
    return "verified", [
        f"{rejudged.replies} replies were judged again: submitted scores differ by {shown} grades, within the tolerance of {tolerance:g}."
    ]


def _weigh(row: Comparison, tolerance: float, failures: list[str], doubts: list[str]) -> None:
    where = "over all strategies" if row.strategy == "all" else f"in strategy {row.strategy!r}"
    if row.difference is None or row.low is None or row.high is None:
        doubts.append(f"Replies to fewer than two posts could be compared {where}, too few to tell.")
        return
    shown = f"by {row.difference:+z.2f} [{row.low:+z.2f}, {row.high:+z.2f}] grades {where}"
    if row.low > tolerance or row.high < -tolerance:
        failures.append(f"Submitted scores differ from the judge's {shown}, beyond the tolerance of {tolerance:g}.")
    elif row.low < -tolerance or row.high > tolerance:
        doubts.append(f"Submitted scores may differ from the judge's {shown}; the tolerance is {tolerance:g}.")


def _flags(suspicion: Suspicion) -> Iterator[str]:
    for group in suspicion.near_identical:
        yield (
            f"{len(group.replies)} replies to different posts ({group.share:.0%} of strategy {group.strategy!r}) are the same or nearly so "
            f"(resemblance {group.similarity:.2f})."
        )
    by_pattern: dict[str, list[str]] = defaultdict(list)
    for flag in suspicion.judge_directed:
        by_pattern[flag.why].append(flag.reply_id)
    for why, ids in by_pattern.items():
        yield f"{len(ids)} {'reply' if len(ids) == 1 else 'replies'}: it {why} ({', '.join(ids[:3])}{' …' if len(ids) > 3 else ''})."
    if suspicion.withheld:
        yield f"{suspicion.withheld} replies are withheld, so that neither they nor their verdicts could be checked."


# --- What to verify --------------------------------------------------------------------------------------------------------------


def targets(path: Path, out: Path | None, progress: Progress) -> Iterator[tuple[Bundle, Path]]:
    """Yields the bundles at a path, each with the file that its verification belongs in.

    Args:
        path: A bundle's ZIP file or folder, or a board's folder, of which those are taken that were not verified.
        out: Where to write the verification of a single bundle. By default it goes where a board looks for it, or beside the ZIP file.
        progress: Told what is read.

    Raises:
        CultureCareError: There is neither, or `out` is given for a board.
    """
    from culturecare_harness.board import SUBMISSIONS, open_board, verification_path

    if not (path / SUBMISSIONS).is_dir():
        bundle = read_bundle(path)
        place = path.resolve()
        beside = place.with_name(f"{place.name.removesuffix('.zip')}.verification.json")
        on_board = len(place.parents) > 3 and place.parents[2].name == SUBMISSIONS and path.is_dir()
        default = place.parents[3] / verification_path(bundle.submission.protocol, bundle.id) if on_board else beside
        yield bundle, out or default
        return
    if out is not None:
        raise CultureCareError(f"{path}: is a board, whose verifications go into its own folder; --out is for a single bundle")
    board = open_board(str(path), progress)
    for entry in board.all_entries:
        if entry.verification is None:
            yield board.bundle(entry.id), path / verification_path(entry.protocol, entry.id)


def propose(uri: str, records: Sequence[Verification]) -> str:
    """Opens a pull request with verifications on a board's dataset repository.

    Args:
        uri: `hf://datasets/OWNER/NAME[@REVISION]`, as it was verified.
        records: What was found.

    Returns:
        Page of the pull request.

    Raises:
        CultureCareError: The Hub refuses.
    """
    from culturecare_harness.board import verification_path
    from culturecare_harness.hub import open_pull_request, parse_hub_uri

    opened = open_pull_request(
        parse_hub_uri(uri).repo_id,
        "dataset",
        {verification_path(record.protocol, record.bundle): json_bytes(record) for record in records},
        message=f"Verify {', '.join(record.bundle for record in records[:3])}{' and more' if len(records) > 3 else ''}",
        description="\n".join(f"- `{record.bundle}`: {record.status}" for record in records),
    )
    return opened.url
