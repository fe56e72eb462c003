"""Engines: where judging runs. All of them run the same function, `culturecare_harness.judge.judge_stream`, and give equal verdicts."""

from __future__ import annotations

from typing import Literal

__all__ = ["ENGINES", "Engine"]

Engine = Literal["embedded", "ray"]

ENGINES: dict[Engine, str] = {
    "embedded": "in this process",
    "ray": "on a Ray cluster, or on all processors and GPUs of this machine, through Ray Data (`culturecare_harness.engines.ray`)",
}
"""What each engine is, by its name."""
