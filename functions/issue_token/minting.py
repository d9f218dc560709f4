"""Minting: a grant becomes a JWT in the profile of its client, or an opaque token."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import floor
from typing import TYPE_CHECKING

from authorizer import base64url
from authorizer.jws import MAX_TOKEN_LENGTH

from ..shared.clients.client import TokenProfile
from ..shared.keys.signers import MessageTooLongError, SignerSource, to_compact_json
from ..shared.web.oauth_errors import InvalidScopeError
from .grants import Grant

if TYPE_CHECKING:
    from ..shared.tokens.opaque_tokens import OpaqueTokenStore

_TOKEN_ID_BYTES = 16
_TOO_LONG = "The token would be too long: ask for fewer scopes."


@dataclass(slots=True)
class Validity:
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


@dataclass(slots=True)
class MintedToken:
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
        signer = self.signers.current(times.issued_at, grant.client.signing_algorithm_for(grant.audience))
        is_at_jwt = grant.client.token_profile is TokenProfile.AT_JWT
        make_payload = at_jwt_payload if is_at_jwt else plain_payload
        try:
            token = signer.sign_payload(make_payload(grant, self.issuer, times), "at+jwt" if is_at_jwt else None)
        except MessageTooLongError:
            raise InvalidScopeError(_TOO_LONG) from None
        if len(token) > MAX_TOKEN_LENGTH:
            raise InvalidScopeError(_TOO_LONG)
        return MintedToken(token, signer.kid)


def mint_opaque(issuer: str, tokens: "OpaqueTokenStore", grant: Grant, times: Validity) -> MintedToken:
    """Make an opaque token. Its meaning is stored before it is returned."""
    from ..shared.tokens.opaque_tokens import ActiveToken, generate_token  # few clients get them

    token = generate_token()
    meaning = ActiveToken(
        client_id=grant.client.client_id,
        scopes=grant.scopes,
        audience=grant.audience,
        issuer=issuer,
        issued_at=times.issued_at,
        not_before=times.issued_at,
        expires_at=times.expires_at,
        subject=grant.subject or grant.client.client_id,
        confirmation=grant.confirmation,
        actor=grant.actor,
        claims=grant.claims,
    )
    tokens.put(token, meaning)
    return MintedToken(token)


def plain_payload(grant: Grant, issuer: str, times: Validity) -> str:
    """Return the claims of the default profile: `scope` is a list, and there is a `jti`.

    The `jti` makes two tokens of the same second differ, so revoking one leaves the other valid.
    """
    names, rights = _plain_members(issuer, grant.client.client_id, grant.audience, grant.scopes)
    now, end, more = times.issued_at, times.expires_at, _more(grant)
    return f'{{{names},"nbf":{now},{rights},"exp":{end},"iat":{now},"jti":"{_token_id()}"{more}}}'


def at_jwt_payload(grant: Grant, issuer: str, times: Validity) -> str:
    """Return the claims of RFC 9068, 2.2: the audience is the API, `scope` is a string.

    `cnf` is defined in RFC 7800, 3.1, `act` in RFC 8693, 4.1.
    """
    client_id = grant.client.client_id
    names, scope = _at_jwt_members(issuer, grant.subject or client_id, client_id, grant.audience, grant.scopes)
    now, end, more = times.issued_at, times.expires_at, _more(grant)
    return f'{{{names},"iat":{now},"nbf":{now},"exp":{end},"jti":"{_token_id()}"{scope}{more}}}'


# Most tokens of a client have the same members, except the times and the id.
@lru_cache(maxsize=256)
def _plain_members(issuer: str, client_id: str, audience: tuple[str, ...], scopes: tuple[str, ...]) -> tuple[str, str]:
    scope = {"scope": scopes} if scopes else {}
    return _members({"sub": client_id, "aud": _audience(audience)}), _members(scope | {"iss": issuer})


@lru_cache(maxsize=256)
def _at_jwt_members(
    issuer: str, subject: str, client_id: str, audience: tuple[str, ...], scopes: tuple[str, ...]
) -> tuple[str, str]:
    names = {"iss": issuer, "sub": subject, "client_id": client_id, "aud": _audience(audience)}
    return _members(names), "," + _members({"scope": " ".join(scopes)}) if scopes else ""


def _more(grant: Grant) -> str:
    """Return the members that few tokens have, each after a comma."""
    more = ""
    if grant.confirmation:
        more = "," + _members({"cnf": grant.confirmation.to_cnf()})
    if grant.actor:
        more += "," + _members({"act": grant.actor})
    if grant.claims:
        more += "," + _members(grant.claims)
    return more


def _members(claims: Mapping[str, object]) -> str:
    """Return claims in JSON, without braces."""
    return to_compact_json(claims)[1:-1]


def _token_id() -> str:
    return base64url.encode(os.urandom(_TOKEN_ID_BYTES))


def _audience(audience: tuple[str, ...]) -> str | tuple[str, ...]:
    return audience[0] if len(audience) == 1 else audience
