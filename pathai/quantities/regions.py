"""Parts of a slide: connected pieces of tissue, and regions that a person drew."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from math import floor
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage

from pathai.errors import PathaiError
from pathai.quantities.squares import Pixels
from pathai.store.records import TISSUE, TissueMap
from pathai.units import Box, Polygons, Ring

PIECE_MM2 = 0.1
"""Smaller specks of tissue are no pieces."""
MOST_PIECES = 50
MOST_POINTS = 120
"""Points of the outline that a finding keeps of a region."""
REVIEWED = ("reviewed", "screened", "checked")
"""Names of regions in which a person looked at every nucleus, in any capitals."""
REMEDY = "export the regions from QuPath as GeoJSON, in pixels of the full image"


@dataclass(frozen=True)
class Part:
    """A part of a slide.

    Attributes
    ----------
    name : str
        Unique on the slide.
    inside : bool[h, w]
        Its analyzed tissue on the map.
    box : Box
        Level-0 px.
    """

    name: str
    inside: NDArray[np.bool_]
    box: Box

    def holds(self, place: Pixels) -> NDArray[np.bool_]:
        """Which pixels of the map (row and column of `map_pixel`) lie in it, bool[M]."""
        held: NDArray[np.bool_] = self.inside[place]
        return held


@dataclass(frozen=True)
class Drawn:
    """A region that a person drew.

    Attributes
    ----------
    name : str
        Its class where it has one, else its own name, else "region".
    shape : shapely geometry
        Level-0 px.
    """

    name: str
    shape: shapely.Geometry


def whole(tissue: TissueMap) -> Part:
    """All analyzed tissue of a slide."""
    box = tissue.box(TISSUE) or Box(0.0, 0.0, 0.0, 0.0)
    return Part("slide", tissue.classes == TISSUE, box)


def pieces(tissue: TissueMap, least_mm2: float = PIECE_MM2) -> Iterator[Part]:
    """Connected pieces of analyzed tissue, from top to bottom.

    Pixels of the map that touch at a corner are connected; what an artefact cuts apart are two
    pieces. At most `MOST_PIECES` are given, the largest.
    """
    labels, number = ndimage.label(tissue.classes == TISSUE, np.ones((3, 3)))
    area = np.bincount(labels.ravel(), minlength=number + 1)[1:]
    area_mm2 = area * (tissue.mpp.x * tissue.mpp.y / 1e6)
    large = np.flatnonzero(area_mm2 >= least_mm2)
    kept = np.sort(large[np.argsort(-area_mm2[large], kind="stable")[:MOST_PIECES]])
    places = ndimage.find_objects(labels)
    for i, k in enumerate(kept, start=1):
        yield Part(f"piece {i}", labels == k + 1, _box(places[k], tissue.downsample))


def _box(place: tuple[slice, slice], step: float) -> Box:
    rows, columns = place
    width, height = (columns.stop - columns.start) * step, (rows.stop - rows.start) * step
    return Box(columns.start * step, rows.start * step, width, height)


def drawn_parts(tissue: TissueMap, drawn: tuple[Drawn, ...]) -> tuple[Part, ...]:
    """The analyzed tissue of drawn regions; regions of one name are one part.

    A pixel of the tissue map belongs to a region if its middle does: exact to half a pixel of the
    map (4 µm by default) along the line.
    """
    return tuple(_part(tissue, name, shape) for name, shape in shapes_by_name(drawn).items())


def shapes_by_name(drawn: tuple[Drawn, ...]) -> dict[str, shapely.Geometry]:
    """The regions of each name as one shape, level-0 px, sorted by name."""
    by_name: dict[str, list[shapely.Geometry]] = {}
    for one in drawn:
        by_name.setdefault(one.name, []).append(one.shape)
    return {name: shapely.union_all(shapes) for name, shapes in sorted(by_name.items())}


def _part(tissue: TissueMap, name: str, shape: shapely.Geometry) -> Part:
    height, width = tissue.classes.shape
    step = tissue.downsample
    x0, y0, x1, y1 = (float(v) for v in shape.bounds)
    left, top = max(floor(x0 / step), 0), max(floor(y0 / step), 0)
    right, bottom = min(floor(x1 / step) + 1, width), min(floor(y1 / step) + 1, height)
    inside = np.zeros((height, width), bool)
    if right > left and bottom > top:
        y, x = np.mgrid[top:bottom, left:right]
        shapely.prepare(shape)
        held = shapely.contains_xy(shape, (x + 0.5) * step, (y + 0.5) * step)
        inside[top:bottom, left:right] = held
    return Part(name, inside & (tissue.classes == TISSUE), Box(x0, y0, x1 - x0, y1 - y0))


def outline(
    shape: shapely.Geometry, tolerance_px0: float, most_points: int = MOST_POINTS
) -> Polygons:
    """A region's line with few points, for showing where a figure stands.

    Parameters
    ----------
    shape : shapely geometry
        Level-0 px; anything but polygons is left out.
    tolerance_px0 : float
        How far a point may be moved at least; doubled until the line is short enough.
    most_points : int
        Of all rings together. Where even that leaves too many, the smallest polygons are left out.

    Returns
    -------
    tuple
        As the coordinates of a GeoJSON MultiPolygon, without the points that close the rings.
    """
    parts = [p for p in shapely.get_parts(shape) if p.geom_type == "Polygon" and p.area > 0]
    parts.sort(key=lambda p: (-p.area, p.bounds))
    step = max(tolerance_px0, 0.5)
    kept: Polygons = ()
    for _ in range(12):
        found = [_rings(p.simplify(step)) for p in parts]
        kept = tuple(rings for rings in found if rings)
        if sum(len(ring) for rings in kept for ring in rings) <= most_points:
            return kept
        step *= 2
    while len(kept) > 1 and sum(len(ring) for rings in kept for ring in rings) > most_points:
        kept = kept[:-1]
    return kept


def _rings(shape: shapely.Geometry) -> tuple[Ring, ...]:
    if shape.geom_type != "Polygon" or shape.is_empty:
        return ()
    return tuple(
        tuple((round(x, 1), round(y, 1)) for x, y in ring.coords[:-1])
        for ring in (shape.exterior, *shape.interiors)
    )


def read_drawn(path: Path) -> tuple[Drawn, ...]:
    """Regions of a GeoJSON file as QuPath writes it, in level-0 px.

    A collection of features, a list of them, or one; polygons and multipolygons. Lines and points
    are no regions and are left out; a line that crosses itself is mended.

    Raises
    ------
    PathaiError
        E155 if it cannot be read, or holds no region: export it again.
    """
    try:
        data = json.loads(path.read_bytes())
        found = data.get("features", [data]) if isinstance(data, dict) else data
        drawn = tuple(one for feature in found if (one := _drawn(feature)) is not None)
    except OSError as error:
        raise PathaiError("E155", f"{path.name}: {error.strerror}", REMEDY) from None
    except (ValueError, AttributeError, TypeError, KeyError, shapely.GEOSException) as error:
        raise PathaiError("E155", f"{path.name}: {error}", REMEDY) from None
    if not drawn:
        raise PathaiError("E155", f"{path.name} holds no polygon", REMEDY)
    return drawn


def _drawn(feature: Any) -> Drawn | None:
    shape = shapely.from_geojson(json.dumps(feature["geometry"]))
    if shape.geom_type not in ("Polygon", "MultiPolygon"):
        return None
    shape = shapely.make_valid(shape)
    if shape.is_empty or shape.area == 0:
        return None
    about = feature.get("properties") or {}
    label = (about.get("classification") or {}).get("name") or about.get("name") or "region"
    return Drawn(str(label)[:64], shape)
