import json
from typing import Any

import pycountry
import pytest

from functions.look_up_country.handler import build, handle
from tests.support.proxy_events import proxy_event

LINES: list[str] = []
ENDPOINT = build(emit=LINES.append)
AUSTRALIA = {"code": "AUS", "name": "AUSTRALIA"}


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


def _page(**query: str) -> tuple[list[str], str | None]:
    status, body = _get("/country", query=query)
    assert status == 200
    return [country["code"] for country in body["countries"]], body["next"]


def test_response_equals_the_walkthrough() -> None:
    event = _event("/country/code/AUS", {"principalId": "x"}, pathParameters={"code": "AUS"})
    assert handle(event, None)["body"] == '{"code": "AUS", "name": "AUSTRALIA"}'


@pytest.mark.parametrize("code", ["AUS", "aus", "Aus", "AU", "au", "036"])
def test_any_code_in_either_case_finds_the_country(code: str) -> None:
    assert _look_up(code) == (200, AUSTRALIA)


def test_every_country_has_three_codes() -> None:
    for entry in pycountry.countries:
        for code in (entry.alpha_2, entry.alpha_3, entry.numeric):
            for spelling in (code, code.lower()):
                assert _look_up(spelling)[1]["code"] == entry.alpha_3


@pytest.mark.parametrize(("code", "name"), [("ALA", "ÅLAND ISLANDS"), ("CIV", "CÔTE D'IVOIRE")])
def test_name_is_in_upper_case_beyond_ascii_too(code: str, name: str) -> None:
    assert _look_up(code)[1]["name"] == name


@pytest.mark.parametrize("code", ["ZZ", "ZZZ", "999", "000"])
def test_unassigned_code_is_not_found(code: str) -> None:
    assert _look_up(code) == (404, {"error": "not_found", "error_description": "No country has this code."})


@pytest.mark.parametrize(
    "code", ["", "A", "AUST", "36", "0036", "A1", "A1S", "AU\n", " AU", "ÄÖ", "٠٣٦", "\u017fs", "../a"]
)
def test_malformed_code_is_an_invalid_request(code: str) -> None:
    status, body = _look_up(code)
    assert (status, body["error"]) == (400, "invalid_request")


def test_page_has_countries_and_the_start_of_the_next() -> None:
    assert _get("/country", query={"limit": "2"}) == (
        200,
        {"countries": [{"code": "ABW", "name": "ARUBA"}, {"code": "AFG", "name": "AFGHANISTAN"}], "next": "AFG"},
    )
    assert _page(limit="2", after="AFG") == (["AGO", "AIA"], "AIA")


def test_list_has_fifty_countries_by_default() -> None:
    assert len(_page()[0]) == 50


@pytest.mark.parametrize("limit", [1, 7, 50, 248, 249, 250])
def test_pages_list_every_country_once_in_order(limit: int) -> None:
    codes: list[str] = []
    after: str | None = ""
    while after is not None:
        page, after = _page(after=after, limit=str(limit))
        codes += page
        assert len(page) <= limit
    assert codes == sorted(entry.alpha_3 for entry in pycountry.countries)


@pytest.mark.parametrize(("after", "page"), [("ato", (["AUS"], "AUS")), ("ZMB", (["ZWE"], None)), ("ZZZ", ([], None))])
def test_page_may_start_after_an_unassigned_or_the_last_code(after: str, page: tuple[list[str], str | None]) -> None:
    assert _page(after=after, limit="1") == page


@pytest.mark.parametrize(
    "query",
    [
        *({"limit": limit} for limit in ("0", "251", "-1", "1.0", "", "ten", "٣", ["1", "2"])),
        *({"after": after} for after in ("36", "AU", "036", "AUST", "AÄS", "A S", ["ABW", "AFG"])),
    ],
)
def test_invalid_paging_parameter_is_an_invalid_request(query: dict[str, str | list[str]]) -> None:
    status, body = _get("/country", query=query)
    assert (status, body["error"]) == (400, "invalid_request")


@pytest.mark.parametrize("authorizer", [None, {}, {"principalId": ""}])
def test_only_the_authorizer_context_authenticates(authorizer: dict[str, str] | None) -> None:
    headers = {"Authorization": "Bearer whatever", "principalId": "admin"}
    event = _event("/country/code/AUS", authorizer, pathParameters={"code": "AUS"}, headers=headers)
    answer = ENDPOINT(event)
    assert answer["statusCode"] == 401
    assert answer["headers"]["WWW-Authenticate"] == "Bearer"


def test_log_names_the_client() -> None:
    _look_up("AUS")
    assert json.loads(LINES[-1])["client_id"] == "service-client-jwt"
    ENDPOINT(_event("/country", {"principalId": "subject", "client_id": "client"}))
    assert json.loads(LINES[-1])["client_id"] == "client"
