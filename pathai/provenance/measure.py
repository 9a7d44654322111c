"""By how much two results differ: counts, vectors, answers, values of findings."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pathai.errors import PathaiError
from pathai.plan import Plan
from pathai.provenance.made import Made
from pathai.store.groups import (
    read_cells_attrs,
    read_features,
    read_prediction,
    read_slide_vector,
)

MOST = 20
"""Findings of one case that are told one by one."""


@dataclass(frozen=True)
class Measure:
    """One figure of both results."""

    what: str
    a: str
    b: str

    def __str__(self) -> str:
        return f"{self.what}: {self.a} -> {self.b}" if self.b else f"{self.what}: {self.a}"


def measures(a: Plan, b: Plan, one: Made, other: Made) -> Iterator[Measure]:
    """What can be measured of two results of one stage; nothing where one cannot be read."""
    for output in one.outputs:
        own = output.removeprefix(one.file.rpartition("/")[0])
        pair = (a.root / output.rstrip("/"), _beside(b.root / other.file, own))
        reader = _READERS.get(one.manifest.stage)
        fits = output.endswith((".zarr/", "findings.json"))
        if reader is None or not fits or not all(path.exists() for path in pair):
            continue
        try:
            yield from reader(*pair)
        except (PathaiError, ValueError, KeyError, OSError):  # damaged: verify names it
            yield Measure(own.strip("/"), "cannot be read", "")


def _beside(manifest: Path, own: str) -> Path:
    return manifest.parent / own.strip("/")


def _features(a: Path, b: Path) -> Iterator[Measure]:
    x, y = read_features(a), read_features(b)
    if len(x.x) != len(y.x):
        yield Measure("tiles", str(len(x.x)), str(len(y.x)))
    elif not np.array_equal(x.xy_px0, y.xy_px0):
        moved = int((x.xy_px0 != y.xy_px0).any(axis=1).sum())
        yield Measure("tiles at another place", f"{moved} of {len(x.x)}", "")
    elif x.x.shape == y.x.shape:
        yield from _vectors(x.x, y.x)
    else:
        yield Measure("length of a vector", str(x.x.shape[1]), str(y.x.shape[1]))


def _vectors(x: Any, y: Any) -> Iterator[Measure]:
    """Largest and usual distance of two equally shaped arrays, in units of the first's spread."""
    apart = np.abs(x.astype(np.float64) - y.astype(np.float64))
    if not apart.size or not apart.any():
        return
    rows = int(apart.reshape(len(apart), -1).any(axis=1).sum())
    yield Measure("rows that differ", f"{rows} of {len(apart)}", "")
    yield Measure("largest difference", f"{apart.max():.4g}", "")
    yield Measure("mean difference", f"{apart.mean():.4g}", "")


def _slide_vector(a: Path, b: Path) -> Iterator[Measure]:
    x, y = read_slide_vector(a).vector, read_slide_vector(b).vector
    if x.shape == y.shape:
        yield from _vectors(x[None], y[None])
    else:
        yield Measure("length of the vector", str(len(x)), str(len(y)))


def _cells(a: Path, b: Path) -> Iterator[Measure]:
    x, y = read_cells_attrs(a), read_cells_attrs(b)
    pairs = [("nuclei", f"{x.count.value:g}", f"{y.count.value:g}")]
    pairs += [("analyzed mm2", f"{x.analyzed_mm2:.4g}", f"{y.analyzed_mm2:.4g}")]
    if x.classes == y.classes:
        counts = zip(x.classes, x.class_counts, y.class_counts, strict=True)
        pairs += [(f"nuclei {name}", str(m), str(n)) for name, m, n in counts]
    yield from (Measure(*pair) for pair in pairs if pair[1] != pair[2])


def _prediction(a: Path, b: Path) -> Iterator[Measure]:
    x, y = read_prediction(a), read_prediction(b)
    for one, other in zip(x.attrs.answers, y.attrs.answers, strict=False):
        if one.label != other.label:
            yield Measure(f"answer {one.name}".strip(), one.label or "none", other.label or "none")
        if one.value != other.value:
            yield Measure(f"value {one.name}".strip(), _told(one.value), _told(other.value))
        if len(one.prob) == len(other.prob) and one.prob != other.prob:
            apart = max(abs(m - n) for m, n in zip(one.prob, other.prob, strict=True))
            yield Measure("largest difference of a probability", f"{apart:.4g}", "")
    if x.attrs.abstained != y.attrs.abstained:
        words = {True: "withheld", False: "given"}
        yield Measure("answer", words[x.attrs.abstained], words[y.attrs.abstained])
    if x.attention.shape == y.attention.shape and len(x.attention):
        apart = float(np.abs(x.attention - y.attention).max())
        if apart:
            yield Measure("largest difference of attention", f"{apart:.4g}", "")


def _told(value: float | None) -> str:
    return "none" if value is None else f"{value:.6g}"


def _findings(a: Path, b: Path) -> Iterator[Measure]:
    x, y = (_values(path) for path in (a, b))
    changed = [key for key in sorted(x.keys() | y.keys()) if x.get(key) != y.get(key)]
    for key in changed[:MOST]:
        yield Measure(key, x.get(key, "not there"), y.get(key, "not there"))
    if len(changed) > MOST:
        yield Measure("findings beside these", str(len(changed) - MOST), "")


def _values(path: Path) -> dict[str, str]:
    """Value and status of each finding, by key and place."""
    found: dict[str, str] = {}
    for one in json.loads(path.read_bytes()).get("findings", []):
        places = {e.get("slide_id", "") for e in one.get("evidence", [])}
        name = " ".join([one["key"], *sorted(p for p in places if p)])
        value = one.get("value") or {}
        kept = {k: v for k, v in value.items() if k not in ("type",) and v not in (None, [], "")}
        text = ", ".join(f"{k} {v}" for k, v in sorted(kept.items())) or one["status"]
        found[name if name not in found else f"{name} {one['id']}"] = text
    return found


_READERS: dict[str, Callable[[Path, Path], Iterator[Measure]]] = {
    "features": _features,
    "slide": _slide_vector,
    "cells": _cells,
    "predict": _prediction,
    "findings": _findings,
}
