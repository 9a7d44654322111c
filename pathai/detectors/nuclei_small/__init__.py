"""Nuclei by a small network that this project trained, with its weights in the package.

``pathai train-detector`` made the weights; ``card.json`` says from what, how the losses fell, how
well it does on tissue that it never saw, and how far its counts are off. Research use only.
"""

import json
from dataclasses import asdict, dataclass, replace
from functools import cache, cached_property
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathai.detectors.base import CountError, Detections
from pathai.detectors.dab import dab_classes, positive
from pathai.errors import PathaiError
from pathai.resample import area_reduce, reduction
from pathai.stain import Background, StainMatrix, densities, slide_background, stain_matrix
from pathai.units import Mpp

VERSION = 2
"""Raise it when the same weights give other nuclei."""
U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
DEPTHS = np.array([0.0, 0.25, 0.5, 0.75], np.float32)
"""Places along each ray at which stain is read; the edge itself is left out."""


@dataclass(frozen=True)
class Weights:
    """A trained network: its card and where its numbers lie.

    Attributes
    ----------
    raw : bytes
        Safetensors.
    card : dict
        Threshold, error of counts, SHA-256, training.
    """

    raw: bytes
    card: dict[str, Any]

    @property
    def threshold(self) -> float:
        """Least heat of a nucleus."""
        return float(self.card["threshold"])

    @property
    def error(self) -> CountError | None:
        """How far counts are off, if that was measured."""
        known = self.card["count_error"]
        return CountError(**known) if known else None


def read_weights(folder: Path) -> Weights:
    """Read ``weights.safetensors`` and ``card.json`` of a folder, and compare them.

    Raises
    ------
    PathaiError
        E183 if one is missing: name another folder. E182 if one is damaged, or they do not belong
        together: train or install anew.
    """
    try:
        card = json.loads(folder.joinpath("card.json").read_text("utf-8"))
        raw = folder.joinpath("weights.safetensors").read_bytes()
        expected = card["sha256"]
    except FileNotFoundError as error:
        name = Path(error.filename).name
        raise PathaiError("E183", f"{folder.name} holds no {name}", "name another folder") from None
    except (OSError, ValueError, KeyError) as error:
        message = f"{folder.name}: damaged ({type(error).__name__})"
        raise PathaiError("E182", message, "train it anew, or copy it again") from None
    if sha256(raw).hexdigest() != expected:
        raise PathaiError(
            "E182", f"{folder.name}: weights are not those of their card", "install pathai anew"
        )
    return Weights(raw, card)


@cache
def shipped() -> Weights:
    """Weights in the package."""
    return read_weights(Path(str(files(__name__))))


