"""Nothing leaves this machine: every way out that was thought of, with every connection watched.

``run`` plays servers, proxies and environments that would lead a careless client elsewhere, and
looks at what arrived where. ``python -m pathai.report_evaluation.egress`` prints the outcome as
JSON; ``in_a_namespace`` runs it where the kernel has no route but loopback.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from ipaddress import ip_address
from typing import Any
from unittest import mock

from pathai.config import LlmConfig, ReportConfig
from pathai.errors import PathaiError
from pathai.finding import CaseFindings
from pathai.report.draft import draft
from pathai.report.records import Draft
from pathai.report_evaluation.faults import Outcome
from pathai.report_evaluation.hostile import clean_case
from pathai.testing.llm_servers import Seen, completion, honest, ollama, phrased, send, server

CANARY = "CANARYqzx"
"""Stands in the case, in the sheet's texts and in the environment; no server may receive it."""
VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "FTP_PROXY", "OPENAI_BASE_URL",
             "OPENAI_API_BASE", "OLLAMA_HOST", "AZURE_OPENAI_ENDPOINT")  # fmt: skip
NAMED = ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_ORGANIZATION", "OPENAI_PROJECT_ID",
         "OPENAI_ADMIN_KEY", "OPENAI_WEBHOOK_SECRET")  # fmt: skip
REDIRECTS = (301, 302, 303, 307, 308)
OUTSIDE = (
    "http://example.org/v1",
    "https://api.example.org/v1",
    "http://192.0.2.7:11434/v1",
    "http://8.8.8.8/v1",
    "http://10.0.0.1/v1",
    "http://169.254.169.254/v1",
    "http://[2001:db8::1]:80/v1",
    "http://[fe80::1]/v1",
    "http://[::ffff:8.8.8.8]/v1",
    "http://[64:ff9b::808:808]/v1",
    "http://[::]/v1",
    "http://0.0.0.0:1/v1",
    "http://2130706433/v1",
    "http://0x7f.1/v1",
    "http://127.0.0.1.example.org/v1",
    "http://localhost.example.org/v1",
    "http://127.0.0.1@192.0.2.7/v1",
    "http://127.0.0.1/v1?to=http://192.0.2.7",
    "http://127.0.0.1/v1#@192.0.2.7",
    "ftp://127.0.0.1/v1",
    "file:///etc/passwd",
    "127.0.0.1:8000",
    "http:///v1",
)
CLOUD = ("gpt-oss:120b-cloud", "x:cloud", "big-CLOUD", "a-cloud:latest", "cloud/x", "team/cloud:x")

# --- watching --------------------------------------------------------------------------------

_listeners: list[list[str]] = []
_hooked = False


def _hook(event: str, given: tuple[Any, ...]) -> None:
    if not _listeners or event not in ("socket.connect", "socket.sendto", "socket.getaddrinfo"):
        return
    where = given[0] if event == "socket.getaddrinfo" else given[1]
    host = where[0] if isinstance(where, tuple) else where
    if not _is_here(host):
        for listener in _listeners:
            listener.append(f"{event} {host!r}")


def _is_here(host: Any) -> bool:
    text = host.decode() if isinstance(host, bytes) else str(host)
    if text == "localhost" or text.startswith(("/", "\0")):
        return True  # unix sockets have paths
    try:
        return ip_address(text.partition("%")[0]).is_loopback
    except ValueError:
        return False


@contextmanager
def watched() -> Iterator[list[str]]:
    """Every connection or look-up of this process that is not of loopback.

    Watched below every library, by the interpreter's own audit events.
    """
    global _hooked
    if not _hooked:
        sys.addaudithook(_hook)
        _hooked = True
    found: list[str] = []
    _listeners.append(found)
    try:
        yield found
    finally:
        _listeners.remove(found)


# --- the suite -------------------------------------------------------------------------------


