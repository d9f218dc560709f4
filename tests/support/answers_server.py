"""An HTTP server with configurable responses, for faults that real servers rarely show."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple


class Asked(NamedTuple):
    """A request that came in."""

    method: str
    path: str
    headers: Message
    body: str


class Said(NamedTuple):
    """An answer."""

    status: int
    body: str = ""
    headers: Mapping[str, str] = {}


@dataclass
class AnswersServer:
    """Its address, what it answers by `METHOD /path`, and what it was asked."""

    url: str
    answers: dict[str, Said | Callable[[Asked], Said]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)

    def answer(self, asked: Asked) -> Said:
        self.asked.append(asked)
        said = self.answers.get(f"{asked.method} {asked.path}", Said(404, "{}"))
        return said if isinstance(said, Said) else said(asked)


@contextlib.contextmanager
def answers_server() -> Iterator[AnswersServer]:
    """Serve on a free port until the block is left."""
    server: AnswersServer

    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            body = self.rfile.read(length).decode()
            said = server.answer(Asked(self.command, self.path, self.headers, body))
            self.send_response_only(said.status)
            for name, value in {"Content-Length": str(len(said.body)), **said.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if said.status != 304:
                self.wfile.write(said.body.encode())

        do_GET = do_POST = _handle

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        server = AnswersServer(f"http://127.0.0.1:{listening.server_port}")
        thread.start()
        try:
            yield server
        finally:
            listening.shutdown()
            thread.join()
