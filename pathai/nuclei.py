"""Classical nuclei finding, shared by the classical detector and the encoder `morphology`.

The density of the nuclear stains is searched for blobs at several scales; blobs are the seeds of
a watershed inside a local threshold, which splits touching nuclei. Every step has bounded
reach (`REACH_UM`), so that a block with that much surround gives the same nuclei as
the whole image.

References
----------
Lindeberg T. Feature detection with automatic scale selection. Int J Comput Vis 1998;30:79-116.
Beucher S, Meyer F. The morphological approach to segmentation: the watershed transformation.
In: Mathematical Morphology in Image Processing, 1993.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.segmentation import watershed

from pathai.errors import PathaiError
from pathai.label_map import exact, star_outlines
from pathai.resample import area_reduce, reduction
from pathai.stain import F32, U8, StainMatrix, densities, stain_matrix, white_point
from pathai.units import Mpp

WORKING_MPP = 0.5
"""µm per px at which nuclei are sought; finer images are reduced to it, others kept."""
MPP_RANGE = (0.1, 1.0)
"""µm per px of images that are accepted; checked at 0.2 to 0.6."""
REACH_UM = 40.0
"""No pixel farther than this from a nucleus takes part in finding it."""

I32 = NDArray[np.int32]
F64 = NDArray[np.float64]


@dataclass(frozen=True)
class NucleiSettings:
    """Parameters of `find_nuclei`, lengths in µm, densities in optical density.

    The defaults were chosen on every second image of DSB2018 (purple stain); the smallest radius
    also on synthetic fields, where it trades 0.004 of F1 for a count nearer to the truth.
    """

    radii_um: tuple[float, ...] = (1.7, 2.4, 3.3, 4.4)
    response: float = 0.05
    contrast: float = 0.03
    apart_um: float = 2.0
    suppress: float = 1.0
    surround_um: float = 8.0
    above_surround: float = 0.02
    foreground: tuple[float, float] = (0.10, 0.60)
    reach_um: float = 9.0
    area_um2: float = 9.0


DEFAULTS = NucleiSettings()


@dataclass(frozen=True)
class Nuclei:
    """Nuclei of one image; row *i* of each array is label ``i + 1``, sorted by y then x.

    Attributes
    ----------
    centers : float32[M, 2]
        Centroids x, y in px of the image; pixel i covers i to i + 1.
    anchors : float32[M, 2]
        Blob maxima x, y in the same px: depend on near pixels only, so they decide ownership.
    labels : int32[h, w]
        Label map at the working resolution, 0 outside.
    scale : tuple of float
        Image px per px of ``labels``, x and y.
    mpp : Mpp
        µm per px of ``labels``.
    area_um2, first_od, second_od, score : float32[M]
        Area; mean density of the first stain (hematoxylin) and the second (eosin or
        DAB) inside the nucleus; scale-normalized blob response (not a probability).
    density : float32[2, h, w]
        Density maps of both stains at the working resolution.
    """

    centers: F32
    anchors: F32
    labels: I32
    scale: tuple[float, float]
    mpp: Mpp
    area_um2: F32
    first_od: F32
    second_od: F32
    score: F32
    density: F32

    def __len__(self) -> int:
        return len(self.centers)

    @cached_property
    def outlines(self) -> F32:
        """Outlines ``float32[M, 24, 2]``, x, y in px of the image: simple star polygons."""
        scale = np.asarray(self.scale)
        longest = 2 * DEFAULTS.reach_um / min(self.mpp.x, self.mpp.y)
        stars = star_outlines(self.labels, self.centers / scale, longest_px=longest)
        placed: F32 = (stars * scale).astype(np.float32)
        return placed

    @cached_property
    def eccentricity(self) -> F32:
        """Eccentricity ``float32[M]`` of the ellipse with the same second moments, 0 to 1."""
        major, minor = _axes(self)
        return np.sqrt(np.clip(1 - (minor / np.maximum(major, 1e-6)) ** 2, 0, 1))


def _check_range(mpp: Mpp) -> None:
    """Refuse resolutions at which nuclei are too few or too many pixels."""
    low, high = MPP_RANGE
    if not (low <= mpp.x <= high and low <= mpp.y <= high):
        raise PathaiError(
            "E131",
            f"{mpp.x:.3g} x {mpp.y:.3g} µm/px is outside the range of nuclei, {low} to {high}",
        )


def find_nuclei(
    rgb: U8,
    mpp: Mpp,
    stain: str | StainMatrix = "H&E",
    white: ArrayLike | None = None,
    settings: NucleiSettings = DEFAULTS,
) -> Nuclei:
    """Find the nuclei of an image.

    Parameters
    ----------
    rgb : uint8[h, w, 3]
        Image.
    mpp : Mpp
        Its µm per px.
    stain : str or StainMatrix
        Name as in the sheet, or vectors; on a DAB immunostain both stains count as nuclear.
    white : float[3], optional
        Intensity of unstained light; by default estimated from the image. Give the slide's
        when the image is a part of a slide.
    settings : NucleiSettings
        Parameters.

    Returns
    -------
    Nuclei

    Raises
    ------
    PathaiError
        E131 if ``mpp`` is out of range, E142 if the stain is unknown.
    """
    _check_range(mpp)
    factor = reduction(mpp, WORKING_MPP)
    image = rgb
    if factor != (1.0, 1.0):
        size = (int(rgb.shape[1] / factor[0]), int(rgb.shape[0] / factor[1]))
        image = area_reduce(rgb, factor, (0, 0), (0, 0), size)
    work = Mpp(mpp.x * factor[0], mpp.y * factor[1])
    light = white_point(image) if white is None else white
    matrix = stain_matrix(stain) if isinstance(stain, str) else stain
    density = densities(image, matrix, light)[:2]
    nuclear = np.clip(density[0], 0, 2.5)
    if matrix.is_dab:
        nuclear = nuclear + np.clip(density[1], 0, 2.5)
    finest = _blur(nuclear, settings.radii_um[0] / np.sqrt(2), work)
    seeds, response, radius, surround = _blobs(finest, work, settings)
    threshold = np.clip(surround + settings.above_surround, *settings.foreground)
    keep = finest[seeds[:, 0], seeds[:, 1]] > threshold[seeds[:, 0], seeds[:, 1]]
    keep &= _strongest(seeds, response, radius, work, settings.suppress)
    seeds, response = seeds[keep], response[keep]
    labels = _split(seeds, finest, nuclear > threshold, work, settings.reach_um)
    return _measure(seeds, response, nuclear, surround, labels, density, work, factor, settings)


def _blur(image: F32, sigma_um: float, mpp: Mpp, truncate: float = 3.0) -> F32:
    """Gaussian of ``sigma_um`` with bounded reach."""
    sigma = (sigma_um / mpp.y, sigma_um / mpp.x)
    blurred: F32 = ndimage.gaussian_filter(image, sigma, truncate=truncate, mode="nearest")
    return blurred


def _blobs(
    finest: F32, mpp: Mpp, settings: NucleiSettings
) -> tuple[NDArray[np.int64], F32, F32, F32]:
    """Seeds (y, x), their response, their radius in µm; and the mean density of the surround.

    The response is the scale-normalized, sign-changed Laplacian of Gaussian, maximal over scales
    (a disc of radius r answers most at sigma = r / sqrt 2). Each scale is blurred from the one
    before, and on every second pixel: after the first blur nothing finer is left.
    """
    level = np.ascontiguousarray(finest[::2, ::2])
    coarse = mpp.scaled(2)
    best = np.full(level.shape, -np.inf, np.float32)
    scale = np.zeros(level.shape, np.uint8)
    before = settings.radii_um[0] / np.sqrt(2)
    for k, radius in enumerate(settings.radii_um):
        sigma = radius / np.sqrt(2)
        if k > 0:
            level = _blur(level, float(np.sqrt(sigma**2 - before**2)), coarse)
        before = sigma
        edge = np.pad(level, 1, mode="edge")
        down = 2 * level - edge[:-2, 1:-1] - edge[2:, 1:-1]
        across = 2 * level - edge[1:-1, :-2] - edge[1:-1, 2:]
        answer = down * np.float32((sigma / coarse.y) ** 2)
        answer += across * np.float32((sigma / coarse.x) ** 2)
        better = answer > best
        best[better] = answer[better]
        scale[better] = k
    surround = _blur(level, float(np.sqrt(settings.surround_um**2 - before**2)), coarse, 2.5)
    apart = [2 * max(1, round(settings.apart_um / m)) + 1 for m in (coarse.y, coarse.x)]
    peak = (best == ndimage.maximum_filter(best, apart)) & (best > settings.response)
    seeds = np.argwhere(peak)
    at = (seeds[:, 0], seeds[:, 1])
    radius_um = np.asarray(settings.radii_um, np.float32)[scale[at]]
    return 2 * seeds, best[at], radius_um, _doubled(surround, finest.shape)


def _doubled(coarse: F32, shape: tuple[int, ...]) -> F32:
    """Linear interpolation of every second pixel back to ``shape``."""
    rows = np.empty((shape[0], coarse.shape[1]), np.float32)
    rows[::2] = coarse
    after = np.concatenate([coarse[1:], coarse[-1:]])
    rows[1::2] = ((coarse + after) / 2)[: shape[0] // 2]
    out = np.empty(shape, np.float32)
    out[:, ::2] = rows
    beside = np.concatenate([rows[:, 1:], rows[:, -1:]], axis=1)
    out[:, 1::2] = ((rows + beside) / 2)[:, : shape[1] // 2]
    return out


def _strongest(
    seeds: NDArray[np.int64], response: F32, radius: F32, mpp: Mpp, suppress: float
) -> NDArray[np.bool_]:
    """Mask of seeds that lie in no stronger seed's radius; ties go to the upper left.

    A seed suppresses even if it is itself suppressed: no chains, so the reach stays bounded.
    """
    keep = np.ones(len(seeds), bool)
    if len(seeds) < 2:
        return keep
    place = seeds * [mpp.y, mpp.x]
    pairs = cKDTree(place).query_pairs(suppress * float(radius.max()), output_type="ndarray")
    # argwhere is sorted by y then x, so the smaller index is the upper left one
    first, second = pairs.min(axis=1), pairs.max(axis=1)
    swap = response[second] > response[first]
    strong, weak = np.where(swap, second, first), np.where(swap, first, second)
    gap = np.hypot(*(place[strong] - place[weak]).T)
    keep[weak[gap < suppress * radius[strong]]] = False
    return keep


def _split(
    seeds: NDArray[np.int64], finest: F32, inside: NDArray[np.bool_], mpp: Mpp, reach_um: float
) -> I32:
    """Watershed of the smoothed density from the seeds, at most ``reach_um`` from a seed."""
    labels = np.zeros(finest.shape, np.int32)
    if len(seeds) == 0:
        return labels
    labels[seeds[:, 0], seeds[:, 1]] = np.arange(1, len(seeds) + 1)
    # seeds lie on even pixels, so every second pixel holds them all
    step = (2 * mpp.y, 2 * mpp.x)
    away: F32 = ndimage.distance_transform_edt(labels[::2, ::2] == 0, sampling=step)
    near: Any = np.repeat(np.repeat(away <= reach_um, 2, axis=0), 2, axis=1)
    height, width = finest.shape
    mask = (inside & near[:height, :width]) | (labels > 0)
    split: I32 = watershed(-finest, labels, mask=mask).astype(np.int32)
    return split


def _measure(
    seeds: NDArray[np.int64],
    response: F32,
    nuclear: F32,
    surround: F32,
    labels: I32,
    density: F32,
    mpp: Mpp,
    factor: tuple[float, float],
    settings: NucleiSettings,
) -> Nuclei:
    """Measure the labels, drop what is too small or too pale, and number the rest anew."""
    count = len(seeds)
    flat = np.flatnonzero(labels)
    owner = labels.ravel()[flat] - 1
    pixels = np.bincount(owner, minlength=count)
    each = np.maximum(pixels, 1)

    def mean(values: NDArray[np.float32] | NDArray[np.int64]) -> F64:
        found: F64 = np.bincount(owner, values, minlength=count) / each
        return found

    area = pixels * mpp.x * mpp.y
    above = mean(nuclear.ravel()[flat]) - surround[seeds[:, 0], seeds[:, 1]]
    keep = np.flatnonzero((area >= settings.area_um2) & (above > settings.contrast))
    x, y = exact(mean(flat % labels.shape[1])), exact(mean(flat // labels.shape[1]))
    keep = keep[np.lexsort((x[keep], y[keep]))]
    number = np.zeros(count + 1, np.int32)
    number[keep + 1] = np.arange(1, len(keep) + 1)
    step = np.asarray(factor)

    def to_image(xy: F64) -> F32:
        placed: F32 = ((xy + 0.5) * step).astype(np.float32)
        return placed

    return Nuclei(
        centers=to_image(np.stack([x, y], axis=1)[keep]),
        anchors=to_image(seeds[keep][:, ::-1].astype(np.float64)),
        labels=number[labels],
        scale=factor,
        mpp=mpp,
        area_um2=area[keep].astype(np.float32),
        first_od=mean(density[0].ravel()[flat])[keep].astype(np.float32),
        second_od=mean(density[1].ravel()[flat])[keep].astype(np.float32),
        score=response[keep].astype(np.float32),
        density=density,
    )


def _axes(nuclei: Nuclei) -> tuple[F32, F32]:
    """Major and minor semi-axes ``float32[M]`` in µm, from second moments."""
    labels = nuclei.labels
    flat = np.flatnonzero(labels)
    owner = labels.ravel()[flat] - 1
    each = np.maximum(np.bincount(owner, minlength=len(nuclei)), 1)
    x = (flat % labels.shape[1]) * nuclei.mpp.x
    y = (flat // labels.shape[1]) * nuclei.mpp.y
    x = x - (np.bincount(owner, x, minlength=len(nuclei)) / each)[owner]
    y = y - (np.bincount(owner, y, minlength=len(nuclei)) / each)[owner]
    xx = np.bincount(owner, x * x, minlength=len(nuclei)) / each + nuclei.mpp.x**2 / 12
    yy = np.bincount(owner, y * y, minlength=len(nuclei)) / each + nuclei.mpp.y**2 / 12
    xy = np.bincount(owner, x * y, minlength=len(nuclei)) / each
    spread = np.sqrt(((xx - yy) / 2) ** 2 + xy**2)
    middle = (xx + yy) / 2
    major = 2 * np.sqrt(middle + spread)
    minor = 2 * np.sqrt(np.maximum(middle - spread, 0))
    return major.astype(np.float32), minor.astype(np.float32)
