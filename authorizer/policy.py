"""Scopes compiled into an IAM policy that holds for every request of the token.

API Gateway caches the policy for the token and applies it to later requests. A policy therefore names all routes that
the token opens, never one request. IAM's `*` matches slashes, so a Deny limits each parameter to its segment.

An example: the API has the routes `/a/{x}`, `/a/{x}/b` and `/a/{x}/c`.

- A token for `/a/{x}` is allowed `/a/*`, and denied `/a/*/*` and `/a/`.
- A token for `/a/{x}` and `/a/{x}/b` needs `/a/*/*`, so this cannot be denied. The wildcard of `/a/*`
  then crosses slashes and matches `/a/1/c`. Therefore `/a/*/c` is denied, in every spelling.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

from .cache import LRUCache
from .claims import join_scopes
from .errors import PolicyError, Reason
from .routes import ANY_SEGMENT, REST_OF_PATH, WILDCARDS, MatchState, Patterns, Route, RouteTree, intersect
from .scope_map import ScopeMap

MAX_RESOURCE_LENGTH = 512
MAX_POLICY_LENGTH = 8192
_FRAME_LENGTH = 270  # the document without its resources
SHORTEST_STAGE_ARN = "arn:aws:execute-api:us-east-1:123456789012:abcdefghij/a"
_REMEMBERED_POLICIES = 256
_EVERY_OTHER_SPELLING = ("*//*", "*/*/")  # doubled slashes; a final slash, except that of the root
_MAX_COMPARED = 32  # more routes would take too long to compare in detail


Closed = Mapping[Route, Route]
"""Closed patterns, each with the route whose requests it closes: often itself."""


class CompiledPolicy(NamedTuple):
    """The resources of a stage that some scopes open, and those their wildcards must not reach."""

    allowed: list[str]
    denied: list[str]


ReportDenied = Callable[[str, list[Route]], None]
"""Takes scopes, and routes that they open although their policy denies them."""


class PolicyCompiler:
    """Compiles policies for one scope map, each set of scopes once per stage.

    `report` is called once for each route that is allowed but denied in whole or in part. Some maps require what IAM's
    patterns cannot express, and Deny has precedence.
    """

    def __init__(self, scope_map: ScopeMap, report: ReportDenied = lambda _scopes, _routes: None) -> None:
        self._scope_map = scope_map
        self._report = report
        self._reported: set[Route] = set()
        self._scopes = scope_map.scopes()
        self._compiled: LRUCache[tuple[frozenset[str], str], CompiledPolicy | Reason] = LRUCache(_REMEMBERED_POLICIES)

    def compile(self, scopes: frozenset[str], stage_arn: str) -> CompiledPolicy:
        """Return the policy for these scopes; with nothing allowed, everything is denied.

        Raises:
            PolicyError: it is larger than API Gateway takes.
        """
        key = scopes & self._scopes, stage_arn  # unknown scopes do not change the policy
        policy = self._compiled.get(key)
        if policy is None:
            policy = self._compile(*key)
            self._compiled.put(key, policy)
        if isinstance(policy, Reason):
            raise PolicyError(policy)
        return policy

    def oversized_scopes(self) -> list[str]:
        """Return the keys of the map that alone open more than a policy of any stage can name."""
        return [
            join_scopes(grant.scopes)
            for grant in self._scope_map.grants
            if grant.routes and _is_oversize(_resources(SHORTEST_STAGE_ARN, grant.routes))
        ]

    def _compile(self, scopes: frozenset[str], stage_arn: str) -> CompiledPolicy | Reason:
        routes = self._scope_map.routes_for(scopes)
        if not routes:
            return CompiledPolicy([], [f"{stage_arn}/*"])
        allowed = _resources(stage_arn, routes)
        # Checked first, because it limits the number of parameters for the rest.
        with_empty_parameter = {other for route in routes for other in _empty_parameter_variants(route)}
        if _is_oversize(allowed + _resources(stage_arn, with_empty_parameter - set(routes))):
            return Reason.POLICY_TOO_LARGE
        closed, spellings = self._routes_to_deny(routes)
        denied = _resources(stage_arn, closed)
        if not _is_oversize(allowed + denied):
            exact = [f"{stage_arn}/{spelling}" for spelling in dict.fromkeys(spellings)]
            coarse = [f"{stage_arn}/{spelling}" for spelling in _EVERY_OTHER_SPELLING]
            denied += coarse if _is_oversize(allowed + denied + exact) else exact
        if _is_oversize(allowed + denied):
            return Reason.POLICY_TOO_LARGE
        lost = [route for route in _shadowed(routes, closed) if route not in self._reported]
        if lost:
            self._reported.update(lost)
            self._report(join_scopes(scopes), lost)
        return CompiledPolicy(allowed, denied)

    def _routes_to_deny(self, routes: list[Route]) -> tuple[Closed, Iterator[str]]:
        """Find what the wildcards of these routes would open beyond the routes themselves.

        If none of the routes is deeper than a parameter, everything deeper is closed, known or not.
        Otherwise the known routes that are reached are closed one by one, in every spelling. The
        second value has the patterns of those spellings.
        """
        wildcards = Wildcards(routes)
        allowed = set(routes)
        reached = self._reached(wildcards, allowed)
        denied: dict[Route, Route] = {}
        for route in wildcards.routes:
            two_segments = wildcards.two_segments[route]
            denied |= {pattern: pattern for pattern in two_segments if pattern not in wildcards.needed}
            to_deny = {**reached[route], **{path: path for path in _empty_parameter_variants(route)}}
            denied |= {path: to_deny[path] for path in sorted(to_deny.keys() - allowed)}
        known = dict.fromkeys(chain.from_iterable(reached.values()))
        return denied, _spellings(wildcards.of_many_segments(), known)

    def _reached(self, wildcards: "Wildcards", allowed: set[Route]) -> Mapping[Route, Closed]:
        """Find the known routes that the wildcards of these would open, under the first that does.

        Only the parameters of `wildcards.crossing` take several segments; a Deny prevents that for others. If closing a
        known route would close an allowed one, only the part that the wildcards open is closed.
        """
        patterns = wildcards.patterns
        openers = wildcards.openers(self._scope_map.tree, allowed)
        few = openers if len(openers) <= _MAX_COMPARED else ()
        shadowing = _matching(few, allowed, MatchState.outside_own_route)
        reached: dict[Route, dict[Route, Route]] = {route: {} for route in wildcards.routes}
        for other, ends in openers.items():
            if other in shadowing:
                for opener in patterns.owners(ends):
                    parts = intersect(opener, other, crosses_slashes=opener in wildcards.crossing)
                    reached[opener].update(dict.fromkeys(parts, other))
            else:
                reached[patterns.first_owner(ends)][other] = other
        return reached


class Wildcards:
    """The routes with parameters that a token opens, and what else IAM's `*` matches.

    `two_segments` has, for each route, its variants with two segments in place of one parameter.
    Such a variant is denied, unless it is in `needed`: it matches requests of another open route.
    The parameters of the routes in `crossing` have needed variants, and therefore match slashes.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        routes = list(routes)
        self.routes = [route for route in routes if not route.is_literal()]
        self.two_segments = {route: _two_segment_variants(route) for route in self.routes}
        self.needed = _matching(chain.from_iterable(self.two_segments.values()), routes, MatchState.all_positions)
        self.crossing = {r for r in self.routes if not self.needed.isdisjoint(self.two_segments[r])}
        self.patterns = Patterns(self.routes)

    def openers(self, tree: RouteTree, allowed: set[Route]) -> dict[Route, int]:
        """Return other routes that the wildcards open, each with the positions of those that do."""
        crossing_ends = self.patterns.ends(self.crossing)
        return {
            other: ends
            for other, reach in tree.reached_by(self.patterns)
            if other not in allowed and (ends := reach.other_preferred | (reach.crossed_slash & crossing_ends))
        }

    def of_many_segments(self) -> list[tuple[Route, list[int]]]:
        """Return the routes whose wildcards take several segments, with their positions."""
        found = []
        for route in self.routes:
            wide = WILDCARDS if route in self.crossing else {REST_OF_PATH}
            if at := [at for at, segment in enumerate(route.segments) if segment in wide]:
                found.append((route, at))
        return found


