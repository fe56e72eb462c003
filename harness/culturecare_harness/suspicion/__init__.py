"""Suspicion: what in a submission's replies a person should look at before its scores are believed.

Two things are looked for. Replies to different posts that are (nearly) the same: a canned reply, written once to please a judge. And
text that speaks to a judge and not to the person in distress: requests for a grade, orders, forged marks, hidden characters. A flag is
no proof: it names a reply and says why. What merely pads a reply out, or heaps up warm words, speaks to nobody but the person, and is
not found here.

Patterns are data: each YAML file of this folder is a group of them, with texts that they must match and texts that they must spare.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import functools
import re
import unicodedata
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pydantic import Field, field_validator

from culturecare import DataError, Record, parse_record, read_yaml
from culturecare_harness.records import Hash

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from scipy.sparse import csr_matrix

__all__ = [
    "SHINGLE",
    "SIMILARITY",
    "JudgeDirected",
    "NearIdentical",
    "Pattern",
    "Suspicion",
    "judge_directed",
    "look_at",
    "near_identical",
    "patterns",
]

SHINGLE = 5
"""Characters of a shingle."""

SIMILARITY = 0.8
"""Least resemblance of two replies that count as nearly the same."""

_BUCKETS = 2**24
_ROWS_AT_ONCE = 512
_LONGEST_EXCERPT = 80

View = Literal["written", "plain", "reversed", "rot13", "decoded"]


class Answering(Protocol):
    """A reply, as far as it is looked at: `bundle.PublicReply` and `records.Reply` are such."""

    @property
    def id(self) -> str: ...
    @property
    def instance_id(self) -> str: ...
    @property
    def strategy(self) -> str: ...
    @property
    def text(self) -> str | None: ...


class Pattern(Record):
    """A way to speak to a judge, as its group's file declares it.

    Attributes:
        name: Unique among all patterns.
        why: What a reply that matches does, as the end of a sentence that begins with "it".
        views: How the text is read: `written` as it stands; `plain` without disguise (see `judge_directed`); `reversed` and `rot13` of
            that; `decoded` is what its runs of base64 and hexadecimal digits say.
        any: Regular expressions in RE2's syntax, one of which must be found. RE2 takes time linear in the text, whatever the expression.
        matches: Texts in which it must be found.
        spares: Texts in which it must not.
    """

    name: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")
    why: str = Field(min_length=1)
    views: tuple[View, ...] = Field(default=("plain",), min_length=1)
    any: tuple[str, ...] = Field(min_length=1)
    matches: tuple[str, ...] = Field(min_length=1)
    spares: tuple[str, ...] = Field(min_length=1)

    @field_validator("any")
    @classmethod
    def _expressions_are_valid(cls, expressions: tuple[str, ...]) -> tuple[str, ...]:
        for expression in expressions:
            if unicodedata.normalize("NFKC", expression) != expression:
                raise ValueError(f"{expression!r} is not in Unicode form NFKC, as the text that it is looked for in")
        _compiled(expressions)
        return expressions

    def find(self, views: Mapping[View, str]) -> str | None:
        """What matches first, null where nothing does."""
        for view in self.views:
            for expression in _compiled(self.any):
                if found := expression.search(views[view]):
                    return str(found[0])
        return None


class _Group(Record):
    """A file of patterns."""

    summary: str = Field(min_length=1)
    patterns: tuple[Pattern, ...] = Field(min_length=1)


class NearIdentical(Record):
    """Replies to different posts by one strategy that are (nearly) the same.

    Attributes:
        share: Part of the strategy's replies that they are.
        similarity: Mean resemblance of those pairs among them that resemble each other by at least `SIMILARITY`; 1 where all are the same.
        replies: Their ids.
    """

    strategy: str
    share: float = Field(gt=0, le=1)
    similarity: float = Field(ge=0, le=1)
    replies: tuple[Hash, ...] = Field(min_length=2)


class JudgeDirected(Record):
    """A reply that speaks to a judge.

    Attributes:
        pattern: Name of the pattern.
        why: What the reply does.
        excerpt: What matched, cut short, with every character that is not seen written as an escape. It is a stranger's text.
    """

    reply_id: Hash
    instance_id: str
    strategy: str
    pattern: str
    why: str
    excerpt: str


class Suspicion(Record):
    """What a person should look at.

    Attributes:
        replies: Number of replies that were looked at.
        withheld: Number of replies whose text is not known.
        near_identical: Largest group first.
        judge_directed: In the order of the replies.
    """

    replies: int
    withheld: int
    near_identical: tuple[NearIdentical, ...]
    judge_directed: tuple[JudgeDirected, ...]


def look_at(replies: Sequence[Answering]) -> Suspicion:
    """Looks for both."""
    return Suspicion(
        replies=sum(reply.text is not None for reply in replies),
        withheld=sum(reply.text is None for reply in replies),
        near_identical=tuple(near_identical(replies)),
        judge_directed=tuple(judge_directed(replies)),
    )


# --- Nearly the same -------------------------------------------------------------------------------------------------------------


def near_identical(replies: Iterable[Answering], similarity: float = SIMILARITY) -> list[NearIdentical]:
    """Groups of replies to different posts by one strategy that are (nearly) the same.

    Two replies resemble each other by the Jaccard coefficient of their sets of shingles: runs of `SHINGLE` characters of the text in
    Unicode form NFKC, case-folded, with each run of blanks as one (Broder, 1997, "On the resemblance and containment of documents"). A
    group is what hangs together by such pairs. Shingles are hashed, so that a resemblance is exact but for collisions in 2^24 buckets.

    Args:
        replies: Those without a text, or with blanks alone, are left out.
        similarity: Least resemblance of a pair, in (0, 1].

    Returns:
        The groups, the largest first.
    """
    by_strategy: dict[str, list[Answering]] = {}
    for reply in replies:
        if reply.text is not None and reply.text.strip():
            by_strategy.setdefault(reply.strategy, []).append(reply)
    groups = [group for strategy, alike in by_strategy.items() for group in _groups(strategy, alike, similarity)]
    return sorted(groups, key=lambda group: -len(group.replies))


def _groups(strategy: str, replies: Sequence[Answering], similarity: float) -> Iterator[NearIdentical]:
    import numpy as np
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    posts = np.unique([reply.instance_id for reply in replies], return_inverse=True)[1]
    pairs = list(_similar_pairs(_shingled(replies), posts, similarity))
    if not pairs:
        return
    first, second, values = (np.concatenate(part) for part in zip(*pairs, strict=True))
    graph = coo_matrix((values, (first, second)), shape=(len(replies), len(replies)))
    labels = connected_components(graph, directed=False)[1]
    for label in np.unique(labels[first]):
        members = np.flatnonzero(labels == label)
        yield NearIdentical(
            strategy=strategy,
            share=len(members) / len(replies),
            similarity=min(1.0, float(values[labels[first] == label].mean())),
            replies=tuple(replies[int(member)].id for member in members),
        )


def _shingled(replies: Iterable[Answering]) -> csr_matrix:
    """One row a reply, with a 1 for each shingle it has."""
    from sklearn.feature_extraction.text import HashingVectorizer

    vectorizer = HashingVectorizer(analyzer=_shingles, n_features=_BUCKETS, binary=True, norm=None, alternate_sign=False, dtype="float32")
    return vectorizer.transform(reply.text or "" for reply in replies)


def _shingles(text: str) -> list[str]:
    folded = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return [folded[start : start + SHINGLE] for start in range(max(1, len(folded) - SHINGLE + 1))]


def _similar_pairs(shingles: csr_matrix, posts: Any, similarity: float) -> Iterator[tuple[Any, Any, Any]]:
    """Yields rows, later rows and resemblances of the pairs that answer different posts; in blocks, so that memory stays bounded."""
    import numpy as np

    sizes = np.asarray(shingles.sum(axis=1)).ravel()
    transposed = shingles.T.tocsr()
    for start in range(0, shingles.shape[0], _ROWS_AT_ONCE):
        shared = (shingles[start : start + _ROWS_AT_ONCE] @ transposed).tocoo()
        first, second = shared.row + start, shared.col
        values = shared.data / (sizes[first] + sizes[second] - shared.data)
        kept = (second > first) & (values >= similarity) & (posts[first] != posts[second])
        if kept.any():
            yield first[kept], second[kept], values[kept]


# --- To the judge ----------------------------------------------------------------------------------------------------------------


@functools.cache
def patterns() -> Mapping[str, Pattern]:
    """All patterns by name, group after group.

    Raises:
        DataError: A group's file does not fit, or two patterns share a name.
    """
    return _read(Path(__file__).parent)


def _read(folder: Path) -> Mapping[str, Pattern]:
    files = sorted(folder.glob("*.yaml"))
    found = [pattern for path in files for pattern in parse_record(_Group, read_yaml(path), where=str(path)).patterns]
    [(name, times)] = Counter(pattern.name for pattern in found).most_common(1)
    if times > 1:
        raise DataError(f"{folder}: pattern {name!r} stands there {times} times, but each name must be there once")
    return {pattern.name: pattern for pattern in found}


def judge_directed(replies: Iterable[Answering]) -> list[JudgeDirected]:
    """Flags replies that speak to a judge, once for each pattern that is found.

    A text is read without disguise: in Unicode form NFKC (full-width, circled and bold letters become plain ones), without characters
    that are not seen and heaps of accents, with every script's decimal digits as 0 to 9, and with Cyrillic and Greek letters inside Latin
    words as the Latin ones that they look like. Some patterns are looked for backwards and in rot13 too.

    Args:
        replies: Those without a text are left out.
    """
    return [
        JudgeDirected(
            reply_id=reply.id,
            instance_id=reply.instance_id,
            strategy=reply.strategy,
            pattern=pattern.name,
            why=pattern.why,
            excerpt=_excerpt(found),
        )
        for reply in replies
        if reply.text is not None
        for pattern, found in _found(reply.text)
    ]


def _found(text: str) -> Iterator[tuple[Pattern, str]]:
    views = _views(text)
    for pattern in patterns().values():
        if (found := pattern.find(views)) is not None:
            yield pattern, found


_LOOK_ALIKES = str.maketrans(
    "аеорсухіјѕԁһкмтвнАВЕКМНОРСТХІЈЅαεοριυνκΑΒΕΖΗΙΚΜΝΟΡΤΥΧ", "aeopcyxijsdhkmtbhABEKMHOPCTXIJSaeopiuvkABEZHIKMNOPTYX"
)
_WORD = re.compile(r"[^\W\d_]+")
_LATIN = re.compile(r"[A-Za-z]")
_OTHER_DIGIT = re.compile(r"(?![0-9])\d")
_UNSEEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\U000e0000-\U000e01ef]+"
)
_ACCENTS = re.compile("[\u0300-\u036f]{2,}")
_BASE64 = re.compile(r"[A-Za-z0-9+/]{24,}={0,2}")
_HEXADECIMAL = re.compile(r"\b(?:[0-9a-fA-F]{2}[ ]?){12,}")


def _views(text: str) -> dict[View, str]:
    text = text.replace("\r\n", "\n")
    plain = unicodedata.normalize("NFKC", _ACCENTS.sub("", _UNSEEN.sub("", text)))
    plain = _OTHER_DIGIT.sub(lambda digit: str(unicodedata.decimal(digit[0])), plain)
    if not plain.isascii():
        plain = _WORD.sub(lambda word: word[0].translate(_LOOK_ALIKES) if _LATIN.search(word[0]) else word[0], plain)
    return {
        "written": text,
        "plain": plain,
        "reversed": plain[::-1],
        "rot13": codecs.encode(plain, "rot13"),
        "decoded": "\n".join(_decoded(plain)),
    }


def _decoded(text: str) -> Iterator[str]:
    """What the text's runs of base64 and hexadecimal digits say, where that is text."""
    runs: list[tuple[Callable[[str], bytes], str]] = [
        *((base64.b64decode, run[0][: len(run[0]) // 4 * 4]) for run in _BASE64.finditer(text)),
        *((bytes.fromhex, run[0]) for run in _HEXADECIMAL.finditer(text)),
    ]
    for decode, run in runs:
        try:
            said = decode(run).decode("utf-8")
        except (binascii.Error, ValueError):
            continue  # Digits that say nothing.
        if said.isprintable():
            yield said


def _excerpt(found: str) -> str:
    shown = "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii") for letter in found.strip(" "))
    return shown if len(shown) <= _LONGEST_EXCERPT else f"{shown[: _LONGEST_EXCERPT - 1]}…"


@functools.cache
def _compiled(expressions: tuple[str, ...]) -> tuple[Any, ...]:
    import re2

    options = re2.Options()
    options.log_errors = False  # The error says it.
    compiled = []
    for expression in expressions:
        try:
            compiled.append(re2.compile(expression, options))
        except re2.error as error:
            raise ValueError(f"{expression!r} is no expression that RE2 takes ({error.args[0].decode()})") from error
    return tuple(compiled)
