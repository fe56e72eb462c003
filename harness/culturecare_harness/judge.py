"""Judging: from replies to verdicts, one for each dimension of the rubric."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections import Counter
from typing import TYPE_CHECKING

from culturecare import CultureCareError, Record
from culturecare_harness.backends import Answer, Request, open_backend
from culturecare_harness.records import Hash, Verdict, digest
from culturecare_harness.rubrics import select_rubric
from culturecare_harness.store import VerdictStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from culturecare_harness.backends import Backend
    from culturecare_harness.judges import JudgeFile
    from culturecare_harness.rubrics import JudgePrompts

__all__ = ["EMPTY_REPLY", "JudgeItem", "judge_replies", "judge_stream", "read_grade"]

_BLOCK = 1024

EMPTY_REPLY = "the reply is empty"
"""Reason of the verdicts on a reply without text, which no judge is asked about."""


class JudgeItem(Record):
    """A reply beside the post that it answers.

    Attributes:
        reply_id: Names the reply in the verdicts.
        post: The post's text, or the annotated phrases that stood in the prompt.
        reply: The reply's text.
    """

    reply_id: Hash
    post: str
    reply: str


def judge_replies(
    items: Iterable[JudgeItem],
    judge: JudgeFile,
    *,
    store: VerdictStore | None = None,
    backend: Callable[[JudgeFile], Backend] = open_backend,
    advance: Callable[[int], None] | None = None,
    retry_failed: bool = False,
) -> list[Verdict]:
    """Has every reply graded on every dimension; `judge_stream` in one list."""
    stream = judge_stream(items, judge, store=store, backend=backend, advance=advance, retry_failed=retry_failed)
    return [verdict for of_item in stream for verdict in of_item]


def judge_stream(
    items: Iterable[JudgeItem],
    judge: JudgeFile,
    *,
    store: VerdictStore | None = None,
    backend: Callable[[JudgeFile], Backend] = open_backend,
    advance: Callable[[int], None] | None = None,
    retry_failed: bool = False,
) -> Iterator[list[Verdict]]:
    """Has every reply graded on every dimension, some hundred replies at a time, so that memory does not grow with their number.

    Args:
        items: What to judge.
        judge: Who judges, and in which mode.
        store: Where answers are looked up and kept, each as soon as it is there; by default nothing is kept.
        backend: Opens the judge's model. It is not called where the store answers everything.
        advance: Told how many verdicts were finished since it was told last.
        retry_failed: Whether verdicts that the store has without a score are asked for again.

    Yields:
        The verdicts on each item in the order of `items`, in the rubric's order. None is left out: what cannot be read has a null score
        and a reason.

    Raises:
        CultureCareError: The judge cannot go on (no key, no server, no such model); what was answered by then is kept.
    """
    store = store or VerdictStore(None)
    opened: Backend | None = None
    iterator = iter(items)
    while block := list(itertools.islice(iterator, _BLOCK)):
        answers = _Answers(block, judge, store)
        if retry_failed:
            answers.forget_failed()
        requests = answers.missing()
        if advance is not None:
            advance(len(block) * len(answers.dimensions) - sum(len(request.prompts.questions) for request in requests))
        if requests:
            opened = opened or backend(judge)

            def keep(
                position: int, number: int, answer: Answer, answers: _Answers = answers, requests: Sequence[Request] = requests
            ) -> None:
                answers.keep(requests[position], number, answer)
                if advance is not None:
                    advance(1)

            opened.answer(requests, keep)
        for position in range(len(block)):
            yield answers.verdicts(position)


def _keeper(answers: _Answers, requests: Sequence[Request], advance: Callable[[int], None] | None) -> Callable[[int, int, Answer], None]:
    def keep(position: int, number: int, answer: Answer) -> None:
        answers.keep(requests[position], number, answer)
        if advance is not None:
            advance(1)

    return keep


class _Answers:
    """The answers about one block of items: what the store has, what is missing, and what came in."""

    def __init__(self, items: Sequence[JudgeItem], judge: JudgeFile, store: VerdictStore) -> None:
        rubric = select_rubric(judge.rubric)
        self.dimensions = [dimension.key for dimension in rubric.dimensions]
        self._items, self._judge, self._store = items, judge, store
        self._samples = range(judge.samples if judge.mode == "sampled" else 1)
        self._prompts = {place: rubric.prompts(item.post, item.reply) for place, item in enumerate(items) if item.reply.strip()}
        self._keys = {place: [_key(judge, prompts, question) for question in prompts.questions] for place, prompts in self._prompts.items()}
        self._found = store.find(sorted({key for keys in self._keys.values() for key in keys}))

    def forget_failed(self) -> None:
        """Has what the store answered without a score asked again."""
        failed = {
            key
            for place, keys in self._keys.items()
            for number, key in enumerate(keys)
            if (verdict := self._verdict_or_none(place, number)) is not None and verdict.score is None
        }
        self._store.forget(failed)
        self._found = {place: answer for place, answer in self._found.items() if place[0] not in failed}

    def missing(self) -> list[Request]:
        """What is to be asked; a question that several items share is asked once."""
        asked: set[str] = set()
        requests = []
        for place, keys in self._keys.items():
            wanted = {}
            for number, key in enumerate(keys):
                samples = tuple(sample for sample in self._samples if (key, sample) not in self._found)
                if samples and key not in asked:
                    wanted[number] = samples
                    asked.add(key)
            if wanted:
                prompts = self._prompts[place]
                questions = tuple(prompts.questions[number] for number in wanted)
                requests.append(
                    Request(
                        prompts=prompts.model_copy(update={"questions": questions}),
                        samples=tuple(wanted.values()),
                        keys=tuple(keys[number] for number in wanted),
                    )
                )
        return requests

    def keep(self, request: Request, number: int, answer: Answer) -> None:
        """Keeps what was answered, each sample by its number."""
        key, samples = request.keys[number], request.samples[number]
        texts = answer.texts if answer.texts is not None and len(answer.texts) == len(samples) else (None,) * len(samples)
        for sample, text in zip(samples, texts, strict=True):
            of_sample = answer if text is None else answer.model_copy(update={"texts": (text,)})
            # Tokens are counted once, with the first sample.
            if sample != samples[0]:
                of_sample = of_sample.model_copy(update={"prompt_tokens": 0, "completion_tokens": 0})
            self._store.add(key, sample, of_sample)
            self._found[key, sample] = of_sample

    def verdicts(self, place: int) -> list[Verdict]:
        """The verdicts on one item, all of whose questions are answered."""
        item = self._items[place]
        if place not in self._keys:
            return [_verdict(item, self._judge, dimension, score=None, reason=EMPTY_REPLY) for dimension in self.dimensions]
        verdicts = [self._verdict_or_none(place, number) for number in range(len(self.dimensions))]
        if None in verdicts:
            raise CultureCareError(f"judge {self._judge.name!r}: the back end left a question unanswered")
        return [verdict for verdict in verdicts if verdict is not None]

    def _verdict_or_none(self, place: int, number: int) -> Verdict | None:
        key = self._keys[place][number]
        answers = [self._found[key, sample] for sample in self._samples if (key, sample) in self._found]
        if len(answers) < len(self._samples):
            return None
        return _read_answer(self._items[place], self._judge, self.dimensions[number], _joined(answers))


def _key(judge: JudgeFile, prompts: JudgePrompts, question: str) -> str:
    return digest([judge.store_settings, prompts.system, prompts.item, question], size=32)


def _joined(answers: Sequence[Answer]) -> Answer:
    """One answer of several samples; a sample that failed is left out, unless all did."""
    good = [answer for answer in answers if answer.failure is None]
    if len(answers) == 1 or not good:
        return answers[0]
    prompt_tokens = [answer.prompt_tokens for answer in answers if answer.prompt_tokens is not None]
    completion_tokens = [answer.completion_tokens for answer in answers if answer.completion_tokens is not None]
    return Answer(
        texts=tuple(text for answer in good for text in answer.texts or ()),
        prompt_tokens=sum(prompt_tokens) if prompt_tokens else None,
        completion_tokens=sum(completion_tokens) if completion_tokens else None,
    )


def _read_answer(item: JudgeItem, judge: JudgeFile, dimension: str, answer: Answer) -> Verdict:
    tokens = {"prompt_tokens": answer.prompt_tokens, "completion_tokens": answer.completion_tokens}
    if answer.failure is not None:
        return _verdict(item, judge, dimension, score=None, reason=answer.failure, **tokens)
    if answer.grades is not None:
        # G-Eval (Liu et al., 2023), section 2.3: the expectation over the grades, here over their normalised probabilities.
        mass = sum(answer.grades)
        if mass <= 0 or mass < judge.min_digit_mass:
            reason = f"the five grades hold {mass:.3f} of the probability, less than {judge.min_digit_mass:g}"
            return _verdict(item, judge, dimension, score=None, reason=reason, digit_mass=mass, **tokens)
        distribution = tuple(probability / mass for probability in answer.grades)
        score = _expectation(distribution)
        return _verdict(item, judge, dimension, score=score, reason=None, distribution=distribution, digit_mass=mass, **tokens)
    texts = answer.texts or ()
    read = [read_grade(text) for text in texts]
    grades = [grade for grade, _ in read if grade is not None]
    if not grades:
        reason = next((why for _, why in read if why is not None), "the judge gave no answer")
        return _verdict(item, judge, dimension, score=None, reason=reason, answers=texts, **tokens)
    counts = Counter(grades)
    distribution = tuple(counts[grade] / len(grades) for grade in range(1, 6))
    score = _expectation(distribution)
    return _verdict(item, judge, dimension, score=score, reason=None, distribution=distribution, answers=texts, **tokens)


def _expectation(distribution: Sequence[float]) -> float:
    expectation = sum(grade * probability for grade, probability in enumerate(distribution, 1))
    return min(5.0, max(1.0, expectation))  # Rounding may carry a certain 5 to 5.000000000000001.


def _verdict(item: JudgeItem, judge: JudgeFile, dimension: str, **fields: object) -> Verdict:
    return Verdict.model_validate({"reply_id": item.reply_id, "judge": judge.judge, "dimension": dimension, **fields})


def read_grade(text: str) -> tuple[int, None] | tuple[None, str]:
    """Reads a judge's answer as a grade, or says why it is none.

    The answer must hold one number, a whole one from 1 to 5 in the digits of any script; "4", "Grade: 4.", "**4**" and "4/5" are read
    as 4. Text that a reasoning model wrote between `<think>` marks is passed over. "10", "4.5", "four", "4 or 5" and an empty answer
    are not grades, and nothing is guessed.

    Returns:
        (grade, None) or (None, reason).
    """
    answer = re.sub(r"^\s*<think>.*?</think>", "", text, flags=re.DOTALL).strip()
    if answer.startswith("<think>"):
        return None, "the judge's answer ends before its thoughts do; raise max_tokens"
    if not answer:
        return None, "the judge's answer is empty"
    numbers = re.findall(r"[-−]?\d+(?:[.,]\d+)?", re.sub(r"(\d)\s*/\s*5\b", r"\1", answer))
    shown = repr(answer if len(answer) <= 40 else f"{answer[:40]}…")
    if len(numbers) != 1:
        return None, f"the judge's answer holds {'no number' if not numbers else 'several numbers'}: {shown}"
    has_fraction = any(unicodedata.numeric(character, 0) % 1 for character in answer)  # As in "4½".
    if has_fraction or not re.fullmatch(r"\d", numbers[0]) or not 1 <= int(numbers[0]) <= 5:
        return None, f"the judge's answer is no whole number from 1 to 5: {shown}"
    return int(numbers[0]), None
