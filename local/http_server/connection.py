"""One client's connection: requests are read, answered and logged one after another."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import ssl
import time
from typing import TYPE_CHECKING

from local.gateway.messages import Request, Response
from local.http_server.answers import message_of
from local.http_server.body import read_body
from local.http_server.endings import BadRequestError, BodyTooLargeError, ClosedError
from local.http_server.head import read_head
from local.http_server.peer import certificate_of
from local.http_server.stream import Stream

if TYPE_CHECKING:
    from local.gateway.messages import ClientCertificate
    from local.http_server.head import Head
    from local.http_server.server import Server

__all__ = ["Connection"]

_UNWRAP_SECONDS = 1.0


class Connection(socketserver.BaseRequestHandler):
    """Serves a client until it, its silence or a broken request ends the connection."""

    server: Server
    request: socket.socket
    scheme = "http"
    certificate: ClientCertificate | None = None

    def handle(self) -> None:
        """Serve the requests of a connection, after its handshake if it has one."""
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.server.tls is None:
            self._serve(Stream(self.request, self.server.timeouts))
        else:
            self._serve_securely(self.server.tls)

    def _serve_securely(self, tls: ssl.SSLContext) -> None:
        # The handshake is here rather than where connections are accepted, so that a slow client
        # keeps nobody waiting.
        with tls.wrap_socket(
            self.request, server_side=True, do_handshake_on_connect=False
        ) as connection:
            self.request, self.scheme = connection, "https"
            stream = Stream(connection, self.server.timeouts)
            try:
                connection.settimeout(self.server.timeouts.request)
                connection.do_handshake()
            except OSError as error:
                self._log(f"TLS from {self.client_address[0]} failed: {error}")
                stream.linger()
                return
            self.certificate = certificate_of(connection)
            self._serve(stream)
            with contextlib.suppress(OSError, ValueError):
                connection.settimeout(_UNWRAP_SECONDS)
                connection.unwrap()

    def _serve(self, stream: Stream) -> None:
        try:
            while self._serve_one(stream):
                pass
        except BadRequestError as error:
            body = f'{{"message":"{error.message}"}}'.encode()
            response = Response(error.status, (("Content-Type", "application/json"),), body)
            with contextlib.suppress(OSError):
                stream.send(message_of(response, close=True))
                stream.linger()
        except (ClosedError, BlockingIOError, ConnectionError, TimeoutError, ssl.SSLError):
            return

    def _serve_one(self, stream: Stream) -> bool:
        """Answer one request; whether another may follow."""
        head = read_head(stream)
        started = time.perf_counter()
        application = self.server.application
        try:
            body = read_body(stream, head)
        except BodyTooLargeError:
            response = application.too_large(self._request(head))
            stream.send(message_of(response, close=True, head_only=head.method == "HEAD"))
            self._log_answer(head, response, started)
            stream.linger()
            return False
        with self.server.turns.take():
            response = application.handle(self._request(head, body))
            close, head_only = not head.keep_alive, head.method == "HEAD"
            stream.send(message_of(response, close=close, head_only=head_only))
            self._log_answer(head, response, started)
        return head.keep_alive

    def _request(self, head: Head, body: bytes = b"") -> Request:
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

    def _log_answer(self, head: Head, response: Response, started: float) -> None:
        took = (time.perf_counter() - started) * 1000
        self._log(f"{head.method} {head.path} {response.status} {took:.1f} ms")

    def _log(self, line: str) -> None:
        if self.server.log is not None:
            self.server.log(line)
