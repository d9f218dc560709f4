"""A key set endpoint on this machine that counts requests and can delay responses."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread


@dataclass
class JwksServer:
    """A running endpoint. While `open_` is clear, visitors wait."""

    url: str
    body: bytes
    fetches: int = 0
    arrived: Event = field(default_factory=Event)
    open_: Event = field(default_factory=Event)


@contextmanager
def serving(body: bytes, tls: ssl.SSLContext | None = None) -> Iterator[JwksServer]:
    """Serve one key set, over TLS if a context is given."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            endpoint.fetches += 1
            endpoint.arrived.set()
            endpoint.open_.wait()
            self.send_response(200)
            self.send_header("Content-Type", "application/jwk-set+json")
            self.send_header("Content-Length", str(len(endpoint.body)))
            self.end_headers()
            self.wfile.write(endpoint.body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    scheme = "http"
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
        scheme = "https"
    endpoint = JwksServer(f"{scheme}://localhost:{server.server_address[1]}/jwks", body)
    endpoint.open_.set()
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield endpoint
    finally:
        endpoint.open_.set()
        server.shutdown()
        server.server_close()
