"""The certificate with which a client opened its connection (mutual TLS). RFC 8705.

API Gateway has checked by then that the client holds the private key and that the chain ends in the
truststore. What is read here is the certificate itself, never the texts beside it in the event: one
source, and no second way to write a name.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography import x509


_PEM = re.compile(
    r"\s*-----BEGIN CERTIFICATE-----\s([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----\s*"
)


@dataclass(frozen=True)
class ClientCertificate:
    """A client's certificate, DER."""

    der: bytes = field(repr=False)

    @cached_property
    def thumbprint(self) -> str:
        """The certificate's SHA-256 thumbprint, `x5t#S256`. RFC 8705, 3.1."""
        return urlsafe_b64encode(sha256(self.der).digest()).rstrip(b"=").decode()

    @cached_property
    def x509(self) -> x509.Certificate:
        """The certificate taken apart.

        Raises:
            ValueError: it is none.
        """
        # Imported here because most requests bring no certificate, and few need more of one than
        # its thumbprint.
        from cryptography.x509 import InvalidVersion, load_der_x509_certificate

        try:
            return load_der_x509_certificate(self.der)
        except InvalidVersion as error:
            raise ValueError("a certificate of an unknown version") from error


def from_pem(pem: str) -> ClientCertificate:
    """Read one certificate in PEM. RFC 7468, 5.

    Raises:
        ValueError: there is none, or anything beside it: of two certificates nobody can tell which
            one the client holds the key of.
    """
    match = _PEM.fullmatch(pem)
    if match is None:
        raise ValueError("not exactly one certificate in PEM")
    try:
        return ClientCertificate(b64decode("".join(match[1].split()), validate=True))
    except binascii.Error as error:
        raise ValueError("a certificate's PEM is not base64") from error
