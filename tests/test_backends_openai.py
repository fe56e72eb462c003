"""The API judge, against a real HTTP server: what each answer becomes, what stops the judge, and what is kept then."""

from __future__ import annotations

import asyncio
import math
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from culturecare import CultureCareError
from culturecare_harness.backends import open_backend
from culturecare_harness.backends._limits import Clock, Pace, backoff
from culturecare_harness.backends.openai import OpenAIBackend
from culturecare_harness.judge import EMPTY_REPLY, JudgeItem, judge_replies
from culturecare_harness.prices import Price, Spending
from culturecare_harness.records import digest
from culturecare_harness.rubrics import select_rubric
from culturecare_harness.store import open_store
from tests.servers import (
    Answer,
    BatchServer,
    ChatServer,
    answers_on_file,
    chat,
    die,
    error,
    free_address,
    llama_server,
    openai_judge,
    raw,
    reset,
    stall,
    tokens,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from culturecare import Instance
    from culturecare_harness.records import Verdict

DIMENSIONS = [dimension.key for dimension in select_rubric("culturecare").dimensions]
FOUR = tokens({"4": 0.6, "5": 0.2, " 4": 0.1, "The": 0.05})

NO_GRADE = [
    "empty",
    "null content",
    "10",
    "4.5",
    "four",
    "two grades",
    "refusal",
    "content filter",
    "429",
    "500",
    "502",
    "prompt too long",
    "malformed JSON",
    "truncated JSON",
    "HTML",
    "no field",
    "a list",
    "null",
    "no choice",
    "choices no list",
    "null message",
    "no message",
    "choice no object",
    "content no text",
]


def items(number: int) -> list[JudgeItem]:
    return [JudgeItem(reply_id=digest(index), post=f"Post number {index}.", reply=f"Reply number {index}.") for index in range(number)]


def judged(folder: Path, script: Sequence[Answer], number: int = 1, **fields: object) -> list[Verdict]:
    """Verdicts on `number` replies by a judge whose server follows the script."""
    with ChatServer(script) as server:
        return judge_replies(items(number), openai_judge(folder, server.url, **fields))


def stopped(folder: Path, script: Sequence[Answer], **fields: object) -> tuple[str, int]:
    """The message with which the judge stops while it judges two replies, and how many answers are on file then."""
    path = folder / "store.sqlite3"
    with ChatServer(script) as server, open_store(path) as store, pytest.raises(CultureCareError) as caught:
        judge_replies(items(2), openai_judge(folder, server.url, **fields), store=store)
    message = str(caught.value).replace(server.url, "ADDRESS")
    assert "\n" not in message
    return message, answers_on_file(path)


@pytest.mark.parametrize(
    ("answer", "grade"),
    [(chat("4"), 4), (chat("٤"), 4), (chat("Grade: 4."), 4), (chat("**2**"), 2), (chat("4/5"), 4), (chat("<think>2 or 3?</think>\n5"), 5)],
    ids=["digit", "Arabic digit", "in words", "bold", "out of five", "after thinking"],
)
def test_an_answer_with_one_whole_number_is_a_grade(tmp_path: Path, answer: Answer, grade: int) -> None:
    verdicts = judged(tmp_path, [answer])
    assert [verdict.dimension for verdict in verdicts] == DIMENSIONS
    assert {verdict.score for verdict in verdicts} == {grade}
    assert {(verdict.prompt_tokens, verdict.completion_tokens) for verdict in verdicts} == {(100, 1)}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (chat(""), "the judge's answer is empty"),
        (chat(None), "the judge's answer is empty"),
        (chat("10"), "the judge's answer is no whole number from 1 to 5: '10'"),
        (chat("4.5"), "the judge's answer is no whole number from 1 to 5: '4.5'"),
        (chat("four"), "the judge's answer holds no number: 'four'"),
        (chat("4 or 5"), "the judge's answer holds several numbers: '4 or 5'"),
        (chat(None, refusal="I can't\nhelp with that."), "the judge refused: I can't help with that."),
        (chat("", finish_reason="content_filter"), "the server's content filter stopped the answer"),
        (error(429), "server error 429 after 0 retries"),
        (error(500), "server error 500 after 0 retries"),
        (error(502), "server error 502 after 0 retries"),
        (error(400, "This model's maximum context length is 8192 tokens."), "the prompt is too long for the judge"),
        (raw('{"choices": [}'), "the server's answer is not JSON"),
        (raw('{"id": "1", "choices": [{"index": 0, "mess'), "the server's answer is not JSON"),
        (raw("<html>busy</html>", content_type="text/html"), "the server's answer is not JSON"),
        (raw("{}"), "the server's answer is not what the API describes"),
        (raw("[]"), "the server's answer is not what the API describes"),
        (raw("null"), "the server's answer is not what the API describes"),
        (raw('{"choices": []}'), "the server's answer is not what the API describes"),
        (raw('{"choices": 4}'), "the server's answer is not what the API describes"),
        (raw('{"choices": [{"index": 0, "message": null}]}'), "the server's answer is not what the API describes"),
        (raw('{"choices": [{"index": 0}]}'), "the server's answer is not what the API describes"),
        (raw('{"choices": ["4"]}'), "the server's answer is not what the API describes"),
        (raw('{"choices": [{"message": {"content": {"text": "4"}}}]}'), "the server's answer is not what the API describes"),
    ],
    ids=NO_GRADE,
)
def test_an_answer_that_is_no_grade_is_null_with_a_reason(tmp_path: Path, answer: Answer, reason: str) -> None:
    verdicts = judged(tmp_path, [answer])
    assert [(verdict.dimension, verdict.score, verdict.reason) for verdict in verdicts] == [(key, None, reason) for key in DIMENSIONS]


