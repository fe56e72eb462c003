"""The built wheel in a clean environment: light, complete, and found by lm-eval without a path."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.slow


def run(*command: str | Path, cwd: Path) -> str:
    kept = {name: value for name, value in os.environ.items() if name not in {"CULTURECARE_RELEASE", "PYTHONPATH"}}
    ran = subprocess.run(list(map(str, command)), cwd=cwd, env={**kept, "HF_HUB_OFFLINE": "1"}, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, f"{' '.join(map(str, command))}\n{ran.stdout[-1000:]}\n{ran.stderr[-2000:]}"
    return ran.stdout + ran.stderr


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of a new environment with the wheel and its core requirements alone."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT, cwd=folder)
    [wheel] = folder.glob("*.whl")
    venv.create(folder / "venv", with_pip=True)
    programs = folder / "venv" / "bin"
    run(programs / "python", "-m", "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt", wheel, cwd=folder)
    return programs


def test_the_core_install_is_light(clean: Path) -> None:
    listed = run(clean / "python", "-m", "pip", "list", cwd=clean).lower()
    assert "culturecare" in listed
    assert not {"torch", "transformers", "peft", "openai", "ray", "gradio"} & {
        line.split()[0] for line in listed.splitlines() if line.strip()
    }


def test_the_dataset_builds_and_loads(clean: Path, tmp_path: Path) -> None:
    run(clean / "culturecare", "data", "build", "--cache-dir", tmp_path / "cache", cwd=tmp_path)
    code = f"import datasets; print(len(datasets.load_dataset('culturecare', 'indian', cache_dir={str(tmp_path / 'cache')!r})['sample']))"
    assert "\n8\n" in "\n" + run(clean / "python", "-c", code, cwd=tmp_path)


def test_lm_eval_finds_and_runs_the_tasks_without_a_path(clean: Path, tmp_path: Path) -> None:
    shown = run(clean / "lm_eval", "run", "--model", "dummy", "--tasks", "culturecare", "--limit", "2", "--batch_size", "1", cwd=tmp_path)
    for name in ("standard", "cga", "intensity", "macro_f1", "same_language"):
        assert name in shown


def test_what_an_extra_would_bring_is_named_where_it_is_missing(clean: Path, tmp_path: Path) -> None:
    command = [clean / "culturecare", "eval", "--model", "packaged:smollm2", "--limit", "1", "--cultures", "german", "--judge", "none"]
    ran = subprocess.run(list(map(str, command)), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert "pip install 'culturecare[" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_the_data_of_every_stage_is_in_the_wheel(clean: Path, tmp_path: Path) -> None:
    listed = run(clean / "culturecare", "protocols", cwd=tmp_path)
    for name in ("v1", "sample-v1", "demo"):
        assert f" {name} " in listed
    # Judge-directed patterns and the leaderboard's pages are files beside the code.
    code = (
        "from pathlib import Path; import culturecare_leaderboard as board; from culturecare_harness.suspicion import patterns; "
        "folder = Path(board.__file__).parent; "
        "print(bool(patterns()), len(list((folder / 'templates').glob('*.html'))) > 3, (folder / 'style.css').is_file())"
    )
    assert "True True True" in run(clean / "python", "-c", code, cwd=tmp_path)


def test_the_leaderboard_names_its_extra(clean: Path, tmp_path: Path) -> None:
    command = [str(clean / "culturecare"), "leaderboard", "--results", "."]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert "pip install 'culturecare[leaderboard]'" in ran.stderr
