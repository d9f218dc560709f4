import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from local.addresses import LAPTOP
from local.gateway.events import Call, RequestIds, authorizer_event, proxy_event
from local.gateway.model import Api, ClientCertificate, IdentitySource, Request, Route
from tests.unit.local.gateway.apis import BEARER, bearer, http_api, rest_api

EXTENDED_ID = "OfTZcFJ4IAMEv3w="
EVENTS = Path(__file__).parent / "events"
# API Gateway generates these values.
GENERATED = {"resourceId", "deploymentId"}
BEARER_2 = replace(BEARER, payload_format="2.0")
HTTP_2 = Route("GET", "/country/code/{code}", "LookUpCountry", payload_format="2.0")


def recorded(name: str) -> Any:
    return json.loads((EVENTS / f"{name}.json").read_text(encoding="utf-8"))


def call(api: Api, route: Route, request: Request, path: str, **parameters: str) -> Call:
    return Call(
        api=api,
        account=LAPTOP,
        request=request,
        route=route,
        sent_path=path,
        parameters=parameters,
        ids=RequestIds("7c7e5c6e-3c0a-4a53-9f0e-0a9f5b1f7f10" if api.kind == "rest" else EXTENDED_ID, EXTENDED_ID),
        trace_id="Root=1-6553f0c1-2f1c9ab04c0b5a6e1d2f3a4b",
        requested_at=1_700_000_001.25,
    )


def request(api: Api, *headers: tuple[str, str], **more: Any) -> Request:
    host = f"{api.api_id}.execute-api.us-east-1.amazonaws.com"
    return Request(
        **{
            "method": "GET",
            "path": "/",
            "headers": (("Host", host), *headers),
            "source_ip": "203.0.113.9",
            "scheme": "https",
            "domain": host,
            "port": 443,
            **more,
        }
    )


def rest_call() -> Call:
    api = rest_api(BEARER)
    sent = request(
        api,
        ("Accept", "*/*"),
        bearer(),
        ("User-Agent", "curl/8.5.0"),
        ("X-Twice", "first"),
        ("X-Twice", "second"),
        ("X-Forwarded-Proto", "gopher"),
        ("Connection", "keep-alive"),
        query="lang=en&lang=fr&q=a+b",
    )
    return call(api, api.routes[1], sent, "/country/code/AUS", code="AUS")


def http_2_call(*headers: tuple[str, str]) -> Call:
    api = http_api(HTTP_2, stage="$default")
    sent = request(
        api,
        ("Accept", "*/*"),
        ("User-Agent", "curl/8.5.0"),
        ("X-Twice", "first"),
        ("X-Twice", "second"),
        ("Cookie", "a=1; b=2"),
        *headers,
        query="lang=en&lang=fr",
    )
    return call(api, api.routes[0], sent, "/country/code/a b", code="a b")


def comparable(event: dict[str, Any]) -> dict[str, Any]:
    context = event.get("requestContext", {})
    for name in GENERATED & set(context):
        if " " not in (context[name] or ""):
            assert len(context[name]) == 6
            context[name] = "made up"
    return event


def test_rest_api_sends_functions_the_recorded_event() -> None:
    authorizer = {
        "client_id": "service-client-jwt",
        "admin": "false",
        "level": "7",
        "principalId": "service-client-jwt",
        "integrationLatency": 12,
    }
    event = proxy_event(rest_call(), authorizer)
    assert comparable(event) == comparable(recorded("rest_proxy"))


def test_rest_request_authorizer_gets_the_recorded_event() -> None:
    event = authorizer_event(rest_call(), BEARER, ("Bearer token",))
    assert comparable(event) == comparable(recorded("rest_request_authorizer"))


def test_rest_token_authorizer_gets_the_recorded_event() -> None:
    event = authorizer_event(rest_call(), replace(BEARER, kind="TOKEN"), ("Bearer token",))
    assert event == recorded("rest_token_authorizer")


def test_http_api_sends_functions_the_recorded_event() -> None:
    api = http_api()
    sent = request(
        api,
        ("Accept", "*/*"),
        ("Content-Length", "29"),
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("User-Agent", "curl/8.5.0"),
        ("X-Forwarded-For", "198.51.100.1"),
        method="POST",
        body=b"grant_type=client_credentials",
    )
    event = proxy_event(call(api, api.routes[0], sent, "/oauth2/token"), None)
    assert event == recorded("http_proxy_1")


def test_format_2_joins_duplicates_and_splits_cookies() -> None:
    authorizer = {"client_id": "service-client-jwt", "scopes": ["country.read"]}
    assert proxy_event(http_2_call(), authorizer) == recorded("http_proxy_2")


