"""Proof that the subject of an imported client can match: a certificate that has it."""

from __future__ import annotations

import warnings
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from functions.shared.clients import distinguished_names
from functions.shared.clients.certificate_names import CertificateName, NameKind

if TYPE_CHECKING:
    from cryptography import x509

    from functions.shared.clients.distinguished_names import DistinguishedName

_BEGINNING: Final = datetime(2026, 1, 1, tzinfo=UTC)


def why_no_match(subject: object) -> str:
    """Return why no certificate can match a subject; empty once one does that is made here."""
    if not isinstance(subject, str):
        return "it is not a text"
    try:
        name = CertificateName(NameKind.SUBJECT_DN, subject)
        is_matched = name.is_in(_certificate_of(distinguished_names.parse(subject)))
    except ValueError as error:
        return str(error)
    return "" if is_matched else "a certificate with this subject does not match"


def _certificate_of(subject: DistinguishedName) -> x509.Certificate:
    """Make a certificate with a subject.

    Raises:
        ValueError: no certificate can have it.
    """
    # Imported where it is needed: the command line starts faster without it.
    from cryptography import x509  # noqa: PLC0415 - see above
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415 - see above
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415 - see above
    from cryptography.x509.name import _ASN1Type  # noqa: PLC0415 - see above

    def attribute(oid: str, value: str | bytes) -> x509.NameAttribute[str | bytes]:
        kind = _ASN1Type.UTF8String if isinstance(value, str) else _ASN1Type.BitString
        try:
            return x509.NameAttribute(x509.ObjectIdentifier(oid), value, kind, _validate=False)
        except TypeError as error:
            raise ValueError(str(error)) from error

    key = ec.generate_private_key(ec.SECP256R1())
    with warnings.catch_warnings(action="ignore"):  # of lengths that some authorities exceed
        name = x509.Name(
            x509.RelativeDistinguishedName(attribute(*each) for each in relative_name)
            for relative_name in subject
        )
        unsigned = x509.CertificateBuilder(
            name, name, key.public_key(), 1, _BEGINNING, _BEGINNING + timedelta(days=1)
        )
        made = unsigned.sign(key, hashes.SHA256())
        return x509.load_der_x509_certificate(made.public_bytes(serialization.Encoding.DER))
