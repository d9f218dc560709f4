"""Tokens that this server issued and that count now, whatever their format."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any, Protocol

from authorizer.state_table import revoked_jwt
from functions.shared.tokens.issued_jwts import RefusedJwtError
from functions.shared.tokens.opaque_tokens import is_opaque_token

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from authorizer.claims import Confirmation
    from functions.shared.clients.client import Client
    from functions.shared.clients.client_registry import ClientRegistry
    from functions.shared.storage.state_table import DenyList
    from functions.shared.tokens.issued_jwts import IssuedJwt, IssuedJwts
    from functions.shared.tokens.opaque_tokens import OpaqueTokenStore


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownToken:
    """A token that is active, in the words of RFC 7662, 2.2. Times are whole seconds.

    `confirmation` is the key that it is bound to, `actor` its `act` claim. RFC 8693, 4.1.
    """

    client_id: str
    subject: str
    scopes: tuple[str, ...]
    audience: tuple[str, ...]
    issuer: str
    issued_at: int
    expires_at: int
    not_before: int
    token_id: str | None = None
    confirmation: Confirmation | None = None
    actor: Mapping[str, Any] | None = None

    @property
    def actors(self) -> tuple[str, ...]:
        """The clients in the `act` claim: who acts, then who acted before."""
        chain: list[str] = []
        actor = self.actor
        while actor:
            chain.append(actor["sub"])
            actor = actor.get("act")
        return tuple(chain)


class KnownFormat(Protocol):
    """The tokens of one format that this server issued."""

    def find(self, unverified_token: str, now: float) -> KnownToken | None:
        """Return the token if it is one of ours and counts at `now`."""

    def revoke(self, token: str, known: KnownToken) -> None:
        """End a token that `find` has returned. To do so twice is no error."""


@dataclass(frozen=True, slots=True)
class OpaqueTokens:
    """Opaque tokens, recognised by looking them up."""

    store: OpaqueTokenStore

    def find(self, unverified_token: str, now: float) -> KnownToken | None:
        """Return the token if it is kept and has not expired. Anything else is not looked up."""
        if not is_opaque_token(unverified_token):
            return None
        meaning = self.store.find(unverified_token, now)
        if meaning is None:
            return None
        return KnownToken(
            client_id=meaning.client_id,
            subject=meaning.subject or meaning.client_id,
            scopes=meaning.scopes,
            audience=meaning.audience,
            issuer=meaning.issuer,
            issued_at=meaning.issued_at,
            expires_at=meaning.expires_at,
            not_before=meaning.issued_at,
            confirmation=meaning.confirmation,
            actor=meaning.actor,
        )

    def revoke(self, token: str, known: KnownToken) -> None:
        """Forget what the token stands for."""
        self.store.delete(token)


@dataclass(frozen=True, slots=True)
class Jwts:
    """JWTs, recognised by their signature unless they were revoked."""

    issued: IssuedJwts
    denied: DenyList

    def find(self, unverified_token: str, now: float) -> KnownToken | None:
        """Return the token if a published key signed it, it counts at `now`, and is not revoked."""
        if is_opaque_token(unverified_token):
            return None
        try:
            known = _from_jwt(self.issued.verify(unverified_token, now))
        except RefusedJwtError:
            return None
        return None if self.denied.holds(_name(unverified_token, known), now) else known

    def revoke(self, token: str, known: KnownToken) -> None:
        """Put the token on the deny list for as long as it would have lived."""
        self.denied.add(_name(token, known), ceil(known.expires_at))


@dataclass(frozen=True, slots=True)
class KnownTokens:
    """Every token that counts now: of either format, and of clients that are not disabled.

    Disabling a client ends the tokens that were exchanged from its own, too: whoever acts for it,
    or passed a token on, must still be welcome.
    """

    formats: Sequence[KnownFormat]
    registry: ClientRegistry

    def find(self, unverified_token: str, now: float) -> KnownToken | None:
        """Return the token; None if it is unknown, expired, revoked, or a client of it disabled."""
        found = (tokens.find(unverified_token, now) for tokens in self.formats)
        token = next(filter(None, found), None)
        if token is None:
            return None
        parties = {token.client_id, token.subject, *token.actors}
        return token if all(self._is_enabled(party, now) for party in parties) else None

    def _is_enabled(self, client_id: str, now: float) -> bool:
        """Return whether a client exists and is enabled, read again before that is denied."""
        return _may_act(self.registry.find(client_id)) or _may_act(
            self.registry.find_again(client_id, now)
        )


def _may_act(client: Client | None) -> bool:
    return client is not None and not client.disabled


def _name(token: str, known: KnownToken) -> str:
    return revoked_jwt(known.issuer, known.token_id, token)


def _from_jwt(jwt: IssuedJwt) -> KnownToken:
    claims = jwt.claims
    return KnownToken(
        client_id=jwt.token.client_id,
        subject=jwt.token.subject,
        scopes=_words(claims.get("scope", ())),
        audience=_audience(claims["aud"]),
        issuer=jwt.token.issuer,
        issued_at=claims["iat"],
        expires_at=claims["exp"],
        not_before=claims["nbf"],
        token_id=jwt.token.jti,
        confirmation=jwt.token.confirmation,
        actor=claims.get("act"),
    )


def _audience(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _words(value: Any) -> tuple[str, ...]:
    return tuple(value.split(" ") if isinstance(value, str) else value)
