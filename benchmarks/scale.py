"""How cost grows with slides and pixels, and the model that `pathai estimate` uses.

    python benchmarks/scale.py [--only sheet dry runs page] [--slides 10 40 200] [--held-out 24]

Draws synthetic slides, times the sheet, the dry run, whole runs and the cohort page, and writes
benchmarks/results/scale.json; from whole runs it also writes the model into pathai/rates.json.
Times are processor seconds with all children, so other work on the machine disturbs them little.
The largest run is done once more in one process, to tell work from starting. At the end the model
meets slides, sizes and numbers that it has not seen.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from machine import machine
from scale_model import per_slide, predicted, slope, starts

from pathai.plan import SLIDE_STAGES, Plan
from pathai.store.manifest import read_manifest
from pathai.store.records import TISSUE
from pathai.testing.synthetic import SCANNERS, TEST_LOOKS, TRAIN_LOOKS, Recipe, write_slide

HERE = Path(__file__).parent
RESULT = HERE / "results" / "scale.json"
RATES = HERE.parent / "pathai" / "rates.json"
PATHAI = str(Path(sys.executable).with_name("pathai"))
SIDE = 720
"""Side of a small slide, px; growth is in multiples of its area."""
GROWTH = {1: 2, 2: 2, 4: 2, 9: 2, 16: 2}
"""Slides of each multiple of the small slide's pixels, beside the small ones."""
UNSEEN = (1.5, 3.0, 6.0, 12.0)
"""Multiples of the slides that the model is tried on."""
BARS = {
    "sheet_100000_cpu_s": 5.0,
    "dry_1000_cpu_s": 30.0,
    "dry_10000_cpu_s": 300.0,
    "orchestration_s_per_slide": 1.0,
    "memory_mb_per_slide": 0.2,
}


def draw(folder: Path, sides: list[int], seed: int) -> Path:
    """A run of synthetic slides, two to a case."""
    (folder / "in").mkdir(parents=True)
    looks = [*TRAIN_LOOKS.values(), *TEST_LOOKS.values()]
    lines = ["slide_id\tpath\tcase_id\tpatient_id"]
    for i, side in enumerate(sides):
        recipe = replace(Recipe(seed=seed + i, width=side, height=side), look=looks[i % len(looks)])
        scanner = list(SCANNERS.values())[i % len(SCANNERS)]
        write_slide(folder / "in" / f"S{i:04d}.svs", recipe, scanner=scanner)
        lines.append(f"S{i:04d}\tin/S{i:04d}.svs\tC{i // 2:04d}\tP{i // 2:04d}")
    (folder / "slides.tsv").write_text("\n".join(lines) + "\n")
    (folder / "config.yaml").write_text("schema_version: 1\n")
    return folder


def part_of(whole: Path, folder: Path, count: int) -> Path:
    """A run of the first slides of another."""
    folder.mkdir()
    (folder / "in").symlink_to(whole / "in")
    lines = (whole / "slides.tsv").read_text().splitlines(keepends=True)
    (folder / "slides.tsv").write_text("".join(lines[: count + 1]))
    (folder / "config.yaml").write_text("schema_version: 1\n")
    return folder


def names_only(folder: Path, count: int) -> Path:
    """A run whose slides are not there: enough for the sheet and a dry run."""
    folder.mkdir()
    lines = ["slide_id\tpath\tcase_id\tpatient_id\tstain\tsite\ttumor"]
    lines += [
        f"S{i:06d}\tin/S{i:06d}.svs\tC{i // 2:06d}\tP{i // 2:06d}\tH&E\tA{i % 4}\tno"
        for i in range(count)
    ]
    (folder / "slides.tsv").write_text("\n".join(lines) + "\n")
    (folder / "config.yaml").write_text("schema_version: 1\n")
    return folder


