import json
from typing import Any

import pytest

from functions.look_up_country.handler import build, handle
from tests.support.proxy_events import proxy_event

LINES: list[str] = []
ENDPOINT = build(emit=LINES.append)


def _event(path: str, authorizer: dict[str, str] | None, **rest: Any) -> dict[str, Any]:
    event = proxy_event("GET", path, **rest)
    event["requestContext"]["authorizer"] = authorizer
    return event


def _get(path: str, **rest: Any) -> tuple[int, Any]:
    answer = ENDPOINT(_event(path, {"principalId": "service-client-jwt"}, **rest))
    assert answer["headers"]["Content-Type"] == "application/json"
    return answer["statusCode"], json.loads(answer["body"])


def _look_up(code: str) -> tuple[int, Any]:
    return _get(f"/country/code/{code}", pathParameters={"code": code})


def test_response_equals_the_walkthrough() -> None:
    event = _event("/country/code/AUS", {"principalId": "x"}, pathParameters={"code": "AUS"})
    assert handle(event, None)["body"] == '{"code": "AUS", "name": "AUSTRALIA"}'


def test_any_code_in_either_case_gives_the_alpha_3_code() -> None:
    assert _look_up("au") == (200, {"code": "AUS", "name": "AUSTRALIA"})
    assert _look_up("036") == (200, {"code": "AUS", "name": "AUSTRALIA"})


def test_unknown_code_is_not_found() -> None:
    status, body = _look_up("ZZZ")
    assert (status, body["error"]) == (404, "not_found")
    assert body["error_description"]


def test_malformed_code_is_an_invalid_request() -> None:
    status, body = _look_up("AUST")
    assert (status, body["error"]) == (400, "invalid_request")


def test_first_page_has_a_next_link() -> None:
    status, body = _get("/country", query={"limit": "2"})
    assert status == 200
    assert body == {
        "countries": [{"code": "ABW", "name": "ARUBA"}, {"code": "AFG", "name": "AFGHANISTAN"}],
        "next": "AFG",
    }
    assert _get("/country", query={"limit": "2", "after": body["next"]})[1]["next"] == "AIA"


def test_list_has_fifty_countries_by_default() -> None:
    assert len(_get("/country")[1]["countries"]) == 50


def test_last_page_has_no_next() -> None:
    assert _get("/country", query={"after": "ZMB"})[1] == {
        "countries": [{"code": "ZWE", "name": "ZIMBABWE"}],
        "next": None,
    }


@pytest.mark.parametrize(
    "query",
    [
        {"limit": "0"},
        {"limit": "251"},
        {"limit": "-1"},
        {"limit": "1.0"},
        {"limit": ""},
        {"limit": "ten"},
        {"limit": "٣"},
        {"limit": ["1", "2"]},
        {"after": "36"},
        {"after": ["ABW", "AFG"]},
    ],
)
def test_invalid_paging_parameter_is_an_invalid_request(query: dict[str, str | list[str]]) -> None:
    status, body = _get("/country", query=query)
    assert (status, body["error"]) == (400, "invalid_request")


@pytest.mark.parametrize("authorizer", [None, {}, {"principalId": ""}])
def test_request_without_authorizer_is_rejected(authorizer: dict[str, str] | None) -> None:
    event = _event("/country/code/AUS", authorizer, pathParameters={"code": "AUS"})
    answer = ENDPOINT(event)
    assert answer["statusCode"] == 401
    assert answer["headers"]["WWW-Authenticate"] == "Bearer"


def test_authorizer_context_is_used_and_headers_are_not() -> None:
    event = _event(
        "/country/code/AUS",
        None,
        pathParameters={"code": "AUS"},
        headers={"Authorization": "Bearer whatever", "principalId": "admin"},
    )
    assert ENDPOINT(event)["statusCode"] == 401


def test_log_names_the_client() -> None:
    _look_up("AUS")
    assert json.loads(LINES[-1])["client_id"] == "service-client-jwt"
    ENDPOINT(_event("/country", {"principalId": "subject", "client_id": "client"}))
    assert json.loads(LINES[-1])["client_id"] == "client"
