"""The clients of the walkthrough and of docs/, and the one that the authorizer introspects with.

Their secrets are in the open on purpose: they exist on a laptop only.
"""

from __future__ import annotations

from typing import Any

from functions.shared.clients.client import (
    CLIENT_CREDENTIALS,
    TOKEN_EXCHANGE,
    Client,
    TokenFormat,
    TokenProfile,
)
from functions.shared.clients.client_secrets import StoredSecret, digest_generated, digest_imported

__all__ = ["COUNTRY_API", "CUSTOMER_API", "SCOPES", "authorizer_client", "demo_clients"]

SCOPES = ("country.read", "customer.read", "customer.write")
COUNTRY_API = "https://country.example"
CUSTOMER_API = "https://customer.example"
"""Names of two APIs, as tokens have them in their audience. Nothing has to listen there."""

_METHODS = frozenset({"client_secret_basic", "client_secret_post"})


def demo_clients(*resources: str) -> list[Client]:
    """The two clients of the walkthrough (one gets JWTs, the other opaque tokens), and three more.

    `service-client-api` gets at+jwt tokens for either API, and for `resources`;
    `service-client-dpop`'s are bound to a key; `customer-service` is the customer API itself, which
    calls the country API in its turn.
    """
    return [
        _demo_client("service-client-jwt", token_profile=TokenProfile.PLAIN),
        _demo_client("service-client-opaque", token_format=TokenFormat.OPAQUE),
        _demo_client(
            "service-client-api",
            token_profile=TokenProfile.AT_JWT,
            audience=(COUNTRY_API,),
            allowed_resources=frozenset({CUSTOMER_API, *resources}),
            default_scopes=("country.read",),
            token_lifetime=600,
        ),
        _demo_client(
            "service-client-dpop",
            token_profile=TokenProfile.AT_JWT,
            audience=(COUNTRY_API,),
            dpop_bound_access_tokens=True,
            dpop_nonce_required=True,
        ),
        _demo_client(
            "customer-service",
            grant_types=frozenset({CLIENT_CREDENTIALS, TOKEN_EXCHANGE}),
            token_profile=TokenProfile.AT_JWT,
            audience=(COUNTRY_API,),
            resource_audiences=frozenset({CUSTOMER_API}),
            exchange_subjects=frozenset({"service-client-api"}),
        ),
    ]


def authorizer_client(secret: str) -> Client:
    """The resource server's own client: it gets no tokens, and sees those that carry its scopes."""
    return Client(
        client_id="authorizer",
        name="The guarded API's authorizer",
        authentication_methods=_METHODS,
        secrets=(StoredSecret(digest_generated(secret)),),
        grant_types=frozenset(),
        resource_scopes=frozenset(SCOPES),
    )


def _demo_client(client_id: str, **registered: Any) -> Client:
    return Client(
        client_id=client_id,
        name="A demo client",
        authentication_methods=_METHODS,
        # Not one that we made but one that people know, so scrypt keeps it.
        secrets=(StoredSecret(digest_imported(f"{client_id}-secret")),),
        scopes=frozenset(SCOPES),
        **registered,
    )
