"""Routes as API Gateway matches them, and the IAM patterns written for them."""

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
_MAX_COMBINED_SEGMENTS = 32
_MAX_PATTERNS = 4

Segments = tuple[str, ...]


class Route(NamedTuple):
    """A method and the segments of a path.

    A `{parameter}` is stored as ANY_SEGMENT, a `{parameter+}` as REST_OF_PATH, without its name.
    """

    method: str
    segments: Segments

    def pattern(self) -> str:
        """Write the route as the last part of an execute-api resource, `*` for each parameter.

        Without segments, as for `$connect`, it is the method alone.
        """
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


class MatchState(NamedTuple):
    """Four bit sets of pattern positions, by how the match went so far.

    API Gateway compares two routes segment by segment. The first different segments decide: text
    has precedence over a parameter, a parameter over the rest of the path.
    """

    equal: int
    """Each segment was the same as the pattern's."""

    own_preferred: int
    """Each parameter has taken one segment, and API Gateway prefers the pattern's own route."""

    other_preferred: int
    """Each parameter has taken one segment, and API Gateway prefers the other route."""

    crossed_slash: int
    """A parameter has taken several segments. IAM's `*` can do this; a route's parameter cannot."""

    def all_positions(self) -> int:
        """Return the positions of all four sets."""
        return self.equal | self.own_preferred | self.other_preferred | self.crossed_slash

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
        self._positions: dict[str, int] = {ANY_SEGMENT: 0, REST_OF_PATH: 0}
        self._crossable = 0  # positions from which a `*` is still ahead (at or before it)
        self._ends = 0
        for route in routes:
            self._add(route)
        self._before_end = ((1 << len(self._owners)) - 1) & ~self._ends

    def _add(self, route: Route) -> None:
        start = 1 << len(self._owners)
        self._starts[route.method] = self._starts.get(route.method, 0) | start
        position = start
        for segment in route.segments:
            self._positions[segment] = self._positions.get(segment, 0) | position
            position <<= 1
            if segment == ANY_SEGMENT:
                self._crossable |= position - start
        self._ends |= position
        self._owners += [route] * (len(route.segments) + 1)

    def start(self, method: str) -> MatchState:
        """Return the positions of the patterns of a method before the first segment."""
        return MatchState(self._starts.get(method, 0), 0, 0, 0)

    def step(self, at: MatchState, segment: str) -> MatchState:
        """Advance all patterns by the next segment of a route.

        IAM's `*` crosses slashes: a parameter that matches the segment may match the next one too.
        """
        any_segment, rest = self._positions[ANY_SEGMENT], self._positions[REST_OF_PATH]
        if segment == REST_OF_PATH:
            return self._finish(at, rest)
        same = self._positions.get(segment, 0)
        if segment == ANY_SEGMENT:
            own_preferred, other_preferred = self._before_end & ~(any_segment | rest), rest
        else:
            own_preferred, other_preferred = 0, any_segment | rest
        matching = same | own_preferred | other_preferred
        return MatchState(
            (at.equal & same) << 1,
            ((at.own_preferred & matching) | (at.equal & own_preferred)) << 1 | (at.own_preferred & rest),
            ((at.other_preferred & matching) | (at.equal & other_preferred)) << 1
            | ((at.other_preferred | at.equal) & rest),
            (at.crossed_slash & matching) << 1 | (at.crossed_slash & rest) | (at.all_positions() & any_segment),
        )

    def _finish(self, at: MatchState, rest: int) -> MatchState:
        """Advance by `{parameter+}`, which matches all remaining segments of every pattern."""
        aligned = at.equal | at.own_preferred | at.other_preferred
        return MatchState(
            (at.equal & rest) << 1,
            self._ends_of(at.own_preferred | (at.equal & ~rest)),
            self._ends_of(at.other_preferred),
            self._ends_of(at.crossed_slash | (aligned & self._crossable)),
        )

    def _ends_of(self, positions: int) -> int:
        """Return the ends of the patterns that have one of these positions before their end.

        The positions of a pattern are consecutive bits. Adding 1 at each of them carries into its
        end if one of them is set. A pattern of three segments has the positions 0111 before its end
        1000: 0010 + 0111 = 1001 reaches the end, 0000 + 0111 does not.
        """
        return ((positions & self._before_end) + self._before_end) & self._ends

    def at_end(self, at: MatchState) -> MatchState:
        """Return the patterns that are at their end."""
        return MatchState(*(positions & self._ends for positions in at))

    def ends(self, routes: Iterable[Route]) -> int:
        """Return the ends of some of the patterns."""
        wanted = set(routes)
        return sum(1 << at for at, owner in enumerate(self._owners) if owner in wanted) & self._ends

    def first_owner(self, positions: int) -> Route:
        """Return the route whose pattern has the first of these positions."""
        return self._owners[(positions & -positions).bit_length() - 1]

    def owners(self, positions: int) -> set[Route]:
        """Return the routes whose patterns have these positions."""
        owners = set()
        while positions:
            owners.add(self.first_owner(positions))
            positions &= positions - 1
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

    def reached_by(self, patterns: Patterns) -> Iterator[tuple[Route, MatchState]]:
        """Yield each route with requests that match patterns, and the state of the match."""
        stack = [
            (root, start) for method, root in self._roots.items() if (start := patterns.start(method)).all_positions()
        ]
        while stack:
            node, at = stack.pop()
            if node.route is not None and (end := patterns.at_end(at)).all_positions():
                yield node.route, end
            for segment, child in node.children.items():
                then = patterns.step(at, segment)
                if then.all_positions():
                    stack.append((child, then))


