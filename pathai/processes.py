"""Processes that may outlive each other: who is alive, and ending one's own orphans."""

import os
import platform
from hashlib import sha256
from pathlib import Path

import psutil

PR_SET_PDEATHSIG = 1
SIGKILL = 9


def identity() -> str:
    """Process id, start time and machine: a reused id is not taken for its former owner."""
    pid = os.getpid()
    return f"{pid}\n{_started(pid)}\n{machine()}\n"


def machine() -> str:
    """Stands for the machine's name, which stays out of files."""
    return sha256(platform.node().encode()).hexdigest()[:16]


def elsewhere(text: str) -> bool:
    """Whether a stored identity is of another machine."""
    return [*text.split("\n"), "", "", ""][2] not in ("", machine())


def _started(pid: int) -> str:
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:  # ended, its parent has not looked yet
            return ""
        return f"{process.create_time():.2f}"
    except psutil.NoSuchProcess:
        return ""


def alive(text: str) -> int | None:
    """Process id of a stored identity that is still running here, else None."""
    pid, started = [*text.split("\n"), "", ""][:2]
    known = pid.isdigit() and bool(started) and not elsewhere(text)
    return int(pid) if known and _started(int(pid)) == started else None


def end(text: str) -> None:
    """End the process of a stored identity, if it is still running, and wait for its end."""
    pid = alive(text)
    if pid is None:
        return
    try:
        process = psutil.Process(pid)
        process.kill()
        process.wait(timeout=30)
    except (psutil.NoSuchProcess, psutil.TimeoutExpired):
        return


def die_with_parent() -> None:
    """Ask Linux to end this process when its parent ends; elsewhere orphans are ended later."""
    import ctypes

    try:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, SIGKILL)
    except (OSError, AttributeError):
        return


def read(path: Path) -> str:
    """A stored identity; empty when it has just been removed."""
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""
