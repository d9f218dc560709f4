"""The bytes of one client: read ahead, and waited for no longer than the client may take."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import time
from dataclasses import dataclass

from local.http_server.endings import BadRequestError, ClosedError

__all__ = ["Stream", "Timeouts"]

_READ_SIZE = 65_536
_LINGER_SECONDS = 1.0
_TIMEVAL = struct.Struct("@ll")


@dataclass(frozen=True)
class Timeouts:
    """Seconds that a client may stay silent: between requests, and within one."""

    idle: float = 75.0
    request: float = 20.0


class Stream:
    """A client's connection; `buffer` holds what it has sent and nobody has taken yet.

    A plain socket is given the kernel's own timeouts, for with one of Python's, each wait is a
    system call more. TLS knows Python's only.
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
            ClosedError: there will be none.
        """
        received = self._socket.recv(_READ_SIZE)
        if not received:
            raise ClosedError
        self.buffer += received

    def send(self, message: bytes) -> None:
        """Send an answer; the client may take as long as for a request.

        Raises:
            OSError: it does not take it, or is gone.
        """
        self._allow(self.timeouts.request)
        self._socket.sendall(message)

    def await_request(self) -> None:
        """Let the next wait take as long as one between requests may."""
        self._allow(self.timeouts.idle)

    def _allow(self, seconds: float) -> None:
        if not self._is_plain:
            self._socket.settimeout(seconds)
        elif self._socket.gettimeout() is not None:
            self._socket.settimeout(None)

    def deadline(self) -> float:
        """Return when a request that has begun must be complete, on the monotonic clock."""
        return time.monotonic() + self.timeouts.request

    def receive_until(self, deadline: float) -> None:
        """Wait for more bytes of a request.

        Raises:
            BadRequestError: the deadline has passed.
            ClosedError: there will be none.
        """
        left = deadline - time.monotonic()
        if left > 0:
            self._socket.settimeout(left)
            with contextlib.suppress(TimeoutError):
                self.receive()
                return
        raise BadRequestError(408, "Request Timeout")

    def take(self, length: int, deadline: float) -> bytes:
        """Take `length` bytes.

        Raises:
            BadRequestError: the deadline has passed.
            ClosedError: there will be no more.
        """
        buffer = self.buffer
        while len(buffer) < length:
            self.receive_until(deadline)
        taken = bytes(buffer[:length])
        del buffer[:length]
        return taken

    def take_line(self, most: int, deadline: float) -> bytes:
        """Take a line, which with its end has at most `most` bytes; return it without the end.

        Raises:
            BadRequestError: it is longer, or the deadline has passed.
            ClosedError: there will be no more.
        """
        buffer = self.buffer
        while (end := buffer.find(b"\r\n", 0, most)) < 0:
            if len(buffer) >= most:
                raise BadRequestError(400, "Bad Request")
            self.receive_until(deadline)
        line = bytes(buffer[:end])
        del buffer[: end + 2]
        return line

    def linger(self) -> None:
        """Let the client read the answer before its unread bytes reset the connection."""
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
