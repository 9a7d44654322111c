"""Write the figures of README and pages from committed JSON: `python docs/figures.py`."""

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "docs"))

import figures_reliability  # noqa: E402

BLOCK = re.compile(r"<!-- (\w+): begin -->\n.*?<!-- \1: end -->", re.DOTALL)
PAGES = (
    "README.md",
    "docs/stages.md",
    "docs/encoders-own.md",
    "docs/counting.md",
    "docs/nuclei-small.md",
    "docs/cells.md",
    "docs/train.md",
    "docs/report-evaluation.md",
    "docs/reliability.md",
)


def read(name: str) -> dict:
    return json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())


def share(row: dict) -> str:
    """A share with its interval, in percent."""
    return f"{row['value']:.1%} ({row['low']:.1%} to {row['high']:.1%})"


def figures() -> str:
    """Markdown table of what the demo came to on several cohorts, and what it cost."""
    demo, cohorts = read("demo"), read("demo_metrics")
    machine = demo["machine"]
    names = ("model", "tissue_area", "constant")
    lines = [
        "Cohorts of 12 slides drawn from several seeds; figures are of the patients that training "
        "never saw. They are so few that the intervals are wide: these are the honest part.",
        "",
        "| seed | held out | on | pathai | tissue area alone | a constant |",
        "|---|---|---|---|---|---|",
    ]
    for run in demo["runs"]:
        found = cohorts[str(run["seed"])]
        task, counts = found["tasks"]["tumor"]["targets"]["tumor"], found["counts"]
        held = f"{task['n_patients']} patients, {task['n_slides']} slides"
        sources = {"model": task["figures"], **task["baselines"]}
        auc = [sources[name]["auroc"] for name in names]
        shown = " | ".join(f"{a['value']:.2f} ({a['low']:.2f} to {a['high']:.2f})" for a in auc)
        lines.append(f"| {run['seed']} | {held} | AUC of *tumor* | {shown} |")
        errors = " | ".join(share(counts[name]["mape"]) for name in names)
        lines.append(f"| | | error of the cell count | {errors} |")
    lines += [
        "",
        f"The whole demo took {demo['demo']['wall_s']:.0f} s, {demo['demo']['cpu_s']:.0f} s of "
        f"processor time and {demo['demo']['peak_mib'] / 1024:.1f} GiB of memory on "
        f"{demo['cores_used']} cores ({machine['processor']}). `import pathai` takes "
        f"{demo['import_pathai_s'] * 1000:.0f} ms, `pathai --help` {demo['help_s']:.2f} s.",
        "",
        "From `benchmarks/results/demo.json` and `demo_metrics.json`, written by "
        "`benchmarks/demo.py`; this block by `docs/figures.py`.",
    ]
    return "\n".join(lines)


def tiles() -> str:
    """Markdown table of what storing and feeding tiles costs, in decodes of the same tiles."""
    found = read("tiles")
    store, process = found["store"], found["process"]
    start, memory = process["start_up"], process["memory"]
    lines = [
        "One unit is one decode of the same tissue tiles by libjpeg-turbo, processor time of one "
        f"core, on a slide of {found['slide_px']} px with known tissue "
        f"({found['machine']['processor']}).",
        "",
        "| what | decodes | beside it |",
        "|---|---|---|",
        f"| find tissue and artefacts, lay the grid | {store['segment_and_grid']:.2f} | covers "
        f"{store['coverage']:.2%} of the tissue and {store['background']:.1%} background |",
        f"| find and store | {store['segment_store']:.2f} | OpenSlide and zarr's defaults "
        f"{store['openslide_zarr_defaults']:.1f} |",
        f"| the same, with the SHA-256 of every file | {store['segment_store_sha256']:.2f} | "
        f"{store['tiles_not_byte_identical']} of {store['tiles']} tiles differ from the slide's "
        f"bytes; {store['store_per_source_byte']:.3f} of their room |",
    ]
    for row in found["feed"]:
        beside = f"{row['tiles_not_equal_to_openslide']} tiles unlike OpenSlide's"
        if "openslide_ratio" in row:
            beside += (
                f"; OpenSlide {row['openslide_ratio']:.1f}, naive loader {row['loader_ratio']:.1f}"
            )
        half = ", half the resolution, unit with its area resize" if row["mpp"] > 0.25 else ""
        lines.append(
            f"| feed {row['tile_px']} px tiles from {row['source_tile_px']} px ones{half} | "
            f"{row['ratio']:.2f} | {beside} |"
        )
    arrays, two = found["slide_to_arrays"], found["two_processes"]
    lines += [
        f"| slide file to all tissue tiles as arrays | {arrays['ratio']:.2f} | "
        f"{arrays['tiles']} tiles |",
        "",
        f"Two processes feed {two['speedup']:.2f} times as fast as one. Starting `pathai ingest` "
        f"takes {start['ingest_cpu_s']:.2f} s and `pathai tile` {start['tile_cpu_s']:.2f} s of "
        "processor time, on a slide of a few tiles. Peak memory of tiling and of feeding at 16 "
        "times the pixels: "
        f"{memory['16x']['tile_mib']} and {memory['16x']['feed_mib']} MiB, "
        f"{memory['tile_ratio']:.2f} and {memory['feed_ratio']:.2f} times that at one time.",
        "",
        "From `benchmarks/results/tiles.json`, written by `benchmarks/tiles.py`.",
    ]
    return "\n".join(lines)


