"""An image that is decoded chunk by chunk: reading any part of it, each chunk once."""

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from pathai.resample import SLACK
from pathai.units import Box, Size

Pixels = NDArray[np.uint8]


class ChunkCache:
    """The last decoded chunks, in a fixed amount of memory: the oldest makes room.

    Tiles in row-major order find the chunks of the row above here, so each is decoded once.

    Parameters
    ----------
    mib : int
        Room for pixels; a slide whose rows of tissue need more decodes some chunks again.
    """

    def __init__(self, mib: int = 64) -> None:
        self._bytes = mib * 2**20
        self._slots: list[Pixels] = []
        self._keys: list[tuple[int, int, int] | None] = []
        self._places: dict[tuple[int, int, int], int] = {}
        self._next = 0

    def get(self, key: tuple[int, int, int]) -> Pixels | None:
        """A chunk by (level, row, column), valid until the next call of `put`."""
        place = self._places.get(key)
        return None if place is None else self._slots[place]

    def put(self, key: tuple[int, int, int], size: Size) -> Pixels:
        """Room ``uint8[h, w, 3]`` for a chunk that is not here."""
        shape = (size.height, size.width, 3)
        if not self._slots or self._slots[0].shape != shape:
            count = max(self._bytes // (size.height * size.width * 3), 4)
            self._slots = list(np.empty((count, *shape), np.uint8))
            self._keys, self._places, self._next = [None] * count, {}, 0
        place, self._next = self._next, (self._next + 1) % len(self._slots)
        old = self._keys[place]
        if old is not None:
            del self._places[old]
        self._keys[place], self._places[key] = key, place
        return self._slots[place]

    def drop(self, key: tuple[int, int, int]) -> None:
        """Forget a chunk."""
        place = self._places.pop(key)
        self._keys[place] = None


class KeptChunks:
    """Decoded chunks of what is looked at, in a bounded amount of memory.

    Whoever looks goes to and fro: the chunk that was looked at least lately makes room. Several
    threads may use it.

    Parameters
    ----------
    mib : int
        Room for pixels.
    """

    def __init__(self, mib: int) -> None:
        self._room = mib * 2**20
        self._held: OrderedDict[tuple[int, int, int], Pixels] = OrderedDict()
        self._using = Lock()
        self.bytes = 0
        """Of the pixels that are kept now."""

    def get(self, key: tuple[int, int, int]) -> Pixels | None:
        """A chunk ``uint8[h, w, 3]`` by (level, row, column); not to be written to."""
        with self._using:
            found = self._held.get(key)
            if found is not None:
                self._held.move_to_end(key)
            return found

    def put(self, key: tuple[int, int, int], chunk: Pixels) -> None:
        """Keep a chunk; what does not fit beside it is forgotten."""
        with self._using:
            old = self._held.pop(key, None)
            self.bytes += chunk.nbytes - (0 if old is None else old.nbytes)
            self._held[key] = chunk
            while self.bytes > self._room:
                self.bytes -= self._held.popitem(last=False)[1].nbytes


class ChunkedImage(ABC):
    """One level of a slide, in chunks; a subclass says where they come from.

    Parameters
    ----------
    number : int
        Which level; 0 is the finest.
    size : Size
        Px of this level.
    downsample : float
        Level-0 px per px.
    chunk : Size
        Of every chunk, px; those at the right and lower edge reach beyond the level.
    """

    def __init__(self, number: int, size: Size, downsample: float, chunk: Size) -> None:
        self.number, self.size = number, size
        self.downsample, self.chunk = downsample, chunk
        self.rows = -(-size.height // chunk.height)
        self.columns = -(-size.width // chunk.width)
        self.lost: list[Box] = []
        """Level-0 boxes without readable pixels; grows when a chunk turns out to be damaged."""

    @abstractmethod
    def decode(self, row: int, column: int, out: Pixels) -> bool:
        """Decode a chunk into ``out``, ``uint8[h, w, 3]``, C-contiguous.

        Returns
        -------
        bool
            False where nothing is stored or the picture is damaged; ``out`` is undefined then.
        """

    @abstractmethod
    def holds(self, row: int, column: int) -> bool:
        """Whether there is such a chunk; where there is none, the image is white."""

    def stored(self) -> Iterator[tuple[int, int]]:
        """Row and column of every chunk, in row-major order."""
        for row in range(self.rows):
            for column in range(self.columns):
                if self.holds(row, column):
                    yield row, column

    def read_into(self, out: Pixels, x: int, y: int, cache: ChunkCache | None = None) -> None:
        """Fill ``out`` with the pixels from x, y on (px of this level); white where none are.

        Parameters
        ----------
        out : uint8[h, w, 3]
            Where to; a C-contiguous one of the size of a chunk is decoded into directly.
        x, y : int
            Left and top; may lie outside.
        cache : ChunkCache, optional
            Decoded chunks to use and to add to, so that neighbors decode each chunk once.

        Raises
        ------
        PathaiError
            E164 if a chunk is damaged: run ``pathai verify``.
        """
        height, width = out.shape[:2]
        if cache is None and self._is_chunk(x, y, width, height) and out.flags.c_contiguous:
            if not self.decode(y // height, x // width, out):
                out[...] = 255
            return
        left, top = max(x, 0), max(y, 0)
        right, bottom = min(x + width, self.size.width), min(y + height, self.size.height)
        if (left, top, right, bottom) != (x, y, x + width, y + height):
            out[...] = 255
            if left >= right or top >= bottom:
                return
        wide, high = self.chunk.width, self.chunk.height
        for row in range(top // high, (bottom - 1) // high + 1):
            y0 = row * high
            y1, y2 = max(top, y0), min(bottom, y0 + high)
            for column in range(left // wide, (right - 1) // wide + 1):
                x0 = column * wide
                x1, x2 = max(left, x0), min(right, x0 + wide)
                chunk = self.read_chunk(row, column, cache)
                out[y1 - y : y2 - y, x1 - x : x2 - x] = (
                    255 if chunk is None else chunk[y1 - y0 : y2 - y0, x1 - x0 : x2 - x0]
                )

    def read_px(
        self, x: int, y: int, width: int, height: int, cache: ChunkCache | None = None
    ) -> Pixels:
        """Pixels ``uint8[height, width, 3]``; see `read_into`."""
        out = np.empty((height, width, 3), np.uint8)
        self.read_into(out, x, y, cache)
        return out

    def read_chunk(self, row: int, column: int, cache: ChunkCache | None = None) -> Pixels | None:
        """One decoded chunk ``uint8[h, w, 3]``, or None where nothing is stored."""
        if cache is None:
            out = np.empty((self.chunk.height, self.chunk.width, 3), np.uint8)
            return out if self.decode(row, column, out) else None
        key = (self.number, row, column)
        found = cache.get(key)
        if found is None and self.holds(row, column):
            found = cache.put(key, self.chunk)
            if not self.decode(row, column, found):
                cache.drop(key)
                return None
        return found

    def chunk_box(self, row: int, column: int) -> Box:
        """Place of a chunk, level-0 px, without what lies beyond the slide."""
        d, chunk = self.downsample, self.chunk
        x, y = column * chunk.width, row * chunk.height
        width, height = (
            min(chunk.width, self.size.width - x),
            min(chunk.height, self.size.height - y),
        )
        return Box(x * d, y * d, width * d, height * d)

    def _is_chunk(self, x: int, y: int, width: int, height: int) -> bool:
        chunk = self.chunk
        return (
            (width, height) == (chunk.width, chunk.height)
            and x >= 0
            and y >= 0
            and x % width == 0
            and y % height == 0
            and x + width <= self.size.width
            and y + height <= self.size.height
        )

    def _lose(self, row: int, column: int) -> None:
        """Record a chunk that is no picture: the slide is damaged there, nothing is invented."""
        box = self.chunk_box(row, column)
        if box not in self.lost:
            self.lost.append(box)


class Levels:
    """Levels of one slide, finest first.

    Parameters
    ----------
    levels : sequence of ChunkedImage
        At least one.
    """

    def __init__(self, levels: Sequence[ChunkedImage]) -> None:
        self.size = levels[0].size
        """Level 0, px."""
        self.downsamples = [level.downsample for level in levels]
        self.images = tuple(levels)

    def level_for(self, downsample: float) -> int:
        """Coarsest level that is not coarser than ``downsample`` (within 1 %)."""
        fits = [k for k, d in enumerate(self.downsamples) if d <= downsample * SLACK]
        return max(fits, default=0)