def test_a_completion_without_the_fields_that_grades_do_not_need_is_read(tmp_path: Path) -> None:
    """Servers differ in what they leave out: here the finish reason, the role and the usage."""
    verdicts = judged(tmp_path, [raw('{"choices": [{"message": {"content": "4"}}]}')])
    assert {(verdict.score, verdict.prompt_tokens) for verdict in verdicts} == {(4.0, None)}


def test_a_server_that_stalls_is_waited_for_no_longer_than_the_timeout(tmp_path: Path) -> None:
    verdicts = judged(tmp_path, [stall()], timeout=0.1)
    assert {(verdict.score, verdict.reason) for verdict in verdicts} == {(None, "no answer within 0.1 s")}


def test_one_failed_question_leaves_the_other_dimensions_their_grades(tmp_path: Path) -> None:
    verdicts = judged(tmp_path, [chat("4"), error(500), chat("4")])
    assert [verdict.score for verdict in verdicts] == [4, None, 4, 4, 4, 4, 4]


@pytest.mark.parametrize(
    "passing",
    [error(429, Retry_After="0.01"), error(429), error(500), reset()],
    ids=["429 with Retry-After", "429", "500", "reset"],
)
def test_a_failure_that_passes_is_tried_again(tmp_path: Path, passing: Answer) -> None:
    verdicts = judged(tmp_path, [passing, chat("4")], retries=1)
    assert [verdict.score for verdict in verdicts] == [4] * 7


def test_a_failure_that_does_not_pass_is_tried_as_often_as_the_judge_says(tmp_path: Path) -> None:
    with ChatServer([error(429, Retry_After="0.01")]) as server:
        verdicts = judge_replies(items(1), openai_judge(tmp_path, server.url, retries=2))
    assert {verdict.reason for verdict in verdicts} == {"server error 429 after 2 retries"}
    assert len(server.requests) == 7 * 3


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (error(401, "Incorrect API key."), "ADDRESS/ refused model 'scripted' with status 401"),
        (error(403, "Not allowed."), "ADDRESS/ refused model 'scripted' with status 403"),
        (error(404, "The model 'scripted' does not exist."), "ADDRESS/ refused model 'scripted' with status 404"),
        (error(400, "Unknown field."), "ADDRESS/ refused model 'scripted' with status 400"),
        (reset(), "no server answers at ADDRESS/"),
        (raw('{"choices": [', content_length=1000), "no server answers at ADDRESS/"),
        (die(), "no server answers at ADDRESS/"),
    ],
    ids=["key revoked", "forbidden", "unknown model", "bad request", "connection reset", "body cut off", "server gone"],
)
@pytest.mark.parametrize("half_way", [False, True], ids=["at once", "half-way"])
def test_what_no_further_question_can_mend_stops_the_judge_and_what_was_answered_is_kept(
    tmp_path: Path, broken: Answer, said: str, *, half_way: bool
) -> None:
    message, kept = stopped(tmp_path, [chat("4")] * (9 if half_way else 0) + [broken])
    assert message.startswith("judge 'local': ")
    assert said in message
    assert kept == (9 if half_way else 0)


