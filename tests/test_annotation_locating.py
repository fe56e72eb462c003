"""Locating: a phrase that a model copied is found in the post as the post has it, or not at all."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from culturecare import load_instances
from culturecare_harness.annotation.locating import fold, locate

if TYPE_CHECKING:
    from collections.abc import Callable

POSTS = [instance.post_text for instance in load_instances("sample")]


def stretch(phrase: str, text: str) -> str | None:
    found = locate(phrase, text)
    return None if found is None else text[found[0] : found[1]]


@pytest.mark.parametrize(
    ("phrase", "text", "expected"),
    [
        ("so tired", "I am so tired of it.", "so tired"),
        (" so tired\n", "I am so tired of it.", "so tired"),
        ("So Tired", "I am so tired of it.", "so tired"),
        ("so tired of it", "I am so\n\n tired  of it.", "so\n\n tired  of it"),
        ("I don't sleep", "I don’t sleep.", "I don’t sleep"),
        ('he said "go" - twice', "he said “go” – twice", "he said “go” – twice"),
        ("wait... what", "wait… what", "wait… what"),
        ("die Straße", "In DIE STRASSE ging ich", "DIE STRASSE"),
        ("cafe\u0301", "Das Café war zu", "Café"),
        ("Café", "Das Cafe\u0301 war zu", "Cafe\u0301"),
        ("が怖い", "夜か\u3099怖い", "か\u3099怖い"),
        ("ＡＢＣ", "the abc of it", "abc"),
        ("가족", unicodedata.normalize("NFD", "내 가족은"), unicodedata.normalize("NFD", "가족")),
        ("soft ly", "it rains so\u00adft ly", "so\u00adft ly"),
        ("الحمد لله", "قلت الحَمْدُ لِلَّهِ وسكت", "الحَمْدُ لِلَّهِ"),
        ("שלום", "אמר שָׁלוֹם והלך", "שָׁלוֹם"),
    ],
)
def test_a_copy_that_differs_in_form_alone_is_found_as_the_text_has_it(phrase: str, text: str, expected: str) -> None:
    assert stretch(phrase, text) == expected


@pytest.mark.parametrize(
    ("phrase", "text"),
    [
        ("so exhausted", "I am so tired of it."),
        ("cafe", "Das Café war zu"),
        ("cafe", "Das CAFE\u0301 war zu"),
        ("OF", "the ofﬁce".removeprefix("the of")),  # The ligature is one character: its half is no stretch of the text.
        ("", "text"),
        ("…", "and then… nothing"),
        ("  ", "a  b"),
    ],
)
def test_another_word_a_parted_character_and_nothing_are_not_found(phrase: str, text: str) -> None:
    assert locate(phrase, text) is None


def test_the_first_occurrence_counts_as_in_the_dataset() -> None:
    assert locate("no", "no, no") == (0, 2)
    assert locate("yes", "YES then yes") == (9, 12)
    assert locate("art", "my heart and art") == (5, 8), "inside a word too: a file without offsets would be read so"


@given(phrase=st.text(max_size=6), text=st.text(max_size=60))
def test_what_is_found_is_the_phrase_but_for_what_is_passed_over(phrase: str, text: str) -> None:
    found = locate(phrase, text)
    if found is None:
        assert phrase.strip() not in text or not any(character.isalnum() for character in phrase)
        return
    start, end = found
    assert fold(text[start:end]) == fold(phrase)
    assert text.find(text[start:end]) == start


CHANGES: dict[str, Callable[[str], str]] = {
    "upper case": str.upper,
    "decomposed": lambda phrase: unicodedata.normalize("NFD", phrase),
    "composed": lambda phrase: unicodedata.normalize("NFC", phrase),
    "other white space": lambda phrase: "\n ".join(phrase.split()),
    "plain quotation marks": lambda phrase: phrase.translate(str.maketrans("’“”", '\'""')),
    "an invisible mark": lambda phrase: "\u200e" + phrase + "\ufeff",
}


@given(data=st.data(), text=st.sampled_from(POSTS), change=st.sampled_from(sorted(CHANGES)))
def test_any_words_of_a_post_are_found_again_after_a_change_of_form(data: st.DataObject, text: str, change: str) -> None:
    words = text.split()
    first = data.draw(st.integers(0, len(words) - 1))
    phrase = " ".join(words[first : data.draw(st.integers(first + 1, min(len(words), first + 12)))])
    copied = CHANGES[change](phrase)
    if any(character.isalnum() for character in copied):
        found = stretch(copied, text)
        assert found is not None
        assert fold(found) == fold(phrase)
