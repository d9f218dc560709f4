"""spiffe_x509: the X509-SVID of a mutual TLS connection authenticates a client.

draft-ietf-oauth-spiffe-client-auth-02, 3.2, and X509-SVID, 4 and 5.

API Gateway has verified the certificate's key, and its chain against the whole truststore. The truststore may hold the
authorities of several trust domains. Each of them could issue a certificate with any SPIFFE ID. An authority of the
SPIFFE ID's own trust domain must therefore have issued the certificate. API Gateway passes on the certificate alone.
One that an intermediate authority issued is rejected, unless the bundle has that authority.
"""

from datetime import UTC, datetime

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import ExtensionPolicy, PolicyBuilder, Store, VerificationError

from ..clients.spiffe_rules import SpiffeId, SpiffeRules, parse_spiffe_id
from ..clients.trust_bundle import TrustBundle
from ..web.oauth_errors import InvalidClientError
from ..web.proxy_request import ClientCertificate
from .credentials import PresentedCredentials
from .trust_bundles import TrustBundles

Svid = PresentedCredentials[ClientCertificate]

_PROCESSED = frozenset(
    kind.oid
    for kind in (
        x509.AuthorityKeyIdentifier,
        x509.BasicConstraints,
        x509.ExtendedKeyUsage,
        x509.KeyUsage,
        x509.SubjectAlternativeName,
        x509.SubjectKeyIdentifier,
    )
)


def verify_svid(bundles: TrustBundles, rules: SpiffeRules | None, svid: Svid, now: float) -> None:
    """Check the certificate's SPIFFE ID and use, then its authority.

    Raises:
        InvalidClientError: it does not identify the client's workload.
        TemporarilyUnavailableError: the trust domain's bundle is not available.
    """
    try:
        certificate = svid.credential.x509
        spiffe_id = read_spiffe_id(certificate)
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise InvalidClientError(reason=f"X509-SVID: {error}") from None
    client_id = svid.unverified_client_id
    if client_id.startswith("spiffe:") and client_id != str(spiffe_id):
        raise InvalidClientError(reason="X509-SVID: client_id is another SPIFFE ID")
    if rules is None or not rules.admits(spiffe_id):
        raise InvalidClientError(reason="X509-SVID: not the SPIFFE ID of the client")
    bundle = bundles.current(rules)
    if not _is_issued_by(bundle, certificate, now):
        newer = bundles.newer(rules, bundle)
        if newer is bundle or not _is_issued_by(newer, certificate, now):
            raise InvalidClientError(reason=f"X509-SVID: no authority of {bundle.trust_domain} issued it")
    svid.spiffe_id = str(spiffe_id)


def read_spiffe_id(certificate: x509.Certificate) -> SpiffeId:
    """Return the SPIFFE ID of a certificate that identifies a workload. X509-SVID, 2, 4 and 5.2.

    Raises:
        ValueError: it is not a leaf certificate, or has not exactly one URI, which is a SPIFFE ID.
    """
    found = {extension.oid: extension for extension in certificate.extensions}
    if unknown := [oid.dotted_string for oid, each in found.items() if each.critical and oid not in _PROCESSED]:
        raise ValueError(f"unknown critical extensions {', '.join(unknown)}")
    extensions = certificate.extensions
    try:
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        usage = extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        raise ValueError("no key usage, or no names") from None
    if x509.BasicConstraints.oid in found and extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
        raise ValueError("a CA certificate")
    if not usage.digital_signature or usage.key_cert_sign or usage.crl_sign:
        raise ValueError("its key may not sign messages, or may sign certificates")
    if x509.ExtendedKeyUsage.oid in found:
        purposes = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        if ExtendedKeyUsageOID.CLIENT_AUTH not in purposes:
            raise ValueError("not for clients")
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    spiffe_id = parse_spiffe_id(uris[0]) if len(uris) == 1 else None
    if spiffe_id is None or not spiffe_id.path:
        raise ValueError("not exactly one URI, or not a workload's SPIFFE ID")
    return spiffe_id


def _is_issued_by(bundle: TrustBundle, certificate: x509.Certificate, now: float) -> bool:
    """Return whether an authority of the bundle issued the certificate and is valid now. RFC 5280, 6."""
    if not bundle.authorities:
        return False
    policy = (
        PolicyBuilder()
        .store(Store(list(bundle.authorities)))
        .time(datetime.fromtimestamp(now, UTC))
        .extension_policies(ca_policy=ExtensionPolicy.webpki_defaults_ca(), ee_policy=ExtensionPolicy.permit_all())
    )
    try:
        policy.build_client_verifier().verify(certificate, [])
    except VerificationError:
        return False
    return True
