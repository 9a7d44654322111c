"""One reader's decisions on one case: an append-only file whose lines are chained by hash.

A line is canonical JSON with the SHA-256 of the line before it and of itself, so a changed,
removed or inserted line is found, the last one included. What cannot be found is that whole
lines were cut from the *end*; an anchor outside of the file would be needed for that. A last
line that a crash left half written is set aside when the case is opened for writing.
"""

import json
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from pathai.errors import PathaiError
from pathai.store.manifest import storage_error

Kind = Literal["open", "accept", "reject", "edit", "answer", "reviewed", "undo"]
Value = dict[str, str] | None
ADJUDICATION = "adjudication"
"""Name of the log whose answers settle where readers disagree."""
_ANSWER = "answer:"


class Link(BaseModel):
    """A line of a file that is chained by hash; ``previous`` is the SHA-256 of the line before."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    number: int
    previous: str
    sha256: str = ""

    def sealed(self) -> Self:
        """A copy that carries its own digest."""
        body = self.model_dump(mode="json", exclude={"sha256"})
        return self.model_copy(update={"sha256": sha256(compact(body)).hexdigest()})

    def line(self) -> bytes:
        """The event as it stands in the file."""
        return compact(self.sealed().model_dump(mode="json")) + b"\n"


Linked = TypeVar("Linked", bound=Link)


class Event(Link):
    """One action of a reader.

    ``what`` is a statement's id, ``case``, the question of an answer (`question`), or the number
    of the event that an undo takes back.
    ``before`` and ``after`` are the decision on it; ``findings`` and ``draft`` are the digests
    of what the reader saw; ``previous`` and ``sha256`` chain the lines.
    """

    time: str
    kind: Kind
    what: str
    before: Value
    after: Value
    findings: str
    draft: str


def compact(value: Any) -> bytes:
    """JSON in one line: same value, same bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def genesis(case_id: str, reader: str) -> str:
    """What the first line names as its previous one: a log fits one case and one reader."""
    return sha256(f"pathai review 1\n{case_id}\n{reader}\n".encode()).hexdigest()


def parse(data: bytes, case_id: str, reader: str) -> tuple[list[Event], bytes]:
    """Check a log.

    Parameters
    ----------
    data : bytes
        Content of the file.
    case_id, reader : str
        Whose log it shall be.

    Returns
    -------
    list of Event
        In order.
    bytes
        A half-written last line; empty after a clean end.

    Raises
    ------
    PathaiError
        E210 naming the line that does not fit.
    """
    return read_chain(data, Event, genesis(case_id, reader), lambda n: _broken(case_id, reader, n))


def read_chain(
    data: bytes, kind: type[Linked], first: str, wrong: Callable[[int], PathaiError]
) -> tuple[list[Linked], bytes]:
    """Events of a file whose lines are chained by hash, and a half-written last line.

    Parameters
    ----------
    data : bytes
        Content of the file.
    kind : type
        Of its events.
    first : str
        What the first line names as its previous one.
    wrong : callable
        The error to raise for the number of the line that does not fit.
    """
    whole, newline, tail = data.rpartition(b"\n")
    lines = [line + b"\n" for line in whole.split(b"\n")] if newline else []
    events: list[Linked] = []
    previous = first
    for number, line in enumerate(lines, start=1):
        event = _event(line, kind)
        if event is None or (event.number, event.previous) != (number, previous):
            raise wrong(number)
        events.append(event)
        previous = sha256(line).hexdigest()
    if tail and not unfinished(tail):
        raise wrong(len(lines) + 1)
    return events, tail


def _event(line: bytes, kind: type[Linked]) -> Linked | None:
    """The event of a line, or None unless it is byte for byte what was written."""
    try:
        event = kind.model_validate_json(line)
    except ValidationError:
        return None
    return event if event.line() == line else None


def unfinished(tail: bytes) -> bool:
    """Whether a tail can be the beginning of a line: a changed byte at its end cannot."""
    if not tail.startswith(b"{"):
        return False
    try:
        _, end = json.JSONDecoder().raw_decode(tail.decode("ascii"))
    except (UnicodeDecodeError, RecursionError):
        return False
    except json.JSONDecodeError:
        return True
    return end == len(tail)


def _broken(case_id: str, reader: str, line: int) -> PathaiError:
    message = f"{case_id}/{reader}.jsonl: line {line} does not fit the lines before it"
    return PathaiError("E210", message)


def question(task: str, slide_id: str = "") -> str:
    """What an answer is about: a task's question for the whole case, or for one slide of it."""
    return f"{_ANSWER}{task}:{slide_id}" if slide_id else f"{_ANSWER}{task}"


