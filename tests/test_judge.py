"""Judging: how an answer is read as a grade, and how answers become verdicts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from culturecare import CultureCareError
from culturecare_harness.asking import read_grade
from culturecare_harness.backends import Answer, Request
from culturecare_harness.judge import EMPTY_REPLY, JudgeItem, judge_replies, judge_stream
from culturecare_harness.judges import JudgeFile
from culturecare_harness.records import digest
from culturecare_harness.rubrics import select_rubric
from culturecare_harness.store import VerdictStore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from culturecare_harness.records import Mode, Verdict
    from culturecare_harness.rubrics import JudgePrompts

DIMENSIONS = [dimension.key for dimension in select_rubric("culturecare").dimensions]
LOGPROB = JudgeFile(name="test", summary="", backend="hf", model="none", mode="logprob", min_digit_mass=0.1)
# Characters that are no digit, no fraction and no numeral of any script.
WORDS = st.text(st.characters(exclude_categories=("Cs", "Nd", "Nl", "No"), exclude_characters="<>/-−.,"), max_size=30)


class TestBackend:
    """A back end that gives prepared answers, one a question, item by item, in a prepared order."""

    __test__ = False

    def __init__(self, answers: Callable[[JudgePrompts], Sequence[Answer]], order: Sequence[int] | None = None) -> None:
        self.answers, self.order, self.asked = answers, order, list[str]()

    def answer(self, requests: Sequence[Request], done: Callable[[int, int, Answer], None]) -> None:
        self.asked += [request.prompts.item for request in requests]
        for position in self.order or range(len(requests)):
            for number, answer in enumerate(self.answers(requests[position].prompts)):
                done(position, number, answer)


def judge_in(mode: Mode, samples: int = 1) -> JudgeFile:
    drawn = {"samples": samples} if mode == "sampled" else {}
    return JudgeFile(name="test", summary="", backend="openai", model="none", mode=mode, **drawn)


def item(text: str) -> JudgeItem:
    return JudgeItem(reply_id=digest(text), post="the post", reply=text)


def first_verdict(answer: Answer, judge: JudgeFile = LOGPROB) -> Verdict:
    """The verdict on the first dimension, all dimensions being answered alike."""
    verdicts = judge_replies([item("a reply")], judge, backend=lambda _: TestBackend(lambda _: [answer] * len(DIMENSIONS)))
    assert [verdict.dimension for verdict in verdicts] == DIMENSIONS
    return verdicts[0]


# --- Reading a grade -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "grade"),
    [
        ("4", 4),
        (" 1\n", 1),
        ("Grade: 4.", 4),
        ("**4**", 4),
        ("4/5", 4),
        ("4 / 5", 4),
        ("5/5", 5),
        ("[2]", 2),
        ("I would say 3, for it is kind.", 3),
        ("٤", 4),
        ("４", 4),
        ("४", 4),
        ("<think>2 or 3? Rather 2.</think>\n\n3", 3),
    ],
)
def test_an_answer_with_one_grade_is_read(answer: str, grade: int) -> None:
    assert read_grade(answer) == (grade, None)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ("<think>4</think>", "empty"),
        ("four", "no number"),
        ("N/A", "no number"),
        ("4 or 5", "several numbers"),
        ("4 out of 5", "several numbers"),
        ("4/10", "several numbers"),
        ("0", "no whole number from 1 to 5"),
        ("6", "no whole number from 1 to 5"),
        ("10", "no whole number from 1 to 5"),
        ("10/5", "no whole number from 1 to 5"),
        ("4.5", "no whole number from 1 to 5"),
        ("4,5", "no whole number from 1 to 5"),
        ("4.5/5", "no whole number from 1 to 5"),
        ("-3", "no whole number from 1 to 5"),
        ("−3", "no whole number from 1 to 5"),
        ("4½", ""),
        ("<think>Is it a 3", ""),
    ],
)
def test_an_answer_that_is_no_grade_says_why(answer: str, why: str) -> None:
    grade, reason = read_grade(answer)
    assert grade is None
    assert why in str(reason)


@given(st.text())
def test_any_text_is_either_a_grade_or_has_a_reason(text: str) -> None:
    grade, reason = read_grade(text)
    assert (grade is None) != (reason is None)
    assert grade is None or grade in range(1, 6)


@given(before=WORDS, grade=st.integers(1, 5), after=WORDS, slash=st.sampled_from(["", "/5", " / 5"]))
def test_words_around_one_grade_do_not_change_it(before: str, grade: int, after: str, slash: str) -> None:
    assert read_grade(f"{before} {grade}{slash} {after}") == (grade, None)


@given(WORDS)
def test_without_a_number_there_is_no_grade(words: str) -> None:
    assert read_grade(words)[0] is None


@given(st.lists(st.integers(0, 99), min_size=2, max_size=5))
def test_among_several_numbers_none_is_chosen(numbers: list[int]) -> None:
    assert read_grade(" and ".join(map(str, numbers)))[0] is None


@given(st.integers().filter(lambda number: not 1 <= number <= 5))
def test_a_number_off_the_scale_is_no_grade(number: int) -> None:
    assert read_grade(str(number))[0] is None


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="<>")), st.integers(1, 5))
def test_what_a_model_thought_does_not_count(thought: str, grade: int) -> None:
    assert read_grade(f"<think>{thought}</think>{grade}") == (grade, None)


# --- Verdicts from next-token probabilities --------------------------------------------------------------------------------------


def test_the_score_is_the_expectation_over_the_normalised_grades() -> None:
    verdict = first_verdict(Answer(grades=(0.0, 0.0, 0.1, 0.2, 0.1), prompt_tokens=30))
    assert verdict.score == pytest.approx(4)
    assert verdict.distribution == pytest.approx((0, 0, 0.25, 0.5, 0.25))
    assert verdict.digit_mass == pytest.approx(0.4)
    assert (verdict.reason, verdict.prompt_tokens, verdict.judge) == (None, 30, LOGPROB.judge)


@given(st.lists(st.floats(0, 0.2), min_size=5, max_size=5).filter(lambda grades: sum(grades) > 0.1))
def test_every_distribution_gives_a_score_on_the_scale(grades: list[float]) -> None:
    verdict = first_verdict(Answer(grades=tuple(grades)))
    assert verdict.score is not None
    assert 1 <= verdict.score <= 5
    assert verdict.distribution is not None
    assert sum(verdict.distribution) == pytest.approx(1)


@pytest.mark.parametrize("grade", [1, 2, 3, 4, 5])
def test_certainty_of_a_grade_is_that_grade(grade: int) -> None:
    grades = tuple(0.7 if position == grade else 0.0 for position in range(1, 6))
    assert first_verdict(Answer(grades=grades)).score == pytest.approx(grade)


@pytest.mark.parametrize("grades", [(0.0,) * 5, (0.0, 0.0, 0.0, 0.0, 0.09)])
def test_below_the_floor_of_digit_mass_there_is_no_score(grades: tuple[float, ...]) -> None:
    verdict = first_verdict(Answer(grades=grades))
    assert (verdict.score, verdict.distribution) == (None, None)
    assert verdict.digit_mass == sum(grades)
    assert "less than 0.1" in str(verdict.reason)


def test_no_mass_at_all_gives_no_score_even_without_a_floor() -> None:
    judge = LOGPROB.model_copy(update={"min_digit_mass": 0.0})
    assert first_verdict(Answer(grades=(0.0,) * 5), judge).score is None


# --- Verdicts from answers -------------------------------------------------------------------------------------------------------


def test_the_score_of_several_samples_is_their_mean() -> None:
    verdict = first_verdict(Answer(texts=("4", "5", "**4**", "3/5")), judge_in("sampled"))
    assert verdict.score == 4
    assert verdict.distribution == (0, 0, 0.25, 0.5, 0.25)
    assert verdict.answers == ("4", "5", "**4**", "3/5")
    assert verdict.digit_mass is None


def test_a_sample_that_is_no_grade_is_kept_and_not_counted() -> None:
    verdict = first_verdict(Answer(texts=("2", "well…")), judge_in("sampled"))
    assert (verdict.score, verdict.answers) == (2, ("2", "well…"))


@pytest.mark.parametrize(("texts", "reason"), [(("well…",), "no number"), (("", ""), "empty"), ((), "no answer")])
def test_answers_without_a_grade_give_no_score_and_are_never_read_as_zero(texts: tuple[str, ...], reason: str) -> None:
    verdict = first_verdict(Answer(texts=texts), judge_in("argmax"))
    assert verdict.score is None
    assert reason in str(verdict.reason)
    assert verdict.answers == texts


@pytest.mark.parametrize("judge", [LOGPROB, judge_in("sampled"), judge_in("argmax")])
def test_a_failure_gives_no_score_and_its_reason(judge: JudgeFile) -> None:
    verdict = first_verdict(Answer(failure="the server said 500"), judge)
    assert (verdict.score, verdict.reason) == (None, "the server said 500")


# --- The whole pass --------------------------------------------------------------------------------------------------------------


def grade_of_reply(prompts: JudgePrompts) -> list[Answer]:
    """Takes the grade from the reply's own words, so that a verdict tells which reply it is about."""
    digit = next(digit for digit in "12345" if f"reply {digit}" in prompts.item)
    return [Answer(texts=(digit,)) for _ in prompts.questions]


