"""A hub of weights on loopback, honest or not; shared by several tests."""

import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from huggingface_hub import constants

from pathai.encoders.cards import CARDS, Card

COMMITS = ("a" * 40, "b" * 40)
"""By default: the older and the newer; the newer is what ``main`` names."""


def tensor(data: bytes) -> bytes:
    """A file of safetensors with one tensor of bytes."""
    entry = {"dtype": "U8", "shape": [len(data)], "data_offsets": [0, len(data)]}
    head = json.dumps({"t": entry}).encode()
    return len(head).to_bytes(8, "little") + head + data


BODIES = (tensor(b"older " * 5000), tensor(b"newer " * 5000))
CARD = CARDS["uni"].model_copy(
    update={"name": "tiny", "repo": "Lab/tiny", "file": "tiny.safetensors", "gated": False}
    | {"revision": None, "sha256": None}
)


def sha(data: bytes) -> str:
    return sha256(data).hexdigest()


def changed(**update: object) -> Card:
    return CARD.model_copy(update=update)


@dataclass
class Hub:
    """What the server gives, and what it was asked for."""

    files: dict[str, tuple[bytes, bytes]] = field(default_factory=dict)
    """By ``repo/file``: content at each commit."""
    commits: tuple[str, str] = COMMITS
    gated: bool = False
    status: int = 0
    cut: list[int] = field(default_factory=list)
    """How many bytes the next answers hold before the connection ends."""
    lies: bytes = b""
    """Sent in place of the content, under its marks."""
    commit: str = ""
    """Said in place of the true commit."""
    elsewhere: bool = False
    """Whether content lies at another address, as large files of the true hub do."""
    url: str = ""
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)


def _refusal(hub, path, headers):
    """Status and the hub's own code of an error, or nothing."""
    if hub.status:
        return hub.status, ""
    if hub.gated and headers.get("authorization") != "Bearer let-me-in":
        return (403 if "authorization" in headers else 401), "GatedRepo"
    repo, _, rest = path.strip("/").partition("/resolve/")
    revision, _, file = rest.partition("/")
    if not any(name.startswith(f"{repo}/") for name in hub.files):
        return 404, "RepoNotFound"
    if revision not in ("main", *hub.commits):
        return 404, "RevisionNotFound"
    if f"{repo}/{file}" not in hub.files:
        return 404, "EntryNotFound"
    return None


def _answer(hub, request, *, body):
    headers = {key.lower(): value for key, value in request.headers.items()}
    hub.asked.append((request.command, request.path, headers))
    refused = None if "/moved/" in request.path else _refusal(hub, request.path, headers)
    if refused:
        request.send_response(refused[0])
        if refused[1]:
            request.send_header("X-Error-Code", refused[1])
        request.send_header("Content-Length", "0")
        request.end_headers()
        return
    moved = request.path.startswith("/moved/")
    repo, _, rest = request.path.removeprefix("/moved").strip("/").partition("/resolve/")
    revision, _, file = rest.partition("/")
    commit = hub.commits[1] if revision == "main" else revision
    content = hub.files[f"{repo}/{file}"][hub.commits.index(commit)]
    mark, size = sha256(content).hexdigest(), len(content)
    content = hub.lies or content
    start = int(headers.get("range", "bytes=0-").removeprefix("bytes=").split("-")[0])
    request.send_response(302 if hub.elsewhere and not moved else 206 if start else 200)
    request.send_header("X-Repo-Commit", hub.commit or commit)
    request.send_header("X-Linked-Etag", f'"{mark}"')
    request.send_header("X-Linked-Size", str(size))
    request.send_header("ETag", f'"{mark}"')
    request.send_header("Accept-Ranges", "bytes")
    if start:
        request.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
    if hub.elsewhere and not moved:
        address = hub.url.replace("127.0.0.1", "localhost")
        request.send_header("Location", f"{address}/moved{request.path}")
        request.send_header("Content-Length", "0")
        request.end_headers()
        return
    request.send_header("Content-Length", str(size - start))
    request.end_headers()
    if body:
        end = start + hub.cut.pop(0) if hub.cut else size
        request.wfile.write(content[start:end])
        request.close_connection = True


@contextmanager
def hub_server(hub):
    """Serve; ``hub.url`` is the address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self):
            _answer(hub, self, body=False)

        def do_GET(self):
            _answer(hub, self, body=True)

        def log_message(self, *args):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    hub.url = f"http://127.0.0.1:{http.server_address[1]}"
    try:
        yield hub
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


def hub_of(card):
    """A hub that has, at the card's commit, a file of seeded weights: they fit and mean nothing."""
    import torch
    from safetensors.torch import save

    from pathai.encoders.build import build

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        body = save(build(card).state_dict())
    commits = (card.revision or COMMITS[0], COMMITS[1])
    return Hub(files={f"{card.repo}/{card.file}": (body, body)}, commits=commits)


def point_at(monkeypatch, url, home):
    """What HF_ENDPOINT and HF_HOME do to a process that starts."""
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_TOKEN", raising=False)
