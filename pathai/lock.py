"""Who owns a run's folder. Never two: a dead owner's lock is taken over, a lost one ends its owner.

The lock is one file that appears whole under its name (a hard link, or ``O_EXCL`` where a disk
knows none), so it asks nothing of ``flock`` and holds on network disks, too. Its owner touches it
every few seconds; one of another machine that is not touched any more is dead. Jobs carry the
owner's identity in their environment and end by themselves once the folder is not their owner's.
"""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pathai.errors import PathaiError
from pathai.plan import Plan
from pathai.processes import POLITE_S, alive, elsewhere, identity, read
from pathai.store.manifest import storage_error

OWNER = "PATHAI_OWNER"
"""Environment variable of jobs: the identity of the run that started them."""
LOOK_S = 1.0
"""Between two looks of a job at the lock."""
BEAT_S = 10.0
"""Between two touches of a lock or a job's mark."""
DEAD_S = 300.0
"""A lock of another machine that has not been touched for so long has no owner any more."""
UNWRITTEN_S = 10.0
"""An empty lock is about to be written, where it could not appear whole."""


@contextmanager
def owned(plan: Plan) -> Iterator[None]:
    """Hold the run folder; a dead owner's lock is taken over.

    Raises
    ------
    PathaiError
        E175 naming the owner's process id, E160 when the folder cannot be written.
    """
    lock, text = plan.state / "lock", identity()
    try:
        plan.state.mkdir(parents=True, exist_ok=True)
        refuse_if_owned(plan)
        _claim(lock, text)
    except FileExistsError:
        raise _taken(read(lock)) from None
    except OSError as error:
        raise storage_error(error) from None
    beat = _Beat(lock, text, BEAT_S)
    beat.start()
    try:
        yield
    finally:
        beat.stop()
        if read(lock) == text:
            lock.unlink(missing_ok=True)


def refuse_if_owned(plan: Plan) -> None:
    """Raise E175 if another run owns the folder; take away the lock of a dead one."""
    lock = plan.state / "lock"
    if not lock.exists():
        return
    text = read(lock)
    if alive(text) is not None:
        raise _taken(text)
    if elsewhere(text) or not text:
        limit = DEAD_S if text else UNWRITTEN_S
        if untouched(lock) < limit:
            raise _taken(text)
    _remove_dead(lock, text)


def _taken(text: str) -> PathaiError:
    owner = text.split("\n")[0]
    if not elsewhere(text):
        return PathaiError("E175", f"another run owns this folder (process {owner})")
    message = f"a run on another machine owns this folder (process {owner} there)"
    remedy = (
        f"wait until it has ended; {DEAD_S / 60:.0f} minutes after its machine has died the lock "
        "is taken over, or remove .pathai/lock"
    )
    return PathaiError("E175", message, remedy)


def untouched(path: Path) -> float:
    """Seconds since a file was touched, by the clock of the disk that it lies on."""
    probe = path.with_name(f"{path.name}.{os.getpid()}.now")
    try:
        probe.write_bytes(b"")
        age = probe.stat().st_mtime - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
    except OSError as error:
        raise storage_error(error) from None
    finally:
        probe.unlink(missing_ok=True)
    return age


def _claim(lock: Path, text: str) -> None:
    """Make the lock, whole at once; FileExistsError if another run was faster."""
    whole = lock.with_name(f"lock.{os.getpid()}.new")
    try:
        whole.write_text(text)
    except OSError:  # a full disk: not even this is left
        with suppress(OSError):
            whole.unlink(missing_ok=True)
        raise
    try:
        os.link(whole, lock)
    except FileExistsError:
        raise
    except OSError:  # a disk without hard links
        handle = os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        os.write(handle, text.encode())
        os.close(handle)
    finally:
        whole.unlink(missing_ok=True)


def _remove_dead(lock: Path, text: str) -> None:
    """Remove the very lock that was judged: one that was just taken anew is put back."""
    aside = lock.with_name(f"lock.{os.getpid()}.dead")
    try:
        lock.rename(aside)
    except FileNotFoundError:
        return
    if read(aside) != text:
        with suppress(OSError):
            os.link(aside, lock)
    aside.unlink()


class _Beat(threading.Thread):
    """Touches a file now and then, and ends this process once the lock is not its owner's."""

    def __init__(self, lock: Path, owner: str, pause_s: float, mark: Path | None = None) -> None:
        super().__init__(daemon=True)
        self._lock, self._owner, self._pause_s = lock, owner, pause_s
        self._mark = mark or lock
        self._done = threading.Event()

    def run(self) -> None:
        touched = time.monotonic()
        while not self._done.wait(self._pause_s):
            if time.monotonic() - touched >= BEAT_S:
                with suppress(OSError):
                    os.utime(self._mark)
                touched = time.monotonic()
            if _lost(self._lock, self._owner):
                self._end()

    def _end(self) -> None:
        """Ask the main thread to end; it may be in the middle of a long call."""
        os.kill(os.getpid(), signal.SIGTERM)
        if not self._done.wait(POLITE_S):
            os._exit(128 + signal.SIGTERM)

    def stop(self) -> None:
        self._done.set()
        self.join()


def _lost(lock: Path, owner: str) -> bool:
    """Whether the folder is another run's, or nobody's. Its owner may be on another machine."""
    found = read(lock)
    if found != owner:
        time.sleep(0.1)  # a look at a network disk may fail once
        return read(lock) != owner
    return not elsewhere(owner) and alive(owner) is None


@contextmanager
def working(plan: Plan, name: str) -> Iterator[None]:
    """Work as a job of the run that owns the folder, and end with it.

    Its mark in ``.pathai/workers`` is written before the lock is looked at; a new run takes the
    lock before it looks at marks. So one of the two always sees the other.

    Raises
    ------
    PathaiError
        E175 when the run that started this job is over.
    """
    owner = os.environ.get(OWNER, "").replace(" ", "\n")
    mark = plan.state / "workers" / name
    try:
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.write_text(identity())
    except OSError as error:
        raise storage_error(error) from None
    if not owner:  # Snakemake was started without pathai run
        yield
        mark.unlink(missing_ok=True)
        return
    lock = plan.state / "lock"
    if _lost(lock, owner):
        mark.unlink(missing_ok=True)
        raise PathaiError("E175", "the run that started this job is over", "run pathai run again")
    beat = _Beat(lock, owner, LOOK_S, mark)
    beat.start()
    try:
        yield
    finally:
        beat.stop()
    mark.unlink(missing_ok=True)


def as_owner() -> dict[str, str]:
    """Environment by which jobs know whose they are."""
    return {OWNER: identity().replace("\n", " ")}
