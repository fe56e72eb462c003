"""Scoring: how well the spans that a model marked fit those of the annotators.

Exact, strict and partial are three of the four schemes of SemEval-2013 task 9 (Segura-Bedmar, Martínez and Herrero-Zazo, S13-2056), which
go back to MUC-5 (Chinchor and Sundheim, M93-1007). Spans are matched one to one and as well as can be (the assignment problem), so that
no score depends on the order in which spans are listed, and annotator and model can be swapped: precision and recall then change places
and F1 stays. The package `nervaluate` matches greedily, in list order, and has neither property.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

__all__ = ["Credit", "Fit", "Stretch", "compare", "label_macro_f1", "micro_f1", "share"]


class Stretch(NamedTuple):
    """A labelled stretch of a text: `text[start:end]`; label null where the annotator gave none."""

    start: int
    end: int
    label: str | None


class Credit(NamedTuple):
    """Points of one or more posts.

    Attributes:
        points: 1 for each match, and under the partial scheme 1/2 for each overlap.
        annotated: Number of spans that the annotators marked (POS in MUC).
        marked: Number of spans that the model marked (ACT in MUC).
    """

    points: float
    annotated: int
    marked: int


class Fit(NamedTuple):
    """How the spans of one kind in one post fit.

    Attributes:
        exact: Credit for equal boundaries, whatever the labels.
        strict: Credit for equal boundaries and labels.
        partial: Credit of 1 for equal boundaries and 1/2 for an overlap, whatever the labels.
        labels: (annotated, marked) label of each pair of spans that overlap, where the annotator gave one; the second may be null.
    """

    exact: Credit
    strict: Credit
    partial: Credit
    labels: tuple[tuple[str, str | None], ...]


def compare(annotated: Sequence[Stretch], marked: Sequence[Stretch]) -> Fit:
    """Compares the spans of one kind in one post."""
    sizes = len(annotated), len(marked)
    pairs = _aligned(annotated, marked)
    partial = math.fsum(_points(one, other) for one, other in pairs)
    exact = Counter(span[:2] for span in annotated) & Counter(span[:2] for span in marked)
    strict = Counter(annotated) & Counter(marked)
    return Fit(
        exact=Credit(exact.total(), *sizes),
        strict=Credit(strict.total(), *sizes),
        partial=Credit(partial, *sizes),
        labels=tuple((one.label, other.label) for one, other in pairs if one.label is not None),
    )


def micro_f1(credits_: Iterable[Credit]) -> float:
    """F1 over all posts together: 2 points / (annotated + marked).

    That is the harmonic mean of precision, points / marked, and recall, points / annotated.
    Where nothing was annotated and nothing marked it is 1: there was nothing to be missed.
    """
    items = list(credits_)
    size = sum(item.annotated + item.marked for item in items)
    return 2 * math.fsum(item.points for item in items) / size if size else 1.0


def label_macro_f1(pairs: Iterable[tuple[str, str | None]]) -> float:
    """Mean over the labels that were annotated of each label's F1, from (annotated, marked) labels of spans that overlap."""
    from sklearn.metrics import f1_score

    annotated, marked = zip(*pairs, strict=True)
    labels = sorted(set(annotated))
    return float(f1_score(annotated, [label or "" for label in marked], labels=labels, average="macro", zero_division=0))


def share(pairs: Iterable[tuple[int, int]]) -> float:
    """Parts over wholes, both summed; 0 where there is no whole."""
    parts, wholes = zip(*pairs, strict=True)
    return sum(parts) / sum(wholes) if sum(wholes) else 0.0


def _aligned(annotated: Sequence[Stretch], marked: Sequence[Stretch]) -> list[tuple[Stretch, Stretch]]:
    """Pairs spans one to one for the most points, then for the most equal boundaries, the largest overlap and the most equal labels.

    A pair with equal boundaries can cost two overlaps at most, which are worth as much: no other pairing has more points than the best
    of those that hold every such pair, so that the labels compared are those of the spans that count as exact.
    """
    if not annotated or not marked:
        return []
    import numpy as np
    from scipy.optimize import linear_sum_assignment

    pairs = min(len(annotated), len(marked))
    exact = pairs + 1.0  # More than all overlaps and labels together; an overlap is at most 1.
    point = 2 * (pairs + 1) * (exact + 1)  # Half a point is more than all of these together.
    weights: NDArray[np.float64] = np.array([[_weight(one, other, point, exact) for other in marked] for one in annotated])
    rows, columns = linear_sum_assignment(weights, maximize=True)
    return [
        (annotated[row], marked[column]) for row, column in zip(rows, columns, strict=True) if _overlap(annotated[row], marked[column]) > 0
    ]


def _weight(one: Stretch, other: Stretch, point: float, exact: float) -> float:
    overlap = _overlap(one, other)
    if not overlap:
        return 0.0
    union = max(one.end, other.end) - min(one.start, other.start)
    return point * _points(one, other) + exact * (one[:2] == other[:2]) + overlap / union + 1e-6 * (one.label == other.label)


def _overlap(one: Stretch, other: Stretch) -> int:
    return max(0, min(one.end, other.end) - max(one.start, other.start))


def _points(one: Stretch, other: Stretch) -> float:
    return 1.0 if one[:2] == other[:2] else 0.5
