"""Measurements of each nucleus of a tile, without a loop over nuclei.

References
----------
Serra J. Image Analysis and Mathematical Morphology. Academic Press, 1982. (Perimeter and convex
perimeter from intersections and projections: the formulas of Crofton and Cauchy.)
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from pathai.nuclei import I32, Nuclei
from pathai.outlines import hull
from pathai.stain import F32

F64 = NDArray[np.float64]

DISC_UM, RING_UM = 2.5, (4.0, 6.5)
"""Radius of the disc on a nucleus, and of the ring of what surrounds it."""
NEIGHBORS = 8
DIRECTIONS = 8
"""Directions along which a nucleus is projected; each serves both ways."""
BEYOND = 1 / 3
"""How far, in px, an outline lies beyond the outermost pixel centers: with this, discs and ellipses
of 8 to 24 px come out convex within 2 to 4 %."""


@dataclass(frozen=True)
class Maps:
    """Maps of a tile, all of the same shape.

    Attributes
    ----------
    h, e, od, saturation : float32[h, w]
        Density of hematoxylin and eosin, mean optical density, saturation 0 to 1.
    gradient : float32[h, w]
        Magnitude of the gradient of ``h`` per px.
    patterns : tuple of uint8[h, w]
        Class 0 to 9 of the local binary pattern at radius 1 and 2.
    """

    h: F32
    e: F32
    od: F32
    saturation: F32
    gradient: F32
    patterns: tuple[NDArray[np.uint8], ...]


def measure(nuclei: Nuclei, maps: Maps) -> dict[str, F64]:
    """Every measurement by its name, ``float64[M]`` each.

    Parameters
    ----------
    nuclei : Nuclei
        At least one nucleus, found at the resolution of the maps.
    maps : Maps
        Maps of the same tile.

    Returns
    -------
    dict of str to float64[M]
        In a fixed order; finite.
    """
    found = _shape(nuclei)
    angle, elongation = found.pop("angle"), found.pop("elongation")
    found |= _inside(nuclei, maps)
    found |= _around(nuclei, maps)
    found |= _neighborhood(nuclei, found, angle, elongation)
    return found


def _by_owner(labels: I32) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Flat places of all label pixels sorted by owner, their owner, and where each one starts."""
    flat = np.flatnonzero(labels)
    named = labels.ravel()[flat]
    order = np.argsort(named.astype(np.uint16), kind="stable")  # 16 bits: a radix sort
    owner = named[order].astype(np.intp) - 1
    starts = np.flatnonzero(np.diff(owner, prepend=-1))
    return flat[order], owner, starts


def _shape(nuclei: Nuclei) -> dict[str, F64]:
    """Size and form from moments, projections and boundary crossings of the label map."""
    count, mpp = len(nuclei), nuclei.mpp.x
    flat, owner, starts = _by_owner(nuclei.labels)
    pixels = np.bincount(owner, minlength=count)
    y, x = np.divmod(flat, nuclei.labels.shape[1])
    # from each nucleus's own center: sums stay small and exact
    x = x - (np.bincount(owner, x, minlength=count) / pixels)[owner]
    y = y - (np.bincount(owner, y, minlength=count) / pixels)[owner]
    xx = np.bincount(owner, x * x, minlength=count) / pixels + 1 / 12
    yy = np.bincount(owner, y * y, minlength=count) / pixels + 1 / 12
    xy = np.bincount(owner, x * y, minlength=count) / pixels
    spread = np.hypot((xx - yy) / 2, xy)
    middle = (xx + yy) / 2
    narrow = np.sqrt(np.maximum(middle - spread, 1 / 12))
    wide = np.sqrt(middle + spread)
    hull_px = hull(x.astype(np.float32), y.astype(np.float32), starts, DIRECTIONS, BEYOND)
    perimeter = np.maximum(_perimeter(nuclei.labels, count), 1.0)
    area = pixels.astype(np.float64)
    return {
        "area_um2": area * mpp**2,
        "length_um": 4 * wide * mpp,
        "width_um": 4 * narrow * mpp,
        "eccentricity": np.sqrt(np.clip(1 - (narrow / wide) ** 2, 0, 1)),
        "solidity": np.minimum(area / hull_px[0], 1),
        "convexity": np.minimum(hull_px[1] / perimeter, 1),
        "roundness": np.minimum(4 * np.pi * area / perimeter**2, 1),
        "angle": 0.5 * np.arctan2(2 * xy, xx - yy),
        "elongation": spread / middle,
    }


def _perimeter(labels: I32, count: int) -> F64:
    """Perimeter in px by Crofton's formula over four directions."""
    map_ = np.pad(labels, 1)
    total = np.zeros(count + 1)
    pairs = (
        (map_[:, 1:], map_[:, :-1], 1.0),
        (map_[1:], map_[:-1], 1.0),
        (map_[1:, 1:], map_[:-1, :-1], np.sqrt(0.5)),
        (map_[1:, :-1], map_[:-1, 1:], np.sqrt(0.5)),
    )
    for one, two, apart in pairs:
        crossed = np.flatnonzero(one != two)
        for side in (one, two):
            total += apart * np.bincount(side.ravel()[crossed], minlength=count + 1)
    return total[1:] * (np.pi / 8)


