"""Nuclei for other programs: tables, QuPath objects, AnnData; read and written in slices."""

import csv
import json
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from pathai import object_ids
from pathai.errors import PathaiError
from pathai.export.held import Held
from pathai.export.results import detector_of
from pathai.store.cell_store import CellsFile
from pathai.store.folders import SlideFolder
from pathai.store.records import Cells, CellsAttrs, SlideInfo

BLOCK = 20_000
"""Nuclei that are turned into text or records at once."""
POINTS = 4_194_304
"""Points of outlines that are looked at at once."""
CELL_COLUMNS = ("cell_id", "x_px0", "y_px0", "x_um", "y_um", "class", "probability", "area_um2",
                "dab_od", "score")  # fmt: skip
"""What a table of cells begins with; the columns of ``measures`` follow by their names."""
_DIGITS = {"x_px0": 2, "y_px0": 2, "x_um": 3, "y_um": 3, "probability": 4, "area_um2": 3,
           "dab_od": 4, "score": 4}  # fmt: skip
Columns = dict[str, NDArray[Any]]
Source = str | Held
"""Whose nuclei: a detector's name, empty for the only one, or nuclei in memory."""


def areas_um2(cells: Cells, um2_per_px0: float) -> NDArray[np.float64]:
    """Area inside each outline by the shoelace formula: float64[M], µm²."""
    starts, ends = cells.outline_start[:-1], cells.outline_start[1:]
    lengths = ends - starts
    if len(lengths) and lengths[0] and (lengths == lengths[0]).all():
        rings = cells.outline_px0.reshape(len(lengths), -1, 2).astype(np.float64)
        rings -= np.asarray(cells.xy_px0, np.float64)[:, None]
        x, y = rings[..., 0], rings[..., 1]
        around = x[:, -1] * y[:, 0] - x[:, 0] * y[:, -1]
        around += (x[:, :-1] * y[:, 1:] - x[:, 1:] * y[:, :-1]).sum(axis=1)
        return np.abs(around) / 2 * um2_per_px0
    # Around each cell's own center, so that large coordinates cost no digits.
    centers = np.repeat(np.asarray(cells.xy_px0, np.float64), ends - starts, axis=0)
    x, y = (np.asarray(cells.outline_px0, np.float64) - centers).T
    follower = np.arange(1, len(x) + 1)
    filled = ends > starts
    follower[ends[filled] - 1] = starts[filled]
    cross = np.concatenate(([0.0], np.cumsum(x * y[follower] - x[follower] * y)))
    area: NDArray[np.float64] = np.abs(cross[ends] - cross[starts]) / 2 * um2_per_px0
    return area


def columns(
    info: SlideInfo, cells: Cells, first: int, ids: NDArray[np.int64] | None = None
) -> Columns:
    """Columns of the table of cells; the class is an index into the detector's classes.

    Parameters
    ----------
    info : SlideInfo
        Of the slide.
    cells : Cells
        Some nuclei.
    first : int
        Number of the first of them.
    ids : int64[M], optional
        Numbers of all nuclei, where they do not just count.
    """
    mpp, rows = info.mpp, np.arange(len(cells.xy_px0))
    x, y = np.asarray(cells.xy_px0, np.float64).T
    values = (
        rows + first if ids is None else ids[rows + first],
        x,
        y,
        x * mpp.x,
        y * mpp.y,
        cells.class_,
        cells.prob[rows, cells.class_].astype(np.float64),
        areas_um2(cells, mpp.x * mpp.y),
        cells.dab_od.astype(np.float64),
        cells.score.astype(np.float64),
    )
    found = dict(zip(CELL_COLUMNS, values, strict=True))
    for name, column in zip(measure_names(cells.attrs), cells.measures.T, strict=True):
        found[name] = column
    return found


def measure_names(attrs: CellsAttrs) -> list[str]:
    """Names of the measures as columns: one that is taken already is told apart."""
    return [f"measured {name}" if name in CELL_COLUMNS else name for name in attrs.measures]


def opened(folder: SlideFolder, whose: Source) -> CellsFile | Held:
    """Nuclei of the named detector, or of the only one, to be read in slices; or those given."""
    return whose if isinstance(whose, Held) else CellsFile(folder.cells(detector_of(folder, whose)))


def _ids(cells: CellsFile | Held) -> NDArray[np.int64] | None:
    return cells.ids if isinstance(cells, Held) else None


def _blocks(count: int) -> Iterator[slice]:
    for first in range(0, count, BLOCK):
        yield slice(first, min(first + BLOCK, count))


# --- tables ----------------------------------------------------------------------------------


