"""Cases that the tests of findings, report and drafters share."""

from typing import Any

from pathai.case import PredictionInput, SlideInput, StageState
from pathai.finding import CaseFindings
from pathai.findings import findings_of_case
from pathai.store.records import CellsAttrs, Interval, PredictionAttrs
from pathai.units import Box

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
