"""The model of all guards: which maps each can express, and what each answers."""

import json
import time
from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authorizer.routes import parse_route
from authorizer.scope_map import ScopeMap, parse_scope_map
from infra import guard_plans
from infra.guards import (
    NATIVE,
    Answer,
    Guard,
    Need,
    Requirements,
    Token,
    alternatives,
    decide,
    fits_every_scope,
    obstacles,
    token_kinds,
)
from tests.support.policies import shadowed_routes

AUDIENCE = "https://customer.example"
WANTED = Requirements("https://issuer.example", frozenset({AUDIENCE}))
SIMPLE = {"customer.read": ["GET /customers", "GET /customers/{id}"], "customer.write": ["POST /customers"]}
READ = parse_route("GET /customers")
READ_SETS = (frozenset({"customer.read"}),)


def scope_map(members: dict[str, list[str]]) -> ScopeMap:
    return parse_scope_map(json.dumps(members).encode())


def reasons(guard: Guard, members: dict[str, list[str]], wanted: Requirements = WANTED) -> str:
    return "; ".join(guard_plans.reasons(obstacles(guard, scope_map(members), wanted), scope_map(members)))


@pytest.mark.parametrize("guard", Guard)
def test_every_guard_expresses_one_scope_for_each_route(guard: Guard) -> None:
    assert reasons(guard, SIMPLE) == ""


@pytest.mark.parametrize("guard", sorted(NATIVE))
@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        (replace(WANTED, needs=frozenset({Need.OPAQUE})), "every opaque token is rejected"),
        (replace(WANTED, needs=frozenset({Need.DPOP})), "passes without a proof"),
        (replace(WANTED, needs=frozenset({Need.MTLS})), "passes without the certificate"),
        (replace(WANTED, needs=frozenset({Need.REVOCATION})), "passes until it expires"),
        (replace(WANTED, needs=frozenset({Need.PLAIN})), "the client's ID as audience"),
        (replace(WANTED, algorithms=frozenset({"RS256", "PS256"})), "it does not support PS256"),
        (replace(WANTED, algorithms=frozenset({"EdDSA"})), "it does not support EdDSA"),
        (replace(WANTED, issuer="http://issuer.example"), "is not an https URL"),
        *(
            (replace(WANTED, issuer=issuer), reason)
            for issuer, reason in (
                ("https://user@issuer.example", "is not an https URL"),
                ("https://issuer.example/x?tenant=1", "is a URL with a query"),
                ("https://issuer.example/#x", "is not an https URL"),
                ("https://issuer.example:99999", "is a URL whose port is not valid"),
                ("https://issuer.example/x ", "is not an https URL"),
                ("https://[x", "is not an https URL"),
                ("", "is not an https URL"),
            )
        ),
    ],
)
def test_native_guards_refuse_what_they_cannot_check(guard: Guard, wanted: Requirements, reason: str) -> None:
    assert reason in reasons(guard, SIMPLE, wanted)
    plain = "name the IDs of the clients as audiences" if Need.PLAIN in wanted.needs else ""
    assert plain in reasons(Guard.LIBRARY, SIMPLE, wanted)
    assert bool(plain) is bool(reasons(Guard.LIBRARY, SIMPLE, wanted))
    refused = "bound to a key" if wanted.needs & {Need.DPOP, Need.MTLS} else plain
    assert refused in reasons(Guard.LAMBDA, SIMPLE, wanted)
    assert bool(refused) is bool(reasons(Guard.LAMBDA, SIMPLE, wanted))


@pytest.mark.parametrize(("stack", "reason"), [(None, ""), (True, ""), (False, "CheckRevokedTokens=false")])
def test_shared_authorizer_checks_revocation_if_its_stack_does(stack: bool | None, reason: str) -> None:
    wanted = replace(WANTED, needs=frozenset({Need.REVOCATION}), checks_revoked_tokens=stack)
    found = reasons(Guard.LAMBDA, SIMPLE, wanted)
    assert reason in found
    assert bool(found) is bool(reason)
    revoked = token_kinds(wanted, frozenset({"customer.read"}))["revoked"]
    for needs in (wanted.needs, frozenset[Need]()):
        answer = decide(Guard.LAMBDA, replace(wanted, needs=needs), revoked, READ_SETS)
        checks = bool(needs) if stack is None else stack
        assert answer.status == (401 if checks else 200)


