from typing import Any

import pytest

from functions.shared.web.oauth_errors import InvalidRequestError, ServerError
from functions.shared.web.proxy_request import read_event
from tests.support.proxy_events import proxy_event


def test_header_names_are_found_in_any_case() -> None:
    request = read_event(proxy_event("GET", "/", headers={"X-ThInG": "a"}))
    assert request.header("x-thing") == "a"


def test_absent_header_is_none() -> None:
    assert read_event(proxy_event("GET", "/")).header("x-thing") is None


def test_duplicate_header_is_rejected() -> None:
    request = read_event(proxy_event("GET", "/", headers={"X-Thing": ["a", "b"]}))
    with pytest.raises(InvalidRequestError, match="x-thing header was sent more than once"):
        request.header("x-thing")


def test_two_spellings_of_a_header_are_duplicates() -> None:
    request = read_event(proxy_event("GET", "/", headers={"X-Thing": "a", "x-thing": "b"}))
    assert request.headers["x-thing"] == ("a", "b")


def test_single_values_are_a_fallback() -> None:
    event = proxy_event("GET", "/", multiValueHeaders=None, multiValueQueryStringParameters=None)
    event |= {"headers": {"X-Thing": "a"}, "queryStringParameters": {"limit": "3"}}
    request = read_event(event)
    assert (request.header("x-thing"), request.query_parameter("limit")) == ("a", "3")


def test_duplicate_query_parameter_is_rejected() -> None:
    request = read_event(proxy_event("GET", "/", query={"limit": ["1", "2"]}))
    with pytest.raises(InvalidRequestError, match="limit was sent more than once"):
        request.query_parameter("limit")


def test_text_body_becomes_its_utf_8_bytes() -> None:
    assert read_event(proxy_event("POST", "/", body="ä")).body == b"\xc3\xa4"


def test_base64_body_is_decoded() -> None:
    event = proxy_event("POST", "/", body="AP8=", isBase64Encoded=True)
    assert read_event(event).body == b"\x00\xff"


@pytest.mark.parametrize("body", ["AP8", "A P8=", "ä"])
def test_malformed_base64_body_is_rejected(body: str) -> None:
    with pytest.raises(InvalidRequestError, match="base64"):
        read_event(proxy_event("POST", "/", body=body, isBase64Encoded=True))


def test_lone_surrogate_in_a_body_is_rejected() -> None:
    assert read_event(proxy_event("POST", "/", body="\ud800")).body == b"\xed\xa0\x80"


def test_context_has_source_request_id_and_authorizer() -> None:
    event = proxy_event("GET", "/country/code/AUS", pathParameters={"code": "AUS"})
    event["requestContext"]["authorizer"] = {"principalId": "someone"}
    request = read_event(event)
    assert request.source_ip == "192.0.2.7"
    assert request.request_id == "JKJaXmPLvHcESHA="
    assert request.authorizer == {"principalId": "someone"}
    assert request.path_parameters == {"code": "AUS"}


def test_minimal_event_is_enough() -> None:
    request = read_event({"httpMethod": "GET", "path": "/"})
    assert (request.method, request.path, request.body) == ("GET", "/", b"")
    for nothing in (request.headers, request.query, request.path_parameters, request.authorizer):
        assert nothing == {}


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"source": "aws.events", "detail": {}},
        {"version": "2.0", "rawPath": "/oauth2/token", "requestContext": {"http": {"method": "POST"}}},
    ],
    ids=["nothing", "a schedule's", "payload format 2.0"],
)
def test_other_event_type_is_an_internal_error(event: dict[str, Any]) -> None:
    with pytest.raises(ServerError, match=r"payload format 1\.0"):
        read_event(event)
