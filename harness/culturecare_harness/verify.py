"""Verification: whether the protocol's judge really gave a submission's scores.

Scores are recomputed from the verdicts, and a random share of the replies is judged again. The draw is made after the submission was handed
in, from a seed that nobody could know before, and is recorded, so that anyone can repeat it. What the judge says now must agree with what
was submitted, within the protocol's tolerance; and replies that a person should look at are flagged (`suspicion`).

What it finds: of N replies of which D have verdicts that the judge did not give, a draw of n meets one with probability
1 - C(N-D, n) / C(N, n), the hypergeometric distribution (Cochran, 1977, "Sampling Techniques", chapter 3; auditors call it discovery
sampling). Of 2,310 replies, a draw of 116 meets one of 59 (2.6 %) with 95 %, and one of 116 (5 %) with 99.8 %.

What it cannot find: replies that another model or a person wrote, and verdicts on withheld replies, which nobody can judge again; the
protocol keeps their number small.
"""

from __future__ import annotations

import datetime as dt
import functools
import itertools
import math
import secrets
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from culturecare import CultureCareError, Record
from culturecare_harness.admission import refusals
from culturecare_harness.backends import Metered, check_backend, open_backend
from culturecare_harness.bundle import SUBMISSION, read_bundle
from culturecare_harness.dataset import select_instances
from culturecare_harness.judge import JudgeItem, judge_replies
from culturecare_harness.judges import JudgeFile, select_judge
from culturecare_harness.jury import Seats, ask_jury, jury_verdicts, seat, select_jury
from culturecare_harness.progress import counter
from culturecare_harness.protocols import protocols
from culturecare_harness.quoting import repeats
from culturecare_harness.records import Judge, digest, json_bytes
from culturecare_harness.rubrics import select_rubric
from culturecare_harness.scoring import package_versions
from culturecare_harness.stats import LEVEL
from culturecare_harness.suspicion import Suspicion, look_at
from culturecare_harness.verification import APART, Discrepancy, Rejudged, Status, Verification, decide, draw_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from culturecare_harness.backends import Backend
    from culturecare_harness.bundle import Bundle, PublicReply
    from culturecare_harness.jury import JuryVerdict
    from culturecare_harness.progress import Progress
    from culturecare_harness.protocols import Protocol
    from culturecare_harness.records import Verdict

__all__ = [
    "Discrepancy",
    "Rejudged",
    "Target",
    "Targets",
    "Verification",
    "draw",
    "propose",
    "targets",
    "verify",
]

Scores = dict[tuple[str, str], float | None]
"""Score of each reply and dimension, null where there is none."""


# --- Verifying -------------------------------------------------------------------------------------------------------------------


