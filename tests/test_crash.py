"""The crash test: a run of the judge that is killed twenty times ends like one that never was, and asks nothing that was answered again."""

from __future__ import annotations

import collections
import hashlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

import pytest

from culturecare_harness.lm_eval_hooks import support_docs
from culturecare_harness.records import Verdict, read_records
from culturecare_harness.rubrics import select_rubric
from tests.servers import answers_on_file

KILLS = 20
CONCURRENCY = 8
SEED = 20260101
DIMENSIONS = [dimension.key for dimension in select_rubric("culturecare").dimensions]


class Server:
    """A judge's server that grades each question by its hash, and tells when a number of calls has come.

    Attributes:
        asked: How often each question came.
        calls_of: How many calls each run made; a run is known by its API key, since a call may come in after the run was killed.
        reached: Set once the call has come that `stop_at` named.
    """

    def __init__(self) -> None:
        self.asked: collections.Counter[str] = collections.Counter()
        self.calls_of: collections.Counter[str] = collections.Counter()
        self.reached = threading.Event()
        self._resumed = threading.Event()
        self._lock = threading.Lock()
        self._stop_at: tuple[str, int] | None = None
        self._holds = False
        self._server = _Listener(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def stop_at(self, run: str, calls: int, *, holds: bool) -> None:
        """Has `reached` set with that call of the run; with `holds`, that call and those after it get no answer until `resume`."""
        self.reached.clear()
        self._resumed.clear()
        self._stop_at, self._holds = (run, calls), holds

    def resume(self) -> None:
        self._resumed.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.resume()
        self._server.shutdown()
        self._server.server_close()

    def _take(self, run: str, question: str) -> None:
        with self._lock:
            self.asked[question] += 1
            self.calls_of[run] += 1
            is_reached = self._stop_at is not None and run == self._stop_at[0] and self.calls_of[run] >= self._stop_at[1]
        if is_reached:
            self.reached.set()
            if self._holds:
                self._resumed.wait()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                question = hashlib.sha256(json.dumps(request["messages"]).encode()).hexdigest()
                outer._take(self.headers["Authorization"].removeprefix("Bearer "), question)
                message = {"role": "assistant", "content": str(int(question, 16) % 5 + 1)}
                choice = {"index": 0, "message": message, "finish_reason": "stop"}
                usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
                completion = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], "usage": usage}
                body = json.dumps(completion).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Keeps the test's output clean."""

        return Handler


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def handle_error(self, *_: object) -> None:
        """A client that was killed is no error of the server's."""


def write_samples(folder: Path) -> int:
    """Samples as `lm_eval --log_samples` writes them, a reply to every post of split `sample`; returns their number."""
    docs = support_docs(strategy="standard", split="sample")["test"]
    rows = [{"doc": doc, "resps": [[f"That sounds heavy ({place})."]], "arguments": {}} for place, doc in enumerate(docs)]
    folder.mkdir()
    path = folder / "samples_culturecare_support_standard_2026-01-01T00-00-00.000000.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return len(rows)


def write_judge(path: Path, url: str) -> Path:
    settings = {"summary": "s", "backend": "openai", "model": "m", "mode": "argmax", "base_url": url, "api_key_env": "RUN"}
    path.write_text(json.dumps({**settings, "concurrency": CONCURRENCY, "retries": 0}), encoding="utf-8")
    return path


def start(run: str, samples: Path, judge: Path, out: Path, store: Path) -> subprocess.Popen[bytes]:
    program = str(Path(sys.executable).with_name("culturecare"))
    command = [program, "judge", str(samples), "--judge", str(judge), "--out", str(out), "--store", str(store)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=os.environ | {"RUN": run})


def finish(process: subprocess.Popen[bytes]) -> None:
    _, said = process.communicate()
    assert process.returncode == 0, said.decode()


def kill_at(server: Server, process: subprocess.Popen[bytes]) -> None:
    """Kills the run as soon as the server has seen the call that it waits for."""
    assert server.reached.wait(120), process.stderr
    process.send_signal(signal.SIGKILL)
    _, said = process.communicate()
    assert process.returncode == -signal.SIGKILL, said.decode()
    server.resume()


@pytest.mark.slow
def test_a_run_killed_twenty_times_ends_like_one_that_was_not(tmp_path: Path) -> None:
    needed = write_samples(tmp_path / "samples") * len(DIMENSIONS)
    store = tmp_path / "killed.sqlite3"
    moments = random.Random(SEED)  # noqa: S311 - no secret.
    with Server() as server:
        judge = write_judge(tmp_path / "judge.yaml", server.url)
        finish(start("undisturbed", tmp_path / "samples", judge, tmp_path / "undisturbed", tmp_path / "undisturbed.sqlite3"))
        assert len(server.asked) == server.asked.total() == needed

        server.asked.clear()
        added: dict[str, int] = {}
        for number in range(KILLS):
            run = f"run {number}"
            # Half the runs die while they wait for answers, half while answers come in and are written.
            server.stop_at(run, moments.randint(1, 2 * needed // KILLS - CONCURRENCY), holds=moments.random() < 0.5)
            kill_at(server, start(run, tmp_path / "samples", judge, tmp_path / "killed", store))
            assert not list(tmp_path.glob("killed/*.result.json")), "the run ended before it could be killed"
            added[run] = answers_on_file(store) - sum(added.values())
        kept = sum(added.values())
        finish(start("last", tmp_path / "samples", judge, tmp_path / "killed", store))

    assert 0 < kept < needed
    assert min(added.values()) >= 0  # What was on file stayed there.
    assert max(server.calls_of[run] - added[run] for run in added) <= CONCURRENCY  # No run lost more than was under way.
    assert server.calls_of["last"] == needed - kept  # What was on file was not asked again, what was not was asked once.
    assert len(server.asked) == needed
    [undisturbed], [killed] = ([*tmp_path.glob(f"{name}/*.verdicts.jsonl")] for name in ("undisturbed", "killed"))
    assert killed.read_bytes() == undisturbed.read_bytes()
    verdicts = read_records(killed, Verdict)
    assert len({(verdict.reply_id, verdict.dimension) for verdict in verdicts}) == len(verdicts) == needed
    with closing(sqlite3.connect(store)) as connection:
        [(rows, distinct)] = connection.execute("SELECT count(*), count(DISTINCT key || ':' || sample) FROM answers")
        assert rows == distinct == needed
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("SELECT count(*) FROM failures").fetchall() == [(0,)]
