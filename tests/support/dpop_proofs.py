"""DPoP proofs, good and bad, written by PyJWT."""

from functools import cache
from typing import Any
from uuid import uuid4

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import AllowedPrivateKeys

from tests.support.memory_server import TOKEN_URL
from tests.support.pyjwt_algorithms import ML_DSA_KEYS, algorithm
from tests.support.server import NOW

CURVES = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}


def private_key(alg: str = "ES256", number: int = 1) -> AllowedPrivateKeys:
    """Return one of a few keys for an algorithm, each made once per test run."""
    return _made(alg, number)


@cache
def _made(alg: str, number: int) -> AllowedPrivateKeys:
    if alg in ML_DSA_KEYS:
        made: AllowedPrivateKeys = ML_DSA_KEYS[alg][0].generate()
        return made
    if alg in CURVES:
        return ec.generate_private_key(CURVES[alg])
    if alg in {"EdDSA", "Ed25519"}:
        return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(65_537, 2048)


def public_jwk(alg: str = "ES256", number: int = 1) -> dict[str, Any]:
    """Return the public half of `private_key`."""
    key = private_key(alg, number).public_key()
    jwk: dict[str, Any] = algorithm(alg).to_jwk(key, as_dict=True)
    unneeded = {"key_ops", "use"} if jwk["kty"] == "AKP" else {"key_ops", "alg", "use"}
    return {name: jwk[name] for name in jwk if name not in unneeded}


def proof(
    alg: str = "ES256", *, number: int = 1, header: dict[str, Any] | None = None, now: float = NOW, **claims: Any
) -> str:
    """Write a proof for the token endpoint."""
    said = {"htm": "POST", "htu": TOKEN_URL, "iat": now, "jti": str(uuid4()), **claims}
    headers = {"typ": "dpop+jwt", "jwk": public_jwk(alg, number), **(header or {})}
    return jwt.encode(
        {name: value for name, value in said.items() if value is not None},
        private_key(alg, number),
        alg,
        headers=headers,
    )
