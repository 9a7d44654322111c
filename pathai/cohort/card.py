"""The run card: versions, settings and what the run cost, as a page of its own.

It changes with every run while the results stay the same, so it lies beside the cohort page and
outside of the digest of results.
"""

from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

from pathai.config import Config
from pathai.page import number, page, shipped, template

SECTIONS = ("ingest", "tile", "features", "cells", "slide", "train", "predict", "findings",
            "cohort", "run")  # fmt: skip
"""Sections that may be shown; others name folders, servers and people."""
HIDDEN = ("ingest.remote", "run.webhook")
"""Addresses of servers, which may hold a secret."""
NOTED = {"cpu_s": "processor", "wall_s": "wall clock"}
"""Times that jobs note, and how they are called."""
PEAKS = ("max_rss_mib", "peak_mib")
"""Most memory of a job; the second as older runs noted it."""
UNITS = ((3600.0, "h"), (60.0, "min"), (1.0, "s"))


def settings(config: Config) -> dict[str, str]:
    """Settings that are not the default ones, as ``section.key``; of a path, only the name."""
    found = {}
    for section in SECTIONS:
        if not hasattr(config, section):
            continue
        chosen = getattr(config, section).model_dump(mode="json")
        usual = getattr(Config(), section).model_dump(mode="json")
        for key, value in _flat(section, chosen):
            if value != dict(_flat(section, usual)).get(key) and not key.startswith(HIDDEN):
                found[key] = _said(value)
    return found


def _flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flat(f"{name}.{key}", inner)
    else:
        yield name, value


def _said(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_said, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = "" if value is None else str(value)
    return PurePath(text).name if text.startswith(("/", "~")) else text or "none"


def run_page(record: Mapping[str, Any], chosen: Mapping[str, str], title: str, slides: int) -> str:
    """The card of a run.

    Parameters
    ----------
    record : dict
        From ``run_record``.
    chosen : dict
        From ``settings``.
    title : str
        Of the cohort.
    slides : int
        Of the sheet, for the cost of one.
    """
    stages = record["stages"]
    columns = [key for key in NOTED if any(key in one for one in stages.values())]
    rows = [
        {"stage": stage, "jobs": number(one["jobs"]), "times": [_time(one.get(k)) for k in columns],
         "peak": _memory(_peak(one)), "gpu": _gpu(one)}
        for stage, one in stages.items()
    ]  # fmt: skip
    total = [sum(one.get(k, 0.0) for one in stages.values()) for k in columns]
    cpu = total[columns.index("cpu_s")] if "cpu_s" in columns else None
    context = {
        "title": title,
        "versions": {"pathai": record["pathai"], "python": record["python"], **record["packages"]},
        "settings": chosen,
        "heads": [NOTED[key] for key in columns],
        "rows": rows,
        "total": [_time(t) for t in total],
        "peak": _memory(max((p for o in stages.values() if (p := _peak(o))), default=None)),
        "each": _time(cpu / slides) if cpu is not None and slides else "",
        "gpu": any(_gpu(one) for one in stages.values()),
        "energy": record.get("energy_kwh"),
    }
    body = template("run.html.jinja", "pathai.cohort").render(context)
    return page(f"{title}: run card", body, shipped("index.css", "pathai.cohort"))


def _peak(stage: Mapping[str, Any]) -> float | None:
    return next((float(stage[key]) for key in PEAKS if key in stage), None)


def _gpu(stage: Mapping[str, Any]) -> str:
    """Name and memory of the GPU that a stage used; empty without one."""
    memory = f", {_memory(stage['max_gpu_mib'])}" if "max_gpu_mib" in stage else ""
    return f"{stage['gpu']}{memory}" if stage.get("gpu") else ""


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    size, unit = next((u for u in UNITS if seconds >= u[0]), UNITS[-1])
    return f"{seconds / size:.1f} {unit}"


def _memory(mib: float | None) -> str:
    if mib is None:
        return "–"
    return f"{mib / 1024:.1f} GiB" if mib >= 1024 else f"{mib:.0f} MiB"
