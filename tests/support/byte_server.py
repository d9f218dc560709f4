"""An HTTP server that sends fixed bytes, for responses that no HTTP library sends."""

import socket
import time
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
    """Read a whole request. The only body in these tests is `token=abc`. A TLS hello is not one."""
    received = connection.recv(65_536)
    end = b"token=abc" if received.startswith(b"POST") else b"\r\n\r\n"
    while received[:1].isalpha() and not received.endswith(end) and (more := connection.recv(65_536)):
        received += more
    return received