def test_an_empty_reply_is_not_asked_about() -> None:
    backend = TestBackend(grade_of_reply)
    verdicts = judge_replies([item("  \n"), item("reply 3")], judge_in("argmax"), backend=lambda _: backend)
    assert len(backend.asked) == 1
    assert {(verdict.score, verdict.reason) for verdict in verdicts[: len(DIMENSIONS)]} == {(None, EMPTY_REPLY)}
    assert {verdict.score for verdict in verdicts[len(DIMENSIONS) :]} == {3}


def test_no_model_is_opened_where_nothing_is_left_to_ask() -> None:
    def refuse(_: JudgeFile) -> TestBackend:
        pytest.fail("a model was opened")

    assert judge_replies([], LOGPROB, backend=refuse) == []
    assert len(judge_replies([item("")], LOGPROB, backend=refuse)) == len(DIMENSIONS)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 1, 0, 2), (3, 2, 1, 0)])
def test_verdicts_keep_the_order_of_the_items_in_whatever_order_they_came(order: tuple[int, ...]) -> None:
    items = [item(f"reply {grade}") for grade in (2, 5, 1, 4)]
    backend = TestBackend(grade_of_reply, order)
    verdicts = judge_replies(items, judge_in("argmax"), backend=lambda _: backend)
    assert [verdict.score for verdict in verdicts[:: len(DIMENSIONS)]] == [2, 5, 1, 4]
    assert [verdict.reply_id for verdict in verdicts[:: len(DIMENSIONS)]] == [asked.reply_id for asked in items]
    assert [verdict.dimension for verdict in verdicts] == DIMENSIONS * 4


