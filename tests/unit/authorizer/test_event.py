"""Authorizer events in each of API Gateway's formats."""

from typing import Any

import pytest

from authorizer.errors import InvalidTokenError, PolicyError, Reason, UnsupportedEventError
from authorizer.event import AuthorizerEvent, PresentedToken
from tests.support.authorizer_events import HOSTS, recorded, with_header

DESCRIBED = ("rest_request", "http_1", "http_2")
PATH = "/ms-system/country/code/AUS"


def _moved(kind: str, domain: str, path: str, stage: str = "ms-system") -> dict[str, Any]:
    """Return the event as another domain name and another path make it."""
    event = recorded(kind)
    context = event["requestContext"]
    context |= {"domainName": domain, "domainPrefix": domain.partition(".")[0], "stage": stage}
    if kind == "http_2":
        context["http"]["path"] = event["rawPath"] = path
    else:
        context["path"] = path
    return event


def test_websocket_handshake_is_get_of_the_stage() -> None:
    event = recorded("websocket_connect")
    assert AuthorizerEvent(event).method() == "GET"
    assert AuthorizerEvent(event).url(None) == ("https://nopqrs9012.execute-api.eu-west-1.amazonaws.com/live")
    assert AuthorizerEvent(event).url("https://live.example.com") == "https://live.example.com"


def test_token_event_has_no_method_or_address() -> None:
    with pytest.raises(UnsupportedEventError, match=f"^{Reason.EVENT_KIND}$"):
        AuthorizerEvent(recorded("rest_token")).method()
    with pytest.raises(UnsupportedEventError, match=f"^{Reason.ADDRESS_UNKNOWN}$"):
        AuthorizerEvent(recorded("rest_token")).url("https://api.example.com")


@pytest.mark.parametrize("kind", DESCRIBED)
@pytest.mark.parametrize(
    ("domain", "path", "resource", "url"),
    [
        # A custom domain that maps its root, or `v1`, to the stage.
        ("api.example.com", "/country", None, "https://api.example.com/country"),
        ("api.example.com", "/v1/country", None, "https://api.example.com/v1/country"),
        ("api.example.com", "/country", "https://api.example.com", "https://api.example.com/country"),
        ("api.example.com", "/v1/country", "https://api.example.com/v1", "https://api.example.com/v1/country"),
        # The stage's own address, behind something that hides it.
        (None, "/ms-system/country", "https://www.example.com", "https://www.example.com/country"),
        (None, "/ms-system/country", "https://www.example.com/api", "https://www.example.com/api/country"),
        (None, "/ms-system", "https://www.example.com/api", "https://www.example.com/api"),
        (None, "/ms-systematic", "https://www.example.com/api", "https://www.example.com/api/ms-systematic"),
        # The laptop, which knows its port from the configuration only.
        (
            "localhost",
            "/ms-system/country",
            "http://localhost:8091/ms-system",
            "http://localhost:8091/ms-system/country",
        ),
    ],
)
def test_address_is_the_callers(kind: str, domain: str | None, path: str, resource: str | None, url: str) -> None:
    event = _moved(kind, domain or HOSTS[kind], path)
    assert AuthorizerEvent(event).url(resource) == url


def test_default_stage_is_not_in_paths() -> None:
    event = _moved("http_2", HOSTS["http_2"], "/country", "$default")
    assert AuthorizerEvent(event).url(None) == f"https://{HOSTS['http_2']}/country"
    assert AuthorizerEvent(event).url("https://www.example.com") == "https://www.example.com/country"


@pytest.mark.parametrize(
    ("kind", "path", "written"),
    [
        ("rest_request", "/ms-system/a%20b", "/ms-system/a%20b"),
        ("http_1", "/ms-system/a b", "/ms-system/a%20b"),
        ("http_2", "/ms-system/\u00e4?", "/ms-system/%C3%A4%3F"),
        ("http_2", "/ms-system/%41", "/ms-system/%2541"),  # sent as %2541, and no A
    ],
)
def test_decoded_http_api_path_is_encoded_again(kind: str, path: str, written: str) -> None:
    event = _moved(kind, HOSTS[kind], path)
    assert AuthorizerEvent(event).url(None) == f"https://{HOSTS[kind]}{written}"