def test_after_a_stop_the_same_call_asks_for_what_is_left(tmp_path: Path) -> None:
    with ChatServer([chat("4")] * 9 + [error(401), chat("5")]) as server, open_store(tmp_path / "store.sqlite3") as store:
        judge = openai_judge(tmp_path, server.url)
        with pytest.raises(CultureCareError, match="status 401"):
            judge_replies(items(2), judge, store=store)
        verdicts = judge_replies(items(2), judge, store=store)
    assert [verdict.score for verdict in verdicts] == [4] * 9 + [5] * 5
    assert len(server.requests) == 14 + 1


def test_the_server_s_own_words_stand_in_the_message(tmp_path: Path) -> None:
    message, _ = stopped(tmp_path, [error(404, "The model 'scripted'\ndoes not exist.")])
    assert "The model 'scripted' does not exist." in message


@pytest.mark.parametrize("logprobs", [None, {"content": None}, {"content": []}, {"content": [{"token": "4", "logprob": -0.1}]}], ids=str)
def test_log_probabilities_that_are_silently_left_out_stop_the_judge(tmp_path: Path, logprobs: object) -> None:
    message, kept = stopped(tmp_path, [*[FOUR] * 8, chat("4", logprobs=logprobs)], mode="logprob")
    assert "was asked for log-probabilities and gave none for model 'scripted'" in message
    assert "mode sampled or argmax" in message
    assert kept == 8


@pytest.mark.parametrize(
    "logprobs",
    [
        4,
        {"content": [{"token": "4", "top_logprobs": [{"token": "4"}]}]},
        {"content": [{"token": "4", "top_logprobs": [{"token": None, "logprob": None}]}]},
        {"content": [{"token": "4", "top_logprobs": [{"token": "4", "logprob": 0.5}]}]},
    ],
    ids=["no object", "no log-probability", "null candidate", "more than certain"],
)
def test_log_probabilities_that_cannot_be_read_are_null_with_a_reason(tmp_path: Path, logprobs: object) -> None:
    verdicts = judged(tmp_path, [chat("4", logprobs=logprobs)], mode="logprob")
    assert {verdict.score for verdict in verdicts} == {None}
    assert all(verdict.reason and verdict.reason.startswith("the server's ") for verdict in verdicts)


@pytest.mark.parametrize("usage", ["null", "4", '{"prompt_tokens": null}', '{"prompt_tokens": "many"}', '{"prompt_tokens": -1}'])
def test_token_counts_that_cannot_be_read_are_unknown(tmp_path: Path, usage: str) -> None:
    verdicts = judged(tmp_path, [raw(f'{{"choices": [{{"message": {{"content": "4"}}}}], "usage": {usage}}}')])
    assert {(verdict.score, verdict.prompt_tokens) for verdict in verdicts} == {(4.0, None)}


def test_nobody_listening_is_said_with_the_address(tmp_path: Path) -> None:
    address = free_address()
    with pytest.raises(CultureCareError, match="no server answers at") as caught:
        judge_replies(items(1), openai_judge(tmp_path, address))
    assert address in str(caught.value)
    assert "base_url" in str(caught.value)


