"""Certificates for mutual TLS on the laptop: a CA, the server's, and three clients'.

They are created on first use under .gatehouse/tls. Each private key is in the certificate's file, as curl's --cert
expects.
"""

import fcntl
import ssl
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from functions.shared.web.proxy_request import certificate_from_pem
from local import STATE

DIRECTORY = STATE / "tls"
CLIENT_NAME = "service-client-mtls.example"
"""The DNS name in the demo client's certificate."""

TRUST_DOMAIN = "laptop.example"
SPIFFE_ID = f"spiffe://{TRUST_DOMAIN}/service-client-spiffe"
"""The SPIFFE ID in the X509-SVID. The CA is the trust domain's authority."""

_LIFETIME = timedelta(days=365)
_RENEW_BEFORE = timedelta(days=7)
_CLOCK_SKEW = timedelta(hours=1)


@dataclass(frozen=True)
class Issued:
    """A certificate with its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def to_pem(self) -> bytes:
        """Return the certificate and its private key."""
        return self.certificate.public_bytes(Encoding.PEM) + self.key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )


class LaptopCertificates:
    """The certificate files in one directory.

    `authority` is the certificate of the CA, which clients trust. `truststore` has those that the server trusts: the CA
    and the self-signed client. The other files have a certificate and its private key. The CA has issued those of
    `server`, of `client`, and of `svid`, a SPIFFE workload.
    """

    def __init__(self, directory: Path) -> None:
        self.authority = directory / "authority.pem"
        self.truststore = directory / "truststore.pem"
        self.server = directory / "server.pem"
        self.client = directory / "client.pem"
        self.self_signed_client = directory / "self-signed-client.pem"
        self.svid = directory / "svid.pem"

    @classmethod
    def ensure(cls, directory: Path = DIRECTORY) -> Self:
        """Return the certificates there. Missing and soon expiring ones are created."""
        found = cls(directory)
        # Runs that start together use the same set: a server and its clients each load files.
        directory.parent.mkdir(parents=True, exist_ok=True)
        with directory.with_name(f"{directory.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not found.are_valid(datetime.now(UTC)):
                _replace(directory, _create())
        return found

    def are_valid(self, now: datetime) -> bool:
        """Return whether the files exist, have the extensions, and are valid for some days."""
        try:
            authority = certificate_from_pem(self.authority.read_text()).x509
            authority.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
            self.svid.read_bytes()
        except (OSError, ValueError, x509.ExtensionNotFound):
            return False
        return now + _RENEW_BEFORE < authority.not_valid_after_utc

    def self_signed_thumbprint(self) -> str:
        """Return the thumbprint with which the self-signed client is registered."""
        pem, end, _ = self.self_signed_client.read_text().partition("-----END CERTIFICATE-----\n")
        return certificate_from_pem(pem + end).thumbprint

    def server_context(self) -> ssl.SSLContext:
        """Return settings that require a client certificate, as API Gateway's custom domains do."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.server)
        context.load_verify_locations(self.truststore)
        context.verify_mode = ssl.CERT_REQUIRED
        return context


def _create() -> dict[str, bytes]:
    """Return new files by name."""
    authority = issue("Gatehouse on this laptop", [], None)
    local = [x509.DNSName("localhost")] + [x509.IPAddress(ip_address(text)) for text in ("127.0.0.1", "::1")]
    server = issue("localhost", local, authority, ExtendedKeyUsageOID.SERVER_AUTH)
    client_name = [x509.DNSName(CLIENT_NAME)]
    client = issue("service-client-mtls", client_name, authority, ExtendedKeyUsageOID.CLIENT_AUTH)
    svid = issue("workload", [x509.UniformResourceIdentifier(SPIFFE_ID)], authority, ExtendedKeyUsageOID.CLIENT_AUTH)
    self_signed = issue("service-client-self-signed", [], None, ExtendedKeyUsageOID.CLIENT_AUTH)
    public = [each.certificate.public_bytes(Encoding.PEM) for each in (authority, self_signed)]
    return {
        "authority.pem": public[0],
        "truststore.pem": b"".join(public),
        "server.pem": server.to_pem(),
        "client.pem": client.to_pem(),
        "svid.pem": svid.to_pem(),
        "self-signed-client.pem": self_signed.to_pem(),
    }


def issue(
    common_name: str,
    names: Sequence[x509.GeneralName],
    issuer: Issued | None,
    usage: x509.ObjectIdentifier | None = None,
) -> Issued:
    """Issue a certificate. Default: self-signed, and without a usage a CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + _LIFETIME)
    )
    signer = issuer.key if issuer else key
    builder = with_extensions(builder, key.public_key(), signer.public_key(), usage)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return Issued(builder.sign(signer, hashes.SHA256()), key)


def with_extensions(
    builder: x509.CertificateBuilder,
    own: ec.EllipticCurvePublicKey,
    issuer: ec.EllipticCurvePublicKey,
    usage: x509.ObjectIdentifier | None = None,
) -> x509.CertificateBuilder:
    """Add the extensions of RFC 5280, 4.2.1. Without a usage the certificate is a CA.

    Since Python 3.13, `ssl.create_default_context` rejects certificates that lack them.
    """
    is_authority = usage is None
    key_usage = x509.KeyUsage(
        digital_signature=not is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        encipher_only=False,
        decipher_only=False,
    )
    builder = (
        builder.add_extension(x509.BasicConstraints(is_authority, None), critical=True)
        .add_extension(key_usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(own), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer), critical=False)
    )
    return builder if usage is None else builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)


def _replace(directory: Path, files: dict[str, bytes]) -> None:
    """Replace the directory as a whole, so that no process loads parts of two sets."""
    made = Path(tempfile.mkdtemp(prefix=f"{directory.name}-", dir=directory.parent))
    for name, content in files.items():
        (made / name).write_bytes(content)
        (made / name).chmod(0o600)
    if directory.exists():
        directory.rename(made.with_name(f"{made.name}-old"))
    made.rename(directory)
