"""Keys, rings, secrets and clients for tests of the authorization server."""

from dataclasses import replace
from functools import cache
from typing import Any

from functions.rotate_keys.key_backends import generate_key
from functions.shared.clients.client import Client, TokenProfile
from functions.shared.clients.client_secrets import StoredSecret, digest_generated
from functions.shared.clients.supported import JWT_BEARER
from functions.shared.keys import key_ring, signing_keys
from functions.shared.keys.key_ring import KeyRing
from functions.shared.keys.rotation import NewKey, first_ring
from tests.support.aws import KEY_RING_SECRET, SIGNING_KEYS_SECRET
from tests.support.memory_stores import MemorySecrets

NOW = 1_700_000_000
SECRET = "a-secret-that-only-tests-know"
SCOPES = ("country.read", "customer.read", "customer.write")
SECRET_METHODS = frozenset({"client_secret_basic", "client_secret_post"})


def key(number: int = 1, alg: str = "RS256") -> NewKey:
    """Return one of a few keys, each made once per test run: making one takes long."""
    return _made(number, alg)


def generate(alg: str) -> NewKey:
    """Return the first of those keys, in the place of a new one."""
    return key(1, alg)


@cache
def _made(number: int, alg: str) -> NewKey:
    return generate_key(alg)


def ring(*keys: NewKey, now: float = NOW) -> KeyRing:
    """Return a ring of keys that all sign from `now` on."""
    return first_ring(keys or (key(),), now)


def secrets(*keys: NewKey, now: float = NOW) -> MemorySecrets:
    """Return a secret store with a ring and its private keys."""
    chosen = keys or (key(),)
    private_keys = {new_key.kid: new_key.private_pem for new_key in chosen}
    store = MemorySecrets()
    store.write(KEY_RING_SECRET, key_ring.to_json(ring(*chosen, now=now)))
    store.write(SIGNING_KEYS_SECRET, signing_keys.to_json(private_keys))
    return store


def client(client_id: str = "service-client-jwt", **changes: Any) -> Client:
    """Return a client with the secret `SECRET` and the walkthrough's scopes."""
    plain = Client(
        client_id=client_id,
        name="A service",
        authentication_methods=SECRET_METHODS,
        secrets=(StoredSecret(digest_generated(SECRET)),),
        scopes=frozenset(SCOPES),
    )
    return replace(plain, **changes)


def assertion_client(client_id: str, audience: str, **changes: Any) -> Client:
    """Return a client without authentication methods, whose tokens only JWT grants can get."""
    grants: dict[str, Any] = {"grant_types": frozenset({JWT_BEARER}), "token_profile": TokenProfile.AT_JWT}
    plain = client(client_id, authentication_methods=frozenset(), secrets=(), audience=(audience,), **grants)
    return replace(plain, **changes)
