"""The name in its certificate that a client is registered under (tls_client_auth). RFC 8705, 2.1.2.

The chain is API Gateway's business: a truststore that holds a public authority would let anyone in
who gets a certificate with this name from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from functions.shared.clients import distinguished_names
from functions.shared.storage import dynamodb_items

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cryptography.x509 import Certificate


class NameKind(StrEnum):
    """Where in the certificate the name stands; each is `tls_client_auth_…` in RFC 8705."""

    SUBJECT_DN = "subject_dn"
    SAN_DNS = "san_dns"
    SAN_URI = "san_uri"
    SAN_IP = "san_ip"
    SAN_EMAIL = "san_email"


@dataclass(frozen=True, slots=True)
class CertificateName:
    """A name that a client's certificate must carry; a distinguished name in RFC 4514's form."""

    kind: NameKind
    value: str

    def __post_init__(self) -> None:
        if not self.value:
            raise ValueError("A certificate's name is not empty.")
        _normal(self.kind, self.value)

    def is_in(self, certificate: Certificate) -> bool:
        """Whether the certificate carries exactly this name, among others of its kind perhaps.

        Raises:
            ValueError: its names cannot be read.
        """
        return _normal(self.kind, self.value) in _names(self.kind, certificate)


def _normal(kind: NameKind, value: str) -> object:
    if kind is NameKind.SUBJECT_DN:
        try:
            return distinguished_names.parse(value)
        except ValueError as error:
            raise ValueError(f"The subject_dn cannot be read: {error}.") from error
    return ip_address(value) if kind is NameKind.SAN_IP else value


def _names(kind: NameKind, certificate: Certificate) -> Iterable[object]:
    if kind is NameKind.SUBJECT_DN:
        try:
            return [distinguished_names.read(certificate.subject)]
        except TypeError as error:  # a BIT STRING where cryptography expects none
            raise ValueError("a certificate whose subject cannot be read") from error
    # Imported where it is needed: few clients have certificates, and it is slow to import.
    from cryptography import x509

    general_names: Mapping[NameKind, Any] = {
        NameKind.SAN_DNS: x509.DNSName,
        NameKind.SAN_URI: x509.UniformResourceIdentifier,
        NameKind.SAN_IP: x509.IPAddress,
        NameKind.SAN_EMAIL: x509.RFC822Name,
    }
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    except (x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise ValueError("a certificate whose names cannot be read") from error
    return names.get_values_for_type(general_names[kind])


def to_record(name: CertificateName | None) -> dict[str, object] | None:
    """Render a name as part of a client's record."""
    return None if name is None else {"kind": name.kind.value, "value": name.value}


def from_record(record: Mapping[str, Any] | None) -> CertificateName | None:
    """Read what `to_record` wrote.

    Raises:
        KeyError, TypeError, ValueError: it is malformed.
    """
    if record is None:
        return None
    return CertificateName(NameKind(record["kind"]), dynamodb_items.text(record["value"]))
