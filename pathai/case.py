"""What the stages left of a case's slides, gathered from the store for its findings."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pathai.config import FindingsConfig
from pathai.finding import Frozen
from pathai.sheet import SheetRow
from pathai.store.commit import manifest_path
from pathai.store.folders import SlideFolder
from pathai.store.manifest import read_manifest
from pathai.store.records import TISSUE, CellsAttrs, Features, PredictionAttrs
from pathai.task import Target
from pathai.units import Box

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
    predictions: tuple[PredictionInput, ...] = ()


def slide_input(
    row: SheetRow,
    folder: SlideFolder,
    section: FindingsConfig,
    detector: str,
    models: Mapping[str, Sequence[Target]],
) -> SlideInput:
    """What the store holds of a slide.

    Raises
    ------
    PathaiError
        E164 when a result or its manifest is damaged; run ``pathai verify``.
    """
    tissue, cells = _state(folder, "tile"), _state(folder, "cells", detector)
    area, box = _tissue_of(folder) if tissue.usable else (None, None)
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
        cells=folder.read_cells_attrs(detector) if cells.usable else None,
        predictions=tuple(
            _answer(folder, name, tuple(asked), section.top_tiles) for name, asked in models.items()
        ),
    )


def _state(folder: SlideFolder, stage: str, name: str = "") -> StageState:
    path = manifest_path(folder.base(stage, name))
    if not path.exists():
        return StageState()
    manifest = read_manifest(path)
    code = manifest.problems[0].code if manifest.problems else ""
    return StageState(state=manifest.status, code=code, version=str(manifest.stage_version))


def _tissue_of(folder: SlideFolder) -> tuple[float, Box | None]:
    tissue = folder.read_tissue()
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
