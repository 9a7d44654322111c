"""Servers on loopback that play a language model, honest or not, and write down what they got."""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

Handle = Callable[[BaseHTTPRequestHandler, bytes], None]
Change = Callable[[str, str, str, str], str]
"""Statement, finding, key and a good sentence to the sentence that is said."""


class Seen(NamedTuple):
    """One request, as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class _Server(ThreadingHTTPServer):
    """Ends with its ``over`` event set, so that handlers that hang can leave."""

    daemon_threads = True
    over: threading.Event

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hung up, or a handler that broke off, is part of the play."""


@contextmanager
def server(handle: Handle, identify: Handle | None = None) -> Iterator[tuple[str, list[Seen]]]:
    """An HTTP server on loopback.

    Parameters
    ----------
    handle : callable
        Answers questions (POST).
    identify : callable, optional
        Answers what is asked about the model (GET); without it, nothing is known (404).

    Yields
    ------
    str, list of Seen
        Base URL, and every request in order.
    """
    seen: list[Seen] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            seen.append(Seen("POST", self.path, dict(self.headers), body))
            self._answer(handle, body)

        def do_GET(self) -> None:
            seen.append(Seen("GET", self.path, dict(self.headers), b""))
            self._answer(identify or _unknown, b"")

        do_CONNECT = do_POST

        def _answer(self, by: Handle, body: bytes) -> None:
            try:
                by(self, body)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Stay quiet."""

    http = _Server(("127.0.0.1", 0), Handler)
    http.over = threading.Event()
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{http.server_address[1]}/v1", seen
    finally:
        http.over.set()
        http.shutdown()
        thread.join()
        http.server_close()


def _unknown(request: BaseHTTPRequestHandler, body: bytes) -> None:
    send(request, b"{}", 404)


def hang(request: BaseHTTPRequestHandler, seconds: float) -> None:
    """Say nothing for a while, or until the server ends."""
    over: threading.Event = request.server.over  # type: ignore[attr-defined]
    over.wait(seconds)


def send(
    request: BaseHTTPRequestHandler,
    data: bytes,
    status: int = 200,
    headers: Sequence[tuple[str, str]] = (),
) -> None:
    """Answer a request."""
    request.send_response(status)
    for key, value in headers:
        request.send_header(key, value)
    request.send_header("Content-Type", "application/json")
    request.send_header("Content-Length", str(len(data)))
    request.end_headers()
    request.wfile.write(data)


def ollama(model: str, digest: str, **more: str) -> Handle:
    """What Ollama says of its models; ``more`` are further fields of the entry."""
    entry = {"name": model, "model": model, "digest": digest, **more}

    def handle(request: BaseHTTPRequestHandler, body: bytes) -> None:
        found = request.path == "/api/tags"
        send(request, json.dumps({"models": [entry]}).encode(), 200 if found else 404)

    return handle


def completion(content: str | None, model: str = "tiny") -> bytes:
    """A chat completion with this content."""
    message = {"role": "assistant", "content": content}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    made = {"id": "x", "object": "chat.completion", "created": 0, "model": model}
    return json.dumps({**made, "choices": [choice]}).encode()


def asked(body: bytes) -> list[list[str]]:
    """Rows of the prompt of a request: statement, finding, key, name, unit, status."""
    user = json.loads(body)["messages"][-1]["content"]
    rows = [row.split(" | ") for row in user.splitlines()]
    return [row[:6] for row in rows if len(row) >= 6]


def phrased(body: bytes, text: Change | None = None) -> bytes:
    """What a well-behaved model answers; ``text`` may replace a row's sentence."""
    rows = []
    for statement, finding, key, _, _, status in asked(body):
        hedge = "{T:predicted} for " if status == "predicted" else "Value of "
        said = f"{hedge}{{T:{key}}}: {{{finding}}}."
        said = text(statement, finding, key, said) if text else said
        rows.append({"id": statement, "finding": finding, "key": key, "text": said})
    return completion(json.dumps({"statements": rows}))


def honest(request: BaseHTTPRequestHandler, body: bytes) -> None:
    """Answer every question well."""
    send(request, phrased(body))