@pytest.mark.parametrize("kind", DESCRIBED)
def test_host_header_is_ignored(kind: str) -> None:
    event = with_header(recorded(kind), "host", "evil.example.com")
    assert AuthorizerEvent(event).url(None) == f"https://{HOSTS[kind]}{PATH}"


@pytest.mark.parametrize("context", [None, [], {"identity": None}, {"identity": {"clientCert": 1}}])
def test_other_event_has_no_certificate(context: object) -> None:
    assert AuthorizerEvent({"requestContext": context}).client_certificate() is None


def test_route_is_the_http_apis_choice() -> None:
    event = recorded("http_2")
    assert AuthorizerEvent(event).route_key() == "GET /country/code/{code}"
    assert AuthorizerEvent(event | {"routeKey": "ANY /country"}).route_key() == "GET /country"
    assert AuthorizerEvent(event | {"routeKey": "$default"}).route_key() == "$default"


@pytest.mark.parametrize("kind", ["rest_token", "rest_request", "http_1", "websocket_connect"])
def test_other_formats_have_no_route(kind: str) -> None:
    with pytest.raises(UnsupportedEventError, match=f"^{Reason.EVENT_KIND}$"):
        AuthorizerEvent(recorded(kind)).route_key()


def presented_token(event: dict[str, Any]) -> PresentedToken:
    return AuthorizerEvent(event).presented_token()


def _request(*values: str, name: str = "Authorization") -> dict[str, Any]:
    return {
        "type": "REQUEST",
        "headers": {name: values[-1]},
        "multiValueHeaders": {name: list(values)},
        "queryStringParameters": None,
    }


@pytest.mark.parametrize(
    "event",
    [
        {"type": "TOKEN", "authorizationToken": "Bearer abc"},
        {"type": "TOKEN", "authorizationToken": "bearer abc"},
        {"type": "TOKEN", "authorizationToken": "BEARER  abc"},
        _request("Bearer abc"),
        _request("Bearer abc", name="authorization"),
        _request("Bearer abc", name="AUTHORIZATION"),
        {"type": "REQUEST", "version": "1.0", "headers": {"Authorization": "Bearer abc"}},
        {"type": "REQUEST", "version": "2.0", "headers": {"authorization": "Bearer abc"}},
        _request("Bearer abc") | {"requestContext": {"eventType": "CONNECT"}},
        _request("Bearer abc") | {"queryStringParameters": {"page": "2"}},
    ],
    ids=[
        "REST TOKEN",
        "scheme in lower case",
        "two spaces",
        "REST REQUEST",
        "header name in lower case",
        "header name in upper case",
        "HTTP API 1.0",
        "HTTP API 2.0",
        "WebSocket",
        "another query parameter",
    ],
)
def test_token_is_found_in_each_event_type(event: dict[str, Any]) -> None:
    assert presented_token(event) == ("abc", False)


@pytest.mark.parametrize("value", ["DPoP abc", "dpop abc", "DPOP  abc"])
def test_dpop_scheme_is_reported(value: str) -> None:
    assert presented_token(_request(value)) == ("abc", True)


