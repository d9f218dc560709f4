"""Grants: what an authenticated client gets. Decided here, minted elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from functions.shared.client_record import CLIENT_CREDENTIALS, Client
from functions.shared.oauth_errors import (
    InvalidScopeError,
    UnauthorizedClientError,
    UnsupportedGrantTypeError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from functions.shared.form import Form


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token is going to say: who holds it, for what, and for which APIs."""

    client: Client
    scopes: tuple[str, ...]
    audience: tuple[str, ...]


def decide(client: Client, form: Form) -> Grant:
    """Decide what a client gets for a token request.

    Raises:
        InvalidRequestError: there is no grant_type.
        UnsupportedGrantTypeError: nobody can use this grant type.
        UnauthorizedClientError: this client cannot.
        InvalidScopeError: a scope is malformed, unknown or not allowed.
    """
    grant_type = form.require("grant_type")
    decision = _DECISIONS.get(grant_type)
    if decision is None:
        raise UnsupportedGrantTypeError
    if grant_type not in client.grant_types:
        raise UnauthorizedClientError
    return decision(client, form)


def grant_client_credentials(client: Client, form: Form) -> Grant:
    """Decide a client credentials request. RFC 6749, 4.4."""
    scopes = granted_scopes(client, form.get("scope"))
    return Grant(client, scopes, client.audience or (client.client_id,))


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


_DECISIONS: Final[Mapping[str, Callable[[Client, Form], Grant]]] = {
    CLIENT_CREDENTIALS: grant_client_credentials
}
