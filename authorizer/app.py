"""Composition of an authorizer from its settings."""

from __future__ import annotations

import json
import os
import sys
import time
from functools import cached_property, partial
from typing import TYPE_CHECKING, cast

from . import https_client, strict_json
from .authorizer import Authorizer, LambdaAuthorizer
from .cache import Jitter, Lifetime, jitter
from .claims import ClaimRules
from .clock import Clock, Clocks
from .jwk import parse_key_set
from .jwks_cache import BundledJwks, Discovery, JwksCache, fetch_jwks
from .metrics import Meter
from .policy import PolicyCompiler
from .responses import PolicyResponses, ResponseWriter, SimpleResponses
from .scope_map import ApiRules, ScopeMap, parse_scope_map
from .settings import SettingsError
from .verifier import TrustedIssuer, Verifier, header_rules

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence

    from .authorizer import EventAuthorizer
    from .aws import Aws
    from .clock import Deadline
    from .https_client import Send
    from .introspection import IntrospectionCredentials, Introspector
    from .jwks_cache import Fetch
    from .metrics import Record
    from .multi_api import RulesSource
    from .proof_of_possession import ProofOfPossession
    from .routes import Route
    from .settings import Settings
    from .state_table import DenyList, ReplayStore, StateTable


_SCOPES = os.path.join(os.path.dirname(__file__), "scopes.json")

# A time in milliseconds is later than this, and would make the set fresh in each new sandbox.
_YEAR_5138 = 1e11


def read_scope_map(setting: str | None) -> ScopeMap:
    """Read the scope map from the setting itself, or from a file.

    Raises:
        ScopeMapError: the scope map is not valid.
    """
    text = setting or _SCOPES
    return parse_scope_map(text.encode() if text.lstrip().startswith("{") else _read(text))