REJECTED: dict[Reason, list[dict[str, Any]]] = {
    Reason.CREDENTIALS_MISSING: [
        *({}, {"type": "REQUEST", "headers": None}, {"type": "TOKEN", "authorizationToken": ""}),
        *({"type": "REQUEST", "headers": {"Host": "x"}}, {"type": "REQUEST", "headers": {"X-Authorized": "y"}}),
        *(_request(""), _request("  ")),
        {"type": "REQUEST", "queryStringParameters": {"access_token": "a"}},
        *(_request("Bearer abc", name=f"author{i}zation") for i in ("\u0131", "\u0130")),
        _request("Bearer abc", name="Authorization "),
    ],
    Reason.CREDENTIALS_SEVERAL: [
        *(_request("Bearer a", "Bearer a"), _request("Basic a", "Bearer a"), _request("DPoP abc", "Bearer abc")),
        *(_request("", "Bearer a"), _request("Bearer a", "")),
        *(_request("Bearer a, Bearer b"), _request("Bearer a,b"), _request("DPoP abc,def")),
        {"type": "REQUEST", "headers": {"Authorization": "Bearer a", "authorization": "Bearer b"}},
        _request("Bearer a") | {"queryStringParameters": {"access_token": "a"}},
        _request("Bearer a") | {"multiValueQueryStringParameters": {"access_token": ["a"]}},
    ],
    Reason.SCHEME_WRONG: [_request(value) for value in ("Basic YTpi", "abc", " Bearer abc", "JWT abc")],
    Reason.CREDENTIALS_MALFORMED: [
        *({"type": "TOKEN"}, {"type": "TOKEN", "authorizationToken": 1}, _request("Bearer abc") | {"type": "TOKEN"}),
        *(_request(value) for value in ("DPoPabc", "Bearerabc", "Bearer", "Bearer ", "Bearer\tabc", "Bearer abc ")),
        *(_request(f"Bearer {value}") for value in ("abc\n", "abc def", "=abc", "\u00e4bc", '"abc"', "Bearer abc")),
        *(_request("Bearer\u00a0abc"), _request("Bearer token=abc")),
        {"type": "REQUEST", "multiValueHeaders": {"Authorization": [["Bearer abc"]]}},
        {"type": "REQUEST", "multiValueHeaders": {"Authorization": {"0": "Bearer abc"}}},
    ],
}


@pytest.mark.parametrize(("reason", "event"), [(reason, each) for reason, some in REJECTED.items() for each in some])
def test_other_credentials_are_rejected(reason: Reason, event: dict[str, Any]) -> None:
    with pytest.raises(InvalidTokenError, match=f"^{reason}$"):
        presented_token(event)


ARN = "arn:aws:execute-api:eu-west-1:123456789012:abc123"


@pytest.mark.parametrize(
    ("stage", "rest"),
    [
        (f"{ARN}/ms-system", "GET/country/code/AUS"),
        ("arn:aws-cn:execute-api:cn-north-1:123456789012:abc123/prod", "GET/"),
        ("arn:aws-us-gov:execute-api:us-gov-west-1:123456789012:abc123/a_b", "POST/x:y/~z"),
        (f"{ARN}/$default", "GET/country"),
        ("arn:aws:execute-api:mars-west-1:123456789012:ymy8tbxw7b/api", "$connect"),
        (f"{ARN}/test-invoke-stage", "GET/*/../*"),
    ],
)
def test_arn_parts_are_parsed(stage: str, rest: str) -> None:
    assert AuthorizerEvent({"methodArn": f"{stage}/{rest}"}).stage_arn() == stage


@pytest.mark.parametrize(
    "method_arn",
    [
        *(None, "", ARN, f"{ARN}/ms-system", f"{ARN}/*/GET/", f"{ARN}/ms-syst?m/GET/"),
        *(f"{ARN}/${{aws:x}}/GET/", f"{ARN}//GET/", f"{ARN[:-6]}*/ms-system/GET/"),
        "arn:aws:execute-api:eu-west-*:123456789012:abc123/ms-system/GET/",
        "arn:aws*:execute-api:eu-west-1:123456789012:abc123/ms-system/GET/",
        "arn:aws:lambda:eu-west-1:123456789012:function:x/y/z",
    ],
)
def test_malformed_arn_is_an_internal_error(method_arn: object) -> None:
    with pytest.raises(PolicyError, match=f"^{Reason.METHOD_ARN_MALFORMED}$"):
        AuthorizerEvent({"methodArn": method_arn}).stage_arn()


def test_url_behind_a_load_balancer_comes_from_the_resource() -> None:
    event = AuthorizerEvent({"httpMethod": "GET", "path": "/v1/orders%20", "requestContext": {"elb": {}}})
    assert event.url("https://orders.example/v1") == "https://orders.example/v1/orders%20"
    with pytest.raises(UnsupportedEventError, match="address_unknown"):
        event.url(None)
