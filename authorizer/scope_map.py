"""Which scopes open which routes."""

from typing import NamedTuple

from authorizer import strict_json
from authorizer.routes import Route, RouteTree, parse_route

MAX_ROUTES = 5000


class ScopeMapError(ValueError):
    """Raised when a scope map cannot be read without doubt."""


class Grant(NamedTuple):
    """Routes that are open to a token with all of these scopes."""

    scopes: frozenset[str]
    routes: tuple[Route, ...]


class ScopeMap:
    """All grants of an API. Whatever no grant names is closed."""

    def __init__(self, grants: tuple[Grant, ...]) -> None:
        self._grants = grants
        self.tree = RouteTree()
        for grant in grants:
            for route in grant.routes:
                self.tree.add(route)

    def scopes(self) -> frozenset[str]:
        """Return every scope that opens something."""
        return frozenset().union(*(grant.scopes for grant in self._grants))

    def routes_for(self, scopes: frozenset[str]) -> list[Route]:
        """Return the routes that these scopes open, each once."""
        routes = (
            route for grant in self._grants if grant.scopes <= scopes for route in grant.routes
        )
        return list(dict.fromkeys(routes))


def parse_scope_map(raw: bytes) -> ScopeMap:
    """Read a scope map: a JSON object of `scope` to a list of `METHOD /path/{parameter}`.

    A key of several scopes, separated by spaces, asks for all of them; a route under several keys
    asks for any of these. A scope with an empty list is known and opens nothing.

    Raises:
        ScopeMapError: naming the entry that is wrong.
    """
    try:
        members = strict_json.parse_object(raw)
    except strict_json.JsonError as error:
        raise ScopeMapError(f"the scope map is not a JSON object: {error}") from None
    grants = tuple(_parse_grant(key, value) for key, value in members.items())
    if sum(len(grant.routes) for grant in grants) > MAX_ROUTES:
        raise ScopeMapError(f"the scope map names more than {MAX_ROUTES} routes")
    return ScopeMap(grants)


def _parse_grant(key: str, value: object) -> Grant:
    scopes = key.split(" ")
    if not all(scope and scope.isascii() and scope.isprintable() for scope in scopes):
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
