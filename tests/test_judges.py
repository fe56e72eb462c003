"""Judges: their files, what is refused in one, and what makes two of them the same judge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml

from culturecare import CultureCareError
from culturecare_harness.judges import JudgeFile, judges, select_judge
from culturecare_harness.rubrics import select_rubric

if TYPE_CHECKING:
    from pathlib import Path

LOCAL: dict[str, Any] = {"summary": "s", "backend": "hf", "model": "m", "mode": "logprob"}
SERVER: dict[str, Any] = {"summary": "s", "backend": "openai", "model": "m", "mode": "sampled"}


def judge_file(folder: Path, **fields: object) -> Path:
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(fields), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["llama-3.1-70b", "o3-mini", "smollm2"])
def test_every_packaged_judge_loads_and_says_who_it_is(name: str) -> None:
    judge = select_judge(name)
    assert judge == judges()[name]
    assert judge.summary.endswith(".")
    assert (judge.judge.name, judge.judge.model, judge.judge.mode) == (name, judge.model, judge.mode)
    assert judge.judge.prompt_hash == select_rubric(judge.rubric).hash


def test_no_packaged_judge_is_left_untested() -> None:
    assert set(judges()) == {"llama-3.1-70b", "o3-mini", "smollm2"}


def test_the_packaged_model_alone_says_that_its_grades_mean_nothing() -> None:
    assert {name for name, judge in judges().items() if not judge.measure} == {"smollm2"}


def test_a_judge_of_ones_own_is_a_file_anywhere(tmp_path: Path) -> None:
    judge = select_judge(str(judge_file(tmp_path, **SERVER, samples=3)))
    assert (judge.name, judge.samples, judge.rubric) == ("mine", 3, "culturecare")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (LOCAL | {"modle": "x"}, "modle: is not a field.*known here:.*model"),
        (LOCAL | {"mode": "guess"}, "mode: input should be 'logprob', 'sampled' or 'argmax', not 'guess'"),
        (LOCAL | {"backend": "vllm"}, "backend: input should be 'hf' or 'openai', not 'vllm'"),
        (LOCAL | {"model": ""}, "model: string should have at least 1 character"),
        ({"summary": "s", "backend": "hf", "mode": "argmax"}, "model: field required"),
        (LOCAL | {"base_url": "http://x"}, "base_url belongs to backend 'openai'.*leave it out"),
        (SERVER | {"device": "cpu"}, "device belongs to backend 'hf'.*leave it out"),
        (SERVER | {"min_digit_mass": 0.5}, "min_digit_mass belongs to mode 'logprob'.*leave it out"),
        (LOCAL | {"samples": 3}, "samples belongs to mode 'sampled'.*leave it out"),
        (LOCAL | {"max_tokens": 3}, "max_tokens says nothing in mode 'logprob'.*leave it out"),
        (LOCAL | {"min_digit_mass": 2}, "min_digit_mass: input should be less than or equal to 1, not 2"),
        (SERVER | {"concurrency": 0}, "concurrency: input should be greater than or equal to 1, not 0"),
        (LOCAL | {"rubric": "other"}, "rubric.*'other'.*culturecare"),
    ],
    ids=lambda part: part[:24] if isinstance(part, str) else "",
)
def test_what_does_not_fit_is_refused_with_its_file_and_what_would_be_right(tmp_path: Path, fields: dict[str, Any], words: str) -> None:
    path = judge_file(tmp_path, **fields)
    with pytest.raises(CultureCareError, match=words) as caught:
        select_judge(str(path))
    assert str(caught.value).startswith(f"{path}: ")


def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    for content, words in (("- a", "holds a list, but must be a mapping"), ("a: [", "is not valid YAML")):
        path.write_text(content, encoding="utf-8")
        with pytest.raises(CultureCareError, match=words):
            select_judge(str(path))


@pytest.mark.parametrize("name", ["nobody", "nobody.yaml"])
def test_an_unknown_judge_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(CultureCareError, match=f"unknown judge '{name}': choose from .*o3-mini.*or name a YAML file"):
        select_judge(name)


def test_settings_replace_those_of_the_file_with_values_in_yaml() -> None:
    changes = ["base_url=http://localhost:9/v1?a=b", "samples=2", "extra_body={reasoning_effort: low}", "api_key_env=null"]
    judge = select_judge("o3-mini", changes)
    assert judge.base_url == "http://localhost:9/v1?a=b"
    assert (judge.samples, judge.extra_body, judge.api_key_env) == (2, {"reasoning_effort": "low"}, None)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("samples", "judge setting 'samples': must be name=value, such as"),
        ("=3", "judge setting '=3': must be name=value"),
        ("samples=[", r"judge setting 'samples=\[': the value is not valid YAML"),
        ("samples=two", r"o3-mini\.yaml: samples: input should be a valid integer.*not 'two'"),
        ("simples=2", r"o3-mini\.yaml: simples: is not a field of this record; known here:.*samples"),
        ("device=cpu", r"o3-mini\.yaml: .*device belongs to backend 'hf'"),
        ("rubric=other", r"o3-mini\.yaml: .*rubric.*'other'.*culturecare"),
    ],
)
def test_a_bad_setting_is_refused(override: str, words: str) -> None:
    with pytest.raises(CultureCareError, match=words):
        select_judge("o3-mini", [override])


@pytest.mark.parametrize(
    ("base", "override"),
    [
        ("llama-3.1-70b", "base_url=http://elsewhere/v1"),
        ("llama-3.1-70b", "api_key_env=KEY"),
        ("llama-3.1-70b", "concurrency=1"),
        ("llama-3.1-70b", "timeout=5"),
        ("llama-3.1-70b", "retries=0"),
        ("llama-3.1-70b", "summary=Another."),
        ("smollm2", "device=cpu"),
        ("smollm2", "batch_size=4"),
        ("smollm2", "measure=true"),
        ("o3-mini", "transport=batch"),
        ("o3-mini", "requests_per_minute=60"),
        ("o3-mini", "tokens_per_minute=9000"),
        ("o3-mini", "max_cost=1"),
    ],
)
def test_settings_that_move_no_grade_leave_the_judge_the_same(base: str, override: str) -> None:
    assert select_judge(base, [override]).judge == select_judge(base).judge


@pytest.mark.parametrize(
    ("base", "override"),
    [
        ("llama-3.1-70b", "model=other"),
        ("llama-3.1-70b", "min_digit_mass=0.5"),
        ("llama-3.1-70b", "extra_body={seed: 1}"),
        ("o3-mini", "samples=4"),
        ("o3-mini", "temperature=0.5"),
        ("o3-mini", "max_tokens=9"),
        ("smollm2", "answer_prefix=''"),
        ("smollm2", "chat=false"),
        ("smollm2", "dtype=bfloat16"),
        ("smollm2", "revision=abc"),
    ],
)
def test_settings_that_can_move_a_grade_make_another_judge(base: str, override: str) -> None:
    assert select_judge(base, [override]).judge.settings_hash != select_judge(base).judge.settings_hash


def test_the_mode_makes_another_judge() -> None:
    argmax, sampled = (JudgeFile.model_validate({**SERVER, "name": "n", "mode": mode}) for mode in ("argmax", "sampled"))
    assert argmax.judge.settings_hash != sampled.judge.settings_hash
