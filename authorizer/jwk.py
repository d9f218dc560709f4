"""JSON Web Keys, read once into keys that are ready to verify (RFC 7517, RFC 7518, RFC 8037, RFC 9964)."""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from . import base64url, strict_json
from .errors import InvalidTokenError, KeySetUnavailableError, Reason
from .jws import ED25519_NAMES, MAX_KID_LENGTH, ML_DSA, with_both_names

MIN_RSA_BITS = 2048
MAX_RSA_BITS = 8192
MAX_EXPONENT_BITS = 32
_MIN_EXPONENT = 3
_ED25519_BYTES = 32
_ED25519_SIGNATURE_BYTES = 64
_ED25519_FIELD = 2**255 - 19
_ORDER_8_Y = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
_SMALL_ORDER_Y = (0, 1, _ED25519_FIELD - 1, _ORDER_8_Y, _ED25519_FIELD - _ORDER_8_Y)
_PRIVATE_MEMBERS = frozenset(("d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"))
_PUBLIC_MEMBERS = ("kty", "crv", "n", "e", "x", "y", "pub")
_HASHES: Mapping[str, hashes.HashAlgorithm] = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
_PKCS1 = padding.PKCS1v15()

# RFC 7518, 3.4: the curve fixes the algorithm.
_CURVES: Mapping[str, tuple[str, str, int]] = {
    "P-256": ("ES256", "SECP256R1", 32),
    "P-384": ("ES384", "SECP384R1", 48),
    "P-521": ("ES512", "SECP521R1", 66),
}
# FIPS 204, table 2: the bytes of a public key and of a signature.
_ML_DSA_BYTES: Mapping[object, tuple[int, int]] = {
    "ML-DSA-44": (1312, 2420),
    "ML-DSA-65": (1952, 3309),
    "ML-DSA-87": (2592, 4627),
}
_ML_DSA_SEED_BYTES = 32
_ALGORITHMS_OF: Mapping[tuple[object, object], frozenset[str]] = {
    ("RSA", None): frozenset(f"{scheme}{bits}" for scheme in ("RS", "PS") for bits in _HASHES),
    ("OKP", "Ed25519"): ED25519_NAMES,
    ("AKP", None): ML_DSA,
    **{("EC", curve): frozenset((alg,)) for curve, (alg, *_) in _CURVES.items()},
}

# CVE-2017-15361: the moduli of one vendor's chips are powers of 65537 modulo each of these primes.
# Any other modulus passes all of these tests about once in a hundred million times.
_ROCA_PRIMES = (11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157)


