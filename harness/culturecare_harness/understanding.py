"""Understanding: questions about the annotations themselves, which need no judge."""

from __future__ import annotations

import re
import string
from typing import TYPE_CHECKING, Literal

import culturecare
from culturecare import Record, cultures, released_cultures

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from culturecare import DistressSpan, Instance, SignalSpan, Split, SupportSpan

__all__ = ["TASKS", "LabelTask", "Question", "questions", "read_label"]


class LabelTask(Record):
    """A label to be found.

    Attributes:
        label: What is asked for.
        question: The question, in words.
    """

    label: Literal["intensity", "signal", "strategy", "culture"]
    question: str


TASKS: Mapping[str, LabelTask] = {
    task.label: task
    for task in (
        LabelTask(label="intensity", question="How intense is the distress that the passage voices?"),
        LabelTask(label="signal", question="Of which type is the cultural signal in the passage?"),
        LabelTask(label="strategy", question="Which strategy of emotional support does the passage use?"),
        LabelTask(label="culture", question="From which culture does the author of the post write?"),
    )
}


class Question(Record):
    """One question about one annotated span, or about a whole post.

    Attributes:
        heading: What the text is, and whether it is known in part only.
        text: The post or reply that the passage stands in.
        phrase: The annotated passage, empty where the question is about the whole.
        choices: All labels, in the schema's order.
        letters: One letter a choice.
        options: The choices with their definitions, lettered, one a line.
        labels: The same without letters.
        gold: Position of the right choice.
    """

    instance_id: str
    culture: str
    excerpt: bool
    heading: str
    text: str
    phrase: str
    question: str
    choices: tuple[str, ...]
    letters: tuple[str, ...]
    options: str
    labels: str
    gold: int


def questions(task: LabelTask, instances: Iterable[Instance], split: Split) -> list[Question]:
    """Makes a task's questions; a span whose label the annotator left out asks none.

    The choices of the culture task are all cultures of the split, whichever were chosen, so that its difficulty stays the same.
    """
    definitions = _definitions(task, split)
    choices, letters = tuple(definitions), tuple(string.ascii_uppercase[: len(definitions)])
    lines = [f"{choice}: {text}" if text else choice for choice, text in definitions.items()]
    options = "\n".join(f"{letter}. {line}" for letter, line in zip(letters, lines, strict=True))
    asked = []
    for instance in instances:
        for part, phrase, label in _labelled(task, instance):
            whole = instance.post.text if part == "post" else instance.response.text
            asked.append(
                Question(
                    instance_id=instance.id,
                    culture=instance.culture,
                    excerpt=whole is None,
                    heading=f"Passages of a {part}, one a line" if whole is None else f"A {part}",
                    text=instance.post_text if part == "post" else instance.response_text,
                    phrase=phrase,
                    question=task.question,
                    choices=choices,
                    letters=letters,
                    options=options,
                    labels="\n".join(lines),
                    gold=choices.index(label),
                )
            )
    return asked


def _definitions(task: LabelTask, split: Split) -> Mapping[str, str]:
    if task.label == "intensity":
        return culturecare.INTENSITY_DEFINITIONS
    if task.label == "signal":
        return culturecare.SIGNAL_TYPE_DEFINITIONS
    if task.label == "strategy":
        return culturecare.SUPPORT_STRATEGY_DEFINITIONS
    return {cultures()[key].name: "" for key in (released_cultures() if split == "test" else cultures())}


def _labelled(task: LabelTask, instance: Instance) -> Iterator[tuple[str, str, str]]:
    """Yields (`post` or `reply`, phrase, label) for whatever the task asks about."""
    post, response = instance.post, instance.response
    if task.label == "culture":
        yield "post", "", cultures()[instance.culture].name
        return
    parts: dict[str, list[tuple[str, Sequence[DistressSpan | SignalSpan | SupportSpan]]]] = {
        "intensity": [("post", post.emotional_distress)],
        "signal": [("post", post.cultural_signals), ("reply", response.cultural_signals)],
        "strategy": [("reply", response.emotional_support)],
    }
    for part, spans in parts[task.label]:
        for span in spans:
            if span.label is not None:
                yield part, span.phrase, span.label


def read_label(answer: str, labels: Sequence[str]) -> int | None:
    """Position of the one label that the answer's first line names, in any case; null where it names none or several."""
    first = next((line for line in answer.splitlines() if line.strip()), "")
    named = [index for index, label in enumerate(labels) if re.search(rf"(?<!\w){re.escape(label)}(?!\w)", first, re.IGNORECASE)]
    return named[0] if len(named) == 1 else None
