"""The outline of one object from a point or a box: what a reader adds with one gesture.

Without a trained network. From a *point*, a nucleus: the image is reduced to how much of the
nuclear stain it holds, and regions are grown from the point at falling thresholds, and what hangs
together by a neck is cut. The one that differs most from what lies around it, is round and has a
nucleus' size is the object.
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
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pathai.errors import PathaiError
from pathai.stain import optical_density
from pathai.store.pyramid import Pyramid
from pathai.units import Box, Mpp, Ring, Size

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
Bools = NDArray[np.bool_]

REACH_UM = 16.0
"""A nucleus reaches no further than this from a point inside of it."""
SMALLEST_UM2 = 4.0
BLUR_UM = 0.25
LEVELS = 32
"""Thresholds that are tried."""
NECK = 0.75
"""Two bulges are two nuclei where the neck is narrower than this share of the smaller one."""
GAP_UM, RING_UM = 0.25, 1.0
"""A ring of this width, this far from a region, is what it is compared with."""
DARKER = 0.3
"""What is darker than the point by this share of its contrast counts as another object."""
USUAL_UM2, SPREAD = 40.0, 1.0
"""Area of a nucleus that needs no argument, and how slowly others lose (of its logarithm)."""
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


class Outliner(Protocol):
    """Finds one object in a picture from a prompt; masks are ``bool[h, w]``."""

    def at(self, rgb: U8, x: float, y: float, mpp: Mpp) -> Bools:
        """The object that a point (px of the picture) lies in."""
        ...

    def within(self, rgb: U8, box: Box) -> Bools:
        """The object that a box (px of the picture) was drawn around."""
        ...


class Classical:
    """Without a network; always there."""

    def at(self, rgb: U8, x: float, y: float, mpp: Mpp) -> Bools:
        """As `nucleus_at`."""
        return nucleus_at(rgb, x, y, mpp)

    def within(self, rgb: U8, box: Box) -> Bools:
        """As `object_in`."""
        return object_in(rgb, box)


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
    found: F32 = (od @ (weight / max(length, 1e-9))).astype(np.float32)
    return found


def _best_region(stain: F32, row: int, column: int, mpp: Mpp) -> Bools | None:
    r = max(round(0.5 / mpp.mean), 1)
    near = stain[max(row - r, 0) : row + r + 1, max(column - r, 0) : column + r + 1]
    high, low = float(np.median(near)), float(np.quantile(stain, 0.1))
    if high <= low + 0.02:
        return None
    top = high + DARKER * (high - low)  # a darker neighbor is not part of a pale nucleus
    stain = np.where(stain > top, 3 * top - 2 * stain, stain).astype(np.float32)
    best, score = None, 0.0
    for threshold in np.linspace(high, low, LEVELS + 2)[1:-1]:
        region = _grown(stain > threshold, row, column, mpp)
        if region is None:
            continue
        if _reaches_the_frame(region):
            break
        area = float(region.sum()) * mpp.x * mpp.y
        usual = np.exp(-(np.log(area / USUAL_UM2) ** 2) / (2 * SPREAD**2))
        found = _contrast(stain, region, mpp) * _roundness(region) * float(usual)
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
    """Area over that of the convex hull, 0 to 1."""
    from skimage.measure import regionprops

    return float(regionprops(region.astype(np.uint8))[0].solidity)


def object_in(rgb: U8, box: Box) -> Bools:
    """Pixels of the object that a box was drawn around.

    Parameters
    ----------
    rgb : uint8[h, w, 3]
        Image with some of what lies around the box.
    box : Box
        In px of the image.

    Returns
    -------
    bool[h, w]
        One connected region without holes, inside of the box; empty if nothing there differs from
        its surroundings.
    """
    height, width = rgb.shape[:2]
    top, bottom = (int(np.clip(round(v), 0, height)) for v in (box.y, box.bottom))
    left, right = (int(np.clip(round(v), 0, width)) for v in (box.x, box.right))
    inside = np.zeros((height, width), bool)
    inside[top:bottom, left:right] = True
    if inside.sum() < 9 or inside.all():
        return np.zeros((height, width), bool)
    sigma = max(min(bottom - top, right - left) / 40.0, 0.7)
    od = ndimage.gaussian_filter(optical_density(rgb), (sigma / 2, sigma / 2, 0))
    found = inside & _ellipse(inside.shape, top, bottom, left, right, 0.8)
    for _ in range(TURNS):
        like = _likeness(od, found, inside)
        kept = (ndimage.gaussian_filter(like, sigma) > 0) & inside
        if not kept.any() or np.array_equal(kept, found):
            break
        found = kept
    return _largest_inside(found)


def _ellipse(
    shape: tuple[int, ...], top: int, bottom: int, left: int, right: int, share: float
) -> Bools:
    y, x = np.indices(shape)
    dy = (y + 0.5 - (top + bottom) / 2) / max((bottom - top) / 2, 1)
    dx = (x + 0.5 - (left + right) / 2) / max((right - left) / 2, 1)
    held: Bools = dx**2 + dy**2 <= share**2
    return held


def _likeness(od: F32, found: Bools, inside: Bools) -> F32:
    """How much more a pixel's color is that of the object than of the rest: log ratio, clipped."""
    own, rest = od[found], od[~found]
    around = od[~inside]
    if len(around) > 50:  # what lies outside of the box is certainly not the object
        rest = np.concatenate([rest, around])
    ratio = _log_density(od, own) - _log_density(od, rest)
    return np.clip(ratio, -8, 8).astype(np.float32)


