"""What people's grades of an earlier packet vary by, for planning the next study."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from typing import TYPE_CHECKING

from culturecare import CultureCareError
from culturecare_harness.against_people import PersonGrade
from culturecare_harness.agreement import FEWEST_CLUSTERS
from culturecare_harness.human.answers import join_answers
from culturecare_harness.human.items import open_packet, read_key
from culturecare_harness.human.ratings import latest, read_ratings
from culturecare_harness.power import spread_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from culturecare_harness.human.answers import RatedReply
    from culturecare_harness.human.forms import Question
    from culturecare_harness.power import Spread

__all__ = ["spread_of_packet"]

_ENDS = (1, 5)
"""Ends of the scales that a plan simulates."""


def spread_of_packet(folder: Path) -> Spread:
    """What the grades in a packet vary by (`power.spread_of`), over all its scales from 1 to 5 and all who rated.

    Each scale has its own means and its own raters' severities, and what varies about them is averaged over the scales. Attention checks
    and repeats do not count; what a rater gave a reply in two items is averaged.

    Args:
        folder: The packet's folder; its key stands beside it.

    Raises:
        CultureCareError: There is no packet or key, its form has no such scale, nobody has rated, or two raters graded the same two replies
            on fewer than `FEWEST_CLUSTERS` posts.
    """
    packet = open_packet(folder)
    key = read_key(packet)
    scales = [
        question
        for question in packet.packet.form.of_replies
        if question.kind == "scale" and (question.values[0].value, question.values[-1].value) == _ENDS
    ]
    if not scales:
        raise CultureCareError(
            f"{folder}: form {packet.packet.form.name!r} has no scale from 1 to 5 about replies, which a plan is made for"
        )
    answers = join_answers(packet, key, latest(read_ratings(packet)).ratings, list(packet.assignments))
    grades, conditions = _grades(answers.replies, scales)
    if not grades:
        raise CultureCareError(
            f"{folder}: nobody has graded a reply yet; import ratings with `culturecare human import`, or leave --from out"
        )
    posts = _posts_that_tell(answers.replies, scales)
    if posts < FEWEST_CLUSTERS:
        raise CultureCareError(
            f"{folder}: too few ratings: two raters graded the same two replies on {posts} posts, but what grades vary by is told from "
            f"{FEWEST_CLUSTERS} or more; import more ratings, or leave --from out"
        )
    found = spread_of(grades, conditions)
    return found.model_copy(update={"source": f"estimated from {len(grades)} grades of packet {packet.packet.id}"})


def _grades(rows: Iterable[RatedReply], scales: Sequence[Question]) -> tuple[list[PersonGrade], dict[str, str]]:
    """The grades, each scale as a study of its own, and the condition of each reply."""
    given: dict[tuple[str, str, str, str], list[float]] = defaultdict(list)
    conditions: dict[str, str] = {}
    for row in rows:
        for scale in scales:
            value = row.metrics[scale.key]
            if value is not None:
                item = f"{scale.key}/{row.instance_id}"
                reply = f"{item}/{row.condition}"
                conditions[reply] = f"{scale.key}/{row.condition}"
                given[row.culture, item, reply, row.rater].append(value)
    return [PersonGrade(*of, value=math.fsum(values) / len(values)) for of, values in given.items()], conditions


def _posts_that_tell(rows: Iterable[RatedReply], scales: Sequence[Question]) -> int:
    """Number of posts on which two raters graded the same two replies on one scale."""
    graded: dict[tuple[str, str], dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for row in rows:
        for scale in scales:
            if row.metrics[scale.key] is not None:
                graded[row.instance_id, scale.key][row.rater].add(row.condition)
    return len(
        {
            instance
            for (instance, _), by_rater in graded.items()
            if any(len(one & other) > 1 for one, other in itertools.combinations(by_rater.values(), 2))
        }
    )
