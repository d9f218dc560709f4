"""The secret with the private keys of the key ring: PKCS #8 in PEM, by `kid`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from .key_ring import UnusableKeyRingError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

    from .signatures import PrivateKey


VERSION = 1


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
    pem = private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem.decode("ascii")


def from_pem(pem: str) -> PrivateKey:
    """Load a private key that `to_pem` wrote.

    The consistency check of an RSA key takes 35 ms. It was made when the key was generated, and a
    cold start does not repeat it.

    Raises:
        ValueError: it is not a private key in PEM.
    """
    try:
        key = load_pem_private_key(pem.encode(), password=None, unsafe_skip_rsa_key_validation=True)
    except (TypeError, ValueError, UnsupportedAlgorithm):
        # Not chained, as above.
        raise ValueError("not a private key in PEM") from None
    return cast("PrivateKey", key)
