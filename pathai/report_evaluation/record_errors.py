"""Errors seeded into the order, the bindings, the notes and the tables of a stored draft."""

from collections.abc import Mapping
from random import Random
from typing import Any

from pathai.report_evaluation.draft_errors import DraftError, Record, statements_of

__all__ = ["RECORD_ERRORS", "UNSEALED"]

Case = Mapping[str, Any]


def side_swapped(rng: Random, draft: Record, case: Case) -> bool:
    """A section's heading names the other side."""
    swaps = (("left", "right"), ("right", "left"), ("midline", "left"))
    for section in rng.sample(draft["sections"], len(draft["sections"])):
        pieces = section["title"].split(" · ")
        for a, b in swaps:
            if a in pieces:
                section["title"] = " · ".join(b if p == a else p for p in pieces)
                return True
    return False


def statement_missing(rng: Random, draft: Record, case: Case) -> bool:
    section = rng.choice([s for s in draft["sections"] if s["statements"]])
    section["statements"].pop(rng.randrange(len(section["statements"])))
    if rng.random() < 0.5:
        _renumber(draft)
    return True


def statement_duplicated(rng: Random, draft: Record, case: Case) -> bool:
    section = rng.choice([s for s in draft["sections"] if s["statements"]])
    section["statements"].append(dict(rng.choice(section["statements"])))
    if rng.random() < 0.5:
        _renumber(draft)
    return True


def _renumber(draft: Record) -> None:
    for number, said in enumerate(statements_of(draft), start=1):
        said["id"] = f"S{number}"
    count = len(statements_of(draft))
    fell = sum(s["verdict"] == "fallback" for s in statements_of(draft))
    draft["verification"].update(statements=count, accepted=count - fell, fallback=fell)


def order_changed(rng: Random, draft: Record, case: Case) -> bool:
    """Statements, or whole sections, in another order than their numbers."""
    sections = draft["sections"]
    if len(sections) > 1 and rng.random() < 0.4:
        a, b = rng.sample(range(len(sections)), 2)
        sections[a], sections[b] = sections[b], sections[a]
        return True
    long = [s["statements"] for s in sections if len(s["statements"]) > 1]
    if not long:
        return False
    said = rng.choice(long)
    a, b = rng.sample(range(len(said)), 2)
    said[a], said[b] = said[b], said[a]
    return True


def section_changed(rng: Random, draft: Record, case: Case) -> bool:
    """A statement stands under another slide."""
    placed = [s for s in draft["sections"] if s["slide_id"] and s["statements"]]
    if len(placed) < 2:
        return False
    source, target = rng.sample(placed, 2)
    target["statements"].append(source["statements"].pop())
    _renumber(draft)
    return True


def finding_changed(rng: Random, draft: Record, case: Case) -> bool:
    """A sentence names another finding as the one that it stands on."""
    said = statements_of(draft)
    if len(said) < 2:
        return False
    a, b = rng.sample(said, 2)
    a["finding"], b["finding"] = b["finding"], a["finding"]
    return True


def value_of_another(rng: Random, draft: Record, case: Case) -> bool:
    """Two sentences of the same subject on two slides carry each other's print."""
    keys = {f["id"]: f["key"] for f in case["findings"]}
    said = statements_of(draft)
    rng.shuffle(said)
    for a in said:
        for b in said:
            same = keys.get(a["finding"]) == keys.get(b["finding"])
            if a is not b and same and a["rendered"] != b["rendered"]:
                a["rendered"], b["rendered"] = b["rendered"], a["rendered"]
                return True
    return False


def note_removed(rng: Random, draft: Record, case: Case) -> bool:
    noted = [s for s in statements_of(draft) if s["notes"]]
    noted += [s for s in draft["sections"] if s["notes"]]
    if not noted:
        return False
    chosen = rng.choice(noted)
    notes = list(chosen["notes"])
    notes.pop(rng.randrange(len(notes)))
    chosen["notes"] = notes
    return True


def note_changed(rng: Random, draft: Record, case: Case) -> bool:
    noted = [s for s in statements_of(draft) if s["notes"]]
    if not noted:
        return False
    chosen = rng.choice(noted)
    first, *rest = chosen["notes"]
    chosen["notes"] = [rng.choice((first[:-1] + ", which is harmless.", "All is well.")), *rest]
    return True


def note_added(rng: Random, draft: Record, case: Case) -> bool:
    chosen = rng.choice(statements_of(draft))
    extra = ("The patient should be seen.", "Readers agree on this value.", "No tumor was found.")
    chosen["notes"] = [*chosen["notes"], rng.choice(extra)]
    return True


