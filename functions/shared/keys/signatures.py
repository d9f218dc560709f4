"""Private keys that sign JWTs, and their public keys as JWKs. RFC 7518, 3 and 6; RFC 8037, 2 and 3.

cryptography's modules for curves are imported where a key needs them: most key rings have RSA keys.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from authorizer import base64url

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

    PrivateKey = rsa.RSAPrivateKey | EllipticCurvePrivateKey | Ed25519PrivateKey
    PublicKey = rsa.RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey


Sign = Callable[[bytes], bytes]
"""Returns the signature of a message, in the form that a JWT has."""

_P256_BYTES = 32
_PKCS1 = padding.PKCS1v15()
_SHA256 = hashes.SHA256()
_PSS = padding.PSS(padding.MGF1(_SHA256), padding.PSS.DIGEST_LENGTH)


def make_sign(alg: str, key: PrivateKey) -> Sign:
    """Return the function that signs with a key by an algorithm that fits the key."""
    return _ALGORITHMS[alg](key)


def _rs256(key: Any) -> Sign:
    return lambda message: key.sign(message, _PKCS1, _SHA256)


def _ps256(key: Any) -> Sign:
    return lambda message: key.sign(message, _PSS, _SHA256)


def _es256(key: Any) -> Sign:
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA

    algorithm = ECDSA(_SHA256)
    return lambda message: es256_from_der(key.sign(message, algorithm))


def _eddsa(key: Any) -> Sign:
    sign: Sign = key.sign
    return sign


_ALGORITHMS: Mapping[str, Callable[[Any], Sign]] = {"RS256": _rs256, "PS256": _ps256, "ES256": _es256, "EdDSA": _eddsa}


def es256_from_der(signature: bytes) -> bytes:
    """Return a signature in DER as the concatenation of RFC 7518, 3.4."""
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    r, s = decode_dss_signature(signature)
    return r.to_bytes(_P256_BYTES) + s.to_bytes(_P256_BYTES)


def to_public_jwk(key: PublicKey) -> dict[str, str]:
    """Return a public key of a supported algorithm as a JWK, without other members.

    Raises:
        ValueError: it is a key for another algorithm.
    """
    if isinstance(key, rsa.RSAPublicKey):
        numbers = key.public_numbers()
        return {"kty": "RSA", "n": _unsigned(numbers.n), "e": _unsigned(numbers.e)}

    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if isinstance(key, Ed25519PublicKey):
        return {"kty": "OKP", "crv": "Ed25519", "x": base64url.encode(key.public_bytes_raw())}
    if not isinstance(getattr(key, "curve", None), SECP256R1):
        raise ValueError("not an RSA key, nor one on P-256 or Ed25519")  # noqa: TRY004 - the value of a secret
    point = key.public_numbers()
    x, y = (base64url.encode(each.to_bytes(_P256_BYTES)) for each in (point.x, point.y))
    return {"kty": "EC", "crv": "P-256", "x": x, "y": y}


def _unsigned(number: int) -> str:
    """Encode an integer in its shortest form. RFC 7518, 2, Base64urlUInt."""
    return base64url.encode(number.to_bytes((number.bit_length() + 7) // 8))
