"""Requests that API Gateway answered, and what the laptop's gateway makes of them.

Source: snapshots that were recorded against AWS, in the repository localstack/localstack, folder
tests/aws/services/apigateway, at commit 8b9a79f0. Each case names its test and its snapshot.
Headers that CloudFront adds to edge-optimised APIs are left out: the laptop's APIs are regional.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest

from local.gateway.core import Gateway
from local.gateway.model import Api, ApiKind, Request, Route
from tests.unit.local.gateway.apis import Clock, FakeLambda

PROXY = "test_apigateway_lambda: test_lambda_aws_proxy_integration: "
FORMAT = "test_apigateway_lambda: test_aws_proxy_response_payload_format_validation: "
HEADERS = "test_apigateway_integrations: test_apigateway_header_remapping_aws: "
ROUTING = "test_apigateway_common: TestApigatewayRouting: "
TRACE = "test_apigateway_common: test_invocation_trace_id: "

INTERNAL = {"message": "Internal server error"}
NO_ROUTE = {"message": "Missing Authentication Token"}
SENT_TRACE = "Root=1-3152b799-8954dae64eda91bc9a23a7e8"
GENERATED = "made up by the gateway"


def api(stage: str, *routes: str, kind: ApiKind = "rest") -> Api:
    """An API whose routes are functions with the routes' names."""
    parts = [route.split(" ") for route in routes]
    return Api(
        logical_id="Api",
        api_id="api",
        kind=kind,
        stage=stage,
        routes=tuple(Route(method, path, f"{method} {path}") for method, path in parts),
    )


# --- The event that a function gets -------------------------------------------------------------


NOTHING: Mapping[str, Any] = {}
PLAIN_HEADERS = (
    ("Host", "api.example"),
    ("User-Agent", "python-requests/testing"),
    ("Accept", "*/*"),
    ("tEsT-HEADeR", "aValUE"),
    ("authorization", "random-value"),
)
PLAIN_EVENT_HEADERS = {
    "Host": "api.example",
    "User-Agent": "python-requests/testing",
    "Accept": "*/*",
    "tEsT-HEADeR": "aValUE",
    "Authorization": "random-value",
}


class EventCase(NamedTuple):
    """A request, and how its event differs from that of GET /stage/proxy-value."""

    snapshot: str
    target: str
    differs: dict[str, Any]
    context: Mapping[str, Any] = NOTHING
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = PLAIN_HEADERS
    event_headers: Mapping[str, str] = PLAIN_EVENT_HEADERS
    body: bytes = b""


ONE = {"urlparam": "test"}
ENCODED = "api/user/test%2Balias@gmail.com/plus/test+alias@gmail.com"
DECODED = {
    "dateTimeOffset": "2023-06-12T18:05:10.123456 00:00",
    "email": "test+alias@gmail.com",
    "plus": "test alias@gmail.com",
    "url": "https://www.google.com/",
    "whitespace": "foo bar",
    "zhash": "abort/",
}
QUERY = (
    "dateTimeOffset=2023-06-12T18:05:10.123456+00:00&email=test%2Balias@gmail.com"
    "&plus=test+alias@gmail.com&url=https://www.google.com/&whitespace=foo%20bar&zhash=abort/"
)
MANY = {"category": ["electronics", "books"], "price": ["10", "20", "30"]}


def parameters(single: dict[str, str], many: dict[str, list[str]] | None = None) -> dict[str, Any]:
    """The members of an event that hold the query."""
    return {
        "queryStringParameters": single,
        "multiValueQueryStringParameters": many or {name: [v] for name, v in single.items()},
    }


def path(text: str, proxy: str | None = None) -> dict[str, Any]:
    """The members of an event that hold the path after the stage."""
    captured = {"proxy": proxy or text.strip("/")}
    return {"path": text, "pathParameters": captured}


