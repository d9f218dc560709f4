"""Take connections, share them with other workers, and serve each in a thread."""

from __future__ import annotations

import socket
import socketserver
import sys
import time
import traceback
from typing import TYPE_CHECKING, Protocol

from infra.local_stack import url_host
from local.http_server.accepting import Accept
from local.http_server.connection import Connection
from local.http_server.stream import Timeouts
from local.http_server.turns import Turns

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from local.gateway.messages import Request, Response
    from local.workers import Share

__all__ = ["Application", "Server"]

_COURTESY_SECONDS = 0.002


class Application(Protocol):
    """What the server serves."""

    def handle(self, request: Request) -> Response:
        """Answer a request."""
        ...

    def too_large(self, request: Request) -> Response:
        """Answer a request whose body is over the limit and was not read."""
        ...


class Server(socketserver.ThreadingTCPServer):
    """Serves an application, a thread for each connection; does not listen before `open`.

    With `tls` it speaks HTTPS, and tells the application which certificate a client showed.
    """

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 512
    application: Application

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
        super().__init__((host, port), Connection, bind_and_activate=False)
        self.log = log
        self.timeouts = timeouts or Timeouts()
        self.tls = tls
        self.domain = url_host(host)
        # Several processes may wait for the same connection: who comes late must not wait on.
        self.socket.settimeout(0)
        self.share: Share | None = None
        self.turns = Turns()
        self._accept = Accept(self.socket.accept)
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
            OSError: file descriptors are exhausted; that is logged, after a pause.
        """
        if self.share is not None and self.share.is_ahead:
            time.sleep(_COURTESY_SECONDS)
        connection, address = self._accept()
        connection.settimeout(None)
        if self.share is not None:
            self.share.add(1)
        return connection, address

    def shutdown_request(self, request: socket.socket) -> None:  # type: ignore[override]
        """End a connection."""
        if self.share is not None:
            self.share.add(-1)
        super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """Show what went wrong with a connection; the server goes on."""
        print(f"The connection of {client_address} broke:", file=sys.stderr)
        traceback.print_exc()
