"""An API's routes compared with its scope map."""

import json

import pytest

from authorizer.policy import PolicyCompiler, write_policy
from authorizer.route_coverage import RouteCoverage, compare_routes
from authorizer.scope_map import ScopeMap, parse_scope_map
from tests.support.policies import allows
from tests.support.tokens import STAGE_ARN


def _map(**scopes: list[str]) -> ScopeMap:
    return parse_scope_map(json.dumps(scopes).encode())


def test_complete_map_has_no_findings() -> None:
    routes = ["GET /customers", "GET /customers/{id}", "ANY /other/{x}", "$connect"]
    scope_map = _map(r=["GET /customers", "GET /customers/{customerId}"], w=["PUT /other/{y}", "$connect"])
    assert compare_routes(routes, scope_map) == RouteCoverage([], [], [])


@pytest.mark.parametrize(
    ("named", "route", "opened_by"),
    [
        (["GET /customers/{id}"], "GET /customers/export-all", "GET /customers/{parameter}"),
        (["GET /customers/{id}"], "ANY /customers/export-all", "GET /customers/{parameter}"),
        (["GET /files/{path+}"], "GET /files/{id}/keys", "GET /files/{parameter+}"),
        (["GET /{x}/b"], "GET /a/{y}", "GET /{parameter}/b"),
        (["GET /a/{x}", "GET /a/{x}/b"], "GET /a/{x}/secret", "GET /a/{parameter}"),
    ],
)
def test_route_opened_by_a_parameter_is_named(named: list[str], route: str, opened_by: str) -> None:
    found = compare_routes([*named, route], _map(r=named))
    method, path = route.replace("ANY", "GET").split()
    assert found == RouteCoverage([(f"{method} {path}", opened_by)], [], [])  # type: ignore[list-item]
    compiler = PolicyCompiler(_map(r=named))
    document = write_policy(compiler.compile(frozenset({"r"}), STAGE_ARN))
    request = path.replace("{id}", "7").replace("{x}", "7").replace("{y}", "b")
    assert allows(document, f"{STAGE_ARN}/GET{request}")


@pytest.mark.parametrize(
    ("named", "route"),
    [
        (["GET /customers/{id}"], "POST /customers/export-all"),
        (["GET /customers/{id}"], "GET /customers/{id}/keys"),
        (["GET /customers/{id}"], "GET /customers"),
        (["GET /a/{x}"], "GET /{proxy+}"),
        (["GET /a"], "$connect"),
        (["$connect"], "ANY /a"),
    ],
)
def test_route_without_scope_is_closed(named: list[str], route: str) -> None:
    closed = [] if route == "GET /{proxy+}" else [route]
    assert compare_routes([*named, route], _map(r=named)) == RouteCoverage([], closed, [])


def test_map_entry_without_route_is_unknown() -> None:
    scope_map = _map(r=["GET /customers/{id}", "POST /customers/{id}", "GET /customers/me"])
    found = compare_routes(["GET /customers/{id}"], scope_map)
    assert found.unknown == ["POST /customers/{parameter}", "GET /customers/me"]


@pytest.mark.parametrize("catch_all", ["$default", "ANY /{proxy+}"])
def test_map_may_name_parts_of_a_greedy_route(catch_all: str) -> None:
    scope_map = _map(r=["GET /customers/{id}", "GET /customers"])
    assert compare_routes([catch_all], scope_map) == RouteCoverage([], [], [])
    assert compare_routes(["GET /x/{proxy+}"], scope_map).unknown == ["GET /customers/{parameter}", "GET /customers"]


@pytest.mark.parametrize("route", ["GET /caf\u00e9", "GET /a/", "FETCH /a", "$disconnect"])
def test_unnameable_route_is_closed(route: str) -> None:
    assert compare_routes([route], _map(r=[])) == RouteCoverage([], [route], [])


def test_parameter_does_not_open_the_root() -> None:
    scope_map = _map(r=["GET /{x}"])
    assert compare_routes(["GET /", "GET /{x}"], scope_map) == RouteCoverage([], ["GET /"], [])
