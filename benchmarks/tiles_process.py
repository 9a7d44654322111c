"""Memory of tiling and feeding at 1 and 16 times the pixels, and start-up of ingest and tile.

    python benchmarks/tiles_process.py [--edge 30000]

prints JSON. Every figure is of a process of its own and of all its children.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil
from big_slide import BigSlide, write

FEED = """
import sys
from pathlib import Path
from pathai.feed import batches
from pathai.grid import grid
from pathai.store.folders import SlideFolder
folder = SlideFolder(Path(sys.argv[1]))
tiles = grid(folder.read_tissue(), folder.read_slide(), 224, 0.25, 0.5)
print(sum(len(p) for p, _ in batches(folder.open_tiles(), tiles, 32)))
"""


def peak_mib(command: list[str]) -> float:
    """Largest sum of the proportional memory of a command and its children, MiB."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peak = 0.0
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        top = psutil.Process(process.pid)
        while not done.wait(0.02):
            total = 0
            try:
                for one in [top, *top.children(recursive=True)]:
                    total += one.memory_full_info().pss
            except (psutil.NoSuchProcess, psutil.AccessDenied, ProcessLookupError):
                continue
            peak = max(peak, total / 2**20)

    watcher = threading.Thread(target=watch)
    watcher.start()
    code = process.wait()
    done.set()
    watcher.join()
    if code:
        raise SystemExit(f"{command}: exit {code}")
    return peak


def cpu_s(command: list[str]) -> float:
    """Processor time of a command and its children, seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def memory(work: Path, edge: int) -> dict[str, Any]:
    pathai = [str(Path(sys.executable).with_name("pathai"))]
    found: dict[str, Any] = {}
    for name, width in (("1x", edge // 4), ("16x", edge)):
        slide = work / f"{name}.svs"
        write(slide, BigSlide(edge=width))
        folder = work / "results" / "slides" / f"s{name}"
        subprocess.run([*pathai, "ingest", str(slide), "-o", str(folder)], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
        tile = peak_mib([*pathai, "tile", str(folder), "--slide", str(slide)])
        feed = peak_mib([sys.executable, "-c", FEED, str(folder)])
        found[name] = {"tile_mib": round(tile), "feed_mib": round(feed), "edge_px": width}
        slide.unlink()
    for stage in ("tile", "feed"):
        large, small = found["16x"][f"{stage}_mib"], found["1x"][f"{stage}_mib"]
        found[f"{stage}_ratio"] = round(large / small, 3)
    return found


def start_up(work: Path) -> dict[str, Any]:
    """Processor time on a slide of a few tiles, nearly all of it starting; and what is loaded."""
    slide = work / "small.svs"
    write(slide, BigSlide(edge=1024))
    folder = work / "small" / "s1"
    pathai = [str(Path(sys.executable).with_name("pathai"))]
    commands = {
        "ingest": [*pathai, "ingest", str(slide), "-o", str(folder)],
        "tile": [*pathai, "tile", str(folder), "--slide", str(slide)],
    }
    found: dict[str, Any] = {}
    for name, command in commands.items():
        times = []
        for _ in range(3):
            (folder / f"{name}.manifest.json").unlink(missing_ok=True)
            times.append(cpu_s(command))
        found[f"{name}_cpu_s"] = round(min(times), 2)
    for name in ("ingest", "tiling"):
        code = f"import pathai.{name}, sys; print('torch' in sys.modules)"
        said = subprocess.check_output([sys.executable, "-c", code], text=True)
        found[f"{name}_loads_torch"] = said.strip() == "True"
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edge", type=int, default=30_000)
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        found = {"start_up": start_up(Path(scratch)), "memory": memory(Path(scratch), options.edge)}
    found["seconds"] = {"wall": round(time.perf_counter() - started)}
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
