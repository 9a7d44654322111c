"""A Deep Zoom pyramid made in one pass: each source pixel is read once, row of tiles by row.

A tile of a level is the mean of two by two pixels of the level below it, so that pixel i of a
level covers the pixels 2i and 2i + 1 below it. What is held is one row of half-sized tiles a
level: memory grows with a slide's width, not with its area.
"""

from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pathai.units import Size

Pixels = NDArray[np.uint8]
TILE = 512
"""Edge of a tile, px."""


@dataclass(frozen=True)
class Place:
    """One tile: its level (0 is one pixel), column and row, and what it covers, px of the level."""

    level: int
    column: int
    row: int
    x: int
    y: int
    width: int
    height: int


@dataclass
class Levels:
    """Geometry of a pyramid in the Deep Zoom layout, and which of its tiles there are.

    Parameters
    ----------
    size : Size
        Of the finest level, px.
    tile : int
        Edge of a tile, px; even.
    """

    size: Size
    tile: int = TILE
    there: dict[int, NDArray[np.bool_]] = field(default_factory=dict)

    @property
    def finest(self) -> int:
        """Number of the finest level: 2 to its power is no less than the longer side."""
        return max(self.size.width - 1, self.size.height - 1, 0).bit_length()

    def size_of(self, level: int) -> Size:
        """Size of a level, px."""
        d = 1 << (self.finest - level)
        return Size(-(-self.size.width // d), -(-self.size.height // d))

    def shape(self, level: int) -> tuple[int, int]:
        """Rows and columns of a level's tiles."""
        size = self.size_of(level)
        return -(-size.height // self.tile), -(-size.width // self.tile)

    def place(self, level: int, column: int, row: int) -> Place:
        """Where a tile lies."""
        size, x, y = self.size_of(level), column * self.tile, row * self.tile
        width, height = min(self.tile, size.width - x), min(self.tile, size.height - y)
        return Place(level, column, row, x, y, width, height)

    def mark(self, place: Place) -> None:
        """Note that a tile is there."""
        if place.level not in self.there:
            self.there[place.level] = np.zeros(self.shape(place.level), bool)
        self.there[place.level][place.row, place.column] = True

    def masks(self) -> list[str]:
        """Which tiles there are: for each level bits in row-major order, base 64; empty if none."""
        found = [self.there.get(level) for level in range(self.finest + 1)]
        return [
            "" if mask is None else b64encode(np.packbits(mask.ravel()).tobytes()).decode()
            for mask in found
        ]


def walk(
    levels: Levels,
    leaf: Callable[[Place], Pixels | None],
    emit: Callable[[Place, Pixels], None],
    *,
    blank: int | tuple[int, ...],
    told: Callable[[int, int], None] = lambda done, of: None,
) -> None:
    """Make every tile of a pyramid, each after the four below it.

    Parameters
    ----------
    levels : Levels
        Geometry.
    leaf : callable
        Gives a tile of the finest level, uint8[h, w, c]; None where there is nothing.
    emit : callable
        Takes each tile that is not empty, from all levels.
    blank : int or tuple of int
        Value of pixels where there is nothing, of each channel.
    told : callable
        Takes how many rows of the finest level are done, of how many.
    """
    rows = levels.shape(levels.finest)[0]

    def tiles(level: int, row: int) -> Iterator[tuple[Place, Pixels]]:
        """Tiles of a row, from left to right."""
        places = [levels.place(level, column, row) for column in range(levels.shape(level)[1])]
        if level == levels.finest:
            for place in places:
                pixels = leaf(place)
                if pixels is not None:
                    yield place, pixels
            told(row + 1, rows)
            return
        made: dict[int, Pixels] = {}
        below, half = levels.shape(level + 1)[0], levels.tile // 2
        for down in range(min(2, below - 2 * row)):
            for column, part in done(level + 1, 2 * row + down).items():
                place = places[column // 2]
                if place.column not in made:
                    shape = (place.height, place.width, part.shape[2])
                    made[place.column] = np.full(shape, blank, np.uint8)
                y, x = down * half, column % 2 * half
                made[place.column][y : y + part.shape[0], x : x + part.shape[1]] = part
        for column in sorted(made):
            yield places[column], made.pop(column)

    def done(level: int, row: int) -> dict[int, Pixels]:
        """Emit a row's tiles and give them half-sized to the level above."""
        halves = {}
        for place, pixels in tiles(level, row):
            emit(place, pixels)
            halves[place.column] = halved(pixels)
        return halves

    done(0, 0)


def halved(pixels: Pixels) -> Pixels:
    """Means of two by two pixels; uint8[ceil(h / 2), ceil(w / 2), c]. An odd edge counts twice."""
    height, width = pixels.shape[:2]
    if height % 2 or width % 2:
        pixels = np.pad(pixels, [(0, height % 2), (0, width % 2), (0, 0)], mode="edge")
    columns = pixels[0::2].astype(np.uint16) + pixels[1::2]
    found: Pixels = ((columns[:, 0::2] + columns[:, 1::2] + 2) >> 2).astype(np.uint8)
    return found
