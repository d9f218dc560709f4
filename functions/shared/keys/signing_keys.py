"""The secret with the private keys of the key ring: PKCS #8 in PEM, by `kid`."""

from __future__ import annotations

import json
from binascii import a2b_base64
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa

from .key_ring import UnusableKeyRingError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

    from .signatures import PrivateKey


VERSION = 1

_VERSION = b"\x00"
_RSA = bytes.fromhex("06092a864886f70d0101010500")
"""The algorithm identifier rsaEncryption. RFC 8017, A.1."""
_SEQUENCE = 0x30
_LONGEST_SHORT = 0x7F


def to_json(private_keys: Mapping[str, str], made_at: Mapping[str, int] | None = None) -> str:
    """Return the secret for private keys, PEM by `kid`, and their creation times if known."""
    document = {"version": VERSION, "private_keys": dict(private_keys)}
    return json.dumps({**document, "made_at": dict(made_at)} if made_at else document)


def from_json(text: str | None) -> dict[str, str]:
    """Return the private keys, PEM by `kid`. None, a secret without value, is empty.

    Raises:
        UnusableKeyRingError: malformed or of another version.
    """
    return _read(text)[0]


def times_from_json(text: str | None) -> dict[str, int]:
    """Return the known creation times of private keys, by `kid`.

    Raises:
        UnusableKeyRingError: as `from_json`.
    """
    return _read(text)[1]


def _read(text: str | None) -> tuple[dict[str, str], dict[str, int]]:
    if text is None:
        return {}, {}
    try:
        return _from_document(json.loads(text))
    except (KeyError, TypeError, ValueError):
        # Not chained: the exception would carry private keys.
        raise UnusableKeyRingError(reason="the signing keys are malformed") from None


def _from_document(document: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, int]]:
    private_keys = dict(document["private_keys"])
    if document["version"] != VERSION or not all(isinstance(pem, str) for pem in private_keys.values()):
        raise ValueError
    return private_keys, document.get("made_at", {})


def to_pem(private_key: PrivateKeyTypes) -> str:
    """Return a private key in PEM."""
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    pem = private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem.decode("ascii")


def from_pem(pem: str) -> PrivateKey:
    """Load a private key that `to_pem` wrote.

    The consistency check of an RSA key takes 35 ms. It was made when the key was generated, and a
    cold start does not repeat it.

    Raises:
        ValueError: it is not a private key in PEM.
    """
    return _read_rsa(pem) or _load(pem)


def _load(pem: str) -> PrivateKey:
    # Imported here because the import takes 10 ms, and most keys are RSA keys.
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(pem.encode(), password=None, unsafe_skip_rsa_key_validation=True)
    except (TypeError, ValueError, UnsupportedAlgorithm):
        # Not chained, as above.
        raise ValueError("not a private key in PEM") from None
    return cast("PrivateKey", key)


def _read_rsa(pem: str) -> rsa.RSAPrivateKey | None:
    """Read an RSA key in PKCS #8 (RFC 5958, 2; RFC 8017, A.1.2). None for anything else."""
    begin, _, rest = pem.strip().partition("\n")
    try:
        if begin != "-----BEGIN PRIVATE KEY-----":
            return None
        version, algorithm, octets = _sequence(a2b_base64(rest.removesuffix("-----END PRIVATE KEY-----")))
        if (version, algorithm) != (_VERSION, _RSA):
            return None
        _, n, e, d, p, q, dp, dq, qi = (int.from_bytes(each) for each in _sequence(octets))
        numbers = rsa.RSAPrivateNumbers(p, q, d, dp, dq, qi, rsa.RSAPublicNumbers(e, n))
        return numbers.private_key(unsafe_skip_rsa_key_validation=True)
    except (IndexError, ValueError):
        return None


def _sequence(der: bytes) -> list[bytes]:
    """Return the contents of the members of a sequence in DER. X.690, 8.1."""
    content, end = _content(der, 0)
    if der[0] != _SEQUENCE or end != len(der):
        raise ValueError
    members, at = [], 0
    while at < len(content):
        member, at = _content(content, at)
        members.append(member)
    return members


def _content(der: bytes, at: int) -> tuple[bytes, int]:
    """Return the content of the value that begins at `at`, and its end."""
    length, begin = der[at + 1], at + 2
    if length > _LONGEST_SHORT:
        size = length - _LONGEST_SHORT - 1
        length, begin = int.from_bytes(der[begin : begin + size]), begin + size
    end = begin + length
    if end > len(der):
        raise ValueError
    return der[begin:end], end
