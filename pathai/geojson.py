"""Features for QuPath: nuclei as detections, regions as annotations, tiles with measurements.

Positions are level-0 pixels from the top-left corner, as QuPath wants them. Features are made
block by block and written as they come, so a million nuclei need the memory of one block.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any, TextIO

import numpy as np
import shapely
from numpy.typing import NDArray

from pathai import object_ids
from pathai.units import Box, Ring

Geometries = NDArray[np.object_]
Color = tuple[int, int, int]
DECIMALS = 1
"""Of a coordinate, level-0 px."""
IGNORE = "Ignore*"
"""QuPath's own class for what does not count."""
PALETTE: dict[str, Color] = {
    "positive": (178, 58, 46),
    "negative": (58, 110, 178),
    "tumor": (200, 40, 60),
    "lymphocyte": (110, 70, 190),
    "epithelial": (200, 130, 20),
    "stroma": (60, 150, 90),
    "stromal": (60, 150, 90),
    "other": (110, 110, 110),
    "tissue": (46, 160, 67),
    "pen": (0, 90, 255),
    "dark": (60, 60, 60),
    "unreadable": (255, 0, 0),
    "Ignore*": (180, 180, 180),
}
_OTHERS: tuple[Color, ...] = ((11, 107, 120), (200, 130, 20), (130, 130, 40), (150, 60, 140))


def color_of(name: str) -> Color:
    """Color of a class: from the palette, or always the same one for a name that is not there."""
    return PALETTE.get(name) or _OTHERS[sha256(name.encode()).digest()[0] % len(_OTHERS)]


def polygons(points: NDArray[np.float32], start: NDArray[np.int64]) -> Geometries:
    """Outlines as polygons; an outline of fewer than three points becomes their mean.

    Parameters
    ----------
    points : float32[K, 2]
        Vertices (x, y) of all outlines, level-0 px.
    start : int64[M + 1]
        Outline ``i`` is ``points[start[i]:start[i + 1]]``; it need not be closed.

    Returns
    -------
    object[M]
        shapely polygons or points; None for an outline without points.
    """
    first, counts = int(start[0]), np.diff(start)
    points = np.asarray(points[first : int(start[-1])], np.float64)
    owner = np.repeat(np.arange(len(counts)), counts)
    out: Geometries = np.full(len(counts), None, dtype=object)
    whole = counts >= 3
    if whole.any():
        kept = whole[owner]
        place = np.cumsum(whole) - 1
        rings = shapely.linearrings(points[kept], indices=place[owner[kept]])
        out[whole] = shapely.polygons(rings)
    for i in np.flatnonzero((counts > 0) & ~whole):
        out[i] = shapely.Point(points[owner == i].mean(axis=0))
    return out


def regions(mask: NDArray[np.bool_], downsample: float) -> Geometries:
    """Outlines of a mask's set pixels, with holes, exact to the map pixel.

    Parameters
    ----------
    mask : bool[h, w]
        Axes y, x.
    downsample : float
        Level-0 px per map pixel.

    Returns
    -------
    object[n]
        Polygons in level-0 px, in the order of their top-left corners.
    """
    padded = np.pad(mask, ((0, 0), (1, 1))).astype(np.int8)
    steps = np.diff(padded, axis=1)
    y, left = np.nonzero(steps == 1)
    right = np.nonzero(steps == -1)[1]
    runs = shapely.box(left, y, right, y + 1)
    whole = shapely.union_all(runs)
    parts = shapely.get_parts(shapely.normalize(whole))
    parts = parts[shapely.area(parts) > 0]
    bounds = shapely.bounds(parts).reshape(-1, 4)
    parts = parts[np.lexsort((bounds[:, 0], bounds[:, 1]))]
    scaled: Geometries = shapely.transform(parts, lambda xy: xy * downsample)
    return scaled


def detections(
    ids: Sequence[str],
    geometries: Geometries,
    classes: Sequence[str],
    measurements: Mapping[str, NDArray[Any]],
) -> Iterator[str]:
    """Nuclei as features of type ``detection``.

    Parameters
    ----------
    ids : sequence of str, length m
        From `pathai.object_ids`.
    geometries : object[m]
        From `polygons`; None is left out.
    classes : sequence of str, length m
        Name of each nucleus' class.
    measurements : dict of str to float[m]
        Shown by QuPath beside the nucleus.
    """
    texts = shapely.to_geojson(_rounded(geometries))
    heads = {name: json.dumps(_classification(name)) for name in sorted(set(classes))}
    pairs = ",".join(json.dumps(name).replace("%", "%%") + ":%.6g" for name in measurements)
    table = np.array([*measurements.values()], float).reshape(-1, len(texts)).T
    finite = np.isfinite(table).all(axis=1)
    for i, (text, row) in enumerate(zip(texts, table.tolist(), strict=True)):
        if text is None:
            continue
        values = pairs % tuple(row) if finite[i] else _with_nulls(measurements, row)
        yield (
            f'{{"type":"Feature","id":"{ids[i]}","geometry":{text},'
            f'"properties":{{"objectType":"detection","classification":{heads[classes[i]]},'
            f'"measurements":{{{values}}}}}}}'
        )


