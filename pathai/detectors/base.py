"""What a detector promises. No torch here: a detector imports what it needs itself."""

from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pathai.detectors.outlines import mend
from pathai.errors import PathaiError
from pathai.quantities.error import CountError
from pathai.units import Mpp

__all__ = ["Checked", "CountError", "Detections", "Detector", "checked", "taken"]


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


@dataclass(frozen=True)
class Checked:
    """Detections that keep every promise.

    Attributes
    ----------
    detections : Detections
        As given, but for outlines that were none.
    mended : bool[M]
        Nuclei whose outline was mended or left out.
    """

    detections: Detections
    mended: NDArray[np.bool_]


def taken(found: Detections, index: NDArray[np.int64]) -> Detections:
    """Rows ``index`` of detections, with their outlines."""
    length = np.diff(found.outline_start)[index]
    start = np.concatenate([[0], np.cumsum(length)]).astype(np.int64)
    place = np.arange(start[-1]) + np.repeat(found.outline_start[index] - start[:-1], length)
    rows = {
        f.name: getattr(found, f.name)[index]
        for f in fields(Detections)
        if not f.name.startswith("outline")
    }
    return Detections(**rows, outline=found.outline[place], outline_start=start)


def checked(
    found: Detections, name: str, classes: int, size: tuple[int, int], reach_px: float
) -> Checked:
    """Prove what a detector returned, which may be foreign code.

    What is certain is kept: a nucleus whose outline is empty, not finite, flat or goes farther
    than ``reach_px`` from its center keeps its place without an outline, and of one that crosses
    itself the largest part that does not is kept. Both are told. Everything else is an error.

    Parameters
    ----------
    found : Detections
        Of one image.
    name : str
        Of the detector, for the message.
    classes : int
        Number of its classes.
    size : tuple of int
        Width and height of the image, px.
    reach_px : float
        Largest distance of an outline from its center, px.

    Raises
    ------
    PathaiError
        E186 naming the detector and what is wrong: correct the detector.
    """
    arrays: dict[str, NDArray[Any]] = {}
    for field, (dtype, width) in _PROMISED.items():
        arrays[field] = _of_type(getattr(found, field), field, dtype, width or classes, name)
    count, start = len(arrays["centers"]), arrays["outline_start"]
    for field in ("centers", "anchors", "score", "class_", "prob", "dab_od"):
        if len(arrays[field]) != count:
            raise _refused(name, f"{len(arrays[field])} rows of {field} for {count} nuclei")
        if not np.isfinite(arrays[field]).all():
            raise _refused(name, f"{field} is not finite")
    if len(start) != count + 1 or start[0] != 0 or start[-1] != len(arrays["outline"]):
        raise _refused(name, "outline_start does not fit the outlines")
    if (np.diff(start) < 0).any():
        raise _refused(name, "outline_start falls")
    for field in ("centers", "anchors"):
        if ((arrays[field] < 0) | (arrays[field] > size)).any():
            raise _refused(name, f"{field} lie outside of the image")
    if (arrays["class_"] >= classes).any():
        raise _refused(name, f"class {arrays['class_'].max()} of {classes}")
    for field in ("score", "prob"):
        if ((arrays[field] < 0) | (arrays[field] > 1)).any():
            raise _refused(name, f"{field} lies outside of 0 to 1")
    if (np.abs(arrays["prob"].sum(axis=1) - 1) > _ROUNDING).any():
        raise _refused(name, "prob does not sum to 1")
    outline, begins, mended = mend(arrays["outline"], start, arrays["centers"], reach_px)
    arrays |= {"outline": outline, "outline_start": begins}
    return Checked(Detections(**arrays), mended)


def _of_type(value: Any, field: str, dtype: str, width: int, name: str) -> NDArray[Any]:
    """A field as the promised type, where nothing is lost by it but digits of a real number."""
    array = np.asarray(value)
    if array.ndim != (1 if width == 1 and field not in ("prob",) else 2):
        raise _refused(name, f"{field} has {array.ndim} axes")
    if array.ndim == 2 and array.shape[1] != width:
        raise _refused(name, f"{field} has {array.shape[1]} columns, not {width}")
    kinds = "f" if dtype == "float32" else "iu"
    if array.dtype.kind not in kinds and array.size:
        raise _refused(name, f"{field} is {array.dtype}, not {dtype}")
    if kinds == "iu" and array.size:
        limits = np.iinfo(dtype)
        if array.min() < limits.min or array.max() > limits.max:
            raise _refused(name, f"{field} does not fit {dtype}")
    with np.errstate(over="ignore"):  # what overflows is not finite, which is refused
        return np.ascontiguousarray(array, dtype)


def _refused(name: str, message: str) -> PathaiError:
    return PathaiError("E186", f"detector {name}: {message}")


_ROUNDING = 1e-2
"""Half precision of some classes may miss a sum of 1 by this much."""
_PROMISED = {
    "centers": ("float32", 2),
    "anchors": ("float32", 2),
    "score": ("float32", 1),
    "class_": ("uint8", 1),
    "prob": ("float32", 0),
    "dab_od": ("float32", 1),
    "outline": ("float32", 2),
    "outline_start": ("int64", 1),
}
"""Type and columns of each field; 0: as many as classes."""


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
    halo_px : int, optional
        The same in px at which it works, for one whose reach is a number of px; it counts then.
    step_px : int, optional
        Its stride: blocks and their surround begin at multiples of it, up to 32.
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
