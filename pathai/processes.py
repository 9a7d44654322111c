"""Processes that may outlive each other: who is alive, being asked to stop, ending orphans."""

import os
import platform
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from types import FrameType

import psutil

PR_SET_PDEATHSIG = 1
ASKED = (signal.SIGINT, signal.SIGTERM, *((signal.SIGHUP,) if hasattr(signal, "SIGHUP") else ()))
"""Signals that ask for an end: Ctrl-C, ``kill`` and a cluster's time limit, a closed terminal."""
POLITE_S = 7.0
"""How long jobs may take to end by themselves; with what follows an end takes less than 10 s."""


class Stopped(BaseException):
    """A signal asked this process to end. No ``Exception``, so that nothing takes it for a fault.

    Parameters
    ----------
    signum : int
        The signal; the exit status is 128 more, as a shell has it.
    """

    def __init__(self, signum: int) -> None:
        self.signum = signum
        super().__init__(signal.Signals(signum).name)

    @property
    def exit_code(self) -> int:
        """Exit status of a process that was asked to end."""
        return 128 + self.signum


@contextmanager
def stoppable() -> Iterator[None]:
    """Turn the first signal that asks for an end into ``Stopped``; later ones change nothing.

    What is ignored already stays ignored, as under ``nohup``. Work that is going on is unwound:
    locks are given back, children ended.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return

    def stop(signum: int, _frame: FrameType | None) -> None:
        for one in taken:
            signal.signal(one, signal.SIG_IGN)
        raise Stopped(signum)

    taken = {s: h for s in ASKED if (h := signal.getsignal(s)) not in (signal.SIG_IGN, None)}
    for one in taken:
        signal.signal(one, stop)
    try:
        yield
    finally:
        for one, before in taken.items():
            signal.signal(one, before)


def identity(pid: int | None = None) -> str:
    """Process id, start and machine: a reused id is not taken for its former owner."""
    pid = pid or os.getpid()
    return f"{pid}\n{_started(pid)}\n{machine()}\n"


def machine() -> str:
    """Stands for the machine, whose name stays out of files."""
    own = read(Path("/etc/machine-id")) if sys.platform == "linux" else ""
    return sha256(f"{platform.node()}\n{own}".encode()).hexdigest()[:16]


def elsewhere(text: str) -> bool:
    """Whether a stored identity is of another machine."""
    return [*text.split("\n"), "", "", ""][2] not in ("", machine())


def _started(pid: int) -> str:
    """When a process started, in a form that no change of the clock alters; empty: it is gone.

    On Linux this is the boot and the ticks since it; elsewhere the time of day.
    """
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:  # ended, its parent has not looked yet
            return ""
        if sys.platform == "linux":
            stat = Path(f"/proc/{pid}/stat").read_text()
            ticks = stat.rpartition(")")[2].split()[19]  # the name before may hold anything
            boot = read(Path("/proc/sys/kernel/random/boot_id")).strip()
            return f"{boot}/{ticks}"
        return f"{process.create_time():.2f}"
    except (psutil.NoSuchProcess, OSError):
        return ""


def alive(text: str) -> int | None:
    """Process id of a stored identity that is still running here, else None."""
    pid, started = [*text.split("\n"), "", ""][:2]
    known = pid.isdigit() and bool(started) and not elsewhere(text)
    return int(pid) if known and _started(int(pid)) == started else None


def end(text: str) -> None:
    """End the process of a stored identity and its children, if it still runs; wait for it."""
    pid = alive(text)
    if pid is None:
        return
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        _kill([process, *process.children(recursive=True)])


def stop(process: "subprocess.Popen[bytes]", jobs: str) -> None:
    """End a scheduler and its jobs within 10 s: they are asked first, and killed if need be.

    Parameters
    ----------
    process : Popen
        The scheduler; SIGINT makes it take back what it has given to a cluster.
    jobs : str
        Argument by which jobs among its descendants are known. Only they are asked: a reading
        child that ends before its job would look like a damaged slide.
    """
    known: dict[int, psutil.Process] = {}
    asked: set[int] = set()
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGINT)
    deadline = time.monotonic() + POLITE_S
    while time.monotonic() < deadline:
        known |= {p.pid: p for p in _below(process.pid)}
        running = [p for p in known.values() if p.is_running()]
        for job in running:
            if job.pid not in asked and jobs in _words(job):
                asked.add(job.pid)
                with suppress(psutil.NoSuchProcess):
                    job.terminate()
        if process.poll() is not None and not any(jobs in _words(job) for job in running):
            break
        time.sleep(0.05)
    _kill(known.values())
    with suppress(ProcessLookupError):
        process.kill()
    process.wait()


def _below(pid: int) -> list[psutil.Process]:
    try:
        return list(psutil.Process(pid).children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def _words(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


def _kill(processes: Iterable[psutil.Process]) -> None:
    left = [p for p in processes if p.is_running()]
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=2)


def die_with_parent() -> None:
    """Ask Linux to end this process when its parent ends; elsewhere orphans are ended later."""
    if sys.platform != "linux":
        return
    import ctypes

    try:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    except (OSError, AttributeError):
        return


def read(path: Path) -> str:
    """A stored identity; empty when it has just been removed."""
    try:
        return path.read_text()
    except OSError:
        return ""
