"""The two edges of a fold, followed along a candidate in a straightened picture of it.

All candidates are followed at once: axes are candidate, row (along the strip), column (across).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pathai.tissue.parts import Parts
from pathai.tissue.reading import Floats, Mask, Overview

Indices = NDArray[np.intp]

REACH_UM, SPARE_UM = 72.0, 120.0
"""Half width of the picture, and its length beyond the candidate's ends."""
ROW = 2
"""Fine pixels per row of the picture: its length is looked at more coarsely than its width."""
ALONG = 2
"""Fine pixels before and after that a row is averaged over."""
WIDTH_UM = (12.0, 64.0)
"""Widths of folds."""
SIDE_UM = 16.0
"""Width of what is compared on either side."""
OUTSIDE = 3000.0
"""Density that stands for what lies beyond the slide, so that no fold begins there."""
PALE_SHARE = 0.7
"""Tissue beside a fold counts as at least this share of the slide's median density."""
STEP = np.float32(0.3)
"""Weight of the sharpness of both edges beside the contrast."""
MOVE = 0.65
"""What it costs to move an edge by a pixel, as a share of the typical density."""
CALM, STEADY = 0.6, 1.2
"""A fold of `LONG_UM` whose middle moves by 0.4 pixels from row to row, and whose contrast varies
by a fifth, must have just the wanted contrast."""
OPEN, OPEN_SHARE = 0.4, 0.4
"""Beside a fold lies tissue: only this share of its length may lie beside what is paler than this
share of the typical tissue (glass, fat)."""
UNEVEN = 0.5
"""Standard deviation of a fold's width at most, as a share of the width."""
INK = 3.5
"""What is denser than its sides by more than this many times the typical density is ink."""
SLENDER = 3.0
"""A fold is at least so many times longer than wide."""
FADED = 0.3
"""Share of its best contrast at which a fold ends."""
LEAST_UM, LONG_UM = 130.0, 200.0
"""A fold is at least this long; one that is longer than the second may be fainter."""
MOVES = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1), (-1, 1), (1, -1))
"""How left edge and width may change from row to row."""


@dataclass(frozen=True)
class Strip:
    """A candidate: center, direction and half length, in map px (y, x)."""

    center: NDArray[np.float64]
    along: NDArray[np.float64]
    half: float


@dataclass(frozen=True)
class _Edges:
    """First and past-last column per row, and the contrast between them."""

    first: Indices
    last: Indices
    gain: Floats


def follow(view: Overview, strips: list[Strip], contrast: float, typical: float) -> Iterator[Mask]:
    """Each candidate that is a fold, as a mask of the map.

    Parameters
    ----------
    view : Overview
        With its fine image.
    strips : list of Strip
        Candidates.
    contrast : float
        Wanted contrast, as a share of ``typical``.
    typical : float
        1000 times the median optical density of the slide's tissue.
    """
    if not strips or view.fine is None:
        return
    um = view.mpp.mean / view.zoom
    half = max(strip.half for strip in strips) * view.zoom + SPARE_UM / um
    half = round(half) // ROW * ROW
    pictures = np.stack([_straightened(view, strip, half, um) for strip in strips])
    # Nuclei make dark specks; only a fold leaves no bright pixel between them.
    grounds = _rows(_lowest(pictures))
    pictures = _rows(pictures)
    found = _tracked(pictures, typical, um)
    for strip, picture, ground, edges in zip(strips, pictures, grounds, found, strict=True):
        good = _stretch(edges.gain)
        if _is_fold(picture, ground, edges, good, contrast, typical, um):
            yield _painted(strip, view, edges, good, half)


def _straightened(view: Overview, strip: Strip, half: int, um: float) -> Floats:
    """Density along (rows) and across (columns) a candidate, a fine pixel each."""
    assert view.fine is not None  # noqa: S101
    reach = round(REACH_UM / um)
    steps, sides = np.arange(-half, half + 1)[:, None], np.arange(-reach, reach + 1)
    at = strip.center * view.zoom
    y = at[0] + steps * strip.along[0] + sides * strip.along[1]
    x = at[1] + steps * strip.along[1] - sides * strip.along[0]
    limit = view.fine.shape
    beyond = (y < 0) | (y >= limit[0]) | (x < 0) | (x >= limit[1])
    rows = np.clip(y.astype(int), 0, limit[0] - 1)
    columns = np.clip(x.astype(int), 0, limit[1] - 1)
    table = (1000 * np.log10(255 / np.maximum(np.arange(256), 1)) / 3).astype(np.float32)
    found = table.take(view.fine[rows, columns]).sum(axis=-1)
    found[beyond] = OUTSIDE
    return np.asarray(found, np.float32)


