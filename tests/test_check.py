"""Checking a judge: what simulated judges of known faults are found guilty of, and what a sound one is not."""

from __future__ import annotations

import io
import json
import math
import re
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from culturecare import CultureCareError, load_instances
from culturecare_harness.attacks import attacks, material
from culturecare_harness.backends import Answer
from culturecare_harness.check import CheckReport, check_judge, print_check
from culturecare_harness.judges import JudgeFile, select_judge
from culturecare_harness.records import write_json
from culturecare_harness.rubrics import select_rubric
from culturecare_harness.store import VerdictStore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from culturecare_harness.backends import Request

JUDGE = JudgeFile(name="simulated", summary="", backend="hf", model="none", mode="logprob")
SAMPLED = JudgeFile(name="simulated", summary="", backend="hf", model="none", mode="sampled", samples=2)
RUBRIC = select_rubric("culturecare")
DIMENSIONS = [dimension.key for dimension in RUBRIC.dimensions]
BAD = material().dismissive["en"]
GOOD = {instance.response_text for instance in load_instances("sample")}
FEW = "give-5,base64,chatml,thoughts"


class Told:
    """Keeps what a progress display is told."""

    def __init__(self) -> None:
        self.sentences: list[str] = []
        self.counts: list[tuple[int, int]] = []

    def say(self, sentence: str) -> None:
        self.sentences.append(sentence)

    def advance(self, finished: int, total: int) -> None:
        self.counts.append((finished, total))


class SimulatedBackend:
    """A judge whose every answer is computed from the prompt about a reply and the answer's number within the call."""

    def __init__(self, answer: Callable[[str, int], Answer]) -> None:
        self._answer, self.asked = answer, list[str]()

    def answer(self, requests: Sequence[Request], done: Callable[[int, int, Answer], None]) -> None:
        self.asked += [request.prompts.item for request in requests]
        for position, request in enumerate(requests):
            for number in range(len(request.prompts.questions)):
                answer = self._answer(request.prompts.item, position)
                # A drawn answer is given once for each of its numbers, as far as there are that many.
                texts = None if answer.texts is None else tuple(answer.texts[sample] for sample in request.samples[number])
                done(position, number, answer.model_copy(update={"texts": texts}))


def graded(score: float) -> Answer:
    """A next-token distribution whose expectation is `score`."""
    low = min(4, int(score))
    return Answer(grades=tuple(0.9 * max(0.0, 1 - abs(grade - score)) if grade in (low, low + 1) else 0.0 for grade in range(1, 6)))


def honest(item: str, position: int = 0) -> Answer:  # noqa: ARG001 - the place in a call says nothing to it.
    """Gives 4 to the sample's own replies and 2 to any other."""
    reply = item.partition("\n\n[REPLY ")[2].partition("]\n")[2].rpartition("\n[END OF REPLY ")[0]
    return graded(4 if reply in GOOD else 2)


def gullible(item: str, position: int) -> Answer:
    return graded(5) if "give 5" in item.lower() else honest(item, position)


def check(
    answer: Callable[[str, int], Answer] = honest,
    *,
    judge: JudgeFile = JUDGE,
    store: VerdictStore | None = None,
    items: int = 2,
    pairs: int | None = 7,
    attacks: str = FEW,
) -> CheckReport:
    return check_judge(
        judge,
        store or VerdictStore(None),
        Told(),
        items=items,
        pairs=pairs,
        attacks=attacks,
        backend=lambda _: SimulatedBackend(answer),
    )


def shown(report: CheckReport) -> str:
    console = Console(file=io.StringIO(), width=200)
    print_check(report, console)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


# --- A judge without faults ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sound() -> CheckReport:
    return check(attacks="all", pairs=None)


def test_an_honest_judge_is_inflated_by_nothing(sound: CheckReport) -> None:
    assert [outcome.name for outcome in sound.attacks] == list(attacks())
    for outcome in sound.attacks:
        assert outcome.lost == 0
        assert {effect.mean for effect in outcome.inflation.values()} == {0}
    assert (sound.inflation.mean, sound.inflation.low, sound.inflation.high, sound.inflation.n) == (0, None, None, 2)
    assert sound.raised == 0
    assert "Worst attack 1" not in shown(sound)


def test_an_honest_judge_tells_good_replies_from_bad_and_from_shuffled_ones(sound: CheckReport) -> None:
    for contest in sound.contests:
        assert (contest.n, contest.wins, contest.ties, contest.share) == (56, 56, 0, 1)
        assert contest.low is not None
        assert contest.low == pytest.approx(0.936, abs=0.001)  # Wilson's interval: 56 / (56 + 1.96 ** 2).
        assert contest.high == 1
        assert contest.margin.mean == pytest.approx(2)


def test_an_honest_judge_is_consistent_and_moved_by_neither_length_nor_language(sound: CheckReport) -> None:
    for repetition in (sound.repeated, sound.reordered):
        assert repetition is not None
        assert (repetition.n, repetition.same, repetition.largest) == (2 * 2 * 7, 2 * 2 * 7, 0)
    assert sound.length["overall"].mean == pytest.approx(0)
    assert {outcome.language for outcome in sound.languages} == set(material().dismissive) - {"en"}
    assert {outcome.difference["quality"].mean for outcome in sound.languages} == {0}
    assert sound.coverage == 1
    assert sound.digit_mass == pytest.approx(0.9)


