"""Writing ``tiles.zarr`` from decoded pixels: one pass, memory independent of the slide's size.

The pyramid is filled depth first: a block of level *k* is made from its four blocks of level
*k* - 1, which are written, halved and forgotten. So every source pixel is read once and no more
than one block per level is in memory.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pathai.errors import PathaiError
from pathai.store.chunks import UNPACK, pack_jpeg, pack_zstd
from pathai.store.damage import Damage
from pathai.store.level import LevelInfo, Loss
from pathai.store.shard import ShardWriter
from pathai.store.tile_copy import SMALLEST, per_shard, pixels_of, wanted_chunks
from pathai.units import Box, Size

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
ReadBlock = Callable[[Box], tuple[Pixels, Mask]]
"""Level-0 box to ``(uint8[h, w, 3], valid bool[h, w])``; raises E162 where it cannot be read."""

CHUNK = 256
"""Edge of a chunk, px of its level."""
BLOCK_CHUNKS = 8
"""Chunks along the edge of what is worked on at once; divides the chunks of a shard."""
BLOCK = CHUNK * BLOCK_CHUNKS
FINEST_SPLIT = 64
"""An unreadable block is divided down to this edge, px, to keep what can be read."""
MAX_RECTANGLES = 64


def write_pyramid(
    path: Path, read_block: ReadBlock, size: Size, damage: Damage, quality: int | None = None
) -> list[LevelInfo]:
    """Write the tissue of a slide as a sharded pyramid of halvings.

    Parameters
    ----------
    path : Path
        ``tiles.zarr`` (its part), without a pyramid so far.
    read_block : callable
        See `ReadBlock`; called with boxes of at most `BLOCK` px.
    size : Size
        Level 0, px.
    damage : Damage
        The tissue map that decides what is stored; takes what could not be read.
    quality : int, optional
        Pack with loss, as JPEG of this quality; by default without loss.

    Returns
    -------
    list of LevelInfo
        Finest first, with the measured loss.

    Raises
    ------
    PathaiError
        E113 if too much is unreadable: copy or scan the slide again.
    """
    packer = _Packer(quality)
    writer = _Writer(path, read_block, size, damage, packer)
    writer.fill(len(writer.shards) - 1, 0, 0)
    infos = []
    for k, shards in enumerate(writer.shards):
        shards.close()
        infos.append(
            LevelInfo(
                width=-(-size.width // 2**k),
                height=-(-size.height // 2**k),
                downsample=float(2**k),
                chunk_width=CHUNK,
                chunk_height=CHUNK,
                per_shard=shards.per_shard,
                codec=packer.codec,
                made="built" if k else "decoded",
                chunks=shards.count,
                unreadable=tuple(pixels_of(box) for box in damage.boxes),
                loss=packer.loss(k),
            )
        )
    return infos


class _Packer:
    """Packs chunks and, where that loses something, measures what."""

    def __init__(self, quality: int | None) -> None:
        self.quality = quality
        self.codec: str = "zstd" if quality is None else "jpeg"
        self._squares: dict[int, float] = {}
        self._values: dict[int, int] = {}
        self._worst: dict[int, int] = {}

    def pack(self, level: int, block: Pixels) -> bytes:
        if self.quality is None:
            return pack_zstd(block)
        data = pack_jpeg(np.ascontiguousarray(block), self.quality)
        back = np.empty(block.shape, np.uint8)
        UNPACK["jpeg"](data, back)
        gap = np.abs(back.astype(np.int16) - block)
        squares = float((gap.astype(np.int64) ** 2).sum())
        self._squares[level] = self._squares.get(level, 0.0) + squares
        self._values[level] = self._values.get(level, 0) + gap.size
        self._worst[level] = max(self._worst.get(level, 0), int(gap.max()))
        return data

    def loss(self, level: int) -> Loss | None:
        """Of a level; None where nothing can be lost."""
        if self.quality is None or level not in self._values:
            return None
        mean = max(self._squares[level] / self._values[level], 1e-9)
        psnr = round(float(10 * np.log10(255**2 / mean)), 2)
        return Loss(quality=self.quality, psnr_db=psnr, max_error=self._worst[level])


class _Writer:
    def __init__(
        self, path: Path, read_block: ReadBlock, size: Size, damage: Damage, packer: _Packer
    ) -> None:
        self.read_block, self.size = read_block, size
        self.damage, self.packer = damage, packer
        self.wanted = wanted_chunks(damage.tissue, size, Size(CHUNK, CHUNK), 1.0)
        levels = 1
        while max(size.width, size.height) > SMALLEST * 2 ** (levels - 1):
            levels += 1
        n = per_shard(Size(CHUNK, CHUNK))
        self.shards = [ShardWriter(path / str(k), n) for k in range(levels)]

    def fill(self, level: int, row: int, column: int) -> tuple[Pixels, Mask] | None:
        """Write one block and all below it; its pixels and stored chunks, or None if empty."""
        span = BLOCK_CHUNKS * 2**level
        part = self.wanted[row * span : (row + 1) * span, column * span : (column + 1) * span]
        if not part.any():
            return None
        if level == 0:
            stored = np.zeros((BLOCK_CHUNKS, BLOCK_CHUNKS), bool)
            stored[: part.shape[0], : part.shape[1]] = part
            block = self._read_chunks(row, column, stored)
        else:
            block, stored = self._from_below(level, row, column)
        self._write(level, row, column, block, stored)
        return block, stored

    def _from_below(self, level: int, row: int, column: int) -> tuple[Pixels, Mask]:
        block = np.full((BLOCK, BLOCK, 3), 255, np.uint8)
        stored = np.zeros((BLOCK_CHUNKS, BLOCK_CHUNKS), bool)
        half, few = BLOCK // 2, BLOCK_CHUNKS // 2
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
        height = -(-self.size.height // step) - row * BLOCK
        width = -(-self.size.width // step) - column * BLOCK
        if 0 < height < BLOCK:
            pixels[height] = pixels[height - 1]
        if 0 < width < BLOCK:
            pixels[:, width] = pixels[:, width - 1]

    def _write(self, level: int, row: int, column: int, block: Pixels, stored: Mask) -> None:
        for j, i in zip(*(v.tolist() for v in np.nonzero(stored)), strict=True):
            part = block[j * CHUNK : (j + 1) * CHUNK, i * CHUNK : (i + 1) * CHUNK]
            place = row * BLOCK_CHUNKS + j, column * BLOCK_CHUNKS + i
            self.shards[level].add(*place, self.packer.pack(level, part))

    def _read_chunks(self, row: int, column: int, stored: Mask) -> Pixels:
        rows, columns = np.nonzero(stored.any(axis=1))[0], np.nonzero(stored.any(axis=0))[0]
        y, x = int(rows[0]) * CHUNK, int(columns[0]) * CHUNK
        top, left = row * BLOCK, column * BLOCK
        height = min((int(rows[-1]) + 1) * CHUNK, self.size.height - top) - y
        width = min((int(columns[-1]) + 1) * CHUNK, self.size.width - left) - x
        pixels, valid = self._read(Box(left + x, top + y, width, height))
        if not valid.all():
            pixels = np.where(valid[..., None], pixels, np.uint8(255))
        block = np.full((BLOCK, BLOCK, 3), 255, np.uint8)
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
                    self.damage.add(Box(box.x + bad.x, box.y + bad.y, bad.width, bad.height))
            return pixels, valid
        pixels = np.full((height, width, 3), 255, np.uint8)
        valid = np.zeros((height, width), bool)
        if max(width, height) <= FINEST_SPLIT:
            self.damage.add(box)
            return pixels, valid
        for ys in _halves(height):
            for xs in _halves(width):
                size = (xs.stop - xs.start, ys.stop - ys.start)
                part = self._read(Box(box.x + xs.start, box.y + ys.start, *size))
                pixels[ys, xs], valid[ys, xs] = part
        return pixels, valid


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
