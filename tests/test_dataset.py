"""Which instances a run uses, and in what order."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from culturecare import CultureCareError, Instance, cultures
from culturecare_harness.dataset import Selection, interleave, select_instances

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def half_hydrated(tmp_path: Path) -> Path:
    """A folder with two Arabic rows, the second with text."""
    response = {"emotional_support": [], "cultural_signals": [], "empathy_score": ""}
    rows: list[dict[str, Any]] = []
    for number, text in enumerate(("https://example.org/1", "A post whose text is known.")):
        post = {
            "text": text,
            "emotional_distress": [{"phrase": "a post", "intensity": "high"}],
            "cultural_signals": [],
            "demographic_info": {},
        }
        rows.append({"culture": "Arabic", "post_id": str(number), "post": post, "response": response})
    (tmp_path / "Arabic_data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return tmp_path


@pytest.fixture
def own_posts(tmp_path: Path) -> Path:
    """A file with a Japanese and an Indian post, neither with a reply."""
    response: dict[str, Any] = {"emotional_support": [], "cultural_signals": [], "empathy_score": ""}
    post = {"text": "A post of mine.", "emotional_distress": [], "cultural_signals": [], "demographic_info": {}}
    rows = [
        {"culture": culture, "post_id": name, "post": post, "response": response} for culture, name in (("Japanese", "a"), ("Indian", "b"))
    ]
    file = tmp_path / "mine.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def test_the_default_is_the_whole_sample(sample: list[Instance]) -> None:
    assert select_instances(Selection()) == tuple(sample)


def test_cultures_are_chosen_by_name_and_come_in_registry_order() -> None:
    chosen = select_instances(Selection.model_validate({"cultures": "german, chinese"}))
    assert Counter(instance.culture for instance in chosen) == {"chinese": 8, "german": 8}
    assert [instance.culture for instance in chosen] == ["chinese"] * 8 + ["german"] * 8


def test_per_culture_takes_the_first_of_each(sample: list[Instance]) -> None:
    chosen = select_instances(Selection(per_culture=2))
    assert [instance.id for instance in chosen] == [
        instance.id for key in cultures() for instance in [i for i in sample if i.culture == key][:2]
    ]
    assert len(select_instances(Selection(per_culture=100))) == len(sample)


def test_full_posts_and_excerpts_are_never_chosen_together_by_default(half_hydrated: Path) -> None:
    selection = Selection(split="test", release=half_hydrated, cultures=("arabic",))
    with pytest.raises(CultureCareError, match=r"1 posts with text and 1 known by excerpts alone.*choose text 'full' or text 'excerpt'"):
        select_instances(selection)
    assert [i.id for i in select_instances(selection.model_copy(update={"text": "excerpt"}))] == ["arabic-0"]
    assert [i.id for i in select_instances(selection.model_copy(update={"text": "full"}))] == ["arabic-1"]


def test_a_choice_that_nothing_fits_is_refused() -> None:
    with pytest.raises(CultureCareError, match="split 'sample' has no post with text 'excerpt' in german"):
        select_instances(Selection(text="excerpt", cultures=("german",)))


def test_the_test_split_of_the_release_is_all_excerpts(release: Path) -> None:
    chosen = select_instances(Selection(split="test", release=release))
    assert len(chosen) == 462
    assert all(instance.excerpt for instance in chosen)
    assert select_instances(Selection(split="test", release=release, text="excerpt")) == chosen


def test_own_posts_are_chosen_from_their_file_in_registry_order(own_posts: Path) -> None:
    chosen = select_instances(Selection(split="own", release=own_posts))
    assert [(i.id, i.culture, i.source, i.split) for i in chosen] == [
        ("indian-b", "indian", "own", "own"),
        ("japanese-a", "japanese", "own", "own"),
    ]
    assert [i.id for i in select_instances(Selection(split="own", release=own_posts, cultures=("japanese",)))] == ["japanese-a"]
    with pytest.raises(CultureCareError, match="split 'own' has no post"):
        select_instances(Selection(split="own", release=own_posts, cultures=("german",)))


@pytest.mark.parametrize(
    "fields", [{"split": "dev"}, {"text": "half"}, {"per_culture": 0}, {"limit": 3}], ids=["split", "text", "per_culture", "unknown field"]
)
def test_a_selection_that_cannot_be_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Selection.model_validate(fields)


@given(st.lists(st.sampled_from(["a", "b", "c"])))
def test_interleaving_loses_nothing_and_keeps_each_cultures_order(keys: list[str]) -> None:
    items = [Selected(key, position) for position, key in enumerate(keys)]
    mixed = interleave(items)
    assert sorted(mixed, key=lambda item: item.position) == items
    for key in set(keys):
        assert [item for item in mixed if item.culture == key] == [item for item in items if item.culture == key]


def test_any_first_part_holds_the_cultures_alike(sample: list[Instance]) -> None:
    mixed = interleave(sample)
    for length in range(1, len(mixed) + 1):
        counts = Counter(instance.culture for instance in mixed[:length])
        assert max(counts.values()) - min(counts[key] for key in cultures()) <= 1


class Selected:
    """An item of a culture."""

    def __init__(self, culture: str, position: int) -> None:
        self.culture, self.position = culture, position
