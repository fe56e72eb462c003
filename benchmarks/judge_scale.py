"""How time and memory grow with the number of verdicts, under a judge that answers at once: what is left is the engine's own work.

Each size runs in a process of its own, so that its peak memory is its own. The baseline is the smallest size of the same engine in the same
run: time should grow with the number of verdicts to the power of at most 1.05, and memory should stay within 1.2 times the baseline's.

    python benchmarks/judge_scale.py
    python benchmarks/judge_scale.py --engine ray
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.table import Table

from culturecare_harness.backends import Answer
from culturecare_harness.engines import ENGINES
from culturecare_harness.judge import JudgeItem, judge_stream
from culturecare_harness.judges import JudgeFile
from culturecare_harness.records import digest
from culturecare_harness.rubrics import select_rubric
from culturecare_harness.store import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from culturecare_harness.backends import Request

JUDGE = JudgeFile(name="instant", summary="Answers at once.", backend="openai", model="none", mode="argmax")
DIMENSIONS = len(select_rubric(JUDGE.rubric).dimensions)
SIZES = (1_000, 10_000, 100_000)
EXPONENT, MEMORY = 1.05, 1.2
MIB = 1024


class InstantBackend:
    """Answers every question with a 4, and leaves its process's peak memory in a file, where the benchmark finds it."""

    def __init__(self, peaks: Path) -> None:
        self._peaks = peaks

    def answer(self, requests: Sequence[Request], done: Callable[[int, int, Answer], None]) -> None:
        """Answers; see `Backend.answer`."""
        for position, request in enumerate(requests):
            for number, samples in enumerate(request.samples):
                done(position, number, Answer(texts=("4",) * len(samples), prompt_tokens=600, completion_tokens=1))
        (self._peaks / str(os.getpid())).write_text(str(peak()))


def peak() -> float:
    """This process's peak memory in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MIB


def items(number: int) -> Iterator[JudgeItem]:
    """Replies to as many posts, of about the length of real ones, each another text."""
    for place in range(number):
        post, reply = f"Post {place}: I have not slept for weeks. " * 30, f"Reply {place}: that sounds heavy. " * 20
        yield JudgeItem(reply_id=digest(place), post=post, reply=reply)


def measure(engine: str, verdicts: int) -> dict[str, float]:
    """Judges in this process; returns seconds, and the peak memory of it and of the processes that judged."""
    number = math.ceil(verdicts / DIMENSIONS)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        peaks = place / "peaks"
        peaks.mkdir()
        if engine == "ray":
            import ray

            from culturecare_harness.engines.ray import judge_with_ray

            ray.init(address="local", include_dashboard=False, logging_level="error", log_to_driver=False)
            ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
            start = time.perf_counter()
            judged = judge_with_ray(
                items(number), JUDGE, place / "out", store=place / "store.sqlite3", backend=lambda _: InstantBackend(peaks)
            )
            seconds = time.perf_counter() - start
            ray.shutdown()
        else:
            with open_store(place / "store.sqlite3") as store:
                start = time.perf_counter()
                judged = sum(map(len, judge_stream(items(number), JUDGE, store=store, backend=lambda _: InstantBackend(peaks))))
                seconds = time.perf_counter() - start
        return {
            "verdicts": judged,
            "seconds": seconds,
            "peak": peak(),
            "worker": max(float(file.read_text()) for file in peaks.iterdir()),
        }


def exponent(runs: Sequence[dict[str, float]]) -> float:
    """The power of the number of verdicts with which time grows: the slope of log time over log number."""
    slope, _ = np.polyfit(np.log([run["verdicts"] for run in runs]), np.log([run["seconds"] for run in runs]), 1)
    return float(slope)


def report(engine: str, runs: Sequence[dict[str, float]]) -> bool:
    """Prints the runs beside the baseline; returns whether both goals are met."""
    console, first, last = Console(), runs[0], runs[-1]
    table = Table("verdicts", "seconds", "µs a verdict", "peak MiB", "peak MiB of a judging process", "memory / baseline", title=engine)
    for run in runs:
        row = (run["verdicts"], run["seconds"], 1e6 * run["seconds"] / run["verdicts"], run["peak"], run["worker"])
        table.add_row(f"{row[0]:,.0f}", *(f"{value:.1f}" for value in row[1:]), f"{run['peak'] / first['peak']:.2f}")
    console.print(table)
    power = exponent(runs)
    memory = max(last["peak"] / first["peak"], last["worker"] / first["worker"])
    console.print(f"Baseline: {first['verdicts']:,.0f} verdicts by the same engine.")
    console.print(f"Time grows with the number of verdicts to the power of {power:.3f} (goal: at most {EXPONENT}).")
    console.print(f"Memory of the last size: {memory:.2f} times the baseline's (goal: at most {MEMORY}).")
    return power <= EXPONENT and memory <= MEMORY


def main() -> None:
    """Runs each size in a process of its own; exits with 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=list(ENGINES), default="embedded", help="where to judge")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="numbers of verdicts, the smallest first")
    parser.add_argument("--one", action="store_true", help="measure the one size in this process and print JSON")
    arguments = parser.parse_args()
    if arguments.one:
        sys.stdout.write(json.dumps(measure(arguments.engine, arguments.sizes[0])) + "\n")
        return
    runs = []
    for size in arguments.sizes:
        command = [sys.executable, __file__, "--one", "--engine", arguments.engine, "--sizes", str(size)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603 - this file.
        runs.append(json.loads(done.stdout.splitlines()[-1]))
    sys.exit(not report(arguments.engine, runs))


if __name__ == "__main__":
    main()
