"""A DICOM slide copied: the volume's instances, few attributes, frames byte for byte."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID

from pathai.deid.dicom_pixels import CODECS, EXPLICIT, IMPLICIT, Frames, copy_pixels
from pathai.deid.dicom_rules import FIXED, RULES, Context, kept
from pathai.deid.report import Report, unsafe
from pathai.errors import PathaiError

WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
_OTHERS = {"LABEL": "label image", "OVERVIEW": "macro image", "LOCALIZER": "macro image",
           "THUMBNAIL": "thumbnail image"}  # fmt: skip
_OFFSETS = 0x7FE00001
_SEE = "look at the slide; where nothing is written on it, set the attribute to NO in a copy"


@dataclass(frozen=True)
class Instance:
    """A file of the slide, its header (without pixels), and where the pixel data start."""

    path: Path
    header: Dataset
    pixels_at: int

    @property
    def flavor(self) -> str:
        """Third value of ImageType."""
        values = list(self.header.get("ImageType") or [])
        return str(values[2]) if len(values) > 2 else ""

    @property
    def series(self) -> str:
        """SeriesInstanceUID."""
        return str(self.header.get("SeriesInstanceUID", ""))

    @property
    def width(self) -> int:
        """Of the whole matrix, px."""
        return _whole(self.header, "TotalPixelMatrixColumns")


def copy_dicom(source: Path, part: Path, key: bytes) -> tuple[Report, list[Path]]:
    """Write a de-identified copy of a DICOM slide into a new folder.

    Parameters
    ----------
    source : Path
        A folder with one slide, or one file of it (its series is taken from its folder).
    part : Path
        Folder to make; it gets ``level-0.dcm`` and so on, the largest first.
    key : bytes
        Secret from which the new UIDs are made.

    Returns
    -------
    report : Report
    sources : list of Path
        The file that each written one was made from.

    Raises
    ------
    PathaiError
        E136 for several slides in one folder, E137 without a volume, E148 for what is unsafe.
    """
    report = Report("dicom")
    volumes = _volumes(source, report)
    part.mkdir()
    for level, instance in enumerate(volumes):
        _copy(instance, part / f"level-{level}.dcm", Context(key, report))
    report.kept["instance"] = len(volumes)
    if report.removed["color profile"]:
        report.notes.append(
            "a color profile was left out: only one of matrix and curves can be made anew"
        )
    return report, [instance.path for instance in volumes]


def _volumes(source: Path, report: Report) -> list[Instance]:
    """The instances of the one series that show the scan, largest first."""
    folder = source if source.is_dir() else source.parent
    wanted = "" if source.is_dir() else read_instance(source).series
    slides = [i for i in _instances(folder, report) if not wanted or i.series == wanted]
    if len({instance.series for instance in slides}) > 1:
        raise PathaiError("E136", "the folder holds several series", "give one file of the slide")
    volumes = []
    for instance in slides:
        if instance.flavor in _OTHERS:
            report.removed[_OTHERS[instance.flavor]] += 1
        elif instance.flavor == "VOLUME":
            _says_no(instance.header)
            volumes.append(instance)
        else:
            raise unsafe("the folder holds a whole-slide image of a kind that is not known")
    if not volumes:
        raise PathaiError("E137", "no instance holds the scan")
    return sorted(volumes, key=lambda i: (-i.width, str(i.header.get("SOPInstanceUID", ""))))


def _instances(folder: Path, report: Report) -> Iterator[Instance]:
    for path in sorted(folder.iterdir()):
        if not path.is_file():
            continue
        dicom = _is_dicom(path)
        if not dicom and path.suffix.lower() == ".dcm":  # perhaps a level that would be missing
            raise unsafe("a .dcm file of the folder is not DICOM")
        instance = read_instance(path) if dicom else None
        if instance is None or instance.header.get("SOPClassUID") != WHOLE_SLIDE:
            report.removed["file beside the images"] += 1
        else:
            yield instance


def _is_dicom(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def read_instance(path: Path) -> Instance:
    """Read the header of a DICOM file, up to its pixels."""
    with path.open("rb") as file:
        header = dcmread(file, stop_before_pixels=True)
        return Instance(path, header, file.tell())


def _says_no(header: Dataset) -> None:
    """Refuse pixels of which nobody says that no label and no writing is in them."""
    for keyword in ("BurnedInAnnotation", "SpecimenLabelInImage"):
        said = str(header.get(keyword, ""))
        if said != "NO":
            state = "is not stated" if said == "" else "is not NO"
            raise unsafe(f"{keyword} of an instance {state}", _SEE)
    if str(header.get("RecognizableVisualFeatures", "NO")) != "NO":
        raise unsafe("RecognizableVisualFeatures of an instance is not NO", _SEE)


def _copy(instance: Instance, path: Path, context: Context) -> None:
    header = instance.header
    syntax = str(header.file_meta.get("TransferSyntaxUID", ""))
    if syntax not in (*CODECS, EXPLICIT, IMPLICIT):
        raise PathaiError("E119", "a DICOM transfer syntax that is not known")
    frames = _frames(header, syntax)
    new = kept(header, RULES, context)
    for keyword, value in FIXED.items():
        setattr(new, keyword, value)
    for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        if not new.get(keyword):
            raise unsafe(f"an instance lacks {keyword}")
    if _OFFSETS in header:
        context.report.removed["table of offsets (may be computed)"] += 1
    new.file_meta = _meta(new, syntax)
    new.preamble = bytes(128)
    with path.open("x+b") as out, instance.path.open("rb") as file:
        dcmwrite(out, new, enforce_file_format=True)
        out.seek(0, os.SEEK_END)
        file.seek(instance.pixels_at)
        size = os.fstat(file.fileno()).st_size
        if copy_pixels(file, out, frames, size):
            context.report.removed["data after the pixels"] += 1
    context.report.kept["frame, byte for byte"] += frames.number


def _frames(header: Dataset, syntax: str) -> Frames:
    """What the pixel data must be, by a header that must agree with itself."""
    width, height = _whole(header, "Columns"), _whole(header, "Rows")
    number = _whole(header, "NumberOfFrames")
    if _whole(header, "BitsAllocated") != 8:
        raise PathaiError("E140", "not 8 bits per channel")
    if _whole(header, "SamplesPerPixel") != 3:
        raise PathaiError("E141", "not three channels per pixel")
    if header.get("DimensionOrganizationType") == "TILED_FULL":
        across = -(-_whole(header, "TotalPixelMatrixColumns") // max(width, 1))
        down = -(-_whole(header, "TotalPixelMatrixRows") // max(height, 1))
        planes = _whole(header, "TotalPixelMatrixFocalPlanes", 1)
        paths = _whole(header, "NumberOfOpticalPaths", 1)
        if number != across * down * planes * paths:
            raise unsafe("an instance has more or fewer frames than its size needs")
    elif number != len(header.get("PerFrameFunctionalGroupsSequence") or []):
        raise unsafe("an instance has frames of which nothing says where they lie")
    return Frames(syntax, width, height, number)


def _whole(header: Dataset, keyword: str, default: int = 0) -> int:
    value: Any = header.get(keyword, default)
    if not isinstance(value, int) or value < 0:
        raise unsafe(f"{keyword} is no whole number")
    return int(value)


def _meta(new: Dataset, syntax: str) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(WHOLE_SLIDE)
    meta.MediaStorageSOPInstanceUID = new.SOPInstanceUID
    meta.TransferSyntaxUID = UID(syntax)
    return meta
