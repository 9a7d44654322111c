"""Color deconvolution: optical density, named stain matrices, white point, stain estimate.

Densities are optical densities to base 10 along unit stain vectors, so a density of 1
means that the stain alone lets a tenth of the light through. Pure NumPy, float32.

References
----------
Ruifrok AC, Johnston DA. Quantification of histochemical staining by color deconvolution.
Anal Quant Cytol Histol 2001;23:291-299.
Macenko M et al. A method for normalizing histology slides for quantitative analysis.
ISBI 2009:1107-1110.
"""

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pathai.errors import PathaiError

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

DARKEST = 1.0
"""Intensities below this are taken as this: keeps the logarithm finite (density <= 2.4)."""


@dataclass(frozen=True)
class StainMatrix:
    """Two stains and the direction that neither explains.

    Parameters
    ----------
    name : str
        Name as in column ``stain`` of the sheet.
    names : tuple of str
        Short names of the channels; the third is the residual.
    vectors : tuple of tuple of float
        Optical density of red, green, blue for each of the two stains.
    """

    name: str
    names: tuple[str, str, str]
    vectors: tuple[tuple[float, float, float], tuple[float, float, float]]

    @property
    def is_dab(self) -> bool:
        """Whether the second stain is DAB."""
        return self.names[1] == "dab"

    @property
    def matrix(self) -> NDArray[np.float64]:
        """``float64[3, 3]``: one unit vector (r, g, b) per row; the last is the residual."""
        rows = np.asarray(self.vectors, np.float64)
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        residual = np.cross(rows[0], rows[1])
        length = float(np.linalg.norm(residual))
        if length < 1e-3:
            raise PathaiError(
                "E142", f"{self.name}: both stain vectors point the same way", "give two stains"
            )
        return np.vstack([rows, residual / length])


# Vectors of Ruifrok & Johnston 2001, table 1.
STAINS: dict[str, StainMatrix] = {
    "H&E": StainMatrix("H&E", ("h", "e", "residual"), ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11))),
    "H-DAB": StainMatrix(
        "H-DAB", ("h", "dab", "residual"), ((0.65, 0.70, 0.29), (0.27, 0.57, 0.78))
    ),
}


IMMUNOSTAINS = (
    *("HDAB", "DAB", "IHC", "ER", "PR", "HER2", "Ki-67", "MIB-1", "PD-L1", "p53", "p63"),
    *("MLH1", "MSH2", "MSH6", "PMS2", "CD3", "CD8", "CD20"),
)
"""Further names of column ``stain`` that mean hematoxylin and DAB."""


def stain_matrix(name: str) -> StainMatrix:
    """Return the matrix for a name of column ``stain``.

    Raises
    ------
    PathaiError
        E142 if no matrix serves this name: correct column ``stain`` of the sheet.
    """
    if name in IMMUNOSTAINS:
        return STAINS["H-DAB"]
    if name not in STAINS:
        raise PathaiError(
            "E142",
            f"no stain vectors for stain {name!r}",
            f"use one of {', '.join((*STAINS, *IMMUNOSTAINS))}",
        )
    return STAINS[name]


def given_matrix(name: str, text: str) -> StainMatrix:
    """Stain vectors as the sheet gives them, for a name of column ``stain``.

    Parameters
    ----------
    name : str
        Decides what the two stains are.
    text : str
        Six numbers: red, green, blue of the first stain (hematoxylin), then of the second.

    Raises
    ------
    PathaiError
        E142 if these are not two different directions: correct column ``stain_vectors``.
    """
    known = stain_matrix(name)
    values = [float(v) for v in re.split(r"[\s,;]+", text.strip())]
    if len(values) != 6 or min(values) < 0 or not all(map(any, (values[:3], values[3:]))):
        message = f"stain vectors {text!r} are not two times three densities"
        raise PathaiError("E142", message, "correct column stain_vectors of the sheet")
    first, second = (values[0], values[1], values[2]), (values[3], values[4], values[5])
    found = StainMatrix(f"{known.name} (given)", known.names, (first, second))
    _ = found.matrix  # two stains that point the same way are refused here
    return found


def _od_table(white: ArrayLike) -> F32:
    """Optical density of the 256 intensities of each channel, ``float32[3, 256]``."""
    light = np.maximum(np.asarray(white, np.float64).reshape(3, 1), DARKEST)
    level = np.maximum(np.arange(256, dtype=np.float64), DARKEST)
    return np.maximum(np.log10(light / level), 0).astype(np.float32)


def optical_density(rgb: U8, white: ArrayLike = (255, 255, 255)) -> F32:
    """Optical density to base 10 of each channel.

    Parameters
    ----------
    rgb : uint8[h, w, 3]
        Image.
    white : float[3]
        Intensity of unstained light; brighter pixels get density 0.

    Returns
    -------
    float32[h, w, 3]
    """
    table = _od_table(white)
    return np.stack([table[c][rgb[..., c]] for c in range(3)], axis=-1)


