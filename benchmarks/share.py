"""Size, CPU seconds and memory of a share bundle, by the slide's edge.

    python benchmarks/share.py [--edge 10000 --edge 30000]

prints JSON and, with --out, writes it. The slide is drawn, at 0.5 µm/px, all of it tissue full of
nuclei: the most that a bundle can be. Figures per 10,000² px compare slides of other sizes; wall
times are left out, and the CPU's are of one core.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from machine import machine

from pathai.store.cell_store import halved
from pathai.store.damage import Damage
from pathai.store.folders import ResultsFolder
from pathai.store.groups import write_cells
from pathai.store.pyramid import write_metadata, write_tissue
from pathai.store.pyramid_writer import write_pyramid
from pathai.store.records import TISSUE, Cells, CellsAttrs, Interval, TissueMap
from pathai.testing.picture import draw
from pathai.testing.truth import Recipe
from pathai.units import Box, Mpp, Size

PIECE, MPP, STEP = 1000, Mpp(0.5, 0.5), 20
"""Edge of the piece that is drawn, px; µm/px; level-0 px per pixel of the tissue map."""

SHARE = """
import sys
from pathlib import Path
from pathai.cli import app
peak = Path(sys.argv.pop(1))
app(standalone_mode=False)
lines = Path("/proc/self/status").read_text().splitlines()
peak.write_text(next(line.split()[1] for line in lines if line.startswith("VmHWM")))
"""
"""The peak is the process's own: that of rusage would hold what its parent had when it forked."""


def piece() -> tuple[np.ndarray, list[np.ndarray]]:
    """The tissue in the middle of a drawn slide, uint8[y, x, 3], and outlines of its nuclei."""
    pixels, truth = draw(Recipe(5, 3 * PIECE, 3 * PIECE, MPP.x, "H&E"))
    inside = ((truth.xy_px0 > PIECE + 8) & (truth.xy_px0 < 2 * PIECE - 8)).all(axis=1)
    outlines = [truth.outline(int(i)) - PIECE for i in np.flatnonzero(inside)]
    return np.ascontiguousarray(pixels[PIECE : 2 * PIECE, PIECE : 2 * PIECE]), outlines


def write_run(folder: Path, edge: int) -> int:
    """A run of one slide; how many nuclei it has."""
    pixels, outlines = piece()
    slide = ResultsFolder(folder / "results").slide("S1")
    slide.path.mkdir(parents=True)
    row = "S1\ts.svs\tC1\tP1\tH&E"
    header = "slide_id\tpath\tcase_id\tpatient_id\tstain"
    (folder / "slides.tsv").write_text(f"{header}\n{row}\n")
    (folder / "config.yaml").write_text("cells: {detector: classical}\n")
    classes = np.full((edge // STEP, edge // STEP), TISSUE, np.uint8)
    tissue = TissueMap(classes, float(STEP), MPP.scaled(STEP))
    write_tissue(slide.tissue, tissue)

    def read(box: Box) -> tuple[np.ndarray, np.ndarray]:
        rows = np.arange(int(box.y), int(box.bottom)) % PIECE
        columns = np.arange(int(box.x), int(box.right)) % PIECE
        part = pixels[np.ix_(rows, columns)]
        return part, np.ones(part.shape[:2], bool)

    infos = write_pyramid(slide.tiles, read, Size(edge, edge), Damage(tissue, 1.0), 85)
    write_metadata(slide.tiles, MPP, infos, {"source": "drawn"})
    return write_nuclei(slide.cells("classical"), outlines, edge)


def write_nuclei(path: Path, outlines: list[np.ndarray], edge: int) -> int:
    """The piece's nuclei, again and again."""
    steps = [np.array((x, y)) for y in range(0, edge, PIECE) for x in range(0, edge, PIECE)]
    every = [(outline + step).astype(np.float32) for step in steps for outline in outlines]
    xy = np.array([outline.mean(axis=0) for outline in every], np.float32)
    order = np.lexsort((xy[:, 0], xy[:, 1]))
    every, xy, n = [every[i] for i in order], xy[order], len(order)
    starts = np.cumsum([0, *(len(outline) for outline in every)]).astype(np.int64)
    kind = (np.arange(n) % 3).astype(np.uint8)
    names = ("epithelial", "lymphocyte", "stroma")
    counted = Interval(value=n, low=n, high=n)
    attrs = CellsAttrs(
        detector="classical", detector_digest="0" * 64, classes=names, analyzed_mm2=1.0,
        excluded_mm2=0.0, count=counted, density_per_mm2=counted,
        class_counts=tuple(int((kind == i).sum()) for i in range(3)), raster_downsample0=8.0,
    )  # fmt: skip
    raster = halved(np.zeros((2, 2), np.uint8))
    half, none = np.ones(n, np.float16), np.empty((n, 0), np.float32)
    prob = np.eye(3, dtype=np.float16)[kind]
    points = np.concatenate(every)
    write_cells(path, Cells(xy, half, kind, prob, half, none, points, starts, (raster,), attrs))
    return n


def measure(edge: int) -> dict[str, Any]:
    """Figures of one slide, from a process of its own."""
    with tempfile.TemporaryDirectory() as place:
        folder, out = Path(place) / "run", Path(place) / "out.zip"
        nuclei = write_run(folder, edge)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        peak = Path(place) / "peak"
        config = str(folder / "config.yaml")
        command = [
            sys.executable,
            "-c",
            SHARE,
            str(peak),
            "share",
            "C1",
            "-o",
            str(out),
            "--config",
            config,
        ]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        with zipfile.ZipFile(out) as archive:
            sizes = {i.filename: i.compress_size for i in archive.infolist()}
        jpeg = sum(size for name, size in sizes.items() if name.endswith(".jpg"))
        png = sum(size for name, size in sizes.items() if name.endswith(".png"))
        per = (10_000 / edge) ** 2
        return {
            "edge_px": edge,
            "nuclei": nuclei,
            "files": len(sizes),
            "zip_mb": round(out.stat().st_size / 1e6, 1),
            "page_mb": round(sizes["index.html"] / 1e6, 2),
            "jpeg_mb_per_10000_px2": round(per * jpeg / 1e6, 1),
            "nuclei_mb_per_10000_px2": round(per * png / 1e6, 1),
            "cpu_s_per_10000_px2": round(per * cpu, 1),
            "peak_mib": round(int(peak.read_text()) / 1024),
        }


def main() -> None:
    """Measure every edge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edge", type=int, action="append")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    edges = options.edge or [10_000]
    found = {"machine": machine(), "slides": [measure(edge) for edge in sorted(edges)]}
    text = json.dumps(found, indent=1)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
