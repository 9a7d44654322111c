"""What a detector promises. No torch here: a detector imports what it needs itself."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pathai.quantities.error import CountError
from pathai.units import Mpp

__all__ = ["CountError", "Detections", "Detector"]


@dataclass(frozen=True)
class Detections:
    """Nuclei of one image, in px of it; pixel i covers i to i + 1, as everywhere in the store.

    Attributes
    ----------
    centers : float32[M, 2]
        Centers x, y.
    anchors : float32[M, 2]
        The points x, y that decide which block owns a nucleus: they must not change when more
        of the surround is shown. Equal to ``centers`` where a detector has nothing better.
    score : float32[M]
        Chance that a nucleus is there, 0 to 1; each detector says whether it is calibrated.
    class_ : uint8[M]
        Index into the detector's ``classes``.
    prob : float32[M, C]
        Support for each class, rows sum to 1. Each detector says whether it is calibrated.
    dab_od : float32[M]
        Mean nuclear DAB optical density, 0 where the stain has none.
    outline : float32[K, 2]
        Vertices x, y of all outlines, one after the other.
    outline_start : int64[M + 1]
        Outline ``i`` is ``outline[outline_start[i]:outline_start[i + 1]]``.
    """

    centers: NDArray[np.float32]
    anchors: NDArray[np.float32]
    score: NDArray[np.float32]
    class_: NDArray[np.uint8]
    prob: NDArray[np.float32]
    dab_od: NDArray[np.float32]
    outline: NDArray[np.float32]
    outline_start: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.centers)


class Detector(Protocol):
    """A detector is a value: the same settings give the same nuclei.

    Attributes
    ----------
    classes : tuple of str
        Names of the classes.
    mpp : float
        µm/px at which it works; finer images are reduced to it before `detect`.
    mpp_range : tuple of float
        µm/px of slides that it accepts.
    halo_um : float
        Surround that a block needs so that its own nuclei come out as in the whole slide.
    error : CountError or None
        How far counts are off; None where nobody has measured it.
    digest : str
        SHA-256 over everything that decides the result: version, settings, weights.
    """

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        ...

    @property
    def mpp(self) -> float:
        """µm/px at which it works."""
        ...

    @property
    def mpp_range(self) -> tuple[float, float]:
        """µm/px that it accepts."""
        ...

    @property
    def halo_um(self) -> float:
        """Surround that a block needs, µm."""
        ...

    @property
    def error(self) -> CountError | None:
        """How far its counts are off, if that was measured."""
        ...

    @property
    def digest(self) -> str:
        """SHA-256 of what decides the result."""
        ...

    def for_slide(self, sample: NDArray[np.uint8]) -> "Detector":
        """Return the detector fitted to a slide, from tissue of it ``uint8[h, w, 3]``.

        What is estimated per slide must be estimated here: `detect` sees parts only.
        """
        ...

    def detect(self, rgb: NDArray[np.uint8], mpp: Mpp) -> Detections:
        """Nuclei of ``rgb`` uint8[h, w, 3], sorted by y, then x.

        Raises
        ------
        PathaiError
            E131 if ``mpp`` is outside ``mpp_range``.
        """
        ...
