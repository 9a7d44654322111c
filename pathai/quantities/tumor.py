"""Nuclei in the tumor region of a slide, drawn by a person or mapped by a model."""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pathai.quantities.cores import core_axis, tumor_length
from pathai.quantities.regions import Part, pieces
from pathai.quantities.shares import class_count_intervals
from pathai.quantities.squares import Pixels, tissue_pixel
from pathai.quantities.summary import Known, Nuclei, bins, region
from pathai.store.cells_summary import Core, Ratio, Region, Tumor
from pathai.store.records import TISSUE, Interval, TissueMap
from pathai.units import Box

TUMOR_NAMES = ("tumor", "tumour", "cancer", "carcinoma")
"""Names of drawn regions that are taken as tumor, in any capitals."""
NEAR_UM = 15.0
"""Distance from a lymphocyte's center within which tissue counts as infiltrated."""


def tumor_mask(
    xy_px0: NDArray[np.int32],
    size_px0: NDArray[np.float32],
    relative: NDArray[np.float64],
    least: float,
    tissue: TissueMap,
) -> NDArray[np.bool_]:
    """Analyzed tissue below a model's tiles whose attention is above a limit, bool[h, w].

    Parameters
    ----------
    xy_px0 : int32[N, 2]
        Top-left corners of the tiles.
    size_px0 : float32[2]
        Width and height of a tile.
    relative : float64[N]
        Attention times the number of tiles: 1 is what every tile would have by chance.
    least : float
        Tiles above it are tumor.
    tissue : TissueMap
        The slide's.
    """
    height, width = tissue.classes.shape
    inside = np.zeros((height, width), bool)
    first = np.round(xy_px0[relative > least] / tissue.downsample).astype(int)
    stop = np.round((xy_px0[relative > least] + size_px0) / tissue.downsample).astype(int)
    for (x0, y0), (x1, y1) in zip(first.tolist(), stop.tolist(), strict=True):
        inside[max(y0, 0) : y1, max(x0, 0) : x1] = True
    found: NDArray[np.bool_] = inside & (tissue.classes == TISSUE)
    return found


def in_tumor(
    inside: NDArray[np.bool_],
    nuclei: Nuclei,
    tissue: TissueMap,
    known: Known,
    *,
    source: Literal["drawn", "model"],
    model: str = "",
    cutoffs_od: tuple[float, float, float] | None = None,
) -> Tumor:
    """Figures of the nuclei in the tumor region.

    Parameters
    ----------
    inside : bool[h, w]
        Analyzed tissue that is tumor.
    nuclei : Nuclei
        All of the slide's.
    tissue : TissueMap
        The slide's.
    known : Known
        Measured errors of the detector.
    source : str
        Who says where tumor is.
    model : str
        Whose map it is.
    cutoffs_od : tuple of float, optional
        For intensity bins on an immunostain.
    """
    part = Part("tumor", inside, _box(inside, tissue.downsample))
    place = tissue_pixel(tissue, nuclei.xy_px0)
    found = region(part, "region", nuclei, place, tissue, known)
    whole_mm2 = float((tissue.classes == TISSUE).sum()) * tissue.mpp.x * tissue.mpp.y / 1e6
    lymphocyte = nuclei.of("lymphocyte")
    return Tumor(
        source=source,
        model=model,
        region=found,
        area_share=min(found.tissue_mm2 / whole_mm2, 1.0) if whole_mm2 else 0.0,
        cellularity=cellularity(nuclei, part.holds(place), known),
        lymphocytes_per_mm2=_lymphocytes(found),
        lymphocyte_area=None if lymphocyte is None else _near(place, lymphocyte, inside, tissue),
        bins=bins(nuclei, place, part, tissue, cutoffs_od) if cutoffs_od else None,
        cores=tuple(core_figures(tissue, inside)),
    )


def cellularity(nuclei: Nuclei, held: NDArray[np.bool_], known: Known) -> Ratio | None:
    """Tumor nuclei of all nuclei; None without a tumor class or without nuclei.

    Its interval is the band of the class model's confusion: none was measured for missed nuclei.
    """
    if "tumor" not in nuclei.classes or not held.any():
        return None
    counts = np.bincount(nuclei.class_[held], minlength=len(nuclei.classes))
    index, total = nuclei.classes.index("tumor"), int(counts.sum())
    band = class_count_intervals(counts, known.classes)[index]
    share = Interval(
        value=band.value / total,
        low=band.low / total,
        high=min(band.high / total, 1.0),
        covers=band.covers,
    )
    return Ratio(numerator=int(counts[index]), denominator=total, analyzed=share, kind=share)


def _lymphocytes(found: Region) -> Interval | None:
    """Lymphocytes per mm² of the region, with the band of the class model."""
    given = [c.count for c in found.classes if c.name == "lymphocyte"]
    if not given or found.tissue_mm2 <= 0:
        return None
    ends = {name: getattr(given[0], name) / found.tissue_mm2 for name in ("value", "low", "high")}
    return given[0].model_copy(update=ends)


def _near(
    place: Pixels, chosen: NDArray[np.bool_], inside: NDArray[np.bool_], tissue: TissueMap
) -> float | None:
    """Share of a region whose map pixels lie within `NEAR_UM` of a chosen nucleus."""
    if not inside.any():
        return None
    empty = np.ones(inside.shape, bool)
    empty[place[0][chosen], place[1][chosen]] = False
    if empty.all():
        return 0.0
    away = ndimage.distance_transform_edt(empty, sampling=(tissue.mpp.y, tissue.mpp.x))
    return float((away[inside] <= NEAR_UM).mean())


def core_figures(tissue: TissueMap, tumor: NDArray[np.bool_]) -> Iterator[Core]:
    """Length, and tumor along the axis, of every piece that is a core."""
    for piece in pieces(tissue):
        axis = core_axis(piece.inside, tissue.mpp)
        if axis is None:
            continue
        found = tumor_length(axis, tumor & piece.inside, tissue.mpp)
        area = float(piece.inside.sum()) * tissue.mpp.x * tissue.mpp.y / 1e6
        yield Core(
            length_mm=axis.length_mm,
            width_mm=area / axis.length_mm,
            box=piece.box,
            tumor_mm=found.tumor_mm,
            span_mm=found.span_mm,
        )


def is_tumor(names: Sequence[str]) -> list[bool]:
    """Which names of drawn regions mean tumor."""
    return [name.strip().casefold() in TUMOR_NAMES for name in names]


def _box(inside: NDArray[np.bool_], step: float) -> Box:
    rows, columns = (np.flatnonzero(inside.any(axis=a)) for a in (1, 0))
    if not len(rows):
        return Box(0.0, 0.0, 0.0, 0.0)
    x, y = float(columns[0]) * step, float(rows[0]) * step
    width, height = (float(columns[-1]) + 1) * step - x, (float(rows[-1]) + 1) * step - y
    return Box(x, y, width, height)
