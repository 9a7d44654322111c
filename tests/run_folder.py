"""A small run folder, written through the store and drafted by the report's own code."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from store_cases import store

from pathai.case import CellsAttrs, PredictionInput, SlideInput, StageState, top_boxes
from pathai.config import ReportConfig
from pathai.findings import findings_of_case
from pathai.grid import grid
from pathai.layouts import load_layout
from pathai.report.draft import draft
from pathai.store.folders import ResultsFolder, write_slide_info
from pathai.store.groups import write_cells, write_features, write_prediction
from pathai.store.manifest import canonical
from pathai.store.pyramid import write_tissue
from pathai.store.records import (
    Answer,
    Cells,
    Features,
    FeaturesAttrs,
    Interval,
    Prediction,
    PredictionAttrs,
    SlideInfo,
    TissueMap,
)
from pathai.testing.picture import draw
from pathai.testing.truth import Recipe
from pathai.units import Box, Mpp, Size

MPP = Mpp(0.5, 0.5)
TILE_PX = 112
SLIDES = (  # slide, case, block, stain
    ("S01", "C01", "A1", "H&E"),
    ("S02", "C02", "A1", "H&E"),
    ("S03", "C02", "A2", "Ki-67"),
    ("S04", "C03", "A1", "H&E"),
)
TASK = """\
name: tumor
question: Does the slide hold tumor?
kind: binary
label: tumor
classes: ["no", "yes"]
unit: patient
encoder: morphology
head: abmil
stains: ["H&E"]
limits: [Synthetic slides only.]
train_on: {split: train}
"""


def in_numbers(attrs: PredictionAttrs) -> PredictionAttrs:
    """The answer of a model that counts, and tells survival beside."""
    also = Answer(
        name="outcome", question="How long?", kind="survival", prob=(0.68,), risk=0.4, value=74.0,
        unit_of_value="months", horizon=60,
    )  # fmt: skip
    fields: dict[str, Any] = {"kind": "count", "classes": (), "label": "", "prob": (), "set": ()}
    numbers = {"value": 1240.0, "low": 830.0, "high": 1900.0, "unit_of_value": "cells"}
    return attrs.model_copy(update={**fields, **numbers, "also": (also,)})


def make_run(
    folder: Path,
    side: int = 1024,
    seed: int = 5,
    change: Callable[[PredictionAttrs], PredictionAttrs] = lambda attrs: attrs,
    template: str = "generic",
) -> Path:
    """Write sheet, configuration, slides and drafts; the last case has no result yet."""
    results = ResultsFolder(folder / "results")
    (folder / "tasks").mkdir(parents=True)
    (folder / "tasks" / "tumor.yaml").write_text(TASK)
    config = "schema_version: 1\ncells: {detector: classical}\ntrain: {tasks: [tasks/tumor.yaml]}\n"
    config += f"report: {{template: {template}}}\n" * (template != "generic")
    (folder / "config.yaml").write_text(config)
    header = "slide_id path case_id patient_id specimen_id block_id laterality stain site"
    lines = [header.replace(" ", "\t")]
    cases: dict[str, list[SlideInput]] = {}
    for number, (slide_id, case_id, block, stain) in enumerate(SLIDES):
        row = (slide_id, f"{slide_id}.svs", case_id, case_id, "SP1", block, "left", stain, "A")
        lines.append("\t".join(row))
        if case_id != "C03":
            recipe = Recipe(seed + number, side, side, MPP.x, stain)
            found = _write_slide(results, slide_id, stain, recipe, change)
            cases.setdefault(case_id, []).append(found)
    (folder / "slides.tsv").write_text("\n".join(lines) + "\n")
    for case_id, inputs in cases.items():
        _write_case(results, case_id, inputs, template)
    return folder


def _write_case(
    results: ResultsFolder, case_id: str, slides: Sequence[SlideInput], template: str
) -> None:
    findings = findings_of_case(case_id, slides, load_layout(template).requires)
    case = results.case(case_id)
    case.path.mkdir(parents=True)
    case.findings.write_bytes(canonical(findings.model_dump(mode="json")))
    made = draft(findings, ReportConfig(template=template))
    case.draft("json").write_bytes(canonical(made.model_dump(mode="json")))


def _write_slide(
    results: ResultsFolder,
    slide_id: str,
    stain: str,
    recipe: Recipe,
    change: Callable[[PredictionAttrs], PredictionAttrs],
) -> SlideInput:
    pixels, truth = draw(recipe)
    folder = results.slide(slide_id)
    folder.path.mkdir(parents=True)
    info = SlideInfo(
        slide_id=slide_id, sha256="0" * 64, width=recipe.width, height=recipe.height,
        mpp_x=MPP.x, mpp_y=MPP.y, mpp_source="file", reader="openslide",
        level_downsamples=(1.0,), stain=stain,
    )  # fmt: skip
    write_slide_info(folder.slide_json, info)
    down = truth.map_downsample
    tissue = TissueMap(truth.tissue.astype(np.uint8), float(down), MPP.scaled(down))
    write_tissue(folder.tissue, tissue)

    def read(box: Box) -> tuple[np.ndarray, np.ndarray]:
        part = pixels[int(box.y) : int(box.bottom), int(box.x) : int(box.right)]
        return part, np.ones(part.shape[:2], bool)

    store(folder.tiles, read, Size(recipe.width, recipe.height), MPP, tissue)
    cells = _cells(truth, tissue, stain)
    write_cells(folder.cells("classical"), cells)
    features, prediction = _prediction(truth, tissue, info)
    prediction = Prediction(prediction.attention, change(prediction.attrs))
    write_features(folder.features("morphology"), features)
    ok = StageState(state="ok", version="1")
    answers: tuple[PredictionInput, ...] = ()
    if stain == "H&E":
        write_prediction(folder.prediction("tumor"), prediction)
        boxes = top_boxes(features, prediction.attention, 3)
        answers = (PredictionInput(model="tumor", stage=ok, answer=prediction.attrs, boxes=boxes),)
    rows, columns = (np.flatnonzero(tissue.classes.any(axis=a)) * down for a in (1, 0))
    box = Box(
        *(float(v) for v in (columns[0], rows[0], np.ptp(columns) + down, np.ptp(rows) + down))
    )
    return SlideInput(
        slide_id=slide_id, specimen_id="SP1", laterality="left", site="A", stain=stain,
        tissue_stage=ok, tissue_mm2=tissue.area_mm2(1), tissue_box=box, detector="classical",
        cells_stage=ok, cells=cells.attrs, predictions=answers,
    )  # fmt: skip


def _cells(truth, tissue: TissueMap, stain: str) -> Cells:
    from skimage.draw import polygon

    classes = ("nucleus",) if stain == "H&E" else ("negative", "positive")
    kind = np.zeros(len(truth), np.uint8) if stain == "H&E" else truth.positive.astype(np.uint8)
    order = np.lexsort((truth.xy_px0[:, 0], truth.xy_px0[:, 1]))
    outlines = [truth.outline(int(i)) for i in order]
    kind, xy = kind[order], truth.xy_px0[order].astype(np.float32)
    raster = np.zeros((truth.height, truth.width), np.uint8)
    for outline, value in zip(outlines, kind, strict=True):
        raster[polygon(outline[:, 1], outline[:, 0], raster.shape)] = value + 1
    levels = [raster]
    while max(levels[-1].shape) > 512:
        a = levels[-1]
        levels.append(
            np.maximum.reduce([a[0::2, 0::2], a[1::2, 0::2], a[0::2, 1::2], a[1::2, 1::2]])
        )
    area, n = tissue.area_mm2(1), len(xy)
    counts = tuple(int((kind == i).sum()) for i in range(len(classes)))
    half = 2 * n**0.5
    attrs = CellsAttrs(
        detector="classical", detector_digest="0" * 64, classes=classes, analyzed_mm2=area,
        excluded_mm2=0.0, count=Interval(value=n, low=n - half, high=n + half),
        density_per_mm2=Interval(value=n / area, low=(n - half) / area, high=(n + half) / area),
        class_counts=counts, raster_downsample0=1.0,
    )  # fmt: skip
    prob = np.eye(len(classes), dtype=np.float16)[kind]
    starts = np.cumsum([0, *(len(o) for o in outlines)]).astype(np.int64)
    points = np.concatenate(outlines).astype(np.float32)
    dab = np.zeros(n, np.float16)
    score, none = np.ones(n, np.float16), np.empty((n, 0), np.float32)
    return Cells(xy, score, kind, prob, dab, none, points, starts, tuple(levels), attrs)


def _prediction(truth, tissue: TissueMap, info: SlideInfo) -> tuple[Features, Prediction]:
    tiles = grid(tissue, info, TILE_PX, MPP.x, 0.3)
    attrs = FeaturesAttrs(
        encoder="morphology", encoder_digest="0" * 64, grid_digest=tiles.digest,
        tile_px=TILE_PX, stride_px=TILE_PX, mpp=MPP.x,
    )  # fmt: skip
    n = len(tiles)
    ones = np.ones(n, np.float16)
    x = np.zeros((n, 2), np.float16)
    features = Features(x, tiles.xy_px0, tiles.size_px0, ones, tiles.tissue, attrs)
    own = truth.xy_px0[truth.in_tumor]
    size = tiles.size_px0
    score = np.array([((own >= xy) & (own < xy + size)).all(axis=1).sum() for xy in tiles.xy_px0])
    weight = np.exp(score / 8.0)
    answer = PredictionAttrs(
        task="tumor", question="Does the slide hold tumor?", classes=("no", "yes"), label="yes",
        prob=(0.06, 0.94), set=("yes",), alpha=0.1, ood_percentile=41.0,
        out_of_distribution=False, abstained=False, encoder="morphology",
        grid_digest=tiles.digest, model_digest="0" * 64,
    )  # fmt: skip
    return features, Prediction((weight / weight.sum()).astype(np.float32), answer)
