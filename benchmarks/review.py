"""The review window: how long a reader waits, and what a million nuclei cost.

``xvfb-run -a python benchmarks/review.py [--quick] [--parts open,nuclei,points,pan]`` prints and
writes ``benchmarks/results/review.json``; parts that are not asked for keep their figures. Drawing
is done by software (Mesa's llvmpipe): judge the ratio to napari's own points, not the seconds.

- ``open``: a case from the call to its first drawn frame, for the first time after the window is
  there (cold) and again (warm); the next field of view at 20x.
- ``nuclei``: a slide with a million nuclei (``--quick``: 100,000), written through the store. One
  frame zoomed out, one field of view at 20x with single nuclei, the count of a region of 4 mm²,
  what hiding a class and correcting a whole region takes; shapely's STRtree in the same run.
- ``points``: napari's Points layer alone with 100,000 points (``--quick``: 20,000).
- ``pan``: resident memory while the view walks over a slide of 30,000 x 30,000 px (``--quick``:
  8,000), as the slope of a line through the second half of the walk.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from machine import machine

os.environ.setdefault("NAPARI_CONFIG", "")

OUT = Path(__file__).parent / "results" / "review.json"
TARGETS = {
    "open_warm_s": 1.0, "open_cold_s": 4.0, "next_field_s": 0.25, "frame_zoomed_out_s": 0.05,
    "field_of_view_s": 0.25, "region_count_s": 0.25,
}  # fmt: skip
CLASSES = ("tumor", "lymphocyte", "stroma", "other")
MPP = 0.5
CORNERS = 12


def timed(act: Callable[[], Any], repeats: int = 1) -> float:
    """Median wall seconds of a call."""
    spent = []
    for _ in range(repeats):
        start = time.perf_counter()
        act()
        spent.append(time.perf_counter() - start)
    return round(statistics.median(spent), 4)


def resident_mib() -> float:
    """Memory of this process that is in use now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


# --- what is reviewed ------------------------------------------------------------------------