@pytest.mark.parametrize("value", [None, "", " "], ids=["unset", "empty", "blank"])
def test_a_missing_key_is_said_with_the_name_of_its_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    monkeypatch.delenv("CULTURECARE_TEST_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("CULTURECARE_TEST_KEY", value)
    with pytest.raises(CultureCareError, match=r"judge 'local' needs an API key in the environment variable CULTURECARE_TEST_KEY"):
        judge_replies(items(1), openai_judge(tmp_path, free_address(), api_key_env="CULTURECARE_TEST_KEY"))


def test_the_key_is_sent_and_no_verdict_holds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CULTURECARE_TEST_KEY", "a-secret")
    with ChatServer([chat("4")]) as server:
        verdicts = judge_replies(items(1), openai_judge(tmp_path, server.url, api_key_env="CULTURECARE_TEST_KEY"))
    assert set(server.authorizations) == {"Bearer a-secret"}
    assert not any("a-secret" in verdict.model_dump_json() for verdict in verdicts)


def test_a_missing_openai_package_is_said_with_the_extra_that_brings_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "culturecare_harness.backends.openai", raising=False)
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(CultureCareError, match=r"pip install 'culturecare\[api\]'"):
        open_backend(openai_judge(tmp_path, free_address()))


def test_questions_come_in_order_with_the_shared_part_first(tmp_path: Path) -> None:
    with ChatServer([chat("4")]) as server:
        judge_replies(items(2), openai_judge(tmp_path, server.url))
    rubric = select_rubric("culturecare")
    expected = []
    for item in items(2):
        prompts = rubric.prompts(item.post, item.reply)
        expected += [(prompts.system, f"{prompts.item}\n\n{question}") for question in prompts.questions]
    asked = [[message["content"] for message in request["messages"]] for request in server.requests]
    assert [tuple(contents) for contents in asked] == expected
    assert len({system for system, _ in expected}) == 1
    assert {request["messages"][0]["role"] for request in server.requests} == {"system"}


def test_calls_are_made_at_once_and_verdicts_still_come_in_the_order_of_the_replies(tmp_path: Path) -> None:
    together = threading.Barrier(7, timeout=30)

    def answer(request: dict[str, Any]) -> Answer:
        together.wait()
        return chat("5" if "Reply number 1." in request["messages"][1]["content"] else "2")

    with ChatServer(answer) as server:
        verdicts = judge_replies(items(2), openai_judge(tmp_path, server.url, concurrency=7, timeout=60))
    assert [(verdict.reply_id, verdict.dimension) for verdict in verdicts] == [
        (item.reply_id, key) for item in items(2) for key in DIMENSIONS
    ]
    assert [verdict.score for verdict in verdicts] == [2] * 7 + [5] * 7


def test_an_empty_reply_is_null_and_no_call_is_made(tmp_path: Path) -> None:
    with ChatServer([chat("4")]) as server:
        verdicts = judge_replies([JudgeItem(reply_id=digest(0), post="A post.", reply=" \n")], openai_judge(tmp_path, server.url))
    assert {(verdict.score, verdict.reason) for verdict in verdicts} == {(None, EMPTY_REPLY)}
    assert server.requests == []


def test_it_works_inside_a_running_event_loop(tmp_path: Path) -> None:
    async def notebook() -> list[Verdict]:
        return judged(tmp_path, [chat("4")])

    assert [verdict.score for verdict in asyncio.run(notebook())] == [4] * 7


def test_the_expectation_is_over_the_grades_however_they_are_written(tmp_path: Path) -> None:
    [verdict, *_] = judged(tmp_path, [FOUR], mode="logprob")
    assert verdict.score == pytest.approx((4 * 0.7 + 5 * 0.2) / 0.9)
    assert verdict.distribution == pytest.approx((0, 0, 0, 7 / 9, 2 / 9))
    assert verdict.digit_mass == pytest.approx(0.9)


def test_grades_that_hardly_occur_to_the_judge_are_no_verdict(tmp_path: Path) -> None:
    [verdict, *_] = judged(tmp_path, [tokens({"The": 0.9, "4": 0.004})], mode="logprob")
    assert (verdict.score, verdict.reason) == (None, "the five grades hold 0.004 of the probability, less than 0.01")
    assert verdict.digit_mass == pytest.approx(0.004)


