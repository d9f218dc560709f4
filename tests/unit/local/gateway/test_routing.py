import pytest

from local.gateway.model import Route
from local.gateway.routing import Router

ROUTER = Router(
    Route(method, path, f"{method} {path}")
    for method, path in [
        ("GET", "/{first}"),
        ("ANY", "/{proxy+}"),
        ("GET", "/country"),
        ("ANY", "/country"),
        ("GET", "/country/code/{code}"),
        ("GET", "/country/code/special"),
        ("GET", "/country/{anything+}"),
        ("GET", "/"),
        ("GET", "/a/{x}/c"),
        ("GET", "/a/b/{y}"),
    ]
)


@pytest.mark.parametrize(
    ("method", "path", "route", "parameters"),
    [
        ("GET", "/", "GET /", {}),
        ("GET", "/country", "GET /country", {}),
        ("POST", "/country", "ANY /country", {}),
        ("GET", "/country/code/AUS", "GET /country/code/{code}", {"code": "AUS"}),
        ("GET", "/country/code/special", "GET /country/code/special", {}),
        ("GET", "/country/code/a%2Fb", "GET /country/code/{code}", {"code": "a%2Fb"}),
        ("GET", "/country/code/a/b", "GET /country/{anything+}", {"anything": "code/a/b"}),
        ("POST", "/country/code/AUS", "ANY /{proxy+}", {"proxy": "country/code/AUS"}),
        ("GET", "/elsewhere", "GET /{first}", {"first": "elsewhere"}),
        ("GET", "/a/b/c", "GET /a/b/{y}", {"y": "c"}),
        ("GET", "/a/x/c", "GET /a/{x}/c", {"x": "x"}),
    ],
)
def test_most_specific_route_is_chosen(method: str, path: str, route: str, parameters: dict[str, str]) -> None:
    match = ROUTER.match(method, path)
    assert match is not None
    assert match.route.function == route
    assert match.parameters == parameters


CLOSED = Router(
    [
        Route("GET", "/files/{path+}", "open"),
        Route("GET", "/files/secret", "closed"),
        Route("GET", "/files/{id}/keys", "closed"),
        Route("GET", "/", "root"),
    ]
)


@pytest.mark.parametrize(
    ("path", "function"),
    [
        ("/files/secret/", "closed"),
        ("/files/secret//", "closed"),
        ("/files//secret", "closed"),
        ("//files/secret", "closed"),
        ("///files//secret/", "closed"),
        ("/files/7/keys/", "closed"),
        ("/files/7//keys", "closed"),
        ("/files//7/keys", "closed"),
        ("/files/7/keyss", "open"),
        ("/", "root"),
        ("//", "root"),
        ("", "root"),
    ],
)
def test_slashes_do_not_change_the_route(path: str, function: str) -> None:
    match = CLOSED.match("GET", path)
    assert match is not None
    assert match.route.function == function


@pytest.mark.parametrize(
    ("path", "captured"), [("/files/a//b", "a//b"), ("/files/a/b/", "a/b"), ("/files//a", "a"), ("//files/a", "a")]
)
def test_greedy_parameter_has_no_slash_at_its_ends(path: str, captured: str) -> None:
    match = CLOSED.match("GET", path)
    assert match is not None
    assert match.parameters == {"path": captured}


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/"), ("GET", "/country/a/b"), ("GET", "/%63ountry"), ("get", "/country")]
)
def test_unknown_paths_and_methods_have_no_route(method: str, path: str) -> None:
    router = Router([Route("GET", "/country", "A"), Route("GET", "/country/{code}", "B")])
    assert router.match(method, path) is None


def test_default_route_is_the_last_choice() -> None:
    router = Router([Route("ANY", "$default", "Rest"), Route("GET", "/country", "Country")])
    found = [router.match("GET", path) for path in ("/country", "/", "/x/y")]
    assert [match and match.route.function for match in found] == ["Country", "Rest", "Rest"]
