"""Read requests with the limits of API Gateway: 10,240 bytes of headers, 10 MB of body.

A request that could be parsed in two ways is rejected. Source: RFC 9112, 2 to 7.
"""

import contextlib
import re
import socket
import ssl
import struct
import time
from dataclasses import dataclass

_READ_SIZE = 65_536
_LINGER_SECONDS = 1.0
_TIMEVAL = struct.Struct("@ll")
_MAX_HEAD = 10_240
_MAX_BODY = 10 * 1024 * 1024
_MAX_CHUNK_LINE = 256
_REQUEST_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]{1,64}) ([\x21-\x7e]+) HTTP/(1\.[01])")
_OTHER_VERSION = re.compile(rb"\S+ \S+ HTTP/(?!1\.[01])\d(\.\d)?")
_ABSOLUTE_TARGET = re.compile(r"https?://[^/?#]+", re.IGNORECASE)
_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*+([^\x00-\x08\x0a-\x1f\x7f]*)")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\x00-\x08\x0a-\x1f\x7f]*)?")


class BadRequestError(Exception):
    """The request is malformed or too slow. The connection ends after the response."""

    def __init__(self, status: int = 400, message: str = "Bad Request") -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class BodyTooLargeError(Exception):
    """The body exceeds the limit. The rest of it was not read."""


class ClosedError(Exception):
    """The client has closed the connection."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds that a client may be silent: between requests, and within one."""

    idle: float = 75.0
    request: float = 20.0


