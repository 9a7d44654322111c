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

from pydantic import BaseModel, ConfigDict, JsonValue

from pathai.errors import PathaiError
from pathai.store.manifest import storage_error

Kind = Literal[
    "open",
    "impression",
    "reveal",
    "accept",
    "reject",
    "edit",
    "answer",
    "cells",
    "region",
    "seen",
    "reviewed",
    "undo",
    "redo",
]
Value = dict[str, JsonValue] | None
ADJUDICATION = "adjudication"
"""Name of the log whose answers settle where readers disagree."""
_ANSWER = "answer:"


class Link(BaseModel):
    """A line of a file that is chained by hash; ``previous`` is the SHA-256 of the line before."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    number: int
    previous: str
    sha256: str = ""

    def body(self) -> dict[str, Any]:
        """What stands in the line beside its own digest."""
        return self.model_dump(mode="json", exclude={"sha256"})

    def sealed(self) -> Self:
        """A copy that carries its own digest."""
        return self.model_copy(update={"sha256": sha256(compact(self.body())).hexdigest()})

    def line(self) -> bytes:
        """The event as it stands in the file."""
        body = self.body()
        return compact({**body, "sha256": sha256(compact(body)).hexdigest()}) + b"\n"


Linked = TypeVar("Linked", bound=Link)


class Event(Link):
    """One action of a reader.

    Parameters
    ----------
    number : int
        Place in the log, from 1.
    time : str
        ISO 8601, UTC.
    kind : str
        What was done.
    what : str
        A statement's id, ``case``, ``impression``, ``reveal``, the question of an answer
        (`question`), what of a slide (`pathai.edits`), or the number of the event that an undo
        takes back or a redo does again.
    before, after : dict or None
        What stood there, and what stands there now.
    findings, draft : str
        Digests of what the reader saw; the findings name every model. Events on nuclei name
        detector and digest of the nuclei in ``after``, too.
    source : str
        SHA-256 of the file that the action was read from; it stands in the line only where it is
        not empty, so that the lines of earlier versions are as they were.
    previous, sha256 : str
        The chain.
    """

    time: str
    kind: Kind
    what: str
    before: Value
    after: Value
    findings: str
    draft: str
    source: str = ""

    def body(self) -> dict[str, Any]:
        """What stands in the line beside its own digest."""
        return {name: value for name, value in super().body().items() if name != "source" or value}


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
    return read_chain(data, Event, genesis(case_id, reader), lambda n: broken(case_id, reader, n))


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
        return event if event.line() == line else None
    except ValueError:  # no event, or a number that JSON does not have
        return None


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


def broken(case_id: str, reader: str, line: int) -> PathaiError:
    """E210 naming the line that does not fit."""
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
    """The answer that an event gives, takes back or gives again, if it is about one."""
    event = action(event, events)
    return event if event.kind == "answer" and is_question(event.what) else None


def action(event: Event, events: Sequence[Event]) -> Event:
    """The action that an undo takes back or a redo does again; any other event is its own."""
    if event.kind not in ("undo", "redo"):
        return event
    number = int(event.what) if event.what.isascii() and event.what.isdecimal() else 0
    return events[number - 1] if 0 < number < event.number else event


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
    given = after.get("answer") if after is not None and set(after) == {"answer"} else None
    if event.before != before or not (after is None or isinstance(given, str)):
        message = f"{case_id}: event {event.number} does not follow from the events before it"
        raise PathaiError("E210", message)
    if isinstance(given, str):
        found[what] = given
    else:
        found.pop(what, None)


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

    Attributes
    ----------
    head : str
        SHA-256 of the last line; what the next event names as its previous one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.case_id, self.reader = path.parent.name, path.stem
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock: IO[bytes] | None = path.with_suffix(".lock").open("ab")
        except OSError as error:
            raise _cannot_write(error) from None
        try:
            self._claim(self._lock)
            data = path.read_bytes() if path.exists() else b""
            self.events, tail = parse(data, self.case_id, self.reader)
            if tail:
                self._set_aside(tail, len(data) - len(tail))
        except OSError as error:
            self.close()
            raise _cannot_write(error) from None
        except PathaiError:
            self.close()
            raise
        last = sha256(self.events[-1].line()).hexdigest() if self.events else ""
        self.head = last or genesis(self.case_id, self.reader)

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
        line = event.line()
        try:
            append_synced(self.path, line)
        except OSError as error:
            with suppress(OSError):  # else the next opening sets the half line aside
                os.truncate(self.path, length)
            raise _cannot_write(error) from None
        self.events.append(event)
        self.head = sha256(line).hexdigest()

    def close(self) -> None:
        """Let others write."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def _cannot_write(error: OSError) -> PathaiError:
    """As `storage_error`, for the folder of reviews."""
    told = storage_error(error)
    if told.code != "E160":
        return told
    message = f"the review cannot be saved: {error.strerror or error}"
    return PathaiError("E160", message, "choose a folder that you may write: --reviews FOLDER")


def read_log(path: Path) -> list[Event]:
    """Events of a log without opening it for writing; a half-written last line is left alone.

    Raises
    ------
    PathaiError
        E210 if it is broken, E162 if it cannot be read.
    """
    return parse(read_bytes(path), path.parent.name, path.stem)[0]


def read_bytes(path: Path) -> bytes:
    """Content of a log; empty if there is none (E162 if it cannot be read)."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise PathaiError("E162", f"{path.parent.name}/{path.name}: {error.strerror}") from None


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
