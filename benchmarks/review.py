"""The review window: how long a reader waits, and what a million nuclei cost.

``xvfb-run -a python benchmarks/review.py [--quick] [--parts open,nuclei,points,pan]`` prints and
writes ``benchmarks/results/review.json``; parts that are not asked for keep their figures. Drawing
is done by software (Mesa's llvmpipe): judge the ratios to napari's own empty frame and its own
points, in a canvas of the same size, not the seconds. ``NAME_cpu_s`` beside ``NAME_s`` is the time
of this process' threads: where others use the machine too, it is the figure to go by.

- ``open``: from the call of a case to its slide on the screen (proven by a picture), the whole
  window with it. Cold: first time, its files dropped from the system's cache; the window is there.
  Warm: again. Window: napari's import, the window, and its first case. Then the next field of the
  walk at 20x.
- ``nuclei``: a slide with a million nuclei (``--quick``: 100,000), written through the store. A
  frame is one redraw after a move, with all that the move entails: zoomed out, and at 20x with
  single nuclei. The count of a region of 4 mm², what hiding a class and correcting a whole region
  takes; shapely's STRtree in the same run.
- ``points``: napari alone: an empty frame, and its Points layer with 100,000 points (``--quick``:
  20,000).
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


def timed(
    name: str, act: Callable[[], Any], repeats: int = 1, after: Callable[[], Any] = lambda: None
) -> dict[str, float]:
    """Median seconds of a call, by the clock and of this process; ``after`` is not counted."""
    wall, cpu = [], []
    for _ in range(repeats):
        start, start_cpu = time.perf_counter(), time.process_time()
        act()
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - start_cpu)
        after()
    return {
        f"{name}_s": round(statistics.median(wall), 4),
        f"{name}_cpu_s": round(statistics.median(cpu), 4),
    }


def forget(folder: Path) -> None:
    """Drop what the system keeps of a folder's files in memory."""
    for path in filter(Path.is_file, folder.rglob("*")):
        file = os.open(path, os.O_RDONLY)
        os.fsync(file)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(file)


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


def settle() -> None:
    """Let Qt do what is due, painting on the screen included."""
    from qtpy.QtWidgets import QApplication

    QApplication.processEvents()


def draw(viewer: Any) -> np.ndarray:
    """Draw the canvas once: uint8[y, x, 4]."""
    return viewer.screenshot(canvas_only=True, flash=False)