def read_usage_keys(path: str, issuers: Sequence[str]) -> Mapping[tuple[str, str], str]:
    """Read the API keys of clients, by issuer and client ID.

    The file is a JSON object with a key per client ID, for clients of the first issuer. A member
    that is named after an issuer has such an object for clients of this issuer.

    Raises:
        SettingsError: the file is not such an object.
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


def read_bundled_jwks(path: str) -> BundledJwks:
    """Read a key set, with the time of its publication if the file has `fetched_at`.

    Raises:
        SettingsError: the file is not a JSON object, or that time is not valid.
    """
    body = _read(path)
    members = _parse_object("JWKS_SEED", body)
    if "fetched_at" not in members:
        return BundledJwks(body)
    fetched_at = members["fetched_at"]
    if isinstance(fetched_at, bool) or not isinstance(fetched_at, int | float):
        raise SettingsError(["JWKS_SEED has a fetched_at that is not a number of seconds"])
    if not 0 <= fetched_at < _YEAR_5138:
        raise SettingsError(["JWKS_SEED has a fetched_at that is not a time in seconds"])
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
    """Write a line of the log at once: `print` writes the line break separately."""
    sys.stdout.write(line + "\n")


def build(
    settings: Settings,
    *,
    clock: Clock = time.time,
    monotonic: Clock = time.monotonic,
    jitter: Jitter = jitter,
    send: Send = lambda request: https_client.send(request),  # noqa: PLW0108 - `gatehouse.testing` replaces it
    emit: Callable[[str], None] = write_line,
    credential_source: IntrospectionCredentials | None = None,
    rules_source: RulesSource | None = None,
    deny_list_table: StateTable | None = None,
) -> LambdaAuthorizer:
    """Build an authorizer. This reads the files that the settings name, and fetches nothing.

    Raises:
        ScopeMapError: the scope map is not valid.
        SettingsError: another file is not valid.
        KeySetUnavailableError: the bundled key set is not valid.
    """
    meter = Meter(settings.stack_name, clock)
    clocks = Clocks(clock, monotonic)

    def notice(text: str) -> None:
        emit(json.dumps({"notice": text}))

    for other in settings.other_issuers:
        if not other.client_ids:
            notice(f"OTHER_ISSUERS has no client_ids for {other.issuer}: any client is accepted")
    factory = AuthorizerFactory(
        settings,
        clocks,
        {},
        jitter=jitter,
        send=send,
        record=meter.record,
        credential_source=credential_source,
        deny_list_table=deny_list_table,
    )
    preparations: list[Callable[[Deadline], object]] = [factory.key_caches[settings.issuer].prepare]

    def make_authorizer(rules: ApiRules) -> Authorizer:
        return factory.make(_responses(settings, rules.scope_map, notice), rules.audiences)

    authorizer: EventAuthorizer
    if settings.api_rules is not None:
        from .multi_api import MultiApiAuthorizer, ParameterStore

        authorizer = MultiApiAuthorizer(
            rules_source or ParameterStore(settings.api_rules, factory.aws),
            make_authorizer,
            clocks,
            lifetime=Lifetime(settings.api_rules_soft_age, settings.api_rules_hard_age),
            jitter=jitter,
            notice=notice,
        )
    else:
        if not settings.audiences:
            notice("AUDIENCE is empty: tokens for any audience are accepted")
        authorizer = make_authorizer(ApiRules(read_scope_map(settings.scope_map), frozenset()))
        if factory.credentials is not None:
            preparations.append(partial(factory.credentials, False))
    if settings.deny_list_table or settings.replay_table:  # the first token is looked up there
        preparations.append(lambda _: https_client.preload())
    freshness = {issuer: cache.freshness for issuer, cache in factory.key_caches.items()}
    return LambdaAuthorizer(authorizer, freshness, preparations, emit=emit, meter=meter)


class AuthorizerFactory:
    """Makes authorizers for one API each, with the same key sets and stores.

    `known_key_caches` are those of the process by their settings. New ones are added.
    """

    def __init__(
        self,
        settings: Settings,
        clocks: Clocks,
        known_key_caches: dict[Hashable, JwksCache],
        *,
        jitter: Jitter,
        send: Send,
        record: Record,
        credential_source: IntrospectionCredentials | None = None,
        deny_list_table: StateTable | None = None,
    ) -> None:
        self._settings = settings
        self._clocks = clocks
        self._jitter = jitter
        self._send = send
        self.key_caches = self._find_key_caches(known_key_caches, record)
        self.credentials = (credential_source or self._credentials()) if settings.introspection_uri else None
        self._possession = self._make_possession() if settings.confirmation_methods else None
        self._deny_list = self._make_deny_list(deny_list_table)

    @cached_property
    def aws(self) -> Aws:
        """The client of AWS, which most authorizers do not need."""
        from .aws_client import AwsClient

        clock, monotonic = self._clocks
        return AwsClient(self._settings.fetch_timeout, clock=clock, monotonic=monotonic, jitter=self._jitter)

    def make(self, responses: ResponseWriter | None, audiences: frozenset[str]) -> Authorizer:
        """Return an authorizer with a writer of responses.

        An API's own audiences apply to every issuer. Otherwise a token for one API could be used at another.
        """
        settings = self._settings
        retained = settings.context_claims if responses else None
        rules = {
            issuer: ClaimRules(issuer, audiences or own, client_ids, settings.max_token_lifetime, retained)
            for issuer, _, own, client_ids in settings.issuers
        }
        verifier = Verifier(
            {issuer: TrustedIssuer(self.key_caches[issuer], each) for issuer, each in rules.items()},
            header_rules(settings.algorithms, require_at_jwt=settings.require_at_jwt),
            remembered_tokens=settings.remembered_tokens,
        )
        return Authorizer(
            verifier,
            responses,
            self._clocks.wall,
            introspector=self._make_introspector(rules[settings.issuer]),
            possession=self._possession,
            deny_list=self._deny_list,
        )

    def _find_key_caches(self, known: dict[Hashable, JwksCache], record: Record) -> dict[str, JwksCache]:
        """Return the key set cache of each issuer, that of the first issuer first. Only this one has a seed."""
        settings = self._settings
        lifetime = Lifetime(settings.jwks_soft_age, settings.jwks_hard_age)
        get = partial(fetch_jwks, self._send)
        seed = settings.jwks_seed
        caches = {}
        for issuer, jwks_uri, *_ in settings.issuers:
            fetch: Fetch = Discovery(issuer, get, self._clocks) if jwks_uri is None else partial(get, jwks_uri)
            cache = JwksCache(
                fetch,
                partial(parse_key_set, algorithms=settings.algorithms),
                self._clocks,
                lifetime=lifetime,
                cool_down=settings.jwks_cool_down,
                bundled=read_bundled_jwks(seed) if seed else None,
                jitter=self._jitter,
                record=record,
            )
            identity = issuer, jwks_uri, settings.algorithms, lifetime, settings.jwks_cool_down, seed
            caches[issuer] = known.setdefault(identity, cache)
            seed = None
        return caches

    def _credentials(self) -> IntrospectionCredentials:
        from .introspection import SecretsManagerCredentials, fixed_credentials

        client_id, secret = self._settings.introspection_client_id, self._settings.introspection_client_secret
        if client_id and secret:
            return fixed_credentials(client_id, secret)
        return SecretsManagerCredentials(self._settings.introspection_secret_arn or "", self.aws)

    def _make_introspector(self, rules: ClaimRules) -> Introspector | None:
        settings = self._settings
        if settings.introspection_uri is None or self.credentials is None:
            return None
        from .introspection import Introspector

        return Introspector(
            settings.introspection_uri,
            self._send,
            self.credentials,
            rules,
            self._clocks,
            cache_seconds=settings.introspection_cache,
            jitter=self._jitter,
        )

    def _make_possession(self) -> ProofOfPossession:
        from .proof_of_possession import ProofOfPossession
        from .state_table import DynamoDbReplayStore, MemoryReplayStore, StateTable

        settings = self._settings
        replays: ReplayStore = MemoryReplayStore()
        if settings.replay_table is not None:
            replays = DynamoDbReplayStore(StateTable(settings.replay_table, self.aws))
        return ProofOfPossession(settings.confirmation_methods, settings.resource, replays)

    def _make_deny_list(self, table: StateTable | None) -> DenyList | None:
        settings = self._settings
        if settings.deny_list_table is None:
            return None
        from .state_table import DenyList, StateTable

        return DenyList(
            table or StateTable(settings.deny_list_table, self.aws),
            self._clocks,
            lifetime=Lifetime(settings.deny_list_soft_age, settings.deny_list_hard_age),
            capacity=settings.remembered_tokens,
            jitter=self._jitter,
        )


def _responses(settings: Settings, scope_map: ScopeMap, notice: Callable[[str], None]) -> ResponseWriter:
    if settings.simple_response:
        return SimpleResponses(scope_map)

    def report_denied(scopes: str, routes: list[Route]) -> None:
        for route in routes:
            denied = f"{scopes} opens {route.pattern()}, which its policy has to deny"
            notice(f"{denied}: IAM cannot distinguish it from a closed route")

    compiler = PolicyCompiler(scope_map, report_denied)
    for scopes in compiler.oversized_scopes():
        notice(f"{scopes} opens more routes than a policy can name: its tokens are answered with 500")
    issuers = [each.issuer for each in settings.issuers]
    return PolicyResponses(
        compiler,
        read_usage_keys(settings.usage_keys, issuers) if settings.usage_keys else {},
        expire=settings.policy_expires,
    )
