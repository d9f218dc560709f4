"""HTTPS client with deadlines and size limits, without redirects; with a connection pool for AWS.

The HTTP and TLS modules are imported by the first fetch, because most invocations need none.
"""

from __future__ import annotations

import io
import os
import re
from binascii import a2b_base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from .clock import Clocks, Deadline, Instant

if TYPE_CHECKING:
    import socket
    import ssl
    from http.client import HTTPResponse

    from _typeshed import WriteableBuffer

    _IdleConnections = list[tuple[socket.socket, Instant]]
    # The result of `getaddrinfo`: family, kind, protocol, canonical name, socket address.
    _SocketAddresses = Sequence[tuple[int, int, int, str, tuple[str | int | bytes, ...]]]

MAX_BODY_LENGTH = 64 * 1024
MAX_POOLED_BODY_LENGTH = 2 * 1024 * 1024
"""The largest body of a response to a pooled request; a page of DynamoDB has 1 MiB."""
_MAX_IDLE_SECONDS = 50.0
_MAX_IDLE_CONNECTIONS = 16
MAX_INTERIM_RESPONSES = 8
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<target>/[!$-;=?-Z_a-z~]*)?"
)
_AMAZONS_AUTHORITIES = (b"Amazon Root CA", b"Starfield Services Root Certificate Authority")
_LOOPBACK = r"localhost|127(\.[0-9]{1,3}){3}|\[::1\]"


class Request(NamedTuple):
    """A request. Its response must be complete before the deadline."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes
    deadline: Deadline


class Response(NamedTuple):
    """A response. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


Send = Callable[[Request], Response]
CheckAddress = Callable[[str], None]
"""Takes the IP address of a connection before it is opened. Raises OSError to forbid it."""


class HttpExchangeError(Exception):
    """Raised when no complete response arrives in time, or one that is too large or malformed."""


class ConnectError(HttpExchangeError):
    """Raised when no connection could be opened: nothing was sent."""


class Url(NamedTuple):
    """The parts of a URL."""

    scheme: str
    host: str
    port: int
    target: str


def parse_url(url: str, *, allow_http: bool = False) -> Url:
    """Parse an `https` URL, or an `http` URL of a loopback host or, if `allow_http`, of any host.

    Raises:
        ValueError: the URL is anything else, or carries credentials or a fragment.
    """
    match = _URL.fullmatch(url)
    if match is None:
        raise ValueError("not an https URL")
    scheme, host = match["scheme"], match["host"]
    if scheme == "http" and not allow_http and not re.fullmatch(_LOOPBACK, host):
        raise ValueError("an http URL of a host other than localhost")
    port = int(match["port"] or {"https": 443, "http": 80}[scheme])
    if not 0 < port < 1 << 16:
        raise ValueError("a URL whose port is not valid")
    return Url(scheme, host.strip("[]"), port, match["target"] or "/")


def send(request: Request, check_address: CheckAddress | None = None) -> Response:
    """Exchange one request for one response, without following redirects.

    `check_address` checks each IP address before the connection: after a check of the host's name,
    a second DNS lookup could return another address.

    Raises:
        HttpExchangeError: the response is late, incomplete, too large or not HTTP.
    """
    with _exchange_errors(request):
        url = parse_url(request.url)
        with _open(request, url, check_address) as sock:
            return _exchange(sock, request, url, {"Connection": "close", **request.headers}, MAX_BODY_LENGTH)[0]


