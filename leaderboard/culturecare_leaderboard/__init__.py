"""The leaderboard of the CultureCare benchmark: who is good, in which culture, how sure that is, and the replies behind it.

A board (`culturecare_harness.board`) is the only thing it reads. What is shown depends on the board and an address alone: `views` make
tables of a board, `templates` make pages of them, and `space` hands them to the browser through gradio.
"""

from culturecare_leaderboard.server import create_app, launch

__all__ = ["create_app", "launch"]
