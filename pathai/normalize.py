"""Stain normalization of H&E: each slide is brought to one look by its own statistics.

The statistics are those of the slide, never of a tile: a tile of nothing but nuclei keeps its
color, and a tile gives the same pixels alone and in any batch. Libraries at hand (torchstain 1.4.1,
tiatoolbox 2.1.3) measure the image that they change, tile by tile, and are not used; the stain
vectors come from `pathai.stain`, CIELAB from scikit-image.

References
----------
Macenko M et al. A method for normalizing histology slides for quantitative analysis.
ISBI 2009:1107-1110.
Reinhard E, Ashikhmin M, Gooch B, Shirley P. Color transfer between images.
IEEE Comput Graph Appl 2001;21(5):34-41.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pathai.stain import STAINS, StainMatrix, densities, optical_density, slide_background

U8 = NDArray[np.uint8]
F64 = NDArray[np.float64]
Triple = tuple[float, float, float]

TISSUE_OD = 0.15
"""Mean optical density above which a pixel counts as stained."""
GLASS_OD = 0.03
"""Mean optical density below which a pixel is glass and keeps its color."""
FEWEST = 500
"""Stained pixels below which a slide is left at its strength."""
MOST = 3.0
"""Largest factor by which a stain or a spread is changed: what is absent is not made up."""


class Normalizer(Protocol):
    """A fixed change of colors for one slide."""

    @property
    def name(self) -> str:
        """As in the configuration."""

    @property
    def digest(self) -> str:
        """SHA-256 over the parameters."""

    @property
    def parameters(self) -> dict[str, tuple[float, ...]]:
        """What was measured on the slide, for the record."""

    def apply(self, batch: U8) -> U8:
        """Change a batch ``uint8[..., 3]`` and give a new one of the same shape."""


def _digest(name: str, *parts: Any) -> str:
    text = json.dumps([name, *(asdict(part) for part in parts)], sort_keys=True)
    return sha256(text.encode()).hexdigest()


def _rounded(values: Any, digits: int = 5) -> Any:
    """Plain floats with few digits: a record that a person can read, and that is what is used."""
    return tuple(round(float(v), digits) for v in np.asarray(values).ravel())


@dataclass(frozen=True)
class Appearance:
    """How H&E looks on a slide, as Macenko describes it.

    Parameters
    ----------
    hematoxylin, eosin : tuple of 3 floats
        Unit vector of optical density, red, green, blue.
    strength : tuple of 2 floats
        99th percentile of the density of each over stained pixels, base 10.
    white : tuple of 3 floats
        Intensity of unstained light.
    """

    hematoxylin: Triple
    eosin: Triple
    strength: tuple[float, float]
    white: Triple

    @property
    def stain(self) -> StainMatrix:
        """The vectors as a stain matrix."""
        return StainMatrix("H&E", ("h", "e", "residual"), (self.hematoxylin, self.eosin))


HE_LOOK = Appearance(
    (0.5626, 0.7201, 0.4062), (0.2159, 0.8012, 0.5581), (0.85578, 0.44767), (240.0, 240.0, 240.0)
)
"""The look that implementations of Macenko's method share: reference vectors and light; the
strengths 1.9705 and 1.0308 in natural logarithms are 0.85578 and 0.44767 to base 10."""


def appearance(sample: U8) -> Appearance:
    """Measure how H&E looks on a slide.

    Parameters
    ----------
    sample : uint8[..., 3]
        Tissue from all over a slide, some glass included.

    Returns
    -------
    Appearance
        Vectors that are far from those of H&E are replaced by the usual ones (see
        `pathai.stain.slide_background`).
    """
    pixels = sample.reshape(1, -1, 3)
    pixels = pixels[:, :: max(1, pixels.shape[1] // 262144)]
    light = slide_background(pixels, STAINS["H&E"])
    stained = optical_density(pixels, light.white).mean(axis=-1) > TISSUE_OD
    strength = HE_LOOK.strength
    if stained.sum() >= FEWEST:
        found = densities(pixels, light.stain, light.white)[:2, stained]
        strength = _rounded(np.percentile(found, 99, axis=1).clip(0.02))
    first, second = light.stain.matrix[:2]
    return Appearance(_rounded(first), _rounded(second), strength, _rounded(light.white, 2))


@dataclass(frozen=True)
class Macenko:
    """Stain by stain from one look to another; glass becomes the target's glass.

    As in the paper, what neither stain explains (the residual: pigment, ink, noise) is dropped:
    kept, it would outweigh stains that the target look has closer together.
    """

    source: Appearance
    target: Appearance = HE_LOOK
    name: str = "macenko"

    def __reduce__(self) -> tuple[Any, ...]:
        """Tables stay behind: a worker makes its own."""
        return Macenko, (self.source, self.target)

    @property
    def digest(self) -> str:
        """SHA-256 over both looks."""
        return _digest(self.name, self.source, self.target)

    @property
    def parameters(self) -> dict[str, tuple[float, ...]]:
        """The slide's look."""
        return dict(asdict(self.source))

    @cached_property
    def _tables(self) -> tuple[NDArray[np.float32], U8]:
        """Steps of target density that each intensity adds ``[in, out, 256]``; light per step."""
        every = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
        od = optical_density(every, self.source.white)[0].astype(np.float64)  # [256, 3]
        wanted, there = self.target.strength, self.source.strength
        ratio = [np.clip(w / t, 1 / MOST, MOST) for w, t in zip(wanted, there, strict=True)]
        mix = np.linalg.inv(self.source.stain.matrix) @ np.diag([*ratio, 0.0])
        mix = mix @ self.target.stain.matrix
        steps = (od.T[:, None, :] * mix[:, :, None] * STEPS).astype(np.float32)
        density = np.arange(4 * STEPS) / STEPS
        light = np.asarray(self.target.white)[:, None] * 10.0**-density
        return steps, np.clip(np.rint(light), 0, 255).astype(np.uint8)

    def apply(self, batch: U8) -> U8:
        """Change colors, none to brighter than glass; tables spare a logarithm per pixel."""
        steps, light = self._tables
        planes = [np.ascontiguousarray(batch[..., c]) for c in range(3)]
        out = np.empty_like(batch)
        for k in range(3):
            density = steps[0, k][planes[0]]
            for c in (1, 2):
                density += steps[c, k][planes[c]]
            index = np.rint(density).astype(np.int32).clip(0, light.shape[1] - 1)
            out[..., k] = light[k][index]
        return out


