"""A slide's nuclei as they are shown: places and classes in memory, outlines read when needed."""

from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pathai.store.cell_store import CellsFile
from pathai.store.records import CellsAttrs
from pathai.viewer.class_raster import ClassRaster

Rows = NDArray[np.int64]
GAP = 4096
"""Rows between two wanted ones are read along when they are fewer than this."""


@dataclass
class Nuclei:
    """Nuclei of one slide and one detector.

    Attributes
    ----------
    file : CellsFile
        What they are read from.
    detector : str
        Whose they are.
    store : str
        Digest of the contents: rows mean the same nuclei while it is so.
    xy_px0 : float32[M, 2]
        Centers, sorted by y.
    class_ : uint8[M]
        As the detector gave it.
    raster : ClassRaster
        With a reader's corrections.
    """

    file: CellsFile
    detector: str
    store: str
    xy_px0: NDArray[np.float32] = field(repr=False)
    class_: NDArray[np.uint8] = field(repr=False)
    raster: ClassRaster
    _start: Rows = field(repr=False)

    @property
    def attrs(self) -> CellsAttrs:
        """Classes, counts and areas as they are stored."""
        return self.file.attrs

    def __len__(self) -> int:
        return len(self.xy_px0)

    def outlines(self, rows: Rows) -> tuple[NDArray[np.float32], Rows]:
        """Outlines of some nuclei.

        Parameters
        ----------
        rows : int64[n]
            Rising.

        Returns
        -------
        float32[k, 2]
            Points x, y, level-0 px, one outline after the other.
        int64[n + 1]
            Where each starts.
        """
        length = self._start[rows + 1] - self._start[rows]
        start = np.concatenate([[0], np.cumsum(length)])
        if not len(rows):
            return np.empty((0, 2), np.float32), start
        parts = []
        for run in np.split(rows, np.flatnonzero(np.diff(rows) > GAP) + 1):
            first = int(self._start[run[0]])
            points = self.file.read("outline_px0", first, int(self._start[run[-1] + 1]))
            begin, size = self._start[run] - first, self._start[run + 1] - self._start[run]
            shift = np.repeat(begin - np.cumsum(size) + size, size)
            parts.append(points[shift + np.arange(int(size.sum()))])
        return np.concatenate(parts).astype(np.float32, copy=False), start


def open_nuclei(path: Path, detector: str, store: str) -> Nuclei:
    """Open ``cells/<detector>.zarr`` for the viewer.

    Parameters
    ----------
    path : Path
        Of the group.
    detector : str
        Its name.
    store : str
        Digest of the contents; empty if none is known, then one of the places is made.

    Raises
    ------
    PathaiError
        E164 if it is missing or damaged: run ``pathai cells``.
    """
    file = CellsFile(path)
    xy, class_ = file.read("xy_px0"), file.read("class_")
    raster = ClassRaster(file.raster(), file.attrs.raster_downsample0)
    known = store or sha256(np.ascontiguousarray(xy).tobytes()).hexdigest()
    return Nuclei(file, detector, known, xy, class_, raster, file.read("outline_start"))
