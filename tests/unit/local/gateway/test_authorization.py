import json
from dataclasses import replace

import pytest

from local.gateway.core import Gateway
from local.gateway.lambda_runtime import FunctionError
from local.gateway.model import Authorizer, IdentitySource, Response, Route
from tests.unit.local.gateway.apis import (
    ARN,
    BEARER,
    Clock,
    FakeLambda,
    allow,
    answer,
    bearer,
    deny,
    get,
    http_api,
    policy,
    rest_api,
    unauthorized,
)

AUS = "/ms-system/country/code/AUS"
FRA = "/ms-system/country/code/FRA"
ALL = "/ms-system/country"
READ_EVERYTHING = policy(allow(f"{ARN}/GET/country", f"{ARN}/GET/country/code/*"))


def guarded(invoke: FakeLambda, clock: Clock, authorizer: Authorizer = BEARER) -> Gateway:
    return Gateway(rest_api(authorizer), invoke, clock=clock)


def guarded_http(authorizer: Authorizer) -> tuple[FakeLambda, Gateway]:
    invoke = FakeLambda()
    api = http_api(
        Route("GET", "/country", "LookUpCountry", authorizer),
        Route("GET", "/other", "LookUpCountry", authorizer),
        stage="ms-system",
    )
    return invoke, Gateway(api, invoke, clock=Clock())


def outcome(response: Response) -> tuple[int, str | None]:
    return response.status, response.header("x-amzn-ErrorType")


def test_context_reaches_the_function_as_text() -> None:
    context = {"client_id": "c", "admin": True, "level": 7, "share": 0.5}
    invoke = FakeLambda({"Authorizer": {**READ_EVERYTHING, "context": context}})
    assert answer(rest_api(BEARER), invoke, get(AUS, ("aUTHORIZATION", "x"))).status == 200
    (event,) = invoke.events("LookUpCountry")
    assert event["requestContext"]["authorizer"] == {
        "client_id": "c",
        "admin": "true",
        "level": "7",
        "share": "0.5",
        "principalId": "client",
        "integrationLatency": 0,
    }


def test_open_route_calls_no_authorizer() -> None:
    invoke = FakeLambda()
    assert answer(rest_api(BEARER), invoke, get("/ms-system/open/x")).status == 200
    assert invoke.events("Authorizer") == []
    assert "authorizer" not in invoke.events("Open")[0]["requestContext"]


@pytest.mark.parametrize("headers", [(), (("Authorization", ""),), (("X-Authorization", "Bearer x"),)])
def test_missing_identity_source_is_401_without_a_call(headers: tuple[tuple[str, str], ...]) -> None:
    invoke = FakeLambda()
    response = answer(rest_api(BEARER), invoke, get(AUS, *headers))
    assert outcome(response) == (401, "UnauthorizedException")
    assert json.loads(response.body) == {"message": "Unauthorized"}
    assert invoke.calls == []


def test_every_identity_source_is_required() -> None:
    authorizer = replace(
        BEARER,
        identity_sources=(
            IdentitySource("header", "Authorization"),
            IdentitySource("querystring", "key"),
            IdentitySource("context", "identity.sourceIp"),
        ),
    )
    invoke = FakeLambda({"Authorizer": READ_EVERYTHING})
    gateway = guarded(invoke, Clock(), authorizer)
    assert gateway.handle(get(AUS, bearer())).status == 401
    assert gateway.handle(get(AUS, bearer(), query="key=")).status == 401
    assert gateway.handle(get(AUS, bearer(), query="key=1")).status == 200
    assert gateway.handle(get(AUS, bearer(), query="key=2")).status == 200
    assert len(invoke.events("Authorizer")) == 2


def test_stage_variable_can_be_an_identity_source() -> None:
    authorizer = replace(BEARER, identity_sources=(IdentitySource("stage_variable", "tenant"),))
    invoke = FakeLambda({"Authorizer": READ_EVERYTHING})
    api = rest_api(authorizer)
    assert answer(api, invoke, get(AUS)).status == 401
    tenant = replace(api, stage_variables={"tenant": "a"})
    assert answer(tenant, invoke, get(AUS)).status == 200