def verify(
    bundle: Bundle,
    *,
    progress: Progress,
    release: Path | None = None,
    judge_settings: Sequence[str] = (),
    share: float | None = None,
    seed: int | None = None,
    verifier: str | None = None,
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
        seed: Of the draw, by default one that the operating system draws now; a record made with another says so.
        verifier: Account on the Hub of who verifies, null where there is none.
        known: Protocols by name, by default those of the package.
        backend: Opens a judge's model.

    Raises:
        CultureCareError: The protocol, its judge or its dataset is not here, or the judge cannot go on.
    """
    protocol = _protocol_of(bundle, protocols() if known is None else known)
    drawn_seed = secrets.randbits(53) if seed is None else seed  # 53 bits: JSON readers keep whole numbers up to there.
    chosen_share = protocol.rejudging.share if share is None else share
    status: Status = "failed"
    judges, rejudged = protocol.judges, None
    reasons = [*refusals(bundle, known={protocol.name: protocol}, standing=True)]
    if not reasons:
        judging = _judging(bundle, protocol, judge_settings)
        posts = {instance.id: instance.post_text for instance in select_instances(protocol.selection(release))}
        reasons += _quoting(bundle, protocol, posts)
    if not reasons:
        drawn = draw(bundle.judgeable, protocol, chosen_share, drawn_seed)
        judges = tuple(juror.judge for juror in judging.judges)
        rejudged = _compare(bundle, drawn, _judge_again(bundle, drawn, posts, judging, progress, backend))
        status, reasons = decide(rejudged, protocol)
    suspicion = look_at(bundle.replies)
    return Verification(
        bundle=bundle.id,
        protocol=protocol.name,
        created=dt.datetime.now(dt.UTC).replace(microsecond=0),
        status=status,
        reasons=tuple(reasons),
        flags=tuple(_flags(suspicion, seed_given=seed is not None)),
        seed=drawn_seed,
        seed_given=seed is not None,
        share=chosen_share,
        tolerance=protocol.rejudging.tolerance,
        judges=judges,
        rejudged=rejudged,
        suspicion=suspicion,
        versions=package_versions(),
        verifier=verifier,
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


def draw(replies: Sequence[PublicReply], protocol: Protocol, share: float, seed: int) -> list[PublicReply]:
    """Draws replies at random, of each strategy, and of each culture in it, as many as their part in the whole asks for, up to rounding.

    Systematic sampling of the replies in an order by strategy, culture and fingerprint together with the seed (Cochran, 1977, chapter 8):
    every reply is drawn with the same probability, and no draw leaves a strategy out by chance. It depends on no library's random numbers.

    Args:
        replies: Those that can be judged again.
        protocol: Says the least number.
        share: Share of the replies to draw, in (0, 1].
        seed: Of the draw.

    Returns:
        The drawn replies, in their order.
    """
    number = draw_size(len(replies), protocol, share)

    def place(reply: PublicReply) -> tuple[str, str, str]:
        return digest([seed, reply.strategy]), digest([seed, reply.strategy, reply.culture]), digest([seed, reply.id])

    order = sorted(replies, key=place)
    # The first lies at start / whole of a step. Whole numbers, so that nothing is rounded.
    start, whole = int(digest([seed]), 16), 16 ** len(digest([seed]))
    drawn = {order[(start + step * whole) * len(order) // (number * whole)].id for step in range(number)}
    return [reply for reply in replies if reply.id in drawn]


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
        seats = seat(select_jury(protocol.jury.name), {bundle.result.model.name, bundle.submission.model})
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


def _judge_again(
    bundle: Bundle,
    drawn: Sequence[PublicReply],
    posts: Mapping[str, str],
    judging: _Judging,
    progress: Progress,
    backend: Callable[[JudgeFile], Backend] | None,
) -> list[Scores]:
    """Judges the drawn replies, without a store: it would answer with what it was told before."""
    if backend is None:
        for judge in judging.judges:  # Before the first is asked, so that a missing key of the last is no late surprise.
            check_backend(judge)
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


class _Compared(NamedTuple):
    """Verdicts with a score on both sides, row by row.

    Attributes:
        posts: Id of the post.
        strategies: Name of the strategy.
        replies: Id of the reply.
        given: Submitted score.
        now: New scores, one column a round.
    """

    posts: NDArray[np.object_]
    strategies: NDArray[np.object_]
    replies: NDArray[np.object_]
    given: NDArray[np.float64]
    now: NDArray[np.float64]

    @property
    def difference(self) -> NDArray[np.float64]:
        difference: NDArray[np.float64] = self.given - self.now.mean(axis=1)
        return difference


def _compare(bundle: Bundle, drawn: Sequence[PublicReply], rounds: Sequence[Scores]) -> Rejudged:
    import numpy as np

    submitted = _scores(bundle.verdicts)
    pairs = [(reply, submitted[key], [scores[key] for scores in rounds]) for reply in drawn for key in rounds[0] if key[0] == reply.id]
    missing = [(given is None, None in now) for _, given, now in pairs]
    compared = _compared(pairs, len(rounds))
    given, new = compared.given, compared.now.mean(axis=1)
    absolute = np.abs(given[:, None] - compared.now).mean(axis=1)
    own = [np.abs(compared.now[:, one] - compared.now[:, other]) for one, other in itertools.combinations(range(len(rounds)), 2)]
    scatter = absolute - np.mean(own, axis=0) if own else absolute
    scatter_low, scatter_high = _interval(scatter, compared.posts) or (None, None)
    varies = len(given) > 1 and given.std() > 0 and new.std() > 0
    odd = [reply.id for reply in drawn if len(rounds) == 1 and (_mean(absolute[compared.replies == reply.id]) or 0.0) > APART]
    return Rejudged(
        judgeable=len(bundle.judgeable),
        replies=len(drawn),
        rounds=len(rounds),
        verdicts=len(pairs),
        discrepancies=tuple(_discrepancies(compared, list(dict.fromkeys(reply.strategy for reply in drawn)))),
        absolute=_mean(absolute),
        scatter=_mean(scatter),
        scatter_low=scatter_low,
        scatter_high=scatter_high,
        apart=_mean((absolute > APART).astype(float)),
        correlation=float(np.corrcoef(given, new)[0, 1]) if varies else None,
        missing_now=missing.count((False, True)),
        missing_submitted=missing.count((True, False)),
        missing_both=missing.count((True, True)),
        odd=tuple(odd),
    )


def _compared(pairs: Iterable[tuple[PublicReply, float | None, list[float | None]]], rounds: int) -> _Compared:
    import numpy as np

    whole = [(reply, given, now) for reply, given, now in pairs if given is not None and None not in now]
    posts, strategies, replies = (
        np.array(names, dtype=object)
        for names in (
            [reply.instance_id for reply, _, _ in whole],
            [reply.strategy for reply, _, _ in whole],
            [reply.id for reply, _, _ in whole],
        )
    )
    given = np.array([given for _, given, _ in whole], dtype=float)
    return _Compared(posts, strategies, replies, given, np.array([now for _, _, now in whole], dtype=float).reshape(len(whole), rounds))


def _discrepancies(compared: _Compared, strategies: Sequence[str]) -> Iterator[Discrepancy]:
    import numpy as np

    for strategy in ("all", *strategies):
        rows = np.full(len(compared.given), fill_value=True) if strategy == "all" else compared.strategies == strategy
        difference = compared.difference[rows]
        low, high = _interval(difference, compared.posts[rows]) or (None, None)
        yield Discrepancy(
            strategy=strategy,
            replies=len(set(compared.replies[rows])),
            verdicts=int(rows.sum()),
            difference=_mean(difference),
            low=low,
            high=high,
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


# --- Flags -----------------------------------------------------------------------------------------------------------------------


def _flags(suspicion: Suspicion, *, seed_given: bool) -> Iterator[str]:
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
    if seed_given:
        yield "The seed of the draw was the verifier's choice, so that they could know before which replies would be judged again."


# --- What to verify --------------------------------------------------------------------------------------------------------------


class Target(NamedTuple):
    """A submission to verify.

    Attributes:
        read: Reads its bundle, when its turn comes: a board may hold more than memory does.
        place: File that its verification belongs in.
    """

    read: Callable[[], Bundle]
    place: Path


class Targets(NamedTuple):
    """What is to be verified at a path.

    Attributes:
        found: Those to verify.
        refused: Of a board, what it refuses, each with its reason: nothing of it can be verified.
    """

    found: tuple[Target, ...]
    refused: Mapping[str, str]


def targets(path: Path, out: Path | None, progress: Progress, *, is_board: bool = False) -> Targets:
    """Looks for what to verify.

    Args:
        path: A bundle's ZIP file or folder; or a board's folder, of which those are taken that were not verified yet, or not decided on.
        out: File of a single bundle's verification, or folder of a board's, which is `verifications` on a board. By default they go where a
            board looks for them; that of a ZIP file goes beside it.
        progress: Told what is read.
        is_board: Whether it is a board for sure, as what the Hub has; one without a submission has nothing to verify.

    Raises:
        CultureCareError: There is neither, or `out` does not fit.
    """
    from culturecare_harness.board import SUBMISSIONS, VERIFICATIONS, open_board, verification_path

    if not (path / SUBMISSIONS).is_dir():
        return Targets(() if is_board else (_single(path, out),), {})
    if out is not None and (out.suffix == ".json" or out.is_file()):
        raise CultureCareError(f"--out {out}: {path.resolve()} is a board, whose verifications need a folder")
    board = open_board(str(path), progress)
    folder = path / VERIFICATIONS if out is None else out
    found, remade = [], set()
    for entry in board.all_entries:
        if entry.verification is None or entry.verification.status == "undecided":
            name = verification_path(entry.protocol, entry.id)
            found.append(Target(functools.partial(board.bundle, entry.id), folder / Path(name).relative_to(VERIFICATIONS)))
            remade.add(name)
    # A record that is not believed is made again.
    return Targets(tuple(found), {name: reason for name, reason in board.refused.items() if name not in remade})


def _single(path: Path, out: Path | None) -> Target:
    from culturecare_harness.board import SUBMISSIONS, verification_path

    place = path.resolve()
    if not path.exists() or (path.is_dir() and not (path / SUBMISSION).exists()):
        what = "holds no submission" if path.is_dir() else "is not there"
        raise CultureCareError(
            f"{place}: {what}; expected a bundle's ZIP file, a submission's folder (with {SUBMISSION} in it), or a board's folder (with "
            f"{SUBMISSIONS}/ in it)"
        )
    bundle = read_bundle(path)
    if out is None:
        on_board = len(place.parents) > 3 and place.parents[2].name == SUBMISSIONS and path.is_dir()
        beside = place.with_name(f"{place.name.removesuffix('.zip')}.verification.json")
        out = place.parents[3] / verification_path(bundle.submission.protocol, bundle.id) if on_board else beside
    return Target(lambda: bundle, out)


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
