"""tls_client_auth, self_signed_tls_client_auth and spiffe_x509: the connection's certificate. RFC 8705, 2.

API Gateway has verified the certificate's key and chain. A request without a certificate, for
example to a domain without mutual TLS, cannot authenticate by these methods.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..clients.client import Client
from ..clients.supported import SELF_SIGNED_TLS_CLIENT_AUTH, SPIFFE_X509, TLS_CLIENT_AUTH
from ..web.oauth_errors import InvalidClientError
from ..web.proxy_request import ClientCertificate
from .credentials import CERTIFICATE, CredentialSource, PresentedCredentials

if TYPE_CHECKING:
    from .trust_bundles import TrustBundles


class _CertificateMethod:
    """A method whose credential is the connection's certificate. `client_id` is the client's id, or its SPIFFE ID."""

    credential: str = CERTIFICATE

    def read(self, source: CredentialSource) -> PresentedCredentials[ClientCertificate] | None:
        """Read the certificate and `client_id`."""
        certificate, client_id = source.request.client_certificate, source.form.get("client_id")
        if certificate is None or client_id is None:
            return None
        return PresentedCredentials(client_id, certificate)


class TlsClientAuth(_CertificateMethod):
    """A certificate of a certificate authority, identified by one name in it. RFC 8705, 2.1."""

    name: str = TLS_CLIENT_AUTH

    def verify(self, presented: PresentedCredentials[ClientCertificate], client: Client | None, now: float) -> None:
        """Compare the registered name with the certificate's."""
        name = client.certificate_name if client else None
        certificate = _check_validity(presented.credential, now).x509
        try:
            matches = name is not None and name.is_in(certificate)
        except ValueError:
            matches = False
        if not matches:
            raise InvalidClientError(reason="the certificate does not carry the client's name")


class SelfSignedTlsClientAuth(_CertificateMethod):
    """A self-signed certificate, identified by its thumbprint. RFC 8705, 2.2."""

    name: str = SELF_SIGNED_TLS_CLIENT_AUTH

    def verify(self, presented: PresentedCredentials[ClientCertificate], client: Client | None, now: float) -> None:
        """Look the certificate up among the registered ones."""
        registered = client.certificate_thumbprints if client else frozenset()
        if _check_validity(presented.credential, now).thumbprint not in registered:
            raise InvalidClientError(reason="the certificate is none of the client's")


class SpiffeX509(_CertificateMethod):
    """The X509-SVID of a workload. draft-ietf-oauth-spiffe-client-auth-02, 3.2."""

    name: str = SPIFFE_X509

    def __init__(self, bundles: Callable[[], TrustBundles]) -> None:
        self._bundles = bundles

    def verify(self, presented: PresentedCredentials[ClientCertificate], client: Client | None, now: float) -> None:
        """Check the certificate's SPIFFE ID, and that an authority of its trust domain issued it."""
        # Imported here because few clients have an X509-SVID.
        from .spiffe_x509 import verify_svid

        _check_validity(presented.credential, now)
        verify_svid(self._bundles(), client.spiffe if client else None, presented, now)


def _check_validity(certificate: ClientCertificate, now: float) -> ClientCertificate:
    """Return the certificate if it is valid now: it can expire while a connection is open."""
    try:
        not_before = certificate.x509.not_valid_before_utc.timestamp()
        not_after = certificate.x509.not_valid_after_utc.timestamp()
    except ValueError:
        raise InvalidClientError(reason="the certificate cannot be read") from None
    if not not_before <= now <= not_after:
        raise InvalidClientError(reason="the certificate is not valid now")
    return certificate