def between(row: dict) -> str:
    """A figure with its interval."""
    if row["low"] is None:
        return f"{row['value']:.2f}"
    return f"{row['value']:.2f} ({row['low']:.2f} to {row['high']:.2f})"


def encoders() -> str:
    """Markdown tables of what linear probes read from each encoder, and of its cost."""
    found = read("encoders")
    points, seeds = found["nucls_points"], found["seeds"]
    lines = [
        f"NuCLS: {sum(points.values())} labeled nuclei of 10 breast tiles ("
        + ", ".join(f"{count} {name}" for name, count in points.items())
        + "), patches of 32 µm. Intervals are over the 10 images.",
        "",
        "| encoder | numbers | balanced accuracy, 4 classes | mean AUC, 4 classes | AUC, tumor "
        "against rest | CPU ms per tile |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in found["nucls"].items():
        cells = (between(row[k]) for k in ("balanced_accuracy", "mean_auroc", "tumor_auroc"))
        cost = found["cpu_ms_per_tile"][name]
        lines.append(f"| {name} | {found['dims'][name]} | {' | '.join(cells)} | {cost:.0f} |")
    fitted, judged = (
        4 * (stop - start) for start, stop in (seeds["synthetic probe"], seeds["synthetic test"])
    )
    lines += [
        "",
        f"Synthetic tiles of 256 px: probes fitted on {fitted} tiles of the training looks, judged "
        f"on {judged} tiles of the test looks. Intervals are over fields.",
        "",
        "| encoder | R² of nuclei per mm² | R² of the tumor's share of nuclei | AUC, any tumor "
        "nucleus |",
        "|---|---|---|---|",
    ]
    for name, row in found["synthetic"].items():
        cells = (between(row[k]) for k in ("per_mm2_r2", "tumor_r2", "tumor_auroc"))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += [
        "",
        f"A network trained on ImageNet: {found['imagenet']}. Processor: "
        f"{found['machine']['processor']}, one thread. From `benchmarks/results/encoders.json`, "
        "written by `benchmarks/encoders.py`; this block by `docs/figures.py`.",
    ]
    return "\n".join(lines)


def counting() -> str:
    """Markdown tables of counts that were learned from slide counts alone."""
    found = read("counting")
    cohort, tasks = found["cohort"], found["tasks"]
    low, _, median, _, high = cohort["cancer_nuclei_quartiles"]
    few, many = cohort["side_px"]
    lines = [
        f"{cohort['patients']} patients, one synthetic slide each ({few:,} to {many:,} px a side "
        f"at 0.5 µm/px, {cohort['tiles']:,} tiles in all); {cohort['without_cancer']} have no "
        f"cancer, the others {low:.0f} to {high:.0f} cancer nuclei (median {median:.0f}). All "
        "figures are out of fold, with 95 % intervals over patients.",
        "",
        "| features | error of the slide's count | intervals that hold the truth (promised: 90 %) "
        "| tiles' shares and true counts: Pearson | Spearman |",
        "|---|---|---|---|---|",
    ]
    counts = [row for row in tasks.values() if "tiles" in row]
    for name, row in tasks.items():
        if "tiles" in row:
            lines.append(
                f"| {name.removeprefix('cancer-cells-').replace('-table', ' and nuclei per tile')}"
                f" | {share(row['figures']['mape'])} | {share(row['intervals']['coverage'])} | "
                f"{between(row['tiles']['pearson'])} | {between(row['tiles']['spearman'])} |"
            )
    for name, words in (("tissue_area", "tissue area alone"), ("constant", "a constant")):
        lines.append(f"| {words} | {share(counts[0]['baselines'][name]['mape'])} | | | |")
    lines += [
        "",
        "Error: mean absolute difference as a share of the true count, over slides with cancer. "
        "Tumor cellularity, the share of cancer among all nuclei, from two counts per slide:",
        "",
        "| features | mean absolute error | tissue area alone | a constant | intervals that hold "
        "the truth |",
        "|---|---|---|---|---|",
    ]
    for name, row in tasks.items():
        if "tiles" not in row:
            each = (row["figures"], row["baselines"]["tissue_area"], row["baselines"]["constant"])
            cells = " | ".join(share(figures["mae"]) for figures in each)
            what = name.removeprefix("cellularity-")
            lines.append(f"| {what} | {cells} | {share(row['intervals']['coverage'])} |")
    lines += [
        "",
        f"Processor: {found['machine']['processor']}, one thread. From "
        "`benchmarks/results/counting.json`, written by `benchmarks/counting.py`; this block by "
        "`docs/figures.py`.",
    ]
    return "\n".join(lines)


def cells() -> str:
    """Markdown tables of how well the detectors find nuclei, and how fast."""
    found = read("cells")
    real, tile = found["real"], found["speed"]["512 px at 0.5 µm/px"]
    slide = found["slide"]
    lines = [
        "On labeled sets, by networks that never saw the set, at the threshold of the other sets:",
        "",
        "| set | pictures | nuclei | F1, network | F1, classical | difference, 95 % | "
        "found per true, network | classical |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in ("nucls", "dsb2018_he"):
        row = real[name]
        one, other = row["network that never saw it"], row["classical"]
        low, high = row["difference_of_f1_95"]
        lines.append(
            f"| {name} | {one['images']} | {one['nuclei']:,} | {_f1(one)} | {_f1(other)} | "
            f"{low:+.3f} to {high:+.3f} | {one['found_per_true']:.2f} | "
            f"{other['found_per_true']:.2f} |"
        )
    lines += [
        "",
        "On drawn fields of 4,600 nuclei per mm², H&E and Ki-67, looks and seeds of the test side:",
        "",
        "| nuclei | asked | F1, network | error of counts | error of the Ki-67 share, points | "
        "F1, classical |",
        "|---|---|---|---|---|---|",
    ]
    ours, plain = found["crowds"]["nuclei-small"], found["crowds"]["classical"]
    for name in ("separated", "touching", "overlapping"):
        row, (least, most) = ours[name], ours[name]["wanted"]
        lines.append(
            f"| {name} | {least}, {most} % | {row['f1']:.3f} | "
            f"{row['count_error_percent']['mean_absolute']:.1f} % | "
            f"{row['positive_share_error_points']['mean_absolute']:.1f} | {plain[name]['f1']:.3f} |"
        )
    most = ours["other looks, scanners and µm/px"]["largest difference, points"]
    lines += [
        "",
        f"Between looks, scanners and 0.25 to 0.6 µm/px, F1 of touching nuclei differs by at most "
        f"{most['f1']:.1f} points and the Ki-67 share by {most['positive_share']:.1f}.",
        "",
        f"A tile of 512 px at 0.5 µm/px with {tile['nuclei']} nuclei takes "
        f"{tile['network, with peaks and outlines']:.0f} ms of one core in {tile['numbers'][6:]} "
        f"({tile['network, float32']:.0f} ms in float32; asked: {tile['wanted']} ms), "
        f"{tile['after the forward pass, share']:.0%} of it after the network; the classical "
        f"detector {tile['classical']:.0f} ms. On a drawn field of {slide['mm2']:.1f} mm² in "
        f"blocks of {slide['block_px']} px the whole search takes {slide['cpu_s']:.1f} s of "
        "processor time, "
        f"{slide['forward_share']:.0%} of it in the network (asked: 90 %), "
        f"{slide['tiles_per_s']:.0f} tiles of 512 px per second and core; two workers are "
        f"{slide['two_workers']:.2f} times as fast as one (asked: 1.8). "
        f"Processor: {found['machine']['processor']}.",
        "",
        "From `benchmarks/results/cells.json`, written by `benchmarks/cells.py`; this block by "
        "`docs/figures.py`.",
    ]
    return "\n".join(lines)


def cells_real() -> str:
    """Markdown table of what was counted on real slides."""
    found = read("cells_real")
    lines = ["| slide | tissue, mm² | nuclei | positive, % |", "|---|---|---|---|"]
    for name, row in found.items():
        value, low, high = row["nuclei"]
        share = (
            "{} ({} to {})".format(*row["positive_percent"]) if "positive_percent" in row else ""
        )
        lines.append(
            f"| {name} | {row['tissue_mm2']} | {value:,} ({low:,} to {high:,}) | {share} |"
        )
    return "\n".join(lines)


def _f1(row: dict) -> str:
    """F1 with its interval over pictures."""
    low, high = row["f1_95"]
    return f"{row['f1']:.3f} ({low:.3f} to {high:.3f})"


def cells_intervals() -> str:
    """Markdown table of how often nominal 95 % intervals hold the truth."""
    lines = [
        "| detector | stain | figure | holds the truth | binomial band of 95 % | median width |",
        "|---|---|---|---|---|---|",
    ]
    for name in ("cells_intervals", "cells_intervals_classical"):
        found = read(name)
        for stain in ("H&E", "Ki-67"):
            for figure, row in found[stain]["unseen"].items():
                low, high = row["band"]
                width = f"{row['median_width']:.3f}" if "median_width" in row else ""
                lines.append(
                    f"| {found['detector']} | {stain} | {figure} | {row['coverage']:.1%} | "
                    f"{low:.1%} to {high:.1%} | {width} |"
                )
    lines += [
        "",
        "Widths: of a count as a share of it, of a positive share in itself; a field of "
        f"{found['field_mm2']:.4f} mm² holds some 70 nuclei. From "
        "`benchmarks/results/cells_intervals.json` and `cells_intervals_classical.json`, written "
        "by `benchmarks/cells_intervals.py`; this block by `docs/figures.py`.",
    ]
    return "\n".join(lines)


def mil() -> str:
    """Markdown table of accuracy and speed beside a reference in the same run."""
    found = read("mil")
    lines = [
        "| bags | pathai | torchmil's ABMIL | SVM on statistics of the bag |",
        "|---|---|---|---|",
    ]
    for name in ("musk1", "musk2"):
        row, runs = found["musk"][name]["accuracy"], len(found["musk"][name]["runs"])
        shown = " | ".join(f"{row[k]:.1%}" for k in ("pathai", "torchmil_abmil", "svm"))
        lines.append(f"| {name.capitalize()}, {runs} x 10 folds | {shown} |")
    nested, step = found["nested"], found["step"]["step"]
    lines += [
        "",
        "Accuracy of answers out of fold, in the same folds; our head is chosen on inner folds "
        "among the shipped ones. Nested cross-validation of "
        f"{nested['slides']} slides of {nested['tiles']} tiles, {nested['folds']} x "
        f"{nested['inner_folds']} folds, takes {nested['wall_s']:.0f} s on {nested['processes']} "
        f"cores (asked: {nested['target_wall_s']} s). A training step on {step['tiles']:,} tiles "
        f"is {step['128 units']['times_as_fast']:.2f} times as fast as torchmil's with 128 units, "
        f"{step['512 units']['times_as_fast']:.2f} times with 512.",
        "",
        "From `benchmarks/results/mil.json`, written by `benchmarks/mil.py`; this block by "
        "`docs/figures.py`.",
    ]
    return "\n".join(lines)


def report_evaluation() -> str:
    """Markdown tables of every gate of the report's evaluation, and what it ran on."""
    found = read("report")
    lines = ["| suite | figure | value | must be |", "|---|---|---|---|"]
    for part in ("template", "tiny"):
        for suite in found[part]["suites"]:
            for row in suite["gates"]:
                value, limit = f"{row['value']:.4g}", f"{row['sense']} {row['limit']:g}"
                kept = "" if row["passed"] else " (**not kept**)"
                lines.append(f"| {suite['name']} | {row['name']} | {value}{kept} | {limit} |")
    suites = {s["name"]: s["figures"] for p in ("template", "tiny") for s in found[p]["suites"]}
    plain, seeded = suites["synthetic"], suites["seeded"]
    said = next(s["figures"] for s in found["tiny"]["suites"] if s["name"] == "model")
    lines += [
        "",
        f"{plain['cases']:,} synthetic cases with {plain['statements']:,} sentences; "
        f"{seeded['errors']:,} seeded errors of {seeded['kinds']} kinds; "
        f"{seeded['paraphrased']['statements']:,} paraphrases in "
        f"{seeded['paraphrased']['variants']} wordings. The tiny model gave {said['raw_texts']:,} "
        f"texts for {said['statements']:,} sentences, {said['raw_wrong']:,} of them wrong; "
        f"{said['fallback_rate']:.1%} of the sentences fell back to the template. "
        f"({found['machine']['processor']}.) From `benchmarks/results/report.json`, written by "
        "`benchmarks/report.py`; this block by `docs/figures.py`.",
    ]
    return "\n".join(lines)


PARTS = {
    **figures_reliability.PARTS,
    "mil": mil,
    "report_evaluation": report_evaluation,
    "figures": figures,
    "tiles": tiles,
    "encoders": encoders,
    "counting": counting,
    "cells": cells,
    "cells_real": cells_real,
    "cells_intervals": cells_intervals,
}


def renewed(text: str) -> str:
    """A page with its blocks of figures written anew."""
    return BLOCK.sub(
        lambda m: f"<!-- {m[1]}: begin -->\n{PARTS[m[1]]()}\n<!-- {m[1]}: end -->", text
    )


if __name__ == "__main__":
    for name in PAGES:
        page = ROOT / name
        page.write_text(renewed(page.read_text()))
