"""The one place that knows which real parts make an authorizer."""

# What few authorizers are configured for is imported when it is: the rest start without it.
# ruff: noqa: PLC0415 - as it says above

from __future__ import annotations

import json
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from authorizer import https_client
from authorizer.answers import Answers, PolicyAnswers, SimpleAnswers
from authorizer.claims import ClaimRules
from authorizer.clocks import Clock, Clocks
from authorizer.files import read_scope_map, read_seed, read_usage_keys
from authorizer.gate import Gate, Parts
from authorizer.https_client import Request, Response, Send
from authorizer.jwk import parse_key_set
from authorizer.jwks_cache import JwksCache, Seed
from authorizer.metrics import Meter
from authorizer.policy import PolicyCompiler
from authorizer.scope_map import ApiRules, ScopeMap
from authorizer.upkeep import Ages, Chance, chance
from authorizer.verifier import IssuerTrust, Verifier, header_rules

if TYPE_CHECKING:
    from collections.abc import Callable

    from authorizer.deny_list import DenyList, RevokedTokens
    from authorizer.gate import Decider
    from authorizer.introspection import CredentialSource, Introspector
    from authorizer.jwks_cache import Fetch
    from authorizer.possession import Possession
    from authorizer.routes import Route
    from authorizer.settings import Settings
    from authorizer.shared_gate import RulesSource, SharedGate
    from authorizer.used_proofs import UsedProofs


def write_line(line: str) -> None:
    """Write a line of the log in one piece: `print` writes its end on its own."""
    sys.stdout.write(line + "\n")


def build(  # noqa: PLR0913 - everything that has time, randomness or a network in it
    settings: Settings,
    *,
    clock: Clock = time.time,
    monotonic: Clock = time.monotonic,
    chance: Chance = chance,
    send: Send = https_client.send,
    emit: Callable[[str], None] = write_line,
    credential_source: CredentialSource | None = None,
    rules_source: RulesSource | None = None,
    revoked_tokens: RevokedTokens | None = None,
) -> Decider:
    """Build an authorizer. Reads the files that the settings name; fetches nothing.

    Raises:
        ScopeMapError: the scope map is not usable.
        SettingsError: another file is not.
        KeySetUnavailable: the seed is no key set.
    """
    maker = _GateMaker(
        settings,
        _Outside(Clocks(clock, monotonic), chance, send, emit),
        credential_source or _credential_source(settings),
        revoked_tokens,
    )
    for other in settings.other_issuers:
        if not other.client_ids:
            text = f"OTHER_ISSUERS has no client_ids for {other.issuer}: any client is accepted"
            emit(json.dumps({"notice": text}))
    if settings.api_rules is not None:
        return maker.shared_gate(rules_source or _parameter_store(settings, settings.api_rules))
    if not settings.audiences:
        emit('{"notice":"AUDIENCE is empty: tokens for any audience are accepted"}')
    return maker.gate(ApiRules(read_scope_map(settings.scope_map), frozenset()))


class _Outside(NamedTuple):
    """Where time and chance come from, and where requests and lines go to."""

    clocks: Clocks
    chance: Chance
    send: Send
    emit: Callable[[str], None]