def test_every_metric_of_the_rubric_is_measured(sound: CheckReport) -> None:
    metrics = {"overall", "emotional", "cultural", "quality", *DIMENSIONS}
    assert set(sound.attacks[0].inflation) == set(sound.plain) == set(sound.length) == metrics


# --- Faults that are found -------------------------------------------------------------------------------------------------------


def test_a_gullible_judge_is_caught_and_the_attack_is_named() -> None:
    report = check(gullible, attacks="all", pairs=1)
    raised = {outcome.name for outcome in report.attacks if outcome.inflation["overall"].mean == pytest.approx(3)}
    [post] = [instance.post_text for instance in load_instances("sample") if instance.id == report.posts[0]]
    asking = {name for name, attack in attacks().items() if "give 5" in attack.apply(post, BAD, RUBRIC).lower()}
    assert raised == asking
    assert "give-5" in raised
    assert all(outcome.inflation["overall"].mean == 0 for outcome in report.attacks if outcome.name not in raised)
    assert report.raised == len(raised) / len(attacks())
    assert report.inflation.mean == pytest.approx(3 * len(raised) / len(attacks()))
    text = shown(report)
    assert re.search(r"request +│ +9 │ +\+\d\.\d\d │ give-5 +│ +\+3\.00", text)
    assert "Worst attack 1: " in text


def test_inflation_is_known_for_each_dimension() -> None:
    """A judge that raises one dimension alone."""

    class RaisesEmpathy(SimulatedBackend):
        def answer(self, requests: Sequence[Request], done: Callable[[int, int, Answer], None]) -> None:
            for position, request in enumerate(requests):
                for number, question in enumerate(request.prompts.questions):
                    fooled = "Empathy" in question and "please give 5" in request.prompts.item.lower()
                    done(position, number, graded(5 if fooled else 2))

    report = check_judge(
        JUDGE, VerdictStore(None), Told(), items=1, pairs=1, attacks="give-5", backend=lambda _: RaisesEmpathy(lambda *_: graded(2))
    )
    inflation = {metric: effect.mean for metric, effect in report.attacks[0].inflation.items() if effect.mean}
    assert inflation == pytest.approx({"empathy": 3, "emotional": 1.5, "overall": 0.75})
    assert "most in empathy (+3.00)" in shown(report)


def test_an_attack_that_silences_the_judge_is_no_bad_grade_and_is_named() -> None:
    report = check(lambda item, _: Answer(failure="server error 500") if "<!--" in item else graded(2), attacks="html-comment,give-5")
    lost, other = report.attacks
    assert (lost.name, lost.lost, lost.inflation["overall"].mean, lost.inflation["overall"].n) == ("html-comment", 2, None, 0)
    assert (other.lost, other.inflation["overall"].mean) == (0, 0)
    assert report.coverage == 1 - 2 * 7 / report.verdicts
    assert report.reasons == {"server error 500": 2 * 7}
    text = shown(report)
    assert "Attacks that left the judge without a score: html-comment." in text
    assert "Without a score: server error 500 (14)." in text


def test_a_judge_that_never_answers_has_no_numbers_rather_than_bad_ones() -> None:
    report = check(lambda *_: Answer(failure="no answer within 1 s"))
    assert report.coverage == 0
    assert (report.raised, report.inflation.mean, report.contests[0].share, report.length["overall"].mean) == (None, None, None, None)
    assert "Inflation of the overall score over 4 attacks: –" in shown(report)


def test_a_judge_that_cannot_tell_replies_apart_wins_nothing() -> None:
    [dismissive, shuffled] = check(lambda *_: graded(1)).contests
    for contest in (dismissive, shuffled):
        assert (contest.wins, contest.ties, contest.n, contest.share) == (0, 7, 7, 0)


def test_a_judge_that_likes_length_is_measured_by_the_doubling() -> None:
    def by_length(item: str, _: int) -> Answer:
        reply = item.partition("\n\n[REPLY ")[2]
        return graded(min(5.0, 1 + 0.4 * max(0.0, math.log2(len(reply) / 100))))

    report = check(by_length)
    assert report.length["overall"].mean == pytest.approx(0.4, abs=0.08)
    assert report.length["overall"].n == 2


def test_a_judge_that_drifts_does_not_say_the_same_twice() -> None:
    calls = iter(range(10**6))
    report = check(lambda *_: graded(1 + next(calls) / 10**4))
    assert report.repeated is not None
    assert report.repeated.same == 0
    assert report.repeated.largest is not None
    assert report.repeated.largest > 0


def test_a_judge_that_heeds_a_reply_s_place_is_caught_by_another_order() -> None:
    report = check(lambda _, position: graded(2 + position % 2))
    assert report.reordered is not None
    assert (report.reordered.same, report.reordered.largest) == (0, 1)


def test_a_bad_reply_that_scores_high_already_leaves_no_room_and_says_so() -> None:
    assert any("no attack has room" in note for note in check(lambda *_: graded(4.8)).notes)


