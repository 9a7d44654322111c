"""What the stages left of a case's slides, gathered from the store for its findings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import shapely
from numpy.typing import NDArray

from pathai.config import FindingsConfig
from pathai.finding import Frozen
from pathai.geojson import regions as outlines_of
from pathai.quantities.regions import Drawn, drawn_parts, outline, read_drawn, shapes_by_name
from pathai.quantities.squares import tissue_pixel
from pathai.quantities.summary import Nuclei, known_of, region
from pathai.quantities.tumor import in_tumor, is_tumor, tumor_mask
from pathai.sheet import SheetRow
from pathai.store.cells_summary import CellsSummary, Region, Tumor
from pathai.store.commit import manifest_path
from pathai.store.folders import SlideFolder
from pathai.store.groups import read_nuclei
from pathai.store.manifest import read_manifest
from pathai.store.records import TISSUE, CellsAttrs, Features, PredictionAttrs, TissueMap
from pathai.task import Target
from pathai.units import Box, Polygons

State = Literal["ok", "degraded", "skipped", "failed", "missing"]


class StageState(Frozen):
    """How a stage ended on a slide; ``missing`` if it was never run."""

    state: State = "missing"
    code: str = ""
    version: str = ""

    @property
    def usable(self) -> bool:
        """Whether its results can be read."""
        return self.state in ("ok", "degraded")


class PredictionInput(Frozen):
    """One model on one slide; ``boxes`` are the tiles of highest attention, level-0 px.

    ``asked`` are the model's questions, so that each is told of where there is no answer.
    """

    model: str
    asked: tuple[Target, ...] = ()
    stage: StageState = StageState()
    answer: PredictionAttrs | None = None
    boxes: tuple[Box, ...] = ()


class SlideInput(Frozen):
    """What the stages left of one slide."""

    slide_id: str
    specimen_id: str = ""
    laterality: Literal["", "left", "right", "midline"] = ""
    site: str = ""
    stain: str = ""
    tissue_stage: StageState = StageState()
    tissue_mm2: float | None = None
    tissue_box: Box | None = None
    detector: str = ""
    cells_stage: StageState = StageState()
    cells: CellsAttrs | None = None
    summary: CellsSummary | None = None
    drawn: tuple[Region, ...] = ()
    drawn_polygons: tuple[Polygons, ...] = ()
    tumor_polygons: Polygons = ()
    tumor: Tumor | None = None
    tumor_note: str = "no_tumor_region"
    predictions: tuple[PredictionInput, ...] = ()
    by_hand: int = 0


@dataclass(frozen=True)
class Basis:
    """What a slide's figures stand on, where it is not what the stages left.

    Attributes
    ----------
    tissue : TissueMap
        What was analyzed.
    nuclei : Nuclei
        All that count.
    attrs : CellsAttrs
        Counts and areas of them.
    summary : CellsSummary or None
        Every figure of them; None where the stage wrote none.
    drawn : tuple of Drawn
        Regions that a person drew.
    by_hand : int
        Nuclei that a person changed, dropped or added.
    """

    tissue: TissueMap
    nuclei: Nuclei
    attrs: CellsAttrs
    summary: CellsSummary | None
    drawn: tuple[Drawn, ...]
    by_hand: int = 0


def slide_input(
    row: SheetRow,
    folder: SlideFolder,
    section: FindingsConfig,
    detector: str,
    models: Mapping[str, Sequence[Target]],
    regions: Path | None = None,
    basis: Basis | None = None,
) -> SlideInput:
    """What the store holds of a slide, and what follows from it and the drawn ``regions``.

    With a ``basis`` its tissue, nuclei and regions stand in place of the stored ones; all else
    is the same.

    Raises
    ------
    PathaiError
        E164 when a result or its manifest is damaged; run ``pathai verify``. E155 when drawn
        regions cannot be read.
    """
    tissue, cells = _state(folder, "tile"), _state(folder, "cells", detector)
    usable = cells.usable and tissue.usable
    basis = basis if usable else None
    area, box = None, None
    if tissue.usable:
        area, box = _tissue_of(basis.tissue if basis else folder.read_tissue())
    answers = tuple(
        _answer(folder, name, tuple(asked), section.top_tiles) for name, asked in models.items()
    )
    attrs = folder.read_cells_attrs(detector) if cells.usable else None
    summary = folder.read_cells_summary(detector) if cells.usable else None
    drawn = drawn_of(regions) if summary is not None and usable else ()
    if basis is not None:
        attrs, summary, drawn = basis.attrs, basis.summary, basis.drawn
    joined: dict[str, Any] = {}
    if summary is not None and usable:
        joined = _joined(folder, detector, summary, section, answers, drawn, basis)
    return SlideInput(
        slide_id=row.slide_id,
        specimen_id=row.specimen_id,
        laterality=row.laterality,
        site=row.site,
        stain=row.stain,
        tissue_stage=tissue,
        tissue_mm2=area,
        tissue_box=box,
        detector=detector,
        cells_stage=cells,
        cells=attrs,
        summary=summary,
        predictions=answers,
        by_hand=basis.by_hand if basis else 0,
        **joined,
    )


def drawn_of(regions: Path | None) -> tuple[Drawn, ...]:
    """Regions of a file, if there is one (E155 if it cannot be read)."""
    return read_drawn(regions) if regions is not None and regions.is_file() else ()


def _joined(
    folder: SlideFolder,
    detector: str,
    summary: CellsSummary,
    section: FindingsConfig,
    answers: Sequence[PredictionInput],
    drawn: tuple[Drawn, ...],
    basis: Basis | None,
) -> dict[str, Any]:
    """Nuclei in drawn regions, and in tumor: drawn, else where a model maps it."""
    mapped = [a for a in answers if a.model == section.tumor_model and a.answer is not None]
    note = _why_unmapped(mapped[0].answer if mapped else None)
    if not drawn and note:
        return {"tumor_note": note}
    if basis is not None:
        tissue, nuclei = basis.tissue, basis.nuclei
    else:
        tissue, nuclei = folder.read_tissue(), read_all(folder, detector)
    known, place = known_of(summary), tissue_pixel(tissue, nuclei.xy_px0)
    parts = drawn_parts(tissue, drawn)
    step = tissue.downsample / 2
    shapes = shapes_by_name(drawn)
    found: dict[str, Any] = {
        "drawn": tuple(region(p, "region", nuclei, place, tissue, known) for p in parts),
        "drawn_polygons": tuple(outline(shapes[p.name], step) for p in parts),
    }
    own = [p.inside for p, is_one in zip(parts, is_tumor([p.name for p in parts]), strict=True)
           if is_one]  # fmt: skip
    cutoffs = summary.bins.cutoffs_od if summary.bins else None
    if own:
        inside = np.logical_or.reduce(own)
        tumor = in_tumor(inside, nuclei, tissue, known, source="drawn", cutoffs_od=cutoffs)
        names = [p.name for p in parts]
        theirs = [shapes[n] for n, is_one in zip(names, is_tumor(names), strict=True) if is_one]
        place_of = shapely.union_all(theirs)
    elif not note:
        inside = _mapped(folder, section, tissue)
        tumor = in_tumor(inside, nuclei, tissue, known, source="model",
                         model=section.tumor_model, cutoffs_od=cutoffs)  # fmt: skip
        place_of = shapely.union_all(outlines_of(inside, 2 * step))
    else:
        return {**found, "tumor_note": note}
    return {**found, "tumor": tumor, "tumor_polygons": outline(place_of, step)}


def _why_unmapped(answer: PredictionAttrs | None) -> str:
    """Why a model says nothing of where tumor is; empty where it does."""
    if answer is None:
        return "no_tumor_region"
    if answer.abstained or not answer.classes:
        return "tumor_withheld"
    return "no_tumor_predicted" if answer.label == answer.classes[0] else ""


def _mapped(folder: SlideFolder, section: FindingsConfig, tissue: TissueMap) -> NDArray[np.bool_]:
    found = folder.read_prediction(section.tumor_model)
    features = folder.read_features(found.attrs.encoder)
    relative = found.attention.astype(np.float64) * len(found.attention)
    least = section.tumor_attention
    return tumor_mask(features.xy_px0, features.size_px0, relative, least, tissue)


def _state(folder: SlideFolder, stage: str, name: str = "") -> StageState:
    path = manifest_path(folder.base(stage, name))
    if not path.exists():
        return StageState()
    manifest = read_manifest(path)
    code = manifest.problems[0].code if manifest.problems else ""
    return StageState(state=manifest.status, code=code, version=str(manifest.stage_version))


def read_all(folder: SlideFolder, detector: str) -> Nuclei:
    """All nuclei of a slide as they are stored."""
    classes = folder.read_cells_attrs(detector).classes
    return Nuclei(*read_nuclei(folder.cells(detector)), classes)


def _tissue_of(tissue: TissueMap) -> tuple[float, Box | None]:
    return tissue.area_mm2(TISSUE), tissue.box(TISSUE)


def _answer(
    folder: SlideFolder, model: str, asked: tuple[Target, ...], top_tiles: int
) -> PredictionInput:
    stage = _state(folder, "predictions", model)
    if not stage.usable:
        return PredictionInput(model=model, asked=asked, stage=stage)
    found = folder.read_prediction(model)
    boxes = top_boxes(folder.read_features(found.attrs.encoder), found.attention, top_tiles)
    return PredictionInput(model=model, asked=asked, stage=stage, answer=found.attrs, boxes=boxes)


def top_boxes(features: Features, attention: NDArray[np.float32], count: int) -> tuple[Box, ...]:
    """Tiles of highest attention.

    Parameters
    ----------
    features : Features
        Positions of the tiles.
    attention : float32[N]
        Weight per tile, rows as in ``features``.
    count : int
        How many; ties go to the earlier row.

    Returns
    -------
    tuple of Box
        Level-0 px, highest first.
    """
    width, height = (float(v) for v in features.size_px0)
    order = np.argsort(-attention, kind="stable")[:count]
    return tuple(Box(float(x), float(y), width, height) for x, y in features.xy_px0[order].tolist())
