"""Routes and what their patterns reach."""

import pytest

from authorizer.routes import Route, RouteTree, parse_route


def _tree(*routes: str) -> RouteTree:
    tree = RouteTree()
    for route in routes:
        tree.add(parse_route(route))
    return tree


def _patterns(routes: set[Route]) -> list[str]:
    return sorted(route.pattern() for route in routes)


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
def test_a_route_is_written_as_an_iam_pattern(text: str, pattern: str) -> None:
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
def test_anything_else_is_no_route(text: str) -> None:
    with pytest.raises(ValueError, match=r"not|only"):
        parse_route(text)


def test_names_of_parameters_do_not_tell_routes_apart() -> None:
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
        (
            "GET /a/{x+}",
            ["GET /a/b", "GET /a/{x}", "GET /a/{x}/c"],
            ["GET/a/*", "GET/a/*/c", "GET/a/b"],
        ),
    ],
)
def test_a_pattern_reaches_routes_beyond_its_own(
    route: str, others: list[str], reached: list[str]
) -> None:
    assert _patterns(_tree(route, *others).reached_by(parse_route(route))) == reached
