"""Keys that verify nothing: without a key, checking a signature takes as long as with one."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from authorizer.jwk import ALGORITHMS, VerificationKey, parse_key

if TYPE_CHECKING:
    from collections.abc import Mapping

_RSA_BLOCKS: Final = 8


@cache
def decoy_key(alg: str) -> VerificationKey:
    """Return a key for this algorithm that nobody can sign with."""
    return parse_key({**_jwk(alg), "kid": "decoy", "alg": alg}, ALGORITHMS)


def _jwk(alg: str) -> Mapping[str, object]:
    # Imported here because not every process needs a decoy.
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519
    from jwt.algorithms import ECAlgorithm, OKPAlgorithm

    if alg == "ES256":
        public_key = ec.generate_private_key(ec.SECP256R1()).public_key()
        return ECAlgorithm.to_jwk(public_key, as_dict=True)
    if alg == "EdDSA":
        return OKPAlgorithm.to_jwk(ed25519.Ed25519PrivateKey.generate().public_key(), as_dict=True)
    # Making an RSA key takes too long, and one that is no product of two primes serves as well.
    modulus = bytearray(b"".join(sha256(bytes([part])).digest() for part in range(_RSA_BLOCKS)))
    modulus[0] |= 0x80
    modulus[-1] |= 0x01
    return {"kty": "RSA", "n": urlsafe_b64encode(modulus).rstrip(b"=").decode(), "e": "AQAB"}
