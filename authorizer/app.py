"""Composition of an authorizer from its settings."""

from __future__ import annotations

import json
import os
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, cast

from authorizer import https_client, strict_json
from authorizer.authorizer import Authorizer, Parts
from authorizer.cache import Ages, Jitter, jitter
from authorizer.claims import ClaimRules
from authorizer.clock import Clock, Clocks
from authorizer.https_client import Request, Response, Send
from authorizer.jwk import parse_key_set
from authorizer.jwks_cache import BundledJwks, JwksCache
from authorizer.metrics import Meter
from authorizer.policy import PolicyCompiler
from authorizer.responses import PolicyResponses, ResponseWriter, SimpleResponses
from authorizer.scope_map import ApiRules, ScopeMap, parse_scope_map
from authorizer.settings import SettingsError
from authorizer.verifier import TrustedIssuer, Verifier, header_rules

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from authorizer.authorizer import BaseAuthorizer
    from authorizer.introspection import CredentialSource, Introspector
    from authorizer.jwks_cache import Fetch
    from authorizer.multi_api import MultiApiAuthorizer, RulesSource
    from authorizer.proof_of_possession import ProofOfPossession
    from authorizer.routes import Route
    from authorizer.settings import Settings
    from authorizer.state_table import DenyList, ReplayStore, RevokedTokens


_SCOPES = os.path.join(os.path.dirname(__file__), "scopes.json")

# Every time in milliseconds lies beyond: such a seed would be fresh in each new sandbox.
_YEAR_5138 = 1e11


def read_scope_map(setting: str | None) -> ScopeMap:
    """Read the scope map: what stands in the setting itself, or a file.

    Raises:
        ScopeMapError: it is not usable.
    """
    said = setting or _SCOPES
    return parse_scope_map(said.encode() if said.lstrip().startswith("{") else _read(said))


def read_usage_keys(path: str, issuers: Sequence[str]) -> Mapping[tuple[str, str], str]:
    """Read the API keys of clients, by issuer and client id.

    The file is a JSON object of client id to key, for clients of the first issuer. A member that is
    named after an issuer has such an object for clients of this issuer.

    Raises:
        SettingsError: it is something else.
    """
    members = _parse_object("USAGE_KEYS", _read(path))
    keys: dict[tuple[str, str], object] = {}
    for name, value in members.items():
        if name in issuers and isinstance(value, dict):
            keys |= {(name, client_id): key for client_id, key in value.items()}
        else:
            keys[issuers[0], name] = value
    if not all(isinstance(key, str) and key for key in keys.values()):
        raise SettingsError(["USAGE_KEYS has a key that is not a text"])
    return cast("Mapping[tuple[str, str], str]", keys)


def read_seed(path: str) -> BundledJwks:
    """Read a key set with the time at which it was fetched, if the file tells: `fetched_at`.

    Raises:
        SettingsError: it is no JSON object, or that time is none in seconds since the epoch.
    """
    body = _read(path)
    members = _parse_object("JWKS_SEED", body)
    if "fetched_at" not in members:
        return BundledJwks(body)
    fetched_at = members["fetched_at"]
    if isinstance(fetched_at, bool) or not isinstance(fetched_at, int | float):
        raise SettingsError(["JWKS_SEED has a fetched_at that is not a number of seconds"])
    if not 0 <= fetched_at < _YEAR_5138:
        raise SettingsError(["JWKS_SEED has a fetched_at that is no time in seconds"])
    return BundledJwks(body, fetched_at)


def _parse_object(setting: str, raw: bytes) -> Mapping[str, object]:
    try:
        return strict_json.parse_object(raw)
    except strict_json.JsonError as error:
        raise SettingsError([f"{setting} is not a JSON object: {error}"]) from None


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def write_line(line: str) -> None:
    """Write a line of the log in one piece: `print` writes its end on its own."""
    sys.stdout.write(line + "\n")


