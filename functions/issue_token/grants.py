"""Grant decisions: the scopes and the audience that a client gets. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from authorizer.claims import Confirmation

from ..shared.clients.client import Client, TokenFormat, TokenProfile, is_resource_indicator
from ..shared.web.form import Form
from ..shared.web.oauth_errors import (
    InvalidScopeError,
    InvalidTargetError,
    UnauthorizedClientError,
    UnsupportedGrantTypeError,
)

if TYPE_CHECKING:
    from .jwt_grant import AcceptedAssertion


_NAMED_SCOPE = re.compile(r"[A-Za-z0-9._:/+-]{1,128}")


@dataclass(slots=True)
class TokenRequest:
    """A token request of a client. `confirmation` is the key that it proved, `assertion` its accepted grant."""

    client: Client
    form: Form
    now: float
    confirmation: Confirmation | None = None
    assertion: AcceptedAssertion | None = None

    def proves(self, bound_to: Confirmation | None) -> bool:
        """Return whether the request may use a token: one that is bound to a key needs the proof of that key."""
        return bound_to is None or bound_to == self.confirmation


@dataclass(slots=True)
class Grant:
    """The content of the token to mint: its client, its scopes and its audience.

    After a token exchange, `subject` differs from the client and `actor` is the `act` claim. The
    token expires at `not_after` at the latest. `issued_token_type` and `resource` are members of the response.
    `claims` are the additional claims; `additional_claims` has the rules for them.
    """

    client: Client
    scopes: tuple[str, ...]
    audience: tuple[str, ...]
    confirmation: Confirmation | None = None
    subject: str | None = None
    actor: Mapping[str, Any] | None = None
    not_after: int | None = None
    issued_token_type: str | None = None
    resource: str | None = None
    claims: Mapping[str, object] = field(default_factory=dict)


Decide = Callable[[TokenRequest], Grant]
"""Decides requests of one grant type."""


def decide_grant(request: TokenRequest, by_grant_type: Mapping[str, Decide]) -> Grant:
    """Decide a token request by the function for its grant type.

    Raises:
        InvalidRequestError: there is no grant_type.
        UnsupportedGrantTypeError: the grant type is unknown.
        UnauthorizedClientError: the client may not use it.
        OAuthError: the grant type's own function refuses the request.
    """
    grant_type = request.form.require("grant_type")
    decide = by_grant_type.get(grant_type)
    if decide is None:
        raise UnsupportedGrantTypeError
    if grant_type not in request.client.grant_types:
        raise UnauthorizedClientError
    return decide(request)


def grant_client_credentials(request: TokenRequest) -> Grant:
    """Decide a client credentials request. RFC 6749, 4.4.

    Raises:
        InvalidScopeError: a scope is malformed, unknown or not allowed.
        InvalidTargetError: a resource is malformed, unknown or not allowed.
    """
    client, form = request.client, request.form
    scopes = granted_scopes(client, form.get("scope"))
    resources = form.get_all("resource")
    audience = named_audience(client, resources) if resources else default_audience(client)
    return Grant(client, scopes, audience, request.confirmation, claims=client.claims)


def granted_scopes(client: Client, requested: str | None) -> tuple[str, ...]:
    """Return the scopes to grant, in the order requested, each once.

    Without `scope` a request gets the client's default scopes. Without defaults its token allows
    nothing. RFC 6749, 3.3, asks for a documented default or an error; granting every allowed scope
    would add rights that were not requested.

    Raises:
        InvalidScopeError: a scope is malformed, unknown or not allowed. Granting the remaining
            scopes would hide the error from the client.
    """
    if requested is None:
        return client.default_scopes
    scopes = tuple(dict.fromkeys(requested.split(" ")))
    return _each_among(scopes, client.scopes)


def narrowed_scopes(client: Client, requested: str, limit: Collection[str], source: str) -> tuple[str, ...]:
    """Return the scopes to grant, as `granted_scopes`, if the `source` of the grant has each of them.

    Raises:
        InvalidScopeError: a scope is malformed, unknown or not allowed, or not in `limit`.
    """
    return _each_among(granted_scopes(client, requested), limit, f"the {source} does not have a requested scope")


def _each_among(scopes: tuple[str, ...], allowed: Collection[str], reason: str | None = None) -> tuple[str, ...]:
    """Return the scopes; raises InvalidScopeError if one is not allowed.

    The description names a scope of ordinary characters. The reason, which is logged, does not: a
    caller may have put a secret in this field.
    """
    if frozenset(allowed).issuperset(scopes):
        return scopes
    scope = next(scope for scope in scopes if scope not in allowed)
    named = f"The scope {scope} is unknown or not allowed for this client." if _NAMED_SCOPE.fullmatch(scope) else None
    raise InvalidScopeError(named, reason=reason or InvalidScopeError.default_description)


def default_audience(client: Client) -> tuple[str, ...]:
    """Return the audience of a token whose request names no resource.

    Raises:
        InvalidTargetError: the client has no default, and its kind of token needs an API.
    """
    if client.token_format is TokenFormat.OPAQUE:
        return client.audience or (client.client_id,)
    if client.token_profile is TokenProfile.PLAIN:
        return (client.client_id,)
    return required_audience(client)


def required_audience(client: Client) -> tuple[str, ...]:
    """Return the client's registered default audience.

    Raises:
        InvalidTargetError: there is none.
    """
    if not client.audience:
        raise InvalidTargetError("Name the resource that the token is for.")
    return client.audience


def named_audience(client: Client, resources: Collection[str], names: Collection[str] = ()) -> tuple[str, ...]:
    """Return the one API that a request names by `resource` or, in an exchange, by `audience`.

    RFC 8707, 2, lets a request name several. They are refused, because each API in a token's
    audience could use the token at all the others.

    Raises:
        InvalidTargetError: malformed, unknown, not allowed, or more than one.
    """
    if not all(map(is_resource_indicator, resources)):
        raise InvalidTargetError("A resource is an absolute URI without a fragment.")
    wanted = frozenset((*resources, *names))
    if not wanted.issubset((*client.audience, *client.allowed_resources)):
        raise InvalidTargetError
    if len(wanted) > 1:
        raise InvalidTargetError("A token is for one resource: ask for one at a time.")
    return tuple(wanted)
