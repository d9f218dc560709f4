"""The registered name of a client's certificate (tls_client_auth). RFC 8705, 2.1.2.

`client.py` stores the name in a client's record, and `authentication/mutual_tls.py` compares the
connection's certificate with it. API Gateway verifies the chain. The truststore must not contain a
public certificate authority, which would issue certificates with this name to others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from ..clients import distinguished_names
from ..storage.dynamodb_items import text

if TYPE_CHECKING:
    from cryptography.x509 import Certificate


class CertificateNameKind(StrEnum):
    """The part of the certificate: `tls_client_auth_subject_dn` and so on in RFC 8705."""

    SUBJECT_DN = "subject_dn"
    SAN_DNS = "san_dns"
    SAN_URI = "san_uri"
    SAN_IP = "san_ip"
    SAN_EMAIL = "san_email"


@dataclass(frozen=True, slots=True)
class CertificateName:
    """A name that a client's certificate must have; a distinguished name as in RFC 4514."""

    kind: CertificateNameKind
    value: str

    def __post_init__(self) -> None:
        if not self.value:
            raise ValueError("A certificate's name is not empty.")
        _normal(self.kind, self.value)

    def is_in(self, certificate: Certificate) -> bool:
        """Return whether the certificate has exactly this name, alone or among others.

        Raises:
            ValueError: its names cannot be read.
        """
        return _normal(self.kind, self.value) in _names(self.kind, certificate)

    def to_record(self) -> dict[str, object]:
        """Return the name as part of a client's record."""
        return {"kind": self.kind.value, "value": self.value}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> CertificateName:
        """Read a record.

        Raises:
            KeyError, TypeError, ValueError: it is malformed.
        """
        return cls(CertificateNameKind(record["kind"]), text(record["value"]))


def _normal(kind: CertificateNameKind, value: str) -> object:
    if kind is CertificateNameKind.SUBJECT_DN:
        try:
            return distinguished_names.parse(value)
        except ValueError as error:
            raise ValueError(f"The subject_dn cannot be read: {error}.") from error
    return ip_address(value) if kind is CertificateNameKind.SAN_IP else value


def _names(kind: CertificateNameKind, certificate: Certificate) -> Iterable[object]:
    if kind is CertificateNameKind.SUBJECT_DN:
        try:
            return [distinguished_names.read(certificate.subject)]
        except TypeError as error:  # a BIT STRING, which cryptography does not expect
            raise ValueError("a certificate whose subject cannot be read") from error
    # Imported here because it is slow to import and few clients have certificates.
    from cryptography import x509

    general_names: Mapping[CertificateNameKind, Any] = {
        CertificateNameKind.SAN_DNS: x509.DNSName,
        CertificateNameKind.SAN_URI: x509.UniformResourceIdentifier,
        CertificateNameKind.SAN_IP: x509.IPAddress,
        CertificateNameKind.SAN_EMAIL: x509.RFC822Name,
    }
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    except (x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise ValueError("a certificate whose names cannot be read") from error
    return names.get_values_for_type(general_names[kind])
