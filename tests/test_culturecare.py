"""The dataset: label sets, registry, reading, normalisation and the `datasets` builder."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

import culturecare
from culturecare import (
    RELEASE_VARIABLE,
    CultureCareError,
    DataError,
    Instance,
    Span,
    cultures,
    load_instances,
    normalise_demographics,
    read_instances,
    select_cultures,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

RELEASED = ("arabic", "chinese", "german", "jewish")
ABSENT = object()

# Written for these tests, in the format of the release: phrases and an address, no texts.
ROW: dict[str, Any] = {
    "culture": "Arabic",
    "post_id": "t1",
    "post": {
        "text": "https://example.org/t1",
        "emotional_distress": [{"phrase": "I sleep with the lamp on", "intensity": "light"}, {"phrase": "no way out", "intensity": ""}],
        "cultural_signals": [{"phrase": "before the feast", "type": "Norms and Morals"}],
        "demographic_info": {"gender": "f", "age": 31, "number_of_people_in_household": "4"},
    },
    "response": {
        "emotional_support": [{"phrase": "light a second one", "strategy": "Providing Suggestions"}, {"phrase": "hm", "strategy": ""}],
        "cultural_signals": [{"phrase": "after the feast", "type": "None"}],
        "empathy_score": "4 quite empathetic",
    },
}


def changed(path: tuple[str | int, ...], value: object, row: Mapping[str, Any] = ROW) -> dict[str, Any]:
    """A copy of `row` with `value` at `path`, or without what stands there."""
    result = copy.deepcopy(dict(row))
    holder: Any = result
    for part in path[:-1]:
        holder = holder[part]
    if value is ABSENT:
        del holder[path[-1]]
    else:
        holder[path[-1]] = value
    return result


def written(path: Path, *rows: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def small_release(folder: Path, post_id: str) -> Path:
    """A release of one row a culture."""
    for key in RELEASED:
        name = cultures()[key].name
        written(folder / f"{name}_data.jsonl", changed(("culture",), name, changed(("post_id",), post_id)))
    return folder


# --- Schema and registry ---------------------------------------------------------------------------------------------------------


def test_label_sets_are_those_of_the_paper() -> None:
    assert culturecare.INTENSITIES == ("light", "moderate", "high")
    assert set(culturecare.SIGNAL_TYPES) == {"Concepts", "Knowledge", "Values", "Norms and Morals", "Language", "Artifacts", "Demographics"}
    assert set(culturecare.SUPPORT_STRATEGIES) == {
        *("Questions", "Restatement or Paraphrasing", "Reflection of Feelings", "Self-disclosure"),
        *("Affirmation and Reassurance", "Providing Suggestions", "Information", "Others"),
    }
    assert culturecare.SPLITS == ("test", "sample", "train", "own")
    assert len(culturecare.DEMOGRAPHIC_FIELDS) == 11


def test_every_label_has_a_definition_and_nothing_else_has() -> None:
    assert tuple(culturecare.INTENSITY_DEFINITIONS) == culturecare.INTENSITIES
    assert tuple(culturecare.SIGNAL_TYPE_DEFINITIONS) == culturecare.SIGNAL_TYPES
    assert tuple(culturecare.SUPPORT_STRATEGY_DEFINITIONS) == culturecare.SUPPORT_STRATEGIES
    assert tuple(culturecare.EMPATHY_WORDINGS) == (1, 2, 3, 4, 5)


def test_registry_has_four_released_cultures_and_three_without_annotations() -> None:
    assert list(cultures()) == ["american", "arabic", "chinese", "german", "indian", "japanese", "jewish"]
    assert culturecare.released_cultures() == RELEASED


@pytest.mark.parametrize("key", list(cultures()))
def test_every_culture_is_complete_and_its_profile_concise(key: str) -> None:
    culture = cultures()[key]
    assert culture.key == key == culture.name.lower()
    assert culture.demonym[0].isupper()
    assert all(len(code) == 2 for code in culture.languages)
    assert 80 <= len(culture.profile.split()) <= 200


def test_records_refuse_unknown_fields_and_change() -> None:
    with pytest.raises(ValidationError, match="mood"):
        Span.model_validate({"phrase": "x", "mood": "y"})
    with pytest.raises(ValidationError, match="frozen"):
        Span(phrase="x").phrase = "y"  # type: ignore[misc]


@pytest.mark.parametrize(
    "offsets",
    [{"start": 1}, {"end": 1}, {"start": 0, "end": 9}, {"start": -4, "end": 0}],
    ids=["no end", "no start", "too long", "negative"],
)
def test_a_span_whose_offsets_do_not_fit_is_refused(offsets: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        Span.model_validate({"phrase": "four", **offsets})


@pytest.mark.parametrize("names", [None, "all", ["all"], "all,chinese"])
def test_all_cultures_of_a_split_can_be_chosen(names: str | list[str] | None) -> None:
    assert select_cultures(names, "sample") == tuple(cultures())
    assert select_cultures(names, "test") == RELEASED


@pytest.mark.parametrize("names", ["german,arabic", " German , ARABIC", ["german", "arabic", "german"]])
def test_chosen_cultures_come_once_and_in_registry_order(names: str | list[str]) -> None:
    assert select_cultures(names, "test") == ("arabic", "german")


@pytest.mark.parametrize(
    ("names", "split", "words"),
    [
        ("atlantean", "sample", "unknown culture 'atlantean'.*american, arabic.*all"),
        ("all,atlantean", "sample", "unknown culture 'atlantean'"),
        ("japanese", "test", "'japanese' has no released annotations.*'sample'.*arabic, chinese, german, jewish"),
        (" , ", "sample", "no culture was named.*all"),
    ],
)
def test_a_choice_that_cannot_be_met_is_refused(names: str, split: culturecare.Split, words: str) -> None:
    with pytest.raises(DataError, match=words):
        select_cultures(names, split)


# --- The real release ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def released(release: Path) -> list[Instance]:
    return load_instances("test", None, release)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("arabic", {"posts": 110, "replies": 104, "distress": 397, "signals": 347, "strategies": 261}),
        ("chinese", {"posts": 141, "replies": 126, "distress": 399, "signals": 315, "strategies": 242}),
        ("german", {"posts": 119, "replies": 100, "distress": 402, "signals": 338, "strategies": 194}),
        ("jewish", {"posts": 92, "replies": 88, "distress": 531, "signals": 524, "strategies": 346}),
    ],
)
def test_release_has_the_counted_rows(released: list[Instance], key: str, expected: dict[str, int]) -> None:
    found: Counter[str] = Counter()
    for instance in released:
        if instance.culture == key:
            found["posts"] += 1
            found["replies"] += instance.response.empathy_score is not None
            found["distress"] += len(instance.post.emotional_distress)
            found["signals"] += len(instance.post.cultural_signals) + len(instance.response.cultural_signals)
            found["strategies"] += len(instance.response.emotional_support)
    assert found == expected


def test_release_has_the_counted_labels(released: list[Instance]) -> None:
    intensities = Counter(span.label for instance in released for span in instance.post.emotional_distress)
    of_post = Counter(span.label for instance in released for span in instance.post.cultural_signals)
    of_reply = Counter(span.label for instance in released for span in instance.response.cultural_signals)
    strategies = Counter(span.label for instance in released for span in instance.response.emotional_support)
    assert intensities == {"light": 466, "moderate": 930, "high": 328, None: 5}
    assert {label: (of_post[label], of_reply[label]) for label in of_post | of_reply} == {
        "Norms and Morals": (439, 58),
        "Concepts": (290, 139),
        "Values": (216, 53),
        "Demographics": (133, 24),
        "Knowledge": (43, 17),
        "Language": (41, 21),
        "Artifacts": (28, 18),
        None: (0, 4),
    }
    assert strategies == {
        "Providing Suggestions": 316,
        "Affirmation and Reassurance": 193,
        "Self-disclosure": 167,
        "Information": 110,
        "Reflection of Feelings": 87,
        "Others": 79,
        "Restatement or Paraphrasing": 50,
        "Questions": 40,
        None: 1,
    }
    assert Counter(instance.response.empathy_score for instance in released) == {1: 61, 2: 123, 3: 117, 4: 79, 5: 38, None: 44}


def test_nothing_of_the_release_is_dropped(release: Path, released: list[Instance]) -> None:
    rows = [
        json.loads(line)
        for key in RELEASED
        for line in (release / f"{cultures()[key].name}_data.jsonl").read_text(encoding="utf-8").splitlines()
        if line.strip()
    ]
    assert [instance.id for instance in released] == [f"{row['culture'].lower()}-{row['post_id']}" for row in rows]
    differing = [
        instance.id
        for instance, row in zip(released, rows, strict=True)
        if [span.phrase for span in instance.post.emotional_distress] != [span["phrase"] for span in row["post"]["emotional_distress"]]
        or [span.phrase for span in instance.response.emotional_support]
        != [span["phrase"] for span in row["response"]["emotional_support"]]
    ]
    assert differing == []
    assert sum(not instance.response.emotional_support for instance in released) == 63
    assert sum(not instance.post.emotional_distress for instance in released) == 1


def test_release_rows_are_excerpts_that_no_model_may_be_trained_on(released: list[Instance]) -> None:
    assert all(instance.excerpt and instance.response.text is None for instance in released)
    assert {(instance.source, instance.training, instance.synthetic) for instance in released} == {("release", "forbidden", False)}
    assert all(instance.url is not None and instance.url.startswith("http") for instance in released)
    assert all(span.start is None for instance in released for span in instance.post.emotional_distress)


def test_a_quarter_of_the_arabic_and_three_quarters_of_the_german_release_are_not_in_english(released: list[Instance]) -> None:
    languages = Counter((instance.culture, instance.language) for instance in released)
    assert 0.15 <= languages["arabic", "ar"] / 110 <= 0.35
    assert 0.65 <= languages["german", "de"] / 119 <= 0.85
    assert languages["chinese", "en"] / 141 > 0.9
    assert languages["jewish", "en"] / 92 > 0.9
    assert {language for _, language in languages} <= {code for culture in cultures().values() for code in culture.languages}


def test_every_released_age_that_holds_a_number_is_read(released: list[Instance]) -> None:
    with_number = [i for i in released if any(character.isdigit() for character in i.post.demographic_info["age"])]
    assert with_number
    ages = [(i.post.demographics.age_min, i.post.demographics.age_max) for i in with_number]
    assert all(low is not None and high is not None and 0 < low <= high for low, high in ages)
    assert all(i.post.demographics.age_min is None for i in released if i.post.demographic_info["age"] == "unknown")


def test_every_released_gender_and_household_that_is_known_is_read(released: list[Instance]) -> None:
    for field, read in (("gender", "gender"), ("number_of_people_in_household", "household_size")):
        unread = [i.id for i in released if i.post.demographic_info[field] != "unknown" and getattr(i.post.demographics, read) is None]
        assert unread == []


# --- Normalisation ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("41", (41, 41)),
        (" 8 ", (8, 8)),
        ("41 years old", (41, 41)),
        ("41 Jahre", (41, 41)),
        ("almost 22", (21, 21)),
        ("nearly 22", (21, 21)),
        ("fast 22", (21, 21)),
        ("50s", (50, 59)),
        ("50's", (50, 59)),
        ("in my fifties", (50, 59)),
        ("early 50s", (50, 53)),
        ("mid 50s", (54, 56)),
        ("mid-50s", (54, 56)),
        ("Late 50s", (57, 59)),
        ("mid-fifties", (54, 56)),
        ("early-mid fifties", (50, 56)),
        ("mid to late fifties", (54, 59)),
        ("Anfang 60", (60, 63)),
        ("Mitte 60", (64, 66)),
        ("Ende 60", (67, 69)),
        ("teenager", (13, 19)),
        ("Teen", (13, 19)),
        ("unknown", (None, None)),
        ("", (None, None)),
        ("elderly", (None, None)),
        ("of school age", (None, None)),
        ("30-35", (None, None)),
        ("born 1970", (None, None)),
    ],
)
def test_age_words_are_read_as_the_years_they_allow(words: str, expected: tuple[int | None, int | None]) -> None:
    read = normalise_demographics({"age": words})
    assert (read.age_min, read.age_max) == expected


@pytest.mark.parametrize("words", ["over 50", "50+", "under 50", "40s or 50s", "9 months"])
def test_age_words_that_are_not_certain_are_never_read_as_an_exact_age_or_one_decade(words: str) -> None:
    read = normalise_demographics({"age": words})
    certain = (read.age_min, read.age_max)
    assert certain not in {(50, 50), (40, 49), (9, 9)}


@pytest.mark.parametrize("words", ["almost 0", "late 200", "200s", "999"])
def test_age_words_that_fit_nobody_are_null(words: str) -> None:
    read = normalise_demographics({"age": words})
    assert (read.age_min, read.age_max) == (None, None)


@given(age=st.text(max_size=20), gender=st.text(max_size=10), household=st.text(max_size=4))
def test_no_words_of_an_annotator_stop_the_reading(age: str, gender: str, household: str) -> None:
    read = normalise_demographics({"age": age, "gender": gender, "number_of_people_in_household": household})
    assert (read.age_min is None) == (read.age_max is None)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        *((word, "female") for word in ("female", "Female", "F", "f", "w", "weiblich", "woman", "أنثى", "女", "נקבה")),
        *((word, "male") for word in ("male", "Male", "M", "m", "Männlich", "männlich", " man ", "ذكر", "男", "זכר")),
        *((word, "other") for word in ("trans", "non-binary", "divers")),
        *((word, None) for word in ("unknown", "", "x", "female or male")),
    ],
)
def test_gender_words_are_read(words: str, expected: str | None) -> None:
    assert normalise_demographics({"gender": words}).gender == expected


@pytest.mark.parametrize(
    ("words", "expected"), [("1", 1), (" 4 ", 4), ("12", 12), ("0", None), ("unknown", None), ("many", None), ("3 or 4", None)]
)
def test_household_sizes_are_read(words: str, expected: int | None) -> None:
    assert normalise_demographics({"number_of_people_in_household": words}).household_size == expected


# --- Reading rows ----------------------------------------------------------------------------------------------------------------


def test_a_released_row_keeps_its_words_beside_what_was_read(tmp_path: Path) -> None:
    [instance] = read_instances(written(tmp_path / "a.jsonl", ROW), "test", "arabic")
    assert instance.id == "arabic-t1"
    assert instance.url == "https://example.org/t1"
    assert instance.post.demographic_info["age"] == "31"
    assert instance.post.demographic_info["religion"] == "unknown"
    assert instance.post.demographics == culturecare.Demographics(gender="female", age_min=31, age_max=31, household_size=4)
    assert instance.response.empathy_score == 4


def test_missing_labels_stay_null(tmp_path: Path) -> None:
    rows = ROW, changed(("response", "empathy_score"), "")
    first, second = read_instances(written(tmp_path / "a.jsonl", *rows), "test")
    assert first.post.emotional_distress[1].label is None
    assert first.response.emotional_support[1].label is None
    assert first.response.cultural_signals[0].label is None
    assert second.response.empathy_score is None


def test_an_excerpt_reads_as_its_phrases_in_order_and_none_twice(tmp_path: Path) -> None:
    row = changed(("post", "cultural_signals"), [{"phrase": "no way out", "type": "Values"}, {"phrase": " and so on ", "type": "Language"}])
    [instance] = read_instances(written(tmp_path / "a.jsonl", row), "test")
    assert instance.excerpt
    assert instance.post_text == "I sleep with the lamp on\nno way out\nand so on"
    assert instance.response_text == "light a second one\nhm\nafter the feast"


def test_a_hydrated_row_has_its_text_and_offsets(tmp_path: Path) -> None:
    row = changed(("post", "text"), "😀 I sleep with the lamp on, before the feast.")
    row["post"]["url"] = "https://example.org/t1"
    row["response"]["text"] = "Just light a second one."
    [instance] = read_instances(written(tmp_path / "a.jsonl", row), "test")
    assert (instance.source, instance.excerpt, instance.training) == ("hydrated", False, "forbidden")
    assert instance.url == "https://example.org/t1"
    text, (found, lost) = instance.post.text, instance.post.emotional_distress
    assert text is not None
    assert text[found.start : found.end] == found.phrase
    assert (found.start, lost.start, lost.end) == (2, None, None)
    assert instance.response.emotional_support[0].start == 5


@pytest.mark.parametrize(("score", "expected"), [("", None), (None, None), ("3", 3), (3, 3), ("3 moderately empathetic", 3)])
def test_empathy_scores_are_read_with_or_without_their_wording(tmp_path: Path, score: object, expected: int | None) -> None:
    [instance] = read_instances(written(tmp_path / "a.jsonl", changed(("response", "empathy_score"), score)), "test")
    assert instance.response.empathy_score == expected


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("culture",), ABSENT),
        (("culture",), "Atlantean"),
        (("culture",), "German"),
        (("post_id",), ABSENT),
        (("post_id",), ""),
        (("post_id",), 7),
        (("post_id",), "\ud83d"),
        (("mood",), "low"),
        (("synthetic",), "perhaps"),
        (("post",), ABSENT),
        (("post",), "text"),
        (("post", "mood"), "low"),
        (("post", "text"), ABSENT),
        (("post", "text"), ""),
        (("post", "emotional_distress"), None),
        (("post", "emotional_distress", 0), "a phrase alone"),
        (("post", "emotional_distress", 0, "phrase"), ""),
        (("post", "emotional_distress", 0, "phrase"), ABSENT),
        (("post", "emotional_distress", 1, "intensity"), "extreme"),
        (("post", "emotional_distress", 1, "intensity"), ABSENT),
        (("post", "emotional_distress", 1, "note"), "?"),
        (("post", "cultural_signals", 0, "type"), "values"),
        (("post", "demographic_info"), []),
        (("post", "demographic_info", "age"), [31]),
        (("post", "demographic_info", "age"), True),
        (("post", "demographic_info", "shoe_size"), "43"),
        (("response",), ABSENT),
        (("response", "emotional_support", 0, "strategy"), "Hugs"),
        (("response", "cultural_signals", 0, "type"), "Food"),
        (("response", "empathy_score"), ABSENT),
        (("response", "empathy_score"), "6"),
        (("response", "empathy_score"), "3 very empathetic"),
        (("response", "empathy_score"), "very empathetic"),
    ],
    ids=lambda part: ".".join(map(str, part)) if isinstance(part, tuple) else "absent" if part is ABSENT else ascii(part),
)
def test_a_malformed_row_is_refused_by_file_line_and_field(tmp_path: Path, path: tuple[str | int, ...], value: object) -> None:
    file = written(tmp_path / "a.jsonl", ROW, changed(path, value))
    with pytest.raises(DataError) as caught:
        list(read_instances(file, "test", "arabic"))
    assert str(caught.value).startswith(f"{file}:2: {'.'.join(map(str, path))}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "line",
    [b'{"culture": "Ara', b"[]", b'"text"', b"NaN", b'{"culture": -Infinity}', b'{"culture": "\xff"}', b"[" * 100_000, b"1" * 5_000],
    ids=["torn", "array", "string", "NaN", "infinity", "not UTF-8", "too deep", "too long a number"],
)
def test_a_line_that_is_no_row_is_refused_by_file_and_line(tmp_path: Path, line: bytes) -> None:
    file = written(tmp_path / "a.jsonl", ROW)
    file.write_bytes(file.read_bytes() + b"\n" + line + b"\n")
    with pytest.raises(DataError) as caught:
        list(read_instances(file, "test"))
    assert str(caught.value).startswith(f"{file}:3: ")


def test_an_id_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    written(tmp_path / "Arabic_data.jsonl", ROW, ROW)
    with pytest.raises(DataError, match="'arabic-t1' occurs 2 times"):
        load_instances("test", "arabic", tmp_path)


def test_a_missing_folder_is_refused_with_what_it_must_hold(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere: is not a folder.*Arabic_data\.jsonl"):
        load_instances("test", None, tmp_path / "nowhere")


def test_a_missing_file_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"German_data\.jsonl: cannot be read"):
        load_instances("test", "german", tmp_path)


def test_without_a_folder_the_test_split_says_how_to_name_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(RELEASE_VARIABLE, raising=False)
    with pytest.raises(DataError, match=rf"--release or {RELEASE_VARIABLE}.*'sample'"):
        load_instances("test")


def test_the_environment_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RELEASE_VARIABLE, str(small_release(tmp_path, "e1")))
    assert [instance.id for instance in load_instances("test")] == [f"{key}-e1" for key in RELEASED]


def test_an_unknown_culture_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(CultureCareError, match="unknown culture 'atlantean'"):
        load_instances("test", "atlantean", tmp_path / "nowhere")


def test_a_revision_changes_with_the_files_and_with_them_alone(tmp_path: Path) -> None:
    first, same, other = (small_release(tmp_path / name, name[0]) for name in ("a1", "a2", "b1"))
    assert culturecare.dataset_revision("test", first) == culturecare.dataset_revision("test", same)
    assert culturecare.dataset_revision("test", first) != culturecare.dataset_revision("test", other)
    assert culturecare.dataset_revision("sample") != culturecare.dataset_revision("train")


def test_a_revision_of_an_incomplete_split_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(culturecare, "data_dir", lambda: tmp_path)
    with pytest.raises(DataError, match=r"american\.jsonl"):
        culturecare.dataset_revision("sample")


# --- Own posts -------------------------------------------------------------------------------------------------------------------


def own(culture: str, post_id: str, **fields: object) -> dict[str, Any]:
    """A row with text and without a reply."""
    row = changed(("post", "text"), "It is dark. I sleep with the lamp on.", changed(("culture",), culture))
    empty = {"emotional_support": [], "cultural_signals": [], "empathy_score": ""}
    return row | {"post_id": post_id, "response": empty} | fields


def test_own_posts_of_any_culture_stand_in_one_file_and_need_no_reply(tmp_path: Path) -> None:
    file = written(tmp_path / "mine.jsonl", own("Japanese", "a"), own("American", "b", annotator="a-model", synthetic=True))
    first, second = load_instances("own", None, file)
    assert [(i.id, i.split, i.source, i.training) for i in (first, second)] == [
        ("b", "own", "own", "forbidden"),
        ("japanese-a", "own", "own", "forbidden"),
    ]
    assert (first.annotator, second.annotator) == ("a-model", None)
    assert second.post.emotional_distress[0].start == 12
    assert second.response_text == ""


def test_an_own_post_without_text_is_refused(tmp_path: Path) -> None:
    file = written(tmp_path / "mine.jsonl", own("Japanese", "a"), ROW)
    with pytest.raises(DataError, match=r"mine\.jsonl:2: post\.text: is an address, but split 'own' needs the text"):
        load_instances("own", None, file)


def test_own_posts_need_their_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="name it with --posts"):
        load_instances("own")
    with pytest.raises(DataError, match=r"nowhere\.jsonl: is not a file"):
        load_instances("own", None, tmp_path / "nowhere.jsonl")
    with pytest.raises(DataError, match="the id 'japanese-a' occurs 2 times"):
        load_instances("own", None, written(tmp_path / "twice.jsonl", own("Japanese", "a"), own("Japanese", "a")))


def test_a_revision_of_own_posts_is_that_of_their_content(tmp_path: Path) -> None:
    first, same = (written(tmp_path / name, own("Japanese", "a")) for name in ("first.jsonl", "same.jsonl"))
    other = written(tmp_path / "other.jsonl", own("Japanese", "b"))
    assert culturecare.dataset_revision("own", first) == culturecare.dataset_revision("own", same)
    assert culturecare.dataset_revision("own", first) != culturecare.dataset_revision("own", other)


# --- The builder -----------------------------------------------------------------------------------------------------------------


def python(code: str, cwd: Path, cache: Path, *arguments: object) -> Any:
    """Runs `code` in a Python of its own that has the `datasets` cache `cache` and no network, and reads what it prints last as JSON."""
    environment = {name: value for name, value in os.environ.items() if name != RELEASE_VARIABLE}
    environment |= {"HF_HOME": str(cache / "home"), "HF_DATASETS_CACHE": str(cache / "datasets"), "HF_HUB_OFFLINE": "1"}
    cwd.mkdir(exist_ok=True)
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


BUILD = """
import json, sys, culturecare
folders = culturecare.build(sys.argv[1] if len(sys.argv) > 2 else None, cache_dir=sys.argv[-1])
print(json.dumps({key: str(folder) for key, folder in folders.items()}))
"""
LOAD = """
import json, datasets
data = datasets.load_dataset("culturecare", "chinese")
everything = datasets.load_dataset("culturecare", "all", split="sample")
part = next(iter(data.values()))
first, distress = part[0], part.features["post"]["emotional_distress"].feature
print(json.dumps({
    "rows": {name: part.num_rows for name, part in data.items()},
    "all": len(everything),
    "id": first["id"],
    "intensities": distress["label"].names,
    "culture": part.features["culture"].int2str(first["culture"]),
    "labels": [span["label"] for span in first["post"]["emotional_distress"]],
    "start": first["post"]["emotional_distress"][0]["start"],
    "signal": first["response"]["cultural_signals"][0]["label"],
    "age": first["post"]["demographics"]["age_min"],
}))
"""


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two small releases and a `datasets` cache that the first of them was built into."""
    folder = tmp_path_factory.mktemp("builder")
    for name in ("one", "two"):
        small_release(folder / name, name)
    python(BUILD, folder, folder, folder / "one", folder / "datasets")
    return folder


