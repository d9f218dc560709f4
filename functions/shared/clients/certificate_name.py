"""The registered name of a client's certificate (tls_client_auth). RFC 8705, 2.1.2.

`client.py` stores the name in a client's record, and `authentication/mutual_tls.py` compares the
connection's certificate with it. API Gateway verifies the chain. The truststore must not contain a
public certificate authority, which would issue certificates with this name to others.

Distinguished names are in text form, as RFC 4514 and its predecessors write them. Java's `getName()` and `openssl
-nameopt RFC2253` write types outside a short table as dotted object identifiers. Their values are `#` and the DER
encoding in hexadecimal. All are parsed into one form, which ignores the type of string in a certificate.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from ..storage.dynamodb_items import text

if TYPE_CHECKING:
    from cryptography.x509 import Certificate, Name

DistinguishedName = tuple[frozenset[tuple[str, str | bytes]], ...]
"""Relative names from the root on, each a set of dotted attribute types with their values."""

_ESCAPED = r'\\(?:[0-9A-Fa-f]{2}|[ "#+,;<=>\\])'
_ARC = "(?:0|[1-9][0-9]*)"
_ATTRIBUTE = re.compile(
    rf"""\ *+
    (?:(?:OID\.)?(?P<oid>(?:[01]\.[1-3]?[0-9]|2\.{_ARC})(?:\.{_ARC})*)
        |(?P<name>[A-Z][A-Z0-9-]*))\ *+=\ *+
    (?:\#(?P<der>(?:[0-9A-F]{{2}})++)
        |"(?P<quoted>(?:[^"\\]|{_ESCAPED})*+)"
        |(?P<text>(?!\#)(?:[^"+,;<>\\\0]|{_ESCAPED})*+))\ *+
    (?P<end>[,;+]|\Z)""",
    re.VERBOSE | re.IGNORECASE,
)
_CHARACTER = re.compile(r"\\([0-9A-Fa-f]{2})|\\(.)|([^\\])", re.DOTALL)

_TYPES: Mapping[str, tuple[str, ...]] = {
    "2.5.4.3": ("CN", "commonName"),
    "2.5.4.4": ("SN", "surname"),
    "2.5.4.5": ("serialNumber",),
    "2.5.4.6": ("C", "countryName"),
    "2.5.4.7": ("L", "localityName"),
    "2.5.4.8": ("ST", "S", "stateOrProvinceName"),
    "2.5.4.9": ("STREET", "streetAddress"),
    "2.5.4.10": ("O", "organizationName"),
    "2.5.4.11": ("OU", "organizationalUnitName"),
    "2.5.4.12": ("T", "title"),
    "2.5.4.13": ("description",),
    "2.5.4.15": ("businessCategory",),
    "2.5.4.16": ("postalAddress",),
    "2.5.4.17": ("postalCode",),
    "2.5.4.20": ("telephoneNumber",),
    "2.5.4.41": ("name",),
    "2.5.4.42": ("GN", "givenName"),
    "2.5.4.43": ("initials",),
    "2.5.4.44": ("generation", "generationQualifier"),
    "2.5.4.45": ("x500UniqueIdentifier",),
    "2.5.4.46": ("DNQ", "dnQualifier"),
    "2.5.4.65": ("pseudonym",),
    "2.5.4.72": ("role",),
    "2.5.4.97": ("organizationIdentifier",),
    "0.9.2342.19200300.100.1.1": ("UID", "userId"),
    "0.9.2342.19200300.100.1.3": ("mail",),
    "0.9.2342.19200300.100.1.25": ("DC", "domainComponent"),
    "1.2.840.113549.1.9.1": ("E", "email", "emailAddress"),
    "1.2.840.113549.1.9.2": ("unstructuredName",),
    "1.2.840.113549.1.9.8": ("unstructuredAddress",),
    "1.3.6.1.4.1.311.60.2.1.1": ("jurisdictionL", "jurisdictionLocalityName"),
    "1.3.6.1.4.1.311.60.2.1.2": ("jurisdictionST", "jurisdictionStateOrProvinceName"),
    "1.3.6.1.4.1.311.60.2.1.3": ("jurisdictionC", "jurisdictionCountryName"),
}
"""Names of attribute types in RFC 4514, OpenSSL and Java; they are not case-sensitive."""

_OIDS = {name.lower(): oid for oid, names in _TYPES.items() for name in names}

_BIT_STRING = 0x03
_ENCODINGS = {
    0x0C: "utf-8",  # UTF8String
    0x12: "ascii",  # NumericString
    0x13: "ascii",  # PrintableString
    0x14: "latin-1",  # T61String, by common practice
    0x16: "ascii",  # IA5String
    0x1A: "ascii",  # VisibleString
    0x1C: "utf-32-be",  # UniversalString
    0x1E: "utf-16-be",  # BMPString
}
_SHORT_LENGTH = 0x80


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
            return parse_distinguished_name(value)
        except ValueError as error:
            raise ValueError(f"The subject_dn cannot be read: {error}.") from error
    return ip_address(value) if kind is CertificateNameKind.SAN_IP else value


def _names(kind: CertificateNameKind, certificate: Certificate) -> Iterable[object]:
    if kind is CertificateNameKind.SUBJECT_DN:
        try:
            return [_read_distinguished_name(certificate.subject)]
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


def parse_distinguished_name(written: str) -> DistinguishedName:
    """Read a distinguished name.

    Raises:
        ValueError: malformed, a type whose name is unknown, or a value that is not a string.
    """
    relative_names: list[set[tuple[str, str | bytes]]] = [set()]
    position = 0
    while True:
        match = _ATTRIBUTE.match(written, position)
        if match is None:
            raise ValueError(f"not a distinguished name of RFC 4514 from character {position} on")
        relative_names[-1].add((_type(match), _value(match)))
        if not match["end"]:
            return tuple(map(frozenset, reversed(relative_names)))
        if match["end"] != "+":
            relative_names.append(set())
        position = match.end()


def _read_distinguished_name(name: Name) -> DistinguishedName:
    """Return the name in a certificate in the form that `parse_distinguished_name` returns."""
    return tuple(
        frozenset((attribute.oid.dotted_string, attribute.value) for attribute in relative_name)
        for relative_name in name.rdns
    )


def _type(match: re.Match[str]) -> str:
    if match["oid"]:
        return match["oid"]
    oid = _OIDS.get(match["name"].lower())
    if oid is None:
        raise ValueError(f"the attribute type {match['name']} is not known: write its object identifier")
    return oid


def _value(match: re.Match[str]) -> str | bytes:
    if match["der"]:
        return _decode(bytes.fromhex(match["der"]))
    if match["quoted"] is not None:
        return _unescape(list(_CHARACTER.finditer(match["quoted"])))
    characters = list(_CHARACTER.finditer(match["text"]))
    while characters and characters[-1][0] == " ":
        characters.pop()
    return _unescape(characters)


def _unescape(characters: list[re.Match[str]]) -> str:
    octets = (bytes.fromhex(each[1]) if each[1] else (each[2] or each[3]).encode() for each in characters)
    return b"".join(octets).decode()


def _decode(der: bytes) -> str | bytes:
    """Return the value of one DER-encoded string."""
    content = _content(der)
    if der[0] == _BIT_STRING and content[:1] == b"\0":
        return content[1:]
    if der[0] not in _ENCODINGS:
        raise ValueError(f"a value after # is not a string: its DER tag is {der[0]}")
    return content.decode(_ENCODINGS[der[0]])


def _content(der: bytes) -> bytes:
    length, start = (der[1], 2) if len(der) > 1 else (0, 2)
    if length > _SHORT_LENGTH:
        start = 2 + length - _SHORT_LENGTH
        length = int.from_bytes(der[2:start])
    if len(der) != start + length:
        raise ValueError("a value after # is not one DER-encoded string")
    return der[start:]
