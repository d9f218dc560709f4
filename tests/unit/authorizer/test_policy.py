"""Compiled policies, evaluated by a plain implementation of IAM."""

import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from cProfile import Profile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authorizer.errors import PolicyError, Reason
from authorizer.policy import MAX_POLICY_LENGTH, PolicyCompiler, write_policy
from authorizer.routes import ANY_SEGMENT, REST_OF_PATH, ROOT, Route, parse_route
from authorizer.scope_map import MAX_ROUTES, ScopeMap, parse_scope_map
from local.gateway import model
from local.gateway.routing import Router
from tests.support.policies import allows, shadowed_routes
from tests.support.tokens import STAGE_ARN


def _compiler(scope_map: dict[str, list[str]]) -> PolicyCompiler:
    return PolicyCompiler(parse_scope_map(json.dumps(scope_map).encode()))


def _resources(compiler: PolicyCompiler, *scopes: str) -> tuple[list[str], list[str]]:
    policy = compiler.compile(frozenset(scopes), STAGE_ARN)
    strip = len(STAGE_ARN) + 1
    return [r[strip:] for r in policy.allowed], [r[strip:] for r in policy.denied]


def _shadowed(scope_map: dict[str, list[str]], *scopes: str) -> list[str]:
    found = shadowed_routes(parse_scope_map(json.dumps(scope_map).encode()), *scopes)
    return [route.pattern() for route in found]


def test_scopes_without_routes_deny_all() -> None:
    compiler = _compiler({"r": ["GET /country"], "empty": []})
    for scopes in ((), ("empty",), ("unknown",)):
        assert _resources(compiler, *scopes) == ([], ["*"])


def test_more_specific_route_is_denied() -> None:
    compiler = _compiler({"r": ["GET /user/{id}"], "admin": ["GET /user/admin"]})
    assert _resources(compiler, "r") == (["GET/user/*"], ["GET/user/*/*", "GET/user/", "GET/user/admin"])
    assert _resources(compiler, "r", "admin")[1] == ["GET/user/*/*", "GET/user/"]


def test_deeper_routes_are_denied_individually() -> None:
    compiler = _compiler({"r": ["GET /user/{id}", "GET /user/{id}/posts"], "admin": ["GET /user/{id}/secrets"]})
    assert _resources(compiler, "r") == (
        ["GET/user/*", "GET/user/*/posts"],
        [
            *("GET/user/", "GET/user/*/secrets", "GET/user/*/*/posts", "GET/user//posts"),
            *("GET/user//*", "GET/user/*/secrets//*", "GET/user/*/secrets/"),
        ],
    )


def test_open_deeper_route_is_not_denied() -> None:
    compiler = _compiler({"r": ["GET /a/{x}"], "b": ["GET /a/{x}/b"], "c": ["GET /a/{x}/c"]})
    assert _resources(compiler, "r") == (["GET/a/*"], ["GET/a/*/*", "GET/a/"])
    allowed, denied = _resources(compiler, "r", "b")
    assert allowed == ["GET/a/*", "GET/a/*/b"]
    assert "GET/a/*/*" not in denied
    assert {"GET/a/*/c", "GET/a/*/c/", "GET/a/*/c//*"} <= set(denied)


def test_root_parameter_does_not_open_the_root() -> None:
    compiler = _compiler({"r": ["GET /{x}"], "s": ["GET /"]})
    assert _resources(compiler, "r") == (["GET/*"], ["GET/*/*", "GET/"])
    assert _resources(compiler, "r", "s") == (["GET/*", "GET/"], ["GET/*/*"])


def test_empty_segment_opens_no_other_route() -> None:
    compiler = _compiler({"r": ["GET /tenants/{t}/status"], "w": ["GET /{area}/{proxy+}"]})
    assert "GET/tenants//status" in _resources(compiler, "r")[1]


def test_methods_are_independent() -> None:
    compiler = _compiler({"r": ["GET /user/{id}"], "w": ["DELETE /user/admin"]})
    assert "DELETE/user/admin" not in _resources(compiler, "r")[1]


