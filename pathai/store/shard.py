"""Shard files of ``tiles.zarr``: many packed chunks one after the other, then a table of places.

The layout is plain Zarr v3 (``sharding_indexed``), so zarr itself reads it. Writing the bytes here,
instead of through zarr, keeps three promises: a chunk is absent if and only if it holds no tissue,
a compressed tile of the slide is stored as it is, and one chunk is read with one seek.
"""

import os
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from pathai.errors import PathaiError
from pathai.store.chunks import CRC_BYTES, checksum

ABSENT = 2**64 - 1
WRITE_BYTES, WRITE_PARTS = 2**20, 512
"""Chunks are written together, up to about so many bytes or buffers (a kernel takes 1024)."""
Place = tuple[int, int]


def index_bytes(per_shard: int) -> int:
    """Length of the table at the end of a shard."""
    return per_shard * per_shard * 16 + CRC_BYTES


class ShardWriter:
    """Writes the chunks of one level; the shard that is not written to any more is closed.

    Parameters
    ----------
    root : Path
        Folder of the level's array.
    per_shard : int
        Chunks along the edge of a shard.
    """

    def __init__(self, root: Path, per_shard: int) -> None:
        self.root, self.per_shard = root, per_shard
        self.count = 0
        self._file: BinaryIO | None = None
        self._shard: Place = (-1, -1)
        self._done: set[Place] = set()
        self._offset = self._written = 0
        self._waiting: list[bytes] = []
        self._index: NDArray[np.uint64] = np.empty(0, np.uint64)

    def add(self, row: int, column: int, data: bytes) -> None:
        """Append a packed chunk and its checksum; a shard's chunks come before the next shard's."""
        n = self.per_shard
        shard = row // n, column // n
        if shard != self._shard:
            self._open(shard)
        length = len(data) + CRC_BYTES
        self._index[row % n, column % n] = self._offset, length
        self._waiting += (data, checksum(data))
        self._offset += length
        self.count += 1
        if self._offset - self._written >= WRITE_BYTES or len(self._waiting) >= WRITE_PARTS:
            self._flush()

    def _flush(self) -> None:
        """Write what waits, without putting it together first."""
        if self._file is None or not self._waiting:
            return
        done = os.writev(self._file.fileno(), self._waiting)
        if done < self._offset - self._written:  # the plain way writes the rest, or says why not
            self._file.write(b"".join(self._waiting)[done:])
            self._file.flush()
        self._waiting, self._written = [], self._offset

    def _open(self, shard: Place) -> None:
        self.close()
        if shard in self._done:
            raise ValueError(f"shard {shard} is written already")
        self._done.add(shard)
        path = shard_path(self.root, *shard)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("wb")
        self._shard, self._offset, self._written = shard, 0, 0
        self._index = np.full((self.per_shard, self.per_shard, 2), ABSENT, "<u8")

    def close(self) -> None:
        """Finish the open shard."""
        if self._file is None:
            return
        with self._file as file:
            self._flush()
            table = self._index.tobytes()
            file.write(table + checksum(table))
        self._file, self._shard = None, (-1, -1)

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        elif self._file is not None:
            self._file.close()


def shard_path(root: Path, row: int, column: int) -> Path:
    """File of one shard below a level's folder (Zarr v3 default chunk keys)."""
    return root / "c" / "0" / str(row) / str(column)


def read_index(path: Path, per_shard: int) -> NDArray[np.uint64] | None:
    """Offsets and lengths of a shard's chunks.

    Returns
    -------
    uint64[per_shard, per_shard, 2] or None
        Axes row, column, (offset, length); `ABSENT` where there is no chunk. None without file.

    Raises
    ------
    PathaiError
        E164 if the table is damaged: run ``pathai verify``.
    """
    length = index_bytes(per_shard)
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - length))
            data = file.read()
    except FileNotFoundError:
        return None
    if len(data) != length or checksum(data[:-CRC_BYTES]) != data[-CRC_BYTES:]:
        raise PathaiError("E164", f"tiles, shard {'/'.join(path.parts[-2:])}: damaged index")
    index = np.frombuffer(data[:-CRC_BYTES], "<u8").reshape(per_shard, per_shard, 2)
    return index.astype(np.uint64)
