"""Scopes compiled into an IAM policy that holds for every request of the token.

API Gateway caches the policy for the token and judges later requests by it, so a policy names all
routes that the token opens, never the request at hand. IAM's `*` crosses slashes, so a Deny puts
each parameter back in its place.
"""

from typing import NamedTuple

from authorizer.errors import PolicyImpossible
from authorizer.reasons import Reason
from authorizer.recent import Recent
from authorizer.routes import ANY_SEGMENT, REST_OF_PATH, Route
from authorizer.scope_map import ScopeMap

MAX_RESOURCE_LENGTH = 512
MAX_POLICY_LENGTH = 8192
_REMEMBERED_POLICIES = 256


class CompiledPolicy(NamedTuple):
    """The resources of a stage that some scopes open, and those their wildcards must not reach."""

    allowed: list[str]
    denied: list[str]


class PolicyCompiler:
    """Compiles policies for one scope map, each set of scopes once per stage."""

    def __init__(self, scope_map: ScopeMap) -> None:
        self._scope_map = scope_map
        self._compiled: Recent[tuple[frozenset[str], str], CompiledPolicy] = Recent(
            _REMEMBERED_POLICIES
        )

    def compile(self, scopes: frozenset[str], stage_arn: str) -> CompiledPolicy:
        """Return the policy for these scopes; with nothing allowed, everything is denied.

        Raises:
            PolicyImpossible: it is larger than API Gateway takes.
        """
        policy = self._compiled.get((scopes, stage_arn))
        if policy is None:
            policy = self._compile(scopes, stage_arn)
            self._compiled.put((scopes, stage_arn), policy)
        return policy

    def _compile(self, scopes: frozenset[str], stage_arn: str) -> CompiledPolicy:
        routes = self._scope_map.routes_for(scopes)
        if not routes:
            return CompiledPolicy([], [f"{stage_arn}/*"])
        allowed = [f"{stage_arn}/{route.pattern()}" for route in routes]
        _refuse_oversize(allowed)  # before they are compared with all others
        denied = [f"{stage_arn}/{route.pattern()}" for route in self._out_of_bounds(routes)]
        _refuse_oversize(allowed + denied)
        return CompiledPolicy(allowed, denied)

    def shadowed_routes(self, scopes: frozenset[str]) -> list[Route]:
        """Return the routes that these scopes open and the policy yet denies, in whole or in part.

        Some maps ask for what IAM's patterns cannot say; Deny wins then. For a lint of the map.
        """
        routes = self._scope_map.routes_for(scopes)
        denied = self._out_of_bounds(routes)
        shadowed = {hit for pattern in denied for hit in self._scope_map.tree.reached_by(pattern)}
        return [route for route in routes if route in shadowed]

    def _out_of_bounds(self, routes: list[Route]) -> list[Route]:
        """Find what the wildcards of these routes would open beyond the routes themselves.

        Where none of the routes lies deeper than a parameter, everything deeper is closed, known or
        not. Elsewhere the known routes that are reached are closed one by one.
        """
        tree = self._scope_map.tree
        allowed = set(routes)
        denied: dict[Route, None] = {}
        for route in routes:
            deeper = _deeper(route)
            closed = [pattern for pattern in deeper if allowed.isdisjoint(tree.matched_by(pattern))]
            confined = len(closed) == len(deeper)
            reached = tree.siblings_reached_by(route) if confined else tree.reached_by(route)
            kept_out = {*reached, *_empty_handed(route)} - allowed
            denied.update(dict.fromkeys((*closed, *sorted(kept_out))))
        return list(denied)


def _empty_handed(route: Route) -> list[Route]:
    """Write the route once per parameter, with nothing in the parameter's place.

    IAM's `*` matches nothing as well, and API Gateway has another route for such a path, or none.
    """
    return [
        Route(route.method, (*route.segments[:at], "", *route.segments[at + 1 :]))
        for at, segment in enumerate(route.segments)
        if segment in (ANY_SEGMENT, REST_OF_PATH)
    ]


def _deeper(route: Route) -> list[Route]:
    """Write the route once per parameter, with two segments in the parameter's place."""
    return [
        Route(route.method, (*route.segments[:at], ANY_SEGMENT, *route.segments[at:]))
        for at, segment in enumerate(route.segments)
        if segment == ANY_SEGMENT
    ]


def _refuse_oversize(resources: list[str]) -> None:
    length = sum(len(resource) + len('"",') for resource in resources)
    if length > MAX_POLICY_LENGTH or max(map(len, resources)) > MAX_RESOURCE_LENGTH:
        raise PolicyImpossible(Reason.POLICY_TOO_LARGE)


def write_policy(policy: CompiledPolicy, valid_until: str | None = None) -> dict[str, object]:
    """Write the policy document, allowing until a moment (ISO 8601) if one is given.

    The condition is of the `IfExists` kind: a gateway that tells no time judges as without it.
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
