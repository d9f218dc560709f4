import base64
import hashlib
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.gateway.core import Gateway
from local.gateway.lambda_runtime import FunctionError
from local.gateway.model import Api, GatewayResponse, RateLimit, Request, Response, Route
from tests.unit.local.gateway.apis import (
    ARN,
    BEARER,
    OK,
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
)

STAGE = "ms-system"
TOKEN = "/ms-auth-server/oauth2/token"


def rest_answer(result: object) -> Response:
    return answer(rest_api(), FakeLambda({"LookUpCountry": result}), get("/ms-system/country"))


def http_answer(result: object) -> Response:
    return answer(http_api(), FakeLambda({"IssueToken": result}), Request("POST", TOKEN))


def test_request_reaches_its_function() -> None:
    result = {"statusCode": 201, "headers": {"X-Made": "here"}, "body": '{"a":1}'}
    response = rest_answer(result)
    assert (response.status, response.body) == (201, b'{"a":1}')
    assert (response.header("content-type"), response.header("x-made")) == ("application/json", "here")


UNSIGNED = (403, {"message": "Missing Authentication Token"}, "MissingAuthenticationTokenException")
NOT_FOUND = (404, {"message": "Not Found"}, None)
FORBIDDEN = (403, {"message": "Forbidden"}, "ForbiddenException")


@pytest.mark.parametrize(
    ("api", "method", "path", "expected"),
    [
        (rest_api(), "GET", "/ms-system/nowhere", UNSIGNED),
        (rest_api(), "POST", "/ms-system/country", UNSIGNED),
        (rest_api(), "HEAD", "/ms-system/country", UNSIGNED),
        (rest_api(), "OPTIONS", "/ms-system/country", UNSIGNED),
        (rest_api(), "GET", "/ms-system", UNSIGNED),
        (rest_api(), "GET", "/ms-system/", UNSIGNED),
        (rest_api(), "GET", "/ms-system/%63ountry", UNSIGNED),
        (rest_api(responses={"DEFAULT_4XX": GatewayResponse(status=404)}), "GET", "/prod/country", FORBIDDEN),
        (http_api(), "GET", TOKEN, NOT_FOUND),
        (http_api(), "POST", "/ms-auth-server/nowhere", NOT_FOUND),
        (http_api(), "POST", "/other-stage/oauth2/token", NOT_FOUND),
        (http_api(), "POST", "/oauth2/token", NOT_FOUND),
        (http_api(), "POST", "/ms-auth-serveroauth2/token", NOT_FOUND),
    ],
)
def test_unknown_route_or_stage_is_rejected(api: Api, method: str, path: str, expected: tuple[object, ...]) -> None:
    response = answer(api, FakeLambda(), Request(method, path))
    assert (response.status, json.loads(response.body), response.header("x-amzn-errortype")) == expected


def test_rest_api_parses_unknown_tokens_as_signatures() -> None:
    response = answer(rest_api(), FakeLambda(), get("/ms-system/nowhere", bearer()))
    digest = base64.b64encode(hashlib.sha256(b"Bearer token").digest()).decode()
    assert response.status == 403
    assert response.header("x-amzn-errortype") == "IncompleteSignatureException"
    assert digest in json.loads(response.body)["message"]


def test_only_documents_are_served_at_the_hosts_root() -> None:
    document = "/.well-known/about/ms-auth-server"
    api = http_api(Route("ANY", document, "F"), Route("POST", "/oauth2/token", "F"))
    gateway = Gateway(api, FakeLambda(), clock=Clock(), at_root={document})
    for path in (document, f"/ms-auth-server{document}", f"/{document}", f"{document}/"):
        assert gateway.handle(get(path)).status == 200
    for path in ("/.well-known/about", f"{document}/x", "/oauth2/token"):
        assert gateway.handle(Request("POST", path)).status == 404
    assert Gateway(api, FakeLambda(), clock=Clock()).handle(get(document)).status == 404


