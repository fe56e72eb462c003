"""How good the judges are, what people said, and what judging took."""

from __future__ import annotations

from typing import TYPE_CHECKING

from culturecare_harness.report.figures import grade, interval, number, percent, signed, signed_interval
from culturecare_harness.report.methods import price_of
from culturecare_harness.report.page import Table
from culturecare_harness.report.published import published

if TYPE_CHECKING:
    from collections.abc import Iterable

    from culturecare_harness.ranking import Rate
    from culturecare_harness.report.evidence import Evidence
    from culturecare_harness.report.people import PeopleScores

__all__ = ["cost_table", "judge_tables", "people_tables"]


def judge_tables(evidence: Evidence) -> Iterable[Table]:
    """Coverage, agreement of juries, preferences, checks, and agreement with people."""
    yield Table(
        caption="Coverage: share of the verdicts that have a score",
        head=("Judge", "Model judged", "Coverage", "Without a score", "Digit mass"),
        rows=tuple(
            (
                graded.panel.name + ("" if graded.panel.measure else " (measures nothing)"),
                graded.run.label,
                percent(graded.result.coverage, 1),
                "; ".join(f"{reason} ({count})" for reason, count in sorted(graded.result.reasons.items())) or "none",
                "–" if graded.digit_mass is None else f"{graded.digit_mass:.2f}",
            )
            for graded in evidence.graded
        ),
        note="Digit mass: mean share of the judge's next-token probability that the five grades held, where its mode tells it.",
        numbers=frozenset({2, 4}),
    )
    for graded in evidence.graded:
        agreement = getattr(graded.result, "agreement", ())
        if agreement:
            yield Table(
                caption=f"Agreement of the {graded.panel.name} on {graded.run.label}: Krippendorff's alpha",
                head=("Dimension", "Alpha", "95 % interval", "Judges", "Replies"),
                rows=tuple(
                    (one.metric, grade(one.alpha), interval(one.low, one.high) or (one.reason or "–"), str(one.raters), str(one.units))
                    for one in agreement
                ),
                note="1 is perfect agreement, 0 what chance would give.",
                numbers=frozenset({1, 2, 3, 4}),
            )
    if evidence.preferences:
        yield _preference_table(evidence)
    if evidence.checks:
        yield Table(
            caption="Checks of the judges on project-written posts",
            head=(
                "Judge",
                "Prefers a good reply to a dismissive one",
                "… to a shuffled one",
                "Attacks that raise a bad reply by half a grade",
                "Same grade when asked twice",
            ),
            rows=tuple(
                (
                    check.judge.name + ("" if check.measure else " (measures nothing)"),
                    *(
                        next(
                            (
                                f"{percent(one.share)} [{percent(one.low)}, {percent(one.high)}], {one.n} posts"
                                for one in check.contests
                                if one.against == against and one.share is not None
                            ),
                            "–",
                        )
                        for against in ("dismissive", "shuffled")
                    ),
                    f"{percent(check.raised)} of {len(check.attacks)}",
                    "sampled" if check.repeated is None else f"{check.repeated.same} of {check.repeated.n}",
                )
                for check in evidence.checks
            ),
            numbers=frozenset({1, 2, 3, 4}),
        )
    for people in evidence.people:
        for judge in people.judges:
            yield Table(
                caption=f"The judge {judge.judge} held against people (packet {people.packet}, {people.raters} raters)",
                head=("Score", "Spearman", "One of the people", "Kendall", "Alpha", "Judge less people", "Pairs ordered alike", "Coverage"),
                rows=tuple(
                    (
                        one.metric,
                        *(
                            f"{grade(found.value)} {interval(found.low, found.high)}".strip()
                            for found in (
                                one.spearman,
                                *(
                                    [one.ceilings["spearman"].people]
                                    if "spearman" in one.ceilings
                                    else [one.spearman.model_copy(update={"value": None, "low": None, "high": None})]
                                ),
                                one.kendall,
                                one.alpha,
                            )
                        ),
                        f"{signed(one.mean_difference.value)} {signed_interval(one.mean_difference.low, one.mean_difference.high)}".strip(),
                        percent(one.pairwise_accuracy.value),
                        percent(one.coverage),
                    )
                    for one in judge.metrics
                ),
                note="One of the people: Spearman's correlation of one rater with the mean of the others, averaged over raters.",
                numbers=frozenset(range(1, 8)),
            )


def _preference_table(evidence: Evidence) -> Table:
    rows = []
    for one in evidence.preferences:
        for summary in one.result.summaries:
            if summary.culture == "all":
                rate, flips = summary.win_rate, summary.flip_rate
                rows.append(
                    (
                        one.panel.name + ("" if one.panel.measure else " (measures nothing)"),
                        summary.first,
                        summary.second,
                        f"{percent(rate.mean)} [{percent(rate.low)}, {percent(rate.high)}]" if rate.mean is not None else "–",
                        percent(flips.mean),
                        signed(summary.position_bias.mean),
                        str(summary.pairs),
                        percent(summary.coverage),
                    )
                )
    return Table(
        caption="Preferences: which of two replies a judge finds better, each pair in both orders",
        head=("Judge", "First", "Second", "Wins of the first", "Flips", "Position bias", "Pairs", "Coverage"),
        rows=tuple(rows),
        note="Flips: share of the pairs whose two orders name different winners. Position bias: how much more often the reply shown "
        "first won; 0 is none.",
        numbers=frozenset(range(3, 8)),
    )


