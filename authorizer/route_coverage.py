"""Comparison of an API's routes with its scope map: which routes are open or closed by mistake.

The authorizer knows the routes of its scope map only. This finds the others before they matter.
"""

from collections.abc import Iterable
from typing import NamedTuple

from .policy import Wildcards
from .routes import ANY_SEGMENT, METHODS, REST_OF_PATH, ROOT, WEBSOCKET_CONNECT, Route, RouteTree, parse_route
from .scope_map import ScopeMap

_ANY_METHOD = "ANY"
_NAMES = {ANY_SEGMENT: "{parameter}", REST_OF_PATH: "{parameter+}"}


class ShadowedRoute(NamedTuple):
    """A route of the API that no scope names, and a route of the map whose parameter opens it."""

    route: str
    opened_by: str


class RouteCoverage(NamedTuple):
    """The faults of a scope map for an API. Routes are written as `METHOD /path`."""

    shadowed: list[ShadowedRoute]
    """Open under a parameter of another route, though no scope names them."""

    closed: list[str]
    """Routes of the API that no scope opens, and routes that a scope map cannot name."""

    unknown: list[str]
    """Routes of the map that the API does not have."""


def compare_routes(api_routes: Iterable[str], scope_map: ScopeMap) -> RouteCoverage:
    """Compare the guarded routes of an API with its scope map.

    A map may name a part of a greedy route, such as `GET /a` of `ANY /{proxy+}`. The shadowed
    routes are those of policies: a simple answer is about the one route that API Gateway chose.

    Args:
        api_routes: `METHOD /path/{parameter}`, with `ANY` for every method; `$default` and
            `$connect` as an HTTP API and a WebSocket API name them.
        scope_map: the map that the API's authorizer uses.
    """
    variants = {text: _variants(text) for text in api_routes}
    named = list(dict.fromkeys(route for grant in scope_map.grants for route in grant.routes))
    unnamed = {
        route: text
        for text, routes in variants.items()
        for route in routes
        if not any(_names_part_of(entry, route) for entry in named)
    }
    wildcards = Wildcards(named)
    # The policy denies the root under a parameter, because IAM's `*` matches nothing as well.
    openers = wildcards.openers(RouteTree(r for r in unnamed if r.segments != ROOT), set(named))
    closed = [
        text for text, routes in variants.items() if all(route in unnamed and route not in openers for route in routes)
    ]
    known = [route for routes in variants.values() for route in routes]
    return RouteCoverage(
        [
            ShadowedRoute(_with_method(text, route), write_route(wildcards.patterns.first_owner(ends)))
            for route, text in unnamed.items()
            if (ends := openers.get(route))
        ],
        closed,
        [write_route(entry) for entry in named if not any(_names_part_of(entry, route) for route in known)],
    )


def write_route(route: Route) -> str:
    """Write a route as a scope map does, with `{parameter}` for each parameter."""
    if route.method == WEBSOCKET_CONNECT:
        return WEBSOCKET_CONNECT
    return f"{route.method} /" + "/".join(_NAMES.get(text, text) for text in route.segments)


def _variants(text: str) -> list[Route]:
    """Read a route of an API, once per method; none if a scope map cannot name it."""
    method, _, path = text.partition(" ")
    if text == "$default":
        return [Route(each, (REST_OF_PATH,)) for each in sorted(METHODS)]
    try:
        if method == _ANY_METHOD:
            return [parse_route(f"{each} {path}") for each in sorted(METHODS)]
        return [parse_route(text)]
    except ValueError:
        return []


def _with_method(text: str, route: Route) -> str:
    """Write a route of the API with its own parameter names."""
    path = text.partition(" ")[2]
    return f"{route.method} {path}" if path else write_route(route)


def _names_part_of(entry: Route, route: Route) -> bool:
    """Return whether a map's entry names a route, or a part of a greedy route."""
    if entry == route:
        return True
    prefix = route.segments[:-1]
    return (
        entry.method == route.method
        and route.segments[-1:] == (REST_OF_PATH,)
        and len(entry.segments) > len(prefix)
        and all(wanted in (given, ANY_SEGMENT) for wanted, given in zip(prefix, entry.segments, strict=False))
    )
