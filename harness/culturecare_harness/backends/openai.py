"""API judge: any server with an OpenAI-compatible chat API, called by the openai client."""

from __future__ import annotations

import asyncio
import concurrent.futures
import math
import os
from typing import TYPE_CHECKING, Annotated, Any

import openai
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from culturecare import CultureCareError
from culturecare_harness.backends import Answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from culturecare_harness.backends import Request
    from culturecare_harness.judges import JudgeFile

__all__ = ["OpenAIBackend"]

_TOP_LOGPROBS = 20  # The most that the API gives; with 10, grades went missing from the list.
_SEED = 1234


class OpenAIBackend:
    """A server that answers judge prompts, several at once."""

    def __init__(self, judge: JudgeFile) -> None:
        """Checks that there is a key; no call is made yet.

        Raises:
            CultureCareError: The judge wants a key and its environment variable is not set.
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

    def answer(self, requests: Sequence[Request], done: Callable[[int, int, Answer], None]) -> None:
        """Answers the questions in order, `concurrency` at a time. See `Backend.answer`."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            asyncio.run(self._answer_all(requests, done))
        else:  # Within a notebook a loop is running already, and cannot run another.
            with concurrent.futures.ThreadPoolExecutor(1) as thread:
                thread.submit(asyncio.run, self._answer_all(requests, done)).result()

    async def _answer_all(self, requests: Sequence[Request], done: Callable[[int, int, Answer], None]) -> None:
        calls = ((position, number) for position, request in enumerate(requests) for number in range(len(request.keys)))
        try:
            async with (
                openai.AsyncOpenAI(
                    api_key=self._key,
                    base_url=self._judge.base_url,
                    timeout=self._judge.timeout,
                    max_retries=self._judge.retries,
                ) as client,
                asyncio.TaskGroup() as group,
            ):
                for _ in range(self._judge.concurrency):
                    group.create_task(self._work(client, calls, requests, done))
        except* CultureCareError as errors:
            raise errors.exceptions[0] from errors

    async def _work(
        self,
        client: openai.AsyncOpenAI,
        calls: Iterator[tuple[int, int]],
        requests: Sequence[Request],
        done: Callable[[int, int, Answer], None],
    ) -> None:
        for position, number in calls:
            prompts, samples = requests[position].prompts, requests[position].samples[number]
            user = f"{prompts.item}\n\n{prompts.questions[number]}"
            answer = await self._ask(client, prompts.system, user, samples)
            texts = list(answer.texts or ())
            while answer.failure is None and answer.texts is not None and len(texts) < len(samples):
                # A server that knows no `n` gives one answer at a time.
                more = await self._ask(client, prompts.system, user, samples[len(texts) :])
                if more.failure is not None:
                    answer = more
                    break
                texts += more.texts or ()
                answer = answer.model_copy(update={"texts": tuple(texts[: len(samples)]), **_added_tokens(answer, more)})
            done(position, number, answer)

    async def _ask(self, client: openai.AsyncOpenAI, system: str, user: str, samples: Sequence[int]) -> Answer:
        judge = self._judge
        request: dict[str, Any] = {
            "model": judge.model,
            "messages": [{"role": "system", "content": system}, {"role": "user", "content": user}],
            "extra_body": judge.extra_body,
        }
        if judge.mode == "logprob":
            request |= {"max_completion_tokens": 1, "temperature": 0, "logprobs": True, "top_logprobs": _TOP_LOGPROBS}
        elif judge.mode == "argmax":
            request |= {"max_completion_tokens": judge.max_tokens, "temperature": 0}
        else:
            request |= {
                "max_completion_tokens": judge.max_tokens,
                "temperature": judge.temperature,
                "n": len(samples),
                "seed": _SEED + samples[0],
            }
        try:
            # The raw answer, since the client does not check what it builds from one.
            response = await client.chat.completions.with_raw_response.create(**request)
        except openai.APITimeoutError:
            return Answer(failure=f"no answer within {judge.timeout:g} s")
        except openai.APIConnectionError as error:
            raise CultureCareError(
                f"judge {judge.name!r}: no server answers at {client.base_url} ({_root_cause(error)}); "
                "start it, or set base_url to the right address"
            ) from error
        except (openai.RateLimitError, openai.InternalServerError) as error:
            return Answer(failure=f"server error {error.status_code} after {judge.retries} retries")
        except openai.APIStatusError as error:
            if error.status_code == 400 and "context" in error.message.lower():
                return Answer(failure="the prompt is too long for the judge")
            raise CultureCareError(
                f"judge {judge.name!r}: {client.base_url} refused model {judge.model!r} with status {error.status_code}: "
                f"{_one_line(error.message)}"
            ) from error
        return self._read(response.http_response.content)

    def _read(self, body: bytes) -> Answer:
        try:
            completion = _Completion.model_validate_json(body)
        except ValidationError as error:
            is_json = error.errors(include_url=False)[0]["type"] != "json_invalid"
            return Answer(failure=f"the server's answer is {'not what the API describes' if is_json else 'not JSON'}")
        counts = {name: completion.usage.get(name) for name in ("prompt_tokens", "completion_tokens")}
        choices = completion.choices
        if refusal := next((choice.message.refusal for choice in choices if choice.message.refusal), None):
            return Answer(failure=f"the judge refused: {_one_line(refusal)[:200]}", **counts)
        if any(choice.finish_reason == "content_filter" for choice in choices):
            return Answer(failure="the server's content filter stopped the answer", **counts)
        if self._judge.mode != "logprob":
            return Answer(texts=tuple(choice.message.content or "" for choice in choices), **counts)
        positions = choices[0].logprobs.content if choices[0].logprobs else None
        if not positions or not positions[0].top_logprobs:
            raise CultureCareError(
                f"judge {self._judge.name!r}: the server was asked for log-probabilities and gave none for model {self._judge.model!r}; "
                "use a server that gives them, or mode sampled or argmax"
            )
        grades = [0.0] * 5
        for candidate in positions[0].top_logprobs:
            if (digit := candidate.token.strip()) in {"1", "2", "3", "4", "5"}:
                grades[int(digit) - 1] += math.exp(candidate.logprob)
        if sum(grades) > 1.0001:
            return Answer(failure="the server's log-probabilities of the grades add up to more than certainty", **counts)
        return Answer(grades=tuple(grades), **counts)


