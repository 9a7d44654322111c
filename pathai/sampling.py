"""Pixels from all over a slide's tissue, for statistics that belong to the slide as a whole."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import minimum_filter

from pathai.store.pyramid import Pyramid
from pathai.store.records import TISSUE, TissueMap

U8 = NDArray[np.uint8]


def sample(pyramid: Pyramid, tissue: TissueMap, level: int, windows: int = 24) -> U8:
    """Tissue from all over a slide, ``uint8[windows * 256, 256, 3]``.

    Two of three windows lie around map pixels that are evenly spaced in the list of all tissue,
    one of three around tissue at its border, where glass shows what the light is.
    """
    inside = tissue.classes == TISSUE
    rim = inside & ~minimum_filter(inside, 5, mode="constant", cval=0)
    step = tissue.downsample / pyramid.downsamples[level]
    parts = []
    for mask, count in ((inside, windows - windows // 3), (rim, windows // 3)):
        row, column = np.nonzero(mask)
        for i in np.unique(np.linspace(0, len(row) - 1, count if len(row) else 0).astype(int)):
            x, y = (int((v[i] + 0.5) * step) - 128 for v in (column, row))
            parts.append(pyramid.levels[level].read_px(x, y, 256, 256))
    return np.concatenate(parts) if parts else np.full((1, 1, 3), 255, np.uint8)