def white_slide(folder: Path, side: int) -> None:
    """A run with one case of one slide: pale tissue with grain, no nuclei yet."""
    from pathai.store.damage import Damage
    from pathai.store.folders import ResultsFolder, write_slide_info
    from pathai.store.pyramid import write_metadata, write_tissue
    from pathai.store.pyramid_writer import write_pyramid
    from pathai.store.records import SlideInfo, TissueMap
    from pathai.units import Box, Mpp, Size

    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("schema_version: 1\ncells: {detector: classical}\n")
    head = "slide_id\tpath\tcase_id\tpatient_id\tstain"
    rows = [f"{s}\t{s}.svs\t{c}\t{c}\tH&E" for s, c in (("S01", "C01"), ("S02", "C02"))]
    (folder / "slides.tsv").write_text("\n".join([head, *rows]) + "\n")
    grain = np.random.default_rng(0).integers(170, 245, (1024, 1024, 3), np.uint8)
    down = 16
    edge = -(-side // down)
    tissue = TissueMap(np.ones((edge, edge), np.uint8), float(down), Mpp(MPP * down, MPP * down))

    def read(box: Box) -> tuple[np.ndarray, np.ndarray]:
        rows = np.arange(int(box.y), int(box.bottom)) % 1024
        columns = np.arange(int(box.x), int(box.right)) % 1024
        return grain[np.ix_(rows, columns)], np.ones((len(rows), len(columns)), bool)

    for slide_id in ("S01", "S02"):
        own = ResultsFolder(folder / "results").slide(slide_id)
        own.path.mkdir(parents=True)
        info = SlideInfo(
            slide_id=slide_id, sha256="0" * 64, width=side, height=side, mpp_x=MPP, mpp_y=MPP,
            mpp_source="file", reader="openslide", level_downsamples=(1.0,), stain="H&E",
        )  # fmt: skip
        write_slide_info(own.slide_json, info)
        write_tissue(own.tissue, tissue)
        levels = write_pyramid(own.tiles, read, Size(side, side), Damage(tissue, 1.0))
        write_metadata(own.tiles, Mpp(MPP, MPP), levels, {"source": "benchmark"})


def many_nuclei(path: Path, number: int, side: int) -> None:
    """Nuclei at random with outlines and class raster, written as stage cells writes them."""
    from pathai.cells.raster import strips
    from pathai.store.cell_store import write_streamed_cells
    from pathai.store.records import CellsAttrs, Interval

    rng = np.random.default_rng(1)
    xy = rng.uniform(20, side - 20, (number, 2)).astype(np.float32)
    xy = xy[np.argsort(xy[:, 1], kind="stable")]
    class_ = rng.choice(len(CLASSES), number, p=(0.5, 0.2, 0.2, 0.1)).astype(np.uint8)
    angle = np.arange(CORNERS) * 2 * np.pi / CORNERS
    reach = rng.uniform(5, 9, (number, 1, 1)).astype(np.float32)
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    lines = (xy[:, None] + reach * ring).reshape(-1, 2)
    start = np.arange(number + 1, dtype=np.int64) * CORNERS
    area = (side * MPP / 1000) ** 2
    count = Interval(value=number, low=number, high=number)
    attrs = CellsAttrs(
        detector="classical", detector_digest="0" * 64, classes=CLASSES, analyzed_mm2=area,
        excluded_mm2=0.0, count=count, density_per_mm2=count,
        class_counts=tuple(np.bincount(class_, minlength=len(CLASSES)).tolist()),
        raster_downsample0=4.0,
    )  # fmt: skip
    arrays: dict[str, Any] = {
        "xy_px0": xy, "score": np.ones(number, np.float16), "class_": class_,
        "prob": np.eye(len(CLASSES), dtype=np.float16)[class_],
        "dab_od": np.zeros(number, np.float16), "measures": np.empty((number, 0), np.float32),
        "outline_px0": lines, "outline_start": start,
    }  # fmt: skip
    size = (-(-side // 4), -(-side // 4))

    def outlines(first: int, stop: int) -> tuple[Any, Any]:
        return lines[start[first] : start[stop]], start[first : stop + 1] - start[first]

    drawn = strips(xy, class_ + 1, outlines, 10.0, size, 4.0)
    write_streamed_cells(path, arrays, attrs, size, drawn)


# --- the window ------------------------------------------------------------------------------


class Window:
    """The review window on a run, and its frames."""

    def __init__(self, run: Path) -> None:
        from pathai.viewer.app import open_window

        self.viewer, self.dock = open_window(run, "dr-a")
        self.review = self.dock.review

    def frame(self) -> None:
        """Let the window do what is due and draw one whole frame."""
        from qtpy.QtWidgets import QApplication

        QApplication.processEvents()
        self.viewer.screenshot(canvas_only=True, flash=False)

    def look(self, x_um: float, y_um: float, zoom: float) -> None:
        """Go to a place and let the camera come to rest there."""
        camera = self.viewer.scene.camera
        camera.zoom, camera.center = zoom, (y_um, x_um)
        self.review.refresh_view()

    def close(self) -> None:
        from qtpy.QtWidgets import QApplication

        self.viewer.close()
        QApplication.processEvents()


def opening(scratch: Path, side: int) -> dict[str, Any]:
    run = scratch / "open"
    white_slide(run, side)
    window = Window(run)
    window.frame()

    def case(case_id: str) -> None:
        window.review.open_case(case_id)
        window.frame()

    cold = timed(lambda: case("C02"))
    warm = timed(lambda: (case("C01"), case("C02")), 3) / 2
    steps = iter(range(100))

    def step() -> None:
        window.look(600 + 500 * next(steps), 900, 2.0)
        window.frame()

    step()
    found = {"open_cold_s": cold, "open_warm_s": round(warm, 4), "next_field_s": timed(step, 5)}
    window.close()
    return {"side_px": side, **found}


def nuclei(scratch: Path, number: int, side: int) -> dict[str, Any]:
    from pathai.region_counts import RegionIndex, square
    from pathai.store.folders import ResultsFolder
    from pathai.units import Mpp

    run = scratch / "nuclei"
    white_slide(run, side)
    folder = ResultsFolder(run / "results").slide("S01")
    many_nuclei(folder.cells("classical"), number, side)
    before = resident_mib()
    window = Window(run)
    window.frame()
    part, middle = window.review.part("cells"), side * MPP / 2
    turn: Iterator[int] = iter(range(1000))

    def far() -> None:
        i = next(turn)
        window.look(middle + 10 * (i % 2), middle, 0.06)
        window.frame()

    def near() -> None:
        i = next(turn)
        window.look(middle + 700 * (i % 3 - 1), middle + 300 * (i % 2), 2.0)
        window.frame()

    far(), near()
    found: dict[str, Any] = {
        "nuclei": number, "side_px": side,
        "frame_zoomed_out_s": timed(far, 5),
        "field_of_view_s": timed(near, 5),
        "drawn_one_by_one": len(window.viewer.layers["nuclei, centers"].data),
        "frame_alone_s": timed(window.frame, 3),
        "hide_class_s": timed(lambda: part.toggle("stroma"), 4),
    }  # fmt: skip
    mpp, xy = Mpp(MPP, MPP), part.index.xy_px0
    shape = square(side / 2, side / 2, 4.0, mpp)
    found["index_build_s"] = timed(lambda: RegionIndex(xy, part.index.class_, mpp), 3)
    found["region_count_s"] = timed(lambda: part.index.count(shape, part.classes, None), 5)
    found["region_nuclei"] = part.index.count(shape, part.classes).total
    points = shapely.points(xy.astype(np.float64))
    found["strtree_build_s"] = timed(lambda: shapely.STRtree(points))
    tree = shapely.STRtree(points)
    found["strtree_count_s"] = timed(
        lambda: np.bincount(part.index.class_[tree.query(shape, predicate="contains")]), 5
    )
    for name, act in (
        ("reclassify_region_s", lambda: part.classify_all(shape, "other")),
        ("undo_region_s", window.review.undo),
    ):
        found[name] = timed(act)
    found["log_of_region_kib"] = round(window.review.session.log_path("C01").stat().st_size / 1024)
    found["added_mib"] = round(resident_mib() - before)
    window.close()
    return found


def points(number: int) -> dict[str, Any]:
    import napari
    from qtpy.QtWidgets import QApplication

    viewer = napari.Viewer()
    places = np.random.default_rng(2).uniform(0, 15_000, (number, 2))
    kinds = np.random.default_rng(3).integers(0, 4, number)

    def frame() -> None:
        QApplication.processEvents()
        viewer.screenshot(canvas_only=True, flash=False)

    def add() -> None:
        colors = np.array(["#0072b2", "#e69f00", "#009e73", "#cc79a7"])[kinds]
        viewer.add_points(places, size=8, face_color=colors, border_width=0, units=("um", "um"))
        frame()

    added = timed(add)
    turn = iter(range(100))

    def move() -> None:
        viewer.scene.camera.center = (7500 + 10 * (next(turn) % 2), 7500)
        frame()

    found = {"points": number, "add_s": added, "frame_s": timed(move, 3)}
    viewer.close()
    QApplication.processEvents()
    return found


def pan(scratch: Path, side: int, steps: int) -> dict[str, Any]:
    run = scratch / "pan"
    white_slide(run, side)
    window = Window(run)
    window.frame()
    across = max(int(steps**0.5), 1)
    used = []
    for i in range(steps):
        x, y = (i % across + 0.5) / across, (i // across + 0.5) / across
        window.look(x * side * MPP, min(y, 0.98) * side * MPP, 2.0)
        window.frame()
        used.append(resident_mib())
    half = used[len(used) // 2 :]
    slope = float(np.polyfit(np.arange(len(half)), half, 1)[0])
    window.close()
    return {
        "side_px": side, "fields": steps, "first_mib": round(used[0]), "last_mib": round(used[-1]),
        "slope_mib_per_100_fields": round(100 * slope, 2),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small sizes: does it run at all")
    parser.add_argument("--parts", default="open,nuclei,points,pan")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    quick, parts = given.quick, given.parts.split(",")
    report = json.loads(given.out.read_text()) if given.out.exists() else {}
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        if "open" in parts:
            report["open"] = opening(scratch, 4000 if quick else 20_000)
        if "nuclei" in parts:
            number, side = (100_000, 10_000) if quick else (1_000_000, 30_000)
            report["nuclei"] = nuclei(scratch, number, side)
        if "points" in parts:
            report["points_alone"] = points(20_000 if quick else 100_000)
        if "pan" in parts:
            report["pan"] = pan(scratch, 8000 if quick else 30_000, 36 if quick else 400)
    if "nuclei" in report and "points_alone" in report:
        ours, napari_s = report["nuclei"], report["points_alone"]
        per_million = napari_s["frame_s"] / napari_s["points"] * ours["nuclei"]
        report["ratio"] = {
            "frame_points_alone_same_number_s": round(per_million, 2),
            "times_faster_zoomed_out": round(per_million / ours["frame_zoomed_out_s"], 1),
        }
    report.update(targets=TARGETS, quick=quick, machine=machine())
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
