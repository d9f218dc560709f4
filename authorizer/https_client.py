"""One HTTPS exchange within a deadline and a size, and nothing that HTTP allows beyond it.

The HTTP and TLS modules are imported when a fetch is due: most invocations need none.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import socket
    import ssl
    from http.client import HTTPResponse

    from _typeshed import WriteableBuffer

    # What `getaddrinfo` says: family, kind, protocol, canonical name, and where to connect to.
    _Places = Sequence[tuple[int, int, int, str, tuple[str | int | bytes, ...]]]

MAX_BODY_LENGTH = 64 * 1024
# Headers and chunk marks included: http.client itself reads a chunk of negative size to the end.
MAX_RECEIVED = 4 * MAX_BODY_LENGTH
MAX_INTERIM_ANSWERS = 8
_SWITCHING_PROTOCOLS = 101
_OK = 200
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<target>/[!$-;=?-Z_a-z~]*)?"
)
_LOOPBACK = r"localhost|127(\.[0-9]{1,3}){3}|\[::1\]"


class Request(NamedTuple):
    """What to ask, and within how many seconds the answer must be complete."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes
    seconds: float


class Response(NamedTuple):
    """An answer. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


Send = Callable[[Request], Response]
# Takes the IP address that is about to be connected to. Raises OSError to forbid it.
Admit = Callable[[str], None]


class HttpExchangeError(Exception):
    """Raised when there is no complete answer in time, or none that fits."""


class Address(NamedTuple):
    """A URL taken apart."""

    scheme: str
    host: str
    port: int
    target: str


def parse_url(url: str) -> Address:
    """Take an `https` URL apart; `http` is for this machine's own addresses only.

    Raises:
        ValueError: the URL is anything else, or carries credentials or a fragment.
    """
    match = _URL.fullmatch(url)
    if match is None:
        raise ValueError("not an https URL")
    scheme, host = match["scheme"], match["host"]
    if scheme == "http" and not re.fullmatch(_LOOPBACK, host):
        raise ValueError("http is for loopback hosts only")
    port = int(match["port"] or {"https": 443, "http": 80}[scheme])
    if not 0 < port < 1 << 16:
        raise ValueError("no such port")
    return Address(scheme, host.strip("[]"), port, match["target"] or "/")


def send(request: Request, admit: Admit | None = None) -> Response:
    """Exchange one request for one response, following no redirect.

    `admit` judges each address before it is connected to, so that no second look-up of the host's
    name can come in between.

    Raises:
        HttpExchangeError: the answer is late, incomplete, too large or not HTTP.
    """
    from http.client import HTTPException

    try:
        return _exchange(request, parse_url(request.url), monotonic() + request.seconds, admit)
    except (OSError, HTTPException, ValueError) as error:
        raise HttpExchangeError(f"{type(error).__name__} from {request.url}") from error


def _exchange(request: Request, address: Address, deadline: float, admit: Admit | None) -> Response:
    from http.client import HTTPConnection, HTTPResponse

    with _connect(address, deadline, admit) as sock:
        connection = HTTPConnection(address.host, address.port)
        connection.sock = sock
        headers = {"Connection": "close", "Accept-Encoding": "identity", **request.headers}
        sock.settimeout(_left(deadline))
        connection.request(request.method, address.target, request.body or None, headers)
        response = HTTPResponse(_Readable(sock, deadline), method=request.method)  # type: ignore[arg-type]
        _begin(response)
        body = response.read(MAX_BODY_LENGTH + 1)
        if len(body) > MAX_BODY_LENGTH:
            raise HttpExchangeError(f"more than {MAX_BODY_LENGTH} bytes from {request.url}")
        if response.length:
            raise HttpExchangeError(f"incomplete answer from {request.url}")
        received = {name.lower(): value for name, value in response.getheaders()}
        return Response(response.status, received, body)


def _begin(response: HTTPResponse) -> None:
    """Read up to the body, passing over interim answers (RFC 9110, 15.2).

    `begin` does so for 100 only, and reads anew where there are no headers yet. To 101 nothing
    follows that we would understand.
    """
    for _ in range(MAX_INTERIM_ANSWERS + 1):
        response.begin()
        if response.status >= _OK or response.status == _SWITCHING_PROTOCOLS:
            return
        response.headers = None  # type: ignore[assignment]
    raise HttpExchangeError("interim answers without end")


def _connect(address: Address, deadline: float, admit: Admit | None) -> socket.socket:
    """Open a connection, giving all of the host's addresses one deadline together."""
    from socket import socket

    failure: OSError = OSError("no address")
    for family, kind, protocol, _, place in _look_up(address, deadline):
        sock = socket(family, kind, protocol)
        try:
            if admit is not None:
                admit(str(place[0]))
            sock.settimeout(_left(deadline))
            sock.connect(place)
            return _secure(sock, address, deadline)
        except OSError as error:
            sock.close()
            failure = error
    raise failure


def _look_up(address: Address, deadline: float) -> _Places:
    """Look up the host's addresses, in a thread: the resolver knows no deadline but its own.

    One that is too late answers nobody, and ends by itself.
    """
    from socket import SOCK_STREAM, getaddrinfo
    from threading import Thread

    found: list[_Places] = []
    failures: list[Exception] = []

    def ask() -> None:
        try:
            found.append(getaddrinfo(address.host, address.port, type=SOCK_STREAM))
        except (OSError, ValueError) as error:
            failures.append(error)

    thread = Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_left(deadline))
    if failures:
        raise failures[0]
    if not found:
        raise TimeoutError("the host's name was not looked up in time")
    return found[0]


def _secure(sock: socket.socket, address: Address, deadline: float) -> socket.socket:
    if address.scheme == "http":
        return sock
    sock.settimeout(_left(deadline))
    return _tls().wrap_socket(sock, server_hostname=address.host)


@cache
def _tls() -> ssl.SSLContext:
    import ssl

    return ssl.create_default_context()


def _left(deadline: float) -> float:
    left = deadline - monotonic()
    if left <= 0:
        raise TimeoutError("deadline passed")
    return left


class _Readable:
    """The part of a socket that `HTTPResponse` uses, reading against the deadline.

    A socket's own timeout starts anew with every byte, so a slow drip would never end.
    """

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock = sock
        self._deadline = deadline

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_DeadlineReader(self._sock, self._deadline))


class _DeadlineReader(io.RawIOBase):
    def __init__(self, sock: socket.socket, deadline: float) -> None:
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
            raise OSError("more bytes than any answer has")
        return received