def test_inexpressible_routes_are_denied_and_reported() -> None:
    scope_map = {"r": ["GET /a/{x}", "GET /a/{x}/c/b"], "s": ["GET /a/{x}/b"]}
    assert _shadowed(scope_map, "r") == ["GET/a/*/c/b"]
    assert _shadowed(scope_map, "r", "s") == []


def test_collateral_denials_are_reported() -> None:
    scope_map = {"r": ["GET /{a}/{b}/{c}", "GET /x/{d}"], "s": ["GET /{a}/{b}/{rest+}"]}
    assert "GET/x/*/*" in _resources(_compiler(scope_map), "r")[1]
    assert _shadowed(scope_map, "r") == ["GET/*/*/*"]


@pytest.mark.parametrize(
    ("mine", "theirs", "denied"),
    [
        (["GET /{x}/b", "GET /a/c"], "GET /a/{y}", "GET/a/b"),
        (["GET /a/{x}", "GET /a/{x}/q", "GET /c/{y}/b"], "GET /{y}/{z}/b", "GET/a/*/b"),
        (["GET /a/{x}", "GET /b/{x}", "GET /b/{x}/c/d"], "GET /{x}/{y}/{z}", "GET/b/*/*"),
    ],
)
def test_overlapping_route_is_denied_in_part(mine: list[str], theirs: str, denied: str) -> None:
    compiler = _compiler({"r": mine, "s": [theirs]})
    assert denied in _resources(compiler, "r")[1]
    assert parse_route(theirs).pattern() not in _resources(compiler, "r")[1]
    assert parse_route(mine[0]).pattern() not in _shadowed({"r": mine, "s": [theirs]}, "r")


def test_catch_all_route_costs_only_the_overlap() -> None:
    assert _shadowed({"r": ["GET /a/{x}", "GET /a/{x}/b"], "s": ["GET /{rest+}"]}, "r") == ["GET/a/*/b"]


def test_lost_route_is_reported_once() -> None:
    told: list[tuple[str, list[str]]] = []
    raw = {"r": ["GET /a/{x}", "GET /a/{x}/c/b"], "s": ["GET /a/{x}/b"], "t": ["GET /a/{x}/d/b"]}
    compiler = PolicyCompiler(
        parse_scope_map(json.dumps(raw).encode()),
        lambda scopes, routes: told.append((scopes, [route.pattern() for route in routes])),
    )
    for scopes in ({"r"}, {"r", "s"}, {"r", "t"}, {"s"}, {"r", "unknown"}, {"t"}):
        compiler.compile(frozenset(scopes), STAGE_ARN)
        compiler.compile(frozenset(scopes), STAGE_ARN + "2")
    assert told == [("r", ["GET/a/*/c/b"]), ("r t", ["GET/a/*/d/b"])]


def test_websocket_connect_has_its_own_resource() -> None:
    assert _resources(_compiler({"r": ["$connect"]}), "r") == (["$connect"], [])


def test_policy_is_compiled_once_per_stage_and_scopes() -> None:
    compiler = _compiler({"r": ["GET /a"]})
    first = compiler.compile(frozenset({"r"}), STAGE_ARN)
    assert compiler.compile(frozenset({"r"}), STAGE_ARN) is first
    assert compiler.compile(frozenset({"r"}), STAGE_ARN + "2") is not first


@pytest.mark.parametrize(
    "routes",
    [[f"GET /some/rather/long/path/number/{n}" for n in range(100)], ["GET /" + "x" * 500]],
    ids=["too many resources", "a resource too long"],
)
def test_oversized_policy_is_an_internal_error(routes: list[str]) -> None:
    with pytest.raises(PolicyError, match=f"^{Reason.POLICY_TOO_LARGE}$"):
        _compiler({"r": routes}).compile(frozenset({"r"}), STAGE_ARN)


