"""Nuclei without weights: color deconvolution, scale-aware blobs, watershed. No torch.

Measured on real and synthetic tissue by ``benchmarks/cells.py``; crowded nuclei are undercounted.
"""

import json
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pathai.detectors.base import CountError, Detections
from pathai.detectors.dab import dab_classes, positive
from pathai.nuclei import DEFAULTS, MPP_RANGE, REACH_UM, WORKING_MPP, NucleiSettings, find_nuclei
from pathai.stain import Background, StainMatrix, slide_background, stain_matrix
from pathai.units import Mpp

VERSION = 2
"""Raise it when the same settings give other nuclei."""
SCALE = np.float32(0.15)
"""Blob response whose score is one half (not calibrated)."""


@dataclass(frozen=True)
class Classical:
    """Classical detector.

    On H&E there is one class, ``nucleus``. With DAB a nucleus is ``positive`` when its mean DAB
    optical density, less the slide's unspecific haze, reaches ``dab_cutoff_od``; the
    support for ``positive`` is a logistic of the distance to that cut-off (not calibrated).

    Parameters
    ----------
    stain : str
        As in the sheet: ``"H&E"``, ``"H-DAB"`` or the name of a DAB immunostain.
    dab_cutoff_od : float
        Nuclear DAB optical density (base 10) from which a nucleus is positive.
    settings : NucleiSettings
        Parameters of nuclei finding.
    background : Background, optional
        The slide's light, stain vectors and haze; without it each image is taken for itself.
    vectors : StainMatrix, optional
        Stain vectors that a lab has measured; they are then not estimated.
    estimate : bool
        Whether stain vectors are estimated on each slide.

    Raises
    ------
    PathaiError
        E142 if the stain has no vectors: correct column ``stain`` of the sheet.
    """

    stain: str = "H&E"
    dab_cutoff_od: float = 0.15
    settings: NucleiSettings = DEFAULTS
    background: Background | None = None
    vectors: StainMatrix | None = None
    estimate: bool = True

    mpp = WORKING_MPP
    mpp_range = MPP_RANGE
    halo_um = REACH_UM
    error: ClassVar[CountError | None] = None

    def __post_init__(self) -> None:
        stain_matrix(self.stain)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names for this stain."""
        return dab_classes(self.stain)

    @property
    def digest(self) -> str:
        """SHA-256 over version and parameters (the slide's background follows from the slide)."""
        facts = [VERSION, self.stain, self.dab_cutoff_od, asdict(self.settings)]
        if self.vectors is not None or not self.estimate:
            facts += [self.vectors and asdict(self.vectors), self.estimate]
        return sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def for_slide(self, sample: NDArray[np.uint8]) -> "Classical":
        """Return this detector with the slide's light, stain vectors and haze."""
        return replace(self, background=self._background(sample))

    def _background(self, sample: NDArray[np.uint8]) -> Background:
        estimate = self.estimate and self.vectors is None
        stain = self.vectors or stain_matrix(self.stain)
        return slide_background(sample, stain, estimate=estimate)

    def detect(self, rgb: NDArray[np.uint8], mpp: Mpp) -> Detections:
        """Nuclei of an image; see `pathai.nuclei.find_nuclei`."""
        known = self.background or self._background(rgb)
        found = find_nuclei(rgb, mpp, known.stain, known.white, self.settings)
        count, corners = found.outlines.shape[:2]
        if stain_matrix(self.stain).is_dab:
            dab = found.second_od - np.float32(known.haze)
            class_, prob = positive(dab, self.dab_cutoff_od)
        else:
            dab = np.zeros(count, np.float32)
            class_ = np.zeros(count, np.uint8)
            prob = np.ones((count, 1), np.float32)
        return Detections(
            centers=found.centers,
            anchors=found.anchors,
            score=found.score / (found.score + SCALE),
            class_=class_,
            prob=prob,
            dab_od=dab,
            outline=found.outlines.reshape(-1, 2),
            outline_start=np.arange(count + 1, dtype=np.int64) * corners,
        )
