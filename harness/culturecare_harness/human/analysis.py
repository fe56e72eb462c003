"""Scoring a packet: how reliable its raters are, how well they agree, what they say of each condition, and which judge is like them."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import json
from collections import Counter
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from culturecare import SYNTHETIC_SPLITS, CultureCareError, DataError, Record
from culturecare_harness.agreement import Coefficient
from culturecare_harness.human.answers import join_answers
from culturecare_harness.human.condition_scores import (
    ALL,
    AnswerShare,
    ConditionScore,
    Contrast,
    RankScore,
    WinRate,
    agreement_among_raters,
    compare_conditions,
    compare_models_with_peers,
    condition_scores,
    rank_conditions,
    rank_scores,
    shares,
    win_rates,
)
from culturecare_harness.human.forms import Question
from culturecare_harness.human.items import beside, open_packet, read_key
from culturecare_harness.human.judge_choice import (
    RULE,
    JudgeChoice,
    JudgedByPeople,
    JudgeScores,
    choose_judges,
    hold_against_people,
    read_judges,
)
from culturecare_harness.human.rater_quality import FailRule, RaterQuality, rater_quality
from culturecare_harness.human.ratings import latest, read_ratings
from culturecare_harness.judges import NO_MEASURE
from culturecare_harness.ranking import Ranking
from culturecare_harness.records import Hash, write_json
from culturecare_harness.scoring import package_versions
from culturecare_harness.significance import Comparison

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from culturecare_harness.human.answers import Answers
    from culturecare_harness.human.items import Key, OpenPacket
    from culturecare_harness.human.ratings import Rating

__all__ = ["HumanResult", "PeopleTables", "score_packet", "score_ratings", "scores_path"]

SCHEMA_VERSION: Literal[1] = 1

_PACKAGES = ("evalica", "numpy", "scipy")


class PeopleTables(Record):
    """What some raters say, in all tables.

    Attributes:
        raters: Number of raters with a rating that counts.
        items: Number of items with such a rating.
        agreement: Of the raters among themselves over all cultures, for each question.
        agreement_by_culture: The same in each culture.
        scores: Mean grades of each condition, in each culture and over all.
        shares: Of each answer about models' and about peers' replies, over all cultures.
        shares_by_condition: The same by condition, in each culture and over all.
        contrasts: Models' replies against peers', answer by answer.
        comparisons: Each two conditions on the posts with both, the later less the earlier.
        wins: How often each condition is found better than the peer.
        ranks: Mean rank of each condition and how often it came first, in each culture and over all.
        strengths: Bradley-Terry strengths from the rankings; null with a reason.
        strengths_reason: Why there are none.
        judges: How well each judge agrees with these people.
        choices: Which judge to use for which culture.
    """

    raters: int = Field(ge=0)
    items: int = Field(ge=0)
    agreement: tuple[Coefficient, ...]
    agreement_by_culture: dict[str, tuple[Coefficient, ...]]
    scores: tuple[ConditionScore, ...]
    shares: tuple[AnswerShare, ...]
    shares_by_condition: tuple[AnswerShare, ...]
    contrasts: tuple[Contrast, ...]
    comparisons: tuple[Comparison, ...]
    wins: tuple[WinRate, ...]
    ranks: tuple[RankScore, ...]
    strengths: Ranking | None
    strengths_reason: str | None
    judges: tuple[JudgedByPeople, ...]
    choices: tuple[JudgeChoice, ...]


class HumanResult(PeopleTables):
    """The scores of one packet, with all that a reader needs to know how they were made. It holds no post, reply or comment.

    Attributes:
        packet: Id of the packet.
        form: Name of the form.
        form_hash: Hash of the form.
        questions: What the form asks, by which the tables' keys have names; empty in results that were written before it was kept.
        conditions: What was rated.
        cultures: Cultures with a rating that counts, in registry order.
        replies: Ids of the models' replies with a rating that counts, by which a report knows them; empty in results that were written
            before it was kept.
        ratings: Number of ratings, superseded ones not counted, checks and repeats included.
        rater_quality: Every rater of the packet, whether counted or not. Results are published, so that raters stand under their
            codes, here and in the notes.
        rule: When a rater has failed.
        rule_of_choice: How a judge is chosen.
        excluded: Raters who failed and whose ratings are left out of the tables.
        without_failed: The tables without those who failed, where they are counted above; null where nobody failed.
        with_failed: The tables with those who failed, where they are left out above.
        notes: Sentences that must be read with the numbers.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    created: dt.datetime
    packet: Hash
    form: str
    form_hash: Hash
    questions: tuple[Question, ...] = ()
    split: str
    dataset_revision: Hash
    excerpt: bool
    conditions: tuple[str, ...]
    cultures: tuple[str, ...]
    replies: tuple[Hash, ...] = ()
    ratings: int = Field(ge=0)
    rater_quality: tuple[RaterQuality, ...]
    rule: FailRule
    rule_of_choice: str = RULE
    excluded: tuple[str, ...]
    without_failed: PeopleTables | None
    with_failed: PeopleTables | None
    notes: tuple[str, ...]
    versions: dict[str, str]