class ConnectionPool:
    """Sends idempotent requests through connections that stay open. Thread-safe.

    A server closes idle connections, and Lambda may freeze a process for hours. A connection is therefore reused only
    if it was used a moment ago and has nothing to read. If it breaks all the same, the request is sent again.
    """

    def __init__(self, clocks: Clocks) -> None:
        self._clocks = clocks
        self._idle: dict[tuple[int, Url], _IdleConnections] = {}

    def send(self, request: Request) -> Response:
        """Exchange one request for one response. The URL may be an `http` one of any host.

        Raises:
            ConnectError: no connection could be opened.
            HttpExchangeError: the response is late, incomplete, too large or not HTTP.
        """
        with _exchange_errors(request):
            url = parse_url(request.url, allow_http=True)
            # A forked process must not use its parent's connections.
            idle = self._idle.setdefault((os.getpid(), url), [])
            sock = self._reusable(idle)
            if sock is not None:
                try:
                    return self._exchange(sock, request, url, idle)
                except OSError as error:
                    _close(idle)
                    if isinstance(error, TimeoutError):
                        raise
            return self._exchange(_open(request, url, None), request, url, idle)

    def close(self) -> None:
        """Close all idle connections."""
        for idle in self._idle.values():
            _close(idle)

    __del__ = close

    def _exchange(self, sock: socket.socket, request: Request, url: Url, idle: _IdleConnections) -> Response:
        is_reusable = False
        try:
            response, is_reusable = _exchange(sock, request, url, request.headers, MAX_POOLED_BODY_LENGTH)
        finally:
            if is_reusable and len(idle) < _MAX_IDLE_CONNECTIONS:
                idle.append((sock, self._clocks.now()))
            else:
                sock.close()
        return response

    def _reusable(self, idle: _IdleConnections) -> socket.socket | None:
        for sock, since in _popped(idle):
            if self._clocks.since(since) < _MAX_IDLE_SECONDS and not _is_readable(sock):
                return sock
            sock.close()
        return None


def _popped(idle: _IdleConnections) -> Iterator[tuple[socket.socket, Instant]]:
    """Remove and yield connections until none is left. Other threads may do the same."""
    with suppress(IndexError):
        while True:
            yield idle.pop()


def _close(idle: _IdleConnections) -> None:
    for sock, _ in _popped(idle):
        sock.close()


def _is_readable(sock: socket.socket) -> bool:
    """Return whether an idle connection was closed or has bytes that belong to no response."""
    from select import POLLIN, poll

    readable = poll()
    readable.register(sock, POLLIN)
    return bool(readable.poll(0) or getattr(sock, "pending", int)())


@contextmanager
def _exchange_errors(request: Request) -> Iterator[None]:
    from http.client import HTTPException

    try:
        yield
    except (OSError, HTTPException, ValueError) as error:
        raise HttpExchangeError(f"{type(error).__name__} from {request.url}") from error


def _open(request: Request, url: Url, check_address: CheckAddress | None) -> socket.socket:
    try:
        return _connect(url, request.deadline, check_address)
    except (OSError, ValueError) as error:
        raise ConnectError(f"{type(error).__name__} from {request.url}") from error


class _Message(list[bytes]):
    """Collects what `http.client` writes: it would send headers and body with one call each."""

    sendall = list.append


def _exchange(
    sock: socket.socket, request: Request, url: Url, headers: Mapping[str, str], max_length: int
) -> tuple[Response, bool]:
    """Return the response, and whether the connection may be used again."""
    from http.client import HTTPConnection, HTTPResponse

    connection = HTTPConnection(url.host, url.port)
    connection.sock = message = _Message()
    headers = {"Accept-Encoding": "identity", **headers}
    connection.request(request.method, url.target, request.body or None, headers)
    sock.settimeout(_left(request.deadline))
    sock.sendall(b"".join(message))
    # With headers and chunk marks: http.client reads a chunk of negative size to the end.
    reader = _DeadlineReader(sock, request.deadline, 4 * max_length)
    response = HTTPResponse(reader, method=request.method)  # type: ignore[arg-type]
    _begin(response)
    if reader.ended:  # http.client takes the end of a connection for the end of the header
        raise ConnectionResetError("incomplete header")
    body = response.read(max_length + 1)
    if len(body) > max_length:
        raise HttpExchangeError(f"more than {max_length} bytes from {request.url}")
    if response.length:
        raise HttpExchangeError(f"incomplete response from {request.url}")
    received = {name.lower(): value for name, value in response.getheaders()}
    is_reusable = response.isclosed() and not response.will_close and response.status >= 200
    return Response(response.status, received, body), is_reusable