SPELLINGS = ["/ms-system/country/", "/ms-system//country", "/ms-system//country/"]
GUARDED = Route("GET", "/country", "LookUpCountry", BEARER)


@pytest.mark.parametrize("path", [*SPELLINGS, "//ms-system/country", "//ms-system//country"])
@pytest.mark.parametrize("api", [rest_api(BEARER), http_api(GUARDED, stage=STAGE)])
def test_slashes_change_neither_route_nor_decision(api: Api, path: str) -> None:
    arn = ARN.replace("guardedapi", api.api_id)
    invoke = FakeLambda({"Authorizer": policy(allow(f"{arn}/GET/country"))})
    assert answer(api, invoke, get(path, bearer())).status == 200
    invoke = FakeLambda({"Authorizer": policy(allow(f"{arn}/GET/else"))})
    assert answer(api, invoke, get(path, bearer())).status == 403


@pytest.mark.parametrize("path", SPELLINGS)
def test_policy_must_deny_every_spelling(path: str) -> None:
    for patterns, status in (([f"{ARN}/GET/country"], 200), ([f"{ARN}/GET/country", f"{ARN}/GET/*country*"], 403)):
        invoke = FakeLambda({"Authorizer": policy(allow("*"), deny(*patterns))})
        response = answer(rest_api(BEARER), invoke, get(path, bearer()))
        assert response.status == status


def test_http_api_routes_decoded_paths() -> None:
    invoke = FakeLambda()
    api = http_api(Route("GET", "/x/{name}", "F"), stage="$default")
    assert answer(api, invoke, get("/x/a%20b")).status == 200
    assert invoke.events("F")[0]["pathParameters"] == {"name": "a b"}
    assert answer(api, invoke, get("/x/a%2Fb")).status == 404


OPEN = replace(GUARDED, authorizer=None)
LIMITED = replace(OPEN, rate_limit=RateLimit(rate=2, burst=3))


@pytest.mark.parametrize(
    ("api", "error"),
    [(replace(rest_api(), routes=(LIMITED,)), "TooManyRequestsException"), (http_api(LIMITED, stage=STAGE), None)],
)
def test_requests_above_the_rate_limit_get_429(api: Api, error: str | None) -> None:
    clock = Clock()
    gateway = Gateway(api, FakeLambda(), clock=clock)

    def statuses(count: int) -> list[int]:
        return [gateway.handle(get("/ms-system/country")).status for _ in range(count)]

    assert statuses(4) == [200, 200, 200, 429]
    clock.now += 1
    assert statuses(3) == [200, 200, 429]
    clock.now -= 100
    response = gateway.handle(get("/ms-system/country"))
    assert (response.status, response.body) == (429, b'{"message":"Too Many Requests"}')
    assert response.header("x-amzn-errortype") == error
    clock.now += 100
    assert statuses(4) == [200, 200, 200, 429]


def test_throttled_requests_do_not_reach_the_authorizer() -> None:
    invoke = FakeLambda({"Authorizer": policy(allow("*"))})
    route = replace(LIMITED, authorizer=replace(BEARER, cache_seconds=0))
    gateway = Gateway(replace(rest_api(), routes=(route,)), invoke, clock=Clock())
    for _ in range(5):
        gateway.handle(get("/ms-system/country", bearer()))
    assert len(invoke.events("Authorizer")) == 3


def test_rate_limits_can_be_switched_off() -> None:
    gateway = Gateway(replace(rest_api(), routes=(LIMITED,)), FakeLambda(), clock=Clock(), throttle=False)
    assert {gateway.handle(get("/ms-system/country")).status for _ in range(9)} == {200}


def test_throttled_response_is_configurable() -> None:
    responses = {"THROTTLED": GatewayResponse(503, {"Retry-After": "'1'"})}
    api = replace(rest_api(responses=responses), routes=(LIMITED,))
    gateway = Gateway(api, FakeLambda(), clock=Clock())
    found = [gateway.handle(get("/ms-system/country")) for _ in range(4)][-1]
    assert (found.status, found.header("retry-after")) == (503, "1")


