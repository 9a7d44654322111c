"""Cases that the tests of findings, report and drafters share."""

from typing import Any

import numpy as np

from pathai.case import PredictionInput, SlideInput, StageState
from pathai.finding import CaseFindings
from pathai.findings import findings_of_case
from pathai.sheet import SheetRow
from pathai.store.cells_summary import CellsSummary, Crowded, Region
from pathai.store.commit import Key, run_stage
from pathai.store.groups import write_cells, write_features, write_prediction
from pathai.store.pyramid import write_tissue
from pathai.store.records import (
    TISSUE,
    Cells,
    CellsAttrs,
    Features,
    FeaturesAttrs,
    Interval,
    Prediction,
    PredictionAttrs,
    TissueMap,
)
from pathai.units import Box, Mpp

OK = StageState(state="ok", version="1")
FAILED = StageState(state="failed", code="E110")
TILES = tuple(Box(2048.0 + 512 * i, 4096.0, 512.0, 512.0) for i in range(4))


def cells(classes: tuple[str, ...], counts: tuple[int, ...], area: float = 2.5) -> CellsAttrs:
    total = sum(counts)
    low, high = max(0.0, total - 2 * total**0.5), total + 2 * total**0.5
    density = (0.0, 0.0, 0.0) if area == 0 else (total / area, low / area, high / area)
    return CellsAttrs(
        detector="classical",
        detector_digest="ab" * 32,
        classes=classes,
        analyzed_mm2=area,
        excluded_mm2=0.1,
        count=Interval(value=total, low=low, high=high),
        density_per_mm2=Interval(value=density[0], low=density[1], high=density[2]),
        class_counts=counts,
        raster_downsample0=4,
    )


def answer(**changes: Any) -> PredictionAttrs:
    fields: dict[str, Any] = {
        "task": "tumor",
        "question": "Does this slide hold tumor?",
        "classes": ("no", "yes"),
        "label": "yes",
        "prob": (0.0713, 0.9287),
        "set": ("yes",),
        "alpha": 0.1,
        "ood_percentile": 63.2,
        "out_of_distribution": False,
        "abstained": False,
        "encoder": "morphology",
        "grid_digest": "0" * 64,
        "model_digest": "cd" * 32,
    }
    return PredictionAttrs(**{**fields, **changes})


def foreign() -> PredictionAttrs:
    """What predict stores for a slide unlike its training slides; ``prob`` is no answer."""
    return answer(
        label="",
        prob=(0.3318, 0.6682),
        set=(),
        ood_percentile=100,
        out_of_distribution=True,
        abstained=True,
    )


def slide(slide_id: str, stain: str = "H&E", **changes: Any) -> SlideInput:
    fields: dict[str, Any] = {
        "slide_id": slide_id,
        "specimen_id": "A",
        "stain": stain,
        "tissue_stage": OK,
        "tissue_mm2": 2.75,
        "tissue_box": Box(100.0, 200.0, 9000.0, 8000.0),
        "detector": "classical",
        "cells_stage": OK,
        "cells": cells(("nucleus",), (4321,)),
        "predictions": (PredictionInput(model="tumor", stage=OK, answer=answer(), boxes=TILES),),
    }
    return SlideInput(**{**fields, **changes})


def full_case() -> CaseFindings:
    """One slide of each kind: H&E, Ki-67 (foreign to the model), failed."""
    strange = PredictionInput(model="tumor", stage=OK, answer=foreign(), boxes=TILES)
    dab = cells(("negative", "positive"), (580, 420))
    broken = {"tissue_stage": FAILED, "tissue_mm2": None, "cells_stage": FAILED, "cells": None}
    unasked = (PredictionInput(model="tumor", stage=FAILED),)
    slides = [
        slide("S3", predictions=unasked, **broken),
        slide("S2", stain="Ki-67", cells=dab, predictions=(strange,)),
        slide("S1"),
    ]
    return findings_of_case("C1", slides)


def region_case(name: str) -> CaseFindings:
    """A slide on which a person drew a region of this name."""
    value = Interval(value=120, low=110, high=140)
    drawn = Region(
        name=name,
        kind="region",
        box=TILES[0],
        tissue_mm2=0.5,
        count=value,
        density_per_mm2=Interval(value=240, low=220, high=280),
        classes=(),
    )
    counted = CellsSummary(
        detector="classical",
        detector_digest="",
        stain="H&E",
        family="he",
        error=None,
        regions=(drawn.model_copy(update={"kind": "slide"}),),
        crowded=Crowded(densest_per_mm2=None),
    )
    return findings_of_case("C1", [slide("S1", summary=counted, drawn=(drawn,))])


def by_key(case, slide_id="S1"):
    """Findings of one slide by key."""
    return {f.key: f for f in case.findings if [e.slide_id for e in f.evidence] == [slide_id]}


def stored_slide(folder, stain):
    """A slide's results, written by the store's own writers."""
    rng = np.random.default_rng(0)
    classes = np.zeros((40, 50), np.uint8)
    classes[10:30, 5:45] = TISSUE
    count = 37
    found = Cells(
        xy_px0=rng.uniform(0, 600, (count, 2)).astype(np.float32),
        score=np.ones(count, np.float16),
        class_=np.array([0] * 20 + [1] * 17, np.uint8),
        prob=np.ones((count, 2), np.float16),
        dab_od=np.zeros(count, np.float16),
        measures=np.empty((count, 0), np.float32),
        outline_px0=np.zeros((count, 2), np.float32),
        outline_start=np.arange(count + 1, dtype=np.int64),
        raster=(np.zeros((4, 4), np.uint8),),
        attrs=cells(("negative", "positive"), (20, 17)),
    )
    features = Features(
        x=np.zeros((5, 3), np.float16),
        xy_px0=np.array([[i * 100, 50] for i in range(5)], np.int32),
        size_px0=np.array([100, 90], np.float32),
        valid=np.ones(5, np.float16),
        tissue=np.ones(5, np.float16),
        attrs=FeaturesAttrs(
            encoder="morphology",
            encoder_digest="e",
            grid_digest="0" * 64,
            tile_px=64,
            stride_px=64,
            mpp=1.0,
        ),
    )
    attention = np.array([0.1, 0.4, 0.1, 0.1, 0.3], np.float32)
    work = {
        ("tile", ""): ("tissue.zarr", lambda p: write_tissue(
            p, TissueMap(classes, 16.0, Mpp(8.0, 8.0)))),
        ("features", "morphology"): ("morphology.zarr", lambda p: write_features(p, features)),
        ("cells", "classical"): ("classical.zarr", lambda p: write_cells(p, found)),
        ("predictions", "tumor"): ("tumor.zarr", lambda p: write_prediction(
            p, Prediction(attention, answer()))),
    }  # fmt: skip
    for (stage, name), (output, write) in work.items():
        key = Key(stage, 1, "c", (output,))
        base = folder.base(stage, name)
        run_stage(base, folder.slide_id, key, {}, lambda out, o=output, w=write: w(out.part(o)))
    return SheetRow(
        row=2, slide_id=folder.slide_id, path="x.svs", case_id="C", patient_id="P", stain=stain
    )