def write_csv(folder: SlideFolder, whose: Source, file: TextIO) -> None:
    """Write one line per cell; what is not finite is empty."""
    cells, info = opened(folder, whose), folder.read_slide()
    names = np.array(cells.attrs.classes, dtype=object)
    csv.writer(file, lineterminator="\n").writerow((*CELL_COLUMNS, *measure_names(cells.attrs)))
    formats = {name: f"%.{digits}f" for name, digits in _DIGITS.items()}
    kinds = {"cell_id": "%d", "class": "%s", **formats}
    line = ",".join([kinds[n] for n in CELL_COLUMNS] + ["%.6g"] * len(cells.attrs.measures)) + "\n"
    quoted = np.array([_quoted(name) for name in names], dtype=object)
    for first, part in cells.parts():
        found = columns(info, part, first, _ids(cells))
        for block in _blocks(len(part.xy_px0)):
            values = {name: column[block] for name, column in found.items()}
            values["class"] = quoted[values["class"]]
            lists = [column.tolist() for column in values.values()]
            file.writelines(_without_nan(line % row) for row in zip(*lists, strict=True))


def _quoted(name: str) -> str:
    """A text as a field of CSV."""
    return '"' + name.replace('"', '""') + '"' if any(c in name for c in ',"\r\n') else name


def _without_nan(line: str) -> str:
    """A line whose numbers that are none are empty; texts are quoted where they could be meant."""
    if "nan" not in line and "inf" not in line:
        return line
    fields = line[:-1].split(",")
    return ",".join("" if f in ("nan", "inf", "-inf") else f for f in fields) + "\n"


def write_geoparquet(folder: SlideFolder, whose: Source, part: Path) -> None:
    """Write a table with outlines as geometries (GeoParquet 1.1)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    cells, info = opened(folder, whose), folder.read_slide()
    classes = pa.array(list(cells.attrs.classes), pa.string())
    about = {
        "slide_id": info.slide_id,
        "mpp_x": info.mpp_x,
        "mpp_y": info.mpp_y,
        "coordinates": "level-0 px, origin top left, x right, y down",
        "detector": cells.attrs.detector,
        "detector_digest": cells.attrs.detector_digest,
        **({"corrections": cells.origin} if isinstance(cells, Held) else {}),
    }
    metadata = {"geo": _geo(cells), "pathai": json.dumps(about, sort_keys=True)}
    schema = _parquet_schema(pa, cells.attrs).with_metadata(metadata)
    # numbers that hardly repeat make a dictionary slow and large
    options = {"compression": "zstd", "compression_level": 1, "use_dictionary": ["class"]}
    with pq.ParquetWriter(part, schema, write_statistics=["x_px0", "y_px0"], **options) as writer:
        for first, some in cells.parts():
            arrays = []
            for name, column in columns(info, some, first, _ids(cells)).items():
                if name == "class":
                    index = pa.array(column.astype(np.int32))
                    arrays.append(pa.DictionaryArray.from_arrays(index, classes))
                else:
                    arrays.append(pa.array(column))
            texts: list[Any] = []
            for block in _blocks(len(some.xy_px0)):
                starts = some.outline_start[block.start : block.stop + 1]
                texts.append(_wkb(pa, some.outline_px0, starts))
            arrays.append(pa.concat_arrays(texts))
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


def _wkb(pa: Any, points: NDArray[np.float32], start: NDArray[np.int64]) -> Any:
    """Outlines as well-known binary; where all have as many points, without a polygon of each."""
    lengths = np.diff(start)
    if len(lengths) == 0 or lengths[0] < 3 or (lengths != lengths[0]).any():
        import shapely

        from pathai.geojson import polygons

        return pa.array(shapely.to_wkb(polygons(points, start)), pa.binary())
    count = int(lengths[0])
    rows = np.empty(len(lengths), [("head", "V13"), ("ring", "<f8", (count + 1, 2))])
    rows["head"] = np.void(struct.pack("<BIII", 1, 3, 1, count + 1))  # a polygon of one ring
    rows["ring"][:, :count] = points[start[0] : start[-1]].reshape(-1, count, 2)
    rows["ring"][:, count] = rows["ring"][:, 0]
    offsets = np.arange(len(rows) + 1, dtype=np.int32) * np.int32(rows.itemsize)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(rows.view(np.uint8))]
    return pa.Array.from_buffers(pa.binary(), len(rows), buffers)


def _parquet_schema(pa: Any, attrs: CellsAttrs) -> Any:
    kinds = {"cell_id": pa.int64(), "class": pa.dictionary(pa.int32(), pa.string())}
    fields = [(name, kinds.get(name, pa.float64())) for name in CELL_COLUMNS]
    measured = [(name, pa.float32()) for name in measure_names(attrs)]
    return pa.schema([*fields, *measured, ("geometry", pa.binary())])


def _geo(cells: CellsFile | Held) -> str:
    """GeoParquet 1.1 metadata; a null reference system says that these are not degrees."""
    starts = cells.read("outline_start")
    vertices = np.diff(starts)
    low, high = np.full(2, np.inf), np.full(2, -np.inf)
    for first in range(0, int(starts[-1]), POINTS):
        points = cells.read("outline_px0", first, first + POINTS)
        for axis, values in enumerate(points.T):  # much faster than along both at once
            low[axis] = min(low[axis], values.min())
            high[axis] = max(high[axis], values.max())
    kinds = (("Point", (vertices > 0) & (vertices < 3)), ("Polygon", vertices >= 3))
    column: dict[str, Any] = {
        "encoding": "WKB",
        "geometry_types": [name for name, rows in kinds if rows.any()],
        "crs": None,
        "edges": "planar",
    }
    if starts[-1]:
        column["bbox"] = [float(v) for v in (*low, *high)]
    geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}
    return json.dumps(geo, sort_keys=True)


# --- QuPath ----------------------------------------------------------------------------------


def features(folder: SlideFolder, detector: str) -> Iterator[str]:
    """Nuclei as QuPath's detections, with all that was measured on them."""
    from pathai import geojson

    name = detector_of(folder, detector)
    cells, info = CellsFile(folder.cells(name)), folder.read_slide()
    store = folder.cells_digest(name)
    names = np.array(cells.attrs.classes, dtype=object)
    for first, part in cells.parts():
        shown = measurements(info, part)
        for block in _blocks(len(part.xy_px0)):
            starts = part.outline_start[block.start : block.stop + 1]
            rows = range(first + block.start, first + block.stop)
            yield from geojson.detections(
                object_ids.cell_ids(folder.slide_id, store, rows),
                geojson.polygons(part.outline_px0, starts),
                names[part.class_[block]].tolist(),
                {name: column[block] for name, column in shown.items()},
            )


