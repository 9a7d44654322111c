"""Cells of a file in place of a detector's: mended or left out with a count, nothing silently."""

from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from pathai.cells.foreign import Foreign, read_foreign
from pathai.cells.raster import strips
from pathai.cells.result import RASTER_PX, summarized, told
from pathai.config import CellsConfig
from pathai.quantities.squares import map_pixel
from pathai.quantities.summary import Nuclei
from pathai.store.cell_store import write_streamed_cells
from pathai.store.cells_summary import write_regions, write_summary
from pathai.store.commit import Commit
from pathai.store.folders import SlideFolder, cells_files
from pathai.store.manifest import hash_file
from pathai.store.records import BACKGROUND, TISSUE, CellsAttrs

RASTER_UM = 0.5 * RASTER_PX
F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


def detector_of(format: str) -> str:
    """Name under which imported cells are kept."""
    return f"import:{format}"


def run(
    folder: SlideFolder, out: Commit, *, file: Path, format: str, mpp: float | None = None
) -> CellsAttrs:
    """Import the cells of a slide.

    Parameters
    ----------
    folder : SlideFolder
        Slide with ``tissue.zarr``.
    out : Commit
        Gets ``<slug of import:format>.zarr``.
    file, format, mpp : Path, str, float
        As of `pathai.cells.foreign.read_foreign`.

    Raises
    ------
    PathaiError
        As `pathai.cells.foreign.read_foreign`.
    """
    info, tissue, name = folder.read_slide(), folder.read_tissue(), detector_of(format)
    foreign = read_foreign(file, format, info, mpp)
    shapes, mended, why = settle(foreign, (info.width, info.height))
    rows = np.flatnonzero(why == "")
    placed = np.zeros((len(shapes), 2), np.float32)
    placed[rows] = shapely.get_coordinates(shapely.centroid(shapes[rows]))
    on = tissue.classes[map_pixel(tissue, placed[rows])] == TISSUE
    why[rows[~on]] = "off tissue"
    rows = rows[on]
    rows = rows[np.lexsort((placed[rows, 0], placed[rows, 1]))]
    points, start = _rings(shapes[rows])
    names = tuple(sorted(set(foreign.classes))) or ("nucleus",)
    class_ = np.array([names.index(foreign.classes[i]) for i in rows], np.uint8)
    reasons = {str(w): int((why == w).sum()) for w in np.unique(why[why != ""])}
    reasons |= {"no nuclei": foreign.others} if foreign.others else {}
    step = RASTER_UM / info.mpp_x
    digest, stains = hash_file(file).sha256, np.zeros(len(rows), np.float16)
    summary = summarized(
        Nuclei(placed[rows], class_, stains, names),
        tissue,
        name=name,
        digest=digest,
        stain=info.stain,
        cutoffs_od=CellsConfig().cutoffs_od,
    )
    attrs = CellsAttrs(
        detector=name,
        detector_digest=digest,
        classes=names,
        analyzed_mm2=tissue.area_mm2(TISSUE),
        excluded_mm2=sum(
            tissue.area_mm2(int(value))
            for value in np.unique(tissue.classes)
            if value not in (BACKGROUND, TISSUE)
        ),
        mended=int(mended[rows].sum()),
        dropped=reasons,
        raster_downsample0=step,
        **told(summary, class_, len(names)),
    )
    arrays: dict[str, Any] = {
        "xy_px0": placed[rows],
        "score": np.ones(len(rows), np.float16),
        "class_": class_,
        "prob": _support(foreign.prob[rows], class_, len(names)),
        "dab_od": stains,
        "measures": np.empty((len(rows), 0), np.float32),
        "outline_px0": points,
        "outline_start": start,
    }
    size = (ceil(info.height / step), ceil(info.width / step))
    owner = np.repeat(np.arange(len(rows)), np.diff(start))
    reach = float(np.abs(points - placed[rows][owner]).max(initial=0)) + 1

    def some(first: int, stop: int) -> tuple[F32, I64]:
        return points[start[first] : start[stop]], start[first : stop + 1] - start[first]

    drawn = strips(placed[rows], class_ + np.uint8(1), some, reach, size, step)
    group, figures, regions = cells_files(name)
    write_streamed_cells(out.part(group), arrays, attrs, size, drawn)
    write_summary(out.part(figures), summary)
    write_regions(out.part(regions), summary)
    lost = {w: n for w, n in reasons.items() if w not in ("off tissue", "no nuclei")}
    if lost:
        said = ", ".join(f"{n} {w}" for w, n in lost.items())
        message = f"of {len(shapes)} outlines in {file.name} were left out: {said}"
        out.degrade("E187", message, "see whether it is the file of this slide")
    return attrs


