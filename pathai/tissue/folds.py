"""Folds: strips in which the tissue lies on itself and is twice as dense.

A strip that is darker than what lies on both sides of it starts a search in the fine image, where
its two edges are followed.

References
----------
Kothari S et al. Eliminating tissue-fold artifacts in histopathological whole-slide images.
J Pathol Inform 2013;4:22. (Folds are known by density against the same slide's tissue.)
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pathai.tissue.grain import BLOCK
from pathai.tissue.overview import Floats, Mask, Overview
from pathai.tissue.parts import Parts

Density = NDArray[np.int16]

TURNS = 12
"""Directions tried."""
LENGTH_UM, BESIDE_UM = 112.0, (40.0, 56.0)
"""Length of the strip looked for, and how far to its sides the tissue beside it lies."""
TYPICAL = 1.2
"""A fold stands out this much more than the 95th percentile of all tissue of the slide."""
GROW = 0.6
"""Share of the wanted contrast at which a strip ends."""
MOST = 24
"""Candidates that are looked at closely, the strongest first."""
REACH_UM, SPARE_UM = 88.0, 120.0
"""Half width of the straightened picture, and its length beyond the candidate's ends."""
WIDTH_UM = (12.0, 64.0)
"""Widths of folds."""
SIDE_UM = 16.0
"""Width of what is compared on either side."""
ALONG = 2
"""Rows before and after with which a row of the straightened picture is averaged."""
STEP = np.float32(0.3)
"""Weight of the sharpness of both edges beside the contrast."""
PALE_SHARE = 0.7
"""Tissue beside a fold counts as at least this share of the slide's median density."""
SLENDER = 3.0
"""A fold is at least so many times longer than wide."""
FADED = 0.3
"""Share of its best contrast at which a fold ends."""
LEAST_UM, LONG_UM = 130.0, 200.0
"""A fold is at least this long; one that is longer than the second may be fainter."""
PALEST = 40.0
"""Median density of tissue is taken as at least this."""
START = 0.8
"""Share of the wanted contrast with which a search starts: the strip's filter is blunt."""


@dataclass(frozen=True)
class _Strip:
    """A candidate: center, direction and half length, in map px (y, x)."""

    center: NDArray[np.float64]
    along: NDArray[np.float64]
    half: float


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
    inside = _halved(tissue.astype(np.int16) * 1000) > 500
    score, turn = _strips(small, BLOCK * view.mpp.mean)
    score[~inside] = 0
    usual = float(np.quantile(score[inside], 0.95)) if inside.any() else 0.0
    typical = max(float(np.median(density[tissue])), PALEST)
    for strip in _candidates(score, turn, max(START * contrast * typical, TYPICAL * usual)):
        out |= _followed(view, strip, contrast, typical, tissue)
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
    margin = round((LENGTH_UM / 2 + BESIDE_UM[1]) / um) + 1
    wide = np.pad(image, margin, mode="edge")
    best = np.zeros(image.shape, np.int16)
    turn = np.zeros(image.shape, np.uint8)
    places = np.linspace(-LENGTH_UM / 2, LENGTH_UM / 2, count) / um
    for k in range(TURNS):
        angle = np.pi * k / TURNS
        along = np.array([np.sin(angle), np.cos(angle)])
        across = np.array([np.cos(angle), -np.sin(angle)])
        reach = margin - int(np.ceil(LENGTH_UM / 2 / um))
        line = np.zeros(tuple(n + 2 * reach for n in image.shape), np.int16)
        for place in places:
            y, x = np.rint(along * place).astype(int) + margin - reach
            line += wide[y : y + line.shape[0], x : x + line.shape[1]] // np.int16(count)
        here = _part(line, reach, 0, 0, image.shape)
        for beside in BESIDE_UM:
            y, x = np.rint(across * beside / um).astype(int)
            sides = np.maximum(
                _part(line, reach, y, x, image.shape), _part(line, reach, -y, -x, image.shape)
            )
            more = here - sides
            better = more > best
            np.copyto(best, more, where=better)
            turn[better] = k
    return best, turn


def _part(
    line: NDArray[np.int16], reach: int, y: int, x: int, shape: tuple[int, ...]
) -> NDArray[np.int16]:
    top, left = reach + y, reach + x
    return line[top : top + shape[0], left : left + shape[1]]