EVENTS = [
    EventCase("invocation-payload-without-trailing-slash", "/stage/proxy-value", {}),
    EventCase(
        "invocation-payload-with-trailing-slash",
        "/stage/proxy-value/",
        path("/proxy-value/"),
        {"path": "/stage/proxy-value/"},
    ),
    EventCase(
        "invocation-payload-with-double-slash",
        "/stage/proxy-value//double-slash",
        path("/proxy-value//double-slash"),
        {"path": "/stage/proxy-value//double-slash"},
    ),
    EventCase("invocation-payload-with-prepended-slash-to-stage", "//stage/proxy-value", {}),
    EventCase("invocation-payload-with-prepended-slash", "/stage//proxy-value", {}, {"path": "/stage//proxy-value"}),
    EventCase(
        "invocation-payload-without-trailing-slash-and-query-params",
        "/stage//proxy-value?urlparam=test",
        parameters(ONE),
        {"path": "/stage//proxy-value"},
    ),
    EventCase(
        "invocation-payload-with-trailing-slash-and-query-params",
        "/stage//proxy-value/?urlparam=test",
        {**path("/proxy-value/"), **parameters(ONE)},
        {"path": "/stage//proxy-value/"},
    ),
    EventCase(
        "invocation-payload-with-path-encoded-email",
        f"/stage//proxy-value/{ENCODED}",
        path(f"/proxy-value/{ENCODED}"),
        {"path": f"/stage//proxy-value/{ENCODED}"},
    ),
    EventCase(
        "invocation-payload-with-params-encoding",
        f"/stage//proxy-value/api?{QUERY}",
        {**path("/proxy-value/api"), **parameters(DECODED)},
        {"path": "/stage//proxy-value/api"},
    ),
    EventCase(
        "invocation-payload-with-params-encoding-multi",
        "/stage//proxy-value?category=electronics&category=books&price=10&price=20&price=30",
        {
            **parameters({"category": "books", "price": "30"}, MANY),
            "httpMethod": "POST",
            "body": '{"message": "hello world"}',
        },
        {"path": "/stage//proxy-value", "httpMethod": "POST"},
        method="POST",
        headers=(
            ("User-Agent", "python-requests/testing"),
            ("Content-Type", "application/json;charset=utf-8"),
            ("aUThorization", "Bearer token123;API key456"),
        ),
        event_headers={
            "User-Agent": "python-requests/testing",
            "Content-Type": "application/json;charset=utf-8",
            "Authorization": "Bearer token123;API key456",
        },
        body=b'{"message": "hello world"}',
    ),
    EventCase(
        "invocation-hardcoded",
        "/stage//hardcoded",
        {"path": "/hardcoded", "pathParameters": None, "resource": "/hardcoded"},
        {"path": "/stage//hardcoded", "resourcePath": "/hardcoded"},
    ),
]

BASE: dict[str, Any] = {
    "body": None,
    "httpMethod": "GET",
    "isBase64Encoded": False,
    "path": "/proxy-value",
    "pathParameters": {"proxy": "proxy-value"},
    "multiValueQueryStringParameters": None,
    "queryStringParameters": None,
    "resource": "/{proxy+}",
    "stageVariables": None,
}
BASE_CONTEXT: dict[str, Any] = {
    "accountId": "123456789012",
    "apiId": "api",
    "deploymentId": GENERATED,
    "domainName": "localhost",
    "domainPrefix": "localhost",
    "extendedRequestId": GENERATED,
    "httpMethod": "GET",
    "path": "/stage/proxy-value",
    "protocol": "HTTP/1.1",
    "requestId": GENERATED,
    "requestTime": GENERATED,
    "requestTimeEpoch": GENERATED,
    "resourceId": GENERATED,
    "resourcePath": "/{proxy+}",
    "stage": "stage",
    "identity": {
        **dict.fromkeys(["accessKey", "accountId", "caller", "principalOrgId", "user", "userArn"]),
        **dict.fromkeys(["cognitoAuthenticationProvider", "cognitoAuthenticationType"]),
        **dict.fromkeys(["cognitoIdentityId", "cognitoIdentityPoolId"]),
        "sourceIp": "127.0.0.1",
        "userAgent": "python-requests/testing",
    },
}
ADDED = {"X-Amzn-Trace-Id", "X-Forwarded-For", "X-Forwarded-Port", "X-Forwarded-Proto"}