def densities(rgb: U8, stain: StainMatrix, white: ArrayLike = (255, 255, 255)) -> F32:
    """Density of each stain (color deconvolution).

    The inverse matrix is folded into three tables of 256 entries per stain, so that a pixel
    costs three look-ups instead of three logarithms and a matrix product.

    Parameters
    ----------
    rgb : uint8[h, w, 3]
        Image.
    stain : StainMatrix
        Stain vectors.
    white : float[3]
        Intensity of unstained light.

    Returns
    -------
    float32[3, h, w]
        First stain, second stain, residual; may be negative where the vectors do not fit.

    References
    ----------
    Ruifrok & Johnston 2001.
    """
    inverse = np.linalg.inv(stain.matrix).astype(np.float32)  # od @ inverse = densities
    table = _od_table(white)
    out = np.empty((3, *rgb.shape[:2]), np.float32)
    planes = [np.ascontiguousarray(rgb[..., c]) for c in range(3)]
    for k in range(3):
        np.take(inverse[0, k] * table[0], planes[0], out=out[k])
        for c in (1, 2):
            out[k] += (inverse[c, k] * table[c])[planes[c]]
    return out


def compose(density: ArrayLike, stain: StainMatrix, white: ArrayLike = (255, 255, 255)) -> U8:
    """Draw an image from stain densities: the inverse of `densities`.

    Parameters
    ----------
    density : float[3, h, w]
        First stain, second stain, residual.
    stain : StainMatrix
        Stain vectors.
    white : float[3]
        Intensity of unstained light.

    Returns
    -------
    uint8[h, w, 3]
    """
    od = np.einsum("khw,kc->hwc", np.asarray(density, np.float64), stain.matrix)
    image = np.asarray(white, np.float64) * np.power(10.0, -od)
    drawn: U8 = np.clip(np.rint(image), 0, 255).astype(np.uint8)
    return drawn


