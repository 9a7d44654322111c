"""One resolution of ``tiles.zarr``, read chunk by chunk straight from its shards."""

import os
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pathai.errors import PathaiError
from pathai.store.chunks import Undecodable, unpack, unsealed
from pathai.store.records import Record
from pathai.store.shard import ABSENT, read_index, shard_path
from pathai.units import Box, Size

Pixels = NDArray[np.uint8]
OPEN_FILES = 32
Rectangle = tuple[int, int, int, int]


class Loss(Record):
    """What re-encoding has cost, over all pixels of a level.

    Parameters
    ----------
    quality : int
        Of the JPEG encoder.
    psnr_db : float
        Peak signal to noise ratio, dB.
    max_error : int
        Largest difference of a pixel's channel, gray levels.
    """

    quality: int
    psnr_db: float
    max_error: int


class LevelInfo(Record):
    """How one level is stored; part of the attributes of ``tiles.zarr``."""

    width: int = Field(gt=0, description="px of this level")
    height: int = Field(gt=0, description="px of this level")
    downsample: float = Field(ge=1, description="level-0 px per px")
    chunk_width: int = Field(gt=0)
    chunk_height: int = Field(gt=0)
    per_shard: int = Field(gt=0, description="chunks along the edge of a shard")
    codec: Literal["zstd", "jpeg", "jpeg2000"]
    made: Literal["copied", "decoded", "built"] = Field(
        description="copied: the slide's compressed tiles; decoded: its pixels, packed anew; "
        "built: from the level before"
    )
    chunks: int = Field(ge=0, description="stored chunks; one that is not there is background")
    unreadable: tuple[Rectangle, ...] = Field(
        (), description="x, y, width, height, level-0 px, whose pixels could not be read"
    )
    loss: Loss | None = Field(None, description="of re-encoding; null where nothing was lost")


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


class Level:
    """Pixels of one level.

    Parameters
    ----------
    path : Path
        Folder of the level's array.
    number : int
        Which level; 0 is the finest.
    info : LevelInfo
        How it is stored.
    """

    def __init__(self, path: Path, number: int, info: LevelInfo) -> None:
        self.path, self.number, self.info = path, number, info
        self.size = Size(info.width, info.height)
        self.downsample = info.downsample
        self.chunk = Size(info.chunk_width, info.chunk_height)
        self.rows = -(-info.height // info.chunk_height)
        self.columns = -(-info.width // info.chunk_width)
        self.lost: list[Box] = [Box(*place) for place in info.unreadable]
        """Level-0 boxes without readable pixels; grows when a chunk turns out to be damaged."""
        self._tables: dict[tuple[int, int], list[list[list[int]]] | None] = {}
        self._files: dict[tuple[int, int], int] = {}
        weakref.finalize(self, _close, self._files)

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
        if found is None and self._entry(row, column) is not None:
            found = cache.put(key, self.chunk)
            if not self.decode(row, column, found):
                cache.drop(key)
                return None
        return found

    def packed(self, row: int, column: int) -> bytes | None:
        """One chunk as it is packed, its checksum proven and taken off; None where none is stored.

        Raises
        ------
        PathaiError
            E164 if it is damaged or gone: run ``pathai verify``.
        """
        entry = self._entry(row, column)
        if entry is None:
            return None
        place = f"level {self.number}, chunk row {row} column {column}"
        shard = row // self.info.per_shard, column // self.info.per_shard
        try:
            data = os.pread(self._file(shard), entry[1], entry[0])
        except FileNotFoundError:
            raise PathaiError("E164", f"tiles, {place}: shard is gone") from None
        return unsealed(data, place)

    def stored(self) -> Iterator[tuple[int, int]]:
        """Row and column of every stored chunk, in row-major order."""
        for row in range(self.rows):
            for column in range(self.columns):
                if self._entry(row, column) is not None:
                    yield row, column

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

    def decode(self, row: int, column: int, out: Pixels) -> bool:
        """Decode a chunk into ``out``, ``uint8[h, w, 3]``, C-contiguous.

        Returns
        -------
        bool
            False where nothing is stored or the picture is damaged; ``out`` is undefined then.

        Raises
        ------
        PathaiError
            E164 if the store is damaged: run ``pathai verify``.
        """
        body = self.packed(row, column)
        if body is None:
            return False
        try:
            unpack(self.info.codec, body, out)
        except Undecodable:
            # As it was written, so the slide itself is damaged here: unreadable, never invented.
            box = self.chunk_box(row, column)
            if box not in self.lost:
                self.lost.append(box)
            return False
        return True

    def _entry(self, row: int, column: int) -> list[int] | None:
        n = self.info.per_shard
        shard = row // n, column // n
        if shard not in self._tables:
            table = read_index(shard_path(self.path, *shard), n)
            self._tables[shard] = None if table is None else table.tolist()
        found = self._tables[shard]
        if found is None:
            return None
        entry = found[row % n][column % n]
        return None if entry[0] == ABSENT else entry

    def _file(self, shard: tuple[int, int]) -> int:
        if shard not in self._files:
            if len(self._files) >= OPEN_FILES:
                _close(self._files)
            self._files[shard] = os.open(shard_path(self.path, *shard), os.O_RDONLY)
        return self._files[shard]


def _close(files: dict[tuple[int, int], int]) -> None:
    while files:
        os.close(files.popitem()[1])


class LevelPixels:
    """A level as an array ``uint8[y, x, c=3]`` that dask slices; opens its files where it is read.

    Parameters
    ----------
    path, number, info
        As of `Level`.
    """

    ndim = 3
    dtype = np.dtype(np.uint8)

    def __init__(self, path: Path, number: int, info: LevelInfo) -> None:
        self._key = (path, number, info)
        self._level: Level | None = None
        self._pid = 0
        self.shape = (info.height, info.width, 3)

    def __getitem__(self, index: tuple[slice, slice, slice]) -> Pixels:
        if self._level is None or self._pid != os.getpid():
            self._level, self._pid = Level(*self._key), os.getpid()
        y, x, c = (part.indices(n) for part, n in zip(index, self.shape, strict=True))
        return self._level.read_px(x[0], y[0], x[1] - x[0], y[1] - y[0])[..., c[0] : c[1]]

    def __getstate__(self) -> tuple[Path, int, LevelInfo]:
        return self._key

    def __setstate__(self, key: tuple[Path, int, LevelInfo]) -> None:
        self.__init__(*key)  # type: ignore[misc]

    def __dask_tokenize__(self) -> tuple[str, ...]:
        path, number, info = self._key
        return str(path), str(number), info.model_dump_json(), str(path.stat().st_mtime_ns)
