"""The class raster as it is shown: what is stored, with a reader's corrections drawn over it.

Only the chunks that a correction touches are kept in memory; nothing is written to the results.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathai.cells.raster import fill
from pathai.store.cell_store import halved

U8 = NDArray[np.uint8]
CHUNK = 1024
Window = tuple[int, int, int, int]
"""Left, top, right, bottom, px of a level."""


class PatchedLevel:
    """One level of a raster that can be read like an array and corrected in memory.

    Parameters
    ----------
    stored : array of uint8[h, w]
        Anything that gives NumPy arrays for slices, as zarr arrays do. Never written to.
    """

    ndim = 2
    dtype = np.dtype("uint8")

    def __init__(self, stored: Any) -> None:
        self._stored = stored
        self.shape: tuple[int, int] = (int(stored.shape[0]), int(stored.shape[1]))
        self.chunks = (min(CHUNK, self.shape[0]) or 1, min(CHUNK, self.shape[1]) or 1)
        self._patches: dict[tuple[int, int], U8] = {}

    @property
    def size(self) -> int:
        """Pixels."""
        return self.shape[0] * self.shape[1]

    @property
    def patched_bytes(self) -> int:
        """What corrections hold in memory."""
        return sum(patch.nbytes for patch in self._patches.values())

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        found: NDArray[Any] = self[:, :]
        return found if dtype is None else found.astype(dtype)

    def __getitem__(self, key: Any) -> Any:
        keys = key if isinstance(key, tuple) else (key,)
        if Ellipsis in keys or len(keys) < self.ndim:
            place = keys.index(Ellipsis) if Ellipsis in keys else len(keys)
            rest = (slice(None),) * (self.ndim - len([k for k in keys if k is not Ellipsis]))
            keys = (*keys[:place], *rest, *keys[place + 1 :])
        if not all(isinstance(k, (int, np.integer, slice)) for k in keys):
            return np.asarray(self)[key]
        spans = [_span(k, n) for k, n in zip(keys, self.shape, strict=True)]
        (top, bottom), (left, right) = spans
        found = np.array(self._stored[top:bottom, left:right], np.uint8)
        for row, column in self._touched((left, top, right, bottom)):
            patch = self._patches.get((row, column))
            if patch is not None:
                y, x = row * CHUNK, column * CHUNK
                a, b = max(top, y), min(bottom, y + patch.shape[0])
                c, d = max(left, x), min(right, x + patch.shape[1])
                found[a - top : b - top, c - left : d - left] = patch[a - y : b - y, c - x : d - x]
        return found[tuple(_within(k, n) for k, n in zip(keys, self.shape, strict=True))]

    def _touched(self, window: Window) -> list[tuple[int, int]]:
        left, top, right, bottom = window
        return [
            (row, column)
            for row in range(top // CHUNK, -(-bottom // CHUNK))
            for column in range(left // CHUNK, -(-right // CHUNK))
        ]

    def draw(self, left: int, top: int, pixels: U8) -> None:
        """Put pixels in place of those shown."""
        bottom, right = top + pixels.shape[0], left + pixels.shape[1]
        for row, column in self._touched((left, top, right, bottom)):
            y, x = row * CHUNK, column * CHUNK
            patch = self._patches.get((row, column))
            if patch is None:
                patch = np.array(self[y : y + CHUNK, x : x + CHUNK])
                self._patches[row, column] = patch
            a, b = max(top, y), min(bottom, y + patch.shape[0])
            c, d = max(left, x), min(right, x + patch.shape[1])
            patch[a - y : b - y, c - x : d - x] = pixels[a - top : b - top, c - left : d - left]


def _span(key: Any, length: int) -> tuple[int, int]:
    """First and last + 1 that a slice or an index touches."""
    if isinstance(key, slice):
        chosen = range(*key.indices(length))
        return (min(chosen[0], chosen[-1]), max(chosen[0], chosen[-1]) + 1) if chosen else (0, 0)
    index = int(key) + length * (key < 0)
    if not 0 <= index < length:
        raise IndexError(f"{key} of {length}")
    return index, index + 1


def _within(key: Any, length: int) -> Any:
    if not isinstance(key, slice):
        return 0
    chosen = range(*key.indices(length))
    return slice(None, None, chosen.step) if chosen else slice(0, 0)


class ClassRaster:
    """All levels of a slide's raster, corrected together.

    Parameters
    ----------
    stored : sequence of uint8[h, w]
        Finest first, each half the one before.
    step : float
        Level-0 px per pixel of the finest.
    """

    def __init__(self, stored: Any, step: float) -> None:
        self.levels = tuple(PatchedLevel(one) for one in stored)
        self.step = step

    def window(self, box_px0: tuple[float, float, float, float]) -> Window:
        """Pixels of the finest level that a box (left, top, right, bottom, level-0 px) touches."""
        height, width = self.levels[0].shape
        left, top = (max(int(v / self.step), 0) for v in box_px0[:2])
        right, bottom = (int(v / self.step) + 1 for v in box_px0[2:])
        return min(left, width), min(top, height), min(right, width), min(bottom, height)

    def redraw(
        self,
        window: Window,
        xy_px0: NDArray[np.floating],
        value: U8,
        outline_px0: NDArray[np.floating],
        start: NDArray[np.int64],
    ) -> None:
        """Draw a window anew, by the same rules as stage ``cells``, and what lies above it.

        Parameters
        ----------
        window : tuple
            As `window` gives it.
        xy_px0 : float[n, 2]
            Centers of all nuclei that may reach into it.
        value : uint8[n]
            Class + 1 of each.
        outline_px0, start : float[k, 2], int64[n + 1]
            Their outlines, one after the other.
        """
        left, top, right, bottom = window
        if right <= left or bottom <= top:
            return
        height, width = self.levels[0].shape
        # Whole rows, as stage cells draws: shifted outlines would round to other pixels.
        rows = np.zeros((bottom - top, width), np.uint8)
        if len(value):
            fill(rows, top, outline_px0 / self.step, start, value)
        pixels = rows[:, left:right]
        middle = np.floor(np.asarray(xy_px0, np.float64) / self.step).astype(np.int64)
        middle = middle.clip(0, np.array([width - 1, height - 1])) - np.array([left, top])
        here = ((middle >= 0) & (middle < (right - left, bottom - top))).all(axis=1)
        np.maximum.at(pixels, (middle[here, 1], middle[here, 0]), value[here])
        self.levels[0].draw(left, top, pixels)
        for fine, coarse in zip(self.levels, self.levels[1:], strict=False):
            left, top, right, bottom = left // 2, top // 2, -(-right // 2), -(-bottom // 2)
            high = slice(2 * top, min(2 * bottom, fine.shape[0]))
            wide = slice(2 * left, min(2 * right, fine.shape[1]))
            coarse.draw(left, top, halved(fine[high, wide]))
