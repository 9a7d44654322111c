"""Tissue that is out of focus.

Fine detail that is missing where coarser detail is there raises suspicion at 4 µm per pixel; a few
windows of about 1 µm per pixel then tell how soft the edges really are.

References
----------
Zhuo S, Sim T. Defocus map estimation from a single image. Pattern Recognition 2011;44:1852-1858.
(An edge blurred once more: the ratio of the slopes tells the first blur.)
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pathai.errors import PathaiError
from pathai.tissue.grain import BLOCK, Grain, box_mean
from pathai.tissue.parts import Parts, eroded, without_small_holes
from pathai.tissue.reading import Floats, Levels, Mask, Overview, Pixels, Read, coarsest
from pathai.units import Box, Mpp

WINDOW_UM = 48.0
"""Edge of a window that is looked at closely: small, so that it lies within a blurred place."""
CLOSE_UM = 1.0
"""µm per px of such a window, or a little more."""
AROUND = 1
"""Grain pixels on each side over which detail is averaged."""
SUSPECT, SUSPECT_SHARE = 0.54, 0.64
"""Fine by coarse detail below which focus is doubted; the same as a share of the slide's own."""
FAINT = 6.0
"""Slope below which there is too little to see, gray levels."""
LEAST_UM2 = 7_000.0
"""A doubtful place smaller than this is a smooth spot."""
HOLE_UM2 = 8_000.0
"""Seemingly sharp spots inside of a blurred place up to this size are blurred as well."""
MISSES = 6
"""Doubtful places, the largest first, that turn out sharp before the search is given up."""
PER_PLACE = 3
"""Windows per place."""
LEAST_PX = 12
"""A picture smaller than this tells nothing."""
AGAIN_PX = 1.5
"""Standard deviation of the second blur."""


def find_blur(
    view: Overview,
    grain: Grain,
    tissue: Mask,
    read: Read,
    levels: Levels,
    mpp: Mpp,
    least_um: float,
) -> Mask:
    """Tissue whose edges are softer than ``least_um``.

    Parameters
    ----------
    view : Overview
        As examined.
    grain : Grain
        From `grain_of`.
    tissue : bool[h, w]
        Where to look.
    read, levels, mpp
        As in `overview`.
    least_um : float
        Standard deviation of the blur of edges, µm.

    Returns
    -------
    bool[h, w]
    """
    out = np.zeros_like(tissue)
    level = coarsest(levels, mpp, CLOSE_UM)
    if levels[level][1] * mpp.mean > least_um or not tissue.any():
        return out
    inside = _shared(tissue) >= 0.5
    slope, finest = box_mean(grain.slope, AROUND), box_mean(grain.finest, AROUND)
    share = finest / (slope + 1)
    clear = inside & (slope > FAINT)
    some = share[clear]
    usual = float(np.median(some[:: max(1, len(some) // 20_000)])) if len(some) else 0.0
    doubt = clear & (share < max(SUSPECT, SUSPECT_SHARE * usual))
    um2 = BLOCK**2 * view.mpp.x * view.mpp.y
    parts = Parts(doubt)
    order = np.argsort(-parts.areas, kind="stable")
    misses, blurred = 0, np.zeros(parts.count, bool)
    for k in order[parts.areas[order] * um2 >= LEAST_UM2]:
        if misses >= MISSES:
            break
        spots = list(_spots(parts, int(k)))
        pictures = [window(view.downsample, spot, WINDOW_UM, read, levels, mpp) for spot in spots]
        widths = [edge_width(*picture) for picture in pictures if picture is not None]
        known = [w for w in widths if w is not None]
        blurred[k] = bool(known) and float(np.mean(known)) >= least_um
        misses += not blurred[k]
    if not blurred.any():
        return out
    found = box_mean(parts.select(blurred).astype(np.float32), 1) > 0.5
    found = without_small_holes(found, HOLE_UM2 / um2)
    large = found.repeat(BLOCK, axis=0).repeat(BLOCK, axis=1)
    return tissue & large[: out.shape[0], : out.shape[1]]


def _shared(mask: Mask) -> Floats:
    """Share of True in each square of `BLOCK` map pixels."""
    height, width = (-(-n // BLOCK) * BLOCK for n in mask.shape)
    even = np.zeros((height, width), np.uint8)
    even[: mask.shape[0], : mask.shape[1]] = mask
    rows = even[::BLOCK] + even[1::BLOCK]
    return np.asarray((rows[:, ::BLOCK] + rows[:, 1::BLOCK]) / BLOCK**2, np.float32)


def _spots(parts: Parts, number: int) -> Iterator[tuple[float, float]]:
    """Places (y, x in map px) well inside a part, spread over it."""
    top, left, piece = parts.piece(number)
    inner, depth = np.pad(piece, 1), 1  # the slide's end is an end of the part, too
    while (smaller := eroded(inner, depth)).any():
        inner, depth = smaller, 2 * depth
    rows, columns = (place - 1 for place in np.nonzero(inner))
    for place in np.unique(np.linspace(0, len(rows) - 1, PER_PLACE).astype(int)):
        y, x = float(rows[place] + top.start), float(columns[place] + left.start)
        yield (y + 0.5) * BLOCK, (x + 0.5) * BLOCK


def window(
    downsample: float,
    place: tuple[float, float],
    side_um: float,
    read: Read,
    levels: Levels,
    mpp: Mpp,
) -> tuple[Pixels, float] | None:
    """A picture at about 1 µm per px around a map pixel, and its µm per px.

    Parameters
    ----------
    downsample : float
        Level-0 px per map px.
    place : (float, float)
        y, x in map px.
    side_um : float
        Edge of the picture.
    read, levels, mpp
        As in `overview`.

    Returns
    -------
    (uint8[h, w, 3], float) or None
        None where it cannot be read or reaches over the slide's edge.
    """
    level = coarsest(levels, mpp, CLOSE_UM)
    side_x, side_y = side_um / mpp.x, side_um / mpp.y
    left, top = place[1] * downsample - side_x / 2, place[0] * downsample - side_y / 2
    try:
        pixels, known = read(Box(left, top, side_x, side_y), level)
    except PathaiError as error:
        if error.code != "E162":
            raise
        return None
    return (pixels, levels[level][1] * mpp.mean) if known.all() else None


def edge_width(rgb: Pixels, um: float) -> float | None:
    """How soft the strongest edges of a picture are.

    Parameters
    ----------
    rgb : uint8[h, w, 3]
        Picture of some ten µm.
    um : float
        µm per px.

    Returns
    -------
    float or None
        Standard deviation of the blur, µm; None where there are no edges.
    """
    from PIL import Image, ImageFilter

    image = Image.fromarray(np.ascontiguousarray(rgb[..., 1]))
    while um < 0.6 * CLOSE_UM:
        image, um = image.reduce(2), 2 * um
    if min(image.size) < LEAST_PX:
        return None
    again = image.filter(ImageFilter.GaussianBlur(AGAIN_PX))
    sharp, soft = (_slopes(np.asarray(one, np.float32)) for one in (image, again))
    strong = soft >= max(float(np.quantile(soft, 0.9)), 4.0)
    if strong.sum() < 20:
        return None
    ratio = float(sharp[strong].sum()) / float(soft[strong].sum())
    return um * AGAIN_PX / float(np.sqrt(max(ratio**2 - 1, 1e-2)))


def _slopes(image: NDArray[np.float32]) -> Floats:
    across = image[1:-1, 2:] - image[1:-1, :-2]
    down = image[2:, 1:-1] - image[:-2, 1:-1]
    return np.asarray(np.hypot(across, down), np.float32)
