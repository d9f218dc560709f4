"""Grants: what an authenticated client gets. Decided here, minted elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from functions.issue_token.targets import default_audience, named_audience
from functions.shared.web.oauth_errors import (
    InvalidScopeError,
    UnauthorizedClientError,
    UnsupportedGrantTypeError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from authorizer.claims import Confirmation
    from functions.shared.clients.client_record import Client
    from functions.shared.web.form import Form


class TokenRequest(NamedTuple):
    """What is known of a token request once its client is: `confirmation` is the key it proved."""

    client: Client
    form: Form
    now: float
    confirmation: Confirmation | None = None


class Grant(NamedTuple):
    """What a token is going to say: who holds it, for what, and for which APIs.

    After an exchange the token speaks for another `subject`, names who acts in its stead, does not
    count after `not_after`, and its answer says what kind it is.
    """

    client: Client
    scopes: tuple[str, ...]
    audience: tuple[str, ...]
    confirmation: Confirmation | None = None
    subject: str | None = None
    actor: Mapping[str, Any] | None = None
    not_after: int | None = None
    issued_token_type: str | None = None


Decision = Callable[[TokenRequest], Grant]


@dataclass(frozen=True, slots=True)
class GrantDecisions:
    """How each grant type is decided."""

    by_grant_type: Mapping[str, Decision]

    def decide(self, request: TokenRequest) -> Grant:
        """Decide what a client gets for a token request.

        Raises:
            InvalidRequestError: there is no grant_type.
            UnsupportedGrantTypeError: nobody can use this grant type.
            UnauthorizedClientError: this client cannot.
            OAuthError: whatever the grant type's own rules refuse.
        """
        grant_type = request.form.require("grant_type")
        decision = self.by_grant_type.get(grant_type)
        if decision is None:
            raise UnsupportedGrantTypeError
        if grant_type not in request.client.grant_types:
            raise UnauthorizedClientError
        return decision(request)


def grant_client_credentials(request: TokenRequest) -> Grant:
    """Decide a client credentials request. RFC 6749, 4.4.

    Raises:
        InvalidScopeError: a scope is malformed, unknown or not allowed.
        InvalidTargetError: a resource is.
    """
    client, form = request.client, request.form
    scopes = granted_scopes(client, form.get("scope"))
    resources = form.get_all("resource")
    audience = named_audience(client, resources) if resources else default_audience(client)
    return Grant(client, scopes, audience, request.confirmation)


def granted_scopes(client: Client, requested: str | None) -> tuple[str, ...]:
    """Return the scopes to grant, in the order requested, each once.

    A request that names none gets the client's default scopes. Without defaults it gets a token
    that allows nothing: RFC 6749, 3.3 leaves a choice between a documented default and an error,
    and granting everything allowed would hand out rights that nobody asked for.

    Raises:
        InvalidScopeError: a scope is malformed, unknown or not allowed. All or nothing: a client
            that asks for too much is told, rather than surprised later.
    """
    if requested is None:
        return client.default_scopes
    scopes = tuple(dict.fromkeys(requested.split(" ")))
    if not client.scopes.issuperset(scopes):
        raise InvalidScopeError
    return scopes
