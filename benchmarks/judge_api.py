"""How close the API judge comes to the ideal: a server that answers every call after a fixed time, 64 calls at once.

The server runs in a process of its own and answers with log-probabilities. The ideal is calls x time / 64. The judge is measured whole:
rendering the prompts, calling, reading, and keeping each answer in a verdict store on disk. The baseline, in the same run, is the bare
openai client: `chat.completions.create` under a semaphore of 64, its prompts made beforehand and its answers thrown away.

    python benchmarks/judge_api.py                      # 5,000 verdicts at 100 ms and 2,000 at 500 ms: about a minute
    python benchmarks/judge_api.py --verdicts 1000 --milliseconds 100
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openai
from rich.console import Console
from rich.table import Table

from culturecare import load_instances
from culturecare_harness.judge import JudgeItem, judge_replies
from culturecare_harness.judges import JudgeFile
from culturecare_harness.records import digest
from culturecare_harness.rubrics import select_rubric
from culturecare_harness.store import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

AT_ONCE = 64
GOALS = {100: 1.25, 500: 1.06}
CPU_GOAL = 1.1
MODEL = "fixed"
DIMENSIONS = len(select_rubric("culturecare").dimensions)


def completion() -> bytes:
    """A chat completion of one token with its twenty likeliest rivals, as OpenAI's servers send it."""
    probabilities = {"4": 0.6, "5": 0.2, "3": 0.1, "2": 0.05, "1": 0.01} | {f" word{place}": 0.0005 for place in range(15)}
    top = [{"token": token, "bytes": list(token.encode()), "logprob": math.log(share)} for token, share in probabilities.items()]
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": "4", "refusal": None},
        "finish_reason": "length",
        "logprobs": {"content": [{**top[0], "top_logprobs": top}], "refusal": None},
    }
    usage = {"prompt_tokens": 1200, "completion_tokens": 1, "total_tokens": 1201}
    body = {"id": "1", "object": "chat.completion", "created": 0, "model": MODEL, "choices": [choice], "usage": usage}
    return json.dumps(body).encode()


def serve(milliseconds: int) -> None:
    """Answers every call after `milliseconds`; writes its port in a line first."""
    from aiohttp import web

    body = completion()

    async def answer(request: web.Request) -> web.Response:
        await request.read()
        await asyncio.sleep(milliseconds / 1000)
        return web.Response(body=body, content_type="application/json")

    async def run() -> None:
        application = web.Application(client_max_size=2**24)
        application.router.add_post("/v1/chat/completions", answer)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        sys.stdout.write(f"{runner.addresses[0][1]}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()

    asyncio.run(run())


@contextlib.contextmanager
def server(milliseconds: int) -> Iterator[str]:
    """Yields the address of a server in another process."""
    command = [sys.executable, __file__, "--serve", "--milliseconds", str(milliseconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 - this very file.
    try:
        assert process.stdout is not None  # noqa: S101 - it is piped.
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
    finally:
        process.terminate()
        process.wait()


def to_judge(verdicts: int) -> list[JudgeItem]:
    """Replies enough for so many verdicts, each another one."""
    sample = load_instances("sample")
    chosen = (sample[place % len(sample)] for place in range(math.ceil(verdicts / DIMENSIONS)))
    return [JudgeItem(reply_id=digest(place), post=i.post_text, reply=f"{i.response_text} ({place})") for place, i in enumerate(chosen)]


def judge_all(address: str, items: list[JudgeItem]) -> None:
    """The judge as `culturecare judge` runs it, with a store of its own."""
    judge = JudgeFile(
        name="fixed", summary="", backend="openai", model=MODEL, mode="logprob", base_url=address, api_key_env=None, concurrency=AT_ONCE
    )
    with tempfile.TemporaryDirectory() as folder, open_store(Path(folder) / "verdicts.sqlite3") as store:
        verdicts = judge_replies(items, judge, store=store)
    if any(verdict.score is None for verdict in verdicts):
        raise SystemExit("some verdicts have no score: the comparison is void")


def call_all(address: str, bodies: list[dict[str, Any]]) -> None:
    """The bare client: one task a call, and a semaphore."""

    async def run() -> None:
        gate = asyncio.Semaphore(AT_ONCE)
        async with openai.AsyncOpenAI(api_key="none", base_url=address) as client:

            async def call(body: dict[str, Any]) -> None:
                async with gate:
                    await client.chat.completions.create(**body)

            await asyncio.gather(*map(call, bodies))

    asyncio.run(run())


def bodies_of(items: list[JudgeItem]) -> list[dict[str, Any]]:
    """What the bare client sends: the judge's prompts."""
    rubric = select_rubric("culturecare")
    settings = {"model": MODEL, "max_completion_tokens": 1, "temperature": 0, "logprobs": True, "top_logprobs": 20}
    return [
        settings
        | {"messages": [{"role": "system", "content": prompts.system}, {"role": "user", "content": f"{prompts.item}\n\n{question}"}]}
        for item in items
        for prompts in [rubric.prompts(item.post, item.reply)]
        for question in prompts.questions
    ]


def measured(run: Callable[[], None]) -> tuple[float, float]:
    """Wall-clock and processor seconds of this process."""
    wall, processor = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall, time.process_time() - processor


def main() -> None:
    """Measures and prints a table; ends with 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description="Measure the API judge against the bare openai client.")
    parser.add_argument("--verdicts", type=int, help="Verdicts, with --milliseconds; by default 5,000 at 100 ms and 2,000 at 500 ms.")
    parser.add_argument("--milliseconds", type=int, default=100, help="Time that the server takes for each answer.")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.milliseconds)
        return
    cases = [(arguments.verdicts, arguments.milliseconds)] if arguments.verdicts else [(5000, 100), (2000, 500)]
    table = Table("verdicts", "answer time", "who", "wall", "over the ideal", "CPU a verdict", "goals", header_style="bold")
    missed = False
    for verdicts, milliseconds in cases:
        items = to_judge(verdicts)
        bodies = bodies_of(items)
        ideal = len(bodies) * milliseconds / 1000 / AT_ONCE
        with server(milliseconds) as address:
            call_all(address, bodies[:AT_ONCE])  # Imports and first uses are nobody's time.
            judge_all(address, items[:10])
            runs = {"culturecare": measured(lambda: judge_all(address, items)), "openai, bare": measured(lambda: call_all(address, bodies))}  # noqa: B023 - called at once.
        for who, (wall, processor) in runs.items():
            over, cpu = wall / ideal, processor / len(bodies) * 1000
            goals = ""
            if who == "culturecare":
                goal = GOALS.get(milliseconds, max(GOALS.values()))
                is_met = over <= goal and cpu <= CPU_GOAL
                missed |= not is_met
                goals = f"{goal} x, {CPU_GOAL} ms: {'met' if is_met else 'MISSED'}"
            table.add_row(f"{len(bodies):,}", f"{milliseconds} ms", who, f"{wall:.2f} s", f"{over:.3f} x", f"{cpu:.2f} ms", goals)
    Console(width=120).print(table)
    sys.exit(int(missed))


if __name__ == "__main__":
    main()
