"""Understanding: questions about the annotations."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import culturecare
from culturecare import DistressSpan, Instance, SignalSpan, SupportSpan, cultures, released_cultures
from culturecare_harness import understanding
from culturecare_harness.understanding import TASKS, questions, read_label

CHOICES = {
    "intensity": culturecare.INTENSITIES,
    "signal": culturecare.SIGNAL_TYPES,
    "strategy": culturecare.SUPPORT_STRATEGIES,
    "culture": tuple(culture.name for culture in cultures().values()),
}


@pytest.fixture
def excerpt(sample: list[Instance]) -> Instance:
    distress = (DistressSpan(phrase="one", label="high"), DistressSpan(phrase="two", label=None))
    post = {"text": None, "emotional_distress": distress, "cultural_signals": (SignalSpan(phrase="three", label="Values"),)}
    response = {"text": None, "emotional_support": (SupportSpan(phrase="four", label=None),), "cultural_signals": ()}
    first = sample[0]
    return first.model_copy(
        update={"post": first.post.model_copy(update=post), "response": first.response.model_copy(update=response)},
    )


def test_there_are_four_tasks() -> None:
    assert list(TASKS) == list(CHOICES)


@pytest.mark.parametrize("label", list(TASKS))
def test_choices_are_the_whole_label_set_with_one_letter_each(label: str, sample: list[Instance]) -> None:
    for question in questions(TASKS[label], sample, "sample"):
        assert question.choices == CHOICES[label]
        assert question.letters == tuple("ABCDEFGH"[: len(question.choices)])
        labels = question.labels.splitlines()
        assert question.options.splitlines() == [f"{x}. {line}" for x, line in zip(question.letters, labels, strict=True)]
        definitions = [line.partition(": ") for line in labels]
        assert [choice for choice, _, _ in definitions] == list(question.choices)
        assert all(bool(text) == (label != "culture") for _, _, text in definitions)


@pytest.mark.parametrize("label", ["intensity", "signal", "strategy"])
def test_every_labelled_span_asks_one_question_whose_answer_is_its_label(label: str, sample: list[Instance]) -> None:
    spans: dict[str, list[tuple[str, str, str, str | None]]] = {"intensity": [], "signal": [], "strategy": []}
    for i in sample:
        spans["intensity"] += [(i.id, i.post_text, span.phrase, span.label) for span in i.post.emotional_distress]
        spans["signal"] += [(i.id, i.post_text, span.phrase, span.label) for span in i.post.cultural_signals]
        spans["signal"] += [(i.id, i.response_text, span.phrase, span.label) for span in i.response.cultural_signals]
        spans["strategy"] += [(i.id, i.response_text, span.phrase, span.label) for span in i.response.emotional_support]
    asked = questions(TASKS[label], sample, "sample")
    assert [(q.instance_id, q.text, q.phrase, q.choices[q.gold]) for q in asked] == spans[label]
    assert all(question.phrase in question.text for question in asked)


def test_every_post_asks_for_its_culture_once_among_all_of_the_split(sample: list[Instance]) -> None:
    asked = questions(TASKS["culture"], sample[:3], "sample")
    assert [(q.instance_id, q.phrase, q.choices[q.gold]) for q in asked] == [(i.id, "", cultures()[i.culture].name) for i in sample[:3]]
    german = [instance for instance in sample if instance.culture == "german"]
    [choices] = {question.choices for question in questions(TASKS["culture"], german, "test")}
    assert choices == tuple(cultures()[key].name for key in released_cultures())


@pytest.mark.parametrize(
    ("label", "headings"),
    [("intensity", {"A post"}), ("signal", {"A post", "A reply"}), ("strategy", {"A reply"}), ("culture", {"A post"})],
)
def test_a_question_says_whether_it_shows_a_post_or_a_reply(label: str, headings: set[str], sample: list[Instance]) -> None:
    texts = {(i.id, "A post"): i.post_text for i in sample} | {(i.id, "A reply"): i.response_text for i in sample}
    asked = questions(TASKS[label], sample, "sample")
    assert {question.heading for question in asked} == headings
    assert all(question.text == texts[question.instance_id, question.heading] and not question.excerpt for question in asked)


def test_a_span_without_a_label_asks_nothing(excerpt: Instance) -> None:
    assert [question.phrase for question in questions(TASKS["intensity"], [excerpt], "sample")] == ["one"]
    assert questions(TASKS["strategy"], [excerpt], "sample") == []


def test_an_excerpt_says_so_and_lists_its_passages(excerpt: Instance) -> None:
    [question] = questions(TASKS["signal"], [excerpt], "sample")
    assert question.excerpt
    assert question.heading == "Passages of a post, one a line"
    assert question.text == "one\ntwo\nthree"


def test_a_registry_of_many_cultures_can_still_be_asked_about(sample: list[Instance], monkeypatch: pytest.MonkeyPatch) -> None:
    more = {f"land{number}": cultures()["german"].model_copy(update={"name": f"Land{number}"}) for number in range(5)}
    monkeypatch.setattr(understanding, "cultures", lambda: {**cultures(), **more})
    [question] = questions(TASKS["culture"], sample[:1], "sample")
    assert len(set(question.letters)) == len(question.choices) == 12


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("moderate", 1),
        ("Moderate.", 1),
        ("The intensity is **high**.", 2),
        ("\n\n  light\nbecause it is not high", 0),
        ("high, no: light", None),
        ("lightly", None),
        ("enlightened", None),
        ("none of them", None),
        ("", None),
        (" \n ", None),
    ],
)
def test_the_one_label_that_the_first_line_names_is_read(answer: str, expected: int | None) -> None:
    assert read_label(answer, culturecare.INTENSITIES) == expected


@given(st.sampled_from(list(CHOICES)), st.data())
def test_every_label_is_read_as_itself_in_any_case(task: str, data: st.DataObject) -> None:
    labels = CHOICES[task]
    label = data.draw(st.sampled_from(labels))
    written = data.draw(st.sampled_from([label, label.upper(), label.lower(), f"**{label}**", f'"{label}".']))
    assert read_label(written, labels) == labels.index(label)


@given(st.text())
def test_any_answer_is_read_without_an_error(answer: str) -> None:
    assert read_label(answer, culturecare.SUPPORT_STRATEGIES) in {None, *range(8)}
