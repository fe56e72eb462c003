"""How fast a board is: reading and admitting bundles, and opening a folder of them, each against plainly parsing the same files.

Usage: python benchmarks/board.py [--submissions 200] [--opens 3]

The baseline, `json.loads`, reads the same files and parses every line, and does nothing else. Beside it stand, for one bundle as large as a
whole run under protocol v1 (5 strategies, 462 posts, 7 dimensions, replies of 1,500 characters):

- `read`: what `read_bundle` does: the ZIP file, fingerprints, strict JSON, every record validated;
- `admit`: what `refusals` does: every score computed again from the verdicts;
- `numbers`: what a board shows of it: means, intervals, and paired differences between strategies;

and for a folder of small submissions (the demo's size):

- `first`: `open_board` without a cache, which does all of the above for each;
- `again`: `open_board` with the cache that the first left.

Prints times (the best of several, in this process's own time), sizes and ratios. Replies are random letters and grades random numbers: they
say nothing of any model.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import platform
import random
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # For the maker of made-up bundles, which the tests have.

from culturecare_harness.admission import graded_scores, item_metrics, refusals
from culturecare_harness.board import _numbers, open_board
from culturecare_harness.bundle import PublicReply, pack, read_bundle, write_bundle
from culturecare_harness.protocols import Posts, Protocol, select_protocol
from culturecare_harness.records import Dataset, Model, Result, reply_id
from culturecare_harness.rubrics import select_rubric
from tests.bundles import WHEN, make_board, verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from culturecare_harness.bundle import Bundle
    from culturecare_harness.records import Verdict

_CHARACTERS = 1500
_MODEL = "example/listener"


class _Silent:
    def say(self, sentence: str) -> None: ...

    def advance(self, finished: int, total: int) -> None: ...


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--submissions", type=int, default=200, help="small submissions in the folder")
    parser.add_argument("--opens", type=int, default=3, help="runs of which the best counts")
    arguments = parser.parse_args()
    _print(f"{dt.datetime.now(dt.UTC):%Y-%m-%d}, {platform.machine()}, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as folder:
        _full_size(Path(folder), arguments.opens)
        _many(Path(folder), arguments.submissions, arguments.opens)


def _full_size(folder: Path, times: int) -> None:
    protocol, path = _protocol(), folder / "bundle.zip"
    write_bundle(path, _bundle(protocol))
    bundle = read_bundle(path)
    known = {protocol.name: protocol}
    if reasons := refusals(bundle, known=known):
        raise SystemExit(f"the made-up bundle is refused: {reasons[0]}")
    size = sum(map(len, bundle.raw.values())) / 1024**2
    zipped = path.stat().st_size / 1024**2
    _print(f"\none bundle: {len(bundle.replies)} replies, {len(bundle.verdicts)} verdicts, {size:.1f} MiB, {zipped:.1f} zipped")
    baseline = _best(times, lambda: _parse_zip(path))
    _report("json.loads", baseline, baseline)
    _report("read", _best(times, lambda: read_bundle(path)), baseline)
    _report("admit", _best(times, lambda: refusals(bundle, known=known)), baseline)
    _report("numbers", _best(times, lambda: _numbers(bundle)), baseline)


def _many(folder: Path, number: int, times: int) -> None:
    board = folder / "board"
    make_board(board, number)
    _print(f"\n{number} submissions of 28 replies and 196 verdicts")
    files = [path for path in board.rglob("*") if path.is_file()]
    baseline = _best(times, lambda: [_parse(path.name, path.read_bytes()) for path in files])
    _report("json.loads", baseline, baseline, number)
    fresh = iter(range(times))
    _report("first", _best(times, lambda: open_board(str(board), _Silent(), cache=folder / f"cache-{next(fresh)}")), baseline, number)
    _report("again", _best(times, lambda: open_board(str(board), _Silent(), cache=folder / "cache-0")), baseline, number)


def _best(times: int, run: Callable[[], object]) -> float:
    taken = []
    for _ in range(times):
        start = time.process_time()
        run()
        taken.append(time.process_time() - start)
    return min(taken)


def _report(name: str, seconds: float, baseline: float, number: int = 1) -> None:
    each = f", {seconds / number * 1000:.2f} ms each" if number > 1 else ""
    _print(f"{name:10} {seconds:8.3f} s  ({seconds / baseline:.2f} x json.loads{each})")


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")


def _parse_zip(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            _parse(name, archive.read(name))


def _parse(name: str, content: bytes) -> None:
    for text in content.splitlines() if name.endswith(".jsonl") else [content]:
        json.loads(text)


def _protocol() -> Protocol:
    like = select_protocol("v1")
    instances = Posts.fingerprint(_names(like.posts.cultures))
    return like.model_copy(update={"name": "v1-like", "posts": like.posts.model_copy(update={"instances": instances})})


def _names(cultures: dict[str, int]) -> Iterable[tuple[str, str]]:
    return [(key, f"{key}-{place:04d}") for key, number in cultures.items() for place in range(number)]


def _bundle(protocol: Protocol) -> Bundle:
    chance = random.Random(1)  # noqa: S311 - no secret.
    words = ["".join(chance.choices("abcdefghijklmnopqrstuvwxyzäöü", k=chance.randint(2, 9))) for _ in range(3000)]
    replies, verdicts = [], []
    for strategy, prompt in protocol.strategies.items():
        for culture, instance in _names(protocol.posts.cultures):
            text = " ".join(chance.choices(words, k=_CHARACTERS // 4))[:_CHARACTERS]
            reply = PublicReply(
                id=reply_id(instance, strategy, _MODEL, text),
                instance_id=instance,
                culture=culture,
                language="en",
                split=protocol.posts.split,
                dataset_revision=protocol.posts.revision,
                strategy=strategy,
                prompt_hash=prompt,
                excerpt=protocol.posts.excerpt,
                model=_MODEL,
                text=text,
                generation=dict(protocol.generation),
            )
            replies.append(reply)
            verdicts += [_verdict(reply.id, dimension.key, chance) for dimension in select_rubric("culturecare").dimensions]
    about = {"protocol": protocol.name, "protocol_hash": protocol.hash, "model": _MODEL, "submitter": "somebody", "submitted": WHEN}
    empty = _result(protocol)
    scores = graded_scores(item_metrics(pack(about, empty, replies, verdicts)), "culturecare", list(protocol.posts.cultures))
    return pack(about, empty.model_copy(update={"scores": tuple(scores)}), replies, verdicts)


def _verdict(reply: str, dimension: str, chance: random.Random) -> Verdict:
    return verdict(reply, dimension, min(5.0, max(1.0, chance.gauss(3, 0.7))), "v1")


def _result(protocol: Protocol) -> Result:
    posts = protocol.posts
    return Result(
        created=WHEN,
        model=Model(name=_MODEL, backend="hf", arguments={}),
        dataset=Dataset(
            split=posts.split,
            revision=posts.revision,
            cultures=tuple(posts.cultures),
            excerpt=posts.excerpt,
            instances=sum(posts.cultures.values()),
        ),
        strategies=dict(protocol.strategies),
        generation=dict(protocol.generation),
        judge=protocol.judge,
        scores=(),
        coverage=1.0,
        reasons={},
        notes=(),
        versions={},
    )


if __name__ == "__main__":
    main()
