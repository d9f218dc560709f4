"""Canonical base64url (RFC 4648, 3.5 and 5; RFC 7515, 2), and PEM certificates (RFC 7468, 5)."""

import re
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64

from .errors import InvalidTokenError, Reason

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
# Other characters become `!`, which is not base64: `+`, `/` and `=` are such characters, too.
_FOREIGN = bytes(set(range(256)).difference(_ALPHABET))
_TO_STANDARD = bytes.maketrans(b"-_" + _FOREIGN, b"+/" + b"!" * len(_FOREIGN))
# The last characters of a group of two or three. Their unused bits are zero.
_LAST_CHARACTERS = {2: b"AQgw", 3: b"AEIMQUYcgkosw048"}

_PEM = re.compile(r"\s*-----BEGIN CERTIFICATE-----\s([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----\s*")


def encode(raw: bytes) -> str:
    """Encode bytes in base64url without padding."""
    return b2a_base64(raw, newline=False).rstrip(b"=").decode().replace("+", "-").replace("/", "_")


def decode(segment: bytes) -> bytes:
    """Decode base64url without padding, whitespace or spare bits. Each value has one encoding.

    Raises:
        InvalidTokenError: the segment is not canonical, with the reason.
    """
    rest = len(segment) % 4
    if rest == 1 or (rest and segment[-1] not in _LAST_CHARACTERS[rest]):
        raise InvalidTokenError(_reason(segment))
    try:
        return a2b_base64(segment.translate(_TO_STANDARD) + b"=="[: -rest % 4], strict_mode=True)
    except Base64Error:
        raise InvalidTokenError(_reason(segment)) from None


def read_pem(pem: str) -> bytes:
    """Return one certificate in DER.

    Raises:
        ValueError: it is not one PEM certificate. With two, the caller's would be unknown.
    """
    match = _PEM.fullmatch(pem)
    if match is None:
        raise ValueError("not one certificate in PEM")
    try:
        return a2b_base64("".join(match[1].split()), strict_mode=True)
    except Base64Error as error:
        raise ValueError("a certificate's PEM is not base64") from error


def _reason(segment: bytes) -> Reason:
    foreign = segment.translate(None, _ALPHABET)
    if foreign.strip() != foreign:
        return Reason.SEGMENT_WHITESPACE
    if b"=" in foreign:
        return Reason.SEGMENT_PADDED
    if foreign:
        return Reason.SEGMENT_ALPHABET
    return Reason.SEGMENT_LENGTH if len(segment) % 4 == 1 else Reason.SEGMENT_SPARE_BITS
