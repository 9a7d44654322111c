"""What the room of cells costs beside its detector: memory, store, exports, workers.

    python benchmarks/cells_room.py [--cells 2000000] [--work DIR] [--out FILE]

A detector that finds its nuclei without looking at pixels stands for the network, so that all that
is measured is the room's own: blocks, morphometry, journal, sorting, raster, store and exports.
Each part runs in a process of its own, whose peak memory and processor time are taken. It writes
benchmarks/results/cells_room.json.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from machine import machine

from pathai.cells import run
from pathai.config import CellsConfig
from pathai.detectors import DETECTORS
from pathai.detectors.base import Detections
from pathai.export import export
from pathai.store.commit import Key, run_stage
from pathai.store.damage import Damage
from pathai.store.folders import SlideFolder, write_slide_info
from pathai.store.pyramid import write_metadata, write_tissue
from pathai.store.pyramid_writer import write_pyramid
from pathai.store.records import SlideInfo, TissueMap
from pathai.units import Box, Mpp, Size

ROOT = Path(__file__).resolve().parents[1]
STEP_PX, CORNERS = 16, 24
"""A nucleus on every 16 by 16 px of 0.5 µm: 15,600 per mm², as dense as lymphoid tissue."""
FORMATS = {"geoparquet": "x.parquet", "geojson": "x.geojson", "csv": "x.csv", "anndata": "x.h5ad"}


@dataclass(frozen=True)
class Lattice:
    """Nuclei on a lattice, a little beside it, of five classes; the picture does not matter."""

    stain: str = "H&E"
    dab_cutoff_od: float = 0.15

    classes = ("tumor", "epithelial", "lymphocyte", "stromal", "other")
    mpp, mpp_range, halo_um, error, digest = 0.5, (0.1, 1.0), 40.0, None, "1" * 64

    def for_slide(self, sample: np.ndarray) -> "Lattice":
        return self

    def detect(self, rgb: np.ndarray, mpp: Mpp) -> Detections:
        y, x = np.mgrid[STEP_PX // 2 : rgb.shape[0] : STEP_PX, 8 : rgb.shape[1] : STEP_PX]
        anchors = np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float32)
        count = len(anchors)
        beside = rgb[y.ravel(), x.ravel(), :2].astype(np.float32) / 64 - 2
        centers = (anchors + beside).clip(0, [rgb.shape[1], rgb.shape[0]])
        angle = np.arange(CORNERS) * (2 * np.pi / CORNERS)
        ring = np.stack([np.cos(angle), np.sin(angle)], axis=1) * [6, 5]
        class_ = (anchors.sum(axis=1) // STEP_PX % 5).astype(np.uint8)
        return Detections(
            centers=centers.astype(np.float32),
            anchors=anchors,
            score=np.full(count, 0.9, np.float32),
            class_=class_,
            prob=(0.1 + 0.5 * (class_[:, None] == np.arange(5))).astype(np.float32),
            dab_od=np.zeros(count, np.float32),
            outline=(centers[:, None] + ring).reshape(-1, 2).astype(np.float32),
            outline_start=np.arange(count + 1, dtype=np.int64) * CORNERS,
        )


def draw(folder: SlideFolder, cells: int) -> None:
    """A slide that is large enough for so many nuclei, all tissue, of noise that packs well."""
    folder.path.mkdir(parents=True)
    edge = -(-int(np.ceil(np.sqrt(cells))) * STEP_PX // 256) * 256
    mpp, size = Mpp(0.5, 0.5), Size(edge, edge)
    tissue = TissueMap(np.ones((edge // 16, edge // 16), np.uint8), 16.0, Mpp(8.0, 8.0))
    patch = np.random.default_rng(0).integers(100, 230, (64, 64, 3), np.uint8).repeat(4, 0)

    def read(box: Box) -> tuple[np.ndarray, np.ndarray]:
        width, height = int(box.width), int(box.height)
        pixels = np.tile(patch, (-(-height // 256), -(-width // 64), 1))[:height, :width]
        return pixels, np.ones((height, width), bool)

    info = SlideInfo(
        slide_id=folder.slide_id, sha256="0" * 64, width=edge, height=edge, mpp_x=0.5, mpp_y=0.5,
        mpp_source="file", reader="benchmark", level_downsamples=(1.0,), stain="H&E",
    )  # fmt: skip
    write_slide_info(folder.slide_json, info)
    levels = write_pyramid(folder.tiles, read, size, Damage(tissue, 1.0), None)
    write_metadata(folder.tiles, mpp, levels, {})
    write_tissue(folder.tissue, tissue)
    run_stage(folder.base("tile"), folder.slide_id, Key("tile", 1, "", ()), {}, lambda out: None)


def part(name: str, folder: SlideFolder, work: Path) -> dict[str, Any]:
    """Do one part in this process; what it took."""
    DETECTORS._builtin["lattice"] = "cells_room:Lattice"
    wall, cpu = time.perf_counter(), time.process_time()
    if name == "cells":
        section = CellsConfig(detector="lattice")
        key = Key("cells", 1, "", ("lattice.zarr",))
        run_stage(
            folder.base("cells", "lattice"),
            folder.slide_id,
            key,
            {"tile": folder.base("tile")},
            lambda out: run(folder, section, out),
        )
    else:
        export(folder, name, work / FORMATS[name], detector="lattice", overwrite=True)
    took = {
        "cpu_s": round(time.process_time() - cpu, 1),
        "wall_s": round(time.perf_counter() - wall, 1),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }
    if name != "cells":
        took["mib"] = round((work / FORMATS[name]).stat().st_size / 2**20)
        (work / FORMATS[name]).unlink()
    return took


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cells", type=int, default=2_000_000, help="of the slide that is made")
    parser.add_argument("--exported", type=int, default=1_000_000, help="of that exported")
    parser.add_argument("--work", type=Path)
    parser.add_argument("--part", default="")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/cells_room.json")
    args = parser.parse_args()
    if args.part:
        folder = SlideFolder(args.work / f"slide-{args.cells}")
        if args.part == "draw":
            draw(folder, args.cells)
        took = {} if args.part == "draw" else part(args.part, folder, args.work)
        print(json.dumps(took))
        return
    with tempfile.TemporaryDirectory() as made:
        work = args.work or Path(made)
        work.mkdir(parents=True, exist_ok=True)
        of = {"cells": alone("cells", args.cells, work, fresh=True)}
        alone("cells", args.exported, work, fresh=True)
        of |= {name: alone(name, args.exported, work) for name in FORMATS}
    args.out.write_text(json.dumps({"machine": machine(), "of": of}, indent=1) + "\n")


def alone(name: str, cells: int, work: Path, *, fresh: bool = False) -> dict[str, Any]:
    """Do one part in a process of its own, with the slide that it needs."""
    for step in ("draw", name) if fresh else (name,):
        command = [sys.executable, __file__, "--part", step, "--work", str(work)]
        command += ["--cells", str(cells)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    found = json.loads(done.stdout.splitlines()[-1])
    count = SlideFolder(work / f"slide-{cells}").read_cells_attrs("lattice").count.value
    found = {"nuclei": int(count), **found}
    print(name, found, flush=True)
    return found


if __name__ == "__main__":
    main()
