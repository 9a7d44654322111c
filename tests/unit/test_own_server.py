"""A server that a report job starts for itself: it serves the batch, and nothing is left of it."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import psutil
import pytest
from llm_cases import CASE, numbers_untouched

from pathai.config import LlmConfig, ReportConfig
from pathai.drafters import own_server
from pathai.drafters.openai_compatible import OpenAICompatibleDrafter
from pathai.errors import PathaiError
from pathai.report.draft import draft
from pathai.testing import tiny_llm

SCRIPT = """
import json, sys, time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from pathai.testing.llm_servers import completion, honest
loading = [2]

class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        asked = json.loads(body)
        if loading[0]:  # as llama-server says while it reads weights
            loading[0] -= 1
            self.send_response(503)
            self.send_header("content-length", "0")
            self.end_headers()
        elif asked.get("max_tokens") == 1:
            answer(self, completion("ok"))
        else:
            honest(self, body)
    def log_message(self, *rest): pass

def answer(request, data):
    request.send_response(200)
    request.send_header("content-length", str(len(data)))
    request.end_headers()
    request.wfile.write(data)

with Path(sys.argv[2]).open("a") as note:
    note.write("started ")
HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.fixture
def command(tmp_path):
    script = tmp_path / "server.py"
    script.write_text(SCRIPT)
    return (sys.executable, str(script), "{port}", str(tmp_path / "note"))


@pytest.fixture(autouse=True)
def _ended():
    yield
    for one in own_server._running.values():
        one.end()
    own_server._running.clear()
    own_server._refused.clear()


def section(command, seconds=60.0, **more):
    llm = LlmConfig(command=command, model="tiny", seconds=seconds, **more)
    return ReportConfig(drafter="openai-compatible", llm=llm)


def test_one_server_is_started_for_all_cases_and_phrases_them(command, tmp_path):
    for _ in range(2):
        made = draft(CASE, section(command))
        numbers_untouched(made)
        assert made.verification.accepted > 0
        assert made.engine.network == "loopback"
    assert (tmp_path / "note").read_text() == "started "


def test_nothing_is_started_before_a_line_is_to_be_phrased(command, tmp_path):
    """`pathai run` checks the drafter of its configuration and must not load a model for that."""
    OpenAICompatibleDrafter(section(command))
    assert not (tmp_path / "note").exists()


def test_a_block_has_a_server_of_its_own_that_ends_with_it(command):
    with own_server.serving(section(command).llm) as url:
        port = int(url.rpartition(":")[2].partition("/")[0])
        assert _listens(port)
    assert not _listens(port)


def _listens(port):
    found = psutil.net_connections("tcp")
    return any(c.laddr and c.laddr.port == port and c.status == "LISTEN" for c in found)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("raise SystemExit(3)", "ended with 3"),
        ("import time; time.sleep(60)", "did not answer in 1 s"),
    ],
)
def test_a_server_that_does_not_come_up_costs_its_time_once_and_the_template_writes(
    tmp_path, capfd, script, said
):
    (tmp_path / "bad.py").write_text(script)
    bad = section((sys.executable, str(tmp_path / "bad.py"), "{port}"), start_seconds=1)
    first = draft(CASE, bad)
    numbers_untouched(first)
    assert "llm_unreachable" in first.engine_flags
    assert said in capfd.readouterr().err
    begun = time.monotonic()
    draft(CASE, bad)
    assert capfd.readouterr().err == ""
    assert time.monotonic() - begun < 60
    assert not own_server._running


def test_a_program_that_is_not_there_is_named():
    with pytest.raises(PathaiError, match=r"E202.*no-such-server"):
        own_server.address(section(("no-such-server", "{port}")).llm)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"command": ("serve", "--port", "80")}, "where the port goes"),
        ({"command": ("serve", "{port}"), "base_url": "http://127.0.0.1:1/v1"}, "both"),
    ],
)
def test_a_command_that_cannot_work_is_refused_before_the_run(more, said):
    llm = LlmConfig(model="tiny", **more)
    with pytest.raises(PathaiError, match=said) as caught:
        OpenAICompatibleDrafter(ReportConfig(drafter="openai-compatible", llm=llm))
    assert caught.value.code == "E190"


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's")
def test_a_killed_job_leaves_no_server(command, tmp_path):
    code = f"""
    import sys, time
    from pathai.config import LlmConfig
    from pathai.drafters import own_server
    own_server.address(LlmConfig(command={command!r}, model="tiny"))
    print(own_server._running[{command!r}].process.pid, flush=True)
    time.sleep(60)
    """
    call = [sys.executable, "-c", textwrap.dedent(code)]
    with subprocess.Popen(call, stdout=subprocess.PIPE, text=True) as job:
        pid = int(job.stdout.readline())
        assert psutil.pid_exists(pid)
        os.kill(job.pid, signal.SIGKILL)
    for _ in range(100):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            break
        time.sleep(0.1)
    else:
        pytest.fail("the server outlived its job")


@pytest.mark.slow
def test_a_real_runtime_is_started_by_its_command(tmp_path):
    model = tiny_llm.cached(tmp_path, steps=0)
    call = (sys.executable, "-m", "pathai.testing.tiny_llm", "--model", str(model))
    made = draft(CASE, section((*call, "--port", "{port}"), seconds=120))
    numbers_untouched(made)
    assert "llm_unreachable" not in made.engine_flags
    assert made.engine.model == "tiny"
    assert made.engine.network == "loopback"
