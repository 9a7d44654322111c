"""A slide's results in formats that other programs read."""

import csv
import gzip
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from pathai.errors import PathaiError
from pathai.export import attention
from pathai.export.results import detector_of, names_of, require
from pathai.store.commit import manifest_path, remove
from pathai.store.folders import SlideFolder
from pathai.store.manifest import READABLE, read_manifest, storage_error
from pathai.store.records import BACKGROUND, TISSUE_NAMES, Cells
from pathai.units import Box

BLOCK = 20_000
"""Nuclei that are turned into text or records at once."""
CELL_COLUMNS = ("cell_id", "x_px0", "y_px0", "x_um", "y_um", "class", "probability", "dab_od",
                "area_um2")  # fmt: skip
OME_CHUNK = 512


def export(
    folder: SlideFolder, format: str, out: Path, *, detector: str = "", overwrite: bool = False
) -> Path:
    """Write one export of a slide.

    Parameters
    ----------
    folder : SlideFolder
        Of the slide.
    format : str
        ``geojson`` (QuPath; gzip when ``out`` ends in ``.gz``), ``csv``, ``geoparquet`` or
        ``ome-zarr``.
    out : Path
        File (a folder for ``ome-zarr``); it gets its name when it is complete.
    detector : str
        Whose nuclei; needed only where a slide has several.
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
        E164 when the slide has no such results (run ``pathai run``), E160 or E161 when ``out``
        cannot be written.
    """
    if format not in FORMATS:
        raise PathaiError("E191", f"no export format {format!r}", f"try {', '.join(FORMATS)}")
    _write(
        folder, out, overwrite, lambda part: FORMATS[format](folder, detector, part, _packed(out))
    )
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
    _write(
        folder,
        out,
        overwrite,
        lambda part: ATTENTION_FORMATS[format](folder, model, part, _packed(out)),
    )
    return out


def _packed(out: Path) -> bool:
    return out.name.endswith(".gz")


def _write(folder: SlideFolder, out: Path, overwrite: bool, write: Callable[[Path], None]) -> None:
    """Write beside ``out`` and rename, so that what was there stays until the new is whole."""
    if (out.exists() or out.is_symlink()) and not overwrite:
        raise PathaiError("E193", f"{out.name} exists", "choose another name, or --overwrite")
    if out.resolve().is_relative_to(folder.path.resolve()):
        raise PathaiError("E193", f"{out.name} lies among the slide's results", "write elsewhere")
    require(folder.base("tile"))
    part = out.with_name(f"{out.name}.part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        remove(part)
        write(part)
        remove(out)
        part.rename(out)
    except OSError as error:
        raise storage_error(error) from None
    finally:
        remove(part)


# --- nuclei ----------------------------------------------------------------------------------


def _blocks(cells: Cells) -> Iterator[slice]:
    for first in range(0, len(cells.xy_px0), BLOCK):
        yield slice(first, min(first + BLOCK, len(cells.xy_px0)))


def _areas_um2(cells: Cells, um2_per_px0: float) -> NDArray[np.float64]:
    """Area inside each outline by the shoelace formula: float64[M], µm²."""
    starts, ends = cells.outline_start[:-1], cells.outline_start[1:]
    # Around each cell's own center, so that large coordinates cost no digits.
    centers = np.repeat(np.asarray(cells.xy_px0, np.float64), ends - starts, axis=0)
    x, y = (np.asarray(cells.outline_px0, np.float64) - centers).T
    follower = np.arange(1, len(x) + 1)
    filled = ends > starts
    follower[ends[filled] - 1] = starts[filled]
    cross = np.concatenate(([0.0], np.cumsum(x * y[follower] - x[follower] * y)))
    area: NDArray[np.float64] = np.abs(cross[ends] - cross[starts]) / 2 * um2_per_px0
    return area


def _columns(folder: SlideFolder, cells: Cells) -> dict[str, NDArray[Any]]:
    """Columns of the table of cells; the class is an index into the detector's classes."""
    mpp = folder.read_slide().mpp
    rows = np.arange(len(cells.xy_px0))
    x, y = np.asarray(cells.xy_px0, np.float64).T
    values = (
        rows,
        x,
        y,
        x * mpp.x,
        y * mpp.y,
        cells.class_,
        cells.prob[rows, cells.class_].astype(np.float64),
        cells.dab_od.astype(np.float64),
        _areas_um2(cells, mpp.x * mpp.y),
    )
    return dict(zip(CELL_COLUMNS, values, strict=True))


def _write_csv(folder: SlideFolder, detector: str, part: Path, packed: bool) -> None:
    cells = folder.read_cells(detector_of(folder, detector))
    columns = _columns(folder, cells)
    names = np.array(cells.attrs.classes, dtype=object)
    digits = {"x_px0": 2, "y_px0": 2, "x_um": 3, "y_um": 3, "probability": 4, "dab_od": 4,
              "area_um2": 3}  # fmt: skip
    with _text(part, packed) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(CELL_COLUMNS)
        for block in _blocks(cells):
            parts = {name: column[block] for name, column in columns.items()}
            parts["class"] = names[parts["class"]]
            texts = [
                [f"{v:.{digits[name]}f}" for v in column] if name in digits else column.tolist()
                for name, column in parts.items()
            ]
            writer.writerows(zip(*texts, strict=True))


def _write_geoparquet(folder: SlideFolder, detector: str, part: Path, packed: bool) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq
    import shapely

    from pathai.geojson import polygons

    cells = folder.read_cells(detector_of(folder, detector))
    columns, info = _columns(folder, cells), folder.read_slide()
    classes = pa.array(list(cells.attrs.classes), pa.string())
    about = {
        "slide_id": info.slide_id,
        "mpp_x": info.mpp_x,
        "mpp_y": info.mpp_y,
        "coordinates": "level-0 px, origin top left, x right, y down",
        "detector": cells.attrs.detector,
        "detector_digest": cells.attrs.detector_digest,
    }
    metadata = {"geo": _geo(cells), "pathai": json.dumps(about, sort_keys=True)}
    schema = _parquet_schema(pa).with_metadata(metadata)
    with pq.ParquetWriter(part, schema, compression="zstd") as writer:
        for block in _blocks(cells):
            outlines = polygons(
                cells.outline_px0, cells.outline_start[block.start : block.stop + 1]
            )
            arrays = []
            for name, column in columns.items():
                if name == "class":
                    index = pa.array(column[block].astype(np.int32))
                    arrays.append(pa.DictionaryArray.from_arrays(index, classes))
                else:
                    arrays.append(pa.array(column[block]).cast(schema.field(name).type))
            arrays.append(pa.array(shapely.to_wkb(outlines), pa.binary()))
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


def _parquet_schema(pa: Any) -> Any:
    kinds = {"cell_id": pa.int64(), "class": pa.dictionary(pa.int32(), pa.string())}
    fields = [(name, kinds.get(name, pa.float64())) for name in CELL_COLUMNS]
    return pa.schema([*fields, ("geometry", pa.binary())])


def _geo(cells: Cells) -> str:
    """GeoParquet 1.1 metadata; a null reference system says that these are not degrees."""
    vertices, points = np.diff(cells.outline_start), cells.outline_px0
    kinds = (("Point", (vertices > 0) & (vertices < 3)), ("Polygon", vertices >= 3))
    column: dict[str, Any] = {
        "encoding": "WKB",
        "geometry_types": [name for name, rows in kinds if rows.any()],
        "crs": None,
        "edges": "planar",
    }
    if len(points):
        column["bbox"] = [float(v) for v in (*points.min(axis=0), *points.max(axis=0))]
    geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}
    return json.dumps(geo, sort_keys=True)


