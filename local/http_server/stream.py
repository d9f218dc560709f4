"""Read and write the bytes of one connection, with a time limit for each step."""

import contextlib
import socket
import ssl
import struct
import time
from dataclasses import dataclass

_READ_SIZE = 65_536
_LINGER_SECONDS = 1.0
_TIMEVAL = struct.Struct("@ll")


class BadRequestError(Exception):
    """The request is malformed or too slow. The connection ends after the response."""

    def __init__(self, status: int = 400, message: str = "Bad Request") -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class ClosedError(Exception):
    """The client has closed the connection."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds that a client may be silent: between requests, and within one."""

    idle: float = 75.0
    request: float = 20.0


class Stream:
    """A connection with its read buffer.

    A plain socket gets the kernel's time-outs: Python's cost a system call for each read. TLS
    supports only Python's.
    """

    def __init__(self, connection: socket.socket, timeouts: Timeouts) -> None:
        self.buffer = bytearray()
        self.timeouts = timeouts
        self._socket = connection
        self._is_plain = not isinstance(connection, ssl.SSLSocket)
        if self._is_plain:
            _set_timeout(connection, socket.SO_RCVTIMEO, timeouts.idle)
            _set_timeout(connection, socket.SO_SNDTIMEO, timeouts.request)

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


def _set_timeout(connection: socket.socket, option: int, seconds: float) -> None:
    whole, part = divmod(seconds, 1)
    value = _TIMEVAL.pack(int(whole), int(part * 1_000_000))
    connection.setsockopt(socket.SOL_SOCKET, option, value)
