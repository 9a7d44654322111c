"""One resolution of ``tiles.zarr``, read chunk by chunk straight from its shards."""

import os
import weakref
from pathlib import Path
from threading import Lock
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pathai.errors import PathaiError
from pathai.store.chunked import ChunkedImage, KeptChunks
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


class Level(ChunkedImage):
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
        size, chunk = Size(info.width, info.height), Size(info.chunk_width, info.chunk_height)
        super().__init__(number, size, info.downsample, chunk)
        self.path, self.info = path, info
        self.lost = [Box(*place) for place in info.unreadable]
        self._tables: dict[tuple[int, int], list[list[list[int]]] | None] = {}
        self._files: dict[tuple[int, int], int] = {}
        self._reading = Lock()
        """Several threads may read: no file is closed while another one reads from it."""
        weakref.finalize(self, _close, self._files)

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
            with self._reading:
                data = os.pread(self._file(shard), entry[1], entry[0])
        except FileNotFoundError:
            raise PathaiError("E164", f"tiles, {place}: shard is gone") from None
        return unsealed(data, place)

    def decode(self, row: int, column: int, out: Pixels) -> bool:
        """See `ChunkedImage.decode`.

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
            self._lose(row, column)
            return False
        return True

    def holds(self, row: int, column: int) -> bool:
        """Whether the chunk is stored."""
        return self._entry(row, column) is not None

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


class KeptLevel(Level):
    """A level whose decoded chunks are kept for a while; several threads may read it.

    Parameters
    ----------
    path, number, info
        As of `Level`.
    kept : KeptChunks
        Where to; levels of one slide share it.
    """

    def __init__(self, path: Path, number: int, info: LevelInfo, kept: KeptChunks) -> None:
        super().__init__(path, number, info)
        self._kept = kept

    def decode(self, row: int, column: int, out: Pixels) -> bool:
        """See `ChunkedImage.decode`."""
        key = (self.number, row, column)
        found = self._kept.get(key)
        if found is not None:
            np.copyto(out, found)
            return True
        if not super().decode(row, column, out):
            return False
        self._kept.put(key, out.copy())
        return True


def _close(files: dict[tuple[int, int], int]) -> None:
    while files:
        os.close(files.popitem()[1])


class LevelPixels:
    """A level as an array ``uint8[y, x, c=3]`` that dask slices; opens its files where it is read.

    Parameters
    ----------
    path, number, info
        As of `Level`.
    kept : KeptChunks, optional
        Decoded chunks to use and to add to; not taken along into another process.
    """

    ndim = 3
    dtype = np.dtype(np.uint8)

    def __init__(
        self, path: Path, number: int, info: LevelInfo, kept: KeptChunks | None = None
    ) -> None:
        self._key, self._kept = (path, number, info), kept
        self._level: Level | None = None
        self._pid = 0
        self.shape = (info.height, info.width, 3)

    def __getitem__(self, index: tuple[slice | int, ...]) -> Pixels:
        if self._level is None or self._pid != os.getpid():
            kept = self._kept
            self._level = Level(*self._key) if kept is None else KeptLevel(*self._key, kept)
            self._pid = os.getpid()
        whole = (*index, *[slice(None)] * (3 - len(index)))
        spans: list[tuple[int, int]] = []
        rest: list[slice | int] = []
        for part, length in zip(whole, self.shape, strict=True):
            if isinstance(part, slice):
                start, stop, step = part.indices(length)
                spans.append((start, max(stop, start)))
                rest.append(slice(None, None, step))
            else:
                spans.append((int(part), int(part) + 1))
                rest.append(0)
        (top, bottom), (left, right), (first, last) = spans
        block = self._level.read_px(left, top, right - left, bottom - top)
        found: Pixels = block[..., first:last][tuple(rest)]
        return found

    def __getstate__(self) -> tuple[Path, int, LevelInfo]:
        return self._key

    def __setstate__(self, key: tuple[Path, int, LevelInfo]) -> None:
        self.__init__(*key)  # type: ignore[misc]

    def __dask_tokenize__(self) -> tuple[str, ...]:
        path, number, info = self._key
        return str(path), str(number), info.model_dump_json(), str(path.stat().st_mtime_ns)
