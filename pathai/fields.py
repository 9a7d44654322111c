"""The walk of the tissue, field by field, and what of it was seen.

A person who screens a slide moves over it in a fixed order, so that nothing is missed and nothing
is looked at twice without need. The order is serpentine, piece of tissue by piece of tissue: along
one band to its end, down by one band, and back.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pathai.errors import PathaiError
from pathai.store.records import TISSUE, TissueMap
from pathai.units import Box

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Field:
    """One field of the walk.

    Attributes
    ----------
    box : Box
        Level-0 px; it may reach over the slide's edge.
    piece : int
        Which piece of tissue it was laid for, from 1.
    """

    box: Box
    piece: int


def walk(
    tissue: TissueMap, width_um: float, height_um: float, overlap: float = 0.1
) -> tuple[Field, ...]:
    """Lay fields over all analyzed tissue.

    Every pixel of the tissue map that is analyzed tissue lies as a whole in one field at least.
    What a field of an earlier piece holds already is not walked again.

    Parameters
    ----------
    tissue : TissueMap
        Its class tissue is what is walked.
    width_um, height_um : float
        Size of a field, µm.
    overlap : float
        Least share of a field's edge that it has in common with its neighbor, 0 to less than 1.
        Neighbors always share one pixel of the map at least.

    Returns
    -------
    tuple of Field
        In the order of the walk; empty without tissue.

    Raises
    ------
    PathaiError
        E193 if a field is smaller than two pixels of the tissue map, or the overlap is not below
        1: choose a lower magnification.
    """
    width, height = width_um / tissue.mpp.x, height_um / tissue.mpp.y
    if not 0 <= overlap < 1 or min(width, height) < 2:
        message = f"a field of {width_um:.0f} x {height_um:.0f} µm cannot be walked"
        raise PathaiError("E193", message, "choose a lower magnification, an overlap below 1")
    labels, _ = ndimage.label(tissue.classes == TISSUE, np.ones((3, 3)))
    left_over = labels > 0
    found: list[Field] = []
    for piece, place in enumerate(ndimage.find_objects(labels), start=1):
        rows, columns = place
        own = (labels[place] == piece) & left_over[place]
        for x, y in _serpentine(own, width, height, overlap):
            left, top = x + columns.start, y + rows.start
            _whole_pixels(left_over, left, top, width, height)[...] = False
            step = tissue.downsample
            box = Box(left * step, top * step, width * step, height * step)
            found.append(Field(box, piece))
    return tuple(found)


def _whole_pixels(image: Bools, x: float, y: float, width: float, height: float) -> Bools:
    """View of the pixels that lie in a rectangle as a whole."""
    # A pixel that fits but for rounding is inside.
    top, left = max(ceil(y - 1e-6), 0), max(ceil(x - 1e-6), 0)
    bottom, right = int(y + height + 1e-6), int(x + width + 1e-6)
    return image[top : max(bottom, top), left : max(right, left)]


def _serpentine(
    inside: Bools, width: float, height: float, overlap: float
) -> Iterable[tuple[float, float]]:
    """Top-left corners (x, y) of the fields over one piece, pixels of its picture."""
    rows = np.flatnonzero(inside.any(axis=1))
    back = False
    for y in _spread(rows, height, overlap):
        band = _whole_pixels(inside, -0.0, y, float(inside.shape[1]), height)
        corners = _spread(np.flatnonzero(band.any(axis=0)), width, overlap)
        if not corners:
            continue
        yield from ((x, y) for x in (reversed(corners) if back else corners))
        back = not back


def _spread(places: NDArray[np.intp], length: float, overlap: float) -> list[float]:
    """Starts of stretches of one length that hold every place ``[p, p + 1]``, evenly laid.

    Places further apart than a stretch reaches are served apart; a stretch without a place is
    left out.
    """
    if not len(places):
        return []
    step = min(length * (1 - overlap), length - 1)
    starts: list[float] = []
    for run in np.split(places, np.flatnonzero(np.diff(places) > step) + 1):
        first, extent = float(run[0]), float(run[-1] + 1 - run[0])
        number = max(ceil((extent - length) / step - 1e-9), 0) + 1
        if number == 1:
            starts.append(first + (extent - length) / 2)
            continue
        even = (extent - length) / (number - 1)
        for k in range(number):
            start = first + k * even
            if ((run >= start - 1e-6) & (run + 1 <= start + length + 1e-6)).any():
                starts.append(start)
    return starts


class Seen:
    """Which tissue of a slide was looked at.

    Parameters
    ----------
    tissue : TissueMap
        Of the slide.
    boxes : iterable of Box
        Fields seen so far, level-0 px.
    """

    def __init__(self, tissue: TissueMap, boxes: Iterable[Box] = ()) -> None:
        self.tissue = tissue
        self.wanted: Bools = tissue.classes == TISSUE
        """Analyzed tissue, bool[h, w]."""
        self.mask: Bools = np.zeros(self.wanted.shape, bool)
        """Pixels of the map whose middle was in a seen field, bool[h, w]."""
        for box in boxes:
            self.add(box)

    def _pixels(self, image: Bools, box: Box) -> Bools:
        step = self.tissue.downsample
        top, bottom = (max(ceil(v / step - 0.5 - 1e-6), 0) for v in (box.y, box.bottom))
        left, right = (max(ceil(v / step - 0.5 - 1e-6), 0) for v in (box.x, box.right))
        return image[top:bottom, left:right]

    def add(self, box: Box) -> int:
        """A field was seen; returns how many pixels of tissue are new."""
        mask, wanted = self._pixels(self.mask, box), self._pixels(self.wanted, box)
        new = int((wanted & ~mask).sum())
        mask[...] = True
        return new

    def holds(self, box: Box) -> bool:
        """Whether all tissue in a box was seen."""
        mask, wanted = self._pixels(self.mask, box), self._pixels(self.wanted, box)
        return not bool((wanted & ~mask).any())

    @property
    def share(self) -> float:
        """Seen part of the analyzed tissue, 0 to 1; 1 where there is no tissue."""
        total = int(self.wanted.sum())
        return int((self.mask & self.wanted).sum()) / total if total else 1.0


def first_unseen(walked: Sequence[Field], seen: Seen, start: int = 0) -> int | None:
    """Number of the first field from ``start``, round and round, that holds unseen tissue.

    None when all was seen: this is where a reader who stopped goes on.
    """
    for k in range(len(walked)):
        at = (start + k) % len(walked)
        if not seen.holds(walked[at].box):
            return at
    return None


def nearest(walked: Sequence[Field], box: Box) -> int | None:
    """Number of the field whose center is nearest to that of a box; None without fields."""
    if not walked:
        return None
    x, y = box.x + box.width / 2, box.y + box.height / 2
    away = [
        (f.box.x + f.box.width / 2 - x) ** 2 + (f.box.y + f.box.height / 2 - y) ** 2 for f in walked
    ]
    return int(np.argmin(away))
