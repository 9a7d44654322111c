"""Nuclei that are in memory, such as corrected ones, where exports read stored ones in slices."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathai.store.cell_store import PIECE
from pathai.store.records import Cells, CellsAttrs


@dataclass(frozen=True)
class Held:
    """Nuclei in memory.

    Attributes
    ----------
    cells : Cells
    ids : int64[M]
        Numbers by which a table names them.
    origin : str
        What says where they come from, such as a digest of the corrections.
    """

    cells: Cells
    ids: NDArray[np.int64]
    origin: str = ""

    @property
    def attrs(self) -> CellsAttrs:
        """Whose nuclei, and their classes."""
        return self.cells.attrs

    def __len__(self) -> int:
        return len(self.cells.xy_px0)

    def read(self, name: str, first: int = 0, stop: int | None = None) -> NDArray[Any]:
        """Rows of one array of `Cells`."""
        found: NDArray[Any] = getattr(self.cells, name)[first:stop]
        return found

    def part(self, first: int, stop: int) -> Cells:
        """Nuclei ``first`` to ``stop``; outlines count from the first of them."""
        held = self.cells
        start = held.outline_start[first : stop + 1]
        return Cells(
            xy_px0=held.xy_px0[first:stop],
            score=held.score[first:stop],
            class_=held.class_[first:stop],
            prob=held.prob[first:stop],
            dab_od=held.dab_od[first:stop],
            measures=held.measures[first:stop],
            outline_px0=held.outline_px0[start[0] : start[-1]],
            outline_start=start - start[0],
            raster=(),
            attrs=held.attrs,
        )

    def parts(self, size: int = PIECE) -> Iterator[tuple[int, Cells]]:
        """All nuclei, ``size`` at a time, each with the number of its first."""
        for first in range(0, len(self), size):
            yield first, self.part(first, min(first + size, len(self)))


def by_place(cells: Cells, rows: NDArray[np.int64]) -> tuple[Cells, NDArray[np.int64]]:
    """Nuclei sorted by y, then x, as stored ones are, with a number of each along."""
    order = np.lexsort((cells.xy_px0[:, 0], cells.xy_px0[:, 1]))
    first, length = cells.outline_start[order], np.diff(cells.outline_start)[order]
    start = np.concatenate([[0], np.cumsum(length)]).astype(np.int64)
    place = np.arange(int(start[-1])) - np.repeat(start[:-1], length)
    sorted_cells = Cells(
        xy_px0=cells.xy_px0[order],
        score=cells.score[order],
        class_=cells.class_[order],
        prob=cells.prob[order],
        dab_od=cells.dab_od[order],
        measures=cells.measures[order],
        outline_px0=cells.outline_px0[np.repeat(first, length) + place],
        outline_start=start,
        raster=(),
        attrs=cells.attrs,
    )
    return sorted_cells, rows[order]


def held(cells: Cells, rows: NDArray[np.int64], stored: int, origin: str = "") -> Held:
    """Corrected nuclei in order, numbered by their rows; what was added counts on after them.

    Parameters
    ----------
    cells : Cells
    rows : int64[M]
        Row of each among the stored ones; -1 for an added one.
    stored : int
        How many are stored.
    origin : str
        As of `Held`.
    """
    cells, ids = by_place(cells, rows)
    added = ids < 0
    ids[added] = stored + np.arange(int(added.sum()))
    return Held(cells, ids, origin)