def test_the_mean_of_the_samples_is_over_those_that_are_grades(tmp_path: Path) -> None:
    [verdict, *_] = judged(tmp_path, [chat("3", "5", "four")], mode="sampled", samples=3)
    assert verdict.score == 4
    assert verdict.distribution == (0, 0, 0.5, 0, 0.5)
    assert verdict.answers == ("3", "5", "four")


def test_a_server_that_gives_one_answer_at_a_time_is_asked_for_the_others(tmp_path: Path) -> None:
    with ChatServer([chat("3"), chat("5"), chat("4")]) as server:
        [verdict, *_] = judge_replies(items(1), openai_judge(tmp_path, server.url, mode="sampled", samples=3))
    assert verdict.answers == ("3", "5", "4")
    assert verdict.score == pytest.approx(4)


def test_answers_that_are_asked_for_one_at_a_time_are_drawn_anew(tmp_path: Path) -> None:
    """A server that honours the seed would give one and the same answer again."""
    with ChatServer([chat("3"), chat("5"), chat("4")]) as server:
        judge_replies(items(1), openai_judge(tmp_path, server.url, mode="sampled", samples=3))
    assert [request.get("n", 1) for request in server.requests[:3]] == [3, 2, 1]
    assert len({request["seed"] for request in server.requests[:3]}) == 3


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {"mode": "logprob"},
            {"max_completion_tokens": 1, "temperature": 0, "logprobs": True, "top_logprobs": 20},
        ),
        ({"mode": "argmax", "max_tokens": 9}, {"max_completion_tokens": 9, "temperature": 0}),
        (
            {"mode": "sampled", "samples": 3, "temperature": 0.5, "max_tokens": 9, "extra_body": {"top_k": 40}},
            {"max_completion_tokens": 9, "temperature": 0.5, "n": 3, "seed": 1234, "top_k": 40},
        ),
    ],
    ids=["logprob", "argmax", "sampled"],
)
def test_a_request_says_what_the_judge_s_file_says(tmp_path: Path, fields: dict[str, Any], expected: dict[str, Any]) -> None:
    with ChatServer([FOUR]) as server:
        judge_replies(items(1), openai_judge(tmp_path, server.url, **fields))
    assert {key: value for key, value in server.requests[0].items() if key != "messages"} == {"model": "scripted", **expected}


# --- Pace ------------------------------------------------------------------------------------------------------------------------


class QuickClock(Clock):
    """Time that goes on by itself as soon as somebody waits for it."""

    def __init__(self) -> None:
        super().__init__(lambda: self.time, self._pass)
        self.time = 0.0

    async def _pass(self, seconds: float) -> None:
        until = self.time + seconds
        await asyncio.sleep(0)
        self.time = max(self.time, until)


def starts(pace: Pace, number: int, *, tokens: int = 0, used: int = 0) -> list[float]:
    """When each of `number` calls begins, one after another."""

    async def run() -> list[float]:
        begun = []
        for _ in range(number):
            async with pace.call(tokens, 0) as began:
                begun.append(began)
                pace.answered(used, tokens)
        return begun

    return asyncio.run(run())


def test_calls_a_minute_are_spread_over_the_minute() -> None:
    assert starts(Pace(64, Spending(), QuickClock(), requests_per_minute=60), 5) == pytest.approx([0, 1, 2, 3, 4])


def test_tokens_a_minute_count_as_they_were_and_not_as_they_were_expected() -> None:
    pace = Pace(64, Spending(), QuickClock(), tokens_per_minute=60_000)
    assert starts(pace, 4, tokens=5000, used=2000) == pytest.approx([0, 2, 4, 6])


def test_the_pace_begins_small_and_doubles_with_every_round_of_answers() -> None:
    pace = Pace(64, Spending(), QuickClock())
    assert pace.allowed == 16
    starts(pace, 16)
    assert pace.allowed == 32
    starts(pace, 100)
    assert pace.allowed == 64


