"""A slide's figures on corrected nuclei, by the code of the stage that counted them first.

Some of what stage ``cells`` counts with is not stored (the point that decides which square a
nucleus belongs to). So figures are made twice, on the stored and on the corrected nuclei: what is
equal in both was not touched by the correction and stays as the stage wrote it.
"""

from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

import numpy as np
import shapely

from pathai.case import Basis, read_all
from pathai.cells.result import summarized, told
from pathai.config import CellsConfig
from pathai.corrected.dab import MPP
from pathai.corrected.given import SlideCorrections
from pathai.corrected.nuclei import Corrected, corrected_nuclei, excluding
from pathai.quantities.regions import Drawn, drawn_parts
from pathai.quantities.summary import Known, Nuclei, known_of
from pathai.store.cells_summary import CellsSummary, HotSpot, Region
from pathai.store.folders import SlideFolder
from pathai.store.records import BACKGROUND, TISSUE, UNREADABLE, CellsAttrs, Record, TissueMap
from pathai.units import Box

SLACK_MM2 = 1e-6
Any_ = TypeVar("Any_")
_PARTED = (CellsSummary, CellsAttrs, Region, HotSpot)
"""Records that are compared field by field; every other one stands or falls as a whole."""


@dataclass(frozen=True)
class Slide:
    """A slide's stored figures and what decides them."""

    folder: SlideFolder
    detector: str
    section: CellsConfig
    vectors: str = ""


def basis_of(
    slide: Slide, given: SlideCorrections, drawn: tuple[Drawn, ...]
) -> tuple[Basis, tuple[str, ...]]:
    """What a slide's figures stand on after a person's corrections.

    Parameters
    ----------
    slide : Slide
    given : SlideCorrections
    drawn : tuple of Drawn
        Regions of the run's own file.

    Returns
    -------
    Basis
    tuple of str
        What of the corrections does not count, and where a figure is less exact.
    """
    folder, detector = slide.folder, slide.detector
    found = corrected_nuclei(folder, detector, given, slide.section, slide.vectors)
    tissue, stored = folder.read_tissue(), read_all(folder, detector)
    inside = _excluded(tissue, given)
    ground = _ground(folder, tissue)
    attrs, summary = folder.read_cells_attrs(detector), folder.read_cells_summary(detector)
    new_attrs, new_summary = attrs, summary
    if found.by_hand or inside.any() or len(found.nuclei.xy_px0) < len(stored.xy_px0):
        before = _figures(slide, stored, ground, attrs, summary)
        after = _figures(slide, found.nuclei, excluding(ground, inside), attrs, summary)
        new_attrs = merged(attrs, before[0], after[0])
        new_summary = merged(summary, before[1], after[1]) if summary else None
    basis = Basis(
        tissue=excluding(tissue, inside),
        nuclei=found.nuclei,
        attrs=new_attrs,
        summary=new_summary,
        drawn=given.drawn(drawn),
        by_hand=found.by_hand,
    )
    return basis, (*found.notes, *_notes(given, found, ground, attrs, summary))


def _figures(
    slide: Slide,
    nuclei: Nuclei,
    ground: TissueMap,
    attrs: CellsAttrs,
    summary: CellsSummary | None,
) -> tuple[CellsAttrs, CellsSummary]:
    """Counts, areas and every figure of these nuclei on this ground."""
    info = slide.folder.read_slide()
    bins = summary.bins if summary else None
    made = summarized(
        nuclei,
        ground,
        name=attrs.detector,
        digest=attrs.detector_digest,
        stain=info.stain,
        cutoffs_od=bins.cutoffs_od if bins else slide.section.cutoffs_od,
        known=known_of(summary) if summary else Known(),
    )
    excluded = sum(
        ground.area_mm2(int(value))
        for value in np.unique(ground.classes)
        if value not in (BACKGROUND, TISSUE)
    )
    counts = told(made, nuclei.class_, len(nuclei.classes))
    areas = {"analyzed_mm2": ground.area_mm2(TISSUE), "excluded_mm2": excluded}
    return attrs.model_copy(update={**counts, **areas}), made


def merged(stored: Any_, before: Any_, after: Any_) -> Any_:
    """``after`` where it differs from ``before``, else what was ``stored``."""
    if before == after:
        return stored
    if isinstance(stored, _PARTED) and type(stored) is type(before) is type(after):
        fields = type(stored).model_fields
        parts = {n: merged(*(getattr(one, n) for one in (stored, before, after))) for n in fields}
        return cast(Any_, cast(Record, stored).model_copy(update=parts))
    if _alike(stored, before, after):
        rows = zip(*cast(tuple[Any, Any, Any], (stored, before, after)), strict=True)
        return cast(Any_, tuple(merged(*row) for row in rows))
    return after


def _alike(*lists: Any) -> bool:
    """Whether these are lists of the same parts, such as the regions of a slide."""
    if not all(isinstance(one, tuple) and len(one) == len(lists[0]) for one in lists):
        return False
    return all(
        isinstance(row[0], Record)
        and len({(type(r), getattr(r, "name", ""), getattr(r, "counted", "")) for r in row}) == 1
        for row in zip(*lists, strict=True)
    )


def _excluded(tissue: TissueMap, given: SlideCorrections) -> Any:
    """Tissue inside of excluded regions, bool[h, w]."""
    shape = given.excluded
    if shape.is_empty:
        return np.zeros(tissue.classes.shape, bool)
    return drawn_parts(tissue, (Drawn("exclude", shape),))[0].inside


def _ground(folder: SlideFolder, tissue: TissueMap) -> TissueMap:
    """The tissue that stage ``cells`` analyzed, as far as the store tells it."""
    pyramid = folder.open_tiles() if folder.tiles.exists() else None
    if pyramid is None:
        return tissue
    level = pyramid.levels[pyramid.level_for(MPP / folder.read_slide().mpp_x)]
    classes, step = tissue.classes.copy(), tissue.downsample
    for place in level.info.unreadable:
        box = Box(*place)
        rows = slice(max(int(box.y // step), 0), int(-(-box.bottom // step)))
        columns = slice(max(int(box.x // step), 0), int(-(-box.right // step)))
        part = classes[rows, columns]
        part[part == TISSUE] = UNREADABLE
    return replace(tissue, classes=classes)


def _notes(
    given: SlideCorrections,
    found: Corrected,
    ground: TissueMap,
    attrs: CellsAttrs,
    summary: CellsSummary | None,
) -> list[str]:
    notes = []
    gap = ground.area_mm2(TISSUE) - attrs.analyzed_mm2
    if abs(gap) > SLACK_MM2 and (found.by_hand or not given.excluded.is_empty):
        notes.append(
            f"densities that changed stand on {gap:+.3g} mm² of tissue against what was analyzed: "
            "the store does not tell where tissue turned out unreadable or overfull"
        )
    if summary is None and given.counting:
        notes.append("regions were not counted in: run pathai cells again")
    empty = [r.name for r in given.regions if r.shape.area == 0]
    if empty:
        notes.append(f"{len(empty)} regions have no area and do not count")
    names = {"exclude": given.excluded} if not given.excluded.is_empty else {}
    names |= {d.name: d.shape for d in given.drawn(())}
    off = [n for n, shape in names.items() if not _touches(shape, ground)]
    notes += [f"region {name} holds no analyzed tissue" for name in off]
    return notes


def _touches(shape: shapely.Geometry, ground: TissueMap) -> bool:
    return bool(drawn_parts(ground, (Drawn("x", shape),))[0].inside.any())
