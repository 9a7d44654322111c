"""Ink of marker pens of any color, on glass and on tissue."""

import numpy as np
from numpy.typing import NDArray

from pathai.tissue.overview import Mask, Pixels, spread
from pathai.tissue.parts import Parts, closed, dilated, without_small

GROW_PX = 40
"""Map pixels by which certain ink grows into pixels that are only likely to be ink."""
CERTAIN_SHARE = 0.2
"""Share of a stroke that must be certain."""


def find_ink(
    rgb: Pixels, planes: list[NDArray[np.int16]], usable: Mask, smallest: float
) -> Mask:
    """Ink that neither H&E nor DAB resembles at 8 µm per pixel.

    Ink multiplies with the tissue below it. So certain colors are the start, and grow into
    neighbors of likely colors.

    Parameters
    ----------
    rgb : uint8[h, w, 3]
        Overview.
    planes : list of int16[h, w]
        1000 times the optical density of red, green, blue.
    usable : bool[h, w]
        Pixels with a picture.
    smallest : float
        Fewer pixels are a colored cell or crystal.
    """
    certain = closed(_certain(rgb, planes) & usable, 1) & usable
    certain = without_small(certain, CERTAIN_SHARE * smallest)
    if not certain.any():
        return certain
    likely = _likely(rgb, planes) & usable & dilated(certain, GROW_PX)
    parts = Parts(certain | likely)
    enough = parts.sums(certain) >= CERTAIN_SHARE * np.maximum(parts.areas, smallest)
    ink = parts.select(enough & (parts.areas >= smallest))
    return closed(ink, 1) & usable


def _certain(rgb: Pixels, planes: list[NDArray[np.int16]]) -> Mask:
    red, green, blue = planes  # at most 2400, so that ten times as much is still an int16
    top, low = spread(rgb)
    # Green and blue ink take more red than green light; hematoxylin takes less.
    cold = (red > 250) & (15 * red > 16 * green) & (red > 2 * blue)
    cold |= (red > 120) & (2 * red > 3 * green) & (blue > green - 15)
    # Red ink takes green and blue light alike; eosin hardly takes blue.
    warm = (green > 420) & (3 * blue > 2 * green) & (4 * red < green)
    black = (top < 90) & (top - low < 28)
    return np.asarray(cold | warm | black, bool)


def _likely(rgb: Pixels, planes: list[NDArray[np.int16]]) -> Mask:
    red, green, blue = planes
    top, low = spread(rgb)
    cold = (red > 180) & (2 * red > green + blue) & (3 * red > 2 * green)
    few = green[::4, ::4], blue[::4, ::4]
    stained = (few[0] > 100) & (few[0] < 400)
    usual = float(np.median(few[1][stained] / few[0][stained])) if stained.any() else 0.55
    bluish = int(10 * max(usual + 0.07, 0.6) + 0.5)
    warm = (green > 120) & (10 * blue > bluish * green) & (5 * red < 2 * green)
    black = (top < 120) & (top - low < 40)
    return np.asarray(cold | warm | black, bool)
