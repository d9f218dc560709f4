"""Routes as API Gateway matches them, and the wildcard patterns that IAM makes of them."""

import re
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import islice
from typing import NamedTuple

ANY_SEGMENT = "*"
REST_OF_PATH = "**"
WILDCARDS = frozenset((ANY_SEGMENT, REST_OF_PATH))
ROOT = ("",)  # one empty segment, because IAM's `*` may match nothing
WEBSOCKET_CONNECT = "$connect"
METHODS = frozenset(("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"))
_LITERAL = re.compile(r"[A-Za-z0-9._~!$&'()+,;=:@%-]+")
_PARAMETER = re.compile(r"\{[A-Za-z0-9._-]+\}")
_GREEDY_PARAMETER = re.compile(r"\{[A-Za-z0-9._-]+\+\}")
_LONGEST_INTERSECTION = 32
_MAX_PATTERNS = 4

Segments = tuple[str, ...]


class Route(NamedTuple):
    """A method and the segments of a path.

    A `{parameter}` is stored as ANY_SEGMENT, a `{parameter+}` as REST_OF_PATH, without its name.
    """

    method: str
    segments: tuple[str, ...]

    def pattern(self) -> str:
        """Write the route as the last part of an execute-api resource, `*` for each parameter."""
        if self.method == WEBSOCKET_CONNECT:
            return WEBSOCKET_CONNECT
        return self.prefix()

    def prefix(self) -> str:
        """Write the segments as the beginning of a resource; without segments, the method."""
        return "/".join((self.method, *self.segments)).replace(REST_OF_PATH, ANY_SEGMENT)

    def is_literal(self) -> bool:
        """Return whether the route has no parameter, and so matches one path only."""
        return WILDCARDS.isdisjoint(self.segments)

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
    if method not in METHODS or not path.startswith("/"):
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


class State(NamedTuple):
    """The positions of patterns after some segments of a route: sets of positions, each a bit.

    API Gateway compares two routes segment by segment. The first different segments decide: text
    has precedence over a parameter, a parameter over the rest of the path.
    """

    equal: int
    """Each segment was the same as the pattern's."""

    preferred: int
    """Each parameter has taken one segment, and API Gateway prefers the pattern's own route."""

    other_preferred: int
    """Each parameter has taken one segment, and API Gateway prefers the other route."""

    crossed_slash: int
    """A parameter has taken several segments, as IAM's `*` does and no route's parameter."""

    def all_positions(self) -> int:
        """Return the positions of all four sets."""
        return self.equal | self.preferred | self.other_preferred | self.crossed_slash

    def outside_own_route(self) -> int:
        """Return the positions of patterns that match requests of other routes than their own."""
        return self.other_preferred | self.crossed_slash


