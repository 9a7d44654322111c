"""How two runs differ, slide by slide, and why.

A result has a reason of its own when something that it is made from changed: the slide's file, the
settings, the version of the stage, the weights. Otherwise it only follows from its parents. Equal
in all of that and yet with other bytes means that the same inputs gave different outputs.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from pathai.errors import PathaiError
from pathai.plan import Plan
from pathai.provenance.made import Made, made, weights_of
from pathai.provenance.measure import Measure, measures
from pathai.store.manifest import Manifest

SECTIONS = {
    "ingest": ("ingest",),
    "tile": ("tile",),
    "features": ("features", "weights"),
    "slide": ("slide", "weights"),
    "cells": ("cells",),
    "train": ("train",),
    "predict": ("predict",),
    "findings": ("findings",),
    "draft": ("report",),
    "cohort": ("cohort",),
}
"""Sections of the configuration that decide a stage's result."""
LIMIT = 80
"""Characters of a value that are shown."""


@dataclass(frozen=True)
class Key:
    """A key of the configuration, or a cell of the sheet, that differs."""

    key: str
    a: str
    b: str

    def __str__(self) -> str:
        return f"{self.key}: {self.a} -> {self.b}"


@dataclass(frozen=True)
class Difference:
    """One result that differs.

    Parameters
    ----------
    place : str
        ``slides/S1/cells/classical``.
    stage, subject : str
        Whose result it is.
    own : tuple of str
        Reasons of its own; empty where it only follows from ``follows``.
    follows : tuple of str
        Parents that differ.
    measures : tuple of Measure
        By how much.
    """

    place: str
    stage: str
    subject: str
    own: tuple[str, ...]
    follows: tuple[str, ...]
    measures: tuple[Measure, ...] = ()


@dataclass(frozen=True)
class Diff:
    """What differs between two runs; ``same`` counts results with equal contents."""

    same: int
    config: tuple[Key, ...] = ()
    sheet: tuple[Key, ...] = ()
    versions: tuple[Key, ...] = ()
    only_a: tuple[str, ...] = ()
    only_b: tuple[str, ...] = ()
    differences: tuple[Difference, ...] = field(default=())

    @property
    def equal(self) -> bool:
        """Whether every result has the same contents, and both runs have the same results."""
        return not (self.only_a or self.only_b or self.differences)

    def as_json(self) -> dict[str, Any]:
        """Ready for ``--json``."""
        return {"equal": self.equal, **asdict(self)}


def diff(a: Plan, b: Plan) -> Diff:
    """Compare two runs by what their results contain.

    Parameters
    ----------
    a, b : Plan
        The runs. Times, machine figures and the version of pathai alone make no difference.

    Raises
    ------
    PathaiError
        E164 where a run has no results.
    """
    left, right = _results(a), _results(b)
    shared = sorted(left.keys() & right.keys())
    changed = [p for p in shared if left[p].manifest.digest != right[p].manifest.digest]
    keys = tuple(_keys(_dumped(a), _dumped(b)))
    cells = tuple(_cells(a, b))
    pair = _Pair(a, b, left, right, keys, cells)
    versions = (_versions(left), _versions(right))
    return Diff(
        same=len(shared) - len(changed),
        config=keys,
        sheet=cells,
        versions=(Key("pathai", *versions),) if versions[0] != versions[1] else (),
        only_a=tuple(sorted(left.keys() - right.keys())),
        only_b=tuple(sorted(right.keys() - left.keys())),
        differences=tuple(pair.difference(place) for place in changed),
    )


def _results(plan: Plan) -> dict[str, Made]:
    found = {one.place: one for one in made(plan)}
    if not found:
        raise PathaiError("E164", f"{plan.root.name}: no results of a run", "pathai run makes them")
    return found


def _versions(results: dict[str, Made]) -> str:
    return ", ".join(sorted({one.manifest.pathai_version for one in results.values()}))


def _dumped(plan: Plan) -> dict[str, Any]:
    return plan.config.model_dump(mode="json")


