"""Grids of tiles in µm.

A tile's edge is ``tile_px * mpp`` µm, kept as a float in level-0 pixels; only the recorded corner
is a whole pixel, and that corner is what is read. So a grid neither drifts nor changes its field
of view when the slide's mpp is odd or differs between x and y.
"""

import json
from dataclasses import dataclass, replace
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from pathai.errors import PathaiError
from pathai.store.records import ARTEFACTS, TISSUE, SlideInfo, TissueMap
from pathai.units import Box


@dataclass(frozen=True)
class Grid:
    """Tiles of one slide for one tile size and resolution.

    Parameters
    ----------
    xy_px0 : int32[N, 2]
        Top-left corner (x, y), level-0 px, row-major.
    size_px0 : float32[2]
        Width and height of every tile, level-0 px: times the slide's mpp, its true field of view.
    tissue : float16[N]
        Share of tissue.
    tile_px : int
        Edge of a tile, px at its own mpp.
    mpp : float
        µm per px of the tiles.
    stride_px : int
        From one tile to the next, px of the tiles.
    digest : str
        SHA-256 over all of the above but ``tissue``.
    """

    xy_px0: NDArray[np.int32]
    size_px0: NDArray[np.float32]
    tissue: NDArray[np.float16]
    tile_px: int
    mpp: float
    stride_px: int
    digest: str

    def __len__(self) -> int:
        return len(self.xy_px0)

    def rest(self, first: int) -> "Grid":
        """Its tiles from number ``first`` on; the digest stays that of the whole."""
        return replace(self, xy_px0=self.xy_px0[first:], tissue=self.tissue[first:])

    def box(self, index: int) -> Box:
        """Place of one tile, level-0 px."""
        x, y = self.xy_px0[index]
        return Box(float(x), float(y), float(self.size_px0[0]), float(self.size_px0[1]))


def grid(
    tissue: TissueMap,
    slide: SlideInfo,
    tile_px: int,
    mpp: float,
    min_tissue: float,
    *,
    stride_px: int | None = None,
    max_artefact: float = 1.0,
    tolerance: float = 0.1,
) -> Grid:
    """Lay a grid over a slide and keep the tiles with enough tissue.

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
    stride_px : int, optional
        From one tile to the next, px at ``mpp``; by default the tile's edge: no gap, no overlap.
    max_artefact : float
        Largest share of artefacts, 0 to 1.
    tolerance : float
        Share by which the slide may be coarser than ``mpp``: tiles would hold invented detail.

    Returns
    -------
    Grid
        Tiles in row-major order; the last row and column may reach past the slide.

    Raises
    ------
    PathaiError
        E143 if the slide is coarser than ``mpp`` allows, E193 if a tile or stride is smaller than
        one level-0 pixel.
    """
    width, height = tile_px * mpp / slide.mpp_x, tile_px * mpp / slide.mpp_y
    step_px = tile_px if stride_px is None else stride_px
    step_x, step_y = step_px * mpp / slide.mpp_x, step_px * mpp / slide.mpp_y
    if not min(width, height, step_x, step_y) >= 1:
        raise PathaiError("E193", f"a tile of {tile_px} px at {mpp} µm/px is below one pixel")
    if max(slide.mpp_x, slide.mpp_y) > mpp * (1 + tolerance):
        message = f"the slide has {slide.mpp.mean:.4g} µm/px, tiles are asked for at {mpp:g}"
        raise PathaiError("E143", message)
    columns, rows = _count(slide.width, step_x), _count(slide.height, step_y)
    x0 = np.floor(np.arange(columns) * step_x + 0.5)
    y0 = np.floor(np.arange(rows) * step_y + 0.5)
    d = tissue.downsample
    places = x0 / d, y0 / d, width / d, height / d
    share = _box_means(tissue.classes == TISSUE, *places)
    kept = (share >= min_tissue) & (share > 0)
    if max_artefact < 1:
        kept &= _box_means(np.isin(tissue.classes, ARTEFACTS), *places) <= max_artefact
    row, column = np.nonzero(kept)
    xy = np.stack([x0[column], y0[row]], axis=1).astype(np.int32)
    size = np.array([width, height], np.float32)
    return Grid(xy, size, share[kept].astype(np.float16), tile_px, mpp, step_px,
                _digest(xy, size, tile_px, mpp, step_px))  # fmt: skip


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


def _digest(
    xy: NDArray[np.int32], size: NDArray[np.float32], tile_px: int, mpp: float, stride_px: int
) -> str:
    head = json.dumps([int(tile_px), float(mpp), int(stride_px), len(xy)]).encode()
    return sha256(head + size.astype("<f4").tobytes() + xy.astype("<i4").tobytes()).hexdigest()
