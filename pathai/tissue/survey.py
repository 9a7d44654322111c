"""From a slide's levels to its tissue map and its quality figures, in one go."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pathai.config import TileConfig
from pathai.errors import PathaiError
from pathai.stain import slide_background, stain_matrix
from pathai.store.records import (
    BACKGROUND,
    BLUR,
    BUBBLE,
    EDGE,
    FOLD,
    PEN,
    TISSUE,
    Qc,
    TissueMap,
)
from pathai.tissue.blur import edge_width, find_blur, window
from pathai.tissue.bubbles import find_bubbles
from pathai.tissue.classes import WEB_REACH_UM, Stained, stained, tissue_classes
from pathai.tissue.folds import find_folds
from pathai.tissue.grain import Grain, grain_of
from pathai.tissue.parts import dilated
from pathai.tissue.reading import Levels, Mask, Overview, Pixels, Read, with_fine
from pathai.units import Mpp

WINDOWS, WINDOW_UM = 8, 64.0
"""Places of the tissue at which focus and stain are measured, and the edge of each."""
SAMPLE = 16_384
"""Pixels that stain vectors are estimated from."""
ARTEFACTS = {"pen": PEN, "edge": EDGE, "blur": BLUR, "fold": FOLD, "bubble": BUBBLE}


def examine(
    view: Overview,
    read: Read,
    levels: Levels,
    mpp: Mpp,
    section: TileConfig,
    *,
    stain: str,
    sparse: bool = False,
) -> tuple[TissueMap, Qc]:
    """Classes of the slide and how good it is.

    Parameters
    ----------
    view : Overview
        From `overview`, of the same levels.
    read : callable
        Box (level-0 px) and level to pixels and their validity.
    levels : sequence of (Size, float)
        Size and downsample of each level.
    mpp : Mpp
        µm per level-0 px.
    section : TileConfig
        Thresholds.
    stain : str
        Column ``stain`` of the sheet.
    sparse : bool
        Regions without pixels are unscanned glass by design of the format, not damage.

    Returns
    -------
    TissueMap
        All classes. Blur, folds and bubbles need a level of 5 µm per px or finer.
    Qc
        Figures of the slide.
    """
    first = stained(view, pen=section.pen, coverslip=section.coverslip)
    if view.fine is None:
        near = dilated(first.found, round(WEB_REACH_UM / view.mpp.mean))
        view = with_fine(view, read, levels, mpp, near)
    grain = grain_of(view) if view.fine is not None else None
    tissue = tissue_classes(view, first, grain, sparse=sparse)
    whole = tissue.classes == TISSUE
    if grain is not None and whole.any():
        _spoil(tissue.classes, view, first, grain, read, levels, mpp, section)
    return tissue, _figures(tissue, whole, first, read, levels, mpp, stain)


def _spoil(
    classes: NDArray[np.uint8],
    view: Overview,
    first: Stained,
    grain: Grain,
    read: Read,
    levels: Levels,
    mpp: Mpp,
    section: TileConfig,
) -> None:
    """Write blur, folds and bubbles into the classes; the later wins."""
    tissue = classes == TISSUE
    bubbles = np.zeros_like(tissue)
    if section.bubble:
        bubbles = find_bubbles(view, first.white, first.density, first.color, section.bubble)
    if section.blur_um:
        sharp = tissue & ~bubbles
        classes[find_blur(view, grain, sharp, read, levels, mpp, section.blur_um)] = BLUR
    if section.fold:
        classes[find_folds(view, first.density, tissue & ~bubbles, section.fold)] = FOLD
    if bubbles.any():
        inside = classes[bubbles]
        inside[np.isin(inside, (BACKGROUND, TISSUE, BLUR, FOLD))] = BUBBLE
        classes[bubbles] = inside


def _figures(
    tissue: TissueMap,
    whole: Mask,
    first: Stained,
    read: Read,
    levels: Levels,
    mpp: Mpp,
    stain: str,
) -> Qc:
    classes = tissue.classes
    over = whole | _covered(classes, whole, PEN) | _covered(classes, whole, EDGE)
    on_tissue = TissueMap(np.where(over, classes, 0), tissue.downsample, tissue.mpp, tissue.edge)
    there = set(np.unique(on_tissue.classes[on_tissue.classes > TISSUE]).tolist())
    spoiled = {n: on_tissue.area_mm2(v) if v in there else 0.0 for n, v in ARTEFACTS.items()}
    usable = tissue.area_mm2(TISSUE)
    pictures = list(_pictures(tissue, whole, read, levels, mpp))
    widths = [w for rgb, um in pictures if (w := edge_width(rgb, um)) is not None]
    red, green, blue = (float(v) for v in first.white)
    vectors, estimated = _stains([rgb for rgb, _ in pictures], stain)
    return Qc(
        tissue_mm2=usable,
        found_mm2=usable + sum(spoiled.values()),
        artefact_mm2=spoiled,
        focus_um=round(float(np.median(widths)), 3) if widths else None,
        white=(red, green, blue),
        stains=vectors,
        stains_estimated=estimated,
    )


def _covered(classes: NDArray[np.uint8], tissue: Mask, value: int) -> Mask:
    """Pixels of a class with tissue on both sides, along a row or a column: tissue below it."""
    hidden = np.asarray(classes == value)
    if not hidden.any():
        return hidden
    both: Mask = _between(hidden, tissue) | _between(hidden.T, tissue.T).T
    return both


def _between(hidden: Mask, tissue: Mask) -> Mask:
    """Runs of hidden pixels in a row with tissue before and after."""
    rows, columns = np.nonzero(hidden)
    out = np.zeros_like(hidden)
    if not len(rows):
        return out
    width = hidden.shape[1]
    starts = np.flatnonzero(np.diff(rows * (width + 1) + columns, prepend=-2) != 1)
    ends = np.append(starts[1:], len(rows)) - 1
    before, after = columns[starts] - 1, columns[ends] + 1
    here = rows[starts]
    good = (before >= 0) & tissue[here, np.maximum(before, 0)]
    good &= (after < width) & tissue[here, np.minimum(after, width - 1)]
    out[rows, columns] = np.repeat(good, ends - starts + 1)
    return out


def _pictures(
    tissue: TissueMap, whole: Mask, read: Read, levels: Levels, mpp: Mpp
) -> Iterator[tuple[Pixels, float]]:
    """Pictures of about 1 µm per px from all over the tissue, usable or not."""
    step = max(1, min(whole.shape) // 200)
    rows, columns = (place * step for place in np.nonzero(whole[::step, ::step]))
    for k in np.unique(np.linspace(0, len(rows) - 1, WINDOWS if len(rows) else 0).astype(int)):
        place = (float(rows[k]) + 0.5, float(columns[k]) + 0.5)
        found = window(tissue.downsample, place, WINDOW_UM, read, levels, mpp)
        if found is not None:
            yield found


def _stains(
    pictures: list[Pixels], stain: str
) -> tuple[dict[str, tuple[float, float, float]], bool]:
    """Stain vectors as the other stages will see them; none for a stain without any."""
    try:
        matrix = stain_matrix(stain)
    except PathaiError:
        return {}, False
    estimated = False
    if pictures:
        flat = np.concatenate([rgb.reshape(-1, 3) for rgb in pictures])
        found = slide_background(flat[:: max(1, len(flat) // SAMPLE)][None], matrix).stain
        estimated, matrix = found is not matrix, found
    rows = [tuple(round(float(v), 4) for v in row) for row in matrix.matrix[:2]]
    return {name: (r, g, b) for name, (r, g, b) in zip(matrix.names, rows, strict=False)}, estimated
