"""What is said to a chat API, and what of its answer is read."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from culturecare import CultureCareError
from culturecare_harness.backends import Answer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from culturecare_harness.judges import JudgeFile
    from culturecare_harness.rubrics import JudgePrompts

__all__ = ["Completion", "ServerError", "chat_request", "most_tokens", "one_line", "read_completion"]

_TOP_LOGPROBS = 20  # The most that the API gives; with 10, grades went missing from the list.
_SEED = 1234
_FRAME = 64  # Tokens that a chat template puts around two messages, and some to spare.
_FILTERED = {"content_filter", "invalid_prompt"}  # How Azure and OpenAI refuse a prompt for what it speaks of.


@dataclasses.dataclass(frozen=True)
class Completion:
    """An answer, and what the server counted.

    Attributes:
        cached_tokens: Tokens of the prompt that the server had in its cache.
    """

    answer: Answer
    cached_tokens: int = 0


def chat_request(judge: JudgeFile, prompts: JudgePrompts, question: str, samples: Sequence[int]) -> dict[str, Any]:
    """The body of a call that asks one question; what several questions share stands first, so that servers can cache it."""
    request: dict[str, Any] = {
        "model": judge.model,
        "messages": [{"role": "system", "content": prompts.system}, {"role": "user", "content": f"{prompts.item}\n\n{question}"}],
    }
    if judge.mode == "logprob":
        request |= {"max_completion_tokens": 1, "temperature": 0, "logprobs": True, "top_logprobs": _TOP_LOGPROBS}
    elif judge.mode == "argmax":
        request |= {"max_completion_tokens": judge.max_tokens, "temperature": 0}
    else:
        # A server that honours the seed would give further samples the answers of the first.
        request |= {"max_completion_tokens": judge.max_tokens, "seed": _SEED + samples[0]}
        if judge.temperature is not None:
            request["temperature"] = judge.temperature
        if len(samples) > 1:
            request["n"] = len(samples)
    return request | judge.extra_body


def most_tokens(request: dict[str, Any]) -> tuple[int, int]:
    """The most tokens that a call can count: of its prompt, whose tokens are no shorter than a byte, and of its answers.

    Raises:
        CultureCareError: There is no limit to the answer.
    """
    prompt = sum(len(message["content"].encode()) for message in request["messages"]) + _FRAME
    longest = request.get("max_completion_tokens") or request.get("max_tokens")  # Older servers know the second name alone.
    if not isinstance(longest, int):
        raise CultureCareError(f"model {request['model']!r}: extra_body must not take the limit off the answer; give max_completion_tokens")
    return prompt, longest * int(request.get("n") or 1)


def read_completion(judge: JudgeFile, body: bytes) -> Completion:
    """Reads the body of a chat completion; nothing is believed that was not checked.

    Raises:
        CultureCareError: The server was asked for log-probabilities and left them out.
    """
    try:
        completion = _Completion.model_validate_json(body)
    except ValidationError as error:
        is_json = error.errors(include_url=False)[0]["type"] != "json_invalid"
        return Completion(Answer(failure=f"the server's answer is {'not what the API describes' if is_json else 'not JSON'}"))
    counts = {name: completion.usage.get(name) for name in ("prompt_tokens", "completion_tokens")}
    return Completion(_read_choices(judge, completion.choices, counts), completion.usage.get("cached_tokens", 0))


def _read_choices(judge: JudgeFile, choices: Sequence[_Choice], counts: dict[str, int | None]) -> Answer:
    if refusal := next((choice.message.refusal for choice in choices if choice.message.refusal), None):
        return Answer(failure=f"the judge refused: {one_line(refusal)[:200]}", **counts)
    if any(choice.finish_reason == "content_filter" for choice in choices):
        return Answer(failure="the server's content filter stopped the answer", **counts)
    if judge.mode != "logprob":
        return Answer(texts=tuple(choice.message.content or "" for choice in choices), **counts)
    positions = choices[0].logprobs.content if choices[0].logprobs else None
    if not positions or not positions[0].top_logprobs:
        raise CultureCareError(
            f"judge {judge.name!r}: the server was asked for log-probabilities and gave none for model {judge.model!r}; "
            "use a server that gives them, or mode sampled or argmax"
        )
    grades = [0.0] * 5
    for candidate in positions[0].top_logprobs:
        if (digit := candidate.token.strip()) in {"1", "2", "3", "4", "5"}:
            grades[int(digit) - 1] += math.exp(candidate.logprob)
    if sum(grades) > 1.0001:
        return Answer(failure="the server's log-probabilities of the grades add up to more than certainty", **counts)
    return Answer(grades=tuple(grades), **counts)


@dataclasses.dataclass(frozen=True)
class ServerError:
    """What a server says of a call that it refused.

    Attributes:
        message: Its words, in one line.
        code: Its name of the error, where it gives one.
    """

    message: str
    code: str | None = None

    @classmethod
    def of(cls, body: str | object) -> ServerError:
        """Reads the body of a refusal, as text or as JSON that was read already; a body of another form is the message itself."""
        if isinstance(body, str):
            try:
                body = json.loads(body)
            except ValueError:
                return cls(one_line(str(body))[:300])
        error = body.get("error", body) if isinstance(body, dict) else body
        if not isinstance(error, dict) or not isinstance(error.get("message"), str):
            return cls(one_line(str(error))[:300])
        code = error.get("code")
        return cls(one_line(error["message"])[:300], code if isinstance(code, str) else None)

    def answer(self, status: int) -> Answer | None:
        """The failure of one question that it stands for; null where it is about all of them."""
        if status == 400 and self.code in _FILTERED:
            return Answer(failure="the server's content filter stopped the prompt")
        if status == 400 and "context" in self.message.lower():
            return Answer(failure="the prompt is too long for the judge")
        return None


def one_line(text: str) -> str:
    """The text with every run of white space as one space."""
    return " ".join(text.split())


def _counts_or_none(usage: object) -> dict[str, int]:
    """Keeps the token counts that are counts; a judge is not failed for its bookkeeping."""
    counts = dict(usage) if isinstance(usage, dict) else {}
    details = counts.get("prompt_tokens_details")
    counts["cached_tokens"] = details.get("cached_tokens") if isinstance(details, dict) else None
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