@pytest.mark.parametrize("case", EVENTS, ids=[PROXY + case.snapshot for case in EVENTS])
def test_event_has_the_recorded_shape(case: EventCase) -> None:
    invoke = FakeLambda()
    target, _, query = case.target.partition("?")
    gateway = Gateway(api("stage", "ANY /{proxy+}", "ANY /hardcoded"), invoke, clock=Clock())
    sent = Request(case.method, target, query, case.headers, case.body)
    assert gateway.handle(sent).status == 200
    ((_, event),) = invoke.calls
    headers, context = event.pop("headers"), event.pop("requestContext")
    assert event.pop("multiValueHeaders") == {name: [value] for name, value in headers.items()}
    assert {n: v for n, v in headers.items() if n not in ADDED} == case.event_headers
    assert set(headers) - set(case.event_headers) == ADDED
    assert event == {**BASE, **case.differs}
    expected = {**BASE_CONTEXT, **case.context}
    assert {n: GENERATED if expected[n] == GENERATED else v for n, v in context.items()} == expected


# --- The response that a client gets ------------------------------------------------------------


class ResponseCase(NamedTuple):
    """A function's result and the client's response; `headers` is None if not recorded."""

    snapshot: str
    result: object
    status: int = 200
    content: object = ""
    headers: dict[str, str] | None = None


JSON = {"Content-Type": "application/json"}
RESPONSES = [
    ResponseCase("invoke-api-no-body", {"statusCode": 200}),
    ResponseCase(
        "invoke-api-with-headers",
        {"statusCode": 200, "headers": {"test-header": "value", "header-bool": True}},
        headers={**JSON, "test-header": "value", "header-bool": "true"},
    ),
    ResponseCase("invoke-api-with-headers-null", {"statusCode": 200, "headers": None}, headers=JSON),
    ResponseCase("invoke-api-wrong-format", {"statusCode": 200, "wrongValue": "v"}, 502, INTERNAL),
    ResponseCase("invoke-api-empty-response", {}, 502, INTERNAL),
    ResponseCase(
        "invoke-api-b64-encoded-true",
        {"statusCode": 200, "body": "dGVzdC1kYXRh", "isBase64Encoded": True},
        content="dGVzdC1kYXRh",
    ),
    ResponseCase("invoke-api-b64-encoded-false", {"statusCode": 200, "body": "dGVzdC1kYXRh"}, content="dGVzdC1kYXRh"),
    ResponseCase(
        "invoke-api-multi-headers-valid",
        {"statusCode": 200, "multiValueHeaders": {"test-multi": ["value1", "value2"]}},
        headers={**JSON, "test-multi": "value1, value2"},
    ),
    ResponseCase(
        "invoke-api-multi-headers-overwrite",
        {
            "statusCode": 200,
            "multiValueHeaders": {"test-multi": ["value-multi"]},
            "headers": {"test-multi": "value-solo"},
        },
        headers={**JSON, "test-multi": "value-multi, value-solo"},
    ),
    ResponseCase(
        "invoke-api-multi-headers-overwrite-casing",
        {
            "statusCode": 200,
            "multiValueHeaders": {"tesT-Multi": ["value-multi"]},
            "headers": {"test-multi": "value-solo"},
        },
        headers={**JSON, "tesT-Multi": "value-multi, value-solo"},
    ),
    ResponseCase(
        "invoke-api-multi-headers-invalid",
        {"statusCode": 200, "multiValueHeaders": {"test-multi-invalid": "value1"}},
        502,
        INTERNAL,
    ),
    ResponseCase("invoke-api-invalid-status-code", {"statusCode": "test"}, 502, INTERNAL),
    ResponseCase("invoke-api-status-code-str", {"statusCode": "201"}, 201),
    ResponseCase("invoke-api-just-string", "justAString", 502, INTERNAL),
    ResponseCase("invoke-api-only-headers", {"headers": {"test-header": "value"}}),
]
OWN = {"x-amzn-RequestId", "x-amz-apigw-id", "X-Amzn-Trace-Id"}


@pytest.mark.parametrize("case", RESPONSES, ids=[FORMAT + case.snapshot for case in RESPONSES])
def test_response_is_the_recorded_one(case: ResponseCase) -> None:
    invoke = FakeLambda({"ANY /{proxy+}": case.result})
    gateway = Gateway(api("test", "ANY /{proxy+}"), invoke, clock=Clock())
    response = gateway.handle(Request("POST", "/test/test", body=b"{}"))
    content = response.body.decode() if response.status < 500 else json.loads(response.body)
    assert (response.status, content) == (case.status, case.content)
    if case.headers is not None:
        joined: dict[str, str] = {}
        for name, value in response.headers:
            joined[name] = f"{joined[name]}, {value}" if name in joined else value
        assert set(joined) - set(case.headers) == OWN
        assert {name: joined[name] for name in case.headers} == case.headers