def _begin(response: HTTPResponse) -> None:
    """Read up to the body, skipping interim responses (RFC 9110, 15.2).

    `begin` skips 100 only, and reads again if there are no headers. After 101 comes no HTTP.
    """
    for _ in range(MAX_INTERIM_RESPONSES + 1):
        response.begin()
        if response.status >= 200 or response.status == 101:
            return
        response.headers = None  # type: ignore[assignment]
    raise HttpExchangeError("too many interim responses")


def _connect(url: Url, deadline: Deadline, check_address: CheckAddress | None) -> socket.socket:
    """Connect to one of the host's addresses. All share the deadline."""
    from socket import IPPROTO_TCP, TCP_NODELAY, socket
    from ssl import SSLCertVerificationError

    failure: OSError = OSError("no address")
    for family, kind, protocol, _, address in _look_up(url, deadline):
        for tls in [None] if url.scheme == "http" else _trust_stores():
            sock = socket(family, kind, protocol)
            try:
                if check_address is not None:
                    check_address(str(address[0]))
                sock.settimeout(_left(deadline))
                sock.connect(address)
                sock.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
                if tls is None:
                    return sock
                sock.settimeout(_left(deadline))
                return tls.wrap_socket(sock, server_hostname=url.host)
            except OSError as error:
                sock.close()
                failure = error
                if not isinstance(error, SSLCertVerificationError):
                    break
    raise failure


def _look_up(url: Url, deadline: Deadline) -> _SocketAddresses:
    """Look up the host's addresses in a thread, because the resolver has its own time-out.

    A thread that is too late ends by itself.
    """
    from socket import SOCK_STREAM, getaddrinfo
    from threading import Thread

    found: list[_SocketAddresses] = []
    failures: list[Exception] = []

    def resolve() -> None:
        try:
            found.append(getaddrinfo(url.host, url.port, type=SOCK_STREAM))
        except (OSError, ValueError) as error:
            failures.append(error)

    thread = Thread(target=resolve, daemon=True)
    thread.start()
    thread.join(_left(deadline))
    if failures:
        raise failures[0]
    if not found:
        raise TimeoutError("the host's name was not looked up in time")
    return found[0]


def preload() -> None:
    """Import and load what the first exchange over TLS needs."""
    import http.client  # noqa: F401

    next(_trust_stores())


def _trust_stores() -> Iterator[ssl.SSLContext]:
    """Yield the settings to try: with Amazon's authorities, then with all of this machine.

    Loading all takes 15 ms of a cold start, and AWS and its customers' APIs have certificates of Amazon's. A server
    with another certificate gets a second connection. From then on all are used.
    """
    if not _tls.cache_info().currsize:
        amazon = _tls_with_amazons_authorities()
        if amazon is not None:
            yield amazon
    yield _tls()


@cache
def _tls() -> ssl.SSLContext:
    import ssl

    return ssl.create_default_context()


@cache
def _tls_with_amazons_authorities() -> ssl.SSLContext | None:
    """Trust only those authorities of this machine that are Amazon's. None if there are none in its file."""
    import ssl

    try:
        with open(ssl.get_default_verify_paths().cafile or "", encoding="ascii", errors="replace") as file:
            blocks = file.read().split("-----BEGIN CERTIFICATE-----")[1:]
        certificates = [a2b_base64(block.partition("-----END CERTIFICATE-----")[0]) for block in blocks]
    except (OSError, ValueError):
        return None
    amazons = [each for each in certificates if any(name in each for name in _AMAZONS_AUTHORITIES)]
    return ssl.create_default_context(cadata=b"".join(amazons)) if amazons else None


def _left(deadline: Deadline) -> float:
    left = deadline.remaining()
    if not left:
        raise TimeoutError("deadline passed")
    return left


class _DeadlineReader(io.RawIOBase):
    """The part of a socket that `HTTPResponse` uses, reading against the deadline.

    A socket's time-out restarts with every byte, so a slow drip would never end.
    """

    def __init__(self, sock: socket.socket, deadline: Deadline, max_received: int) -> None:
        self._sock = sock
        self._deadline = deadline
        self._left = max_received
        self.ended = False

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        self._sock.settimeout(_left(self._deadline))
        received = self._sock.recv_into(buffer)
        self._left -= received
        self.ended = not received
        if self._left < 0:
            raise OSError("more bytes than any response has")
        return received
