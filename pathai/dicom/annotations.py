"""Nuclei of a slide as DICOM Microscopy Bulk Simple Annotations.

References
----------
DICOM PS3.3 A.87, Microscopy Bulk Simple Annotations IOD; coordinates are those of the total pixel
matrix with its upper left corner at 0, 0, which are level-0 px.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathai import __version__
from pathai.dicom.source import Source, settle, uid_of
from pathai.store.records import Cells, CellsAttrs

CORNERS = 3
"""Points that an outline needs; a nucleus with fewer is a point."""
Group = tuple[str, str, list[NDArray[np.float32]]]


def write_annotations(
    path: Path, source: Source, attrs: CellsAttrs, parts: Iterator[tuple[int, Cells]]
) -> int:
    """Write the nuclei of a slide, a group per class: outlines where there are any, else centers.

    Parameters
    ----------
    path : Path
        File to write.
    source : Source
        The image they lie on.
    attrs : CellsAttrs
        Of the detector.
    parts : iterator of (int, Cells)
        The nuclei, slice by slice.

    Returns
    -------
    int
        Number of nuclei written.
    """
    from highdicom.ann import MicroscopyBulkSimpleAnnotations

    groups = _groups(attrs, parts)
    seed = (source.image.SOPInstanceUID, attrs.detector, attrs.detector_digest)
    made = MicroscopyBulkSimpleAnnotations(
        source_images=[source.image],
        annotation_coordinate_type="2D",
        annotation_groups=[_group(n, group, attrs, seed) for n, group in enumerate(groups, 1)],
        series_instance_uid=uid_of(*seed, "series"),
        series_number=2,
        sop_instance_uid=uid_of(*seed, "instance", __version__),
        instance_number=1,
        manufacturer="pathai",
        manufacturer_model_name="pathai",
        software_versions=__version__,
        device_serial_number="0",
        content_label="NUCLEI",
        content_description="nuclei as detected; research use only",
    )
    settle(made)
    made.save_as(path)
    return sum(len(shapes) for _, _, shapes in groups)


def _groups(attrs: CellsAttrs, parts: Iterator[tuple[int, Cells]]) -> list[Group]:
    """Outlines and centers by class, in the order of the nuclei; empty classes are left out."""
    outlines: list[list[NDArray[np.float32]]] = [[] for _ in attrs.classes]
    centers: list[list[NDArray[np.float32]]] = [[] for _ in attrs.classes]
    for _, cells in parts:
        starts = np.asarray(cells.outline_start) - int(cells.outline_start[0])
        for i, (kind, low, high) in enumerate(
            zip(cells.class_.tolist(), starts[:-1].tolist(), starts[1:].tolist(), strict=True)
        ):
            if high - low < CORNERS:
                centers[kind].append(np.asarray(cells.xy_px0[i : i + 1], np.float32))
                continue
            ring = np.asarray(cells.outline_px0[low:high], np.float32)
            closed = len(ring) > CORNERS and (ring[0] == ring[-1]).all()
            outlines[kind].append(ring[:-1] if closed else ring)
    found = []
    for name, rings, points in zip(attrs.classes, outlines, centers, strict=True):
        found += [(name, "POLYGON", rings)] if rings else []
        found += [(name, "POINT", points)] if points else []
    return found


def _group(number: int, group: Group, attrs: CellsAttrs, seed: tuple[str, ...]) -> Any:
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.ann import AnnotationGroup
    from pydicom.sr.coding import Code

    name, kind, shapes = group
    family = Code("123110", "DCM", "Artificial Intelligence")
    digest = attrs.detector_digest[:12]
    return AnnotationGroup(
        number=number,
        uid=uid_of(*seed, name, kind),
        label=name[:64],
        annotated_property_category=Code("91723000", "SCT", "Anatomical Structure"),
        annotated_property_type=Code("84640000", "SCT", "Nucleus"),
        graphic_type=kind,
        graphic_data=shapes,
        algorithm_type="AUTOMATIC",
        algorithm_identification=AlgorithmIdentificationSequence(
            name=attrs.detector[:64], family=family, version=digest or __version__
        ),
        description="outlines, level-0 px" if kind == "POLYGON" else "centers, level-0 px",
    )
