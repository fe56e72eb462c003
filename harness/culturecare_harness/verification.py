"""Records of verifications: what `verify` found, what follows from its figures, and whether a record can be believed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from pydantic import AwareDatetime, Field

from culturecare import Record
from culturecare_harness.records import Hash, Judge
from culturecare_harness.rubrics import select_rubric
from culturecare_harness.suspicion import Suspicion

if TYPE_CHECKING:
    from collections.abc import Iterator

    from culturecare_harness.board import Entry
    from culturecare_harness.protocols import Protocol

__all__ = ["APART", "Discrepancy", "Rejudged", "Status", "Verification", "contradiction", "decide", "detection_probability", "draw_size"]

APART = 0.5
"""Grades by which two scores are told apart."""

Status = Literal["verified", "failed", "undecided"]

_TOLERANCE = 1e-6


# --- Records ---------------------------------------------------------------------------------------------------------------------


class Discrepancy(Record):
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
        judgeable: Number of replies that could be drawn: those whose text is there and not empty.
        replies: Number of replies that were drawn.
        rounds: How often each was judged: twice where a judge may answer otherwise the second time (modes `sampled` and `argmax`).
        verdicts: Number of verdicts that were compared or are missing.
        discrepancies: Over all strategies, then each.
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

    judgeable: int = Field(ge=0)
    replies: int = Field(ge=0)
    rounds: int = Field(ge=1)
    verdicts: int = Field(ge=0)
    discrepancies: tuple[Discrepancy, ...]
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

    A board believes no record that contradicts itself, the protocol or the submission (`contradiction`). That the judge was asked at all,
    no record can show, since whoever knows the rules can make figures that fit: trust rests on who may merge into `verifications/`, and
    who doubts a record repeats its draw by its seed.

    Attributes:
        bundle: `Bundle.id`.
        protocol: Name of the protocol.
        created: When.
        status: `verified`: the judge gives these scores again, within the tolerance. `failed`: it does not. `undecided`: too little could
            be compared to say either.
        reasons: Sentences that say why.
        flags: Sentences about what a person should look at; they change no status.
        seed: Of the draw.
        seed_given: Whether the verifier chose the seed, and so could know before which replies would be drawn; true where it is not said.
        share: Share of the replies that was to be judged again.
        tolerance: The protocol's.
        judges: Who judged again.
        rejudged: What that gave; null where nothing had to be judged to tell that the bundle fails.
        suspicion: What stands behind the flags.
        versions: Of the packages that verified.
        verifier: Account on the Hub of who verified, by the token that was logged in; null where there was none.
    """

    schema_version: Literal[1] = 1
    bundle: Hash
    protocol: str
    created: AwareDatetime
    status: Status
    reasons: tuple[str, ...]
    flags: tuple[str, ...]
    seed: int = Field(ge=0)
    seed_given: bool = True
    share: float = Field(gt=0, le=1)
    tolerance: float
    judges: tuple[Judge, ...]
    rejudged: Rejudged | None
    suspicion: Suspicion
    versions: dict[str, str]
    verifier: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}$")


# --- How many, and what that finds -----------------------------------------------------------------------------------------------


def draw_size(judgeable: int, protocol: Protocol, share: float | None = None) -> int:
    """Number of replies to draw.

    Args:
        judgeable: Number of replies that can be judged again.
        protocol: Says the least number.
        share: Share of them to draw, by default the protocol's.
    """
    wanted = math.ceil((protocol.rejudging.share if share is None else share) * judgeable)
    return min(judgeable, max(protocol.rejudging.at_least, wanted))


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


# --- Deciding --------------------------------------------------------------------------------------------------------------------


def decide(rejudged: Rejudged, protocol: Protocol) -> tuple[Status, list[str]]:
    """What figures say, and why. `verify` says what each status needs."""
    tolerance = protocol.rejudging.tolerance
    failures: list[str] = []
    doubts: list[str] = []
    for row in rejudged.discrepancies:
        _weigh(row, tolerance, failures, doubts)
    _weigh_scatter(rejudged, tolerance, failures, doubts)
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
    if rejudged.replies < (asked := draw_size(rejudged.judgeable, protocol)):
        doubts.append(f"{rejudged.replies} replies were judged again, fewer than the {asked} that protocol {protocol.name!r} asks for.")
    if failures:
        return "failed", [*failures, *doubts]
    if doubts:
        return "undecided", doubts if rejudged.replies == rejudged.judgeable else [*doubts, "Verify again with a larger --share."]
    whole = rejudged.discrepancies[0]
    shown = f"{whole.difference:+z.3f} [{whole.low:+z.3f}, {whole.high:+z.3f}]"
    return "verified", [
        f"{rejudged.replies} replies were judged again: submitted scores differ by {shown} grades, within the tolerance of {tolerance:g}."
    ]


