"""A slide's results in formats that other programs read."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathai.errors import PathaiError
from pathai.export import attention, nuclei
from pathai.export.held import Held
from pathai.export.results import names_of, require
from pathai.export.writing import text_file, write_whole
from pathai.finding import Finding, load_findings
from pathai.store.commit import manifest_path
from pathai.store.folders import CaseFolder, SlideFolder
from pathai.store.manifest import READABLE, read_manifest
from pathai.store.records import BACKGROUND, TISSUE_NAMES
from pathai.units import Box

OME_CHUNK = 512


def export(
    folder: SlideFolder,
    format: str,
    out: Path,
    *,
    detector: str = "",
    corrected: Held | None = None,
    overwrite: bool = False,
) -> Path:
    """Write one export of a slide.

    Parameters
    ----------
    folder : SlideFolder
        Of the slide.
    format : str
        ``geojson`` (QuPath; gzip when ``out`` ends in ``.gz``), ``csv``, ``geoparquet``,
        ``anndata`` (h5ad) or ``ome-zarr``.
    out : Path
        File (a folder for ``ome-zarr``); it gets its name when it is complete.
    detector : str
        Whose nuclei; needed only where a slide has several.
    corrected : Held, optional
        Nuclei that stand in the table in place of the stored ones (`TABLES`).
    overwrite : bool
        Replace what is there.

    Returns
    -------
    Path
        ``out``.

    Raises
    ------
    PathaiError
        E191 for an unknown format or detector, E193 when ``out`` exists or is a slide's result,
        E164 when the slide has no such results (run ``pathai run``), E194 without a package that
        the format needs, E160 or E161 when ``out``
        cannot be written.
    """
    if format not in FORMATS:
        known = ", ".join((*FORMATS, *DICOM))
        raise PathaiError("E191", f"no export format {format!r}", f"try {known}")
    require(folder.base("tile"))

    def write(part: Path) -> None:
        if corrected is not None:
            TABLES[format](folder, corrected, part, _packed(out))
        else:
            FORMATS[format](folder, detector, part, _packed(out))

    write_whole(folder.path, out, write, overwrite=overwrite)
    return out


def export_attention(
    folder: SlideFolder, format: str, out: Path, *, model: str = "", overwrite: bool = False
) -> Path:
    """Write where one model looked on a slide, with its answer.

    Parameters
    ----------
    folder : SlideFolder
        Of the slide.
    format : str
        ``geojson`` (tiles for QuPath; gzip when ``out`` ends in ``.gz``) or ``ome-zarr`` (a heat
        map on the tile grid).
    out : Path
        File (a folder for ``ome-zarr``); it gets its name when it is complete.
    model : str
        Whose attention; needed only where several models were applied.
    overwrite : bool
        Replace what is there.

    Returns
    -------
    Path
        ``out``.

    Raises
    ------
    PathaiError
        As `export`; E191 also when the model is not there or several are and none is named, E166
        when the tiles are not those that the model saw.
    """
    if format not in ATTENTION_FORMATS:
        message = f"no attention in format {format!r}"
        raise PathaiError("E191", message, f"try {', '.join(ATTENTION_FORMATS)}")
    require(folder.base("tile"))
    write_whole(
        folder.path,
        out,
        lambda part: ATTENTION_FORMATS[format](folder, model, part, _packed(out)),
        overwrite=overwrite,
    )
    return out


def export_annotations(
    folder: SlideFolder,
    out: Path,
    source: Path,
    case_id: str,
    *,
    specimen_id: str = "",
    detector: str = "",
    overwrite: bool = False,
) -> int:
    """Write the nuclei of a DICOM slide as Microscopy Bulk Simple Annotations.

    Parameters
    ----------
    folder : SlideFolder
        Of the slide.
    out : Path
        File; it gets its name when it is complete.
    source : Path
        Any file of the slide's series.
    case_id : str
        Pseudonym that is written where a patient's name and number would stand.
    specimen_id, detector : str
        Of the sheet; whose nuclei, where a slide has several.
    overwrite : bool
        Replace what is there.

    Returns
    -------
    int
        Number of nuclei.

    Raises
    ------
    PathaiError
        As `export`; E193 for a slide that is not DICOM, E163 for another file than the ingested.
    """
    from pathai.dicom.annotations import write_annotations
    from pathai.dicom.source import read_source

    require(folder.base("tile"))
    found = read_source(source, folder.read_slide(), case_id, specimen_id)
    cells = nuclei.opened(folder, detector)
    counts: list[int] = []

    def write(part: Path) -> None:
        counts.append(write_annotations(part, found, cells.attrs, cells.parts()))

    write_whole(folder.path, out, write, overwrite=overwrite)
    return counts[0]


def export_measurements(
    folder: CaseFolder,
    out: Path,
    sources: Mapping[str, Path],
    words: Callable[[Finding], str],
    *,
    overwrite: bool = False,
) -> int:
    """Write the findings of a case on its DICOM slides as a structured report (TID 1500).

    Parameters
    ----------
    folder : CaseFolder
        Of the case.
    out : Path
        File; it gets its name when it is complete.
    sources : mapping of str to Path
        A file of each slide's series, by slide id; slides that are not DICOM are passed over.
    words : callable
        The printed value of a finding.
    overwrite : bool
        Replace what is there.

    Returns
    -------
    int
        Number of findings written.

    Raises
    ------
    PathaiError
        E193 for a case without a DICOM slide; E163 for another file than the ingested.
    """
    from pathai.dicom.measurements import sources_of, write_measurements

    require(folder.base("findings"))
    case = load_findings(folder.findings.read_text("utf-8"))
    found = sources_of(case, folder, sources)
    if not found:
        message = f"case {case.case_id} has no slide in DICOM"
        raise PathaiError("E193", message, "export fhir.json of the case instead")
    counts: list[int] = []

    def write(part: Path) -> None:
        counts.append(write_measurements(part, case, found, words))

    write_whole(folder.path, out, write, overwrite=overwrite)
    return counts[0]


def _packed(out: Path) -> bool:
    return out.name.endswith(".gz")


# --- nuclei ----------------------------------------------------------------------------------


def _write_csv(folder: SlideFolder, whose: nuclei.Source, part: Path, packed: bool) -> None:
    with text_file(part, packed=packed) as file:
        nuclei.write_csv(folder, whose, file)


def _write_geoparquet(folder: SlideFolder, whose: nuclei.Source, part: Path, packed: bool) -> None:
    nuclei.write_geoparquet(folder, whose, part)


def _write_anndata(folder: SlideFolder, whose: nuclei.Source, part: Path, packed: bool) -> None:
    nuclei.write_anndata(folder, whose, part)


# --- QuPath ----------------------------------------------------------------------------------


def _write_geojson(folder: SlideFolder, detector: str, part: Path, packed: bool) -> None:
    from pathai.geojson import write_collection

    with text_file(part, packed=packed) as file:
        write_collection(file, _features(folder, detector))


def _features(folder: SlideFolder, detector: str) -> Iterator[str]:
    """Regions of the tissue map, then tiles with attention, then nuclei."""
    from pathai import geojson

    tissue = folder.read_tissue()
    for value, name in enumerate(TISSUE_NAMES):
        if value != BACKGROUND and (tissue.classes == value).any():
            outlines = geojson.regions(tissue.classes == value, tissue.downsample)
            yield from geojson.annotations(folder.slide_id, name, outlines)
    yield from _attention(folder)
    if not detector and not names_of(folder, "cells"):
        return
    yield from nuclei.features(folder, detector)


def _attention(folder: SlideFolder) -> Iterator[str]:
    """Tiles of each grid with the attention of every model that looked at it."""
    from pathai import geojson

    grids: dict[str, dict[str, NDArray[Any]]] = {}
    for name in names_of(folder, "predictions"):
        if read_manifest(manifest_path(folder.base("predictions", name))).status in READABLE:
            seen = attention.read_attention(folder, name)
            measures = grids.setdefault(seen.features.attrs.encoder, {})
            measures[f"Attention: {name}"] = seen.prediction.attention
    for encoder, measures in sorted(grids.items()):
        features = folder.read_features(encoder)
        width, height = (float(v) for v in features.size_px0)
        boxes = [Box(float(x), float(y), width, height) for x, y in features.xy_px0.tolist()]
        yield from geojson.tiles(folder.slide_id, boxes, measures)


def _attention_geojson(folder: SlideFolder, model: str, part: Path, packed: bool) -> None:
    seen = attention.read_attention(folder, model)
    with text_file(part, packed=packed) as file:
        attention.write_geojson(file, seen)


def _attention_ome_zarr(folder: SlideFolder, model: str, part: Path, packed: bool) -> None:
    attention.write_ome_zarr(part, attention.read_attention(folder, model))


# --- pixels ----------------------------------------------------------------------------------


def _write_ome_zarr(folder: SlideFolder, detector: str, part: Path, packed: bool) -> None:
    """OME-Zarr 0.5 with Zstandard chunks and no shards: every reader of the format opens it."""
    import zarr
    from zarr.codecs import ZstdCodec

    from pathai.store.zarr_json import multiscale

    tiles = folder.open_tiles()
    image = multiscale(folder.slide_id, tiles.mpp, tiles.downsamples, ("c", "y", "x"))
    ome = {"version": "0.5", "multiscales": [image], "omero": _OMERO}
    group = zarr.create_group(part, zarr_format=3, attributes={"ome": ome})
    for level in tiles.levels:
        size = level.size
        array = group.create_array(
            str(level.number),
            shape=(3, size.height, size.width),
            dtype="uint8",
            chunks=(3, min(OME_CHUNK, size.height), min(OME_CHUNK, size.width)),
            compressors=(ZstdCodec(level=3),),
            fill_value=255,
            dimension_names=["c", "y", "x"],
        )
        for y in range(0, size.height, OME_CHUNK):
            for x in range(0, size.width, OME_CHUNK):
                height, width = min(OME_CHUNK, size.height - y), min(OME_CHUNK, size.width - x)
                block = level.read_px(x, y, width, height)
                if (block != 255).any():  # what is not written reads as white
                    array[:, y : y + height, x : x + width] = np.moveaxis(block, -1, 0)


_OMERO = {
    "channels": [
        {"label": name, "color": color, "active": True,
         "window": {"start": 0, "end": 255, "min": 0, "max": 255}}
        for name, color in (("red", "FF0000"), ("green", "00FF00"), ("blue", "0000FF"))
    ],
    "rdefs": {"model": "color"},
}  # fmt: skip

DICOM = ("dicom-ann", "dicom-sr")
"""Formats that need the slide's own file: `export_annotations`, `export_measurements`."""
Writer = Callable[[SlideFolder, str, Path, bool], None]
FORMATS: dict[str, Writer] = {
    "geojson": _write_geojson,
    "csv": _write_csv,
    "geoparquet": _write_geoparquet,
    "anndata": _write_anndata,
    "ome-zarr": _write_ome_zarr,
}
"""Format to its writer."""
TABLES: dict[str, Callable[[SlideFolder, nuclei.Source, Path, bool], None]] = {
    "csv": _write_csv,
    "geoparquet": _write_geoparquet,
    "anndata": _write_anndata,
}
"""Formats of nuclei alone, and their writers."""
ATTENTION_FORMATS: dict[str, Writer] = {
    "geojson": _attention_geojson,
    "ome-zarr": _attention_ome_zarr,
}
"""Format to its writer, of one model's attention."""
