"""An HTTP server with configurable responses, for faults that real servers rarely show."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple


class ReceivedRequest(NamedTuple):
    """A request of a client."""

    method: str
    path: str
    headers: Message
    body: str


class Reply(NamedTuple):
    """A configured response."""

    status: int
    body: str = ""
    headers: Mapping[str, str] = {}


@dataclass
class AnswersServer:
    """Its address, its replies by `METHOD /path`, and the requests that it received."""

    url: str
    answers: dict[str, Reply | Callable[[ReceivedRequest], Reply]] = field(default_factory=dict)
    received: list[ReceivedRequest] = field(default_factory=list)

    def answer(self, request: ReceivedRequest) -> Reply:
        self.received.append(request)
        reply = self.answers.get(f"{request.method} {request.path}", Reply(404, "{}"))
        return reply if isinstance(reply, Reply) else reply(request)


@contextlib.contextmanager
def answers_server() -> Iterator[AnswersServer]:
    """Serve on a free port until the block is left."""
    server: AnswersServer

    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            body = self.rfile.read(length).decode()
            reply = server.answer(ReceivedRequest(self.command, self.path, self.headers, body))
            self.send_response_only(reply.status)
            for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if reply.status != 304:
                self.wfile.write(reply.body.encode())

        do_GET = do_POST = do_PUT = _handle

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