@pytest.mark.parametrize(
    ("guard", "members", "wanted", "reason"),
    [
        (Guard.ALB, SIMPLE, replace(WANTED, keys=11), "can have 11 keys"),
        (Guard.ALB, SIMPLE, replace(WANTED, algorithms=frozenset({"ES256"})), "does not support ES256, only RS256"),
        (Guard.ALB, SIMPLE, replace(WANTED, audiences=frozenset({AUDIENCE, "b"})), "several audiences"),
        (Guard.ALB, SIMPLE, replace(WANTED, audiences=frozenset({"a" * 257})), "an audience is longer than 256"),
        (Guard.ALB, SIMPLE, replace(WANTED, issuer=f"https://{'a' * 250}.example"), "the issuer is longer than 256"),
        (Guard.ALB, {"a": ["GET /x"], "b": ["GET /x"]}, WANTED, "GET /x: AWS does not document"),
        *(
            (Guard.ALB, {"a": [wide], "b": [narrow]}, WANTED, f"{narrow}: another spelling of its path")
            for wide, narrow in (
                ("GET /x/{parameter+}", "GET /x/y"),
                ("GET /x/{parameter}", "GET /x/y"),
                ("GET /{parameter+}", "GET /x/{parameter}/y"),
            )
        ),
        (Guard.ALB, {"a": ["GET /" + "x" * 130]}, WANTED, "path pattern is longer than 128"),
        (Guard.ALB, {"a" * 257: ["GET /x"]}, WANTED, "a scope is longer than 256"),
        (Guard.HTTP_JWT, SIMPLE, replace(WANTED, algorithms=frozenset({"ES256"})), "it does not support ES256"),
        (Guard.HTTP_JWT, SIMPLE, replace(WANTED, audiences=frozenset()), "at least one audience"),
        (Guard.HTTP_JWT, SIMPLE, replace(WANTED, audiences=frozenset(map(str, range(51)))), "more than 50 audiences"),
        (Guard.HTTP_JWT, {f"s{n}": ["GET /x"] for n in range(11)}, WANTED, "at most 10 scopes"),
        (Guard.REST_JWT, SIMPLE, replace(WANTED, audiences=frozenset()), "at least one audience"),
        (Guard.REST_JWT, {"a": ["GET /x/{id}"], "b": ["GET /x/{path+}"]}, WANTED, "a greedy parameter next to"),
        (Guard.REST_JWT, {"a": ["GET /x/{id}/y", "GET /x/{path+}"]}, WANTED, "a greedy parameter next to"),
        (Guard.REST_JWT, {"a": ["GET /~x"]}, WANTED, "cannot contain '~x'"),
        *(
            (guard, {"a b": ["GET /x"]}, WANTED, "GET /x: one scope is enough for it, and the map requires all of a b")
            for guard in sorted(NATIVE)
        ),
        *((guard, {"a": ["$connect"]}, WANTED, "Lambda authorizers only") for guard in sorted(NATIVE)),
    ],
)
def test_limits_of_each_guard(guard: Guard, members: dict[str, list[str]], wanted: Requirements, reason: str) -> None:
    assert reason in reasons(guard, members, wanted)


@pytest.mark.parametrize(
    "members",
    [
        {"a": ["GET /x/{path+}", "GET /x/y"]},
        {"a": ["GET /x/{path+}"], "b": ["POST /x/y", "GET /z"]},
        {"a b": ["GET /x/{path+}"], "a": ["GET /x/y"]},
    ],
)
def test_load_balancer_rules_may_overlap_without_wider_access(members: dict[str, list[str]]) -> None:
    assert "another spelling" not in reasons(Guard.ALB, members)


