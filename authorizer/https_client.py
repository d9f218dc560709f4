"""HTTPS client for one exchange with a deadline and a size limit, without redirects.

The HTTP and TLS modules are imported by the first fetch, because most invocations need none.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from .clock import Deadline

if TYPE_CHECKING:
    import socket
    import ssl
    from http.client import HTTPResponse

    from _typeshed import WriteableBuffer

    # The result of `getaddrinfo`: family, kind, protocol, canonical name, socket address.
    _SocketAddresses = Sequence[tuple[int, int, int, str, tuple[str | int | bytes, ...]]]

MAX_BODY_LENGTH = 64 * 1024
# With headers and chunk marks: http.client reads a chunk of negative size to the end.
MAX_RECEIVED = 4 * MAX_BODY_LENGTH
MAX_INTERIM_RESPONSES = 8
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<target>/[!$-;=?-Z_a-z~]*)?"
)
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


class Url(NamedTuple):
    """The parts of a URL."""

    scheme: str
    host: str
    port: int
    target: str


def parse_url(url: str) -> Url:
    """Parse an `https` URL, or an `http` URL of a loopback host.

    Raises:
        ValueError: the URL is anything else, or carries credentials or a fragment.
    """
    match = _URL.fullmatch(url)
    if match is None:
        raise ValueError("not an https URL")
    scheme, host = match["scheme"], match["host"]
    if scheme == "http" and not re.fullmatch(_LOOPBACK, host):
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
    from http.client import HTTPException

    try:
        return _exchange(request, parse_url(request.url), check_address)
    except (OSError, HTTPException, ValueError) as error:
        raise HttpExchangeError(f"{type(error).__name__} from {request.url}") from error


def _exchange(request: Request, url: Url, check_address: CheckAddress | None) -> Response:
    from http.client import HTTPConnection, HTTPResponse

    deadline = request.deadline
    with _connect(url, deadline, check_address) as sock:
        connection = HTTPConnection(url.host, url.port)
        connection.sock = sock
        headers = {"Connection": "close", "Accept-Encoding": "identity", **request.headers}
        sock.settimeout(_left(deadline))
        connection.request(request.method, url.target, request.body or None, headers)
        response = HTTPResponse(_Readable(sock, deadline), method=request.method)  # type: ignore[arg-type]
        _begin(response)
        body = response.read(MAX_BODY_LENGTH + 1)
        if len(body) > MAX_BODY_LENGTH:
            raise HttpExchangeError(f"more than {MAX_BODY_LENGTH} bytes from {request.url}")
        if response.length:
            raise HttpExchangeError(f"incomplete response from {request.url}")
        received = {name.lower(): value for name, value in response.getheaders()}
        return Response(response.status, received, body)


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
    from socket import socket

    failure: OSError = OSError("no address")
    for family, kind, protocol, _, address in _look_up(url, deadline):
        sock = socket(family, kind, protocol)
        try:
            if check_address is not None:
                check_address(str(address[0]))
            sock.settimeout(_left(deadline))
            sock.connect(address)
            return _secure(sock, url, deadline)
        except OSError as error:
            sock.close()
            failure = error
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


def _secure(sock: socket.socket, url: Url, deadline: Deadline) -> socket.socket:
    if url.scheme == "http":
        return sock
    sock.settimeout(_left(deadline))
    return _tls().wrap_socket(sock, server_hostname=url.host)


@cache
def _tls() -> ssl.SSLContext:
    import ssl

    return ssl.create_default_context()


def _left(deadline: Deadline) -> float:
    left = deadline.remaining()
    if not left:
        raise TimeoutError("deadline passed")
    return left


class _Readable:
    """The part of a socket that `HTTPResponse` uses, reading against the deadline.

    A socket's time-out restarts with every byte, so a slow drip would never end.
    """

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self._sock = sock
        self._deadline = deadline

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_DeadlineReader(self._sock, self._deadline))


class _DeadlineReader(io.RawIOBase):
    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self._sock = sock
        self._deadline = deadline
        self._left = MAX_RECEIVED

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        self._sock.settimeout(_left(self._deadline))
        received = self._sock.recv_into(buffer)
        self._left -= received
        if self._left < 0:
            raise OSError("more bytes than any response has")
        return received
