"""Settings of a training: the profiles that come with the package, files and changes, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from culturecare import CultureCareError
from culturecare_harness.adaptation import settings as module
from culturecare_harness.adaptation.settings import Settings, profiles, select_settings

FILES = sorted((Path(module.__file__).parent / "profiles").glob("*.yaml"))


def test_lora_comes_first() -> None:
    assert list(profiles()) == ["lora", "dpo", "qlora"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_profile_says_every_setting_that_can_move_a_weight(path: Path) -> None:
    declared = set(yaml.safe_load(path.read_text(encoding="utf-8")))
    optional = {"name", "max_steps", "beta"}
    assert declared | optional == set(Settings.model_fields)
    assert "#" in path.read_text(encoding="utf-8"), "says why its values are what they are"


@pytest.mark.slow
def test_lora_learns_ten_times_as_fast_as_trl_tunes_whole_models() -> None:
    from trl import SFTConfig

    full = SFTConfig.__dataclass_fields__["learning_rate"].default
    assert profiles()["lora"].learning_rate == pytest.approx(10 * full)


def test_changes_replace_fields() -> None:
    changed = select_settings("lora", ["learning_rate=1e-3", "target_modules=[q_proj, v_proj]", "max_steps=7"])
    assert (changed.learning_rate, changed.target_modules, changed.max_steps) == (1e-3, ("q_proj", "v_proj"), 7)
    assert changed.rank == profiles()["lora"].rank


def test_a_file_is_a_profile_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(FILES[1].read_text(encoding="utf-8").replace("rank: 16", "rank: 3"), encoding="utf-8")
    chosen = select_settings(str(path))
    assert (chosen.name, chosen.rank) == ("mine", 3)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("rank=0", "rank: input should be greater than or equal to 1"),
        ("dropout=1", "dropout: input should be less than or equal to 0.9"),
        ("learning_rate=0", "learning_rate: input should be greater than 0"),
        ("learning_rate=1", "learning_rate: input should be less than or equal to 0.1"),
        ("epochs=0", "epochs: input should be greater than 0"),
        ("max_steps=0", "max_steps: input should be greater than or equal to 1"),
        ("warmup=1", "warmup: input should be less than 1"),
        ("scheduler=square", "scheduler: input should be 'linear', 'cosine' or 'constant'"),
        ("precision=fp16", "precision: input should be 'auto', 'bf16' or 'float32'"),
        ("quantisation=int8", "quantisation: input should be 'none', 'nf4' or 'auto'"),
        ("target_modules=[]", "target_modules"),
        ("target_modules=['a b']", "target_modules"),
        ("learning_rte=1e-4", "learning_rte: is not a field of this record; known here: name, summary, method, rank"),
        ("beta=0.1", "beta says nothing for method 'sft'"),
        ("method=dpo", "beta belongs to method 'dpo', which needs it"),
    ],
)
def test_what_does_not_fit_is_said_with_what_would(change: str, said: str) -> None:
    with pytest.raises(CultureCareError) as caught:
        select_settings("lora", [change])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("change", "said"), [("packing=true", "pairs cannot be packed"), ("dropout=0.1", "trl turns it off")])
def test_what_preference_optimisation_would_pass_over_is_refused(change: str, said: str) -> None:
    with pytest.raises(CultureCareError, match=said):
        select_settings("dpo", [change])


@pytest.mark.parametrize("change", ["rank", "=3", "rank=[", ""])
def test_a_change_that_is_no_field_and_value_is_refused(change: str) -> None:
    with pytest.raises(CultureCareError, match=r"^setting "):
        select_settings("lora", [change])


def test_unknown_settings_are_said_with_those_there_are() -> None:
    with pytest.raises(CultureCareError, match=r"unknown settings 'full': choose from lora, dpo, qlora, or name a YAML file"):
        select_settings("full")


@pytest.mark.parametrize("change", ["learning_rate=1e-4", "seed=1", "batch_size=2", "target_modules=[q_proj]", "attention=eager"])
def test_the_hash_changes_with_what_can_move_a_weight(change: str) -> None:
    assert select_settings("lora", [change]).hash != profiles()["lora"].hash


@pytest.mark.parametrize("change", ["summary=other", "checkpoint_every=1", "gradient_checkpointing=true", "name=mine"])
def test_the_hash_stays_with_what_moves_none(change: str) -> None:
    assert select_settings("lora", [change]).hash == profiles()["lora"].hash
