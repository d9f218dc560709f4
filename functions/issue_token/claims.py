"""The claims of a JWT access token, by profile."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor
from secrets import token_urlsafe
from typing import TYPE_CHECKING, Any, Final

from functions.shared.client_record import TokenProfile

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from functions.issue_token.grants import Grant

Claims = dict[str, Any]

_TOKEN_ID_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Validity:
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


def validity(now: float, lifetime: int) -> Validity:
    """Return the times of a token that is issued now and lives `lifetime` seconds."""
    issued_at = floor(now)
    return Validity(issued_at, issued_at + lifetime)


def seed_claims(grant: Grant, issuer: str, times: Validity) -> Claims:
    """Return the walkthrough's claims: the audience is the client itself, `scope` is a list."""
    client_id = grant.client.client_id
    claims: Claims = {"sub": client_id, "aud": client_id, "nbf": times.issued_at}
    if grant.scopes:
        claims["scope"] = grant.scopes
    claims |= {"iss": issuer, "exp": times.expires_at, "iat": times.issued_at}
    return claims


def at_jwt_claims(grant: Grant, issuer: str, times: Validity) -> Claims:
    """Return the claims of RFC 9068, 2.2: the audience is the API, `scope` is a text."""
    client_id = grant.client.client_id
    claims: Claims = {
        "iss": issuer,
        "sub": client_id,
        "client_id": client_id,
        "aud": grant.audience[0] if len(grant.audience) == 1 else grant.audience,
        "iat": times.issued_at,
        "nbf": times.issued_at,
        "exp": times.expires_at,
        "jti": token_urlsafe(_TOKEN_ID_BYTES),
    }
    if grant.scopes:
        claims["scope"] = " ".join(grant.scopes)
    return claims


PROFILES: Final[Mapping[TokenProfile, Profile]] = {
    TokenProfile.SEED: Profile(None, seed_claims),
    TokenProfile.AT_JWT: Profile("at+jwt", at_jwt_claims),
}
