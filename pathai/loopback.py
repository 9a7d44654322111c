"""HTTP that stays on this machine, or on networks that the configuration names.

The address is resolved once, checked and pinned; environment proxies, redirects, compressed
bodies and headers that describe the machine are refused or dropped; one deadline and one size
limit hold for everything that is read. The checks sit below the HTTP client, at the socket, so
that no option of a client above can loosen them.
"""

import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

import httpcore
import httpx

from pathai.errors import PathaiError

IP = IPv4Address | IPv6Address
HEADERS = (b"host", b"content-type", b"content-length", b"accept", b"authorization")
MAX_BYTES = 1_000_000


@dataclass(frozen=True)
class Address:
    """A base URL that was resolved and found to be allowed."""

    url: str
    host: str
    port: int
    ip: str
    is_loopback: bool


def check_address(base_url: str, networks: Iterable[str] = ()) -> Address:
    """Resolve and check a base URL; no connection is made.

    A name other than ``localhost`` is looked up only if networks are allowed, so that by default
    not even a question leaves for a name server.

    Parameters
    ----------
    base_url : str
        ``http://`` or ``https://`` with host and optional port and path.
    networks : iterable of str
        CIDR ranges allowed beside loopback.

    Raises
    ------
    PathaiError
        E201 if the address is malformed or outside; give a loopback address or add its network.
    """
    allowed = _parse_networks(networks)
    try:
        url = httpx.URL(base_url)
        port = url.port or {"http": 80, "https": 443}[url.scheme]
    except (httpx.InvalidURL, KeyError):
        raise PathaiError("E201", "report.llm.base_url is not an http address") from None
    if not url.host or url.userinfo or url.query or url.fragment:
        raise PathaiError("E201", "report.llm.base_url holds more than host, port and path")
    ips = _resolve(url.host, port, ask=bool(allowed))
    for ip in ips:
        if not (ip.is_loopback or any(ip in network for network in allowed)):
            message = f"report.llm.base_url: {url.host} is not on this machine"
            remedy = "use a loopback address, or add its network to report.llm.networks"
            raise PathaiError("E201", message, remedy)
    return Address(base_url, url.host, port, str(ips[0]), all(ip.is_loopback for ip in ips))


def _parse_networks(networks: Iterable[str]) -> list[Any]:
    try:
        return [ip_network(network) for network in networks]
    except ValueError as error:
        raise PathaiError("E201", f"report.llm.networks: {error}", "give CIDR ranges") from None


def resolve(host: str, port: int) -> list[IP]:
    """Addresses of a host, asked of the name server if need be (E201 if it has none)."""
    return _resolve(host, port, ask=True)


def _resolve(host: str, port: int, ask: bool) -> list[IP]:
    try:
        return [_unmapped(ip_address(host.strip("[]")))]
    except ValueError:
        pass
    if host != "localhost" and not ask:
        message = f"report.llm.base_url: {host} is not on this machine"
        remedy = "use a loopback address, or add its network to report.llm.networks"
        raise PathaiError("E201", message, remedy)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        raise PathaiError("E201", f"report.llm.base_url: {host} has no address") from None
    ips = {_unmapped(ip_address(str(entry[4][0]).partition("%")[0])) for entry in found}
    # IPv4 first: local servers commonly listen there alone.
    return sorted(ips, key=lambda ip: (ip.version, ip.packed))


def _unmapped(ip: IP) -> IP:
    """``::ffff:8.8.8.8`` is 8.8.8.8, whatever the family says."""
    mapped = ip.ipv4_mapped if isinstance(ip, IPv6Address) else None
    return mapped or ip


class _Budget:
    """What is left of time and bytes, and why it ended."""

    def __init__(self, seconds: float, max_bytes: int) -> None:
        self._end = time.monotonic() + seconds
        self._bytes = max_bytes
        self.reason = ""

    def left(self) -> float:
        seconds = self._end - time.monotonic()
        if seconds <= 0:
            self.reason = "slow"
            raise httpcore.ReadTimeout("time limit")
        return seconds

    def spend(self, count: int) -> None:
        self._bytes -= count
        if self._bytes < 0:
            self.reason = "too_large"
            raise httpcore.ReadError("size limit")


class _Stream(httpcore.NetworkStream):
    def __init__(self, inner: httpcore.NetworkStream, budget: _Budget) -> None:
        self._inner, self._budget = inner, budget

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data = self._inner.read(max_bytes, self._budget.left())
        self._budget.spend(len(data))
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, self._budget.left())

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        inner = self._inner.start_tls(ssl_context, server_hostname, self._budget.left())
        return _Stream(inner, self._budget)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _Pinned(httpcore.NetworkBackend):
    def __init__(self, address: Address, budget: _Budget) -> None:
        self._address, self._budget = address, budget
        self._inner = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Any = None,
    ) -> httpcore.NetworkStream:
        if (host.strip("[]"), port) != (self._address.host, self._address.port):
            raise httpcore.ConnectError("another host than the configured one")
        left = self._budget.left()
        return _Stream(self._inner.connect_tcp(self._address.ip, port, left), self._budget)


class GuardedTransport(httpx.BaseTransport):
    """Transport of an ``httpx.Client`` that can reach one address only.

    Parameters
    ----------
    address : Address
        From ``check_address``.
    seconds : float
        For everything from now on: connections, requests, answers.
    max_bytes : int
        Of everything that is read.
    """

    def __init__(self, address: Address, seconds: float, max_bytes: int = MAX_BYTES) -> None:
        self._budget = _Budget(seconds, max_bytes)
        self._pool = httpcore.ConnectionPool(network_backend=_Pinned(address, self._budget))

    @property
    def reason(self) -> str:
        """``slow`` or ``too_large`` when a limit ended the exchange."""
        return self._budget.reason

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request, reading the whole answer within the limits."""
        headers = [(k, v) for k, v in request.headers.raw if k.lower() in HEADERS]
        url = httpcore.URL(
            scheme=request.url.raw_scheme,
            host=request.url.raw_host,
            port=request.url.port,
            target=request.url.raw_path,
        )
        try:
            answer = self._pool.request(
                request.method,
                url,
                headers=[*headers, (b"accept-encoding", b"identity"), (b"user-agent", b"pathai")],
                content=request.read(),
            )
        except (httpcore.TimeoutException, TimeoutError) as error:
            self._budget.reason = self._budget.reason or "slow"
            raise httpx.ReadTimeout(str(error), request=request) from None
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            raise httpx.ReadError(str(error), request=request) from None
        if any(k.lower() == b"content-encoding" for k, _ in answer.headers):
            raise httpx.DecodingError("a compressed answer is refused", request=request)
        return httpx.Response(answer.status, headers=answer.headers, content=answer.content)

    def close(self) -> None:
        """Close every connection."""
        self._pool.close()


def client(transport: GuardedTransport) -> httpx.Client:
    """A client over the guarded transport: no environment, no redirects; its deadline holds."""
    return httpx.Client(transport=transport, trust_env=False, follow_redirects=False)
