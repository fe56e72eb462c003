"""The leak check: no instance of the benchmark is ever trained on, and nothing is learnt twice.

Two texts are compared by their *passages*: five words in a row, or six characters of a script that is written without spaces. How much they
share is the part of the smaller set of passages that stands in the other (the overlap coefficient; Broder, 1997, calls it containment), so
that neither words around a copied text nor a copy of a piece of it hide it; pieces that are spread over many records are counted together.
A text with few passages or none is known where it is the whole of a text, by its letters and digits; among other words it is not.
Case, punctuation, accents, vowel signs and width don't count.

Why five, six and a fifth: no two of the project-written posts and replies share more than 0.03, none of these and a released excerpt more
than 0.06, and no two released excerpts more than 0.11, but for one post that its author put up twice (0.59). A text of which every tenth
word is another keeps a half of its five-word passages, and at least 0.32 where every tenth *character* of Chinese or Japanese is another;
of eight or twelve characters it would keep 0.1 and nothing. A fifth lies between. It finds copies, not paraphrases or translations.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import json
import os
import re
import unicodedata
from typing import TYPE_CHECKING, Literal, TypeVar

import culturecare
from culturecare import RELEASE_VARIABLE, CultureCareError, DataError, load_instances
from culturecare_harness.adaptation.examples import Example, Preference
from culturecare_harness.quoting import UNSPACED
from culturecare_harness.records import digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from culturecare import Instance
    from culturecare_harness.adaptation.permission import Candidate

__all__ = [
    "ADAPTATION",
    "Benchmark",
    "Leak",
    "deduplicate",
    "find_leaks",
    "overlap",
    "passages",
    "post_hash",
    "released_files",
    "released_instances",
    "sample_benchmark",
    "trained_on",
]

E = TypeVar("E", Example, Preference)

ADAPTATION = "adaptation.json"
"""Name of the record in an adapter's folder."""
LEAK = 0.2
"""From this overlap on, a text is taken for a copy of a benchmark's."""
COVERED = 0.5
"""From this part of a benchmark's text on that all records hold together, it is taken to be spread over them."""
FEWEST = 4
"""With fewer passages in common nothing is said, unless whole texts are the same: seven words in a row of two people are chance."""
NEAR = 0.5
"""From this overlap on, two replies to one prompt are taken for one: most of the shorter one stands in the other."""

_WORDS, _CHARACTERS = 5, 6


class _Folding(dict[int, str | None]):
    """What becomes of a character: marks, invisible ones and the Arabic lengthener go, the others lose their case."""

    def __missing__(self, code: int) -> str | None:
        character = chr(code)
        category = unicodedata.category(character)
        self[code] = folded = None if category[0] == "M" or category == "Cf" or character == "\u0640" else character.casefold()
        return folded


_FOLDING = _Folding()
_OF_WORDS = re.compile(rf"[^\W_{UNSPACED}]+")
_OF_CHARACTERS = re.compile(rf"[{UNSPACED}]+")
_BETWEEN = re.compile(r"[\W_]+")


@dataclasses.dataclass(frozen=True, slots=True)
class _Text:
    """A text as it is compared: by its passages, and as a whole by its letters and digits."""

    letters: str
    passages: frozenset[str]

    @classmethod
    def of(cls, text: str) -> _Text:
        folded = _folded(text)
        words = _OF_WORDS.findall(folded)
        found = {" ".join(words[start : start + _WORDS]) for start in range(len(words) - _WORDS + 1)}
        letters = _BETWEEN.sub("", folded)
        for run in _OF_CHARACTERS.findall(letters):
            found |= {run[start : start + _CHARACTERS] for start in range(len(run) - _CHARACTERS + 1)}
        return cls(letters, frozenset(found))


def passages(text: str) -> frozenset[str]:
    """The passages of a text: five words in a row, or six characters of a script that is written without spaces."""
    return _Text.of(text).passages


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKD", text).translate(_FOLDING)


def overlap(one: frozenset[str], other: frozenset[str]) -> float:
    """Part of the smaller set of passages that the other has too, in [0, 1]; 0 where fewer than `FEWEST` are common.

    |A ∩ B| / min(|A|, |B|), the overlap coefficient.
    """
    return _overlap(len(one & other), len(one), len(other))