def _keys(a: Any, b: Any, at: str = "") -> Iterator[Key]:
    """Keys of two nested tables that differ."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in sorted(a.keys() | b.keys()):
            yield from _keys(a.get(key), b.get(key), f"{at}.{key}" if at else key)
    elif a != b:
        yield Key(at, _shown(a), _shown(b))


def _shown(value: Any) -> str:
    text = "nothing" if value in (None, "", [], {}) else str(value)
    return text if len(text) <= LIMIT else f"{text[: LIMIT - 3]}..."


def _cells(a: Plan, b: Plan) -> Iterator[Key]:
    """Cells of both sheets that differ; never where a slide lies."""
    left = {row.slide_id: row for row in a.sheet.rows}
    right = {row.slide_id: row for row in b.sheet.rows}
    hidden = {"row", "path"}
    for slide in sorted(left.keys() & right.keys()):
        one, other = (
            r.model_dump(mode="json", exclude=hidden) for r in (left[slide], right[slide])
        )
        yield from _keys(one, other, slide)


@dataclass(frozen=True)
class _Pair:
    """Two runs under comparison."""

    a: Plan
    b: Plan
    left: dict[str, Made]
    right: dict[str, Made]
    keys: tuple[Key, ...]
    cells: tuple[Key, ...]

    def difference(self, place: str) -> Difference:
        one, other = self.left[place], self.right[place]
        x, y = one.manifest, other.manifest
        follows = tuple(sorted(_changed_parents(x, y)))
        own = list(self._own(one, other))
        if not own and not follows:
            own = ["same inputs, settings and version, other outputs: not reproducible"]
        found = measures(self.a, self.b, one, other)
        return Difference(place, x.stage, x.subject, tuple(own), follows, tuple(found))

    def _own(self, one: Made, other: Made) -> Iterator[str]:
        x, y = one.manifest, other.manifest
        if x.status != y.status:
            problems = "; ".join(f"{p.code} {p.message}" for p in (*x.problems, *y.problems))
            yield f"status: {x.status} -> {y.status}" + (f" ({problems})" if problems else "")
        if x.stage == "ingest":
            yield from self._source(x.subject)
        if x.stage_version != y.stage_version:
            yield f"version of stage {x.stage}: {x.stage_version} -> {y.stage_version}"
        if x.config_digest != y.config_digest:
            yield from self._settings(x, one, other)
        elif dict(weights_of(self.a.root, one)) != dict(weights_of(self.b.root, other)):
            yield from self._weights(one, other)

    def _source(self, slide: str) -> Iterator[str]:
        """Whether both runs read the same file."""
        found = []
        for plan in (self.a, self.b):
            try:
                found.append(plan.results.slide(slide).read_slide().sha256)
            except PathaiError:
                return
        if found[0] != found[1]:
            yield f"another slide file: SHA-256 {found[0][:12]} -> {found[1][:12]}"

    def _settings(self, x: Manifest, one: Made, other: Made) -> Iterator[str]:
        """Keys of the stage's sections, weights, and cells of the sheet that may be the reason."""
        sections = SECTIONS.get(x.stage, ())
        told = [f"{k}" for k in self.keys if k.key.split(".")[0] in sections]
        told += list(self._weights(one, other))
        if x.stage in ("ingest", "cells", "findings", "draft", "predict", "train", "cohort"):
            subjects = self._slides(x)
            told += [f"sheet, {c}" for c in self.cells if c.key.split(".")[0] in subjects]
        rows = [len(plan.sheet.rows) for plan in (self.a, self.b)]
        if x.stage in ("train", "cohort") and rows[0] != rows[1]:
            told.append(f"rows of the sheet: {rows[0]} -> {rows[1]}")
        yield from told or [f"what stage {x.stage} reads beside configuration and parents"]

    def _slides(self, x: Manifest) -> set[str]:
        rows = [*self.a.sheet.rows, *self.b.sheet.rows]
        if x.stage in ("train", "cohort"):
            return {row.slide_id for row in rows}
        return {row.slide_id for row in rows if x.subject in (row.slide_id, row.case_id)}

    def _weights(self, one: Made, other: Made) -> Iterator[str]:
        before, after = (dict(weights_of(p.root, m)) for p, m in ((self.a, one), (self.b, other)))
        for name in sorted(before.keys() | after.keys()):
            old, new = before.get(name, ""), after.get(name, "")
            if old != new:
                yield f"weights of {name}: {old[:12] or 'none'} -> {new[:12] or 'none'}"


def _changed_parents(x: Manifest, y: Manifest) -> Iterator[str]:
    for name in x.parents.keys() | y.parents.keys():
        if x.parents.get(name) != y.parents.get(name):
            yield name
