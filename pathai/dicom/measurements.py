"""Findings of a case as a DICOM structured report by template TID 1500.

References
----------
DICOM PS3.16, TID 1500 Measurement Report; units are UCUM, keys are of the private scheme 99PATHAI,
beside LOINC where the registry has a code.
"""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from pathai import __version__
from pathai.dicom.source import Source, is_dicom, read_source, settle, uid_of
from pathai.finding import (
    CaseFindings,
    Category,
    Finding,
    PredictedNumber,
    Prediction,
    Quantity,
    Sum,
    registry,
)
from pathai.store.folders import CaseFolder

SCHEME = "99PATHAI"
VALUELESS = ("not_detected", "not_assessed", "failed", "indeterminate")
LONGEST = 64
"""Characters of a code's meaning (VR LO)."""
Words = Callable[[Finding], str]


def write_measurements(
    path: Path,
    case: CaseFindings,
    sources: Sequence[Source],
    words: Words,
    *,
    signed: bool = False,
    time: str = "",
) -> int:
    """Write the findings that stand on slides in DICOM, one group each, with their place.

    Parameters
    ----------
    path : Path
        File to write.
    case : CaseFindings
        Of the report.
    sources : sequence of Source
        Its slides in DICOM.
    words : callable
        The printed value of a finding.
    signed : bool
        Whether the report is signed; else it is marked as partial and not final.
    time : str
        Of the signature, ISO 8601.

    Returns
    -------
    int
        Number of findings written.
    """
    from highdicom.sr import Comprehensive3DSR, MeasurementReport, ObservationContext
    from pydicom.sr.coding import Code

    images = {source.slide_id: source.image for source in sources}
    kept = [f for f in case.findings if all(e.slide_id in images for e in f.evidence)]
    report = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=_observer()),
        procedure_reported=Code("104157003", "SCT", "Light microscopy procedure"),
        imaging_measurements=[_group(f, images, case.digest, words) for f in kept],
        title=Code("126000", "DCM", "Imaging Measurement Report"),
        referenced_images=list(images.values()),
    )
    seed = (case.digest or case.sha256(), "sr", "signed" if signed else "draft", time)
    made = Comprehensive3DSR(
        evidence=list(images.values()),
        content=report,
        series_instance_uid=uid_of(*seed, "series"),
        series_number=3,
        sop_instance_uid=uid_of(*seed, "instance", __version__),
        instance_number=1,
        manufacturer="pathai",
        is_complete=signed,
        is_final=signed,
        manufacturer_model_name="pathai",
        software_versions=__version__,
        device_serial_number="0",
        series_description="signed, research use only" if signed
        else "DRAFT, unsigned, research use only",
    )  # fmt: skip
    settle(made, time)
    made.save_as(path)
    return len(kept)


def sources_of(case: CaseFindings, folder: CaseFolder, files: Mapping[str, Path]) -> list[Source]:
    """The images of those slides of a case that are DICOM, in its order.

    Parameters
    ----------
    case : CaseFindings
        Names slides and specimens.
    folder : CaseFolder
        Leads to the results of its slides.
    files : mapping of str to Path
        A file of each slide's series, by slide id.

    Raises
    ------
    PathaiError
        As `pathai.dicom.source.read_source`.
    """
    found = []
    for specimen in case.specimens:
        for slide_id in specimen.slides:
            slide = folder.slide(slide_id)
            if slide_id not in files or not slide.slide_json.is_file():
                continue
            info = slide.read_slide()
            if is_dicom(info):
                file = files[slide_id]
                found.append(read_source(file, info, case.case_id, specimen.specimen_id))
    return found


def _observer() -> Any:
    from highdicom.sr import DeviceObserverIdentifyingAttributes, ObserverContext
    from pydicom.sr.coding import Code

    device = DeviceObserverIdentifyingAttributes(
        uid=uid_of("pathai", __version__), name="pathai", model_name=__version__
    )
    return ObserverContext(Code("121007", "DCM", "Device"), device)


def _code(value: str, meaning: str, scheme: str = SCHEME) -> Any:
    from highdicom.sr import CodedConcept

    return CodedConcept(value, scheme, meaning[:LONGEST])


def _named(finding: Finding) -> Any:
    """Code of what was measured: LOINC where there is one, else the registry's key."""
    row = registry().find(finding.key)
    return _code(row.loinc, row.name, "LN") if row.loinc else _code(finding.key, row.name)