def _log_density(od: F32, sample: NDArray[np.float32]) -> NDArray[np.float64]:
    """Log density of a mixture of two Gaussians that was fitted to a sample of colors."""
    import warnings

    from sklearn.mixture import GaussianMixture

    rows = sample[:: max(len(sample) // 3000, 1)].astype(np.float64)
    parts = 2 if len(rows) >= 40 else 1
    model = GaussianMixture(parts, reg_covar=1e-3, random_state=0, max_iter=30, tol=1e-2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a rough fit is enough for a start
        model.fit(rows)
    found: NDArray[np.float64] = model.score_samples(od.reshape(-1, 3).astype(np.float64))
    return found.reshape(od.shape[:2])


def _largest_inside(mask: Bools) -> Bools:
    labels, number = ndimage.label(mask)
    if not number:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    filled: Bools = ndimage.binary_fill_holes(labels == int(sizes.argmax()))
    return filled


# --- on a slide ------------------------------------------------------------------------------


def ring_of(mask: Bools, view: Box) -> Ring:
    """Smooth outline of a region that a picture of a part of the slide shows.

    Parameters
    ----------
    mask : bool[h, w]
        One region.
    view : Box
        What the picture covers, level-0 px.

    Returns
    -------
    Ring
        Level-0 px; empty without a region.
    """
    from skimage.measure import approximate_polygon, find_contours

    if not mask.any():
        return ()
    height, width = mask.shape
    soft = ndimage.gaussian_filter(np.pad(mask, 3).astype(np.float32), 1.0)
    lines = find_contours(soft, 0.5)
    if not lines:
        return ()
    line = approximate_polygon(max(lines, key=len)[:-1], 0.25)
    # A pixel's middle is at a whole number in the picture, at a half one on the slide.
    y = (line[:, 0] - 3 + 0.5) * view.height / height + view.y
    x = (line[:, 1] - 3 + 0.5) * view.width / width + view.x
    return tuple((round(float(a), 1), round(float(b), 1)) for a, b in zip(x, y, strict=True))


def outline_at(pyramid: Pyramid, x_px0: float, y_px0: float, by: Outliner | None = None) -> Outline:
    """Outline of the nucleus at a point of a slide, from pixels of level 0.

    Parameters
    ----------
    pyramid : Pyramid
        The slide.
    x_px0, y_px0 : float
        The point, level-0 px.
    by : Outliner, optional
        Who finds it; `Classical` by default.

    Raises
    ------
    PathaiError
        E193 if nothing there stands out: point at another place, or draw a box.
    """
    width, height = (2 * round(REACH_UM / v) for v in (pyramid.mpp.x, pyramid.mpp.y))
    view = Box(round(x_px0) - width / 2, round(y_px0) - height / 2, width, height)
    rgb = pyramid.read(view)
    mask = (by or Classical()).at(rgb, x_px0 - view.x, y_px0 - view.y, pyramid.mpp)
    return _outline(mask, view, pyramid.mpp, "at this point")


def outline_in(pyramid: Pyramid, box: Box, by: Outliner | None = None) -> Outline:
    """Outline of the object in a box, at the level where the box is `BOX_PX` px long.

    Parameters
    ----------
    pyramid : Pyramid
        The slide.
    box : Box
        Level-0 px.
    by : Outliner, optional
        Who finds it; `Classical` by default.

    Raises
    ------
    PathaiError
        E193 if nothing there stands out: draw the box closer around the object.
    """
    if min(box.width, box.height) < 3:
        raise PathaiError("E193", "the box is empty", "drag it around the object")
    margin = AROUND * max(box.width, box.height)
    view = Box(box.x - margin, box.y - margin, box.width + 2 * margin, box.height + 2 * margin)
    step = max(max(box.width, box.height) / BOX_PX, 1.0)
    size = Size(max(round(view.width / step), 8), max(round(view.height / step), 8))
    rgb = pyramid.read_at(view, size)
    kx, ky = size.width / view.width, size.height / view.height
    inner = Box(margin * kx, margin * ky, box.width * kx, box.height * ky)
    return _outline((by or Classical()).within(rgb, inner), view, pyramid.mpp, "in this box")


def _outline(mask: Bools, view: Box, mpp: Mpp, where: str) -> Outline:
    import shapely

    ring = ring_of(mask, view)
    shape = shapely.make_valid(shapely.Polygon(ring)) if len(ring) >= 3 else shapely.Polygon()
    if shape.area * mpp.x * mpp.y < SMALLEST_UM2:
        remedy = "point at the middle of the object, or drag a box close around it"
        raise PathaiError("E193", f"nothing stands out {where}", remedy)
    return Outline(ring, float(shape.area) * mpp.x * mpp.y)
