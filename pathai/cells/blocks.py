"""Nuclei of an image that fits into memory, by the same blocks as a slide's."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathai.cells.finder import Finder
from pathai.cells.frame import Block, Pair, blocks, frame
from pathai.cells.workers import found_in, pool
from pathai.detectors.base import Detections, Detector, taken
from pathai.stain import Background, stain_matrix
from pathai.store.records import TissueMap
from pathai.units import Mpp

NOTHING = np.empty((0, 4), np.float64)


def detect_slide(
    image: Any,
    mpp: Mpp,
    tissue: TissueMap,
    detector: Detector,
    block_px: int,
    *,
    downsample: float = 1.0,
    workers: int = 1,
    offset: Pair = (0, 0),
) -> Detections:
    """Find the nuclei of an image's tissue, block by block.

    Parameters
    ----------
    image : uint8[y, x, c=3]
        Anything that is sliced so: an array of numpy, dask or zarr.
    mpp : Mpp
        µm per px of ``image``.
    tissue : TissueMap
        Only nuclei whose anchor lies on class tissue are kept.
    detector : Detector
        Already fitted to the slide (`Detector.for_slide`).
    block_px : int
        Edge of a block in the detector's working px, rounded up to whole squares of 64 µm.
    downsample : float
        Level-0 px per px of ``image``.
    workers : int
        Threads. None of this, ``block_px`` and ``offset`` changes the result.
    offset : tuple of int
        Squares by which the first block lies left of and above the image.

    Returns
    -------
    Detections
        In level-0 px, sorted by y, then x.

    Raises
    ------
    PathaiError
        E131 if ``mpp`` is outside the detector's range, E186 if the detector's answer does not
        fit.
    """
    grid = frame(image.shape, mpp, downsample, detector)
    cut = blocks(grid, image.shape, tissue, grid.halo_px(detector), block_px, offset)
    finder = Finder(detector, type(detector).__name__, grid, tissue.downsample, UNMEASURED)

    def read(block: Block) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
        left, top, right, bottom = block.window
        return np.asarray(image[top:bottom, left:right]), NOTHING

    with pool(finder, workers) as hands:
        parts = [found.nuclei for _, found, _ in found_in(cut, read, hands)]
    return joined(parts, len(detector.classes))


UNMEASURED = Background((255, 255, 255), stain_matrix("H&E"), 0.0)
"""Stands where nothing is measured."""


def joined(parts: list[Detections], classes: int) -> Detections:
    """All blocks' nuclei, sorted by y, then x."""
    nothing = np.empty((0, 2), np.float32)
    length = [np.diff(p.outline_start) for p in parts]
    start = np.concatenate([[0], np.cumsum(np.concatenate([np.empty(0, np.int64), *length]))])
    whole = Detections(
        centers=np.concatenate([nothing, *(p.centers for p in parts)]),
        anchors=np.concatenate([nothing, *(p.anchors for p in parts)]),
        score=np.concatenate([np.empty(0, np.float32), *(p.score for p in parts)]),
        class_=np.concatenate([np.empty(0, np.uint8), *(p.class_ for p in parts)]),
        prob=np.concatenate([np.empty((0, classes), np.float32), *(p.prob for p in parts)]),
        dab_od=np.concatenate([np.empty(0, np.float32), *(p.dab_od for p in parts)]),
        outline=np.concatenate([nothing, *(p.outline for p in parts)]),
        outline_start=start.astype(np.int64),
    )
    return taken(whole, in_order(whole.centers, whole.anchors))


def in_order(centers: NDArray[np.float32], anchors: NDArray[np.float32]) -> NDArray[np.int64]:
    """Rows sorted by y, then x of the center; nuclei with one center by their anchors."""
    order: NDArray[np.int64] = np.lexsort(
        (anchors[:, 0], anchors[:, 1], centers[:, 0], centers[:, 1])
    )
    return order
