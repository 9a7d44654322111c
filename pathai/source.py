"""Where a slide's bytes come from: a local file, or an object on a server that was allowed.

Nothing leaves a machine unless ``ingest.remote`` names the server. The network is spoken to in
child processes alone (`identity` and `stamp` start one), with time limits, without proxies and
without following redirects. Credentials stay in the environment, where fsspec and the S3 client
look for them. Messages carry neither address nor key.
"""

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import urlsplit

from pathai.address import is_remote, server
from pathai.errors import PathaiError

if TYPE_CHECKING:
    from collections.abc import Buffer  # type: ignore[attr-defined]

CONNECT_SECONDS = 10.0
"""Longest wait for a connection."""
READ_SECONDS = 60.0
"""Longest silence of a server."""
LOOK_SECONDS = 90.0
"""Longest wait for size and version of one object, all attempts together."""
LOOK_MIB = 4096
"""Address space of the child that looks, MiB."""
BLOCK = 2**20
"""Bytes fetched at a time where a slide is read here and there."""
BLOCKS = 64
"""Blocks kept of each open slide."""
STREAM_BLOCK = 8 * 2**20
"""Bytes fetched at a time where it is read from end to end."""


@dataclass(frozen=True, repr=False)
class Remote:
    """A slide on a server.

    Parameters
    ----------
    url : str
        ``s3://bucket/key``, ``https://...`` or ``http://...``.
    allowed : bool
        Whether the configuration names its server.
    """

    url: str
    allowed: bool = False

    def __str__(self) -> str:
        """The address without what may be a secret; for the terminal alone."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.hostname}{parts.path}"

    def __repr__(self) -> str:
        return "Remote(...)"

    @property
    def suffix(self) -> str:
        """Ending of the object's name."""
        return PurePosixPath(urlsplit(self.url).path).suffix

    def look(self) -> dict[str, int]:
        """Size in bytes and a number that changes with the version (runs in a child).

        Raises
        ------
        PathaiError
            E102 not found, E105 refused, E106 not allowed, E162 no usable answer.
        """
        with spoken():
            system, path = self._system()
            system.invalidate_cache()
            info = system.info(path)
        if not isinstance(info.get("size"), int):
            raise PathaiError("E162", "the server does not tell the size of the slide")
        return {"size": info["size"], "version": _number(_version(info))}

    def open(self, mode: str = "rb") -> BinaryIO:
        """Open for reading here and there; blocks are kept (runs in a child).

        Raises
        ------
        PathaiError
            As in `look`; E162 where the server gives no parts of a file. Reading raises E163 when
            the object was replaced.
        """
        return self._opened(BLOCK, "blockcache", {"maxblocks": BLOCKS})

    def stream(self) -> BinaryIO:
        """Open for reading from end to end (runs in a child); errors as in `open`."""
        return self._opened(STREAM_BLOCK, "readahead", {})

    def _opened(self, block: int, kind: str, options: dict[str, int]) -> BinaryIO:
        with spoken():
            system, path = self._system()
            system.invalidate_cache()
            more: dict[str, Any] = {}
            if not self.url.startswith("s3:"):  # S3 pins the version by itself
                tag = system.info(path).get("ETag", "")
                more = {"headers": {"If-Match": tag}} if tag and not tag.startswith("W/") else {}
            file = system.open(
                path, "rb", block_size=block, cache_type=kind, cache_options=options, **more
            )
        if not file.seekable() or file.size is None:
            message = "the server gives no parts of a file"
            raise PathaiError(
                "E162", message, "use a server with range requests, or copy the slide"
            )
        return io.BufferedReader(_Told(file), 2**16)

    def _system(self) -> tuple[Any, str]:
        """File system of fsspec, and the path in it."""
        if not self.allowed:
            raise PathaiError("E106", "the slide's server is not allowed")
        try:
            import fsspec

            if self.url.startswith("s3:"):
                import s3fs  # noqa: F401
            else:
                import aiohttp
        except ImportError:
            message = "remote slides need a package that is not installed"
            raise PathaiError("E194", message, "pip install 'pathai[remote]'") from None
        if self.url.startswith("s3:"):
            limits = {"connect_timeout": CONNECT_SECONDS, "read_timeout": READ_SECONDS,
                      "retries": {"max_attempts": 2}}  # fmt: skip
            system = fsspec.filesystem("s3", config_kwargs=limits, use_listings_cache=False)
            system.retries = 2
            return system, self.url.removeprefix("s3://")
        limit = aiohttp.ClientTimeout(
            total=None, sock_connect=CONNECT_SECONDS, sock_read=READ_SECONDS
        )
        client = {"timeout": limit, "raise_for_status": _whole_or_part}
        system = fsspec.filesystem("http", client_kwargs=client, allow_redirects=False)
        return system, self.url


Place = Path | Remote


class _Told(io.RawIOBase):
    """A file of fsspec whose errors are ours, and which never ends early in silence."""

    def __init__(self, file: Any) -> None:
        self._file, self._size = file, int(file.size)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def readinto(self, buffer: "Buffer") -> int:
        view = memoryview(buffer).cast("B")
        wanted = min(len(view), max(self._size - self.tell(), 0))
        with spoken():
            data = self._file.read(wanted) if wanted else b""
        if len(data) != wanted:
            raise PathaiError("E163", "the server gave fewer bytes than it had declared")
        view[:wanted] = data
        return wanted

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


async def _whole_or_part(response: Any) -> None:
    """Refuse everything but 200 and 206: a redirect would leave the allowed server."""
    if response.status == 416:
        return  # past the end: seen as missing bytes
    if 300 <= response.status < 400:
        raise PathaiError("E162", "the server sends the reader elsewhere", "give the final address")
    response.raise_for_status()


