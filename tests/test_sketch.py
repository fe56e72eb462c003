"""Sketches: what shares passages is known, however it was edited a little, and what shares none is not."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from culturecare_harness.sketch import FEWEST, SIZE, containment, sketch
from tests.bundles import make_bundle

if TYPE_CHECKING:
    from collections.abc import Callable

    from culturecare_harness.bundle import PublicReply

HONEST = make_bundle(strategies=("standard",)).replies


def saying(texts: list[str]) -> list[PublicReply]:
    return [reply.model_copy(update={"text": text}) for reply, text in zip(HONEST, texts, strict=False)]


def drawn(number: int, seed: int) -> list[str]:
    """Fingerprints of so many passages."""
    chance = random.Random(seed)  # noqa: S311 - no secret.
    return sorted(f"{chance.getrandbits(64):016x}" for _ in range(number))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("size", [400, 2000])
def test_the_share_of_common_passages_is_estimated_whatever_the_sizes(share: float, size: int) -> None:
    found = []
    common = int(400 * share)
    for seed in range(60):
        shared = drawn(common, 3 * seed)
        smaller = sorted([*shared, *drawn(400 - common, 3 * seed + 1)])
        larger = sorted([*shared, *drawn(size - common, 3 * seed + 2)])
        found.append(containment(smaller[:SIZE], larger[:SIZE]))
    assert sum(found) / len(found) == pytest.approx(share, abs=0.06)


def test_of_too_few_passages_nothing_is_said() -> None:
    few = drawn(FEWEST - 1, 2)
    assert containment(few, few) == containment((), few) == containment((), ()) == 0
    assert containment(drawn(FEWEST, 2), drawn(FEWEST, 2)) == 1


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=80), min_size=1, max_size=6))
def test_a_sketch_is_of_what_the_replies_say_in_any_order(texts: list[str]) -> None:
    replies = saying(texts)
    found = sketch(replies)
    assert found == sketch(replies[::-1])
    assert list(found) == sorted(set(found))
    assert len(found) <= SIZE


def test_case_spaces_punctuation_and_unseen_characters_do_not_count() -> None:
    plain = sketch(HONEST)
    assert len(plain) == SIZE
    for change in (str.upper, lambda text: f"  {text.replace(' ', ', ')}!!", "\u200b".join, "\u00ad".join):
        assert sketch(saying([change(reply.text or "") for reply in HONEST])) == plain


def test_a_form_of_the_same_letters_does_not_count() -> None:
    text = "Für Ängste und Öde gibt es überall Hände, die jemand hält"
    assert sketch(saying([text])) == sketch(saying([text.replace("ü", "u\u0308")])) == sketch(saying([text.replace("F", "Ｆ")])) != ()


CHINESE = "听起来你最近真的很辛苦我能感受到你的疲惫家里有谁可以陪你说说话吗"


@pytest.mark.parametrize("edit", [lambda text: f"{text}吧", lambda text: text.replace("辛苦", "不容易"), lambda text: text[2:]])
def test_scripts_without_spaces_are_compared_by_their_characters(edit: Callable[[str], str]) -> None:
    assert containment(sketch(saying([CHINESE])), sketch(saying([edit(CHINESE)]))) > 0.5


def test_the_same_words_to_another_post_are_no_copy() -> None:
    text = " ".join(f"word{number}" for number in range(40))
    [one, other] = [[reply.model_copy(update={"text": text})] for reply in HONEST[:2]]
    assert containment(sketch(one), sketch(other)) == 0


def test_replies_of_fewer_than_eight_words_have_no_passage() -> None:
    assert sketch(saying(["I hear you and I am here."])) == ()


def test_a_model_that_repeats_itself_without_end_takes_no_longer() -> None:
    start = time.process_time()
    assert len(sketch(saying(["again and again and again and " * 1000 for _ in HONEST]))) <= SIZE
    assert time.process_time() - start < 1


def test_fingerprints_are_the_same_on_every_machine() -> None:
    # They stand in caches; those of another rule would take nobody's copy for one.
    assert sketch(saying(["one two three four five six seven eight"])) == (KNOWN,)


KNOWN = "08f59541648ae906"
