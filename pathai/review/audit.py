"""Every log of a folder of reviews, checked line by line.

A changed, removed or inserted line is found from the file alone. Lines that were cut from the end
are not: keep what an audit tells, and give it to the next one, and they are found as well.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from pathai.errors import PathaiError
from pathai.review_log import Event, broken, genesis, read_bytes, read_chain


@dataclass(frozen=True)
class Checked:
    """What a check of one log found.

    Attributes
    ----------
    case_id, reader : str
        Whose log it is.
    events : int
        Lines that fit, from the first one on.
    head : str
        SHA-256 of the last of them.
    line : int
        The first line that does not fit; 0 if all do.
    problem : str
        What is wrong with it; empty if nothing is.
    unfinished : bool
        Whether the file ends in the middle of a line, as a crash leaves it. That line never
        counted, and is set aside when the case is opened again.
    """

    case_id: str
    reader: str
    events: int
    head: str
    line: int = 0
    problem: str = ""
    unfinished: bool = False

    def as_json(self) -> dict[str, Any]:
        """Everything, as plain values; `read_kept` reads a list of these."""
        return asdict(self)

    def told(self) -> str:
        """A line for a person."""
        name = f"{self.case_id}/{self.reader}.jsonl"
        if self.problem:
            return f"{name}: {self.problem}"
        half = ", an unfinished line after them" if self.unfinished else ""
        return f"{name}: {self.events} events, whole, {self.head[:12]}{half}"


def audit(reviews: Path, kept: Iterable[Checked] = ()) -> list[Checked]:
    """Check every log below a folder of reviews, in the order of cases and readers.

    Parameters
    ----------
    reviews : Path
        The folder; no file of it is changed.
    kept : iterable of Checked
        What an earlier audit found: every log of it must still begin with the lines it had then.
    """
    before = {(one.case_id, one.reader): one for one in kept}
    paths = {(path.parent.name, path.stem): path for path in reviews.glob("*/*.jsonl")}
    found = []
    for case_id, reader in sorted(paths.keys() | before.keys()):
        path = paths.get((case_id, reader), reviews / case_id / f"{reader}.jsonl")
        found.append(_check(path, before.get((case_id, reader))))
    return found


def _check(path: Path, before: Checked | None) -> Checked:
    case_id, reader = path.parent.name, path.stem
    first = genesis(case_id, reader)
    if not path.exists():
        return Checked(case_id, reader, 0, first, 0, "the log is gone")
    try:
        data = read_bytes(path)
    except PathaiError as error:
        return Checked(case_id, reader, 0, first, 0, str(error))
    wrong: list[int] = []

    def note(number: int) -> PathaiError:
        wrong.append(number)
        return broken(case_id, reader, number)

    try:
        _, tail = read_chain(data, Event, first, note)
    except PathaiError as error:
        line = wrong[0]
        head = _head(data, line - 1, first)
        return Checked(case_id, reader, line - 1, head, line, f"line {line} is altered: {error}")
    events = data.count(b"\n")
    if before and not before.problem and _head(data, before.events, first) != before.head:
        message = f"it had {before.events} events at the audit before, and they are not there now"
        return Checked(case_id, reader, events, _head(data, events, first), 0, message)
    return Checked(case_id, reader, events, _head(data, events, first), unfinished=bool(tail))


def _head(data: bytes, events: int, first: str) -> str:
    """SHA-256 of the last of so many lines; empty if there are fewer."""
    lines = data.split(b"\n")[:-1]
    if events > len(lines):
        return ""
    return sha256(lines[events - 1] + b"\n").hexdigest() if events else first


def read_kept(path: Path) -> list[Checked]:
    """What an earlier audit told as JSON (E193 if it is nothing of the kind)."""
    try:
        return TypeAdapter(list[Checked]).validate_json(path.read_bytes())
    except (OSError, ValidationError):
        remedy = "give what pathai readers --audit --json printed"
        raise PathaiError("E193", f"{path.name} is no earlier audit", remedy) from None
