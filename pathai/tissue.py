"""Where the tissue is, from a small image of the whole slide at about 8 µm per pixel.

Works on optical density and its spread over the channels, relative to the slide's own white, so
one rule serves H&E, DAB and pale tissue. Ink and dark fill are classes of their own.

References
----------
Otsu N. A threshold selection method from gray-level histograms. IEEE Trans Syst Man Cybern 1979.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pathai.errors import PathaiError
from pathai.store.records import BACKGROUND, DARK, PEN, TISSUE, UNREADABLE, TissueMap
from pathai.units import Box, Mpp, Size

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Floats = NDArray[np.float32]
Read = Callable[[Box, int], tuple[Pixels, Mask]]

BLOCK_PX = 2048
"""Edge of what is read at once, px of the level read."""
SCORE_RANGE = (0.025, 0.04)
"""Bounds of the threshold on color with a little density: glass and shadows lie below."""
GRAY = 0.12
"""Color below this share of the density is gray: edge and shadow of the cover slip, dust."""
PALE = 0.045
"""Density plus color of the palest tissue that is kept where it surrounds stained tissue."""
SEED_SHARE = 0.3
"""Share of a pale region that must be stained."""
HOLE_UM2 = 40_000.0
"""Holes up to this size belong to the tissue (lumina, fat)."""
CLOSE_UM = 16.0
"""Gaps up to twice this wide are closed."""
SPECK_UM2 = 6_000.0
"""Tissue below this size is dust."""
PEN_UM2 = 10_000.0
"""Ink below this size is a colored cell or crystal."""
BLACK_FILL = 12
"""Pixels at or below this gray level were never glass (unscanned or edge of the slide)."""


@dataclass(frozen=True)
class Overview:
    """A small image of the whole slide.

    Parameters
    ----------
    rgb : uint8[h, w, 3]
        Mean of the valid pixels below each map pixel; white where there are none.
    valid : float32[h, w]
        Share of valid pixels.
    downsample : float
        Level-0 px per map px.
    mpp : Mpp
        µm per map px.
    edge : (float, float)
        Share of the last column and row that lies on the slide.
    """

    rgb: Pixels
    valid: Floats
    downsample: float
    mpp: Mpp
    edge: tuple[float, float] = (1.0, 1.0)


def overview(
    read: Read, levels: Sequence[tuple[Size, float]], mpp: Mpp, target_um: float
) -> Overview:
    """Reduce a slide to about ``target_um`` per pixel, in bounded memory.

    Starts from the coarsest level that is fine enough and takes means over whole pixels; a slide
    of one level is streamed block by block.

    Parameters
    ----------
    read : callable
        Box (level-0 px) and level to pixels and their validity.
    levels : sequence of (Size, float)
        Size and downsample of each level.
    mpp : Mpp
        µm per level-0 px.
    target_um : float
        Wanted µm per map px.

    Returns
    -------
    Overview
        Unreadable blocks are invalid, not an error.
    """
    fits = [k for k, (_, d) in enumerate(levels) if d * mpp.mean <= target_um * 1.25]
    level = max(fits, key=lambda k: levels[k][1], default=0)
    size, downsample = levels[level]
    factor = max(1, round(target_um / (downsample * mpp.mean)))
    shape = -(-size.height // factor), -(-size.width // factor)
    rgb = np.full((*shape, 3), 255, np.uint8)
    valid = np.zeros(shape, np.float32)
    ratio = levels[0][0].width / size.width, levels[0][0].height / size.height
    step = max(BLOCK_PX // factor, 1) * factor
    for x, y, width, height in _blocks(0, 0, size.width, size.height, step):
        for part in _read_or_split(read, level, ratio, (x, y, width, height), factor):
            (left, top), pixels, known = part
            mean, share = _reduce(pixels, known, factor)
            rows = slice(top // factor, top // factor + mean.shape[0])
            columns = slice(left // factor, left // factor + mean.shape[1])
            rgb[rows, columns], valid[rows, columns] = mean, share
    total = downsample * factor
    edge = (size.width / factor - shape[1] + 1, size.height / factor - shape[0] + 1)
    return Overview(rgb, valid, total, mpp.scaled(total), edge)


Rectangle = tuple[int, int, int, int]


def _blocks(x: int, y: int, width: int, height: int, step: int) -> Iterator[Rectangle]:
    for top in range(y, y + height, step):
        for left in range(x, x + width, step):
            yield left, top, min(step, x + width - left), min(step, y + height - top)


def _read_or_split(
    read: Read, level: int, ratio: tuple[float, float], place: Rectangle, factor: int
) -> Iterator[tuple[tuple[int, int], Pixels, Mask]]:
    """Parts of a block that can be read; what cannot be read at 128 px or so is left out."""
    x, y, width, height = place
    box = Box(x * ratio[0], y * ratio[1], width * ratio[0], height * ratio[1])
    try:
        pixels, known = read(box, level)
    except PathaiError as error:
        if error.code != "E162":
            raise
        smallest = max(128 // factor, 1) * factor
        if max(width, height) > smallest:
            step = max(max(width, height) // 4 // factor * factor, smallest)
            for part in _blocks(*place, step):
                yield from _read_or_split(read, level, ratio, part, factor)
    else:
        yield (x, y), pixels, known


def _reduce(pixels: Pixels, known: Mask, factor: int) -> tuple[Pixels, Floats]:
    """Means over ``factor`` x ``factor`` pixels; a partial last row counts what it has."""
    height, width = known.shape
    pad = (0, -height % factor), (0, -width % factor)
    inside = np.pad(np.ones_like(known), pad).astype(np.uint32)
    weight = np.pad(known, pad).astype(np.uint32)
    shape = inside.shape[0] // factor, factor, inside.shape[1] // factor, factor
    count = weight.reshape(shape).sum(axis=(1, 3))
    out = np.full((shape[0], shape[2], 3), 255, np.uint8)
    for channel in range(3):
        plane = np.pad(pixels[..., channel] * known, pad).reshape(shape)
        sums = plane.sum(axis=(1, 3), dtype=np.uint32)
        mean = (sums + count // 2) // np.maximum(count, 1)
        out[..., channel] = np.where(count > 0, mean, 255)
    share = count / np.maximum(inside.reshape(shape).sum(axis=(1, 3)), 1)
    return out, share.astype(np.float32)


def dark_background(view: Overview) -> bool:
    """Whether the slide is bright on dark (fluorescence), which bright-field rules cannot read."""
    seen = view.rgb[view.valid > 0.5]
    if not len(seen):
        return False
    return bool((seen.max(axis=1) < 70).mean() > 0.5 and (seen.min(axis=1) > 150).mean() < 0.05)


def tissue_map(view: Overview, *, sparse: bool = False) -> TissueMap:
    """Classify every pixel of an overview.

    Parameters
    ----------
    view : Overview
        From `overview`.
    sparse : bool
        Regions without pixels are unscanned glass by design of the format, not damage.

    Returns
    -------
    TissueMap
        background, tissue, pen, dark (black fill) or unreadable.
    """
    from scipy import ndimage

    area = view.mpp.x * view.mpp.y
    known = view.valid > 0.5
    rgb = view.rgb.astype(np.float32)
    fill = known & (view.rgb.max(axis=2) <= BLACK_FILL)
    pen = known & ~fill & _ink(rgb)
    pen = ndimage.binary_closing(pen, iterations=1) & known & ~fill
    pen = _without_small(pen, PEN_UM2 / area)
    pen = ndimage.binary_dilation(pen, iterations=2) & known & ~fill
    density, color = _densities(rgb, known & ~fill)
    density, color = (ndimage.gaussian_filter(plane, 0.7) for plane in (density, color))
    free = known & ~fill & ~pen & (color > GRAY * density)
    score = density / 4 + color
    seeds = free & (score > _threshold(score[free]))
    found = seeds | _with_seeds(free & (density + color > PALE), seeds)
    found = _without_small(found, SPECK_UM2 / area)
    # Fat at the border is open by a pixel or two: close it, so that it counts as a hole.
    found |= ndimage.binary_closing(found, iterations=max(1, round(CLOSE_UM / view.mpp.mean)))
    found = _without_small_holes(found, HOLE_UM2 / area) & known & ~fill & ~pen
    classes = np.full(known.shape, BACKGROUND, np.uint8)
    classes[found] = TISSUE
    classes[pen] = PEN
    classes[fill] = DARK
    if not sparse:
        classes[~known] = UNREADABLE
    return TissueMap(classes, view.downsample, view.mpp, view.edge)


def _densities(rgb: Floats, known: Mask) -> tuple[Floats, Floats]:
    """Mean optical density, and its spread over the channels, against the slide's own white.

    The edge of a cover slip, its shadow and dust are gray: they have the first, not the second.
    """
    bright = rgb[known & (rgb.min(axis=2) > 170)]
    white = np.full(3, 245.0, np.float32)
    if len(bright) >= 50:
        white = np.clip(np.percentile(bright, 85, axis=0), 205, 255).astype(np.float32)
    density = np.clip(-np.log10(np.clip(rgb, 1, None) / white), 0, None)
    density[~known] = 0
    spread = density.max(axis=2) - density.min(axis=2)
    return density.mean(axis=2).astype(np.float32), spread.astype(np.float32)


def _with_seeds(mask: Mask, seeds: Mask) -> Mask:
    """Connected parts of a mask of which enough are seeds: pale tissue around stained nuclei."""
    from scipy import ndimage

    labels, count = ndimage.label(mask)
    share = np.bincount(labels[seeds & mask], minlength=count + 1) / np.maximum(
        np.bincount(labels.ravel(), minlength=count + 1), 1
    )
    keep = share >= SEED_SHARE
    keep[0] = False
    kept: Mask = keep[labels]
    return kept


def _threshold(values: Floats) -> float:
    """Otsu's threshold within `SCORE_RANGE`."""
    low, high = SCORE_RANGE
    if not len(values):
        return high
    counts, edges = np.histogram(np.clip(values, 0, 1), bins=256, range=(0, 1))
    centers = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * centers)
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = sums / below - (sums[-1] - sums) / above
    between = np.nan_to_num(below * above * gap**2)
    return float(np.clip(edges[1:][int(np.argmax(between))], low, high))


