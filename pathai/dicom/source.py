"""The DICOM image that a slide was read from, without what names a person."""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pathai.errors import PathaiError
from pathai.readers.slide_files import quick_identity, slide_files
from pathai.store.records import SlideInfo

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
KEPT = (
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"),
    *("FrameOfReferenceUID", "TotalPixelMatrixColumns", "TotalPixelMatrixRows", "Rows", "Columns"),
    *("NumberOfFrames", "ImageType", "Modality"),
)
"""Attributes that are read: references and geometry, no text."""
NO_DATE, NO_TIME = "19000101", "000000"
"""Stands where the standard wants a date and none may be told."""


@dataclass(frozen=True)
class Source:
    """The level-0 image of a DICOM slide, as an object that results may refer to."""

    slide_id: str
    image: "Dataset"


def is_dicom(info: SlideInfo) -> bool:
    """Whether a slide was read from DICOM."""
    return info.vendor == "dicom"


def read_source(path: Path, info: SlideInfo, case_id: str, specimen_id: str = "") -> Source:
    """Find and read the image that a slide's level 0 is.

    Parameters
    ----------
    path : Path
        Any file of the slide's series.
    info : SlideInfo
        What ingest knows of the slide; the file must be the one it saw.
    case_id : str
        Pseudonym that takes the place of the patient.
    specimen_id : str
        Of the sheet.

    Raises
    ------
    PathaiError
        E193 if the slide is not DICOM, E163 if the files are not those that were ingested, E137
        without an image of that size.
    """
    if not is_dicom(info):
        message = f"{info.slide_id}: not from a DICOM file"
        raise PathaiError("E193", message, "export DICOM of slides that are DICOM")
    if info.quick_id and quick_identity(path) != info.quick_id:
        raise PathaiError("E163", f"{info.slide_id}: the file is not the one that was ingested")
    for file in slide_files(path):
        header = _header(Path(str(file)))
        if header is not None and _is_level0(header, info):
            return Source(info.slide_id, _plain(header, info.slide_id, case_id, specimen_id))
    raise PathaiError("E137", f"{info.slide_id}: no instance holds the whole scan")


def _header(path: Path) -> "Dataset | None":
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    wanted = [*KEPT, "SpecimenDescriptionSequence"]
    try:
        return dcmread(path, stop_before_pixels=True, specific_tags=list(wanted))
    except (InvalidDicomError, OSError, EOFError, ValueError, NotImplementedError):
        return None


def _is_level0(header: "Dataset", info: SlideInfo) -> bool:
    kind = list(header.get("ImageType") or [])
    size = header.get("TotalPixelMatrixColumns"), header.get("TotalPixelMatrixRows")
    volume = len(kind) > 2 and kind[2] == "VOLUME"
    whole = header.get("SOPClassUID") == WHOLE_SLIDE and size == (info.width, info.height)
    return volume and whole


def _plain(header: "Dataset", slide_id: str, case_id: str, specimen_id: str) -> "Dataset":
    """References and geometry, under the run's own ids."""
    from pydicom.dataset import Dataset

    new = Dataset()
    for keyword in KEPT:
        if keyword in header:
            setattr(new, keyword, getattr(header, keyword))
    new.PatientID = case_id
    new.PatientName = f"{case_id}^"
    new.PatientBirthDate = new.PatientSex = new.AccessionNumber = new.StudyID = ""
    new.StudyDate = new.StudyTime = new.ReferringPhysicianName = ""
    new.PatientIdentityRemoved = "YES"
    new.DeidentificationMethod = "pathai: pseudonyms of the run, UIDs kept, nothing else taken"
    new.SpecificCharacterSet = "ISO_IR 192"
    new.ContainerIdentifier = slide_id
    new.IssuerOfTheContainerIdentifierSequence = []
    new.ContainerTypeCodeSequence = [_code("433466003", "SCT", "Microscope slide")]
    described = Dataset()
    described.SpecimenIdentifier = specimen_id or slide_id
    described.IssuerOfTheSpecimenIdentifierSequence = []
    items = header.get("SpecimenDescriptionSequence") or []
    own = str(items[0].get("SpecimenUID", "")) if len(items) else ""
    described.SpecimenUID = own or uid_of("specimen", slide_id, specimen_id)
    described.SpecimenPreparationSequence = []
    new.SpecimenDescriptionSequence = [described]
    return new


def _code(value: str, scheme: str, meaning: str) -> "Dataset":
    from pydicom.dataset import Dataset

    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def uid_of(*parts: str) -> str:
    """A UID made of what it names: the same result has the same UID."""
    digest = sha256("\0".join(parts).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def settle(made: Any, time: str = "") -> None:
    """Take the present moment out of an object, so that the same result is the same bytes.

    ``time`` is that of a signature (ISO 8601); without one no time is told.
    """
    digits = "".join(c for c in time[:19] if c.isdigit())
    date, moment = (digits[:8], digits[8:14]) if len(digits) >= 14 else (NO_DATE, NO_TIME)
    told = {"ContentDate": date, "InstanceCreationDate": date, "ContentTime": moment,
            "InstanceCreationTime": moment}  # fmt: skip

    def at(_: Any, element: Any) -> None:
        if element.VR == "DT":
            element.value = date + moment
        elif element.keyword in told:
            element.value = told[element.keyword]

    made.walk(at)
