"""The one place that knows which real parts make an authorizer."""

import os
import time
from collections.abc import Callable
from functools import partial

from authorizer import credentials, https_client
from authorizer.claims import ClaimRules
from authorizer.clocks import Clock, Clocks
from authorizer.gate import Gate
from authorizer.https_client import Request, Response, Send
from authorizer.introspection import CredentialSource, Introspector
from authorizer.jwk import parse_key_set
from authorizer.jwks_cache import Ages, JwksCache
from authorizer.policy import PolicyCompiler
from authorizer.scope_map import ScopeMap, parse_scope_map
from authorizer.settings import Settings
from authorizer.verifier import IssuerTrust, Verifier, header_rules

# Not pathlib, which would be a sixth of the time that a cold start takes.
_SCOPES = os.path.join(os.path.dirname(__file__), "scopes.json")  # noqa: PTH118, PTH120


def build(
    settings: Settings,
    *,
    clock: Clock = time.time,
    monotonic: Clock = time.monotonic,
    send: Send = https_client.send,
    emit: Callable[[str], None] = print,
    credential_source: CredentialSource | None = None,
) -> Gate:
    """Build an authorizer. Reads the scope map and the seed key set; fetches nothing."""
    clocks = Clocks(clock, monotonic)
    rules = ClaimRules(
        settings.issuer, settings.audiences, settings.client_ids, settings.max_token_lifetime
    )
    keys = _key_cache(settings, clocks, send)
    verifier = Verifier(
        {settings.issuer: IssuerTrust(keys, rules)},
        header_rules(settings.algorithms, require_at_jwt=settings.require_at_jwt),
        remembered_tokens=settings.remembered_tokens,
    )
    if not settings.audiences:
        emit('{"notice":"AUDIENCE is empty: tokens for any audience are accepted"}')
    return Gate(
        verifier,
        _introspector(settings, clocks, send, rules, credential_source),
        PolicyCompiler(_scope_map(settings)),
        clock=clock,
        emit=emit,
        freshness=keys.freshness,
        policy_expires=settings.policy_expires,
    )


def _key_cache(settings: Settings, clocks: Clocks, send: Send) -> JwksCache:
    return JwksCache(
        partial(fetch_jwks, send, settings.jwks_uri),
        partial(parse_key_set, algorithms=settings.algorithms),
        clocks,
        ages=Ages(settings.jwks_soft_age, settings.jwks_hard_age, settings.jwks_cool_down),
        seed=_read(settings.jwks_seed) if settings.jwks_seed else None,
    )


def fetch_jwks(send: Send, uri: str, etag: str | None, seconds: float) -> Response:
    """Ask for a key set, or for news since the one with this ETag."""
    headers = {"Accept": "application/jwk-set+json, application/json"}
    if etag is not None:
        headers["If-None-Match"] = etag
    return send(Request("GET", uri, headers, b"", seconds))


def _introspector(
    settings: Settings,
    clocks: Clocks,
    send: Send,
    rules: ClaimRules,
    credential_source: CredentialSource | None,
) -> Introspector | None:
    if settings.introspection_uri is None:
        return None
    return Introspector(
        settings.introspection_uri,
        send,
        credential_source or _credential_source(settings),
        rules,
        clocks,
        cache_seconds=settings.introspection_cache,
    )


def _credential_source(settings: Settings) -> CredentialSource:
    if settings.introspection_client_id and settings.introspection_client_secret:
        return credentials.fixed(
            settings.introspection_client_id, settings.introspection_client_secret
        )
    return credentials.SecretsManagerCredentials(settings.introspection_secret_arn or "")


def _scope_map(settings: Settings) -> ScopeMap:
    return parse_scope_map(_read(settings.scope_map or _SCOPES))


def _read(path: str) -> bytes:
    with open(path, "rb") as file:  # noqa: PTH123 - as above
        return file.read()
