"""An encoder without weights: stain, texture and the morphology of nuclei, each with a name.

Nuclei are found as by the classical detector, measured one by one and pooled over the tile. A tile
without nuclei gets 0 in every nuclear feature; ``nuclei_per_mm2`` = 0 tells it from tiles whose
nuclei are small. The vectors are those of hematoxylin and eosin; on H-DAB the brown shows in
``residual`` and ``e``. `FEATURES` says what each number is.

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

from pathai.encoders.morphology_features import FEATURES, NUCLEI
from pathai.encoders.morphology_nuclei import Maps, measure
from pathai.nuclei import DEFAULTS, Nuclei, find_nuclei
from pathai.stain import F32, U8, optical_density, stain_matrix, white_point
from pathai.units import Mpp

VERSION = 2
"""Raise it when the same tile gives another vector."""
LARGEST = 60_000.0
"""Features are stored in float16, which ends at 65,504."""


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
    names: tuple[str, ...] = tuple(FEATURES)
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
        od, residual = _unstained(tile, white)
        codes = tuple(_binary_patterns(od, r) for r in (1, 2))
        maps = Maps(h, e, od, _saturation(tile), _gradient(h), codes)
        values = [
            *_spread(h),
            *_spread(e),
            *(residual.mean(), residual.std(), od.mean(), od.std()),
            *(maps.saturation.mean(), maps.saturation.std()),
            *((od < 0.05).mean(), (od > 0.8).mean()),
            *_texture(maps),
            *_nuclear(nuclei, maps, self.mpp),
        ]
        return np.clip(np.asarray(values, np.float32), -LARGEST, LARGEST)


def _unstained(tile: U8, white: F32) -> tuple[F32, F32]:
    """Mean optical density, and the density that neither stain explains, ``float32[h, w]``."""
    density = optical_density(tile, white)
    inverse = np.linalg.inv(stain_matrix("H&E").matrix).astype(np.float32)
    third = np.full(3, 1 / 3, np.float32)
    return density @ third, density @ inverse[:, 2]


def _spread(density: F32) -> list[float]:
    """Mean, sd and three quantiles (of every second pixel: a quantile needs no more)."""
    quantiles = np.percentile(density[::2, ::2], [10, 50, 90])
    return [float(density.mean()), float(density.std()), *map(float, quantiles)]


def _saturation(tile: U8) -> F32:
    """Saturation ``float32[h, w]``: 1 - least / greatest of the three colors; 0 for black."""
    red, green, blue = (np.ascontiguousarray(tile[..., c]) for c in range(3))
    most = np.maximum(np.maximum(red, green), blue)
    least = np.minimum(np.minimum(red, green), blue)
    saturation: F32 = np.divide(most - least, np.maximum(most, 1), dtype=np.float32)
    return saturation


def _texture(maps: Maps) -> list[float]:
    """Gradient magnitudes per px, and two histograms of local binary patterns."""
    gradient_h, gradient_e = maps.gradient, _gradient(maps.e)
    values = [
        gradient_h.mean(),
        gradient_h.std(),
        np.percentile(gradient_h[::2, ::2], 90),
        gradient_e.mean(),
        gradient_e.std(),
    ]
    for codes in maps.patterns:
        values += list(np.bincount(codes.ravel(), minlength=10) / codes.size)
    return [float(v) for v in values]


def _gradient(image: F32) -> F32:
    """Magnitude of central differences, ``float32[h, w]``; the edge is repeated."""
    edge = np.pad(image, 1, mode="edge")
    dx = edge[1:-1, 2:] - edge[1:-1, :-2]
    dy = edge[2:, 1:-1] - edge[:-2, 1:-1]
    dx *= dx
    dy *= dy
    dx += dy
    magnitude: F32 = np.sqrt(dx, out=dx)
    magnitude *= np.float32(0.5)
    return magnitude


def _pattern_classes() -> NDArray[np.uint8]:
    """Class of each 8-bit pattern: its number of ones if at most two changes, else 9."""
    bits = (np.arange(256)[:, None] >> np.arange(8)) & 1
    changes = (bits != np.roll(bits, 1, axis=1)).sum(axis=1)
    return np.where(changes <= 2, bits.sum(axis=1), 9).astype(np.uint8)


_CLASS_OF = _pattern_classes()
_RING = ((0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1))


def _binary_patterns(od: F32, radius: int, least: float = 0.01) -> NDArray[np.uint8]:
    """Rotation-invariant uniform pattern of each pixel's square ring, ``uint8[h, w]``, 0 to 9.

    ``least`` is the density by which a neighbor must exceed the center, so that the
    noise of glass and of compression is one pattern and not all of them.
    """
    height, width = od.shape
    r = radius
    edge = np.pad(od, r, mode="edge")
    center = od + np.float32(least)
    code = np.zeros(od.shape, np.uint8)
    for bit, (dy, dx) in enumerate(_RING):
        beside = edge[r + dy * r : r + dy * r + height, r + dx * r : r + dx * r + width]
        code |= (beside > center).view(np.uint8) << np.uint8(bit)
    return _CLASS_OF[code]


def _nuclear(nuclei: Nuclei, maps: Maps, mpp: float) -> list[float]:
    """Nuclear features of a tile; all 0 without nuclei, spread 0 with one."""
    if len(nuclei) == 0:
        return [0.0] * (2 + 5 * len(NUCLEI) + 20)
    found = measure(nuclei, maps)
    pooled = np.stack([found[name] for name in NUCLEI])
    summary = np.empty((len(NUCLEI), 5))
    summary[:, 0] = pooled.mean(axis=1)
    summary[:, 1] = pooled.std(axis=1)
    summary[:, 2:] = np.percentile(pooled, [10, 50, 90], axis=1).T
    patterns = [found[f"nuclear_lbp{r}_{k}"].mean() for r in (1, 2) for k in range(10)]
    share = np.count_nonzero(nuclei.labels) / nuclei.labels.size
    per_mm2 = len(nuclei) / (nuclei.labels.size * mpp**2 / 1e6)
    return [float(v) for v in (per_mm2, share, *summary.ravel(), *patterns)]