def settle(
    foreign: Foreign, size_px0: tuple[int, int]
) -> tuple[NDArray[np.object_], NDArray[np.bool_], NDArray[np.str_]]:
    """Outlines as simple polygons in level-0 px.

    Returns
    -------
    shapes : object[N]
        None where one is left out.
    mended : bool[N]
        Those that crossed themselves, or had several parts, of which the largest stays.
    why : str[N]
        Why one is left out: empty, flat, outside, duplicate; nothing for those that stay.
    """
    scale = np.asarray(foreign.scale)
    shapes = foreign.outlines.copy()
    why = np.full(len(shapes), "", dtype="U12")
    why[shapely.is_missing(shapes) | shapely.is_empty(shapes)] = "empty"
    simple = (shapely.get_type_id(shapes) == 3) & shapely.is_valid(shapes)
    mended = (why == "") & ~simple
    for i in np.flatnonzero(mended):
        shapes[i] = _largest(shapes[i])
    flat = (why == "") & ~(shapely.area(shapes) > 0)
    why[flat] = "flat"
    fine = why == ""
    shapes[fine] = shapely.transform(
        shapely.polygons(shapely.get_exterior_ring(shapes[fine])), lambda xy: xy * scale
    )
    bounds = shapely.bounds(shapely.centroid(shapes))
    x, y = bounds[:, 0], bounds[:, 1]
    why[fine & ~((x >= 0) & (y >= 0) & (x < size_px0[0]) & (y < size_px0[1]))] = "outside"
    fine = np.flatnonzero(why == "")
    place = np.rint(np.column_stack([x[fine], y[fine], shapely.area(shapes[fine])]) * 8)
    first = np.unique(place, axis=0, return_index=True)[1]
    why[np.setdiff1d(fine, fine[first])] = "duplicate"
    shapes[why != ""] = None
    return shapes, mended & (why == ""), why


def _largest(shape: Any) -> Any:
    """The largest polygon of anything, or nothing."""
    parts = shapely.get_parts(shapely.get_parts(shapely.make_valid(shape)))
    areas = shapely.area(parts)
    return parts[int(areas.argmax())] if len(parts) and areas.max() > 0 else None


def _rings(shapes: NDArray[np.object_]) -> tuple[F32, I64]:
    """Vertices of outer rings, without the last, which is the first again; where each starts."""
    rings = shapely.get_exterior_ring(shapes)
    points, owner = shapely.get_coordinates(rings, return_index=True)
    last = np.append(owner[1:] != owner[:-1], True)[: len(owner)]
    counts = np.bincount(owner, minlength=len(shapes)) - 1
    start = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return points[~last].astype(np.float32), start


def _support(prob: F64, class_: NDArray[np.uint8], classes: int) -> NDArray[np.float16]:
    """The file's support for the class, the rest shared evenly: float16[M, C]."""
    if classes == 1:
        return np.ones((len(class_), 1), np.float16)
    rest = (1 - prob) / (classes - 1)
    support = np.repeat(rest[:, None], classes, axis=1)
    support[np.arange(len(class_)), class_] = prob
    return support.astype(np.float16)
