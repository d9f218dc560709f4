"""Composition of an authorizer from its settings."""

from __future__ import annotations

import json
import os
import sys
import time
from functools import cache, partial
from typing import TYPE_CHECKING, NamedTuple, cast

from . import https_client, strict_json
from .authorizer import Authorizer
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
    from collections.abc import Callable, Mapping, Sequence

    from .authorizer import BaseAuthorizer
    from .aws import Aws
    from .https_client import Send
    from .introspection import IntrospectionCredentials, Introspector
    from .jwks_cache import Fetch
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


class Context(NamedTuple):
    """Settings, clocks and connections that the parts of an authorizer share."""

    settings: Settings
    clocks: Clocks
    jitter: Jitter
    send: Send
    emit: Callable[[str], None]
    meter: Meter
    aws: Callable[[], Aws]


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
) -> BaseAuthorizer:
    """Build an authorizer. This reads the files that the settings name, and fetches nothing.

    Raises:
        ScopeMapError: the scope map is not valid.
        SettingsError: another file is not valid.
        KeySetUnavailableError: the bundled key set is not valid.
    """
    meter = Meter(settings.stack_name, clock)
    clocks = Clocks(clock, monotonic)
    context = Context(settings, clocks, jitter, send, emit, meter, lazy_aws(settings, clocks, jitter))
    for other in settings.other_issuers:
        if not other.client_ids:
            text = f"OTHER_ISSUERS has no client_ids for {other.issuer}: any client is accepted"
            emit(json.dumps({"notice": text}))
    keys = _key_caches(context)
    freshness = {issuer: cache.freshness for issuer, cache in keys.items()}
    make_authorizer = authorizer_factory(context, keys, credential_source, deny_list_table)

    def make_for_api(rules: ApiRules) -> Authorizer:
        return make_authorizer(_responses(settings, rules.scope_map, emit), rules.audiences)

    authorizer: BaseAuthorizer
    if settings.api_rules is not None:
        from .multi_api import ApiAuthorizers, MultiApiAuthorizer, ParameterStore

        authorizers = ApiAuthorizers(
            rules_source or ParameterStore(settings.api_rules, context.aws()),
            make_for_api,
            context.clocks,
            lifetime=Lifetime(settings.api_rules_soft_age, settings.api_rules_hard_age),
            jitter=jitter,
            emit=emit,
        )
        authorizer = MultiApiAuthorizer(authorizers, freshness, clocks=context.clocks, emit=emit, meter=meter)
    else:
        if not settings.audiences:
            emit('{"notice":"AUDIENCE is empty: tokens for any audience are accepted"}')
        authorizer = make_for_api(ApiRules(read_scope_map(settings.scope_map), frozenset()))
    authorizer.preparations = (keys[settings.issuer].prepare, *authorizer.preparations)
    if settings.deny_list_table or settings.replay_table:  # the first token is looked up there
        authorizer.preparations += (lambda _: https_client.preload(),)
    return authorizer


def authorizer_factory(
    context: Context,
    keys: Mapping[str, JwksCache],
    credential_source: IntrospectionCredentials | None = None,
    deny_list_table: StateTable | None = None,
) -> Callable[[ResponseWriter | None, frozenset[str]], Authorizer]:
    """Return a function that makes authorizers for one API each, with the same key sets and stores.

    It takes the writer of responses, and the API's own audiences, if they replace those of the settings.
    """
    settings = context.settings
    introspect = _introspector_factory(context, credential_source)
    possession = _possession(context)
    deny_list = _deny_list(context, deny_list_table)
    freshness = {issuer: cache.freshness for issuer, cache in keys.items()}

    def make_authorizer(responses: ResponseWriter | None, audiences: frozenset[str]) -> Authorizer:
        issuers = _claim_rules(settings, audiences, settings.context_claims if responses else None)
        verifier = Verifier(
            {each.issuer: TrustedIssuer(keys[each.issuer], each) for each in issuers},
            header_rules(settings.algorithms, require_at_jwt=settings.require_at_jwt),
            remembered_tokens=settings.remembered_tokens,
        )
        return Authorizer(
            verifier,
            responses,
            freshness,
            clocks=context.clocks,
            emit=context.emit,
            meter=context.meter,
            introspector=introspect(issuers[0]),
            possession=possession,
            deny_list=deny_list,
        )

    return make_authorizer


def _key_caches(context: Context) -> dict[str, JwksCache]:
    """Return the key set cache of each issuer, that of the first issuer first."""
    settings = context.settings
    bundled = read_bundled_jwks(settings.jwks_seed) if settings.jwks_seed else None
    caches = {settings.issuer: key_cache(context, settings.issuer, settings.jwks_uri, bundled)}
    for other in settings.other_issuers:
        caches[other.issuer] = key_cache(context, other.issuer, other.jwks_uri)
    return caches