# --- Headers of the request, and headers that are renamed ----------------------------------------

# Name, value, and whether a function behind a regional API gets it. `Transfer-Encoding` and
# `Connection` are the HTTP server's.
REQUEST_HEADERS = [
    ("Accept", "application/json", True),
    ("Accept-Charset", "UTF-8", True),
    ("Accept-Encoding", "br", True),
    ("Age", "request_Age", True),
    ("Authorization", "Unauthorized", True),
    ("Connection", "close", False),
    ("Content-Encoding", "deflate", True),
    ("Content-MD5", "request_Content-MD5", False),
    ("Content-Type", "application/json", True),
    ("Date", "request_Date", True),
    ("Expect", "100-continue", False),
    ("Max-Forwards", "2", False),
    ("Pragma", "cache", True),
    ("Proxy-Authenticate", "Basic", False),
    ("Range", "bytes=500-999", True),
    ("Referer", "https://example.com/", True),
    ("Server", "https://example.com/", False),
    ("TE", "deflate", False),
    ("Trailer", "Expires", False),
    ("Transfer-Encoding", "chunked", False),
    ("Upgrade", "HTTP/2.0", False),
    ("User-Agent", "localStack/0.0", True),
    ("Via", "p.example.net", True),
    ("Warn", "299 localStack/0.0", True),
    ("WWW-Authenticate", "Basic YWxhZGRpbjpvcGVuc2VzYW1l", False),
]


@pytest.mark.parametrize(
    "resource", ["no-param", "full"], ids=[f"{HEADERS}{name}-integration[AWS_PROXY]" for name in ("no-param", "full")]
)
def test_function_gets_the_recorded_headers(resource: str) -> None:
    invoke = FakeLambda()
    gateway = Gateway(api("test", f"GET /{resource}"), invoke, clock=Clock())
    sent = tuple((name, value) for name, value, _ in REQUEST_HEADERS)
    response = gateway.handle(Request("GET", f"/test/{resource}", headers=sent))
    ((_, event),) = invoke.calls
    assert set(event["headers"]) - ADDED == {name for name, _, kept in REQUEST_HEADERS if kept}
    assert {name for name, _ in response.headers} == {"Content-Type", *OWN}


# Recorded for parameter mappings of an AWS integration; a function's own headers take the same way.
RENAMED = {
    *("Authorization", "Connection", "Content-Length", "Content-MD5", "Date", "Expect", "Host"),
    *("Max-Forwards", "Proxy-Authenticate", "Server", "Trailer", "Upgrade", "User-Agent", "WWW-Authenticate"),
}
UNCHANGED = {"Accept", "Age", "Content-Encoding", "Pragma", "Range", "Referer", "TE", "Via", "Warn"}
FUNCTION_HEADERS = sorted(RENAMED | UNCHANGED)


@pytest.mark.parametrize(
    "name", FUNCTION_HEADERS, ids=[f"{HEADERS}full-integration[AWS]: {n}" for n in FUNCTION_HEADERS]
)
def test_header_of_a_function_is_renamed_as_recorded(name: str) -> None:
    result = {"statusCode": 200, "headers": {name: "response_param"}}
    gateway = Gateway(api("test", "GET /full"), FakeLambda({"GET /full": result}), clock=Clock())
    headers = dict(gateway.handle(Request("GET", "/test/full")).headers)
    sent_as = f"x-amzn-Remapped-{name}" if name in RENAMED else name
    assert {n: v for n, v in headers.items() if v == "response_param"} == {sent_as: "response_param"}


@pytest.mark.parametrize("name", ["x-amzn-RequestId", "x-amz-apigw-id", "X-Amzn-Trace-Id"])
@pytest.mark.parametrize("spelling", [str, str.lower, str.upper])
def test_gateway_replaces_its_own_headers(name: str, spelling: type[str]) -> None:
    result = {"statusCode": 200, "headers": {spelling(name): "function"}}
    gateway = Gateway(api("test", "GET /x"), FakeLambda({"GET /x": result}), clock=Clock())
    found = [pair for pair in gateway.handle(Request("GET", "/test/x")).headers if pair[0] in OWN]
    assert len(found) == 3
    assert "function" not in dict(found).values()


