"""Tiles of a grid from a stored level, into a ring of tiles, in the grid's order.

Where a tile's pixel is a whole number of stored pixels, a chunk is decoded once into a small buffer
and cut into every tile that it touches, those of the next row of tiles too, as far as the ring
reaches. Other grids are resampled tile by tile from a cache of decoded chunks. The memory for
either is fixed; a slide too wide for it costs further decodes, nothing else.
"""

from bisect import bisect_left

import numpy as np
from numpy.typing import NDArray

from pathai.grid import Grid
from pathai.resample import resample
from pathai.store.chunked import ChunkCache, ChunkedImage, Levels
from pathai.units import Box, Size

Pixels = NDArray[np.uint8]
RING_MIB = 64
"""Room for tiles that are ready or begun."""


def ring_length(pyramid: Levels, tiles: Grid, batch: int) -> int:
    """Tiles that fit into a ring, a multiple of the batch; at least three batches.

    Where every tile is one chunk, no more than three: what is reused soon stays near the processor.
    """
    level, edge = _level(pyramid, tiles), tiles.tile_px
    alone = _whole_factor(pyramid, tiles) == 1 and level.chunk == Size(edge, edge)
    if alone and not (tiles.xy_px0 % (edge * level.downsample)).any():
        return 3 * batch
    return max(RING_MIB * 2**20 // (edge * edge * 3) // batch, 3) * batch


def reader(pyramid: Levels, tiles: Grid, ring: Pixels, mine: NDArray[np.int64]) -> "Reader":
    """What fills the ring with the tiles ``mine`` (numbers of the grid, ascending)."""
    factor = _whole_factor(pyramid, tiles)
    if factor is None:
        return Resampler(pyramid, tiles, ring, mine)
    return Cutter(pyramid, tiles, ring, mine, factor)


def _level(pyramid: Levels, tiles: Grid) -> ChunkedImage:
    return pyramid.images[pyramid.level_for(float(tiles.size_px0.min()) / tiles.tile_px)]


def _whole_factor(pyramid: Levels, tiles: Grid) -> int | None:
    """Stored px per tile px, where that is one whole number for which chunks divide."""
    level = _level(pyramid, tiles)
    width, height = (float(v) / level.downsample for v in tiles.size_px0)
    factor = round(width / tiles.tile_px)
    fits = width == height == factor * tiles.tile_px
    fits = fits and level.chunk.width % factor == 0 and level.chunk.height % factor == 0
    fits = fits and bool((tiles.xy_px0 / level.downsample % factor == 0).all())
    return factor if fits else None


class Reader:
    """What both kinds share.

    Parameters
    ----------
    pyramid : Levels
        Of a store or of a slide.
    tiles : Grid
        What to read.
    ring : uint8[T, H, W, 3]
        Tile *i* lies at ``i % T``.
    mine : int64[M]
        Tiles to read, ascending.
    """

    def __init__(self, pyramid: Levels, tiles: Grid, ring: Pixels, mine: NDArray[np.int64]) -> None:
        self.tiles, self.ring, self.size = tiles, ring, pyramid.size
        self.mine: list[int] = mine.tolist()
        self.level = _level(pyramid, tiles)

    def fill(self, start: int, stop: int, horizon: int) -> list[int]:
        """Make tiles ``start`` to ``stop`` ready; those before ``horizon`` may be begun.

        Returns
        -------
        list of int
            The tiles of this reader among them.
        """
        raise NotImplementedError

    def _between(self, start: int, stop: int) -> list[int]:
        return self.mine[bisect_left(self.mine, start) : bisect_left(self.mine, stop)]

    def valid(self, which: list[int]) -> NDArray[np.float16]:
        """Share of tiles that lies on the slide and was readable, float16[B]."""
        low = self.tiles.xy_px0[which].astype(np.float64)
        high = low + self.tiles.size_px0
        area = float(np.prod(self.tiles.size_px0.astype(np.float64)))
        good = _overlap(low, high, Box(0, 0, self.size.width, self.size.height))
        for box in self.level.lost:
            good -= _overlap(low, high, box)
        return (np.maximum(good, 0) / area).astype(np.float16)


def _overlap(low: NDArray[np.float64], high: NDArray[np.float64], box: Box) -> NDArray[np.float64]:
    """Area that boxes (corners ``float64[B, 2]``, x before y) share with one, ``float64[B]``."""
    sides = np.minimum(high, (box.right, box.bottom)) - np.maximum(low, (box.x, box.y))
    shared: NDArray[np.float64] = np.maximum(sides, 0).prod(axis=1)
    return shared


class Resampler(Reader):
    """Reads tiles whose pixels are no whole number of stored ones."""

    def __init__(self, pyramid: Levels, tiles: Grid, ring: Pixels, mine: NDArray[np.int64]) -> None:
        super().__init__(pyramid, tiles, ring, mine)
        self.cache = ChunkCache()
        self._room = np.empty(0, np.uint8)

    def fill(self, start: int, stop: int, horizon: int) -> list[int]:
        """See `Reader.fill`."""
        which = self._between(start, stop)
        d, edge = self.level.downsample, self.tiles.tile_px
        width, height = (float(v) / d for v in self.tiles.size_px0)
        for i in which:
            x, y = (float(v) / d for v in self.tiles.xy_px0[i])
            tile = resample(self._read, Box(x, y, width, height), Size(edge, edge))
            self.ring[i % len(self.ring)] = tile
        return which

    def _read(self, x: int, y: int, width: int, height: int) -> Pixels:
        if self._room.size < height * width * 3:
            self._room = np.empty(height * width * 3, np.uint8)
        out = self._room[: height * width * 3].reshape(height, width, 3)
        self.level.read_into(out, x, y, self.cache)
        return out


class Cutter(Reader):
    """Reads tiles whose pixels are ``factor`` x ``factor`` stored ones each: exact means."""

    def __init__(
        self,
        pyramid: Levels,
        tiles: Grid,
        ring: Pixels,
        mine: NDArray[np.int64],
        factor: int,
    ) -> None:
        super().__init__(pyramid, tiles, ring, mine)
        self.factor = factor
        level = self.level
        self.chunk = Size(level.chunk.width // factor, level.chunk.height // factor)
        self.limit = Size(-(-level.size.width // factor), -(-level.size.height // factor))
        place = np.rint(tiles.xy_px0 / (level.downsample * factor)).astype(np.int64)
        self.place = place.astype(np.int32)
        self._buffer = np.empty((level.chunk.height, level.chunk.width, 3), np.uint8)
        self._white = np.full((self.chunk.height, self.chunk.width, 3), 255, np.uint8)
        self._touch(mine, place[mine])
        self._done = np.full(level.rows * level.columns, -1, np.int32)
        """Tile up to which each chunk is cut; -1: not yet decoded."""
        self._begun = 0

    def _touch(self, mine: NDArray[np.int64], place: NDArray[np.int64]) -> None:
        """Which stored chunks each tile touches, and which tiles touch each chunk."""
        rows, columns = self.level.rows, self.level.columns
        stored = np.zeros((rows, columns), bool)
        for row, column in self.level.stored():
            stored[row, column] = True
        edge, wide, high = self.tiles.tile_px, self.chunk.width, self.chunk.height
        first = place // (wide, high)
        last = (place + edge - 1) // (wide, high)
        numbers, keys, missing = [], [], np.zeros(len(mine), bool)
        for dy in range((edge - 1) // high + 2):
            for dx in range((edge - 1) // wide + 2):
                xs, ys = first[:, 0] + dx, first[:, 1] + dy
                used = (xs <= last[:, 0]) & (ys <= last[:, 1])
                inside = used & (ys < rows) & (xs < columns)
                held = inside.copy()
                held[inside] = stored[ys[inside], xs[inside]]
                missing |= used & ~held
                numbers.append(mine[held])
                keys.append(ys[held] * columns + xs[held])
        number, key = np.concatenate(numbers), np.concatenate(keys)
        beyond = place + edge > (self.limit.width, self.limit.height)
        self._open = set(mine[missing | beyond.any(axis=1)].tolist())
        order = np.lexsort((key, number))
        self._keys = Groups(number[order], key[order], len(self.tiles))
        order = np.lexsort((number, key))
        self._tiles = Groups(key[order], number[order], rows * columns)

    def fill(self, start: int, stop: int, horizon: int) -> list[int]:
        """See `Reader.fill`."""
        ring, length = self.ring, len(self.ring)
        for i in self._between(self._begun, horizon):
            if i in self._open:
                ring[i % length] = 255
        self._begun = max(self._begun, horizon)
        which = self._between(start, stop)
        for i in which:
            for key in self._keys[i]:
                if self._done[key] <= i:
                    self._cut(key, i, horizon)
        return which

    def _cut(self, key: int, start: int, horizon: int) -> None:
        """Decode a chunk into the tiles from ``start`` to ``horizon`` that it touches."""
        row, column = divmod(key, self.level.columns)
        tiles, length = self._tiles[key], len(self.ring)
        self._done[key] = horizon
        x0, y0 = column * self.chunk.width, row * self.chunk.height
        if len(tiles) == 1 and self._is_tile(tiles[0], x0, y0):
            slot = self.ring[tiles[0] % length]
            if not self.level.decode(row, column, slot):
                slot[...] = 255
            return
        chunk = self._chunk(row, column)
        edge = self.tiles.tile_px
        right, bottom = x0 + chunk.shape[1], y0 + chunk.shape[0]
        for j in tiles[bisect_left(tiles, start) :]:
            if j >= horizon:
                return
            x, y = self.place[j].tolist()
            left, top = max(x, x0), max(y, y0)
            end_x, end_y = min(x + edge, right), min(y + edge, bottom)
            self.ring[j % length, top - y : end_y - y, left - x : end_x - x] = chunk[
                top - y0 : end_y - y0, left - x0 : end_x - x0
            ]

    def _is_tile(self, number: int, x0: int, y0: int) -> bool:
        edge = self.tiles.tile_px
        alike = self.factor == 1 and (self.chunk.width, self.chunk.height) == (edge, edge)
        inside = x0 + edge <= self.limit.width and y0 + edge <= self.limit.height
        return alike and inside and self.place[number].tolist() == [x0, y0]

    def _chunk(self, row: int, column: int) -> Pixels:
        """A decoded chunk at the tiles' resolution, without what lies beyond the slide."""
        width = min(self.chunk.width, self.limit.width - column * self.chunk.width)
        height = min(self.chunk.height, self.limit.height - row * self.chunk.height)
        if not self.level.decode(row, column, self._buffer):
            return self._white[:height, :width]
        if self.factor == 1:
            return self._buffer[:height, :width]
        from PIL import Image

        chunk, size = self.level.chunk, self.level.size
        self._buffer[size.height - row * chunk.height :] = 255
        self._buffer[:, size.width - column * chunk.width :] = 255
        return np.asarray(Image.fromarray(self._buffer).reduce(self.factor))[:height, :width]


class Groups:
    """Values of each of some numbers, in little memory.

    Parameters
    ----------
    numbers : int64[K]
        Sorted, each at least 0 and less than ``count``.
    values : int64[K]
        The value beside each.
    count : int
        How many numbers there may be.
    """

    def __init__(self, numbers: NDArray[np.int64], values: NDArray[np.int64], count: int) -> None:
        self._values = values.astype(np.int32)
        self._starts = np.searchsorted(numbers, np.arange(count + 1)).astype(np.int32)

    def __getitem__(self, number: int) -> list[int]:
        """Values of a number, none where it has none."""
        start, stop = self._starts[number : number + 2].tolist()
        found: list[int] = self._values[start:stop].tolist()
        return found