def _inside(nuclei: Nuclei, maps: Maps) -> dict[str, F64]:
    """Stain, chromatin and local patterns over the pixels of each nucleus."""
    count = len(nuclei)
    flat = np.flatnonzero(nuclei.labels)
    owner = nuclei.labels.ravel()[flat] - 1
    pixels = np.bincount(owner, minlength=count)

    def mean(values: F32) -> F64:
        found: F64 = np.bincount(owner, values, minlength=count) / pixels
        return found

    h = maps.h.ravel()[flat]
    average = mean(h)
    apart = h - average.astype(np.float32)[owner]
    found = {
        "nuclear_h": average,
        "nuclear_e": mean(maps.e.ravel()[flat]),
        "chromatin_sd": np.sqrt(mean(apart * apart)),
        "chromatin_gradient": mean(maps.gradient.ravel()[flat]),
    }
    for radius, classes in enumerate(maps.patterns, 1):
        each = np.bincount(owner * 10 + classes.ravel()[flat], minlength=10 * count)
        shares = each.reshape(count, 10) / pixels[:, None]
        found |= {f"nuclear_lbp{radius}_{k}": shares[:, k] for k in range(10)}
    return found


def _offsets(inner_um: float, outer_um: float, mpp: float) -> NDArray[np.int64]:
    """Offsets (y, x) in px of a ring around the origin; the same after a quarter turn."""
    reach = int(outer_um / mpp) + 1
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    away = np.hypot(x, y) * mpp
    taken = (away >= inner_um) & (away <= outer_um)
    if inner_um > 0:
        taken &= (x + y) % 2 == 0  # every second pixel of a ring says as much
    return np.stack([y[taken], x[taken]], axis=1)


def _around(nuclei: Nuclei, maps: Maps) -> dict[str, F64]:
    """Stain and saturation in a disc on the nucleus and in the ring around it.

    Pixels of any nucleus hardly count in the ring, so that it speaks of cytoplasm and stroma; a
    ring of nothing but nuclei still has a value. Beyond the tile its edge is repeated.
    """
    mpp = nuclei.mpp.x
    height, width = nuclei.labels.shape
    center = np.floor(nuclei.centers / np.asarray(nuclei.scale)).astype(np.int64)
    found: dict[str, F64] = {}
    rings = {"disc": _offsets(0, DISC_UM, mpp), "ring": _offsets(*RING_UM, mpp)}
    for name, offsets in rings.items():
        y = np.clip(center[:, 1, None] + offsets[:, 0], 0, height - 1)
        x = np.clip(center[:, 0, None] + offsets[:, 1], 0, width - 1)
        at = y * width + x
        weight = np.ones(at.shape, np.float32)
        if name == "ring":
            weight[nuclei.labels.ravel()[at] > 0] = 1e-3
        total = weight.sum(axis=1, dtype=np.float64)
        for channel in ("h", "e", "od", "saturation"):
            values = getattr(maps, channel).ravel()[at]
            found[f"{name}_{channel}"] = (values * weight).sum(axis=1, dtype=np.float64) / total
    found["contrast_h"] = found["disc_h"] - found["ring_h"]
    found["contrast_e"] = found["disc_e"] - found["ring_e"]
    return found


def _neighborhood(
    nuclei: Nuclei, found: dict[str, F64], angle: F64, elongation: F64
) -> dict[str, F64]:
    """Distance to, alignment with and difference from the nearest eight; 0 for a lone nucleus."""
    count = len(nuclei)
    names = ("area_um2", "eccentricity", "nuclear_h", "chromatin_gradient")
    if count == 1:
        nothing = np.zeros(1)
        keys = ("spacing_um", "reach_um", "coherence", *(f"unlike_{n}" for n in names))
        return dict.fromkeys(keys, nothing)
    nearest = min(NEIGHBORS, count - 1)
    place = nuclei.centers / np.asarray(nuclei.scale) * nuclei.mpp.x
    away, beside = cKDTree(place).query(place, k=nearest + 1)
    around = beside[:, 1:]
    # long axes, not directions: doubled angles; a round nucleus has no axis and hardly counts
    weight = elongation + 1e-6
    axis = (weight * np.exp(2j * angle))[beside].sum(axis=1)
    result = {
        "spacing_um": away[:, 1],
        "reach_um": away[:, 1:].mean(axis=1),
        "coherence": np.abs(axis) / weight[beside].sum(axis=1),
    }
    for name in names:
        values = found[name]
        result[f"unlike_{name}"] = np.abs(values - values[around].mean(axis=1))
    return result
