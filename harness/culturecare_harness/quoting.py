"""Quoting: whether a text repeats a post that may not be shown."""

from __future__ import annotations

import re

__all__ = ["UNSPACED", "repeats"]

_WORDS, _CHARACTERS = 6, 12
UNSPACED = r"\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
"""Characters of scripts that are written without spaces, as a regular expression's class has them."""


def repeats(text: str, post: str) -> bool:
    """Whether a text repeats six words of a post in a row, or twelve characters of a script that is written without spaces."""
    return not _passages(text).isdisjoint(_passages(post))


def _passages(text: str) -> set[str]:
    folded = text.casefold()
    words = re.findall(rf"[^\W_{UNSPACED}]+", folded)
    passages = {" ".join(words[start : start + _WORDS]) for start in range(len(words) - _WORDS + 1)}
    for run in re.findall(rf"[{UNSPACED}]+", re.sub(r"[\W_]+", "", folded)):
        passages |= {run[start : start + _CHARACTERS] for start in range(len(run) - _CHARACTERS + 1)}
    return passages
