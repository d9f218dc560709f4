"""A small HTTP/1.1 server: strict about what it reads, one write for each answer.

Source: RFC 9112. Limits are API Gateway's: 10,240 bytes of request line and headers, 10 MB of
body.
"""

from __future__ import annotations

import contextlib
import http
import re
import socket
import socketserver
import ssl
import struct
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from email.utils import formatdate
from typing import TYPE_CHECKING, Protocol

from infra.laptop_edition import url_host
from local.gateway.messages import ClientCertificate, Request, Response

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from local.workers import Share

__all__ = ["Application", "Server", "Timeouts"]

_MAX_HEAD = 10_240
_MAX_BODY = 10 * 1024 * 1024
_MAX_CHUNK_LINE = 256
_READ_SIZE = 65_536
_LINGER_SECONDS = 1.0
_COURTESY_SECONDS = 0.002

_REQUEST_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]{1,64}) ([\x21-\x7e]+) HTTP/(1\.[01])")
_OTHER_VERSION = re.compile(rb"\S+ \S+ HTTP/(?!1\.[01])\d(\.\d)?")
_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)")
_ABSOLUTE_TARGET = re.compile(r"https?://[^/?#]+", re.IGNORECASE)
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\x00-\x08\x0a-\x1f\x7f]*)?")
_REASONS = {status.value: status.phrase for status in http.HTTPStatus}
_NO_BODY = {204, 304}
_TIMEVAL = struct.Struct("@ll")


class Application(Protocol):
    """What the server serves."""

    def handle(self, request: Request) -> Response:
        """Answer a request."""
        ...

    def too_large(self, request: Request) -> Response:
        """Answer a request whose body is over the limit and was not read."""
        ...


@dataclass(frozen=True)
class Timeouts:
    """Seconds that a client may stay silent: between requests, and within one."""

    idle: float = 75.0
    request: float = 20.0


class _BadRequestError(Exception):
    """The client's bytes are no request that can be answered; the connection ends."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class _ClosedError(Exception):
    """The client is gone, or silent for too long."""


@dataclass(frozen=True, slots=True)
class _Head:
    """A request's line and headers, and what they say of its body and its connection."""

    method: str
    path: str
    query: str
    protocol: str
    headers: tuple[tuple[str, str], ...]
    length: int
    chunked: bool
    keep_alive: bool
    expects_continue: bool