def mark_removed(rng: Random, draft: Record, case: Case) -> bool:
    draft["watermark"] = rng.choice(
        ("", "FINAL REPORT", "Signed", " ", "For clinical use", "DRAFT")
    )
    return True


def findings_digest_changed(rng: Random, draft: Record, case: Case) -> bool:
    old = draft["findings_digest"]
    at = rng.randrange(len(old))
    new = rng.choice([c for c in "0123456789abcdef" if c != old[at]])
    draft["findings_digest"] = old[:at] + new + old[at + 1 :]
    return True


def digest_changed(rng: Random, draft: Record, case: Case) -> bool:
    draft["digest"] = rng.choice(("", "0" * 64, draft["digest"][::-1]))
    return True


def case_changed(rng: Random, draft: Record, case: Case) -> bool:
    draft["case_id"] = rng.choice((draft["case_id"] + "x", "another case"))
    return True


def revision_changed(rng: Random, draft: Record, case: Case) -> bool:
    draft["revision"] += rng.randint(1, 3)
    return True


def language_changed(rng: Random, draft: Record, case: Case) -> bool:
    draft["language"] = rng.choice([x for x in ("en", "fr", "es") if x != draft["language"]])
    return True


def counts_changed(rng: Random, draft: Record, case: Case) -> bool:
    """The draft says that other numbers of sentences were accepted than are marked so."""
    field = rng.choice(("statements", "accepted", "fallback"))
    draft["verification"][field] += 1
    return True


def _hidden(kind: str) -> DraftError:
    def make(rng: Random, draft: Record, case: Case) -> bool:
        rows = [x for x in draft["fixed"] if x["kind"] == kind]
        if not rows:
            return False
        draft["fixed"] = [x for x in draft["fixed"] if x is not rng.choice(rows)]
        return True

    return make


def _invented(kind: str, text: str, source: str) -> DraftError:
    def make(rng: Random, draft: Record, case: Case) -> bool:
        finding = rng.choice(statements_of(draft))["finding"]
        extra = {"kind": kind, "id": f"invented_{rng.randint(1, 9)}", "text": text}
        draft["fixed"] = [*draft["fixed"], {**extra, "findings": [finding], "source": source}]
        return True

    return make


def fixed_changed(rng: Random, draft: Record, case: Case) -> bool:
    """Words of a table that are not the table's."""
    rows = [x for x in draft["fixed"] if x["kind"] in ("contradiction", "suggestion", "context")]
    if not rows:
        return False
    row = rng.choice(rows)
    change = rng.choice(("text", "source", "findings"))
    if change == "findings" and len(row["findings"]) > 1:
        row["findings"] = row["findings"][1:]
    elif change == "source" and row["source"]:
        row["source"] = "10.1000/invented"
    else:
        row["text"] = rng.choice((row["text"] + " Start treatment.", "Nothing to note."))
    return True


SECTION_SIDES = "side in a heading swapped"
RECORD_ERRORS: dict[str, tuple[str, DraftError]] = {
    SECTION_SIDES: ("laterality", side_swapped),
    "statement missing": ("other", statement_missing),
    "statement duplicated": ("other", statement_duplicated),
    "order changed": ("other", order_changed),
    "statement under another slide": ("other", section_changed),
    "finding of a statement changed": ("other", finding_changed),
    "print of another finding": ("number", value_of_another),
    "note removed": ("other", note_removed),
    "note changed": ("other", note_changed),
    "note added": ("other", note_added),
    "mark of a draft removed": ("other", mark_removed),
    "digest of the findings changed": ("other", findings_digest_changed),
    "digest of the draft changed": ("other", digest_changed),
    "case changed": ("other", case_changed),
    "revision changed": ("other", revision_changed),
    "language changed": ("other", language_changed),
    "counts of the check changed": ("other", counts_changed),
    "contradiction hidden": ("other", _hidden("contradiction")),
    "contradiction invented": ("other", _invented("contradiction", "These disagree.", "")),
    "suggestion removed": ("other", _hidden("suggestion")),
    "suggestion invented": (
        "other",
        _invented("suggestion", "Chemotherapy is advised.", "10.1000/invented"),
    ),
    "reference invented": ("other", _invented("reference", "As shown before.", "10.1000/none")),
    "words of a table changed": ("other", fixed_changed),
}
UNSEALED = "digest of the draft changed"
"""The one error that leaves the draft's digest broken; after all others it is set anew."""