def scores_path(folder: Path) -> Path:
    """Where the scores of the packet in `folder` are kept: beside it, since raters may see what is in it."""
    return beside(folder.resolve(), ".scores.json")


def score_packet(
    folder: Path,
    runs: Sequence[Path] = (),
    *,
    at: dt.datetime,
    out: Path | None = None,
    key: Path | None = None,
    exclude_failed: bool = False,
    rule: FailRule | None = None,
) -> tuple[HumanResult, Path]:
    """Scores a packet from its folder, and writes the result.

    Args:
        folder: The packet's folder.
        runs: Folders of judged runs, whose judges are held against the people.
        at: When.
        out: The result's file, by default `scores_path`.
        key: The packet's key, by default beside the folder.
        exclude_failed: Whether the ratings of those who failed by the rule are left out.
        rule: When a rater has failed, by default `FailRule()`.

    Returns:
        The result, and the file that holds it.

    Raises:
        CultureCareError: A file does not fit or is not there, or there is nothing to score.
    """
    packet = open_packet(folder.resolve())
    path = out or scores_path(folder)
    _refuse_what_is_no_result(path, packet.folder)
    opened_key = read_key(packet, key)
    judged = read_judges(runs, opened_key) if runs else []
    result = score_ratings(packet, opened_key, read_ratings(packet), judged, at=at, exclude_failed=exclude_failed, rule=rule or FailRule())
    write_json(path, result)
    return result, path


def _refuse_what_is_no_result(path: Path, packet: Path) -> None:
    """A key can't be made again, and raters may see what is in the packet: only an earlier result is overwritten."""
    if path.resolve().is_relative_to(packet):
        raise DataError(f"{path}: lies in the packet, which raters may see; choose a file elsewhere with --out")
    if path.exists() and not _is_result(path):
        raise DataError(f"{path}: is there already and is no result of `culturecare human score`; choose another file with --out")


def _is_result(path: Path) -> bool:
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(fields, dict) and {"packet", "rater_quality", "rule_of_choice"} <= fields.keys()


def score_ratings(
    packet: OpenPacket,
    key: Key,
    ratings: Sequence[Rating],
    judged: Sequence[JudgeScores] = (),
    *,
    at: dt.datetime,
    exclude_failed: bool = False,
    rule: FailRule | None = None,
) -> HumanResult:
    """Scores ratings of a packet.

    Args:
        packet: The packet.
        key: Its key.
        ratings: All ratings, superseded ones included.
        judged: Judges to hold against the people.
        at: When.
        exclude_failed: Whether the ratings of those who failed by the rule are left out; the tables are made the other way too.
        rule: When a rater has failed.

    Raises:
        CultureCareError: Nobody has rated a reply, or everybody who has is left out.
    """
    chosen_rule = rule or FailRule()
    kept = latest(ratings).ratings
    quality = rater_quality(packet, key, ratings, chosen_rule)
    failed = tuple(one.rater for one in quality if one.failed)
    careful = {rating.rater for rating in kept if rating.value is not None} - set(failed)
    _check_somebody_is_left(packet, kept, () if careful or not exclude_failed else failed)
    everybody = list(packet.assignments)
    passed = [rater for rater in everybody if rater not in failed]
    answers = join_answers(packet, key, kept, passed if exclude_failed else everybody)
    main, otherwise = people_tables(answers, judged), None
    if failed and careful:
        otherwise = people_tables(join_answers(packet, key, kept, everybody if exclude_failed else passed), judged)
    return HumanResult(
        **{name: getattr(main, name) for name in PeopleTables.model_fields},
        created=at.astimezone(dt.UTC).replace(microsecond=0),
        packet=packet.packet.id,
        form=packet.packet.form.name,
        form_hash=packet.packet.form.hash,
        questions=packet.packet.form.questions,
        split=key.header.split,
        dataset_revision=key.header.dataset_revision,
        excerpt=packet.packet.excerpt,
        conditions=answers.conditions,
        cultures=answers.cultures,
        replies=_rated_replies(answers),
        ratings=len(kept),
        rater_quality=tuple(quality),
        rule=chosen_rule,
        excluded=failed if exclude_failed else (),
        without_failed=None if exclude_failed else otherwise,
        with_failed=otherwise if exclude_failed else None,
        notes=tuple(_notes(packet, key, answers, quality, failed, judged, exclude_failed=exclude_failed)),
        versions={**package_versions(), **{package: importlib.metadata.version(package) for package in _PACKAGES}},
    )


