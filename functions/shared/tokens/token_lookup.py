"""Active tokens of this server, in both formats."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, Protocol

from authorizer.claims import ClaimRules, VerifiedToken
from authorizer.clock import Deadline
from authorizer.errors import InvalidTokenError, Reason
from authorizer.jwk import VerificationKey, parse_key
from authorizer.jws import ALGORITHMS
from authorizer.state_table import revocation_key
from authorizer.verifier import TrustedIssuer, Verifier, header_rules

from ..clients import additional_claims
from ..clients.client import Client
from ..clients.client_registry import ClientRegistry
from ..keys.key_ring import CachedKeyRing
from ..lambda_function import Clock
from ..lifetimes import LONGEST_TOKEN_LIFETIME
from ..storage.state_table import JwtDenyList
from .opaque_tokens import ActiveToken, is_opaque_token

_HEADER = header_rules(ALGORITHMS, require_at_jwt=False)
_CACHED_TOKENS = 1024
_FETCH_SECONDS = 0.0  # the key ring is cached, or its own time-outs apply


class TokenStore(Protocol):
    """Tokens of one format."""

    def find(self, unverified_token: str, now: float) -> ActiveToken | None:
        """Return the token if this server issued it and it is active."""

    def revoke(self, token: str, active: ActiveToken) -> None:
        """Revoke a token that `find` has returned. Idempotent."""


class IssuedJwts:
    """JWTs of this server, verified by its issuer and its published keys unless revoked.

    Any audience is accepted.
    """

    def __init__(self, issuer: str, key_ring: CachedKeyRing, deny_list: JwtDenyList, clock: Clock) -> None:
        rules = ClaimRules(issuer, frozenset(), frozenset(), LONGEST_TOKEN_LIFETIME, retained=None)
        trust = TrustedIssuer(_PublishedKeys(key_ring, clock), rules)
        self._verifier = Verifier({issuer: trust}, _HEADER, remembered_tokens=_CACHED_TOKENS)
        self._deny_list = deny_list

    def verify(self, unverified_token: str, now: float) -> ActiveToken:
        """Return the token, revoked or not.

        Raises:
            InvalidTokenError: it is not a valid JWT of this server.
            StorageError: the key ring cannot be read.
        """
        return _from_jwt(self._verifier.verify(unverified_token, now, Deadline(_FETCH_SECONDS)))

    def find(self, unverified_token: str, now: float) -> ActiveToken | None:
        """Return the token if it is valid and not revoked."""
        if is_opaque_token(unverified_token):
            return None
        try:
            active = self.verify(unverified_token, now)
        except InvalidTokenError:
            return None
        return None if self._deny_list.holds(_entry(unverified_token, active), now) else active

    def revoke(self, token: str, active: ActiveToken) -> None:
        """Put the token on the deny list until it expires."""
        self._deny_list.add(_entry(token, active), ceil(active.expires_at))


@dataclass(frozen=True, slots=True)
class TokenLookup:
    """Active tokens of both formats, unless one of their clients is disabled.

    After an exchange, a token has several clients: its subject and its actors. A subject that
    another issuer named is not a client.
    """

    stores: Sequence[TokenStore]
    registry: ClientRegistry

    def find(self, unverified_token: str, now: float) -> ActiveToken | None:
        """Return the token; None if it is unknown, expired, revoked, or of a disabled client."""
        found = (store.find(unverified_token, now) for store in self.stores)
        token = next(filter(None, found), None)
        if token is None:
            return None
        clients = {token.client_id, *token.actors}
        if not token.has_foreign_subject:
            clients.add(token.subject)
        return token if all(self._is_enabled(client, now) for client in clients) else None

    def _is_enabled(self, client_id: str, now: float) -> bool:
        """Return whether a client exists and is enabled; its record is reloaded if not."""
        return _may_act(self.registry.find(client_id)) or _may_act(self.registry.find_again(client_id, now))


class _PublishedKeys:
    """The key ring's published keys, each parsed once: a `kid` never changes its key."""

    def __init__(self, key_ring: CachedKeyRing, clock: Clock) -> None:
        self._key_ring = key_ring
        self._clock = clock
        self._parsed: dict[str, VerificationKey] = {}

    def find(self, kid: str, deadline: Deadline, *, known_subject_iat: float | None = None) -> VerificationKey:
        """Return the published key with this `kid`, or raise InvalidTokenError."""
        key = self._key_ring.published_key(kid, self._clock())
        if key is None:
            raise InvalidTokenError(Reason.KID_UNKNOWN)
        return self._parsed.get(kid) or self._parsed.setdefault(kid, parse_key(key.to_jwk(), ALGORITHMS))


def _may_act(client: Client | None) -> bool:
    return client is not None and not client.disabled


def _entry(token: str, active: ActiveToken) -> str:
    return revocation_key(active.issuer, active.token_id, token)


def _from_jwt(token: VerifiedToken) -> ActiveToken:
    claims: Mapping[str, Any] = token.claims
    scope, audience = claims.get("scope", ()), claims["aud"]
    return ActiveToken(
        client_id=token.client_id,
        subject=token.subject,
        scopes=tuple(scope.split(" ") if isinstance(scope, str) else scope),
        audience=(audience,) if isinstance(audience, str) else tuple(audience),
        issuer=token.issuer,
        issued_at=claims["iat"],
        expires_at=claims["exp"],
        not_before=claims["nbf"],
        token_id=token.jti,
        confirmation=token.confirmation,
        actor=claims.get("act"),
        claims=additional_claims.others(claims),
    )
