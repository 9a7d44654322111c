"""What slides cost on one core: the figures that `pathai estimate` starts from.

    python benchmarks/rates.py [--slides 6] [--data FOLDER]

Draws synthetic slides, adds the real H&E slides of the test data where they are at hand, runs each
stage on each slide alone and writes pathai/rates.json. Processor seconds are those of this process
and of its children, after one slide that is not counted, so that starting up is not in them.
"""

import argparse
import json
import os
import tempfile
import time
from dataclasses import replace
from hashlib import file_digest
from pathlib import Path
from typing import Any

import psutil
import zarr
from machine import machine

from pathai.chain import slide_steps
from pathai.encoders import load_encoder
from pathai.glance import glance
from pathai.grid import grid
from pathai.plan import Plan
from pathai.rates import Rates, over
from pathai.store.records import TISSUE
from pathai.testing.synthetic import SCANNERS, TEST_LOOKS, TRAIN_LOOKS, Recipe, write_slide

ROOT = Path(__file__).resolve().parents[1]
REAL = {"CMU-1-Small-Region.svs": "", "TCGA-CR-7395-01A-01-TS1.svs": "0.5"}
SHARES = (0.1, 0.25, 0.5, 0.75, 0.9)
EDGES_UM = (112.0, 256.0)
STAGES = ("ingest", "tile", "features", "cells")


def seconds() -> float:
    """Processor seconds of this process and its living children."""
    total = 0.0
    for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
        times = process.cpu_times()
        total += times.user + times.system
    return total


def slides(folder: Path, count: int, data: Path) -> dict[str, tuple[str, str]]:
    """Draw slides and find real ones: id to path and µm per pixel."""
    found = {}
    looks = [*TRAIN_LOOKS.values(), *TEST_LOOKS.values()]
    for i in range(count + 1):
        path = folder / f"S{i}.svs"
        scanner = list(SCANNERS.values())[i % len(SCANNERS)]
        recipe = Recipe(seed=900 + i, width=1800 + 240 * i, height=1700 - 60 * i)
        write_slide(path, replace(recipe, look=looks[i % len(looks)]), scanner=scanner)
        found[path.stem] = (str(path), "")
    for i, (name, mpp) in enumerate(REAL.items()):
        if (data / "slides" / name).is_file():
            found[f"R{i}"] = (str(data / "slides" / name), mpp)
    return found


def measured(plan: Plan, slide_id: str, stages: tuple[str, ...]) -> dict[str, Any]:
    """Cost and content of one slide."""
    folder, row = plan.results.slide(slide_id), {}
    for stage in stages:
        before = seconds()
        (manifest,) = [step.run() for step in slide_steps(plan, stage, slide_id)]
        row[stage] = seconds() - before
        assert manifest.status == "ok", (slide_id, stage, manifest.problems)
        if stage == "tile":
            row["bytes"] = sum(f.size for n, f in manifest.files.items() if "tiles.zarr" in n)
    info, tissue = folder.read_slide(), folder.read_tissue()
    row["mm2"] = tissue.area_mm2(TISSUE)
    row["share"] = row["mm2"] / (info.width * info.height * info.mpp_x * info.mpp_y / 1e6)
    row["mpx"] = row["mm2"] / (info.mpp_x * info.mpp_y)
    attrs = zarr.open_group(folder.tiles, mode="r").attrs["pathai"]
    row["copied"] = attrs["source"] == "copied"
    row["packed"] = glance(plan.place(slide_id), plan.config.ingest)[2]
    for share in SHARES:
        row[f"kept {share}"] = [
            len(grid(tissue, info, 64, edge / 64, share)) * edge**2 / 1e6 / row["mm2"]
            for edge in EDGES_UM
        ]
    if "features" in stages:
        row["tiles"] = folder.read_features("morphology").x.shape[0]
    return row


def hashing() -> float:
    """Core seconds per GB of SHA-256 from the page cache."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(os.urandom(2**20) * 512)
        file.flush()
        file.seek(0)
        file_digest(file, "sha256")
        file.seek(0)
        start = time.process_time()
        file_digest(file, "sha256")
        return (time.process_time() - start) / (512 * 2**20 / 1e9)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slides", type=int, default=6)
    default = os.environ.get("PATHAI_TEST_DATA", str(ROOT.parent / "shared" / "data"))
    parser.add_argument("--data", type=Path, default=Path(default))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        found = slides(folder, given.slides, given.data)
        lines = ["slide_id\tpath\tcase_id\tpatient_id\tmpp"]
        lines += [f"{i}\t{p}\t{i}\t{i}\t{mpp}" for i, (p, mpp) in found.items()]
        (folder / "slides.tsv").write_text("\n".join(lines) + "\n")
        plans = []
        for name, text in (("copied", ""), ("decoded", "tile: {copy_tiles: false}\n")):
            (folder / f"{name}.yaml").write_text(f"results: {name}\n{text}")
            plans.append(Plan(folder / f"{name}.yaml"))
        rows = [measured(plans[0], i, STAGES) for i in found][1:]  # the first was starting up
        decoded = [measured(plans[1], i, STAGES[:2]) for i in found][1:]
    write(rows, decoded, f"{given.slides} synthetic, {len(rows) - given.slides} real")


def write(rows: list[dict[str, Any]], decoded: list[dict[str, Any]], said: str) -> None:
    """Write the figures."""

    def per(amount: str, unit: str, of: list[dict[str, Any]] = rows) -> Any:
        return over([r[amount] for r in of], [r[unit] for r in of])

    copied = [r for r in rows if r["copied"]]
    for row in copied:
        row["packed tissue"] = row["packed"] * row["share"]

    ones = [1.0] * len(rows)
    each = {
        str(s): over([k for r in rows for k in r[f"kept {s}"]], [1.0] * len(rows) * len(EDGES_UM))
        for s in SHARES
    }
    gb = hashing()
    rates = Rates(
        measured_on=machine(),
        slides=said,
        tissue_share=over([r["share"] for r in rows], ones),
        tiles_per_area=each,
        copied_bytes_per_byte=per("bytes", "packed tissue", copied),
        decoded_bytes_per_px=over([r["bytes"] / 1e6 for r in decoded], [r["mpx"] for r in decoded]),
        ingest_s=over([r["ingest"] for r in rows], ones),
        ingest_s_per_gb=over([gb], [1.0]),
        copied_s_per_mpx=per("tile", "mpx", copied),
        decoded_s_per_mpx=per("tile", "mpx", decoded),
        features_s_per_tile={load_encoder("morphology").name: per("features", "tiles")},
        cells_s_per_mm2={"classical": per("cells", "mm2")},
    )
    dumped = rounded(rates.model_dump(mode="json"))
    text = json.dumps(dumped, indent=1, sort_keys=True) + "\n"
    (ROOT / "pathai" / "rates.json").write_text(text)
    print(text)


def rounded(value: Any) -> Any:
    """Three digits: more would not come out again."""
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    return float(f"{value:.3g}") if isinstance(value, float) else value


if __name__ == "__main__":
    main()
