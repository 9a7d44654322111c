"""Small pictures of slides, each read once from the coarsest level of its pyramid. No Qt."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pathai.errors import PathaiError
from pathai.viewer.runs import CaseView, Run

EDGE = 256
"""Longer edge of a picture, px; what is shown smaller is scaled on the screen."""
Picture = NDArray[np.uint8]


class Thumbnails:
    """Pictures of a run's slides.

    Parameters
    ----------
    run : Run
        Whose slides.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.known: dict[str, Picture | None] = {}
        """By slide; None where there is nothing to see."""

    def slide_of(self, case: CaseView) -> str:
        """The slide that stands for a case: its first with pixels; empty if none has."""
        ids = (row.slide_id for row in case.rows)
        return next((slide_id for slide_id in ids if self.run.has_pixels(slide_id)), "")

    def missing(self) -> list[tuple[str, str]]:
        """Case and slide of every picture that has not been made yet, in the sheet's order."""
        pairs = ((c.case_id, self.slide_of(c)) for c in self.run.cases.values())
        return [(case, slide) for case, slide in pairs if slide and slide not in self.known]

    def made(self, wanted: Iterable[tuple[str, str]]) -> Iterator[tuple[str, Picture | None]]:
        """Make pictures one by one: case and ``uint8[h, w, 3]``; to be run beside the window."""
        for case, slide in wanted:
            if slide not in self.known:
                self.known[slide] = self._read(slide)
            yield case, self.known[slide]

    def _read(self, slide_id: str) -> Picture | None:
        try:
            levels = self.run.slide(slide_id).open_tiles().dask()
            return small(levels[-1])
        except PathaiError:
            return None  # what is wrong is told when the slide is opened


def small(level: Any, edge: int = EDGE) -> Picture:
    """A level of a pyramid as a picture of at most ``edge`` px, ``uint8[h, w, 3]``."""
    step = max(int(max(level.shape[:2]) // (4 * edge)), 1)
    pixels = np.asarray(level[::step, ::step])[..., :3]
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    picture.thumbnail((edge, edge), Image.Resampling.BOX)
    return np.asarray(picture)
