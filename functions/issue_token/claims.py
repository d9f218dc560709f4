"""The claims of a JWT access token, by profile."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor
from secrets import token_urlsafe
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from functions.shared.clients.client_record import TokenProfile
from functions.shared.tokens.confirmations import to_claim

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from functions.issue_token.grants import Grant

Claims = dict[str, Any]

_TOKEN_ID_BYTES: Final = 16


class Validity(NamedTuple):
    """From when and until when a token counts, in whole seconds since the epoch."""

    issued_at: int
    expires_at: int

    @property
    def seconds_left(self) -> int:
        """Whole seconds truly left: what is left of the second that has begun is not counted."""
        return self.expires_at - self.issued_at - 1


@dataclass(frozen=True, slots=True)
class Profile:
    """A kind of JWT access token: its `typ` header, None for none, and its claims."""

    typ: str | None
    claims: Callable[[Grant, str, Validity], Claims]


def validity(now: float, lifetime: int, not_after: int | None = None) -> Validity:
    """Return the times of a token that is issued now and lives `lifetime` seconds.

    It ends at `not_after` if that comes first.
    """
    issued_at = floor(now)
    expires_at = issued_at + lifetime
    return Validity(issued_at, expires_at if not_after is None else min(expires_at, not_after))


def plain_claims(grant: Grant, issuer: str, times: Validity) -> Claims:
    """Return the walkthrough's claims, with `scope` as a list, and a `jti`.

    The `jti` tells two tokens of the same second apart, so revoking one leaves the other valid.
    """
    claims: Claims = {
        "sub": grant.client.client_id,
        "aud": _audience(grant),
        "nbf": times.issued_at,
    }
    if grant.scopes:
        claims["scope"] = grant.scopes
    claims |= {
        "iss": issuer,
        "exp": times.expires_at,
        "iat": times.issued_at,
        "jti": _token_id(),
    }
    if grant.confirmation:
        claims["cnf"] = to_claim(grant.confirmation)
    return claims


def at_jwt_claims(grant: Grant, issuer: str, times: Validity) -> Claims:
    """Return the claims of RFC 9068, 2.2: the audience is the API, `scope` is a text.

    `cnf` as RFC 7800, 3.1, and `act` as RFC 8693, 4.1, have them.
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
        claims["cnf"] = to_claim(grant.confirmation)
    if grant.actor:
        claims["act"] = grant.actor
    return claims


def _token_id() -> str:
    return token_urlsafe(_TOKEN_ID_BYTES)


def _audience(grant: Grant) -> str | tuple[str, ...]:
    return grant.audience[0] if len(grant.audience) == 1 else grant.audience


PROFILES: Final[Mapping[TokenProfile, Profile]] = {
    TokenProfile.PLAIN: Profile(None, plain_claims),
    TokenProfile.AT_JWT: Profile("at+jwt", at_jwt_claims),
}
