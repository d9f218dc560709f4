"""Parser of compact JSON Web Signatures (RFC 7515, RFC 8725)."""

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from . import base64url, strict_json
from .errors import InvalidTokenError, Reason

ML_DSA = frozenset(("ML-DSA-44", "ML-DSA-65", "ML-DSA-87"))
"""Post-quantum signature algorithms (RFC 9964, 5)."""

ALGORITHMS = ML_DSA.union(
    ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519")
)
"""Signature algorithms that can be verified (RFC 7518, 3.1; RFC 8037, 3.1; RFC 9864, 2.2; RFC 9964, 5)."""

PROOF_ALGORITHMS = ALGORITHMS - {"ML-DSA-87"}
"""Signature algorithms of DPoP proofs. A proof with key and signature of ML-DSA-87 exceeds API Gateway's headers."""

ED25519_NAMES = frozenset(("EdDSA", "Ed25519"))
"""Two names of one algorithm: `EdDSA` of RFC 8037, and `Ed25519` of RFC 9864, which replaces it."""

MAX_TOKEN_LENGTH = 8192
MAX_HEADER_LENGTH = 1024
MAX_PROOF_LENGTH = 9216
MAX_PROOF_HEADER_LENGTH = 4096
"""The same for tokens that have a public key in their header: one of ML-DSA-65 has 2,603 characters."""
MAX_KID_LENGTH = 256
_SEGMENTS = 3
_ENCRYPTED_SEGMENTS = 5

# Members that would move trust from the key set into the token, or change what is signed.
# In the order in which they are reported. `x5t` and `x5t#S256` are hints (RFC 7515, 4.1.7, 4.1.8)
# that Entra ID, IdentityServer and WSO2 send. They are ignored: `kid` alone chooses the key.
_FOREIGN_MEMBERS = {
    "crit": Reason.CRIT_PRESENT,
    "b64": Reason.B64_PRESENT,
    "jwk": Reason.JWK_PRESENT,
    "jku": Reason.JKU_PRESENT,
    "x5u": Reason.X5U_PRESENT,
    "x5c": Reason.X5C_PRESENT,
    "zip": Reason.ZIP_PRESENT,
    "enc": Reason.ENC_PRESENT,
    "cty": Reason.CTY_PRESENT,
}


def with_both_names(algorithms: frozenset[str]) -> frozenset[str]:
    """Return algorithms with both names of Ed25519, if one of them is included."""
    return algorithms if algorithms.isdisjoint(ED25519_NAMES) else algorithms | ED25519_NAMES


class HeaderRules(NamedTuple):
    """Rules for the header of one kind of token.

    `types` has the accepted `typ` values in lower case without `application/`, and None if `typ`
    may be absent. `embedded_key` is for proofs with a public key of their own (RFC 9449): `jwk`
    replaces `kid`, which is empty. `key_id_required` is off for issuers with a single key.
    """

    algorithms: frozenset[str]
    types: frozenset[str | None]
    embedded_key: bool = False
    key_id_required: bool = True


class UnverifiedHeader(NamedTuple):
    """A JOSE header that conforms to the rules. Its signature is not verified."""

    alg: str
    typ: str | None
    kid: str
    jwk: Mapping[str, object] | None


class UnverifiedJws(NamedTuple):
    """A well-formed token. Its signature is not verified."""

    header: UnverifiedHeader
    payload: bytes
    signature: bytes
    signing_input: bytes


def looks_like_jws(token: str) -> bool:
    """Return whether a token is a JWT, well-formed or not. Any other token is opaque."""
    return token.startswith(("eyJ", "{")) or token.count(".") >= _SEGMENTS - 1


