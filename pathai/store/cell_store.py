"""``cells/<detector>.zarr`` written and read piece by piece: millions of nuclei in flat memory."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from pathai.errors import PathaiError
from pathai.store.groups import (
    CELL_ARRAYS,
    CODECS,
    Streamed,
    attributes,
    open_group,
    same_rows,
    stored_name,
    write_group,
)
from pathai.store.records import Cells, CellsAttrs

U8 = NDArray[np.uint8]
STRIP = 1024
"""Edge of a chunk of the class raster, px; it is written in strips of so many rows."""
SMALLEST = 512
"""The class raster is halved until it is not larger than this."""
PIECE = 65_536
"""Nuclei that are read at once."""


def write_streamed_cells(
    path: Path,
    arrays: dict[str, NDArray[Any] | Streamed],
    attrs: CellsAttrs,
    size: tuple[int, int],
    strips: Iterator[U8],
) -> None:
    """Write ``cells/<detector>.zarr`` whose large parts come piece by piece.

    Parameters
    ----------
    path : Path
        Of the group.
    arrays : dict
        The arrays of `Cells`, by its names, but the raster.
    attrs : CellsAttrs
        Attributes.
    size : tuple of int
        Rows and columns of the finest raster.
    strips : iterator of uint8[r, columns]
        The finest raster from top to bottom, any number of rows at a time.
    """
    named = {stored_name(name): array for name, array in arrays.items()}
    write_group(path, named, attrs.model_dump(mode="json"))
    write_raster(zarr.open_group(path, mode="r+"), size, strips)


def raster_sizes(size: tuple[int, int]) -> list[tuple[int, int]]:
    """Rows and columns of each level of the class raster, finest first."""
    sizes = [size]
    while max(sizes[-1]) > SMALLEST:
        sizes.append((-(-sizes[-1][0] // 2), -(-sizes[-1][1] // 2)))
    return sizes


def write_raster(group: zarr.Group, size: tuple[int, int], strips: Iterator[U8]) -> None:
    """Write ``raster/0`` and its halvings; only strips of each level are in memory."""
    sizes = raster_sizes(size)
    levels = [
        group.create_array(
            f"raster/{number}",
            shape=shape,
            dtype="uint8",
            chunks=(max(min(STRIP, shape[0]), 1), max(min(STRIP, shape[1]), 1)),
            compressors=CODECS,
            config={"write_empty_chunks": True},
        )
        for number, shape in enumerate(sizes)
    ]
    kept = [np.empty((0, columns), np.uint8) for _, columns in sizes]
    done = [0] * len(sizes)

    def push(number: int, rows: U8) -> None:
        height = sizes[number][0]
        whole = np.concatenate([kept[number], rows])
        while len(whole) >= STRIP or (len(whole) and done[number] + len(whole) == height):
            strip, whole = whole[:STRIP], whole[STRIP:]
            levels[number][done[number] : done[number] + len(strip)] = strip
            done[number] += len(strip)
            if number + 1 < len(sizes):
                push(number + 1, halved(strip))
        kept[number] = whole

    for strip in strips:
        push(0, strip)
    if done != [rows for rows, _ in sizes]:
        raise ValueError(f"strips ended after {done[0]} of {size[0]} rows")


def halved(raster: U8) -> U8:
    """The largest of every two by two pixels; uint8[ceil(h / 2), ceil(w / 2)]."""
    even = np.pad(raster, [(0, n % 2) for n in raster.shape])
    found: U8 = even.reshape(even.shape[0] // 2, 2, even.shape[1] // 2, 2).max(axis=(1, 3))
    return found


class CellsFile:
    """Stored nuclei that are read in slices.

    Parameters
    ----------
    path : Path
        ``cells/<detector>.zarr``.

    Raises
    ------
    PathaiError
        E164 if it is missing or damaged: run ``pathai cells``.
    """

    def __init__(self, path: Path) -> None:
        self._group = open_group(path, "run pathai cells")
        self.attrs = attributes(self._group, CellsAttrs)
        self._arrays: dict[str, zarr.Array[Any]] = {}
        for name, (dtype, axes) in CELL_ARRAYS.items():
            array = self._group.get(stored_name(name))
            kind = (array.dtype, array.ndim) if isinstance(array, zarr.Array) else None
            if kind != (np.dtype(dtype), axes):
                raise PathaiError(
                    "E164", f"array {stored_name(name)} is missing or of another type"
                )
            self._arrays[name] = array  # type: ignore[assignment]
        rows = [name for name in CELL_ARRAYS if not name.startswith("outline")]
        lengths = {name: self._arrays[name].shape[0] for name in rows}
        same_rows({**lengths, "outline_start": self._arrays["outline_start"].shape[0] - 1})

    def __len__(self) -> int:
        return int(self._arrays["xy_px0"].shape[0])

    def read(self, name: str, first: int = 0, stop: int | None = None) -> NDArray[Any]:
        """Rows of one array of `Cells`."""
        try:
            return np.asarray(self._arrays[name][first:stop])
        except (ValueError, OSError, RuntimeError) as error:
            raise PathaiError("E164", f"array {stored_name(name)}: {error}") from None

    def raster(self) -> tuple[zarr.Array[Any], ...]:
        """Levels of the class raster, finest first, not yet read."""
        found = self._group.get("raster")
        levels = dict(found.arrays()) if isinstance(found, zarr.Group) else {}
        named = [levels.get(str(number)) for number in range(len(levels))]
        if not named or any(
            one is None or (one.dtype, one.ndim) != (np.dtype("uint8"), 2) for one in named
        ):
            raise PathaiError("E164", "group raster is missing or of another type")
        return tuple(one for one in named if one is not None)

    def part(self, first: int, stop: int) -> Cells:
        """Nuclei ``first`` to ``stop``, without raster; outlines count from the first of them."""
        start = self.read("outline_start", first, stop + 1)
        if len(start) == 0 or (np.diff(start) < 0).any():
            raise PathaiError("E164", "array outline_start: does not rise")
        others = {
            name: self.read(name, first, stop)
            for name in CELL_ARRAYS
            if not name.startswith("outline")
        }
        outline = self.read("outline_px0", int(start[0]), int(start[-1]))
        return Cells(
            **others,
            outline_px0=outline,
            outline_start=start - start[0],
            raster=(),
            attrs=self.attrs,
        )

    def parts(self, size: int = PIECE) -> Iterator[tuple[int, Cells]]:
        """All nuclei, ``size`` at a time, each with the row of its first."""
        for first in range(0, len(self), size):
            yield first, self.part(first, min(first + size, len(self)))
