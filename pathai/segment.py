"""The outline of one object from a point or a box: what a reader adds with one gesture.

Without a trained network. From a *point*, a nucleus: the image is reduced to how much of the
nuclear stain it holds, and regions are grown from the point at falling thresholds; the one whose
edge is sharpest and whose shape is round is the object, and what hangs together by a neck is cut.
From a *box*, an object of any size, e.g. an island of tissue or a gland: its colors against
those around the box.

References
----------
Adams R, Bischof L. Seeded region growing. IEEE Trans Pattern Anal Mach Intell 1994;16:641-647.
Matas J, Chum O, Urban M, Pajdla T. Robust wide-baseline stereo from maximally stable extremal
regions. Image Vis Comput 2004;22:761-767.
Meyer F. Topographic distance and watershed lines. Signal Process 1994;38:113-125.
Rother C, Kolmogorov V, Blake A. GrabCut: interactive foreground extraction using iterated graph
cuts. ACM Trans Graph 2004;23:309-314. (Colors inside and around a box as two mixtures, refined in
turns; here the smoothness is a Gaussian filter, not a graph cut.)
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pathai.errors import PathaiError
from pathai.stain import optical_density
from pathai.units import Box, Mpp, Ring

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
Bools = NDArray[np.bool_]

REACH_UM = 16.0
"""A nucleus reaches no further than this from a point inside of it."""
SMALLEST_UM2 = 4.0
BLUR_UM = 0.35
LEVELS = 32
"""Thresholds that are tried."""
NECK = 0.75
"""Two bulges are two nuclei where the neck is narrower than this share of the smaller one."""
GAP_UM, RING_UM = 0.25, 1.0
"""A ring of this width, this far from a region, is what it is compared with."""
ROUND = 1.0
"""How much roundness counts against contrast: an exponent."""
BOX_PX = 192
"""Longer edge of a box's image: larger objects are looked at more coarsely."""
AROUND = 0.25
"""Share of a box's edge that is looked at around it."""
TURNS = 6


@dataclass(frozen=True)
class Outline:
    """What was found.

    Attributes
    ----------
    ring_px0 : Ring
        Level-0 px.
    area_um2 : float
        Inside of it.
    """

    ring_px0: Ring
    area_um2: float


def nucleus_at(rgb: U8, x: float, y: float, mpp: Mpp) -> Bools:
    """Pixels of the nucleus that a point lies in.

    Parameters
    ----------
    rgb : uint8[h, w, 3]
        Image around the point, best `REACH_UM` to every side.
    x, y : float
        The point, px of the image; pixel i covers i to i + 1.
    mpp : Mpp
        µm per px of the image.

    Returns
    -------
    bool[h, w]
        One connected region without holes; empty if nothing there differs from its surroundings.
    """
    height, width = rgb.shape[:2]
    row, column = min(max(int(y), 0), height - 1), min(max(int(x), 0), width - 1)
    reach = int(np.ceil(REACH_UM / mpp.mean))
    top, left = max(row - reach, 0), max(column - reach, 0)
    view = rgb[top : row + reach + 1, left : column + reach + 1]
    stain = _nuclear(view, row - top, column - left, mpp)
    found = np.zeros((height, width), bool)
    inside = _best_region(stain, row - top, column - left, mpp)
    if inside is not None:
        found[top : row + reach + 1, left : column + reach + 1] = inside
    return found


def _nuclear(rgb: U8, row: int, column: int, mpp: Mpp) -> F32:
    """How much each pixel is like the point rather than like what lies around: float32[h, w]."""
    sigma = (BLUR_UM / mpp.y, BLUR_UM / mpp.x, 0)
    od = ndimage.gaussian_filter(optical_density(rgb), sigma)
    r = max(round(1.0 / mpp.mean), 1)
    own = od[max(row - r, 0) : row + r + 1, max(column - r, 0) : column + r + 1].reshape(-1, 3)
    total = od.sum(axis=2)
    pale = od[total <= np.quantile(total, 0.35)]
    direction = np.median(own, axis=0) - pale.mean(axis=0)
    spread = np.cov(pale, rowvar=False) + np.cov(own, rowvar=False) + 4e-3 * np.eye(3)
    weight = np.linalg.solve(spread, direction)
    length = float(np.linalg.norm(weight))
    return (od @ (weight / max(length, 1e-9))).astype(np.float32)


def _best_region(stain: F32, row: int, column: int, mpp: Mpp) -> Bools | None:
    r = max(round(0.5 / mpp.mean), 1)
    near = stain[max(row - r, 0) : row + r + 1, max(column - r, 0) : column + r + 1]
    high, low = float(np.median(near)), float(np.quantile(stain, 0.1))
    if high <= low + 0.02:
        return None
    best, score = None, 0.0
    for threshold in np.linspace(high, low, LEVELS + 2)[1:-1]:
        region = _grown(stain > threshold, row, column, mpp)
        if region is None:
            continue
        if _reaches_the_frame(region):
            break
        found = _contrast(stain, region, mpp) * _roundness(region) ** ROUND
        if found > score:
            best, score = region, found
    return best


def _reaches_the_frame(region: Bools) -> bool:
    """Whether a region fills the view: it is no object any more."""
    frame = sum(int(edge.sum()) for edge in (region[0], region[-1], region[:, 0], region[:, -1]))
    return frame > 0.1 * 2 * sum(region.shape)


def _contrast(stain: F32, region: Bools, mpp: Mpp) -> float:
    """Stain inside of a region less that in a ring around it."""
    away = ndimage.distance_transform_edt(~region, sampling=(mpp.y, mpp.x))
    ring = (away > GAP_UM) & (away <= GAP_UM + RING_UM)
    if not ring.any():
        return 0.0
    return float(stain[region].mean() - stain[ring].mean())


def _grown(above: Bools, row: int, column: int, mpp: Mpp) -> Bools | None:
    """The connected part of a mask that holds the point, cut at its necks; None if too small."""
    if not above[row, column]:
        return None
    labels, _ = ndimage.label(above)
    region = ndimage.binary_fill_holes(labels == labels[row, column])
    if region.sum() * mpp.x * mpp.y < SMALLEST_UM2:
        return None
    away = ndimage.distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1]
    return _cut(region, away, row, column)


def _cut(region: Bools, away: NDArray[np.float64], row: int, column: int) -> Bools:
    """The bulge of a region that holds the point, parted from others by watershed."""
    from skimage.morphology import h_maxima
    from skimage.segmentation import watershed

    # A bulge stands above its neck by (1 - NECK) of its own depth at least.
    depth = float(away.max())
    peaks, number = ndimage.label(h_maxima(away, (1 - NECK) * depth * 0.5))
    if number < 2:
        return region
    parts = watershed(-away, peaks, mask=region)
    own = parts == parts[row, column]
    return own if own[row, column] else region


def _roundness(region: Bools) -> float:
    """Area over that of the convex hull."""
    from skimage.measure import regionprops

    return float(regionprops(region.astype(np.uint8))[0].solidity)
