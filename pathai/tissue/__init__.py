"""Where the tissue is, what spoils it, and how good the slide is.

`overview` reads a slide once at about 8 µm per pixel; `examine` makes the tissue map and the
quality figures of it, with a few looks at finer levels.
"""

from pathai.tissue.classes import tissue_map
from pathai.tissue.reading import Overview, dark_background, overview
from pathai.tissue.survey import examine

__all__ = ["Overview", "dark_background", "examine", "overview", "tissue_map"]