def _rows(pictures: Floats) -> Floats:
    """Every `ROW`-th row, averaged over `ALONG` rows before and after."""
    wide = np.pad(pictures, ((0, 0), (ALONG, ALONG), (0, 0)), mode="edge")
    total = sum(wide[:, k : k + pictures.shape[1] : ROW] for k in range(2 * ALONG + 1))
    return np.asarray(total, np.float32) / np.float32(2 * ALONG + 1)


def _lowest(pictures: Floats) -> Floats:
    """Least density of 2 x 2 pixels."""
    wide = np.pad(pictures, ((0, 0), (0, 1), (0, 1)), mode="edge")
    rows = np.minimum(wide[:, :-1], wide[:, 1:])
    return np.minimum(rows[..., :-1], rows[..., 1:])


def _tracked(pictures: Floats, typical: float, um: float) -> list[_Edges]:
    """The pair of edges between which each picture is darkest against both sides.

    Edges move by at most a pixel from row to row (dynamic programming).
    """
    count, length, width = pictures.shape
    narrow, broad = (max(2, round(w / um)) for w in WIDTH_UM)
    beside = max(2, round(SIDE_UM / um))
    left = np.arange(beside, width - beside - narrow)[:, None] + np.zeros(
        broad - narrow + 1, np.intp
    )
    right = left + np.arange(narrow, broad + 1)
    allowed = right + beside <= width
    right = np.minimum(right, width - beside)
    sums = _sums(pictures)
    gain = _gains(sums, left, right, PALE_SHARE * typical, um)
    gain += STEP * (_step(sums, left) - _step(sums, right))
    gain[..., ~allowed] = -1e4
    total = gain[:, 0]
    back = np.zeros((length, *total.shape), np.int8)
    cost = np.float32(MOVE * typical)
    for row in range(1, length):
        wide = np.pad(total - cost, ((0, 0), (1, 1), (1, 1)), constant_values=-1e9)
        best = total
        for move, (a, b) in enumerate(MOVES[1:], 1):
            option = wide[:, 1 + a : 1 + a + left.shape[0], 1 + b : 1 + b + left.shape[1]]
            np.copyto(back[row], np.int8(move), where=option > best)
            best = np.maximum(best, option)
        total = best + gain[:, row]
    return [_backwards(total[k], back[:, k], gain[k], left, right) for k in range(count)]


def _backwards(
    total: Floats, back: NDArray[np.int8], gain: Floats, left: Indices, right: Indices
) -> _Edges:
    """The best path, from its end to its beginning."""
    length = len(back)
    first, last = np.zeros(length, np.intp), np.zeros(length, np.intp)
    gained = np.zeros(length, np.float32)
    i, j = divmod(int(total.argmax()), total.shape[1])
    for row in range(length - 1, -1, -1):
        first[row], last[row], gained[row] = left[i, j], right[i, j], gain[row, i, j]
        a, b = MOVES[back[row, i, j]]
        i, j = i + a, j + b
    return _Edges(first, last, gained)


def _sums(pictures: Floats) -> Floats:
    """Sums of the columns before each place: ``float32[..., rows, columns + 1]``."""
    ahead = [(0, 0)] * (pictures.ndim - 1) + [(1, 0)]
    return np.asarray(np.cumsum(np.pad(pictures, ahead), axis=-1), np.float32)


def _gains(sums: Floats, left: Indices, right: Indices, floor: float, um: float) -> Floats:
    """How much denser it is between two edges than on the denser side of them.

    Against glass everything is dark: what lies beside counts as tissue that is at least pale.
    """
    near, far = _sides(sums, left, right, um)
    inner = (_at(sums, right) - _at(sums, left)) / (right - left).astype(np.float32)
    return np.asarray(inner - np.maximum(np.maximum(near, far), np.float32(floor)), np.float32)