@pytest.mark.parametrize("result", [OK, FunctionError("Sandbox.Timedout", "Task timed out")])
@pytest.mark.parametrize(
    ("api", "timeout", "expected"),
    [
        (rest_api(), 29, (504, b'{"message":"Endpoint request timed out"}')),
        (http_api(replace(OPEN, timeout=30), stage=STAGE), 30, (503, b'{"message":"Service Unavailable"}')),
    ],
)
@pytest.mark.parametrize("excess", [0, 1])
def test_slow_function_is_answered_as_a_timeout(
    api: Api, timeout: float, expected: tuple[int, bytes], result: object, excess: int
) -> None:
    clock = Clock()

    def slow(_: object) -> object:
        clock.now += timeout + excess
        return result

    found = answer(api, FakeLambda({"LookUpCountry": slow}), get("/ms-system/country"), clock)
    assert ((found.status, found.body) == expected) is (excess > 0)


@pytest.mark.parametrize("api", [rest_api(), http_api()])
def test_each_request_has_its_own_id(api: Api) -> None:
    invoke = FakeLambda()
    gateway = Gateway(api, invoke)
    path = "/ms-system/open/x" if api.kind == "rest" else TOKEN
    responses = [gateway.handle(Request("POST", path)) for _ in range(2)]
    header = "x-amzn-requestid" if api.kind == "rest" else "apigw-requestid"
    sent = [event["requestContext"]["requestId"] for _, event in invoke.calls]
    assert [response.header(header) for response in responses] == sent
    assert len(set(sent)) == 2


@pytest.mark.parametrize(
    "result",
    [
        FunctionError("KeyError", "x"),
        None,
        "text",
        [],
        {},
        {"statusCode": None},
        {"statusCode": "OK"},
        {"statusCode": 20},
        {"statusCode": 1000},
        {"statusCode": True},
        {"statusCode": 200.5},
        {**OK, "body": {}},
        {**OK, "body": 7},
        {**OK, "headers": []},
        {**OK, "headers": {"X": None}},
        {**OK, "headers": {"X": ["a"]}},
        {**OK, "headers": {"X": "a\r\nSet-Cookie: b"}},
        {**OK, "headers": {"X Y": "a"}},
        {**OK, "multiValueHeaders": {"X": "a"}},
        {**OK, "multiValueHeaders": []},
        {**OK, "isBase64Encoded": "yes"},
        {**OK, "body": "x" * (6 * 1024 * 1024 + 1)},
        {**OK, "body": "\ud800"},
    ],
)
def test_invalid_function_result_is_502_or_500(result: object) -> None:
    rest = rest_answer(result)
    assert (rest.status, json.loads(rest.body)) == (502, {"message": "Internal server error"})
    assert rest.header("x-amzn-errortype") == "InternalServerErrorException"
    http = http_answer(result)
    assert (http.status, json.loads(http.body)) == (500, {"message": "Internal Server Error"})


def test_http_api_passes_challenges_and_untyped_text_on() -> None:
    result = {"statusCode": 401, "headers": {"WWW-Authenticate": "Basic"}, "body": "{}", "unknown": 1}
    response = http_answer(result)
    assert (response.status, response.header("www-authenticate")) == (401, "Basic")
    assert response.header("content-type") == "text/plain; charset=utf-8"


def test_single_and_multi_value_headers_are_merged() -> None:
    result = {
        **OK,
        "headers": {"Vary": "a", "X-Flag": True, "X-Number": 7},
        "multiValueHeaders": {"Vary": ["a", "b"], "Set-Cookie": ["c=1", "d=2"]},
    }
    response = rest_answer(result)
    found = [pair for pair in response.headers if pair[0] in {"Vary", "Set-Cookie", "X-Flag"}]
    assert found == [("Vary", "a"), ("Vary", "b"), ("Set-Cookie", "c=1"), ("Set-Cookie", "d=2"), ("X-Flag", "true")]
    assert response.header("x-number") == "7"


