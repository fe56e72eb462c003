"""Forms: what people are asked about replies, and how it is worded in each language.

A form is a YAML file in `forms`, in English; adding one is adding a file. `languages` has a file for each language with the words of the
interface and the wordings of the forms. A wording names the hash of the English form that it was made from, so that it is never shown with
a form that has changed since.
"""

from __future__ import annotations

import functools
import string
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StrictInt, StrictStr, field_validator, model_validator

from culturecare import CultureCareError, DataError, Record, cultures, parse_record, read_yaml
from culturecare_harness.records import Hash, digest
from culturecare_harness.rubrics import select_rubric

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "Contact",
    "Form",
    "FormWording",
    "Interface",
    "Language",
    "Question",
    "QuestionWording",
    "Value",
    "form_in",
    "forms",
    "languages",
    "main_language",
    "select_form",
    "select_language",
]

LONGEST_TEXT = 10_000
"""Longest answer in free text, in characters."""

Key = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Text = Annotated[str, Field(min_length=1)]
Texts = Annotated[tuple[Text, ...], Field(min_length=1)]

_FOLDER = Path(__file__).parent


# --- Forms -----------------------------------------------------------------------------------------------------------------------


class Value(Record):
    """A value of a scale or choice, and how it is worded."""

    value: StrictInt | StrictStr
    wording: Text


def _as_values(given: Any) -> Any:
    """Takes the values as a YAML file has them: a mapping of values to wordings."""
    return [{"value": value, "wording": wording} for value, wording in given.items()] if isinstance(given, dict) else given


Values = Annotated[tuple[Value, ...], BeforeValidator(_as_values)]


class Question(Record):
    """One question of a form.

    Attributes:
        key: Names the question in ratings.
        kind: `scale` (one of consecutive whole numbers), `choice` (one of several words), `ranking` (all replies of an item from best to
            worst) or `text`.
        about: Whether it is asked of each `reply`, or once of the `item` with all its replies.
        required: Whether an item is finished only with an answer to it, or a reason why there is none.
        name: Short name for headings.
        question: What is asked.
        values: The values of a scale or choice in their order, in a file as a mapping of values to wordings; none for rankings and texts.
    """

    key: Key
    kind: Literal["scale", "choice", "ranking", "text"]
    about: Literal["reply", "item"]
    required: bool
    name: Text
    question: Text
    values: Values = ()

    @model_validator(mode="after")
    def _values_fit_kind(self) -> Question:
        keys: list[Any] = [value.value for value in self.values]
        if self.kind == "scale":
            if not all(isinstance(key, int) for key in keys) or len(keys) < 2 or keys != list(range(keys[0], keys[0] + len(keys))):
                raise ValueError("the values of a scale are two or more consecutive whole numbers, in this order")
        elif self.kind == "choice":
            if not all(isinstance(key, str) for key in keys) or len(keys) < 2:
                raise ValueError('the values of a choice are two or more words (in YAML, "yes" and "no" take quotation marks)')
        elif keys:
            raise ValueError(f"a {self.kind} has no values")
        if self.kind == "ranking" and self.about != "item":
            raise ValueError("a ranking is about an item, whose replies it puts in order")
        if len(set(keys)) < len(keys) or len({value.wording.casefold() for value in self.values}) < len(keys):
            raise ValueError("two values are the same, or have the same wording")
        return self

    def wording(self, value: int | str) -> str:
        """How a value is worded.

        Raises:
            CultureCareError: The question has no such value.
        """
        for known in self.values:
            if known.value == value:
                return known.wording
        values = ", ".join(str(known.value) for known in self.values) or "none"
        raise CultureCareError(f"question {self.key!r} has no value {value!r}: its values are {values}")


class Form(Record):
    """A form.

    Attributes:
        name: The file's name without its ending.
        language: ISO 639-1 code of its wording.
        summary: One line for tables and help texts.
        introduction: What raters read before they begin.
        hash: Names the English form that it is, or is a wording of.
    """

    name: str
    version: int = Field(ge=1)
    language: str = "en"
    title: Text
    summary: Text
    introduction: Text
    questions: tuple[Question, ...] = Field(min_length=1)
    hash: Hash

    @field_validator("questions")
    @classmethod
    def _keys_differ(cls, questions: tuple[Question, ...]) -> tuple[Question, ...]:
        keys = [question.key for question in questions]
        if twice := sorted({key for key in keys if keys.count(key) > 1}):
            raise ValueError(f"question {twice[0]!r} is asked twice")
        if sum(question.kind == "ranking" for question in questions) > 1:
            raise ValueError("a form has at most one ranking")
        return questions

    @property
    def of_replies(self) -> tuple[Question, ...]:
        """The questions that are asked of each reply."""
        return tuple(question for question in self.questions if question.about == "reply")

    @property
    def of_items(self) -> tuple[Question, ...]:
        """The questions that are asked once of each item."""
        return tuple(question for question in self.questions if question.about == "item")

    def question(self, key: str) -> Question:
        """The question of that key.

        Raises:
            CultureCareError: There is none.
        """
        for question in self.questions:
            if question.key == key:
                return question
        raise CultureCareError(f"form {self.name!r} has no question {key!r}: choose from {', '.join(q.key for q in self.questions)}")


