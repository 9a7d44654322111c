"""How nuclei lie to each other: nearest neighbors and Ripley's K, corrected for the tissue's edge.

A nucleus near the edge of the analyzed tissue has neighbors that nobody sees. So only nuclei count
whose circle lies inside the tissue: for nearest neighbors those nearer to their neighbor than to
the edge, for Ripley's K at radius r those at least r away from it (the border method).
"""

from dataclasses import dataclass
from math import pi, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from pathai.quantities.squares import map_pixel
from pathai.store.records import TISSUE, TissueMap

F64 = NDArray[np.float64]
RADII_UM = (10.0, 20.0, 30.0, 50.0, 75.0, 100.0)
MOST_CENTERS = 20_000
"""Nuclei around which neighbors are counted, evenly spaced in the list; all are neighbors."""
SIMULATIONS = 39
LARGEST_SIMULATED = 2_000
LEAST = 30
"""Fewer usable nuclei say nothing about a pattern."""
SEED = 20261


@dataclass(frozen=True)
class Pattern:
    """Spacing of nuclei.

    Attributes
    ----------
    nuclei : int
        Whose nearest neighbor lies nearer than the edge of the tissue.
    nearest_um : tuple of float
        Quartiles of the distance to the nearest neighbor.
    clark_evans : float
        Mean distance over that of chance at the same density: 1 by chance, less clustered.
    ripley_l_um : tuple of float
        ``L(r) - r`` at `RADII_UM`: 0 by chance, positive clustered.
    chance_um : tuple of float
        Half-width of the central 95 % of random patterns.
    """

    nuclei: int
    nearest_um: tuple[float, float, float]
    clark_evans: float
    ripley_l_um: tuple[float, ...]
    chance_um: tuple[float, ...]


def pattern(xy_px0: NDArray[np.float32], tissue: TissueMap) -> Pattern | None:
    """Spacing of all nuclei of a slide; None where too few are usable.

    The mean nearest distance is by Hanisch's estimator, each distance weighted by the tissue in
    which it could have been seen. Random patterns have as many nuclei on the same tissue; of more
    than 2,000 nuclei a square with 2,000 at the same density, whose patterns scatter more.

    Parameters
    ----------
    xy_px0 : float32[M, 2]
        Positions on analyzed tissue.
    tissue : TissueMap
        Its class tissue is the window.

    References
    ----------
    Hanisch KH. Some remarks on estimators of the distribution function of nearest neighbour
    distance in stationary spatial point processes. Statistics 1984;15:409-412.
    Ripley BD. Modelling spatial patterns. J R Stat Soc B 1977;39:172-212.
    Clark PJ, Evans FC. Distance to nearest neighbor as a measure of spatial relationships in
    populations. Ecology 1954;35:445-453.
    """
    step = np.array([tissue.mpp.x, tissue.mpp.y])
    xy = np.asarray(xy_px0, np.float64) / tissue.downsample * step
    area = tissue.area_mm2(TISSUE) * 1e6
    if len(xy) < LEAST or area <= 0:
        return None
    edge = _edge_um(tissue)
    near, inside = _nearest(xy, edge[map_pixel(tissue, xy_px0)])
    if int(inside.sum()) < LEAST:
        return None
    erosion = np.sort(edge[tissue.classes == TISSUE])
    left = len(erosion) - np.searchsorted(erosion, near[inside], side="left")
    mean = float(np.average(near[inside], weights=1 / np.maximum(left, 1)))
    expected = 0.5 / sqrt(len(xy) / area)
    found = _ripley(xy, edge[map_pixel(tissue, xy_px0)], area)
    quartiles = np.quantile(near[inside], [0.25, 0.5, 0.75])
    return Pattern(
        nuclei=int(inside.sum()),
        nearest_um=(float(quartiles[0]), float(quartiles[1]), float(quartiles[2])),
        clark_evans=mean / expected,
        ripley_l_um=tuple(found.tolist()),
        chance_um=tuple(_chance(len(xy), tissue, edge, area).tolist()),
    )


def _edge_um(tissue: TissueMap) -> F64:
    """Distance of each map pixel's middle to the edge of the analyzed tissue, µm: float64[h, w]."""
    held = np.pad(tissue.classes == TISSUE, 1)
    mpp = (tissue.mpp.y, tissue.mpp.x)
    away: F64 = ndimage.distance_transform_edt(held, sampling=mpp)[1:-1, 1:-1]
    # The transform counts to the middle of the first pixel outside.
    inner: F64 = np.maximum(away - min(mpp) / 2, 0)
    return inner


def _nearest(xy: F64, edge: F64) -> tuple[F64, NDArray[np.bool_]]:
    near: F64 = cKDTree(xy).query(xy, k=2)[0][:, 1]
    return near, near <= edge


def _ripley(xy: F64, edge: F64, area: float) -> F64:
    """``L(r) - r`` at `RADII_UM`; NaN where too few nuclei lie so far from the edge."""
    tree, density = cKDTree(xy), (len(xy) - 1) / area
    out = np.full(len(RADII_UM), np.nan)
    for i, radius in enumerate(RADII_UM):
        far = np.flatnonzero(edge >= radius)
        if len(far) < LEAST:
            continue
        far = far[np.linspace(0, len(far) - 1, min(len(far), MOST_CENTERS)).astype(int)]
        held = tree.query_ball_point(xy[far], radius, return_length=True) - 1
        out[i] = sqrt(float(np.mean(held)) / density / pi) - radius
    return out


def _chance(nuclei: int, tissue: TissueMap, edge: F64, area: float) -> F64:
    """Half-width of the central 95 % of random patterns at `RADII_UM`."""
    rng = np.random.default_rng(SEED)
    count = min(nuclei, LARGEST_SIMULATED)
    row, column = np.nonzero(tissue.classes == TISSUE)
    side, part = sqrt(area * count / nuclei), area * count / nuclei
    drawn = []
    for _ in range(SIMULATIONS):
        if count < nuclei:
            xy = rng.uniform(0, side, (count, 2))
            far = np.minimum(xy, side - xy).min(axis=1)
        else:
            pick = rng.integers(0, len(row), count)
            place = np.stack([column[pick], row[pick]], axis=1) + rng.random((count, 2))
            xy, far = place * [tissue.mpp.x, tissue.mpp.y], edge[row[pick], column[pick]]
        drawn.append(_ripley(xy, far, part))
    # The range of 39 draws holds a 40th with probability 38 of 40.
    spread: F64 = np.max(np.abs(drawn), axis=0)
    return spread
