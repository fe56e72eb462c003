"""Engines: where judging runs. All of them run the same function, `culturecare_harness.judge.judge_stream`, and give equal verdicts."""

from __future__ import annotations

import importlib.util
from typing import Literal

from culturecare import CultureCareError

__all__ = ["ENGINES", "Engine", "check_engine"]

Engine = Literal["embedded", "ray"]

ENGINES: dict[Engine, str] = {
    "embedded": "in this process",
    "ray": "on a Ray cluster, or on all processors and GPUs of this machine, through Ray Data (`culturecare_harness.engines.ray`)",
}
"""What each engine is, by its name."""


def check_engine(engine: Engine) -> None:
    """Says that an engine cannot run before anything is generated for it.

    Raises:
        CultureCareError: What it needs is not installed.
    """
    if engine == "ray" and importlib.util.find_spec("ray") is None:
        raise CultureCareError("the Ray engine needs Ray Data, which is not installed: pip install 'culturecare[ray]'")
