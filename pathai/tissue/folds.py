"""Folds: strips in which the tissue lies on itself and is twice as dense.

A strip that is darker than what lies on both sides of it starts a search in the fine image, where
its two edges are followed.

References
----------
Kothari S et al. Eliminating tissue-fold artifacts in histopathological whole-slide images.
J Pathol Inform 2013;4:22. (Folds are known by density against the same slide's tissue.)
"""

import numpy as np
from numpy.typing import NDArray

from pathai.tissue.colors import Density
from pathai.tissue.fold_edges import Strip, follow
from pathai.tissue.grain import BLOCK
from pathai.tissue.parts import Parts
from pathai.tissue.reading import Mask, Overview

TURNS = 8
"""Directions tried."""
LENGTH_UM, BESIDE_UM = 112.0, (40.0, 56.0)
"""Length of the strip looked for, and how far to its sides the tissue beside it lies."""
TYPICAL = 1.1
"""A fold stands out this much more than the 95th percentile of all tissue of the slide."""
GROW = 0.6
"""Share of the starting contrast at which a candidate ends."""
LONG = 10.0
"""A candidate that is not longer than wide by the root of this is several that touch."""
PIECE_UM = 240.0
"""Half length of what is followed at once: longer candidates are divided."""
MOST = 12
"""Candidates that are looked at closely, the strongest first."""
PALEST = 40.0
"""Median density of tissue is taken as at least this."""
START = 0.75
"""Share of the wanted contrast with which a search starts: the strip's filter is blunt."""


def find_folds(view: Overview, density: Density, tissue: Mask, contrast: float) -> Mask:
    """Folds in the tissue.

    Parameters
    ----------
    view : Overview
        With its fine image.
    density : int16[h, w]
        1000 times optical density of the map pixels.
    tissue : bool[h, w]
        Where to look.
    contrast : float
        How much denser a fold is than the tissue on both sides, as a share of the median density
        of the slide's tissue.

    Returns
    -------
    bool[h, w]
    """
    out = np.zeros_like(tissue)
    if view.fine is None or not tissue.any():
        return out
    small = _halved(density)
    inside = _halved(tissue.astype(np.int16) * 4) > 2
    score, turn = _strips(small, BLOCK * view.mpp.mean)
    score[~inside] = 0
    some = score[inside]
    usual = float(np.quantile(some[:: max(1, len(some) // 20_000)], 0.95)) if len(some) else 0.0
    some = small[inside]
    typical = float(np.median(some[:: max(1, len(some) // 20_000)])) if len(some) else 0.0
    typical = max(typical, PALEST)
    wanted = max(START * contrast * typical, TYPICAL * usual)
    strips = _candidates(score, turn, wanted, view.mpp.mean)
    for fold in follow(view, strips, contrast, typical):
        if 2 * int((fold & tissue).sum()) > int(fold.sum()):
            out |= fold
    return out & tissue


def _halved(image: Density) -> NDArray[np.int16]:
    """Means over `BLOCK` x `BLOCK` map pixels."""
    height, width = (-(-n // BLOCK) * BLOCK for n in image.shape)
    pad = (0, height - image.shape[0]), (0, width - image.shape[1])
    even = np.pad(image, pad, mode="edge")
    return (even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) >> 2


def _strips(image: NDArray[np.int16], um: float) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """How much darker a strip through each pixel is than both its sides; best direction."""
    count = max(3, round(LENGTH_UM / um))
    margin = round((LENGTH_UM / 2 + BESIDE_UM[-1]) / um) + 1
    wide = np.pad(np.minimum(image, 32_000 // count), margin, mode="edge")
    best = np.zeros(image.shape, np.int16)
    turn = np.zeros(image.shape, np.uint8)
    places = np.linspace(-LENGTH_UM / 2, LENGTH_UM / 2, count) / um
    reach = margin - int(np.ceil(LENGTH_UM / 2 / um))
    shape = tuple(n + 2 * reach for n in image.shape)
    for k in range(TURNS):
        angle = np.pi * k / TURNS
        along = np.array([np.sin(angle), np.cos(angle)])
        across = np.array([np.cos(angle), -np.sin(angle)])
        line = np.zeros(shape, np.int16)
        for place in places:
            y, x = np.rint(along * place).astype(int) + margin - reach
            line += wide[y : y + shape[0], x : x + shape[1]]
        here = _part(line, reach, 0, 0, image.shape)
        for beside in BESIDE_UM:
            y, x = np.rint(across * beside / um).astype(int)
            more = here - np.maximum(
                _part(line, reach, y, x, image.shape), _part(line, reach, -y, -x, image.shape)
            )
            np.copyto(turn, np.uint8(k), where=more > best)
            np.maximum(best, more, out=best)
    return best // np.int16(count), turn


def _part(
    line: NDArray[np.int16], reach: int, y: int, x: int, shape: tuple[int, ...]
) -> NDArray[np.int16]:
    top, left = reach + y, reach + x
    return line[top : top + shape[0], left : left + shape[1]]


def _candidates(
    score: NDArray[np.int16], turn: NDArray[np.uint8], wanted: float, map_um: float
) -> list[Strip]:
    """Connected places of enough contrast with a strong one among them, strongest first."""
    parts = Parts(score > int(GROW * wanted))
    peaks = parts.peaks(score)
    strongest = np.argsort(-peaks, kind="stable")[:MOST]
    found = []
    for k in strongest[peaks[strongest] > wanted]:
        rows, columns, inside = parts.piece(int(k))
        here = np.where(inside, score[rows, columns], 0)
        peak = np.unravel_index(int(np.argmax(here)), here.shape)
        angle = np.pi * float(turn[rows, columns][peak]) / TURNS
        y, x = np.nonzero(inside)
        weight = here[y, x].astype(np.float64)
        center = np.array([np.average(y, weights=weight), np.average(x, weights=weight)])
        offset = np.stack([y, x], 1) - center
        along = np.array([np.sin(angle), np.cos(angle)])
        spread, axes = np.linalg.eigh((offset * weight[:, None]).T @ offset)
        if spread[1] > LONG * spread[0]:
            along = axes[:, 1]
        else:  # several strips that touch: the strongest place tells
            center = np.array([float(peak[0]), float(peak[1])])
            offset = np.stack([y, x], 1) - center
        half = (float(np.abs(offset @ along).max()) + 1) * BLOCK
        place = (center + np.array([rows.start + 0.5, columns.start + 0.5])) * BLOCK
        pieces = int(np.ceil(half * map_um / PIECE_UM))
        for shift in (2 * np.arange(pieces) + 1 - pieces) * half / pieces:
            found.append(Strip(place + shift * along, along, half / pieces))
    return found[:MOST]