def _overlap(shared: int, one: int, other: int) -> float:
    return shared / min(one, other) if shared >= FEWEST else 0.0


# --- The benchmark ---------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Leak:
    """A candidate that is an instance of the benchmark, or holds a copy of one's text.

    Attributes:
        candidate: What a model would have learnt from.
        instance_id: The benchmark's instance.
        overlap: How much of a text they share; null where the id is the same.
    """

    candidate: Candidate
    instance_id: str
    overlap: float | None


class Benchmark:
    """The texts of a benchmark's instances, indexed by their passages and as wholes.

    Attributes:
        ids: Ids of its instances, and the ids that released posts have at Reddit.
    """

    def __init__(self, instances: Iterable[Instance], posts: Iterable[Candidate] = ()) -> None:
        """Indexes the posts and replies of instances.

        Args:
            instances: The benchmark.
            posts: Further posts that belong to it, known as candidates alone.
        """
        self._owners: list[str] = []
        self._sizes: list[int] = []
        self._holders: dict[str, list[int]] = collections.defaultdict(list)
        self._wholes: dict[str, str] = {}
        ids: set[str] = set()
        for instance in instances:
            ids |= {instance.id, instance.id.removeprefix(f"{instance.culture}-")}
            # The phrases of an excerpt stand one a line, and no passage reaches from one into the next.
            self._add(instance.id, instance.post_text.split("\n") if instance.post.text is None else (instance.post.text,))
            self._add(instance.id, instance.response_text.split("\n") if instance.response.text is None else (instance.response.text,))
        for candidate in posts:
            ids.add(candidate.instance_id)
            self._add(candidate.instance_id, (candidate.post,))
        self.ids = frozenset(name.casefold() for name in ids)

    def _add(self, instance_id: str, pieces: Iterable[str]) -> None:
        texts = [_Text.of(piece) for piece in pieces]
        found = frozenset[str]().union(*(text.passages for text in texts))
        if letters := "".join(text.letters for text in texts):
            self._wholes.setdefault(letters, instance_id)
        for passage in found:
            self._holders[passage].append(len(self._owners))
        self._owners.append(instance_id)
        self._sizes.append(len(found))

    def copied_in(self, text: str) -> tuple[str, float] | None:
        """The instance with a text that this one is, or has most of, and the overlap; null where none reaches `LEAK`."""
        given = _Text.of(text)
        if (whole := self._wholes.get(given.letters)) is not None:
            return whole, 1.0
        found = given.passages
        shared = collections.Counter(place for passage in found for place in self._holders.get(passage, ()))
        shares = [(_overlap(number, len(found), self._sizes[place]), self._owners[place]) for place, number in shared.items()]
        share, owner = max(shares, default=(0.0, ""))
        return (owner, share) if share >= LEAK else None

    def spread_over(self, candidates: Sequence[Candidate]) -> list[Leak]:
        """The instances of which the candidates hold `COVERED` of a text together; each leak names the first of them that holds some."""
        first: dict[int, Candidate] = {}
        held: dict[int, set[str]] = collections.defaultdict(set)
        for candidate in candidates:
            for passage in frozenset().union(*(passages(text) for text in (candidate.post, *candidate.others))):
                for place in self._holders.get(passage, ()):
                    first.setdefault(place, candidate)
                    held[place].add(passage)
        shares = {place: len(found) / self._sizes[place] for place, found in held.items() if len(found) >= FEWEST}
        return [Leak(first[place], self._owners[place], share) for place, share in shares.items() if share >= COVERED]


def find_leaks(candidates: Iterable[Candidate], benchmark: Benchmark) -> list[Leak]:
    """The candidates that are instances of the benchmark by their id, or copy one by their post, prompt or a reply, alone or together."""
    leaks, others = [], []
    for candidate in candidates:
        if candidate.instance_id.strip().casefold() in benchmark.ids:
            leaks.append(Leak(candidate, candidate.instance_id, None))
            continue
        copies = [copy for text in (candidate.post, *candidate.others) if (copy := benchmark.copied_in(text)) is not None]
        if copies:
            owner, share = max(copies, key=lambda copy: copy[1])
            leaks.append(Leak(candidate, owner, share))
        else:
            others.append(candidate)
    return leaks + benchmark.spread_over(others)


