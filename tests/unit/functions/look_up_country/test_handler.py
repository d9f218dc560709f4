import json
from typing import Any

import pycountry
import pytest

from functions.look_up_country.handler import Countries, Country, MalformedCodeError, UnknownCountryError, build, handle
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


DIRECTORY = Countries()
AUSTRALIA = Country("AUS", "AUSTRALIA")


@pytest.mark.parametrize("code", ["AUS", "aus", "Aus", "AU", "au", "036"])
def test_country_is_found_by_any_code(code: str) -> None:
    assert DIRECTORY.find(code) == AUSTRALIA


def test_every_country_has_three_codes() -> None:
    for entry in pycountry.countries:
        for code in (entry.alpha_2, entry.alpha_3, entry.numeric):
            for spelling in (code, code.lower()):
                assert DIRECTORY.find(spelling).code == entry.alpha_3


def test_name_is_in_upper_case_beyond_ascii_too() -> None:
    assert DIRECTORY.find("ALA").name == "ÅLAND ISLANDS"
    assert DIRECTORY.find("CIV").name == "CÔTE D'IVOIRE"


@pytest.mark.parametrize("code", ["ZZ", "ZZZ", "999", "000"])
def test_unassigned_code_is_unknown(code: str) -> None:
    with pytest.raises(UnknownCountryError):
        DIRECTORY.find(code)


@pytest.mark.parametrize(
    "code", ["", "A", "AUST", "36", "0036", "A1", "A1S", "AU\n", " AU", "ÄÖ", "٠٣٦", "\u017fs", "../a"]
)
def test_invalid_code_is_malformed(code: str) -> None:
    with pytest.raises(MalformedCodeError):
        DIRECTORY.find(code)


@pytest.mark.parametrize("limit", [1, 7, 50, 248, 249, 250])
def test_pages_list_every_country_once_in_order(limit: int) -> None:
    codes: list[str] = []
    after: str | None = ""
    while after is not None:
        countries, after = DIRECTORY.page(after=after, limit=limit)
        codes += [country.code for country in countries]
        assert len(countries) <= limit
    assert codes == sorted(entry.alpha_3 for entry in pycountry.countries)


def test_page_may_start_after_an_unassigned_code() -> None:
    countries, _ = DIRECTORY.page(after="ato", limit=1)
    assert [country.code for country in countries] == ["AUS"]


def test_page_after_the_last_country_is_empty() -> None:
    assert DIRECTORY.page(after="ZZZ", limit=5) == ([], None)


@pytest.mark.parametrize("after", ["AU", "036", "AUST", "AÄS", "A S"])
def test_page_after_an_invalid_code_is_malformed(after: str) -> None:
    with pytest.raises(MalformedCodeError):
        DIRECTORY.page(after=after, limit=5)
