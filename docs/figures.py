"""Write the figures of the README from committed JSON: `python docs/figures.py`."""

import json
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


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
        task, counts = found["tasks"]["tumor"], found["counts"]
        held = f"{task['n_patients']} patients, {task['n_slides']} slides"
        auc = [task[name]["auroc"] for name in names]
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


def renewed(text: str) -> str:
    """The README with its block of figures written anew."""
    head, rest = text.split(BEGIN)
    return f"{head}{BEGIN}\n{figures()}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(renewed(readme.read_text()))
