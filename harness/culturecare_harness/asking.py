"""Asking: from prompts to what a judge says of each question, through the verdict store."""

from __future__ import annotations

import dataclasses
import itertools
import re
import unicodedata
from collections import Counter
from typing import TYPE_CHECKING

from culturecare import CultureCareError
from culturecare_harness.backends import Answer, Request, open_backend
from culturecare_harness.records import digest
from culturecare_harness.store import VerdictStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from culturecare_harness.backends import Backend
    from culturecare_harness.judges import JudgeFile
    from culturecare_harness.rubrics import JudgePrompts

__all__ = ["Reading", "ask", "read_grade"]

_BLOCK = 512


@dataclasses.dataclass(frozen=True, slots=True)
class Reading:
    """What a judge said to one question; the fields are those of `Verdict`."""

    score: float | None = None
    reason: str | None = None
    distribution: tuple[float, ...] | None = None
    digit_mass: float | None = None
    answers: tuple[str, ...] | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None

    @property
    def fields(self) -> dict[str, object]:
        """By name, for a record that takes them."""
        return {field: getattr(self, field) for field in self.__slots__}


def ask(
    prompts: Iterable[JudgePrompts | None],
    judge: JudgeFile,
    *,
    store: VerdictStore | None = None,
    backend: Callable[[JudgeFile], Backend] = open_backend,
    advance: Callable[[int], None] | None = None,
    retry_failed: bool = False,
) -> Iterator[list[Reading] | None]:
    """Has a judge answer every question, some hundred prompts at a time, so that memory does not grow with their number.

    Args:
        prompts: What to ask; null where there is nothing to ask about.
        judge: Who is asked, and in which mode.
        store: Where answers are looked up and kept, each as soon as it is there; by default nothing is kept.
        backend: Opens the judge's model. It is not called where the store answers everything.
        advance: Told how many questions were answered since it was told last.
        retry_failed: Whether questions to which the store has an answer without a score are asked again.

    Yields:
        For each of the prompts, in order, one reading a question; null for null.

    Raises:
        CultureCareError: The judge cannot go on (no key, no server, no such model); what was answered by then is kept.
    """
    store = store or VerdictStore(None)
    opened: Backend | None = None
    iterator = iter(prompts)
    # Batches are worked on for hours, so that all is handed over at once.
    size = None if judge.transport == "batch" else _BLOCK
    while block := list(itertools.islice(iterator, size)):
        answers = _Answers(block, judge, store)
        if retry_failed:
            answers.forget_failed()
        requests = answers.missing()
        if advance is not None:
            advance(answers.size - sum(len(request.keys) for request in requests))
        if requests:
            opened = opened or backend(judge)
            opened.answer(requests, _keeper(answers, requests, advance))
        for place in range(len(block)):
            yield answers.readings(place)


def _keeper(answers: _Answers, requests: Sequence[Request], advance: Callable[[int], None] | None) -> Callable[[int, int, Answer], None]:
    def keep(position: int, number: int, answer: Answer) -> None:
        answers.keep(requests[position], number, answer)
        if advance is not None:
            advance(1)

    return keep


class _Answers:
    """The answers to one block of prompts: what the store has, what is missing, and what came in."""

    def __init__(self, block: Sequence[JudgePrompts | None], judge: JudgeFile, store: VerdictStore) -> None:
        self._judge, self._store = judge, store
        self._samples = range(judge.samples if judge.mode == "sampled" else 1)
        self._prompts = {place: prompts for place, prompts in enumerate(block) if prompts is not None}
        settings = judge.store_settings
        self._keys = {
            place: [digest([settings, prompts.system, prompts.item, question], size=32) for question in prompts.questions]
            for place, prompts in self._prompts.items()
        }
        self._found = store.find(sorted({key for keys in self._keys.values() for key in keys}))

    @property
    def size(self) -> int:
        """Number of questions."""
        return sum(map(len, self._keys.values()))

    def forget_failed(self) -> None:
        """Has what was answered without a score asked again."""
        keys = {key for keys in self._keys.values() for key in keys}
        failed = {key for key in keys if (reading := self._reading(key)) is not None and reading.score is None}
        self._store.forget(failed)
        self._found = {place: answer for place, answer in self._found.items() if place[0] not in failed}

    def missing(self) -> list[Request]:
        """What is to be asked; a question that stands several times is asked once."""
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
            if sample != samples[0]:  # Tokens are counted once, with the first sample.
                of_sample = of_sample.model_copy(update={"prompt_tokens": 0, "completion_tokens": 0})
            self._store.add(key, sample, of_sample)
            self._found[key, sample] = of_sample

    def readings(self, place: int) -> list[Reading] | None:
        """What the judge said to one of the prompts, all whose questions are answered."""
        if place not in self._keys:
            return None
        readings = [reading for key in self._keys[place] if (reading := self._reading(key)) is not None]
        if len(readings) < len(self._keys[place]):
            raise CultureCareError(f"judge {self._judge.name!r}: the back end left a question unanswered")
        return readings

    def _reading(self, key: str) -> Reading | None:
        answers = [self._found[key, sample] for sample in self._samples if (key, sample) in self._found]
        return _read(answers, self._judge) if len(answers) == len(self._samples) else None


def _read(answers: Sequence[Answer], judge: JudgeFile) -> Reading:
    """Reads the answers of all samples; a sample that failed is left out, unless all did."""
    good = [answer for answer in answers if answer.failure is None]
    prompt_tokens = _sum_or_none(answer.prompt_tokens for answer in good or answers[:1])
    completion_tokens = _sum_or_none(answer.completion_tokens for answer in good or answers[:1])
    if not good:
        return Reading(reason=answers[0].failure, prompt_tokens=prompt_tokens, completion_tokens=completion_tokens)
    score, reason, distribution, mass, texts = None, None, None, None, None
    if good[0].grades is not None:
        # G-Eval (Liu et al., 2023), section 2.3: the expectation over the grades, here over their normalised probabilities.
        mass = sum(good[0].grades)
        if mass <= 0 or mass < judge.min_digit_mass:
            reason = f"the five grades hold {mass:.3f} of the probability, less than {judge.min_digit_mass:g}"
        else:
            distribution = tuple(probability / mass for probability in good[0].grades)
    else:
        texts = tuple(text for answer in good for text in answer.texts or ())
        read = [read_grade(text) for text in texts]
        grades = [grade for grade, _ in read if grade is not None]
        if grades:
            counts = Counter(grades)
            distribution = tuple(counts[grade] / len(grades) for grade in range(1, 6))
        else:
            reason = next((why for _, why in read if why is not None), "the judge gave no answer")
    if distribution is not None:
        expectation = sum(grade * probability for grade, probability in enumerate(distribution, 1))
        score = min(5.0, max(1.0, expectation))  # Rounding may carry a certain 5 to 5.000000000000001.
    return Reading(score, reason, distribution, mass, texts, prompt_tokens, completion_tokens)


def _sum_or_none(counts: Iterable[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


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
