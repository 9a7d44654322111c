"""Bags as slides of a results folder, so that the verbs of models run on them."""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np

from pathai.store.commit import Commit, Key, run_stage
from pathai.store.folders import ResultsFolder, SlideFolder, write_slide_info
from pathai.store.groups import write_features
from pathai.store.records import Features, FeaturesAttrs, SlideInfo

TILE_PX = 256
ATTRS = FeaturesAttrs(
    encoder="morphology",
    encoder_digest="e" * 64,
    grid_digest="grid",
    tile_px=TILE_PX,
    stride_px=TILE_PX,
    mpp=0.5,
)


def write_mil_run(
    root: Path, bags: Mapping[str, np.ndarray], columns: Mapping[str, Sequence[str]]
) -> tuple[Path, Path]:
    """Sheet and results folder of bags; ``columns`` hold labels, in the order of the bags."""
    results = ResultsFolder(root / "results")
    for name, bag in bags.items():
        _write_slide(results.slide(name), bag)
    head = ["slide_id", "path", "case_id", "patient_id", *columns]
    lines = ["\t".join(head)]
    for i, name in enumerate(bags):
        told = [columns[column][i] for column in columns]
        lines.append("\t".join([name, f"{name}.svs", f"case-{name}", f"patient-{name}", *told]))
    sheet = root / "slides.tsv"
    sheet.write_text("\n".join(lines) + "\n")
    return sheet, results.path


def _write_slide(folder: SlideFolder, bag: np.ndarray) -> None:
    n = len(bag)
    info = SlideInfo(
        slide_id=folder.slide_id,
        sha256=sha256(bag.tobytes() + folder.slide_id.encode()).hexdigest(),
        width=TILE_PX * 64,
        height=TILE_PX * (n // 64 + 1),
        mpp_x=0.5,
        mpp_y=0.5,
        mpp_source="file",
        reader="test",
        level_downsamples=(1.0,),
        stain="H&E",
    )
    at = np.arange(n)
    features = Features(
        bag.astype(np.float16),
        np.stack([at % 64 * TILE_PX, at // 64 * TILE_PX], axis=1).astype(np.int32),
        np.array([TILE_PX, TILE_PX], np.float32),
        np.ones(n, np.float16),
        np.ones(n, np.float16),
        ATTRS,
    )
    ingest, base = folder.base("ingest"), folder.base("features", "morphology")
    _do(ingest, folder.slide_id, "ingest", ("slide.json",), {},
        lambda out: write_slide_info(out.part("slide.json"), info))  # fmt: skip
    _do(base, folder.slide_id, "features", ("morphology.zarr",), {"tile": ingest},
        lambda out: write_features(out.part("morphology.zarr"), features))  # fmt: skip


def _do(base, subject, stage, outputs, parents, work) -> None:  # type: ignore[no-untyped-def]
    def commit(out: Commit) -> None:
        work(out)

    run_stage(base, subject, Key(stage, 1, "c", outputs), parents, commit)
