"""The clients of the walkthrough, and the one that the authorizer introspects with.

Their secrets are in the open on purpose: they exist on a laptop only.
"""

from __future__ import annotations

from functions.shared.client_record import Client, TokenFormat
from functions.shared.client_secrets import StoredSecret, digest_generated, digest_imported

__all__ = ["authorizer_client", "demo_clients"]

SCOPES = ("country.read", "customer.read", "customer.write")
_METHODS = frozenset({"client_secret_basic", "client_secret_post"})


def demo_clients() -> list[Client]:
    """The two clients of the walkthrough: one gets JWTs, the other opaque tokens."""
    return [
        _demo_client("service-client-jwt", TokenFormat.JWT),
        _demo_client("service-client-opaque", TokenFormat.OPAQUE),
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


def _demo_client(client_id: str, token_format: TokenFormat) -> Client:
    return Client(
        client_id=client_id,
        name=f"Demo client with {token_format.value} tokens",
        authentication_methods=_METHODS,
        # Not one that we made but one that people know, so scrypt keeps it.
        secrets=(StoredSecret(digest_imported(f"{client_id}-secret")),),
        scopes=frozenset(SCOPES),
        token_format=token_format,
    )
