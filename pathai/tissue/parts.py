"""Connected parts and simple morphology of masks, in plain NumPy.

SciPy has all of this, but importing it costs more processor time than a slide's whole tissue map.
Everything works on runs (stretches of True within a row), of which a mask has few.
"""

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Ints = NDArray[np.int64]


class Parts:
    """Connected parts of a mask (pixels that share an edge).

    Parameters
    ----------
    mask : bool[h, w]
        What to divide.

    Attributes
    ----------
    count : int
        Number of parts.
    areas : int64[count]
        Pixels of each part.
    """

    def __init__(self, mask: Mask) -> None:
        self._mask = np.ascontiguousarray(mask)
        height, width = mask.shape
        wide = np.zeros((height, width + 1), np.int8)
        wide[:, :width] = mask
        flat = wide.ravel()
        change = np.flatnonzero(flat[1:] != flat[:-1]) + 1
        if flat.size and flat[0]:
            change = np.concatenate([[0], change])
        self._starts, self._ends = change[::2], change[1::2]
        self._lengths = self._ends - self._starts
        self._row, self._column = np.divmod(self._starts, width + 1)
        roots = _joined(len(self._starts), *self._touching(width + 1))
        first = roots == np.arange(len(roots))
        self.count = int(first.sum())
        self._part = (np.cumsum(first) - 1)[roots]
        self._order: Ints | None = None
        self._first: Ints = np.zeros(0, np.int64)
        self.areas: Ints = self._bins(self._lengths).astype(np.int64)

    def _touching(self, step: int) -> tuple[Ints, Ints]:
        """Pairs of runs in neighboring rows that share a column."""
        first = np.searchsorted(self._ends, self._starts + step, "right")
        last = np.searchsorted(self._starts, self._ends + step, "left")
        counts = np.maximum(last - first, 0)
        above = np.repeat(np.arange(len(counts)), counts)
        before = np.cumsum(counts) - counts
        below = np.arange(len(above)) - np.repeat(before - first, counts)
        return above, below

    def _bins(self, weights: NDArray[np.generic]) -> NDArray[np.float64]:
        found = np.bincount(self._part, np.asarray(weights, np.float64), self.count)
        return np.asarray(found, np.float64)

    def sums(self, values: NDArray[np.generic]) -> NDArray[np.float64]:
        """Sum of an image over each part, ``float64[count]``."""
        if not self.count:
            return np.zeros(0)
        inside = values[self._mask].astype(np.float64)
        before = np.concatenate([[0], np.cumsum(self._lengths)[:-1]])
        return self._bins(np.add.reduceat(inside, before))

    def peaks(self, values: NDArray[np.int16]) -> NDArray[np.int16]:
        """Largest value of an image in each part, ``int16[count]``."""
        out = np.full(self.count, np.iinfo(np.int16).min, np.int16)
        if self.count:
            before = np.concatenate([[0], np.cumsum(self._lengths)[:-1]])
            np.maximum.at(out, self._part, np.maximum.reduceat(values[self._mask], before))
        return out

    def select(self, keep: Mask) -> Mask:
        """The pixels of the chosen parts: ``bool[count]`` to ``bool[h, w]``."""
        out = np.zeros_like(self._mask)
        out[self._mask] = np.repeat(keep[self._part], self._lengths)
        return out

    def piece(self, number: int, margin: int = 0) -> tuple[slice, slice, Mask]:
        """Rows, columns and mask of the box around one part, with a margin inside of the map."""
        if self._order is None:
            self._order = np.argsort(self._part, kind="stable")
            self._first = np.searchsorted(self._part[self._order], np.arange(self.count + 1))
        runs = self._order[self._first[number] : self._first[number + 1]]
        row, column, length = self._row[runs], self._column[runs], self._lengths[runs]
        height, width = self._mask.shape
        top, bottom = max(int(row.min()) - margin, 0), min(int(row.max()) + 1 + margin, height)
        left = max(int(column.min()) - margin, 0)
        right = min(int((column + length).max()) + margin, width)
        out = np.zeros((bottom - top, right - left), bool)
        for y, x, n in zip(row - top, column - left, length, strict=True):
            out[y, x : x + n] = True
        return slice(top, bottom), slice(left, right), out

    def boxes(self) -> Ints:
        """First row, past last row, first column, past last column: ``int64[count, 4]``."""
        height, width = self._mask.shape
        out = np.tile(np.array([height, 0, width, 0], np.int64), (self.count, 1))
        np.minimum.at(out[:, 0], self._part, self._row)
        np.maximum.at(out[:, 1], self._part, self._row + 1)
        np.minimum.at(out[:, 2], self._part, self._column)
        np.maximum.at(out[:, 3], self._part, self._column + self._lengths)
        return out


def _joined(count: int, one: Ints, other: Ints) -> Ints:
    """Smallest member of the set of each of ``count`` things, some pairs of which are joined."""
    parent = np.arange(count)
    while len(one):
        high, low = np.maximum(parent[one], parent[other]), np.minimum(parent[one], parent[other])
        np.minimum.at(parent, high, low)
        while not np.array_equal(parent, shorter := parent[parent]):
            parent = shorter
        apart = parent[one] != parent[other]
        one, other = one[apart], other[apart]
    return parent


def without_small(mask: Mask, smallest: float) -> Mask:
    """The mask without parts of fewer pixels than ``smallest``."""
    parts = Parts(mask)
    return parts.select(parts.areas >= smallest)


def without_small_holes(mask: Mask, largest: float) -> Mask:
    """The mask with holes of up to ``largest`` pixels filled.

    A gap at the edge of the map may go on outside: it is no hole.
    """
    gaps = Parts(~mask)
    boxes = gaps.boxes()
    inner = (boxes[:, [0, 2]] > 0).all(axis=1) & (boxes[:, [1, 3]] < mask.shape).all(axis=1)
    return mask | gaps.select(inner & (gaps.areas <= largest))


def dilated(mask: Mask, radius: int) -> Mask:
    """The mask grown by a square of ``2 * radius + 1`` pixels."""
    return _grown(_grown(mask, radius, 0), radius, 1)


def eroded(mask: Mask, radius: int) -> Mask:
    """The mask shrunk by a square; the edge of the map does not shrink it."""
    return ~dilated(~mask, radius)


def closed(mask: Mask, radius: int) -> Mask:
    """The mask with gaps of up to ``2 * radius`` pixels closed, but none to the map's edge."""
    wide = np.pad(mask, radius)
    return mask | eroded(dilated(wide, radius), radius)[radius:-radius, radius:-radius]


def _grown(mask: Mask, radius: int, axis: int) -> Mask:
    """The mask or-ed with itself, moved by up to ``radius`` along one axis."""
    out, reach = mask, 0
    while reach < radius:
        step = min(radius - reach, 2 * reach + 1)
        before, out = out, out.copy()
        ahead: list[slice] = [slice(None)] * 2
        behind = ahead.copy()
        ahead[axis], behind[axis] = slice(step, None), slice(None, -step)
        out[tuple(ahead)] |= before[tuple(behind)]
        out[tuple(behind)] |= before[tuple(ahead)]
        reach += step
    return out
