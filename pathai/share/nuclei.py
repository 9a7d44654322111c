"""Nuclei by class as PNG tiles: outlines when near, how dense they lie when far; none is left out.

Each class has its own tiles, so that a page switches it on and off without reading pixels, which a
page that was opened from a disk must not do.
"""

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from pathai.export.held import Held
from pathai.share.pixels import Put, coarser, step_for
from pathai.share.walk import Levels, Pixels, Place, walk
from pathai.store.cell_store import CellsFile
from pathai.store.records import Cells
from pathai.units import Mpp, Size

FINEST_MPP = 0.4
"""µm/px of the finest tiles: an outline is as sharp there as a nucleus is."""
OUTLINES_TO_MPP = 1.1
"""Coarser than this, nuclei are filled: outlines would run together."""
REACH_UM = 60.0
"""Nuclei reach no farther from their centers."""
FILL, LINE = 120, 255
SHADES = 16


@dataclass(frozen=True)
class Drawn:
    """Tiles of the classes of a slide's nuclei.

    Parameters
    ----------
    classes : tuple of str
        In the order of the store.
    step : int
        Level-0 px per pixel of the finest tiles.
    levels : tuple of Levels
        One for each class.
    """

    classes: tuple[str, ...]
    step: int
    levels: tuple[Levels, ...]


def write_nuclei(
    cells: CellsFile | Held,
    size: Size,
    mpp: Mpp,
    colors: dict[str, str],
    folder: str,
    put: Put,
    told: Callable[[int, int], None] = lambda done, of: None,
) -> Drawn:
    """Draw the nuclei of a slide.

    Parameters
    ----------
    cells : CellsFile or Held
        Read a row of tiles at a time.
    size : Size
        Of the slide, level-0 px.
    mpp : Mpp
        Of level 0.
    colors : dict of str to str
        ``#rrggbb`` by class.
    folder : str
        Of the slide in the bundle.
    put, told
        As of `pathai.share.pixels.write_pixels`.
    """
    classes = cells.attrs.classes
    step = step_for(mpp, FINEST_MPP)
    whole = Levels(coarser(size, step))
    drawn = Drawn(classes, step, tuple(Levels(whole.size) for _ in classes))
    pen = _Pen(cells, step, REACH_UM / mpp.mean)

    def emit(place: Place, pixels: Pixels) -> None:
        near = mpp.mean * step * 2 ** (whole.finest - place.level) <= OUTLINES_TO_MPP
        for i, name in enumerate(classes):
            data = png(pixels[..., i], colors[name], near=near)
            if data:
                path = f"{folder}/nuclei_files/{i}/{place.level}/{place.column}_{place.row}.png"
                put(path, data)
                drawn.levels[i].mark(place)

    walk(whole, pen.tile, emit, blank=0, told=told)
    return drawn


class _Pen:
    """Draws tiles of the finest level, row after row."""

    def __init__(self, cells: CellsFile | Held, step: int, reach: float) -> None:
        self.cells, self.step, self.reach = cells, step, reach
        self.y = cells.read("xy_px0")[:, 1].astype(np.float64)
        self.row = -1
        self.part: Cells | None = None

    def tile(self, place: Place) -> Pixels | None:
        """Classes of a tile as uint8[h, w, c]: `FILL` inside of a nucleus, `LINE` at its edge."""
        part = self._row(place)
        if part is None:
            return None
        left, right = place.x * self.step, (place.x + place.width) * self.step
        x = part.xy_px0[:, 0]
        rows = np.flatnonzero((x > left - self.reach) & (x < right + self.reach))
        if not len(rows):
            return None
        size = (place.width, place.height)
        images = [Image.new("L", size) for _ in part.attrs.classes]
        pens = [ImageDraw.Draw(image) for image in images]
        corner = (place.x + 0.5, place.y + 0.5)  # a pixel's center is half a pixel from its corner
        for row in rows.tolist():
            first, last = part.outline_start[row : row + 2]
            points = (part.outline_px0[first:last] / self.step - corner).ravel().tolist()
            if len(points) >= 6:
                pens[part.class_[row]].polygon(points, fill=FILL, outline=LINE)
        found = np.stack([np.asarray(image) for image in images], axis=-1)
        return found if found.any() else None

    def _row(self, place: Place) -> Cells | None:
        if place.row != self.row:
            self.row = place.row
            top, bottom = place.y * self.step, (place.y + place.height) * self.step
            ends = (top - self.reach, bottom + self.reach)
            first, stop = (int(i) for i in np.searchsorted(self.y, ends))
            self.part = self.cells.part(first, stop) if stop > first else None
        return self.part


def png(values: NDArray[np.uint8], color: str, *, near: bool) -> bytes:
    """A tile of one class in one color, of 16 opacities; empty if nothing would be seen.

    Parameters
    ----------
    values : uint8[h, w]
        Means of `FILL` and `LINE`.
    color : str
        ``#rrggbb``.
    near : bool
        Outlines over a faint filling; else filled.
    """
    shade = _NEAR[values] if near else _FAR[values]
    if not shade.any():
        return b""
    size = (shade.shape[1], shade.shape[0])
    image = Image.frombytes("P", size, np.ascontiguousarray(shade).tobytes())
    image.putpalette(list(bytes.fromhex(color[1:])) * SHADES)
    out = BytesIO()
    opacity = bytes(round(255 * i / (SHADES - 1)) for i in range(SHADES))
    image.save(out, "PNG", transparency=opacity, bits=4)
    return out.getvalue()


_VALUES = np.arange(256, dtype=np.float64)
_FAINT = np.minimum(_VALUES / FILL, 1) * 0.12
_EDGE = np.clip((_VALUES - FILL) / (200 - FILL), 0, 1)
_NEAR = np.rint((SHADES - 1) * np.maximum(_FAINT, _EDGE)).astype(np.uint8)
_FAR = np.rint((SHADES - 1) * np.minimum(_VALUES / 170, 1)).astype(np.uint8)