def _spellings(openers: Sequence[tuple[Route, list[int]]], closed: Iterable[Route]) -> Iterator[str]:
    """Yield patterns for every other spelling of closed routes that the openers would allow.

    API Gateway routes `/x/` and `//x` to `/x`. AWS does not document whether the evaluated ARN has
    the path as sent. Slashes next to a `*` are matched by the `*` itself. Each
    pattern has a doubled or a final slash, so it never matches a path in its usual spelling.
    """
    doubled = [
        Route(opener.method, opener.segments[:at])
        for opener, positions in openers
        for at in positions
        if opener.segments[at - 1 : at] != (ANY_SEGMENT,)
    ]
    final = []
    for route in closed:
        of_route = [(o, at[0]) for o, at in openers if _may_begin_alike(o, route, at[0])]
        if not of_route:
            continue
        first = min(at for _, at in of_route)
        doubled += [
            Route(route.method, route.segments[:at])
            for at in range(max(first, 1), len(route.segments))
            if WILDCARDS.isdisjoint(route.segments[at - 1 : at + 1])
        ]
        ends_open = any(opener.segments[-1] in WILDCARDS for opener, _ in of_route)
        if ends_open and route.segments[-1] not in {"", *WILDCARDS}:
            doubled.append(route)
            final.append(route)
    yield from (f"{route.pattern()}//*" for route in doubled)
    yield from (f"{route.pattern()}/" for route in final)


