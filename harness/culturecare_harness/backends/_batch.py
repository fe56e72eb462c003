"""The Batch API: all questions in one file, answered within a day for less; a killed process finds its batch again and pays once."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any, Final

import openai
from pydantic import BaseModel, ConfigDict, ValidationError

from culturecare import CultureCareError, Record, parse_record
from culturecare_harness.backends import Answer
from culturecare_harness.backends._chat import Completion, ServerError, chat_request, most_tokens, one_line, read_completion
from culturecare_harness.backends._limits import backoff
from culturecare_harness.records import digest, write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from openai.types import Batch

    from culturecare_harness.backends import Request
    from culturecare_harness.backends._limits import Clock
    from culturecare_harness.judges import JudgeFile
    from culturecare_harness.prices import Spending

__all__ = ["Batches"]

_MOST_LINES, _MOST_BYTES = 50_000, 150_000_000  # The API takes 50,000 lines and 200 MB a file.
_SHORTEST_POLL, _LONGEST_POLL = 5.0, 60.0
_METADATA = "culturecare"
_ENDPOINT: Final = "/v1/chat/completions"


class _OpenBatch(Record):
    """A batch under way, as its file remembers it.

    Attributes:
        address: The server.
        input_file_id: The server's name of the uploaded questions.
        batch_id: The server's name of the batch; null while it is not known whether it was made.
        lines: Names of the questions, each a hash of the whole request.
    """

    address: str
    input_file_id: str
    batch_id: str | None
    lines: tuple[str, ...]


class _Question:
    """A question: where it stands, how many answers it wants, and what is sent."""

    def __init__(self, position: int, number: int, samples: Sequence[int], body: dict[str, Any]) -> None:
        self.position, self.number, self.samples, self.body = position, number, len(samples), body


class Batches:
    """Questions answered by batches.

    What a batch asks is kept in a file from before it is made until it is collected, named after the hash of its questions. A question that
    a batch under way asks already is taken from there, and not asked again.
    """

    def __init__(
        self,
        client: openai.AsyncOpenAI,
        judge: JudgeFile,
        spending: Spending,
        folder: Path,
        clock: Clock,
        say: Callable[[str], None],
    ) -> None:
        self._client, self._judge, self._spending = client, judge, spending
        self._folder, self._clock, self._say = folder, clock, say
        self._address = str(client.base_url)

    async def answer(self, calls: Iterable[tuple[int, int]], requests: Sequence[Request], done: Callable[[int, int, Answer], None]) -> None:
        """Has every question answered; see `Backend.answer`.

        Raises:
            CultureCareError: The server refuses the batch or cannot be reached; one that was made goes on, and the same call collects it.
        """
        wanted: dict[str, _Question] = {}
        for position, number in calls:
            prompts, samples = requests[position].prompts, requests[position].samples[number]
            body = chat_request(self._judge, prompts, prompts.questions[number], samples)
            wanted[digest(body, size=32)] = _Question(position, number, samples, body)
        under_way = [path for path in self._remembered() if not wanted.keys().isdisjoint(self._read(path).lines)]
        covered = {name for path in under_way for name in self._read(path).lines}
        new = {name: question for name, question in wanted.items() if name not in covered}
        self._check_cost(new.values())
        under_way += [await self._upload(part) for part in _parts(new)]
        async with asyncio.TaskGroup() as group:
            for path in under_way:
                group.create_task(self._collect(path, wanted, done))

    @contextlib.contextmanager
    def _errors_named(self) -> Iterator[None]:
        try:
            yield
        except openai.APIConnectionError as error:
            raise CultureCareError(
                f"judge {self._judge.name!r}: no server answers at {self._address} ({one_line(str(error))}); "
                "a batch that was begun goes on there, and the same command collects it"
            ) from error
        except openai.APIStatusError as error:
            raise CultureCareError(
                f"judge {self._judge.name!r}: {self._address} refused a batch for model {self._judge.model!r} with status "
                f"{error.status_code}: {one_line(error.message)}"
            ) from error

    def _check_cost(self, questions: Iterable[_Question]) -> None:
        cost = sum(self._spending.most(*most_tokens(question.body)) for question in questions)
        if not self._spending.affords(cost):
            raise CultureCareError(
                f"judge {self._judge.name!r}: the batch may cost up to ${cost:.4f}, and of max_cost, ${self._spending.limit:g}, "
                f"${self._spending.cost:.4f} are spent; raise it, or judge fewer replies"
            )

    def _remembered(self) -> list[Path]:
        return [path for path in sorted(self._folder.glob("*.json")) if self._read(path).address == self._address]

    def _read(self, path: Path) -> _OpenBatch:
        try:
            return parse_record(_OpenBatch, json.loads(path.read_text(encoding="utf-8")), where=str(path))
        except (OSError, ValueError) as error:
            raise CultureCareError(
                f"{path}: does not name a batch under way ({error}); delete it, and its questions are asked anew"
            ) from error

    async def _upload(self, part: Mapping[str, _Question]) -> Path:
        """Uploads questions, and remembers them before a batch is made of them: an upload that is lost costs nothing."""
        lines = [
            json.dumps({"custom_id": name, "method": "POST", "url": _ENDPOINT, "body": question.body}, ensure_ascii=False)
            for name, question in part.items()
        ]
        path = self._folder / f"{digest([self._address, *part])}.json"
        content = "".join(f"{line}\n" for line in lines).encode()
        with self._errors_named():
            file = await self._client.files.create(file=(f"{path.stem}.jsonl", content), purpose="batch")
        write_json(path, _OpenBatch(address=self._address, input_file_id=file.id, batch_id=None, lines=tuple(part)))
        return path

    async def _collect(self, path: Path, wanted: dict[str, _Question], done: Callable[[int, int, Answer], None]) -> None:
        """Waits for a batch and hands its answers on; what it was asked for another run's sake stays remembered."""
        open_batch = self._read(path)
        with self._errors_named():
            batch = await self._finished(await self._batch(path, open_batch))
            files = [file for file in (batch.output_file_id, batch.error_file_id) if file is not None]
            contents = [(await self._client.files.content(file)).content for file in files]
        if batch.status == "failed":
            self._remember(path, open_batch, ())
            errors = batch.errors.data or [] if batch.errors else []
            reason = one_line("; ".join(error.message or "" for error in errors)) or "no reason was given"
            raise CultureCareError(f"judge {self._judge.name!r}: {self._address} refused batch {batch.id}: {reason}")
        left = tuple(name for name in open_batch.lines if name not in wanted)
        for content in contents:
            for name, line in _lines(content):
                if question := wanted.pop(name, None):  # Handed on once, however often it stands there.
                    done(question.position, question.number, self._answer(line, question))
        for name in open_batch.lines:
            if question := wanted.pop(name, None):
                done(question.position, question.number, Answer(failure=f"the batch ended without an answer ({batch.status})"))
        self._remember(path, open_batch, left)

    def _remember(self, path: Path, open_batch: _OpenBatch, left: tuple[str, ...]) -> None:
        if left:
            write_json(path, open_batch.model_copy(update={"lines": left}))
        else:
            path.unlink(missing_ok=True)

    async def _batch(self, path: Path, open_batch: _OpenBatch) -> Batch:
        """The batch of the uploaded questions, made where there is none yet; the server is asked first wherever one may have been made."""
        if open_batch.batch_id is not None:
            return await self._client.batches.retrieve(open_batch.batch_id)
        failures = 0
        while True:
            batch = await self._batch_of(open_batch.input_file_id)
            try:
                # The client's own retries might make a second one.
                batch = batch or await self._client.with_options(max_retries=0).batches.create(
                    input_file_id=open_batch.input_file_id,
                    endpoint=_ENDPOINT,
                    completion_window="24h",
                    metadata={_METADATA: path.stem},
                )
            except (openai.APIConnectionError, openai.RateLimitError, openai.InternalServerError):
                failures += 1
                if failures > self._judge.retries:
                    raise
                await self._clock.sleep(backoff(failures))
                continue
            write_json(path, open_batch.model_copy(update={"batch_id": batch.id}))
            self._say(f"Batch {batch.id}: {len(open_batch.lines)} questions.")
            return batch

    async def _batch_of(self, input_file_id: str) -> Batch | None:
        async for batch in self._client.batches.list(limit=100):
            if batch.input_file_id == input_file_id:
                return batch
        return None

    async def _finished(self, batch: Batch) -> Batch:
        wait, said = _SHORTEST_POLL, None
        while batch.status in {"validating", "in_progress", "finalizing", "cancelling"}:
            counts = batch.request_counts
            finished = counts.completed + counts.failed if counts else 0
            if (now := (batch.status, finished)) != said:
                total = counts.total if counts else 0
                self._say(f"Batch {batch.id} is {batch.status.replace('_', ' ')}: {finished} of {total} answered.")
                said = now
            await self._clock.sleep(wait)
            wait = min(_LONGEST_POLL, wait * 1.5)
            batch = await self._client.batches.retrieve(batch.id)
        return batch

    def _answer(self, line: _Line, question: _Question) -> Answer:
        if line.response is None:
            reason = one_line(line.error.message or line.error.code or "") if line.error else ""
            return Answer(failure=f"the batch gave no answer: {reason or 'no reason was given'}"[:200])
        if line.response.status_code != 200:
            failure = ServerError.of(line.response.body).answer(line.response.status_code)
            return failure or Answer(failure=f"server error {line.response.status_code} in the batch")
        completion = read_completion(self._judge, json.dumps(line.response.body).encode())
        self._settle(completion, question)
        answer = completion.answer
        if answer.texts is not None and len(answer.texts) < question.samples:
            return Answer(failure=f"the server gave {len(answer.texts)} of {question.samples} answers")
        return answer if answer.texts is None else answer.model_copy(update={"texts": answer.texts[: question.samples]})

    def _settle(self, completion: Completion, question: _Question) -> None:
        cost = self._spending.most(*most_tokens(question.body))
        self._spending.reserve(cost)
        self._spending.settle(cost, completion.answer.prompt_tokens, completion.answer.completion_tokens, completion.cached_tokens)


def _parts(questions: Mapping[str, _Question]) -> Iterator[dict[str, _Question]]:
    """The questions in files that the API takes."""
    part: dict[str, _Question] = {}
    size = 0
    for name, question in questions.items():
        length = len(json.dumps(question.body, ensure_ascii=False).encode()) + 200
        if part and (len(part) == _MOST_LINES or size + length > _MOST_BYTES):
            yield part
            part, size = {}, 0
        part[name] = question
        size += length
    if part:
        yield part


class _Wire(BaseModel):
    model_config = ConfigDict(extra="ignore")


class _LineError(_Wire):
    code: str | None = None
    message: str | None = None


class _LineResponse(_Wire):
    status_code: int
    body: Any = None


class _Line(_Wire):
    custom_id: str
    response: _LineResponse | None = None
    error: _LineError | None = None


def _lines(content: bytes) -> Iterator[tuple[str, _Line]]:
    """The lines of a result file by their names. A line that is none has no name: its question counts as not answered."""
    for text in content.splitlines():
        try:
            line = _Line.model_validate_json(text)
        except ValidationError:
            continue
        yield line.custom_id, line