def parse(token: str, rules: HeaderRules) -> UnverifiedJws:
    """Parse a compact JWS.

    Raises:
        InvalidTokenError: it is not a compact JWS, or its header breaks the rules.
    """
    if not token:
        raise InvalidTokenError(Reason.TOKEN_EMPTY)
    if len(token) > (MAX_PROOF_LENGTH if rules.embedded_key else MAX_TOKEN_LENGTH):
        raise InvalidTokenError(Reason.TOKEN_TOO_LONG)
    if token.lstrip().startswith("{"):
        raise InvalidTokenError(Reason.TOKEN_IN_JSON_FORM)
    try:
        raw = token.encode("ascii")
    except UnicodeEncodeError:
        raise InvalidTokenError(Reason.SEGMENT_ALPHABET) from None
    segments = raw.split(b".")
    if len(segments) == _ENCRYPTED_SEGMENTS:
        raise InvalidTokenError(Reason.TOKEN_ENCRYPTED)
    if len(segments) != _SEGMENTS:
        raise InvalidTokenError(Reason.SEGMENT_COUNT)
    header, payload, signature = segments
    return UnverifiedJws(
        _parse_header(header, rules),
        base64url.decode(payload),
        base64url.decode(signature),
        raw[: -len(signature) - 1] if signature else raw[:-1],
    )


def parse_payload(raw: bytes) -> dict[str, object]:
    """Read a token's payload as a JSON object.

    Raises:
        InvalidTokenError: it is not a JSON object, or is ambiguous.
    """
    return _parse_json(raw, "payload")


# The tokens of one key have the same header. Only valid headers are cached.
@lru_cache(maxsize=64)
def _parse_header(segment: bytes, rules: HeaderRules) -> UnverifiedHeader:
    if not segment:
        raise InvalidTokenError(Reason.HEADER_NOT_JSON)
    raw = base64url.decode(segment)
    if len(raw) > (MAX_PROOF_HEADER_LENGTH if rules.embedded_key else MAX_HEADER_LENGTH):
        raise InvalidTokenError(Reason.HEADER_TOO_LONG)
    header = _parse_json(raw, "header")
    _refuse_foreign_members(header, rules)
    return UnverifiedHeader(
        alg=_algorithm(header, rules),
        typ=_type(header, rules),
        kid="" if rules.embedded_key else _key_id(header, rules),
        jwk=_embedded_key(header) if rules.embedded_key else None,
    )


def _parse_json(raw: bytes, part: str) -> dict[str, object]:
    try:
        return strict_json.parse_object(raw)
    except strict_json.JsonError as error:
        raise InvalidTokenError(Reason(f"{part}_{error.flaw}")) from None


def _refuse_foreign_members(header: Mapping[str, object], rules: HeaderRules) -> None:
    for member, reason in _FOREIGN_MEMBERS.items():
        if member in header and not (member == "jwk" and rules.embedded_key):
            raise InvalidTokenError(reason)


def _algorithm(header: Mapping[str, object], rules: HeaderRules) -> str:
    if "alg" not in header:
        raise InvalidTokenError(Reason.ALG_MISSING)
    alg = header["alg"]
    if not isinstance(alg, str):
        raise InvalidTokenError(Reason.ALG_NOT_STRING)
    if alg in rules.algorithms:
        return alg
    if alg.lower() == "none":
        raise InvalidTokenError(Reason.ALG_NONE)
    if alg.upper().startswith("HS"):
        raise InvalidTokenError(Reason.ALG_SYMMETRIC)
    raise InvalidTokenError(Reason.ALG_NOT_ALLOWED)


def _type(header: Mapping[str, object], rules: HeaderRules) -> str | None:
    typ = header.get("typ")
    if typ is None and "typ" not in header:
        normal = None
    elif isinstance(typ, str):
        normal = typ.lower().removeprefix("application/")  # RFC 7515, 4.1.9
    else:
        raise InvalidTokenError(Reason.TYP_NOT_STRING)
    if normal not in rules.types:
        raise InvalidTokenError(Reason.TYP_NOT_ALLOWED)
    return normal


def _key_id(header: Mapping[str, object], rules: HeaderRules) -> str:
    if "kid" not in header:
        if not rules.key_id_required:
            return ""
        raise InvalidTokenError(Reason.KID_MISSING)
    kid = header["kid"]
    if not isinstance(kid, str):
        raise InvalidTokenError(Reason.KID_NOT_STRING)
    if len(kid) > MAX_KID_LENGTH:
        raise InvalidTokenError(Reason.KID_TOO_LONG)
    if not (kid and kid.isascii() and kid.isprintable()):
        raise InvalidTokenError(Reason.KID_CHARACTERS)
    return kid


def _embedded_key(header: Mapping[str, object]) -> Mapping[str, object]:
    jwk = header.get("jwk")
    if not isinstance(jwk, dict):
        raise InvalidTokenError(Reason.KEY_MALFORMED)
    return jwk