def test_connection_headers_are_renamed_or_dropped() -> None:
    headers = {"Content-Length": "3", "Connection": "close", "Upgrade": "h2", "Trailer": "Expires"}
    hidden = {**headers, "Transfer-Encoding": "chunked"}
    for api, name, sent in (
        (rest_api(), "LookUpCountry", get("/ms-system/country")),
        (http_api(), "IssueToken", Request("POST", TOKEN)),
    ):
        response = answer(api, FakeLambda({name: {**OK, "headers": hidden}}), sent)
        assert all(response.header(header) is None for header in hidden)
        renamed = {h: response.header(f"x-amzn-Remapped-{h}") for h in headers}
        assert renamed == (headers if api.kind == "rest" else dict.fromkeys(headers))


def test_base64_is_decoded_for_binary_media_types() -> None:
    result = {
        "statusCode": 200,
        "headers": {"Content-Type": "image/png"},
        "body": base64.b64encode(b"\x89PNG").decode(),
        "isBase64Encoded": True,
    }
    invoke = FakeLambda({"LookUpCountry": result, "IssueToken": result})
    plain = answer(rest_api(), invoke, get("/ms-system/country"))
    binary = answer(rest_api(binary_media_types=("image/png",)), invoke, get("/ms-system/country"))
    http = answer(http_api(), invoke, Request("POST", TOKEN))
    assert http_answer({**result, "body": "*"}).status == 500
    assert plain.body == b"iVBORw=="
    assert binary.body == http.body == b"\x89PNG"


@pytest.mark.parametrize(
    ("result", "body"), [("hello", b"hello"), ({"a": 1}, b'{"a": 1}'), ([1], b"[1]"), (None, b"null")]
)
def test_format_2_uses_results_without_status_as_body(result: object, body: bytes) -> None:
    api = http_api(Route("GET", "/x", "F", payload_format="2.0"), stage="$default")
    response = answer(api, FakeLambda({"F": result}), get("/x"))
    assert (response.status, response.body) == (200, body)
    assert response.header("content-type") == "application/json"


def test_payload_format_2_sets_cookies() -> None:
    api = http_api(Route("GET", "/x", "F", payload_format="2.0"), stage="$default")
    response = answer(api, FakeLambda({"F": {**OK, "cookies": ["a=1", "b=2"]}}), get("/x"))
    assert [value for name, value in response.headers if name == "Set-Cookie"] == ["a=1", "b=2"]
    assert answer(api, FakeLambda({"F": {**OK, "cookies": "a=1"}}), get("/x")).status == 500


def test_body_over_the_limit_is_413() -> None:
    rest = Gateway(rest_api(), FakeLambda()).too_large(get("/ms-system/country"))
    http = Gateway(http_api(), FakeLambda()).too_large(Request("POST", TOKEN))
    assert (rest.status, json.loads(rest.body)) == (413, {"message": "Request Too Long"})
    assert (http.status, json.loads(http.body)) == (413, {"message": "Request Entity Too Large"})


WIRE = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=30)
VALUE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF), max_size=30)
HEADERS = ("Authorization", "Host", "Content-Type", "X-Forwarded-For", "Accept", "Cookie")


@given(
    api=st.sampled_from([rest_api(BEARER), http_api(Route("ANY", "$default", "F"))]),
    method=st.sampled_from(["GET", "POST", "HEAD", "OPTIONS", "BREW"]),
    path=st.builds("/{0}{1}".format, st.sampled_from(["ms-system/open/", "ms-auth-server/"]), WIRE),
    query=WIRE,
    headers=st.lists(st.tuples(st.sampled_from(HEADERS), VALUE), max_size=4),
    body=st.binary(max_size=30),
)
def test_any_request_gets_a_response(
    *, api: Api, method: str, path: str, query: str, headers: list[tuple[str, str]], body: bytes
) -> None:
    sent = Request(method, path, query, tuple(headers), body)
    assert 200 <= answer(api, FakeLambda(), sent).status < 500