def run(case: CaseFindings | None = None) -> tuple[Outcome, ...]:
    """Try every way out.

    Parameters
    ----------
    case : CaseFindings, optional
        Its texts should hold ``CANARY``; a small synthetic case does.
    """
    case = case or clean_case(site=CANARY, specimen=CANARY, case=CANARY, question=CANARY)
    outcomes = [_redirect(case, status) for status in REDIRECTS]
    outcomes += [_redirect(case, 307, "http://leak.example/v1/chat/completions")]
    outcomes += [_environment(case), _second_look(case)]
    outcomes += [_refused(case, f"address {url}", url) for url in OUTSIDE]
    outcomes += [_refused(case, f"model {m}", "http://127.0.0.1:9/v1", m) for m in CLOUD]
    outcomes += [_relayed_by_tags(case), _relayed_by_answer(case), _ipv6(case)]
    return tuple(outcomes)


def _section(url: str, model: str = "tiny", **more: Any) -> ReportConfig:
    llm = LlmConfig(base_url=url, model=model, seconds=20, **more)
    return ReportConfig(drafter="openai-compatible", llm=llm)


def _judge(name: str, seen: list[Seen], leaks: list[str], wrong: Mapping[str, bool]) -> Outcome:
    told = [request for request in seen if CANARY.encode() in _bytes(request)]
    said = [what for what, is_so in wrong.items() if is_so]
    said += ["a canary arrived at a server"] if told else []
    said += [f"the network was touched: {leak}" for leak in leaks]
    return Outcome(name, not said, "; ".join(said))


def _bytes(request: Seen) -> bytes:
    return f"{request.path} {request.headers}".encode() + request.body


def _template(made: Draft) -> bool:
    return all(s.verdict == "fallback" for s in made.statements())


def _redirect(case: CaseFindings, status: int, target: str = "") -> Outcome:
    """A server on loopback points elsewhere."""
    with watched() as leaks, server(honest) as (elsewhere, stolen):
        goal = target or f"{elsewhere}/chat/completions"

        def point(request: BaseHTTPRequestHandler, body: bytes) -> None:
            send(request, b"", status, [("Location", goal)])

        with server(point, point) as (url, seen):
            made = draft(case, _section(url))
    wrong = {
        "a redirect was followed": bool(stolen),
        "the draft does not say so": "llm_redirect" not in made.engine_flags,
        "the template did not write the draft": not _template(made),
    }
    return _judge(f"redirect {status}{' to a name' if target else ''}", seen, leaks, wrong)


def _environment(case: CaseFindings) -> Outcome:
    """Proxies, addresses and names of accounts in the environment."""
    with watched() as leaks, server(honest) as (proxy, stolen), server(honest) as (url, seen):
        upper = {**dict.fromkeys(VARIABLES, proxy), **dict.fromkeys(NAMED, CANARY)}
        lower = {name.lower(): value for name, value in upper.items()}
        with mock.patch.dict(os.environ, {**upper, **lower, "NO_PROXY": "", "no_proxy": ""}):
            made = draft(case, _section(url))
    wrong = {"a proxy was used": bool(stolen), "no draft was phrased": _template(made)}
    return _judge("proxies, addresses and accounts of the environment", seen, leaks, wrong)


def _second_look(case: CaseFindings) -> Outcome:
    """A name that points elsewhere when it is looked up again (DNS rebinding)."""
    real, looks = socket.getaddrinfo, list[str]()

    def fake(host: Any, port: Any, *given: Any, **more: Any) -> Any:
        if host != "llm.hospital":
            return real(host, port, *given, **more)
        looks.append(host)
        where = "127.0.0.1" if len(looks) == 1 else "192.0.2.7"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (where, port))]

    with watched() as leaks, server(honest) as (url, seen):
        port = url.rsplit(":", 1)[1].split("/")[0]
        with mock.patch("socket.getaddrinfo", fake):
            section = _section(f"http://llm.hospital:{port}/v1", networks=("10.0.0.0/8",))
            made = draft(case, section)
    wrong = {"it was looked up again": len(looks) != 1, "no draft was phrased": _template(made)}
    return _judge("a name that changes its address", seen, leaks, wrong)


