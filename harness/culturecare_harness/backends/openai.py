"""API judge: any server with an OpenAI-compatible chat API, called by the openai client."""

from __future__ import annotations

import asyncio
import concurrent.futures
import datetime as dt
import email.utils
import json
import os
from typing import TYPE_CHECKING, Any

import aiohttp
import httpx2
import openai

from culturecare import CultureCareError
from culturecare_harness.backends import Answer
from culturecare_harness.backends._batch import Batches
from culturecare_harness.backends._chat import Completion, ServerError, chat_request, most_tokens, one_line, read_completion
from culturecare_harness.backends._limits import Clock, Pace, backoff
from culturecare_harness.prices import Spending, listed_price
from culturecare_harness.store import default_store_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from culturecare_harness.backends import Request
    from culturecare_harness.judges import JudgeFile

__all__ = ["OpenAIBackend"]

_OPENAI = "https://api.openai.com/v1"
_PASSING = {408, 409, 429}  # Besides every 5xx.
_NO_ROOM = {429, 503}
_LONGEST_WAIT = 600.0
_TOKENS_A_BYTE = 0.3  # Until a server has counted some.


class OpenAIBackend:
    """A server that answers judge prompts, several at once or in a batch.

    Attributes:
        spending: What the calls have cost.
    """

    def __init__(
        self,
        judge: JudgeFile,
        *,
        say: Callable[[str], None] | None = None,
        batches: Path | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Checks that there is a key, and a price where there is a limit; no call is made yet.

        Args:
            judge: The judge.
            say: Told in a sentence how a batch gets on.
            batches: Folder that remembers the batches under way; by default one beside the verdict store.
            clock: The time.

        Raises:
            CultureCareError: The judge wants a key and its environment variable is not set, or has `max_cost` and its price is not known.
        """
        self._judge = judge
        self._key = "none"
        if judge.api_key_env is not None:
            self._key = os.environ.get(judge.api_key_env, "").strip()
            if not self._key:
                raise CultureCareError(
                    f"judge {judge.name!r} needs an API key in the environment variable {judge.api_key_env}; "
                    "set it, or set api_key_env to null in the judge's file for a server that wants none"
                )
        self._address = judge.base_url or os.environ.get("OPENAI_BASE_URL", "").strip() or _OPENAI
        price = judge.price or listed_price(judge.model, self._address)
        if judge.max_cost is not None and price is None:
            raise CultureCareError(
                f"judge {judge.name!r} has max_cost, but the price of model {judge.model!r} at {self._address} is not known; "
                "give it in the judge's file, such as price: {input: 0.9, output: 0.9}, in US dollars for a million tokens"
            )
        self.spending = Spending(price, judge.max_cost, batch=judge.transport == "batch")
        self._clock = clock or Clock()
        self._pace = Pace(
            judge.concurrency,
            self.spending,
            self._clock,
            requests_per_minute=judge.requests_per_minute,
            tokens_per_minute=judge.tokens_per_minute,
        )
        self._tokens_a_byte = _TOKENS_A_BYTE
        self._say = say or (lambda _: None)
        self._batches = batches

    def answer(self, requests: Sequence[Request], done: Callable[[int, int, Answer], None]) -> None:
        """Answers the questions in order, or all in one batch. See `Backend.answer`."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            asyncio.run(self._answer_all(requests, done))
        else:  # Within a notebook a loop is running already, and cannot run another.
            with concurrent.futures.ThreadPoolExecutor(1) as thread:
                thread.submit(asyncio.run, self._answer_all(requests, done)).result()

    async def _answer_all(self, requests: Sequence[Request], done: Callable[[int, int, Answer], None]) -> None:
        judge = self._judge
        calls = [(position, number) for position, request in enumerate(requests) for number in range(len(request.keys))]
        try:
            if judge.transport == "batch":
                folder = self._batches or default_store_path().parent / "batches"
                async with openai.AsyncOpenAI(
                    api_key=self._key, base_url=self._address, timeout=judge.timeout, max_retries=judge.retries
                ) as client:
                    await Batches(client, judge, self.spending, folder, self._clock, self._say).answer(calls, requests, done)
                return
            async with openai.DefaultAioHttpClient() as http:
                server = _Server(http, self._key, self._address)
                queue = iter(calls)
                growth = asyncio.create_task(self._pace.grow())
                try:
                    async with asyncio.TaskGroup() as group:
                        for _ in range(min(judge.concurrency, len(calls))):
                            group.create_task(self._work(server, queue, requests, done))
                finally:
                    growth.cancel()
        except* CultureCareError as errors:
            raise errors.exceptions[0] from errors

    async def _work(
        self,
        server: _Server,
        calls: Iterator[tuple[int, int]],
        requests: Sequence[Request],
        done: Callable[[int, int, Answer], None],
    ) -> None:
        for position, number in calls:
            request = requests[position]
            done(position, number, await self._ask(server, request, number))

    async def _ask(self, server: _Server, request: Request, number: int) -> Answer:
        """Has one question answered, with a text for each sample: a server that knows no `n` gives one at a time."""
        prompts, samples = request.prompts, request.samples[number]
        answer = await self._call(server, chat_request(self._judge, prompts, prompts.questions[number], samples))
        texts = list(answer.texts or ())
        while answer.failure is None and answer.texts is not None and len(texts) < len(samples):
            more = await self._call(server, chat_request(self._judge, prompts, prompts.questions[number], samples[len(texts) :]))
            if more.failure is not None:
                return more
            texts += more.texts or ()
            answer = answer.model_copy(update={"texts": tuple(texts[: len(samples)]), **_added_tokens(answer, more)})
        return answer

    async def _call(self, server: _Server, body: dict[str, Any]) -> Answer:
        """Makes one call, again where it fails for a passing reason, and keeps to the pace and the limit of costs."""
        most_in, most_out = most_tokens(body)
        cost = self.spending.most(most_in, most_out)
        failures = 0
        while True:
            expected = int(most_in * self._tokens_a_byte) + most_out
            async with self._pace.call(expected, cost) as began:
                outcome = await self._post(server, body)
                if isinstance(outcome, Completion):
                    answer = outcome.answer
                    self.spending.settle(cost, answer.prompt_tokens, answer.completion_tokens, outcome.cached_tokens)
                    tokens = expected
                    if answer.prompt_tokens is not None:
                        self._tokens_a_byte = answer.prompt_tokens / most_in
                        tokens = answer.prompt_tokens + (answer.completion_tokens or 0)
                    self._pace.answered(tokens, expected)
                    return answer
                if outcome.refused:
                    self.spending.release(cost)
                else:
                    self.spending.give_up(cost)
                if outcome.no_room:
                    self._pace.refused(began, outcome.wait)
            failures += 1
            if failures > self._judge.retries:
                return outcome.ending(self._judge.retries)
            # After `Retry-After` all calls wait together, at the pace.
            if outcome.wait is None:
                await self._clock.sleep(backoff(failures))

    async def _post(self, server: _Server, body: dict[str, Any]) -> Completion | _Failure:
        judge = self._judge
        try:
            # The time is that of the whole call, not between any two bytes of it.
            async with asyncio.timeout(judge.timeout):
                response = await server.post(body)
        except TimeoutError:
            return _Failure(f"no answer within {judge.timeout:g} s")
        except (httpx2.RequestError, aiohttp.ClientError) as error:
            message = (
                f"judge {judge.name!r}: no server answers at {server.address} ({_root_cause(error)}); "
                "start it, or set base_url to the right address"
            )
            # Nobody listens there, or it is no address. The transport calls the first a timeout, and keeps the truth as the cause.
            if isinstance(error.__cause__, aiohttp.ClientConnectorError) or isinstance(error, httpx2.UnsupportedProtocol):
                raise CultureCareError(message) from error
            return _Failure(message, is_fatal=True)
        if response.is_success:
            return read_completion(judge, response.content)
        return self._read_refusal(response, server.address)

    def _read_refusal(self, response: httpx2.Response, address: str) -> Completion | _Failure:
        status, judge = response.status_code, self._judge
        error = ServerError.of(response.text)
        refused = f"judge {judge.name!r}: {address} refused model {judge.model!r} with status {status}: {error.message}"
        # A quota that is used up is no matter of waiting, though the API says 429 to it.
        if (status in _PASSING or status >= 500) and error.code != "insufficient_quota":
            wait = _seconds_to_wait(response.headers)
            if wait is not None and wait > _LONGEST_WAIT:
                raise CultureCareError(f"{refused}; it asks to be left alone for {wait:.0f} s, and the same command goes on then")
            return _Failure(f"server error {status}", refused=True, no_room=status in _NO_ROOM, wait=wait)
        if answer := error.answer(status):
            return Completion(answer.model_copy(update={"prompt_tokens": 0, "completion_tokens": 0}))
        raise CultureCareError(refused)


class _Server:
    """The server's chat completions.

    The openai client says where they are and what every call says of itself, and brings the transport. Calls go to the transport directly:
    building a request and a response anew for each, the client takes twice the processor time.
    """

    def __init__(self, http: httpx2.AsyncClient, key: str, address: str) -> None:
        client = openai.AsyncOpenAI(api_key=key, base_url=address, http_client=http)
        self.address = str(client.base_url)
        self._http = http
        self._url = client.base_url.copy_with(path=f"{client.base_url.path}chat/completions")
        headers = {**client.default_headers, **client.auth_headers}
        self._headers = httpx2.Headers({name: value for name, value in headers.items() if isinstance(value, str)})
        self._no_timeout = {"timeout": httpx2.Timeout(None).as_dict()}

    async def post(self, body: dict[str, Any]) -> httpx2.Response:
        content = json.dumps(body).encode()
        return await self._http.send(httpx2.Request("POST", self._url, headers=self._headers, content=content, extensions=self._no_timeout))


class _Failure:
    """A call that failed for a reason that may pass.

    Attributes:
        refused: Whether the server said so itself, and so charges nothing.
        no_room: Whether it was for want of room.
        wait: Seconds for which the server asks to be left alone.
    """

    def __init__(
        self, reason: str, *, is_fatal: bool = False, refused: bool = False, no_room: bool = False, wait: float | None = None
    ) -> None:
        self._reason, self._is_fatal = reason, is_fatal
        self.refused, self.no_room, self.wait = refused, no_room, wait

    def ending(self, retries: int) -> Answer:
        """What it stands for once it has not passed.

        Raises:
            CultureCareError: No other question will be answered either.
        """
        if self._is_fatal:
            raise CultureCareError(self._reason)
        return Answer(failure=f"{self._reason} after {retries} retries" if self.refused or retries else self._reason)


def _seconds_to_wait(headers: httpx2.Headers) -> float | None:
    """What the server says of when to come again: in milliseconds (OpenAI), seconds, or as a date (RFC 9110, section 10.2.3)."""
    for name, unit in (("retry-after-ms", 1000), ("retry-after", 1)):
        try:
            return max(0.0, float(headers.get(name, "")) / unit)
        except ValueError:
            continue
    try:
        date = email.utils.parsedate_to_datetime(headers.get("retry-after", ""))
    except ValueError:
        return None
    return max(0.0, (date - dt.datetime.now(tz=date.tzinfo)).total_seconds())


def _root_cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return one_line(str(error)) or type(error).__name__


def _added_tokens(first: Answer, second: Answer) -> dict[str, int | None]:
    def add(one: int | None, other: int | None) -> int | None:
        return None if one is None or other is None else one + other

    return {
        "prompt_tokens": add(first.prompt_tokens, second.prompt_tokens),
        "completion_tokens": add(first.completion_tokens, second.completion_tokens),
    }
