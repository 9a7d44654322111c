"""Similar cases: the slides whose vectors are nearest, and how near that is.

The search is exact. A distance says little by itself, so each comes with the share of all pairs
of different patients that are as near: the reference distribution of the same vectors.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathai.errors import PathaiError
from pathai.store.records import SlideVector

F64 = NDArray[np.float64]
BLOCK = 512
"""Rows of the distance matrix at a time: memory grows with the number of slides, not its square."""
DECIMALS = 9
"""Of a distance. What is nearer than that is rounding, and equal bytes give exactly 0."""


@dataclass(frozen=True)
class Neighbor:
    """A slide of another patient.

    Parameters
    ----------
    slide_id : str
        Its id.
    distance : float
        1 - cosine: 0 for the same direction, 1 for unrelated, 2 for opposite.
    percentile : float
        Percent of pairs of different patients that are at most this far apart.
    same : bool
        Its vector is the same: perhaps one slide under two ids.
    """

    slide_id: str
    distance: float
    percentile: float
    same: bool


@dataclass(frozen=True)
class Similar:
    """What was found for one slide.

    Parameters
    ----------
    unusual_percentile : float
        Percent of the other slides whose own nearest slide is at most as far as this one's.
    """

    slide_id: str
    encoder: str
    neighbors: tuple[Neighbor, ...]
    unusual_percentile: float
    slides: int
    patients: int
    pairs: int
    standardized: bool

    def as_json(self) -> dict[str, Any]:
        """Ready for ``--json``."""
        return asdict(self)


def similar(
    query: str,
    vectors: dict[str, SlideVector],
    patient_of: dict[str, str],
    count: int = 10,
) -> Similar:
    """The nearest slides of other patients.

    Parameters
    ----------
    query : str
        Slide to find neighbors of; its own vector and patient are in the two tables.
    vectors : dict
        Slide id to vector of the reference slides and of the query.
    patient_of : dict
        Slide id to patient.
    count : int
        Neighbors wanted; fewer where there are fewer slides of other patients.

    Returns
    -------
    Similar
        Neighbors by distance, those equally far by slide id.

    Raises
    ------
    PathaiError
        E181 for a vector made by other means than the query's, E180 for one of length 0, E193
        where no other patient has a slide.

    Notes
    -----
    Features with names are in units of their own, and the largest would decide alone: each is
    brought to mean 0 and standard deviation 1 over the slides first.
    """
    ids = sorted(vectors)
    at = ids.index(query)
    for name in ids:
        _check_same_kind(query, vectors[query], name, vectors[name])
    named = bool(vectors[query].attrs.names)
    patients, who = np.unique([patient_of[name] for name in ids], return_inverse=True)
    if len(patients) < 2:
        message = f"no slide of another patient than that of {query} has such a vector"
        raise PathaiError("E193", message, "run pathai slide-vector on more slides")
    unit = _unit(np.stack([vectors[name].vector for name in ids]), ids, standardize=named)
    own = distances(unit[at : at + 1], unit)[0]
    order = [i for i in np.argsort(own, kind="stable") if who[i] != who[at]][:count]
    below, pairs, nearest = _reference(unit, who, own[order])
    others = np.delete(nearest, at)
    return Similar(
        slide_id=query,
        encoder=vectors[query].attrs.encoder,
        neighbors=tuple(
            Neighbor(ids[i], float(own[i]), round(100 * n / pairs, 4), bool(own[i] == 0))
            for i, n in zip(order, below.tolist(), strict=True)
        ),
        unusual_percentile=round(100 * float((others <= nearest[at]).mean()), 4),
        slides=len(ids),
        patients=len(patients),
        pairs=pairs // 2,
        standardized=named,
    )


def _check_same_kind(query: str, wanted: SlideVector, name: str, found: SlideVector) -> None:
    kept = ("encoder", "encoder_digest", "tile_encoder", "tile_encoder_digest", "tile_px", "mpp")
    for key in kept:
        a, b = getattr(wanted.attrs, key), getattr(found.attrs, key)
        if a != b:
            message = f"{name}: vector with {key} {str(b)[:24]}, that of {query} has {str(a)[:24]}"
            raise PathaiError("E181", message, "run pathai slide-vector on both again")
    if len(wanted.vector) != len(found.vector):
        message = f"{name}: {len(found.vector)} numbers, {query} has {len(wanted.vector)}"
        raise PathaiError("E181", message, "run pathai slide-vector on both again")


def _unit(vectors: NDArray[np.float32], ids: Sequence[str], *, standardize: bool) -> F64:
    """Vectors of length 1, float64[n, D]."""
    x = vectors.astype(np.float64)
    if standardize:
        spread = x.std(axis=0)
        x = (x - x.mean(axis=0))[:, spread > 0] / spread[spread > 0]
    length = np.linalg.norm(x, axis=1)
    if not (length > 0).all():
        name = ids[int(np.argmin(length))]
        raise PathaiError("E180", f"{name}: a vector of length 0 has no direction")
    unit: F64 = x / length[:, None]
    return unit


def distances(rows: F64, columns: F64) -> F64:
    """1 - cosine of unit vectors, float64[rows, columns], rounded to `DECIMALS`."""
    found: F64 = np.clip(np.round(1 - rows @ columns.T, DECIMALS), 0, 2) + 0.0
    return found


def _reference(unit: F64, who: NDArray[np.intp], marks: F64) -> tuple[NDArray[np.int64], int, F64]:
    """The distribution of distances between slides of different patients, a block at a time.

    Parameters
    ----------
    unit : float64[n, D]
        Unit vectors.
    who : intp[n]
        Patient of each.
    marks : float64[k]
        Distances, ascending.

    Returns
    -------
    below : int64[k]
        Ordered pairs at most this far apart.
    pairs : int
        Ordered pairs: each pair counts twice, in both.
    nearest : float64[n]
        Distance of each slide to the nearest of another patient; inf where there is none.
    """
    below, pairs = np.zeros(len(marks), np.int64), 0
    nearest = np.empty(len(unit))
    for start in range(0, len(unit), BLOCK):
        rows = slice(start, start + BLOCK)
        foreign = who[rows, None] != who[None, :]
        found = distances(unit[rows], unit)
        nearest[rows] = np.where(foreign, found, np.inf).min(axis=1)
        first = np.searchsorted(marks, found[foreign], side="left")
        below += np.bincount(first, minlength=len(marks) + 1)[: len(marks)].cumsum()
        pairs += int(foreign.sum())
    return below, pairs, nearest
