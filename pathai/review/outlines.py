"""Outlines of several readers laid over each other."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import shapely

from pathai.edits import AddedCell, Drawn, Position
from pathai.units import Box

AGREE = 0.7
"""Two readers' regions of one name agree from this intersection over union on."""


class Looked:
    """Where on the slides a reader has looked.

    Parameters
    ----------
    seen : mapping
        Fields by slide.
    """

    def __init__(self, seen: Mapping[str, Sequence[Box]]) -> None:
        self._seen = seen
        self._areas: dict[str, Any] = {}

    def at(self, slide_id: str, points: Sequence[Position]) -> list[bool]:
        """Whether each point (x, y), level-0 px, lies in a field that was seen."""
        if slide_id not in self._areas:
            fields = [
                shapely.box(b.x, b.y, b.right, b.bottom) for b in self._seen.get(slide_id, ())
            ]
            area = shapely.union_all(fields)
            shapely.prepare(area)
            self._areas[slide_id] = area
        xy = np.asarray(points, np.float64).reshape(-1, 2)
        found: list[bool] = shapely.intersects_xy(self._areas[slide_id], xy).tolist()
        return found


def groups_of_cells(
    cells: Mapping[str, Sequence[AddedCell]],
) -> Iterator[tuple[dict[str, AddedCell], Position]]:
    """Added nuclei that are the same one, at most one of each reader, and where it is.

    Parameters
    ----------
    cells : mapping
        Added nuclei of one slide by reader.
    """
    owners = [(reader, cell) for reader, found in cells.items() for cell in found]
    if not owners:
        return
    shapes = shapely.make_valid(
        np.array([shapely.Polygon(cell.outline_px0) for _, cell in owners], dtype=object)
    )
    centers = shapely.centroid(shapes)
    tree = shapely.STRtree(shapes)
    inside = [set(tree.query(center, predicate="intersects").tolist()) for center in centers]
    taken: set[int] = set()
    for i, (reader, cell) in enumerate(owners):
        if i in taken:
            continue
        group = {reader: cell}
        near = sorted(inside[i] | {j for j in tree.query(shapes[i]).tolist() if i in inside[j]})
        for j in near:
            other = owners[j][0]
            if j not in taken and other not in group:
                group[other] = owners[j][1]
                taken.add(j)
        yield group, (round(centers[i].x, 1), round(centers[i].y, 1))


def union_of(regions: Iterable[Drawn], name: str) -> Any:
    """Area of all regions of one name, as a shapely geometry; an outline that crosses is mended."""
    shapes = [
        shapely.Polygon(one.rings_px0[0], one.rings_px0[1:]) for one in regions if one.name == name
    ]
    return shapely.union_all([shapely.make_valid(shape) for shape in shapes])


def overlap(areas: Sequence[Any]) -> float:
    """The smallest intersection over union of two of the areas; 1 if there is only one."""
    least = 1.0
    for a, b in combinations(areas, 2):
        whole = a.union(b).area
        least = min(least, a.intersection(b).area / whole if whole else 1.0)
    return least