@functools.cache
def forms() -> Mapping[str, Form]:
    """The forms that come with the package, in English, by name.

    Raises:
        CultureCareError: A form's file does not fit.
    """
    return {path.stem: _read_form(path) for path in sorted((_FOLDER / "forms").glob("*.yaml"))}


def select_form(name: str) -> Form:
    """The form of that name, or of that YAML file, in English.

    Raises:
        CultureCareError: There is no such form, or its file does not fit.
    """
    if Path(name).suffix in {".yaml", ".yml"} and Path(name).is_file():
        return _read_form(Path(name))
    if name not in forms():
        raise CultureCareError(f"unknown form {name!r}: choose from {', '.join(forms())}, or name a YAML file")
    return forms()[name]


def _read_form(path: Path) -> Form:
    fields = read_yaml(path)
    questions: list[Any] = []
    given = fields.get("questions")
    if not isinstance(given, list):
        raise DataError(f"{path}: questions: must be a list of questions")
    for entry in given:
        if isinstance(entry, dict) and set(entry) == {"dimensions_of"}:
            questions += _of_rubric(str(entry["dimensions_of"]), path)
        else:
            questions.append(entry)
    if stray := [field for field in ("hash", "language", "name") if field in fields]:
        raise DataError(f"{path}: {stray[0]}: follows from the file, and is not said in it")
    if not all(isinstance(question, dict) for question in questions):
        raise DataError(f"{path}: questions: must be a list of mappings, each with a key, kind, about, required, name and question")
    form = parse_record(Form, {"name": path.stem, **fields, "questions": questions, "hash": "0" * 16}, where=str(path))
    return form.model_copy(update={"hash": digest(form.model_dump(mode="json", exclude={"hash", "summary"}))})


def _of_rubric(name: str, path: Path) -> list[dict[str, Any]]:
    """The dimensions of a rubric as questions, so that people are asked what the judge is asked."""
    try:
        rubric = select_rubric(name)
    except CultureCareError as error:
        raise CultureCareError(f"{path}: questions: dimensions_of: {error}") from error
    return [
        {
            "key": dimension.key,
            "kind": "scale",
            "about": "reply",
            "required": True,
            "name": dimension.name,
            "question": dimension.question,
            "values": dimension.anchors,
        }
        for dimension in rubric.dimensions
    ]


# --- Languages -------------------------------------------------------------------------------------------------------------------


class Contact(Record):
    """Where a rater in distress finds support.

    Attributes:
        name: Who it is, in the interface's language.
        reach: Telephone number or address.
        source: Web page of those who run it.
    """

    name: Text
    reach: Text
    source: str = Field(pattern=r"^https://\S+$")


_PLACEHOLDERS: Mapping[str, frozenset[str]] = {
    "reply": frozenset({"label"}),
    "missing": frozenset({"questions"}),
    "progress": frozenset({"done", "total"}),
    "keyboard": frozenset({"choose", "move", "save"}),
    "check": frozenset({"question", "answer"}),
}


class Interface(Record):
    """The words around the questions. Those in braces, such as `{label}`, are filled in.

    Attributes:
        how_it_works: Paragraphs on what a rater does, which hold for every packet.
        about_checks: What a rater is told besides where there are attention checks; see `items.instructions`.
        about_repeats: What a rater is told besides where posts come up again.
        consent: What a rater agrees to, in paragraphs.
        warning: What the posts may hold, in paragraphs.
        excerpt: Stands over posts that are known by their annotated phrases alone.
        empty_reply: Stands in place of a reply without text.
        blank_reason: Asks why a question was left blank.
        check: The text of a reply that is an attention check.
        workbook_help: How a workbook is filled in, in paragraphs.
    """

    title: Text
    begin: Text
    how_it_works: Texts
    about_checks: Text
    about_repeats: Text
    consent_title: Text
    consent: Texts
    agree: Text
    decline: Text
    declined: Text
    warning_title: Text
    warning: Texts
    support_title: Text
    support: Texts
    code: Text
    code_wrong: Text
    post: Text
    excerpt: Text
    reply: Text
    empty_reply: Text
    choose: Text
    optional: Text
    best: Text
    worst: Text
    rank: Text
    blank_reason: Text
    leave_out: Text
    missing: Text
    next: Text
    back: Text
    saved: Text
    progress: Text
    keyboard: Text
    finished_title: Text
    finished: Text
    check: Text
    number: Text
    instructions_sheet: Annotated[str, Field(min_length=1, max_length=31)]
    ratings_sheet: Annotated[str, Field(min_length=1, max_length=31)]
    workbook_help: Texts

    @model_validator(mode="after")
    def _placeholders_fit(self) -> Interface:
        for field in type(self).model_fields:
            value = getattr(self, field)
            found = {
                name for text in ([value] if isinstance(value, str) else value) for _, name, _, _ in string.Formatter().parse(text) if name
            }
            wanted = _PLACEHOLDERS.get(field, frozenset())
            if found != wanted:
                braces = ", ".join(f"{{{name}}}" for name in sorted(wanted)) or "nothing"
                raise ValueError(f"{field} must have {braces} in braces, not {', '.join(sorted(found)) or 'nothing'}")
        return self


