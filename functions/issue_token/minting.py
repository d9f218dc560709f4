"""Minting: a grant becomes a JWT in the profile of its client."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from math import floor
from typing import Any, NamedTuple

from authorizer import base64url
from authorizer.jws import MAX_TOKEN_LENGTH

from ..shared.clients.client import TokenProfile
from ..shared.keys.signers import MessageTooLongError, SignerSource
from ..shared.web.oauth_errors import InvalidScopeError
from .grants import Grant

Claims = dict[str, Any]

_TOKEN_ID_BYTES = 16
_TOO_LONG = "The token would be too long: ask for fewer scopes."


class Validity(NamedTuple):
    """A token's validity, in whole seconds since the epoch."""

    issued_at: int
    expires_at: int

    @property
    def seconds_left(self) -> int:
        """Whole seconds left. The current second has begun and is not included."""
        return self.expires_at - self.issued_at - 1


def validity(now: float, lifetime: int, not_after: int | None = None) -> Validity:
    """Return the times of a token that is issued now for `lifetime` seconds.

    It expires at `not_after` if that is earlier.
    """
    issued_at = floor(now)
    expires_at = issued_at + lifetime
    return Validity(issued_at, expires_at if not_after is None else min(expires_at, not_after))


class MintedToken(NamedTuple):
    """A token, and the `kid` of the key that signed it, None for an opaque token."""

    text: str
    kid: str | None = None


Mint = Callable[[Grant, Validity], MintedToken]
"""Makes a token of one format for a grant."""


@dataclass(frozen=True, slots=True)
class JwtMint:
    """Makes signed JWTs, which are not stored."""

    issuer: str
    signers: SignerSource

    def mint(self, grant: Grant, times: Validity) -> MintedToken:
        """Make a JWT with the profile and the signing algorithm of the client.

        Raises:
            InvalidScopeError: it would be longer than verifiers accept or KMS signs.
            UnusableKeyRingError: no key for that algorithm may sign now.
        """
        signer = self.signers.current(times.issued_at, grant.client.signing_algorithm)
        is_at_jwt = grant.client.token_profile is TokenProfile.AT_JWT
        make_claims = at_jwt_claims if is_at_jwt else plain_claims
        try:
            token = signer.sign(make_claims(grant, self.issuer, times), "at+jwt" if is_at_jwt else None)
        except MessageTooLongError:
            raise InvalidScopeError(_TOO_LONG) from None
        if len(token) > MAX_TOKEN_LENGTH:
            raise InvalidScopeError(_TOO_LONG)
        return MintedToken(token, signer.kid)


def plain_claims(grant: Grant, issuer: str, times: Validity) -> Claims:
    """Return the claims of the default profile: `scope` is a list, and there is a `jti`.

    The `jti` makes two tokens of the same second differ, so revoking one leaves the other valid.
    """
    claims: Claims = {"sub": grant.client.client_id, "aud": _audience(grant), "nbf": times.issued_at}
    if grant.scopes:
        claims["scope"] = grant.scopes
    claims |= {"iss": issuer, "exp": times.expires_at, "iat": times.issued_at, "jti": _token_id()}
    if grant.confirmation:
        claims["cnf"] = grant.confirmation.to_cnf()
    return claims


def at_jwt_claims(grant: Grant, issuer: str, times: Validity) -> Claims:
    """Return the claims of RFC 9068, 2.2: the audience is the API, `scope` is a string.

    `cnf` is defined in RFC 7800, 3.1, `act` in RFC 8693, 4.1.
    """
    client_id = grant.client.client_id
    claims: Claims = {
        "iss": issuer,
        "sub": grant.subject or client_id,
        "client_id": client_id,
        "aud": _audience(grant),
        "iat": times.issued_at,
        "nbf": times.issued_at,
        "exp": times.expires_at,
        "jti": _token_id(),
    }
    if grant.scopes:
        claims["scope"] = " ".join(grant.scopes)
    if grant.confirmation:
        claims["cnf"] = grant.confirmation.to_cnf()
    if grant.actor:
        claims["act"] = grant.actor
    return claims


def _token_id() -> str:
    return base64url.encode(os.urandom(_TOKEN_ID_BYTES))


def _audience(grant: Grant) -> str | tuple[str, ...]:
    return grant.audience[0] if len(grant.audience) == 1 else grant.audience
