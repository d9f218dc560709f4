"""Accepted tokens compared with PyJWT and joserfc, which share no code with Gatehouse.

Both are configured as permissive as Gatehouse, with the same clock tolerance. They can reject a
token only because it is invalid. joserfc has no size limit and allows unknown header members.
"""

import math
import time
import warnings
from collections.abc import Callable
from functools import cache

import jwt
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import RSAKey
from joserfc.jws import JWSRegistry

from authorizer.claims import LEEWAY, ClaimRules
from authorizer.clock import Deadline
from authorizer.errors import InvalidTokenError
from authorizer.verifier import TrustedIssuer, Verifier, header_rules
from tests.strictness.cases import RS256, key_cache
from tests.support.tokens import CLIENT, ISSUER, jwks, rsa_jwk, rsa_key


class DisagreementError(AssertionError):
    """Raised when we accept what another verifier refuses."""


@cache
def _verifier() -> Verifier:
    keys = key_cache(jwks(rsa_jwk()), RS256)
    rules = ClaimRules(ISSUER, frozenset({CLIENT}), frozenset(), 86_400)
    return Verifier(
        {ISSUER: TrustedIssuer(keys, rules)}, header_rules(RS256, require_at_jwt=False), remembered_tokens=1
    )


def we_accept(token: str) -> bool:
    """Return whether Gatehouse's verifier accepts a token now."""
    try:
        _verifier().verify(token, time.time(), Deadline(1))
    except InvalidTokenError:
        return False
    return True


def pyjwt_objection(token: str) -> str | None:
    """Return why PyJWT refuses a token, None if it accepts it."""
    try:
        jwt.decode(
            token,
            rsa_key().public_key(),
            algorithms=["RS256"],
            issuer=ISSUER,
            audience=CLIENT,
            leeway=LEEWAY,
            options={"require": ["exp", "iss", "aud"]},
        )
    except Exception as error:
        return f"PyJWT: {error!r}"
    return None


def joserfc_objection(token: str) -> str | None:
    """Return why joserfc refuses a token, None if it accepts it."""
    registry = JWSRegistry(algorithms=["RS256"], strict_check_header=False)
    registry.max_header_length = registry.max_payload_length = 16_384
    for hint in ("x5t", "x5t#S256"):  # ignored whatever they hold; joserfc checks their type
        del registry.header_registry[hint]
    required = joserfc_jwt.JWTClaimsRegistry(
        # A whole second, as joserfc wants it, and not one that is already over.
        now=lambda: math.ceil(time.time()),
        leeway=LEEWAY,
        iss={"essential": True, "value": ISSUER},
        aud={"essential": True, "value": CLIENT},
        exp={"essential": True},
    )
    try:
        decoded = joserfc_jwt.decode(token, _joserfc_key(), ["RS256"], registry=registry)
        required.validate(decoded.claims)
    except Exception as error:
        return f"joserfc: {error!r}"
    return None


@cache
def _joserfc_key() -> RSAKey:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return RSAKey.import_key(rsa_jwk())


def compare(token: str, accept: Callable[[str], bool] = we_accept) -> bool:
    """Return whether Gatehouse accepts a token.

    Raises:
        DisagreementError: we do, and PyJWT or joserfc does not.
    """
    if not accept(token):
        return False
    objections = [each for each in (pyjwt_objection(token), joserfc_objection(token)) if each]
    if objections:
        raise DisagreementError(f"{token!r}: {'; '.join(objections)}")
    return True
