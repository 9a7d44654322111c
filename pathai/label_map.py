"""Label maps as nuclei: centers, areas and outlines, and the way from network maps to labels.

Nothing here depends on where an image starts: sums are whole numbers and positions are rounded
to what float32 holds, so that a block with enough surround gives the nuclei of the whole image.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]

CORNERS = 24
BRIDGE_PX = 3.0
"""A ray passes over a hole of so many px, but does not come back from farther away."""
STEPS = 1024
"""Maps of a network are rounded to 1/1024: its last bits change with the size of the image."""


@dataclass(frozen=True)
class LabelShapes:
    """Nuclei of a label map; row *i* is label ``i + 1``, sorted by y, then x of the center.

    Attributes
    ----------
    labels : int32[h, w]
        Numbered anew without gaps, 0 outside.
    number : int64[M]
        What each nucleus was called in the map that was given.
    centers : float32[M, 2]
        Centroids x, y in px; pixel i covers i to i + 1.
    poles : float32[M, 2]
        A point inside of each nucleus: its center, or the nearest px of it.
    area_px : int64[M]
        Pixels.
    """

    labels: I32
    number: I64
    centers: F32
    poles: F32
    area_px: I64

    def __len__(self) -> int:
        return len(self.centers)

    @cached_property
    def outlines(self) -> F32:
        """Outlines ``float32[M, 24, 2]``, x, y in px: simple polygons, star-shaped at the pole."""
        return star_outlines(self.labels, self.poles).astype(np.float32)

    def mean(self, values: NDArray[Any]) -> F64:
        """Mean of ``values`` [h, w] over each nucleus, ``float64[M]``."""
        flat, owner = _pixels(self.labels)
        total = np.bincount(owner, values.ravel()[flat], minlength=len(self))
        mean: F64 = total / np.maximum(self.area_px, 1)
        return mean


def exact(xy: F64) -> F64:
    """Positions to 1/64 px: float32 holds them exactly wherever a block starts."""
    rounded: F64 = np.rint(xy * 64) / 64
    return rounded


def from_labels(labels: NDArray[Any], least_px: int = 1) -> LabelShapes:
    """Measure the nuclei of a label map.

    Parameters
    ----------
    labels : int[h, w]
        0 outside, one number per nucleus; gaps and large numbers are fine. A number on several
        pieces is one nucleus, as whoever made the map said.
    least_px : int
        Nuclei of fewer pixels are left out.

    Returns
    -------
    LabelShapes

    Raises
    ------
    ValueError
        If the map is not of whole numbers from 0, or has not two axes.
    """
    if labels.ndim != 2 or labels.dtype.kind not in "iu":
        raise ValueError(f"{labels.dtype}[{labels.ndim} axes] is no label map int[h, w]")
    width = labels.shape[1]
    flat = np.flatnonzero(labels)
    value = labels.ravel()[flat].astype(np.int64)
    if len(value) and value.min() < 0:
        raise ValueError("a label below 0")
    number, owner = _numbered(value)
    area = np.bincount(owner, minlength=len(number))
    x, y = flat % width, flat // width
    each = np.maximum(area, 1)
    column, row = (exact(np.bincount(owner, v, minlength=len(number)) / each) for v in (x, y))
    keep = np.flatnonzero(area >= least_px)
    keep = keep[np.lexsort((column[keep], row[keep]))]
    name = np.zeros(len(number), np.int32)
    name[keep] = np.arange(1, len(keep) + 1)
    renamed = np.zeros(labels.shape, np.int32)
    renamed.ravel()[flat] = name[owner]
    middle = np.stack([column, row], axis=1)[keep]
    return LabelShapes(
        labels=renamed,
        number=number[keep],
        centers=(middle + 0.5).astype(np.float32),
        poles=(_inside(renamed, middle) + 0.5).astype(np.float32),
        area_px=area[keep].astype(np.int64),
    )


def _numbered(value: I64) -> tuple[I64, I64]:
    """Names that occur, and the row of each pixel among them."""
    if not len(value):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    most = int(value.max())
    if most > 8 * len(value) + 2**20:  # a table would be larger than the image
        names, row = np.unique(value, return_inverse=True)
        return names, row.astype(np.int64)
    seen = np.zeros(most + 1, bool)
    seen[value] = True
    place = np.cumsum(seen) - 1
    return np.flatnonzero(seen), place[value]


def _pixels(labels: I32) -> tuple[I64, I64]:
    flat = np.flatnonzero(labels)
    return flat, labels.ravel()[flat].astype(np.int64) - 1


def _inside(labels: I32, middle: F64) -> F64:
    """The centers, but where one lies on no px of its own nucleus the nearest px that does."""
    at = np.floor(middle + 0.5).astype(np.int64)
    out = middle.copy()
    lost = np.flatnonzero(labels[at[:, 1], at[:, 0]] != np.arange(1, len(middle) + 1))
    if not len(lost):
        return out
    place = ndimage.find_objects(labels)
    for i in lost:  # crescents and rings: few
        top, left = place[i][0].start, place[i][1].start
        y, x = np.nonzero(labels[place[i]] == i + 1)
        away = (x + left - middle[i, 0]) ** 2 + (y + top - middle[i, 1]) ** 2
        best = int(np.argmin(away))
        out[i] = x[best] + left, y[best] + top
    return out


def star_outlines(
    labels: I32, poles: NDArray[Any], corners: int = CORNERS, longest_px: float = 4096.0
) -> F64:
    """Farthest label pixel along each of ``corners`` rays from a pole, smoothed once.

    Star-shaped around the pole by construction: simple, counter-clockwise in px.

    Parameters
    ----------
    labels : int32[h, w]
        Row *i* of ``poles`` belongs to label ``i + 1``.
    poles : float[M, 2]
        x, y in px; pixel i covers i to i + 1.
    corners : int
        Rays, evenly spaced.
    longest_px : float
        Rays end here at the latest.

    Returns
    -------
    float64[M, corners, 2]
        x, y, in 1/64 px.
    """
    angle = np.arange(corners) * (2 * np.pi / corners)
    ray = np.rint(np.stack([np.cos(angle), np.sin(angle)], axis=1) * 1024) / 1024  # exact sums
    far: F32 = np.zeros(len(poles) * corners, np.float32)
    padded = np.pad(labels, 1)
    edge = np.array([padded.shape[1] - 1, padded.shape[0] - 1], np.float64)
    alive = np.arange(far.size)  # rays that may still get longer
    owner = alive // corners
    start, ahead = poles[owner] + 1.0, ray[alive % corners]
    name = (owner + 1).astype(np.int32)
    length = far[alive]
    for step in np.arange(0.5, longest_px, 0.5, dtype=np.float32):
        if step % 2 == 0:
            far[alive] = length
            going = np.flatnonzero(step - length <= BRIDGE_PX)
            alive, name, length = alive[going], name[going], length[going]
            start, ahead = start[going], ahead[going]
        if not len(alive):
            break
        place = np.clip(start + step * ahead, 0, edge).astype(np.int32)
        length[(padded[place[:, 1], place[:, 0]] == name) & (step - length <= BRIDGE_PX)] = step
    far[alive] = length
    far = far.reshape(-1, corners)
    # the edge lies between the last step inside and the next; then one pass of smoothing
    far += np.float32(0.25)
    smooth = (np.roll(far, 1, axis=1) + 2 * far + np.roll(far, -1, axis=1)) / 4
    return exact(poles[:, None] + smooth[..., None] * ray)


def split(
    center: NDArray[Any],
    inside: NDArray[np.bool_],
    landscape: NDArray[Any],
    *,
    threshold: float,
    apart_px: float,
    reach_px: float,
) -> tuple[I32, F32, F32]:
    """Separate touching nuclei: maxima of a center map are the seeds of a watershed.

    Parameters
    ----------
    center : float[h, w]
        High at centers of nuclei, 0 to 1.
    inside : bool[h, w]
        Foreground.
    landscape : float[h, w]
        What is flooded from its heights: the center map, or distances to the border.
    threshold : float
        Least value of a maximum.
    apart_px : float
        A maximum is the largest value within so many px along x and y.
    reach_px : float
        No nucleus reaches farther from its seed.

    Returns
    -------
    labels : int32[h, w]
    anchors : float32[M, 2]
        The maxima, x, y in px: they depend on near pixels only. Row *i* is label ``i + 1``.
    height : float32[M]
        Value of the maximum.

    References
    ----------
    Beucher S, Meyer F. The morphological approach to segmentation: the watershed transformation.
    In: Mathematical Morphology in Image Processing, 1993.
    """
    from skimage.segmentation import watershed

    level = np.rint(np.asarray(center, np.float32) * STEPS).astype(np.int32)
    window = 2 * max(1, round(apart_px)) + 1
    top = (level == ndimage.maximum_filter(level, window)) & (level >= max(threshold * STEPS, 1))
    seeds, count = ndimage.label(top, np.ones((3, 3)))  # equal neighbors are one maximum
    seeds = seeds.astype(np.int32)
    if not count:
        return seeds, np.empty((0, 2), np.float32), np.empty(0, np.float32)
    shapes = from_labels(seeds)
    seeds = shapes.labels
    near = ndimage.distance_transform_edt(seeds == 0) <= reach_px
    slope = -np.rint(np.asarray(landscape, np.float32) * STEPS).astype(np.int32)
    labels = watershed(slope, seeds, mask=(inside & near) | (seeds > 0)).astype(np.int32)
    height = (shapes.mean(level) / STEPS).astype(np.float32)
    return labels, shapes.centers, height
