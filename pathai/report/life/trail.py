"""A case's folder of reports: create-only files, and the trail that names each with its SHA-256.

``audit.head`` is written after every line, in one step, and tells how many lines there are and
which is the last: lines that were cut from the end are found by it. Who can write to the folder
can write a whole new trail and a new ``audit.head``; ``signed-<n>.json`` carries the head of the
chain of its moment, so a copy of it that lies elsewhere is the anchor against that.
"""

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from pathai.errors import PathaiError
from pathai.report.life.events import Event, Kind, broken, head_of, parse
from pathai.review_log import append_synced, compact, lock_file
from pathai.store.manifest import storage_error, write_atomic

LOG, HEAD, LOCK, ASIDE = "audit.jsonl", "audit.head", "audit.lock", "aside"
WAIT_S = 10.0
"""How long a writer waits for another before it gives up."""
TRIES = 3
"""How often a trail is read again before it is called broken."""


def now() -> str:
    """Time of day for the trail."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def report_folder(reviews: Path, case_id: str) -> Path:
    """Where a case's reports lie, outside of every rule's output."""
    return reviews / case_id / "report"


def digest(data: bytes) -> str:
    """SHA-256 of bytes."""
    return sha256(data).hexdigest()


def head_text(events: list[Event], case_id: str) -> bytes:
    """Content of ``audit.head``."""
    return compact({"head": head_of(events, case_id), "lines": len(events)}) + b"\n"


def read_bytes(path: Path) -> bytes | None:
    """Content of a file, None if there is none (E162 if it cannot be read)."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PathaiError("E162", f"report/{path.name}: {error.strerror}") from None


def read_trail(folder: Path, case_id: str) -> tuple[list[Event], bytes]:
    """Events of a case and a half-written last line, without a lock.

    Raises
    ------
    PathaiError
        E207 if a line does not fit, or if lines are missing at the end.
    """
    for _ in range(TRIES):
        with suppress(PathaiError):  # a writer may stand between its line and its head
            return _read_once(folder, case_id)
        time.sleep(0.02)
    return _read_once(folder, case_id)


def _read_once(folder: Path, case_id: str) -> tuple[list[Event], bytes]:
    events, tail = parse(read_bytes(folder / LOG) or b"", case_id)
    if check_head(read_bytes(folder / HEAD), events, case_id) and tail:
        raise broken(case_id, f"line {len(events) + 1} does not fit audit.head")
    return events, tail


def check_head(data: bytes | None, events: list[Event], case_id: str) -> bool:
    """Whether ``audit.head`` is one line behind, as a crash between the two writes leaves it.

    Raises
    ------
    PathaiError
        E207 if it fits neither the trail nor the trail without its last line.
    """
    if data == head_text(events, case_id) or (data is None and not events):
        return False
    if events and data == head_text(events[:-1], case_id):
        return True
    if data is None and len(events) == 1:
        return True
    raise broken(case_id, _misfit(data, events))


def _misfit(data: bytes | None, events: list[Event]) -> str:
    if data is None:
        return "audit.head is missing"
    try:
        lines = json.loads(data)["lines"]
    except (ValueError, TypeError, KeyError):
        return "audit.head is damaged"
    if isinstance(lines, int) and lines > len(events):
        return f"lines {len(events) + 1} to {lines} are missing at the end"
    return "audit.head does not fit the lines"


class Trail:
    """A trail that this program alone may write to; see `writing`."""

    def __init__(self, folder: Path, case_id: str) -> None:
        self.folder, self.case_id = folder, case_id
        self.events, tail = read_trail(folder, case_id)
        self._recover(tail)

    @property
    def head(self) -> str:
        """SHA-256 of the last line."""
        return head_of(self.events, self.case_id)

    def append(
        self, kind: Kind, reader: str, files: Mapping[str, bytes] | None = None, **fields: Any
    ) -> Event:
        """Write the files of a step, then its line, then the head.

        Raises
        ------
        PathaiError
            E160 or E161 if the disk refuses; nothing is left of the step then.
        """
        made: list[Path] = []
        try:
            for name, data in sorted((files or {}).items()):
                self._create(name, data, made)
            named = {name: digest(data) for name, data in (files or {}).items()}
            return self._line(kind, reader, files=named, **fields)
        except OSError as error:
            for path in made:
                with suppress(OSError):
                    path.unlink()
            raise storage_error(error) from None

    def _create(self, name: str, data: bytes, made: list[Path]) -> None:
        path = self.folder / name
        if path.exists():
            raise PathaiError("E207", f"{self.case_id}: report/{name} exists already")
        part = path.with_name(f"{name}.part")
        part.unlink(missing_ok=True)
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        made.append(path)
        path.chmod(0o444)

    def _line(self, kind: Kind, reader: str, **fields: Any) -> Event:
        event = Event(
            number=len(self.events) + 1,
            kind=kind,
            reader=reader,
            previous=self.head,
            **{"time": now(), **fields},
        ).sealed()
        log = self.folder / LOG
        length = log.stat().st_size if log.exists() else 0
        try:
            append_synced(log, event.line())
        except OSError:
            with suppress(OSError):  # else the next opening sets the half line aside
                os.truncate(log, length)
            raise
        self.events.append(event)
        write_atomic(self.folder / HEAD, head_text(self.events, self.case_id))
        return event

    def _recover(self, tail: bytes) -> None:
        """After a crash: bring the head up, set half lines and unnamed files aside, and say so."""
        for part in self.folder.glob("*.part"):
            part.unlink()
        if self.events and read_bytes(self.folder / HEAD) != head_text(self.events, self.case_id):
            write_atomic(self.folder / HEAD, head_text(self.events, self.case_id))
        aside: dict[str, str] = {}
        if tail:
            name = f"{ASIDE}/line-{len(self.events) + 1}-{digest(tail)[:12]}"
            write_atomic(self.folder / name, tail)
            os.truncate(self.folder / LOG, (self.folder / LOG).stat().st_size - len(tail))
            aside[name] = digest(tail)
        for path in unnamed(self.folder, self.events):
            if path.relative_to(self.folder).as_posix() in aside:
                continue
            data = path.read_bytes()
            name = f"{ASIDE}/{digest(data)[:12]}-{path.name}"
            (self.folder / ASIDE).mkdir(exist_ok=True)
            path.replace(self.folder / name)
            aside[name] = digest(data)
        if aside:
            self._line("recovered", "", files=aside)


def unnamed(folder: Path, events: list[Event]) -> list[Path]:
    """Files of the folder, and of folders in it, that no event names."""
    named = {name for event in events for name in event.files} | {LOG, HEAD, LOCK}
    if not folder.is_dir():
        return []
    return sorted(
        p
        for p in folder.rglob("*")
        if (p.is_file() or p.is_symlink())
        and p.relative_to(folder).as_posix() not in named
        and p.suffix != ".part"
    )


@contextmanager
def writing(folder: Path, case_id: str) -> Iterator[Trail]:
    """Hold a case's trail for one step; others wait.

    Raises
    ------
    PathaiError
        E175 if another program holds it for long, E207 if it is broken, E160 if the folder
        cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK).open("ab")
    except OSError as error:
        raise storage_error(error) from None
    with file:
        deadline = time.monotonic() + WAIT_S
        while True:
            try:
                lock_file(file)
                break
            except OSError:
                if time.monotonic() > deadline:
                    message = f"the report of case {case_id} is being written elsewhere"
                    raise PathaiError("E175", message, "close it there, then try again") from None
                time.sleep(0.02)
        try:
            trail = Trail(folder, case_id)
        except OSError as error:
            raise storage_error(error) from None
        yield trail
