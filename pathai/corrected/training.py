"""Corrected nuclei as training data: pictures with label maps, and classified nuclei.

A detector learns from what is a nucleus and from what is none. So pictures are cut only from
regions that a person named `reviewed`: there, and only there, what has no outline is known to be
no nucleus. A picture around single corrected nuclei would teach that their neighbors, which nobody
looked at, are as the detector said. Outside of the region a picture is marked unknown.
"""

import csv
import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from io import StringIO
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray

from pathai import __version__
from pathai.cell_classes import STAINS
from pathai.corrected.given import Corrections, SlideCorrections
from pathai.corrected.nuclei import Corrected, corrected_cells, corrected_nuclei
from pathai.errors import PathaiError
from pathai.plan import Plan
from pathai.quantities.summary import Nuclei
from pathai.sheet import SheetRow
from pathai.store.commit import manifest_path
from pathai.store.folders import SlideFolder
from pathai.store.level import Level
from pathai.store.manifest import READABLE, canonical, read_manifest, storage_error
from pathai.store.records import Cells

WINDOW_PX = 512
"""Edge of a picture, px of the level that is cut."""
SMALLEST_PX = 48
"""Narrower strips of a region make no picture."""
CUT_MPP = 0.4
"""Pictures are cut from the coarsest level that is not coarser than this, µm/px."""
CELLS, NO_NUCLEUS = "cells", "no nucleus"
U16 = NDArray[np.uint16]


@dataclass(frozen=True)
class FromSlide:
    """What one slide gave; ``store`` is the digest of its nuclei, ``events`` of the logged ones."""

    pictures: int = 0
    nuclei: int = 0
    classified: int = 0
    reviewed_mm2: float = 0.0
    store: str = ""
    events: tuple[str, ...] = ()


@dataclass(frozen=True)
class Exported:
    """What was exported, by slide, and what was not, with the reason."""

    slides: dict[str, FromSlide] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def total(self, name: str) -> int:
        """Sum of a figure over slides."""
        return sum(int(getattr(one, name)) for one in self.slides.values())


@dataclass(frozen=True)
class _Picture:
    """A window of a slide at one level: what is seen, what is known."""

    name: str
    rgb: NDArray[np.uint8]
    labels: U16
    xy: NDArray[np.float64]
    mpp: float


def export_training(plan: Plan, given: Mapping[str, Corrections], out: Path) -> Exported:
    """Write a folder that ``train-detector`` reads.

    ``images.csv``, ``images/``, ``labels/`` and ``gt_points.csv`` hold pictures of reviewed
    regions, ``cells/<slide_id>.csv`` nuclei with the class that a person gave or let stand,
    ``corrections.json`` says what it was made from. No path, no text of the scanner and
    no reader's name goes in; ids of slides stay, which are the lab's own.

    Parameters
    ----------
    plan : Plan
        The run.
    given : mapping of str to Corrections
        By case.
    out : Path
        A folder that is not there yet.

    Raises
    ------
    PathaiError
        E193 if ``out`` exists, E184 if there is nothing to learn from, E160 or E161 if the folder
        cannot be written.
    """
    if out.exists():
        raise PathaiError("E193", f"{out.name} is there", "choose another name")
    made: dict[str, FromSlide] = {}
    notes: list[str] = []
    part = out.with_name(f"{out.name}.part")
    try:
        part.mkdir(parents=True)
        tables = _Tables(part)
        for row in plan.sheet.rows:
            case = given.get(row.case_id)
            one = case.of(row.slide_id) if case else SlideCorrections()
            if case is None or not (one.edits or one.added or not one.reviewed.is_empty):
                continue
            found, told = _slide(plan, row, one, tables)
            made[row.slide_id] = FromSlide(**{**asdict(found), "events": case.events})
            notes += [f"{row.slide_id}: {note}" for note in told]
        if not any(one.pictures or one.classified for one in made.values()):
            raise PathaiError(
                "E184", "no reader marked a region as reviewed or classified a nucleus",
                "draw a region named reviewed around what you looked at completely",
            )  # fmt: skip
        tables.close()
        about = {
            "schema_version": 1,
            "detector": plan.config.cells.detector,
            "slides": {name: asdict(one) for name, one in sorted(made.items())},
            "pathai_version": __version__,
        }
        (part / "corrections.json").write_bytes(canonical(json.loads(json.dumps(about))))
        part.rename(out)
    except OSError as error:
        _removed(part)
        raise storage_error(error) from None
    except PathaiError:
        _removed(part)
        raise
    return Exported(made, tuple(notes))


