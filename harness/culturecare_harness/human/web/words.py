"""Words that the web form needs besides those of the interface."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from culturecare import CultureCareError, Record, parse_record, read_yaml
from culturecare_harness.human.forms import Text

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Words", "select_words", "words"]


class Words(Record):
    """Words of the web form in one language.

    Attributes:
        posts: Names the links to all of a rater's posts.
        saving: Tells raters that answers are saved as they are given, besides the instructions that hold for workbooks too.
        not_saved: Stands on an item's page whose answers the server does not take because it is not there.
        not_stored: Stands there where the server cannot write them down.
        problem: Stands on the page where the server failed.
    """

    pause: Text
    paused: Text
    resume: Text
    language: Text
    skip: Text
    saving: Text
    posts: Text
    places_once: Text
    left_out: Text
    not_saved: Text
    not_stored: Text
    problem: Text


@functools.cache
def words() -> Mapping[str, Words]:
    """The words by ISO 639-1 code, from `words.yaml`.

    Raises:
        CultureCareError: The file does not fit.
    """
    path = Path(__file__).with_name("words.yaml")
    return {code: parse_record(Words, fields, where=f"{path}: {code}") for code, fields in read_yaml(path).items()}


def select_words(code: str) -> Words:
    """The words of that language.

    Raises:
        CultureCareError: There are none.
    """
    if code not in words():
        raise CultureCareError(f"the web form has no words in language {code!r}: it has {', '.join(words())}; add them to web/words.yaml")
    return words()[code]