@contextmanager
def spoken() -> Iterator[None]:
    """Turn what network libraries raise into our errors, without their texts.

    Raises
    ------
    PathaiError
        E102, E105, E162, E163.
    """
    try:
        yield
    except _network_errors() as error:
        raise _told(error) from None


@cache
def _network_errors() -> tuple[type[Exception], ...]:
    found: list[type[Exception]] = [OSError, ValueError, RuntimeError]
    try:
        from aiohttp import ClientError

        found.append(ClientError)
        from botocore.exceptions import BotoCoreError
        from botocore.exceptions import ClientError as Refusal

        found += [BotoCoreError, Refusal]
    except ImportError:
        pass
    return tuple(found)


_REFUSED = "give credentials for it in the environment; they are never read from the configuration"


def _told(error: Exception) -> PathaiError:
    if isinstance(error, FileNotFoundError) and isinstance(error.__cause__, Exception):
        error = error.__cause__  # fsspec says this of every failure of HTTP
        if isinstance(error, PathaiError):
            return error
    kind, status = type(error).__name__, getattr(error, "status", None)
    if kind == "FileExpired" or status == 412:
        return PathaiError("E163", "the object was replaced while it was read")
    if isinstance(error, FileNotFoundError) or status in (404, 410) or "NoSuch" in kind:
        return PathaiError("E102", "there is no such object on the server")
    if isinstance(error, PermissionError) or status in (401, 403) or "Credentials" in kind:
        return PathaiError("E105", "the server refuses access", _REFUSED)
    if isinstance(error, TimeoutError) or "Timeout" in kind:
        return PathaiError("E162", "the server did not answer in time", _NETWORK)
    detail = f"status {status}" if status else kind
    return PathaiError("E162", f"the server could not be read ({detail})", _NETWORK)


_NETWORK = "check the network and the server, then run again"


def _version(info: dict[str, Any]) -> str:
    for name in ("ETag", "Last-Modified", "LastModified", "last_modified"):
        if info.get(name):
            return str(info[name])
    return ""


def _number(text: str) -> int:
    """48 bits of a hash: a number that JSON keeps exactly; 0 for nothing."""
    return int(sha256(text.encode()).hexdigest()[:12], 16) if text else 0


def place(path: str, folder: Path, allowed: tuple[str, ...]) -> Place:
    """What a row's path names: a file relative to a folder, or an object on a server.

    Parameters
    ----------
    path : str
        Column ``path`` of the sheet.
    folder : Path
        The sheet's folder.
    allowed : tuple of str
        Servers that may be spoken to.
    """
    if is_remote(path):
        return Remote(path, server(path) in {server(entry) for entry in allowed})
    return (folder / path).absolute()


@contextmanager
def read_at(where: Place) -> Iterator[Callable[[int, int], bytes]]:
    """Number of bytes and offset to bytes of a slide; fewer where it ends."""
    with where.open("rb") as file:
        if isinstance(where, Path):
            descriptor = file.fileno()

            def pread(count: int, offset: int) -> bytes:
                try:
                    return os.pread(descriptor, count, offset)
                except OSError as error:
                    raise PathaiError("E162", f"reading failed: {error.strerror}") from None

            yield pread
            return

        def fetch(count: int, offset: int) -> bytes:
            file.seek(offset)
            return file.read(count)

        yield fetch


def stamp(where: Place) -> dict[str, int]:
    """What must stay the same while a slide is read; looked up anew each time.

    Raises
    ------
    PathaiError
        E102 if it is not there, E162 if it cannot be asked; for a server also E105, E106.
    """
    if isinstance(where, Remote):
        return _asked(where)
    try:
        status = where.stat()
    except FileNotFoundError:
        raise PathaiError("E102", "the file does not exist") from None
    except OSError as error:
        raise PathaiError("E162", f"reading failed: {error.strerror}") from None
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "inode": status.st_ino}


def _asked(where: Remote) -> dict[str, int]:
    from pathai.guard import shared

    if not where.allowed:
        raise PathaiError("E106", "the slide's server is not allowed")
    target = "pathai.source:look"
    found: dict[str, int] = shared(LOOK_MIB).call(target, where, seconds=LOOK_SECONDS)
    return found


def look(where: Remote) -> dict[str, int]:
    """`Remote.look` as a function that a child can be told to run."""
    return where.look()


def identity(where: Place) -> dict[str, int]:
    """Size and time or version of a slide, by which a changed one is noticed; empty if unreachable.

    A server is asked once per slide and process, and not again once it has been found silent.
    """
    if isinstance(where, Remote):
        return dict(_known(where))
    try:
        status = where.stat()
    except OSError:
        return {}
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns}


_silent: set[str] = set()


@cache
def _known(where: Remote) -> tuple[tuple[str, int], ...]:
    if not where.allowed or server(where.url) in _silent:
        return ()
    try:
        return tuple(_asked(where).items())
    except PathaiError as error:
        if error.code in ("E162", "E171", "E172"):
            _silent.add(server(where.url))
        return ()


def forget() -> None:
    """Ask servers anew."""
    _known.cache_clear()
    _silent.clear()


def hashed(where: Remote, update: Callable[[bytes], object]) -> int:
    """Feed every byte of an object to ``update``, in order; return how many (runs in a child)."""
    count = 0
    with where.stream() as file:
        while data := file.read(STREAM_BLOCK):
            update(data)
            count += len(data)
    return count
