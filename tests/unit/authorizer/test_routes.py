"""Routes and what their patterns reach."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authorizer.routes import ANY_SEGMENT, REST_OF_PATH, Patterns, Route, RouteTree, intersect, parse_route


def _reached(route: Route, others: list[Route]) -> set[Route]:
    """Return the routes that a pattern reaches, where API Gateway prefers them to its own."""
    return {
        other
        for other, reach in RouteTree([route, *others]).reached_by(Patterns([route]))
        if other != route and reach.other_preferred | reach.crossed_slash
    }


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("GET /", "GET/"),
        ("GET /country", "GET/country"),
        ("GET /country/code/{code}", "GET/country/code/*"),
        ("DELETE /a/{b}/c/{d-e.f_g}", "DELETE/a/*/c/*"),
        ("POST /files/{path+}", "POST/files/*"),
        ("PUT /a:b/~c/@d/e%20f", "PUT/a:b/~c/@d/e%20f"),
        ("$connect", "$connect"),
    ],
)
def test_route_becomes_an_iam_pattern(text: str, pattern: str) -> None:
    assert parse_route(text).pattern() == pattern


@pytest.mark.parametrize(
    "text",
    [
        "",
        "GET",
        "GET country",
        "GET  /country",
        "GET /country ",
        "get /country",
        "ANY /country",
        "* /country",
        "GET /*",
        "GET /a*",
        "GET /a?",
        "GET /country/",
        "GET //country",
        "GET /{}",
        "GET /{a}b",
        "GET /a{b}",
        "GET /{a/b}",
        "GET /{path+}/more",
        "GET /${aws:username}",
        "GET /caf\u00e9",
        "$disconnect",
    ],
)
def test_malformed_route_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match=r"not|only"):
        parse_route(text)


def test_parameter_names_do_not_matter() -> None:
    assert parse_route("GET /a/{b}") == parse_route("GET /a/{c}")


@pytest.mark.parametrize(
    ("route", "others", "reached"),
    [
        ("GET /a", ["GET /{x}", "GET /a/b"], []),
        ("GET /a/{x}", ["POST /a/{x}/b", "GET /b/{x}"], []),
        ("GET /a/{x}", ["GET /a/me", "GET /a/{x}/b", "GET /a"], ["GET/a/*/b", "GET/a/me"]),
        ("GET /a/{x}/b", ["GET /a/{x}/{y}"], []),
        ("GET /a/{x}/b", ["GET /a/me/{y}"], ["GET/a/me/*"]),
        ("GET /a/{x}/b", ["GET /a/{x}/c/b", "GET /a/{x}/b/c"], ["GET/a/*/c/b"]),
        ("GET /a/{x}", ["GET /a/{x+}"], ["GET/a/*"]),
        ("GET /{x}/a", ["GET /{y+}", "GET /a", "GET /{y}"], ["GET/*"]),
        ("GET /a/{x}/b", ["GET /{y+}", "GET /a/{y}/{z+}", "GET /b"], ["GET/*", "GET/a/*/*"]),
        ("GET /a/{x+}", ["GET /a/b", "GET /a/{x}", "GET /a/{x}/c"], ["GET/a/*", "GET/a/*/c", "GET/a/b"]),
    ],
)
def test_pattern_overmatches_other_routes(route: str, others: list[str], reached: list[str]) -> None:
    found = _reached(parse_route(route), [parse_route(other) for other in others])
    assert sorted(other.pattern() for other in found) == reached


SEGMENTS = st.sampled_from(["a", "b", ANY_SEGMENT])
PATHS = st.tuples(st.lists(SEGMENTS, min_size=1, max_size=4), st.sampled_from([[], [REST_OF_PATH]]))
SEGMENTS_OF_A_ROUTE = PATHS.map(lambda parts: (*parts[0], *parts[1]))
ROUTES = st.builds(Route, st.sampled_from(["GET", "PUT"]), SEGMENTS_OF_A_ROUTE)
GET_ROUTES = st.builds(Route, st.just("GET"), SEGMENTS_OF_A_ROUTE)


@given(st.lists(ROUTES, unique=True), st.lists(ROUTES, unique=True))
def test_joint_matching_equals_single_matching(patterns: list[Route], routes: list[Route]) -> None:
    tree, together = RouteTree(routes), Patterns(patterns)
    found = {
        (pattern, way, route)
        for route, reach in tree.reached_by(together)
        for way, places in enumerate(reach)
        for pattern in together.owners(places)
    }
    assert found == {
        (pattern, way, route)
        for pattern in patterns
        for route, reach in tree.reached_by(Patterns([pattern]))
        for way, places in enumerate(reach)
        if places
    }


@pytest.mark.parametrize(
    ("pattern", "other", "met"),
    [
        ("GET /a/{x}", "GET /{y}/b", []),  # preferred: literal text comes first
        ("GET /{x}/b", "GET /a/{y}", ["GET/a/b"]),
        ("GET /{x}/{y}", "GET /a/{z}", ["GET/a/*"]),
        ("GET /a/{x}", "GET /{y}/{z}/b", ["GET/a/*/b"]),
        ("GET /a/{x}", "GET /{rest+}", ["GET/a/*/*"]),
        ("GET /a/{x}/b", "GET /{rest+}", ["GET/a/*/*/b"]),
        ("GET /{x}/b/{y}", "GET /a/{rest+}", ["GET/a/*"]),  # it would take many
        ("GET /{rest+}", "GET /a/{x}/b", ["GET/a/*/b"]),
        ("GET /a/{x}", "GET /" + "{y}/" * 70 + "b", ["GET/" + "*/" * 70 + "b"]),
        ("GET /{a}/{b}/{c}/{d}", "GET /x/{y}/{rest+}", ["GET/x/*/*"]),
    ],
)
def test_overmatch_of_a_route_is_described(pattern: str, other: str, met: list[str]) -> None:
    found = intersect(parse_route(pattern), parse_route(other), crosses_slashes=True)
    assert sorted(route.pattern() for route in found) == met


@given(GET_ROUTES, GET_ROUTES)
def test_overmatch_description_is_exact(pattern: Route, other: Route) -> None:
    ways = {
        way: bool(places)
        for route, reach in RouteTree([other]).reached_by(Patterns([pattern]))
        for way, places in reach._asdict().items()
    }
    is_shadowed = ways.get("other_preferred")
    is_reached = is_shadowed or ways.get("crossed_slash")
    assert bool(intersect(pattern, other, crosses_slashes=True)) == bool(is_reached)
    assert bool(intersect(pattern, other, crosses_slashes=False)) == bool(is_shadowed)