@pytest.mark.parametrize(
    "members",
    [
        {"r": ["GET /a/{x}", "GET /a/{x}/c/b"], "s": ["GET /a/{x}/b"]},
        {"r": ["GET /a/{x}"], "r t": ["GET /a/{x}/c/b"], "s": ["GET /a/{x}/b"]},
    ],
)
def test_lambda_authorizer_refuses_a_map_that_a_policy_cannot_express(members: dict[str, list[str]]) -> None:
    expected = f"GET /a/{{parameter}}/c/b: the policy for {list(members)[-2]} has to deny it"
    assert reasons(Guard.LAMBDA, members).startswith(expected)


ROUTE = st.lists(st.sampled_from(["a", "b", "{x}"]), min_size=1, max_size=4).map(
    lambda parts: f"GET /{'/'.join(parts)}"
)


@given(st.dictionaries(st.sampled_from("rstu"), st.lists(ROUTE, max_size=3), min_size=1))
def test_denied_routes_are_found_without_trying_every_set_of_scopes(members: dict[str, list[str]]) -> None:
    every = [each for size in range(1, 5) for each in combinations(members, size)]
    denied = {route for scopes in every for route in shadowed_routes(scope_map(members), *scopes)}
    assert {each.route for each in obstacles(Guard.LAMBDA, scope_map(members), WANTED)} == denied


@pytest.mark.parametrize("audiences", [{"shop"}, {"shop", AUDIENCE}, set[str]()])
def test_plain_tokens_can_have_the_id_of_a_client_as_audience(audiences: set[str]) -> None:
    wanted = replace(WANTED, audiences=frozenset(audiences), needs=frozenset({Need.PLAIN}))
    assert reasons(Guard.LAMBDA, SIMPLE, wanted) == reasons(Guard.LIBRARY, SIMPLE, wanted) == ""


@pytest.mark.parametrize(
    "members",
    [
        {"a": [f"GET /{'x' * 60}{n}" for n in range(200)]},
        # The policy denies the routes of b.
        {"a": ["GET /{any+}"], "b": [f"GET /{'x' * 10}{n}" for n in range(200)]},
    ],
)
def test_lambda_authorizer_refuses_a_policy_that_is_too_large(members: dict[str, list[str]]) -> None:
    assert "the policy of the scope a is larger than API Gateway accepts" in reasons(Guard.LAMBDA, members)


def large_map(number: int) -> ScopeMap:
    """Return a map of routes whose parameters match each other's, with 200 scopes."""
    members: dict[str, list[str]] = {}
    for at in range(0, number, 4):
        routes = f"GET /{{a}}/r{at}", f"GET /q{at}/{{b}}", f"POST /x{at}/a/{{b}}", f"POST /{{a}}/b/{{r}}/y{at}"
        for step, route in enumerate(routes):
            members.setdefault(f"scope{(at + step) % 199}", []).append(route)
    return scope_map(members)


def test_large_maps_are_planned_in_seconds() -> None:
    whole = large_map(1200)
    started = time.process_time()
    found = obstacles(Guard.LAMBDA, whole, WANTED)
    assert time.process_time() - started < 8  # 20 s before policies that are too large were left out
    assert found
    assert fits_every_scope(large_map(8))
    assert not fits_every_scope(whole)


def test_a_smaller_set_of_scopes_makes_a_larger_one_needless() -> None:
    found = alternatives(scope_map({"a b": ["GET /x"], "a": ["GET /x"], "c": ["GET /x"]}))
    assert found == {parse_route("GET /x"): (frozenset({"a"}), frozenset({"c"}))}
    assert reasons(Guard.REST_JWT, {"a b": ["GET /x"], "a": ["GET /x"]}) == ""


