"""A slide's stored pixels as JPEG tiles in the Deep Zoom layout; what is background is absent.

Ink is painted white: a chunk that the store copied for its tissue can hold writing beside it, and
what is written on a slide may name a patient.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from pathai.errors import PathaiError
from pathai.share.walk import Levels, Pixels, Place, walk
from pathai.store.chunked import ChunkCache
from pathai.store.level import Level
from pathai.store.pyramid import Pyramid
from pathai.store.records import DARK, PEN, TissueMap
from pathai.units import Box, Mpp, Size

CACHE_MIB = 64
SLACK = 1.01
WHITE = (255, 255, 255)
Put = Callable[[str, bytes], None]


@dataclass
class Shown:
    """What was written of a slide's pixels.

    Parameters
    ----------
    size : Size
        Level-0 px.
    step : int
        Level-0 px per pixel of the finest level; a power of two.
    mpp : Mpp
        Of level 0.
    levels : Levels
        Geometry, and which tiles there are.
    glass : (int, int, int)
        Color of what is not there.
    unreadable : list of Box
        Level-0 px; nothing is shown there.
    """

    size: Size
    step: int
    mpp: Mpp
    levels: Levels
    glass: tuple[int, int, int] = WHITE
    unreadable: list[Box] = field(default_factory=list)


def step_for(mpp: Mpp, finest_mpp: float) -> int:
    """Power of two by which pixels must be coarser, so as to be no finer than ``finest_mpp``."""
    step = 1
    while mpp.mean * step * SLACK < finest_mpp:
        step *= 2
    return step


def coarser(size: Size, step: int) -> Size:
    """Size of an image that is ``step`` times coarser, px."""
    return Size(-(-size.width // step), -(-size.height // step))


def write_pixels(
    pyramid: Pyramid,
    tissue: TissueMap,
    folder: str,
    put: Put,
    *,
    quality: int,
    finest_mpp: float = 0.0,
    glass: tuple[int, int, int] = WHITE,
    told: Callable[[int, int], None] = lambda done, of: None,
) -> Shown:
    """Write the tiles of a slide.

    Parameters
    ----------
    pyramid : Pyramid
        Of the store.
    tissue : TissueMap
        Says where ink is.
    folder : str
        Of the slide in the bundle.
    put : callable
        Takes a name and its bytes.
    quality : int
        Of JPEG, 1 to 100.
    finest_mpp : float
        µm/px beyond which nothing is finer; 0 for all there is.
    glass : (int, int, int)
        Color of what is not there.
    told : callable
        As of `walk`.

    Returns
    -------
    Shown
        Damaged parts are listed there, and are white.
    """
    step = step_for(pyramid.mpp, finest_mpp)
    shown = Shown(pyramid.size, step, pyramid.mpp, Levels(coarser(pyramid.size, step)), glass)
    level = pyramid.levels[pyramid.level_for(step)]
    shown.unreadable += level.lost
    cache = ChunkCache(CACHE_MIB)
    known, ink = len(level.lost), _Ink(tissue)

    def leaf(place: Place) -> Pixels | None:
        box = _box(place, step)
        if not _held(level, box):
            return None
        try:
            if level.downsample == step:
                pixels = level.read_px(place.x, place.y, place.width, place.height, cache)
            else:
                small = pyramid.read_at(box, Size(place.width, place.height), cache)
                pixels = small.copy()  # what a picture library made cannot be painted on
        except PathaiError:
            shown.unreadable.append(box)
            return None
        ink.cover(pixels, place, step)
        if int(pixels.min()) == 255:
            return None
        if glass != WHITE:
            pixels[(pixels == 255).all(axis=-1)] = glass
        return pixels

    def emit(place: Place, pixels: Pixels) -> None:
        data = imagecodecs.jpeg8_encode(
            np.ascontiguousarray(pixels), level=quality, subsampling="420"
        )
        put(f"{folder}/slide_files/{place.level}/{place.column}_{place.row}.jpg", bytes(data))
        shown.levels.mark(place)

    walk(shown.levels, leaf, emit, blank=glass, told=told)
    shown.unreadable += level.lost[known:]
    put(f"{folder}/slide.dzi", _dzi(shown.levels))
    return shown


class _Ink:
    """Where pen and what is as dark as ink lie, to be covered."""

    def __init__(self, tissue: TissueMap) -> None:
        self.mask = np.isin(tissue.classes, (PEN, DARK))
        self.d = tissue.downsample

    def cover(self, pixels: Pixels, place: Place, step: int) -> None:
        """Paint it white in a tile of the finest level."""
        height, width = pixels.shape[:2]
        rows = self._index(place.y, height, step, self.mask.shape[0])
        columns = self._index(place.x, width, step, self.mask.shape[1])
        part = self.mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        if part.any():
            pixels[part[np.ix_(rows - rows[0], columns - columns[0])]] = 255

    def _index(self, first: int, count: int, step: int, most: int) -> NDArray[np.intp]:
        """Row or column of the map at the center of each pixel."""
        at = (first + np.arange(count) + 0.5) * step / self.d
        found: NDArray[np.intp] = np.minimum(at.astype(np.intp), most - 1)
        return found


def _box(place: Place, step: int) -> Box:
    return Box(place.x * step, place.y * step, place.width * step, place.height * step)


def _held(level: Level, box: Box) -> bool:
    """Whether any chunk is stored there."""
    d, chunk = level.downsample, level.chunk
    rows = range(int(box.y / d) // chunk.height, int((box.bottom - 1e-6) / d) // chunk.height + 1)
    columns = range(int(box.x / d) // chunk.width, int((box.right - 1e-6) / d) // chunk.width + 1)
    return any(
        level.holds(row, column)
        for row in rows
        if row < level.rows
        for column in columns
        if column < level.columns
    )


def _dzi(levels: Levels) -> bytes:
    """The descriptor by which any Deep Zoom viewer opens the tiles."""
    size = levels.size
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<Image xmlns="http://schemas.microsoft.com/deepzoom/2008" Format="jpg" Overlap="0" '
        f'TileSize="{levels.tile}"><Size Width="{size.width}" Height="{size.height}"/></Image>\n'
    ).encode()