class QuestionWording(Record):
    """A question in another language; `values` has the wording of each value of a scale or choice."""

    name: Text
    question: Text
    values: Values = ()


class FormWording(Record):
    """A form in another language.

    Attributes:
        of: Hash of the English form that it was made from.
        questions: By the question's key.
    """

    of: Hash
    title: Text
    introduction: Text
    questions: dict[str, QuestionWording]


class Language(Record):
    """A language of the interface and the forms.

    Attributes:
        code: ISO 639-1 code, the file's name without its ending.
        name: What its speakers call it.
        direction: Direction of its script.
        checked_by_native_speaker: Whether somebody whose first language it is has read and approved these words.
        contacts: Where raters in distress find support.
        gives_away: Phrases by which a reply says that a machine wrote it; they are looked for whatever their case.
        forms: Wordings of forms, by name; English has none, since forms are written in it.
    """

    code: str = Field(pattern=r"^[a-z]{2}$")
    name: Text
    direction: Literal["ltr", "rtl"]
    checked_by_native_speaker: bool
    interface: Interface
    contacts: tuple[Contact, ...] = Field(min_length=1)
    gives_away: Texts
    forms: dict[str, FormWording] = Field(default_factory=dict)


@functools.cache
def languages() -> Mapping[str, Language]:
    """The languages by ISO 639-1 code; one YAML file a language in `languages`.

    Raises:
        CultureCareError: A language's file does not fit.
    """
    return {
        path.stem: parse_record(Language, {"code": path.stem, **read_yaml(path)}, where=str(path))
        for path in sorted((_FOLDER / "languages").glob("*.yaml"))
    }


def select_language(code: str) -> Language:
    """The language of that code.

    Raises:
        CultureCareError: The interface has no such language.
    """
    if code not in languages():
        raise CultureCareError(
            f"the interface has no language {code!r}: choose from {', '.join(languages())}, or add a file to human/languages"
        )
    return languages()[code]


def main_language(culture: str) -> str:
    """ISO 639-1 code of a culture's main language.

    Raises:
        CultureCareError: The culture is unknown.
    """
    if culture not in cultures():
        raise CultureCareError(f"unknown culture {culture!r}: choose from {', '.join(cultures())}")
    return cultures()[culture].languages[0]


def form_in(form: Form, language: str) -> Form:
    """A form in another language.

    Args:
        form: The form, in English.
        language: ISO 639-1 code.

    Raises:
        CultureCareError: The form has no wording in that language, or the wording was made from another form or is not complete.
    """
    chosen = select_language(language)
    if language == form.language:
        return form
    where = f"human/languages/{language}.yaml: forms.{form.name}"
    wording = chosen.forms.get(form.name)
    if wording is None:
        raise CultureCareError(f"form {form.name!r} has no wording in language {language!r}; add it ({where}), or ask in English")
    if wording.of != form.hash:
        raise CultureCareError(f"{where}: was made from form {wording.of}, but the form is {form.hash} now; bring the wording up to date")
    _check_same("question", [question.key for question in form.questions], list(wording.questions), where)
    questions = []
    for question in form.questions:
        in_language = wording.questions[question.key]
        values, worded = ([known.value for known in given.values] for given in (question, in_language))
        _check_same("value", values, worded, f"{where}.questions.{question.key}")
        questions.append(
            question.model_copy(update={"name": in_language.name, "question": in_language.question, "values": in_language.values})
        )
    fields = {"title": wording.title, "introduction": wording.introduction, "language": language, "questions": tuple(questions)}
    return form.model_copy(update=fields)


def _check_same(what: str, wanted: Sequence[int | str], found: Sequence[int | str], where: str) -> None:
    if list(wanted) != list(found):
        raise CultureCareError(f"{where}: has the {what}s {', '.join(map(str, found))}, but must have {', '.join(map(str, wanted))}")
