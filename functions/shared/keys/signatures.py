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

_HASHES: Mapping[str, hashes.HashAlgorithm] = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
_MU_BYTES = 64
_CURVES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
_ECDSA_BYTES = {"ES256": 32, "ES384": 48, "ES512": 66}
_ML_DSA_OF_SIZE = {1312: "ML-DSA-44", 1952: "ML-DSA-65", 2592: "ML-DSA-87"}
"""The parameters of ML-DSA by the size of a public key in bytes. FIPS 204, table 2."""


def make_sign(alg: str, key: Any) -> Sign:
    """Return the function that signs with a key by an algorithm that fits the key."""
    scheme, digest = alg[:2], _HASHES.get(alg[2:])
    if digest is None:  # the algorithm has no digest of its own: it signs the message itself
        sign: Sign = key.sign
        return sign
    if scheme == "ES":
        from cryptography.hazmat.primitives.asymmetric.ec import ECDSA

        algorithm = ECDSA(digest)
        return lambda message: ecdsa_from_der(alg, key.sign(message, algorithm))
    padded = padding.PKCS1v15() if scheme == "RS" else padding.PSS(padding.MGF1(digest), padding.PSS.DIGEST_LENGTH)
    return lambda message: key.sign(message, padded, digest)


def digest(alg: str, message: bytes) -> bytes:
    """Return the digest of a message that an algorithm signs."""
    hashed = hashes.Hash(_HASHES[alg[2:]])
    hashed.update(message)
    return hashed.finalize()


def external_mu(public_key: bytes, message: bytes) -> bytes:
    """Return the digest of a message that ML-DSA signs, with an empty context. FIPS 204, 6.2."""
    return _shake256(_shake256(public_key) + b"\x00\x00" + message)


def _shake256(data: bytes) -> bytes:
    hashed = hashes.Hash(hashes.SHAKE256(_MU_BYTES))
    hashed.update(data)
    return hashed.finalize()


def ecdsa_from_der(alg: str, signature: bytes) -> bytes:
    """Return a signature in DER as the concatenation of RFC 7518, 3.4."""
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    size = _ECDSA_BYTES[alg]
    return b"".join(number.to_bytes(size) for number in decode_dss_signature(signature))


def to_public_jwk(key: PublicKey) -> dict[str, str]:
    """Return a public key of a supported algorithm as a JWK, without other members.

    Raises:
        ValueError: it is a key for another algorithm.
    """
    if isinstance(key, rsa.RSAPublicKey):
        numbers = key.public_numbers()
        return {"kty": "RSA", "n": _unsigned(numbers.n), "e": _unsigned(numbers.e)}

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if isinstance(key, Ed25519PublicKey):
        return {"kty": "OKP", "crv": "Ed25519", "x": base64url.encode(key.public_bytes_raw())}
    if hasattr(key, "public_bytes_raw"):
        raw = key.public_bytes_raw()
        if len(raw) in _ML_DSA_OF_SIZE:  # RFC 9964, 3
            return {"kty": "AKP", "alg": _ML_DSA_OF_SIZE[len(raw)], "pub": base64url.encode(raw)}
    curve = getattr(key, "curve", None)
    if curve is None or curve.name not in _CURVES:
        raise ValueError("not a key of RSA, ML-DSA or Ed25519, nor on P-256, P-384 or P-521")
    point, size = key.public_numbers(), (curve.key_size + 7) // 8
    x, y = (base64url.encode(each.to_bytes(size)) for each in (point.x, point.y))
    return {"kty": "EC", "crv": _CURVES[curve.name], "x": x, "y": y}


def _unsigned(number: int) -> str:
    """Encode an integer in its shortest form. RFC 7518, 2, Base64urlUInt."""
    return base64url.encode(number.to_bytes((number.bit_length() + 7) // 8))