def _rated_replies(answers: Answers) -> tuple[str, ...]:
    rated = {row.reply_id for row in answers.replies if any(value is not None for value in row.answers.values())}
    return tuple(sorted(name for name in rated if name is not None))


def _check_somebody_is_left(packet: OpenPacket, ratings: Sequence[Rating], left_out: Sequence[str]) -> None:
    if not any(rating.value is not None for rating in ratings):
        raise CultureCareError(
            f"{packet.folder}: nobody has rated yet; serve the packet, or import ratings with `culturecare human import`"
        )
    if left_out:
        raise CultureCareError(
            f"{packet.folder}: every rater who rated has failed ({', '.join(left_out)}), so that nobody is left to score"
        )


def people_tables(answers: Answers, judged: Sequence[JudgeScores]) -> PeopleTables:
    """All tables of what some raters say."""
    rated = [row for row in answers.replies if any(value is not None for value in row.answers.values())]
    ranked = [row for row in answers.rankings if row.labels is not None]
    agreement = agreement_among_raters(answers)
    held = hold_against_people(answers, judged)
    strengths, strengths_reason = rank_conditions(answers)
    return PeopleTables(
        raters=len({row.rater for row in rated} | {row.rater for row in ranked}),
        items=len({row.item for row in rated} | {row.item for row in ranked}),
        agreement=tuple(agreement.pop(ALL)),
        agreement_by_culture={culture: tuple(of_culture) for culture, of_culture in agreement.items()},
        scores=tuple(condition_scores(answers)),
        shares=tuple(shares(answers, by_condition=False)),
        shares_by_condition=tuple(shares(answers, by_condition=True)),
        contrasts=tuple(compare_models_with_peers(answers)),
        comparisons=tuple(compare_conditions(answers)),
        wins=tuple(win_rates(answers)),
        ranks=tuple(rank_scores(answers)),
        strengths=strengths,
        strengths_reason=strengths_reason,
        judges=tuple(held),
        choices=tuple(choose_judges(answers, held)),
    )


def _notes(
    packet: OpenPacket,
    key: Key,
    answers: Answers,
    quality: Sequence[RaterQuality],
    failed: Sequence[str],
    judged: Sequence[JudgeScores],
    *,
    exclude_failed: bool,
) -> list[str]:
    notes = [
        "Intervals are over posts: they tell how far a number would move with other posts, not with other raters.",
        "Attention checks and repeated items count for the raters' own table alone.",
    ]
    if failed:
        done = (
            "are left out (the result file has the tables with them too)"
            if exclude_failed
            else "count (the result file has the tables without them too)"
        )
        why = "; ".join(f"{one.rater} {' and '.join(one.failed)}" for one in quality if one.failed)
        notes.append(f"Raters who failed {done}: {why}.")
    if absent := [culture for culture in packet.packet.items if culture not in answers.cultures]:
        notes.append(f"Cultures without a rating that counts, which no number holds: {', '.join(absent)}.")
    if silent := [one.rater for one in quality if not one.answered and not one.declined]:
        notes.append(f"Raters without an answer: {', '.join(silent)}.")
    if unfinished := sum(0 < one.finished < one.items for one in quality):
        notes.append(f"Raters who are not finished: {unfinished}; what they have answered counts.")
    if alone := [culture for culture, number in Counter(one.culture for one in quality if one.answered).items() if number == 1]:
        notes.append(f"Cultures with one rater, whose agreement cannot be told: {', '.join(alone)}.")
    if packet.packet.excerpt:
        notes.append("Posts were known by their annotated phrases alone (excerpts); these scores share no table with scores on full posts.")
    if key.header.split in SYNTHETIC_SPLITS:
        notes.append(f"Split {key.header.split!r} is synthetic: written for this project, by no person in distress.")
    notes += [
        f"The judge {judge.name} {NO_MEASURE}: its grades are no measure of a reply's quality." for judge in judged if not judge.measure
    ]
    return [*notes, *key.header.notes]
