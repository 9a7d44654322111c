"""What of a DICOM whole-slide image is kept, attribute by attribute; all else is left out.

In the spirit of the Basic Application Level Confidentiality Profile (PS3.15, annex E), but as a
list of what may stay: an attribute that nobody thought of is gone.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset

from pathai.deid.icc import renewed
from pathai.deid.report import Report, unsafe

METHOD = "pathai deid: keep list, new UIDs, no names, dates, texts"
NO_DATE, NO_TIME, NO_MOMENT, NO_NAME = "19000101", "000000", "19000101000000", "Unknown"
_DS = re.compile(r"[+-]?\d{1,10}(\.\d{0,14})?([eE][+-]?\d{1,2})?")
_MAKERS = {"3dhistech", "aperio", "google", "hamamatsu", "leica biosystems", "motic", "olympus",
           "philips", "roche", "ventana", "zeiss"}  # fmt: skip
_CODES = {
    ("DCM", "111741"): "Transmission illumination",
    ("DCM", "111744"): "Brightfield illumination",
    ("SCT", "414298005"): "Full Spectrum",
    ("SRT", "R-102C0"): "Full Spectrum",
    ("SCT", "433466003"): "Microscope slide",
    ("SCT", "1179252003"): "Slide",
    ("SCT", "258661006"): "Slide",
    ("SCT", "430856003"): "Tissue section",
    ("SRT", "G-8300"): "Tissue section",
}
"""Codes that are kept, with the meaning that is written (the file's own could be any text)."""
_POINTERS = {0x0040072A, 0x0040073A, 0x0040074A, 0x0048021A, 0x0048021E, 0x0048021F, 0x00480106,
             0x00480207, 0x00209056, 0x00209057, 0x00209111}  # fmt: skip
TEXT = {"LO", "SH", "LT", "ST", "UT", "UC", "UR", "AE"}
TIMES = {"DA", "TM", "DT", "AS"}


@dataclass
class Context:
    """What rules need: the secret of the new UIDs, and the report."""

    key: bytes
    report: Report

    def uid(self, old: str) -> str:
        """The new UID of an old one: the same within one secret, and not to be reversed."""
        digest = hmac.new(self.key, old.strip("\0 ").encode(), hashlib.sha256).digest()
        return f"2.25.{int.from_bytes(digest[:16], 'big')}"


Rule = Callable[[Any, Context], Any]
"""From the file's value to the new one; None leaves the attribute out."""


def _values(value: Any) -> list[Any]:
    if value is None or value == "":
        return []
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]


def _number(low: float, high: float) -> Rule:
    """Numbers within bounds, no tiny ones (text taken for a number is huge or tiny)."""

    def rule(value: Any, context: Context) -> Any:
        found = []
        for one in _values(value):
            written = getattr(one, "original_string", one)
            if isinstance(written, bytes) or not isinstance(written, str | int | float):
                raise unsafe("a number of the DICOM header is not of a type that is known")
            if isinstance(written, str):
                written = written.strip(" \0")
                if not _DS.fullmatch(written):
                    raise unsafe("a number of the DICOM header is not well formed")
            size = float(written)
            if not low <= size <= high or not math.isfinite(size) or 0 < abs(size) < 1e-9:
                raise unsafe("a number of the DICOM header is not plausible")
            # Four letters make a fair float: with six digits kept they are letters no more.
            found.append(float(f"{written:.6g}") if type(written) is float else written)
        return found or None

    return rule


def _words(*allowed: str) -> Rule:
    def rule(value: Any, context: Context) -> Any:
        found = [str(v) for v in _values(value)]
        if not set(found) <= set(allowed):
            raise unsafe("a keyword of the DICOM header is not known")
        return found or None

    return rule


def _pattern(pattern: str) -> Rule:
    def rule(value: Any, context: Context) -> Any:
        found = [str(v).strip() for v in _values(value)]
        if not all(re.fullmatch(pattern, v) for v in found):
            raise unsafe("an identifier of the DICOM header is not of a plain kind")
        return found or None

    return rule


def _uid(value: Any, context: Context) -> Any:
    context.report.rewritten["UID"] += 1
    return context.uid(str(value))


def _always(new: str) -> Rule:
    return lambda value, context: new


def _none(value: Any, context: Context) -> Any:
    if value:
        context.report.removed["sequence"] += 1
    return []


def _maker(value: Any, context: Context) -> Any:
    text = str(value).strip()
    return text if text.casefold() in _MAKERS else NO_NAME


def _pointer(value: Any, context: Context) -> Any:
    if int(value) not in _POINTERS:
        raise unsafe("a dimension of the DICOM header is not known")
    return int(value)


