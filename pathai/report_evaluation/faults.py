"""Servers that fail in every way that was thought of: the template's draft, marked, in time."""

import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler
from typing import NamedTuple

from pathai.config import LlmConfig, ReportConfig
from pathai.drafters.base import FLAGS
from pathai.finding import CaseFindings
from pathai.report import check
from pathai.report.draft import draft
from pathai.testing.llm_servers import Handle, completion, hang, honest, phrased, send, server

SLACK = 5.0
"""Seconds beyond the limit in which a draft must be there on a busy machine."""


class Fault(NamedTuple):
    """How a server fails, and how the flag that tells of it begins."""

    handle: Handle
    flag: str
    seconds: float = 20.0
    identify: Handle | None = None


class Outcome(NamedTuple):
    """What a check found; ``detail`` is empty where all is well."""

    name: str
    passed: bool
    detail: str = ""
    seconds: float = 0.0


def _silent(request: BaseHTTPRequestHandler, body: bytes) -> None:
    """Hang for half a minute; the limit is far shorter."""
    hang(request, 30)


def _drip(request: BaseHTTPRequestHandler, body: bytes) -> None:
    """One byte at a time: every single read is quick, the whole never ends."""
    request.send_response(200)
    request.send_header("Content-Length", "100000")
    request.end_headers()
    for _ in range(600):
        request.wfile.write(b" ")
        request.wfile.flush()
        hang(request, 0.05)


def _large(request: BaseHTTPRequestHandler, body: bytes) -> None:
    send(request, completion("x" * 10_000_000))


def _gzip(request: BaseHTTPRequestHandler, body: bytes) -> None:
    send(request, b"\x1f\x8b" + b"0" * 100, headers=[("Content-Encoding", "gzip")])


def _raw(data: bytes, status: int = 200) -> Handle:
    return lambda request, body: send(request, data, status)


FAULTS: dict[str, Fault] = {
    "error 500": Fault(_raw(b'{"error": "CANARY"}', 500), "llm_status"),
    "error 404": Fault(_raw(b"nothing here", 404), "llm_status"),
    "error 429": Fault(_raw(b"{}", 429), "llm_status"),
    "hangs 30 s": Fault(_silent, "llm_slow", 0.5),
    "drips": Fault(_drip, "llm_slow", 0.5),
    "hangs when asked for its model": Fault(honest, "llm_slow", 0.5, _silent),
    "10 MB": Fault(_large, "llm_too_large"),
    "10 MB when asked for its model": Fault(honest, "llm_too_large", 20.0, _large),
    "compressed": Fault(_gzip, "llm_unreachable"),
    "not JSON": Fault(_raw(b"<html>CANARY</html>"), "llm_"),
    "empty body": Fault(_raw(b""), "llm_"),
    "no choices": Fault(_raw(b'{"choices": []}'), "llm_invalid"),
    "null": Fault(_raw(b"null"), "llm_"),
    "list": Fault(_raw(b"[1, 2]"), "llm_"),
    "null content": Fault(_raw(completion(None)), "llm_invalid"),
    "empty content": Fault(_raw(completion("")), "llm_invalid"),
    "truncated body": Fault(lambda r, b: send(r, phrased(b)[:200]), "llm_"),
    "truncated content": Fault(
        _raw(completion('{"statements": [{"id": "S1", "fin')), "llm_invalid"
    ),
    "other ids": Fault(lambda r, b: send(r, phrased(b).replace(b'\\"F', b'\\"F9')), "llm_invalid"),
    "extra key": Fault(
        lambda r, b: send(r, phrased(b).replace(b'\\"id\\"', b'\\"x\\": 1, \\"id\\"')),
        "llm_invalid",
    ),
    "deep JSON": Fault(_raw(completion("[" * 100_000)), "llm_invalid"),
    "not UTF-8": Fault(_raw(b'{"choices": [{"message": {"content": "\xff"}}]}'), "llm_invalid"),
    "closes": Fault(lambda r, b: r.connection.close(), "llm_unreachable"),
}
DOWN = "server down"


def run(case: CaseFindings, names: Sequence[str] = (DOWN, *FAULTS)) -> tuple[Outcome, ...]:
    """Draft a case with each failing server.

    Parameters
    ----------
    case : CaseFindings
        Drafted each time.
    names : sequence of str
        Of ``FAULTS``, or ``DOWN``.
    """
    return tuple(_down(case) if name == DOWN else _one(case, name) for name in names)


def _one(case: CaseFindings, name: str) -> Outcome:
    fault = FAULTS[name]
    with server(fault.handle, fault.identify) as (url, _):
        return _judge(case, name, url, fault.flag, fault.seconds)


def _down(case: CaseFindings) -> Outcome:
    with server(honest) as (url, _):
        pass
    return _judge(case, DOWN, url, "llm_unreachable", 20.0)


def _judge(case: CaseFindings, name: str, url: str, flag: str, seconds: float) -> Outcome:
    safe = [s.rendered for s in draft(case, ReportConfig()).statements()]
    llm = LlmConfig(base_url=url, model="tiny", seconds=seconds)
    start = time.monotonic()
    made = draft(case, ReportConfig(drafter="openai-compatible", llm=llm))
    taken = time.monotonic() - start
    told = set(made.engine_flags) - {"llm_not_evaluated"}
    wrong = {
        "the sentences are not the template's": [s.rendered for s in made.statements()] != safe,
        "the draft does not say what happened": not any(f.startswith(flag) for f in told),
        "a flag without words": not set(made.engine_flags) <= set(FLAGS),
        "a sentence is not marked": any(s.verdict != "fallback" for s in made.statements()),
        "the draft does not stand on its findings": bool(check.check_draft(made, case)),
        "the server's words are in the draft": "CANARY" in made.model_dump_json(),
        "it took longer than its limit": taken > seconds + SLACK,
    }
    detail = "; ".join(what for what, is_so in wrong.items() if is_so)
    return Outcome(name, not detail, detail, taken)