@pytest.mark.parametrize(
    ("kind", "statuses"),
    [
        ("at+jwt", (200, 200, 200, 200, 200)),
        ("without the scopes", (403, 403, 401, 403, 403)),
        ("for another API", (401, 401, 401, 401, 401)),
        ("for several APIs", (200, 200, 401, 200, 200)),
        ("plain profile", (401, 401, 401, 401, 401)),
        ("opaque", (401, 401, 401, 200, 401)),
        ("DPoP-bound, with proof", (401, 401, 401, 401, 401)),
        ("DPoP-bound, stolen", (200, 200, 200, 401, 401)),
        ("certificate-bound", (200, 200, 200, 401, 401)),
        ("certificate-bound, stolen", (200, 200, 200, 401, 401)),
        ("revoked", (200, 200, 200, 200, 200)),
        ("PS256", (401, 401, 401, 200, 401)),
        ("ES256", (401, 401, 401, 200, 401)),
        ("EdDSA", (401, 401, 401, 200, 401)),
    ],
)
def test_answer_to_each_kind_of_token(kind: str, statuses: tuple[int, ...]) -> None:
    answers = answers_to(kind, WANTED)
    assert tuple(answer.status for answer in answers) == statuses
    assert all(bool(answer.why) is (answer.status != 200) for answer in answers)
    assert not any(answer.is_inferred for answer in answers[3:])


@pytest.mark.parametrize(
    ("kind", "wanted", "statuses"),
    [
        ("opaque", replace(WANTED, needs=frozenset({Need.OPAQUE})), (200, 200)),
        ("DPoP-bound, with proof", replace(WANTED, needs=frozenset({Need.DPOP})), (401, 200)),
        ("DPoP-bound, stolen", replace(WANTED, needs=frozenset({Need.DPOP})), (401, 401)),
        ("certificate-bound", replace(WANTED, needs=frozenset({Need.DPOP})), (401, 401)),
        ("certificate-bound", replace(WANTED, needs=frozenset({Need.MTLS})), (401, 200)),
        ("revoked", replace(WANTED, needs=frozenset({Need.REVOCATION})), (401, 401)),
        ("PS256", replace(WANTED, algorithms=frozenset({"RS256", "PS256"})), (200, 200)),
        ("RS256", replace(WANTED, algorithms=frozenset({"ES256"})), (200, 401)),
        ("at+jwt", replace(WANTED, algorithms=frozenset({"ES256"})), (200, 200)),
    ],
)
def test_gatehouses_guards_answer_with_the_settings_of_the_plan(
    kind: str, wanted: Requirements, statuses: tuple[int, int]
) -> None:
    assert tuple(answer.status for answer in answers_to(kind, wanted)[3:]) == statuses


def answers_to(kind: str, wanted: Requirements) -> list[Answer]:
    token = token_kinds(wanted, frozenset({"customer.read"}))[kind]
    return [decide(guard, wanted, token, READ_SETS) for guard in Guard]


def test_only_rest_apis_have_a_setting_for_algorithms() -> None:
    wanted = replace(WANTED, algorithms=frozenset({"RS256", "ES256"}))
    assert [answer.status for answer in answers_to("ES256", wanted)] == [200, 401, 401, 200, 200]


def test_several_scopes_are_all_required() -> None:
    members = scope_map({"a b": ["GET /x"]})
    kinds = token_kinds(WANTED, frozenset({"a", "b"}))
    for kind, status in (("at+jwt", 200), ("with one of the scopes", 403)):
        answer = decide(Guard.LAMBDA, WANTED, kinds[kind], alternatives(members)[parse_route("GET /x")])
        assert answer.status == status


def test_plain_token_for_a_listed_client_is_not_documented() -> None:
    wanted = replace(WANTED, audiences=frozenset({"shop"}))
    token = Token(frozenset({"customer.read"}), frozenset({"shop"}), is_plain=True)
    answers = {guard: decide(guard, wanted, token, READ_SETS) for guard in Guard}
    assert {guard for guard, answer in answers.items() if answer.is_inferred} == NATIVE
    assert [answer.status for answer in answers.values()] == [200, 200, 401, 200, 200]