def test_format_2_authorizer_gets_the_recorded_event() -> None:
    event = authorizer_event(http_2_call(bearer()), BEARER_2, ("Bearer token",))
    assert event == recorded("http_request_authorizer_2")


def test_format_1_authorizer_gets_the_recorded_event() -> None:
    authorizer = replace(
        BEARER,
        identity_sources=(IdentitySource("header", "Authorization"), IdentitySource("context", "identity.sourceIp")),
    )
    api = http_api(Route("GET", "/country", "LookUpCountry", authorizer))
    certificate = ClientCertificate(
        pem="-----BEGIN CERTIFICATE-----",
        subject="CN=client",
        issuer="CN=authority",
        serial_number="1",
        not_before="May 28 12:30:02 2019 GMT",
        not_after="Aug  5 09:36:04 2021 GMT",
    )
    sent = request(api, bearer(), client_certificate=certificate)
    event = authorizer_event(call(api, api.routes[0], sent, "/country"), authorizer, ("Bearer token", "203.0.113.9"))
    assert event == recorded("http_request_authorizer_1")


def test_format_2_has_the_client_certificate() -> None:
    original = http_2_call()
    certificate = ClientCertificate("pem", "CN=client", "CN=authority", "1", "then", "later")
    event = proxy_event(replace(original, request=replace(original.request, client_certificate=certificate)), None)
    found = event["requestContext"]["authentication"]["clientCert"]
    assert found["clientCertPem"] == "pem"
    assert found["validity"] == {"notBefore": "then", "notAfter": "later"}


@pytest.mark.parametrize(
    ("content_type", "encoded"),
    [
        ("application/json", False),
        ("application/json; charset=utf-8", False),
        ("text/plain", False),
        ("application/xml", False),
        ("application/x-www-form-urlencoded", True),
        ("application/octet-stream", True),
        ("", True),
    ],
)
def test_http_api_encodes_bodies_by_content_type(content_type: str, *, encoded: bool) -> None:
    api = http_api()
    sent = request(api, ("Content-Type", content_type), method="POST", body=b"{}")
    event = proxy_event(call(api, api.routes[0], sent, "/oauth2/token"), None)
    assert (event["body"], event["isBase64Encoded"]) == (("e30=", True) if encoded else ("{}", False))


def test_rest_api_encodes_only_its_binary_media_types() -> None:
    plain = rest_api()
    binary = rest_api(binary_media_types=("image/*",))
    bodies = []
    for api in (plain, binary):
        sent = request(api, ("Content-Type", "image/png"), body=b"\xff\x00")
        event = proxy_event(call(api, api.routes[0], sent, "/country"), None)
        bodies.append((event["body"], event["isBase64Encoded"]))
    assert bodies == [("\ufffd\x00", False), ("/wA=", True)]


def test_empty_body_is_none() -> None:
    assert proxy_event(rest_call(), None)["body"] is None


def test_domain_name_ignores_the_host_header() -> None:
    api = rest_api()
    sent = Request("GET", "/", headers=(("Host", "elsewhere.example:80"),), port=8091)
    event = proxy_event(call(api, api.routes[0], sent, "/country"), None)
    assert event["headers"]["Host"] == "elsewhere.example:80"
    assert event["requestContext"]["domainName"] == "localhost"
    assert event["headers"]["X-Forwarded-Port"] == "8091"
    assert event["headers"]["X-Forwarded-Proto"] == "http"


@pytest.mark.parametrize(("path", "resource"), [("/", "GET/"), ("/country/", "GET/country")])
def test_method_arn_has_no_trailing_slash(path: str, resource: str) -> None:
    api = rest_api()
    assert call(api, api.routes[0], request(api), path).method_arn.endswith(f"guardedapi/ms-system/{resource}")


def test_format_2_omits_empty_members() -> None:
    original = http_2_call(bearer())
    api = replace(original.api, stage_variables={"tenant": "a"})
    bare = replace(original, api=api, request=Request("GET", "/", headers=(("Host", "h"),)), parameters={})
    event = proxy_event(bare, None)
    assert event["stageVariables"] == {"tenant": "a"}
    assert not {"cookies", "queryStringParameters", "pathParameters", "body"} & set(event)
    assert "authorizer" not in event["requestContext"]
    assert authorizer_event(bare, BEARER_2, ("x",))["stageVariables"] == {"tenant": "a"}


def test_default_route_has_its_own_key() -> None:
    original = http_2_call()
    route = replace(original.route, method="ANY", path="$default")
    assert proxy_event(replace(original, route=route), None)["routeKey"] == "$default"
