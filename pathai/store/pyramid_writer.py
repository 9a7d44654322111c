"""Writing ``tiles.zarr``: one pass over the slide, memory independent of its size.

The pyramid is filled depth first: a shard of level *k* is made from its four shards of level
*k* - 1, which are written, halved and forgotten. So every source pixel is read once and no more
than one shard per level is in memory.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathai.errors import PathaiError
from pathai.store.pyramid import SCHEMA, multiscale, shard_path
from pathai.store.records import TISSUE, UNREADABLE, TissueMap
from pathai.store.shard import CHUNK, PER_SHARD, SHARD, ZSTD_LEVEL, encode_chunk, write_shard
from pathai.units import Box, Mpp, Size

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
ReadBlock = Callable[[Box], tuple[Pixels, Mask]]
"""Level-0 box to ``(uint8[h, w, 3], valid bool[h, w])``; raises E162 where it cannot be read."""

SMALLEST = 512
"""The coarsest level is at most this wide and high, px."""
FINEST_SPLIT = 64
"""An unreadable block is divided down to this edge, px, to keep what can be read."""
MAX_RECTANGLES = 64


@dataclass(frozen=True)
class Written:
    """What was stored.

    Parameters
    ----------
    chunks : tuple of int
        Stored chunks per level.
    unreadable : tuple of Box
        Level-0 rectangles whose pixels could not be read.
    bad_fraction : float
        Share of the tissue that lies in them.
    """

    chunks: tuple[int, ...]
    unreadable: tuple[Box, ...]
    bad_fraction: float


def write_pyramid(
    path: Path,
    read_block: ReadBlock,
    size: Size,
    mpp: Mpp,
    tissue: TissueMap,
    *,
    max_bad_fraction: float = 1.0,
) -> Written:
    """Write the tissue of a slide as a sharded OME-Zarr 0.5 pyramid.

    Parameters
    ----------
    path : Path
        ``tiles.zarr`` (its part); must not exist.
    read_block : callable
        See `ReadBlock`; called with boxes of at most one shard.
    size : Size
        Level 0, px.
    mpp : Mpp
        Level 0, µm per px.
    tissue : TissueMap
        A chunk is stored where the map says tissue or unreadable.
    max_bad_fraction : float
        Unreadable share of the tissue above which to give up.

    Returns
    -------
    Written
        Chunk counts and what could not be read.

    Raises
    ------
    PathaiError
        E113 if more than ``max_bad_fraction`` is unreadable: copy or scan the slide again.
    """
    writer = _Writer(path, read_block, size, tissue, max_bad_fraction)
    writer.fill(writer.levels - 1, 0, 0)
    written = Written(tuple(writer.counts), tuple(writer.unreadable), writer.bad_fraction)
    _write_metadata(path, size, mpp, written)
    return written


def chunks_with_tissue(tissue: TissueMap, size: Size) -> Mask:
    """Chunks of level 0 that touch tissue or unreadable map pixels: bool[rows, columns]."""
    wanted = np.isin(tissue.classes, (TISSUE, UNREADABLE))
    rows, columns = -(-size.height // CHUNK), -(-size.width // CHUNK)
    by_row = _any_between(wanted, _edges(rows, tissue.downsample, wanted.shape[0]))
    return _any_between(by_row.T, _edges(columns, tissue.downsample, wanted.shape[1])).T


def _edges(count: int, downsample: float, limit: int) -> list[tuple[int, int]]:
    """First and last-plus-one map pixel that each chunk touches."""
    first = (int(i * CHUNK / downsample) for i in range(count))
    last = (int(np.ceil((i + 1) * CHUNK / downsample)) for i in range(count))
    return [(min(a, limit - 1), max(min(b, limit), 1)) for a, b in zip(first, last, strict=True)]


def _any_between(mask: Mask, edges: list[tuple[int, int]]) -> Mask:
    return np.array([mask[a:b].any(axis=0) for a, b in edges], bool).reshape(len(edges), -1)


class _Writer:
    def __init__(
        self, path: Path, read_block: ReadBlock, size: Size, tissue: TissueMap, limit: float
    ) -> None:
        self.path, self.read_block, self.size = path, read_block, size
        self.tissue, self.limit = tissue, limit
        self.wanted = chunks_with_tissue(tissue, size)
        self.levels = 1
        while max(size.width, size.height) > SMALLEST * 2 ** (self.levels - 1):
            self.levels += 1
        self.counts = [0] * self.levels
        self.unreadable: list[Box] = []
        self.suspect = np.isin(tissue.classes, (TISSUE, UNREADABLE))
        self.total = max(float(self.suspect.sum()) * tissue.downsample**2, 1.0)
        self.bad = 0.0

    @property
    def bad_fraction(self) -> float:
        return min(self.bad / self.total, 1.0)

    def fill(self, level: int, row: int, column: int) -> tuple[Pixels, Mask] | None:
        """Write one shard and all below it; its pixels and stored chunks, or None if empty."""
        span = PER_SHARD * 2**level
        part = self.wanted[row * span : (row + 1) * span, column * span : (column + 1) * span]
        if not part.any():
            return None
        if level == 0:
            stored = np.zeros((PER_SHARD, PER_SHARD), bool)
            stored[: part.shape[0], : part.shape[1]] = part
            block = self._read_shard(row, column, stored)
        else:
            block, stored = self._from_below(level, row, column)
        self._write(level, row, column, block, stored)
        return block, stored

    def _from_below(self, level: int, row: int, column: int) -> tuple[Pixels, Mask]:
        block = np.full((SHARD, SHARD, 3), 255, np.uint8)
        stored = np.zeros((PER_SHARD, PER_SHARD), bool)
        half, few = SHARD // 2, PER_SHARD // 2
        for j in (0, 1):
            for i in (0, 1):
                below = self.fill(level - 1, 2 * row + j, 2 * column + i)
                if below is None:
                    continue
                pixels, kept = below
                self._mend_edges(level - 1, 2 * row + j, 2 * column + i, pixels)
                block[j * half : (j + 1) * half, i * half : (i + 1) * half] = _halve(pixels)
                quarter = np.asarray(kept.reshape(few, 2, few, 2).any(axis=(1, 3)))
                stored[j * few : (j + 1) * few, i * few : (i + 1) * few] = quarter
        return block, stored

    def _mend_edges(self, level: int, row: int, column: int, pixels: Pixels) -> None:
        """Repeat the last row and column of an odd level, so that means do not fade to white."""
        step = 2**level
        height = -(-self.size.height // step) - row * SHARD
        width = -(-self.size.width // step) - column * SHARD
        if 0 < height < SHARD:
            pixels[height] = pixels[height - 1]
        if 0 < width < SHARD:
            pixels[:, width] = pixels[:, width - 1]

    def _write(self, level: int, row: int, column: int, block: Pixels, stored: Mask) -> None:
        chunks = {}
        for j, i in zip(*np.nonzero(stored), strict=True):
            ys, xs = slice(j * CHUNK, (j + 1) * CHUNK), slice(i * CHUNK, (i + 1) * CHUNK)
            chunks[int(j), int(i)] = encode_chunk(block[ys, xs])
        write_shard(shard_path(self.path, level, row, column), chunks)
        self.counts[level] += len(chunks)

    def _read_shard(self, row: int, column: int, stored: Mask) -> Pixels:
        rows, columns = np.nonzero(stored.any(axis=1))[0], np.nonzero(stored.any(axis=0))[0]
        y, x = int(rows[0]) * CHUNK, int(columns[0]) * CHUNK
        top, left = row * SHARD, column * SHARD
        height = min((int(rows[-1]) + 1) * CHUNK, self.size.height - top) - y
        width = min((int(columns[-1]) + 1) * CHUNK, self.size.width - left) - x
        pixels, valid = self._read(Box(left + x, top + y, width, height))
        if not valid.all():
            pixels = np.where(valid[..., None], pixels, np.uint8(255))
        block = np.full((SHARD, SHARD, 3), 255, np.uint8)
        block[y : y + height, x : x + width] = pixels
        for j, i in zip(*np.nonzero(~stored), strict=True):
            block[j * CHUNK : (j + 1) * CHUNK, i * CHUNK : (i + 1) * CHUNK] = 255
        return block

    def _read(self, box: Box) -> tuple[Pixels, Mask]:
        """Read a box; what fails is divided until the unreadable part is small and recorded."""
        width, height = int(box.width), int(box.height)
        try:
            pixels, valid = self.read_block(box)
        except PathaiError as error:
            if error.code != "E162":
                raise
        else:
            if not valid.all():
                for bad in _rectangles(~valid):
                    self._lost(Box(box.x + bad.x, box.y + bad.y, bad.width, bad.height))
            return pixels, valid
        pixels = np.full((height, width, 3), 255, np.uint8)
        valid = np.zeros((height, width), bool)
        if max(width, height) <= FINEST_SPLIT:
            self._lost(box)
            return pixels, valid
        for ys in _halves(height):
            for xs in _halves(width):
                size = (xs.stop - xs.start, ys.stop - ys.start)
                part = self._read(Box(box.x + xs.start, box.y + ys.start, *size))
                pixels[ys, xs], valid[ys, xs] = part
        return pixels, valid

    def _lost(self, box: Box) -> None:
        self.unreadable.append(box)
        d = self.tissue.downsample
        limit_y, limit_x = (n - 1 for n in self.suspect.shape)
        ys = np.minimum(((box.y + np.arange(box.height) + 0.5) / d).astype(int), limit_y)
        xs = np.minimum(((box.x + np.arange(box.width) + 0.5) / d).astype(int), limit_x)
        self.bad += float(self.suspect[np.ix_(ys, xs)].sum())
        if self.bad_fraction > self.limit:
            message = (
                f"at least {self.bad_fraction:.2%} of the tissue is unreadable "
                f"(limit {self.limit:.2%}), last at x {box.x:.0f} y {box.y:.0f} of level 0"
            )
            raise PathaiError("E113", message)


def _halves(length: int) -> list[slice]:
    if length <= FINEST_SPLIT:
        return [slice(0, length)]
    middle = FINEST_SPLIT
    while middle * 2 < length:
        middle *= 2
    return [slice(0, middle), slice(middle, length)]


def _halve(block: Pixels) -> Pixels:
    """Rounded means of 2 x 2 pixels: uint8[h, w, 3] to uint8[h / 2, w / 2, 3]."""
    pairs = block[0::2].astype(np.uint16)
    pairs += block[1::2]
    sums = pairs[:, 0::2] + pairs[:, 1::2]
    sums += 2
    sums >>= 2
    return sums.astype(np.uint8)


def _rectangles(mask: Mask) -> list[Box]:
    """Rectangles that cover exactly the set pixels (one that covers all, if too many)."""
    found: list[Box] = []
    rows = np.nonzero(mask.any(axis=1))[0]
    starts = [r for r in rows if r == 0 or not np.array_equal(mask[r], mask[r - 1])]
    for start in starts:
        stop = start + 1
        while stop < len(mask) and np.array_equal(mask[stop], mask[start]):
            stop += 1
        edges = np.flatnonzero(np.diff(np.concatenate(([0], mask[start], [0]))))
        for left, right in edges.reshape(-1, 2):
            found.append(Box(int(left), int(start), int(right - left), int(stop - start)))
        if len(found) > MAX_RECTANGLES:
            columns = np.nonzero(mask.any(axis=0))[0]
            x, y = int(columns[0]), int(rows[0])
            return [Box(x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y)]
    return found


def _write_metadata(path: Path, size: Size, mpp: Mpp, written: Written) -> None:
    import zarr
    from zarr.codecs import (
        BytesCodec,
        Crc32cCodec,
        ShardingCodec,
        TransposeCodec,
        ZstdCodec,
    )

    downsamples = [float(2**k) for k in range(len(written.chunks))]
    pathai: dict[str, Any] = {
        "schema": SCHEMA,
        "size": [size.width, size.height],
        "mpp": [mpp.x, mpp.y],
        "chunks": list(written.chunks),
        "unreadable": [[int(v) for v in (b.x, b.y, b.width, b.height)] for b in written.unreadable],
    }
    ome = {
        "version": "0.5",
        "multiscales": [multiscale("tiles", mpp, downsamples, ("c", "y", "x"))],
    }
    group = zarr.create_group(path, zarr_format=3, attributes={"ome": ome, "pathai": pathai})
    # Chunks lie on disk as y, x, c: that is how pictures are decoded and shown.
    sharding = ShardingCodec(
        chunk_shape=(3, CHUNK, CHUNK),
        codecs=[
            TransposeCodec(order=(1, 2, 0)),
            BytesCodec(),
            ZstdCodec(level=ZSTD_LEVEL),
            Crc32cCodec(),
        ],
    )
    for k in range(len(written.chunks)):
        step = 2**k
        group.create_array(
            str(k),
            shape=(3, -(-size.height // step), -(-size.width // step)),
            dtype="uint8",
            chunks=(3, SHARD, SHARD),
            serializer=sharding,
            filters=None,
            compressors=None,
            fill_value=255,
            dimension_names=["c", "y", "x"],
        )