def annotations(slide_id: str, name: str, geometries: Geometries) -> Iterator[str]:
    """Regions of one class as locked annotations."""
    texts = shapely.to_geojson(_rounded(geometries))
    properties = json.dumps(
        {
            "objectType": "annotation",
            "name": name,
            "classification": _classification(name),
            "isLocked": True,
        }
    )
    for i, text in enumerate(texts):
        identity = _uuid(slide_id, name, i)
        yield (
            f'{{"type":"Feature","id":"{identity}","geometry":{text},"properties":{properties}}}'
        )


def region(identity: str, name: str, rings: Sequence[Ring]) -> str:
    """A person's own region as an annotation that may be changed.

    Parameters
    ----------
    identity : str
        From `pathai.object_ids`.
    name : str
        What it is.
    rings : sequence of rings
        Outer ring, then holes, level-0 px; none is closed.
    """
    closed = [[[x, y] for x, y in (*ring, ring[0])] for ring in rings]
    geometry = json.dumps({"type": "Polygon", "coordinates": closed}, separators=(",", ":"))
    properties = json.dumps(
        {
            "objectType": "annotation",
            "name": name,
            "classification": _classification(name),
            "isLocked": False,
        }
    )
    return f'{{"type":"Feature","id":"{identity}","geometry":{geometry},"properties":{properties}}}'


def note(
    slide_id: str, name: str, classification: str, box: Box, metadata: Mapping[str, str]
) -> str:
    """A locked annotation around a box that carries texts, e.g. a model's answer."""
    kind = {"classification": _classification(classification)} if classification else {}
    properties = json.dumps(
        {
            "objectType": "annotation",
            "name": name,
            **kind,
            "isLocked": True,
            "metadata": dict(metadata),
        }
    )
    return (
        f'{{"type":"Feature","id":"{_uuid(slide_id, name, 0)}","geometry":{_rectangle(box)},'
        f'"properties":{properties}}}'
    )


def tiles(
    slide_id: str,
    boxes: Sequence[Box],
    measurements: Mapping[str, NDArray[Any]],
    *,
    first: int = 0,
    kind: str = "tile",
    classification: str = "",
) -> Iterator[str]:
    """Tiles with one measurement or more, e.g. a model's attention.

    Parameters
    ----------
    slide_id : str
        Enters the ids, which are the same on every export.
    boxes : sequence of Box, length n
        Places, level-0 px.
    measurements : dict of str to float[n]
        Shown by QuPath beside the tile.
    first : int
        Number of the first tile.
    kind : str
        Enters the ids: the same tiles exported for two models are two sets of objects.
    classification : str
        Name of the class of all of them; none if empty.
    """
    named = {"classification": _classification(classification)} if classification else {}
    for i, box in enumerate(boxes):
        values = {name: float(v[i]) for name, v in measurements.items()}
        geometry = _rectangle(box)
        properties = json.dumps({"objectType": "tile", **named, "measurements": values})
        identity = _uuid(slide_id, kind, first + i)
        yield (
            f'{{"type":"Feature","id":"{identity}","geometry":{geometry},'
            f'"properties":{properties}}}'
        )


def _rectangle(box: Box) -> str:
    text: str = shapely.to_geojson(shapely.box(box.x, box.y, box.right, box.bottom))
    return text


def write_collection(
    file: TextIO, features: Iterable[str], about: Mapping[str, Any] | None = None
) -> int:
    """Write features as one collection, one per line; returns how many.

    ``about`` holds members of the file beside the features; other programs pass over them.
    """
    count = 0
    members = "".join(f"{json.dumps(k)}:{json.dumps(v)}," for k, v in (about or {}).items())
    file.write(f'{{"type":"FeatureCollection",{members}"features":[')
    for text in features:
        file.write(("," if count else "") + "\n" + text)
        count += 1
    file.write("\n]}\n")
    return count


def _rounded(geometries: Geometries) -> Geometries:
    out: Geometries = shapely.transform(geometries, lambda xy: np.round(xy, DECIMALS))
    return out


def _classification(name: str) -> dict[str, Any]:
    return {"name": name, "color": list(color_of(name))}


def _with_nulls(names: Iterable[str], row: Sequence[float]) -> str:
    """Measurements of which some are no number: JSON has none for them."""
    shown = (f"{value:.6g}" if np.isfinite(value) else "null" for value in row)
    return ",".join(f"{json.dumps(n)}:{v}" for n, v in zip(names, shown, strict=True))


def _uuid(slide_id: str, kind: str, number: int) -> str:
    """Id of a part of a map that is the same on every export."""
    return object_ids.object_id(slide_id, "map", f"{kind}\n{number}")
