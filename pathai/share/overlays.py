"""Attention as a small picture, and tissue as outlines in few points."""

from dataclasses import dataclass
from io import BytesIO

import numpy as np
import shapely
from numpy.typing import NDArray
from PIL import Image

from pathai.geojson import regions
from pathai.store.records import BACKGROUND, TISSUE, Features, TissueMap
from pathai.units import Box
from pathai.viewer import palette

MOST_EDGE = 2048
"""Longest edge of a picture of attention, px."""
SCALE = 8
"""Pixels of the picture along a tile, so that tiles keep their edges when drawn large."""
SMALLEST = 4.0
"""Map pixels below which a piece of an outline is left out."""
Rings = list[list[list[int]]]


@dataclass(frozen=True)
class Attention:
    """Where a model looked: a PNG and the place that it covers, level-0 px."""

    png: bytes
    box: Box
    largest: float
    """The most that a tile weighs, in even shares."""


def attention(features: Features, weights: NDArray[np.float32]) -> Attention | None:
    """Attention as a picture from clear over yellow to green; None without a tile.

    Parameters
    ----------
    features : Features
        Place of the tiles.
    weights : float32[N]
        Of the tiles, sum 1.
    """
    count = len(weights)
    if not count:
        return None
    places = features.places
    top, left = places.min(axis=0)
    rows, columns = (places - (top, left)).T
    shape = (int(rows.max()) + 1, int(columns.max()) + 1)
    share = np.full(shape, np.nan)
    share[rows, columns] = np.asarray(weights, np.float64) * count
    known = share[np.isfinite(share)]
    limit = max(float(np.quantile(known, 0.97)), 2.0)
    level = np.clip(np.nan_to_num(share) / limit, 0, 1) ** 0.7  # the second best is seen too
    stops = np.array([stop for stop, _ in palette.ATTENTION])
    colors = np.array([color for _, color in palette.ATTENTION])
    rgba = np.stack([np.interp(level, stops, colors[:, i]) for i in range(4)], axis=-1)
    picture = np.rint(255 * rgba).astype(np.uint8)
    scale = max(min(SCALE, MOST_EDGE // max(shape)), 1)
    picture = picture.repeat(scale, axis=0).repeat(scale, axis=1)
    out = BytesIO()
    Image.fromarray(picture).save(out, "PNG", optimize=True)
    step = features.size_px0 * (features.attrs.stride_px / features.attrs.tile_px)
    width, height = float(step[0]), float(step[1])
    box = Box(int(left) * width, int(top) * height, shape[1] * width, shape[0] * height)
    return Attention(out.getvalue(), box, float(known.max()))


def outlines(tissue: TissueMap) -> tuple[Rings, Rings]:
    """Outlines of tissue that was used, and of what was left out (pen, blur, folds and the like).

    Returns
    -------
    tuple of list
        For each the rings, holes among them, as [x, y] in whole level-0 px.
    """
    used = tissue.classes == TISSUE
    out = (tissue.classes != BACKGROUND) & ~used
    return _rings(used, tissue.downsample), _rings(out, tissue.downsample)


def _rings(mask: NDArray[np.bool_], downsample: float) -> Rings:
    if not mask.any():
        return []
    found = regions(mask, downsample)
    found = found[shapely.area(found) >= SMALLEST * downsample**2]
    simple = shapely.get_parts(shapely.simplify(found, downsample))
    rings = shapely.get_rings(simple[~shapely.is_empty(simple)])
    return [np.rint(shapely.get_coordinates(ring)[:-1]).astype(int).tolist() for ring in rings]
