"""A small finished run, written by the store's own writers: every status, model and artefact."""

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from store_cases import store

from pathai.cohort import OUTPUTS
from pathai.cohort import run as make_page
from pathai.errors import PathaiError
from pathai.plan import Plan
from pathai.store.bundle import (
    ModelSpec,
    NetworkSpec,
    ReferenceSpec,
    TargetState,
    TrainingData,
    hash_id,
    write_bundle,
)
from pathai.store.commit import Commit, Key, Skipped, run_stage
from pathai.store.folders import SlideFolder, write_slide_info
from pathai.store.groups import write_cells, write_features, write_prediction
from pathai.store.manifest import Manifest
from pathai.store.pyramid import write_tissue
from pathai.store.records import (
    PEN,
    TISSUE,
    Cells,
    CellsAttrs,
    Features,
    FeaturesAttrs,
    Interval,
    Prediction,
    PredictionAttrs,
    SlideInfo,
    TissueMap,
)
from pathai.task import Target
from pathai.units import Box, Mpp, Size

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>'
SIZE, MPP, STEP = Size(900, 700), Mpp(0.5, 0.5), 16
TRAINED = ("T1", "T2", "T3", "T4")
# slide, patient, split, tumor, true nuclei, stain, what happens to it
SLIDES = (
    ("T1", "PA", "train", "no", "40", "H&E", "ok"),
    ("T2", "PB", "train", "yes", "80", "H&E", "ok"),
    ("T3", "PC", "train", "no", "44", "H&E", "ok"),
    ("T4", "PD", "train", "yes", "76", "H&E", "ok"),
    ("E1", "PE", "test", "no", "42", "H&E", "ok"),
    ("E2", "PF", "test", "yes", "78", "H&E", "pen"),
    ("E3", "PG", "test", "yes", "82", "H&E", "ok"),
    ("E4", "PG", "test", "yes", "60", "H&E", "degraded"),
    ("E5", "PH", "test", "no", "50", HOSTILE, "foreign"),
    ("E6", "PI", "test", HOSTILE, "50", "H&E", "undecided"),
    ("F1", "PJ", "test", "no", "50", "H&E", "failed"),
    ("N1", "PK", "test", "no", "0", "H&E", "skipped"),
)
CONFIG = """\
train: {tasks: [tumor.yaml]}
cells: {detector: classical}
cohort:
  title: Tiny cohort
  evaluate_on: {split: test}
  count_column: n_nuclei
"""
TASK = """\
name: tumor
question: Does the slide show tumor?
label: tumor
classes: ["no", "yes"]
train_on: {split: train}
"""


def content(slide_id: str) -> str:
    """SHA-256 of a slide's imagined file."""
    return sha256(slide_id.encode()).hexdigest()


def write_tiny_run(root: Path, config: str = CONFIG) -> Plan:
    """The whole run but the cohort's page; see `finish`."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "config.yaml").write_text(config)
    (root / "tumor.yaml").write_text(TASK)
    header = ["slide_id", "path", "case_id", "patient_id", "stain", "site", "split", "tumor"]
    lines = ["\t".join([*header, "n_nuclei"])]
    for slide, patient, split, tumor, nuclei, stain, _ in SLIDES:
        cells = [slide, f"in/{slide}.svs", f"C-{patient}", patient, stain, "colon", split]
        lines.append("\t".join([*cells, tumor, nuclei]))
    (root / "slides.tsv").write_text("\n".join(lines) + "\n")
    plan = Plan(root / "config.yaml")
    for index, slide in enumerate(SLIDES):
        _write_slide(plan.results.slide(slide[0]), index, slide)
    _train(plan)
    for index, slide in enumerate(SLIDES):
        _predict(plan.results.slide(slide[0]), index, slide)
    for case_id, rows in plan.sheet.cases().items():
        _write_case(plan, case_id, [row.slide_id for row in rows])
    return plan


def finish(plan: Plan, config_digest: str = "c") -> Manifest:
    """Write the cohort's page."""
    key = Key("cohort", 1, config_digest, OUTPUTS)
    base = plan.results.cohort / "cohort"
    return run_stage(base, "cohort", key, {}, lambda out: make_page(plan, out))


def remake(root: Path, config: str = CONFIG) -> dict[str, Any]:
    """Make the page again under another configuration; its metrics."""
    (root / "config.yaml").write_text(config)
    finish(Plan(root / "config.yaml"), f"again {config}")
    found: dict[str, Any] = json.loads((root / "results" / "cohort" / "metrics.json").read_text())
    return found


def do(
    base: Path,
    subject: str,
    stage: str,
    outputs: tuple[str, ...],
    parents: dict[str, Path],
    work: Callable[[Commit], None],
    *,
    tolerant: bool = False,
) -> None:
    """Run a stage that writes what ``work`` writes."""
    run_stage(base, subject, Key(stage, 1, "c", outputs), parents, work, tolerant=tolerant)


