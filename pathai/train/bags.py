"""Bags of tiles that may be larger than memory: one flat file, of which only one slide is read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]
Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

TILES, PLACES, START, SLIDES = "tiles.npy", "places.npy", "start.npy", "slides.npy"


@dataclass(frozen=True)
class Bags:
    """Tiles of many slides.

    Parameters
    ----------
    tiles : float[T, D]
        Features of all tiles, slide after slide; a memory map where it comes from a file.
    places : int[T, 2]
        Row and column of each tile, or nothing ``[0, 2]``.
    start : intp[n + 1]
        First tile of each slide; the last entry is ``T``.
    slides : float32[n, E]
        What is known of each slide beside its tiles; every tile of the slide gets it, too.
    rows : intp[m]
        Slides of this selection, in order.
    """

    tiles: Array
    places: Array
    start: Ints
    slides: NDArray[np.float32]
    rows: Ints

    @classmethod
    def of(cls, bags: Sequence[Tensor], places: Sequence[Tensor] = ()) -> Bags:
        """Bags float[N_i, D] that are in memory, with the places int[N_i, 2] of their tiles."""
        where = torch.cat(list(places)).numpy() if places else np.zeros((0, 2), np.int64)
        sizes = np.cumsum([0, *(len(bag) for bag in bags)])
        tiles = torch.cat([bag.float() for bag in bags]).numpy()
        n = len(bags)
        return cls(tiles, where, sizes.astype(np.intp), np.zeros((n, 0), np.float32), np.arange(n))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> Tensor:
        """Tiles float32[N_i, D + E] of a slide, read now."""
        row = self.rows[i]
        own = np.array(self.tiles[self.start[row] : self.start[row + 1]], np.float32)
        if self.slides.shape[1]:
            shared = np.broadcast_to(self.slides[row], (len(own), self.slides.shape[1]))
            own = np.concatenate([own, shared], axis=1)
        return torch.from_numpy(own)

    def place(self, i: int) -> Tensor | None:
        """Row and column int64[N_i, 2] of a slide's tiles; None where they are not known."""
        if not len(self.places):
            return None
        row = self.rows[i]
        return torch.from_numpy(
            np.array(self.places[self.start[row] : self.start[row + 1]], np.int64)
        )

    @property
    def sizes(self) -> Ints:
        """Number of tiles intp[m] of each slide."""
        found: Ints = np.diff(self.start)[self.rows]
        return found

    @property
    def dim(self) -> int:
        """Values per tile."""
        return int(self.tiles.shape[1] + self.slides.shape[1])

    def take(self, rows: Ints) -> Bags:
        """Some of the slides; nothing is read."""
        return Bags(self.tiles, self.places, self.start, self.slides, self.rows[rows])

    def moments(self) -> tuple[Floats, Floats]:
        """Mean and mean square float64[m, D + E] of each slide's tiles."""
        pairs = [(b.mean(0), (b**2).mean(0)) for b in (self[i].double() for i in range(len(self)))]
        first, second = (torch.stack(part).numpy() for part in zip(*pairs, strict=True))
        return first, second

    def save(self, folder: Path) -> None:
        """Write what ``load`` reads; tiles that already lie there are left."""
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / TILES).absolute()
        if not (isinstance(self.tiles, np.memmap) and str(self.tiles.filename) == str(file)):
            np.save(file, self.tiles)
        np.save(folder / PLACES, self.places)
        np.save(folder / START, self.start)
        np.save(folder / SLIDES, self.slides)

    @classmethod
    def load(cls, folder: Path) -> Bags:
        """All bags of a folder; tiles stay in the file."""
        start = np.load(folder / START)
        return cls(
            open_tiles(folder),
            np.load(folder / PLACES),
            start,
            np.load(folder / SLIDES),
            np.arange(len(start) - 1),
        )


def open_tiles(folder: Path) -> Array:
    """Tiles float[T, D] of a folder, mapped."""
    tiles: Array = np.load((folder / TILES).absolute(), mmap_mode="r")
    return tiles


def write_tiles(folder: Path, bags: Iterable[Array]) -> Ints:
    """Write bags float[N_i, D] one after another, as they come; return the first tile of each.

    All have the type of the first. Memory holds one bag at a time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    start, dim, dtype = [0], 0, np.dtype(np.float16)
    with (folder / TILES).open("wb") as file:
        for bag in bags:
            if len(start) == 1:
                dim, dtype = bag.shape[1], bag.dtype
                _write_header(file, 0, dim, dtype)
            start.append(start[-1] + len(bag))
            file.write(np.ascontiguousarray(bag, dtype).tobytes())
        file.seek(0)
        _write_header(file, start[-1], dim, dtype)
    return np.array(start, np.intp)


def _write_header(file: BinaryIO, rows: int, dim: int, dtype: np.dtype[Any]) -> None:
    """Header of a ``.npy`` file; numpy leaves room in it for any number of rows."""
    head = {"descr": dtype.str, "fortran_order": False, "shape": (rows, dim)}
    np.lib.format.write_array_header_1_0(file, head)
