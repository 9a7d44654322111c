"""What levels show: the thumbnail drawn anew, and whether all levels show one picture.

A label that is stored as if it were a level would pass every check of structure. It does not
show what the level above it shows.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from pathai.deid.report import unsafe

Picture = NDArray[np.uint8]
THUMBNAIL_PX = 1024
WINDOWS = 4
"""Per side of a level, where it is compared with the one above."""
CELL = 4
# A real two-level slide (JPEG 2000) measured 0.7, 6.7 and 0.9997.
_MEAN_OFF, _MOST_OFF, _ALIKE = 3.0, 25.0, 0.8


def levels_in(tiff: tifffile.TiffFile, kind: str, indices: list[int]) -> list[tifffile.TiffPage]:
    """Pages that are levels: by index in the main chain, or the sub-images of the first."""
    if kind != "ome-tiff":
        return [tiff.pages[k] for k in indices]
    first = tiff.pages[0]
    children = first.pages if first.pages is not None else []
    return [first, *(children[k] for k in range(len(indices) - 1))]


def thumbnail(path: Path, index: int) -> Picture:
    """A small picture of a level of a file, uint8[y, x, 3], at most ``THUMBNAIL_PX`` a side."""
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[index]
        step = -(-max(page.imagewidth, page.imagelength) // THUMBNAIL_PX)
        size = -(-page.imagelength // step), -(-page.imagewidth // step)
        total = np.zeros((*size, 3))
        number = np.zeros((*size, 1))
        for place in range(len(page.dataoffsets)):
            tile, y, x = _tile(tiff, page, place)
            rows, columns = _cells(y, len(tile), step), _cells(x, len(tile[0]), step)
            small = np.add.reduceat(tile.astype(np.float64), rows[1], axis=0)
            small = np.add.reduceat(small, columns[1], axis=1)
            area = np.outer(_lengths(rows[1], len(tile)), _lengths(columns[1], len(tile[0])))
            total[np.ix_(rows[0], columns[0])] += small
            number[np.ix_(rows[0], columns[0])] += area[..., None]
    mean: Picture = np.round(total / np.maximum(number, 1)).astype(np.uint8)
    return mean


def same_picture(tiff: tifffile.TiffFile, pages: list[tifffile.TiffPage]) -> None:
    """Compare windows of each level with the level above.

    Parameters
    ----------
    tiff : TiffFile
    pages : list of TiffPage
        Levels, largest first.

    Raises
    ------
    PathaiError
        E148 where a level shows something else.
    """
    for above, level in pairwise(pages):
        across = -(-level.imagewidth // level.tilewidth)
        down = -(-level.imagelength // level.tilelength)
        columns = sorted({round(k) for k in np.linspace(0, across - 1, WINDOWS)})
        rows = sorted({round(k) for k in np.linspace(0, down - 1, WINDOWS)})
        a, b = [], []
        for place in (row * across + column for row in rows for column in columns):
            tile, y, x = _tile(tiff, level, place)
            mine, theirs = _windows(tiff, above, level, tile, y, x)
            a.append(mine)
            b.append(theirs)
        one, two = np.concatenate(a), np.concatenate(b)
        off = np.abs(one - two)
        close = off.mean() < _MEAN_OFF and np.percentile(off, 99.9) < _MOST_OFF
        varied = one.std() > 0 and two.std() > 0
        if not close and not (varied and np.corrcoef(one, two)[0, 1] > _ALIKE):
            raise unsafe("a level shows another picture than the scan")


def _windows(
    tiff: tifffile.TiffFile,
    above: tifffile.TiffPage,
    level: tifffile.TiffPage,
    tile: Picture,
    y: int,
    x: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means of 4 x 4 px cells of a tile, and of the same places one level above, as gray."""
    scale_y, scale_x = above.imagelength / level.imagelength, above.imagewidth / level.imagewidth
    cell_y, cell_x = min(CELL, len(tile)), min(CELL, len(tile[0]))
    high, wide = len(tile) // cell_y * cell_y, len(tile[0]) // cell_x * cell_x
    gray = tile[:high, :wide].mean(axis=2)
    mine = gray.reshape(high // cell_y, cell_y, wide // cell_x, cell_x).mean(axis=(1, 3))
    tops, lefts = y + cell_y * np.arange(len(mine)), x + cell_x * np.arange(len(mine[0]))
    large = _region(tiff, above, int(y * scale_y), int(x * scale_x),
                    round((y + high) * scale_y), round((x + wide) * scale_x))  # fmt: skip
    sums = np.pad(large.mean(axis=2).cumsum(0).cumsum(1), ((1, 0), (1, 0)))

    y0, y1 = _edges(tops, cell_y, scale_y, len(large))
    x0, x1 = _edges(lefts, cell_x, scale_x, len(large[0]))
    whole = sums[y1][:, x1] - sums[y0][:, x1] - sums[y1][:, x0] + sums[y0][:, x0]
    return mine.ravel(), (whole / np.outer(y1 - y0, x1 - x0)).ravel()


def _edges(
    starts: NDArray[np.int64], cell: int, scale: float, limit: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where cells begin and end one level above, counted from the first cell's begin."""
    first = int(starts[0] * scale)
    low = np.clip((starts * scale).astype(np.int64) - first, 0, limit - 1)
    return low, np.clip(((starts + cell) * scale).astype(np.int64) - first, low + 1, limit)


def _region(
    tiff: tifffile.TiffFile, page: tifffile.TiffPage, y0: int, x0: int, y1: int, x1: int
) -> Picture:
    """Pixels of a box of a level."""
    y1, x1 = min(y1, page.imagelength), min(x1, page.imagewidth)
    out = np.full((y1 - y0, x1 - x0, 3), 255, np.uint8)
    across = -(-page.imagewidth // page.tilewidth)
    for row in range(y0 // page.tilelength, -(-y1 // page.tilelength)):
        for column in range(x0 // page.tilewidth, -(-x1 // page.tilewidth)):
            tile, y, x = _tile(tiff, page, row * across + column)
            top, left = max(y, y0), max(x, x0)
            low, right = min(y + len(tile), y1), min(x + len(tile[0]), x1)
            part = tile[top - y : low - y, left - x : right - x]
            out[top - y0 : low - y0, left - x0 : right - x0] = part
    return out


def _tile(tiff: tifffile.TiffFile, page: tifffile.TiffPage, place: int) -> tuple[Picture, int, int]:
    """A decoded tile, cut at the edge of its image, and its place (y, x)."""
    offset, size = page.dataoffsets[place], page.databytecounts[place]
    across = -(-page.imagewidth // page.tilewidth)
    y, x = place // across * page.tilelength, place % across * page.tilewidth
    high = min(page.tilelength, page.imagelength - y)
    wide = min(page.tilewidth, page.imagewidth - x)
    if not size:
        return np.full((high, wide, 3), 255, np.uint8), y, x
    tiff.filehandle.seek(offset)
    data = tiff.filehandle.read(size)
    decoded, _, _ = page.decode(data, place, jpegtables=page.jpegtables)
    picture: Picture = decoded.reshape(decoded.shape[-3:])[:high, :wide, :3]
    return picture, y, x


def _cells(start: int, length: int, step: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cells of the small picture that a run of pixels falls into, and where each begins."""
    cells, first = np.unique((start + np.arange(length)) // step, return_index=True)
    return cells, first


def _lengths(first: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    return np.diff(np.append(first, length))