def people_tables(evidence: Evidence) -> Iterable[Table]:
    """What people answered and how well they agree, with the published shares beside psychologists' ones."""
    for people in evidence.people:
        yield from _choices(people)
        yield from _condition_scores(people)
        # What is on a scale is said by the means; answers in words have none.
        graded = {score.metric for score in people.scores}
        shares = [
            (
                one.question,
                str(one.value),
                one.about,
                f"{percent(one.share)} [{percent(one.low)}, {percent(one.high)}]" if one.low is not None else percent(one.share),
                str(one.items),
            )
            for one in people.shares
            if one.question not in graded
        ]
        if shares:
            yield Table(
                caption=f"Answers of {people.raters} raters ({people.form}), packet {people.packet}",
                head=("Question", "Answer", "About replies of", "Share", "Items"),
                rows=tuple(shares),
                numbers=frozenset({3, 4}),
            )
        if people.agreement:
            yield Table(
                caption=f"Agreement of the raters among themselves, packet {people.packet}",
                head=("Question", "Coefficient", "Value", "95 % interval", "Raters", "Replies"),
                rows=tuple(
                    (
                        one.metric,
                        one.name,
                        grade(one.value),
                        interval(one.low, one.high) or (one.reason or "–"),
                        str(one.raters),
                        str(one.units),
                    )
                    for one in people.agreement
                ),
                numbers=frozenset({2, 3, 4, 5}),
            )
    if any(people.form == "psychologist" for people in evidence.people):
        yield Table(
            caption="As published: shares of the clinical psychologists' answers",
            head=("Question", "Answer", "About models' replies", "About peers' replies"),
            rows=tuple(
                (one.question, one.answer, f"{one.models:g} %", "–" if one.peers is None else f"{one.peers:g} %")
                for one in published().psychologists
            ),
            note="How many psychologists and items there were, and how well they agreed, is not known here.",
            numbers=frozenset({2, 3}),
        )


def _rate(rate: Rate) -> str:
    if rate.low is None or rate.high is None:
        return percent(rate.mean)
    return f"{percent(rate.mean)} [{percent(rate.low)}, {percent(rate.high)}]"


def _choices(people: PeopleScores) -> Iterable[Table]:
    if people.choices:
        said = {"use": "use", "none": "use none", "undecided": "undecided"}
        yield Table(
            caption=f"Which judge to use, held against {people.raters} raters, packet {people.packet}",
            head=("Culture", "Answer", "Judge", "Why"),
            rows=tuple(
                (one.culture, said[one.status], ", ".join(filter(None, (one.judge, *one.also))) or "–", one.reason)
                for one in people.choices
            ),
        )


def _condition_scores(people: PeopleScores) -> Iterable[Table]:
    over_all = [score for score in people.scores if score.culture == "all"]
    if over_all:
        yield Table(
            caption=f"Mean grades by people over the cultures, packet {people.packet}",
            head=("Condition", "Question", "Mean", "95 % interval", "Posts"),
            rows=tuple((one.condition, one.metric, grade(one.mean), interval(one.low, one.high) or "–", str(one.n)) for one in over_all),
            numbers=frozenset({2, 3, 4}),
        )
    if people.wins:
        yield Table(
            caption=f"How often people preferred a reply to the peer's, packet {people.packet}",
            head=("Condition", "By", "Wins over the peer", "Posts"),
            rows=tuple((one.condition, one.metric, _rate(one.rate), str(one.n)) for one in people.wins),
            numbers=frozenset({2, 3}),
        )


def cost_table(evidence: Evidence) -> Table:
    """Tokens of each judge's verdicts, and what they cost at most."""
    rows = []
    for graded in evidence.graded:
        tokens = graded.tokens
        if tokens is None:
            continue
        price = price_of(graded.panel.judges[0])
        cost = "own machine" if graded.panel.judges[0].backend == "hf" else "price not known"
        if price is not None:
            dollars = price.cost(tokens.prompt, tokens.completion)
            cost = f"${dollars:.4f}" if dollars < 1 else f"${dollars:,.2f}"
        rows.append(
            (
                graded.panel.name,
                graded.run.label,
                number(tokens.verdicts),
                number(tokens.prompt),
                number(tokens.completion),
                number(tokens.untold),
                cost,
            )
        )
    return Table(
        caption="Tokens and costs of judging",
        head=("Judge", "Model judged", "Verdicts", "Prompt tokens", "Answer tokens", "Scores without a count", "US dollars"),
        rows=tuple(rows),
        note="At list prices without cache or batch, which is the most that these tokens cost; an answer from the store was paid for once. "
        "A jury's answers stand with its judges, where these judged alone too. Prompt tokens that a local judge computed once count for "
        "each verdict.",
        numbers=frozenset({2, 3, 4, 5, 6}),
    )
