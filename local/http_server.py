"""An HTTP/1.1 server: a thread for each connection, shared with other worker processes.

Each response is written with one call.
"""

import contextlib
import errno
import http
import socket
import socketserver
import ssl
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from email.utils import formatdate
from functools import lru_cache
from typing import Generic, Protocol, TypeVar

from infra.local_stack import url_host
from local.gateway.model import ClientCertificate, Limit, Request, Response
from local.http_requests import (
    BadRequestError,
    BodyTooLargeError,
    ClosedError,
    Head,
    Stream,
    Timeouts,
    read_body,
    read_head,
)
from local.prefork import Share

Accepted = TypeVar("Accepted")
EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_EXHAUSTED_PAUSE_SECONDS = 0.1
_EXHAUSTED_LOG_SECONDS = 10.0
_OTHER_WORKER_SECONDS = 0.002
_UNWRAP_SECONDS = 1.0
_MAX_LOGGED_PATH = 100
_PHRASES = {status.value: status.phrase for status in http.HTTPStatus}
_NO_BODY = {204, 304}
_NAME_TYPES = {
    "commonName": "CN",
    "countryName": "C",
    "localityName": "L",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "stateOrProvinceName": "ST",
}


class Accept(Generic[Accepted]):
    """Wraps a call that accepts a connection: it pauses while file descriptors are exhausted.

    The listening socket stays readable then, and a server would try again at once.
    """

    def __init__(self, accept: Callable[[], Accepted]) -> None:
        self._accept = accept
        self._log_after = 0.0

    def __call__(self) -> Accepted:
        """Accept a connection.

        Raises:
            OSError: there is none, or file descriptors are exhausted, which was logged.
        """
        try:
            return self._accept()
        except OSError as error:
            if error.errno in EXHAUSTED:
                if (now := time.monotonic()) >= self._log_after:
                    self._log_after = now + _EXHAUSTED_LOG_SECONDS
                    sentence = f"No connection can be accepted ({error.strerror}): close some, or raise the limit"
                    print(f"{sentence} (ulimit -n).", file=sys.stderr, flush=True)
                time.sleep(_EXHAUSTED_PAUSE_SECONDS)
            raise


class Application(Protocol):
    """An application that the server can serve."""

    def handle(self, request: Request) -> Response:
        """Return the response to a request."""
        ...

    def too_large(self, request: Request) -> Response:
        """Return the response to a request whose body exceeds the limit and was not read."""
        ...


class Server(socketserver.ThreadingTCPServer):
    """Serves an application, with a thread for each connection. It listens after `open`.

    With `tls` it serves HTTPS, and requests carry the client's certificate.
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
        super().__init__((host, port), _Connection, bind_and_activate=False)
        self.log = log or (lambda _line: None)
        self.timeouts = timeouts or Timeouts()
        self.tls = tls
        self.domain = url_host(host)
        # Several processes wait for each connection. The slower ones must not block in `accept`.
        self.socket.settimeout(0)
        self.share: Share | None = None
        self.limits: dict[_Connection, tuple[float, Callable[[], None]]] = {}
        self._handling = threading.Lock()
        self._accept = Accept(self.socket.accept)
        try:
            self.server_bind()
        except OSError:
            self.server_close()
            raise

    @property
    def port(self) -> int:
        """The bound port."""
        return int(self.server_address[1])

    def open(self, application: Application) -> None:
        """Listen for requests to `application`."""
        self.application = application
        self.server_activate()

    def get_request(self) -> tuple[socket.socket, object]:
        """Accept a connection, unless another worker with fewer connections accepts it.

        Raises:
            BlockingIOError: another worker has accepted it.
            OSError: file descriptors are exhausted; this was logged, after a pause.
        """
        if self.share is not None and self.share.is_ahead:
            time.sleep(_OTHER_WORKER_SECONDS)
        connection, address = self._accept()
        connection.settimeout(None)
        if self.share is not None:
            self.share.add(1)
        return connection, address

    def service_actions(self) -> None:
        """Answer requests whose time limit is over. Called after each connection, and twice a second."""
        now = time.monotonic()
        for connection, (deadline, answer) in list(self.limits.items()):
            if now > deadline:
                # The handler may have answered just now, or the client has closed the connection.
                with contextlib.suppress(KeyError, OSError):
                    del self.limits[connection]
                    connection.is_late = True
                    answer()
                    connection.request.shutdown(socket.SHUT_RDWR)

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Let threads handle requests one after another.

        Python runs one of them at a time. Without the lock, each read or write would wake all that wait. A thread that
        has waited for a switch interval continues, because the one that runs waits for something else.
        """
        acquired = self._handling.acquire(timeout=sys.getswitchinterval())
        try:
            yield
        finally:
            if acquired:
                self._handling.release()

    def shutdown_request(self, request: socket.socket) -> None:  # type: ignore[override]
        """End a connection."""
        if self.share is not None:
            self.share.add(-1)
        super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """Print why a connection failed. The server continues."""
        print(f"The connection of {client_address} broke:", file=sys.stderr)
        traceback.print_exc()


