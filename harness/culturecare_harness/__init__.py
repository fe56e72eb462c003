"""CultureCare harness: prompts a model with posts, has its replies judged, and scores them with coverage and intervals."""

from culturecare import CultureCareError, __version__

__all__ = ["CultureCareError", "__version__"]
