"""An encoder without weights: stain densities, texture and nuclear morphometry of a tile.

Every feature has a name and a meaning. Tiles without nuclei get 0 in every nuclear feature;
``nuclei_per_mm2`` = 0 tells them from tiles whose nuclei are small. The vectors are those of
hematoxylin and eosin; on H-DAB the brown shows in ``residual`` and ``e``.

References
----------
Ojala T, Pietikäinen M, Mäenpää T. Multiresolution gray-scale and rotation invariant texture
classification with local binary patterns. IEEE TPAMI 2002;24:971-987.
"""

import json
from dataclasses import asdict
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from pathai.nuclei import DEFAULTS, Nuclei, find_nuclei
from pathai.stain import F32, U8, densities, optical_density, stain_matrix, white_point
from pathai.units import Mpp

VERSION = 1
"""Raise it when the same tile gives another vector."""

_STAIN = (
    *(f"{s}_{q}" for s in ("h", "e") for q in ("mean", "sd", "q10", "q50", "q90")),
    *("residual_mean", "residual_sd", "od_mean", "od_sd", "glass_share", "dark_share"),
)
_TEXTURE = (
    *("h_gradient_mean", "h_gradient_sd", "h_gradient_q90"),
    *("e_gradient_mean", "e_gradient_sd"),
    *(f"lbp{r}_{k}" for r in (1, 2) for k in (*(f"uniform{n}" for n in range(9)), "other")),
)
_NUCLEI = (
    *("nuclei_per_mm2", "nuclear_share"),
    *("area_um2_mean", "area_um2_sd", "area_um2_q10", "area_um2_q50", "area_um2_q90"),
    *("nuclear_h_mean", "nuclear_h_sd", "nuclear_e_mean", "chromatin_sd"),
    *("eccentricity_mean", "eccentricity_sd", "spacing_um_mean", "spacing_um_sd"),
)


class Morphology:
    """Handcrafted tile descriptor at 0.5 µm/px.

    Attributes
    ----------
    tile_px, mpp, dim, names, digest
        See `pathai.encoders.base.Encoder`.
    """

    name = "morphology"
    tile_px = 256
    mpp = 0.5
    names: tuple[str, ...] = (*_STAIN, *_TEXTURE, *_NUCLEI)
    dim = len(names)

    @property
    def digest(self) -> str:
        """SHA-256 over version, names and the parameters of nuclei finding."""
        facts = [VERSION, self.tile_px, self.mpp, list(self.names), asdict(DEFAULTS)]
        return sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def encode(self, tiles: U8) -> F32:
        """Vectors ``float32[B, D]`` of tiles ``uint8[B, H, W, 3]``, each tile for itself."""
        out = np.empty((len(tiles), self.dim), np.float32)
        for i, tile in enumerate(tiles):
            out[i] = self._vector(tile)
        return out

    def _vector(self, tile: U8) -> F32:
        # A tile may show no glass: light is believed only if nearly white, else features would jump
        white = white_point(tile, floor=220)
        nuclei = find_nuclei(tile, Mpp(self.mpp, self.mpp), "H&E", white)
        h, e = nuclei.density
        residual = densities(tile, stain_matrix("H&E"), white)[2]
        od = optical_density(tile, white).mean(axis=-1)
        values = [
            *_spread(h),
            *_spread(e),
            *(residual.mean(), residual.std(), od.mean(), od.std()),
            *((od < 0.05).mean(), (od > 0.8).mean()),
            *_texture(h, e, od),
            *_pooled(nuclei, self.mpp),
        ]
        return np.asarray(values, np.float32)


def _spread(density: F32) -> list[float]:
    """Mean, sd and three quantiles (of every second pixel: a quantile needs no more)."""
    quantiles = np.percentile(density[::2, ::2], [10, 50, 90])
    return [float(density.mean()), float(density.std()), *map(float, quantiles)]


def _texture(h: F32, e: F32, od: F32) -> list[float]:
    """Gradient magnitudes per px, and two histograms of local binary patterns."""
    gradient_h, gradient_e = _gradient(h), _gradient(e)
    return [
        float(gradient_h.mean()),
        float(gradient_h.std()),
        float(np.percentile(gradient_h[::2, ::2], 90)),
        float(gradient_e.mean()),
        float(gradient_e.std()),
        *_binary_patterns(od, 1),
        *_binary_patterns(od, 2),
    ]


def _gradient(image: F32) -> F32:
    """Magnitude of central differences, ``float32[h - 2, w - 2]``."""
    dx = image[1:-1, 2:] - image[1:-1, :-2]
    dy = image[2:, 1:-1] - image[:-2, 1:-1]
    magnitude: F32 = np.sqrt(dx * dx + dy * dy) / 2
    return magnitude


def _pattern_classes() -> NDArray[np.uint8]:
    """Class of each 8-bit pattern: its number of ones if at most two changes, else 9."""
    bits = (np.arange(256)[:, None] >> np.arange(8)) & 1
    changes = (bits != np.roll(bits, 1, axis=1)).sum(axis=1)
    return np.where(changes <= 2, bits.sum(axis=1), 9).astype(np.uint8)


_CLASS_OF = _pattern_classes()
_RING = ((0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1))


def _binary_patterns(od: F32, radius: int, least: float = 0.01) -> list[float]:
    """Histogram of rotation-invariant uniform patterns of the square ring at ``radius`` px.

    ``least`` is the density by which a neighbor must exceed the center, so that the
    noise of glass and of compression is one pattern and not all of them.
    """
    height, width = od.shape
    r = radius
    center = od[r : height - r, r : width - r] + np.float32(least)
    code = np.zeros(center.shape, np.uint8)
    for bit, (dy, dx) in enumerate(_RING):
        beside = od[r + dy * r : height - r + dy * r, r + dx * r : width - r + dx * r]
        code |= (beside > center).view(np.uint8) << np.uint8(bit)
    per_code = np.bincount(code.ravel(), minlength=256)
    count = np.bincount(_CLASS_OF, per_code, minlength=10)
    return [float(v) for v in count / code.size]


def _pooled(nuclei: Nuclei, mpp: float) -> list[float]:
    """Nuclear features of a tile; all 0 without nuclei, spread 0 with one."""
    if len(nuclei) == 0:
        return [0.0] * len(_NUCLEI)
    inside = nuclei.labels > 0
    tile_mm2 = inside.size * mpp**2 / 1e6
    h = nuclei.density[0]
    within = h[inside] - nuclei.first_od[nuclei.labels[inside] - 1]
    spacing = np.zeros(1)
    if len(nuclei) > 1:
        spacing = cKDTree(nuclei.centers).query(nuclei.centers, k=2)[0][:, 1] * mpp
    area = nuclei.area_um2
    values = [
        len(nuclei) / tile_mm2,
        inside.mean(),
        *(area.mean(), area.std(), *np.percentile(area, [10, 50, 90])),
        *(nuclei.first_od.mean(), nuclei.first_od.std(), nuclei.second_od.mean()),
        np.sqrt((within * within).mean()),
        *(nuclei.eccentricity.mean(), nuclei.eccentricity.std()),
        *(spacing.mean(), spacing.std()),
    ]
    return [float(v) for v in values]