@pytest.mark.parametrize(("most", "first"), [(1, 1), (8, 8), (16, 8), (64, 16), (400, 100)])
def test_few_calls_at_once_need_no_start(most: int, first: int) -> None:
    assert Pace(most, Spending(), QuickClock()).allowed == first


def test_slow_answers_are_not_waited_for_as_long_as_none_is_refused() -> None:
    clock = QuickClock()
    pace = Pace(64, Spending(), clock)
    asyncio.run(pace.grow())
    assert pace.allowed == 64
    assert clock.time == pytest.approx(0.2)


def test_a_refusal_halves_the_calls_at_once_and_they_come_back_slowly() -> None:
    clock = QuickClock()
    pace = Pace(8, Spending(), clock)
    clock.time = 1.0
    for _ in range(8):  # All under way together: one refusal.
        pace.refused(0.5, None)
    assert pace.allowed == 4
    pace.refused(1.5, None)
    assert pace.allowed == 2
    starts(pace, 2)
    assert pace.allowed == pytest.approx(2.9)
    asyncio.run(pace.grow())
    assert pace.allowed < 3


def test_a_server_that_asks_to_be_left_alone_is_left_alone_by_all_calls() -> None:
    clock = QuickClock()
    pace = Pace(8, Spending(), clock)
    pace.refused(0, 30)
    assert min(starts(pace, 3)) >= 30


def test_one_refusal_with_a_time_holds_every_call_back(tmp_path: Path) -> None:
    clock = QuickClock()
    seen: list[float] = []

    def answer(_: dict[str, Any]) -> Answer:
        seen.append(clock.time)
        return error(429, Retry_After="20") if len(seen) == 3 else chat("4")

    with ChatServer(answer) as server:
        judge = openai_judge(tmp_path, server.url, retries=1)
        verdicts = judge_replies(items(1), judge, backend=lambda judge: OpenAIBackend(judge, clock=clock))
    assert [verdict.score for verdict in verdicts] == [4] * 7
    assert seen == [0] * 3 + [20] * 5


def test_waits_double_to_half_a_minute_and_half_of_each_is_chance() -> None:
    assert [backoff(failures, 1) for failures in (1, 2, 3, 7, 90)] == [0.5, 1, 2, 30, 30]
    assert backoff(3, 0) == 1
    assert 1 <= backoff(3) <= 2


# --- Costs -----------------------------------------------------------------------------------------------------------------------


def test_what_was_spent_is_counted_with_what_came_from_the_cache(tmp_path: Path) -> None:
    usage = '{"prompt_tokens": 1000, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 800}}'
    with ChatServer([raw(f'{{"choices": [{{"message": {{"content": "4"}}}}], "usage": {usage}}}')]) as server:
        backend = OpenAIBackend(openai_judge(tmp_path, server.url, price={"input": 10, "cached": 1, "output": 100}))
        judge_replies(items(1), openai_judge(tmp_path, server.url), backend=lambda _: backend)
    assert str(backend.spending) == "7 calls, 7,000 tokens in (5,600 from the cache), 7 out, $0.0203."


