"""Base64url in its one canonical form (RFC 4648 sections 3.5 and 5, RFC 7515 section 2)."""

from binascii import a2b_base64

from authorizer.errors import TokenRefused
from authorizer.reasons import Reason

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_TO_STANDARD = bytes.maketrans(b"-_", b"+/")
# The characters that may end a group of two or three: those whose unused bits are zero.
_LAST_CHARACTERS = {2: b"AQgw", 3: b"AEIMQUYcgkosw048"}


def decode(segment: bytes) -> bytes:
    """Decode base64url without padding, whitespace or spare bits: one text for the same bytes.

    Raises:
        TokenRefused: the segment is not canonical, with the reason.
    """
    if foreign := segment.translate(None, _ALPHABET):
        raise TokenRefused(_reason(foreign))
    rest = len(segment) % 4
    if rest == 1:
        raise TokenRefused(Reason.SEGMENT_LENGTH)
    if rest and segment[-1] not in _LAST_CHARACTERS[rest]:
        raise TokenRefused(Reason.SEGMENT_SPARE_BITS)
    return a2b_base64(segment.translate(_TO_STANDARD) + b"=="[: -rest % 4])


def _reason(foreign: bytes) -> Reason:
    if foreign.strip() != foreign:
        return Reason.SEGMENT_WHITESPACE
    if b"=" in foreign:
        return Reason.SEGMENT_PADDED
    return Reason.SEGMENT_ALPHABET
