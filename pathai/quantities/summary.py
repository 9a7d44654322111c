"""Every figure of a slide's nuclei, from arrays to one record."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pathai.quantities.cores import core_axis
from pathai.quantities.counting import per_mm2, tissue_count, true_count
from pathai.quantities.crowding import CROWD_UM, Crowding, crowding
from pathai.quantities.error import CountError, ShareError
from pathai.quantities.hotspots import AREAS_MM2, Circle, densest_circle
from pathai.quantities.intensity import allred, h_score, intensity_bins
from pathai.quantities.regions import Part, pieces, whole
from pathai.quantities.shares import ClassError, class_count_intervals, tissue_share, true_share
from pathai.quantities.spacing import RADII_UM, pattern
from pathai.quantities.squares import Pixels, Squares, squares, tissue_pixel
from pathai.store.cells_summary import (
    Bins,
    CellsSummary,
    ClassErrorAttrs,
    ClassFigure,
    Core,
    CountErrorAttrs,
    Crowded,
    HotSpot,
    Ratio,
    Region,
    ShareErrorAttrs,
    Spacing,
)
from pathai.store.records import TISSUE, Interval, TissueMap
from pathai.units import Box

I64 = NDArray[np.int64]
BY_STAIN = ("negative", "positive")
"""Classes that say how a nucleus is stained, not what cell it is of."""
SOUGHT = ("tumor", "lymphocyte", "positive")
"""Classes that have hot spots of their own."""


@dataclass(frozen=True)
class Known:
    """What was measured of the detector; None where nobody did."""

    count: CountError | None = None
    share: ShareError | None = None
    classes: ClassError | None = None


@dataclass(frozen=True)
class Nuclei:
    """Nuclei of a slide.

    Attributes
    ----------
    xy_px0 : float32[M, 2]
        Positions x, y on analyzed tissue, level-0 px.
    class_ : uint8[M]
        Index into ``classes``.
    dab_od : float[M]
        Mean nuclear DAB density; not used without class ``positive``.
    classes : tuple of str
        One class (``nucleus``), two by stain (``negative``, ``positive``), or kinds of cells.
    """

    xy_px0: NDArray[np.float32]
    class_: NDArray[np.uint8]
    dab_od: NDArray[np.floating]
    classes: tuple[str, ...]

    @property
    def kinds(self) -> bool:
        """Whether classes are kinds of cells."""
        return len(self.classes) > 1 and not set(self.classes) <= set(BY_STAIN)

    @property
    def positive(self) -> NDArray[np.bool_] | None:
        """Which nuclei are DAB-positive, bool[M]; None where nobody asked."""
        return self.of("positive")

    def of(self, name: str) -> NDArray[np.bool_] | None:
        """Which nuclei are of a class, bool[M]; None without such a class."""
        if name not in self.classes:
            return None
        held: NDArray[np.bool_] = self.class_ == self.classes.index(name)
        return held


def summarize(
    nuclei: Nuclei,
    tissue: TissueMap,
    *,
    detector: str,
    digest: str,
    stain: str,
    family: Literal["he", "ihc", ""],
    cutoffs_od: tuple[float, float, float],
    known: Known | None = None,
) -> CellsSummary:
    """Every figure of a slide's nuclei with its denominator and its interval.

    Parameters
    ----------
    nuclei : Nuclei
        All of the slide's.
    tissue : TissueMap
        What was analyzed, and the scale.
    detector, digest : str
        Which detector, and SHA-256 of what decides its result.
    stain : str
        As in the sheet.
    family : str
        ``he``, ``ihc``, or empty for a stain that neither is.
    cutoffs_od : tuple of float
        DAB density from which a nucleus is 1+ (positive), 2+ and 3+.
    known : Known, optional
        Measured errors; without them intervals hold scatter alone, and say so.
    """
    error = known or Known()
    place = tissue_pixel(tissue, nuclei.xy_px0)
    everything = whole(tissue)
    found = [region(everything, "slide", nuclei, place, tissue, error)]
    found += [region(p, "piece", nuclei, place, tissue, error) for p in pieces(tissue)]
    is_dab = family == "ihc" and nuclei.positive is not None
    seen = crowded_in(everything, place, tissue, error.count)
    return CellsSummary(
        detector=detector,
        detector_digest=digest,
        stain=stain,
        family=family,
        error=CountErrorAttrs(**asdict(error.count)) if error.count else None,
        share_error=ShareErrorAttrs(**asdict(error.share)) if error.share else None,
        class_error=ClassErrorAttrs(**asdict(error.classes)) if error.classes else None,
        regions=tuple(found),
        crowded=Crowded(
            densest_per_mm2=error.count.densest_per_mm2 if error.count else None,
            nuclei=seen.nuclei,
            share=seen.nuclei / max(len(nuclei.xy_px0), 1),
            area_mm2=seen.area_mm2,
            boxes=seen.boxes,
        ),
        hot_spots=tuple(_hot_spots(nuclei, tissue, error)),
        bins=bins(nuclei, place, everything, tissue, cutoffs_od) if is_dab else None,
        spacing=_spacing(nuclei, tissue),
        cores=tuple(_cores(tissue)),
    )


def known_of(summary: CellsSummary) -> Known:
    """The errors that a summary was made with, for further figures of the same nuclei."""
    count, share, classes = summary.error, summary.share_error, summary.class_error
    return Known(
        CountError(**count.model_dump()) if count else None,
        ShareError(**share.model_dump()) if share else None,
        ClassError(**classes.model_dump()) if classes else None,
    )


def crowded_in(part: Part, place: Pixels, tissue: TissueMap, error: CountError | None) -> Crowding:
    """Crowding of a part of the slide, from the map pixels of all nuclei."""
    held = part.holds(place)
    cut = squares(tissue, part.inside, CROWD_UM)
    return crowding(cut, cut.count_at((place[0][held], place[1][held])), error)


def region(
    part: Part,
    kind: Literal["slide", "piece", "region"],
    nuclei: Nuclei,
    place: Pixels,
    tissue: TissueMap,
    known: Known,
) -> Region:
    """Counts, densities and shares of one part of a slide.

    Parameters
    ----------
    part : Part
        Its analyzed tissue.
    kind : str
        What it is.
    nuclei : Nuclei
        All of the slide's.
    place : tuple of int64[M]
        Their map pixels.
    tissue : TissueMap
        The slide's.
    known : Known
        Measured errors.
    """
    held = part.holds(place)
    inside = place[0][held], place[1][held]
    cut = squares(tissue, part.inside)
    counts = cut.count_at(inside)
    area = float(cut.areas_mm2.sum())
    seen = crowded_in(part, place, tissue, known.count)
    kind_of = tissue_count(counts, cut.areas_mm2, known.count, seen)
    return Region(
        name=part.name,
        kind=kind,
        tissue_mm2=area,
        box=part.box,
        count=true_count(counts, cut.areas_mm2, known.count, seen),
        density_per_mm2=per_mm2(kind_of, area) if area > 0 else None,
        classes=_classes(nuclei, held, known),
        positive=_positive(nuclei.positive, held, place, cut, known.share),
    )


def _classes(nuclei: Nuclei, held: NDArray[np.bool_], known: Known) -> tuple[ClassFigure, ...]:
    """Nuclei of each kind of cell; empty for one class, or classes by stain."""
    if not nuclei.kinds:
        return ()
    counts = np.bincount(nuclei.class_[held], minlength=len(nuclei.classes))
    total = max(int(counts.sum()), 1)
    bands = class_count_intervals(counts, known.classes)
    return tuple(
        ClassFigure(name=name, count=band, share=_scaled(band, 1 / total))
        for name, band in zip(nuclei.classes, bands, strict=True)
    )


def _scaled(band: Interval, by: float) -> Interval:
    ends = {name: getattr(band, name) * by for name in ("value", "low", "high")}
    return band.model_copy(update={name: min(end, 1.0) for name, end in ends.items()})


def _positive(
    positive: NDArray[np.bool_] | None,
    held: NDArray[np.bool_],
    place: Pixels,
    cut: Squares,
    error: ShareError | None,
) -> Ratio | None:
    """Positive nuclei of all in a part; None without such a class or without nuclei."""
    if positive is None or not held.any():
        return None
    both = held & positive
    total = cut.count_at((place[0][held], place[1][held]))
    part = cut.count_at((place[0][both], place[1][both]))
    return ratio(part, total, error)


def ratio(part: I64, total: I64, error: ShareError | None) -> Ratio:
    """A share from the squares of a part."""
    return Ratio(
        numerator=int(part.sum()),
        denominator=int(total.sum()),
        analyzed=true_share(part, total, error),
        kind=tissue_share(part, total, error),
    )


def bins(
    nuclei: Nuclei,
    place: Pixels,
    part: Part,
    tissue: TissueMap,
    cutoffs_od: tuple[float, float, float],
) -> Bins | None:
    """Nuclei of a part by DAB intensity; None without nuclei. The class decides who is positive."""
    positive, held = nuclei.positive, part.holds(place)
    if positive is None or not held.any():
        return None
    stained = positive[held]
    level = np.where(stained, intensity_bins(nuclei.dab_od[held], cutoffs_od).clip(1), 0)
    counted = np.bincount(level, minlength=4).tolist()
    counts = (counted[0], counted[1], counted[2], counted[3])
    cut, inside = squares(tissue, part.inside), (place[0][held], place[1][held])
    proportion, intensity = allred(counts)
    return Bins(
        cutoffs_od=cutoffs_od,
        counts=counts,
        h_score=h_score(cut.count_at(inside, level), cut.count_at(inside)),
        proportion_score=proportion,
        intensity_score=intensity,
    )


def _hot_spots(nuclei: Nuclei, tissue: TissueMap, known: Known) -> Iterator[HotSpot]:
    """Densest circles of all nuclei, and of the classes that are sought."""
    names = [name for name in SOUGHT if name in nuclei.classes]
    for name in ("nuclei", *names):
        held = nuclei.of(name) if name in names else np.ones(len(nuclei.xy_px0), bool)
        if held is None or not held.any():
            continue
        for area in AREAS_MM2:
            circle = densest_circle(_um(nuclei.xy_px0[held], tissue), area)
            if circle is not None:
                yield _hot_spot(name, area, circle, nuclei, tissue, known)


def _um(xy_px0: NDArray[np.float32], tissue: TissueMap) -> NDArray[np.float64]:
    scale = np.array([tissue.mpp.x, tissue.mpp.y]) / tissue.downsample
    placed: NDArray[np.float64] = np.asarray(xy_px0, np.float64) * scale
    return placed


def _hot_spot(
    name: str, area_mm2: float, circle: Circle, nuclei: Nuclei, tissue: TissueMap, known: Known
) -> HotSpot:
    scale = np.array([tissue.mpp.x, tissue.mpp.y]) / tissue.downsample
    away = np.hypot(*(_um(nuclei.xy_px0, tissue) - [circle.x_um, circle.y_um]).T)
    held = away <= circle.radius_um
    height, width = tissue.classes.shape
    y = (np.arange(height)[:, None] + 0.5) * tissue.mpp.y - circle.y_um
    x = (np.arange(width)[None] + 0.5) * tissue.mpp.x - circle.x_um
    inside = (np.hypot(x, y) <= circle.radius_um) & (tissue.classes == TISSUE)
    tissue_mm2 = float(inside.sum()) * tissue.mpp.x * tissue.mpp.y / 1e6
    total, positive = np.array([int(held.sum())]), nuclei.positive
    part = None if positive is None else np.array([int((held & positive).sum())])
    count = np.array([circle.count])
    center = np.array([circle.x_um, circle.y_um]) / scale
    reach = circle.radius_um / scale
    return HotSpot(
        counted=name,
        area_mm2=area_mm2,
        x_px0=float(center[0]),
        y_px0=float(center[1]),
        radius_um=circle.radius_um,
        box=Box(*(center - reach).tolist(), *(2 * reach).tolist()),
        tissue_mm2=tissue_mm2,
        count=_or_more(circle, true_count(
            count, np.array([max(tissue_mm2, 1e-9)]), known.count,
            _crowded_circle(int(total[0]), tissue_mm2, circle.count, known.count))),
        nuclei=int(total[0]),
        positive=ratio(part, total, known.share) if part is not None else None,
    )  # fmt: skip


def _or_more(circle: Circle, band: Interval) -> Interval:
    """The interval of a hot spot; where the search was ended early, it holds what may be found."""
    if circle.at_most == circle.count:
        return band
    words = f"{band.covers}; another circle may hold up to {circle.at_most:,} (search cut short)"
    high = max(band.high, float(circle.at_most))
    return band.model_copy(update={"high": high, "covers": words})


def _crowded_circle(
    nuclei: int, tissue_mm2: float, counted: int, error: CountError | None
) -> Crowding:
    """Crowding of a circle as a whole."""
    density = nuclei / tissue_mm2 if tissue_mm2 > 0 else 0.0
    if error is None or density <= error.densest_per_mm2:
        return Crowding()
    excess = counted * float(np.log(density / error.densest_per_mm2))
    return Crowding(counted, tissue_mm2, excess)


def _spacing(nuclei: Nuclei, tissue: TissueMap) -> Spacing | None:
    found = pattern(nuclei.xy_px0, tissue)
    if found is None:
        return None
    usable = np.isfinite(found.ripley_l_um) & np.isfinite(found.chance_um)

    def kept(values: Iterable[float]) -> tuple[float, ...]:
        return tuple(v for v, use in zip(values, usable, strict=True) if use)

    return Spacing(
        nuclei=found.nuclei,
        nearest_um=found.nearest_um,
        clark_evans=found.clark_evans,
        radii_um=kept(RADII_UM),
        ripley_l_um=kept(found.ripley_l_um),
        chance_um=kept(found.chance_um),
    )


def _cores(tissue: TissueMap) -> Iterator[Core]:
    for piece in pieces(tissue):
        if (axis := core_axis(piece.inside, tissue.mpp)) is not None:
            area = float(piece.inside.sum()) * tissue.mpp.x * tissue.mpp.y / 1e6
            length = axis.length_mm
            yield Core(length_mm=length, width_mm=area / length, box=piece.box)