class Window:
    """The review window on a run."""

    def __init__(self, run: Path) -> None:
        from pathai.viewer.app import open_window

        self.viewer, self.dock = open_window(run, "dr-a")
        self.review = self.dock.review

    def show(self, case_id: str) -> None:
        """Open a case, until it is painted."""
        self.review.open_case(case_id)
        settle()

    def prove(self) -> None:
        """Stop unless the slide, gray grain in the middle of the canvas, can be seen."""
        height, width = self.viewer.canvas.size
        seen = draw(self.viewer)[height // 2 - 20 : height // 2 + 20, width // 2 - 20 :][:, :40]
        if not 170 <= seen[..., :3].mean() <= 245 or len(np.unique(seen[..., 0])) < 2:
            raise RuntimeError("the slide is not on the screen")

    def look(self, x_um: float, y_um: float, zoom: float) -> None:
        """Go to a place, let the camera come to rest there, and draw that once."""
        camera = self.viewer.scene.camera
        camera.zoom, camera.center = zoom, (y_um, x_um)
        self.review.refresh_view()
        draw(self.viewer)

    def close(self) -> None:
        self.viewer.close()
        settle()


def opening(scratch: Path, side: int) -> dict[str, Any]:
    run = scratch / "open"
    white_slide(run, side)
    made: list[Window] = []

    def begin() -> None:
        made.append(Window(run))
        settle()

    found: dict[str, Any] = {"side_px": side, **timed("window", begin)}
    window = made[0]
    window.prove()
    forget(run / "results" / "slides" / "S02")
    found |= timed("open_cold", lambda: window.show("C02"), after=window.prove)
    turn = iter(("C01", "C02") * 3)
    found |= timed("open_warm", lambda: window.show(next(turn)), 6, after=window.prove)
    walk = window.review.part("screening")
    walk.set_magnification(20)

    def step() -> None:
        walk.next_field()
        draw(window.viewer)

    step(), settle()
    found |= timed("next_field", step, 6, after=settle)
    window.close()
    return found


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
    if window.review.blind:
        window.review.reveal("benchmark")
    settle()
    part, middle = window.review.part("cells"), side * MPP / 2
    turn: Iterator[int] = iter(range(1000))

    def far() -> None:
        i = next(turn)
        window.look(middle + 10 * (i % 2), middle, 0.06)

    def near() -> None:
        i = next(turn)
        window.look(middle + 700 * (i % 3 - 1), middle + 300 * (i % 2), 2.0)

    def hide() -> None:
        part.toggle("stroma")
        draw(window.viewer)

    far(), settle(), near(), settle(), far(), settle()
    found: dict[str, Any] = {"nuclei": number, "side_px": side}
    found["canvas_px"] = [int(v) for v in window.viewer.canvas.size[::-1]]
    found |= timed("frame_zoomed_out", far, 9, after=settle)
    near(), settle()
    found |= timed("field_of_view", near, 9, after=settle)
    found["drawn_one_by_one"] = len(window.viewer.layers["nuclei, centers"].data)
    found |= timed("frame_alone", lambda: draw(window.viewer), 5)
    far(), settle()
    found |= timed("hide_class", hide, 4, after=settle)
    mpp, xy = Mpp(MPP, MPP), part.index.xy_px0
    shape = square(side / 2, side / 2, 4.0, mpp)
    found |= timed("index_build", lambda: RegionIndex(xy, part.index.class_, mpp), 3)
    found |= timed("region_count", lambda: part.index.count(shape, part.classes, None), 5)
    found["region_nuclei"] = part.index.count(shape, part.classes).total
    points = shapely.points(xy.astype(np.float64))
    found |= timed("strtree_build", lambda: shapely.STRtree(points))
    tree = shapely.STRtree(points)
    found |= timed(
        "strtree_count",
        lambda: np.bincount(part.index.class_[tree.query(shape, predicate="contains")]),
        5,
    )
    found |= timed("reclassify_region", lambda: part.classify_all(shape, "other"))
    found |= timed("undo_region", window.review.undo)
    found["log_of_region_kib"] = round(window.review.session.log_path("C01").stat().st_size / 1024)
    found["added_mib"] = round(resident_mib() - before)
    window.close()
    return found


def points(number: int, canvas_px: list[int]) -> dict[str, Any]:
    import napari

    viewer = napari.Viewer()
    viewer.theme = "light"
    viewer.add_image(np.full((2, 2), 255, np.uint8), scale=(7500, 7500), units=("um", "um"))
    settle()
    for _ in range(3):  # the canvas is what panels leave of the window
        height, width = viewer.canvas.size
        window = viewer.window.geometry()
        viewer.window.resize(
            window[2] + canvas_px[0] - int(width), window[3] + canvas_px[1] - int(height)
        )
        settle()
    turn = iter(range(1000))

    def move() -> None:
        viewer.scene.camera.center = (7500 + 10 * (next(turn) % 2), 7500)
        draw(viewer)

    move(), settle()
    found: dict[str, Any] = {"canvas_px": [int(v) for v in viewer.canvas.size[::-1]]}
    found |= timed("frame_empty", move, 9, after=settle)
    places = np.random.default_rng(2).uniform(0, 15_000, (number, 2))
    kinds = np.random.default_rng(3).integers(0, 4, number)

    def add() -> None:
        colors = np.array(["#0072b2", "#e69f00", "#009e73", "#cc79a7"])[kinds]
        viewer.add_points(places, size=8, face_color=colors, border_width=0, units=("um", "um"))
        draw(viewer)

    found |= {"points": number, **timed("add", add, after=settle)}
    found |= timed("frame", move, 3, after=settle)
    viewer.close()
    settle()
    return found


def pan(scratch: Path, side: int, steps: int) -> dict[str, Any]:
    run = scratch / "pan"
    white_slide(run, side)
    window = Window(run)
    settle()
    across = max(int(steps**0.5), 1)
    used = []
    for i in range(steps):
        x, y = (i % across + 0.5) / across, (i // across + 0.5) / across
        window.look(x * side * MPP, min(y, 0.98) * side * MPP, 2.0)
        settle()
        used.append(resident_mib())
    half = used[len(used) // 2 :]
    slope = float(np.polyfit(np.arange(len(half)), half, 1)[0])
    window.close()
    return {
        "side_px": side, "fields": steps, "first_mib": round(used[0]), "last_mib": round(used[-1]),
        "slope_mib_per_100_fields": round(100 * slope, 2),
    }  # fmt: skip


def ratios(ours: dict[str, Any], napari_alone: dict[str, Any]) -> dict[str, float]:
    """What holds on other machines too, from the seconds of this process."""
    per_million = napari_alone["frame_cpu_s"] / napari_alone["points"] * ours["nuclei"]
    return {
        "frame_points_alone_same_number_cpu_s": round(per_million, 2),
        "times_faster_zoomed_out": round(per_million / ours["frame_zoomed_out_cpu_s"], 1),
        "frame_zoomed_out_to_empty": round(
            ours["frame_zoomed_out_cpu_s"] / napari_alone["frame_empty_cpu_s"], 2
        ),
        "field_of_view_to_empty": round(
            ours["field_of_view_cpu_s"] / napari_alone["frame_empty_cpu_s"], 2
        ),
    }


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
            canvas_px = report.get("nuclei", {}).get("canvas_px", [1000, 850])
            report["points_alone"] = points(20_000 if quick else 100_000, canvas_px)
        if "pan" in parts:
            report["pan"] = pan(scratch, 8000 if quick else 30_000, 36 if quick else 400)
    if "nuclei" in report and "points_alone" in report:
        report["ratio"] = ratios(report["nuclei"], report["points_alone"])
    report.update(targets=TARGETS, quick=quick, machine=machine())
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