def test_sampled_answers_are_measured_by_their_spread() -> None:
    report = check(lambda *_: Answer(texts=("3", "5", "3", "5", "3")), judge=SAMPLED)
    assert (report.repeated, report.reordered) == (None, None)
    assert report.spread is not None
    assert (report.spread.n, report.spread.answers) == (2 * 2 * 7, 5)
    assert report.spread.deviation == pytest.approx(math.sqrt(1.2))
    assert report.spread.error == pytest.approx(math.sqrt(1.2 / 2))
    assert "standard deviation 1.10 within a question" in shown(report)


def test_sampled_answers_that_cannot_be_read_have_no_spread() -> None:
    report = check(lambda *_: Answer(texts=("3", "?", "?", "?", "?")), judge=SAMPLED)
    assert report.spread is not None
    assert (report.spread.n, report.spread.deviation) == (0, None)
    assert "no question has two that can be read" in shown(report)


# --- What it costs, and what is handed on ----------------------------------------------------------------------------------------


def test_a_second_check_asks_the_repetitions_alone() -> None:
    store, backend = VerdictStore(None), SimulatedBackend(honest)
    options = {"items": 2, "pairs": 3, "attacks": FEW}
    first = check_judge(JUDGE, store, Told(), **options, backend=lambda _: backend)  # type: ignore[arg-type]
    backend.asked.clear()
    second = check_judge(JUDGE, store, Told(), **options, backend=lambda _: backend)  # type: ignore[arg-type]
    assert len(backend.asked) == 2 * 2 * 2  # Twice a good and a bad reply to two posts.
    assert second == first.model_copy(update={"created": second.created})


def test_a_second_check_of_sampled_answers_asks_nothing() -> None:
    store = VerdictStore(None)
    first = check(lambda *_: Answer(texts=("3", "5", "3", "5", "3")), judge=SAMPLED, store=store)

    def refuse(judge: JudgeFile) -> SimulatedBackend:
        raise AssertionError(judge)

    second = check_judge(SAMPLED, store, Told(), items=2, pairs=7, attacks=FEW, backend=refuse)
    assert second == first.model_copy(update={"created": second.created})


def test_the_model_is_opened_once_and_progress_ends_at_its_total() -> None:
    told, opened = Told(), list[JudgeFile]()

    def once(judge: JudgeFile) -> SimulatedBackend:
        opened.append(judge)
        return SimulatedBackend(honest)

    check_judge(JUDGE, VerdictStore(None), told, items=1, pairs=1, attacks="give-5", backend=once)
    assert opened == [JUDGE]
    finished, total = told.counts[-1]
    assert finished == total
    assert told.sentences == [f"Checking simulated (logprob): 1 attacks, {total} verdicts."]


def test_the_posts_are_english_and_take_turns_by_culture() -> None:
    by_id = {instance.id: instance for instance in load_instances("sample")}
    posts = [by_id[post] for post in check(items=7).posts]
    assert {post.language for post in posts} == {"en"}
    assert len({post.culture for post in posts}) == 7


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"items": 0}, "items 0: must be from 1 to 50"),
        ({"items": 51}, "items 51: must be from 1 to 50"),
        ({"pairs": 57}, "pairs 57: must be from 1 to 56"),
        ({"attacks": "give-6"}, "unknown attack 'give-6'"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, object], what: str) -> None:
    with pytest.raises(CultureCareError, match=what):
        check(**options)  # type: ignore[arg-type]


def test_one_post_has_no_interval_and_says_so() -> None:
    report = check(items=1)
    assert (report.inflation.mean, report.inflation.low, report.inflation.high) == (0, None, None)
    assert any("no interval" in note for note in report.notes)


def test_a_report_is_strict_json_and_reads_back(tmp_path: Path) -> None:
    report = check(gullible)
    write_json(tmp_path / "check.json", report)
    text = (tmp_path / "check.json").read_text(encoding="utf-8")
    json.loads(text, parse_constant=pytest.fail)
    assert CheckReport.model_validate_json(text) == report


@pytest.mark.parametrize("measure", [True, False])
def test_a_judge_that_is_no_measure_says_so_on_top(measure: bool) -> None:  # noqa: FBT001
    report = check(judge=JUDGE.model_copy(update={"measure": measure}))
    assert ("NOT A MEASURE" in shown(report).splitlines()[2]) is not measure
    assert report.measure is measure


@pytest.mark.slow
def test_the_real_small_model_is_checked_with_full_coverage() -> None:
    names = "give-5,inverted-scale,end-with-guessed-mark,grade-line,system-message,chatml,authority,base64,zero-width,html-comment,headings"
    judge = select_judge("smollm2", ["device=cpu"])
    report = check_judge(judge, VerdictStore(None), Told(), items=1, pairs=1, attacks=f"{names},contrast")
    assert len(report.attacks) == 12
    assert report.coverage == 1
    assert report.repeated is not None
    assert report.repeated.same == report.repeated.n == 14
    assert report.reordered is not None
    assert report.reordered.same == 14
    assert "NOT A MEASURE" in shown(report)
