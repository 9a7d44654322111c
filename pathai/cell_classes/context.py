"""What a class is told from: the measures of a nucleus, and those of the nuclei around it."""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from pathai.morphometry import MEASURES

F64 = NDArray[np.float64]

RADIUS_UM = 50.0
"""Nuclei farther away are no neighbors."""
NEIGHBORS = 16
"""At most so many neighbors, the nearest."""
NEAR = 5
BAND = 32_768
"""Nuclei that are treated at once."""

_LOGARITHM = frozenset(
    ("area_um2", "perimeter_um", "major_um", "minor_um", "hematoxylin_sum_od_um2")
)
_ANGLE = MEASURES.index("orientation_deg")
_OWN = tuple(name for name in MEASURES if name != "orientation_deg")
_AROUND = (
    "area_um2",
    "minor_um",
    "eccentricity",
    "circularity",
    "hematoxylin_od",
    "second_od",
    "gradient_od_per_um",
    "ring_second_od",
)
FEATURES: tuple[str, ...] = (
    *_OWN,
    *(f"neighbors_mean_{name}" for name in _AROUND),
    *(f"neighbors_sd_{name}" for name in _AROUND),
    "nearest_um",
    "near_mean_um",
    "neighbors_15um",
    "neighbors_30um",
    "coherence",
    "alignment",
)
"""Columns of `Neighborhood.features`.

``neighbors_mean`` and ``_sd`` are over the nearest 16 within 50 µm; ``near_mean_um`` is the mean
distance of the nearest five (50 where there are fewer); ``coherence`` says how far the long axes
around point the same way, ``alignment`` how far that of the nucleus goes with them.
"""


class Neighborhood:
    """All nuclei of a slide, to be described band by band.

    Parameters
    ----------
    xy_um : float[M, 2]
        Centers x, y in µm.
    measures : float32[M, F]
        From `pathai.morphometry.measure`.
    """

    def __init__(self, xy_um: NDArray[np.floating], measures: NDArray[np.float32]) -> None:
        self.xy_um = np.asarray(xy_um, np.float64).reshape(-1, 2)
        self.measures = measures
        self._tree = cKDTree(self.xy_um)
        self._own = [MEASURES.index(name) for name in _OWN]
        self._shared = [_OWN.index(name) for name in _AROUND]

    def features(self, rows: slice | NDArray[np.intp]) -> F64:
        """Features ``float64[n, D]`` of some nuclei, in the order of `FEATURES`."""
        own = self._table(rows)
        count = len(self.xy_um)
        away, beside = self._tree.query(
            self.xy_um[rows], k=NEIGHBORS + 1, distance_upper_bound=RADIUS_UM
        )
        away, beside = away[:, 1:], beside[:, 1:]  # the first is the nucleus itself
        there = beside < count
        known, place = np.unique(beside, return_inverse=True)
        known[known == count] = 0  # no neighbor: counts with weight 0
        table = self._table(known)
        around = table[:, self._shared][place.reshape(beside.shape)]
        weight = there[..., None].astype(np.float64)
        number = np.maximum(weight.sum(axis=1), 1)
        mean = (around * weight).sum(axis=1) / number
        square = (np.square(around - mean[:, None]) * weight).sum(axis=1) / number
        # a lone nucleus is like its neighbors: nothing is known of them
        mean = np.where(there.any(axis=1)[:, None], mean, own[:, self._shared])
        gap = np.where(there, away, RADIUS_UM)
        return np.concatenate(
            [
                own,
                mean,
                np.sqrt(square),
                gap[:, :1],
                gap[:, :NEAR].mean(axis=1, keepdims=True),
                (away < 15).sum(axis=1, keepdims=True),
                (away < 30).sum(axis=1, keepdims=True),
                self._axes(rows, known[place.reshape(beside.shape)], there),
            ],
            axis=1,
        )

    def _table(self, index: slice | NDArray[np.intp]) -> F64:
        """Own measures of some nuclei, sizes as logarithms."""
        table = self.measures[index][:, self._own].astype(np.float64)
        for k, name in enumerate(_OWN):
            if name in _LOGARITHM:
                table[:, k] = np.log1p(np.maximum(table[:, k], 0))
        return table

    def _axes(
        self, rows: slice | NDArray[np.intp], beside: NDArray[np.intp], there: NDArray[np.bool_]
    ) -> F64:
        """Coherence and alignment: axes have no head, so angles are doubled; round has no axis."""
        eccentricity = MEASURES.index("eccentricity")

        def axis(which: NDArray[np.intp] | slice) -> NDArray[np.complex128]:
            chosen = self.measures[which].astype(np.float64)
            doubled = np.exp(2j * np.deg2rad(chosen[..., _ANGLE]))
            return np.asarray(chosen[..., eccentricity] ** 2 * doubled, np.complex128)

        number = np.maximum(there.sum(axis=1), 1)
        common = (axis(beside) * there).sum(axis=1) / number
        along = np.real(axis(rows) * np.conj(common))
        return np.stack([np.abs(common), along], axis=1)