def test_the_judge_stops_before_max_cost_is_passed_and_loses_no_answer(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite3"
    with ChatServer([chat("4")]) as server, open_store(path) as store:
        # An answer costs 0.11 dollars here, and a call may cost some five before its tokens are known.
        judge = openai_judge(tmp_path, server.url, concurrency=8, price={"input": 1000, "output": 10_000}, max_cost=8)
        backend = OpenAIBackend(judge)
        with pytest.raises(CultureCareError, match=r"max_cost is \$8, \$\d\.\d+ of it are spent, .* raise max_cost"):
            judge_replies(items(20), judge, store=store, backend=lambda _: backend)
    assert 1 < backend.spending.cost <= 8
    assert backend.spending.price == Price(input=1000, output=10_000)
    assert answers_on_file(path) == len(server.requests) == backend.spending.calls


# --- Batches ---------------------------------------------------------------------------------------------------------------------


class Killed(KeyboardInterrupt):
    """Ends the process, as far as the judge can see."""


class DeadlyClock(QuickClock):
    """Time in which the process is killed when it first waits."""

    async def _pass(self, seconds: float) -> None:
        raise Killed(seconds)


def by_batch(folder: Path, server: BatchServer, number: int = 2, clock: Clock | None = None, **fields: object) -> list[Verdict]:
    """Verdicts on `number` replies by a batch, with a store in `folder`."""
    judge = openai_judge(folder, server.url, transport="batch", **{"timeout": 30, **fields})
    with open_store() as store:
        return judge_replies(items(number), judge, store=store, backend=lambda judge: OpenAIBackend(judge, clock=clock or QuickClock()))


def by_reply(request: dict[str, Any]) -> Answer:
    return chat("5" if "Reply number 1." in request["messages"][1]["content"] else "2")


def remembered(folder: Path) -> list[Path]:
    return sorted((folder / "batches").glob("*.json"))


def test_a_batch_gives_the_verdicts_that_calls_give(tmp_path: Path) -> None:
    with BatchServer(by_reply) as server, ChatServer(by_reply) as chats:
        verdicts = by_batch(tmp_path, server)
        called = judge_replies(items(2), openai_judge(tmp_path, chats.url))
    assert [verdict.score for verdict in verdicts] == [2] * 7 + [5] * 7
    assert [verdict.model_copy(update={"judge": None}) for verdict in verdicts] == [
        verdict.model_copy(update={"judge": None}) for verdict in called
    ]
    assert {verdict.judge for verdict in verdicts} == {verdict.judge for verdict in called}
    assert server.asked == chats.requests
    assert server.made == 1
    assert remembered(tmp_path) == []


def test_a_batch_is_told_of_while_it_goes_on(tmp_path: Path) -> None:
    said: list[str] = []
    with BatchServer(by_reply, polls=3) as server:
        judge = openai_judge(tmp_path, server.url, transport="batch", timeout=30)
        judge_replies(items(1), judge, backend=lambda judge: OpenAIBackend(judge, clock=QuickClock(), say=said.append))
    assert said == [
        "Batch batch_1: 7 questions.",
        "Batch batch_1 is validating: 0 of 7 answered.",
        "Batch batch_1 is in progress: 0 of 7 answered.",
    ]


def test_a_killed_process_finds_its_batch_again(tmp_path: Path) -> None:
    with BatchServer(by_reply) as server:
        with pytest.raises(Killed):
            by_batch(tmp_path, server, clock=DeadlyClock())
        assert len(remembered(tmp_path)) == 1
        verdicts = by_batch(tmp_path, server)
    assert [verdict.score for verdict in verdicts] == [2] * 7 + [5] * 7
    assert server.made == 1


@pytest.mark.parametrize("retries", [0, 1])
def test_a_batch_whose_making_was_not_confirmed_is_not_made_again(tmp_path: Path, retries: int) -> None:
    with BatchServer(by_reply) as server:
        server.lose_next = True
        if not retries:
            with pytest.raises(CultureCareError, match="goes on there, and the same command collects it"):
                by_batch(tmp_path, server)
        verdicts = by_batch(tmp_path, server, retries=retries)
    assert [verdict.score for verdict in verdicts] == [2] * 7 + [5] * 7
    assert server.made == 1


def test_a_process_killed_while_it_collects_pays_for_nothing_again(tmp_path: Path) -> None:
    def die_at_the_fifth(_: int) -> None:
        calls.append(1)
        if len(calls) == 6:  # The first tells of what the store had.
            raise Killed

    calls: list[int] = []
    with BatchServer(by_reply) as server:
        judge = openai_judge(tmp_path, server.url, transport="batch", timeout=30)
        with open_store() as store, pytest.raises(Killed):
            judge_replies(
                items(2),
                judge,
                store=store,
                advance=die_at_the_fifth,
                backend=lambda judge: OpenAIBackend(judge, clock=QuickClock()),
            )
        verdicts = by_batch(tmp_path, server)
    assert [verdict.score for verdict in verdicts] == [2] * 7 + [5] * 7
    assert server.made == 1


def test_what_a_batch_asks_for_another_run_is_not_asked_again_either(tmp_path: Path) -> None:
    with BatchServer(by_reply) as server:
        with pytest.raises(Killed):
            by_batch(tmp_path, server, clock=DeadlyClock())
        assert [verdict.score for verdict in by_batch(tmp_path, server, 1)] == [2] * 7
        assert [verdict.score for verdict in by_batch(tmp_path, server, 3)] == [2] * 7 + [5] * 7 + [2] * 7
    assert server.made == 2
    assert len(server.asked) == 14 + 7
    assert remembered(tmp_path) == []


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (None, "the batch ended without an answer (expired)"),
        (error(500), "server error 500 in the batch"),
        (error(400, "The maximum context length is 8192."), "the prompt is too long for the judge"),
        (chat("four"), "the judge's answer holds no number: 'four'"),
        (chat(None, refusal="I can't."), "the judge refused: I can't."),
        (raw('{"result": 4}'), "the server's answer is not what the API describes"),
    ],
    ids=["expired", "500", "too long", "no grade", "refusal", "another form"],
)
def test_a_line_that_failed_is_null_with_a_reason_and_the_others_stand(tmp_path: Path, answer: Answer | None, reason: str) -> None:
    def answers(request: dict[str, Any]) -> Answer | None:
        return answer if "Reply number 1." in request["messages"][1]["content"] else chat("4")

    with BatchServer(answers, status="expired") as server:
        verdicts = by_batch(tmp_path, server)
    assert [(verdict.score, verdict.reason) for verdict in verdicts] == [(4, None)] * 7 + [(None, reason)] * 7