def _ink(rgb: Floats) -> Mask:
    """Colors of marker pens that neither H&E nor DAB makes at 8 µm per pixel."""
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    top, low = rgb.max(axis=2), rgb.min(axis=2)
    saturation = (top - low) / np.maximum(top, 1)
    is_green = (green > red + 15) & (green > blue - 8) & (saturation > 0.2)
    is_blue = (blue > red + 60) & (green > red + 10) & (saturation > 0.5)
    is_blue |= (blue > red + 100) & (saturation > 0.85)
    # Red ink takes green and blue light alike; eosin hardly takes blue.
    od_red, od_green, od_blue = (2.4 - np.log10(np.maximum(c, 1)) for c in (red, green, blue))
    is_red = (red > 110) & (od_green > 0.45) & (od_blue > 0.68 * od_green)
    is_red &= od_red < 0.4 * od_green
    is_black = (top < 90) & (top - low < 28)
    return np.asarray(is_green | is_blue | is_red | is_black, bool)


def _without_small(mask: Mask, smallest: float) -> Mask:
    from scipy import ndimage

    labels, count = ndimage.label(mask)
    if not count:
        return mask
    sizes = np.bincount(labels.ravel())
    keep = sizes >= smallest
    keep[0] = False
    kept: Mask = keep[labels]
    return kept


def _without_small_holes(mask: Mask, largest: float) -> Mask:
    from scipy import ndimage

    labels, _ = ndimage.label(~mask)
    sizes = np.bincount(labels.ravel())
    fill = sizes <= largest
    fill[0] = False
    # A gap at the edge of the map may go on outside: it is no hole.
    edge = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    fill[np.unique(edge)] = False
    filled: Mask = mask | fill[labels]
    return filled
