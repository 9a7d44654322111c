"""A slide's nuclei and regions as a reader left them, as objects of QuPath."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import shapely

from pathai import geojson, object_ids
from pathai.edits import AddedCell
from pathai.exchange.objects import ABOUT, CORRECTED
from pathai.exchange.standing import Standing
from pathai.export.nuclei import BLOCK, measurements
from pathai.export.writing import text_file, write_whole
from pathai.store.folders import SlideFolder


def write_review(folder: SlideFolder, now: Standing, out: Path, *, overwrite: bool = False) -> int:
    """Write all nuclei and the reader's regions of a slide for QuPath.

    A nucleus has the class that the reader left it, `Ignore*` if it is none; where the reader
    spoke of it, its measurement `Corrected by reader` is 1. No reader's name is written.

    Parameters
    ----------
    folder : SlideFolder
        Of the slide.
    now : Standing
        Of `pathai.exchange.standing_on`.
    out : Path
        File; gzip where it ends in ``.gz``. It gets its name when it is complete.
    overwrite : bool
        Replace what is there.

    Returns
    -------
    int
        How many objects were written.

    Raises
    ------
    PathaiError
        E193 if ``out`` is there, E160 or E161 if it cannot be written.
    """
    about = {
        "slide_id": now.slide_id,
        "detector": now.detector,
        "cells": now.store,
        "classes": [*now.cells.attrs.classes, *sorted(now.own_words)],
    }
    counts: list[int] = []

    def write(part: Path) -> None:
        with text_file(part, packed=out.name.endswith(".gz")) as file:
            counts.append(geojson.write_collection(file, _features(now), {ABOUT: about}))

    write_whole(folder.path, out, write, overwrite=overwrite)
    return counts[0]


def _features(now: Standing) -> Iterator[str]:
    """Regions, then nuclei that were added, then those of the detector in the order of rows."""
    for identity, (_, drawn) in now.regions.items():
        yield geojson.region(identity, drawn.name, drawn.rings_px0)
    yield from _added(now)
    names = np.array(now.cells.attrs.classes, dtype=object)
    for first, part in now.cells.parts():
        count = len(part.xy_px0)
        classes, said = names[part.class_], np.zeros(count)
        for row in range(first, first + count):
            word = now.words.get(row)
            if word is not None:
                classes[row - first], said[row - first] = word or geojson.IGNORE, 1
        shown = {**measurements(now.info, part), CORRECTED: said}
        for start in range(0, count, BLOCK):
            block = slice(start, min(start + BLOCK, count))
            shapes = geojson.polygons(
                part.outline_px0, part.outline_start[block.start : block.stop + 1]
            )
            bare = shapely.is_missing(shapes)
            shapes[bare] = shapely.points(part.xy_px0[block][bare])
            rows = range(first + block.start, first + block.stop)
            yield from geojson.detections(
                object_ids.cell_ids(now.slide_id, now.store, rows),
                shapes,
                classes[block].tolist(),
                {name: column[block] for name, column in shown.items()},
            )


def _added(now: Standing) -> Iterator[str]:
    cells: list[AddedCell] = [cell for _, cell in now.added.values()]
    shapes = np.array([shapely.Polygon(cell.outline_px0) for cell in cells], dtype=object)
    mpp = now.info.mpp
    shown = {
        "Nucleus: Area µm^2": np.array([abs(s.area) for s in shapes]) * mpp.x * mpp.y,
        CORRECTED: np.ones(len(cells)),
    }
    if cells:
        words = [cell.class_name for cell in cells]
        yield from geojson.detections(list(now.added), shapes, words, shown)