def key_cache(context: Context, issuer: str, jwks_uri: str | None, bundled: BundledJwks | None = None) -> JwksCache:
    """Return a cache of an issuer's key set. Without `jwks_uri` its address is discovered."""
    settings = context.settings
    get = partial(fetch_jwks, context.send)
    fetch: Fetch = partial(get, jwks_uri) if jwks_uri is not None else Discovery(issuer, get, context.clocks)
    return JwksCache(
        fetch,
        partial(parse_key_set, algorithms=settings.algorithms),
        context.clocks,
        lifetime=Lifetime(settings.jwks_soft_age, settings.jwks_hard_age),
        cool_down=settings.jwks_cool_down,
        bundled=bundled,
        jitter=context.jitter,
        record=context.meter.record,
    )


def _claim_rules(settings: Settings, audiences: frozenset[str], retained: frozenset[str] | None) -> list[ClaimRules]:
    """Return the rules for each issuer's tokens, those of the first issuer first.

    An API's own audiences apply to every issuer. Otherwise a token for one API could be used at another.
    """
    longest = settings.max_token_lifetime
    return [
        ClaimRules(settings.issuer, audiences or settings.audiences, settings.client_ids, longest, retained),
        *(
            ClaimRules(other.issuer, audiences or other.audiences, other.client_ids, longest, retained)
            for other in settings.other_issuers
        ),
    ]


def _responses(settings: Settings, scope_map: ScopeMap, emit: Callable[[str], None]) -> ResponseWriter:
    if settings.simple_response:
        return SimpleResponses(scope_map)
    compiler = PolicyCompiler(scope_map, partial(_report_denied_routes, emit))
    for scopes in compiler.oversized_scopes():
        # Neither scopes nor routes have a character that JSON would escape (RFC 6749, 3.3).
        emit(f'{{"notice":"{scopes} opens more routes than a policy can name: its tokens are answered with 500"}}')
    issuers = [settings.issuer, *(other.issuer for other in settings.other_issuers)]
    return PolicyResponses(
        compiler,
        read_usage_keys(settings.usage_keys, issuers) if settings.usage_keys else {},
        expire=settings.policy_expires,
    )


def _report_denied_routes(emit: Callable[[str], None], scopes: str, routes: list[Route]) -> None:
    for route in routes:
        emit(
            f'{{"notice":"{scopes} opens {route.pattern()}, which its policy has to deny: '
            'IAM cannot distinguish it from a closed route"}'
        )


def _introspector_factory(
    context: Context, credential_source: IntrospectionCredentials | None
) -> Callable[[ClaimRules], Introspector | None]:
    settings = context.settings
    uri = settings.introspection_uri
    if uri is None:
        return lambda _rules: None
    from .introspection import Introspector, SecretsManagerCredentials, fixed_credentials

    client_id, secret = settings.introspection_client_id, settings.introspection_client_secret
    if credential_source is None and client_id and secret:
        credential_source = fixed_credentials(client_id, secret)
    credentials = credential_source or SecretsManagerCredentials(settings.introspection_secret_arn or "", context.aws())
    return lambda rules: Introspector(
        uri,
        context.send,
        credentials,
        rules,
        context.clocks,
        cache_seconds=settings.introspection_cache,
        jitter=context.jitter,
    )


def _possession(context: Context) -> ProofOfPossession | None:
    settings = context.settings
    if not settings.confirmation_methods:
        return None
    from .proof_of_possession import ProofOfPossession
    from .state_table import DynamoDbReplayStore, MemoryReplayStore, StateTable

    replays: ReplayStore = MemoryReplayStore()
    if settings.replay_table is not None:
        replays = DynamoDbReplayStore(StateTable(settings.replay_table, context.aws()))
    return ProofOfPossession(settings.confirmation_methods, settings.resource, replays)


def _deny_list(context: Context, deny_list_table: StateTable | None) -> DenyList | None:
    settings = context.settings
    if settings.deny_list_table is None:
        return None
    from .state_table import DenyList, StateTable

    return DenyList(
        deny_list_table or StateTable(settings.deny_list_table, context.aws()),
        context.clocks,
        lifetime=Lifetime(settings.deny_list_soft_age, settings.deny_list_hard_age),
        capacity=settings.remembered_tokens,
        jitter=context.jitter,
    )


def lazy_aws(settings: Settings, clocks: Clocks, jitter: Jitter) -> Callable[[], Aws]:
    """Return a function that creates the client of AWS when first called, because most authorizers need none."""

    @cache
    def make() -> Aws:
        from .aws_client import AwsClient

        return AwsClient(settings.fetch_timeout, clock=clocks.wall, monotonic=clocks.monotonic, jitter=jitter)

    return make