class _Node:
    """A prefix of paths. `route` ends here, if it is set."""

    __slots__ = ("children", "route")

    def __init__(self) -> None:
        self.children: dict[str, _Node] = {}
        self.route: Route | None = None


def intersect(pattern: Route, other: Route, *, crosses_slashes: bool) -> list[Route]:
    """Return patterns for the requests that `pattern` matches and API Gateway sends to `other`.

    With `crosses_slashes`, a parameter of the pattern may take several segments. If the result needs
    many patterns, it is `other` itself.
    """
    if len(pattern.segments) + len(other.segments) > _MAX_COMBINED_SEGMENTS:
        return [other]

    @cache
    def common_paths(pattern_rest: Segments, other_rest: Segments, order: int, *, crossed: bool) -> set[Segments]:
        """Return the segments that both have in common from here on.

        `order` is 0 while their segments are equal. It is negative if API Gateway prefers the
        pattern's route, and positive if it prefers the other one.
        """
        if not pattern_rest or not other_rest:
            is_outside_own_route = crossed or order > 0
            return {()} if pattern_rest == other_rest and is_outside_own_route else set()
        segment, other_segment = pattern_rest[0], other_rest[0]
        rank, other_rank = _PRECEDENCE.get(segment, 0), _PRECEDENCE.get(other_segment, 0)
        if rank == other_rank and segment != other_segment:
            return set()
        order = order or rank - other_rank
        narrower = segment if rank < other_rank else other_segment
        # Taken segments, the rest of both, and whether a parameter has taken several segments.
        steps: list[tuple[Segments, Segments, Segments, bool]] = [
            ((narrower,), pattern_rest[1:], other_rest[1:], crossed)
        ]
        if segment == REST_OF_PATH or (segment == ANY_SEGMENT and crosses_slashes):
            steps.append(((other_segment,), pattern_rest, other_rest[1:], crossed or segment == ANY_SEGMENT))
        if other_segment == REST_OF_PATH:
            steps.append(((segment,), pattern_rest[1:], other_rest, crossed))
            if segment == ANY_SEGMENT and crosses_slashes:
                several = (segment, segment if pattern_rest[1:] else REST_OF_PATH)
                steps += [(several, pattern_rest[1:], remaining, True) for remaining in (other_rest[1:], other_rest)]
        found = {
            (*taken, *more)
            for taken, left, other_left, has_crossed in steps
            for more in common_paths(left, other_left, order, crossed=has_crossed)
        }
        return set(islice(found, _MAX_PATTERNS + 1))

    common = common_paths(pattern.segments, other.segments, 0, crossed=False)
    if len(common) > _MAX_PATTERNS:
        return [other]
    return [Route(other.method, segments) for segments in common]
