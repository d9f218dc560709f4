"""The one parser of compact JSON Web Signatures in the house (RFC 7515, RFC 8725)."""

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from authorizer import base64url, strict_json
from authorizer.errors import InvalidTokenError, Reason

MAX_TOKEN_LENGTH = 8192
MAX_HEADER_LENGTH = 1024
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


class HeaderRules(NamedTuple):
    """What one kind of token may say in its header.

    `types` holds the accepted `typ` values in lower case without `application/`; None stands for no
    `typ`. `embedded_key` is for proofs that bring their own public key (RFC 9449): `jwk` then takes
    the place of `kid`, which is left empty. `key_id_required` is off where an issuer may have one
    key only.
    """

    algorithms: frozenset[str]
    types: frozenset[str | None]
    embedded_key: bool = False
    key_id_required: bool = True


class UnverifiedHeader(NamedTuple):
    """A JOSE header that keeps the rules. Nobody has vouched for it yet."""

    alg: str
    typ: str | None
    kid: str
    jwk: Mapping[str, object] | None


class UnverifiedJws(NamedTuple):
    """A well-formed token, before its signature was looked at."""

    header: UnverifiedHeader
    payload: bytes
    signature: bytes
    signing_input: bytes


def looks_like_jws(token: str) -> bool:
    """Tell whether a token is meant as a JWT, well-formed or not; anything else is opaque."""
    return token.startswith(("eyJ", "{")) or token.count(".") >= _SEGMENTS - 1


def parse(token: str, rules: HeaderRules) -> UnverifiedJws:
    """Take a compact JWS apart.

    Raises:
        InvalidTokenError: it is not a compact JWS, or its header breaks the rules.
    """
    if not token:
        raise InvalidTokenError(Reason.TOKEN_EMPTY)
    if len(token) > MAX_TOKEN_LENGTH:
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
        header=_parse_header(header, rules),
        payload=base64url.decode(payload),
        signature=base64url.decode(signature),
        signing_input=raw[: -len(signature) - 1] if signature else raw[:-1],
    )


def parse_payload(raw: bytes) -> dict[str, object]:
    """Read a token's payload as a JSON object.

    Raises:
        InvalidTokenError: it is none, or not beyond doubt.
    """
    return _parse_json(raw, "payload")


# Tokens of one key share their header, letter for letter. Only headers that pass are remembered.
@lru_cache(maxsize=64)
def _parse_header(segment: bytes, rules: HeaderRules) -> UnverifiedHeader:
    if not segment:
        raise InvalidTokenError(Reason.HEADER_NOT_JSON)
    raw = base64url.decode(segment)
    if len(raw) > MAX_HEADER_LENGTH:
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
        expected = member == "jwk" and rules.embedded_key
        if member in header and not expected:
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