def build(
    settings: Settings,
    *,
    clock: Clock = time.time,
    monotonic: Clock = time.monotonic,
    jitter: Jitter = jitter,
    send: Send = https_client.send,
    emit: Callable[[str], None] = write_line,
    credential_source: CredentialSource | None = None,
    rules_source: RulesSource | None = None,
    revoked_tokens: RevokedTokens | None = None,
) -> BaseAuthorizer:
    """Build an authorizer. Reads the files that the settings name; fetches nothing.

    Raises:
        ScopeMapError: the scope map is not usable.
        SettingsError: another file is not.
        KeySetUnavailableError: the seed is no key set.
    """
    maker = _GateMaker(
        settings,
        _Outside(Clocks(clock, monotonic), jitter, send, emit),
        credential_source or _make_credential_source(settings),
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
    """Where time and jitter come from, and where requests and lines go to."""

    clocks: Clocks
    jitter: Jitter
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
        self._make_credential_source = credential_source
        self._meter = Meter(settings.stack_name, outside.clocks.wall)
        seed = read_seed(settings.jwks_seed) if settings.jwks_seed else None
        self._keys = {settings.issuer: self._key_cache(settings.issuer, settings.jwks_uri, seed)}
        for other in settings.other_issuers:
            self._keys[other.issuer] = self._key_cache(other.issuer, other.jwks_uri, None)
        self._freshness = {issuer: keys.freshness for issuer, keys in self._keys.items()}
        self._possession = _possession(settings)
        self._deny_list = self._make_deny_list(revoked_tokens)

    def gate(self, rules: ApiRules) -> Authorizer:
        """Make the gate of one API."""
        settings = self._settings
        issuers = _claim_rules(settings, rules.audiences)
        parts = Parts(
            Verifier(
                {each.issuer: TrustedIssuer(self._keys[each.issuer], each) for each in issuers},
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
        return Authorizer(parts, clocks=outside.clocks, emit=outside.emit, meter=self._meter)

    def shared_gate(self, source: RulesSource) -> MultiApiAuthorizer:
        """Make the gate of many APIs, whose rules the source knows."""
        from authorizer.multi_api import ApiAuthorizers, MultiApiAuthorizer

        settings, outside = self._settings, self._outside
        gates = ApiAuthorizers(
            source,
            self.gate,
            outside.clocks,
            ages=Ages(settings.api_rules_soft_age, settings.api_rules_hard_age),
            jitter=outside.jitter,
            emit=outside.emit,
        )
        return MultiApiAuthorizer(
            gates,
            self._freshness,
            clocks=outside.clocks,
            emit=outside.emit,
            meter=self._meter,
        )

    def _key_cache(self, issuer: str, jwks_uri: str | None, seed: BundledJwks | None) -> JwksCache:
        settings = self._settings
        return JwksCache(
            self._fetch(issuer, jwks_uri),
            partial(parse_key_set, algorithms=settings.algorithms),
            self._outside.clocks,
            ages=Ages(settings.jwks_soft_age, settings.jwks_hard_age),
            cool_down=settings.jwks_cool_down,
            seed=seed,
            jitter=self._outside.jitter,
            note=self._meter.note,
        )

    def _fetch(self, issuer: str, jwks_uri: str | None) -> Fetch:
        get = partial(fetch_jwks, self._outside.send)
        if jwks_uri is not None:
            return partial(get, jwks_uri)
        from authorizer.jwks_cache import Discovery

        return Discovery(issuer, get, self._outside.clocks)

    def _introspector(self, rules: ClaimRules) -> Introspector | None:
        if self._settings.introspection_uri is None or self._make_credential_source is None:
            return None
        from authorizer.introspection import Introspector

        return Introspector(
            self._settings.introspection_uri,
            self._outside.send,
            self._make_credential_source,
            rules,
            self._outside.clocks,
            cache_seconds=self._settings.introspection_cache,
            jitter=self._outside.jitter,
        )

    def _make_deny_list(self, revoked_tokens: RevokedTokens | None) -> DenyList | None:
        settings = self._settings
        if settings.deny_list_table is None:
            return None
        from authorizer.aws import DynamoDb
        from authorizer.state_table import DenyList, DynamoDbRevokedTokens

        return DenyList(
            revoked_tokens
            or DynamoDbRevokedTokens(settings.deny_list_table, DynamoDb(settings.fetch_timeout)),
            self._outside.clocks,
            ages=Ages(settings.deny_list_soft_age, settings.deny_list_hard_age),
            remembered=settings.remembered_tokens,
            jitter=self._outside.jitter,
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


def _answers(
    settings: Settings, scope_map: ScopeMap, emit: Callable[[str], None]
) -> ResponseWriter:
    if settings.simple_response:
        return SimpleResponses(scope_map)
    compiler = PolicyCompiler(scope_map, partial(_tell_of_loss, emit))
    for scopes in compiler.oversized_scopes():
        # Scopes have no character that JSON would write otherwise (RFC 6749, 3.3); nor have routes.
        emit(
            f'{{"notice":"{scopes} opens more routes than a policy can name: '
            'its tokens are answered with 500"}'
        )
    issuers = [settings.issuer, *(other.issuer for other in settings.other_issuers)]
    return PolicyResponses(
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


def _make_credential_source(settings: Settings) -> CredentialSource | None:
    if settings.introspection_uri is None:
        return None
    from authorizer.introspection import SecretsManagerCredentials, fixed_credentials

    if settings.introspection_client_id and settings.introspection_client_secret:
        return fixed_credentials(
            settings.introspection_client_id, settings.introspection_client_secret
        )
    return SecretsManagerCredentials(settings.introspection_secret_arn or "")


def _possession(settings: Settings) -> ProofOfPossession | None:
    if not settings.confirmation_methods:
        return None
    from authorizer.proof_of_possession import ProofOfPossession

    return ProofOfPossession(
        settings.confirmation_methods, settings.resource, _used_proofs(settings)
    )


def _used_proofs(settings: Settings) -> ReplayStore:
    from authorizer.aws import DynamoDb
    from authorizer.state_table import DynamoDbReplayStore, MemoryReplayStore

    if settings.replay_table is None:
        return MemoryReplayStore()
    return DynamoDbReplayStore(settings.replay_table, DynamoDb(settings.fetch_timeout))


def _parameter_store(settings: Settings, path: str) -> RulesSource:
    from authorizer.aws import SystemsManager
    from authorizer.multi_api import ParameterStore

    return ParameterStore(path, SystemsManager(settings.fetch_timeout))
