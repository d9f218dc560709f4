"""A plain reading of IAM policies and of API Gateway's routing, to judge compiled policies by."""

from collections.abc import Iterable
from typing import Any

from authorizer.routes import ANY_SEGMENT, REST_OF_PATH, ROOT, Route
from local.gateway.policy import like


def allows(document: dict[str, Any], resource: str) -> bool:
    """Return True if the policy allows the resource. Conditions are assumed true."""
    effects = {
        statement["Effect"]
        for statement in document["Statement"]
        if any(like(pattern, resource) for pattern in statement["Resource"])
    }
    return effects == {"Allow"}


def route_of(method: str, path: tuple[str, ...], routes: Iterable[Route]) -> Route | None:
    """Return the route that takes the request: literal before parameter, from left to right."""
    candidates = [route for route in routes if route.method == method and _takes(route, path)]
    return min(candidates, key=Route.precedence, default=None)


def routings(path: str) -> list[tuple[str, ...]]:
    """Return the segments that API Gateway may route a path by.

    It ignores a final slash and doubled slashes before the path. AWS does not document whether it
    ignores doubled slashes between segments.
    """
    middle = tuple(path.strip("/").split("/"))
    return [middle, tuple(segment for segment in middle if segment) or ROOT]


def _takes(route: Route, path: tuple[str, ...]) -> bool:
    segments = route.segments
    if segments and segments[-1] == REST_OF_PATH:
        if not "/".join(path[len(segments) - 1 :]):
            return False
        segments, path = segments[:-1], path[: len(segments) - 1]
    return len(segments) == len(path) and all(
        wanted == given or (wanted == ANY_SEGMENT and given) for wanted, given in zip(segments, path, strict=True)
    )
