"""Nothing leaves this machine."""

import socket

import httpx
import pytest

from pathai.report_evaluation import egress
from pathai.report_evaluation.egress import in_a_namespace, run, watched


def test_no_way_out_is_taken():
    found = run()
    assert len(found) >= 35
    assert [(o.name, o.detail) for o in found if not o.passed] == []


def test_nothing_leaves_where_there_is_no_route():
    found = in_a_namespace()
    if isinstance(found, str):
        pytest.skip(found)
    assert [(o.name, o.detail) for o in found if not o.passed] == []
    assert found[-1].name == "no route"


# --- the suite can fail ----------------------------------------------------------------------


def test_connections_and_questions_to_others_are_seen(monkeypatch):
    with watched() as leaks:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.connect(("192.0.2.7", 53))  # a datagram socket sends nothing by connecting
        assert leaks == ["socket.connect '192.0.2.7'"]
        with socket.socket() as two, pytest.raises(OSError, match="refused"):
            two.connect(("127.0.0.1", 9))
        assert len(leaks) == 1
    with watched() as later:
        pass
    assert later == []


def test_a_client_that_follows_redirects_and_proxies_is_noticed(monkeypatch):
    from pathai import loopback

    def careless(transport):
        return httpx.Client(follow_redirects=True)

    monkeypatch.setattr(loopback, "client", careless)
    failed = {o.name for o in run() if not o.passed}
    assert "redirect 307" in failed
    assert "proxies, addresses and accounts of the environment" in failed


def test_a_canary_that_arrives_is_noticed(monkeypatch):
    from pathai.drafters import asking

    real = asking.prompt
    monkeypatch.setattr(asking, "prompt", lambda lines: real(lines) + egress.CANARY)
    failed = [o for o in run() if not o.passed]
    assert any("a canary arrived" in o.detail for o in failed)
