"""Scoring an annotation: hand-computed values, and what must hold of any two annotations."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from culturecare_harness.annotation.scoring import Credit, Stretch, compare, label_macro_f1, micro_f1, share

if TYPE_CHECKING:
    import random

spans = st.builds(
    lambda start, length, label: Stretch(start, start + length, label),
    st.integers(0, 30),
    st.integers(1, 12),
    st.sampled_from(["light", "moderate", "high", None]),
)
spans_of_a_post = st.lists(spans, max_size=8, unique_by=lambda span: span[:2])


def test_the_four_scores_of_a_worked_example() -> None:
    annotated = [Stretch(0, 10, "high"), Stretch(20, 30, "light"), Stretch(40, 50, "high"), Stretch(60, 70, None)]
    marked = [
        Stretch(0, 10, "high"),
        Stretch(20, 30, "high"),
        Stretch(45, 55, "moderate"),
        Stretch(80, 90, "light"),
        Stretch(60, 65, "high"),
    ]
    fit = compare(annotated, marked)
    assert fit.exact == Credit(2, 4, 5)
    assert fit.strict == Credit(1, 4, 5)
    assert fit.partial == Credit(2 + 0.5 + 0.5, 4, 5)
    assert micro_f1([fit.exact]) == pytest.approx(2 * (2 / 5) * (2 / 4) / (2 / 5 + 2 / 4))
    assert micro_f1([fit.partial]) == pytest.approx(6 / 9)
    # The span whose label the annotator left out asks for none.
    assert sorted(fit.labels) == [("high", "high"), ("high", "moderate"), ("light", "high")]
    # high: precision 1/2, recall 1/2; light: never found.
    assert label_macro_f1(fit.labels) == pytest.approx((1 / 2 + 0) / 2)


def test_micro_f1_pools_the_posts() -> None:
    assert micro_f1([Credit(1, 1, 1), Credit(0, 3, 1)]) == pytest.approx(2 / 6)
    assert micro_f1([Credit(0, 0, 0)]) == 1
    assert micro_f1([Credit(0, 2, 0)]) == 0


def test_a_share_is_of_all_together() -> None:
    assert share([(1, 1), (0, 3)]) == 0.25
    assert share([(0, 0)]) == 0


def test_an_exact_match_is_never_lost_to_an_overlap_that_comes_first() -> None:
    annotated = [Stretch(0, 10, "high")]
    marked = [Stretch(0, 5, "light"), Stretch(0, 10, "high")]
    fit = compare(annotated, marked)
    assert (fit.exact.points, fit.strict.points, fit.partial.points) == (1, 1, 1)
    assert fit.labels == (("high", "high"),)


@pytest.mark.parametrize("swapped", [False, True])
def test_of_pairings_with_equal_points_that_with_equal_boundaries_counts(swapped: bool) -> None:  # noqa: FBT001
    annotated = [Stretch(0, 10, "high"), Stretch(5, 10, "light")]
    marked = [Stretch(0, 10, "light"), Stretch(0, 5, "high")]
    fit = compare(marked, annotated) if swapped else compare(annotated, marked)
    assert (fit.exact.points, fit.strict.points, fit.partial.points) == (1, 0, 1)
    # The labels are those of the spans that count as exact, and not of two overlaps whose labels happen to be equal.
    assert fit.labels == ((("light", "high"),) if swapped else (("high", "light"),))


@given(spans_of_a_post, spans_of_a_post)
def test_the_labels_of_equal_boundaries_are_among_those_compared(one: list[Stretch], other: list[Stretch]) -> None:
    label_of = {span[:2]: span.label for span in other}
    exact = Counter((span.label, label_of[span[:2]]) for span in one if span[:2] in label_of and span.label is not None)
    assert exact <= Counter(compare(one, other).labels)


def test_a_span_pairs_with_one_span_alone() -> None:
    fit = compare([Stretch(0, 20, "high")], [Stretch(0, 9, "high"), Stretch(10, 20, "light")])
    assert fit.partial == Credit(0.5, 1, 2)
    assert fit.labels == (("high", "light"),)  # The larger overlap.


def test_more_pairs_outweigh_a_larger_overlap() -> None:
    annotated = [Stretch(0, 10, "high"), Stretch(11, 13, "light")]
    marked = [Stretch(0, 12, "high"), Stretch(5, 9, "light")]
    assert compare(annotated, marked).partial.points == 1


def test_a_label_that_the_model_left_out_or_made_up_counts_against_recall_alone() -> None:
    assert label_macro_f1([("high", None), ("high", "high")]) == pytest.approx(2 / 3)


@given(spans_of_a_post)
def test_the_annotators_themselves_score_one(annotated: list[Stretch]) -> None:
    fit = compare(annotated, annotated)
    assert [micro_f1([fit.exact]), micro_f1([fit.strict]), micro_f1([fit.partial])] == [1, 1, 1]
    if fit.labels:
        assert label_macro_f1(fit.labels) == 1


@given(spans_of_a_post, spans_of_a_post)
def test_swapped_roles_give_the_same_f1(one: list[Stretch], other: list[Stretch]) -> None:
    there, back = compare(one, other), compare(other, one)
    for credit, swapped in zip(there[:3], back[:3], strict=True):
        assert isinstance(credit, Credit)
        assert isinstance(swapped, Credit)
        assert micro_f1([credit]) == pytest.approx(micro_f1([swapped]))
        assert (credit.annotated, credit.marked) == (swapped.marked, swapped.annotated)


@given(spans_of_a_post, spans_of_a_post, st.randoms(use_true_random=False))
def test_no_score_depends_on_the_order_of_the_spans(one: list[Stretch], other: list[Stretch], chance: random.Random) -> None:
    mixed = [*other]
    chance.shuffle(mixed)
    assert compare(one, other)[:3] == compare(one, mixed)[:3]


@given(spans_of_a_post, spans_of_a_post)
def test_a_stricter_scheme_gives_no_more_points(one: list[Stretch], other: list[Stretch]) -> None:
    fit = compare(one, other)
    assert 0 <= fit.strict.points <= fit.exact.points <= fit.partial.points <= min(len(one), len(other))


@given(spans_of_a_post, spans_of_a_post)
def test_f1_stays_between_zero_and_one(one: list[Stretch], other: list[Stretch]) -> None:
    fit = compare(one, other)
    assert all(0 <= micro_f1([credit]) <= 1 for credit in (fit.exact, fit.strict, fit.partial))
