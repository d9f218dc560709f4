"""Self-signed certificates of clients, or of servers with another `usage`."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from local.certificates import with_extensions
from tests.support.server import NOW
from tests.support.tokens import ec_key


def certificate_pem(
    subject: str = "CN=client,O=Example",
    names: Sequence[x509.GeneralName] = (),
    *,
    key: str = "client-tls",
    begins: int = NOW - 3600,
    ends: int = NOW + 3600,
    usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.CLIENT_AUTH,
) -> str:
    """Return a self-signed certificate in PEM; `subject` is written as RFC 4514 does."""
    name = x509.Name.from_rfc4514_string(subject)
    extensions = [x509.SubjectAlternativeName(names)] if names else []
    signed = self_signed(name, key, _time(begins), _time(ends), *extensions, usage=usage)
    return signed.public_bytes(Encoding.PEM).decode()


def certificate_with_raw_names(der: bytes) -> str:
    """Return a self-signed certificate whose subject alternative names are these bytes."""
    name = x509.Name.from_rfc4514_string("CN=client")
    names = x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, der)
    signed = self_signed(name, "client-tls", _time(NOW - 3600), _time(NOW + 3600), names)
    return signed.public_bytes(Encoding.PEM).decode()


@cache
def common_name_certificate(name: str) -> x509.Certificate:
    """Return the self-signed certificate of this common name and the key of the same name."""
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    begins, ends = datetime(2020, 1, 1, tzinfo=UTC), datetime(2040, 1, 1, tzinfo=UTC)
    return self_signed(subject, name, begins, ends)


def self_signed(
    name: x509.Name,
    key: str,
    begins: datetime,
    ends: datetime,
    *extensions: x509.ExtensionType,
    usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.CLIENT_AUTH,
) -> x509.Certificate:
    """Return a self-signed certificate for the key of this name."""
    public = ec_key(key).public_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(1)
        .not_valid_before(begins)
        .not_valid_after(ends)
    )
    builder = with_extensions(builder, public, public, usage)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(ec_key(key), hashes.SHA256())


def with_certificate(event: dict[str, Any], pem: str) -> dict[str, Any]:
    """Add a certificate to an event as API Gateway does. The other members are unused."""
    event["requestContext"]["identity"]["clientCert"] = {
        "clientCertPem": pem,
        "subjectDN": "CN=not used",
        "issuerDN": "CN=not used",
        "serialNumber": "1",
        "validity": {"notBefore": "", "notAfter": ""},
    }
    return event


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(seconds=seconds)