def _removed(part: Path) -> None:
    import shutil

    shutil.rmtree(part, ignore_errors=True)


class _Tables:
    """The folder that is written, picture by picture."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._images: list[tuple[str, str, str]] = []
        self._points: list[tuple[str, str, str]] = []

    def picture(self, one: _Picture) -> None:
        from skimage.io import imsave

        for name, array in (("images", one.rgb), ("labels", one.labels)):
            (self.folder / name).mkdir(exist_ok=True)
            imsave(self.folder / name / f"{one.name}.png", array, check_contrast=False)
        self._images.append((one.name, f"images/{one.name}.png", f"{one.mpp:.6g}"))
        # files count from the center of the first pixel
        self._points += [(one.name, f"{x - 0.5:.3f}", f"{y - 0.5:.3f}") for x, y in one.xy.tolist()]

    def cells(self, slide_id: str, rows: list[tuple[str, str, str]]) -> None:
        (self.folder / CELLS).mkdir(exist_ok=True)
        head = ("x_px0", "y_px0", "class")
        (self.folder / CELLS / f"{slide_id}.csv").write_text(_csv(head, rows), "utf-8")

    def close(self) -> None:
        if self._images:
            text = _csv(("image", "file", "mpp"), self._images)
            (self.folder / "images.csv").write_text(text, "utf-8")
        if self._points:
            text = _csv(("image", "x", "y"), self._points)
            (self.folder / "gt_points.csv").write_text(text, "utf-8")


def _csv(head: tuple[str, ...], rows: list[tuple[str, str, str]]) -> str:
    file = StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerows([head, *rows])
    return file.getvalue()


def _slide(
    plan: Plan, row: SheetRow, given: SlideCorrections, tables: _Tables
) -> tuple[FromSlide, list[str]]:
    """Write what one slide gives."""
    folder, config = plan.results.slide(row.slide_id), plan.config.cells
    path = manifest_path(folder.base("cells", config.detector))
    if not path.exists() or read_manifest(path).status not in READABLE:
        return FromSlide(), ["it has no nuclei any more"]
    take = (folder, config.detector, given, config, row.stain_vectors)
    found, info = corrected_nuclei(*take), folder.read_slide()
    notes, pictures, nuclei, area = list(found.notes), 0, 0, 0.0
    shape = given.reviewed.difference(given.excluded)
    if not shape.is_empty:
        if abs(info.mpp_x / info.mpp_y - 1) > 0.02:
            notes.append("no pictures: its pixels are not square")
        else:
            area = float(shape.area) * info.mpp_x * info.mpp_y / 1e6
            for one in _pictures(folder, corrected_cells(*take), shape):
                tables.picture(one)
                pictures, nuclei = pictures + 1, nuclei + len(one.xy)
            notes += [] if pictures else ["no pictures: its reviewed regions are too small"]
    elif given.edits or given.added:
        notes.append("no pictures: no region of it is named reviewed")
    rows = list(_classified(folder, config.detector, found, shape)) if row.stain in STAINS else []
    if rows:
        tables.cells(row.slide_id, rows)
    store = folder.cells_digest(config.detector)
    return FromSlide(pictures, nuclei, len(rows), round(area, 6), store), notes


# --- pictures --------------------------------------------------------------------------------


def _pictures(folder: SlideFolder, cells: Cells, shape: shapely.Geometry) -> Iterator[_Picture]:
    """Windows over every part of a reviewed region, row by row."""
    info, pyramid = folder.read_slide(), folder.open_tiles()
    level = pyramid.levels[pyramid.level_for(CUT_MPP / info.mpp_x)]
    shapely.prepare(shape)
    outlines = _outlines(cells)
    number = 0
    for left, top, width, height in _windows(shape, level):
        name = f"{info.slide_id}-{number + 1:03d}"
        window = left, top, width, height
        one = _picture(name, level, window, cells, outlines, shape, info.mpp_x)
        if one is not None:
            number += 1
            yield one


def _windows(shape: shapely.Geometry, level: Level) -> Iterator[tuple[int, int, int, int]]:
    """Left, top, width and height of windows, px of the level."""
    step = level.downsample
    parts = [p for p in shapely.get_parts(shape) if p.geom_type == "Polygon"]
    for part in sorted(parts, key=lambda p: (p.bounds[1], p.bounds[0])):
        x0, y0, x1, y1 = (float(v) / step for v in part.bounds)
        left, top = max(round(x0), 0), max(round(y0), 0)
        right, bottom = min(round(x1), level.size.width), min(round(y1), level.size.height)
        for y in range(top, bottom, WINDOW_PX):
            for x in range(left, right, WINDOW_PX):
                width, height = min(WINDOW_PX, right - x), min(WINDOW_PX, bottom - y)
                if min(width, height) >= SMALLEST_PX:
                    yield x, y, width, height


def _picture(
    name: str,
    level: Level,
    window: tuple[int, int, int, int],
    cells: Cells,
    outlines: list[NDArray[np.float32]],
    shape: shapely.Geometry,
    mpp: float,
) -> _Picture | None:
    """A picture with its nuclei; None where nothing of it is known.

    A label without a point is unknown to who reads it: the ground outside of the region, and
    nuclei whose center lies outside of region or picture.
    """
    from skimage.draw import polygon

    left, top, width, height = window
    step = level.downsample
    y, x = np.indices((height, width)) + 0.5
    known = shapely.contains_xy(shape, (x + left) * step, (y + top) * step)
    px = cells.xy_px0.astype(np.float64) / step - (left, top)
    reach = 64.0
    near = np.flatnonzero(((px > -reach) & (px < (width + reach, height + reach))).all(axis=1))
    own = shapely.contains_xy(shape, *cells.xy_px0[near].astype(np.float64).T)
    own &= ((px[near] >= 0) & (px[near] < (width, height))).all(axis=1)
    labels = np.zeros((height, width), np.uint16)
    unknown = np.uint16(own.sum() + 1)
    for index in near[~own].tolist():
        ring = outlines[index].astype(np.float64) / step - (left, top) - 0.5
        labels[polygon(ring[:, 1], ring[:, 0], labels.shape)] = unknown
    for number, index in enumerate(near[own].tolist(), start=1):
        ring = outlines[index].astype(np.float64) / step - (left, top) - 0.5
        inside = polygon(ring[:, 1], ring[:, 0], labels.shape)
        labels[inside] = number
        if not len(inside[0]):  # smaller than a pixel, or without an outline
            at = px[index].astype(int)
            labels[at[1], at[0]] = number
    outside = ~known & ~np.isin(labels, np.arange(1, unknown))
    labels[outside] = unknown
    xy = _middles(labels, px[near[own]])
    if not known.any() or (len(xy) == 0 and (labels == unknown).any()):
        return None
    rgb = np.ascontiguousarray(level.read_px(left, top, width, height))
    return _Picture(name, rgb, labels, xy, mpp * step)


def _outlines(cells: Cells) -> list[NDArray[np.float32]]:
    start = cells.outline_start
    return [cells.outline_px0[a:b] for a, b in itertools.pairwise(start)]


def _middles(labels: U16, centers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centers of labels 1 to n as they are painted; a nucleus under others keeps its own."""
    flat = labels.ravel()
    count = np.bincount(flat, minlength=len(centers) + 2)[1 : len(centers) + 1]
    y, x = np.indices(labels.shape)
    middle = centers.copy()
    for axis, values in enumerate((x, y)):
        total = np.bincount(flat, values.ravel() + 0.5, minlength=len(centers) + 2)
        seen = count > 0
        middle[seen, axis] = total[1 : len(centers) + 1][seen] / count[seen]
    return middle


# --- classes ---------------------------------------------------------------------------------


def _classified(
    folder: SlideFolder, detector: str, found: Corrected, shape: shapely.Geometry
) -> Iterator[tuple[str, str, str]]:
    """Position and class of every stored nucleus that a person named, or looked at and let stand.

    The classes of a detector that tells no kinds of cells are nobody's word.
    """
    from pathai.case import read_all

    stored: Nuclei = read_all(folder, detector)
    looked = shapely.contains_xy(shape, *stored.xy_px0.astype(np.float64).T)
    for row, (x, y) in enumerate(stored.xy_px0.tolist()):
        word = found.named.get(row)
        if word is None and looked[row] and stored.kinds:
            word = stored.classes[stored.class_[row]]
        if word is not None:
            yield f"{x:.1f}", f"{y:.1f}", word or NO_NUCLEUS
