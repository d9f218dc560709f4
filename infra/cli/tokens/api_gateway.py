"""What API Gateway does around the authorizer: it chooses a route, and reads a policy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from authorizer.routes import ANY_SEGMENT, REST_OF_PATH
from functions.shared.runtime.wildcards import matches_wildcards

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from authorizer.routes import Route
    from authorizer.scope_map import ScopeMap

DEFAULT: Final = "$default"
"""What an HTTP API sends a request to that no other route fits."""


def chosen_route(scope_map: ScopeMap, method: str, path: str) -> str:
    """Return the key of the route that fits a request best; `$default` where none does.

    Routes of the API that the map does not name are not known here: no scope opens them.
    """
    segments = path[1:].split("/")
    fitting = [
        route
        for route in scope_map.routes_for(scope_map.scopes())
        if route.method == method and _fits(route.segments, segments)
    ]
    return _route_key(min(fitting, key=lambda route: route.precedence())) if fitting else DEFAULT


def matching_statement(document: Mapping[str, Any], resource: str) -> dict[str, str] | None:
    """Return the statement of the authorizer's policy that decides about a resource, if any does.

    Deny wins, and `*` takes any run of characters, slashes too.
    """
    for effect in ("Deny", "Allow"):
        for statement in document["Statement"]:
            if statement["Effect"] != effect:
                continue
            for pattern in statement["Resource"]:
                if matches_wildcards(pattern, resource):
                    until = (
                        statement.get("Condition", {})
                        .get("DateLessThanIfExists", {})
                        .get("aws:CurrentTime")
                    )
                    found = {"Effect": effect, "Resource": pattern}
                    return found | ({"until": until} if until else {})
    return None


def opened(document: Mapping[str, Any]) -> list[str]:
    """Return the routes that a policy opens, as patterns: `GET /country/code/*`."""
    found = []
    for statement in document["Statement"]:
        if statement["Effect"] == "Allow":
            for resource in statement["Resource"]:
                method, _, path = resource.split("/", 2)[2].partition("/")
                found.append(f"{method} /{path}")
    return found


def _route_key(route: Route) -> str:
    """Write a route as a route key. What its parameters are called does not matter."""
    names = {ANY_SEGMENT: "{part}", REST_OF_PATH: "{rest+}"}
    return f"{route.method} /{'/'.join(names.get(each, each) for each in route.segments)}"


def _fits(pattern: Sequence[str], segments: Sequence[str]) -> bool:
    if pattern[-1:] == (REST_OF_PATH,):
        head = pattern[:-1]
        return len(segments) >= len(pattern) and _fits(head, segments[: len(head)])
    return len(pattern) == len(segments) and all(
        segment if named == ANY_SEGMENT else named == segment
        for named, segment in zip(pattern, segments, strict=True)
    )
