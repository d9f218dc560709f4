"""The HTTP request that reaches the gateway and the response that leaves it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """A client's certificate in mutual TLS, as in API Gateway's `identity.clientCert`.

    `not_before` and `not_after` are written like `May 28 12:30:02 2019 GMT`.
    """

    pem: str
    subject: str
    issuer: str
    serial_number: str
    not_before: str
    not_after: str


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it was sent: `path` and `query` percent-encoded, headers in order.

    `domain` and `port` are the API's address. The Host header is not used for them, because the
    caller writes it.
    """

    method: str
    path: str
    query: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    source_ip: str = "127.0.0.1"
    protocol: str = "HTTP/1.1"
    scheme: str = "http"
    client_certificate: ClientCertificate | None = None
    domain: str = "localhost"
    port: int = 80

    def header(self, name: str) -> str | None:
        """The last value of a header, its name compared without case."""
        return _last(self.headers, name)


@dataclass(frozen=True, slots=True)
class Response:
    """One answer. A HEAD request's answer has the body that a GET would have."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def header(self, name: str) -> str | None:
        """The last value of a header, its name compared without case."""
        return _last(self.headers, name)


def _last(headers: tuple[tuple[str, str], ...], name: str) -> str | None:
    wanted = name.lower()
    for found, value in reversed(headers):
        if found.lower() == wanted:
            return value
    return None
