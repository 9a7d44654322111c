"""Tissue, ink, coverslip edge and dark fill, from one pixel of the overview and its neighbors.

References
----------
Otsu N. A threshold selection method from gray-level histograms. IEEE Trans Syst Man Cybern 1979.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pathai.store.records import BACKGROUND, DARK, EDGE, PEN, TISSUE, UNREADABLE, TissueMap
from pathai.tissue.colors import Colors, Density, colors_of, white_of
from pathai.tissue.grain import BLOCK, Grain, box_mean, grain_of
from pathai.tissue.ink import find_ink
from pathai.tissue.parts import Parts, closed, dilated, without_small, without_small_holes
from pathai.tissue.reading import Floats, Mask, Overview

SCORE_RANGE = (25, 40)
"""Bounds of the threshold on color with a little density: glass and shadows lie below."""
GRAY = 8
"""Color below this part of the density (1/8) is gray: edge and shadow of the cover slip, dust."""
PALE = 45
"""Density plus color of the palest tissue that is kept where it surrounds stained tissue."""
SEED_SHARE = 0.3
"""Share of a pale region that must be stained."""
HOLE_UM2 = 40_000.0
"""Holes up to this size belong to the tissue (lumina, fat)."""
CLOSE_UM = 16.0
"""Gaps up to twice this wide are closed."""
SPECK_UM2 = 6_000.0
"""Tissue below this size is dust."""
WEB = 3.0
"""Slope between fine pixels, gray levels, above which there is structure, not bare glass."""
WEB_MEAN = 5.0
"""The same for the mean over 50 µm, which JPEG's noise on glass does not reach."""
WEB_REACH_UM = 400.0
"""How far from stained tissue a faint web is believed."""
WEB_GAP_UM = 64.0
"""Gaps in a faint web up to this wide are closed: cells of fat."""
RINGING = 0.12
"""Share of the slope of an edge that JPEG leaves around it."""
BARE = 8
"""Density of bare glass at most."""
RIM = 12
"""Density below which the outermost pixels of the tissue are glass after all."""
GRAY_EDGE = 60
"""Density of a coverslip's edge."""
EDGE_UM = 800.0
"""Shorter gray lines are dust, hair or the rim of a bubble."""
EDGE_WIDTH = 0.1
"""Mean width of a coverslip's edge at most, as a share of its length."""
EDGE_BLACK = 0.6
"""Share of black pixels from which on a line is ink."""
HALO_PX = 2
"""Width of the soft edge of ink, map px."""
PEN_UM2 = 10_000.0
"""Ink below this size is a colored cell or crystal."""


@dataclass(frozen=True)
class Stained:
    """What color and density of the overview tell.

    Parameters
    ----------
    usable, fill, edge, ink, halo, found : bool[h, w]
        Pixels with a picture; black fill; edge of the coverslip; ink; ink with its
        soft edge; stained tissue.
    density, color : int16[h, w]
        As in `pathai.tissue.colors.Colors`.
    white : float32[3]
        Light through bare glass.
    """

    usable: Mask
    fill: Mask
    edge: Mask
    ink: Mask
    halo: Mask
    found: Mask
    density: Density
    color: Density
    white: NDArray[np.float32]


def stained(view: Overview, *, pen: bool = True, coverslip: bool = True) -> Stained:
    """Stained tissue, ink and black fill of an overview.

    Parameters
    ----------
    view : Overview
        From `overview`.
    pen : bool
        Whether ink is sought.
    coverslip : bool
        Whether the edge of a coverslip is sought.
    """
    area = view.mpp.x * view.mpp.y
    known = view.valid > 0.5
    white = white_of(view.rgb, known)
    colors = colors_of(view.rgb, white)
    density, color = colors.density, colors.color
    fill = known & colors.filled
    usable = known & ~fill
    edge, ink = np.zeros((2, *known.shape), bool)
    if coverslip:
        edge = _coverslip(colors, usable, view.mpp.mean)
    if pen:
        ink = find_ink(colors.ink, colors.likely, usable & ~edge, PEN_UM2 / area)
    halo = dilated(ink, HALO_PX) if ink.any() else ink
    colored = usable & (GRAY * color > density)
    free = colored & ~halo & ~edge
    score = (density >> 2) + color
    threshold = _threshold(score[::2, ::2][free[::2, ::2]])
    seeds = free & (score > threshold)
    found = seeds | _with_seeds(free & (density + color > PALE), seeds)
    found = without_small(found, SPECK_UM2 / area)
    if ink.any():  # the soft edge of a stroke is tissue only where there is tissue beside it
        soft = colored & halo & ~ink & ~edge & (score > threshold)
        found |= soft & dilated(found, HALO_PX + 1)
    return Stained(usable, fill, edge, ink, halo, found, density, color, white)