class _Connection(socketserver.BaseRequestHandler):
    """Reads the requests of a connection, responds to them and logs them."""

    server: Server
    request: socket.socket
    scheme = "http"
    certificate: ClientCertificate | None = None
    is_late = False

    def handle(self) -> None:
        """Serve a connection until a side closes it, a time-out, or a malformed request."""
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.server.tls is None:
            self._serve(Stream(self.request, self.server.timeouts))
        else:
            self._serve_securely(self.server.tls)

    def _serve_securely(self, tls: ssl.SSLContext) -> None:
        # The handshake runs in this thread, so that a slow client delays no other connection.
        with tls.wrap_socket(self.request, server_side=True, do_handshake_on_connect=False) as connection:
            self.request, self.scheme = connection, "https"
            stream = Stream(connection, self.server.timeouts)
            try:
                connection.settimeout(self.server.timeouts.request)
                connection.do_handshake()
            except OSError as error:
                self.server.log(f"TLS from {self.client_address[0]} failed: {error}")
                stream.linger()
                return
            self.certificate = _certificate(connection)
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
                stream.send(_message(response, keep_alive=False))
                stream.linger()
        except (ClosedError, BlockingIOError, ConnectionError, TimeoutError, ssl.SSLError):
            return

    def _serve_one(self, stream: Stream) -> bool:
        """Respond to one request. Return whether the connection stays open."""
        head = read_head(stream)
        started = time.perf_counter()
        application = self.server.application
        try:
            body = read_body(stream, head)
        except BodyTooLargeError:
            response = application.too_large(self._request(head))
            self._respond(stream, head, response, started, keep_alive=False)
            stream.linger()
            return False

        def limit(seconds: float, response: Callable[[], Response]) -> None:
            def answer() -> None:
                self._respond(stream, head, response(), started, keep_alive=False)

            self.server.limits[self] = (time.monotonic() + seconds, answer)

        with self.server.turn():
            try:
                response = application.handle(self._request(head, body, limit))
            finally:
                self.server.limits.pop(self, None)
            if self.is_late:
                raise ClosedError
            self._respond(stream, head, response, started, keep_alive=head.keep_alive)
        return head.keep_alive

    def _request(self, head: Head, body: bytes = b"", limit: Limit | None = None) -> Request:
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
            limit=limit,
        )

    def _respond(self, stream: Stream, head: Head, response: Response, started: float, *, keep_alive: bool) -> None:
        stream.send(_message(response, keep_alive=keep_alive, without_body=head.method == "HEAD"))
        took = (time.perf_counter() - started) * 1000
        path = head.path if len(head.path) <= _MAX_LOGGED_PATH else f"{head.path[:_MAX_LOGGED_PATH]}…"
        self.server.log(f"{head.method} {path} {response.status} {took:.1f} ms")


def _message(response: Response, *, keep_alive: bool, without_body: bool = False) -> bytes:
    """Return the bytes of a response."""
    lines = [f"HTTP/1.1 {response.status} {_PHRASES.get(response.status, '')}", f"Date: {_http_date(int(time.time()))}"]
    lines += [f"{name}: {value}" for name, value in response.headers]
    if response.status not in _NO_BODY:
        lines.append(f"Content-Length: {len(response.body)}")
    lines.append("Connection: keep-alive" if keep_alive else "Connection: close")
    text = "\r\n".join([*lines, "", ""])
    try:
        message = text.encode("latin-1")
    except UnicodeEncodeError:
        message = text.encode()
    return message if without_body or response.status in _NO_BODY else message + response.body


@lru_cache(maxsize=1)
def _http_date(second: int) -> str:
    return formatdate(second, usegmt=True)


def _certificate(connection: ssl.SSLSocket) -> ClientCertificate | None:
    """Return the client's certificate with the members of API Gateway's `clientCert`."""
    der = connection.getpeercert(binary_form=True)
    members = connection.getpeercert()
    if not der or not members:
        return None
    return ClientCertificate(
        pem=ssl.DER_cert_to_PEM_cert(der),
        subject=_distinguished_name(members["subject"]),
        issuer=_distinguished_name(members["issuer"]),
        serial_number=bytes.fromhex(str(members["serialNumber"])).hex(":"),
        not_before=str(members["notBefore"]),
        not_after=str(members["notAfter"]),
    )


def _distinguished_name(parts: object) -> str:
    """Return a name as API Gateway writes it: the last part first."""
    assert isinstance(parts, tuple)
    pairs = [f"{_NAME_TYPES.get(kind, kind)}={value}" for part in parts for kind, value in part]
    return ",".join(reversed(pairs))