def white_point(rgb: U8, floor: float = 180.0) -> F32:
    """Intensity of unstained light, from the brightest pixels of an image.

    Each channel's 99.5th percentile, not below ``floor``: an image that shows tissue only must not
    turn its palest tissue into glass. Pixels of exactly 255 in every channel are left
    out, because absent chunks of a store read as that; an image of nothing else is white.

    Parameters
    ----------
    rgb : uint8[..., 3]
        Image, or any sample of a slide's pixels.
    floor : float
        Darkest light that is believed.

    Returns
    -------
    float32[3]
    """
    flat = rgb.reshape(-1, 3)
    flat = flat[:: max(1, len(flat) // 16384)]  # a quantile needs no more
    flat = flat[~(flat == 255).all(axis=1)]
    if len(flat) == 0:
        return np.full(3, 255, np.float32)
    bright = np.percentile(flat, 99.5, axis=0)
    white: F32 = np.clip(bright, floor, 255).astype(np.float32)
    return white


@dataclass(frozen=True)
class Background:
    """What a slide shows where nothing specific is stained; the same for all of its parts.

    Attributes
    ----------
    white : tuple of float
        Intensity of unstained light, red, green, blue.
    stain : StainMatrix
        The slide's own stain vectors where they could be estimated, else the named ones.
    haze : float
        Density of DAB that lies over all tissue (unspecific, out of focus); 0 on H&E.
    """

    white: tuple[float, float, float]
    stain: StainMatrix
    haze: float


def slide_background(
    sample: U8, stain: StainMatrix, most: float = 0.1, *, estimate: bool = True
) -> Background:
    """Background of a slide from a sample of its pixels.

    On H&E the stain vectors are estimated and used as far as they are within `BELIEVED` of the
    usual ones; other dyes (purple on purple) are told from H&E by that. With DAB the hematoxylin is
    that of the least brown stained pixels, where it is believed; the vector of DAB stays, because
    a slide may be all negative. The haze is the 10th percentile of DAB over tissue,
    between 0 and ``most``: a slide that is truly stained all over must not lose its staining.

    Parameters
    ----------
    sample : uint8[h, w, 3]
        Pixels at nuclear resolution from all over the slide; pure white is ignored.
    stain : StainMatrix
        Stain vectors.
    most : float
        Largest haze that is believed, optical density.
    estimate : bool
        False keeps the given vectors.

    Returns
    -------
    Background
    """
    white = white_point(sample)
    flat = sample.reshape(1, -1, 3)
    flat = flat[:, :: max(1, flat.shape[1] // 131072)]
    if not stain.is_dab:
        own = _believed(flat, stain, white) if estimate else stain
        return Background(_triple(white), own, 0.0)
    own = _own_counterstain(flat, stain, white) if estimate else stain
    tissue = optical_density(flat, white).mean(axis=-1) > 0.05
    haze = 0.0
    if tissue.any():
        second = densities(flat, own, white)[1][tissue]
        haze = float(np.clip(np.percentile(second, 10), 0, most))
    return Background(_triple(white), own, haze)


BELIEVED = 17.0
"""Degrees by which an estimated vector of H&E may differ from the usual one."""
COUNTERSTAIN = 14.0
"""Likewise for hematoxylin under DAB; half brown, half blue lies 18 degrees off."""
LEAST_BROWN = 0.3
"""Share of the stained pixels whose middle is taken for free of DAB, if the color is believed."""


def _own_counterstain(pixels: U8, stain: StainMatrix, white: F32) -> StainMatrix:
    """The stains with the hematoxylin of the least brown stained pixels of a sample.

    Where hematoxylin leans toward brown, negative nuclei would count as positive under the usual
    vector. A slide without blue nuclei keeps the usual one.
    """
    od = optical_density(pixels, white).reshape(-1, 3)
    od = od[od.mean(axis=1) > 0.15]
    if len(od) < 500:
        return stain
    unit = od / np.linalg.norm(od, axis=1, keepdims=True)
    first, second = (np.asarray(v) / np.linalg.norm(v) for v in stain.vectors[:2])
    brown = unit @ second - unit @ first  # rises from blue to brown
    blue = unit[brown <= np.quantile(brown, LEAST_BROWN)]
    found = np.median(blue, axis=0)
    found = np.clip(found, 0.01, None) / np.linalg.norm(found)
    if float(found @ first) < np.cos(np.deg2rad(COUNTERSTAIN)):
        return stain
    return StainMatrix(f"{stain.name} (own)", stain.names, (_triple(found), stain.vectors[1]))


def _believed(pixels: U8, stain: StainMatrix, white: F32) -> StainMatrix:
    """Estimated vectors of H&E; without a believable eosin both are the named ones.

    Pigment, keratin and ink pull the hematoxylin end of the estimate: alone it is replaced by the
    usual one.
    """
    found = estimate_stains(pixels, stain, white)
    usual = _usual()
    near = (found.matrix[:2] * usual).sum(axis=1) >= np.cos(np.deg2rad(BELIEVED))
    if not near[1]:
        return stain
    first = found.vectors[0] if near[0] else _triple(usual[0])
    return StainMatrix(found.name, found.names, (first, found.vectors[1]))


def _usual() -> NDArray[np.float64]:
    """Usual vectors of H&E on scanners: ``float64[2, 3]``.

    Eosin on scanners absorbs more blue than in the measurement of 2001, which `STAINS` keeps.
    """
    rows = np.array([[0.65, 0.70, 0.29], [0.216, 0.801, 0.558]])
    unit: NDArray[np.float64] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def estimate_stains(
    rgb: U8, stain: StainMatrix, white: ArrayLike = (255, 255, 255), od_min: float = 0.15
) -> StainMatrix:
    """Estimate the two stain vectors from an image.

    The plane of the two largest principal components of the optical density is swept by angle;
    its robust extremes are the stains. Returns ``stain`` unchanged where fewer than 500 pixels
    are stained or the two extremes are closer than 8 degrees (one stain only).

    Parameters
    ----------
    rgb : uint8[h, w, 3]
        Image with both stains.
    stain : StainMatrix
        Decides the order of the two vectors, and serves where nothing can be estimated.
    white : float[3]
        Intensity of unstained light.
    od_min : float
        Pixels whose smallest channel density is below this are glass.

    Returns
    -------
    StainMatrix

    References
    ----------
    Macenko et al. 2009.
    """
    od = optical_density(rgb, white).reshape(-1, 3).astype(np.float64)
    od = od[od.mean(axis=1) > od_min]
    if len(od) < 500:
        return stain
    _, axes = np.linalg.eigh(np.cov(od.T))
    plane = axes[:, :0:-1]  # two largest, largest first
    plane = plane * np.where(plane.sum(axis=0) < 0, -1, 1)
    flat = od @ plane
    angle = np.arctan2(flat[:, 1], flat[:, 0])
    low, high = np.percentile(angle, [1, 99])
    if high - low < np.deg2rad(8):
        return stain
    found = [plane @ [np.cos(a), np.sin(a)] for a in (low, high)]
    found = [np.abs(v) / np.linalg.norm(v) for v in found]
    named = stain.matrix[:2]
    straight = float(found[0] @ named[0] + found[1] @ named[1])
    crossed = float(found[1] @ named[0] + found[0] @ named[1])
    first, second = found if straight >= crossed else found[::-1]
    vectors = (_triple(first), _triple(second))
    return StainMatrix(f"{stain.name} (estimated)", stain.names, vectors)


def _triple(vector: NDArray[np.float64] | F32) -> tuple[float, float, float]:
    """Return a vector as a tuple of floats."""
    return float(vector[0]), float(vector[1]), float(vector[2])
