"""Foreign text made inert, in HTML and in Markdown: what a model or a judge says is shown as it is, and does nothing."""

from __future__ import annotations

import re
import unicodedata

from markupsafe import Markup, escape

__all__ = ["fenced", "inert", "markdown", "markdown_prose", "plain", "prose"]

# Joiners and marks that Arabic, Hebrew, Persian and Indic scripts and emoji need; none of them can turn the text around them.
_HARMLESS_FORMATS = frozenset("\u200c\u200d\u200e\u200f\u061c")
_LINE_ENDS = re.compile(r"\r\n|[\r\x85\u2028\u2029]")
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})
_MARK = r"[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]"
_STACKED = re.compile(f"({_MARK}{{4}}){_MARK}+")
# What CommonMark, or GitHub's extensions to it, reads as markup. The rest is left as it is, so that the source can be read too.
_MARKUP = re.compile(
    r"""
      (?P<kept>\[[\d.,\ %+−–]*\d[\d.,\ %+−–]*\](?![(\[:]) | (?<=[^\W_])_+(?=[^\W_]))  # An interval; underscores within a word.
    | (?P<mark>[`*_\[\]|~$])                                                          # Emphasis, code, links, tables, mathematics.
    | (?P<mark_before>\\(?=[!-/:-@\[-`{-~]|$) | @(?=\w|$) | (?<=\s)\#(?=\#*$))        # An escape; an address; a heading's end.
    | (?P<entity>&(?=\#?\w+;|\#?\w*$) | <(?=[A-Za-z/!?]|$))                           # A character reference; HTML.
    """,
    re.VERBOSE,
)
_ENTITIES = {"&": "&amp;", "<": "&lt;"}
# At the beginning of a line: lists, headings, quotations, lines under headings and tables.
_AT_START = re.compile(r"^(\d{1,9}(?=[.)](?:\s|$)))?([.)](?<=\d.)|[-+](?=\s|$)|\#(?=\#{0,5}(?:\s|$))|>|[-=:](?=[-=:\s]*$))")
_ADDRESS = re.compile(r"(?i)(:)(?=//)|(?<=www)(\.)|(?<=mailto)(:)|(?<=xmpp)(:)")


def _is_unseen(character: str) -> bool:
    return character not in "\n\t" and character not in _HARMLESS_FORMATS and unicodedata.category(character) in _UNSEEN


def _unstack(text: str) -> str:
    """Text without the marks beyond the fourth on one letter, which would run over the lines above and below."""
    return _STACKED.sub(r"\1", text)


def _flat(text: str) -> str:
    return " ".join(_LINE_ENDS.sub("\n", text).split())


def _lines(text: str) -> list[list[str]]:
    """The paragraphs of a text, each as its lines."""
    parts = re.split(r"\n\s*\n", _LINE_ENDS.sub("\n", text).strip())
    return [part.split("\n") for part in parts if part.strip()]


def plain(text: str) -> str:
    """Text on one line, with every character that can't be seen, or that would turn the line's direction, written as `[U+202E]`."""
    return "".join(f"[U+{ord(character):04X}]" if _is_unseen(character) else character for character in _unstack(_flat(text)))


# --- HTML ------------------------------------------------------------------------------------------------------------------------


def inert(text: str) -> Markup:
    """Foreign text within a line of HTML: escaped, its direction isolated, its unseen characters shown."""
    return Markup("<bdi>{}</bdi>").format(_marked(_flat(text)))


def prose(text: str) -> Markup:
    """Foreign text as paragraphs of HTML, each in its own direction; line breaks are kept, and no markup is read."""
    return Markup("").join(
        Markup('<p dir="auto">{}</p>').format(Markup("<br>").join(_marked(line) for line in lines)) for lines in _lines(text)
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


# --- Markdown --------------------------------------------------------------------------------------------------------------------


def markdown(text: str) -> str:
    """Foreign text within a line of Markdown: no markup, no HTML, no link is read in it.

    Only what would be read as markup where it stands is escaped: not the brackets of an interval such as [4.41, 4.93], the point of 4.67 or
    the underscore of a_b.
    """
    escaped = _ADDRESS.sub(lambda found: f"\\{found[0]}", _MARKUP.sub(_escaped, plain(text)))
    return _AT_START.sub(r"\1\\\2", escaped)


def _escaped(found: re.Match[str]) -> str:
    if found["kept"]:
        return found[0]
    return _ENTITIES[found[0]] if found["entity"] else "".join(f"\\{character}" for character in found[0])


def markdown_prose(text: str) -> str:
    """Foreign text as a Markdown quotation; line breaks are kept."""
    paragraphs = ["\\\n> ".join(markdown(line) for line in lines if line.strip()) for lines in _lines(text)]
    return "> " + "\n>\n> ".join(paragraphs)


def fenced(text: str) -> str:
    """Lines of a command as a Markdown code block whose fence stands nowhere in them."""
    longest = max(map(len, re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}bash\n{text}\n{fence}"
