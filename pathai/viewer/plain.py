"""A slide file as it came from the scanner: pixels through pathai's readers, read when seen.

Nothing is changed and nothing is written. Levels are the file's own; where it has one only,
coarser ones are made from it, so that the whole slide can be shown.
"""

from pathlib import Path
from threading import Lock
from typing import Any
from weakref import finalize

import numpy as np
from numpy.typing import NDArray

from pathai.readers import Slide, open_slide
from pathai.units import Box, Mpp, Size
from pathai.viewer import layers

CHUNK = 512
"""Edge of a chunk, px."""
COARSE = 2048
"""The coarsest level is not longer than this, px."""
PIXELS = ("pixel", "pixel")


class Source:
    """An open slide and the lock for reading it: not every library reads in several threads.

    The file is given back when the last level is forgotten.
    """

    def __init__(self, slide: Slide) -> None:
        self.slide, self.lock = slide, Lock()
        finalize(self, slide.close)


class LevelOf:
    """One level of a slide as dask wants it: read where it is asked for.

    Parameters
    ----------
    source : Source
        The slide.
    level : int
        Which level.
    """

    ndim, dtype = 3, np.dtype(np.uint8)

    def __init__(self, source: Source, level: int) -> None:
        self.source, self.level = source, level
        slide = source.slide
        self.size: Size = slide.facts.level_dimensions[level]
        whole = slide.facts.size
        self._ratio = whole.width / self.size.width, whole.height / self.size.height
        self.shape = (self.size.height, self.size.width, 3)

    def __getitem__(self, where: tuple[slice, ...]) -> NDArray[np.uint8]:
        """Pixels uint8[h, w, 3] of whole rows and columns; white where the file has none."""
        y0, y1, _ = where[0].indices(self.shape[0])
        x0, x1, _ = where[1].indices(self.shape[1])
        rx, ry = self._ratio
        box = Box(x0 * rx, y0 * ry, (x1 - x0) * rx, (y1 - y0) * ry)
        with self.source.lock:
            pixels, _ = self.source.slide.read_level(box, self.level)
        return pixels


def levels_of(slide: Slide) -> list[Any]:
    """Levels as dask arrays ``uint8[y, x, c=3]``, finest first."""
    import dask.array as da

    source, found = Source(slide), []
    shapes: set[tuple[int, ...]] = set()
    for number in range(len(slide.facts.level_dimensions)):
        pixels = LevelOf(source, number)
        if pixels.shape in shapes or min(pixels.shape) < 1:
            continue
        shapes.add(pixels.shape)
        chunks = (CHUNK, CHUNK, 3)
        meta = np.empty((0, 0, 0), np.uint8)
        found.append(da.from_array(pixels, chunks=chunks, meta=meta, asarray=False))
    while max(found[-1].shape[:2]) > COARSE and min(found[-1].shape[:2]) >= 2:
        found.append(_halved(found[-1]))
    return found


def _halved(level: Any) -> Any:
    """A level of half the size, each pixel the mean of four."""
    import dask.array as da

    mean = da.coarsen(np.mean, level, {0: 2, 1: 2}, trim_excess=True)
    return da.round(mean).astype(np.uint8).rechunk((CHUNK, CHUNK, 3))


def resolution(slide: Slide) -> tuple[Mpp | None, str]:
    """µm per level-0 px where the file's own can be believed, and what to say where not."""
    mpp = slide.facts.mpp
    if mpp is None:
        return None, "The slide records no µm per pixel: it is shown in pixels, without a scale."
    if not mpp.plausible:
        said = f"The slide says {mpp.x:.4g} µm per pixel, which cannot be right"
        return None, f"{said}: it is shown in pixels, without a scale."
    return mpp, ""


def plain_layer(path: Path) -> tuple[layers.LayerData, str]:
    """The pixels of a slide file as a layer, and what the reader must be told.

    Parameters
    ----------
    path : Path
        The slide file.

    Raises
    ------
    PathaiError
        E10x to E14x saying what is wrong with the file and what to do.
    """
    slide = open_slide(path)
    mpp, note = resolution(slide)
    options: dict[str, Any] = {"name": "slide", "rgb": True}
    options |= layers.place(mpp) if mpp else {"units": PIXELS, "translate": (0.5, 0.5)}
    levels = levels_of(slide)
    if len(levels) == 1:
        return (levels[0], options, "image"), note
    return (levels, {**options, "multiscale": True}, "image"), note
