"""Servers on loopback that play a language model, honest or not; shared by several tests."""

import json
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from finding_cases import full_case

from pathai.config import LlmConfig, ReportConfig
from pathai.report import check
from pathai.report.draft import draft
from pathai.report.plan import plan

CASE = full_case()
LINES = [line for section in plan(CASE) for line in section.lines]
HONEST = [s.rendered for s in draft(CASE, ReportConfig()).statements()]


def section(url, seconds=5.0, model="tiny", **more):
    llm = LlmConfig(base_url=url, model=model, seconds=seconds, **more)
    return ReportConfig(drafter="openai-compatible", llm=llm)


@contextmanager
def server(handle):
    """An HTTP server on loopback; ``handle(request, body)`` answers; yields address and bodies."""
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            seen.append((self.path, dict(self.headers), body))
            try:
                handle(self, body)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        do_GET = do_POST

        def log_message(self, *args):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{http.server_address[1]}/v1", seen
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


def send(request, data, status=200, headers=()):
    request.send_response(status)
    for key, value in headers:
        request.send_header(key, value)
    request.send_header("Content-Type", "application/json")
    request.send_header("Content-Length", str(len(data)))
    request.end_headers()
    request.wfile.write(data)


def completion(content):
    message = {"role": "assistant", "content": content}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    return json.dumps({"id": "x", "object": "chat.completion", "created": 0, "model": "tiny",
                       "choices": [choice]}).encode()  # fmt: skip


def asked(body):
    """Rows of the prompt of a request."""
    user = json.loads(body)["messages"][-1]["content"]
    return [row.split(" | ") for row in user.splitlines() if row.count(" | ") == 5]


def phrased(body, text=None):
    """What a well-behaved model answers; ``text`` may replace a row's sentence."""
    rows = []
    for statement, finding, key, _, _, status in asked(body):
        hedge = "{T:predicted} for " if status == "predicted" else "Value of "
        said = f"{hedge}{{T:{key}}}: {{{finding}}}."
        said = text(statement, finding, key, said) if text else said
        rows.append({"id": statement, "finding": finding, "key": key, "text": said})
    return completion(json.dumps({"statements": rows}))


def numbers_untouched(made):
    """The draft prints each finding's value, whoever phrased it."""
    assert check.check_draft(made, CASE) == []
    assert len(made.statements()) == len(HONEST)


@contextmanager
def tiny(folder, *options):
    call = [sys.executable, "-m", "pathai.testing.tiny_llm", "--model", str(folder), *options]
    with subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as it:
        try:
            yield it.stdout.readline().strip()
        finally:
            it.terminate()
            it.wait(20)