def test_validation_expression_rejects_without_a_call() -> None:
    authorizer = replace(BEARER, kind="TOKEN", validation_expression="Bearer [a-z]+")
    invoke = FakeLambda({"Authorizer": READ_EVERYTHING})
    gateway = guarded(invoke, Clock(), authorizer)
    assert gateway.handle(get(AUS, bearer("123"))).status == 401
    assert gateway.handle(get(AUS, bearer("abc"))).status == 200
    (event,) = invoke.events("Authorizer")
    assert event["authorizationToken"] == "Bearer abc"


def test_cached_policy_serves_other_routes() -> None:
    invoke = FakeLambda({"Authorizer": READ_EVERYTHING})
    gateway = guarded(invoke, Clock())
    assert [gateway.handle(get(path, bearer())).status for path in (AUS, FRA, ALL)] == [200] * 3
    assert len(invoke.events("Authorizer")) == 1


def test_policy_for_one_request_denies_the_next() -> None:
    invoke = FakeLambda({"Authorizer": lambda event: policy(allow(event["methodArn"]))})
    gateway = guarded(invoke, Clock())
    assert gateway.handle(get(AUS, bearer())).status == 200
    assert gateway.handle(get(FRA, bearer())).status == 403
    assert len(invoke.events("Authorizer")) == 1


def test_each_token_has_its_own_policy() -> None:
    answers = {"Bearer good": READ_EVERYTHING, "Bearer poor": policy(deny("*"))}
    invoke = FakeLambda({"Authorizer": lambda event: answers[event["headers"]["Authorization"]]})
    gateway = guarded(invoke, Clock())
    tokens = ("good", "poor", "good", "poor")
    statuses = [gateway.handle(get(AUS, bearer(token))).status for token in tokens]
    assert statuses == [200, 403, 200, 403]
    assert len(invoke.events("Authorizer")) == 2


def test_policy_is_cached_until_it_expires() -> None:
    clock = Clock()
    invoke = FakeLambda({"Authorizer": READ_EVERYTHING})
    gateway = guarded(invoke, clock)
    decisions = []
    for later in (0.0, 299.9, 0.1, 299.0):
        clock.now += later
        gateway.handle(get(AUS, bearer()))
        decisions.append(len(invoke.events("Authorizer")))
    assert decisions == [1, 1, 2, 2]


@pytest.mark.parametrize("sources", [BEARER.identity_sources, ()])
def test_no_cache_time_calls_for_each_request(sources: tuple[IdentitySource, ...]) -> None:
    invoke = FakeLambda({"Authorizer": READ_EVERYTHING})
    gateway = guarded(invoke, Clock(), replace(BEARER, cache_seconds=0, identity_sources=sources))
    for _ in range(3):
        assert gateway.handle(get(AUS, bearer())).status == 200
    assert len(invoke.events("Authorizer")) == 3


def test_deny_is_cached_and_failures_are_not() -> None:
    invoke = FakeLambda()
    gateway = guarded(invoke, Clock())
    statuses = []
    for result in (FunctionError("TimeoutError", "slow"), unauthorized(), policy(deny("*")), READ_EVERYTHING):
        invoke.answers["Authorizer"] = result
        statuses.append(gateway.handle(get(AUS, bearer())).status)
    assert statuses == [500, 401, 403, 403]


def test_cached_policy_checks_the_current_time() -> None:
    clock = Clock(1_700_000_000.0)
    until = {"DateLessThan": {"aws:CurrentTime": "2023-11-14T22:13:30Z"}}
    invoke = FakeLambda({"Authorizer": policy(allow("*", Condition=until))})
    gateway = guarded(invoke, clock)
    assert gateway.handle(get(AUS, bearer())).status == 200
    clock.now += 10
    assert gateway.handle(get(AUS, bearer())).status == 403
    assert len(invoke.events("Authorizer")) == 1


def test_conditions_use_address_and_headers() -> None:
    condition = {
        "IpAddress": {"aws:SourceIp": "203.0.113.0/24"},
        "StringEquals": {"aws:UserAgent": "curl", "aws:Referer": "here"},
    }
    invoke = FakeLambda({"Authorizer": policy(allow("*", Condition=condition))})
    gateway = guarded(invoke, Clock())
    headers = (bearer(), ("User-Agent", "curl"), ("Referer", "here"))
    assert gateway.handle(get(AUS, *headers, source_ip="203.0.113.9")).status == 200
    assert gateway.handle(get(AUS, *headers, source_ip="198.51.100.1")).status == 403
    assert gateway.handle(get(AUS, bearer(), source_ip="203.0.113.9")).status == 403


