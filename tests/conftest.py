"""What the tests share: the released files, where there are any, and the project-written sample."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest
from hypothesis import settings

from culturecare import RELEASE_VARIABLE, Instance, load_instances

# A busy machine is no failure; `timeout` in pyproject.toml ends what hangs.
settings.register_profile("culturecare", deadline=None)
settings.load_profile("culturecare")

# Taken out of the environment, where it would change which split a command takes by default; the fixture gives it to those that ask.
GIVEN_RELEASE = os.environ.pop(RELEASE_VARIABLE, None)
BESIDE_REPOSITORY = Path(__file__).resolve().parents[2] / "shared" / "release"


def pytest_collection_finish() -> None:
    """Takes what was imported and collected out of the garbage collector's rounds: it lives as long as the process does."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _store_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps each test's verdicts apart, and out of the user's store."""
    monkeypatch.setenv("CULTURECARE_STORE", str(tmp_path / "verdicts.sqlite3"))


@pytest.fixture(scope="session")
def release() -> Path:
    """Folder of the real released files; a test that needs them is skipped where there are none."""
    if GIVEN_RELEASE:
        return Path(GIVEN_RELEASE).expanduser()
    if BESIDE_REPOSITORY.is_dir():
        return BESIDE_REPOSITORY
    pytest.skip(f"needs the released annotations: set {RELEASE_VARIABLE} to their folder")


@pytest.fixture(scope="session")
def sample() -> list[Instance]:
    """The project-written instances of split `sample`."""
    return load_instances("sample")
