"""Judging: from replies to verdicts, one for each dimension of the rubric."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from culturecare import Record
from culturecare_harness.asking import ask
from culturecare_harness.backends import open_backend
from culturecare_harness.records import Hash, Verdict
from culturecare_harness.rubrics import select_rubric

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from culturecare_harness.backends import Backend
    from culturecare_harness.judges import JudgeFile
    from culturecare_harness.store import VerdictStore

__all__ = ["EMPTY_REPLY", "JudgeItem", "judge_replies", "judge_stream"]

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
    """Has every reply graded on every dimension; memory does not grow with their number.

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
    rubric = select_rubric(judge.rubric)
    named = judge.judge
    to_name, to_ask = itertools.tee(items)
    prompts_of = rubric.prompter()
    prompts = (prompts_of(item.post, item.reply) if item.reply.strip() else None for item in to_ask)
    for item, readings in zip(
        to_name, ask(prompts, judge, store=store, backend=backend, advance=advance, retry_failed=retry_failed), strict=True
    ):
        if readings is None and advance is not None:
            advance(len(rubric.dimensions))
        yield [
            Verdict.model_validate(
                {
                    "reply_id": item.reply_id,
                    "judge": named,
                    "dimension": dimension.key,
                    **({"score": None, "reason": EMPTY_REPLY} if readings is None else readings[number].fields),
                }
            )
            for number, dimension in enumerate(rubric.dimensions)
        ]
