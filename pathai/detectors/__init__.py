"""Detectors: from pixels to nuclei with class, outline and stain intensity.

A name is one of `DETECTORS` (need no file), or ``kind@file`` with a kind of `FILE_DETECTORS`.
"""

from difflib import get_close_matches
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pathai.errors import PathaiError
from pathai.registry import Registry

if TYPE_CHECKING:
    from pathai.detectors.base import Detector

DETECTORS = Registry(
    "detectors",
    {
        "nuclei-small": "pathai.detectors.nuclei_small:NucleiSmall",
        "classical": "pathai.detectors.classical:Classical",
    },
)
"""Called with ``stain=`` and ``dab_cutoff_od=``, and ``file=`` where one may be named and is;
``docs/adding.md`` says how to add one."""
FILE_DETECTORS = Registry(
    "file-detectors",
    {
        "cellpose": "pathai.detectors.cellpose:Cellpose",
        "instanseg": "pathai.detectors.instanseg:InstanSeg",
        "onnx": "pathai.detectors.onnx:Onnx",
        "stardist": "pathai.detectors.stardist:StarDist",
        "torchscript": "pathai.detectors.torchscript:TorchScript",
    },
)
"""Likewise, but always with ``file=``: weights that this program did not make."""


def names() -> list[str]:
    """Every name and every kind."""
    return sorted({*DETECTORS.names(), *FILE_DETECTORS.names()})


def weights_file(name: str) -> str:
    """The file or folder that a name points at, or nothing."""
    return name.partition("@")[2]


def check_name(name: str) -> None:
    """Refuse a name that stands for no detector.

    Raises
    ------
    PathaiError
        E191; the nearest names are given. E190 for an absolute path, which would enter results.
    """
    plain, at, file = name.partition("@")
    if plain in FILE_DETECTORS.names():
        if not file:
            raise PathaiError("E191", f"detector {plain} needs a file", f"write {plain}@file")
    elif plain in DETECTORS.names():
        if at and (not file or "file" not in signature(DETECTORS.load(plain)).parameters):
            why = "takes no file" if file else "names no file"
            raise PathaiError("E191", f"detector {name!r} {why}", f"write {plain}")
    else:
        near = get_close_matches(plain, names()) or names()
        remedy = f"try {', '.join(near)}, or see pathai list detectors"
        raise PathaiError("E191", f"no detector named {plain!r}", remedy)
    if file and Path(file).is_absolute():
        remedy = "give it relative to the run's folder"
        raise PathaiError("E190", f"detector {Path(file).name}: absolute path", remedy)


def identity(name: str) -> str:
    """SHA-256 of the files that a detector is read from; empty for one without.

    Raises
    ------
    PathaiError
        E183 if they are missing, E162 if they cannot be read; as `check_name`.
    """
    check_name(name)
    file = weights_file(name)
    if not file:
        return ""
    from pathai.detectors.files import identity as of_file

    return of_file(Path(file))


def check_ready(name: str) -> None:
    """Refuse before the first slide what would fail at each; no network is loaded.

    Raises
    ------
    PathaiError
        As `identity`; E194 if a package is missing, E182 if the contract beside the file is wrong.
    """
    from pathai.detectors.cards import CARDS

    identity(name)
    plain, _, file = name.partition("@")
    if plain in CARDS:
        CARDS[plain].require()
    try:
        if file:
            load_detector(name, stain="H&E", dab_cutoff_od=0.15)
    except PathaiError as error:
        if error.code != "E142":  # a question of each slide
            raise


def load_detector(name: str, *, stain: str, dab_cutoff_od: float, **stains: Any) -> "Detector":
    """Build a detector for slides of a stain.

    Parameters
    ----------
    name : str
    stain : str
        As in the sheet.
    dab_cutoff_od : float
        Nuclear DAB density that is positive.
    **stains
        ``vectors`` or ``estimate``, for detectors that look at stains.

    Raises
    ------
    PathaiError
        E190 if stain vectors are given to a detector that takes none.
        As `check_name`; E183 if its file is missing, E182 if it is damaged, E194 if a package is
        missing, E142 if the stain does not fit.
    """
    check_name(name)
    plain, _, file = name.partition("@")
    kind = (FILE_DETECTORS if plain in FILE_DETECTORS.names() else DETECTORS).load(plain)
    if not set(stains) <= set(signature(kind).parameters):
        message = f"detector {plain} takes no stain vectors"
        raise PathaiError("E190", message, "leave cells.stain_vectors and the column out")
    more: dict[str, Any] = {"file": Path(file)} if file else {}
    made: Detector = kind(stain=stain, dab_cutoff_od=dab_cutoff_od, **more, **stains)
    return made
