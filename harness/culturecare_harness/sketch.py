"""Sketches: by which bundles that share passages are known, without comparing each to each in full.

A passage is eight words of a reply in a row, or eight characters of a script that is written without spaces, together with the post and the
strategy that it replies to. Whoever appends, swaps or leaves out a word changes the few passages around it and no other. Of all passages'
fingerprints the least are kept: a fair sample of them (Broder, 1997, "On the resemblance and containment of documents").

Who rewrites every eighth word passes, and so does who makes passages of fingerprints that are least: this finds copies, not plagiarism.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from typing import TYPE_CHECKING

from culturecare_harness.quoting import UNSPACED

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from culturecare_harness.bundle import PublicReply

__all__ = ["FEWEST", "SIZE", "containment", "sketch"]

SIZE = 64
"""Number of fingerprints in a sketch."""

FEWEST = 8
"""With fewer fingerprints than these to compare, nothing is said of two bundles."""

_SHINGLE = 8
_WORDS = re.compile(rf"[^\W_{UNSPACED}]+|[{UNSPACED}]")
_UNSEEN = re.compile(r"[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]")
"""Characters without a width, which would part a word for the computer alone."""


def sketch(replies: Iterable[PublicReply]) -> tuple[str, ...]:
    """The least fingerprints of the passages of replies, in their order. Case, spaces and punctuation don't count."""
    import numpy as np

    fingerprints = _Fingerprints()
    numbers: list[int] = []
    lengths, places = [], []
    for reply in replies:
        found = _WORDS.findall(_folded(reply.text or ""))
        if len(found) >= _SHINGLE:
            numbers += map(fingerprints.__getitem__, found)
            lengths.append(len(found))
            places.append(_fingerprint(f"{reply.strategy}\0{reply.instance_id}"))
    if not numbers:
        return ()
    least = _least(_passages(np.array(numbers, np.uint64), np.array(lengths), np.array(places, np.uint64)))
    return tuple(f"{number:016x}" for number in least.tolist())


class _Fingerprints(dict[str, int]):
    """Fingerprints of words, each made once."""

    def __missing__(self, word: str) -> int:
        self[word] = number = _fingerprint(word)
        return number


def _fingerprint(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def _folded(text: str) -> str:
    if text.isascii():
        return text.lower()
    whole = text if unicodedata.is_normalized("NFKC", text) else unicodedata.normalize("NFKC", text)
    return _UNSEEN.sub("", whole).casefold()


def _passages(words: NDArray[np.uint64], lengths: NDArray[np.int_], places: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Fingerprints of all passages: a polynomial of their words' in 64 bits, mixed by the last step of splitmix64 (Steele et al., 2014)."""
    import numpy as np

    number = len(words) - _SHINGLE + 1
    passages = np.zeros(number, np.uint64)
    for start in range(_SHINGLE):
        passages *= np.uint64(0x9E3779B97F4A7C15)
        passages += words[start : start + number]
    reply = np.repeat(np.arange(len(lengths)), lengths)[:number]
    passages ^= places[reply]
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        passages ^= passages >> np.uint64(shift)
        passages *= np.uint64(factor)
    passages ^= passages >> np.uint64(31)
    # Those that reach over a reply's end are none.
    return passages[np.arange(number) + _SHINGLE <= np.cumsum(lengths)[reply]]


def _least(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The `SIZE` least different numbers, in their order, without putting all in order."""
    import numpy as np

    taken = 2 * SIZE
    while taken < len(numbers):
        least = np.unique(np.partition(numbers, taken - 1)[:taken])
        if len(least) >= SIZE:
            return least[:SIZE]
        taken *= 8  # The same passage many times.
    return np.unique(numbers)[:SIZE]


def containment(one: Sequence[str], other: Sequence[str]) -> float:
    """Share of the passages of the bundle with fewer of them that the other has too, estimated from their sketches.

    Up to the lesser of their greatest fingerprints both sketches are complete, so that what they hold there is a sample of both bundles.
    The share is of the smaller one, so that neither a copy of one strategy out of five nor own words beside the copied ones hide it.
    """
    end = min((part[-1] for part in (one, other) if len(part) >= SIZE), default="g")  # `g` stands behind all digits.
    first, second = ({number for number in part if number <= end} for part in (one, other))
    fewest = min(len(first), len(second))
    return len(first & second) / fewest if fewest >= FEWEST else 0.0