def test_what_was_answered_before_a_judge_gave_up_is_kept_and_not_asked_again(tmp_path: Path) -> None:
    def stop_at_two(prompts: JudgePrompts) -> list[Answer]:
        if "reply 2" in prompts.item:
            raise CultureCareError("no server at http://localhost:9/v1")
        return grade_of_reply(prompts)

    items = [item("reply 1"), item("reply 2")]
    store = VerdictStore(tmp_path / "store.sqlite3")
    with pytest.raises(CultureCareError, match="no server"):
        judge_replies(items, judge_in("argmax"), store=store, backend=lambda _: TestBackend(stop_at_two))
    backend = TestBackend(grade_of_reply)
    verdicts = judge_replies(items, judge_in("argmax"), store=store, backend=lambda _: backend)
    assert [verdict.score for verdict in verdicts] == [1] * len(DIMENSIONS) + [2] * len(DIMENSIONS)
    assert len(backend.asked) == 1


def test_a_back_end_that_leaves_an_item_out_is_not_believed() -> None:
    with pytest.raises(CultureCareError, match="left a question unanswered"):
        judge_replies([item("reply 1"), item("reply 2")], judge_in("argmax"), backend=lambda _: TestBackend(grade_of_reply, [1]))


# --- The store -------------------------------------------------------------------------------------------------------------------


def test_what_the_store_answers_opens_no_model(tmp_path: Path) -> None:
    def refuse(_: JudgeFile) -> TestBackend:
        pytest.fail("a model was opened")

    items = [item("reply 1"), item("reply 4")]
    store = VerdictStore(tmp_path / "store.sqlite3")
    first = judge_replies(items, judge_in("argmax"), store=store, backend=lambda _: TestBackend(grade_of_reply))
    store.close()
    again = judge_replies(items, judge_in("argmax"), store=VerdictStore(tmp_path / "store.sqlite3"), backend=refuse)
    assert again == first


