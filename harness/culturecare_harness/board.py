"""Boards: the folder that submissions stand in, here or in a dataset repository on the Hub, and what a leaderboard shows of it.

    submissions/<protocol>/<model>/<id>/    a bundle's four files
    verifications/<protocol>/<id>.json      what `culturecare verify` found

Every submission is read by the one reader and admitted again before it is shown, so that what was put into the folder by hand is held to
the same rules. What was read is kept in a cache, since a bundle never changes: its id is its fingerprint.

Names and times are claimed, not proven: that a submitter is the account that opened the pull request, and that this adds nothing but the
submission, is for those who merge it to see. So are verifications: a record must fit the submission and its own figures, but whether the
judge was asked is what those say who may merge into `verifications/`.

Of two submissions with the same replies, or by two submitters under one model's name, the one stays that was verified first; else the one
that this board has known for longer, as far as its cache tells. A time that a submission claims decides nothing: where there is no more to
go by, both are refused until one is verified or the other removed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import functools
import itertools
import json
import os
import re
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, ValidationError

from culturecare import CultureCareError, DataError, Record, Split, cultures, parse_record
from culturecare_harness.admission import COPIED, graded_scores, item_metrics, judged_by_kin, lasting_refusals, notes, untimely
from culturecare_harness.bundle import FILES, BundleError, contents, printable, read_bundle, read_plain_file
from culturecare_harness.jury import JuryResult
from culturecare_harness.packaged import cache_dir
from culturecare_harness.protocols import protocols
from culturecare_harness.records import Hash, digest, whole_file
from culturecare_harness.sketch import FEWEST, containment
from culturecare_harness.stats import mean_of_means, mean_of_means_error, mean_of_means_interval
from culturecare_harness.verification import Verification, contradiction

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pandas as pd

    from culturecare_harness.bundle import Bundle
    from culturecare_harness.progress import Progress
    from culturecare_harness.protocols import Protocol

__all__ = ["Board", "Entry", "fetch", "folder_of", "open_board", "put", "verification_path"]

SUBMISSIONS, VERIFICATIONS = "submissions", "verifications"
BASELINE = "standard"
"""The strategy that the others are held against."""

_MOST_IN_VERIFICATION = 4 * 1024**2
_RULES = 3
"""Raised whenever a bundle may be admitted otherwise, or its numbers be others, than before: what was kept is then read again."""

_NAMES = (r"[a-z0-9]+(-[a-z0-9]+)*", r"[A-Za-z0-9][A-Za-z0-9._-]*", r"[0-9a-f]{16}")
"""Names of the folders of a protocol, a model and a submission."""

_CELLS = ("id", "strategy", "culture", "metric", "mean", "low", "high", "error", "freedom", "n", "coverage")
_GAINS = ("id", "strategy", "culture", "metric", "mean", "low", "high", "n")
_TEXTS = {"id", "strategy", "culture", "metric"}
_SUMMARIES = ("overall", "emotional", "cultural", "quality")


class Entry(Record):
    """A submission as it stands on a board.

    Attributes:
        id: `Bundle.id`.
        folder: Where it stands, from the board's folder.
        texts_hash: `Bundle.texts_hash`.
        sketch: `Bundle.sketch`.
        protocol: Name of its protocol.
        model: The model's public name.
        submitter: Who handed it in.
        submitted: When, by the submitter's own word.
        parameters: Number of the model's parameters, null where it is not said.
        weights: Whether anyone can have them, null where it is not said.
        licence: Of the model, null where it is not said.
        link: Where to read about it, null where it is not said.
        judge: Name of the judge or jury.
        judges: Names of the judges who graded, of a jury those who were seated.
        judge_mode: How it graded.
        kin: Whether the judge is of the model's family.
        coverage: Share of all verdicts that have a score.
        strategies: In the protocol's order.
        cultures: In the registry's order.
        split: Of the dataset.
        excerpt: Whether posts were known by their annotated phrases alone.
        instances: Number of posts.
        replies: Number of replies.
        withheld: Number of replies without their text.
        judgeable: Number of replies that can be judged again: those whose text is there and not empty.
        notes: Sentences to be read with the numbers, told from what the bundle holds (`admission.notes`).
        verification: What `culturecare verify` found, null before it was asked.
        older: Number of earlier submissions of the model under this protocol.
    """

    id: Hash
    folder: str
    texts_hash: Hash
    sketch: tuple[str, ...] = ()
    protocol: str
    model: str
    submitter: str
    submitted: dt.datetime
    parameters: int | None
    weights: Literal["open", "closed"] | None
    licence: str | None
    link: str | None
    judge: str
    judges: tuple[str, ...]
    judge_mode: str
    kin: bool
    coverage: float
    strategies: tuple[str, ...]
    cultures: tuple[str, ...]
    split: Split
    excerpt: bool
    instances: int
    replies: int
    withheld: int
    judgeable: int
    notes: tuple[str, ...]
    verification: Verification | None = None
    older: int = Field(default=0, ge=0)


class Board:
    """What a board's folder holds.

    Attributes:
        entries: The newest submission of each model under each protocol.
        cells: A data frame with one row a submission, strategy, culture (`all` too) and metric: mean, its 95 % interval (low, high),
            standard error, degrees of freedom, n and coverage.
        gains: The same for the mean difference to the strategy `standard`, paired by post: mean, low, high and n.
        protocols: All protocols, those that measure something and are current first.
        refused: Submissions in the folder that can't be shown, each with its first reason.
        source: What was opened, as it was named.
    """

    def __init__(
        self,
        folder: Path,
        source: str,
        entries: Sequence[Entry],
        cells: pd.DataFrame,
        gains: pd.DataFrame,
        refused: Mapping[str, str],
        known: Mapping[str, Protocol],
    ) -> None:
        self._folder = folder
        self.source = source
        self.all_entries = tuple(entries)
        self.cells, self.gains = cells, gains
        self.refused = dict(refused)
        self.protocols = tuple(known.values())
        newest: dict[tuple[str, str], Entry] = {}
        for entry in sorted(entries, key=lambda entry: entry.submitted):
            newest[entry.protocol, entry.model.casefold()] = entry
        counts = Counter((entry.protocol, entry.model.casefold()) for entry in entries)
        self.entries = tuple(entry.model_copy(update={"older": counts[key] - 1}) for key, entry in newest.items())
        self._by_id = {entry.id: entry for entry in entries} | {entry.id: entry for entry in self.entries}

    def entry(self, name: str) -> Entry | None:
        """The submission of that id, null where there is none."""
        return self._by_id.get(name)

    @functools.lru_cache(maxsize=8)  # noqa: B019 - a board lives as long as the app that shows it.
    def bundle(self, name: str) -> Bundle:
        """Reads the bundle of a submission.

        Raises:
            CultureCareError: There is no such submission, or it is no longer what it was.
        """
        if name not in self._by_id:
            raise CultureCareError(f"no submission {name!r} on the board {self.source}")
        bundle = read_bundle(self._folder / self._by_id[name].folder)
        if bundle.id != name:
            raise BundleError(f"submission {name}: was changed after it was read")
        return bundle


# --- Where things stand ----------------------------------------------------------------------------------------------------------


def folder_of(bundle: Bundle) -> str:
    """Where a bundle belongs, from the board's folder."""
    made = bundle.submission
    return f"{SUBMISSIONS}/{made.protocol}/{made.model.replace('/', '--')}/{bundle.id}"


