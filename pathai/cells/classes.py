"""Measures of a slide's nuclei, and the model that gives them classes."""

from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathai.cell_classes import STAINS, ClassModel, model_file, open_model
from pathai.cells.blocks import Frame, _take, _window
from pathai.config import CellsConfig
from pathai.detectors.base import Detections
from pathai.morphometry import MEASURES, measure
from pathai.resample import area_reduce
from pathai.stain import Background
from pathai.store.records import CellClassifier

F32 = NDArray[np.float32]
HALO_UM = 40.0
"""Surround of a block: no nucleus and its ring reach farther from its center."""


def chosen(section: CellsConfig, stain: str, classes: tuple[str, ...]) -> ClassModel | None:
    """The configured model, where it applies: on H&E, and where the detector tells no classes.

    Raises
    ------
    PathaiError
        E182 or E183 for a model that is damaged or missing.
    """
    if not section.classifier:
        return None
    model_file(section.classifier)
    return open_model(section.classifier, stain) if stain in STAINS and len(classes) < 2 else None


def record(name: str, model: ClassModel) -> CellClassifier:
    """What of a model stands beside the cells that it classified."""
    return CellClassifier(
        name=name,
        digest=model.digest,
        experimental=model.experimental,
        confusion=tuple(tuple(row) for row in model.confusion.tolist()),
        design_effect=model.design_effect,
    )


def measured(
    image: Any, grid: Frame, found: Detections, background: Background, block_px: int
) -> F32:
    """Measures ``float32[M, F]`` of nuclei in level-0 px, read block by block.

    Parameters
    ----------
    image : dask or numpy array, uint8[y, x, c=3]
        The level that the nuclei were found on.
    grid : Frame
        How the detector's working px lie on the slide.
    found : Detections
        In level-0 px.
    background : Background
        Of the slide.
    block_px : int
        Edge of a block, working px.
    """
    out = np.empty((len(found), len(MEASURES)), np.float32)
    work = found.centers / grid.scale
    halo = ceil(HALO_UM / min(grid.mpp.x, grid.mpp.y))
    edge = max(block_px // 8, 1) * 8
    last = np.asarray(grid.size) - 1
    block = (np.floor(work).astype(np.int64).clip(0, last)) // edge
    number = block[:, 1] * (grid.size[0] // edge + 1) + block[:, 0]
    order = np.argsort(number, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(number[order])) + 1):
        if len(rows) == 0:
            continue
        x, y = (block[rows[0]] * edge).tolist()
        core = (x, y, min(x + edge, grid.size[0]), min(y + edge, grid.size[1]))
        window, origin, start, size = _window(core, halo, grid, image.shape)
        pixels = np.asarray(image[window[1] : window[3], window[0] : window[2]])
        if grid.factor != (1.0, 1.0):
            pixels = area_reduce(pixels, grid.factor, origin, start, size)
        part = _take(found, rows)
        moved = Detections(
            centers=(part.centers / grid.scale - start).astype(np.float32),
            anchors=part.anchors,
            score=part.score,
            class_=part.class_,
            prob=part.prob,
            dab_od=part.dab_od,
            outline=(part.outline / grid.scale - start).astype(np.float32),
            outline_start=part.outline_start,
        )
        out[rows] = measure(np.ascontiguousarray(pixels), grid.mpp, background, moved)
    return out
