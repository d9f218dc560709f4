"""Additional claims of access tokens (RFC 9068, 2.2.2): their names and sizes.

A client's record or a trust rule defines them, never a token request. Imported for those that have some.
"""

import json
from collections.abc import Mapping

from authorizer import strict_json

MAX_LENGTH = 1024
"""Bytes of the claims of one client or one rule, as compact JSON in ASCII."""

MAX_NAME_LENGTH = 128
MAX_DEPTH = 4

RESERVED_NAMES = frozenset(
    {
        # RFC 7519, 4.1
        *("iss", "sub", "aud", "exp", "nbf", "iat", "jti"),
        # The client and the scopes: RFC 8693, 4.2 and 4.3; OpenID Connect; Okta and Entra ID.
        *("client_id", "azp", "cid", "appid", "scope", "scp"),
        # Keys and actors: RFC 7800, 3.1; RFC 8693, 4.1 and 4.4
        *("cnf", "act", "may_act"),
        # The authentication of a user: RFC 9068, 2.2.1; OpenID Connect Core, 2; back-channel logout
        *("auth_time", "acr", "amr", "nonce", "sid", "at_hash", "c_hash", "s_hash"),
        # Other kinds of JWT: Cognito; RFC 8417, 2.2; RFC 9493, 4.1; OpenID Connect Core, 5.6.2
        *("token_use", "events", "txn", "toe", "sub_id", "sub_jwk", "_claim_names", "_claim_sources"),
        # Rights in a form of their own: RFC 9396, 9.1
        "authorization_details",
        # Introspection: RFC 7662, 2.2; RFC 9701, 5
        *("active", "token_type", "username", "token_introspection"),
    }
)
"""Names that Gatehouse or a verifier interprets. Those with the prefix `aws:` are reserved, too.

`roles`, `groups` and `entitlements` (RFC 9068, 2.2.3.1) are not: only APIs interpret them.
"""

RESERVED_PREFIX = "aws:"
_NOT_JSON = (
    "A claim is JSON that every verifier reads: text, true, false, null, a finite number, "
    "a whole number of at most 53 bits, a list or an object."
)


SUBJECT_ID = "sub_id"
"""RFC 9493: issuer and subject of the assertion that a token was granted for. Its subject is not a client."""


def is_reserved(name: str) -> bool:
    """Return whether an additional claim cannot have this name."""
    return name in RESERVED_NAMES or name.startswith(RESERVED_PREFIX)


def check_names(names: Mapping[str, object] | frozenset[str]) -> None:
    """Check the names of additional claims.

    Raises:
        ValueError: one is reserved, empty, too long, or has a character that is not visible ASCII.
    """
    for name in sorted(names):
        if is_reserved(name):
            raise ValueError(f"The claim {name} is reserved.")
        if not (0 < len(name) <= MAX_NAME_LENGTH and name.isascii() and name.isprintable() and " " not in name):
            raise ValueError(f"The name of a claim is 1 to {MAX_NAME_LENGTH} visible ASCII characters.")


def check_claims(claims: Mapping[str, object]) -> None:
    """Check additional claims, by name and by value.

    Raises:
        ValueError: a name is not allowed, a value is not JSON that every verifier reads, or it has too many
            levels. The claims are longer than `MAX_LENGTH`.
    """
    check_names(claims)
    try:
        encoded = encode(claims)
    except (TypeError, ValueError, RecursionError):  # a date, NaN, or a value that contains itself
        raise ValueError(_NOT_JSON) from None
    if len(encoded) > MAX_LENGTH:
        raise ValueError(f"The claims have {len(encoded)} bytes as JSON. The limit is {MAX_LENGTH}.")
    if _depth(claims) > MAX_DEPTH + 1:
        raise ValueError(f"A claim has at most {MAX_DEPTH} levels.")
    try:
        is_same = decode(encoded) == claims
    except ValueError:
        is_same = False
    if not is_same:
        raise ValueError(_NOT_JSON)


def encode(claims: Mapping[str, object]) -> str:
    """Return claims as the compact JSON in which they are stored. Numbers stay as they are."""
    return json.dumps(dict(claims), separators=(",", ":"), allow_nan=False)


def decode(stored: str) -> Mapping[str, object]:
    """Read stored claims; raises ValueError."""
    return strict_json.parse_object(stored.encode())


def others(claims: Mapping[str, object]) -> dict[str, object]:
    """Return the additional ones among the claims of a token, and the subject of its assertion."""
    return {name: value for name, value in claims.items() if name == SUBJECT_ID or not is_reserved(name)}


def _depth(value: object) -> int:
    if isinstance(value, Mapping):
        value = list(value.values())
    return 1 + max(map(_depth, value), default=0) if isinstance(value, list) else 0
