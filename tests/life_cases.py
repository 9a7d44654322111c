"""A report's life on a small case; stand-ins for the rules and the documents."""

import json
from decimal import Decimal

from finding_cases import full_case

from pathai.errors import PathaiError
from pathai.finding import Category, Entry, Method, Quantity, registry
from pathai.report import render
from pathai.report.life import neighbors, open_case
from pathai.store.folders import ResultsFolder
from pathai.store.manifest import canonical

READER = "reader-a"


def store(results, case):
    """Put a case's findings where the stages put them."""
    folder = ResultsFolder(results).case(case.case_id)
    folder.path.mkdir(parents=True, exist_ok=True)
    folder.findings.write_bytes(canonical(case.model_dump(mode="json")))


def life_of(tmp_path, case=None):
    """The life of a case whose findings are stored."""
    case = case or full_case()
    store(tmp_path / "results", case)
    return open_case(tmp_path / "reviews", case.case_id)


def revise(case, entered, requires=()):
    """The value takes the finding's place; no rule is applied."""
    found = {f.id: f for f in case.findings}
    for event in entered:
        place, value = event.after["place"], event.after["value"]
        named = [
            f
            for f in found.values()
            if f.key == event.what and place in ("", f.evidence[0].slide_id, f.specimen_id)
        ]
        if len(named) != 1 or not isinstance(value, int | float | str):
            raise PathaiError("E204", f"{event.what} at {place!r}: {value!r}")
        old = named[0]
        row = registry().find(old.key)
        given = (
            Category(code=value)
            if row.type == "category"
            else Quantity(value=Decimal(str(value)), unit=row.unit)
        )
        entry = Entry(
            reader=event.reader,
            event=event.sha256,
            time=event.time,
            before=render.value_text(old) if old.value is not None else "",
        )
        method = Method(name="entry", version="1", kind="manual")
        changed = {"status": "observed", "value": given, "method": method, "entry": entry}
        data = {**dict(old), **changed, "note": "", "code": "", "flags": (), "stain": old.stain}
        found[old.id] = type(old)(**data)
    events = (*case.events, *(event.sha256 for event in entered))
    fields = {
        "findings": tuple(found.values()),
        "revision": case.revision + 1,
        "parent": case.digest,
        "events": events,
        "digest": "",
    }
    return case.model_copy(update=fields).sealed()


def documents(draft, case, said, results, kinds=neighbors.KINDS, *, snomed=False):
    """Bytes that show what a document would be printed from."""
    text = json.dumps([said, draft.digest, case.digest], sort_keys=True)
    return {kind: f"{kind} {text}".encode() for kind in kinds}


def stand_in(monkeypatch):
    """Use the stand-ins."""
    monkeypatch.setattr(neighbors, "revise", revise)
    monkeypatch.setattr(neighbors, "documents", documents)


def sign_off(life, reader=READER):
    """Acknowledge what may be, submit and sign."""
    for item in life.items():
        life.acknowledge(reader, item.id, "seen on the slide")
    life.submit(reader)
    return life.sign(reader, "pathologist")
