"""Nuclei of a whole slide, block by block, each exactly once.

The slide is cut into blocks at the detector's resolution. A block is read with the surround that
the detector asks for, and keeps the nuclei whose anchor lies in it (half-open), so the
result does not depend on the size of blocks or the number of workers.
"""

from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathai.cells.counts import map_pixel
from pathai.detectors.base import Detections, Detector
from pathai.errors import PathaiError
from pathai.resample import area_reduce, reduction
from pathai.store.records import TISSUE, TissueMap
from pathai.units import Mpp

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
Four = tuple[int, int, int, int]
Pair = tuple[int, int]


@dataclass(frozen=True)
class Frame:
    """How the detector's working pixels lie on the slide.

    Attributes
    ----------
    factor : tuple of float
        Image px per working px, x and y.
    downsample : float
        Level-0 px per image px.
    size : tuple of int
        Working px of the whole image, x and y.
    mpp : Mpp
        µm per working px.
    """

    factor: tuple[float, float]
    downsample: float
    size: tuple[int, int]
    mpp: Mpp

    @property
    def scale(self) -> NDArray[np.float64]:
        """Level-0 px per working px, x and y."""
        return np.asarray(self.factor) * self.downsample

    def to_px0(self, xy: NDArray[Any]) -> NDArray[np.float64]:
        """Working px to level-0 px; in both, pixel i covers i to i + 1."""
        placed: NDArray[np.float64] = xy.astype(np.float64) * self.scale
        return placed


def frame(shape: tuple[int, ...], mpp: Mpp, downsample: float, detector: Detector) -> Frame:
    """Lay the detector's working grid over an image.

    Raises
    ------
    PathaiError
        E131 if ``mpp`` is outside the detector's range: choose another detector or level.
    """
    low, high = detector.mpp_range
    if not all(low <= m <= high for m in (mpp.x, mpp.y)):
        message = f"{mpp.x:.3g} x {mpp.y:.3g} µm/px is outside the detector's {low} to {high}"
        raise PathaiError("E131", message, "choose a detector made for this resolution")
    fx, fy = reduction(mpp, detector.mpp)
    size = (max(int(shape[1] / fx), 1), max(int(shape[0] / fy), 1))
    return Frame((fx, fy), downsample, size, Mpp(mpp.x * fx, mpp.y * fy))


