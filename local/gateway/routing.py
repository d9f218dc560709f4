"""Which route answers a path: the most specific one, as API Gateway chooses it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from local.gateway.model import AnyMethod

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from local.gateway.model import Route

__all__ = ["Match", "Router"]

# How a template's segment ranks against another in the same place: literal text, then a
# parameter, then a greedy parameter.
_LITERAL, _PARAMETER, _GREEDY = range(3)


@dataclass(frozen=True, slots=True)
class Match:
    """A route and the path parameters that its template caught."""

    route: Route
    parameters: Mapping[str, str]


class Router:
    """Finds the route for a method and a path.

    Sources: API Gateway Developer Guide, "Routes for HTTP APIs" (most specific match) and
    "Set up a proxy integration with a proxy resource".
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self._templates = sorted(
            ((_rank(route), tuple(_segments(route.path)), route) for route in routes),
            key=lambda entry: entry[0],
        )

    def match(self, method: str, path: str) -> Match | None:
        """The route for `method` on `path`, or None. Nothing is decoded here."""
        segments = _segments(path)
        for _, template, route in self._templates:
            if route.method in (method, AnyMethod):
                if route.path == "$default":
                    return Match(route, {})
                parameters = _capture(template, segments)
                if parameters is not None:
                    return Match(route, parameters)
        return None


def _segments(path: str) -> list[str]:
    return path.split("/")[1:]


def _rank(route: Route) -> tuple[object, ...]:
    if route.path == "$default":
        return (1, (), True)
    return (0, tuple(_segment_rank(s) for s in _segments(route.path)), route.method == AnyMethod)


def _segment_rank(segment: str) -> int:
    if segment.endswith("+}"):
        return _GREEDY
    return _PARAMETER if segment.startswith("{") else _LITERAL


def _capture(template: tuple[str, ...], segments: list[str]) -> dict[str, str] | None:
    parameters: dict[str, str] = {}
    for position, expected in enumerate(template):
        if expected.endswith("+}"):
            rest = "/".join(segments[position:])
            if not rest:
                return None
            parameters[expected[1:-2]] = rest
            return parameters
        if position >= len(segments):
            return None
        if expected.startswith("{"):
            if not segments[position]:
                return None
            parameters[expected[1:-1]] = segments[position]
        elif expected != segments[position]:
            return None
    return parameters if len(segments) == len(template) else None
