"""Which scopes open which routes, and for whom a token has to be to use them."""

from collections.abc import Mapping
from typing import NamedTuple

from . import strict_json
from .claims import is_scope, one_or_more
from .routes import Route, RouteTree, parse_route

MAX_ROUTES = 5000
_ANY_AUDIENCE = "*"
_RULES_MEMBERS = frozenset(("audience", "scopes"))


class ScopeMapError(ValueError):
    """Raised when a scope map is not valid."""


class Grant(NamedTuple):
    """Routes that are open to a token with all of these scopes."""

    scopes: frozenset[str]
    routes: tuple[Route, ...]


class ScopeMap:
    """All grants of an API. Routes that no grant names are closed, with one exception.

    A policy opens every request that a parameter of another route takes. The map does not know the
    API's other routes, so `route_coverage.compare_routes` finds those.
    """

    def __init__(self, grants: tuple[Grant, ...]) -> None:
        self.grants = grants
        self.tree = RouteTree(route for grant in grants for route in grant.routes)

    def scopes(self) -> frozenset[str]:
        """Return every scope that opens something."""
        return frozenset().union(*(grant.scopes for grant in self.grants))

    def routes_for(self, scopes: frozenset[str]) -> list[Route]:
        """Return the routes that these scopes open, each once."""
        routes = (route for grant in self.grants if grant.scopes <= scopes for route in grant.routes)
        return list(dict.fromkeys(routes))


class ApiRules(NamedTuple):
    """The rules of one API. An empty set of audiences means any."""

    scope_map: ScopeMap
    audiences: frozenset[str]


def parse_api_rules(raw: bytes) -> ApiRules:
    """Read an API's rules: a JSON object of `scopes`, its scope map, and `audience`.

    `audience` is a text or a list of texts, of which a token needs one; `*` alone means any.

    Raises:
        ScopeMapError: naming what is wrong.
    """
    members = _members(raw, "the API's rules are")
    if not _RULES_MEMBERS.issuperset(members):
        raise ScopeMapError(f"members other than {', '.join(sorted(_RULES_MEMBERS))}")
    scopes = members.get("scopes")
    if not isinstance(scopes, dict):
        raise ScopeMapError("there is no scope map in scopes")
    return ApiRules(_scope_map(scopes), _audiences(members))


def _audiences(members: Mapping[str, object]) -> frozenset[str]:
    if "audience" not in members:
        raise ScopeMapError('there is no audience; to accept tokens for any API, write "audience": "*"')
    if members["audience"] == _ANY_AUDIENCE:
        return frozenset()
    audiences = one_or_more(members["audience"])
    if audiences is None:
        raise ScopeMapError("the audience is neither a text nor a list of texts, or one is empty")
    if _ANY_AUDIENCE in audiences:
        raise ScopeMapError('the audience "*" is not part of a list')
    return audiences


def parse_scope_map(raw: bytes) -> ScopeMap:
    """Read a scope map: a JSON object of `scope` to a list of `METHOD /path/{parameter}`.

    A key of several scopes, separated by spaces, asks for all of them; a route under several keys
    asks for any of these. A scope with an empty list is known and opens nothing.

    Raises:
        ScopeMapError: naming the entry that is wrong.
    """
    return _scope_map(_members(raw, "the scope map is"))


def _members(raw: bytes, subject: str) -> Mapping[str, object]:
    try:
        return strict_json.parse_object(raw)
    except strict_json.JsonError as error:
        raise ScopeMapError(f"{subject} not a JSON object: {error}") from None


def _scope_map(members: Mapping[str, object]) -> ScopeMap:
    grants = tuple(_parse_grant(key, value) for key, value in members.items())
    if sum(len(grant.routes) for grant in grants) > MAX_ROUTES:
        raise ScopeMapError(f"the scope map names more than {MAX_ROUTES} routes")
    return ScopeMap(grants)


def _parse_grant(key: str, value: object) -> Grant:
    scopes = key.split(" ")
    if not all(map(is_scope, scopes)):
        raise ScopeMapError(f"not scopes separated by single spaces: {key!r}")
    if not isinstance(value, list):
        raise ScopeMapError(f"the routes of {key!r} are not a list")
    return Grant(frozenset(scopes), tuple(_parse_route(key, item) for item in value))


def _parse_route(key: str, item: object) -> Route:
    if not isinstance(item, str):
        raise ScopeMapError(f"a route of {key!r} is not a string")
    try:
        return parse_route(item)
    except ValueError as error:
        raise ScopeMapError(f"{key!r}: {error}") from None
