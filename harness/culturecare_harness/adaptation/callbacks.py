"""What looks on while trl's trainers train, and what they do otherwise here. Imported where it is used: it imports transformers."""

from __future__ import annotations

import contextlib
import io
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from culturecare import CultureCareError
from culturecare_harness.adaptation.checkpoints import mark

if TYPE_CHECKING:
    from culturecare_harness.adaptation.settings import Settings
    from culturecare_harness.progress import TrainingProgress

__all__ = ["PROJECT", "Tokenised", "Tracker", "Watch", "WholeWarmup"]

PROJECT = "culturecare"
"""The trackio project of all trainings."""


class Watch(TrainerCallback):  # type: ignore[misc]
    """Tells of each step, stops where the loss is not a number, and marks each checkpoint that is whole."""

    def __init__(self, progress: TrainingProgress, before: float) -> None:
        """Starts watching.

        Args:
            progress: Told of each step.
            before: Seconds that the steps of earlier sessions took.
        """
        self._progress = progress
        self._before = before
        self._start = 0.0
        self.seconds = before
        """Time that the steps took, over all sessions."""

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Starts the clock."""
        self._start = time.monotonic()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Looks at the clock."""
        self.seconds = self._before + time.monotonic() - self._start

    def on_log(self, _: Any, state: Any, __: Any, logs: dict[str, float], **___: Any) -> None:
        """Takes the loss of a step.

        Raises:
            CultureCareError: Loss or gradient is not a number.
        """
        if "loss" not in logs:
            return  # The summary at the end.
        if not (math.isfinite(logs["loss"]) and math.isfinite(logs.get("grad_norm", 0.0))):
            raise CultureCareError(
                f"the loss at step {state.global_step} is not a number, and no adapter was written: lower learning_rate or "
                "max_grad_norm, or set precision=float32, and choose another folder with --out"
            )
        self._progress.step(state.global_step, state.max_steps, logs["loss"])

    def on_save(self, arguments: Any, state: Any, *_: Any, **__: Any) -> None:
        """Marks the checkpoint that was just written."""
        mark(Path(arguments.output_dir) / f"checkpoint-{state.global_step}", state.global_step, self.seconds)


class Tracker(TrainerCallback):  # type: ignore[misc]
    """Writes what a trainer logs into trackio's database on this machine. A training that goes on goes on in its run.

    The steps since its last checkpoint then stand there twice.
    """

    def __init__(self, settings: Settings, run: str) -> None:
        """Names the run.

        Args:
            settings: Kept with the run.
            run: Its name.
        """
        self._settings = settings
        self._run = run

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Opens the run."""
        import trackio

        with contextlib.redirect_stdout(io.StringIO()):  # It prints how to open its dashboard.
            trackio.init(
                project=PROJECT,
                name=self._run,
                config=self._settings.model_dump(mode="json"),
                resume="allow",
                embed=False,
                auto_log_cpu=False,
            )

    def on_log(self, _: Any, state: Any, __: Any, logs: dict[str, float], **___: Any) -> None:
        """Keeps the numbers of a step."""
        import trackio

        numbers = {name: value for name, value in logs.items() if isinstance(value, int | float)}
        trackio.log(numbers, step=state.global_step)

    def on_train_end(self, *_: Any, **__: Any) -> None:
        """Closes the run."""
        import trackio

        with contextlib.redirect_stdout(io.StringIO()):
            trackio.finish()


class WholeWarmup:
    """Of a trainer: warm-up takes whole steps, rounded down.

    transformers rounds up, and the learning rate of its first warm-up step is 0: a training of one step would learn nothing.

    Attributes:
        warmup: Share of the steps, in [0, 1).
    """

    warmup: float
    args: Any

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Makes the schedule of learning rates."""
        self.args.warmup_steps = math.floor(self.warmup * num_training_steps)
        return super().create_scheduler(num_training_steps, optimizer)  # type: ignore[misc]


class Tokenised:
    """Of a trainer: its data are token ids already, and stay as they are."""

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        return dataset
