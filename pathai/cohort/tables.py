"""The cohort's tables for other programs, and the record of versions and cost."""

import json
import platform
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pathai import __version__
from pathai.cohort.gather import Outcome, SlideRow
from pathai.plan import Model, Plan
from pathai.store.records import Answer, PredictionAttrs, Qc
from pathai.task import Target

FAILURE_COLUMNS = ("slide_id", "stage", "status", "code", "message", "remedy")
_PACKAGES = ("numpy", "scipy", "scikit-image", "zarr", "torch", "timm", "openslide-python",
             "tiffslide", "snakemake")  # fmt: skip


def failures_tsv(outcomes: Iterable[Outcome]) -> str:
    """One row per problem; the header is always there."""
    lines = [
        (o.slide_id, o.problem.stage, o.status, o.problem.code, o.problem.message, o.problem.remedy)
        for o in outcomes
    ]
    return _tsv([FAILURE_COLUMNS, *lines])


def slides_tsv(rows: Sequence[SlideRow], models: Sequence[Model]) -> str:
    """One row per slide of the sheet; an empty cell means not measured."""
    classes = sorted({name for row in rows if row.cells for name in row.cells.classes})
    header = ["slide_id", "case_id", "patient_id", "stain", "site", "status", "code"]
    header += ["mpp_x", "mpp_y", "mpp_source", "tissue_mm2", "pen_mm2", "dark_mm2"]
    header += [
        "unreadable_mm2",
        *_QC_COLUMNS,
        "flags",
        "nuclei",
        "nuclei_low",
        "nuclei_high",
        "nuclei_level",
    ]
    header += ["analyzed_mm2", "nuclei_per_mm2", "nuclei_per_mm2_low", "nuclei_per_mm2_high"]
    header += [f"nuclei_{name}" for name in classes]
    for model in models:
        for t, target in enumerate(model.task.asked):
            prefix = f"{model.name}_{target.name}" if t else model.name
            header += [f"{prefix}_{column}" for column in _columns(target)]
        header += [f"{model.name}_{column}" for column in _SLIDE_COLUMNS]
    return _tsv([header, *(_slide_cells(row, classes, models) for row in rows)])


_ARTEFACTS = ("pen", "edge", "blur", "fold", "bubble")
_QC_COLUMNS = (
    *("found_mm2", *(f"{name}_share" for name in _ARTEFACTS)),
    *("focus_um", "white_rgb", "stain_1_od_rgb", "stain_2_od_rgb", "stains_estimated"),
)
_CLASS_COLUMNS = ("label", "probability", "set")
_NUMBER_COLUMNS = ("value", "low", "high", "unit")
_SURVIVAL_COLUMNS = ("probability", "horizon", "median", "risk", "unit")
_SLIDE_COLUMNS = ("ood_percentile", "out_of_distribution", "reason")


def _columns(target: Target) -> tuple[str, ...]:
    """Columns of an answer; of three classes and more also the probability of each."""
    if target.has_classes:
        each = [f"p_{name}" for name in target.classes] if len(target.classes) > 2 else []
        return (*_CLASS_COLUMNS, *each)
    return _SURVIVAL_COLUMNS if target.kind == "survival" else _NUMBER_COLUMNS


def _slide_cells(row: SlideRow, classes: Sequence[str], models: Sequence[Model]) -> list[str]:
    sheet, info, cells = row.row, row.info, row.cells
    codes = dict.fromkeys(o.problem.code for o in row.outcomes)
    out = [sheet.slide_id, sheet.case_id, sheet.patient_id, sheet.stain, sheet.site, row.status]
    out.append(",".join(codes))
    out += [_g(info.mpp_x), _g(info.mpp_y), info.mpp_source] if info else [""] * 3
    out += [_g(row.areas_mm2.get(name)) for name in ("tissue", "pen", "dark", "unreadable")]
    out += _qc_cells(row.qc)
    out.append(", ".join(row.flags))
    if cells is None:
        out += [""] * (8 + len(classes))
    else:
        count, density = cells.count, cells.density_per_mm2
        out += [_g(v) for v in (count.value, count.low, count.high, count.level)]
        out += [_g(v) for v in (cells.analyzed_mm2, density.value, density.low, density.high)]
        by_class = dict(zip(cells.classes, cells.class_counts, strict=True))
        out += [str(by_class[name]) if name in by_class else "" for name in classes]
    for model in models:
        out += _answer_cells(row, model)
    return out


