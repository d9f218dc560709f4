"""The one place that knows which real parts make an authorizer."""

from __future__ import annotations

import os
import time
from functools import partial
from typing import TYPE_CHECKING

from authorizer import https_client, strict_json
from authorizer.answers import Answers, PolicyAnswers, SimpleAnswers
from authorizer.claims import ClaimRules
from authorizer.clocks import Chance, Clock, Clocks, chance
from authorizer.gate import Gate, Parts
from authorizer.https_client import Request, Response, Send
from authorizer.jwk import parse_key_set
from authorizer.jwks_cache import Ages, JwksCache
from authorizer.policy import PolicyCompiler
from authorizer.scope_map import ScopeMap, parse_scope_map
from authorizer.settings import Settings, SettingsError
from authorizer.verifier import IssuerTrust, Verifier, header_rules

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from authorizer.deny_list import DenyList
    from authorizer.introspection import CredentialSource, Introspector
    from authorizer.possession import Possession
    from authorizer.used_proofs import UsedProofs

# Not pathlib, which would be a sixth of the time that a cold start takes.
_SCOPES = os.path.join(os.path.dirname(__file__), "scopes.json")  # noqa: PTH118, PTH120


def build(  # noqa: PLR0913 - everything that has time, randomness or a network in it
    settings: Settings,
    *,
    clock: Clock = time.time,
    monotonic: Clock = time.monotonic,
    chance: Chance = chance,
    send: Send = https_client.send,
    emit: Callable[[str], None] = print,
    credential_source: CredentialSource | None = None,
) -> Gate:
    """Build an authorizer. Reads the files that the settings name; fetches nothing.

    Raises:
        ScopeMapError: the scope map is not usable.
        SettingsError: the map of API keys is not.
    """
    clocks = Clocks(clock, monotonic)
    rules = ClaimRules(
        settings.issuer, settings.audiences, settings.client_ids, settings.max_token_lifetime
    )
    seed = _read(settings.jwks_seed) if settings.jwks_seed else None
    keys = _key_cache(settings, settings.jwks_uri, seed, clocks, send, chance)
    trusted = {settings.issuer: IssuerTrust(keys, rules)}
    freshness = {settings.issuer: keys.freshness}
    for other in settings.other_issuers:
        other_keys = _key_cache(settings, other.jwks_uri, None, clocks, send, chance)
        other_rules = ClaimRules(
            other.issuer, other.audiences, other.client_ids, settings.max_token_lifetime
        )
        trusted[other.issuer] = IssuerTrust(other_keys, other_rules)
        freshness[other.issuer] = other_keys.freshness
    parts = Parts(
        Verifier(
            trusted,
            header_rules(settings.algorithms, require_at_jwt=settings.require_at_jwt),
            remembered_tokens=settings.remembered_tokens,
        ),
        _answers(settings),
        freshness,
        _introspector(settings, clocks, send, rules, credential_source, chance),
        _possession(settings),
        _deny_list(settings, clocks, chance),
    )
    if not settings.audiences:
        emit('{"notice":"AUDIENCE is empty: tokens for any audience are accepted"}')
    return Gate(parts, clock=clock, emit=emit)


def _key_cache(
    settings: Settings, uri: str, seed: bytes | None, clocks: Clocks, send: Send, chance: Chance
) -> JwksCache:
    return JwksCache(
        partial(fetch_jwks, send, uri),
        partial(parse_key_set, algorithms=settings.algorithms),
        clocks,
        ages=Ages(settings.jwks_soft_age, settings.jwks_hard_age, settings.jwks_cool_down),
        seed=seed,
        chance=chance,
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
    chance: Chance,
) -> Introspector | None:
    if settings.introspection_uri is None:
        return None
    from authorizer.introspection import Introspector

    return Introspector(
        settings.introspection_uri,
        send,
        credential_source or _credential_source(settings),
        rules,
        clocks,
        cache_seconds=settings.introspection_cache,
        chance=chance,
    )


def _credential_source(settings: Settings) -> CredentialSource:
    from authorizer import credentials

    if settings.introspection_client_id and settings.introspection_client_secret:
        return credentials.fixed(
            settings.introspection_client_id, settings.introspection_client_secret
        )
    return credentials.SecretsManagerCredentials(settings.introspection_secret_arn or "")


# What few authorizers are configured for is imported when it is: the rest start without it.
# ruff: noqa: PLC0415


def _possession(settings: Settings) -> Possession | None:
    if not settings.confirmation_methods:
        return None
    from authorizer.possession import Possession

    return Possession(settings.confirmation_methods, settings.resource, _used_proofs(settings))


def _used_proofs(settings: Settings) -> UsedProofs:
    from authorizer.aws import DynamoDb
    from authorizer.used_proofs import DynamoDbUsedProofs, MemoryUsedProofs

    if settings.replay_table is None:
        return MemoryUsedProofs()
    return DynamoDbUsedProofs(settings.replay_table, DynamoDb(settings.fetch_timeout))


def _deny_list(settings: Settings, clocks: Clocks, chance: Chance) -> DenyList | None:
    if settings.deny_list_table is None:
        return None
    from authorizer.aws import DynamoDb
    from authorizer.deny_list import DenyList, DynamoDbRevokedTokens

    return DenyList(
        DynamoDbRevokedTokens(settings.deny_list_table, DynamoDb(settings.fetch_timeout)),
        clocks,
        soft_age=settings.deny_list_soft_age,
        hard_age=settings.deny_list_hard_age,
        remembered=settings.remembered_tokens,
        chance=chance,
    )


def _answers(settings: Settings) -> Answers:
    scope_map = _scope_map(settings)
    if settings.simple_response:
        return SimpleAnswers(scope_map)
    return PolicyAnswers(
        PolicyCompiler(scope_map), _usage_keys(settings.usage_keys), expire=settings.policy_expires
    )


def _usage_keys(path: str | None) -> Mapping[str, str]:
    """Read the API keys of clients: a JSON object of client id to key."""
    if path is None:
        return {}
    try:
        members = strict_json.parse_object(_read(path))
    except strict_json.JsonError as error:
        raise SettingsError([f"USAGE_KEYS is not a JSON object: {error}"]) from None
    keys = {name: key for name, key in members.items() if isinstance(key, str) and key}
    if len(keys) != len(members):
        raise SettingsError(["USAGE_KEYS has a key that is not a text"])
    return keys


def _scope_map(settings: Settings) -> ScopeMap:
    return parse_scope_map(_read(settings.scope_map or _SCOPES))


def _read(path: str) -> bytes:
    with open(path, "rb") as file:  # noqa: PTH123 - as above
        return file.read()
