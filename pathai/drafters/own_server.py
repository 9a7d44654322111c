"""A language model's server that a job starts for itself: on loopback, on a free port, and ended.

A report job of a cluster has no server beside it. So it starts the configured command when the
first line is to be phrased, waits until one token is answered, keeps it for the cases of its batch
and ends it with the process; Linux ends it even if the process is killed.
"""

import atexit
import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pathai.config import LlmConfig
from pathai.errors import PathaiError
from pathai.processes import die_with_parent

HOST = "127.0.0.1"
END_S = 10.0
"""Until a server that was asked to end is killed."""
PROBE_S = 30.0
"""Longest that one token may take."""


@dataclass(frozen=True)
class OwnServer:
    """A running server."""

    process: "subprocess.Popen[bytes]"
    base_url: str

    def end(self) -> None:
        """End it; killed when it does not."""
        self.process.terminate()
        try:
            self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


_running: dict[tuple[str, ...], OwnServer] = {}
_refused: dict[tuple[str, ...], str] = {}
"""Commands that did not come up in this process: the next case does not wait for them again."""


def check_command(llm: LlmConfig) -> None:
    """Refuse a command that cannot be used.

    Raises
    ------
    PathaiError
        E190 without a place for the port, or with an address beside it.
    """
    if not any("{port}" in part for part in llm.command):
        message = "report.llm.command does not say where the port goes"
        raise PathaiError("E190", message, "write {port} where the server takes its port")
    if llm.base_url:
        message = "report.llm has both command and base_url"
        raise PathaiError("E190", message, "leave out base_url: a free port is chosen")


def address(llm: LlmConfig) -> str:
    """Base URL of the server of a command, which is started if this process has not yet.

    Parameters
    ----------
    llm : LlmConfig
        With ``command`` and ``model``.

    Returns
    -------
    str
        ``http://127.0.0.1:PORT/v1``.

    Raises
    ------
    PathaiError
        E202 if it ends or does not answer within ``start_seconds``.
    """
    known = _running.get(llm.command)
    if known is not None and known.process.poll() is None:
        return known.base_url
    if llm.command in _refused:
        raise PathaiError("E202", _refused[llm.command])
    try:
        started = _start(llm)
    except PathaiError as error:
        _refused[llm.command] = error.message
        sys.stderr.write(f"pathai: {error}\n")
        raise
    _running[llm.command] = started
    return started.base_url


@contextmanager
def serving(llm: LlmConfig) -> Iterator[str]:
    """The same for the length of a block, and a server of its own."""
    started = _start(llm)
    try:
        yield started.base_url
    finally:
        started.end()


def _start(llm: LlmConfig) -> OwnServer:
    check_command(llm)
    port = _free_port()
    command = [part.replace("{port}", str(port)) for part in llm.command]
    bound = die_with_parent if sys.platform == "linux" else None
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=bound,
        )
    except OSError as error:
        message = f"report.llm.command {command[0]!r} does not start ({error.strerror})"
        raise PathaiError("E202", message) from None
    started = OwnServer(process, f"http://{HOST}:{port}/v1")
    atexit.register(started.end)
    try:
        _await(started, llm)
    except PathaiError:
        started.end()
        raise
    return started


def _await(started: OwnServer, llm: LlmConfig) -> None:
    late = time.monotonic() + llm.start_seconds
    while time.monotonic() < late:
        status = started.process.poll()
        if status is not None:
            message = (
                f"report.llm.command {llm.command[0]!r} ended with {status} before it answered"
            )
            raise PathaiError("E202", message)
        if _answers(started.base_url, llm.model):
            return
        time.sleep(0.25)
    message = f"report.llm.command {llm.command[0]!r} did not answer in {llm.start_seconds:g} s"
    raise PathaiError("E202", message)


def _answers(base_url: str, model: str) -> bool:
    """Whether one token comes back: some servers list models before, or without, loading one."""
    import httpx

    from pathai import loopback

    asked: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "user", "content": "ok"}],
        "max_tokens": 1,
    }
    transport = loopback.GuardedTransport(loopback.check_address(base_url), PROBE_S)
    with loopback.client(transport) as http, contextlib.suppress(httpx.HTTPError):
        return bool(http.post(f"{base_url}/chat/completions", json=asked).status_code == 200)
    return False


def _free_port() -> int:
    with socket.socket() as one:
        one.bind((HOST, 0))
        return int(one.getsockname()[1])
