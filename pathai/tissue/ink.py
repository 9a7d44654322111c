"""Ink of marker pens of any color, on glass and on tissue."""

import numpy as np

from pathai.tissue.parts import Parts, closed, dilated, without_small
from pathai.tissue.reading import Mask

GROW_PX = 40
"""Map pixels by which certain ink grows into pixels that are only likely to be ink."""
CERTAIN_SHARE = 0.2
"""Share of a stroke that must be certain."""


def find_ink(certain: Mask, likely: Mask, usable: Mask, smallest: float) -> Mask:
    """Strokes of ink.

    Ink multiplies with the tissue below it. So certain colors are the start, and grow into
    neighbors of likely colors.

    Parameters
    ----------
    certain, likely : bool[h, w]
        As in `pathai.tissue.colors.Colors`.
    usable : bool[h, w]
        Pixels with a picture.
    smallest : float
        Fewer pixels are a colored cell or crystal.
    """
    certain = without_small(closed(certain & usable, 1) & usable, CERTAIN_SHARE * smallest)
    if not certain.any():
        return certain
    parts = Parts(certain | (likely & usable & dilated(certain, GROW_PX)))
    enough = parts.sums(certain) >= CERTAIN_SHARE * np.maximum(parts.areas, smallest)
    return closed(parts.select(enough & (parts.areas >= smallest)), 1) & usable