def _profile(value: Any, context: Context) -> Any:
    profile = renewed(bytes(value))
    if profile is None:
        context.report.removed["color profile"] += 1
        return None
    context.report.rewritten["color profile"] += 1
    return profile + bytes(len(profile) % 2)


def _sequence(**rules: Rule) -> Rule:
    """Items of which the named attributes are kept; an item of which none is, goes."""

    def rule(value: Any, context: Context) -> Any:
        items = [kept(item, rules, context) for item in _items(value)]
        return [item for item in items if len(item)] or None

    return rule


def _items(value: Any) -> list[Dataset]:
    if not all(isinstance(item, Dataset) for item in value):
        raise unsafe("a sequence of the DICOM header is not one")
    return list(value)


def _coded(value: Any, context: Context) -> Any:
    """Codes of the list, with the meaning of the list."""
    found = []
    for item in _items(value):
        pair = str(item.get("CodingSchemeDesignator", "")), str(item.get("CodeValue", ""))
        if pair not in _CODES:
            context.report.removed["code"] += 1
            continue
        new = Dataset()
        new.CodingSchemeDesignator, new.CodeValue = pair
        new.CodeMeaning = _CODES[pair]
        found.append(new)
    return found or None


def kept(item: Dataset, rules: dict[str, Rule], context: Context) -> Dataset:
    """A new data set with what the rules keep; the rest is counted as removed.

    Parameters
    ----------
    item : Dataset
        Of the file.
    rules : dict of str to Rule
        By keyword.
    context : Context

    Raises
    ------
    PathaiError
        E148 where a kept attribute has a value that it cannot have.
    """
    new = Dataset()
    for element in item:
        rule = rules.get(element.keyword)
        if rule is None or element.tag.is_private:
            _count(element, context.report)
            continue
        value = rule(element.value, context)
        if value is not None:
            setattr(new, element.keyword, value)
    return new


def _count(element: Any, report: Report) -> None:
    if element.tag.element == 0 or element.is_empty:
        return
    kinds = {"PN": "person name", "SQ": "sequence", "UI": "UID without need"}
    kind = kinds.get(element.VR, "other attribute")
    if element.VR in TEXT:
        kind = "text attribute"
    elif element.VR in TIMES:
        kind = "date, time or age"
    report.removed["private attribute" if element.tag.is_private else kind] += 1