def cost(command: list[str], cwd: Path) -> dict[str, Any]:
    """Run a command; processor and wall seconds, and what it printed."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    done = subprocess.run(command, cwd=cwd, env=environment, stdout=pipe, stderr=pipe, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}\n{done.stderr[-2000:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"cpu_s": cpu, "wall_s": time.perf_counter() - start, "text": done.stdout}


def sheet(place: Path) -> dict[str, Any]:
    """Validation of 100,000 rows, with the start of Python."""
    code = "import sys; from pathlib import Path; from pathai.sheet import load_sheet; "
    code += "assert len(load_sheet(Path('slides.tsv')).rows) == 100000"
    found = cost([sys.executable, "-c", code], names_only(place / "sheet", 100_000))
    return {"sheet_100000_cpu_s": found["cpu_s"]}


def dry(place: Path) -> dict[str, Any]:
    """Dry runs of 1,000 and 10,000 slides."""
    found = {}
    for count in (1_000, 10_000):
        one = cost([PATHAI, "run", "-n"], names_only(place / f"dry{count}", count))
        found[f"dry_{count}_cpu_s"] = one["cpu_s"]
    return found


# --- whole runs ------------------------------------------------------------------------------


def whole_run(folder: Path) -> dict[str, Any]:
    """Run a folder to the end; its cost, jobs, and the cost of each job that noted one."""
    found = cost([PATHAI, "run", "--cores", "2"], folder)
    plan = Plan(folder / "config.yaml")
    used: dict[str, list[tuple[float, tuple[str, ...]]]] = {}
    for stage in (*SLIDE_STAGES, "report"):
        batches = plan.case_batches if stage == "report" else plan.slide_batches
        for name, members in batches.items():
            note = plan.state / "usage" / f"{stage}-{name}.json"
            used.setdefault(stage, []).append((json.loads(note.read_bytes())["cpu_s"], members))
    page = json.loads((plan.state / "usage" / "cohort-cohort.json").read_bytes())
    return {
        "slides": len(plan.sheet.rows), "cpu_s": found["cpu_s"], "wall_s": found["wall_s"],
        "jobs": {stage: len(names) for stage, names in plan.receipts().items() if names},
        "used": used, "page": page,
    }  # fmt: skip


def alone(folder: Path, out: Path) -> dict[str, Any]:
    """The same in one process; the first slide's and case's loading is taken out of it."""
    cost([sys.executable, str(HERE / "scale_alone.py"), str(folder), str(out)], folder)
    found: dict[str, Any] = json.loads(out.read_text())
    for stage in SLIDE_STAGES:
        costs = [one[stage] for one in found["slides"].values()]
        costs[0] = min(costs[0], float(np.median(costs)))
        found["slides"][min(found["slides"])][stage] = costs[0]
    first = min(found["cases"])
    found["cases"][first] = min(found["cases"][first], float(np.median([*found["cases"].values()])))
    return found


def units(folder: Path) -> dict[str, dict[str, float]]:
    """What the stages' work is counted in, for every slide with tissue."""
    plan = Plan(folder / "config.yaml")
    found = {}
    for row in plan.sheet.rows:
        slide = plan.results.slide(row.slide_id)
        if read_manifest(slide.path / "tile.manifest.json").status == "skipped":
            continue
        info, tissue = slide.read_slide(), slide.read_tissue()
        mm2 = tissue.area_mm2(TISSUE)
        tiles = slide.read_features("morphology").x.shape[0]
        found[row.slide_id] = {"mm2": mm2, "mpx": mm2 / (info.mpp_x * info.mpp_y), "tiles": tiles}
    return found


def runs(place: Path, counts: list[int], held_out: int) -> dict[str, Any]:
    """Whole runs of growing number, growth of pixels, the model, and its error on a fresh run."""
    whole = draw(place / "whole", [SIDE] * max(counts), seed=5_000)
    done = [whole_run(part_of(whole, place / f"run{n}", n)) for n in sorted(counts)]
    single = part_of(whole, place / "single", max(counts))
    small = alone(single, place / "single.json")
    sides = [round(SIDE * m**0.5) for m, n in GROWTH.items() for _ in range(n)]
    grown = draw(place / "grown", sides, seed=7_000)
    big = alone(grown, place / "grown.json")
    costs = {f"small {i}": c for i, c in small["slides"].items()}
    work = {f"small {i}": u for i, u in units(single).items()}
    costs |= {f"large {i}": c for i, c in big["slides"].items()}
    work |= {f"large {i}": u for i, u in units(grown).items()}
    model = {"stages": per_slide(costs, work), **starts(done, small)}
    model["ingest_s"] = float(np.median([c["ingest"] for c in costs.values()]))
    model["case_s"] = float(np.median([*small["cases"].values()]))
    pages = [(r["slides"], r["page"]["cpu_s"]) for r in done]
    line = np.polyfit(*zip(*pages, strict=True), 1)
    model["page_s"] = max(float(line[0]), 0.0)
    model["job_s"]["cohort"] = max(float(line[1]), 0.0)
    inside = sum(sum(c.values()) for c in small["slides"].values()) + sum(small["cases"].values())
    last = done[-1]
    found = {
        "runs": [
            {"slides": r["slides"], "cpu_s": r["cpu_s"], "each_s": r["cpu_s"] / r["slides"],
             "jobs": sum(r["jobs"].values()), "page_peak_mib": r["page"]["max_rss_mib"]}
            for r in done
        ],
        "orchestration_s_per_slide": (last["cpu_s"] - inside) / last["slides"],
        **held(small["states"]),
        "pixels": growth(sides, big),
        "model": model,
        "fresh_run": fresh(place, model, held_out),
    }  # fmt: skip
    write_model(model, found["fresh_run"])
    return found