# --- QuPath ----------------------------------------------------------------------------------


def _write_geojson(folder: SlideFolder, detector: str, part: Path, packed: bool) -> None:
    from pathai.geojson import write_collection

    with _text(part, packed) as file:
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
    cells = folder.read_cells(detector_of(folder, detector))
    columns, names = _columns(folder, cells), cells.attrs.classes
    shown = {
        "Probability": columns["probability"],
        "Nucleus: DAB OD mean": columns["dab_od"],
        "Nucleus: Area µm^2": columns["area_um2"],
    }
    for block in _blocks(cells):
        starts = cells.outline_start[block.start : block.stop + 1]
        yield from geojson.detections(
            folder.slide_id,
            block.start,
            geojson.polygons(cells.outline_px0, starts),
            [names[i] for i in cells.class_[block]],
            {name: column[block] for name, column in shown.items()},
        )


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
    with _text(part, packed) as file:
        attention.write_geojson(file, seen)


def _attention_ome_zarr(folder: SlideFolder, model: str, part: Path, packed: bool) -> None:
    attention.write_ome_zarr(part, attention.read_attention(folder, model))


@contextmanager
def _text(path: Path, packed: bool) -> Iterator[TextIO]:
    """A text file, in gzip without name and time where it is packed: same text, same bytes."""
    with path.open("wb") as raw:
        if not packed:
            with TextIOWrapper(raw, "utf-8", newline="") as file:
                yield file
            return
        with (
            gzip.GzipFile(filename="", mode="wb", compresslevel=4, fileobj=raw, mtime=0) as zipped,
            TextIOWrapper(zipped, "utf-8", newline="") as file,
        ):
            yield file


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

Writer = Callable[[SlideFolder, str, Path, bool], None]
FORMATS: dict[str, Writer] = {
    "geojson": _write_geojson,
    "csv": _write_csv,
    "geoparquet": _write_geoparquet,
    "ome-zarr": _write_ome_zarr,
}
"""Format to its writer."""
ATTENTION_FORMATS: dict[str, Writer] = {
    "geojson": _attention_geojson,
    "ome-zarr": _attention_ome_zarr,
}
"""Format to its writer, of one model's attention."""