def _added_tokens(first: Answer, second: Answer) -> dict[str, int | None]:
    def add(one: int | None, other: int | None) -> int | None:
        return None if one is None or other is None else one + other

    return {
        "prompt_tokens": add(first.prompt_tokens, second.prompt_tokens),
        "completion_tokens": add(first.completion_tokens, second.completion_tokens),
    }


def _counts_or_none(usage: object) -> dict[str, int]:
    """Keeps the token counts that are counts; a judge is not failed for its bookkeeping."""
    counts = usage if isinstance(usage, dict) else {}
    return {name: count for name, count in counts.items() if isinstance(count, int) and count >= 0}


class _Wire(BaseModel):
    """Part of a server's answer: what is read of it is checked, the rest is passed over."""

    model_config = ConfigDict(extra="ignore")


class _Candidate(_Wire):
    token: str
    logprob: float = Field(le=0.0001)


class _Position(_Wire):
    top_logprobs: list[_Candidate] = []


class _Logprobs(_Wire):
    content: list[_Position] | None = None


class _Message(_Wire):
    content: str | None = None
    refusal: str | None = None


class _Choice(_Wire):
    message: _Message
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _Completion(_Wire):
    choices: list[_Choice] = Field(min_length=1)
    usage: Annotated[dict[str, int], BeforeValidator(_counts_or_none)] = {}


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _root_cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return _one_line(str(error)) or type(error).__name__
