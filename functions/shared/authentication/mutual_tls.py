"""Mutual TLS: the certificate of the connection is the client's proof. RFC 8705, 2.

API Gateway has checked possession and chain. A request without a certificate, such as any that came
by an address without mutual TLS, cannot be authenticated like this.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from functions.shared.authentication.credentials import CERTIFICATE, Claimed
from functions.shared.clients.authentication_methods import (
    SELF_SIGNED_TLS_CLIENT_AUTH,
    TLS_CLIENT_AUTH,
)
from functions.shared.web.oauth_errors import InvalidClientError

if TYPE_CHECKING:
    from functions.shared.clients.client_record import Client
    from functions.shared.web.client_certificate import ClientCertificate
    from functions.shared.web.form import Form
    from functions.shared.web.proxy_request import ProxyRequest


@dataclass(frozen=True, slots=True)
class TlsClientAuth:
    """A certificate of an authority, known by a name in it. RFC 8705, 2.1."""

    name: str = TLS_CLIENT_AUTH
    credential: str = CERTIFICATE

    def read(self, request: ProxyRequest, form: Form) -> Claimed | None:
        """Read the connection's certificate and `client_id`."""
        return _read(request, form)

    def verify(self, claimed: Claimed, client: Client | None, now: float) -> None:
        """Compare the name that the client is registered under with those in the certificate."""
        name = client.certificate_name if client else None
        certificate = _valid(claimed.certificate, now).x509
        try:
            carried = name is not None and name.is_in(certificate)
        except ValueError:
            carried = False
        if not carried:
            raise InvalidClientError(reason="the certificate does not carry the client's name")


@dataclass(frozen=True, slots=True)
class SelfSignedTlsClientAuth:
    """A certificate that the client made itself, known by its thumbprint. RFC 8705, 2.2."""

    name: str = SELF_SIGNED_TLS_CLIENT_AUTH
    credential: str = CERTIFICATE

    def read(self, request: ProxyRequest, form: Form) -> Claimed | None:
        """Read the connection's certificate and `client_id`."""
        return _read(request, form)

    def verify(self, claimed: Claimed, client: Client | None, now: float) -> None:
        """Look for the certificate among those that the client is registered with."""
        registered = client.certificate_thumbprints if client else frozenset()
        if _valid(claimed.certificate, now).thumbprint not in registered:
            raise InvalidClientError(reason="the certificate is none of the client's")


def _read(request: ProxyRequest, form: Form) -> Claimed | None:
    if request.client_certificate is None:
        return None
    client_id = form.get("client_id")
    if client_id is None:
        return None
    return Claimed(client_id, certificate=request.client_certificate)


def _valid(certificate: ClientCertificate | None, now: float) -> ClientCertificate:
    """Return the certificate if it counts now: a connection can outlive it."""
    if certificate is None:
        raise InvalidClientError(reason="no certificate")
    try:
        begins_at = certificate.x509.not_valid_before_utc.timestamp()
        ends_at = certificate.x509.not_valid_after_utc.timestamp()
    except ValueError:
        raise InvalidClientError(reason="the certificate cannot be read") from None
    if not begins_at <= now <= ends_at:
        raise InvalidClientError(reason="the certificate does not count now")
    return certificate