def _candidates(
    score: NDArray[np.int16], turn: NDArray[np.uint8], wanted: float
) -> list[_Strip]:
    """Connected places of enough contrast with a strong one among them, strongest first."""
    parts = Parts(score > GROW * wanted)
    if not parts.count:
        return []
    strong = np.flatnonzero(parts.sums(score > wanted) > 0)
    boxes = parts.boxes()
    found = []
    for k in strong:
        top, bottom, left, right = boxes[k]
        inside = parts.select(np.arange(parts.count) == k)[top:bottom, left:right]
        here = np.where(inside, score[top:bottom, left:right], 0)
        peak = np.unravel_index(int(np.argmax(here)), here.shape)
        angle = np.pi * float(turn[top:bottom, left:right][peak]) / TURNS
        y, x = np.nonzero(inside)
        weight = here[y, x].astype(np.float64)
        center = np.array([np.average(y, weights=weight), np.average(x, weights=weight)])
        offset = np.stack([y, x], 1) - center
        along = np.array([np.sin(angle), np.cos(angle)])
        if len(y) >= 6:
            _, axes = np.linalg.eigh((offset * weight[:, None]).T @ offset)
            along = axes[:, 1]
        half = float(np.abs(offset @ along).max()) + 1
        place = (center + [top + 0.5, left + 0.5]) * BLOCK
        found.append((float(here.max()), _Strip(place, along, half * BLOCK)))
    found.sort(key=lambda one: -one[0])
    return [strip for _, strip in found[:MOST]]


def _followed(
    view: Overview, strip: _Strip, contrast: float, typical: float, tissue: Mask
) -> Mask:
    """The fold along a candidate, empty where its edges are not those of a fold."""
    assert view.fine is not None  # noqa: S101
    um = view.mpp.mean / view.zoom
    half = round(strip.half * view.zoom + SPARE_UM / um)
    reach = round(REACH_UM / um)
    across = np.array([strip.along[1], -strip.along[0]])
    steps, sides = np.arange(-half, half + 1), np.arange(-reach, reach + 1)
    at = strip.center * view.zoom
    y = at[0] + steps[:, None] * strip.along[0] + sides * across[0]
    x = at[1] + steps[:, None] * strip.along[1] + sides * across[1]
    limit = view.fine.shape
    rows = np.clip(y.astype(int), 0, limit[0] - 1)
    columns = np.clip(x.astype(int), 0, limit[1] - 1)
    picture = _density_of(view.fine[rows, columns])
    first, last, gain = _edges(_mean_along(picture, ALONG), PALE_SHARE * typical, um)
    good = _longest(gain)
    out = np.zeros_like(tissue)
    length = (good.stop - good.start) * um
    if length < LEAST_UM or length < SLENDER * um * float((last - first)[good].mean()):
        return out
    # Nuclei make dark specks; only a fold leaves no bright pixel between them.
    ground = _mean_along(_lowest(picture), ALONG)
    rows_ = np.arange(good.start, good.stop)
    gained = _gains(ground, rows_, first[good], last[good], PALE_SHARE * typical, um).mean()
    if gained * np.sqrt(min(length / LONG_UM, 1.5)) < contrast * typical:
        return out
    inside = np.zeros(picture.shape, bool)
    for k in range(good.start, good.stop):
        inside[k, first[k] : last[k]] = True
    fold = _painted(strip, view.zoom, inside, out)
    return fold if 2 * int((fold & tissue).sum()) > int(fold.sum()) else np.zeros_like(tissue)


def _density_of(rgb: NDArray[np.uint8]) -> Floats:
    table = (1000 * np.log10(255 / np.maximum(np.arange(256), 1))).astype(np.float32)
    mean: Floats = table[rgb].mean(axis=-1)
    return mean


def _mean_along(picture: Floats, radius: int) -> Floats:
    wide = np.pad(picture, ((radius, radius), (0, 0)), mode="edge")
    total = sum(wide[k : k + len(picture)] for k in range(2 * radius + 1))
    return np.asarray(total / np.float32(2 * radius + 1))


