"""Routes as API Gateway matches them, and the wildcard patterns that IAM makes of them."""

import re
from collections.abc import Iterator
from typing import NamedTuple

ANY_SEGMENT = "*"
REST_OF_PATH = "**"
ROOT = ("",)  # one empty segment, for IAM's `*` may match nothing
WEBSOCKET_CONNECT = "$connect"
_METHODS = frozenset(("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"))
_LITERAL = re.compile(r"[A-Za-z0-9._~!$&'()+,;=:@%-]+")
_PARAMETER = re.compile(r"\{[A-Za-z0-9._-]+\}")
_GREEDY_PARAMETER = re.compile(r"\{[A-Za-z0-9._-]+\+\}")
_WILDCARDS = frozenset((ANY_SEGMENT, REST_OF_PATH))


class Route(NamedTuple):
    """A method and the segments of a path.

    A `{parameter}` is kept as ANY_SEGMENT, a `{parameter+}` as REST_OF_PATH: their names do not
    tell routes apart.
    """

    method: str
    segments: tuple[str, ...]

    def pattern(self) -> str:
        """Write the route as the last part of an execute-api resource, `*` for each parameter."""
        if self.method == WEBSOCKET_CONNECT:
            return WEBSOCKET_CONNECT
        return f"{self.method}/{'/'.join(self.segments)}".replace(REST_OF_PATH, ANY_SEGMENT)

    def is_literal(self) -> bool:
        """Tell whether the route has no parameter, and so matches one path only."""
        return _WILDCARDS.isdisjoint(self.segments)

    def precedence(self) -> tuple[int, ...]:
        """Rank the route among those that match a request: the smallest wins."""
        return tuple(_PRECEDENCE.get(segment, 0) for segment in self.segments)


_PRECEDENCE = {ANY_SEGMENT: 1, REST_OF_PATH: 2}


def parse_route(text: str) -> Route:
    """Read `METHOD /path/{parameter}`, or `$connect` for a WebSocket API.

    Raises:
        ValueError: it is something else, such as a method `ANY` or a path with a wildcard.
    """
    if text == WEBSOCKET_CONNECT:
        return Route(WEBSOCKET_CONNECT, ())
    method, _, path = text.partition(" ")
    if method not in _METHODS or not path.startswith("/"):
        raise ValueError(f"not METHOD /path: {text!r}")
    segments = ROOT if path == "/" else tuple(map(_parse_segment, path[1:].split("/")))
    if REST_OF_PATH in segments[:-1]:
        raise ValueError(f"only the last segment may take the rest of the path: {text!r}")
    return Route(method, segments)


def _parse_segment(name: str) -> str:
    if _PARAMETER.fullmatch(name):
        return ANY_SEGMENT
    if _GREEDY_PARAMETER.fullmatch(name):
        return REST_OF_PATH
    if _LITERAL.fullmatch(name):
        return name
    raise ValueError(f"not a path segment: {name!r}")


class RouteTree:
    """Every route known, for finding those that a pattern reaches beyond its own."""

    def __init__(self) -> None:
        self._roots: dict[str, _Node] = {}

    def add(self, route: Route) -> None:
        """Take in a route; adding it twice is no harm."""
        node = self._roots.setdefault(route.method, _Node())
        for segment in route.segments:
            node = node.children.setdefault(segment, _Node())
        node.route = route

    def matched_by(self, pattern: Route) -> set[Route]:
        """Return the routes some of whose requests match the pattern as IAM reads it.

        IAM's `*` crosses slashes, so it stands for one segment or more.
        """
        return {route for route, _ in self._matches(pattern)}

    def reached_by(self, route: Route) -> set[Route]:
        """Return the other routes some of whose requests this one's pattern matches in IAM."""
        if route.is_literal():
            return set()
        return {
            other for other, aligned in self._matches(route) if _is_reached(route, other, aligned)
        }

    def siblings_reached_by(self, route: Route) -> set[Route]:
        """Return those reached by requests in which each parameter stands for one segment."""
        return {
            other
            for other, aligned in self._matches(route)
            if aligned and _is_reached(route, other, aligned)
        }

    def _matches(self, pattern: Route) -> Iterator[tuple[Route, bool]]:
        root = self._roots.get(pattern.method)
        return _walk(root, pattern.segments, 0, set(), aligned=True) if root else iter(())


def _is_reached(route: Route, other: Route, aligned: bool) -> bool:  # noqa: FBT001 - half of a pair
    """Tell whether API Gateway would send a request that matches both to the other route."""
    return other != route and not (aligned and route.precedence() < other.precedence())


class _Node:
    """A prefix of paths. `route` ends here, if it is set."""

    __slots__ = ("children", "route")

    def __init__(self) -> None:
        self.children: dict[str, _Node] = {}
        self.route: Route | None = None


def _walk(
    node: _Node,
    pattern: tuple[str, ...],
    at: int,
    walked: set[tuple[_Node, int, bool]],
    *,
    aligned: bool,
) -> Iterator[tuple[Route, bool]]:
    """Yield the routes below the node that the rest of the pattern can match.

    `aligned` stays true while each ANY_SEGMENT has taken one segment only, as it does in a route.
    Several wildcards lead to one place in many ways: `walked` sees to it that one is enough.
    """
    if (node, at, aligned) in walked:
        return
    walked.add((node, at, aligned))
    if at == len(pattern):
        if node.route is not None:
            yield node.route, aligned
        return
    wanted = pattern[at]
    for segment, child in node.children.items():
        if wanted not in _WILDCARDS and segment not in _WILDCARDS and wanted != segment:
            continue
        yield from _walk(child, pattern, at + 1, walked, aligned=aligned)
        if wanted in _WILDCARDS:  # the pattern's wildcard takes this segment and more
            yield from _walk(child, pattern, at, walked, aligned=aligned and wanted == REST_OF_PATH)
        if segment == REST_OF_PATH:  # the route's greedy parameter does
            yield from _walk(node, pattern, at + 1, walked, aligned=aligned)
            if wanted == ANY_SEGMENT:  # both do
                yield from _walk(child, pattern, at + 1, walked, aligned=False)
                yield from _walk(node, pattern, at + 1, walked, aligned=False)
