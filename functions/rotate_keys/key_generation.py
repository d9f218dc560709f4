"""New signing keys."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt import get_algorithm_by_name

from functions.shared.keys.key_ring import IN_SECRETS_MANAGER, public_members, thumbprint
from functions.shared.keys.signing_keys import to_pem

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jwt.algorithms import AllowedPrivateKeys, AllowedPublicKeys

_PUBLIC_EXPONENT: Final = 65_537
_RSA_BITS: Final = 2048


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key pair: the public half as a JWK, the private half as PKCS #8 in PEM.

    The private half is empty where KMS has it; `signer` says so, as a ring's key does.
    """

    alg: str
    public_jwk: dict[str, str]
    private_pem: str = field(default="", repr=False)
    signer: str = IN_SECRETS_MANAGER

    @property
    def kid(self) -> str:
        """The key's id: its RFC 7638 thumbprint."""
        return thumbprint(self.public_jwk)


def generate_key(alg: str) -> NewKey:
    """Make a key for one of the algorithms that we sign with. RFC 7518, 3.1, and RFC 8037, 3.1."""
    private_key = _GENERATORS[alg]()
    return NewKey(alg, to_public_jwk(alg, private_key.public_key()), to_pem(private_key))


def to_public_jwk(alg: str, public_key: AllowedPublicKeys) -> dict[str, str]:
    """Return what makes up a public key, as a JWK."""
    return public_members(get_algorithm_by_name(alg).to_jwk(public_key, as_dict=True))


def _generate_rsa() -> AllowedPrivateKeys:
    return rsa.generate_private_key(_PUBLIC_EXPONENT, _RSA_BITS)


def _generate_p256() -> AllowedPrivateKeys:
    return ec.generate_private_key(ec.SECP256R1())


_GENERATORS: Final[Mapping[str, Callable[[], AllowedPrivateKeys]]] = {
    "RS256": _generate_rsa,
    "PS256": _generate_rsa,
    "ES256": _generate_p256,
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
}
