"""Wall time, peak memory and processor time per stage of `pathai demo`.

    python benchmarks/demo.py [--seeds 7 1 2]

Prints a table and writes benchmarks/results/demo.json, and demo_metrics.json: the figures on the
cohort page of every seed's cohort, as measured on its held-out patients. The first seed is the
demo's own. Memory is the largest sum of resident
memory over all processes of the run, sampled ten times a second; shared pages count each time.
Start-up figures are the median of ten fresh processes.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from machine import machine

RESULT = Path(__file__).parent / "results" / "demo.json"
PATHAI = Path(sys.executable).with_name("pathai")


def peak_while(process: subprocess.Popen[bytes]) -> float:
    """Largest sum of resident memory of a process and all below it, MiB."""
    peak, root = 0.0, psutil.Process(process.pid)
    while process.poll() is None:
        total = 0
        try:
            for part in [root, *root.children(recursive=True)]:
                total += part.memory_info().rss
        except psutil.NoSuchProcess:
            pass
        peak = max(peak, total / 2**20)
        time.sleep(0.1)
    return peak


def run_once(cores: int, seed: int) -> dict[str, Any]:
    """One demo in a fresh folder."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "demo"
        before, start = os.times(), time.perf_counter()
        command = [str(PATHAI), "demo", "--out", str(out), "--cores", str(cores)]
        command += ["--seed", str(seed)]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        peak = peak_while(process)
        wall, after = time.perf_counter() - start, os.times()
        if process.returncode:
            sys.exit(f"the demo failed with exit code {process.returncode}")
        stages = stage_costs(out)
        metrics = json.loads((out / "results" / "cohort" / "metrics.json").read_text())
    cpu = (
        after.children_user - before.children_user + after.children_system - before.children_system
    )
    return {
        "seed": seed,
        "wall_s": round(wall, 1),
        "cpu_s": round(cpu, 1),
        "peak_mib": round(peak),
        "stages": stages,
        "metrics": metrics,
    }


def stage_costs(out: Path) -> dict[str, dict[str, float]]:
    """What each stage noted of itself, summed over its processes."""
    found: dict[str, dict[str, float]] = {}
    for path in sorted((out / ".pathai" / "usage").glob("*.json")):
        note = json.loads(path.read_text())
        row = found.setdefault(note["stage"], {"starts": 0, "cpu_s": 0.0, "peak_mib": 0.0})
        row["starts"] += 1
        row["cpu_s"] = round(row["cpu_s"] + note["cpu_s"], 2)
        row["peak_mib"] = max(row["peak_mib"], note["max_rss_mib"])
    return found


def start_up(*command: str) -> float:
    """Median wall seconds of ten fresh processes."""
    times = []
    for _ in range(10):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return round(statistics.median(times), 3)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[7, 1, 2])
    parser.add_argument("--cores", type=int, default=2)
    options = parser.parse_args()
    runs = [run_once(options.cores, seed) for seed in options.seeds]
    middle = sorted(runs, key=lambda run: run["wall_s"])[len(runs) // 2]
    bare = start_up(sys.executable, "-c", "pass")
    result = {
        "machine": machine(),
        "cores_used": options.cores,
        "runs": [{k: v for k, v in run.items() if k not in ("stages", "metrics")} for run in runs],
        "demo": {k: v for k, v in middle.items() if k != "metrics"},
        "import_pathai_s": round(start_up(sys.executable, "-c", "import pathai") - bare, 3),
        "help_s": start_up(str(PATHAI), "--help"),
    }
    metrics = {str(run["seed"]): run["metrics"] for run in runs}
    text = json.dumps(metrics, indent=1, sort_keys=True) + "\n"
    RESULT.with_name("demo_metrics.json").write_text(text)
    RESULT.write_text(json.dumps(result, indent=1, sort_keys=True) + "\n")
    print(f"wall {middle['wall_s']} s, cpu {middle['cpu_s']} s, peak {middle['peak_mib']} MiB")
    print(f"import pathai {result['import_pathai_s']} s, pathai --help {result['help_s']} s")
    print(f"{'stage':<10} starts   cpu s   peak MiB")
    for stage, row in middle["stages"].items():
        print(f"{stage:<10} {row['starts']:>6} {row['cpu_s']:>7.2f} {row['peak_mib']:>10.0f}")


if __name__ == "__main__":
    main()
