"""Plain fields of nuclei at a stated crowding, for judging counters: separated to overlapping."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from pathai.testing.looks import Look
from pathai.testing.noise import fractal_noise, stream

Layout = Literal["separated", "touching", "overlapping"]
GAP = {"separated": 1.25, "touching": 0.92}
"""Least distance of two centers, in mean diameters of the two."""


@dataclass(frozen=True)
class Crowd:
    """A field and its truth.

    Attributes
    ----------
    picture : uint8[y, x, 3]
    xy_px0 : float32[M, 2]
        Centers; pixel i covers i to i + 1.
    labels : int32[y, x]
        Nucleus i is i + 1; where two overlap, the later one.
    positive : bool[M]
        Stained by DAB.
    mpp : float
        µm/px.
    """

    picture: npt.NDArray[np.uint8]
    xy_px0: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int32]
    positive: npt.NDArray[np.bool_]
    mpp: float


def crowded_field(
    seed: int,
    layout: Layout,
    per_mm2: float,
    look: Look | None = None,
    *,
    edge_px: int = 512,
    mpp: float = 0.5,
    positive_share: float | None = None,
) -> Crowd:
    """Draw nuclei of 5.5 to 9 µm at a stated density on smooth tissue.

    Parameters
    ----------
    seed : int
    layout : str
        "separated": edges never meet; "touching": they may meet; "overlapping": centers are drawn
        at random, as where a thick section shows one nucleus through another.
    per_mm2 : float
        Density that is aimed at; "separated" and "touching" stop where no more find room.
    look : Look, optional
        Stains, noise and focus.
    edge_px : int
        Edge of the picture.
    mpp : float
        µm/px.
    positive_share : float, optional
        Share that DAB stains; left out: H&E.
    """
    look, rng = look or Look(), stream(seed, "crowd", layout)
    size_um = edge_px * mpp
    count = int(rng.poisson(per_mm2 * (size_um / 1000) ** 2))
    xy, length, width = _placed(rng, layout, count, size_um)
    positive = rng.uniform(size=len(xy)) < (positive_share or 0.0)
    od, labels = _drawn(rng, xy / mpp, length / mpp, width / mpp, positive, look, edge_px, mpp)
    light = np.asarray(look.glass) * np.asarray(look.gain)
    light = light * np.exp(-np.log(10) * od) ** look.gamma
    light = ndimage.gaussian_filter(light, (look.focus_um / mpp, look.focus_um / mpp, 0))
    light += rng.normal(0, look.noise, light.shape)
    picture = np.clip(np.rint(light), 0, 255).astype(np.uint8)
    return Crowd(picture, (xy / mpp).astype(np.float32), labels, positive, mpp)


def _placed(
    rng: np.random.Generator, layout: Layout, count: int, size_um: float
) -> tuple[Any, ...]:
    length = rng.uniform(5.8, 9.0, count)
    width = length * rng.uniform(0.72, 1.0, count)
    mean = (length + width) / 2
    xy = rng.uniform(3, size_um - 3, (count, 2))
    if layout == "overlapping":
        return xy, length, width
    kept: list[int] = []
    for i in range(count):
        for _ in range(60):
            gap = np.hypot(*(xy[kept] - xy[i]).T)
            if (gap >= GAP[layout] * (mean[kept] + mean[i]) / 2).all():
                kept.append(i)
                break
            xy[i] = rng.uniform(3, size_um - 3, 2)
    return xy[kept], length[kept], width[kept]


def _drawn(
    rng: np.random.Generator,
    xy: Any,
    length: Any,
    width: Any,
    positive: Any,
    look: Look,
    edge: int,
    mpp: float,
) -> tuple[Any, npt.NDArray[np.int32]]:
    """Optical density float[y, x, 3] and labels."""
    first = np.zeros((edge, edge))
    brown = np.zeros((edge, edge))
    labels = np.zeros((edge, edge), np.int32)
    grain = fractal_noise(rng, edge, edge, look.chromatin_um / mpp * 2.5, 2)
    grain = 1 + 0.22 * look.chromatin * (grain - grain.mean()) / max(float(grain.std()), 1e-6)
    for i, (x, y) in enumerate(xy):
        reach = int(length[i] * 0.75) + 2
        x0, y0 = max(int(x) - reach, 0), max(int(y) - reach, 0)
        window = np.s_[y0 : min(int(y) + reach + 1, edge), x0 : min(int(x) + reach + 1, edge)]
        rows, columns = np.indices(labels[window].shape)
        dy, dx = rows + y0 + 0.5 - y, columns + x0 + 0.5 - x
        turn = rng.uniform(0, np.pi)
        a = (dx * np.cos(turn) + dy * np.sin(turn)) / (length[i] / 2)
        b = (dy * np.cos(turn) - dx * np.sin(turn)) / (width[i] / 2)
        around = np.arctan2(b, a)
        edge_at = (
            1
            + 0.05 * np.cos(2 * around + rng.uniform(0, 6))
            + 0.04 * np.cos(3 * around + rng.uniform(0, 6))
        )
        depth = (edge_at - np.hypot(a, b)) * width[i] / 2
        body = np.clip(depth + 0.5, 0, 1)
        labels[window][body > 0.5] = i + 1
        dark = rng.uniform(0.28, 0.62) * look.nuclear
        first[window] += body * dark * (0.45 if positive[i] else 1.0)
        if positive[i]:
            brown[window] += body * rng.uniform(0.35, 0.95)
    counter = look.counterstain if positive.any() else look.eosin
    stroma = 0.10 * look.cytoplasmic * (1 + 0.5 * fractal_noise(rng, edge, edge, 14 / mpp, 3))
    stains = [np.asarray(v) / np.linalg.norm(v) for v in (look.hematoxylin, look.dab, counter)]
    layers = (first * grain, brown * grain, np.clip(stroma, 0, None))
    return sum(
        layer[..., None] * stain for layer, stain in zip(layers, stains, strict=True)
    ), labels
