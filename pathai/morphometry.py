"""What is measured on a nucleus: form, stain, chromatin and what surrounds it.

Everything comes from a nucleus's own outline and from the pixels in it and in a ring of `RING_UM`
around it. Other nuclei take no part, so a block of a slide gives the same numbers as the whole.

References
----------
Ruifrok AC, Johnston DA. Quantification of histochemical staining by color deconvolution.
Anal Quant Cytol Histol 2001;23:291-299.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pathai.outlines import F64, I64, hull, inside, moments, owners
from pathai.stain import F32, U8, Background, densities
from pathai.units import Mpp

RING_UM = 3.0
"""How far the ring reaches beyond the outline."""
CORE = 0.6
"""Share of the radius that is the core; the rest is the rim."""
CLEAR_OD = 0.08
"""Summed density of both stains below which a pixel is glass, lumen or halo."""
DIRECTIONS = 16
EXACT = 64
"""Vertices are rounded to this part of a px, so that they are the same wherever a block starts."""

MEASURES: tuple[str, ...] = (
    "area_um2",
    "perimeter_um",
    "major_um",
    "minor_um",
    "eccentricity",
    "solidity",
    "circularity",
    "orientation_deg",
    "hematoxylin_od",
    "hematoxylin_sd_od",
    "hematoxylin_skewness",
    "hematoxylin_sum_od_um2",
    "second_od",
    "second_sd_od",
    "residual_od",
    "core_hematoxylin_od",
    "rim_minus_core_od",
    "gradient_od_per_um",
    "gradient_sd_od_per_um",
    "grain_od",
    "ring_hematoxylin_od",
    "ring_hematoxylin_sd_od",
    "ring_second_od",
    "ring_second_sd_od",
    "ring_clear_share",
    "ring_nuclear_share",
    "edge_contrast_od",
)
"""Columns of `measure`, each with its unit.

