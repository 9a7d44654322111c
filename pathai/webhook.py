"""A word to a server of the lab's choice when a run has ended: counts and codes, nothing else."""

import ssl
from collections import Counter
from typing import Any

from pathai import __version__
from pathai.errors import PathaiError
from pathai.plan import Plan
from pathai.run import Outcome

SECONDS = 10.0
"""For everything: connection, request and answer."""
Told = dict[str, Any]


def ended(plan: Plan, outcome: Outcome, seconds: float) -> Told:
    """What is told of a run that came to its end: numbers and codes, no id, name, path or text."""
    slides = {row.slide_id for row in plan.sheet.rows}
    states = Counter(m.status for m in outcome.problems if m.subject in slides)
    counts = {status: states[status] for status in ("degraded", "skipped", "failed")}
    counts = {"ok": len(slides) - sum(counts.values()), **counts}
    other = sum(m.status == "failed" for m in outcome.problems if m.subject not in slides)
    codes = Counter(m.problems[0].code for m in outcome.problems if m.problems)
    text = f"pathai: {counts['ok']} of {len(slides)} slides ok"
    text += "".join(f", {n} {status}" for status, n in counts.items() if n and status != "ok")
    text += f", {other} models or cases failed" if other else ""
    text += f" ({', '.join(f'{code} x {n}' for code, n in sorted(codes.items()))})" if codes else ""
    told = {"slides": counts, "other_failed": other, "codes": dict(sorted(codes.items()))}
    return _told(text, int(bool(outcome.failed)), seconds) | told


def broken(error: PathaiError, seconds: float) -> Told:
    """What is told of a run that could not go on: the code alone."""
    return _told(f"pathai: the run stopped with {error.code}", 1, seconds) | {
        "codes": {error.code: 1}
    }


def _told(text: str, code: int, seconds: float) -> Told:
    """``text`` is what chat servers show."""
    return {
        "text": text,
        "event": "run-ended",
        "pathai": __version__,
        "exit_code": code,
        "seconds": round(seconds),
    }


def send(url: str, told: Told) -> str:
    """Post JSON; return why it was not delivered, or nothing. The address is never repeated.

    No proxy of the environment is used, no redirect followed, and of the answer only its status
    is looked at.
    """
    import httpx

    from pathai.loopback import Address, GuardedTransport, client, resolve

    try:
        parts = httpx.URL(url)
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
        ips = resolve(parts.host, port)
        if parts.scheme == "http" and not all(ip.is_loopback for ip in ips):
            return "plain http is for this machine alone"
        place = Address(url, parts.host, port, str(ips[0]), is_loopback=ips[0].is_loopback)
        transport = GuardedTransport(place, SECONDS)
        with client(transport) as session:
            status = session.post(url, json=told).status_code
    except (httpx.HTTPError, httpx.InvalidURL, KeyError, ssl.SSLError, OSError) as error:
        return f"no answer ({type(error).__name__})"
    except PathaiError:
        return "its server has no address"
    return "" if 200 <= status < 300 else f"the server answered {status}"