def _sides(sums: Floats, left: Indices, right: Indices, um: float) -> tuple[Floats, Floats]:
    """Mean density on both sides of a strip."""
    beside = max(2, round(SIDE_UM / um))
    near = _at(sums, left) - _at(sums, np.maximum(left - beside, 0))
    far = _at(sums, np.minimum(right + beside, sums.shape[-1] - 1)) - _at(sums, right)
    return near / np.float32(beside), far / np.float32(beside)


def _step(sums: Floats, place: Indices) -> Floats:
    """How much denser three pixels after a place are than three before it."""
    after = _at(sums, np.minimum(place + 3, sums.shape[-1] - 1)) - _at(sums, place)
    before = _at(sums, place) - _at(sums, np.maximum(place - 3, 0))
    return np.asarray((after - before) / np.float32(3), np.float32)


def _at(sums: Floats, place: Indices) -> Floats:
    """Sums at places: the same in every row, or one for each row of a single picture."""
    if sums.ndim == 3:
        return sums[..., place]
    return np.take_along_axis(sums, place[:, None], axis=1)[:, 0]


def _stretch(gain: Floats) -> slice:
    """The stretch of most gain; where it fades, the fold ends."""
    wide = np.pad(gain, 2, mode="edge")
    smooth = np.convolve(wide, np.full(5, 0.2, np.float32), mode="valid")
    level = max(FADED * float(np.quantile(smooth, 0.9)), 0.0)
    parts = Parts((smooth > level)[None])
    if not parts.count:
        return slice(0, 0)
    best = parts.boxes()[int(parts.sums(smooth[None]).argmax())]
    return slice(int(best[2]), int(best[3]))


def _is_fold(
    picture: Floats,
    ground: Floats,
    edges: _Edges,
    good: slice,
    contrast: float,
    typical: float,
    um: float,
) -> bool:
    first, last = edges.first[good], edges.last[good]
    length = len(first) * ROW * um
    if length < LEAST_UM or length < SLENDER * um * float((last - first).mean()):
        return False
    widths = (last - first).astype(np.float32)
    if widths.std() > UNEVEN * widths.mean() or edges.gain[good].mean() > INK * typical:
        return False
    near, far = _sides(_sums(picture[good]), first, last, um)
    if (np.minimum(near, far) < OPEN * typical).mean() > OPEN_SHARE:
        return False
    gained = _gains(_sums(ground[good]), first, last, PALE_SHARE * typical, um).mean()
    # Chance finds short, restless and unsteady paths among nuclei: these must stand out more.
    moved = float(np.abs(np.diff((first + last) / 2)).mean())
    gain = edges.gain[good]
    steady = STEADY - float(gain.std() / gain.mean())
    surer = min(length / LONG_UM, 2.0) * steady / (CALM + moved)
    return bool(gained * surer >= contrast * typical)


def _painted(strip: Strip, view: Overview, edges: _Edges, good: slice, half: int) -> Mask:
    """The stretch between the edges, on the map."""
    out = np.zeros(view.valid.shape, bool)
    zoom = view.zoom
    reach = round(REACH_UM / (view.mpp.mean / zoom))
    radius = np.hypot(half, reach) / zoom
    low = np.maximum((strip.center - radius).astype(int), 0)
    high = np.minimum((strip.center + radius).astype(int) + 1, out.shape)
    y, x = np.mgrid[low[0] : high[0], low[1] : high[1]] + 0.5
    dy, dx = (y - strip.center[0]) * zoom, (x - strip.center[1]) * zoom
    row = np.rint((dy * strip.along[0] + dx * strip.along[1] + half) / ROW).astype(int)
    column = dy * strip.along[1] - dx * strip.along[0] + reach + 0.5
    known = (row >= good.start) & (row < good.stop)
    row = np.clip(row, 0, len(edges.first) - 1)
    inside = known & (column >= edges.first[row]) & (column < edges.last[row])
    out[low[0] : high[0], low[1] : high[1]] = inside
    return out