def _refused(case: CaseFindings, name: str, url: str, model: str = "tiny") -> Outcome:
    """A configuration that must not even make a question leave."""
    refused = False
    with watched() as leaks:
        try:
            draft(case, _section(url, model))
        except PathaiError as error:
            refused = error.code in ("E190", "E201")
    return _judge(name, [], leaks, {"it was not refused": not refused})


def _relayed_by_tags(case: CaseFindings) -> Outcome:
    """Ollama on loopback that relays the model to its cloud, under a harmless name."""
    remote = ollama("tiny", "ab" * 32, remote_host="https://ollama.com:443", remote_model="big")
    with watched() as leaks, server(honest, remote) as (url, seen):
        made = draft(case, _section(url))
    wrong = {
        "a question was sent": any(request.method == "POST" for request in seen),
        "the draft does not say so": "llm_relayed" not in made.engine_flags,
        "the template did not write the draft": not _template(made),
    }
    return _judge("a model that the server relays", seen, leaks, wrong)


def _relayed_by_answer(case: CaseFindings) -> Outcome:
    """An answer that names a relayed model."""

    def handle(request: BaseHTTPRequestHandler, body: bytes) -> None:
        content = json.loads(phrased(body))["choices"][0]["message"]["content"]
        send(request, completion(content, model="gpt-oss:120b-cloud"))

    with watched() as leaks, server(handle) as (url, seen):
        made = draft(case, _section(url))
    wrong = {
        "the draft does not say so": "llm_relayed" not in made.engine_flags,
        "the template did not write the draft": not _template(made),
    }
    return _judge("an answer of a relayed model", seen, leaks, wrong)


def _ipv6(case: CaseFindings) -> Outcome:
    """Loopback of IPv6 is this machine."""
    port = 9
    with suppress(OSError), socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as free:
        free.bind(("::1", 0))
        port = free.getsockname()[1]
    with watched() as leaks:
        made = draft(case, _section(f"http://[::1]:{port}/v1"))
    wrong = {"it was not held for loopback": made.engine.network != "loopback"}
    return _judge("loopback of IPv6", [], leaks, wrong)


# --- without a route -------------------------------------------------------------------------


def in_a_namespace() -> tuple[Outcome, ...] | str:
    """The suite where the kernel has no route but loopback, or why that cannot be had here."""
    unshare, ip = (
        shutil.which("unshare"),
        shutil.which("ip", path=f"{os.environ['PATH']}:/usr/sbin:/sbin"),
    )
    if not unshare or not ip:
        return "unshare or ip is not installed"
    script = f'{ip} link set lo up && exec "$0" -m pathai.report_evaluation.egress'
    call = [unshare, "--map-root-user", "--net", "sh", "-c", script, sys.executable]
    done = subprocess.run(call, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode not in (0, 1) or not done.stdout:
        return f"no namespace without a route: {done.stderr.strip().splitlines()[-1:]}"
    rows = json.loads(done.stdout)
    return tuple(Outcome(**row) for row in rows)


def routes() -> tuple[str, ...]:
    """Interfaces of IPv4 routes; empty where nothing but loopback can be reached."""
    with suppress(OSError), open("/proc/net/route", encoding="ascii") as table:
        return tuple(line.split()[0] for line in table.readlines()[1:])
    return ()


def main(out: Callable[[str], Any] = sys.stdout.write) -> int:
    """Print the outcome as JSON; 1 if something left."""
    found = [*run(), Outcome("no route", not routes(), ", ".join(routes()))]
    out(json.dumps([outcome._asdict() for outcome in found]))
    return int(not all(outcome.passed for outcome in found))


if __name__ == "__main__":
    sys.exit(main())
