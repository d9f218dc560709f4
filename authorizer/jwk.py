"""JSON Web Keys, read once into keys that are ready to verify (RFC 7517, RFC 7518, RFC 8037)."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.padding import AsymmetricPadding

from . import base64url, strict_json
from .errors import InvalidTokenError, KeySetUnavailableError, Reason
from .jws import MAX_KID_LENGTH

MIN_RSA_BITS = 2048
MAX_RSA_BITS = 8192
MAX_EXPONENT_BITS = 32
_MIN_EXPONENT = 3
_P256_BYTES = 32
_ED25519_BYTES = 32
_ED25519_SIGNATURE_BYTES = 64
_ED25519_FIELD = 2**255 - 19
_ORDER_8_Y = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
_SMALL_ORDER_Y = (0, 1, _ED25519_FIELD - 1, _ORDER_8_Y, _ED25519_FIELD - _ORDER_8_Y)
_PRIVATE_MEMBERS = frozenset(("d", "p", "q", "dp", "dq", "qi", "oth", "k"))
_PUBLIC_MEMBERS = ("n", "e", "x", "y")
_SHA256 = hashes.SHA256()
_PKCS1 = padding.PKCS1v15()
_PSS = padding.PSS(mgf=padding.MGF1(_SHA256), salt_length=padding.PSS.DIGEST_LENGTH)

# CVE-2017-15361: the moduli of one vendor's chips are powers of 65537 modulo each of these primes.
# Any other modulus passes all of these tests about once in a hundred million times.
_ROCA_PRIMES = (11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157)


class InvalidKeyError(ValueError):
    """Raised when a key is not fit to verify with."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


class VerificationKey(NamedTuple):
    """A public key bound to one algorithm.

    `check` takes the signature and the signed bytes, and raises `InvalidSignature`.
    """

    kid: str
    alg: str
    signature_length: int
    check: Callable[[bytes, bytes], None]

    def verify(self, signature: bytes, signed: bytes) -> None:
        """Return if this key made the signature.

        Raises:
            InvalidTokenError: it did not.
        """
        if len(signature) != self.signature_length:
            raise InvalidTokenError(Reason.SIGNATURE_LENGTH if signature else Reason.SIGNATURE_EMPTY)
        try:
            self.check(signature, signed)
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

    A key id is ambiguous only if two different usable keys have it (RFC 7517, 4.5). A key whose
    private part is published makes its key id unusable, because everyone can sign with it.
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
        identity = [key.alg, *(member.get(name) for name in _PUBLIC_MEMBERS)]
        if public_members.setdefault(key.kid, identity) != identity:
            left_out.append(Reason.KID_AMBIGUOUS)
            unsafe.setdefault(key.kid, Reason.KID_AMBIGUOUS)
        keys[key.kid] = key
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
    alg = _algorithm(jwk, algorithms)
    try:
        length, check = _READERS[alg](jwk)
    except InvalidKeyError:
        raise
    except ValueError:  # cryptography rejects it
        raise InvalidKeyError(Reason.KEY_MALFORMED) from None
    return VerificationKey(kid, alg, length, check)


def has_private_part(jwk: Mapping[str, object]) -> bool:
    """Return whether a JWK holds private or symmetric key material.

    Some servers write every member of a public key, the private ones as null.
    """
    return any(jwk.get(name) is not None for name in _PRIVATE_MEMBERS)


def _key_id(jwk: Mapping[str, object]) -> str:
    kid = jwk.get("kid")
    if not isinstance(kid, str) or not 0 < len(kid) <= MAX_KID_LENGTH:
        raise InvalidKeyError(Reason.KEY_MALFORMED)
    if not (kid.isascii() and kid.isprintable()):
        raise InvalidKeyError(Reason.KEY_MALFORMED)
    return kid


def _may_verify(operations: object) -> bool:
    if not isinstance(operations, list) or "verify" not in operations:
        return False
    return all(isinstance(operation, str) for operation in operations) and (len(set(operations)) == len(operations))


def _algorithm(jwk: Mapping[str, object], algorithms: frozenset[str]) -> str:
    """Bind a key to one algorithm: its own, or the first of its type that is allowed."""
    family = (jwk.get("kty"), jwk.get("crv"))
    # Compared, not looked up: the members of a JWK may not be hashable.
    possible = next((algs for kind, algs in _ALGORITHMS_OF.items() if kind == family), ())
    if not possible:
        raise InvalidKeyError(Reason.KEY_TYPE)
    alg = jwk.get("alg", next(filter(algorithms.__contains__, possible), possible[0]))
    if alg not in possible or alg not in algorithms:
        raise InvalidKeyError(Reason.KEY_ALGORITHM)
    return str(alg)


_Reading = tuple[int, Callable[[bytes, bytes], None]]


def _read_rsa(jwk: Mapping[str, object], scheme: AsymmetricPadding) -> _Reading:
    key = _rsa_key(jwk)
    return (key.key_size + 7) // 8, lambda signature, signed: key.verify(signature, signed, scheme, _SHA256)


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
    return all(modulus % prime in _powers_of_65537(prime) for prime in _ROCA_PRIMES)


def _powers_of_65537(prime: int) -> set[int]:
    return {pow(65537, exponent, prime) for exponent in range(prime - 1)}


def _read_es256(jwk: Mapping[str, object]) -> _Reading:
    # Imported here because few key sets have such a key, and each import slows down cold starts.
    from cryptography.hazmat.primitives.asymmetric import ec, utils

    x, y = _octets(jwk.get("x")), _octets(jwk.get("y"))
    if len(x) != _P256_BYTES or len(y) != _P256_BYTES:
        raise InvalidKeyError(Reason.KEY_MALFORMED)
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + x + y)
    method = ec.ECDSA(_SHA256)

    def check(signature: bytes, signed: bytes) -> None:
        r, s = signature[:_P256_BYTES], signature[_P256_BYTES:]
        der = utils.encode_dss_signature(int.from_bytes(r), int.from_bytes(s))
        key.verify(der, signed, method)

    return 2 * _P256_BYTES, check


def _read_eddsa(jwk: Mapping[str, object]) -> _Reading:
    from cryptography.hazmat.primitives.asymmetric import ed25519

    x = _octets(jwk.get("x"))
    if len(x) != _ED25519_BYTES:
        raise InvalidKeyError(Reason.KEY_MALFORMED)
    if _has_small_order(x):
        raise InvalidKeyError(Reason.KEY_WEAK)
    return _ED25519_SIGNATURE_BYTES, ed25519.Ed25519PublicKey.from_public_bytes(x).verify


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


_ALGORITHMS_OF: Mapping[tuple[object, object], tuple[str, ...]] = {
    ("RSA", None): ("RS256", "PS256"),
    ("EC", "P-256"): ("ES256",),
    ("OKP", "Ed25519"): ("EdDSA", "Ed25519"),
}
_READERS: Mapping[str, Callable[[Mapping[str, object]], _Reading]] = {
    "RS256": partial(_read_rsa, scheme=_PKCS1),
    "PS256": partial(_read_rsa, scheme=_PSS),
    "ES256": _read_es256,
    "EdDSA": _read_eddsa,
    "Ed25519": _read_eddsa,
}