_COUNT, _MM, _SMALL = _number(0, 1e8), _number(-1e4, 1e4), _number(0, 65535)
_FRAME_TYPE = _words("ORIGINAL", "DERIVED", "PRIMARY", "VOLUME", "NONE", "RESAMPLED")
_FRAME_TYPES = _sequence(FrameType=_FRAME_TYPE)
_PATH = _pattern(r"\d{1,4}")
_PATHS = _sequence(OpticalPathIdentifier=_PATH)
_MEASURES = _sequence(
    PixelSpacing=_number(1e-6, 10), SliceThickness=_number(0, 10),
    SpacingBetweenSlices=_number(0, 10),
)  # fmt: skip
_POSITION = _sequence(
    XOffsetInSlideCoordinateSystem=_MM, YOffsetInSlideCoordinateSystem=_MM,
    ZOffsetInSlideCoordinateSystem=_MM, ColumnPositionInTotalImagePixelMatrix=_COUNT,
    RowPositionInTotalImagePixelMatrix=_COUNT,
)  # fmt: skip
_GROUPS = _sequence(
    PixelMeasuresSequence=_MEASURES, WholeSlideMicroscopyImageFrameTypeSequence=_FRAME_TYPES,
    OpticalPathIdentificationSequence=_PATHS, PlanePositionSlideSequence=_POSITION,
    FrameContentSequence=_sequence(DimensionIndexValues=_number(1, 1e7)),
)  # fmt: skip
RULES: dict[str, Rule] = {
    "ImageType": _FRAME_TYPE, "SOPClassUID": _words("1.2.840.10008.5.1.4.1.1.77.1.6"),
    "SOPInstanceUID": _uid, "StudyInstanceUID": _uid, "SeriesInstanceUID": _uid,
    "FrameOfReferenceUID": _uid, "ConcatenationUID": _uid, "PyramidUID": _uid,
    "SOPInstanceUIDOfConcatenationSource": _uid, "InConcatenationNumber": _SMALL,
    "InConcatenationTotalNumber": _SMALL, "ConcatenationFrameOffsetNumber": _COUNT,
    "Modality": _words("SM"), "Manufacturer": _maker,
    "VolumetricProperties": _words("VOLUME"), "InstanceNumber": _number(0, 9999),
    "PositionReferenceIndicator": _words("SLIDE_CORNER"),
    "DimensionOrganizationType": _words("TILED_FULL", "TILED_SPARSE"),
    "DimensionOrganizationSequence": _sequence(DimensionOrganizationUID=_uid),
    "DimensionIndexSequence": _sequence(
        DimensionOrganizationUID=_uid, DimensionIndexPointer=_pointer,
        FunctionalGroupPointer=_pointer,
    ),
    "SamplesPerPixel": _number(3, 3), "PlanarConfiguration": _number(0, 0),
    "PhotometricInterpretation": _words("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"),
    "NumberOfFrames": _COUNT, "Rows": _SMALL, "Columns": _SMALL, "BitsAllocated": _number(8, 8),
    "BitsStored": _number(8, 8), "HighBit": _number(7, 7), "PixelRepresentation": _number(0, 0),
    "RepresentativeFrameNumber": _COUNT, "BurnedInAnnotation": _words("NO"),
    "LossyImageCompression": _words("00", "01"), "LossyImageCompressionRatio": _number(0, 1e5),
    "LossyImageCompressionMethod": _pattern(r"ISO_\d{5}_\d{1,2}"),
    "PresentationLUTShape": _words("IDENTITY"), "RescaleIntercept": _number(0, 0),
    "RescaleSlope": _number(1, 1), "ContainerTypeCodeSequence": _coded,
    "SpecimenDescriptionSequence": _sequence(
        SpecimenIdentifier=_always(NO_NAME), SpecimenUID=_uid, SpecimenTypeCodeSequence=_coded,
        IssuerOfTheSpecimenIdentifierSequence=_none, SpecimenPreparationSequence=_none,
    ),
    "ImagedVolumeWidth": _MM, "ImagedVolumeHeight": _MM, "ImagedVolumeDepth": _number(0, 1e4),
    "TotalPixelMatrixColumns": _COUNT, "TotalPixelMatrixRows": _COUNT,
    "TotalPixelMatrixOriginSequence": _POSITION, "SpecimenLabelInImage": _words("NO"),
    "FocusMethod": _words("AUTO", "MANUAL"), "ExtendedDepthOfField": _words("NO", "YES"),
    "NumberOfFocalPlanes": _SMALL, "DistanceBetweenFocalPlanes": _number(0, 1e4),
    "ImageOrientationSlide": _number(-1, 1), "NumberOfOpticalPaths": _SMALL,
    "TotalPixelMatrixFocalPlanes": _SMALL,
    "OpticalPathSequence": _sequence(
        OpticalPathIdentifier=_PATH, ICCProfile=_profile, IlluminationTypeCodeSequence=_coded,
        IlluminationColorCodeSequence=_coded, IlluminationWaveLength=_number(100, 2000),
        ColorSpace=_words("SRGB", "ADOBERGB", "ROMMRGB"),
        ObjectiveLensPower=_number(0.1, 200), ObjectiveLensNumericalAperture=_number(0.01, 2),
    ),
    "WholeSlideMicroscopyImageFrameTypeSequence": _FRAME_TYPES,
    "SharedFunctionalGroupsSequence": _GROUPS, "PerFrameFunctionalGroupsSequence": _GROUPS,
}  # fmt: skip
"""What may stay, by keyword."""
FIXED: dict[str, Any] = {
    "PatientName": "", "PatientID": "", "PatientBirthDate": "", "PatientSex": "",
    "StudyDate": "", "StudyTime": "", "StudyID": "", "AccessionNumber": "",
    "ReferringPhysicianName": "", "SeriesNumber": "1", "ContentDate": NO_DATE,
    "ContentTime": NO_TIME, "AcquisitionDateTime": NO_MOMENT, "ManufacturerModelName": NO_NAME,
    "DeviceSerialNumber": NO_NAME, "SoftwareVersions": NO_NAME, "ContainerIdentifier": NO_NAME,
    "IssuerOfTheContainerIdentifierSequence": [], "AcquisitionContextSequence": [],
    "PatientIdentityRemoved": "YES", "DeidentificationMethod": METHOD,
    "LongitudinalTemporalInformationModified": "REMOVED", "BurnedInAnnotation": "NO",
    "SpecimenLabelInImage": "NO",
}  # fmt: skip
"""What every copy says, because the standard wants it said."""
WORDS = {NO_NAME, NO_DATE, NO_TIME, NO_MOMENT, METHOD, "YES", "NO", "REMOVED", "", "1",
         "SLIDE_CORNER",
         "de-identified", *_CODES.values(), *(p for pair in _CODES for p in pair)}  # fmt: skip
"""Every text that a copy may hold, beside makers, keywords and numbers."""


def is_maker(text: str) -> bool:
    """Whether a text is a known maker's name."""
    return text.casefold() in _MAKERS
