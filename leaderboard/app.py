"""Entry of the Space: shows the board that `CULTURECARE_RESULTS` names."""

from __future__ import annotations

import os

from rich.console import Console

from culturecare_harness.progress import terminal_progress
from culturecare_leaderboard import launch

if __name__ == "__main__":
    with terminal_progress(Console()) as progress:
        launch(
            os.environ.get("CULTURECARE_RESULTS", "hf://datasets/culturecare/results"),
            progress,
            host="0.0.0.0",  # noqa: S104 - a Space's container is reached from outside.
            port=int(os.environ.get("PORT", "7860")),
            patient=True,
        )
