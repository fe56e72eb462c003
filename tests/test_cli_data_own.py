"""`culturecare data validate` on files of a user's own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from culturecare import CultureCareError, data_dir
from culturecare_harness.cli import app

if TYPE_CHECKING:
    from pathlib import Path

ADDRESS = "https://example.org/a-post"


def row(post_id: str = "1", text: str = "I am so tired of it.", **fields: object) -> dict[str, Any]:
    post: dict[str, object] = {"text": text, "emotional_distress": [], "cultural_signals": [], "demographic_info": {}}
    response: dict[str, object] = {"text": None, "emotional_support": [], "cultural_signals": [], "empathy_score": None}
    return {"culture": "German", "post_id": post_id, "language": "en", **fields, "post": post, "response": response}


ALLOWED = {"training": "allowed", "licence": "CC-BY-4.0"}


def lines(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")
    return path


def validated(*arguments: Path | str) -> str:
    result = CliRunner().invoke(app, ["data", "validate", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0
    return result.output


# --- Which split a file is read as -------------------------------------------------------------------------------------------------


def test_own_posts_whose_owner_allows_training_are_valid(tmp_path: Path) -> None:
    assert "2 instances, all valid as split own" in validated(lines(tmp_path / "mine.jsonl", row("1", **ALLOWED), row("2", **ALLOWED)))


def test_posts_that_are_known_by_their_address_alone_are_taken_for_released_ones(tmp_path: Path) -> None:
    file = lines(tmp_path / "Chinese_data.jsonl", row("1", ADDRESS), row("2", ADDRESS))
    assert "2 instances, all valid as split test" in validated(file)
    with pytest.raises(CultureCareError, match=r"Chinese_data\.jsonl:1: post\.text: is an address, but split 'own' needs the text"):
        validated(file, "--split", "own")


def test_an_address_among_own_posts_is_refused_and_in_a_release_that_is_hydrated_in_part_it_is_not(tmp_path: Path) -> None:
    file = lines(tmp_path / "mine.jsonl", row("1"), row("2", ADDRESS))
    with pytest.raises(CultureCareError, match=r"mine\.jsonl:2: post\.text: is an address"):
        validated(file)
    assert "2 instances, all valid as split test" in validated(file, "--split", "test")


@pytest.mark.parametrize("options", [(), ("--split", "own"), ("--split", "test"), ("--split", "train")], ids=" ".join)
def test_an_id_that_occurs_twice_is_found_whatever_the_split(tmp_path: Path, options: tuple[str, ...]) -> None:
    with pytest.raises(CultureCareError, match=r"mine\.jsonl: the id 'german-1' occurs 2 times"):
        validated(lines(tmp_path / "mine.jsonl", row("1"), row("2"), row("1")), *options)


def test_what_the_benchmark_must_not_say_is_refused_where_its_split_is_named(tmp_path: Path) -> None:
    file = lines(tmp_path / "mine.jsonl", row(**ALLOWED))
    with pytest.raises(CultureCareError, match=r"mine\.jsonl:1: training: "):
        validated(file, "--split", "test")


def test_a_file_of_the_packaged_training_split_is_valid_as_it() -> None:
    file = data_dir() / "train" / "german.jsonl"
    assert "instances, all valid as split train" in validated(file, "--split", "train")


def test_a_split_is_named_for_files_alone() -> None:
    with pytest.raises(CultureCareError, match="--split own: goes with files"):
        validated("--split", "own")
