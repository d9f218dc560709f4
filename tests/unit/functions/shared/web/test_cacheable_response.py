from functions.shared.web.endpoint import cacheable_response
from functions.shared.web.proxy_request import read_event
from functions.shared.web.responses import ProxyResponse
from tests.support.proxy_events import proxy_event


def _answer(method: str = "GET", **headers: str) -> ProxyResponse:
    request = read_event(proxy_event(method, "/document", headers=headers))
    return cacheable_response(request, '{"a": 1}', 60)


def test_document_is_cacheable_and_cors_enabled() -> None:
    answer = _answer()
    assert (answer["statusCode"], answer["body"]) == (200, '{"a": 1}')
    assert answer["headers"].pop("ETag").startswith('"')
    assert answer["headers"] == {
        "Content-Type": "application/json",
        "Cache-Control": "public, max-age=60",
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Expose-Headers": "ETag",
    }


def test_rfc9110_9_3_2_head_is_like_get() -> None:
    assert _answer("HEAD") == _answer("GET")


def test_rfc9110_13_1_2_matching_etag_is_304() -> None:
    headers = {"If-None-Match": _answer()["headers"]["ETag"]}
    for method in ("GET", "HEAD"):
        answer = _answer(method, **headers)
        assert (answer["statusCode"], answer["body"]) == (304, "")
        assert "Content-Type" not in answer["headers"]


def test_browsers_preflight_is_allowed() -> None:
    answer = _answer("OPTIONS", **{"Origin": "https://app.example", "Access-Control-Request-Method": "GET"})
    assert (answer["statusCode"], answer["body"]) == (204, "")
    assert answer["headers"]["Access-Control-Allow-Origin"] == "*"
    assert answer["headers"]["Access-Control-Allow-Methods"] == "GET, HEAD"
    assert answer["headers"]["Allow"] == "GET, HEAD, OPTIONS"