def _weigh(row: Discrepancy, tolerance: float, failures: list[str], doubts: list[str]) -> None:
    where = "over all strategies" if row.strategy == "all" else f"in strategy {row.strategy!r}"
    if row.difference is None or row.low is None or row.high is None:
        doubts.append(f"Replies to fewer than two posts could be compared {where}, too few to tell.")
        return
    shown = f"by {row.difference:+z.2f} [{row.low:+z.2f}, {row.high:+z.2f}] grades {where}"
    if row.low > tolerance or row.high < -tolerance:
        failures.append(f"Submitted scores differ from the judge's {shown}, beyond the tolerance of {tolerance:g}.")
    elif row.low < -tolerance or row.high > tolerance:
        doubts.append(f"Submitted scores may differ from the judge's {shown}; the tolerance is {tolerance:g}.")


def _weigh_scatter(rejudged: Rejudged, tolerance: float, failures: list[str], doubts: list[str]) -> None:
    scatter, low, high = rejudged.scatter, rejudged.scatter_low, rejudged.scatter_high
    if scatter is not None and low is not None and high is not None:
        shown = f"by {scatter:.2f} [{low:.2f}, {high:.2f}] grades more than the judge's own answers do"
        if low > tolerance:
            failures.append(f"Submitted scores scatter about the judge's {shown}, beyond the tolerance of {tolerance:g}.")
        elif high > tolerance:
            doubts.append(f"Submitted scores may scatter about the judge's {shown}; the tolerance is {tolerance:g}.")


# --- Believing -------------------------------------------------------------------------------------------------------------------


def contradiction(record: Verification, entry: Entry, protocol: Protocol) -> str | None:
    """Why a record cannot be what `verify` wrote of a submission, null where it can: anyone may write a file that says `verified`.

    Args:
        record: What stands on a board.
        entry: The submission that it is about.
        protocol: Of the submission.
    """
    return next(_contradictions(record, entry, protocol), None)


def _contradictions(record: Verification, entry: Entry, protocol: Protocol) -> Iterator[str]:
    found = record.rejudged
    if record.tolerance != protocol.rejudging.tolerance:
        yield f"its tolerance is {record.tolerance:g}, but that of protocol {protocol.name!r} is {protocol.rejudging.tolerance:g}"
    if (record.suspicion.replies, record.suspicion.withheld) != (entry.replies - entry.withheld, entry.withheld):
        yield "it looked at another number of replies than the submission has"
    if found is None:
        if record.status != "failed":
            yield f"it says {record.status!r}, but nothing was judged again"
        return
    names = [judge.name for judge in record.judges]
    if set(names) != set(entry.judges) or len(names) != len(entry.judges) or not set(record.judges) <= set(protocol.judges):
        yield f"its judges are not those of protocol {protocol.name!r} that graded the submission"
        return
    yield from _miscounts(record, found, entry, protocol)
    status, reasons = decide(found, protocol)
    if status != record.status:
        yield f"it says {record.status!r}, but its own figures say {status!r}: {reasons[0]}"


def _miscounts(record: Verification, found: Rejudged, entry: Entry, protocol: Protocol) -> Iterator[str]:
    if found.judgeable != entry.judgeable:
        yield f"it says that {found.judgeable} replies can be judged again, but the submission has {entry.judgeable}"
    if found.replies != draw_size(found.judgeable, protocol, record.share):
        yield f"it says that {found.replies} of {found.judgeable} replies were drawn, which is not a share of {record.share:g}"
    whole, *parts = found.discrepancies or (None,)
    if (
        whole is None
        or whole.strategy != "all"
        or not _are_parts(whole, parts)
        or not {part.strategy for part in parts} <= {*entry.strategies}
    ):
        yield "its differences are not those over all strategies and in each"
        return
    judged = found.replies * len(select_rubric(protocol.judges[0].rubric).dimensions)
    compared = whole.verdicts + found.missing_now + found.missing_submitted + found.missing_both
    if not found.verdicts == judged == compared or whole.replies > found.replies or len(found.odd) > found.replies:
        yield "the numbers of its verdicts do not add up"
    if found.rounds != (1 if all(judge.mode == "logprob" for judge in record.judges) else 2):
        yield f"it says that each reply was judged {found.rounds} times, which is not what its judges ask for"
    if (found.absolute is None) != (whole.difference is None) or abs(whole.difference or 0) > (found.absolute or 0) + _TOLERANCE:
        yield "its differences are larger than it says that they are on average"
    if found.scatter is not None and not _is_within(found.scatter, found.scatter_low, found.scatter_high):
        yield "an interval in it does not hold what it is of"


def _are_parts(whole: Discrepancy, parts: list[Discrepancy]) -> bool:
    """Whether differences in each strategy make up those over all of them."""
    rows = [whole, *parts]
    return (
        len({row.strategy for row in rows}) == len(rows)
        and sum(part.verdicts for part in parts) == whole.verdicts
        and sum(part.replies for part in parts) == whole.replies
        and all((row.difference is None) == (row.verdicts == 0) for row in rows)
        and all(row.difference is None or _is_within(row.difference, row.low, row.high) for row in rows)
        and abs(sum((part.difference or 0) * part.verdicts for part in parts) - (whole.difference or 0) * whole.verdicts)
        <= _TOLERANCE * max(1, whole.verdicts)
    )


def _is_within(value: float, low: float | None, high: float | None) -> bool:
    return (low is None) == (high is None) and (low is None or high is None or low - _TOLERANCE <= value <= high + _TOLERANCE)
