"""Method, address and headers in each of API Gateway's event formats."""

from typing import Any

import pytest

from authorizer import request
from authorizer.errors import Reason, UnsupportedEventError
from tests.support.authorizer_events import HOSTS, recorded, with_certificate, with_header

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


@pytest.mark.parametrize("kind", DESCRIBED)
def test_method_and_address_are_found(kind: str) -> None:
    event = recorded(kind)
    assert request.method(event) == "GET"
    assert request.url(event, None) == f"https://{HOSTS[kind]}{PATH}"


def test_websocket_handshake_is_get_of_the_stage() -> None:
    event = recorded("websocket_connect")
    assert request.method(event) == "GET"
    assert request.url(event, None) == (
        "https://nopqrs9012.execute-api.eu-west-1.amazonaws.com/live"
    )
    assert request.url(event, "https://live.example.com") == "https://live.example.com"


def test_token_event_has_no_method_or_address() -> None:
    with pytest.raises(UnsupportedEventError) as unfit:
        request.method(recorded("rest_token"))
    assert unfit.value.reason is Reason.EVENT_KIND
    with pytest.raises(UnsupportedEventError) as unfit:
        request.url(recorded("rest_token"), "https://api.example.com")
    assert unfit.value.reason is Reason.ADDRESS_UNKNOWN


@pytest.mark.parametrize("kind", DESCRIBED)
@pytest.mark.parametrize(
    ("domain", "path", "resource", "url"),
    [
        # A custom domain that maps its root, or `v1`, to the stage.
        ("api.example.com", "/country", None, "https://api.example.com/country"),
        ("api.example.com", "/v1/country", None, "https://api.example.com/v1/country"),
        (
            "api.example.com",
            "/country",
            "https://api.example.com",
            "https://api.example.com/country",
        ),
        (
            "api.example.com",
            "/v1/country",
            "https://api.example.com/v1",
            "https://api.example.com/v1/country",
        ),
        # The stage's own address, behind something that hides it.
        (None, "/ms-system/country", "https://www.example.com", "https://www.example.com/country"),
        (
            None,
            "/ms-system/country",
            "https://www.example.com/api",
            "https://www.example.com/api/country",
        ),
        (None, "/ms-system", "https://www.example.com/api", "https://www.example.com/api"),
        (
            None,
            "/ms-systematic",
            "https://www.example.com/api",
            "https://www.example.com/api/ms-systematic",
        ),
        # The laptop, which knows its port from the configuration only.
        (
            "localhost",
            "/ms-system/country",
            "http://localhost:8091/ms-system",
            "http://localhost:8091/ms-system/country",
        ),
    ],
)
def test_address_is_the_callers(
    kind: str, domain: str | None, path: str, resource: str | None, url: str
) -> None:
    event = _moved(kind, domain or HOSTS[kind], path)
    assert request.url(event, resource) == url


def test_default_stage_is_not_in_paths() -> None:
    event = _moved("http_2", HOSTS["http_2"], "/country", "$default")
    assert request.url(event, None) == f"https://{HOSTS['http_2']}/country"
    assert request.url(event, "https://www.example.com") == "https://www.example.com/country"


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
    assert request.url(event, None) == f"https://{HOSTS[kind]}{written}"


@pytest.mark.parametrize("kind", DESCRIBED)
def test_host_header_is_ignored(kind: str) -> None:
    event = with_header(recorded(kind), "host", "evil.example.com")
    assert request.url(event, None) == f"https://{HOSTS[kind]}{PATH}"


@pytest.mark.parametrize("kind", DESCRIBED)
def test_certificate_is_found(kind: str) -> None:
    event = recorded(kind)
    assert request.client_certificate(event) is None
    assert request.client_certificate(with_certificate(event, "a PEM")) == "a PEM"


@pytest.mark.parametrize("context", [None, [], {"identity": None}, {"identity": {"clientCert": 1}}])
def test_other_event_has_no_certificate(context: object) -> None:
    assert request.client_certificate({"requestContext": context}) is None


@pytest.mark.parametrize("kind", DESCRIBED)
def test_header_lookup_ignores_case(kind: str) -> None:
    event = with_header(recorded(kind), "DPoP", "one", "two")
    values = request.header_values(event, "dpop")
    assert values == (["one,two"] if kind == "http_2" else ["one", "two"])


def test_route_is_the_http_apis_choice() -> None:
    event = recorded("http_2")
    assert request.route_key(event) == "GET /country/code/{code}"
    assert request.route_key(event | {"routeKey": "ANY /country"}) == "GET /country"
    assert request.route_key(event | {"routeKey": "$default"}) == "$default"


@pytest.mark.parametrize("kind", ["rest_token", "rest_request", "http_1", "websocket_connect"])
def test_other_formats_have_no_route(kind: str) -> None:
    with pytest.raises(UnsupportedEventError) as unfit:
        request.route_key(recorded(kind))
    assert unfit.value.reason is Reason.EVENT_KIND