# --- Routes, trace IDs and queries --------------------------------------------

SIBLINGS = ("POST /test", "ANY /test/any", "OPTIONS /{proxy+}")
ORDER = ("GET /{param+}", "GET /part1", "GET /part1/hardcoded-value")
ROUTES = [
    ("test_routing_not_found: working-route", ("GET /existing",), "GET /existing", "GET /existing"),
    ("test_routing_not_found: not-found", ("GET /existing",), "GET /random-non-existing", None),
    ("test_routing_not_found: wrong-method", ("GET /existing",), "POST /existing", None),
    ("test_proxy_routing_with_hardcoded_resource_sibling", SIBLINGS, "OPTIONS /test", SIBLINGS[2]),
    ("test_proxy_routing_with_hardcoded_resource_sibling", SIBLINGS, "POST /test", SIBLINGS[0]),
    ("test_proxy_routing_with_hardcoded_resource_sibling", SIBLINGS, "GET /test/any", SIBLINGS[1]),
    ("test_proxy_routing_with_hardcoded_resource_sibling", SIBLINGS, "OPTIONS /test/any", SIBLINGS[1]),
    ("test_routing_with_hardcoded_resource_sibling_order", ORDER, "GET /part1", ORDER[1]),
    ("test_routing_with_hardcoded_resource_sibling_order", ORDER, "GET /part1/hardcoded-value", ORDER[2]),
    ("test_routing_with_hardcoded_resource_sibling_order", ORDER, "GET /part1/random-value", ORDER[0]),
]


@pytest.mark.parametrize(
    ("routes", "sent", "reached"),
    [case[1:] for case in ROUTES],
    ids=[f"{ROUTING}{case[0]}: {case[2]}" for case in ROUTES],
)
def test_request_takes_the_recorded_route(routes: tuple[str, ...], sent: str, reached: str | None) -> None:
    invoke = FakeLambda()
    method, _, target = sent.partition(" ")
    gateway = Gateway(api("dev", *routes), invoke, clock=Clock())
    response = gateway.handle(Request(method, f"/dev{target}"))
    assert [function for function, _ in invoke.calls] == ([reached] if reached else [])
    if reached is None:
        assert (response.status, json.loads(response.body)) == (403, NO_ROUTE)
        assert response.header("x-amzn-ErrorType") == "MissingAuthenticationTokenException"


@pytest.mark.parametrize(
    ("sent", "returned"),
    [
        (None, r"Root=1-[0-9a-f]{8}-[0-9a-f]{24};Parent=[0-9a-f]{16};Sampled=0"),
        (f"{SENT_TRACE};Parent=7fa8c0f79203be72;Sampled=1", None),
        (SENT_TRACE, rf"{SENT_TRACE};Parent=[0-9a-f]{{16}};Sampled=0"),
        ("anything else", r"Root=1-[0-9a-f]{8}-[0-9a-f]{24};Parent=[0-9a-f]{16};Sampled=0"),
    ],
    ids=[
        f"{TRACE}normal-req-headers-AWS_PROXY",
        f"{TRACE}trace-id-req-headers-AWS_PROXY",
        f"{TRACE}trace-id-small-req-headers-AWS_PROXY",
        "not recorded: not a trace ID",
    ],
)
def test_trace_id_is_passed_on_as_recorded(sent: str | None, returned: str | None) -> None:
    gateway = Gateway(api("test", "GET /{proxy+}"), FakeLambda(), clock=Clock())
    headers = () if sent is None else (("x-amzn-trace-id", sent),)
    response = gateway.handle(Request("GET", "/test/proxy-value", headers=headers))
    assert re.fullmatch(returned or sent or "", response.header("x-amzn-trace-id") or "")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("rest", {"a": "1", "b": "2", "c": ";"}), ("http", {"a": "1;b=2", "c": ";"})],
    ids=["Developer Guide, api-gateway-known-issues", "an HTTP API splits at & only"],
)
def test_rest_api_splits_queries_at_semicolons(kind: ApiKind, expected: dict[str, str]) -> None:
    invoke = FakeLambda()
    gateway = Gateway(api("$default", "GET /x", kind=kind), invoke, clock=Clock())
    gateway.handle(Request("GET", "/x", query="a=1;b=2&c=%3B"))
    ((_, event),) = invoke.calls
    assert event["queryStringParameters"] == expected
