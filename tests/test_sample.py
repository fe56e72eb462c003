"""The project-written instances, splits `sample` and `train`."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

import culturecare
from culturecare import Instance, Span, cultures, detect_language, load_instances

REPOSITORY = Path(__file__).resolve().parents[1]
DATA_SUFFIXES = {".csv", ".ipynb", ".json", ".jsonl", ".md", ".py", ".toml", ".tsv", ".txt", ".yaml", ".yml"}
LEAST = 25
"""Length in characters from which a phrase is taken for a quotation; shorter ones occur by chance."""


@pytest.fixture(scope="module")
def written(sample: list[Instance]) -> list[Instance]:
    return [*sample, *load_instances("train")]


def spans_with_text(instance: Instance) -> list[tuple[str | None, Span]]:
    post, response = instance.post, instance.response
    return [
        *((post.text, span) for span in (*post.emotional_distress, *post.cultural_signals)),
        *((response.text, span) for span in (*response.emotional_support, *response.cultural_signals)),
    ]


def test_every_culture_has_eight_samples_and_four_for_training(written: list[Instance]) -> None:
    counts = Counter((instance.culture, instance.split) for instance in written)
    assert counts == {(key, split): number for key in cultures() for split, number in (("sample", 8), ("train", 4))}


def test_every_instance_says_that_it_is_synthetic(written: list[Instance]) -> None:
    assert {(instance.synthetic, instance.source, instance.url) for instance in written} == {(True, "sample", None)}
    assert all(instance.id.startswith(f"synthetic-{instance.culture}-") and instance.theme for instance in written)


def test_training_is_allowed_for_the_training_split_alone(written: list[Instance]) -> None:
    assert {(instance.split, instance.training) for instance in written} == {("sample", "forbidden"), ("train", "allowed")}


def test_ids_and_texts_are_unique(written: list[Instance]) -> None:
    for values in ([i.id for i in written], [i.post.text for i in written], [i.response.text for i in written]):
        assert len(set(values)) == len(values)


def test_every_span_stands_in_its_text(written: list[Instance]) -> None:
    for instance in written:
        for text, span in spans_with_text(instance):
            assert text is not None
            assert text[span.start : span.end] == span.phrase, f"{instance.id}: {span.phrase!r}"
            assert span.phrase == span.phrase.strip()


def test_every_instance_has_distress_signals_and_support(written: list[Instance]) -> None:
    bare = [i.id for i in written if not (i.post.emotional_distress and i.post.cultural_signals and i.response.emotional_support)]
    assert bare == []


@pytest.mark.parametrize("split", ["sample", "train"])
def test_every_label_and_empathy_score_occurs(written: list[Instance], split: str) -> None:
    of_split = [instance for instance in written if instance.split == split]
    signals = {span.label for i in of_split for span in (*i.post.cultural_signals, *i.response.cultural_signals)}
    assert {span.label for i in of_split for span in i.post.emotional_distress} == set(culturecare.INTENSITIES)
    assert signals == set(culturecare.SIGNAL_TYPES)
    assert {span.label for i in of_split for span in i.response.emotional_support} == set(culturecare.SUPPORT_STRATEGIES)
    assert {i.response.empathy_score for i in of_split} == {1, 2, 3, 4, 5}


def test_the_detector_agrees_with_the_declared_language(written: list[Instance]) -> None:
    told = {i.id: (detect_language(i.post_text), detect_language(i.response_text)) for i in written}
    assert told == {i.id: (i.language, i.language) for i in written}


@pytest.mark.parametrize("key", list(cultures()))
def test_one_post_of_each_split_is_in_the_cultures_own_language_and_the_others_in_english(written: list[Instance], key: str) -> None:
    own, *_ = cultures()[key].languages
    languages = Counter((i.split, detect_language(i.post_text)) for i in written if i.culture == key)
    if own == "en":
        assert languages == {("sample", "en"): 8, ("train", "en"): 4}
    else:
        assert languages == {("sample", own): 1, ("sample", "en"): 7, ("train", own): 1, ("train", "en"): 3}


def test_what_demographics_say_is_read(written: list[Instance]) -> None:
    for field, read in (("gender", "gender"), ("number_of_people_in_household", "household_size")):
        known = [i for i in written if i.post.demographic_info[field] != "unknown"]
        assert known
        assert [i.id for i in known if getattr(i.post.demographics, read) is None] == []


def data_files() -> list[Path]:
    generated = {"build", "dist", "node_modules", "venv"}
    files = [path for path in REPOSITORY.rglob("*") if path.suffix in DATA_SUFFIXES and path.is_file()]
    parts = {path: path.relative_to(REPOSITORY).parts for path in files}
    return [
        path for path in files if not any(part.startswith(".") or part in generated or part.endswith(".egg-info") for part in parts[path])
    ]


def test_no_data_file_of_the_repository_quotes_the_release(release: Path) -> None:
    def plain(text: str) -> str:
        unescaped = re.sub(r"\\u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), text)
        return " ".join(unescaped.replace("\\n", " ").replace('\\"', '"').casefold().split())

    phrases = {
        plain(span.phrase): instance.id for instance in load_instances("test", None, release) for _, span in spans_with_text(instance)
    }
    long = {phrase: name for phrase, name in phrases.items() if len(phrase) >= LEAST}
    assert len(long) > 1000
    files = data_files()
    assert {REPOSITORY / "data" / "sample" / f"{key}.jsonl" for key in cultures()} <= set(files)
    # Where a phrase is found, its row is named and the phrase is not repeated.
    quoting = [
        (str(path), name)
        for path in files
        for text in [plain(path.read_text(encoding="utf-8"))]
        for phrase, name in long.items()
        if phrase in text
    ]
    assert quoting == []