def detect_slide(
    image: Any,
    mpp: Mpp,
    tissue: TissueMap,
    detector: Detector,
    block_px: int,
    *,
    downsample: float = 1.0,
    workers: int = 1,
) -> Detections:
    """Find the nuclei of a slide's tissue, block by block.

    Parameters
    ----------
    image : dask or numpy array, uint8[y, x, c=3]
        The slide, or one of its levels.
    mpp : Mpp
        µm per px of ``image``.
    tissue : TissueMap
        Only nuclei whose anchor lies on class tissue are kept.
    detector : Detector
        Already fitted to the slide (`Detector.for_slide`).
    block_px : int
        Edge of a block in the detector's working px.
    downsample : float
        Level-0 px per px of ``image``.
    workers : int
        Threads. Neither this nor ``block_px`` changes the result.

    Returns
    -------
    Detections
        In level-0 px, sorted by y, then x.

    Raises
    ------
    PathaiError
        E131 if ``mpp`` is outside the detector's range.
    """
    import dask
    import dask.array as da

    grid = frame(image.shape, mpp, downsample, detector)
    array = image if isinstance(image, da.Array) else da.from_array(image, chunks=(1024, 1024, 3))
    edge = max(block_px // 8, 1) * 8  # even blocks keep the detector's inner grids in step
    halo = ceil(detector.halo_um / min(grid.mpp.x, grid.mpp.y) / 8) * 8
    parts: list[Detections] = []
    for y in range(0, grid.size[1], edge):
        row = []
        for x in range(0, grid.size[0], edge):
            core = (x, y, min(x + edge, grid.size[0]), min(y + edge, grid.size[1]))
            if not _has_tissue(tissue, grid, core):
                continue
            window, origin, start, size = _window(core, halo, grid, image.shape)
            pixels = array[window[1] : window[3], window[0] : window[2]]
            task = dask.delayed(_block)(pixels, origin, start, size, core, grid, tissue, detector)
            row.append(task)
        scheduler = "synchronous" if workers == 1 else "threads"
        parts.extend(dask.compute(*row, scheduler=scheduler, num_workers=workers))
    return _joined(parts, len(detector.classes))


def _window(
    core: Four, halo: int, grid: Frame, shape: tuple[int, ...]
) -> tuple[Four, Pair, Pair, Pair]:
    """Image px to read for a block; their origin; first working px and size with the halo."""
    left, top = max(core[0] - halo, 0), max(core[1] - halo, 0)
    right, bottom = min(core[2] + halo, grid.size[0]), min(core[3] + halo, grid.size[1])
    fx, fy = grid.factor
    x0, y0 = int(left * fx), int(top * fy)
    x1, y1 = min(ceil(right * fx) + 1, shape[1]), min(ceil(bottom * fy) + 1, shape[0])
    if grid.factor == (1.0, 1.0):
        x1, y1 = right, bottom
    return (x0, y0, x1, y1), (x0, y0), (left, top), (right - left, bottom - top)


def _has_tissue(tissue: TissueMap, grid: Frame, core: Four) -> bool:
    """Whether a block's core touches tissue."""
    step = grid.scale / tissue.downsample
    x0, y0 = int(core[0] * step[0]), int(core[1] * step[1])
    x1, y1 = ceil(core[2] * step[0]), ceil(core[3] * step[1])
    return bool((tissue.classes[y0:y1, x0:x1] == TISSUE).any())


def _block(
    pixels: U8,
    origin: Pair,
    start: Pair,
    size: Pair,
    core: Four,
    grid: Frame,
    tissue: TissueMap,
    detector: Detector,
) -> Detections:
    """Nuclei of one block that it owns and that lie on tissue, in level-0 px."""
    work = np.ascontiguousarray(pixels)
    if grid.factor != (1.0, 1.0):
        work = area_reduce(work, grid.factor, origin, start, size)
    found = detector.detect(work, grid.mpp)
    anchor = found.anchors.astype(np.float64) + start
    owned = (anchor >= core[:2]).all(axis=1) & (anchor < core[2:]).all(axis=1)
    anchor_px0 = grid.to_px0(anchor)
    owned &= tissue.classes[map_pixel(tissue, anchor_px0)] == TISSUE
    kept = _take(found, np.flatnonzero(owned))
    shift = np.asarray(start)
    return Detections(
        centers=grid.to_px0(kept.centers + shift).astype(np.float32),
        anchors=anchor_px0[owned].astype(np.float32),
        score=kept.score,
        class_=kept.class_,
        prob=kept.prob,
        dab_od=kept.dab_od,
        outline=grid.to_px0(kept.outline + shift).astype(np.float32),
        outline_start=kept.outline_start,
    )


def _take(found: Detections, index: NDArray[np.int64]) -> Detections:
    """Rows ``index`` of detections, with their outlines."""
    length = np.diff(found.outline_start)[index]
    start = np.concatenate([[0], np.cumsum(length)]).astype(np.int64)
    place = np.arange(start[-1]) + np.repeat(found.outline_start[index] - start[:-1], length)
    return Detections(
        centers=found.centers[index],
        anchors=found.anchors[index],
        score=found.score[index],
        class_=found.class_[index],
        prob=found.prob[index],
        dab_od=found.dab_od[index],
        outline=found.outline[place],
        outline_start=start,
    )


def _joined(parts: list[Detections], classes: int) -> Detections:
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
    return _take(whole, np.lexsort((whole.centers[:, 0], whole.centers[:, 1])))
