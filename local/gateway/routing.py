"""Find the route of a path: the most specific one, as API Gateway does."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from local.gateway.model import AnyMethod, Route

_SEGMENT = re.compile(r"[^/]+")


@dataclass(frozen=True, slots=True)
class Match:
    """A route and the values of its path parameters."""

    route: Route
    parameters: Mapping[str, str]


class Router:
    """Finds the route for a method and a path.

    A trailing slash and doubled slashes do not change the route. A greedy parameter gets the rest
    of the path as it was sent, without slashes at its ends.

    API Gateway Developer Guide: "Routes for HTTP APIs" (most specific match); "Set up a proxy
    integration with a proxy resource".

    Recorded on AWS: `/x/`, `//x`, `/stage//x` and `//stage/x` reach `/x`. A doubled slash further back is recorded for
    greedy parameters only. Elsewhere the router drops it, so that a test meets each route that it could reach.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self._templates = sorted(
            ((_rank(route), tuple(_SEGMENT.findall(route.path)), route) for route in routes), key=lambda entry: entry[0]
        )

    def match(self, method: str, path: str) -> Match | None:
        """Return the route for `method` on `path`, or None. Nothing is decoded."""
        segments = list(_SEGMENT.finditer(path))
        for _, template, route in self._templates:
            if route.method in (method, AnyMethod):
                if route.path == "$default":
                    return Match(route, {})
                parameters = _capture(template, segments, path)
                if parameters is not None:
                    return Match(route, parameters)
        return None


def without_extra_slashes(path: str) -> str:
    """The path without doubled slashes and without a slash at its end."""
    return "/" + "/".join(_SEGMENT.findall(path))


def _rank(route: Route) -> tuple[object, ...]:
    if route.path == "$default":
        return (1, (), True)
    # Literal segments come first, then parameters, then greedy parameters.
    segments = _SEGMENT.findall(route.path)
    ranks = tuple(2 if each.endswith("+}") else int(each.startswith("{")) for each in segments)
    return (0, ranks, route.method == AnyMethod)


def _capture(template: tuple[str, ...], segments: list[re.Match[str]], path: str) -> dict[str, str] | None:
    if len(segments) < len(template):
        return None
    parameters: dict[str, str] = {}
    for expected, segment in zip(template, segments, strict=False):
        if expected.endswith("+}"):
            parameters[expected[1:-2]] = path[segment.start() :].rstrip("/")
            return parameters
        if expected.startswith("{"):
            parameters[expected[1:-1]] = segment[0]
        elif expected != segment[0]:
            return None
    return parameters if len(segments) == len(template) else None
