"""Client certificates, as an authority or a client itself would make them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID

from tests.support.server import NOW
from tests.support.tokens import ec_key

if TYPE_CHECKING:
    from collections.abc import Sequence


def certificate_pem(
    subject: str = "CN=client,O=Example",
    names: Sequence[x509.GeneralName] = (),
    *,
    key: str = "client-tls",
    begins: int = NOW - 3600,
    ends: int = NOW + 3600,
) -> str:
    """Return a self-signed certificate in PEM; `subject` is written as RFC 4514 does."""
    name = x509.Name.from_rfc4514_string(subject)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(ec_key(key).public_key())
        .serial_number(1)
        .not_valid_before(_time(begins))
        .not_valid_after(_time(ends))
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    signed = builder.sign(ec_key(key), hashes.SHA256())
    return signed.public_bytes(Encoding.PEM).decode()


def certificate_with_raw_names(der: bytes) -> str:
    """Return a self-signed certificate whose subject alternative names are these bytes."""
    name = x509.Name.from_rfc4514_string("CN=client")
    names = x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, der)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(ec_key("client-tls").public_key())
        .serial_number(1)
        .not_valid_before(_time(NOW - 3600))
        .not_valid_after(_time(NOW + 3600))
        .add_extension(names, critical=False)
    )
    signed = builder.sign(ec_key("client-tls"), hashes.SHA256())
    return signed.public_bytes(Encoding.PEM).decode()


def with_certificate(event: dict[str, Any], pem: str) -> dict[str, Any]:
    """Add a certificate to an event as API Gateway does. The texts beside it are of no use."""
    event["requestContext"]["identity"]["clientCert"] = {
        "clientCertPem": pem,
        "subjectDN": "CN=nobody reads this",
        "issuerDN": "CN=nobody reads this",
        "serialNumber": "1",
        "validity": {"notBefore": "", "notAfter": ""},
    }
    return event


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(seconds=seconds)