def measurements(info: SlideInfo, part: Cells) -> Columns:
    """What QuPath shows beside each nucleus, by its name there."""
    table = columns(info, part, 0)
    return {
        "Probability": table["probability"],
        "Detection score": table["score"],
        "Nucleus: DAB OD mean": table["dab_od"],
        "Nucleus: Area µm^2": table["area_um2"],
        **{name: table[name] for name in measure_names(part.attrs)},
    }


# --- AnnData ---------------------------------------------------------------------------------


def write_anndata(folder: SlideFolder, whose: Source, part: Path) -> None:
    """Write cells as rows of an AnnData file: measures in ``X``, places in ``obsm["spatial"]``.

    Raises
    ------
    PathaiError
        E194 without the package anndata.
    """
    try:
        import anndata
        import pandas as pd
    except ImportError:
        message = "format anndata needs the package anndata"
        raise PathaiError("E194", message, "pip install 'pathai[anndata]'") from None
    cells, info = opened(folder, whose), folder.read_slide()
    attrs, count = cells.attrs, len(cells)
    table = {name: np.empty(count, np.float32) for name in CELL_COLUMNS[1:] if name != "class"}
    class_, spatial = np.empty(count, np.uint8), np.empty((count, 2))
    x = np.empty((count, len(attrs.measures)), np.float32)
    prob = np.empty((count, len(attrs.classes)), np.float32)
    for first, some in cells.parts():
        rows = slice(first, first + len(some.xy_px0))
        found = columns(info, some, first, _ids(cells))
        for name, column in table.items():
            column[rows] = found[name]
        class_[rows], x[rows], prob[rows] = some.class_, some.measures, some.prob
        spatial[rows] = np.stack([found["x_um"], found["y_um"]], axis=1)

    def index(names: Iterable[str]) -> Any:
        return pd.Index(list(names), dtype=object)  # pandas 3 has strings that HDF5 has not

    named = pd.Categorical.from_codes(class_.astype(np.int16), index(attrs.classes))
    obs = pd.DataFrame({"class": named, **table}, index=index(map(str, range(count))))
    whole = anndata.AnnData(
        X=x,
        obs=obs,
        var=pd.DataFrame(index=index(attrs.measures)),
        obsm={"spatial": spatial, "class_probability": prob},
        uns={
            "slide_id": info.slide_id,
            "mpp": np.array([info.mpp_x, info.mpp_y]),
            "detector": attrs.detector,
            "detector_digest": attrs.detector_digest,
            "analyzed_mm2": attrs.analyzed_mm2,
            "spatial_unit": "um",
        },
    )
    whole.write_h5ad(part)