def test_samples_of_a_batch_come_in_one_line(tmp_path: Path) -> None:
    with BatchServer(lambda request: chat(*"345"[: request.get("n", 1)])) as server:
        verdicts = by_batch(tmp_path, server, 1, mode="sampled", samples=3)
    assert {verdict.answers for verdict in verdicts} == {("3", "4", "5")}
    assert len(server.asked) == 7


def test_a_batch_that_the_server_refuses_stops_the_judge(tmp_path: Path) -> None:
    with BatchServer(by_reply, status="failed") as server, pytest.raises(CultureCareError, match="refused batch batch_1: No such model"):
        by_batch(tmp_path, server)
    assert remembered(tmp_path) == []


def test_a_batch_that_may_cost_too_much_is_not_made(tmp_path: Path) -> None:
    with BatchServer(by_reply) as server:
        with pytest.raises(CultureCareError, match=r"the batch may cost up to \$\d.*max_cost, \$0.01"):
            by_batch(tmp_path, server, price={"input": 1, "output": 1}, max_cost=0.01)
        by_batch(tmp_path, server, price={"input": 1, "output": 1, "batch_share": 0.1}, max_cost=0.01)
    assert server.made == 1


def test_a_batch_needs_a_server(tmp_path: Path) -> None:
    with BatchServer(by_reply) as server:
        pass
    with pytest.raises(CultureCareError, match="no server answers at http://127"):
        by_batch(tmp_path, server)


@pytest.mark.slow
def test_a_real_server_gives_whole_distributions(tmp_path: Path, sample: list[Instance]) -> None:
    chosen = [instance for instance in sample if instance.culture in ("german", "american")][:: len(sample) // 7][:2]
    to_judge = [JudgeItem(reply_id=digest(i.id), post=i.post_text, reply=i.response_text) for i in chosen]
    with llama_server() as address:
        verdicts = judge_replies(to_judge, openai_judge(tmp_path, f"{address}/v1", mode="logprob", timeout=120, concurrency=2))
    assert [verdict.reason for verdict in verdicts] == [None] * 14
    for verdict in verdicts:
        assert verdict.distribution is not None
        assert math.fsum(verdict.distribution) == pytest.approx(1)
        assert verdict.digit_mass is not None
        assert 0.01 < verdict.digit_mass <= 1
        assert verdict.prompt_tokens is not None
        assert verdict.prompt_tokens > 500