def test_cache_evicts_the_oldest_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("local.gateway.authorization._MAX_CACHED", 2)
    invoke = FakeLambda({"Authorizer": READ_EVERYTHING})
    gateway = guarded(invoke, Clock())
    for token in ("a", "b", "c", "c", "b", "a"):
        gateway.handle(get(AUS, bearer(token)))
    assert len(invoke.events("Authorizer")) == 4


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (policy(deny("*")), " with an explicit deny"),
        (policy(allow(f"{ARN}/POST/*")), ""),
        (policy(allow("*"), deny(f"{ARN}/GET/country/*")), " with an explicit deny"),
    ],
)
def test_denied_request_is_403_with_the_reason(result: object, reason: str) -> None:
    invoke = FakeLambda({"Authorizer": result})
    response = answer(rest_api(BEARER), invoke, get(AUS, bearer()))
    assert outcome(response) == (403, "AccessDeniedException")
    assert json.loads(response.body) == {"Message": f"User is not authorized to access this resource{reason}"}
    assert invoke.events("LookUpCountry") == []


@pytest.mark.parametrize(
    "result",
    [
        FunctionError("KeyError", "'Authorization'"),
        FunctionError("Exception", "unauthorized"),
        FunctionError("Exception", "Unauthorized: expired"),
        None,
        "Allow",
        [],
        {},
        {"principalId": "client"},
        {"policyDocument": READ_EVERYTHING["policyDocument"]},
        {**READ_EVERYTHING, "principalId": ""},
        {**READ_EVERYTHING, "principalId": 7},
        {**READ_EVERYTHING, "policyDocument": {"Statement": []}},
        {**READ_EVERYTHING, "context": []},
        {**READ_EVERYTHING, "context": {"scopes": ["country.read"]}},
        {**READ_EVERYTHING, "context": {"claims": {"sub": "x"}}},
        {**READ_EVERYTHING, "context": {"nothing": None}},
        policy(allow()),
    ],
)
def test_invalid_authorizer_response_is_500(result: object) -> None:
    invoke = FakeLambda({"Authorizer": result})
    response = answer(rest_api(BEARER), invoke, get(AUS, bearer()))
    assert outcome(response) == (500, "AuthorizerConfigurationException")
    assert json.loads(response.body) == {"message": None}
    assert invoke.events("LookUpCountry") == []


def test_http_api_has_its_own_messages() -> None:
    invoke, gateway = guarded_http(BEARER)
    answers: list[tuple[int, str]] = []
    for result in (unauthorized(), policy(deny("*")), FunctionError("KeyError", "x")):
        invoke.answers["Authorizer"] = result
        token = bearer(str(len(answers)))
        response = gateway.handle(get("/ms-system/country", token))
        answers.append((response.status, json.loads(response.body)["message"]))
    assert answers == [(401, "Unauthorized"), (403, "Forbidden"), (500, "Internal Server Error")]


def test_simple_response_is_cached_for_every_route() -> None:
    authorizer = replace(BEARER, payload_format="2.0", simple_responses=True)
    invoke, gateway = guarded_http(authorizer)
    invoke.answers["Authorizer"] = lambda event: {
        "isAuthorized": event["routeKey"] == "GET /country",
        "context": {"scopes": ["a", "b"]},
    }
    assert gateway.handle(get("/ms-system/country", bearer())).status == 200
    assert gateway.handle(get("/ms-system/other", bearer())).status == 200
    assert gateway.handle(get("/ms-system/other", bearer("new"))).status == 403
    event = invoke.events("LookUpCountry")[0]
    assert event["requestContext"]["authorizer"] == {"scopes": ["a", "b"]}


@pytest.mark.parametrize("answered", [{}, {"isAuthorized": "true"}, {"isAuthorized": 1}])
def test_simple_response_must_be_a_boolean(answered: object) -> None:
    invoke, gateway = guarded_http(replace(BEARER, payload_format="2.0", simple_responses=True))
    invoke.answers["Authorizer"] = answered
    assert gateway.handle(get("/ms-system/country", bearer())).status == 500