@pytest.mark.parametrize("shape", ["text", "{parameter}"])
def test_policy_fits_the_gateway_limit(shape: str) -> None:
    lengths = []
    for width in range(40, 60):
        compiler = _compiler({f"s{n:02}": [f"GET /{shape}/{n:02}{'x' * width}"] for n in range(80)})
        with suppress(PolicyError):  # from the first that is too large on
            for scopes in range(80):
                policy = compiler.compile(frozenset(f"s{n:02}" for n in range(scopes)), STAGE_ARN)
                lengths.append(len(json.dumps(write_policy(policy, "2030-01-01T00:00:00Z"))))
    assert MAX_POLICY_LENGTH - 100 < max(lengths) <= MAX_POLICY_LENGTH


def _calls(compiler: PolicyCompiler, *scopes: str) -> int:
    """Count the calls of Python functions that a policy takes: unlike time, they are the same.

    Since Python 3.12 the profile has built-in functions, too, by their names.
    """
    with Profile(builtins=False) as profile, suppress(PolicyError):
        compiler.compile(frozenset(scopes), STAGE_ARN)
    return sum(entry.callcount for entry in profile.getstats() if not isinstance(entry.code, str))


PARAMETERS = [f"{{p{number}}}" for number in range(24)]
SHAPES: dict[str, Callable[[int], str]] = {
    "a parameter first": lambda n: f"{{a}}/x{n}",
    "many parameters first": lambda n: f"{'/'.join(PARAMETERS[:6])}/x{n}",
    "parameters in turn": lambda n: f"{{a}}/x{n}/{{b}}/y{n % 7}/{{c}}",
    "the rest of the path": lambda n: f"{{a}}/x{n}/{{rest+}}",
    "alike for long": lambda n: f"{{a}}/{'/'.join(str(n >> bit & 1) for bit in range(12))}/{{b}}",
    "unlike for long": lambda n: f"{{a}}/r{n}/{'/'.join(f's{n}-{at}' for at in range(8))}",
    "parameters only": lambda n: "/".join(PARAMETERS[at] if n >> at & 1 else "a" for at in range(12)),
    "text only": lambda n: f"thing{n}/part",
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("routes_of_a_scope", [3, 50, MAX_ROUTES])
def test_compilation_is_linear_in_segments(shape: Callable[[int], str], routes_of_a_scope: int) -> None:
    routes = [f"GET /{shape(number)}" for number in range(1000)]
    granted = [routes[at : at + routes_of_a_scope] for at in range(0, 1000, routes_of_a_scope)]
    compiler = _compiler({f"s{number}": part for number, part in enumerate(granted)})
    segments = sum(route.count("/") for route in routes)
    # A step for each with what it calls, and what the policy's own hundred routes take.
    assert _calls(compiler, "s0", "s1") < 10 * segments + 10_000


def test_many_parameters_compile_fast() -> None:
    routes = ["GET /" + "/".join(PARAMETERS[:12])], ["GET /" + "/".join(PARAMETERS)]
    assert _calls(_compiler({"r": routes[0], "x": routes[1]}), "r") < 1000


def test_oversized_policies_are_cached() -> None:
    name = "x" * 400
    compiler = _compiler({f"s{n}": [f"GET /{{id}}/{name}/{n}/{m}" for m in range(9)] for n in range(9)})
    assert _calls(compiler, "s0", "s1") > 50
    for again in (("s0", "s1"), ("s1", "s0", "unknown")):
        with pytest.raises(PolicyError, match=f"^{Reason.POLICY_TOO_LARGE}$"):
            compiler.compile(frozenset(again), STAGE_ARN)
        assert _calls(compiler, *again) < 10
    for number in range(300):
        _calls(compiler, *(f"s{bit}" for bit in range(9) if number >> bit & 1))
    assert len(compiler._compiled) == 256


def test_scopes_without_routes_share_one_policy() -> None:
    compiler = _compiler({"r": ["GET /a"]})
    policy = compiler.compile(frozenset({"r"}), STAGE_ARN)
    assert compiler.compile(frozenset({"r", "another"}), STAGE_ARN) is policy


def test_catch_all_route_does_not_close_others() -> None:
    scope_map = {"r": ["POST /b/{x}", "POST /c/a/{rest+}"], "s": ["POST /{rest+}", "POST /{x}"]}
    assert _resources(_compiler(scope_map), "r") == (
        ["POST/b/*", "POST/c/a/*"],
        ["POST/b/*/*", "POST/b/", "POST/c/a/", "POST/c/a//*"],
    )
    assert _shadowed(scope_map, "r") == []


def route_of(method: str, path: tuple[str, ...], routes: Iterable[Route]) -> Route | None:
    """Return the route that takes the request: literal before parameter, from left to right."""
    candidates = [route for route in routes if route.method == method and _takes(route, path)]
    return min(candidates, key=Route.precedence, default=None)


def routings(path: str) -> list[tuple[str, ...]]:
    """Return the segments that API Gateway may route a path by.

    It ignores a final slash and doubled slashes before the path. AWS does not document whether it
    ignores doubled slashes between segments.
    """
    middle = tuple(path.strip("/").split("/"))
    return [middle, tuple(segment for segment in middle if segment) or ROOT]


def _takes(route: Route, path: tuple[str, ...]) -> bool:
    segments = route.segments
    if segments and segments[-1] == REST_OF_PATH:
        if not "/".join(path[len(segments) - 1 :]):
            return False
        segments, path = segments[:-1], path[: len(segments) - 1]
    return len(segments) == len(path) and all(
        wanted == given or (wanted == ANY_SEGMENT and given) for wanted, given in zip(segments, path, strict=True)
    )


SEGMENTS = st.sampled_from(["a", "b", "c", ANY_SEGMENT, ANY_SEGMENT])
PATHS = st.tuples(st.lists(SEGMENTS, max_size=4), st.sampled_from([[], [], [], [REST_OF_PATH]])).map(
    lambda parts: (*parts[0], *parts[1]) or ROOT
)
ROUTES = st.builds(Route, st.sampled_from(["GET", "POST"]), PATHS)
SCOPES = st.sampled_from(["r", "s", "t"])
MAPS = st.dictionaries(st.frozensets(SCOPES, min_size=1), st.lists(ROUTES, max_size=5), min_size=1, max_size=5)
TEXTS = st.sampled_from(["a", "b", "c", "d", "1", ""])


@st.composite
def _requests(draw: st.DrawFn, routes: list[Route]) -> tuple[str, tuple[str, ...]]:
    """Draw a request that some route takes, or would if none of the path's segments were empty."""
    route = draw(st.sampled_from(routes))
    path: list[str] = []
    for segment in route.segments:
        if segment == REST_OF_PATH:
            path.extend(draw(st.lists(TEXTS, min_size=1, max_size=3)))
        else:
            path.append(draw(TEXTS) if segment == ANY_SEGMENT else segment)
    return route.method, tuple(path)


@given(st.data(), MAPS, st.frozensets(SCOPES))
def test_policy_allows_exactly_the_scopes_routes(
    data: st.DataObject, grants: dict[frozenset[str], list[Route]], scopes: frozenset[str]
) -> None:
    scope_map = _scope_map(grants)
    routes = [route for granted in grants.values() for route in granted]
    if not routes:
        return
    method, path = data.draw(_requests(routes))
    taker = route_of(method, path, routes)
    open_to_scopes = any(needed <= scopes and taker in granted for needed, granted in grants.items())
    document = write_policy(PolicyCompiler(scope_map).compile(scopes, STAGE_ARN))
    allowed = allows(document, f"{STAGE_ARN}/{method}/{'/'.join(path)}")
    assert allowed <= open_to_scopes
    if "" not in path and taker not in shadowed_routes(scope_map, *scopes):
        assert allowed == open_to_scopes


@st.composite
def _spellings(draw: st.DrawFn, routes: list[Route]) -> tuple[str, str]:
    """Draw a path that some route takes, with more slashes than it needs."""
    method, path = draw(_requests(routes))
    slashes = st.sampled_from(["/", "/", "/", "//", "///"])
    parts = [draw(slashes) + segment for segment in path if segment]
    return method, "".join(parts) + draw(st.sampled_from(["", "", "/", "//", "///"]))


@given(st.data(), MAPS, st.frozensets(SCOPES))
def test_closed_route_is_denied_in_every_spelling(
    data: st.DataObject, grants: dict[frozenset[str], list[Route]], scopes: frozenset[str]
) -> None:
    routes = [route for granted in grants.values() for route in granted]
    if not routes:
        return
    method, path = data.draw(_spellings(routes))
    document = write_policy(PolicyCompiler(_scope_map(grants)).compile(scopes, STAGE_ARN))
    if not allows(document, f"{STAGE_ARN}/{method}{path}"):
        return
    takers = [route_of(method, segments, routes) for segments in routings(path)]
    gateway = Router(model.Route(route.method, _write(route).partition(" ")[2], "Function") for route in routes)
    if (match := gateway.match(method, path)) is not None:
        takers.append(parse_route(f"{match.route.method} {match.route.path}"))
    for taker in takers:
        assert taker is None or any(needed <= scopes and taker in granted for needed, granted in grants.items())


GREEDY = {"r": ["GET /files/{path+}"], "s": ["GET /files/secret", "GET /files/{id}/keys"]}


@pytest.mark.parametrize(
    "path",
    [
        f"{first}files{second}{closed}{final}"
        for first in ("/", "//")
        for second in ("/", "//", "///")
        for closed in ("secret", "7/keys", "7//keys")
        for final in ("", "/", "//")
    ],
)
def test_greedy_parameter_opens_no_closed_spelling(path: str) -> None:
    document = write_policy(_compiler(GREEDY).compile(frozenset({"r"}), STAGE_ARN))
    assert not allows(document, f"{STAGE_ARN}/GET{path}")


@pytest.mark.parametrize(
    "path", ["plan", "a/b/", "secret/1", "secrets", "https://example.com/a//b", "7/keys/1", "keys"]
)
def test_greedy_parameter_opens_the_other_paths(path: str) -> None:
    document = write_policy(_compiler(GREEDY).compile(frozenset({"r"}), STAGE_ARN))
    assert allows(document, f"{STAGE_ARN}/GET/files/{path}")


@pytest.mark.parametrize(("closed", "doubled"), [(15, True), (50, False)])
def test_large_policy_denies_all_spellings_at_once(closed: int, *, doubled: bool) -> None:
    routes = [f"GET /files/{'x' * 40}{number:02}" for number in range(closed)]
    compiler = _compiler({"r": ["GET /", "GET /files/{path+}"], "s": routes})
    document = write_policy(compiler.compile(frozenset("r"), STAGE_ARN))
    assert len(json.dumps(document)) <= MAX_POLICY_LENGTH
    for path in (f"{routes[0][5:]}/", f"files//{routes[0][11:]}", f"{routes[0][5:]}//"):
        assert not allows(document, f"{STAGE_ARN}/GET/{path}")
    for path in ("", "files/plan", "files/a/b"):
        assert allows(document, f"{STAGE_ARN}/GET/{path}")
    assert allows(document, f"{STAGE_ARN}/GET/files/a//b") is doubled


def test_spellings_count_towards_the_size_limit() -> None:
    lengths = []
    for number in range(10, 90, 2):
        closed = [f"GET /files/{'x' * 40}{each:02}" for each in range(number)]
        compiler = _compiler({"r": ["GET /files/{path+}"], "s": closed})
        with suppress(PolicyError):
            document = write_policy(compiler.compile(frozenset("r"), STAGE_ARN))
            lengths.append(len(json.dumps(document)))
    assert MAX_POLICY_LENGTH - 300 < max(lengths) <= MAX_POLICY_LENGTH


def _scope_map(grants: dict[frozenset[str], list[Route]]) -> ScopeMap:
    return parse_scope_map(
        json.dumps(
            {" ".join(sorted(scopes)): [_write(r) for r in routes] for scopes, routes in grants.items()}
        ).encode()
    )


def _write(route: Route) -> str:
    names = {ANY_SEGMENT: "{x}", REST_OF_PATH: "{x+}"}
    return f"{route.method} /" + "/".join(names.get(s, s) for s in route.segments)
