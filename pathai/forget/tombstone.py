"""``reviews/forgotten.jsonl``: a chained line for every patient that was forgotten.

A line holds no id: a pseudonym by HMAC with the site's key, counts, and the heads of the chains
that were removed, which stand in whatever anchor was kept elsewhere. So an auditor can tell a
forgotten case from a lost one, and nobody can read who it was.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from pathai.errors import PathaiError
from pathai.report.life.trail import LOG, report_folder
from pathai.review_log import Link, append_synced, lock_file, read_bytes, read_chain
from pathai.store.manifest import hash_file, storage_error

STONES, LOCK = "forgotten.jsonl", "forgotten.lock"
FIRST = sha256(b"pathai forgotten 1\n").hexdigest()


class Tombstone(Link):
    """One patient that was forgotten.

    Parameters
    ----------
    time : str
        ISO 8601, UTC.
    token : str
        Random: tells this forget from another.
    patient : str
        Pseudonym by HMAC with the site's key.
    cases, slides : int
        How many were removed.
    logs : tuple of str
        SHA-256 of the last line of every review log and report trail that was removed.
    signed : tuple of str
        SHA-256 of every signed record that was removed.
    signatures_before, signatures_after : str
        Heads of ``signatures.jsonl`` before and after the patient's lines left it; equal if it
        had none.
    models : tuple of str
        Models that were trained on the patient.
    """

    time: str
    token: str
    patient: str
    cases: int
    slides: int
    logs: tuple[str, ...]
    signed: tuple[str, ...]
    signatures_before: str
    signatures_after: str
    models: tuple[str, ...]


def tombstones(reviews: Path) -> list[Tombstone]:
    """Every tombstone of a run, in order (E210 if a line does not fit)."""

    def altered(line: int) -> PathaiError:
        return PathaiError("E210", f"{STONES}: line {line} does not fit the lines before it")

    return read_chain(read_bytes(reviews / STONES), Tombstone, FIRST, altered)[0]


def bury(reviews: Path, stone: Tombstone) -> Tombstone:
    """Add a tombstone, or return the one that this forget wrote before it was interrupted."""
    try:
        reviews.mkdir(parents=True, exist_ok=True)
        with (reviews / LOCK).open("ab") as lock:
            lock_file(lock, wait=True)
            there = tombstones(reviews)
            for one in there:
                if one.token == stone.token:
                    return one
            last = sha256(there[-1].line()).hexdigest() if there else FIRST
            told = {
                "number": len(there) + 1,
                "previous": last,
                "time": datetime.now(UTC).isoformat(timespec="seconds"),
            }
            made = stone.model_copy(update=told).sealed()
            append_synced(reviews / STONES, made.line())
            return made
    except OSError as error:
        raise storage_error(error) from None


def heads_of(reviews: Path, cases: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """SHA-256 of the last line of each log of some cases, and of each signed record.

    A log without a line has no head: what its first line would name could be guessed from its id.
    """
    logs, signed = [], []
    for case in cases:
        folder = reviews / case
        for path in [*sorted(folder.glob("*.jsonl")), report_folder(reviews, case) / LOG]:
            lines = read_bytes(path).split(b"\n")[:-1] if path.is_file() else []
            logs += [sha256(lines[-1] + b"\n").hexdigest()] if lines else []
        records = sorted(report_folder(reviews, case).glob("signed-*.json"))
        signed += [hash_file(path).sha256 for path in records]
    return tuple(logs), tuple(signed)
