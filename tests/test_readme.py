"""What README.md shows is what happens."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
BLOCKS = re.findall(r"^```(bash|python)\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
NOT_RUN_HERE = ("make demo", "--model Qwen/", "culturecare leaderboard", "human serve")
"""Left out: what runs this test itself, what needs a model that only a hub or a server has, and what serves until it is stopped."""


def environment(folder: Path) -> dict[str, str]:
    changed = {"HF_DATASETS_CACHE": str(folder / "datasets"), "HF_HUB_OFFLINE": "1", "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    kept = {name: value for name, value in os.environ.items() if name != "CULTURECARE_RELEASE"}
    return {**kept, **changed}


def test_readme_shows_shell_and_python() -> None:
    assert {language for language, _ in BLOCKS} == {"bash", "python"}
    assert sum(any(mark in text for mark in NOT_RUN_HERE) for _, text in BLOCKS) == 4


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of `culturecare demo`, and what it printed."""
    folder = tmp_path_factory.mktemp("demo")
    command = [str(BIN / "culturecare"), "demo", "--out", str(folder / "demo")]
    ran = subprocess.run(command, cwd=folder, env=environment(folder), capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
    return folder / "demo", ran.stdout


@pytest.mark.slow
@pytest.mark.timeout(1800)  # Among them a run, judging, and a training.
def test_every_other_block_of_readme_runs_in_its_order(tmp_path: Path, demo: tuple[Path, str]) -> None:
    # A copy of the checkout without what was made in it, so that `runs/` of the user is left alone.
    checkout = tmp_path / "checkout"
    files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in files.splitlines():
        if (ROOT / name).is_file():
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            (checkout / name).write_bytes((ROOT / name).read_bytes())
    shutil.copytree(demo[0], checkout / "runs" / "demo")  # As `make demo` leaves it.
    for language, text in BLOCKS:
        if any(mark in text for mark in NOT_RUN_HERE):
            continue
        command = [sys.executable, "-c", text] if language == "python" else ["bash", "-euc", text.replace(".venv/bin/", "")]
        ran = subprocess.run(command, cwd=checkout, env=environment(tmp_path), capture_output=True, text=True, check=False)
        assert ran.returncode == 0, f"{text}\n{ran.stdout[-2000:]}\n{ran.stderr[-2000:]}"
        assert ran.stdout.strip(), text


@pytest.mark.slow
def test_the_demo_shows_every_culture_with_full_coverage(demo: tuple[Path, str]) -> None:
    folder, printed = demo
    for name in ("American", "Arabic", "Chinese", "German", "Indian", "Japanese", "Jewish", "no measure of a reply's quality"):
        assert name in printed
    [path] = folder.glob("*.result.json")
    result = json.loads(path.read_text(encoding="utf-8"))
    assert result["protocol"] == "demo"
    assert result["coverage"] == 1.0
    assert {score["coverage"] for score in result["scores"] if score["metric"] == "overall"} == {1.0}
