"""What leaves this machine when a run has ended: nothing, or counts and codes to one address."""

import json
import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from pathai import run_verbs
from pathai.errors import PathaiError
from pathai.plan import Plan
from pathai.run import Outcome
from pathai.store.manifest import Manifest, Problem
from pathai.webhook import broken, ended, send

SECRET = "CANARY-7f3a"


@contextmanager
def server(status=200, location=""):
    """A real server on this machine, and what reached it."""
    heard = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            heard.append((self.path, dict(self.headers), body))
            self.send_response(status)
            if location:
                self.send_header("location", location)
            self.end_headers()

        def log_message(self, *_):
            pass

    made = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{made.server_port}", heard
    finally:
        made.shutdown()
        thread.join()
        made.server_close()


@pytest.fixture
def plan(tmp_path):
    rows = "".join(f"{SECRET}-{i}\t/x/{SECRET}.svs\t{SECRET}-C\t{SECRET}-P\n" for i in range(5))
    (tmp_path / "slides.tsv").write_text("slide_id\tpath\tcase_id\tpatient_id\n" + rows)
    (tmp_path / "config.yaml").write_text("{}\n")
    return Plan(tmp_path / "config.yaml")


def manifest(subject, status, code, stage="ingest"):
    problem = Problem(code=code, message=f"{SECRET}: why", remedy=SECRET, stage=stage)
    return Manifest(stage=stage, subject=subject, status=status, problems=(problem,),
                    stage_version=1, config_digest="", parents={}, files={}, records={},
                    source={}, pathai_version="0")  # fmt: skip


@pytest.fixture
def outcome():
    return Outcome(
        (
            manifest(f"{SECRET}-0", "failed", "E101"),
            manifest(f"{SECRET}-1", "failed", "E101"),
            manifest(f"{SECRET}-2", "skipped", "E143"),
            manifest(f"{SECRET}-task", "failed", "E184", "train"),
        ),
        up_to_date=False,
    )


def test_counts_and_codes_and_nothing_else(plan, outcome):
    with server() as (url, heard):
        assert send(f"{url}/hook/{SECRET}?k=1", ended(plan, outcome, 61.2)) == ""
    ((path, headers, body),) = heard
    assert path == f"/hook/{SECRET}?k=1"
    told = json.loads(body)
    assert told["slides"] == {"ok": 2, "degraded": 0, "skipped": 1, "failed": 2}
    assert told["codes"] == {"E101": 2, "E143": 1, "E184": 1}
    assert (told["exit_code"], told["seconds"], told["other_failed"]) == (1, 61, 1)
    assert told["text"] == (
        "pathai: 2 of 5 slides ok, 1 skipped, 2 failed, 1 models or cases failed "
        "(E101 x 2, E143 x 1, E184 x 1)"
    )
    assert SECRET not in body.decode()
    sent = {name.lower() for name in headers}
    assert sent <= {"host", "content-type", "content-length", "accept", "accept-encoding",
                    "user-agent", "connection"}  # fmt: skip
    assert headers["user-agent" if "user-agent" in headers else "User-Agent"] == "pathai"


def test_a_run_that_could_not_go_on_tells_its_code(plan):
    told = broken(PathaiError("E161", f"disk of {SECRET} full"), 3)
    assert told["text"] == "pathai: the run stopped with E161"
    assert SECRET not in json.dumps(told)


@pytest.mark.parametrize("status", [302, 404, 500])
def test_a_server_that_does_not_take_it_is_named_by_its_status_alone(plan, outcome, status):
    with server() as (other, unheard), server(status, f"{other}/else") as (url, heard):
        why = send(f"{url}/{SECRET}", ended(plan, outcome, 1))
    assert why == f"the server answered {status}"
    assert len(heard) == 1
    assert unheard == [], "no redirect is followed"


def test_proxies_of_the_environment_are_not_used(plan, outcome, monkeypatch):
    with server() as (proxy, unheard), server() as (url, heard):
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy)
        assert send(url, ended(plan, outcome, 1)) == ""
    assert (len(heard), unheard) == (1, [])


def test_nobody_there_and_names_that_lead_elsewhere(plan, outcome, monkeypatch):
    told = ended(plan, outcome, 1)
    free = socket.create_server(("127.0.0.1", 0))
    port = free.getsockname()[1]
    free.close()
    assert "no answer" in send(f"http://127.0.0.1:{port}/{SECRET}", told)
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.7", 80))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    assert "this machine alone" in send(f"http://localhost/{SECRET}", told)


@pytest.mark.parametrize(
    "url", ["http://example.org/x", "ftp://x/y", "https://", "https://a:b@x/", "x", "http://[::2]/"]
)
def test_addresses_that_are_refused_are_not_repeated(tmp_path, url):
    path = tmp_path / "config.yaml"
    path.write_text(f"run: {{webhook: '{url}'}}\n")
    with pytest.raises(PathaiError, match="E190") as caught:
        Plan(path)
    assert "webhook" in str(caught.value)
    assert url not in str(caught.value) or url == "x"


@pytest.mark.parametrize("url", ["https://x.org/a?b", "http://127.0.0.1:9/", "http://localhost/"])
def test_https_and_this_machine_are_taken(tmp_path, url):
    (tmp_path / "config.yaml").write_text(f"run: {{webhook: '{url}'}}\n")
    assert Plan(tmp_path / "config.yaml").config.run.webhook == url


def test_a_deaf_server_fails_no_run(plan, outcome, monkeypatch, capsys):
    monkeypatch.setattr(run_verbs, "plan_of", lambda _: plan)
    monkeypatch.setattr(run_verbs, "start", lambda *_, **__: outcome)
    with server(500) as (url, heard):
        plan.config_path.write_text(f"run: {{webhook: '{url}/{SECRET}'}}\n")
        plan = Plan(plan.config_path)
        monkeypatch.setattr(run_verbs, "plan_of", lambda _: plan)
        assert run_verbs.run(None, run_verbs.Options()) == 1
    assert len(heard) == 1
    told = [line for line in capsys.readouterr().err.splitlines() if "webhook" in line]
    assert told == ["run.webhook was not told: the server answered 500"]


def test_without_an_address_nothing_is_sent(plan, outcome, monkeypatch):
    monkeypatch.setattr(run_verbs, "plan_of", lambda _: plan)
    monkeypatch.setattr(run_verbs, "start", lambda *_, **__: outcome)
    monkeypatch.setattr(socket, "socket", None)
    assert run_verbs.run(None, run_verbs.Options()) == 1
