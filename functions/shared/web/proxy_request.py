"""API Gateway's proxy event as a typed request. Payload format 1.0: REST and HTTP APIs."""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from authorizer import base64url

from .oauth_errors import InvalidRequestError, ServerError

if TYPE_CHECKING:
    from cryptography import x509


@dataclass(frozen=True)
class ClientCertificate:
    """The DER of the client certificate of a connection with mutual TLS. RFC 8705.

    API Gateway has verified its private key and its chain. Only the certificate itself is read, not
    the event's texts about it, which could differ.
    """

    der: bytes = field(repr=False)

    @cached_property
    def thumbprint(self) -> str:
        """The certificate's SHA-256 thumbprint, `x5t#S256`. RFC 8705, 3.1."""
        return base64url.encode(sha256(self.der).digest())

    @cached_property
    def x509(self) -> x509.Certificate:
        """The parsed certificate.

        Raises:
            ValueError: it cannot be parsed.
        """
        # Imported here because few requests need more than the thumbprint.
        from cryptography.x509 import InvalidVersion, load_der_x509_certificate

        try:
            return load_der_x509_certificate(self.der)
        except InvalidVersion as error:
            raise ValueError("a certificate of an unknown version") from error


@dataclass(slots=True)  # a frozen one takes three times as long to create
class ProxyRequest:
    """One HTTP request. Header names are in lower case; headers and query retain duplicates.

    `authorizer` is the context of the Lambda authorizer, empty on open routes. `domain_name` and `stage` are from API
    Gateway's request context. `client_certificate` is the certificate of the connection with mutual TLS.
    """

    method: str
    path: str
    headers: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False)
    query: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    path_parameters: Mapping[str, str] = field(default_factory=dict)
    body: bytes = field(default=b"", repr=False)
    source_ip: str = ""
    request_id: str = ""
    authorizer: Mapping[str, Any] = field(default_factory=dict)
    client_certificate: ClientCertificate | None = None
    domain_name: str = ""
    stage: str = ""

    def header(self, name: str) -> str | None:
        """Return the value of a header that may be sent once.

        Raises:
            InvalidRequestError: the header was sent more than once.
        """
        values = self.headers.get(name)
        if values is None:
            return None
        if len(values) > 1:
            raise InvalidRequestError(f"The {name} header was sent more than once.")
        return values[0]

    def query_parameter(self, name: str) -> str | None:
        """Return the value of a query parameter that may be sent once.

        Raises:
            InvalidRequestError: the parameter was sent more than once.
        """
        values = self.query.get(name, ())
        if len(values) > 1:
            raise InvalidRequestError(f"The parameter {name} was sent more than once.")
        return values[0] if values else None

    def accepts(self, media_type: str) -> bool:
        """Return whether the Accept header has this media type itself, with a weight above zero. RFC 9110, 12.5.1."""
        ranges = [part for line in self.headers.get("accept", ()) for part in line.split(",")]
        return any(_accepts(media_range, media_type) for media_range in ranges)


def _accepts(media_range: str, media_type: str) -> bool:
    named, *parameters = media_range.split(";")
    if named.strip().lower() != media_type:
        return False
    return not any(_is_zero_weight(parameter) for parameter in parameters)


def _is_zero_weight(parameter: str) -> bool:
    name, _, weight = parameter.partition("=")
    return name.strip().lower() == "q" and re.fullmatch(r"0(\.0*)?", weight.strip()) is not None


def read_event(event: Mapping[str, Any]) -> ProxyRequest:
    """Read a proxy event.

    Raises:
        InvalidRequestError: a body marked as base64 is not base64, or the client certificate is not
            one certificate.
        ServerError: it is not a proxy event of payload format 1.0.
    """
    try:
        method, path = event["httpMethod"], event["path"]
    except KeyError:
        raise ServerError(reason="no proxy event of payload format 1.0") from None
    context = event.get("requestContext") or {}
    identity = context.get("identity") or {}
    query = _sent(event, "multiValueQueryStringParameters", "queryStringParameters")
    return ProxyRequest(  # keywords would take three times as long
        method,
        path,
        _headers(event),
        {name: tuple(values) for name, values in query.items()},
        event.get("pathParameters") or {},
        _body(event),
        identity.get("sourceIp") or "",
        context.get("requestId") or "",
        context.get("authorizer") or {},
        _client_certificate(identity),
        context.get("domainName") or "",
        context.get("stage") or "",
    )


def _headers(event: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    sent = _sent(event, "multiValueHeaders", "headers")
    headers = {name.lower(): tuple(values) for name, values in sent.items()}
    if len(headers) < len(sent):  # two spellings of a name are one header
        for lower in headers:
            same = (tuple(values) for name, values in sent.items() if name.lower() == lower)
            headers[lower] = sum(same, ())
    return headers


def _sent(event: Mapping[str, Any], many: str, one: str) -> Mapping[str, Iterable[str]]:
    return event.get(many) or {name: (value,) for name, value in (event.get(one) or {}).items()}


def _body(event: Mapping[str, Any]) -> bytes:
    body: str = event.get("body") or ""
    if not event.get("isBase64Encoded"):
        # A lone surrogate becomes bytes that are not UTF-8, which the form parser rejects.
        return body.encode("utf-8", "surrogatepass")
    try:
        return binascii.a2b_base64(body, strict_mode=True)
    except ValueError as error:
        raise InvalidRequestError("The request body is not valid base64.") from error


def _client_certificate(identity: Mapping[str, Any]) -> ClientCertificate | None:
    forwarded = identity.get("clientCert")
    if not forwarded:
        return None
    try:
        return certificate_from_pem(forwarded.get("clientCertPem") or "")
    except ValueError as error:
        raise InvalidRequestError("The client certificate cannot be read.") from error


def certificate_from_pem(pem: str) -> ClientCertificate:
    """Read one certificate in PEM. RFC 7468, 5.

    Raises:
        ValueError: it is not exactly one certificate, which could be another client's.
    """
    return ClientCertificate(base64url.read_pem(pem))