def held(states: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Growth of memory, and handles that are left open, over the slides of one process."""
    memory = {stage: slope([s["mib"] for s in found]) for stage, found in states.items()}
    late = {stage: found[len(found) // 4 :] for stage, found in states.items()}
    more = {s: max(v["handles"] for v in f) - f[0]["handles"] for s, f in late.items()}
    shared = max(v["shared"] for f in states.values() for v in f) - states["ingest"][0]["shared"]
    return {
        "memory_mb_per_slide": max(memory.values()) * 1.048576,
        "memory_mb_per_slide_by_stage": {s: v * 1.048576 for s, v in memory.items()},
        "handles_more": max(more.values()),
        "shared_memory_files_more": shared,
    }


def growth(sides: list[int], big: dict[str, Any]) -> list[dict[str, float]]:
    """Cost by multiple of a small slide's pixels."""
    found: dict[float, list[float]] = {}
    for side, costs in zip(sides, big["slides"].values(), strict=True):
        found.setdefault(round((side / SIDE) ** 2), []).append(sum(costs.values()))
    return [{"pixels": m, "cpu_s_per_slide": float(np.mean(v))} for m, v in found.items()]


def fresh(place: Path, model: dict[str, Any], count: int) -> dict[str, Any]:
    """A run of sizes and a number that the model has not seen."""
    sides = [round(SIDE * UNSEEN[i % len(UNSEEN)] ** 0.5) for i in range(count)]
    folder = draw(place / "fresh", sides, seed=9_000)
    write_model(model, {})
    before = json.loads(cost([PATHAI, "estimate", "--json"], folder)["text"])
    guessed = 3600 * sum(v["value"] for k, v in before["totals"].items() if k.startswith("core_h"))
    done = whole_run(folder)
    known_units, ids = units(folder), [r.slide_id for r in Plan(folder / "config.yaml").sheet.rows]
    work = {row: known_units.get(row, {}) for row in ids}
    known = predicted(model, work, done["jobs"], -(-count // 2))
    return {
        "slides": count, "sides_px": sorted(set(sides)), "cpu_s": done["cpu_s"],
        "predicted_s": known, "error": known / done["cpu_s"] - 1,
        "estimated_s": guessed, "error_before_tiling": guessed / done["cpu_s"] - 1,
    }  # fmt: skip


def write_model(model: dict[str, Any], checked: dict[str, Any]) -> None:
    """Put the model into what `pathai estimate` reads."""
    rates = json.loads(RATES.read_text())
    for stage, name, key in (
        ("tile", "copied_s_per_mpx", ""), ("features", "features_s_per_tile", "morphology"),
        ("cells", "cells_s_per_mm2", "nuclei-small"),
    ):  # fmt: skip
        fit = model["stages"][stage]
        middle = fit["unit_s"]
        span = {"low": min(fit["low"], middle), "value": middle, "high": max(fit["high"], middle)}
        rates[name] = {**rates[name], key: span} if key else span
    slide_s = {s: fit["slide_s"] for s, fit in model["stages"].items()}
    names = ("job_s", "run_s", "snakemake_job_s", "case_s", "page_s")
    rates["starting"] = {
        "slide_s": {**slide_s, "ingest": model["ingest_s"]},
        **{name: model[name] for name in names},
        "error": checked.get("error"),
        "error_before_tiling": checked.get("error_before_tiling"),
        "fresh_slides": checked.get("slides", 0),
    }
    RATES.write_text(json.dumps(rounded(rates), indent=1, sort_keys=True) + "\n")


def rounded(value: Any) -> Any:
    """Three digits: more would not come out again."""
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(v) for v in value]
    return float(f"{value:.3g}") if isinstance(value, float) else value


def main() -> None:
    """Measure the parts that are asked for; print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parts = ("sheet", "dry", "runs")
    parser.add_argument("--only", nargs="+", choices=parts, default=parts)
    parser.add_argument("--slides", nargs="+", type=int, default=[10, 40, 200])
    parser.add_argument("--held-out", type=int, default=24)
    parser.add_argument("--out", type=Path, default=RESULT)
    given = parser.parse_args()
    found = json.loads(given.out.read_text()) if given.out.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        if "sheet" in given.only:
            found |= sheet(place)
        if "dry" in given.only:
            found |= dry(place)
        if "runs" in given.only:
            found |= runs(place, given.slides, given.held_out)
    found = {**found, "measured_on": machine(), "bars": BARS}
    given.out.write_text(json.dumps(rounded(found), indent=1, sort_keys=True) + "\n")
    for name, bar in BARS.items():
        if name in found:
            print(f"{name:<28}{found[name]:>10.3g}  (at most {bar:g})")
    for one in found.get("runs", []):
        print(
            f"{one['slides']:>6} slides {one['cpu_s']:>10.0f} s  {one['cpu_s_per_slide']:.2f} each"
        )
    for one in found.get("pixels", []):
        print(f"{one['pixels']:>5}x pixels {one['cpu_s_per_slide']:>10.2f} s a slide")
    if "fresh_run" in found:
        print(f"error on a fresh run {found['fresh_run']['error']:+.0%}, before tiling "
              f"{found['fresh_run']['error_before_tiling']:+.0%}")  # fmt: skip


if __name__ == "__main__":
    main()
