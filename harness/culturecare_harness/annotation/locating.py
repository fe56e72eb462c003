"""Locating: where in a text a phrase stands that was copied from it, more or less faithfully."""

from __future__ import annotations

import unicodedata

__all__ = ["fold", "locate"]

_ALIKE = str.maketrans(
    {
        **dict.fromkeys("‘’‚‛′´`", "'"),
        **dict.fromkeys("“”„‟″«»", '"'),
        **dict.fromkeys("‐‑‒–—―−", "-"),
    }
)


def locate(phrase: str, text: str) -> tuple[int, int] | None:
    """Finds a phrase in the text that it was copied from.

    First as it stands, then with differences passed over that copying brings: case, white space, forms of one character that Unicode
    holds alike (NFKD), quotation marks and dashes, marks that have no width, and the vowel points of Arabic and Hebrew.

    A phrase may begin or end inside a word: not all scripts have spaces, Arabic and Hebrew write small words together with the next, and
    the dataset, whose files have no offsets, takes the first occurrence, wherever it stands.

    Args:
        phrase: The copy; white space at its ends is passed over.
        text: Where to look.

    Returns:
        Start and end (behind the last character) of its first occurrence, in code points of `text`, such that
        `text.find(text[start:end]) == start`, as the dataset locates phrases. Null where it is not there, or has no letter or digit.
    """
    phrase = phrase.strip()
    if not any(character.isalnum() for character in phrase):
        return None
    start = text.find(phrase)
    if start >= 0:
        return start, start + len(phrase)
    found = _locate_folded(phrase, text)
    if found is None:
        return None
    verbatim = text[found[0] : found[1]]
    start = text.find(verbatim)
    return start, start + len(verbatim)


def fold(text: str) -> str:
    """A text without the differences that `locate` passes over."""
    return _folded(text)[0].strip()


def _locate_folded(phrase: str, text: str) -> tuple[int, int] | None:
    wanted = fold(phrase)
    folded, origins = _folded(text)
    at = folded.find(wanted) if wanted else -1
    while at >= 0:
        end = at + len(wanted)
        # Neither end may part what is one character in the text, nor a letter from its accent.
        parted = (at > 0 and origins[at - 1] == origins[at]) or (end < len(folded) and origins[end - 1] == origins[end])
        if not parted and not (end < len(folded) and unicodedata.combining(folded[end])):
            start, last = origins[at], origins[end - 1] + 1
            while last < len(text) and unicodedata.combining(text[last]):  # Points that were passed over belong to their letter.
                last += 1
            return start, last
        at = folded.find(wanted, at + 1)
    return None


def _folded(text: str) -> tuple[str, list[int]]:
    """The folded text, and for each of its characters the position in `text` that it came from."""
    folded: list[str] = []
    origins: list[int] = []
    for position, character in enumerate(text):
        if character.isspace():
            if folded and folded[-1] != " ":
                folded.append(" ")
                origins.append(position)
            continue
        # Composed and decomposed forms, and cases, meet in the decomposition of the folded decomposition (Unicode Standard, D146).
        once = unicodedata.normalize("NFKD", character.translate(_ALIKE)).casefold()
        for part in unicodedata.normalize("NFKD", once):
            if part.isspace() or _is_passed_over(part):
                continue
            folded.append(part)
            origins.append(position)
    return "".join(folded), origins


def _is_passed_over(character: str) -> bool:
    """Whether a character has no width, or is a point of Arabic or Hebrew, a tatweel or a variation selector."""
    points = "\u0591" <= character <= "\u05c7" or "\u064b" <= character <= "\u0652" or character in "\u0640\u0670"
    marks = unicodedata.category(character) == "Mn" or character == "\u0640"
    return unicodedata.category(character) == "Cf" or (points and marks) or "\ufe00" <= character <= "\ufe0f"