def test_equal_questions_are_asked_once() -> None:
    backend = TestBackend(grade_of_reply)
    twins = [item("reply 3"), JudgeItem(reply_id=digest("another model's"), post="the post", reply="reply 3")]
    verdicts = judge_replies(twins, judge_in("argmax"), backend=lambda _: backend)
    assert len(backend.asked) == 1
    assert [verdict.reply_id for verdict in verdicts[:: len(DIMENSIONS)]] == [twin.reply_id for twin in twins]


@pytest.mark.parametrize(
    "change",
    [{"model": "another"}, {"base_url": "http://localhost:1/v1"}, {"mode": "logprob"}, {"max_tokens": 99}, {"extra_body": {"top_k": 1}}],
)
def test_another_judge_is_not_answered_from_the_store(change: dict[str, object]) -> None:
    store, backend = VerdictStore(None), TestBackend(grade_of_reply)
    fields = {"name": "test", "summary": "", "backend": "openai", "model": "none", "mode": "argmax"}
    for judge in (fields, fields | change):
        judge_replies([item("reply 1")], JudgeFile.model_validate(judge), store=store, backend=lambda _: backend)
    assert len(backend.asked) == 2


@pytest.mark.parametrize("change", [{"concurrency": 3}, {"timeout": 1.0}, {"api_key_env": None}, {"name": "other"}, {"summary": "other"}])
def test_what_moves_no_grade_is_answered_from_the_store(change: dict[str, object]) -> None:
    store, backend = VerdictStore(None), TestBackend(grade_of_reply)
    fields = {"name": "test", "summary": "", "backend": "openai", "model": "none", "mode": "argmax"}
    for judge in (fields, fields | change):
        judge_replies([item("reply 1")], JudgeFile.model_validate(judge), store=store, backend=lambda _: backend)
    assert len(backend.asked) == 1


def test_failures_are_asked_again_on_request_alone() -> None:
    store = VerdictStore(None)
    broken = TestBackend(lambda prompts: [Answer(failure="the server said 500")] * len(prompts.questions))
    mended = TestBackend(grade_of_reply)
    failed = judge_replies([item("reply 2")], judge_in("argmax"), store=store, backend=lambda _: broken)
    assert judge_replies([item("reply 2")], judge_in("argmax"), store=store, backend=lambda _: mended) == failed
    retried = judge_replies([item("reply 2")], judge_in("argmax"), store=store, backend=lambda _: mended, retry_failed=True)
    assert [verdict.score for verdict in retried] == [2] * len(DIMENSIONS)
    assert judge_replies([item("reply 2")], judge_in("argmax"), store=store, backend=lambda _: mended, retry_failed=True) == retried
    assert len(mended.asked) == 1


class CountingBackend:
    """Answers each sample by its number, and remembers which numbers were asked for."""

    def __init__(self) -> None:
        self.samples: list[tuple[int, ...]] = []

    def answer(self, requests: Sequence[Request], done: Callable[[int, int, Answer], None]) -> None:
        for position, request in enumerate(requests):
            self.samples += request.samples
            for number, samples in enumerate(request.samples):
                done(
                    position, number, Answer(texts=tuple(str(sample % 5 + 1) for sample in samples), prompt_tokens=10, completion_tokens=1)
                )


def test_more_samples_ask_for_those_that_are_missing() -> None:
    store, backend = VerdictStore(None), CountingBackend()
    for samples, mean in ((2, 1.5), (5, 3.0)):
        verdicts = judge_replies([item("reply 1")], judge_in("sampled", samples), store=store, backend=lambda _: backend)
        assert verdicts[0].score == pytest.approx(mean)
    assert set(backend.samples) == {(0, 1), (2, 3, 4)}


def test_many_replies_are_judged_in_blocks_and_keep_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("culturecare_harness.asking._BLOCK", 3)
    advances: list[int] = []
    items = [item(f"reply {place % 5 + 1} number {place}") for place in range(10)]
    stream = judge_stream(iter(items), judge_in("argmax"), backend=lambda _: TestBackend(grade_of_reply), advance=advances.append)
    assert [of_item[0].score for of_item in stream] == [place % 5 + 1 for place in range(10)]
    assert sum(advances) == 10 * len(DIMENSIONS)
