"""The findings of a case while rules are applied: ids are given once and never change."""

from collections.abc import Iterable, Sequence
from typing import Any

from pathai.finding import (
    CaseFindings,
    Contradiction,
    Evidence,
    Finding,
    Method,
    Quantity,
    Suggestion,
    registry,
)
from pathai.rules.tables import contradictions, derivations, derivations_digest, suggestions
from pathai.units import Box

Place = tuple[str, ...]
PLACEHOLDERS = ("person_only", "needs_entries")
"""Notes of lines that only say that something is still missing."""
INHERITED = (
    *("all_nuclei", "few_nuclei", "degraded", "drawn_region", "model_region"),
    "reader_corrected",
)
"""Flags that hold for what is derived as much as for what it is derived from."""
MOST_BOXES = 8


def place_of(finding: Finding) -> Place:
    """Slides on which a finding stands."""
    return tuple(e.slide_id for e in finding.evidence)


def entered(finding: Finding) -> bool:
    """Whether a person gave the value."""
    return finding.status == "observed" and finding.method.kind == "manual"


class Board:
    """Findings by key and place; what rules derived before is taken off, its id is kept."""

    def __init__(self, case: CaseFindings, asked: Sequence[str] = ()) -> None:
        self._case = case
        self._asked = tuple(asked)
        self._sides = {s.specimen_id: s.laterality for s in case.specimens}
        self._home = {slide: s.specimen_id for s in case.specimens for slide in s.slides}
        self._former = [f for f in case.findings if f.method.kind == "rule"]
        kept = [f for f in case.findings if f.method.kind != "rule"]
        self._found: dict[tuple[str, Place], Finding] = {(f.key, place_of(f)): f for f in kept}
        self._last = max((int(f.id[1:]) for f in case.findings), default=0)
        self._contradictions: dict[tuple[str, tuple[str, ...]], None] = {}
        self._suggestions: dict[tuple[str, tuple[str, ...]], None] = {}

    # --- reading -----------------------------------------------------------------------------

    def all(self) -> list[Finding]:
        """Every finding, in the order of its id."""
        return sorted(self._found.values(), key=lambda f: int(f.id[1:]))

    def with_values(self, *keys: str) -> list[Finding]:
        """Findings of these keys that were measured or entered."""
        held = ("measured", "observed")
        return [f for f in self.all() if f.key in keys and f.status in held and f.value]

    def at(self, finding: Finding, key: str) -> Finding | None:
        """The value of ``key`` at the same place."""
        found = self._found.get((key, place_of(finding)))
        return found if found and found.value and found.status in ("measured", "observed") else None

    def beside(self, finding: Finding, key: str) -> Finding | None:
        """The value of ``key`` at the same place, else the only one of the same specimen."""
        here = self.at(finding, key)
        if here is not None:
            return here
        others = [f for f in self.with_values(key) if f.specimen_id == finding.specimen_id]
        return others[0] if len(others) == 1 else None

    def standing(self, key: str, place: Place) -> Finding | None:
        """What stands at a place, derived or not."""
        former = (f for f in self._former if f.key == key and place_of(f) == place)
        return self._found.get((key, place)) or next(former, None)

    def side(self, finding: Finding) -> str:
        """Side of the specimen that a finding stands on."""
        return self._sides.get(finding.specimen_id, "")

    def together(self, one: Finding, other: Finding) -> bool:
        """Whether two findings stand on slides of one specimen."""
        homes = [{self._home.get(slide) for slide in place_of(f)} for f in (one, other)]
        return bool(homes[0] & homes[1])

    def covers(self, finding: Finding, slides: Place) -> bool:
        """Whether a finding is what is asked for on these slides."""
        by_specimen = registry().find(finding.key).per == "specimen"
        return by_specimen or bool(set(slides) & set(place_of(finding)))

    def concerns(self, specimen_id: str, *heads: str) -> bool:
        """Whether a specimen has, or the layout asks for, keys that begin with one of these."""
        own = [f.key for f in self._found.values() if f.specimen_id == specimen_id]
        return any(key.split(".")[0] in heads for key in (*own, *self._asked))

    # --- writing -----------------------------------------------------------------------------

    def put(self, finding: Finding) -> Finding:
        """Set down a finding in place of what stands there."""
        self._found[finding.key, place_of(finding)] = finding
        return finding

    def id_for(self, key: str, place: Place, specimen_id: str) -> str:
        """Id of what stands at a place, of a line that waited for it, or a new one."""
        here = self._found.get((key, place))
        if here is not None:
            return here.id
        near = [f for f in self._found.values() if _waits_for(f, key, place, specimen_id)]
        if near:
            del self._found[key, place_of(near[0])]
            return near[0].id
        former = [f for f in self._former if f.key == key and f.specimen_id == specimen_id]
        former.sort(key=lambda f: place_of(f) != place)
        for one in former:
            if place_of(one) == place or _waits_for(one, key, place, specimen_id):
                self._former.remove(one)
                return one.id
        self._last += 1
        return f"F{self._last}"

    def derive(
        self, rule: str, key: str, value: Any, parents: Sequence[Finding], place: Place = ()
    ) -> Finding:
        """Set down what follows from ``parents``, by default at the place of the first of them.

        What a person entered stays; where it differs, both are flagged.
        """
        main = parents[0]
        place = place or place_of(main)
        for here in self._entered(key, place):
            if _differs(here, value):
                self.contradict(rule, here, *parents)
            return here
        ids = tuple(dict.fromkeys(p.id for p in parents))
        flags = {flag for p in parents for flag in p.flags if flag in INHERITED}
        by_person = any(p.status == "observed" for p in parents)
        flags |= {"from_entries"} if by_person else set()
        return self.put(
            Finding(
                id=self.id_for(key, place, main.specimen_id),
                key=key,
                specimen_id=main.specimen_id,
                laterality=main.laterality,
                stain=main.stain,
                status="observed" if by_person else "measured",
                value=value,
                method=Method(name=rule, version="1", digest=derivations_digest(), kind="rule"),
                evidence=_joined(place, parents),
                flags=tuple(sorted(flags)),
                parents=ids,
            )
        )

    def withhold(self, rule: str, key: str, parents: Sequence[Finding]) -> Finding:
        """Set down that a person must enter what ``parents`` suggest; an entry is returned."""
        main = parents[0]
        place = place_of(main)
        for here in self._entered(key, place):
            return here
        return self.put(
            Finding(
                id=self.id_for(key, place, main.specimen_id),
                key=key,
                specimen_id=main.specimen_id,
                laterality=main.laterality,
                stain=main.stain,
                status="not_assessed",
                note="person_only",
                method=Method(name=rule, version="1", digest=derivations_digest(), kind="rule"),
                evidence=_joined(place, parents),
                parents=tuple(p.id for p in parents),
            )
        )

    def _entered(self, key: str, place: Place) -> list[Finding]:
        """What a person entered under a key at this place, or at one that shares a slide."""
        found = [f for f in self._found.values() if f.key == key and entered(f)]
        near = [f for f in found if set(place) & set(place_of(f))]
        return sorted(near, key=lambda f: (place_of(f) != place, int(f.id[1:])))

    def contradict(self, rule: str, *findings: Finding) -> None:
        """Say that these cannot all be true."""
        assert rule in contradictions()  # noqa: S101
        self._contradictions[rule, _ids(findings)] = None

    def suggest(self, rule: str, *findings: Finding) -> None:
        """Suggest what the table has under ``rule``."""
        assert rule in suggestions()  # noqa: S101
        self._suggestions[rule, _ids(findings)] = None

    # --- result ------------------------------------------------------------------------------

    def result(self, **changes: Any) -> CaseFindings:
        """The sealed case; what was derived before and no longer follows says so."""
        for former in self._former:
            if not any(_replaces(f, former) for f in self._found.values()):
                self.put(_waiting(former))
        errors = contradictions()
        fields = {
            **{name: getattr(self._case, name) for name in type(self._case).model_fields},
            "findings": tuple(self.all()),
            "contradictions": tuple(
                Contradiction(rule=rule, findings=ids, error=errors[rule].error)
                for rule, ids in sorted(self._contradictions)
            ),
            "suggestions": tuple(
                Suggestion(rule=rule, findings=ids) for rule, ids in sorted(self._suggestions)
            ),
            **changes,
            "digest": "",
        }
        return CaseFindings(**fields).sealed()


