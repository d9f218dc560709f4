"""An HTTP server that sends fixed bytes, for responses that no HTTP library sends."""

import re
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from threading import Thread
from typing import Self


class ByteServer:
    """Sends `answer` to each connection, at once or byte by byte with a pause."""

    def __init__(self, answer: bytes = b"", pause: float = 0.0) -> None:
        self.answer = answer
        self.received = b""
        self.visits = 0
        self._pause = pause
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/jwks?x=1"
        self._thread = Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                self.received = read_request(connection)
                self.visits += 1
                step = 1 if self._pause else max(1, len(self.answer))
                for at in range(0, len(self.answer), step):
                    connection.sendall(self.answer[at : at + step])
                    time.sleep(self._pause)


def read_request(connection: socket.socket) -> bytes:
    """Read a whole request. A TLS hello is not one."""
    received = connection.recv(65_536)
    while received[:1].isalpha() and not _is_whole(received) and (more := connection.recv(65_536)):
        received += more
    return received


def _is_whole(request: bytes) -> bool:
    head, end, body = request.partition(b"\r\n\r\n")
    length = re.search(rb"Content-Length: ([0-9]+)", head)
    return bool(end) and len(body) >= int(length[1] if length else 0)


CLOSE = b""
HANG = b"-"
"""Steps of a script that send no response."""


def http_response(body: bytes, *headers: bytes, version: bytes = b"1.1") -> bytes:
    """Return the bytes of a successful response."""
    lines = [b"HTTP/" + version + b" 200 OK", b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


class ScriptedServer:
    """Follows one script for each connection: a step for each request, then it closes or waits."""

    def __init__(self, *scripts: Sequence[bytes]) -> None:
        self.requests: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._opened: list[socket.socket] = []
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/"
        self._thread = Thread(target=self._serve, args=(scripts,))
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def connections(self) -> int:
        return len(self._opened)

    def _serve(self, scripts: Sequence[Sequence[bytes]]) -> None:
        for script in scripts:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._opened.append(connection)
            for step in script:
                if step == CLOSE:
                    connection.close()
                    break
                with suppress(OSError):
                    request = read_request(connection)
                    if not request:
                        break
                    self.requests.append(request)
                    if step != HANG:
                        connection.sendall(step)

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._opened:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        for connection in self._opened:
            connection.close()