def _may_begin_alike(one: Route, other: Route, length: int) -> bool:
    """Return whether some path begins with the first segments of both routes."""
    return one.method == other.method and all(
        a == b or a in WILDCARDS or b in WILDCARDS for a, b in zip(one.segments[:length], other.segments, strict=False)
    )


def _shadowed(routes: list[Route], closed: Closed) -> list[Route]:
    """Return the routes some of whose own requests these patterns close."""
    if not closed:
        return []
    patterns = Patterns(closed)
    parts = patterns.ends(pattern for pattern, whole in closed.items() if pattern != whole)
    shadowed = set()
    for route, reach in RouteTree(routes).reached_by(patterns):
        wholes = (closed[part] for part in patterns.owners(reach.all_positions() & parts))
        if reach.outside_own_route() or any(route.precedence() < whole.precedence() for whole in wholes):
            shadowed.add(route)
    return [route for route in routes if route in shadowed]


def _matching(patterns: Iterable[Route], routes: Iterable[Route], ways: Callable[[MatchState], int]) -> set[Route]:
    """Return the patterns that match requests of some of the routes in one of these ways."""
    together = Patterns(patterns)
    ends = 0
    for _, reach in RouteTree(routes).reached_by(together):
        ends |= ways(reach)
    return together.owners(ends)


def _empty_parameter_variants(route: Route) -> list[Route]:
    """Return the route once per parameter, with an empty segment instead of the parameter.

    IAM's `*` also matches nothing, and API Gateway has another route for such a path, or none.
    """
    return [
        Route(route.method, (*route.segments[:at], "", *route.segments[at + 1 :]))
        for at, segment in enumerate(route.segments)
        if segment in (ANY_SEGMENT, REST_OF_PATH)
    ]


def _two_segment_variants(route: Route) -> list[Route]:
    """Return the route once per parameter, with two segments in the parameter's place."""
    return [
        Route(route.method, (*route.segments[:at], ANY_SEGMENT, *route.segments[at:]))
        for at, segment in enumerate(route.segments)
        if segment == ANY_SEGMENT
    ]


def _resources(stage_arn: str, routes: Iterable[Route]) -> list[str]:
    """Write the routes as resources, each once: some routes have one pattern."""
    return list(dict.fromkeys(f"{stage_arn}/{route.pattern()}" for route in routes))


def _is_oversize(resources: list[str]) -> bool:
    length = _FRAME_LENGTH + sum(len(resource) + len('"", ') for resource in resources)
    return length > MAX_POLICY_LENGTH or max(map(len, resources)) > MAX_RESOURCE_LENGTH


def write_policy(policy: CompiledPolicy, valid_until: str | None = None) -> dict[str, object]:
    """Write the policy document, allowing until a moment (ISO 8601) if one is given.

    The condition is of the `IfExists` kind: it is ignored by a gateway that sends no time.
    """
    statements = []
    if policy.allowed:
        allow = _statement("Allow", policy.allowed)
        if valid_until is not None:
            allow["Condition"] = {"DateLessThanIfExists": {"aws:CurrentTime": valid_until}}
        statements.append(allow)
    if policy.denied:
        statements.append(_statement("Deny", policy.denied))
    return {"Version": "2012-10-17", "Statement": statements}


def _statement(effect: str, resources: list[str]) -> dict[str, object]:
    return {"Action": "execute-api:Invoke", "Effect": effect, "Resource": resources}
