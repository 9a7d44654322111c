"""From the network's maps to nuclei: peaks, outlines, one of two that claim the same place."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor
from torch.nn.functional import softplus

F32 = NDArray[np.float32]
APART_PX = 2
"""No two peaks lie within this many px of each other along x and y."""
REACH_PX = 20
"""Longest ray, px; with it the reach of one nucleus on another is bounded."""
SAME = 0.75
"""Share of the way to the edge within which a center lies deep in another nucleus."""


@dataclass(frozen=True)
class Peaks:
    """Nuclei of one picture, sorted by y, then x.

    Attributes
    ----------
    xy : float32[M, 2]
        Centers, px; pixel i covers i to i + 1.
    score : float32[M]
        Heat at the center, 0 to 1.
    outline : float32[M, R, 2]
        Corners x, y, px.
    """

    xy: F32
    score: F32
    outline: F32


@cache
def directions(rays: int) -> F32:
    """Unit vectors ``float32[R, 2]``, x before y, in 1/1024 so that sums stay exact."""
    angle = np.arange(rays) * (2 * np.pi / rays)
    unit = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    found: F32 = (np.rint(unit * 1024) / 1024).astype(np.float32)
    return found


def decode(heat: Tensor, rays: Tensor, threshold: float) -> Peaks:
    """Nuclei of one picture.

    Parameters
    ----------
    heat : float32[h, w]
        Chance of a center in each pixel, 0 to 1.
    rays : float[R, h / 2, w / 2]
        Softplus of them are distances to the edge, px.
    threshold : float
        Least heat of a nucleus.

    Returns
    -------
    Peaks
    """
    place = _tops(heat.numpy(), threshold)
    row, column = place.T
    score = heat.numpy()[row, column]
    at = torch.from_numpy(place // 2)
    far = softplus(rays[:, at[:, 0], at[:, 1]].float()).clamp(0.5, REACH_PX).numpy().T
    keep = _first_of_equals(place, score)
    place, score, far = place[keep], score[keep], np.rint(far[keep] * 8) / 8
    keep = _strongest(place, score, far)
    place, score, far = place[keep], score[keep], far[keep]
    outline = _middle(place)[:, None] + far[..., None] * directions(far.shape[1])
    # to 1/64 px, so that a block and the whole slide round alike
    outline = (np.rint(outline * 64) / 64).astype(np.float32)
    return Peaks(place[:, ::-1].astype(np.float32) + 0.5, score, outline)


def _tops(heat: F32, threshold: float) -> NDArray[np.int64]:
    """Rows and columns ``int64[M, 2]`` of pixels that no pixel near them exceeds, raster order."""
    wide = np.pad(heat, APART_PX, constant_values=-np.inf)
    stride = wide.shape[1]
    flat = wide.ravel()
    at = np.flatnonzero(flat >= threshold)
    step = np.arange(-APART_PX, APART_PX + 1)
    near = (step[:, None] * stride + step).ravel()
    for offset in sorted(near, key=abs):  # the nearest first: most pixels are soon done with
        at = at[flat[at] >= flat[at + offset]]
    return np.stack([at // stride - APART_PX, at % stride - APART_PX], axis=1)


def _middle(place: NDArray[np.int64]) -> F32:
    """Where rays start ``float32[M, 2]``: the middle of the half px of a center, x before y."""
    return (place[:, ::-1] // 2 * 2 + 1).astype(np.float32)


def _first_of_equals(place: NDArray[np.int64], score: F32) -> NDArray[np.bool_]:
    """Of equal peaks in one window the upper left stays."""
    keep = np.ones(len(place), bool)
    if len(place) > 1:
        pairs = cKDTree(place).query_pairs(APART_PX, p=np.inf, output_type="ndarray")
        keep[pairs.max(axis=1)] = False  # rows are in raster order
    return keep


def _strongest(place: NDArray[np.int64], score: F32, far: F32) -> NDArray[np.bool_]:
    """Of two nuclei whose centers lie deep in each other's outlines the weaker goes.

    One that suppresses may itself be suppressed: no chains, so the reach stays bounded.
    """
    keep = np.ones(len(place), bool)
    if len(place) < 2:
        return keep
    pairs = cKDTree(place).query_pairs(SAME * REACH_PX, output_type="ndarray")
    first, second = pairs.min(axis=1), pairs.max(axis=1)
    middle, rays = _middle(place), far.shape[1]

    def deep(inner: NDArray[np.int64], outer: NDArray[np.int64]) -> NDArray[np.bool_]:
        x, y = (middle[inner] - middle[outer]).T
        toward = np.rint(np.arctan2(y, x) * rays / (2 * np.pi)).astype(int) % rays
        within: NDArray[np.bool_] = np.hypot(x, y) < SAME * far[outer, toward]
        return within

    both = deep(second, first) & deep(first, second)
    first, second = first[both], second[both]
    keep[np.where(score[second] > score[first], first, second)] = False
    return keep
