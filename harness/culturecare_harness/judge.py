"""Judging: from replies to verdicts, one for each dimension of the rubric."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from typing import TYPE_CHECKING

from culturecare import CultureCareError, Record
from culturecare_harness.records import Hash, Verdict
from culturecare_harness.rubrics import select_rubric

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from culturecare_harness.backends import Answer, Backend
    from culturecare_harness.judges import JudgeFile

__all__ = ["EMPTY_REPLY", "JudgeItem", "judge_replies", "read_grade"]

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
    items: Sequence[JudgeItem],
    judge: JudgeFile,
    backend: Callable[[JudgeFile], Backend] | None = None,
    done: Callable[[list[Verdict]], None] | None = None,
) -> list[Verdict]:
    """Has every reply graded on every dimension.

    Args:
        items: What to judge.
        judge: Who judges, and in which mode.
        backend: Opens the judge's model; `open_backend` by default. It is not called where nothing is left to ask.
        done: Called with the verdicts of each item as soon as they are there, in any order.

    Returns:
        Verdicts in the order of `items`, and within one in the rubric's order. None is left out: what cannot be read has a null
        score and a reason.

    Raises:
        CultureCareError: The judge cannot go on (no key, no server, no such model); what `done` was given by then stands.
    """
    rubric = select_rubric(judge.rubric)
    verdicts: dict[int, list[Verdict]] = {}

    def finish(position: int, of_item: list[Verdict]) -> None:
        verdicts[position] = of_item
        if done is not None:
            done(of_item)

    to_ask = [position for position, item in enumerate(items) if item.reply.strip()]
    for position in sorted(set(range(len(items))) - set(to_ask)):
        finish(position, [_verdict(items[position], judge, d.key, score=None, reason=EMPTY_REPLY) for d in rubric.dimensions])
    if to_ask:
        if backend is None:
            from culturecare_harness.backends import open_backend

            backend = open_backend
        prompts = [rubric.prompts(items[position].post, items[position].reply) for position in to_ask]

        def answered(index: int, answers: list[Answer]) -> None:
            item = items[to_ask[index]]
            dimensions = zip(rubric.dimensions, answers, strict=True)
            finish(to_ask[index], [_read_answer(item, judge, dimension.key, answer) for dimension, answer in dimensions])

        backend(judge).answer(prompts, answered)
    if len(verdicts) != len(items):
        raise CultureCareError(f"judge {judge.name!r}: the back end answered for {len(verdicts)} of {len(items)} replies")
    return [verdict for position in range(len(items)) for verdict in verdicts[position]]


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