def tissue_classes(
    view: Overview, first: Stained, grain: Grain | None, *, sparse: bool = False
) -> TissueMap:
    """The map without blur, folds and bubbles.

    Parameters
    ----------
    view : Overview
        As given to `stained`.
    first : Stained
        From `stained`.
    grain : Grain, optional
        Fine structure, by which fat and other very pale tissue is found.
    sparse : bool
        Regions without pixels are unscanned glass by design of the format, not damage.

    Returns
    -------
    TissueMap
        background, tissue, pen, edge, dark (black fill) or unreadable.
    """
    area = view.mpp.x * view.mpp.y
    found = first.found
    if grain is not None and found.any():
        found = found | _webbed(first, grain, view.mpp.mean)
    # Fat at the border is open by a pixel or two: close it, so that it counts as a hole.
    found = closed(found, max(1, round(CLOSE_UM / view.mpp.mean)))
    spoiled = first.ink | first.edge
    found = without_small_holes(found | spoiled, HOLE_UM2 / area) & first.usable & ~spoiled
    found &= ~first.halo | first.found
    found &= ~((first.density < RIM) & dilated(~(found | spoiled), 1))
    classes = np.full(found.shape, BACKGROUND, np.uint8)
    classes[found] = TISSUE
    classes[first.ink] = PEN
    classes[first.edge] = EDGE
    classes[first.fill] = DARK
    if not sparse:
        classes[view.valid <= 0.5] = UNREADABLE
    return TissueMap(classes, view.downsample, view.mpp, view.edge)


def tissue_map(view: Overview, *, sparse: bool = False) -> TissueMap:
    """Classify every pixel of an overview by itself: see `stained` and `tissue_classes`."""
    grain = grain_of(view) if view.fine is not None else None
    return tissue_classes(view, stained(view), grain, sparse=sparse)


def _webbed(first: Stained, grain: Grain, map_um: float) -> Mask:
    """Very pale tissue beside stained tissue: a web of faint lines, which bare glass has not."""
    shape = first.found.shape
    coarse_um = BLOCK * map_um
    seen = _any(first.found)
    gray = _any((first.density > 40) & (GRAY * first.color <= first.density))
    bare = grain.slope[~_any(first.density >= BARE)]
    floor = max(WEB, 4 * float(np.quantile(bare, 0.6))) if bare.size else WEB
    # JPEG rings along every sharp edge: beside one, more is asked for.
    sharp = RINGING * _highest(grain.slope)
    web = (grain.slope > np.maximum(sharp, floor)) & (box_mean(grain.slope, 1) > WEB_MEAN) & ~gray
    web &= ~_any(first.halo | first.edge) & dilated(seen, round(WEB_REACH_UM / coarse_um))
    web = closed(web | seen, max(1, round(WEB_GAP_UM / 2 / coarse_um)))
    parts = Parts(web)
    web = parts.select(parts.sums(seen) > 0)
    large = web.repeat(BLOCK, axis=0).repeat(BLOCK, axis=1)
    return np.asarray(large[: shape[0], : shape[1]])


def _highest(image: Floats) -> Floats:
    """Highest of 3 x 3 pixels."""
    wide = np.pad(image, 1, mode="edge")
    rows = np.maximum(np.maximum(wide[:-2], wide[1:-1]), wide[2:])
    return np.maximum(np.maximum(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:])


def _any(mask: Mask) -> Mask:
    """Whether any of `BLOCK` x `BLOCK` map pixels is True."""
    height, width = (-(-n // BLOCK) for n in mask.shape)
    even = np.zeros((height * BLOCK, width * BLOCK), bool)
    even[: mask.shape[0], : mask.shape[1]] = mask
    out = np.zeros((height, width), bool)
    for y in range(BLOCK):
        for x in range(BLOCK):
            out |= even[y::BLOCK, x::BLOCK]
    return out


def _coverslip(colors: Colors, usable: Mask, map_um: float) -> Mask:
    """Long, thin, gray lines: the edge of a coverslip; a stroke of black ink is black all over."""
    black = usable & colors.black
    gray = (usable & (colors.density > GRAY_EDGE) & (5 * colors.color <= colors.density)) | black
    parts = Parts(closed(gray, 1))
    box = parts.boxes()
    length = np.hypot(box[:, 1] - box[:, 0], box[:, 3] - box[:, 2])
    line = (length * map_um >= EDGE_UM) & (parts.areas <= EDGE_WIDTH * length**2)
    line &= parts.sums(black) < EDGE_BLACK * parts.areas
    return dilated(parts.select(line), 1) & usable if line.any() else np.zeros_like(usable)


def _with_seeds(mask: Mask, seeds: Mask) -> Mask:
    """Connected parts of a mask of which enough are seeds: pale tissue around stained nuclei."""
    parts = Parts(mask)
    return parts.select(parts.sums(seeds) >= SEED_SHARE * parts.areas)


def _threshold(values: Density) -> int:
    """Otsu's threshold within `SCORE_RANGE`."""
    low, high = SCORE_RANGE
    if not len(values):
        return high
    counts = np.bincount(np.minimum(values, 1023) >> 2, minlength=256)
    centers = np.arange(256) * 4.0 + 1.5
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * centers)
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = sums / below - (sums[-1] - sums) / above
    between = np.nan_to_num(below * above * gap**2)
    return int(np.clip(4 * int(np.argmax(between)) + 4, low, high))
