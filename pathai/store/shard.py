"""Shards of ``tiles.zarr`` at the level of bytes: encode, write, find and decode single chunks.

The layout is plain Zarr v3 (``sharding_indexed``: chunks, then a table of offsets with its own
checksum), so zarr itself reads it. Writing the bytes here, instead of through zarr, keeps three
promises: a chunk is absent if and only if it holds no tissue, every chunk carries a CRC-32C, and
one chunk can be read with one seek. Compressed chunks from elsewhere fit in unchanged.
"""

from collections.abc import Mapping
from pathlib import Path

import google_crc32c
import numpy as np
from numcodecs.zstd import Zstd
from numpy.typing import NDArray

from pathai.errors import PathaiError

CHUNK = 256
"""Edge of a chunk, px of its level."""
PER_SHARD = 8
"""Chunks along the edge of a shard."""
SHARD = CHUNK * PER_SHARD
"""Edge of a shard, px of its level."""
ZSTD_LEVEL = 1
ABSENT = np.uint64(2**64 - 1)

_ZSTD = Zstd(level=ZSTD_LEVEL)
_INDEX_BYTES = PER_SHARD * PER_SHARD * 16 + 4


def _checksum(data: bytes | memoryview) -> bytes:
    return int(google_crc32c.value(bytes(data))).to_bytes(4, "little")


def encode_chunk(block: NDArray[np.uint8]) -> bytes:
    """Compress one chunk without loss.

    Parameters
    ----------
    block : uint8[CHUNK, CHUNK, 3]
        Pixels, axes y, x, c.

    Returns
    -------
    bytes
        Zstandard frame followed by its CRC-32C.
    """
    data = bytes(_ZSTD.encode(np.ascontiguousarray(block)))
    return data + _checksum(data)


def decode_chunk(data: bytes, place: str) -> NDArray[np.uint8]:
    """Check and expand one chunk.

    Parameters
    ----------
    data : bytes
        As returned by `encode_chunk`.
    place : str
        Named in the error, e.g. ``"level 0, chunk y 3 x 4"``.

    Returns
    -------
    uint8[CHUNK, CHUNK, 3]
        Pixels, axes y, x, c.

    Raises
    ------
    PathaiError
        E164 if the checksum or the length is wrong: run ``pathai verify``.
    """
    body = data[:-4]
    if len(data) < 5 or _checksum(body) != data[-4:]:
        raise PathaiError("E164", f"tiles, {place}: checksum differs")
    flat = np.frombuffer(_ZSTD.decode(body), np.uint8)
    if flat.size != CHUNK * CHUNK * 3:
        raise PathaiError("E164", f"tiles, {place}: {flat.size} bytes in a chunk")
    return flat.reshape(CHUNK, CHUNK, 3)


def write_shard(path: Path, chunks: Mapping[tuple[int, int], bytes]) -> None:
    """Write one shard file.

    Parameters
    ----------
    path : Path
        Final name inside a folder that is not yet committed.
    chunks : mapping of (row, column) to bytes
        Encoded chunks by place in the shard; places not named are absent.
    """
    index = np.full((PER_SHARD, PER_SHARD, 2), ABSENT, "<u8")
    path.parent.mkdir(parents=True, exist_ok=True)
    offset = 0
    with path.open("wb") as file:
        for row, column in sorted(chunks):
            data = chunks[row, column]
            index[row, column] = offset, len(data)
            offset += file.write(data)
        table = index.tobytes()
        file.write(table + _checksum(table))


def read_index(path: Path) -> NDArray[np.uint64] | None:
    """Offsets and lengths of a shard's chunks.

    Returns
    -------
    uint64[PER_SHARD, PER_SHARD, 2] or None
        Axes row, column, (offset, length); `ABSENT` where there is no chunk. None without file.

    Raises
    ------
    PathaiError
        E164 if the table is damaged: run ``pathai verify``.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _INDEX_BYTES))
            data = file.read()
    except FileNotFoundError:
        return None
    if len(data) != _INDEX_BYTES or _checksum(data[:-4]) != data[-4:]:
        raise PathaiError("E164", f"tiles, shard {'/'.join(path.parts[-2:])}: damaged index")
    index = np.frombuffer(data[:-4], "<u8").reshape(PER_SHARD, PER_SHARD, 2)
    return index.astype(np.uint64)


def read_chunk(path: Path, entry: NDArray[np.uint64], place: str) -> NDArray[np.uint8]:
    """Read and decode the chunk that an index entry (offset, length) points at.

    Raises
    ------
    PathaiError
        E164 if it is damaged or gone: run ``pathai verify``.
    """
    try:
        with path.open("rb") as file:
            file.seek(int(entry[0]))
            data = file.read(int(entry[1]))
    except FileNotFoundError:
        raise PathaiError("E164", f"tiles, {place}: shard is gone") from None
    return decode_chunk(data, place)
