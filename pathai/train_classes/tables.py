"""Classified cells as people hand them over: a table, or objects out of QuPath."""

import csv
import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.errors import ShapelyError
from shapely.geometry import shape

from pathai.cell_classes import CLASSES
from pathai.errors import PathaiError

SUFFIXES = (".csv", ".geojson", ".geojson.gz", ".json")
MOST_BYTES = 2**31
"""Of a table once it is unpacked: some ten million cells with their outlines."""
CHECKED = "checked"
"""Class or name of an annotation: only cells within such regions were looked at."""
WORDS = {
    "tumour": "tumor",
    "tumor cell": "tumor",
    "carcinoma": "tumor",
    "epithelium": "epithelial",
    "epithelial cell": "epithelial",
    "benign epithelium": "epithelial",
    "lymphocytes": "lymphocyte",
    "immune cells": "lymphocyte",
    "immune cell": "lymphocyte",
    "inflammatory": "lymphocyte",
    "til": "lymphocyte",
    "stroma": "stromal",
    "stromal cell": "stromal",
    "fibroblast": "stromal",
    "necrosis": "other",
    "debris": "other",
    "artefact": "other",
    "artifact": "other",
    "no nucleus": "other",
}
"""Other words for the classes, in lower case."""


@dataclass(frozen=True)
class Classified:
    """Cells of one slide that a person classified.

    Attributes
    ----------
    slide_id : str
    xy_px0 : float64[n, 2]
    class_ : int64[n]
        Index into `CLASSES`.
    left_out : int
        Cells without class, with one that is none of ours, or outside of what was checked.
    """

    slide_id: str
    xy_px0: NDArray[np.float64]
    class_: NDArray[np.int64]
    left_out: int


def files(folder: Path) -> list[Path]:
    """Files of classified cells in a folder, one per slide.

    Raises
    ------
    PathaiError
        E184 when there are none.
    """
    found = sorted(p for p in folder.glob("*") if p.is_file() and p.name.endswith(SUFFIXES))
    if not found:
        message = f"{folder.name} holds no classified cells ({', '.join(SUFFIXES)})"
        raise PathaiError("E184", message, "put one file per slide there, <slide_id>.csv")
    return found


def slide_of(path: Path) -> str:
    """Slide id: the file's name without suffix."""
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        if path.name.endswith(suffix):
            return path.name.removesuffix(suffix)
    return path.stem


def read(path: Path) -> Classified:
    """Classified cells of one file.

    A CSV needs columns ``x_px0``, ``y_px0`` and ``class``, as ``pathai export --format csv``
    writes them; every row counts as looked at. GeoJSON is QuPath's: detections, cells and points
    with a class. Where annotations of class ``checked`` are in it, only cells within them count.

    Raises
    ------
    PathaiError
        E184 when the file is damaged or lacks a column; E162 when it cannot be read.
    """
    try:
        data = path.read_bytes()
        text = (unzipped(data) if path.name.endswith(".gz") else data).decode("utf-8-sig")
        rows = list(_table(text) if path.name.endswith(".csv") else _objects(json.loads(text)))
    except OSError as error:
        raise PathaiError("E162", f"{path.name}: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError, EOFError, ShapelyError) as error:
        reason = f"no column or key {error}" if isinstance(error, KeyError) else str(error)
        message = f"{path.name} is no table of classified cells: {reason}"
        raise PathaiError("E184", message, "write it as docs/cell-classes.md says") from None
    kept = [(x, y, named) for x, y, word in rows if (named := class_of(word)) is not None]
    table = np.array(kept, np.float64).reshape(-1, 3)
    return Classified(
        slide_of(path), table[:, :2], table[:, 2].astype(np.int64), len(rows) - len(kept)
    )


def unzipped(data: bytes, limit: int = MOST_BYTES) -> bytes:
    """What a gzip file holds; more than the limit is never unpacked (ValueError)."""
    with gzip.GzipFile(fileobj=BytesIO(data)) as packed:
        found = packed.read(limit + 1)
    if len(found) > limit:
        raise ValueError(f"it unpacks to more than {limit // 2**20:,} MiB")
    return found


def class_of(word: str) -> int | None:
    """Index of the class that a person's word means; None for none of ours."""
    plain = word.strip().lower()
    name = WORDS.get(plain, plain)
    return CLASSES.index(name) if name in CLASSES else None


def _table(text: str) -> Iterator[tuple[float, float, str]]:
    for row in csv.DictReader(StringIO(text)):
        yield _finite(row["x_px0"]), _finite(row["y_px0"]), row["class"] or ""


def _finite(text: str) -> float:
    number = float(text)
    if not np.isfinite(number):
        raise ValueError(f"{text} is no position")
    return number


def _objects(body: Any) -> Iterator[tuple[float, float, str]]:
    """Cells with the word for their class; an empty word outside of what was checked."""
    features = body["features"] if isinstance(body, dict) else body
    cells, regions = [], []
    for feature in features:
        about = feature.get("properties") or {}
        word = (about.get("classification") or {}).get("name") or ""
        kind = about.get("objectType", "detection")
        figure = shape(feature.get("nucleusGeometry") or feature["geometry"])
        if CHECKED in (word.lower(), str(about.get("name") or "").lower()):
            regions.append(figure)
        elif kind in ("detection", "cell"):
            cells.append((figure.centroid, word))
        elif figure.geom_type in ("Point", "MultiPoint"):
            cells += [(point, word) for point in shapely.get_parts(figure)]
    checked = shapely.union_all(regions) if regions else None
    for point, word in cells:
        seen = checked is None or shapely.intersects(checked, point)
        yield point.x, point.y, word if seen else ""