class Patterns:
    """Patterns as IAM reads them, all of them matched against a route at once.

    A pattern has a position before each of its segments and one at its end. Every position is a bit
    of one integer. A step of all patterns therefore costs a few operations on integers.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self._owners: list[Route] = []  # by position
        self._starts: dict[str, int] = {}
        self._places: dict[str, int] = {ANY_SEGMENT: 0, REST_OF_PATH: 0}
        self._crossable = 0  # positions at or behind a `*`
        self._ends = 0
        for route in routes:
            self._add(route)
        self._inner = ((1 << len(self._owners)) - 1) & ~self._ends

    def _add(self, route: Route) -> None:
        start = 1 << len(self._owners)
        self._starts[route.method] = self._starts.get(route.method, 0) | start
        place = start
        for segment in route.segments:
            self._places[segment] = self._places.get(segment, 0) | place
            place <<= 1
            if segment == ANY_SEGMENT:
                self._crossable |= place - start
        self._ends |= place
        self._owners += [route] * (len(route.segments) + 1)

    def start(self, method: str) -> State:
        """Return the positions of the patterns of a method before the first segment."""
        return State(self._starts.get(method, 0), 0, 0, 0)

    def step(self, at: State, segment: str) -> State:
        """Go on by a route's next segment.

        A pattern's parameter that takes it may stay where it is, and take the next one as well.
        """
        any_segment, rest = self._places[ANY_SEGMENT], self._places[REST_OF_PATH]
        if segment == REST_OF_PATH:
            return self._finish(at, rest)
        same = self._places.get(segment, 0)
        if segment == ANY_SEGMENT:
            before, behind = self._inner & ~(any_segment | rest), rest
        else:
            before, behind = 0, any_segment | rest
        met = same | before | behind
        return State(
            (at.equal & same) << 1,
            ((at.preferred & met) | (at.equal & before)) << 1 | (at.preferred & rest),
            ((at.other_preferred & met) | (at.equal & behind)) << 1 | ((at.other_preferred | at.equal) & rest),
            (at.crossed_slash & met) << 1 | (at.crossed_slash & rest) | (at.all_positions() & any_segment),
        )

    def _finish(self, at: State, rest: int) -> State:
        """Go on by the rest of the path, which takes whatever a pattern still asks for."""
        aligned = at.equal | at.preferred | at.other_preferred
        return State(
            (at.equal & rest) << 1,
            self._ends_of(at.preferred | (at.equal & ~rest)),
            self._ends_of(at.other_preferred),
            self._ends_of(at.crossed_slash | (aligned & self._crossable)),
        )

    def _ends_of(self, places: int) -> int:
        """Return the ends of the patterns that have one of these places before their end.

        To add 1 at all places before an end carries into it, if one of them was there already.
        """
        return ((places & self._inner) + self._inner) & self._ends

    def at_end(self, at: State) -> State:
        """Return the patterns that are at their end."""
        return State(*(places & self._ends for places in at))

    def ends(self, routes: Iterable[Route]) -> int:
        """Return the ends of some of the patterns."""
        wanted = set(routes)
        return sum(1 << at for at, owner in enumerate(self._owners) if owner in wanted) & self._ends

    def first(self, places: int) -> Route:
        """Return the pattern of the first of these places."""
        return self._owners[(places & -places).bit_length() - 1]

    def owners(self, places: int) -> set[Route]:
        """Return the patterns of these places."""
        owners = set()
        while places:
            owners.add(self.first(places))
            places &= places - 1
        return owners


class RouteTree:
    """Routes as a tree, in which common prefixes are matched once."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._roots: dict[str, _Node] = {}
        for route in routes:
            node = self._roots.setdefault(route.method, _Node())
            for segment in route.segments:
                node = node.children.setdefault(segment, _Node())
            node.route = route

    def reached_by(self, patterns: Patterns) -> Iterator[tuple[Route, State]]:
        """Yield each route with requests that match patterns, and the state of the match."""
        waiting = [
            (root, start) for method, root in self._roots.items() if (start := patterns.start(method)).all_positions()
        ]
        while waiting:
            node, at = waiting.pop()
            if node.route is not None and (end := patterns.at_end(at)).all_positions():
                yield node.route, end
            for segment, child in node.children.items():
                then = patterns.step(at, segment)
                if then.all_positions():
                    waiting.append((child, then))


class _Node:
    """A prefix of paths. `route` ends here, if it is set."""

    __slots__ = ("children", "route")

    def __init__(self) -> None:
        self.children: dict[str, _Node] = {}
        self.route: Route | None = None


def intersect(pattern: Route, other: Route, *, crosses_slashes: bool) -> list[Route]:
    """Return patterns for the requests of a preferred route that a pattern matches.

    With `crosses_slashes`, a parameter of the pattern may take several segments. If that needs many patterns,
    the other route is returned instead.
    """
    if len(pattern.segments) + len(other.segments) > _LONGEST_INTERSECTION:
        return [other]

    @cache
    def follow(mine: Segments, theirs: Segments, order: int, *, across: bool) -> set[Segments]:
        if not mine or not theirs:
            return {()} if mine == theirs and (across or order > 0) else set()
        ours, other = mine[0], theirs[0]
        rank, others_rank = _PRECEDENCE.get(ours, 0), _PRECEDENCE.get(other, 0)
        if rank == others_rank and ours != other:
            return set()
        order = order or rank - others_rank
        narrower = ours if rank < others_rank else other
        # Taken segments, the rest of both, and whether a parameter has taken several segments.
        steps: list[tuple[Segments, Segments, Segments, bool]] = [((narrower,), mine[1:], theirs[1:], across)]
        if ours == REST_OF_PATH or (ours == ANY_SEGMENT and crosses_slashes):
            steps.append(((other,), mine, theirs[1:], across or ours == ANY_SEGMENT))
        if other == REST_OF_PATH:
            steps.append(((ours,), mine[1:], theirs, across))
            if ours == ANY_SEGMENT and crosses_slashes:
                several = (ours, ours if mine[1:] else REST_OF_PATH)
                steps += [(several, mine[1:], rest, True) for rest in (theirs[1:], theirs)]
        found = {
            (*taken, *more)
            for taken, mine_left, theirs_left, crossed in steps
            for more in follow(mine_left, theirs_left, order, across=crossed)
        }
        return set(islice(found, _MAX_PATTERNS + 1))

    met = follow(pattern.segments, other.segments, 0, across=False)
    if len(met) > _MAX_PATTERNS:
        return [other]
    return [Route(other.method, segments) for segments in met]
