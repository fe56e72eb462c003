"""Foreign text made inert: what a submission says is shown as it is, and does nothing."""

from __future__ import annotations

import re
import unicodedata

from markupsafe import Markup, escape

__all__ = ["inert", "plain", "prose"]

# Joiners and marks that Arabic, Hebrew, Persian and Indic scripts and emoji need; none of them can turn the text around them.
_HARMLESS_FORMATS = frozenset("\u200c\u200d\u200e\u200f\u061c")
_LINE_ENDS = re.compile(r"\r\n|[\r\x85\u2028\u2029]")
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})
_MARK = r"[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]"
_STACKED = re.compile(f"({_MARK}{{4}}){_MARK}+")


def _is_unseen(character: str) -> bool:
    return character not in "\n\t" and character not in _HARMLESS_FORMATS and unicodedata.category(character) in _UNSEEN


def plain(text: str) -> str:
    """Text on one line, with every character that can't be seen, or that would turn the line's direction, written as `[U+202E]`."""
    flat = " ".join(_LINE_ENDS.sub("\n", text).split())
    return "".join(f"[U+{ord(character):04X}]" if _is_unseen(character) else character for character in _unstack(flat))


def inert(text: str) -> Markup:
    """Foreign text within a line: escaped, its direction isolated, its unseen characters shown."""
    return Markup("<bdi>{}</bdi>").format(_marked(" ".join(_LINE_ENDS.sub("\n", text).split())))


def prose(text: str) -> Markup:
    """Foreign text as paragraphs, each in its own direction; line breaks are kept, and no markup is read."""
    paragraphs = [part for part in re.split(r"\n\s*\n", _LINE_ENDS.sub("\n", text).strip()) if part.strip()]
    return Markup("").join(
        Markup('<p dir="auto">{}</p>').format(Markup("<br>").join(_marked(line) for line in paragraph.split("\n")))
        for paragraph in paragraphs
    )


def _marked(text: str) -> Markup:
    parts = []
    for character in _unstack(text):
        if _is_unseen(character):
            name = unicodedata.name(character, "control character").lower()
            parts.append(Markup('<span class="unseen" title="{}">U+{}</span>').format(name, f"{ord(character):04X}"))
        else:
            parts.append(escape(character))
    return Markup("").join(parts)


def _unstack(text: str) -> str:
    """Text without the marks beyond the fourth on one letter, which would run over the lines above and below."""
    return _STACKED.sub(r"\1", text)
