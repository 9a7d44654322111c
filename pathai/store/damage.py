"""Unreadable parts of a slide: where they are, and when they are too much."""

import numpy as np

from pathai.errors import PathaiError
from pathai.store.records import TissueMap
from pathai.units import Box


class Damage:
    """Keeps count of unreadable rectangles.

    Parameters
    ----------
    tissue : TissueMap
        What is stored of the slide.
    limit : float
        Share of it that may be unreadable.
    """

    def __init__(self, tissue: TissueMap, limit: float) -> None:
        self.tissue, self.limit = tissue, limit
        self.boxes: list[Box] = []
        self._suspect = tissue.stored
        self._total = max(float(self._suspect.sum()) * tissue.downsample**2, 1.0)
        self._bad = 0.0

    @property
    def fraction(self) -> float:
        """Share of what is stored that is unreadable."""
        return min(self._bad / self._total, 1.0)

    def add(self, box: Box) -> None:
        """Record an unreadable box, level-0 px.

        Raises
        ------
        PathaiError
            E113 if it is too much: copy or scan the slide again.
        """
        self.boxes.append(box)
        weights = []
        for start, length, limit in (
            (box.y, box.height, self._suspect.shape[0]),
            (box.x, box.width, self._suspect.shape[1]),
        ):
            edges = np.arange(limit + 1) * self.tissue.downsample
            weights.append(np.diff(np.clip(edges, start, start + length)))
        self._bad += float(weights[0] @ self._suspect @ weights[1])
        if self.fraction > self.limit:
            message = (
                f"at least {self.fraction:.2%} of the tissue is unreadable "
                f"(limit {self.limit:.2%}), last at x {box.x:.0f} y {box.y:.0f} of level 0"
            )
            raise PathaiError("E113", message)
