"""Entry of the Space: shows the board that `CULTURECARE_RESULTS` names."""

from __future__ import annotations

import os
import sys

from rich.console import Console

from culturecare import CultureCareError
from culturecare_harness.progress import terminal_progress
from culturecare_leaderboard import launch


def main() -> None:
    """Serves the board; there is none by default, since a name on the Hub that nobody has taken could be anyone's."""
    results = os.environ.get("CULTURECARE_RESULTS", "").strip()
    if not results:
        sys.exit("CULTURECARE_RESULTS names no board: set this variable to hf://datasets/OWNER/NAME, or to a board's folder.")
    with terminal_progress(Console()) as progress:
        try:
            launch(
                results,
                progress,
                host="0.0.0.0",  # noqa: S104 - a Space's container is reached from outside.
                port=int(os.environ.get("PORT", "7860")),
                patient=True,
            )
        except CultureCareError as error:
            sys.exit(str(error))


if __name__ == "__main__":
    main()
