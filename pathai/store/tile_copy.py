"""Filling ``tiles.zarr`` with a slide's own compressed tiles, and with coarser levels made of them.

Nothing is decoded to copy a level: tile *i* of the slide becomes chunk *i* of the store.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pathai.store.chunks import pack_zstd
from pathai.store.damage import Damage
from pathai.store.level import Level, LevelInfo
from pathai.store.records import TissueMap
from pathai.store.shard import ShardWriter
from pathai.store.tile_check import TileCheck
from pathai.units import Box, Size

ReadAt = Callable[[int, int], bytes]
"""Number of bytes and offset to bytes of a slide's file; fewer where it ends."""
SHARD_PX = 8192
"""A shard is about this wide and high, px: few files even of a large slide."""
SMALLEST = 512
"""The coarsest level is at most this wide and high, px."""
STEP = 4
"""From one level to the next that is built, and the most that two copied ones may be apart."""
BUILT_CHUNK = 256
RUN_BYTES, RUN_GAP = 2**20, 2**12
"""Tiles that lie this close to each other in the file are read at once, up to so many bytes."""


@dataclass(frozen=True)
class CompressedTiles:
    """Where the compressed tiles of one level of a slide lie in its file.

    Parameters
    ----------
    size : Size
        Of the level, px.
    downsample : float
        Level-0 px per px.
    tile : Size
        Of every tile, px; those at the right and lower edge are padded.
    codec : str
        ``jpeg`` or ``jpeg2000``.
    head : bytes
        What replaces the first two bytes of a JPEG tile to make it a whole picture file (shared
        tables, marker of the color model); empty where tiles are whole.
    offsets, counts : uint64[rows, columns]
        First byte and number of bytes of every tile.
    """

    size: Size
    downsample: float
    tile: Size
    codec: str
    head: bytes
    offsets: NDArray[np.uint64]
    counts: NDArray[np.uint64]

    def complete(self, data: bytes) -> bytes:
        """A whole picture file from a tile's bytes."""
        return self.head + data[2:] if self.head else data

    def fetch(self, read: ReadAt, row: int, column: int) -> bytes:
        """Bytes of a tile as they lie in the file; short where it ends."""
        return read(int(self.counts[row, column]), int(self.offsets[row, column]))


