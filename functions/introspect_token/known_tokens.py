"""Tokens that this server issued and that count now, whatever their format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from functions.shared.issued_jwts import RefusedJwtError
from functions.shared.opaque_tokens import is_opaque_token

if TYPE_CHECKING:
    from functions.shared.issued_jwts import IssuedJwt, IssuedJwts
    from functions.shared.opaque_tokens import OpaqueTokenStore


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownToken:
    """A token that is active, in the words of RFC 7662, 2.2. Times are whole seconds."""

    client_id: str
    scopes: tuple[str, ...]
    audience: tuple[str, ...]
    issuer: str
    issued_at: int
    expires_at: int
    not_before: int
    token_id: str | None = None


class TokenReader(Protocol):
    """Recognises tokens of one format."""

    def find(self, unverified_token: str, now: float) -> KnownToken | None:
        """Return the token if it is one of ours and counts at `now`."""


@dataclass(frozen=True, slots=True)
class OpaqueReader:
    """Recognises opaque tokens by looking them up."""

    tokens: OpaqueTokenStore

    def find(self, unverified_token: str, now: float) -> KnownToken | None:
        """Return the token if it is kept and has not expired. Anything else is not looked up."""
        if not is_opaque_token(unverified_token):
            return None
        meaning = self.tokens.find(unverified_token, now)
        if meaning is None:
            return None
        return KnownToken(
            client_id=meaning.client_id,
            scopes=meaning.scopes,
            audience=meaning.audience,
            issuer=meaning.issuer,
            issued_at=meaning.issued_at,
            expires_at=meaning.expires_at,
            not_before=meaning.issued_at,
        )


@dataclass(frozen=True, slots=True)
class JwtReader:
    """Recognises JWTs by their signature."""

    jwts: IssuedJwts

    def find(self, unverified_token: str, now: float) -> KnownToken | None:
        """Return the token if it is signed by a published key and counts at `now`."""
        if is_opaque_token(unverified_token):
            return None
        try:
            return _from_jwt(self.jwts.verify(unverified_token, now))
        except RefusedJwtError:
            return None


def _from_jwt(jwt: IssuedJwt) -> KnownToken:
    claims = jwt.claims
    return KnownToken(
        client_id=jwt.token.client_id,
        scopes=_words(claims.get("scope", ())),
        audience=_audience(claims["aud"]),
        issuer=jwt.token.issuer,
        issued_at=claims["iat"],
        expires_at=claims["exp"],
        not_before=claims["nbf"],
        token_id=jwt.token.jti,
    )


def _audience(value: Any) -> tuple[str, ...]:  # noqa: ANN401 - as below
    return (value,) if isinstance(value, str) else tuple(value)


def _words(value: Any) -> tuple[str, ...]:  # noqa: ANN401 - a claim, verified and of either shape
    return tuple(value.split(" ") if isinstance(value, str) else value)


def to_members(token: KnownToken) -> dict[str, Any]:
    """Return an active token's members. RFC 7662, 2.2. What is not known is left out."""
    members = {
        "active": True,
        "scope": " ".join(token.scopes) or None,
        "client_id": token.client_id,
        "token_type": "Bearer",
        "exp": token.expires_at,
        "iat": token.issued_at,
        "nbf": token.not_before,
        "sub": token.client_id,
        "aud": token.audience[0] if len(token.audience) == 1 else token.audience,
        "iss": token.issuer,
        "jti": token.token_id,
    }
    return {name: value for name, value in members.items() if value is not None}