class InvalidKeyError(ValueError):
    """Raised when a key is not fit to verify with."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


class VerificationKey(NamedTuple):
    """A public key and the algorithms that it may verify, all of one family.

    These are its `alg` or, without it, the accepted algorithms for its type and curve. `check` takes
    one of them, the signature and the signed bytes, and raises `InvalidSignature`.
    """

    kid: str
    algorithms: frozenset[str]
    signature_length: int
    check: Callable[[str, bytes, bytes], None]

    def verify(self, alg: str, signature: bytes, signed: bytes) -> None:
        """Return if this key made the signature with this algorithm.

        Raises:
            InvalidTokenError: it did not, or the algorithm is not one of the key's.
        """
        if alg not in self.algorithms:
            raise InvalidTokenError(Reason.ALG_NOT_OF_KEY)
        if len(signature) != self.signature_length:
            raise InvalidTokenError(Reason.SIGNATURE_LENGTH if signature else Reason.SIGNATURE_EMPTY)
        try:
            self.check(alg, signature, signed)
        except InvalidSignature:
            raise InvalidTokenError(Reason.SIGNATURE_INVALID) from None


class KeySet(NamedTuple):
    """The usable keys of a JWKS by key id, why other key ids have none, and why members are unused.

    `left_out` has one reason for each member that is not used.
    """

    keys: Mapping[str, VerificationKey]
    refused: Mapping[str, Reason]
    left_out: tuple[Reason, ...]


def parse_key_set(raw: bytes, algorithms: frozenset[str]) -> KeySet:
    """Read a JWKS (RFC 7517, 5); members that cannot verify signatures are left out.

    Raises:
        KeySetUnavailableError: the text is not a JWKS.
    """
    try:
        members = strict_json.parse_object(raw).get("keys")
    except strict_json.JsonError:
        raise KeySetUnavailableError(Reason.KEY_SET_MALFORMED) from None
    if not isinstance(members, list):
        raise KeySetUnavailableError(Reason.KEY_SET_MALFORMED)
    return _choose_keys(members, algorithms)


def _choose_keys(members: Iterable[object], algorithms: frozenset[str]) -> KeySet:
    """Index the usable keys by key id.

    A key that is listed several times may verify the algorithms of all its members. A key id is
    ambiguous only if two different usable keys have it (RFC 7517, 4.5). A key whose private part is
    published makes its key id unusable, because everyone can sign with it.
    """
    keys: dict[str, VerificationKey] = {}
    public_members: dict[str, list[object]] = {}
    unused: dict[str, Reason] = {}
    unsafe: dict[str, Reason] = {}
    left_out: list[Reason] = []
    for member in members:
        if not isinstance(member, dict):
            left_out.append(Reason.KEY_MALFORMED)
            continue
        try:
            key = parse_key(member, algorithms)
        except InvalidKeyError as error:
            left_out.append(error.reason)
            if isinstance(kid := member.get("kid"), str):
                unused.setdefault(kid, error.reason)
                if error.reason is Reason.KEY_PRIVATE and _verifies(member, algorithms):
                    unsafe[kid] = error.reason
            continue
        identity = [member.get(name) for name in _PUBLIC_MEMBERS]
        if public_members.setdefault(key.kid, identity) != identity:
            left_out.append(Reason.KID_AMBIGUOUS)
            unsafe.setdefault(key.kid, Reason.KID_AMBIGUOUS)
        known = keys.get(key.kid, key)
        keys[key.kid] = key._replace(algorithms=known.algorithms | key.algorithms)
    usable = {kid: key for kid, key in keys.items() if kid not in unsafe}
    refused = {kid: reason for kid, reason in unused.items() if kid not in usable} | unsafe
    return KeySet(usable, refused, tuple(left_out))


def _verifies(private_jwk: Mapping[str, object], algorithms: frozenset[str]) -> bool:
    """Return whether the public part of a private key is usable."""
    public = {name: value for name, value in private_jwk.items() if name not in _PRIVATE_MEMBERS}
    try:
        parse_key(public, algorithms)
    except InvalidKeyError:
        return False
    return True


def parse_key(jwk: object, algorithms: frozenset[str]) -> VerificationKey:
    """Read one public JWK for verifying signatures.

    Raises:
        InvalidKeyError: it is private, weak, malformed, or meant for something else.
    """
    if not isinstance(jwk, dict):
        raise InvalidKeyError(Reason.KEY_MALFORMED)
    kid = _key_id(jwk)
    if has_private_part(jwk):
        raise InvalidKeyError(Reason.KEY_PRIVATE)
    if jwk.get("use", "sig") != "sig":
        raise InvalidKeyError(Reason.KEY_USE)
    if not _may_verify(jwk.get("key_ops", ["verify"])):
        raise InvalidKeyError(Reason.KEY_OPERATIONS)
    usable = _algorithms(jwk) & algorithms
    if not usable:
        raise InvalidKeyError(Reason.KEY_ALGORITHM)
    try:
        length, check = _READERS[jwk["kty"]](jwk)
    except InvalidKeyError:
        raise
    except ValueError:  # cryptography rejects it
        raise InvalidKeyError(Reason.KEY_MALFORMED) from None
    return VerificationKey(kid, usable, length, check)


def has_private_part(jwk: Mapping[str, object]) -> bool:
    """Return whether a JWK holds private or symmetric key material.

    Some servers write every member of a public key, the private ones as null.
    """
    return any(jwk.get(name) is not None for name in _PRIVATE_MEMBERS)


def _key_id(jwk: Mapping[str, object]) -> str:
    kid = jwk.get("kid")
    if isinstance(kid, str) and 0 < len(kid) <= MAX_KID_LENGTH and kid.isascii() and kid.isprintable():
        return kid
    raise InvalidKeyError(Reason.KEY_MALFORMED)


def _may_verify(operations: object) -> bool:
    if not isinstance(operations, list) or not all(isinstance(operation, str) for operation in operations):
        return False
    return "verify" in operations and len(set(operations)) == len(operations)


def _algorithms(jwk: Mapping[str, object]) -> frozenset[str]:
    """Return the algorithms of a key: its own, or without one those of its type and curve."""
    family = (jwk.get("kty"), jwk.get("crv"))
    # Compared, not looked up: the members of a JWK may not be hashable.
    possible = next((algs for kind, algs in _ALGORITHMS_OF.items() if kind == family), None)
    if possible is None:
        raise InvalidKeyError(Reason.KEY_TYPE)
    return with_both_names(frozenset(alg for alg in possible if alg == jwk.get("alg", alg)))


_Reading = tuple[int, Callable[[str, bytes, bytes], None]]


def _read_rsa(jwk: Mapping[str, object]) -> _Reading:
    key = _rsa_key(jwk)

    def check(alg: str, signature: bytes, signed: bytes) -> None:
        digest = _HASHES[alg[2:]]
        scheme = _PKCS1 if alg.startswith("RS") else padding.PSS(padding.MGF1(digest), padding.PSS.DIGEST_LENGTH)
        key.verify(signature, signed, scheme, digest)

    return (key.key_size + 7) // 8, check


def _rsa_key(jwk: Mapping[str, object]) -> rsa.RSAPublicKey:
    modulus, exponent = _unsigned(jwk.get("n")), _unsigned(jwk.get("e"))
    if not MIN_RSA_BITS <= modulus.bit_length() <= MAX_RSA_BITS:
        raise InvalidKeyError(Reason.KEY_SIZE)
    if exponent < _MIN_EXPONENT or exponent % 2 == 0 or exponent.bit_length() > MAX_EXPONENT_BITS:
        raise InvalidKeyError(Reason.KEY_EXPONENT)
    if modulus % 2 == 0 or _has_roca_fingerprint(modulus):
        raise InvalidKeyError(Reason.KEY_WEAK)
    return rsa.RSAPublicNumbers(exponent, modulus).public_key()


def _has_roca_fingerprint(modulus: int) -> bool:
    return all(
        any(pow(65537, exponent, prime) == modulus % prime for exponent in range(prime - 1)) for prime in _ROCA_PRIMES
    )


def _read_ec(jwk: Mapping[str, object]) -> _Reading:
    # Imported here because few key sets have such a key, and each import slows down cold starts.
    from cryptography.hazmat.primitives.asymmetric import ec, utils

    _, name, size = _CURVES[str(jwk["crv"])]
    x, y = _octets(jwk.get("x")), _octets(jwk.get("y"))
    if len(x) != size or len(y) != size:
        raise InvalidKeyError(Reason.KEY_MALFORMED)
    key = ec.EllipticCurvePublicKey.from_encoded_point(getattr(ec, name)(), b"\x04" + x + y)

    def check(alg: str, signature: bytes, signed: bytes) -> None:
        r, s = signature[:size], signature[size:]
        der = utils.encode_dss_signature(int.from_bytes(r), int.from_bytes(s))
        key.verify(der, signed, ec.ECDSA(_HASHES[alg[2:]]))

    return 2 * size, check


def _read_okp(jwk: Mapping[str, object]) -> _Reading:
    from cryptography.hazmat.primitives.asymmetric import ed25519

    x = _octets(jwk.get("x"))
    if len(x) != _ED25519_BYTES:
        raise InvalidKeyError(Reason.KEY_MALFORMED)
    if _has_small_order(x):
        raise InvalidKeyError(Reason.KEY_WEAK)
    key = ed25519.Ed25519PublicKey.from_public_bytes(x)
    return _ED25519_SIGNATURE_BYTES, lambda _alg, signature, signed: key.verify(signature, signed)


def _read_akp(jwk: Mapping[str, object]) -> _Reading:
    if "alg" not in jwk:  # RFC 9964, 3: required, because nothing else names the parameters
        raise InvalidKeyError(Reason.KEY_MALFORMED)
    alg, public = str(jwk["alg"]), _octets(jwk.get("pub"))
    length, signature_length = _ML_DSA_BYTES[alg]
    if len(public) != length:
        raise InvalidKeyError(Reason.KEY_MALFORMED)
    if not any(public[_ML_DSA_SEED_BYTES:]):  # t1 is zero: anyone can sign
        raise InvalidKeyError(Reason.KEY_WEAK)
    try:
        from cryptography.hazmat.primitives.asymmetric import mldsa

        key = getattr(mldsa, f"MLDSA{alg[-2:]}PublicKey").from_public_bytes(public)
    except (ImportError, UnsupportedAlgorithm):  # an older cryptography, or one without OpenSSL 3.5
        raise InvalidKeyError(Reason.KEY_TYPE) from None
    return signature_length, lambda _alg, signature, signed: key.verify(signature, signed)


def _has_small_order(point: bytes) -> bool:
    """Return whether a point is one of the eight for which anyone can sign."""
    y = int.from_bytes(point, "little") % 2**255  # the last bit is the sign of x
    return y % _ED25519_FIELD in _SMALL_ORDER_Y


def _octets(value: object) -> bytes:
    if not isinstance(value, str) or not value.isascii():
        raise InvalidKeyError(Reason.KEY_MALFORMED)
    try:
        return base64url.decode(value.encode("ascii"))
    except InvalidTokenError:
        raise InvalidKeyError(Reason.KEY_MALFORMED) from None


def _unsigned(value: object) -> int:
    """Read an integer in its shortest form (RFC 7518, 2, Base64urlUInt)."""
    octets = _octets(value)
    if not octets or (octets[0] == 0 and len(octets) > 1):
        raise InvalidKeyError(Reason.KEY_MALFORMED)
    return int.from_bytes(octets)


_READERS: Mapping[str, Callable[[Mapping[str, object]], _Reading]] = {
    "RSA": _read_rsa,
    "EC": _read_ec,
    "OKP": _read_okp,
    "AKP": _read_akp,
}