@dataclass(frozen=True)
class NucleiSmall:
    """Detector by a network.

    On H&E there is one class, ``nucleus``. With DAB a nucleus is ``positive`` when its mean DAB
    optical density, less the slide's unspecific haze, reaches ``dab_cutoff_od``; the
    support for ``positive`` is a logistic of the distance to that cut-off (not calibrated).

    Parameters
    ----------
    stain : str
        As in the sheet: ``"H&E"``, ``"H-DAB"`` or the name of a DAB immunostain.
    dab_cutoff_od : float
        Nuclear DAB optical density (base 10) from which a nucleus is positive.
    file : Path, optional
        Folder that ``pathai train-detector`` wrote; by default the shipped weights.
    background : Background, optional
        The slide's light, stain vectors and haze; without it each image is taken for itself.
    vectors : StainMatrix, optional
        Stain vectors that a lab has measured; they are then not estimated.
    estimate : bool
        Whether stain vectors are estimated on each slide.
    precise : bool
        Compute in float32 also where the processor has bfloat16.

    Raises
    ------
    PathaiError
        E142 if the stain has no vectors: correct column ``stain`` of the sheet. E182 if the
        weights are damaged: install pathai anew.
    """

    stain: str = "H&E"
    dab_cutoff_od: float = 0.15
    file: Path | None = None
    background: Background | None = None
    vectors: StainMatrix | None = None
    estimate: bool = True
    precise: bool = False

    mpp = 0.5
    mpp_range = (0.1, 0.65)
    halo_px = 80  # 61 of the network, 17 for nuclei beside nuclei
    halo_um = 52.0  # the same at the coarsest µm/px

    def __post_init__(self) -> None:
        stain_matrix(self.stain)
        _ = self.weights  # a folder that holds none shows itself here

    @cached_property
    def weights(self) -> Weights:
        """The network's numbers and its card."""
        return read_weights(self.file) if self.file else shipped()

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names for this stain."""
        return dab_classes(self.stain)

    @property
    def error(self) -> CountError | None:
        """How far counts are off, from tissue that the network never saw."""
        return self.weights.error

    @property
    def digest(self) -> str:
        """SHA-256 over version, weights and settings."""
        card = self.weights.card
        facts = [VERSION, card["sha256"], card["threshold"], self.stain, self.dab_cutoff_od]
        if self.vectors is not None or not self.estimate:
            facts += [self.vectors and asdict(self.vectors), self.estimate]
        return sha256(json.dumps(facts).encode()).hexdigest()

    def for_slide(self, sample: U8) -> "NucleiSmall":
        """Return this detector with the slide's light, stain vectors and haze."""
        return replace(self, background=self._background(sample))

    def _background(self, sample: U8) -> Background:
        estimate = self.estimate and self.vectors is None
        stain = self.vectors or stain_matrix(self.stain)
        return slide_background(sample, stain, estimate=estimate)

    def detect(self, rgb: U8, mpp: Mpp) -> Detections:
        """Nuclei of an image, sorted by y, then x.

        Raises
        ------
        PathaiError
            E131 if ``mpp`` is outside ``mpp_range``.
        """
        low, high = self.mpp_range
        if not all(low <= m <= high for m in (mpp.x, mpp.y)):
            raise PathaiError(
                "E131", f"{mpp.x:.3g} x {mpp.y:.3g} µm/px is outside the detector's {low} to {high}"
            )
        factor = reduction(mpp, self.mpp)
        image = rgb
        if factor != (1.0, 1.0):
            size = (int(rgb.shape[1] / factor[0]), int(rgb.shape[0] / factor[1]))
            image = area_reduce(rgb, factor, (0, 0), (0, 0), size)
        from pathai.detectors.nuclei_small.run import find

        found = find(self.weights, image, self.precise)
        return self._told(rgb, image, found.xy, found.score, found.outline, np.asarray(factor))

    def _told(
        self, rgb: U8, image: U8, xy: F32, score: F32, outline: F32, factor: NDArray[np.float64]
    ) -> Detections:
        """Detections in px of ``rgb``."""
        count, corners = outline.shape[:2]
        dab = np.zeros(count, np.float32)
        class_ = np.zeros(count, np.uint8)
        prob = np.ones((count, 1), np.float32)
        if stain_matrix(self.stain).is_dab:
            known = self.background or self._background(rgb)
            dab = nuclear_dab(image, xy, outline, known) - np.float32(known.haze)
            class_, prob = positive(dab, self.dab_cutoff_od)
        return Detections(
            centers=(xy * factor).astype(np.float32),
            anchors=(xy * factor).astype(np.float32),
            score=score,
            class_=class_,
            prob=prob,
            dab_od=dab,
            outline=(outline.reshape(-1, 2) * factor).astype(np.float32),
            outline_start=np.arange(count + 1, dtype=np.int64) * corners,
        )


def nuclear_dab(image: U8, xy: F32, outline: F32, known: Background) -> F32:
    """Mean DAB density ``float32[M]`` inside outlines, read along their rays.

    Each place stands for the ring that it lies in, so the mean is one over area.
    """
    if len(xy) == 0:
        return np.zeros(0, np.float32)
    place = xy[:, None, None] + DEPTHS[:, None, None] * (outline - xy[:, None])[:, None]
    column = np.floor(place[..., 0]).astype(np.int64).clip(0, image.shape[1] - 1)
    row = np.floor(place[..., 1]).astype(np.int64).clip(0, image.shape[0] - 1)
    pixels = image[row, column].reshape(len(xy), -1, 3)
    second = densities(pixels, known.stain, known.white)[1]
    far = np.square(outline - xy[:, None]).sum(axis=2)
    weight = (far[:, None] * (DEPTHS + np.float32(0.125))[:, None]).reshape(len(xy), -1)
    mean: F32 = ((second * weight).sum(axis=1) / weight.sum(axis=1)).astype(np.float32)
    return mean
