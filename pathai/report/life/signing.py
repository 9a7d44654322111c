"""Signing: one record that binds findings, draft and trail, and every document printed from it."""

from pathlib import Path

from pathai.finding import CaseFindings
from pathai.report.life import neighbors
from pathai.report.life.changes import Changes, changes
from pathai.report.life.drafting import read_draft, read_findings
from pathai.report.life.record import Acknowledged, Deleted, SignedReport
from pathai.report.life.state import State, Stored
from pathai.report.life.trail import Trail, now
from pathai.report.records import Draft


def sign(
    trail: Trail,
    state: State,
    draft: Draft,
    case: CaseFindings,
    results: Path,
    reader: str,
    role: str,
    *,
    snomed: bool = False,
) -> SignedReport:
    """Write ``signed-<n>.json`` and its documents, and the event that names them."""
    record = _record(trail, state, draft, case, reader, role)
    data, name = record.data(), f"signed-{record.version}"
    said = {
        "name": record.state,
        "signer": reader,
        "role": role,
        "time": record.time,
        "digest": draft.digest,
        "reason": record.reason,
    }
    made = neighbors.documents(draft, case, said, results, snomed=snomed)
    files = {f"{name}.{kind}": content for kind, content in made.items()}
    trail.append(
        "signed",
        reader,
        {**files, f"{name}.json": data},
        time=record.time,
        role=role,
        what=str(record.version),
        reason=record.reason,
        findings=case.digest,
        draft=draft.digest,
        facts={"changes": dict(record.changes.figures()), "head": record.head},
    )
    return record


def _record(
    trail: Trail, state: State, draft: Draft, case: CaseFindings, reader: str, role: str
) -> SignedReport:
    amended = [event for event in trail.events if event.kind == "amended"]
    machine = read_draft(trail.folder, _there(state.draft), trail.case_id)
    last = state.signed[-1] if state.signed else None
    texts = {s.finding: s.rendered for s in machine.statements()}
    return SignedReport(
        case_id=trail.case_id,
        version=state.version,
        state="signed" if state.version == 1 else "amended",
        reader=reader,
        role=role,
        time=now(),
        reason=amended[-1].reason if amended else "",
        amends=last.files[f"signed-{last.what}.json"] if last else "",
        findings_file=_there(state.findings).file,
        findings_digest=case.digest,
        machine_draft_digest=machine.digest,
        draft=draft,
        head=trail.head,
        acknowledged=tuple(
            Acknowledged(item=item, reader=e.reader, reason=e.reason, time=e.time)
            for item, e in sorted(state.acknowledged.items())
        ),
        deleted=tuple(
            Deleted(finding=f, text=texts.get(f, ""), reader=e.reader, reason=e.reason)
            for f, e in sorted(state.edits.items())
            if e.text is None
        ),
        changes=changes_of(trail.folder, state, draft, trail.case_id),
    )


def changes_of(folder: Path, state: State, draft: Draft, case_id: str) -> Changes:
    """From the first draft of the version that is written to this one."""
    case = read_findings(folder, _there(state.findings), case_id)
    first_case = read_findings(folder, _there(state.first_findings), case_id)
    first = read_draft(folder, _there(state.first_draft), case_id)
    return changes(first, draft, first_case, case)


def _there(stored: Stored | None) -> Stored:
    if stored is None:
        raise ValueError("no draft was drafted")
    return stored
