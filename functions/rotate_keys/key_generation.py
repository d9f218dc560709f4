"""New signing keys."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from functions.shared.key_ring import thumbprint
from functions.shared.signing_keys import to_pem

_PUBLIC_EXPONENT: Final = 65_537
_RSA_BITS: Final = 2048


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key pair: the public half as a JWK, the private half as PKCS #8 in PEM."""

    alg: str
    public_jwk: dict[str, str]
    private_pem: str = field(repr=False)

    @property
    def kid(self) -> str:
        """The key's id: its RFC 7638 thumbprint."""
        return thumbprint(self.public_jwk)


def generate_rsa_key() -> NewKey:
    """Make a key for RS256."""
    private_key = rsa.generate_private_key(_PUBLIC_EXPONENT, _RSA_BITS)
    jwk = RSAAlgorithm.to_jwk(private_key.public_key(), as_dict=True)
    public_jwk = {name: jwk[name] for name in ("kty", "e", "n")}
    return NewKey("RS256", public_jwk, to_pem(private_key))
