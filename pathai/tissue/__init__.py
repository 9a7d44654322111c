"""Where the tissue is, what spoils it, and how good the slide is."""

from pathai.tissue.classes import tissue_map
from pathai.tissue.overview import Overview, dark_background, overview

__all__ = ["Overview", "dark_background", "overview", "tissue_map"]
