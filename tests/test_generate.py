"""Which model a run is of: what tells two models apart, and what is told to nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from culturecare_harness.dataset import Selection
from culturecare_harness.generate import Generation, ModelChoice
from culturecare_harness.judges import select_judge
from culturecare_harness.runs import manifest_of

if TYPE_CHECKING:
    from pathlib import Path


def run_hash(choice: ModelChoice) -> str:
    return manifest_of(choice, ["standard"], Selection(), Generation()).hash


def test_two_folders_of_one_name_are_two_models(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "checkpoint").mkdir(parents=True)
    one, two = (ModelChoice(name=str(tmp_path / name / "checkpoint")) for name in ("one", "two"))
    assert one.shown_name == two.shown_name == "checkpoint"
    assert run_hash(one) != run_hash(two)


@pytest.mark.parametrize("name", ["/gpfs/me/listener", "./models/listener", "~/models/listener"])
def test_a_servers_folder_is_not_in_the_models_name(name: str) -> None:
    assert ModelChoice(name=name, backend="local-chat-completions").shown_name == "listener"


@pytest.mark.parametrize("argument", ["think_end_token", "add_bos_token", "revision", "peft"])
def test_an_argument_that_can_change_a_reply_makes_another_run(argument: str, tmp_path: Path) -> None:
    values = [tmp_path / "a", tmp_path / "b"]
    for value in values:
        value.mkdir()
    assert run_hash(ModelChoice(name="m", arguments={argument: str(values[0])})) != run_hash(
        ModelChoice(name="m", arguments={argument: str(values[1])})
    )


def test_an_adapter_stands_in_the_models_name_and_is_known_by_its_weights(tmp_path: Path) -> None:
    adapter = tmp_path / "listener"
    adapter.mkdir()
    (adapter / "adapter_model.safetensors").write_bytes(b"first")
    choice = ModelChoice(name="org/base", arguments={"peft": str(adapter)})
    first = run_hash(choice)
    (adapter / "adapter_model.safetensors").write_bytes(b"second")
    assert choice.shown_name == "org/base+listener"
    assert choice.model.arguments == {"peft": "listener"}
    assert first != run_hash(choice), "an adapter that was trained anew is another model"


@pytest.mark.parametrize("argument", ["api_key", "auth_token", "token", "hf_token", "header", "openai_api_key", "password"])
def test_a_secret_stands_nowhere_and_makes_no_other_run(argument: str) -> None:
    first, second = (ModelChoice(name="m", arguments={argument: value}) for value in ("s3cret-one", "s3cret-two"))
    assert run_hash(first) == run_hash(second)
    assert "s3cret" not in manifest_of(first, ["standard"], Selection(), Generation()).model_dump_json()


def test_no_path_of_this_machine_stands_in_a_manifest(tmp_path: Path) -> None:
    choice = ModelChoice(name=str(tmp_path), arguments={"peft": str(tmp_path / "adapter")})
    assert str(tmp_path) not in manifest_of(choice, ["standard"], Selection(), Generation()).model_dump_json()


def test_a_judge_in_a_folder_is_not_answered_for_by_another_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = set()
    for name in ("one", "two"):
        (tmp_path / name / "judge").mkdir(parents=True)
        monkeypatch.chdir(tmp_path / name)
        settings.add(select_judge("smollm2", ["model=judge"]).store_settings)
    assert len(settings) == 2
