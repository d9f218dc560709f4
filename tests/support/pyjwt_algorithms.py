"""Algorithms that PyJWT lacks: the name Ed25519 (RFC 9864, 2.2) and ML-DSA (RFC 9964)."""

import json
from contextlib import suppress
from typing import Any

import jwt
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import mldsa
from jwt.algorithms import Algorithm, OKPAlgorithm
from jwt.utils import base64url_decode

from tests.support.tokens import encode


class _MlDsa(Algorithm):
    """ML-DSA for PyJWT, which lacks it. RFC 9964."""

    def prepare_key(self, key: Any) -> Any:
        return key

    def sign(self, msg: bytes, key: Any) -> bytes:
        signature: bytes = key.sign(msg)
        return signature

    def verify(self, msg: bytes, key: Any, sig: bytes) -> bool:
        try:
            key.verify(sig, msg)
        except InvalidSignature:
            return False
        return True

    @staticmethod
    def to_jwk(key_obj: Any, as_dict: bool = False) -> Any:  # noqa: FBT002, ARG004 - PyJWT's interface
        raw = key_obj.public_bytes_raw()
        alg = {1312: "ML-DSA-44", 1952: "ML-DSA-65", 2592: "ML-DSA-87"}[len(raw)]
        return {"kty": "AKP", "alg": alg, "pub": encode(raw)}

    @staticmethod
    def from_jwk(jwk: Any) -> Any:
        document = jwk if isinstance(jwk, dict) else json.loads(jwk)
        return ML_DSA_KEYS[document["alg"]][1].from_public_bytes(base64url_decode(document["pub"]))


ML_DSA_KEYS: dict[str, tuple[Any, Any]] = {
    "ML-DSA-44": (mldsa.MLDSA44PrivateKey, mldsa.MLDSA44PublicKey),
    "ML-DSA-65": (mldsa.MLDSA65PrivateKey, mldsa.MLDSA65PublicKey),
    "ML-DSA-87": (mldsa.MLDSA87PrivateKey, mldsa.MLDSA87PublicKey),
}
for _name, _algorithm in {"Ed25519": OKPAlgorithm(), **{name: _MlDsa() for name in ML_DSA_KEYS}}.items():
    with suppress(ValueError):
        jwt.register_algorithm(_name, _algorithm)


def algorithm(alg: str) -> Any:
    """Return PyJWT's implementation of an algorithm."""
    return jwt.get_algorithm_by_name(alg)