``major_um`` and ``minor_um`` are the axes of the ellipse with the same second moments;
``orientation_deg`` is the long axis' angle from x toward y, 0 to 180; ``second`` is the stain
beside hematoxylin (eosin or DAB) and ``residual`` what neither explains; ``core`` is the
inner 60 % of each radius and ``rim`` the rest; ``gradient`` is that of hematoxylin; ``grain`` is
the mean difference of a pixel from its four neighbors; ``ring`` is what lies up to 3 µm outside of
the outline; ``ring_nuclear_share`` is the part of it that is at least half as blue as the nucleus.
"""


class Outlined(Protocol):
    """Nuclei with outlines in px of an image, e.g. `pathai.detectors.base.Detections`."""

    @property
    def centers(self) -> NDArray[np.float32]:
        """Centers ``float32[M, 2]`` (x, y)."""
        ...

    @property
    def outline(self) -> NDArray[np.float32]:
        """Vertices ``float32[K, 2]`` (x, y)."""
        ...

    @property
    def outline_start(self) -> NDArray[np.int64]:
        """First vertex ``int64[M + 1]`` of each outline."""
        ...


def measure(rgb: U8, mpp: Mpp, background: Background, found: Outlined) -> F32:
    """Measure every nucleus.

    Parameters
    ----------
    rgb : uint8[h, w, 3]
        Image.
    mpp : Mpp
        Its µm per px.
    background : Background
        The slide's light and stain vectors.
    found : Outlined
        Nuclei in px of the image. What lies outside of the image is not measured; a
        nucleus without inside is measured at the pixel of its center, with area 0.

    Returns
    -------
    float32[M, F]
        Row by nucleus, column by name in `MEASURES`; finite.
    """
    count = len(found.centers)
    if count == 0 or rgb.size == 0:
        return np.zeros((count, len(MEASURES)), np.float32)
    local, origin = _local(found)
    start = np.asarray(found.outline_start, np.int64)
    middle, values = _shape(local, start, mpp)
    zones = _zones(local, start, middle, origin, mpp, rgb.shape, found.centers)
    maps = densities(rgb, background.stain, background.white)
    values |= _stain(maps, mpp, zones, values["area_um2"])
    table = np.stack([values[name] for name in MEASURES], axis=1)
    return np.nan_to_num(table, posinf=0.0, neginf=0.0).astype(np.float32)


def _local(found: Outlined) -> tuple[F64, I64]:
    """Exact vertices from a whole px near each nucleus, and that px ``int64[M, 2]``."""
    exact = np.rint(np.asarray(found.outline, np.float64) * EXACT) / EXACT
    start = np.asarray(found.outline_start, np.int64)
    origin = np.floor(found.centers).astype(np.int64)
    filled = np.flatnonzero(np.diff(start))
    if len(filled):
        origin[filled] = np.floor(np.minimum.reduceat(exact, start[filled])).astype(np.int64)
    return exact - origin[owners(start)], origin


def _shape(local: F64, start: I64, mpp: Mpp) -> tuple[F64, dict[str, F64]]:
    """Centroids ``float64[M, 2]`` in local px, and form in µm."""
    scale = np.array([mpp.x, mpp.y])
    found = moments(local * scale, start)
    spread = np.hypot((found.xx - found.yy) / 2, found.xy)
    mean = (found.xx + found.yy) / 2
    major, minor = 4 * np.sqrt(mean + spread), 4 * np.sqrt(np.maximum(mean - spread, 0))
    around = np.zeros(len(found.area))
    filled = np.flatnonzero(np.diff(start))
    if len(filled):
        centered = local * scale - np.stack([found.x, found.y], axis=1)[owners(start)]
        around[filled] = hull(centered[:, 0], centered[:, 1], start[filled], DIRECTIONS)[0]
    real = found.area > 0
    safe = np.where(real, found.area, 1.0)
    values = {
        "area_um2": found.area,
        "perimeter_um": found.perimeter,
        "major_um": major,
        "minor_um": minor,
        "eccentricity": np.sqrt(np.clip(1 - (minor / np.maximum(major, 1e-9)) ** 2, 0, 1)) * real,
        "solidity": np.minimum(safe / np.maximum(around, safe), 1) * real,
        "circularity": np.minimum(
            4 * np.pi * found.area / np.maximum(found.perimeter, 1e-9) ** 2, 1
        ),
        "orientation_deg": np.rad2deg(0.5 * np.arctan2(2 * found.xy, found.xx - found.yy)) % 180,
    }
    return np.stack([found.x, found.y], axis=1) / scale, values


@dataclass(frozen=True)
class _Zones:
    """Pixels of three zones of each nucleus: whole, core, and whole with ring.

    Attributes
    ----------
    owner : int64[N]
        Nucleus + zone * M, zones in the order above; sorted.
    flat : int64[N]
        Pixel of the image, ``y * width + x``.
    pixels : int64[3, M]
        Number of pixels, at least 1.
    starts : int64[3 * M]
        First pixel of each owner.
    """

    owner: I64
    flat: I64
    pixels: I64
    starts: I64

    @property
    def count(self) -> int:
        """Number of nuclei."""
        return int(self.pixels.shape[1])

    def means(self, values: NDArray[Any]) -> tuple[F64, F64, F64]:
        """Means over nucleus, core and ring; the ring is the outer zone less the nucleus."""
        # each zone is summed for itself, whatever stands before it: same bits in every block
        total = np.add.reduceat(values.astype(np.float64), self.starts)
        whole, core, outer = total.reshape(self.pixels.shape)
        n_whole, n_core, n_outer = self.pixels
        n_ring = n_outer - n_whole
        # an outline that crosses itself may have no ring of its own: then all around it counts
        ring = np.where(n_ring > 0, (outer - whole) / np.maximum(n_ring, 1), outer / n_outer)
        return whole / n_whole, core / n_core, ring


def _zones(
    local: F64,
    start: I64,
    middle: F64,
    origin: I64,
    mpp: Mpp,
    shape: tuple[int, ...],
    centers: NDArray[np.float32],
) -> _Zones:
    """Pixels of the zones within the image; a nucleus without any gets that of its center."""
    count, vertices, owner = len(origin), len(local), owners(start)
    height, width = shape[:2]
    ray = local - middle[owner]
    length = np.hypot(ray[:, 0] * mpp.x, ray[:, 1] * mpp.y)[:, None]
    pushed = local + ray * (RING_UM / np.maximum(length, 1e-6))
    points = np.concatenate([local, middle[owner] + CORE * ray, pushed])
    starts = np.append(np.concatenate([start[:-1] + k * vertices for k in range(3)]), 3 * vertices)
    runs = inside(points, starts)
    x, y = origin[runs.owner % count].T
    row = runs.row + y
    left, right = np.maximum(runs.left + x, 0), np.minimum(runs.right + x, width)
    seen = np.flatnonzero((left < right) & (row >= 0) & (row < height))
    zone, length_px = runs.owner[seen], (right - left)[seen]
    first = row[seen] * width + left[seen] - np.cumsum(length_px) + length_px
    pixels = np.bincount(zone, length_px, minlength=3 * count).astype(np.int64)
    zone, flat = np.repeat(zone, length_px), np.repeat(first, length_px)
    flat += np.arange(len(flat))
    lone = np.flatnonzero(pixels == 0)
    if len(lone):
        at = np.floor(centers[lone % count]).astype(np.int64).clip(0, [width - 1, height - 1])
        zone = np.concatenate([zone, lone])
        order = np.argsort(zone, kind="stable")
        zone = zone[order]
        flat = np.concatenate([flat, at[:, 1] * width + at[:, 0]])[order]
    pixels = np.maximum(pixels, 1)
    return _Zones(zone, flat, pixels.reshape(3, count), np.cumsum(pixels) - pixels)


def _stain(maps: F32, mpp: Mpp, zones: _Zones, area_um2: F64) -> dict[str, F64]:
    """Stain and chromatin, from density maps ``float32[3, h, w]``."""
    first, second = (one.ravel()[zones.flat] for one in maps[:2])
    whole, core, _ = zones.pixels
    named = zones.owner % zones.count

    def deviation(values: F32, one: F64, other: F64) -> tuple[F64, F64]:
        square, _, around = zones.means(values * values)
        return np.sqrt(np.maximum(square - one**2, 0)), np.sqrt(np.maximum(around - other**2, 0))

    blue, blue_core, ring_blue = zones.means(first)
    second_in, _, ring_second = zones.means(second)
    blue_sd, ring_blue_sd = deviation(first, blue, ring_blue)
    second_sd, ring_second_sd = deviation(second, second_in, ring_second)
    rim = (blue * whole - blue_core * core) / np.maximum(whole - core, 1)
    half = (blue / 2).astype(np.float32)
    return {
        "hematoxylin_od": blue,
        "hematoxylin_sd_od": blue_sd,
        "hematoxylin_sum_od_um2": blue * area_um2,
        "second_od": second_in,
        "second_sd_od": second_sd,
        "core_hematoxylin_od": blue_core,
        "rim_minus_core_od": np.where(whole > core, rim - blue_core, 0),
        "ring_hematoxylin_od": ring_blue,
        "ring_hematoxylin_sd_od": ring_blue_sd,
        "ring_second_od": ring_second,
        "ring_second_sd_od": ring_second_sd,
        "ring_clear_share": np.clip(zones.means(first + second < CLEAR_OD)[2], 0, 1),
        "ring_nuclear_share": np.clip(zones.means(first > half[named])[2], 0, 1),
        "edge_contrast_od": blue - ring_blue,
    } | _chromatin(maps, mpp, zones, blue, blue_sd)


def _chromatin(maps: F32, mpp: Mpp, zones: _Zones, blue: F64, blue_sd: F64) -> dict[str, F64]:
    """What the pixels of the nucleus alone say; the image's edge is repeated."""
    inner = int(zones.pixels[0].sum())
    owner, flat, starts = zones.owner[:inner], zones.flat[:inner], zones.starts[: zones.count]
    height, width = maps.shape[1:]
    y, x = np.divmod(flat, width)
    map_ = maps[0].ravel()
    right, left = map_[flat + (x < width - 1)], map_[flat - (x > 0)]
    below, above = map_[flat + width * (y < height - 1)], map_[flat - width * (y > 0)]
    middle = map_[flat]
    across, down = (right - left) / np.float32(2 * mpp.x), (below - above) / np.float32(2 * mpp.y)
    square = across * across + down * down
    apart = middle - blue.astype(np.float32)[owner]
    around = (right + left + below + above) / np.float32(4)

    def mean(values: F32) -> F64:
        found: F64 = np.add.reduceat(values.astype(np.float64), starts) / zones.pixels[0]
        return found

    steep = mean(np.sqrt(square))
    return {
        "hematoxylin_skewness": np.clip(
            mean(apart * apart * apart) / np.maximum(blue_sd, 0.01) ** 3, -5, 5
        ),
        "residual_od": mean(maps[2].ravel()[flat]),
        "gradient_od_per_um": steep,
        "gradient_sd_od_per_um": np.sqrt(np.maximum(mean(square) - steep**2, 0)),
        "grain_od": mean(np.abs(middle - around)),
    }