def _write_slide(folder: SlideFolder, index: int, slide: tuple[str, ...]) -> None:
    slide_id, stain, fate = slide[0], slide[5], slide[6]
    rng = np.random.default_rng(index)
    classes = _tissue_map(fate)
    tissue = TissueMap(classes, float(STEP), MPP.scaled(STEP))
    image = _picture(rng, classes)

    def ingest(out: Commit) -> None:
        if fate == "failed":
            raise PathaiError("E110", "declared end lies 812 bytes past the end of the file")
        info = SlideInfo(
            slide_id=slide_id,
            sha256=content(slide_id),
            width=SIZE.width,
            height=SIZE.height,
            mpp_x=MPP.x,
            mpp_y=MPP.y,
            mpp_source="sheet" if fate == "pen" else "file",
            reader="test",
            level_downsamples=(1.0,),
            stain=stain,
        )
        write_slide_info(out.part("slide.json"), info)

    def read(box: Box) -> tuple[np.ndarray, np.ndarray]:
        ys = slice(int(box.y), int(box.bottom))
        xs = slice(int(box.x), int(box.right))
        return image[ys, xs], np.ones(image[ys, xs].shape[:2], bool)

    def tile(out: Commit) -> None:
        if fate == "skipped":
            raise Skipped("E145", "0.00 mm² of tissue, 0.05 are needed")
        store(out.part("tiles.zarr"), read, SIZE, MPP, tissue)
        write_tissue(out.part("tissue.zarr"), tissue)
        if fate == "degraded":
            out.degrade("E162", "0.1 % of the tissue could not be read")

    def features(out: Commit) -> None:
        write_features(out.part("morphology.zarr"), _features(rng))

    def cells(out: Commit) -> None:
        write_cells(out.part("classical.zarr"), _cells(rng, int(slide[4]), tissue.area_mm2(TISSUE)))

    base = folder.base
    do(base("ingest"), slide_id, "ingest", ("slide.json",), {}, ingest)
    outputs = ("tiles.zarr", "tissue.zarr")
    do(base("tile"), slide_id, "tile", outputs, {"ingest": base("ingest")}, tile)
    above = {"tile": base("tile")}
    encoder, detector = base("features", "morphology"), base("cells", "classical")
    do(encoder, slide_id, "features", ("morphology.zarr",), above, features)
    do(detector, slide_id, "cells", ("classical.zarr",), above, cells)


def _tissue_map(fate: str) -> np.ndarray:
    h, w = -(-SIZE.height // STEP), -(-SIZE.width // STEP)
    y, x = np.mgrid[:h, :w]
    inside = ((y - h / 2) / (h * 0.4)) ** 2 + ((x - w / 2) / (w * 0.42)) ** 2 < 1
    classes = inside.astype(np.uint8) * TISSUE
    hole = ((y - h / 2) / 4) ** 2 + ((x - w / 3) / 3) ** 2 < 1
    classes[hole] = 0
    if fate == "pen":
        classes[h - 9 : h - 4, 8:22] = PEN
    return classes


def _picture(rng: np.random.Generator, classes: np.ndarray) -> np.ndarray:
    big = np.kron(classes, np.ones((STEP, STEP), np.uint8))[: SIZE.height, : SIZE.width]
    image = np.full((SIZE.height, SIZE.width, 3), 244, np.uint8)
    image[big == TISSUE] = (226, 172, 204)
    image[big == PEN] = (40, 90, 200)
    for x, y in rng.integers(3, (SIZE.width - 3, SIZE.height - 3), (500, 2)):
        place = (slice(y - 3, y + 3), slice(x - 3, x + 3))
        image[place][big[place] == TISSUE] = (96, 60, 140)
    return image


def _features(rng: np.random.Generator) -> Features:
    xy = np.array([(x, y) for y in range(128, 512, 128) for x in range(128, 768, 128)], np.int32)
    n = len(xy)
    attrs = FeaturesAttrs(
        encoder="morphology",
        encoder_digest="e",
        grid_digest="g",
        tile_px=128,
        stride_px=128,
        mpp=0.5,
    )
    return Features(
        rng.normal(size=(n, 4)).astype(np.float16),
        xy,
        np.array([128, 128], np.float32),
        np.ones(n, np.float16),
        np.ones(n, np.float16),
        attrs,
    )


def tile_count() -> int:
    """Tiles of every slide."""
    return len(_features(np.random.default_rng(0)).x)


def _cells(rng: np.random.Generator, truth: int, area: float) -> Cells:
    m = round(truth * 1.1)
    xy = np.sort(rng.uniform(150, 550, (m, 2)).astype(np.float32), axis=0)
    angle = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1) * 6
    outline = (xy[:, None] + ring).astype(np.float32).reshape(-1, 2)
    class_ = rng.integers(0, 2, m).astype(np.uint8)
    prob = np.full((m, 2), 0.25, np.float16)
    prob[np.arange(m), class_] = 0.75
    count = Interval(value=m, low=m - 9.5, high=m + 10.5, covers="Covers sampling alone.")
    density = Interval(value=m / area, low=(m - 9.5) / area, high=(m + 10.5) / area)
    attrs = CellsAttrs(
        detector="classical",
        detector_digest="d",
        classes=("negative", "positive"),
        analyzed_mm2=area,
        excluded_mm2=0.0,
        count=count,
        density_per_mm2=density,
        class_counts=tuple(int((class_ == c).sum()) for c in (0, 1)),
        raster_downsample0=4.0,
    )
    raster = (np.zeros((175, 225), np.uint8), np.zeros((88, 113), np.uint8))
    dab = np.linspace(0, 1, m).astype(np.float16)
    starts = np.arange(m + 1, dtype=np.int64) * 12
    score, none = np.ones(m, np.float16), np.empty((m, 0), np.float32)
    return Cells(xy, score, class_, prob, dab, none, outline, starts, raster, attrs)


