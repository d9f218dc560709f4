"""Describe the certificate that a client has shown, as API Gateway describes one."""

from __future__ import annotations

import ssl

from local.gateway.messages import ClientCertificate

__all__ = ["certificate_of"]

_SHORT_NAMES = {
    "commonName": "CN",
    "countryName": "C",
    "localityName": "L",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "stateOrProvinceName": "ST",
}


def certificate_of(connection: ssl.SSLSocket) -> ClientCertificate | None:
    """Return the client's certificate, or None if it has shown none."""
    der = connection.getpeercert(binary_form=True)
    described = connection.getpeercert()
    if not der or not described:
        return None
    return ClientCertificate(
        pem=ssl.DER_cert_to_PEM_cert(der),
        subject=_name(described["subject"]),
        issuer=_name(described["issuer"]),
        serial_number=_serial_number(str(described["serialNumber"])),
        not_before=str(described["notBefore"]),
        not_after=str(described["notAfter"]),
    )


def _name(parts: object) -> str:
    """Write a distinguished name as API Gateway does: the last part first."""
    assert isinstance(parts, tuple)  # noqa: S101  what the standard library gives
    pairs = [f"{_SHORT_NAMES.get(kind, kind)}={value}" for part in parts for kind, value in part]
    return ",".join(reversed(pairs))


def _serial_number(digits: str) -> str:
    return ":".join(digits[at : at + 2] for at in range(0, len(digits), 2)).lower()
