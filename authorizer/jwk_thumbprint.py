"""JWK thumbprints (RFC 7638). Imports no cryptography, because publish_jwks ships without it."""

import json
from collections.abc import Mapping
from hashlib import sha256

from . import base64url
from .errors import InvalidTokenError, Reason

# RFC 7638, 3.2, RFC 8037, 2, and RFC 9964, 6: the members of a public key. No member can be private.
PUBLIC_MEMBERS: Mapping[str, tuple[str, ...]] = {
    "RSA": ("e", "n"),
    "EC": ("crv", "x", "y"),
    "OKP": ("crv", "x"),
    "AKP": ("alg", "pub"),
}


def thumbprint(jwk: Mapping[str, object]) -> str:
    """Return a public key's SHA-256 thumbprint (RFC 7638, 3).

    Raises:
        InvalidTokenError: it lacks a member of the thumbprint, or its type is unknown.
    """
    kty = jwk.get("kty")
    members = PUBLIC_MEMBERS.get(kty) if isinstance(kty, str) else None
    if members is None:
        raise InvalidTokenError(Reason.KEY_TYPE)
    required = {name: jwk.get(name) for name in ("kty", *members)}
    if not all(isinstance(value, str) for value in required.values()):
        raise InvalidTokenError(Reason.KEY_MALFORMED)
    canonical = json.dumps(required, sort_keys=True, separators=(",", ":"))
    return base64url.encode(sha256(canonical.encode()).digest())
