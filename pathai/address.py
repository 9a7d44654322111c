"""Addresses of slides on servers: what is one, and which server it belongs to."""

import re
from ipaddress import ip_address
from urllib.parse import urlsplit

from pathai.errors import PathaiError

SCHEMES = ("s3", "https", "http")
_SERVER = re.compile(r"(s3|https?)://[A-Za-z0-9.\-\[\]:]+/?")


def is_remote(path: str) -> bool:
    """Whether column ``path`` of the sheet holds an address."""
    return "://" in path


def check_address(url: str, where: str) -> None:
    """Refuse an address that pathai would not read; it may hold a secret, so it is not shown.

    Raises
    ------
    PathaiError
        E154 naming the place in the sheet.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise PathaiError("E154", f"{where}: not an address", "correct column path") from None
    if parts.scheme not in SCHEMES or not host or (port and parts.scheme == "s3"):
        remedy = "give s3://bucket/key, https://... or a path on a disk"
        raise PathaiError("E154", f"{where}: not an address that is read", remedy)
    if "@" in parts.netloc or parts.fragment or not parts.path.strip("/"):
        remedy = "leave credentials to the environment and give the whole address of one file"
        raise PathaiError("E154", f"{where}: credentials, a fragment or no file in it", remedy)


def check_server(entry: str) -> None:
    """Refuse an entry of ``ingest.remote`` that is more or less than a server (ValueError)."""
    if not _SERVER.fullmatch(entry):
        raise ValueError("give https://host or s3://bucket, nothing after it")


def server(url: str) -> str:
    """``scheme://host[:port]``, or ``s3://bucket``, as ``ingest.remote`` lists it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()


def check_webhook(url: str) -> None:
    """Refuse an address that what a run came to may not be sent to (ValueError).

    It may hold a secret, so it is not shown.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError("not an address") from None
    if parts.scheme not in ("https", "http") or not host or port == 0:
        raise ValueError("give an https address")
    if "@" in parts.netloc or parts.fragment:
        raise ValueError("it holds credentials or a fragment")
    if parts.scheme == "http" and host != "localhost" and not _is_loopback(host):
        raise ValueError("plain http is for this machine alone; give an https address")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
