"""What people answered and how well they agree, as tables."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from culturecare import cultures
from culturecare_harness.counting import counted
from culturecare_harness.human.answers import answer_metric
from culturecare_harness.human.condition_scores import ALL, metric_names
from culturecare_harness.human.forms import forms
from culturecare_harness.report.figures import cultures_listed, grade, interval, percent, share
from culturecare_harness.report.page import Table
from culturecare_harness.report.published import published

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from culturecare_harness.human.condition_scores import ConditionScore
    from culturecare_harness.report.evidence import Evidence
    from culturecare_harness.report.people import PeopleScores

__all__ = ["people_tables", "without_names"]

_COEFFICIENTS = {
    "alpha_nominal": "Krippendorff's alpha, nominal",
    "alpha_ordinal": "Krippendorff's alpha, ordinal",
    "alpha_interval": "Krippendorff's alpha, interval",
    "kappa": "Kappa",
    "weighted_kappa": "Kappa, quadratic weights",
    "ac1": "Gwet's AC1",
    "ac2": "Gwet's AC2, quadratic weights",
}
"""Names of what agreement among raters is told by."""


def people_tables(evidence: Evidence) -> Iterable[Table]:
    """What people answered and how well they agree, with the published shares beside psychologists' ones."""
    for people in evidence.people:
        if people.choices:
            yield _choices(people)
        if over_all := [score for score in people.scores if score.culture == ALL]:
            yield _means(people, over_all)
        if people.wins:
            yield _wins(people)
        yield from _answers(people)
        if people.agreement:
            yield _agreement(people)
    if any(people.form == "psychologist" for people in evidence.people):
        yield _published()


def _choices(people: PeopleScores) -> Table:
    said = {"use": "use", "none": "use none", "undecided": "undecided"}
    return Table(
        caption=f"Which judge to use, held against {counted(people.raters, 'rater')}, packet {people.packet}",
        head=("Culture", "By", "Answer", "Judge", "Why"),
        rows=tuple(
            (
                "All (mean)" if one.culture == ALL else cultures()[one.culture].name,
                people.name_of(one.metric),
                said[one.status],
                ", ".join(filter(None, (one.judge, *one.also))) or "–",
                one.reason,
            )
            for one in people.choices
        ),
    )


def without_names(people: PeopleScores, text: str) -> str:
    """A note on people's ratings with a code in the place of each rater's name, which raters were promised that nobody would publish.

    Results of today's packets hold codes alone, such as `german-1`; earlier ones hold names. These stand in notes that begin with the word
    "Raters", and in no other: there is no telling the name `an` from the word.
    """
    named = {one.rater: f"rater {place}" for place, one in enumerate(people.rater_quality, 1) if not _is_code(one.rater)}
    if not named or not text.startswith("Raters "):
        return text
    names = "|".join(re.escape(name) for name in sorted(named, key=len, reverse=True))
    said, colon, who = text.partition(":")
    return said + colon + re.sub(rf"(?<![\w-])(?:{names})(?![\w-])", lambda found: named[found[0]], who)


def _is_code(rater: str) -> bool:
    culture, _, number = rater.rpartition("-")
    return culture in cultures() and number.isdecimal()


def _means(people: PeopleScores, scores: Sequence[ConditionScore]) -> Table:
    graded = {score.culture for score in people.scores if score.n}
    return Table(
        caption=f"Mean grades by people over {cultures_listed([key for key in cultures() if key in graded])}, packet {people.packet}",
        head=("Condition", "Question", "Mean", "95 % interval", "Posts", "Raters", "Coverage"),
        rows=tuple(
            (
                one.condition,
                people.name_of(one.metric),
                grade(one.mean),
                interval(one.low, one.high) or one.reason or "–",
                str(one.n),
                str(one.raters),
                percent(one.coverage),
            )
            for one in scores
        ),
        note="Coverage: share of the grades that raters were asked for and gave. Intervals are over posts.",
        numbers=frozenset({2, 4, 5, 6}),
    )


def _wins(people: PeopleScores) -> Table:
    return Table(
        caption=f"How often people preferred a reply to the peer's, packet {people.packet}",
        head=("Condition", "By", "Wins over the peer", "Posts"),
        rows=tuple(
            (
                one.condition,
                people.name_of(one.metric),
                share(one.rate.mean, one.rate.low, one.rate.high) if one.reason is None else one.reason,
                str(one.n),
            )
            for one in people.wins
        ),
        note="Mean over the cultures in which both replies have a value, with its 95 % interval over posts. Posts: those on which both "
        "have one.",
        numbers=frozenset({3}),
    )


def _answers(people: PeopleScores) -> Iterable[Table]:
    # What is on a scale is said by the means; answers in words have none.
    graded = {score.metric for score in people.scores}
    rows = tuple(
        (
            people.name_of(one.question),
            people.name_of(answer_metric(one.question, one.value)) if people.questions else str(one.value),
            one.about,
            share(one.share, one.low, one.high),
            str(one.items),
        )
        for one in people.shares
        if one.question not in graded
    )
    if rows:
        yield Table(
            caption=f"Answers of {counted(people.raters, 'rater')} ({people.form}), packet {people.packet}",
            head=("Question", "Answer", "About replies of", "Share", "Items"),
            rows=rows,
            note="Mean over the cultures, with its 95 % interval over posts. Items: those with an answer.",
            numbers=frozenset({3, 4}),
        )


def _agreement(people: PeopleScores) -> Table:
    return Table(
        caption=f"Agreement of the raters among themselves, packet {people.packet}",
        head=("Question", "Coefficient", "Value", "95 % interval", "Raters", "Replies"),
        rows=tuple(
            (
                people.name_of(one.metric),
                _COEFFICIENTS.get(one.name, one.name),
                grade(one.value),
                interval(one.low, one.high) or one.reason or "–",
                str(one.raters),
                str(one.units),
            )
            for one in people.agreement
        ),
        numbers=frozenset({2, 3, 4, 5}),
    )


def _published() -> Table:
    names = metric_names(forms()["psychologist"].questions)
    return Table(
        caption="As published: shares of the clinical psychologists' answers",
        head=("Question", "Answer", "About models' replies", "About peers' replies"),
        rows=tuple(
            (names[one.question], one.answer, f"{one.models:g} %", "–" if one.peers is None else f"{one.peers:g} %")
            for one in published().psychologists
        ),
        note="How many psychologists and items there were, and how well they agreed, is not known here.",
        numbers=frozenset({2, 3}),
    )
