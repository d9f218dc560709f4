"""Private keys that sign JWTs: the secret that stores them, their signatures, and their public keys as JWKs.

The secret has them as PKCS #8 in PEM, by `kid`. RFC 7518, 3 and 6; RFC 8037, 2 and 3.

cryptography's modules for curves are imported where a key needs them: most key rings have RSA keys.
"""

from __future__ import annotations

import json
from binascii import a2b_base64
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from authorizer import base64url

from .key_ring import UnusableKeyRingError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

    PrivateKey = rsa.RSAPrivateKey | EllipticCurvePrivateKey | Ed25519PrivateKey
    PublicKey = rsa.RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey


VERSION = 1

Sign = Callable[[bytes], bytes]
"""Returns the signature of a message, in the form that a JWT has."""

_HASHES: Mapping[str, hashes.HashAlgorithm] = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
_MU_BYTES = 64
_CURVES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
_ECDSA_BYTES = {"ES256": 32, "ES384": 48, "ES512": 66}
_ML_DSA_OF_SIZE = {1312: "ML-DSA-44", 1952: "ML-DSA-65", 2592: "ML-DSA-87"}
"""The parameters of ML-DSA by the size of a public key in bytes. FIPS 204, table 2."""

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