def task_of(what: str) -> str:
    """Name of the task that a question is of; empty if it is none."""
    return what.split(":")[1] if is_question(what) else ""


def is_question(what: str) -> bool:
    """Whether an event's ``what`` is a question."""
    return what.startswith(_ANSWER)


def answer_event(event: Event, events: Sequence[Event]) -> Event | None:
    """The answer that an event gives or takes back, if it is about one."""
    if event.kind == "undo":
        number = int(event.what) if event.what.isdecimal() else 0
        event = events[number - 1] if 0 < number < event.number else event
    return event if event.kind == "answer" and is_question(event.what) else None


def answers(events: Iterable[Event], case_id: str) -> dict[str, str]:
    """A reader's own answers as they stand, by question.

    An answer is about the slides and not about a draft, so it holds for whatever findings and
    draft there were and will be, until the reader takes it back.

    Raises
    ------
    PathaiError
        E210 if an answer does not follow from those before it.
    """
    found: dict[str, str] = {}
    events = list(events)
    for event in events:
        given = answer_event(event, events)
        if given is not None:
            answer_now(found, given.what, event, case_id)
    return found


def answer_now(found: dict[str, str], what: str, event: Event, case_id: str) -> None:
    """Let an event change the answer to one question (E210 if it does not follow)."""
    before = {"answer": found[what]} if what in found else None
    after = event.after
    if event.before != before or (after is not None and set(after) != {"answer"}):
        message = f"{case_id}: event {event.number} does not follow from the events before it"
        raise PathaiError("E210", message)
    if after is None:
        found.pop(what, None)
    else:
        found[what] = after["answer"]


class Log:
    """A log opened for writing by one program at a time.

    Parameters
    ----------
    path : Path
        ``reviews/<case_id>/<reader>.jsonl``.

    Raises
    ------
    PathaiError
        E175 if another program has it open, E210 if it is broken, E160 if it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.case_id, self.reader = path.parent.name, path.stem
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock: IO[bytes] | None = path.with_suffix(".lock").open("ab")
        except OSError as error:
            raise storage_error(error) from None
        try:
            self._claim(self._lock)
            data = path.read_bytes() if path.exists() else b""
            self.events, tail = parse(data, self.case_id, self.reader)
            if tail:
                self._set_aside(tail, len(data) - len(tail))
        except OSError as error:
            self.close()
            raise storage_error(error) from None
        except PathaiError:
            self.close()
            raise

    def _claim(self, file: IO[bytes]) -> None:
        try:
            lock_file(file)
        except OSError:
            message = f"case {self.case_id} is open elsewhere for reader {self.reader}"
            raise PathaiError("E175", message, "close it there, or use another --reader") from None

    def _set_aside(self, tail: bytes, length: int) -> None:
        """Keep a half-written line beside the log and end the log before it."""
        append_synced(self.path.with_suffix(".aside"), tail + b"\n")
        with self.path.open("r+b") as file:
            file.truncate(length)
            os.fsync(file.fileno())

    def append(self, event: Event) -> None:
        """Write one event to the disk; a failed write leaves the log as it was.

        Raises
        ------
        PathaiError
            E161 if the disk is full, E160 if the log cannot be written.
        """
        if self._lock is None:
            raise ValueError("the log is closed")
        length = self.path.stat().st_size if self.path.exists() else 0
        try:
            append_synced(self.path, event.line())
        except OSError as error:
            with suppress(OSError):  # else the next opening sets the half line aside
                os.truncate(self.path, length)
            raise storage_error(error) from None
        self.events.append(event)

    @property
    def head(self) -> str:
        """SHA-256 of the last line; what the next event names as its previous one."""
        if not self.events:
            return genesis(self.case_id, self.reader)
        return sha256(self.events[-1].line()).hexdigest()

    def close(self) -> None:
        """Let others write."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def read_log(path: Path) -> Iterable[Event]:
    """Events of a log without opening it for writing; a half-written last line is left alone.

    Raises
    ------
    PathaiError
        E210 if it is broken, E162 if it cannot be read.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise PathaiError("E162", f"{path.parent.name}/{path.name}: {error.strerror}") from None
    return parse(data, path.parent.name, path.stem)[0]


def append_synced(path: Path, data: bytes) -> None:
    """Add bytes to the end of a file, and wait until they are on the disk."""
    with path.open("ab") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def lock_file(file: IO[bytes], *, wait: bool = False) -> None:
    """Lock a file until it is closed or the program ends; OSError if it is locked already.

    With ``wait`` the call returns when whoever holds it lets go.
    """
    if os.name == "nt":
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    else:
        import fcntl

        fcntl.flock(file.fileno(), fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