def _ids(findings: Iterable[Finding]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(f.id for f in findings))


def _waits_for(finding: Finding, key: str, place: Place, specimen_id: str) -> bool:
    """Whether a line only waits for this value: of the same specimen, or of the same slide."""
    if finding.key != key or finding.specimen_id != specimen_id:
        return False
    by_specimen = registry().find(key).per == "specimen"
    waits = finding.status == "not_assessed" and finding.note in PLACEHOLDERS
    return waits and (by_specimen or set(place) <= set(place_of(finding)))


def _replaces(finding: Finding, former: Finding) -> bool:
    if finding.key != former.key or finding.specimen_id != former.specimen_id:
        return False
    by_specimen = registry().find(former.key).per == "specimen"
    return by_specimen or place_of(finding) == place_of(former)


def _waiting(former: Finding) -> Finding:
    fields = {name: getattr(former, name) for name in type(former).model_fields}
    fields |= {"status": "not_assessed", "value": None, "note": "needs_entries"}
    return Finding(**{**fields, "flags": (), "parents": (), "entry": None})


def _differs(here: Finding, value: Any) -> bool:
    if isinstance(here.value, Quantity) and isinstance(value, Quantity):
        # What a person reads is the printed number; half a step is no contradiction.
        row = registry().find(here.key)
        return row.rounded(here.value.value) != row.rounded(value.value)
    return bool(here.value != value)


def _joined(place: Place, parents: Sequence[Finding]) -> tuple[Evidence, ...]:
    """The places of the parents on these slides."""
    joined = []
    for slide_id in place:
        own = [e for p in parents for e in p.evidence if e.slide_id == slide_id]
        boxes: dict[Box, None] = dict.fromkeys(box for e in own for box in e.boxes)
        outlines = dict.fromkeys(polygon for e in own for polygon in e.polygons)
        kept = {"boxes": tuple(boxes)[:MOST_BOXES], "polygons": tuple(outlines)[:MOST_BOXES]}
        joined.append(Evidence(slide_id=slide_id, **kept))
    return tuple(joined)


def says(rule: str) -> dict[str, Any]:
    """The row of a derivation."""
    return derivations()[rule]
