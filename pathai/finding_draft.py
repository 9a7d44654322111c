"""A finding before it has its id, and the line of a value that its stage did not give."""

import re
from typing import NamedTuple

from pathai.case import SlideInput, StageState
from pathai.finding import Method, PredictedNumber, Prediction, Quantity, Status
from pathai.units import Box, Polygons


class Draft(NamedTuple):
    """A finding before it has its id; parents are keys."""

    key: str
    status: Status
    method: Method
    value: Quantity | Prediction | PredictedNumber | None = None
    flags: tuple[str, ...] = ()
    note: str = ""
    code: str = ""
    boxes: tuple[Box, ...] = ()
    parents: tuple[str, ...] = ()
    polygons: Polygons = ()


def missing(key: str, stage: StageState, slide: SlideInput, method: Method) -> Draft:
    """The line of a value that its stage did not give."""
    if stage.code == "E142":
        return Draft(key, "not_assessed", method, note="stain_unsuitable", code="E142")
    if stage.state == "skipped":
        return Draft(key, "not_assessed", method, note="slide_skipped", code=stage.code)
    if stage.state == "failed":
        inherited = stage.code and stage.code == slide.tissue_stage.code
        note = "slide_failed" if inherited else "stage_failed"
        return Draft(key, "failed", method, note=note, code=stage.code)
    return Draft(key, "not_assessed", method, note="not_run")


def degraded(stage: StageState) -> tuple[str, ...]:
    """The flag of a stage that left some pixels out."""
    return ("degraded",) if stage.state == "degraded" else ()


def tissue_boxes(slide: SlideInput) -> tuple[Box, ...]:
    """Where the slide's tissue lies."""
    return (slide.tissue_box,) if slide.tissue_box else ()


def word_of(name: str) -> str:
    """A name as part of a key: ``msi-h`` gives ``msi_h``."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
