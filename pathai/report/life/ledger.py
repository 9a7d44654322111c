"""``reviews/signatures.jsonl``: every signature of a run, chained, so that no signed case is lost.

A case's own trail cannot tell that its whole folder was removed; this list can.
"""

from hashlib import sha256
from pathlib import Path

from pathai.errors import PathaiError
from pathai.report.life.trail import digest, read_bytes, report_folder
from pathai.review_log import Link, append_synced, lock_file, read_chain
from pathai.store.manifest import storage_error

LEDGER, LOCK = "signatures.jsonl", "signatures.lock"
FIRST = sha256(b"pathai signatures 1\n").hexdigest()


class Signature(Link):
    """One signed version of a case's report, and the SHA-256 of its record."""

    case_id: str
    version: int
    record: str


def enlist(reviews: Path, case_id: str, version: int, record: str) -> None:
    """Add a signature (E160 or E161 if the disk refuses, E207 if the list was altered)."""
    try:
        with (reviews / LOCK).open("ab") as lock:
            lock_file(lock, wait=True)
            listed = signatures(reviews)
            if any((s.case_id, s.version) == (case_id, version) for s in listed):
                return
            last = sha256(listed[-1].line()).hexdigest() if listed else FIRST
            made = Signature(
                number=len(listed) + 1,
                previous=last,
                case_id=case_id,
                version=version,
                record=record,
            )
            append_synced(reviews / LEDGER, made.line())
    except OSError as error:
        raise storage_error(error) from None


def signatures(reviews: Path) -> list[Signature]:
    """Every signature of a run, in order (E207 if a line does not fit)."""
    data = read_bytes(reviews / LEDGER) or b""
    return read_chain(data, Signature, FIRST, _altered)[0]


def _altered(line: int) -> PathaiError:
    return PathaiError("E207", f"{LEDGER}: line {line} does not fit the lines before it")


def lost(reviews: Path) -> list[str]:
    """Signed reports that are gone or are not what was signed, as faults of an audit."""
    try:
        listed = signatures(reviews)
    except PathaiError as error:
        return [error.message]
    faults = []
    for one in listed:
        name = f"signed-{one.version}.json"
        data = read_bytes(report_folder(reviews, one.case_id) / name)
        if data is None:
            faults.append(f"{one.case_id}: report/{name} was signed and is missing")
        elif digest(data) != one.record:
            faults.append(f"{one.case_id}: report/{name} is not what was signed")
    return faults
