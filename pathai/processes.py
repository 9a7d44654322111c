"""Processes that may outlive each other: who is alive, and ending one's own orphans."""

import os
from pathlib import Path

import psutil

PR_SET_PDEATHSIG = 1
SIGKILL = 9


def identity(pid: int | None = None) -> str:
    """Process id and start time, so that a reused id is not taken for its former owner."""
    number = os.getpid() if pid is None else pid
    return f"{number}\n{_started(number)}\n"


def _started(pid: int) -> str:
    try:
        return f"{psutil.Process(pid).create_time():.2f}"
    except psutil.NoSuchProcess:
        return ""


def alive(text: str) -> int | None:
    """Process id of a stored identity that is still running, else None."""
    pid, started = [*text.split("\n"), "", ""][:2]
    running = pid.isdigit() and bool(started) and _started(int(pid)) == started
    return int(pid) if running else None


def end(text: str) -> None:
    """End the process of a stored identity, if it is still running, and wait for its end."""
    pid = alive(text)
    if pid is None:
        return
    try:
        process = psutil.Process(pid)
        process.kill()
        process.wait(timeout=30)
    except psutil.NoSuchProcess:
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
