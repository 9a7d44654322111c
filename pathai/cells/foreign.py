"""Nuclei of other programs' files: outlines in level-0 px with the names of their classes."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from pathai.errors import PathaiError
from pathai.store.records import SlideInfo

UNNAMED = "nucleus"
"""Class of what has none."""
REMEDY = "docs/detectors.md says what is read"


@dataclass(frozen=True)
class Foreign:
    """What stands in a file, in its order.

    Attributes
    ----------
    outlines : object[N]
        shapely geometries, px of the file's own coordinates; None where there is none.
    classes : tuple of str, length N
    prob : float64[N]
        Support for that class, 0 to 1; 1 where the file says nothing.
    scale : tuple of float
        Level-0 px per px of the coordinates, x and y.
    others : int
        Objects that are no nuclei, such as annotations.
    """

    outlines: NDArray[np.object_]
    classes: tuple[str, ...]
    prob: NDArray[np.float64]
    scale: tuple[float, float] = (1.0, 1.0)
    others: int = 0


def read_hovernet(file: Path, info: SlideInfo) -> Foreign:
    """JSON of HoVer-Net: ``{"mag": 40, "nuc": {id: {"contour": ..., "type": ...}}}``.

    ``mag`` is the magnification that coordinates are of; it is compared with the objective of the
    slide, or with its µm/px (10 µm/px divided by the magnification) where that is not known.
    """
    said = _json(file)
    nuclei = said.get("nuc") if isinstance(said, dict) else None
    if not isinstance(nuclei, dict):
        raise _wrong(file, "no object nuc")
    scale = (1.0, 1.0)
    if mag := said.get("mag"):
        if not isinstance(mag, int | float) or mag <= 0:
            raise _wrong(file, f"mag is {mag!r}")
        by_mpp = (10 / mag / info.mpp_x, 10 / mag / info.mpp_y)
        scale = (info.objective / mag,) * 2 if info.objective else by_mpp
    outlines, classes, prob = [], [], []
    for key, nucleus in nuclei.items():
        if not isinstance(nucleus, dict) or "contour" not in nucleus:
            raise _wrong(file, f"nucleus {key} has no contour")
        outlines.append(_polygon(nucleus["contour"]))
        kind = nucleus.get("type")
        classes.append(UNNAMED if kind is None else f"type {kind}")
        prob.append(_share(nucleus.get("type_prob")))
    return Foreign(_objects(outlines), tuple(classes), np.array(prob, np.float64), scale)


def read_geojson(file: Path, info: SlideInfo) -> Foreign:
    """GeoJSON of QuPath: detections and cells, of which the nucleus; annotations are left out."""
    said = _json(file)
    features = said.get("features", [said]) if isinstance(said, dict) else said
    if not isinstance(features, list):
        raise _wrong(file, "no list of features")
    outlines, classes, others = [], [], 0
    for number, feature in enumerate(features):
        if not isinstance(feature, dict) or feature.get("type") != "Feature":
            raise _wrong(file, f"feature {number} is none")
        facts = feature.get("properties") or {}
        if facts.get("objectType", "detection") not in ("detection", "cell"):
            others += 1
            continue
        outlines.append(_geometry(feature.get("nucleusGeometry") or feature.get("geometry")))
        kind = facts.get("classification") or {}
        classes.append(str(kind.get("name") or UNNAMED) if isinstance(kind, dict) else str(kind))
    prob = np.ones(len(outlines))
    return Foreign(_objects(outlines), tuple(classes), prob, others=others)


def read_geoparquet(file: Path, info: SlideInfo) -> Foreign:
    """GeoParquet as `pathai export` writes it: ``geometry`` (WKB), perhaps class, probability."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(file)
        wkb = table.column("geometry").to_numpy(zero_copy_only=False)
        outlines = shapely.from_wkb(wkb, on_invalid="ignore")
        names = table.column("class").to_pylist() if "class" in table.column_names else []
        known = table.column("probability") if "probability" in table.column_names else None
    except (OSError, KeyError, TypeError, pa.ArrowException) as error:
        raise _wrong(file, str(error)) from None
    count = len(outlines)
    prob = np.ones(count) if known is None else np.asarray(known, np.float64)
    classes = tuple(str(n) if n is not None else UNNAMED for n in names) or (UNNAMED,) * count
    return Foreign(outlines, classes, np.nan_to_num(prob, nan=1.0).clip(0, 1))


FORMATS: dict[str, Callable[[Path, SlideInfo], Foreign]] = {
    "geoparquet": read_geoparquet,
    "hovernet": read_hovernet,
    "qupath-geojson": read_geojson,
}


def read_foreign(file: Path, format: str, info: SlideInfo, mpp: float | None = None) -> Foreign:
    """Read another program's nuclei.

    Parameters
    ----------
    file : Path
        The file; a pickle, such as tiatoolbox's ``.dat``, is refused.
    format : str
        One of `FORMATS`.
    info : SlideInfo
        The slide that they are of.
    mpp : float, optional
        µm per px of the coordinates, where the file does not say it or is wrong.

    Raises
    ------
    PathaiError
        E191 for another format, E183 for a missing file, E187 for one that is not as it should be.
    """
    if format not in FORMATS:
        raise PathaiError("E191", f"no format {format!r} of cells", f"try {', '.join(FORMATS)}")
    if not file.is_file():
        raise PathaiError("E183", f"file {file.name} not found", "give an existing file")
    found = FORMATS[format](file, info)
    if mpp is None:
        return found
    scale = (mpp / info.mpp_x, mpp / info.mpp_y)
    return Foreign(found.outlines, found.classes, found.prob, scale, found.others)


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise _wrong(file, f"not JSON ({error})") from None


def _polygon(points: Any) -> Any:
    try:
        ring = np.asarray(points, np.float64)
        return shapely.Polygon(ring) if ring.ndim == 2 and len(ring) >= 3 else None
    except (ValueError, TypeError, shapely.errors.GEOSException):
        return None


def _geometry(said: Any) -> Any:
    try:
        return shapely.from_geojson(json.dumps(said), on_invalid="ignore") if said else None
    except (ValueError, TypeError, shapely.errors.GEOSException):
        return None


def _share(value: Any) -> float:
    return float(np.clip(value, 0, 1)) if isinstance(value, int | float) and value == value else 1.0


def _objects(outlines: list[Any]) -> NDArray[np.object_]:
    found = np.empty(len(outlines), object)
    found[:] = outlines
    return found


def _wrong(file: Path, why: str) -> PathaiError:
    return PathaiError("E187", f"{file.name}: {why}", REMEDY)