def wanted_chunks(
    tissue: TissueMap, size: Size, chunk: Size, downsample: float
) -> NDArray[np.bool_]:
    """Chunks of a level that touch what is stored: bool[rows, columns]."""
    mask = tissue.stored
    scale = downsample / tissue.downsample
    rows, columns = -(-size.height // chunk.height), -(-size.width // chunk.width)
    by_row = _any_between(mask, _edges(rows, chunk.height * scale, mask.shape[0]))
    return _any_between(by_row.T, _edges(columns, chunk.width * scale, mask.shape[1])).T


def _edges(count: int, step: float, limit: int) -> list[tuple[int, int]]:
    """First and last-plus-one map pixel that each chunk touches."""
    first = (int(i * step) for i in range(count))
    last = (int(np.ceil((i + 1) * step)) for i in range(count))
    return [(min(a, limit - 1), max(min(b, limit), 1)) for a, b in zip(first, last, strict=True)]


def _any_between(mask: NDArray[np.bool_], edges: list[tuple[int, int]]) -> NDArray[np.bool_]:
    return np.array([mask[a:b].any(axis=0) for a, b in edges], bool).reshape(len(edges), -1)


def per_shard(chunk: Size) -> int:
    """Chunks along the edge of a shard."""
    return max(SHARD_PX // max(chunk.width, chunk.height), 1)


def by_shard(wanted: NDArray[np.bool_], n: int) -> list[tuple[int, int]]:
    """Rows and columns of the wanted chunks, one shard of ``n`` x ``n`` after the other."""
    rows, columns = np.nonzero(wanted)
    order = np.lexsort((columns, rows, columns // n, rows // n))
    return list(zip(rows[order].tolist(), columns[order].tolist(), strict=True))


def copy_level(path: Path, read: ReadAt, tiles: CompressedTiles, damage: Damage) -> LevelInfo:
    """Copy the tiles of one level that hold tissue.

    Parameters
    ----------
    path : Path
        Folder of the level's array.
    read : callable
        Number of bytes and offset to bytes of the slide; fewer where it ends.
    tiles : CompressedTiles
        Where they are.
    damage : Damage
        Takes the tiles that cannot be pictures.

    Returns
    -------
    LevelInfo

    Raises
    ------
    CannotCopy
        If the tiles hold more than pictures.
    PathaiError
        E113 if too much is unreadable.
    """
    wanted = wanted_chunks(damage.tissue, tiles.size, tiles.tile, tiles.downsample)
    n = per_shard(tiles.tile)
    check = TileCheck(tiles.codec, tiles.tile, tiles.complete)
    bad: list[Box] = []
    with ShardWriter(path, n) as writer:
        for row, column, data in _read(read, tiles, by_shard(wanted, n)):
            if check.sound(data):
                writer.add(row, column, tiles.complete(data))
            else:
                bad.append(_box(tiles, row, column))
                damage.add(bad[-1])
    size, d, tile = tiles.size, tiles.downsample, tiles.tile
    return _info(size, d, tile, tiles.codec, "copied", writer.count, bad)


def _read(
    read: ReadAt, tiles: CompressedTiles, places: list[tuple[int, int]]
) -> Iterator[tuple[int, int, bytes]]:
    """Row, column and bytes of tiles; no bytes where the file does not hold them all."""
    offsets, counts = tiles.offsets.tolist(), tiles.counts.tolist()
    run: list[tuple[int, int, int, int]] = []
    first = last = 0
    for row, column in places:
        start, count = offsets[row][column], counts[row][column]
        near = last <= start <= last + RUN_GAP and start + count - first <= RUN_BYTES
        if run and not near:
            yield from _parts(read(last - first, first), run, first)
            run = []
        if not run:
            first = start
        last = start + count
        run.append((row, column, start, last))
    yield from _parts(read(last - first, first), run, first)


def _parts(
    span: bytes, run: list[tuple[int, int, int, int]], first: int
) -> Iterator[tuple[int, int, bytes]]:
    limit = first + len(span)
    for row, column, start, stop in run:
        yield row, column, span[start - first : stop - first] if stop <= limit else b""


def _box(tiles: CompressedTiles, row: int, column: int) -> Box:
    d, tile = tiles.downsample, tiles.tile
    x, y = column * tile.width, row * tile.height
    width, height = min(tile.width, tiles.size.width - x), min(tile.height, tiles.size.height - y)
    return Box(x * d, y * d, width * d, height * d)


def _info(
    size: Size, downsample: float, chunk: Size, codec: str, made: str, count: int, bad: list[Box]
) -> LevelInfo:
    return LevelInfo(
        width=size.width,
        height=size.height,
        downsample=downsample,
        chunk_width=chunk.width,
        chunk_height=chunk.height,
        per_shard=per_shard(chunk),
        codec=codec,
        made=made,
        chunks=count,
        unreadable=tuple(pixels_of(box) for box in bad),
    )


def pixels_of(box: Box) -> tuple[int, int, int, int]:
    """A box in whole level-0 px that holds it: x, y, width, height."""
    x, y = int(np.floor(box.x)), int(np.floor(box.y))
    return x, y, int(np.ceil(box.right)) - x, int(np.ceil(box.bottom)) - y


def build_level(root: Path, source: Level, tissue: TissueMap) -> LevelInfo:
    """Make the level that is `STEP` times coarser: exact means, stored without loss.

    A chunk of it covers whole chunks of the level below, so each is decoded once.

    Parameters
    ----------
    root : Path
        ``tiles.zarr`` (its part).
    source : Level
        The level before, complete.
    tissue : TissueMap
        What to store.

    Returns
    -------
    LevelInfo
    """
    from PIL import Image

    chunk = Size(_fitting(source.chunk.width), _fitting(source.chunk.height))
    size = Size(-(-source.size.width // STEP), -(-source.size.height // STEP))
    downsample = source.downsample * STEP
    wanted = wanted_chunks(tissue, size, chunk, downsample)
    n = per_shard(chunk)
    with ShardWriter(root / str(source.number + 1), n) as writer:
        for row, column in by_shard(wanted, n):
            x, y = column * chunk.width * STEP, row * chunk.height * STEP
            width = min(chunk.width * STEP, source.size.width - x)
            height = min(chunk.height * STEP, source.size.height - y)
            small = np.asarray(Image.fromarray(source.read_px(x, y, width, height)).reduce(STEP))
            block = np.full((chunk.height, chunk.width, 3), 255, np.uint8)
            block[: small.shape[0], : small.shape[1]] = small
            writer.add(row, column, pack_zstd(block))
    return _info(size, downsample, chunk, "zstd", "built", writer.count, source.lost)


def _fitting(chunk: int) -> int:
    """Edge of a built chunk: whole chunks of the source, about `BUILT_CHUNK` px."""
    parts = [chunk // m for m in (1, 2, STEP) if chunk % m == 0]
    return next((edge for edge in parts if edge <= BUILT_CHUNK), parts[-1])
