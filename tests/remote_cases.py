"""A server of slides on loopback: a plain one with ranges and faults, and an emulator of S3."""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

from pathai import source
from pathai.guard import close_guards

S3_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "CANARY-KEY",
    "AWS_SECRET_ACCESS_KEY": "CANARY-SECRET",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
}


@dataclass
class Shelf:
    """What the server holds, how it misbehaves, and what it saw."""

    objects: dict[str, bytes] = field(default_factory=dict)
    fault: str = ""
    replacement: bytes = b""
    """Takes the object's place after ``replace_after`` ranges."""
    replace_after: int = 10**9
    served: int = 0
    ranges: int = 0
    done: Event = field(default_factory=Event)
    url: str = ""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    shelf: Shelf

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        shelf, path = self.shelf, self.path.partition("?")[0]
        if shelf.fault == "slow":
            shelf.done.wait(20)
        if shelf.fault.isdigit():
            return self._head(int(shelf.fault), {"Location": f"{shelf.url}/other.svs"})
        data = shelf.objects.get(path)
        if data is None:
            return self._head(404)
        tag = f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'
        if self.headers.get("If-Match", tag) != tag:
            return self._head(412)
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        known = {"ETag": tag, "Accept-Ranges": "none" if shelf.fault == "whole" else "bytes"}
        if asked is None or shelf.fault == "whole":
            return self._send(200, data if body else b"", {**known}, len(data))
        start, end = int(asked[1]), min(int(asked[2]) + 1, len(data))
        if start >= len(data):
            return self._head(416)
        part = data[start:end]
        known["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
        self._send(206, part, known, len(part))
        shelf.served += len(part)
        shelf.ranges += 1
        if shelf.ranges >= shelf.replace_after:
            shelf.objects[path] = shelf.replacement
        return None

    def _head(self, status: int, headers: dict[str, str] | None = None) -> None:
        self._send(status, b"", headers or {}, 0)

    def _send(self, status: int, data: bytes, headers: dict[str, str], length: int) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(length)}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.shelf.fault == "cut" and len(data) > 2**16:
            self.wfile.write(data[: len(data) // 2])
            self.close_connection = True
            return
        self.wfile.write(data)


@contextmanager
def http_server() -> Iterator[Shelf]:
    """A server on loopback; nothing of it is left afterwards."""
    shelf = Shelf()
    handler = type("Handler", (_Handler,), {"shelf": shelf})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    shelf.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    fresh()
    try:
        yield shelf
    finally:
        shelf.done.set()
        server.shutdown()
        server.server_close()
        thread.join()
        fresh()


def fresh() -> None:
    """Children with today's environment, and no memory of what servers said."""
    close_guards()
    source.forget()


def config(root: Path, rows: dict[str, str], remote: str = "", more: str = "") -> Path:
    """A run folder with a sheet of slides (id to path)."""
    root.mkdir(parents=True, exist_ok=True)
    lines = ["slide_id\tpath\tcase_id\tpatient_id\tmpp"]
    lines += [f"{i}\t{path}\tC-{i}\tP-{i}\t0.5" for i, path in rows.items()]
    (root / "slides.tsv").write_text("\n".join(lines) + "\n")
    named = f"  remote: [{remote}]\n" if remote else ""
    (root / "config.yaml").write_text(f"ingest:\n  mpp_override: true\n{named}{more}")
    return root / "config.yaml"


_open: dict[source.Remote, object] = {}


def read_part(where: source.Remote, start: int) -> bytes:
    """100 bytes of an object that stays open between calls (runs in a child)."""
    file = _open.get(where) or _open.setdefault(where, where.open())
    file.seek(start)  # type: ignore[attr-defined]
    return bytes(file.read(100))  # type: ignore[attr-defined]