def _qc_cells(qc: Qc | None) -> list[str]:
    if qc is None:
        return [""] * len(_QC_COLUMNS)
    triples = [qc.white, *qc.stains.values()][:3]
    texts = [" ".join(map(_g, triple)) for triple in triples] + [""] * (3 - len(triples))
    shares = [_g(qc.share(name)) for name in _ARTEFACTS]
    return [
        _g(qc.found_mm2),
        *shares,
        _g(qc.focus_um),
        *texts,
        "yes" if qc.stains_estimated else "no",
    ]


def _answer_cells(row: SlideRow, model: Model) -> list[str]:
    asked, attrs = model.task.asked, row.answers.get(model.name)
    if attrs is None:
        unsuited = model.name in row.not_applicable
        reason = f"not applicable: stain {row.row.stain}" if unsuited else ""
        return [*[""] * sum(len(_columns(target)) for target in asked), "", "", reason]
    told = dict(enumerate(attrs.answers))
    cells = [c for t, target in enumerate(asked) for c in _one_answer(target, attrs, told.get(t))]
    foreign = "yes" if attrs.out_of_distribution else "no"
    return [*cells, _g(attrs.ood_percentile), foreign, attrs.reason]


def _one_answer(target: Target, attrs: PredictionAttrs, answer: Answer | None) -> list[str]:
    """Cells of one question; a withheld answer leaves them empty."""
    if answer is None or attrs.abstained:
        return [""] * len(_columns(target))
    unit = answer.unit_of_value
    if target.has_classes:
        chances = dict(zip(answer.classes, answer.prob, strict=False))
        each = [_g(chances.get(c)) for c in target.classes] if len(target.classes) > 2 else []
        return [answer.label, _g(chances.get(answer.label)), ", ".join(answer.set), *each]
    if target.kind == "survival":
        chance = answer.prob[0] if answer.prob else None
        return [_g(chance), _g(answer.horizon), _g(answer.value), _g(answer.risk), unit]
    return [_g(answer.value), _g(answer.low), _g(answer.high), unit]


def _g(value: float | None) -> str:
    return "" if value is None else f"{value:.8g}"


def _tsv(lines: Iterable[Sequence[str]]) -> str:
    return "".join("\t".join(map(_cell, line)) + "\n" for line in lines)


def _cell(text: str) -> str:
    """Text without tabs and line ends that no spreadsheet takes for a formula."""
    plain = " ".join(text.split())
    return f"'{plain}" if plain[:1] in ("=", "+", "-", "@") and not _is_number(plain) else plain


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def run_record(plan: Plan) -> dict[str, Any]:
    """Versions, configuration, and what the stages of the last runs cost.

    Outside of the results' digest. ``stages`` holds for each stage ``jobs``, ``wall_s``,
    ``cpu_s``, ``max_rss_mib`` and, where one was used, ``gpu`` and ``max_gpu_mib``. ``energy_kwh``
    is there where ``run.core_watts`` says what a busy core draws; it leaves a GPU out.
    """
    batches = [f"{stage}-{name}" for stage, names in plan.receipts().items() for name in names]
    paths = sorted(plan.state / "usage" / f"{batch}.json" for batch in batches)
    jobs = [job for path in paths for job in _jobs(path)]
    stages: dict[str, dict[str, Any]] = {}
    for job in jobs:
        _add(stages.setdefault(job.get("stage", "unknown"), {"jobs": 0}), job)
    totals = {
        name: round(sum(stage.get(name, 0) for stage in stages.values()), 3)
        for name in ("wall_s", "cpu_s")
    }
    record = {
        "pathai": __version__,
        "python": platform.python_version(),
        "packages": {name: found for name in _PACKAGES if (found := _installed(name))},
        # addresses of servers may hold a secret
        "configuration": plan.config.model_dump(mode="json", exclude={"ingest": {"remote"}}),
        "machine": {"system": platform.system(), "processor": platform.machine()},
        "stages": stages,
        "total": totals,
        "jobs": jobs,
    }
    if watts := plan.config.run.core_watts:
        record["energy_kwh"] = round(totals["cpu_s"] * watts / 3.6e6, 6)
    return record


def _add(total: dict[str, Any], job: dict[str, Any]) -> None:
    """Sum what is a sum, keep the largest of what is a peak."""
    total["jobs"] += 1
    if isinstance(job.get("gpu"), str):
        total["gpu"] = job["gpu"]
    for key, value in job.items():
        if not isinstance(value, int | float) or isinstance(value, bool):
            continue
        name = "max_rss_mib" if key == "peak_mib" else key  # as earlier versions noted it
        before = total.get(name, 0)
        total[name] = round(max(before, value) if name[:3] == "max" else before + value, 3)


def _jobs(path: Path) -> list[dict[str, Any]]:
    """Jobs in a usage file; one that was cut short tells nothing."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return []
    entries = found if isinstance(found, list) else [found]
    return [entry for entry in entries if isinstance(entry, dict)]


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