def _edges(picture: Floats, floor: float, um: float) -> tuple[NDArray[np.intp], NDArray[np.intp], Floats]:
    """The pair of edges between which the picture is darkest against both sides, row by row.

    Edges move by at most a pixel from row to row (dynamic programming).
    """
    length, width = picture.shape
    narrow, broad = (max(2, round(w / um)) for w in WIDTH_UM)
    beside = max(2, round(SIDE_UM / um))
    lefts = np.arange(beside, width - beside - narrow)
    widths = np.arange(narrow, broad + 1)
    left = np.broadcast_to(lefts[:, None], (len(lefts), len(widths)))
    right = left + widths
    allowed = right + beside <= width
    right = np.minimum(right, width - beside)
    every = np.arange(length)[:, None, None]
    gain = _gains(picture, every, left, right, floor, um)
    gain += STEP * (_step(picture, every, left) - _step(picture, every, right))
    gain = np.where(allowed, gain, -1e4)
    total, back = gain[0], np.zeros(gain.shape, np.int8)
    moves = [(0, 0), (-1, 0), (1, 0), (0, -1), (0, 1), (-1, 1), (1, -1)]
    for k in range(1, length):
        wide = np.pad(total, 1, constant_values=-1e9)
        options = np.stack(
            [wide[1 + a : 1 + a + total.shape[0], 1 + b : 1 + b + total.shape[1]] for a, b in moves]
        )
        back[k] = options.argmax(axis=0)
        total = options.max(axis=0) + gain[k]
    place = np.unravel_index(int(total.argmax()), total.shape)
    i, j = int(place[0]), int(place[1])
    first, last, found = np.zeros(length, np.intp), np.zeros(length, np.intp), []
    for k in range(length - 1, -1, -1):
        first[k], last[k] = left[i, j], right[i, j]
        found.append(gain[k, i, j])
        a, b = moves[back[k, i, j]]
        i, j = i + a, j + b
    return first, last, np.array(found[::-1], np.float32)


def _gains(
    picture: Floats,
    rows: NDArray[np.intp],
    left: NDArray[np.intp],
    right: NDArray[np.intp],
    floor: float,
    um: float,
) -> Floats:
    """How much denser it is between two edges than on the denser side of them.

    Against glass everything is dark: what lies beside counts as tissue that is at least pale.
    """
    beside = max(2, round(SIDE_UM / um))
    sums = np.cumsum(np.pad(picture, ((0, 0), (1, 0))), axis=1)
    inner = (sums[rows, right] - sums[rows, left]) / np.maximum(right - left, 1)
    near = sums[rows, left] - sums[rows, np.maximum(left - beside, 0)]
    far = sums[rows, np.minimum(right + beside, picture.shape[1])] - sums[rows, right]
    gain: Floats = inner - np.maximum(np.maximum(near, far) / np.float32(beside), floor)
    return gain


def _step(picture: Floats, rows: NDArray[np.intp], place: NDArray[np.intp]) -> Floats:
    """How much denser three pixels after a place are than three before it."""
    sums = np.cumsum(np.pad(picture, ((0, 0), (1, 0))), axis=1)
    after = sums[rows, np.minimum(place + 3, picture.shape[1])] - sums[rows, place]
    step: Floats = (after - sums[rows, place] + sums[rows, np.maximum(place - 3, 0)]) / 3
    return step


def _lowest(picture: Floats) -> Floats:
    """Least density of 2 x 2 pixels."""
    wide = np.pad(picture, ((0, 1), (0, 1)), mode="edge")
    rows = np.minimum(wide[:-1], wide[1:])
    return np.minimum(rows[:, :-1], rows[:, 1:])


def _longest(gain: Floats) -> slice:
    """The stretch of most gain; where it fades, the fold ends."""
    smooth = _mean_along(gain[:, None], 4)[:, 0]
    level = max(FADED * float(np.quantile(smooth, 0.9)), 0.0)
    parts = Parts((smooth > level)[None])
    if not parts.count:
        return slice(0, 0)
    best = parts.boxes()[int(parts.sums(smooth[None]).argmax())]
    return slice(int(best[2]), int(best[3]))


def _painted(strip: _Strip, zoom: int, inside: Mask, out: Mask) -> Mask:
    """A mask of the straightened picture, back on the map."""
    half, reach = inside.shape[0] // 2, inside.shape[1] // 2
    across = np.array([strip.along[1], -strip.along[0]])
    radius = np.hypot(half, reach) / zoom
    low = np.maximum((strip.center - radius).astype(int), 0)
    high = np.minimum((strip.center + radius).astype(int) + 1, out.shape)
    y, x = np.mgrid[low[0] : high[0], low[1] : high[1]] + 0.5
    offset = np.stack([y - strip.center[0], x - strip.center[1]], -1) * zoom
    row = np.rint(offset @ strip.along).astype(int) + half
    column = np.rint(offset @ across).astype(int) + reach
    known = (row >= 0) & (row < inside.shape[0]) & (column >= 0) & (column < inside.shape[1])
    part = out[low[0] : high[0], low[1] : high[1]]
    part[known] = inside[row[known], column[known]]
    return out