class _Turns:
    """Lets the threads of a server answer one after another, as long as that goes quickly.

    Only one of them can run at a time anyway. Were it left to the interpreter, those that wait
    would be woken whenever the one that runs reads or writes, mostly for nothing. Who has waited
    as long as the interpreter lets a thread run goes on: the one before waits for something else.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def take(self) -> Iterator[None]:
        taken = self._lock.acquire(timeout=sys.getswitchinterval())
        try:
            yield
        finally:
            if taken:
                self._lock.release()


class Server(socketserver.ThreadingTCPServer):
    """Serves an application, a thread for each connection; does not listen before `open`.

    With `tls` it speaks HTTPS, and tells the application which certificate a client showed.
    """

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 512

    def __init__(
        self,
        host: str,
        port: int,
        *,
        log: Callable[[str], None] | None = None,
        timeouts: Timeouts | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        if ":" in host:
            self.address_family = socket.AF_INET6
        super().__init__((host, port), _Connection, bind_and_activate=False)
        self.application: Application | None = None
        self.log = log
        self.timeouts = timeouts or Timeouts()
        self.tls = tls
        self.domain = url_host(host)
        # Several processes may wait for the same connection: who comes late must not wait on.
        self.socket.settimeout(0)
        self.share: Share | None = None
        self.turns = _Turns()
        try:
            self.server_bind()
        except OSError:
            self.server_close()
            raise

    @property
    def port(self) -> int:
        """The port that is really bound."""
        return int(self.server_address[1])

    def open(self, application: Application) -> None:
        """Begin to listen, for `application`."""
        self.application = application
        self.server_activate()

    def get_request(self) -> tuple[socket.socket, object]:
        """Take a connection, unless another worker with fewer of them wants it.

        Raises:
            BlockingIOError: another one has taken it.
        """
        if self.share is not None and self.share.is_ahead:
            time.sleep(_COURTESY_SECONDS)
        connection, address = super().get_request()
        connection.settimeout(None)
        if self.share is not None:
            self.share.add(1)
        return connection, address

    def shutdown_request(self, request: socket.socket) -> None:  # type: ignore[override]
        """End a connection."""
        if self.share is not None:
            self.share.add(-1)
        super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002 - socketserver's signature
        """Show what went wrong with a connection; the server goes on."""
        print(f"The connection of {client_address} broke:", file=sys.stderr)
        traceback.print_exc()


class _Connection(socketserver.BaseRequestHandler):
    """One client's connection: requests are read, answered and logged one after another."""

    server: Server
    request: socket.socket
    scheme = "http"
    certificate: ClientCertificate | None = None

    def handle(self) -> None:
        """Serve requests until the client or a broken request ends the connection."""
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray()
        if self.server.tls is not None:
            self._serve_securely(self.server.tls)
            return
        # The kernel's own timeouts: with one of Python's, each wait is a system call more.
        timeouts = self.server.timeouts
        for option, seconds in (
            (socket.SO_RCVTIMEO, timeouts.idle),
            (socket.SO_SNDTIMEO, timeouts.request),
        ):
            whole, part = divmod(seconds, 1)
            value = _TIMEVAL.pack(int(whole), int(part * 1_000_000))
            self.request.setsockopt(socket.SOL_SOCKET, option, value)
        self._serve()

    def _serve_securely(self, tls: ssl.SSLContext) -> None:
        # The handshake is here rather than where connections are accepted, so that a slow client
        # keeps nobody waiting.
        with tls.wrap_socket(
            self.request, server_side=True, do_handshake_on_connect=False
        ) as connection:
            self.request, self.scheme = connection, "https"
            try:
                connection.settimeout(self.server.timeouts.request)
                connection.do_handshake()
            except OSError as error:
                self._log(f"TLS from {self.client_address[0]} failed: {error}")
                self._linger()
                return
            self.certificate = _peer_certificate(connection)
            self._serve()
            with contextlib.suppress(OSError, ValueError):
                connection.settimeout(_LINGER_SECONDS)
                connection.unwrap()

    def _serve(self) -> None:
        try:
            while self._serve_one():
                pass
        except _ClosedError:
            return
        except _BadRequestError as error:
            body = f'{{"message":"{error.message}"}}'.encode()
            headers = (("Content-Type", "application/json"),)
            with contextlib.suppress(OSError):
                self._send(Response(error.status, headers, body), close=True)
                self._linger()
        except (BlockingIOError, ConnectionError, TimeoutError, ssl.SSLError):
            return

    def _log(self, line: str) -> None:
        if self.server.log is not None:
            self.server.log(line)

    def _serve_one(self) -> bool:
        """Answer one request; whether another may follow."""
        head = self._read_head()
        started = time.perf_counter()
        application = self.server.application
        if application is None:
            raise _BadRequestError(503, "Service Unavailable")
        try:
            body = self._read_body(head)
        except _BodyTooLargeError:
            response = application.too_large(self._request(head))
            self._answer(head, response, started, close=True)
            self._linger()
            return False
        with self.server.turns.take():
            response = application.handle(self._request(head, body))
            self._answer(head, response, started, close=not head.keep_alive)
        return head.keep_alive

    def _request(self, head: _Head, body: bytes = b"") -> Request:
        return Request(
            method=head.method,
            path=head.path,
            query=head.query,
            headers=head.headers,
            body=body,
            source_ip=str(self.client_address[0]),
            protocol=head.protocol,
            scheme=self.scheme,
            client_certificate=self.certificate,
            domain=self.server.domain,
            port=self.server.port,
        )

    def _answer(self, head: _Head, response: Response, started: float, *, close: bool) -> None:
        self._send(response, close=close, head_only=head.method == "HEAD")
        took = (time.perf_counter() - started) * 1000
        self._log(f"{head.method} {head.path} {response.status} {took:.1f} ms")

    # --- reading -----------------------------------------------------------------------------

    def _receive(self) -> None:
        """Wait for more bytes; the end of the stream ends the connection."""
        received = self.request.recv(_READ_SIZE)
        if not received:
            raise _ClosedError
        self._buffer += received

    def _read_head(self) -> _Head:
        buffer = self._buffer
        self._allow(self.server.timeouts.idle)
        deadline = None
        while True:
            while buffer.startswith(b"\r\n"):
                del buffer[:2]
            end = buffer.find(b"\r\n\r\n", 0, _MAX_HEAD + 4)
            if end >= 0:
                break
            if len(buffer) >= _MAX_HEAD:
                if b"\r\n" in buffer[:_MAX_HEAD]:
                    raise _BadRequestError(431, "Request Header Fields Too Large")
                raise _BadRequestError(414, "Request URI Too Long")
            if buffer:
                deadline = deadline or time.monotonic() + self.server.timeouts.request
                self._allow_until(deadline)
            self._receive()
        head = bytes(buffer[:end])
        del buffer[: end + 4]
        return _parse_head(head)

    def _allow(self, seconds: float) -> None:
        """Let the next wait take as long as is usual, which the kernel knows of a plain socket."""
        if self.server.tls is not None:
            self.request.settimeout(seconds)
        elif self.request.gettimeout() is not None:
            self.request.settimeout(None)

    def _allow_until(self, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise _BadRequestError(408, "Request Timeout")
        self.request.settimeout(left)

    def _read_body(self, head: _Head) -> bytes:
        if not head.chunked and not head.length:
            return b""
        if head.length > _MAX_BODY:
            raise _BodyTooLargeError
        if head.expects_continue and not self._buffer:
            self.request.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        deadline = time.monotonic() + self.server.timeouts.request
        if head.chunked:
            return self._read_chunks(deadline)
        return self._take(head.length, deadline)

    def _take(self, length: int, deadline: float) -> bytes:
        buffer = self._buffer
        while len(buffer) < length:
            self._allow_until(deadline)
            self._receive()
        taken = bytes(buffer[:length])
        del buffer[:length]
        return taken

    def _take_line(self, deadline: float) -> bytes:
        buffer = self._buffer
        while True:
            end = buffer.find(b"\r\n", 0, _MAX_CHUNK_LINE)
            if end >= 0:
                line = bytes(buffer[:end])
                del buffer[: end + 2]
                return line
            if len(buffer) >= _MAX_CHUNK_LINE:
                raise _BadRequestError(400, "Bad Request")
            self._allow_until(deadline)
            self._receive()

    def _read_chunks(self, deadline: float) -> bytes:
        body = bytearray()
        while True:
            match = _CHUNK_SIZE.fullmatch(self._take_line(deadline))
            if match is None:
                raise _BadRequestError(400, "Bad Request")
            size = int(match[1], 16)
            if size == 0:
                break
            if len(body) + size > _MAX_BODY:
                raise _BodyTooLargeError
            body += self._take(size, deadline)
            if self._take(2, deadline) != b"\r\n":
                raise _BadRequestError(400, "Bad Request")
        trailers = 0
        while line := self._take_line(deadline):
            trailers += len(line)
            if trailers > _MAX_HEAD or not _FIELD.fullmatch(line):
                raise _BadRequestError(400, "Bad Request")
        return bytes(body)

    # --- writing -----------------------------------------------------------------------------

    def _send(self, response: Response, *, close: bool, head_only: bool = False) -> None:
        lines = [
            f"HTTP/1.1 {response.status} {_REASONS.get(response.status, '')}",
            f"Date: {_http_date(int(time.time()))}",
        ]
        lines += [f"{name}: {value}" for name, value in response.headers]
        if response.status not in _NO_BODY:
            lines.append(f"Content-Length: {len(response.body)}")
        lines.append("Connection: close" if close else "Connection: keep-alive")
        text = "\r\n".join(lines) + "\r\n\r\n"
        try:
            message = text.encode("latin-1")
        except UnicodeEncodeError:
            message = text.encode()
        if not head_only and response.status not in _NO_BODY:
            message += response.body
        self._allow(self.server.timeouts.request)
        self.request.sendall(message)

    def _linger(self) -> None:
        """Let the client read the answer before its unread bytes reset the connection."""
        with contextlib.suppress(OSError):
            self.request.shutdown(socket.SHUT_WR)
            deadline = time.monotonic() + _LINGER_SECONDS
            while (left := deadline - time.monotonic()) > 0:
                self.request.settimeout(left)
                if not self.request.recv(_READ_SIZE):
                    break


class _BodyTooLargeError(Exception):
    """The body is over the limit."""


def _peer_certificate(connection: ssl.SSLSocket) -> ClientCertificate | None:
    """The client's certificate, described as API Gateway describes one."""
    der = connection.getpeercert(binary_form=True)
    described = connection.getpeercert()
    if not der or not described:
        return None
    return ClientCertificate(
        pem=ssl.DER_cert_to_PEM_cert(der),
        subject=_name(described["subject"]),
        issuer=_name(described["issuer"]),
        serial_number=_serial_number(str(described["serialNumber"])),
        not_before=str(described["notBefore"]),
        not_after=str(described["notAfter"]),
    )


def _name(parts: object) -> str:
    """Write a distinguished name as API Gateway does: the last part first."""
    assert isinstance(parts, tuple)  # noqa: S101  what the standard library gives
    pairs = [f"{_SHORT_NAMES.get(kind, kind)}={value}" for part in parts for kind, value in part]
    return ",".join(reversed(pairs))


def _serial_number(digits: str) -> str:
    return ":".join(digits[at : at + 2] for at in range(0, len(digits), 2)).lower()


_SHORT_NAMES = {
    "commonName": "CN",
    "countryName": "C",
    "localityName": "L",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "stateOrProvinceName": "ST",
}


def _parse_head(head: bytes) -> _Head:
    line, *fields = head.split(b"\r\n")
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        if _OTHER_VERSION.fullmatch(line):
            raise _BadRequestError(505, "HTTP Version Not Supported")
        raise _BadRequestError(400, "Bad Request")
    path, query = _parse_target(match[2].decode("ascii"))
    headers: list[tuple[str, str]] = []
    named: dict[str, list[str]] = {}
    for field in fields:
        found = _FIELD.fullmatch(field)
        if found is None:
            raise _BadRequestError(400, "Bad Request")
        name = found[1].decode("ascii")
        value = found[2].rstrip(b" \t").decode("latin-1")
        headers.append((name, value))
        named.setdefault(name.lower(), []).append(value)
    version = match[3]
    if len(named.get("host", [])) != 1 and (version == b"1.1" or "host" in named):
        raise _BadRequestError(400, "Bad Request")
    chunked = _is_chunked(named, version)
    expects = [value.lower() for value in named.get("expect", [])]
    if expects not in ([], ["100-continue"]):
        raise _BadRequestError(417, "Expectation Failed")
    return _Head(
        method=match[1].decode("ascii"),
        path=path,
        query=query,
        protocol=f"HTTP/{version.decode('ascii')}",
        headers=tuple(headers),
        length=_content_length(named),
        chunked=chunked,
        keep_alive=_keeps_alive(named, version),
        expects_continue=bool(expects) and version == b"1.1",
    )


def _parse_target(target: str) -> tuple[str, str]:
    if not target.startswith("/"):
        absolute = _ABSOLUTE_TARGET.match(target)
        if absolute is not None:
            target = target[absolute.end() :]
            target = target if target.startswith("/") else f"/{target}"
        elif target != "*":
            raise _BadRequestError(400, "Bad Request")
    path, _, query = target.partition("#")[0].partition("?")
    return path, query


def _content_length(named: dict[str, list[str]]) -> int:
    values = named.get("content-length")
    if values is None:
        return 0
    if len(set(values)) != 1 or not (values[0].isascii() and values[0].isdigit()):
        raise _BadRequestError(400, "Bad Request")
    return int(values[0].lstrip("0")[:18] or "0")


def _is_chunked(named: dict[str, list[str]], version: bytes) -> bool:
    codings = named.get("transfer-encoding")
    if codings is None:
        return False
    if "content-length" in named or version != b"1.1":
        raise _BadRequestError(400, "Bad Request")
    if [coding.lower() for coding in codings] != ["chunked"]:
        raise _BadRequestError(501, "Not Implemented")
    return True


def _keeps_alive(named: dict[str, list[str]], version: bytes) -> bool:
    options = {
        option.strip().lower()
        for value in named.get("connection", [])
        for option in value.split(",")
    }
    return "close" not in options and (version == b"1.1" or "keep-alive" in options)


_date: tuple[int, str] = (0, "")


def _http_date(second: int) -> str:
    global _date  # noqa: PLW0603 - remembered for one second; a race costs a second formatting
    if _date[0] != second:
        _date = (second, formatdate(second, usegmt=True))
    return _date[1]