def _group(finding: Finding, images: dict[str, Any], seed: str, words: Words) -> Any:
    """One finding: a group on its outlined place, or on its images as a whole."""
    from highdicom.sr import (
        AlgorithmIdentification,
        ImageRegion,
        MeasurementsAndQualitativeEvaluations,
        PlanarROIMeasurementsAndQualitativeEvaluations,
        SourceImageForMeasurementGroup,
        SourceImageForRegion,
        TrackingIdentifier,
    )

    method = finding.method
    shared: dict[str, Any] = {
        "tracking_identifier": TrackingIdentifier(uid_of(seed, finding.id), finding.id),
        "finding_type": _named(finding),
        "measurements": _measurements(finding) or None,
        "qualitative_evaluations": _evaluations(finding, words),
    }
    if method.kind != "manual":
        shared["algorithm_id"] = AlgorithmIdentification(
            method.name, method.version, parameters=[method.digest[:12]] if method.digest else None
        )
    boxes = [(e.slide_id, box) for e in finding.evidence for box in e.boxes]
    if len(boxes) == 1:
        slide_id, box = boxes[0]
        image = images[slide_id]
        ring = [(box.x, box.y), (box.right, box.y), (box.right, box.bottom), (box.x, box.bottom)]
        region = ImageRegion(
            "POLYLINE",
            np.array([*ring, ring[0]], np.float32),
            SourceImageForRegion(image.SOPClassUID, image.SOPInstanceUID),
            pixel_origin_interpretation="VOLUME",
        )
        return PlanarROIMeasurementsAndQualitativeEvaluations(referenced_region=region, **shared)
    seen = dict.fromkeys(e.slide_id for e in finding.evidence)
    refs = [SourceImageForMeasurementGroup(images[s].SOPClassUID, images[s].SOPInstanceUID)
            for s in seen]  # fmt: skip
    return MeasurementsAndQualitativeEvaluations(source_images=refs, **shared)


def _measurements(finding: Finding) -> list[Any]:
    """Numbers of a finding, rounded as they are printed, with the ends of their interval."""
    value, row = finding.value, registry().find(finding.key)
    if finding.status in VALUELESS:
        return []
    made = []
    if isinstance(value, Quantity):
        numbers = [(_named(finding), value.value, value.unit)]
        for end, number in (("low", value.low), ("high", value.high)):
            if number is not None:
                name = _code(f"interval.{end}", f"{end} end of the interval")
                numbers.append((name, number, value.unit))
        made = [_measurement(name, row.rounded(number), unit) for name, number, unit in numbers]
        for name, count in (("numerator", value.numerator), ("denominator", value.denominator)):
            if count is not None:
                made.append(_measurement(_code(name, name), Decimal(count), "1"))
    elif isinstance(value, Sum):
        made = [_measurement(_named(finding), Decimal(value.total), "1")]
    elif isinstance(value, Prediction) and value.probability is not None:
        chance = row.rounded(value.probability)
        made = [_measurement(_code("probability", "Probability given by a model"), chance, "1")]
    elif isinstance(value, PredictedNumber) and value.value is not None:
        step = Decimal(1).scaleb(-value.decimals)
        unit = "%" if value.unit == "%" else "1"
        made = [_measurement(_named(finding), value.value.quantize(step), unit)]
    return made


def _measurement(name: Any, number: Decimal, unit: str) -> Any:
    from highdicom.sr import CodedConcept, Measurement

    shown = {"1": "no units"}.get(unit, unit)
    return Measurement(name=name, value=float(number), unit=CodedConcept(unit, "UCUM", shown))


def _evaluations(finding: Finding, words: Words) -> list[Any]:
    """The status of a finding, and its code or label in words."""
    from highdicom.sr import QualitativeEvaluation

    said = finding.status.replace("_", " ")
    status = QualitativeEvaluation(_code("status", "Status"), _code(finding.status, said))
    value = finding.value
    if isinstance(value, Category) and finding.status not in VALUELESS:
        answer = _code(value.code, words(finding))
    elif isinstance(value, Prediction) and value.label:
        answer = _code(f"label:{value.label}"[:LONGEST], value.label)
    else:
        return [status]
    return [status, QualitativeEvaluation(_named(finding), answer)]