@pytest.mark.parametrize("cwd", ["here", "there"])
def test_a_built_dataset_loads_by_its_name_offline_from_any_folder(workplace: Path, cwd: str) -> None:
    assert python(LOAD, workplace / cwd, workplace) == {
        "rows": {"test": 1, "sample": 8, "train": 4},
        "id": "chinese-one",
        "all": 56,
        "intensities": list(culturecare.INTENSITIES),
        "culture": "chinese",
        "labels": [0, None],
        "start": None,
        "signal": None,
        "age": 31,
    }


@pytest.mark.slow
def test_a_rebuild_with_another_release_is_honoured_and_so_is_the_return(workplace: Path) -> None:
    for name in ("two", "one"):
        python(BUILD, workplace, workplace, workplace / name, workplace / "datasets")
        assert python(LOAD, workplace, workplace)["id"] == f"chinese-{name}"


@pytest.mark.slow
def test_without_a_release_the_builder_has_no_test_split(tmp_path: Path) -> None:
    folders = python(BUILD, tmp_path, tmp_path, tmp_path / "datasets")
    assert list(folders) == ["all", *cultures()]
    assert python(LOAD, tmp_path, tmp_path)["rows"] == {"sample": 8, "train": 4}


@pytest.mark.parametrize(
    "module", ["culturecare", "culturecare_harness.scoring, culturecare_harness.judges, culturecare_harness.strategies"]
)
def test_importing_is_light(tmp_path: Path, module: str) -> None:
    heavy = ("datasets", "evaluate", "lingua", "lm_eval", "openai", "scipy", "torch", "transformers")
    code = f"import json, sys, {module}; print(json.dumps([name for name in {heavy!r} if name in sys.modules]))"
    assert python(code, tmp_path, tmp_path) == []
