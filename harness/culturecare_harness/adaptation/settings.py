"""Settings of a training: a YAML file each in `profiles/`, or anywhere; adding one is adding a file."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from culturecare import CultureCareError, Record, parse_record, read_yaml
from culturecare_harness.overrides import read_overrides
from culturecare_harness.records import digest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["MOVE_NO_WEIGHT", "Settings", "profile_text", "profiles", "select_settings"]

_PROFILES = Path(__file__).parent / "profiles"
MOVE_NO_WEIGHT = {"name", "summary", "gradient_checkpointing", "checkpoint_every"}
"""What changes memory, time or words, but the adapter by rounding at most: a training can go on with other values of these."""

Module = Annotated[str, StringConstraints(pattern=r"^[\w.]+$")]


class Settings(Record):
    """How an adapter is trained, as a YAML file declares it.

    Attributes:
        name: The file's name without its ending.
        summary: One line for tables and help texts.
        method: `sft` learns replies; `dpo` learns to prefer one of two replies.
        rank: Rank of the adapter's matrices.
        alpha: The adapter's share is scaled by alpha / rank.
        dropout: Share of an adapter's inputs that are left out at random, in [0, 0.9].
        target_modules: `all-linear` for every linear layer but the output, or the last names of the layers, such as `q_proj`.
        learning_rate: Highest learning rate of AdamW.
        epochs: Passes over the data, possibly not whole.
        max_steps: Optimiser steps; in place of `epochs` where it is given.
        batch_size: Examples that a device reads at once (pairs, for `dpo`).
        gradient_accumulation: Batches an optimiser step.
        max_length: Longest prompt with reply, in tokens, where the model's context is not shorter; longer ones are left out and counted,
            never cut.
        packing: Whether several examples share a row, which saves padding; refused where the model's attention would mix them.
        warmup: Share of the steps over which the learning rate rises from 0, in [0, 1); of whole steps, rounded down.
        scheduler: How the learning rate goes on from there.
        weight_decay: Weight decay of AdamW.
        max_grad_norm: Norm at which gradients are cut off.
        seed: Seed of the adapter's first values, of dropout and of the data's order.
        precision: `auto` is bf16 on a device that has it, else float32.
        quantisation: `nf4` holds the base model in 4 bits and needs a CUDA device; `auto` does so where there is one.
        gradient_checkpointing: Whether activations are computed twice to save memory; `auto` does so on a GPU, from a billion
            parameters on.
        checkpoint_every: Optimiser steps between two checkpoints, from which a training goes on that was killed.
        beta: How closely the model is held to the base, for `dpo`: the higher, the closer.
        attention: transformers' name of an attention implementation, such as `sdpa`; `auto` leaves the choice to transformers.
    """

    name: str
    summary: str
    method: Literal["sft", "dpo"]
    rank: int = Field(ge=1, le=1024)
    alpha: int = Field(ge=1, le=2048)
    dropout: float = Field(ge=0, le=0.9)
    target_modules: Literal["all-linear"] | Annotated[tuple[Module, ...], Field(min_length=1)] = "all-linear"
    learning_rate: float = Field(gt=0, le=0.1)
    epochs: float = Field(gt=0, le=1000)
    max_steps: int | None = Field(default=None, ge=1)
    batch_size: int = Field(ge=1, le=1024)
    gradient_accumulation: int = Field(ge=1, le=1024)
    max_length: int = Field(ge=16, le=1_048_576)
    packing: bool = False
    warmup: float = Field(ge=0, lt=1)
    scheduler: Literal["linear", "cosine", "constant"]
    weight_decay: float = Field(ge=0, le=1)
    max_grad_norm: float = Field(gt=0, le=100)
    seed: int = Field(ge=0, lt=2**32)
    precision: Literal["auto", "bf16", "float32"] = "auto"
    quantisation: Literal["none", "nf4", "auto"] = "none"
    gradient_checkpointing: Literal["auto"] | bool = "auto"
    checkpoint_every: int = Field(ge=1)
    beta: float | None = Field(default=None, gt=0, le=100)
    attention: Annotated[str, StringConstraints(pattern=r"^[\w./|-]+$")] = "auto"

    @model_validator(mode="after")
    def _fields_belong_together(self) -> Settings:
        if (self.method == "dpo") != (self.beta is not None):
            raise ValueError("beta belongs to method 'dpo', which needs it" if self.beta is None else "beta says nothing for method 'sft'")
        if self.method == "dpo" and self.packing:
            raise ValueError("packing: pairs cannot be packed; leave it false for method 'dpo'")
        if self.method == "dpo" and self.dropout:
            raise ValueError("dropout: trl turns it off for method 'dpo'; set it to 0, which is what would happen")
        return self

    @property
    def hash(self) -> str:
        """Hash of all that can move the adapter's weights by more than rounding."""
        return digest({field: value for field, value in self.model_dump(mode="json").items() if field not in MOVE_NO_WEIGHT})


@functools.cache
def profiles() -> Mapping[str, Settings]:
    """The settings that come with the package, by name; `lora` first.

    Raises:
        DataError: A profile's file does not fit.
    """
    paths = sorted(_PROFILES.glob("*.yaml"), key=lambda path: (path.stem != "lora", path.stem))
    return {path.stem: parse_record(Settings, {"name": path.stem, **read_yaml(path)}, where=str(path)) for path in paths}


def select_settings(name: str, overrides: Sequence[str] = ()) -> Settings:
    """The settings of that name, or of that file.

    Args:
        name: Name of a profile that comes with the package, or path of a YAML file.
        overrides: Changes as `field=value`, with values in YAML.

    Raises:
        CultureCareError: There are no such settings, their file does not fit, or a change is no `field=value`.
    """
    changes = read_overrides(overrides, "setting", "learning_rate=1e-4")
    path = Path(name) if Path(name).suffix in {".yaml", ".yml"} else _PROFILES / f"{name}.yaml"
    if not path.is_file():
        raise CultureCareError(f"unknown settings {name!r}: choose from {', '.join(profiles())}, or name a YAML file")
    where = f"{path} with --set {' '.join(overrides)}" if overrides else str(path)
    return parse_record(Settings, {"name": path.stem, **read_yaml(path), **changes}, where=where)


def profile_text(name: str) -> str:
    """The file of settings that come with the package, comments included, to be changed.

    Raises:
        CultureCareError: There are no such settings.
    """
    if name not in profiles():
        raise CultureCareError(f"unknown settings {name!r}: choose from {', '.join(profiles())}")
    return (_PROFILES / f"{name}.yaml").read_text(encoding="utf-8")