def _train(plan: Plan) -> None:
    task = plan.tasks["tumor"]
    patients = [slide[1] for slide in SLIDES if slide[0] in TRAINED]
    question = Target.model_validate(task.model_dump(include=set(Target.model_fields)))
    spec = ModelSpec(
        task=task,
        networks=(NetworkSpec(head="mean", hidden=4, dropout=0.0, members=1),),
        dim=4,
        encoder="morphology",
        encoder_digest="e",
        tile_px=128,
        mpp=0.5,
        settings={"seed": 0},
        targets=(TargetState(target=question, conformal=((0.1, 0.2), (0.1, 0.2))),),
        reference=ReferenceSpec(**dict.fromkeys(ReferenceSpec.model_fields, 4)),
        data=TrainingData(
            digest="1" * 64,
            salt="salt",
            slides=tuple(sorted(hash_id("salt", s) for s in TRAINED)),
            patients=tuple(sorted(hash_id("salt", p) for p in patients)),
            contents=tuple(sorted(hash_id("salt", content(s)) for s in TRAINED)),
        ),
    )
    arrays = {"model.weight": np.arange(8, dtype=np.float32)}
    base = plan.model_folder("tumor")
    parents = {s: plan.results.slide(s).base("features", "morphology") for s in TRAINED}

    def train(out: Commit) -> None:
        write_bundle(out.part("tumor"), spec, arrays, {"n": 4}, "# tumor\n", "<p>tumor</p>")

    do(base, "tumor", "train", ("tumor",), parents, train, tolerant=True)


def _predict(folder: SlideFolder, index: int, slide: tuple[str, ...]) -> None:
    slide_id, positive, fate = slide[0], slide[3] == "yes", slide[6]
    foreign = fate == "foreign"
    p = 0.6 + 0.03 * index if positive else 0.1 + 0.03 * index
    kept = ("no", "yes") if fate == "undecided" else (("yes",) if p > 0.5 else ("no",))
    attrs = PredictionAttrs(
        task="tumor",
        question="Does the slide show tumor?",
        classes=("no", "yes"),
        label="" if foreign else ("yes" if p > 0.5 else "no"),
        prob=(1 - p, p),
        set=() if foreign else kept,
        alpha=0.1,
        ood_percentile=99.9 if foreign else 40.0,
        out_of_distribution=foreign,
        abstained=foreign,
        reason="unlike the slides the model was trained on" if foreign else "",
        encoder="morphology",
        grid_digest="g",
        model_digest="m",
    )

    def predict(out: Commit) -> None:
        n = tile_count()
        attention = np.arange(1, n + 1, dtype=np.float32)
        write_prediction(out.part("tumor.zarr"), Prediction(attention / attention.sum(), attrs))

    parents = {"features": folder.base("features", "morphology")}
    base = folder.base("predictions", "tumor")
    do(base, slide_id, "predict", ("tumor.zarr",), parents, predict)


def _write_case(plan: Plan, case_id: str, slides: list[str]) -> None:
    folder = plan.results.case(case_id)
    parents = {}
    for slide_id in slides:
        slide = plan.results.slide(slide_id)
        parents |= {f"{slide_id}/{stage}": slide.base(stage) for stage in ("ingest", "tile")}
        parents[f"{slide_id}/cells"] = slide.base("cells", "classical")
        parents[f"{slide_id}/tumor"] = slide.base("predictions", "tumor")

    def findings(out: Commit) -> None:
        out.part("findings.json").write_text("{}\n")

    def draft(out: Commit) -> None:
        out.part("draft.html").write_text("<p>draft</p>\n")

    base = folder.base
    do(base("findings"), case_id, "findings", ("findings.json",), parents, findings, tolerant=True)
    above = {"findings": base("findings")}
    do(base("draft"), case_id, "draft", ("draft.html",), above, draft)