def verification_path(protocol: str, name: str) -> str:
    """Where the verification of a submission belongs, from the board's folder."""
    return f"{VERIFICATIONS}/{protocol}/{name}.json"


def put(folder: Path, bundle: Bundle) -> Path:
    """Puts an admitted bundle onto a board, in one step: it is there whole or not at all, and nothing is overwritten.

    Args:
        folder: The board's folder, made where it is not there.
        bundle: What was admitted, by `admission.refusals`.

    Returns:
        The submission's folder.

    Raises:
        CultureCareError: It is there already, or nothing can be written there.
    """
    target = folder / folder_of(bundle)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.parent.resolve().is_relative_to(folder.resolve()):
            raise CultureCareError(f"{target.parent}: leads out of the board's folder by a link; nothing was written")
        temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=".incoming-"))
        try:
            for name, content in contents(bundle).items():
                (temporary / name).write_bytes(content)
            temporary.chmod(0o755)
            temporary.rename(target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        if target.exists():
            raise CultureCareError(f"{target}: this submission is on the board already") from error
        raise CultureCareError(f"{folder}: cannot be written ({error.strerror})") from error
    return target


# --- Reading a board -------------------------------------------------------------------------------------------------------------


def fetch(results: str, progress: Progress) -> Path:
    """The folder of a board: itself, or a copy of what the Hub has now.

    Args:
        results: A folder, or `hf://datasets/OWNER/NAME[@REVISION]`.
        progress: Told what is fetched.

    Raises:
        CultureCareError: There is no such folder or repository.
    """
    if results.startswith("hf://"):
        from culturecare_harness.hub import snapshot

        progress.say(f"Fetching {results}.")
        # As plain files, since the reader follows no link; the library's own cache holds links.
        return snapshot(results, [f"{SUBMISSIONS}/*", f"{VERIFICATIONS}/*"], folder=cache_dir() / "snapshots" / digest(results))
    folder = Path(results)
    if not folder.is_dir():
        raise DataError(f"{folder}: is not a folder; name a board's (`culturecare submit RUN --to {folder}` makes one), or hf://datasets/…")
    return folder


def open_board(results: str, progress: Progress, *, known: Mapping[str, Protocol] | None = None, cache: Path | None = None) -> Board:
    """Reads a board.

    Args:
        results: A folder, or `hf://datasets/OWNER/NAME[@REVISION]`.
        progress: Told what is read.
        known: Protocols by name, by default those of the package.
        cache: Folder where what was read is kept, by default one in the user's cache folder.

    Raises:
        CultureCareError: There is no such folder or repository.
    """
    folder = fetch(results, progress)
    chosen = protocols() if known is None else known
    place = cache or cache_dir() / "boards"
    index = _Index(place / f"{digest([_RULES, str(folder.resolve()), [protocol.hash for protocol in chosen.values()]])}.parquet")
    firsts = _Firsts(place / f"{digest(str(folder.resolve()))}.firsts.json")
    read, refused = _read_submissions(folder, index, progress, chosen)
    entries = []
    for entry in read:
        if (late := untimely(entry.submitted, chosen[entry.protocol])) is not None:
            refused[entry.folder] = printable(late)
        else:
            found = _verification(folder, entry, chosen[entry.protocol], refused)
            entries.append(entry.model_copy(update={"verification": found}))
    kept = _without_impostors(entries, firsts.update([entry.folder for entry in read]), refused)
    cells, gains = index.frames([entry.id for entry in kept])
    return Board(folder, results, kept, cells, gains, refused, chosen)


def _read_submissions(folder: Path, index: _Index, progress: Progress, known: Mapping[str, Protocol]) -> tuple[list[Entry], dict[str, str]]:
    entries: list[Entry] = []
    refused: dict[str, str] = {}
    found = list(_submission_folders(folder, refused))
    new = [path for path, stamp in found if index.find(path, stamp) is None]
    for number, (path, stamp) in enumerate(found):
        kept = index.find(path, stamp)
        if kept is None:
            if len(new) > 50 and number % 200 == 0:
                progress.say(f"Reading submissions: {number} of {len(found)}.")
            kept = _admitted(folder, path, known)
            index.add(path, stamp, kept)
        if isinstance(kept.outcome, str):
            refused[path] = kept.outcome
        else:
            entries.append(kept.outcome)
    index.save({path for path, _ in found})
    return entries, refused


def _without_impostors(entries: Sequence[Entry], firsts: Mapping[str, str], refused: dict[str, str]) -> list[Entry]:
    """Leaves out what was put into the folder by hand under a model's name that another submitter has, or with another's replies.

    Args:
        entries: All that is admitted.
        firsts: When this board knew each submission's folder first.
        refused: Takes those that are left out, each with its reason.
    """
    claims = _Claims(entries)
    order = {entry.id: _precedence(entry, firsts) for entry in entries}
    for entry in sorted(entries, key=lambda entry: (*order[entry.id], entry.submitted, entry.id)):
        found = claims.against(entry)
        if found is None:
            claims.add(entry)
            continue
        holder, reason = found
        refused[entry.folder] = reason
        if order[holder.id] == order[entry.id] and holder.submitter != entry.submitter:
            # Both keep their claim, so that a third is held against them too.
            claims.add(entry)
            for one, other in ((holder, entry), (entry, holder)):
                refused[one.folder] = _disputed(one, other)
    return [entry for entry in entries if entry.folder not in refused]


def _precedence(entry: Entry, firsts: Mapping[str, str]) -> tuple[bool, str]:
    if entry.verification is not None and entry.verification.status == "verified":
        return False, entry.verification.created.astimezone(dt.UTC).isoformat()
    return True, firsts[entry.folder]


def _disputed(entry: Entry, other: Entry) -> str:
    same = "model" if entry.model.casefold() == other.model.casefold() else "replies"
    return (
        f"it has the same {same} as {other.folder} by {other.submitter}, and neither was verified or known here before the other (the time "
        "that one claims decides nothing): verify the original by its folder, or remove the copy"
    )


class _Claims:
    """Who has which model's name and which replies, under each protocol."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._owners: dict[tuple[str, str], Entry] = {}
        self._texts: dict[tuple[str, str], Entry] = {}
        # Nearly all fingerprints are of one submission alone and need no index.
        times = Counter(itertools.chain.from_iterable(entry.sketch for entry in entries))
        self._common = {fingerprint for fingerprint, number in times.items() if number > 1}
        self._holders: dict[tuple[str, str], list[Entry]] = {}

    def add(self, entry: Entry) -> None:
        self._owners.setdefault((entry.protocol, entry.model.casefold()), entry)
        self._texts.setdefault((entry.protocol, entry.texts_hash), entry)
        for fingerprint in self._common.intersection(entry.sketch):
            self._holders.setdefault((entry.protocol, fingerprint), []).append(entry)

    def against(self, entry: Entry) -> tuple[Entry, str] | None:
        """Whose claim an entry violates, and how; null where it violates none."""
        owner = self._owners.get((entry.protocol, entry.model.casefold()), entry)
        if owner.submitter != entry.submitter:
            return owner, f"model {entry.model!r} is on the board by {owner.submitter}; only they can hand in another run of it"
        first = self._texts.get((entry.protocol, entry.texts_hash), entry)
        if not _same_source(first, entry):
            return first, f"its replies are word for word those of {first.model!r}, handed in by {first.submitter}"
        if (copied := self._copied(entry)) is not None:
            holder, share = copied
            return holder, f"about {share:.0%} of its passages are those of {holder.model!r}, handed in by {holder.submitter}"
        return None

    def _copied(self, entry: Entry) -> tuple[Entry, float] | None:
        """The entry of another that this one shares its passages with, and their share; null where there is none."""
        common = self._common.intersection(entry.sketch)
        found = [holder for fingerprint in common for holder in self._holders.get((entry.protocol, fingerprint), ())]
        shared = Counter(holder.id for holder in found)
        for holder in {holder.id: holder for holder in found}.values():
            # Most pairs share next to nothing and need no closer look.
            if shared[holder.id] >= COPIED * FEWEST and not _same_source(holder, entry):
                share = containment(holder.sketch, entry.sketch)
                if share >= COPIED:
                    return holder, share
        return None


def _same_source(one: Entry, other: Entry) -> bool:
    return (one.model.casefold(), one.submitter) == (other.model.casefold(), other.submitter)


def _submission_folders(folder: Path, refused: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Yields each submission's folder, from the board's folder, with a stamp that changes when a file of it does."""
    below = [SUBMISSIONS]
    for pattern in _NAMES:
        below = [name for parent in below for name in _folders(folder, parent, pattern, refused)]
    for path in below:
        stamps = []
        for name in FILES:
            with contextlib.suppress(OSError):
                status = os.lstat(f"{folder}/{path}/{name}")
                # The time of the last change of the file's status can't be set back.
                stamps.append(f"{status.st_size}.{status.st_mtime_ns}.{status.st_ctime_ns}")
        yield path, "-".join(stamps)


def _folders(board: Path, parent: str, pattern: str, refused: dict[str, str]) -> list[str]:
    """Folders in a folder, by their names from the board's; what can't be one is refused, and files beside them are nobody's business."""
    found = []
    try:
        with os.scandir(board / parent) as scan:
            items = sorted((item.name, item.is_dir(follow_symlinks=False), item.is_symlink()) for item in scan)
    except FileNotFoundError:
        return []
    except OSError as error:
        refused[printable(parent)] = f"cannot be read ({error.strerror})"
        return []
    for name, is_folder, is_link in items:
        path = f"{parent}/{name}"
        if name.startswith("."):
            continue
        if is_link:
            refused[printable(path)] = "is a link; a submission is a folder of its own"
        elif is_folder and re.fullmatch(pattern, name) is None:
            refused[printable(path)] = "has a name that no folder here has: submissions stand in submissions/<protocol>/<model>/<id>"
        elif is_folder:
            found.append(path)
    return found


def _admitted(folder: Path, path: str, known: Mapping[str, Protocol]) -> _Kept:
    try:
        bundle = read_bundle(folder / path)
    except BundleError as error:
        return _Kept(str(error))
    if folder_of(bundle) != path:
        return _Kept(f"it stands in the wrong folder: it belongs in {folder_of(bundle)}")
    if reasons := lasting_refusals(bundle, known=known):
        return _Kept(reasons[0])
    cells, gains = _numbers(bundle)
    return _Kept(_entry(bundle, path, known[bundle.submission.protocol]), cells, gains)


def _entry(bundle: Bundle, path: str, protocol: Protocol) -> Entry:
    made, result = bundle.submission, bundle.result
    if isinstance(result, JuryResult):
        judge, judges = result.jury.name, tuple(judge.name for judge in result.jury.judges)
    else:
        judge, judges = protocol.judges[0].name, (protocol.judges[0].name,)  # As `admission` found.
    strategies = {reply.strategy for reply in bundle.replies}
    present = {reply.culture for reply in bundle.replies}
    return Entry(
        id=bundle.id,
        folder=path,
        texts_hash=bundle.texts_hash,
        sketch=bundle.sketch,
        **made.model_dump(exclude={"schema_version", "protocol_hash", "files"}),
        judge=judge,
        judges=judges,
        judge_mode=", ".join(sorted({known.mode for known in protocol.judges})),
        kin=judged_by_kin(bundle),
        coverage=result.coverage or 0.0,
        strategies=tuple(name for name in protocol.strategies if name in strategies),
        cultures=tuple(key for key in cultures() if key in present),
        split=protocol.posts.split,
        excerpt=protocol.posts.excerpt,
        instances=result.dataset.instances,
        replies=len(bundle.replies),
        withheld=sum(reply.text is None for reply in bundle.replies),
        judgeable=len(bundle.judgeable),
        notes=notes(bundle, protocol),
    )


def _numbers(bundle: Bundle) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """Rows of `Board.cells` and of `Board.gains`, without their ids."""
    items = item_metrics(bundle)
    keys = [key for key in cultures() if any(culture == key for _, culture in items)]
    cells = []
    for score in graded_scores(items, bundle.rubric, keys):
        samples = _samples(items, score.strategy, score.metric, keys if score.culture == "all" else [score.culture])
        error, freedom = mean_of_means_error(samples) or (None, None)
        cells.append(
            (score.strategy, score.culture, score.metric, score.mean, score.low, score.high, error, freedom, score.n, score.coverage)
        )
    gains = []
    for strategy in dict.fromkeys(strategy for strategy, _ in items if strategy != BASELINE):
        for metric in _SUMMARIES:
            by_culture = {key: _differences(items, strategy, key, metric) for key in keys}
            for culture, samples in [*((key, [by_culture[key]]) for key in keys), ("all", list(by_culture.values()))]:
                low, high = mean_of_means_interval(samples, (-4.0, 4.0)) or (None, None)
                gains.append((strategy, culture, metric, mean_of_means(samples), low, high, sum(map(len, samples))))
    return cells, gains


def _samples(items: Any, strategy: str, metric: str, keys: Sequence[str]) -> list[list[float]]:
    return [[value for metrics in items[strategy, key].values() if (value := metrics[metric]) is not None] for key in keys]


def _differences(items: Any, strategy: str, culture: str, metric: str) -> list[float]:
    """Differences to the baseline, post by post, where both have a score."""
    of_baseline = items.get((BASELINE, culture), {})
    pairs = [(metrics[metric], of_baseline.get(name, {}).get(metric)) for name, metrics in items[strategy, culture].items()]
    return [value - base for value, base in pairs if value is not None and base is not None]


def _verification(folder: Path, entry: Entry, protocol: Protocol, refused: dict[str, str]) -> Verification | None:
    path = verification_path(entry.protocol, entry.id)
    try:
        found = parse_record(Verification, json.loads(read_plain_file(folder / path, _MOST_IN_VERIFICATION, path)), where=path)
    except FileNotFoundError:
        return None
    except (DataError, ValueError, RecursionError) as error:
        # One broken record must not take the board down; the submission stands as unverified, and the board says why.
        refused[path] = printable(f"is no verification record ({error}); make it again with `culturecare verify`")
        return None
    if (found.bundle, found.protocol) != (entry.id, entry.protocol):
        refused[path] = f"is the verification of submission {found.bundle}, not of this one"
        return None
    if (wrong := contradiction(found, entry, protocol)) is not None:
        refused[path] = printable(f"is not believed: {wrong}; make it again with `culturecare verify`")
        return None
    return found


# --- What was read already -------------------------------------------------------------------------------------------------------


class _Firsts:
    """When this board knew each submission first, whatever that claims of itself. Lost with the cache."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def update(self, folders: Sequence[str]) -> Mapping[str, str]:
        """Times by folder, that of this look for those that are new; what is gone is forgotten."""
        now = dt.datetime.now(dt.UTC).isoformat()
        known = self._load()
        firsts = {folder: known.get(folder, now) for folder in folders}
        if firsts != known:
            # A cache that can't be kept is made again next time.
            with contextlib.suppress(OSError, CultureCareError), whole_file(self._file) as temporary:
                temporary.write_text(json.dumps(firsts), encoding="utf-8")
        return firsts

    def _load(self) -> dict[str, str]:
        try:
            known = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return {str(folder): str(time) for folder, time in known.items()} if isinstance(known, dict) else {}


@dataclasses.dataclass(frozen=True, slots=True)
class _Kept:
    """What came of reading a submission: its entry and numbers, or why it was refused."""

    outcome: Entry | str
    cells: list[tuple[Any, ...]] = dataclasses.field(default_factory=list)
    gains: list[tuple[Any, ...]] = dataclasses.field(default_factory=list)


class _Line(Record):
    path: str
    stamp: str
    entry: Entry | None
    reason: str | None


class _Lines(Record):
    lines: tuple[_Line, ...]


_LINES = b"culturecare"
"""Where the lines stand in the metadata of the cache's file."""


class _Index:
    """The cache: which submissions were read, and what came of it. One file, so that its parts are always of one moment."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._new: dict[str, _Kept] = {}
        self._lines, self._frames = self._load()

    def _load(self) -> tuple[dict[str, _Line], dict[str, pd.DataFrame]]:
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(self._file)
            lines = _Lines.model_validate_json((table.schema.metadata or {}).get(_LINES, b""))
            frame = table.to_pandas()
            frames = {
                name: frame.loc[frame["kind"] == name, list(columns)].reset_index(drop=True)
                for name, columns in (("cells", _CELLS), ("gains", _GAINS))
            }
        except (OSError, ValueError, KeyError, ValidationError):
            # A cache that is missing, torn or of another version is made anew.
            return {}, {"cells": _frame([], _CELLS), "gains": _frame([], _GAINS)}
        return {line.path: line for line in lines.lines}, frames

    def find(self, path: str, stamp: str) -> _Kept | None:
        line = self._lines.get(path)
        if line is None or line.stamp != stamp:
            return None
        return _Kept(line.entry if line.entry is not None else line.reason or "")

    def add(self, path: str, stamp: str, kept: _Kept) -> None:
        is_entry = isinstance(kept.outcome, Entry)
        self._lines[path] = _Line(
            path=path, stamp=stamp, entry=kept.outcome if is_entry else None, reason=None if is_entry else str(kept.outcome)
        )
        self._new[path] = kept

    def save(self, present: set[str]) -> None:
        """Forgets what is no longer there and writes the cache, where anything changed."""
        import pandas as pd
        import pyarrow as pa
        import pyarrow.parquet as pq

        gone = set(self._lines) - present
        if not gone and not self._new:
            return
        for path in gone:
            del self._lines[path]
        ids = {line.entry.id for line in self._lines.values() if line.entry is not None}
        for name, columns in (("cells", _CELLS), ("gains", _GAINS)):
            rows = [
                (kept.outcome.id, *row)
                for kept in self._new.values()
                if isinstance(kept.outcome, Entry)
                for row in (kept.cells if name == "cells" else kept.gains)
            ]
            added = _frame(rows, columns)
            old = self._frames[name]
            old = old[old["id"].isin(ids - set(added["id"]))]
            self._frames[name] = added if old.empty else pd.concat([old, added], ignore_index=True) if len(added) else old
        self._new = {}
        kinds = [frame.assign(kind=name) for name, frame in self._frames.items()]
        table = pa.Table.from_pandas(pd.concat([frame for frame in kinds if len(frame)] or kinds, ignore_index=True), preserve_index=False)
        lines = _Lines(lines=tuple(self._lines.values())).model_dump_json().encode()
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), _LINES: lines})
        # A cache that can't be kept is made again next time.
        with contextlib.suppress(OSError, CultureCareError), whole_file(self._file) as temporary:
            pq.write_table(table, temporary)

    def frames(self, ids: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Cells and gains of these submissions."""
        wanted = set(ids)
        cells, gains = (frame[frame["id"].isin(wanted)].reset_index(drop=True) for frame in self._frames.values())
        return cells, gains


def _frame(rows: Sequence[tuple[Any, ...]], columns: Sequence[str]) -> pd.DataFrame:
    import pandas as pd

    kinds = {column: "float64" for column in columns if column not in _TEXTS}
    return pd.DataFrame(rows, columns=list(columns)).astype(kinds | {"n": "int64"})
