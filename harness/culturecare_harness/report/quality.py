"""How good the judges are, and what judging took, as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from culturecare_harness.counting import counted
from culturecare_harness.jury import JuryResult
from culturecare_harness.report.figures import (
    cultures_listed,
    grade,
    interval,
    listed,
    number,
    of_all,
    percent,
    share,
    signed_with_interval,
    with_interval,
)
from culturecare_harness.report.methods import price_of
from culturecare_harness.report.page import Table
from culturecare_harness.rubrics import select_rubric

if TYPE_CHECKING:
    from collections.abc import Iterable

    from culturecare_harness.against_people import JudgeQuality
    from culturecare_harness.agreement import Coefficient
    from culturecare_harness.check import CheckReport, Effect
    from culturecare_harness.ranking import PairSummary
    from culturecare_harness.report.evidence import Evidence, Graded, Preferences
    from culturecare_harness.report.people import JudgeAgainstPeople, PeopleScores

__all__ = ["cost_table", "judge_tables"]


def judge_tables(evidence: Evidence) -> Iterable[Table]:
    """Coverage, agreement of juries, preferences, checks, and agreement with people."""
    yield _coverage_table(evidence)
    for graded in evidence.graded:
        if isinstance(graded.result, JuryResult) and graded.result.agreement:
            yield _jury_table(graded, graded.result)
    if evidence.preferences:
        yield _preference_table(evidence)
    if evidence.checks:
        yield _check_table(evidence)
    for people in evidence.people:
        for judge in people.judges:
            yield _against_people_table(people, judge)


def _named(name: str, *, measure: bool) -> str:
    return name if measure else f"{name} (measures nothing)"


def _coverage_table(evidence: Evidence) -> Table:
    return Table(
        caption="Coverage: share of the verdicts that have a score",
        head=("Judge", "Model judged", "Replies", "Coverage", "Without a score", "Digit mass"),
        rows=tuple(
            (
                _named(graded.panel.name, measure=graded.panel.measure),
                graded.run.label,
                number(len(graded.run.there.replies)),
                percent(graded.result.coverage, 1),
                "; ".join(f"{reason} ({count})" for reason, count in sorted(graded.result.reasons.items())) or "none",
                grade(graded.digit_mass),
            )
            for graded in evidence.graded
        ),
        note="Digit mass: mean share of the judge's next-token probability that the five grades held, over the verdicts that tell it.",
        numbers=frozenset({2, 3, 5}),
    )


def _jury_table(graded: Graded, result: JuryResult) -> Table:
    names = {dimension.key: dimension.name for dimension in select_rubric(graded.panel.judges[0].rubric).dimensions}
    return Table(
        caption=f"Agreement of the {graded.panel.name} on {graded.run.label}: Krippendorff's alpha",
        head=("Dimension", "Alpha", "95 % interval", "Judges", "Replies"),
        rows=tuple(
            (
                names.get(one.metric, one.metric),
                grade(one.alpha),
                interval(one.low, one.high) or one.reason or "–",
                str(one.raters),
                of_all(one.units, len(graded.run.there.replies)),
            )
            for one in result.agreement
        ),
        note="1 is perfect agreement, 0 what chance would give. Replies: those that two judges or more gave a score.",
        numbers=frozenset({1, 2, 3, 4}),
    )


def _preference_table(evidence: Evidence) -> Table:
    rows = [(one, summary) for one in evidence.preferences for summary in one.result.summaries if summary.culture == "all"]
    over = [_compared_in(one, summary) for one, summary in rows]
    named = any(found != evidence.cultures for found in over)
    return Table(
        caption="Preferences: which of two replies a judge finds better, each pair in both orders; mean over "
        + ("the cultures named in each row" if named else cultures_listed(evidence.cultures)),
        head=(
            "Judge",
            "First",
            "Second",
            "Wins of the first",
            "Flips",
            "Position bias",
            "Pairs",
            "Coverage",
            *(("Mean over",) if named else ()),
        ),
        rows=tuple(
            (
                _named(one.panel.name, measure=one.panel.measure),
                summary.first,
                summary.second,
                share(summary.win_rate.mean, summary.win_rate.low, summary.win_rate.high),
                share(summary.flip_rate.mean, summary.flip_rate.low, summary.flip_rate.high),
                signed_with_interval(summary.position_bias.mean, summary.position_bias.low, summary.position_bias.high),
                number(summary.pairs),
                percent(summary.coverage),
                *((cultures_listed(found),) if named else ()),
            )
            for (one, summary), found in zip(rows, over, strict=True)
        ),
        note="Flips: share of the pairs whose two orders name different winners. Position bias: how much more often the reply shown "
        "first won; 0 is none. Coverage: share of the pairs that have a preference. Intervals are 95 %.",
        numbers=frozenset(range(3, 8)),
    )


def _compared_in(one: Preferences, summary: PairSummary) -> tuple[str, ...]:
    """Cultures in which two contestants were compared."""
    both = (summary.first, summary.second)
    return tuple(other.culture for other in one.result.summaries if (other.first, other.second) == both and other.culture != "all")


def _check_table(evidence: Evidence) -> Table:
    return Table(
        caption="Checks of the judges on project-written posts",
        head=(
            "Judge",
            "Prefers a good reply to a dismissive one",
            "… to a shuffled one",
            "Attacks that raise a bad reply by half a grade",
            "Mean rise by an attack",
            "Same grade when asked twice",
            "Coverage",
        ),
        rows=tuple(
            (
                _named(check.judge.name, measure=check.measure),
                _contest(check, "dismissive"),
                _contest(check, "shuffled"),
                f"{percent(check.raised)} of {len(check.attacks)}",
                _rise(check.inflation),
                "sampled" if check.repeated is None else f"{check.repeated.same} of {check.repeated.n}",
                percent(check.coverage, 1),
            )
            for check in evidence.checks
        ),
        note="Shares and rises with their 95 % intervals over posts. Coverage: share of the check's verdicts that have a score.",
        numbers=frozenset(range(1, 7)),
    )


def _rise(effect: Effect) -> str:
    return "–" if effect.mean is None else f"{signed_with_interval(effect.mean, effect.low, effect.high)}, {counted(effect.n, 'post')}"


def _contest(check: CheckReport, against: str) -> str:
    found = next((one for one in check.contests if one.against == against and one.share is not None), None)
    return "–" if found is None else f"{share(found.share, found.low, found.high)}, {counted(found.n, 'post')}"


def _against_people_table(people: PeopleScores, judge: JudgeAgainstPeople) -> Table:
    return Table(
        caption=f"The judge {judge.judge} held against people (packet {people.packet}, {counted(people.raters, 'rater')})",
        head=(
            "Score",
            "Spearman",
            "One of the people",
            "Kendall",
            "Alpha",
            "Judge less people",
            "Pairs ordered alike",
            "Replies",
            "Coverage",
        ),
        rows=tuple((people.name_of(one.metric), *_against_people(one)) for one in judge.metrics),
        note="With 95 % intervals over posts. One of the people: Spearman's correlation of one rater with the mean of the others, averaged "
        "over raters. Pairs ordered alike: of the pairs of replies to a post that people order clearly, those that the judge orders in the "
        "same way, and their number. Replies: those that people graded and the judge has a score for; coverage: their share of those that "
        f"people graded.{_without_interval(people, judge)}",
        numbers=frozenset(range(1, 9)),
    )


def _against_people(one: JudgeQuality) -> tuple[str, ...]:
    ceiling = one.ceilings.get("spearman")
    bias, alike = one.mean_difference, one.pairwise_accuracy
    return (
        with_interval(one.spearman.value, one.spearman.low, one.spearman.high),
        "–" if ceiling is None else with_interval(ceiling.people.value, ceiling.people.low, ceiling.people.high),
        with_interval(one.kendall.value, one.kendall.low, one.kendall.high),
        with_interval(one.alpha.value, one.alpha.low, one.alpha.high),
        signed_with_interval(bias.value, bias.low, bias.high),
        "–" if alike.value is None else f"{share(alike.value, alike.low, alike.high)}, {counted(alike.units, 'pair')}",
        number(one.spearman.units),
        percent(one.coverage),
    )


def _without_interval(people: PeopleScores, judge: JudgeAgainstPeople) -> str:
    """Why numbers lack their interval, or are missing."""
    lacking: dict[tuple[str, str], list[str]] = {}
    for one in judge.metrics:
        for what, found in _numbers(one):
            if found.reason is not None:
                lacking.setdefault((found.reason, what), []).append(people.name_of(one.metric))
    by_reason: dict[tuple[str, str], list[str]] = {}
    for (reason, what), metrics in lacking.items():
        where = "every score" if len(metrics) == len(judge.metrics) > 1 else listed(metrics)
        by_reason.setdefault((reason, where), []).append(what)
    told = [f"{listed(names)} of {where}: {reason}" for (reason, where), names in by_reason.items()]
    return f" Without a value or an interval: {'; '.join(told)}." if told else ""


def _numbers(one: JudgeQuality) -> Iterable[tuple[str, Coefficient]]:
    yield "Spearman", one.spearman
    if (ceiling := one.ceilings.get("spearman")) is not None:
        yield "one of the people", ceiling.people
    yield from (("Kendall", one.kendall), ("alpha", one.alpha), ("judge less people", one.mean_difference))
    yield "pairs ordered alike", one.pairwise_accuracy


def cost_table(evidence: Evidence) -> Table:
    """Tokens of each judge's verdicts, and what they cost at most."""
    return Table(
        caption="Tokens and costs of judging",
        head=("Judge", "Model judged", "Verdicts", "Prompt tokens", "Answer tokens", "Scores without a count", "US dollars"),
        rows=tuple(
            (
                graded.panel.name,
                graded.run.label,
                *map(number, (graded.tokens.verdicts, graded.tokens.prompt, graded.tokens.completion, graded.tokens.untold)),
                _cost(graded),
            )
            for graded in evidence.graded
            if graded.tokens is not None
        ),
        note="At list prices without cache or batch, which is the most that these tokens cost; an answer from the store was paid for once. "
        "A jury's answers stand with its judges, where these judged alone too. Prompt tokens that a local judge computed once count for "
        "each verdict.",
        numbers=frozenset({2, 3, 4, 5, 6}),
    )


def _cost(graded: Graded) -> str:
    judge, tokens = graded.panel.judges[0], graded.tokens
    price = price_of(judge)
    if price is None or tokens is None:
        return "own machine" if judge.backend == "hf" else "price not known"
    dollars = price.cost(tokens.prompt, tokens.completion)
    return f"${dollars:.4f}" if dollars < 1 else f"${dollars:,.2f}"