STEPS = 1024
"""Steps per unit of optical density; one is 0.2 % of the light, below half a gray level."""


def fit_macenko(sample: U8, target: Appearance = HE_LOOK) -> Macenko:
    """Fit Macenko's normalization to a slide.

    Parameters
    ----------
    sample : uint8[..., 3]
        Tissue from all over the slide.
    target : Appearance
        The look wanted: `HE_LOOK`, or `appearance` of a slide of one's own.

    References
    ----------
    Macenko et al. 2009.
    """
    return Macenko(appearance(sample), target)


@dataclass(frozen=True)
class LabLook:
    """Mean and spread of CIELAB over stained pixels, in light made white, and that light."""

    mean: Triple
    spread: Triple
    white: Triple


HE_LAB = LabLook((54.65, 24.60, -13.57), (12.93, 3.68, 3.89), (240.0, 240.0, 240.0))
"""The same look: measured on a public slide (CMU-1 of OpenSlide) brought to `HE_LOOK`."""


def lab_look(sample: U8) -> LabLook:
    """Measure mean and spread of a slide's stained pixels.

    Parameters
    ----------
    sample : uint8[..., 3]
        Tissue from all over a slide, some glass included.

    Returns
    -------
    LabLook
        `HE_LAB` but for the light where fewer than ``FEWEST`` pixels are stained.
    """
    pixels = sample.reshape(1, -1, 3)
    pixels = pixels[:, :: max(1, pixels.shape[1] // 262144)]
    white = slide_background(pixels, STAINS["H&E"]).white
    stained = pixels[optical_density(pixels, white).mean(axis=-1) > TISSUE_OD]
    if len(stained) < FEWEST:
        return LabLook(HE_LAB.mean, HE_LAB.spread, _rounded(white, 2))
    lab = _to_lab(stained.astype(np.float64), white)
    spread = np.maximum(lab.std(axis=0), 0.1)
    return LabLook(_rounded(lab.mean(axis=0), 4), _rounded(spread, 4), _rounded(white, 2))


def _to_lab(rgb: F64, white: Triple) -> F64:
    from skimage.color import rgb2lab

    lab: F64 = rgb2lab(np.clip(rgb / np.asarray(white), 0, 1))
    return lab


@dataclass(frozen=True)
class Reinhard:
    """Mean and spread of CIELAB from one look to another; glass keeps its color.

    The paper changes every pixel, which tints the glass; here a pixel is changed the more the
    more it is stained, fully from ``TISSUE_OD`` on. The change is tabulated at 65 x 65 x 65 colors
    and interpolated.
    """

    source: LabLook
    target: LabLook = HE_LAB
    name: str = "reinhard"

    def __reduce__(self) -> tuple[Any, ...]:
        """Tables stay behind: a worker makes its own."""
        return Reinhard, (self.source, self.target)

    @property
    def digest(self) -> str:
        """SHA-256 over both looks."""
        return _digest(self.name, self.source, self.target)

    @property
    def parameters(self) -> dict[str, tuple[float, ...]]:
        """The slide's look."""
        return dict(asdict(self.source))

    def exact(self, rgb: F64) -> F64:
        """Change colors by the formula: ``float64[n, 3]``, 0 to 255, not rounded."""
        from skimage.color import lab2rgb

        lab = _to_lab(rgb, self.source.white)
        ratio = np.asarray(self.target.spread) / np.asarray(self.source.spread)
        ratio = np.clip(ratio, 1 / MOST, MOST)
        moved = (lab - self.source.mean) * ratio + self.target.mean
        moved[:, 0] = moved[:, 0].clip(0, 100)
        light = np.clip(rgb / np.asarray(self.source.white), 1 / 255, 1)
        share = (-np.log10(light).mean(axis=1, keepdims=True) - GLASS_OD) / (TISSUE_OD - GLASS_OD)
        share = np.clip(share, 0, 1)
        out: F64 = (share * _from_lab(moved, lab2rgb) + (1 - share) * light) * self.target.white
        return out

    @cached_property
    def _table(self) -> Any:
        from PIL import ImageFilter

        axis = np.linspace(0, 255, NODES)
        blue, green, red = np.meshgrid(axis, axis, axis, indexing="ij")  # red runs fastest
        nodes = np.stack([red.ravel(), green.ravel(), blue.ravel()], axis=1)
        table = self.exact(nodes).astype(np.float32) / np.float32(255)
        return ImageFilter.Color3DLUT(NODES, table.ravel())

    def apply(self, batch: U8) -> U8:
        """Change colors by the table."""
        from PIL import Image

        if not batch.size:
            return batch.copy()
        image = Image.fromarray(np.ascontiguousarray(batch).reshape(-1, batch.shape[-2], 3))
        return np.asarray(image.filter(self._table)).reshape(batch.shape).copy()


def _from_lab(lab: F64, convert: Callable[[F64], F64]) -> F64:
    """Colors outside of sRGB are cut, without the library's warning about it."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.clip(convert(lab), 0, 1)


NODES = 65
"""Colors per channel at which the change is computed; PIL takes no more."""


def fit_reinhard(sample: U8, target: LabLook = HE_LAB) -> Reinhard:
    """Fit Reinhard's normalization to a slide.

    Parameters
    ----------
    sample : uint8[..., 3]
        Tissue from all over the slide.
    target : LabLook
        The look wanted: `HE_LAB`, or `lab_look` of a slide of one's own.

    References
    ----------
    Reinhard et al. 2001.
    """
    return Reinhard(lab_look(sample), target)


FITS: dict[str, Callable[[U8], Normalizer]] = {"macenko": fit_macenko, "reinhard": fit_reinhard}
"""What ``features.color.normalize`` names."""
