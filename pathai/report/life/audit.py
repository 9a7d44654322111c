"""Whether a case's trail, and every file that it names, is byte for byte what was written."""

from dataclasses import dataclass
from pathlib import Path

from pathai.errors import PathaiError
from pathai.finding import load_findings
from pathai.report.life.events import Event
from pathai.report.life.record import load_signed
from pathai.report.life.state import replay
from pathai.report.life.trail import digest, read_bytes, read_trail, report_folder, unnamed


@dataclass(frozen=True)
class Audit:
    """What an audit of one case found; ``faults`` is empty when all is as it was written."""

    case_id: str
    events: int
    files: int
    head: str
    faults: tuple[str, ...]


def audit(reviews: Path, case_id: str) -> Audit:
    """Read every line and every named file of a case's reports.

    Parameters
    ----------
    reviews : Path
        Folder of a person's decisions.
    case_id : str
        The case.

    Notes
    -----
    Found: any changed, added, moved or missing byte, line or file, lines cut from the end
    included. Not found: a whole trail that somebody with the right to write forged anew, with
    its head; a copy of ``signed-<n>.json`` that lies elsewhere tells.
    """
    folder = report_folder(reviews, case_id)
    try:
        events, tail = read_trail(folder, case_id)
        replay(events, case_id)
    except PathaiError as error:
        return Audit(case_id, 0, 0, "", (error.message,))
    faults = [f"{case_id}: audit.jsonl: line {len(events) + 1} is half written"] if tail else []
    named = {name: sha for event in events for name, sha in event.files.items()}
    faults += [f for name, sha in named.items() for f in _fault(folder, case_id, name, sha)]
    faults += [
        f"{case_id}: report/{path.name} is named by no event" for path in unnamed(folder, events)
    ]
    if not faults:
        faults += _signatures(folder, case_id, events)
    head = events[-1].sha256 if events else ""
    return Audit(case_id, len(events), len(named), head, tuple(faults))


def _fault(folder: Path, case_id: str, name: str, sha: str) -> list[str]:
    try:
        data = read_bytes(folder / name)
    except PathaiError as error:
        return [f"{case_id}: {error.message}"]
    if data is None:
        return [f"{case_id}: report/{name} is missing"]
    return [] if digest(data) == sha else [f"{case_id}: report/{name} was altered"]


def _signatures(folder: Path, case_id: str, events: list[Event]) -> list[str]:
    """A signed record names the chain and the findings of its moment."""
    faults, previous = [], ""
    for event in events:
        if event.kind == "signed":
            name = f"signed-{event.what}.json"
            signed = load_signed((folder / name).read_bytes())
            found = load_findings((folder / signed.findings_file).read_text("utf-8"))
            fits = signed.head == event.previous and found.digest == signed.findings_digest
            fits &= event.findings == signed.findings_digest and signed.amends == previous
            fits &= event.draft == signed.draft.digest and event.reader == signed.reader
            previous = event.files[name]
            if not fits:
                faults.append(f"{case_id}: report/{name} does not fit the event that signed it")
    return faults


def audited_cases(reviews: Path) -> list[str]:
    """Cases that have a report in a person's hands."""
    if not reviews.is_dir():
        return []
    return sorted(p.parent.name for p in reviews.glob("*/report") if p.is_dir())
