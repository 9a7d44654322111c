"""Grids of tiles in µm, and batches of their pixels.

A tile's edge is ``tile_px * mpp`` µm, kept as a float in level-0 pixels; only the recorded corner
is a whole pixel, and that corner is what is read. So a grid neither drifts nor changes its field
of view when the slide's mpp is odd or differs between x and y.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from pathai.errors import PathaiError
from pathai.store.pyramid import ChunkCache, Pyramid
from pathai.store.records import TISSUE, SlideInfo, TissueMap
from pathai.store.shard import CHUNK
from pathai.units import Box, Size


@dataclass(frozen=True)
class Grid:
    """Tiles of one slide for one tile size and resolution.

    Parameters
    ----------
    xy_px0 : int32[N, 2]
        Top-left corner (x, y), level-0 px, row-major.
    size_px0 : float32[2]
        Width and height of a tile, level-0 px.
    tissue : float16[N]
        Share of tissue.
    tile_px : int
        Edge of a tile, px at its own mpp.
    mpp : float
        µm per px of the tiles.
    digest : str
        SHA-256 over all of the above but ``tissue``.
    """

    xy_px0: NDArray[np.int32]
    size_px0: NDArray[np.float32]
    tissue: NDArray[np.float16]
    tile_px: int
    mpp: float
    digest: str

    def __len__(self) -> int:
        return len(self.xy_px0)

    def box(self, index: int) -> Box:
        """Place of one tile, level-0 px."""
        x, y = self.xy_px0[index]
        return Box(float(x), float(y), float(self.size_px0[0]), float(self.size_px0[1]))


def grid(tissue: TissueMap, slide: SlideInfo, tile_px: int, mpp: float, min_tissue: float) -> Grid:
    """Lay a gapless grid over a slide and keep the tiles with enough tissue.

    Parameters
    ----------
    tissue : TissueMap
        Classes of the slide.
    slide : SlideInfo
        Level-0 size and mpp.
    tile_px : int
        Edge of a tile, px at ``mpp``.
    mpp : float
        µm per px of the tiles, the same along x and y.
    min_tissue : float
        Least share of tissue, 0 to 1; a tile without any is never kept.

    Returns
    -------
    Grid
        Tiles in row-major order; the last row and column may reach past the slide.

    Raises
    ------
    PathaiError
        E193 if the tile is smaller than one level-0 pixel.
    """
    width, height = tile_px * mpp / slide.mpp_x, tile_px * mpp / slide.mpp_y
    if not (width >= 1 and height >= 1):
        raise PathaiError("E193", f"a tile of {tile_px} px at {mpp} µm/px is below one pixel")
    columns, rows = _count(slide.width, width), _count(slide.height, height)
    x0 = np.floor(np.arange(columns) * width + 0.5)
    y0 = np.floor(np.arange(rows) * height + 0.5)
    mask = tissue.classes == TISSUE
    share = _box_means(mask, x0 / tissue.downsample, y0 / tissue.downsample,
                       width / tissue.downsample, height / tissue.downsample)  # fmt: skip
    kept = (share >= min_tissue) & (share > 0)
    row, column = np.nonzero(kept)
    xy = np.stack([x0[column], y0[row]], axis=1).astype(np.int32)
    size = np.array([width, height], np.float32)
    return Grid(xy, size, share[kept].astype(np.float16), tile_px, mpp,
                _digest(xy, size, tile_px, mpp))  # fmt: skip


def _count(length: int, tile: float) -> int:
    """Tiles that cover ``length``; a sliver below a thousandth of a tile is rounding."""
    return max(int(np.ceil(length / tile - 1e-3)), 1)


def _box_means(
    mask: NDArray[np.bool_], x: NDArray[np.float64], y: NDArray[np.float64], w: float, h: float
) -> NDArray[np.float64]:
    """Exact share of set pixels in boxes with fractional edges: float64[rows, columns]."""
    rows = _spans(y, h, mask.shape[0])
    columns = _spans(x, w, mask.shape[1])
    sums = rows @ mask.astype(np.float64) @ columns.T
    share: NDArray[np.float64] = np.clip(sums / (w * h), 0.0, 1.0)
    return share


def _spans(start: NDArray[np.float64], length: float, count: int) -> NDArray[np.float64]:
    """Overlap of each interval with each map pixel: float64[intervals, count]."""
    edges = np.arange(count + 1)
    low = np.clip(start[:, None], edges[:-1], edges[1:])
    high = np.clip(start[:, None] + length, edges[:-1], edges[1:])
    return high - low


def _digest(xy: NDArray[np.int32], size: NDArray[np.float32], tile_px: int, mpp: float) -> str:
    head = json.dumps([int(tile_px), float(mpp), len(xy)]).encode()
    return sha256(head + size.astype("<f4").tobytes() + xy.astype("<i4").tobytes()).hexdigest()


def batches(
    pyramid: Pyramid, tiles: Grid, batch: int
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float16]]]:
    """Pixels of a grid's tiles, in its order; each stored chunk is decoded about once.

    Parameters
    ----------
    pyramid : Pyramid
        Open ``tiles.zarr``.
    tiles : Grid
        From `grid`.
    batch : int
        Tiles per batch; the last one may be smaller.

    Yields
    ------
    pixels : uint8[B, H, W, 3]
        Tiles at the grid's own mpp, white where nothing is stored; a new array each time.
    valid : float16[B]
        Share of each tile that lies on the slide and was readable.

    Raises
    ------
    PathaiError
        E164 if the pixels are damaged: run ``pathai verify``.
    """
    edge = tiles.tile_px
    cache: ChunkCache = {}
    level = pyramid.level_for(float(tiles.size_px0.min()) / edge)
    for start in range(0, len(tiles), batch):
        stop = min(start + batch, len(tiles))
        pixels = np.empty((stop - start, edge, edge, 3), np.uint8)
        valid = np.empty(stop - start, np.float16)
        for i in range(start, stop):
            box = tiles.box(i)
            if i and tiles.xy_px0[i, 1] != tiles.xy_px0[i - 1, 1]:
                _forget_above(cache, box.y / pyramid.downsamples[level])
            pixels[i - start] = pyramid.read_at(box, Size(edge, edge), cache)
            valid[i - start] = pyramid.valid(box)
        yield pixels, valid


def _forget_above(cache: ChunkCache, y: float) -> None:
    """Drop chunks that no later row of tiles can touch (8 px are left for the filter)."""
    first = int(max(y - 8, 0)) // CHUNK
    for key in [key for key in cache if key[1] < first]:
        del cache[key]