class _GateMaker:
    """Makes gates that share key sets and stores, each by the rules of one API."""

    def __init__(
        self,
        settings: Settings,
        outside: _Outside,
        credential_source: CredentialSource | None,
        revoked_tokens: RevokedTokens | None,
    ) -> None:
        self._settings = settings
        self._outside = outside
        self._credential_source = credential_source
        self._meter = Meter(settings.stack_name, outside.clocks.wall)
        seed = read_seed(settings.jwks_seed) if settings.jwks_seed else None
        self._keys = {settings.issuer: self._key_cache(settings.issuer, settings.jwks_uri, seed)}
        for other in settings.other_issuers:
            self._keys[other.issuer] = self._key_cache(other.issuer, other.jwks_uri, None)
        self._freshness = {issuer: keys.freshness for issuer, keys in self._keys.items()}
        self._possession = _possession(settings)
        self._deny_list = self._make_deny_list(revoked_tokens)

    def gate(self, rules: ApiRules) -> Gate:
        """Make the gate of one API."""
        settings = self._settings
        issuers = _claim_rules(settings, rules.audiences)
        parts = Parts(
            Verifier(
                {each.issuer: IssuerTrust(self._keys[each.issuer], each) for each in issuers},
                header_rules(settings.algorithms, require_at_jwt=settings.require_at_jwt),
                remembered_tokens=settings.remembered_tokens,
            ),
            _answers(settings, rules.scope_map, self._outside.emit),
            self._freshness,
            self._introspector(issuers[0]),
            self._possession,
            self._deny_list,
        )
        outside = self._outside
        return Gate(parts, clocks=outside.clocks, emit=outside.emit, meter=self._meter)

    def shared_gate(self, source: RulesSource) -> SharedGate:
        """Make the gate of many APIs, whose rules the source knows."""
        from authorizer.shared_gate import ApiGates, SharedGate

        settings, outside = self._settings, self._outside
        gates = ApiGates(
            source,
            self.gate,
            outside.clocks,
            ages=Ages(settings.api_rules_soft_age, settings.api_rules_hard_age),
            chance=outside.chance,
            emit=outside.emit,
        )
        return SharedGate(
            gates,
            self._freshness,
            clocks=outside.clocks,
            emit=outside.emit,
            meter=self._meter,
        )

    def _key_cache(self, issuer: str, jwks_uri: str | None, seed: Seed | None) -> JwksCache:
        settings = self._settings
        return JwksCache(
            self._fetch(issuer, jwks_uri),
            partial(parse_key_set, algorithms=settings.algorithms),
            self._outside.clocks,
            ages=Ages(settings.jwks_soft_age, settings.jwks_hard_age),
            cool_down=settings.jwks_cool_down,
            seed=seed,
            chance=self._outside.chance,
            note=self._meter.note,
        )

    def _fetch(self, issuer: str, jwks_uri: str | None) -> Fetch:
        get = partial(fetch_jwks, self._outside.send)
        if jwks_uri is not None:
            return partial(get, jwks_uri)
        from authorizer.discovery import Discovery

        return Discovery(issuer, get, self._outside.clocks)

    def _introspector(self, rules: ClaimRules) -> Introspector | None:
        if self._settings.introspection_uri is None or self._credential_source is None:
            return None
        from authorizer.introspection import Introspector

        return Introspector(
            self._settings.introspection_uri,
            self._outside.send,
            self._credential_source,
            rules,
            self._outside.clocks,
            cache_seconds=self._settings.introspection_cache,
            chance=self._outside.chance,
        )

    def _make_deny_list(self, revoked_tokens: RevokedTokens | None) -> DenyList | None:
        settings = self._settings
        if settings.deny_list_table is None:
            return None
        from authorizer.aws import DynamoDb
        from authorizer.deny_list import DenyList, DynamoDbRevokedTokens

        return DenyList(
            revoked_tokens
            or DynamoDbRevokedTokens(settings.deny_list_table, DynamoDb(settings.fetch_timeout)),
            self._outside.clocks,
            ages=Ages(settings.deny_list_soft_age, settings.deny_list_hard_age),
            remembered=settings.remembered_tokens,
            chance=self._outside.chance,
        )


def fetch_jwks(send: Send, uri: str, etag: str | None, seconds: float) -> Response:
    """Ask for a key set, or for news since the one with this ETag."""
    headers = {"Accept": "application/jwk-set+json, application/json"}
    if etag is not None:
        headers["If-None-Match"] = etag
    return send(Request("GET", uri, headers, b"", seconds))


def _claim_rules(settings: Settings, audiences: frozenset[str]) -> list[ClaimRules]:
    """Return what each issuer's tokens must say, those of the first issuer first.

    An API's own audiences are meant for whoever issues: else a token could pass from API to API.
    """
    longest = settings.max_token_lifetime
    return [
        ClaimRules(settings.issuer, audiences or settings.audiences, settings.client_ids, longest),
        *(
            ClaimRules(other.issuer, audiences or other.audiences, other.client_ids, longest)
            for other in settings.other_issuers
        ),
    ]


def _answers(settings: Settings, scope_map: ScopeMap, emit: Callable[[str], None]) -> Answers:
    if settings.simple_response:
        return SimpleAnswers(scope_map)
    compiler = PolicyCompiler(scope_map, partial(_tell_of_loss, emit))
    for scopes in compiler.hopeless_scopes():
        # Scopes have no character that JSON would write otherwise (RFC 6749, 3.3); nor have routes.
        emit(
            f'{{"notice":"{scopes} opens more routes than a policy can name: '
            'its tokens are answered with 500"}'
        )
    issuers = [settings.issuer, *(other.issuer for other in settings.other_issuers)]
    return PolicyAnswers(
        compiler,
        read_usage_keys(settings.usage_keys, issuers) if settings.usage_keys else {},
        expire=settings.policy_expires,
    )


def _tell_of_loss(emit: Callable[[str], None], scopes: str, routes: list[Route]) -> None:
    for route in routes:
        emit(
            f'{{"notice":"{scopes} opens {route.pattern()}, which its policy has to deny: '
            'IAM cannot tell it from a closed route"}'
        )


def _credential_source(settings: Settings) -> CredentialSource | None:
    if settings.introspection_uri is None:
        return None
    from authorizer import credentials

    if settings.introspection_client_id and settings.introspection_client_secret:
        return credentials.fixed(
            settings.introspection_client_id, settings.introspection_client_secret
        )
    return credentials.SecretsManagerCredentials(settings.introspection_secret_arn or "")


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


def _parameter_store(settings: Settings, path: str) -> RulesSource:
    from authorizer.aws import SystemsManager
    from authorizer.shared_gate import ParameterStore

    return ParameterStore(path, SystemsManager(settings.fetch_timeout))
