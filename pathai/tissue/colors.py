"""What the color of each pixel of the overview tells by itself.

Densities are 1000 times optical density to base 10 against the slide's own white, as integers, and
not above 2000, so that sixteen times as much is still an int16. The image is worked on in bands
that fit a processor's cache.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pathai.tissue.reading import Mask, Pixels, spread

Density = NDArray[np.int16]

BAND = 64
"""Rows of a band."""
DENSEST = 2000
"""Densities above this are not told apart."""
BLACK_FILL = 12
"""Pixels at or below this gray level were never glass (unscanned or edge of the slide)."""


@dataclass(frozen=True)
class Colors:
    """Planes of an overview.

    Parameters
    ----------
    density, color : int16[h, w]
        Mean density, and its spread over the channels, as means over 3 x 3 pixels. The edge of a
        cover slip, its shadow and dust are gray: they have the first, not the second.
    filled : bool[h, w]
        Black that was never glass.
    black : bool[h, w]
        Black or nearly.
    ink, likely : bool[h, w]
        Colors of ink that neither H&E nor DAB makes, and colors that ink may have.
    """

    density: Density
    color: Density
    filled: Mask
    black: Mask
    ink: Mask
    likely: Mask


def white_of(rgb: Pixels, known: Mask) -> NDArray[np.float32]:
    """Light through bare glass: ``float32[3]``, from the bright pixels of an overview."""
    step = max(1, min(rgb.shape[:2]) // 200)  # a percentile needs no more
    few = np.ascontiguousarray(rgb[::step, ::step])
    # Pure white is what scanners fill in where they did not look; it is no light.
    low = spread(few)[1]
    bright = few[known[::step, ::step] & (low > 170) & (low < 255)]
    if len(bright) < 50:
        bright = few[known[::step, ::step] & (low > 170)]
    if len(bright) < 50:
        return np.full(3, 245.0, np.float32)
    counts = [np.bincount(bright[:, c], minlength=256).cumsum() for c in range(3)]
    levels = [np.searchsorted(c, 0.85 * c[-1]) for c in counts]
    return np.asarray(np.clip(levels, 205, 255), np.float32)


def colors_of(rgb: Pixels, white: NDArray[np.float32]) -> Colors:
    """All planes of an overview.

    Parameters
    ----------
    rgb : uint8[h, w, 3]
        Overview.
    white : float32[3]
        Light through bare glass.
    """
    level = np.maximum(np.arange(256, dtype=np.float32), 1)
    tables = [np.clip(-1000 * np.log10(level / w), 0, DENSEST).astype(np.int16) for w in white]
    bluish = _bluish([table[rgb[::4, ::4, c]] for c, table in enumerate(tables)])
    height, width = rgb.shape[:2]
    density, color = np.empty((2, height, width), np.int16)
    filled, black, ink, likely = np.empty((4, height, width), bool)
    for start in range(0, height, BAND):
        stop = min(start + BAND, height)
        above, below = max(start - 1, 0), min(stop + 1, height)
        band = [np.ascontiguousarray(rgb[above:below, :, c]) for c in range(3)]
        planes = [table.take(plane) for table, plane in zip(tables, band, strict=True)]
        inner = slice(start - above, start - above + stop - start)
        for out, plane in zip((density, color), _densities(planes), strict=True):
            out[start:stop] = _smooth(plane)[inner]
        planes = [plane[inner] for plane in planes]
        top = np.maximum(np.maximum(band[0], band[1]), band[2])[inner]
        range_ = top - np.minimum(np.minimum(band[0], band[1]), band[2])[inner]
        filled[start:stop] = top <= BLACK_FILL
        black[start:stop] = (top < 90) & (range_ < 28)
        ink[start:stop] = _ink(planes) | black[start:stop]
        likely[start:stop] = _likely(planes, bluish) | ((top < 120) & (range_ < 40))
    return Colors(density, color, filled, black, ink, likely)


def _densities(planes: list[Density]) -> tuple[Density, Density]:
    top = np.maximum(np.maximum(planes[0], planes[1]), planes[2])
    low = np.minimum(np.minimum(planes[0], planes[1]), planes[2])
    return (planes[0] + planes[1] + planes[2]) // np.int16(3), top - low


def _smooth(plane: Density) -> Density:
    """Binomial mean over 3 x 3 pixels, like a Gaussian of 0.7 px."""
    padded = np.pad(plane, 1, mode="edge").astype(np.uint16)
    rows = padded[:-2] + padded[2:] + 2 * padded[1:-1]
    out = (rows[:, :-2] + rows[:, 2:] + 2 * rows[:, 1:-1]) >> 4
    return np.asarray(out, np.int16)


def _ink(planes: list[Density]) -> Mask:
    red, green, blue = planes
    # Green and blue ink take more red than green light; hematoxylin takes less.
    cold = (red > 250) & (15 * red > 16 * green) & (red > 2 * blue)
    cold |= (red > 120) & (2 * red > 3 * green) & (blue > green - 15)
    # Red ink takes green and blue light alike; eosin hardly takes blue.
    warm = (green > 420) & (3 * blue > 2 * green) & (4 * red < green)
    return np.asarray(cold | warm)


def _likely(planes: list[Density], bluish: int) -> Mask:
    red, green, blue = planes
    cold = (red > 180) & (2 * red > green + blue) & (3 * red > 2 * green)
    warm = (green > 120) & (10 * blue > bluish * green) & (5 * red < 2 * green)
    return np.asarray(cold | warm)


def _bluish(few: list[Density]) -> int:
    """Ten times the blue by green density from which on red is rather ink than a stain."""
    stained = (few[1] > 100) & (few[1] < 400)
    usual = float(np.median(few[2][stained] / few[1][stained])) if stained.any() else 0.55
    if usual > 0.8:  # no eosin, so that the red light tells ink apart
        usual = 0.55
    return int(10 * max(usual + 0.07, 0.6) + 0.5)
