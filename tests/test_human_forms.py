"""What people are asked, in seven languages."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from culturecare import CultureCareError, DataError, cultures, parse_record
from culturecare_harness.human.forms import (
    Form,
    Interface,
    Question,
    form_in,
    forms,
    languages,
    main_language,
    select_form,
    select_language,
)
from culturecare_harness.human.web.words import select_words
from culturecare_harness.rubrics import select_rubric

if TYPE_CHECKING:
    from pathlib import Path

CONTAINED = ("annotator", "psychologist")
SCRIPTS = {"ar": "[؀-ۿ]", "he": "[֐-׿]", "hi": "[ऀ-ॿ]", "ja": "[぀-ヿ一-鿿]", "zh": "[一-鿿]"}


def question(**changes: Any) -> dict[str, Any]:
    plain = {"key": "warmth", "kind": "scale", "about": "reply", "required": True, "name": "Warmth", "question": "Is the reply warm?"}
    return plain | {"values": {1: "no", 2: "yes"}} | changes


def write_form(folder: Path, questions: list[Any], **fields: Any) -> str:
    content = {"version": 1, "title": "Mine", "summary": "One question.", "introduction": "Read.", "questions": questions} | fields
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return str(path)


# --- Forms ---


@pytest.mark.parametrize("form", forms().values(), ids=lambda form: form.name)
def test_every_form_is_complete(form: Form) -> None:
    assert form.language == "en"
    assert re.fullmatch("[0-9a-f]{16}", form.hash)
    assert any(asked.required for asked in form.questions)
    for asked in form.questions:
        assert asked.question.endswith(("?", "."))
        assert asked.name != asked.question


def test_both_forms_of_the_paper_come_along() -> None:
    assert set(CONTAINED) <= set(forms())


def test_annotators_are_asked_word_for_word_what_the_judge_is_asked() -> None:
    scales = [asked for asked in select_form("annotator").questions if asked.kind == "scale"]
    dimensions = select_rubric("culturecare").dimensions
    assert len(scales) == 7
    for asked, dimension in zip(scales, dimensions, strict=True):
        assert (asked.key, asked.name, asked.question) == (dimension.key, dimension.name, dimension.question)
        assert {value.value: value.wording for value in asked.values} == dimension.anchors


def test_annotators_also_rank_the_replies_and_comment_freely() -> None:
    assert [(asked.key, asked.kind) for asked in select_form("annotator").of_items] == [("ranking", "ranking"), ("comment", "text")]


def test_psychologists_are_asked_the_papers_questions_on_the_papers_scales() -> None:
    values = {asked.key: [value.value for value in asked.values] for asked in select_form("psychologist").questions}
    assert values == {
        "overly_positive": ["yes", "somewhat", "no"],
        "overly_negative": ["yes", "somewhat", "no"],
        "cognitive_empathy": [1, 2, 3, 4, 5],
        "emotional_empathy": [1, 2, 3, 4, 5],
        "emotion_regulation": [1, 2, 3, 4, 5],
        "cultural_understanding": ["yes", "partially", "no"],
        "training_use": ["strong_example", "with_revision", "not_suitable"],
        "comment": [],
    }


def test_adding_a_form_is_adding_a_file(tmp_path: Path) -> None:
    form = select_form(write_form(tmp_path, [question(), {"dimensions_of": "culturecare"}]))
    assert form.name == "mine"
    assert [asked.key for asked in form.questions][:2] == ["warmth", "empathy"]


def test_a_form_survives_its_way_through_json() -> None:
    for form in forms().values():
        assert Form.model_validate_json(form.model_dump_json()) == form


def test_the_hash_follows_the_wording_and_not_the_summary(tmp_path: Path) -> None:
    def hashed(**changes: Any) -> str:
        return select_form(write_form(tmp_path, [question(**changes.pop("question", {}))], **changes)).hash

    assert hashed(summary="Another summary.") == hashed()
    for change in (
        {"introduction": "Read well."},
        {"version": 2},
        {"question": {"values": {1: "yes", 2: "no"}}},
        {"question": {"required": False}},
    ):
        assert hashed(**change) != hashed()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"values": {1: "no", 3: "yes"}}, "two or more consecutive whole numbers"),
        ({"values": {1: "no"}}, "two or more consecutive whole numbers"),
        ({"values": {"a": "no", "b": "yes"}}, "two or more consecutive whole numbers"),
        ({"kind": "choice"}, "two or more words"),
        ({"kind": "choice", "values": {True: "no", False: "yes"}}, "values.0.value"),
        ({"kind": "text"}, "a text has no values"),
        ({"kind": "ranking", "values": {}}, "a ranking is about an item"),
        ({"values": {1: "yes", 2: "Yes"}}, "two values are the same"),
        ({"key": "Warmth"}, "key"),
        ({"colour": "blue"}, "colour"),
    ],
)
def test_a_question_that_does_not_fit_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        select_form(write_form(tmp_path, [question(**changes)]))


@pytest.mark.parametrize(
    ("questions", "fields", "message"),
    [
        ([question(), question()], {}, "asked twice"),
        ([question(key=key, kind="ranking", about="item", values={}) for key in ("one", "two")], {}, "at most one ranking"),
        ([{"dimensions_of": "nothing"}], {}, "unknown rubric 'nothing'"),
        (["warmth"], {}, "list of mappings"),
        ({}, {}, "must be a list of questions"),
        ([question()], {"hash": "0" * 16}, "follows from the file"),
    ],
)
def test_a_form_that_does_not_fit_is_refused(tmp_path: Path, questions: Any, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(CultureCareError, match=message):
        select_form(write_form(tmp_path, questions, **fields))


def test_an_unknown_form_question_or_value_is_named_with_those_that_there_are() -> None:
    form = select_form("psychologist")
    with pytest.raises(CultureCareError, match="unknown form 'poet': choose from annotator, psychologist"):
        select_form("poet")
    with pytest.raises(CultureCareError, match="no question 'rhyme': choose from overly_positive"):
        form.question("rhyme")
    with pytest.raises(CultureCareError, match="its values are yes, somewhat, no"):
        form.question("overly_positive").wording("maybe")


# --- Languages ---


def test_every_culture_has_its_main_language() -> None:
    assert {main_language(culture) for culture in cultures()} == {"ar", "de", "en", "he", "hi", "ja", "zh"} == set(languages())
    with pytest.raises(CultureCareError, match="unknown culture 'martian'"):
        main_language("martian")


@pytest.mark.parametrize("code", sorted(languages()))
@pytest.mark.parametrize("name", CONTAINED)
def test_every_language_words_every_form_anew(code: str, name: str) -> None:
    english = select_form(name)
    form = form_in(english, code)
    assert (form.language, form.hash) == (code, english.hash)
    for ours, theirs in zip(form.questions, english.questions, strict=True):
        assert [value.value for value in ours.values] == [value.value for value in theirs.values]
        assert (ours.key, ours.kind, ours.about, ours.required) == (theirs.key, theirs.kind, theirs.about, theirs.required)
        # Validated again: no two values share their wording in any language.
        parse_record(Question, ours.model_dump(), where=f"{code}/{name}/{ours.key}")
        if code != "en":
            assert ours.question != theirs.question
            assert not ours.values or [value.wording for value in ours.values] != [value.wording for value in theirs.values]


@pytest.mark.parametrize("language", languages().values(), ids=lambda language: language.code)
def test_every_language_is_written_in_its_script(language: Any) -> None:
    texts = [text for value in language.interface.model_dump().values() for text in ([value] if isinstance(value, str) else value)]
    for form in forms().values():
        texts += [asked.question for asked in form_in(form, language.code).questions]
    assert language.direction == ("rtl" if language.code in {"ar", "he"} else "ltr")
    if language.code in SCRIPTS:
        assert [text for text in texts if not re.search(SCRIPTS[language.code], text)] == []


@pytest.mark.parametrize("language", languages().values(), ids=lambda language: language.code)
def test_every_language_warns_and_names_where_to_find_support(language: Any) -> None:
    assert language.interface.consent
    assert language.interface.warning
    assert "https://findahelpline.com" in {contact.reach for contact in language.contacts}
    assert len(language.contacts) >= 2
    assert language.gives_away


def test_no_language_claims_to_have_been_checked() -> None:
    # Whoever has a file checked by a native speaker says so in it, and here.
    assert [code for code, language in languages().items() if language.checked_by_native_speaker] == []


def test_words_in_braces_must_be_those_that_are_filled_in() -> None:
    words = select_language("en").interface.model_dump()
    with pytest.raises(DataError, match=re.escape("progress must have {done}, {total} in braces, not done")):
        parse_record(Interface, words | {"progress": "{done} finished"}, where="en.yaml")
    with pytest.raises(DataError, match="begin must have nothing in braces, not name"):
        parse_record(Interface, words | {"begin": "Begin, {name}"}, where="en.yaml")


def test_a_wording_is_refused_once_its_form_has_changed() -> None:
    form = select_form("annotator").model_copy(update={"hash": "f" * 16})
    with pytest.raises(CultureCareError, match=r"languages/de.yaml: forms.annotator: was made from form .* bring the wording up to date"):
        form_in(form, "de")


def test_a_form_without_a_wording_can_be_asked_in_english_alone(tmp_path: Path) -> None:
    form = select_form(write_form(tmp_path, [question()]))
    assert form_in(form, "en") == form
    with pytest.raises(CultureCareError, match="form 'mine' has no wording in language 'de'"):
        form_in(form, "de")
    with pytest.raises(CultureCareError, match="the interface has no language 'xx'"):
        form_in(form, "xx")


@pytest.mark.parametrize("language", languages().values(), ids=lambda language: language.code)
def test_what_holds_for_some_packets_alone_is_said_apart(language: Any) -> None:
    words = language.interface
    assert len(words.how_it_works) == 2
    # Of the web form alone is true that answers are saved by themselves; whoever fills in a workbook saves it.
    apart = [words.about_checks, words.about_repeats, select_words(language.code).saving, words.workbook_help[-1]]
    assert len(set(apart)) == 4
    assert not [text for text in apart if text in words.how_it_works]