@functools.cache
def sample_benchmark() -> Benchmark:
    """The project-written split `sample`: always part of the benchmark."""
    return Benchmark(load_instances("sample"))


def released_instances(release: Path | None) -> tuple[Instance, ...] | None:
    """The instances of split `test` of as many cultures as are at hand; null where no released files are named.

    Args:
        release: Folder of the released files, by default what `CULTURECARE_RELEASE` names.

    Raises:
        DataError: A folder is named and holds none of the released files, or a file does not fit.
    """
    if not release and not os.environ.get(RELEASE_VARIABLE):
        return None
    folder = culturecare.release_dir(release)
    return _read_released(folder.resolve(), culturecare.dataset_revision("test", folder))


@functools.lru_cache(maxsize=2)
def _read_released(folder: Path, revision: str) -> tuple[Instance, ...]:  # noqa: ARG001 - the cache must know a changed folder.
    present = released_files(folder)
    if not present:
        raise DataError(
            f"{folder}: holds none of {', '.join(_released_names().values())}, so that split 'test' cannot be checked for leaks"
        )
    return tuple(load_instances("test", present, folder))


def released_files(folder: Path) -> dict[str, Path]:
    """The released files in a folder, by culture: all of them, some or none."""
    return {key: folder / name for key, name in _released_names().items() if (folder / name).is_file()}


def _released_names() -> dict[str, str]:
    return {key: f"{culturecare.cultures()[key].name}_data.jsonl" for key in culturecare.released_cultures()}


def post_hash(text: str) -> str:
    """Names a post by its words alone, so that the same one is known under another id."""
    return digest([" ".join(_folded(text).split())])


def trained_on(adapter: Path) -> frozenset[str]:
    """Ids of the instances that an adapter was trained on, and hashes of their posts, from `adaptation.json`.

    Args:
        adapter: The adapter's folder.

    Raises:
        CultureCareError: The file is not there, or holds no such list.
    """
    path = adapter / ADAPTATION
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CultureCareError(f"{path}: cannot be read ({error.strerror}); an adapter made by `culturecare adapt` has it") from error
    except ValueError as error:
        raise CultureCareError(f"{path}: is not valid JSON ({error})") from error
    lists = [record.get(field) if isinstance(record, dict) else None for field in ("instance_ids", "post_hashes")]
    if not all(isinstance(found, list) and all(isinstance(name, str) for name in found) for found in lists):
        raise CultureCareError(f"{path}: instance_ids and post_hashes must list what the adapter was trained on")
    return frozenset(name for found in lists for name in found or ())


# --- Duplicates ------------------------------------------------------------------------------------------------------------------

Duplicate = Literal["exact duplicates", "near-duplicates"]


def deduplicate(examples: Sequence[E]) -> tuple[tuple[E, ...], Mapping[Duplicate, int]]:
    """Keeps the first of examples that are the same, or whose replies to the same prompt nearly are.

    One reply under the prompts of several strategies is no duplicate: those are different things to learn.

    Returns:
        What is kept, in order, and how many went for which reason.
    """
    kept: list[E] = []
    ids: set[str] = set()
    of_prompt: dict[tuple[str, str], list[tuple[_Text, ...]]] = collections.defaultdict(list)
    gone: dict[Duplicate, int] = {}
    for example in examples:
        if example.id in ids:
            gone["exact duplicates"] = gone.get("exact duplicates", 0) + 1
            continue
        replies = (example.reply,) if isinstance(example, Example) else (example.chosen, example.rejected)
        found = tuple(_Text.of(reply) for reply in replies)
        before = of_prompt[example.system, example.user]
        if any(all(_is_near(one, other) for one, other in zip(found, others, strict=True)) for others in before):
            gone["near-duplicates"] = gone.get("near-duplicates", 0) + 1
            continue
        ids.add(example.id)
        before.append(found)
        kept.append(example)
    return tuple(kept), gone


def _is_near(one: _Text, other: _Text) -> bool:
    return one.letters == other.letters or overlap(one.passages, other.passages) >= NEAR