class Stream:
    """A connection with its read buffer.

    A plain socket gets the kernel's time-outs: Python's cost a system call for each read. TLS supports only Python's.
    """

    def __init__(self, connection: socket.socket, timeouts: Timeouts) -> None:
        self.buffer = bytearray()
        self.timeouts = timeouts
        self._socket = connection
        self._is_plain = not isinstance(connection, ssl.SSLSocket)
        if self._is_plain:
            for option, limit in ((socket.SO_RCVTIMEO, timeouts.idle), (socket.SO_SNDTIMEO, timeouts.request)):
                timeval = _TIMEVAL.pack(int(limit), int(limit % 1 * 1_000_000))
                connection.setsockopt(socket.SOL_SOCKET, option, timeval)

    def receive(self) -> None:
        """Wait for more bytes.

        Raises:
            ClosedError: the client has closed the connection.
            OSError: the connection is idle for too long, or broken.
        """
        received = self._socket.recv(_READ_SIZE)
        if not received:
            raise ClosedError
        self.buffer += received

    def send(self, message: bytes) -> None:
        """Send a response within the time limit of a request.

        Raises:
            OSError: the client reads too slowly, or has closed the connection.
        """
        self._set_limit(self.timeouts.request)
        self._socket.sendall(message)

    def await_request(self) -> None:
        """Allow the next read the time limit between requests."""
        self._set_limit(self.timeouts.idle)

    def _set_limit(self, seconds: float) -> None:
        if not self._is_plain:
            self._socket.settimeout(seconds)
        elif self._socket.gettimeout() is not None:
            self._socket.settimeout(None)

    def deadline(self) -> float:
        """Return the monotonic time by which a request that begins now must be complete."""
        return time.monotonic() + self.timeouts.request

    def receive_until(self, deadline: float) -> None:
        """Wait for more bytes of a request.

        Raises:
            BadRequestError: the deadline has passed.
            ClosedError: the client has closed the connection.
        """
        left = deadline - time.monotonic()
        if left > 0:
            self._socket.settimeout(left)
            with contextlib.suppress(TimeoutError):
                self.receive()
                return
        raise BadRequestError(408, "Request Timeout")

    def take(self, length: int, deadline: float) -> bytes:
        """Read `length` bytes. Raises as `receive_until` does."""
        buffer = self.buffer
        while len(buffer) < length:
            self.receive_until(deadline)
        taken = bytes(buffer[:length])
        del buffer[:length]
        return taken

    def take_line(self, limit: int, deadline: float) -> bytes:
        """Read a line of at most `limit` bytes, and return it without its end.

        Raises:
            BadRequestError: the line is longer, or the deadline has passed.
            ClosedError: the client has closed the connection.
        """
        buffer = self.buffer
        while (end := buffer.find(b"\r\n", 0, limit)) < 0:
            if len(buffer) >= limit:
                raise BadRequestError
            self.receive_until(deadline)
        line = bytes(buffer[:end])
        del buffer[: end + 2]
        return line

    def linger(self) -> None:
        """Let the client read the response before its unread bytes reset the connection."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
            deadline = time.monotonic() + _LINGER_SECONDS
            while (left := deadline - time.monotonic()) > 0:
                self._socket.settimeout(left)
                if not self._socket.recv(_READ_SIZE):
                    break


@dataclass(frozen=True, slots=True)
class Head:
    """The request line and the headers, with what they state about body and connection."""

    method: str
    path: str
    query: str
    protocol: str
    headers: tuple[tuple[str, str], ...]
    length: int
    chunked: bool
    keep_alive: bool
    expects_continue: bool


def read_head(stream: Stream) -> Head:
    """Wait for a request, and read it up to its body.

    Raises:
        BadRequestError: the request is malformed, too long or too slow.
        ClosedError: the client has closed the connection.
    """
    buffer = stream.buffer
    stream.await_request()
    deadline = None
    while True:
        while buffer.startswith(b"\r\n"):
            del buffer[:2]
        end = buffer.find(b"\r\n\r\n", 0, _MAX_HEAD + 4)
        if end >= 0:
            break
        if len(buffer) >= _MAX_HEAD:
            if b"\r\n" in buffer[:_MAX_HEAD]:
                raise BadRequestError(431, "Request Header Fields Too Large")
            raise BadRequestError(414, "Request URI Too Long")
        if buffer:
            deadline = deadline or stream.deadline()
            stream.receive_until(deadline)
        else:
            stream.receive()
    head = bytes(buffer[:end])
    del buffer[: end + 4]
    return _parse(head)


def _parse(head: bytes) -> Head:
    line, *fields = head.split(b"\r\n")
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        if _OTHER_VERSION.fullmatch(line):
            raise BadRequestError(505, "HTTP Version Not Supported")
        raise BadRequestError
    path, query = _parse_target(match[2].decode("ascii"))
    headers: list[tuple[str, str]] = []
    values: dict[str, list[str]] = {}
    for field in fields:
        found = _FIELD.fullmatch(field)
        if found is None:
            raise BadRequestError
        name = found[1].decode("ascii")
        value = found[2].rstrip(b" \t").decode("latin-1")
        headers.append((name, value))
        values.setdefault(name.lower(), []).append(value)
    is_http_1_1 = match[3] == b"1.1"
    if len(values.get("host", [])) != 1 and (is_http_1_1 or "host" in values):
        raise BadRequestError
    chunked = _is_chunked(values, is_http_1_1=is_http_1_1)
    expects = [value.lower() for value in values.get("expect", [])]
    if expects not in ([], ["100-continue"]):
        raise BadRequestError(417, "Expectation Failed")
    options = {option.strip().lower() for value in values.get("connection", []) for option in value.split(",")}
    return Head(
        method=match[1].decode("ascii"),
        path=path,
        query=query,
        protocol=f"HTTP/{match[3].decode('ascii')}",
        headers=tuple(headers),
        length=_content_length(values),
        chunked=chunked,
        keep_alive="close" not in options and (is_http_1_1 or "keep-alive" in options),
        expects_continue=bool(expects) and is_http_1_1,
    )


def _parse_target(target: str) -> tuple[str, str]:
    if not target.startswith("/") and target != "*":
        absolute = _ABSOLUTE_TARGET.match(target)
        if absolute is None:
            raise BadRequestError
        target = f"/{target[absolute.end() :].removeprefix('/')}"
    path, _, query = target.partition("#")[0].partition("?")
    return path, query


def _content_length(values: dict[str, list[str]]) -> int:
    lengths = values.get("content-length")
    if lengths is None:
        return 0
    if len(set(lengths)) != 1 or not (lengths[0].isascii() and lengths[0].isdigit()):
        raise BadRequestError
    return int(lengths[0].lstrip("0")[:18] or "0")


def _is_chunked(values: dict[str, list[str]], *, is_http_1_1: bool) -> bool:
    codings = values.get("transfer-encoding")
    if codings is None:
        return False
    if "content-length" in values or not is_http_1_1:
        raise BadRequestError
    if [coding.lower() for coding in codings] != ["chunked"]:
        raise BadRequestError(501, "Not Implemented")
    return True


def read_body(stream: Stream, head: Head) -> bytes:
    """Read the body of the request that `head` begins.

    Raises:
        BadRequestError: the body is malformed or too slow.
        BodyTooLargeError: the body exceeds the limit.
        ClosedError: the client has closed the connection.
    """
    if not head.chunked and not head.length:
        return b""
    if head.length > _MAX_BODY:
        raise BodyTooLargeError
    if head.expects_continue and not stream.buffer:
        stream.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    deadline = stream.deadline()
    if head.chunked:
        return _read_chunks(stream, deadline)
    return stream.take(head.length, deadline)


def _read_chunks(stream: Stream, deadline: float) -> bytes:
    body = bytearray()
    while True:
        match = _CHUNK_SIZE.fullmatch(stream.take_line(_MAX_CHUNK_LINE, deadline))
        if match is None:
            raise BadRequestError
        size = int(match[1], 16)
        if not size:
            break
        if len(body) + size > _MAX_BODY:
            raise BodyTooLargeError
        body += stream.take(size, deadline)
        if stream.take(2, deadline) != b"\r\n":
            raise BadRequestError
    trailers = 0
    while line := stream.take_line(_MAX_CHUNK_LINE, deadline):
        trailers += len(line)
        if trailers > _MAX_HEAD or not _FIELD.fullmatch(line):
            raise BadRequestError
    return bytes(body)
