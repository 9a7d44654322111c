"""A child process for what may crash, hang or eat the memory: native decoders on unknown files.

`Guard.call` runs a named function in a persistent child. If the child dies or does not answer in
time, the call fails with a `PathaiError`, the next call gets a fresh child, and everything else
goes on. The child is a fresh interpreter (never a fork), which unlike ``multiprocessing`` does
not import the caller's main module a second time.

The protocol is three lines: the parent sends ``(target, args, seconds)``; the child answers
``("done", value)``, ``("failed", code, message, remedy)`` or, before it ends,
``("broken", type name)``.
"""

import atexit
import math
import os
import signal
import subprocess
import sys
from importlib import import_module
from multiprocessing.connection import Connection, Pipe
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pathai.errors import PathaiError
from pathai.processes import ASKED

if TYPE_CHECKING:
    Link = Connection[Any, Any]

_START = "import sys; from pathai.guard import serve; serve(int(sys.argv[1]), int(sys.argv[2]))"
_POLITE_SECONDS = 5.0


class Guard:
    """A child process with limits, started on the first call and kept for the next ones.

    Parameters
    ----------
    memory_mib : int, optional
        Address space of the child; no limit by default.

    Examples
    --------
    >>> with Guard() as guard:
    ...     guard.call("math:sqrt", 9.0, seconds=30)
    3.0
    """

    def __init__(self, memory_mib: int | None = None) -> None:
        self.memory_mib = memory_mib
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Link | None = None
        self._owner = os.getpid()

    def call(self, target: str, *args: Any, seconds: float) -> Any:
        """Run ``module:function`` in the child and return its value.

        Parameters
        ----------
        target : str
            Importable function.
        *args
            Picklable arguments.
        seconds : float
            Wall clock after which the child is killed; also what it may take of the processor.

        Returns
        -------
        Any
            What the function returned (pickled).

        Raises
        ------
        PathaiError
            The function's own; E170 out of memory, E171 no answer in time, E172 the child died
            (the signal is named), E299 for any other error in the child.
        """
        pipe = self._started()
        try:
            pipe.send((target, args, seconds))
            if not pipe.poll(seconds):
                self._end(kill=True)
                raise PathaiError("E171", f"no answer within {seconds:g} s")
            answer = pipe.recv()
        except (EOFError, ConnectionError):
            raise self._death() from None
        if answer[0] == "failed":
            raise PathaiError(*answer[1:])
        if answer[0] == "broken":
            self._end(kill=False)
            raise PathaiError("E299", f"{answer[1]} in the child process")
        return answer[1]

    def close(self, *, kill: bool = False) -> None:
        """End the child, with ``kill`` in the middle of a call; a later one starts another."""
        self._end(kill=kill)

    def __enter__(self) -> "Guard":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end(kill=error is not None)

    def _started(self) -> "Link":
        if self._owner != os.getpid():  # a fork of the caller must not speak into the same pipe
            self._process, self._pipe, self._owner = None, None, os.getpid()
        if self._pipe is not None and self._process is not None and self._process.poll() is None:
            return self._pipe
        self._end(kill=True)
        ours, theirs = Pipe()
        quiet = None if os.environ.get("PATHAI_DEBUG") else subprocess.DEVNULL
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START, str(theirs.fileno()), str(self.memory_mib or 0)],
                pass_fds=(theirs.fileno(),),
                env=_environment(),
                stdin=subprocess.DEVNULL,
                # Libraries print paths and slide text: none of it may reach a log.
                stdout=quiet,
                stderr=quiet,
            )
        self._pipe = ours
        return ours

    def _death(self) -> PathaiError:
        process = self._process
        code = process.wait() if process is not None else 0
        self._end(kill=True)
        if code < 0:
            return PathaiError("E172", f"the child process died of {signal.Signals(-code).name}")
        return PathaiError("E172", f"the child process ended with code {code}")

    def _end(self, *, kill: bool) -> None:
        process, pipe, self._process, self._pipe = self._process, self._pipe, None, None
        if self._owner != os.getpid():
            return
        if pipe is not None:
            pipe.close()
        if process is None:
            return
        if kill:
            process.kill()
        try:
            process.wait(_POLITE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


_shared: dict[int | None, Guard] = {}


def shared(memory_mib: int | None = None) -> Guard:
    """The process-wide guard with this limit: a batch of slides starts one child, not many."""
    if memory_mib not in _shared:
        _shared[memory_mib] = Guard(memory_mib)
        atexit.register(_shared[memory_mib].close)
    return _shared[memory_mib]


def close_guards(*, kill: bool = False) -> None:
    """End the process-wide children, with ``kill`` in the middle of a call."""
    for guard in _shared.values():
        guard.close(kill=kill)


def serve(descriptor: int, memory_mib: int) -> None:
    """Answer calls until the parent goes away (runs in the child)."""
    _limit(memory_mib)
    pipe: Link = Connection(descriptor)
    sys.excepthook = lambda kind, error, trace: _last_words(pipe, kind, error, trace)
    while True:
        try:
            target, args, seconds = pipe.recv()
        except (EOFError, ConnectionError):
            return
        _limit_processor(seconds)
        try:
            module, _, name = target.partition(":")
            answer: tuple[Any, ...] = ("done", getattr(import_module(module), name)(*args))
        except PathaiError as error:
            answer = ("failed", error.code, error.message, error.remedy)
        except MemoryError:
            answer = ("failed", "E170", "out of memory in the child process", "")
        pipe.send(answer)


def _last_words(
    pipe: "Link",
    kind: type[BaseException],
    error: BaseException,
    trace: TracebackType | None,
) -> None:
    # Any other error ends the child, whose state is not to be trusted after it. Its text may
    # name a path, so only the type is told.
    sys.__excepthook__(kind, error, trace)
    pipe.send(("broken", kind.__name__))


def _environment() -> dict[str, str]:
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    path = os.pathsep.join(part for part in sys.path if part)
    return {**os.environ, **dict.fromkeys(threads, "1"), "PYTHONPATH": path}


def _limit(memory_mib: int) -> None:
    for asked in ASKED:  # an end is the parent's to ask for: it would look like a damaged slide
        signal.signal(asked, signal.SIG_IGN)
    try:
        import resource
    except ImportError:  # Windows has no such limits
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would hold slide text
    if memory_mib:
        wanted = memory_mib * 2**20
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    if sys.platform == "linux":
        import ctypes

        # Die with the parent, even when it is killed in the middle of a call. (Linux counts the
        # thread that started the child as the parent; a later call starts another one then.)
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def _limit_processor(seconds: float) -> None:
    """Bound the processor time of one call: a child that turns in circles ends without a parent."""
    try:
        import resource
    except ImportError:  # Windows has no such limits
        return
    usage = resource.getrusage(resource.RUSAGE_SELF)
    wanted = math.ceil(usage.ru_utime + usage.ru_stime + seconds) + 1
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_CPU, (limit, hard))
