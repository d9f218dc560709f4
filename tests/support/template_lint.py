"""Find contradictions between a template, the authorizer's settings in it, and the scope map.

Each fault is one sentence. API Gateway accepts these mistakes. A token then opens too much or too
long, or a response lacks its challenge.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations

from authorizer.scope_map import ScopeMap
from functions.shared.clients.client import DEFAULT_TOKEN_LIFETIME
from infra.explain import route_faults
from local.gateway.model import Api, Authorizer, Route
from local.gateway.template import Template
from tests.support.policies import shadowed_routes

GATEWAY_RESPONSES = (
    "UNAUTHORIZED",
    "ACCESS_DENIED",
    "MISSING_AUTHENTICATION_TOKEN",
    "AUTHORIZER_FAILURE",
    "AUTHORIZER_CONFIGURATION_ERROR",
    "DEFAULT_4XX",
    "DEFAULT_5XX",
)
LONGEST_CACHE = 3600  # API Gateway's own limit
_PAIRS = 2


def faults(template: Template, api_id: str, scope_map: ScopeMap, values: Mapping[str, str] | None = None) -> list[str]:
    """Return what is wrong with an API, its authorizers and the scope map.

    `values` are names of what the template makes, such as tables.
    """
    api = template.api(api_id)
    found = list(_route_faults(api, scope_map))
    for authorizer in api.lambda_authorizers():
        if authorizer.function in template.imports.values():
            environ: Mapping[str, str] = {}  # another stack's, which answers with policies
        else:
            environ = template.function(authorizer.function, values).environment
        found.extend(_authorizer_faults(authorizer, environ))
    if api.kind == "rest":
        found.extend(_gateway_response_faults(api))
        auth = template.resources[api_id].properties.get("Auth", {})
        if auth.get("AddDefaultAuthorizerToCorsPreflight") is not False:
            found.append("the authorizer guards CORS preflights")
    found.extend(_map_faults(scope_map))
    return found


def _route_faults(api: Api, scope_map: ScopeMap) -> Iterator[str]:
    for route in api.routes:
        if route.authorizer and route.method == "OPTIONS":
            yield f"{_text(route)} is guarded: a preflight carries no token"
        if route.authorizer and route.method == "ANY":
            yield f"{_text(route)} is guarded for any method: the scope map names each"
    simple = any(authorizer.simple_responses for authorizer in api.lambda_authorizers())
    guarded = [_text(route) for route in api.routes if route.authorizer]
    yield from route_faults(guarded, scope_map, simple_responses=simple)


def _text(route: Route) -> str:
    return f"{route.method} {route.path}" if route.path != "$default" else "$default"


def _authorizer_faults(authorizer: Authorizer, environ: Mapping[str, str]) -> Iterator[str]:
    seconds = authorizer.cache_seconds
    if seconds > min(LONGEST_CACHE, DEFAULT_TOKEN_LIFETIME):
        yield f"an answer is kept for {seconds} seconds: longer than allowed, or than a token lives"
    if authorizer.kind != "REQUEST":
        yield "a TOKEN authorizer sees one header only: not a second one, no proof, no certificate"
    sources = {(source.location, source.name.lower()) for source in authorizer.identity_sources}
    if ("header", "authorization") not in sources and seconds:
        yield "answers are kept without the Authorization header among the identity sources"
    methods = environ.get("PROOF_OF_POSSESSION", "").split(",")
    if "dpop" in methods and seconds:
        yield "an answer to a DPoP proof is kept: it would let a second request pass without one"
    certificate = any(name.startswith("identity.clientcert") for _, name in sources)
    if "mtls" in methods and seconds and not certificate:
        yield "an answer is kept for the token alone, although tokens are bound to certificates"
    yield from _simple_answer_faults(authorizer, environ, ("context", "routekey") in sources)


def _simple_answer_faults(authorizer: Authorizer, environ: Mapping[str, str], by_route: bool) -> Iterator[str]:
    simple = environ.get("SIMPLE_RESPONSE") == "true"
    if simple != authorizer.simple_responses:
        yield "SIMPLE_RESPONSE and EnableSimpleResponses differ"
    if simple and authorizer.cache_seconds and not by_route:
        yield "a simple answer is kept without $context.routeKey: it would hold for every route"


def _gateway_response_faults(api: Api) -> Iterator[str]:
    for kind in GATEWAY_RESPONSES:
        if kind not in api.gateway_responses:
            yield f"the gateway response {kind} is missing"
    for kind, response in api.gateway_responses.items():
        for name, value in response.headers.items():
            if not (len(value) > 1 and value[0] == value[-1] == "'"):
                yield f"{kind}.{name} is no literal in single quotes"
    for kind, part in (("UNAUTHORIZED", "Bearer"), ("ACCESS_DENIED", "insufficient_scope")):
        headers = api.gateway_responses[kind].headers if kind in api.gateway_responses else {}
        if part not in headers.get("WWW-Authenticate", ""):
            yield f"{kind} has no challenge with {part}"


def _map_faults(scope_map: ScopeMap) -> Iterator[str]:
    for scopes in _sets(sorted(scope_map.scopes())):
        for route in shadowed_routes(scope_map, *scopes):
            yield f"{', '.join(scopes)}: {route.pattern()} is opened and yet denied"


def _sets(scopes: list[str]) -> Iterable[tuple[str, ...]]:
    """Return each scope, each pair, and all together: where two grants meet, or all do."""
    for size in {1, _PAIRS, len(scopes)}:
        yield from combinations(scopes, size)
