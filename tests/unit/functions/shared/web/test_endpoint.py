import json

import pytest

from functions.shared.keys.key_ring import UnusableKeyRingError
from functions.shared.storage.errors import StorageCorruptError, StorageError, StorageUnavailableError
from functions.shared.web.audit import AuditEntry
from functions.shared.web.endpoint import NO_STORE, Endpoint, ProxyResponse, Respond, cacheable_response, json_response
from functions.shared.web.oauth_errors import InvalidScopeError, ServerError
from functions.shared.web.proxy_request import ProxyRequest, read_event
from tests.support.proxy_events import proxy_event

EVENT = proxy_event("GET", "/thing")


def _run(respond: Respond) -> tuple[ProxyResponse, dict[str, object]]:
    lines: list[str] = []
    answer = Endpoint("thing", respond, lines.append)(EVENT)
    (line,) = lines
    return answer, json.loads(line)


def _echo(request: ProxyRequest, entry: AuditEntry) -> ProxyResponse:
    return json_response(200, {"path": request.path})


def _raising(error: Exception, cause: Exception | None = None) -> Respond:
    def respond(request: ProxyRequest, entry: AuditEntry) -> ProxyResponse:
        raise error from cause

    return respond


def test_json_is_utf8_with_content_type() -> None:
    assert json_response(200, {"name": "ÅLAND"}, NO_STORE) == {
        "statusCode": 200,
        "headers": {"Content-Type": "application/json", "Cache-Control": "no-store", "Pragma": "no-cache"},
        "body": '{"name": "ÅLAND"}',
        "isBase64Encoded": False,
    }


def test_response_is_logged_in_one_line() -> None:
    answer, line = _run(_echo)
    assert json.loads(answer["body"]) == {"path": "/thing"}
    assert line == {
        "endpoint": "thing",
        "request_id": "JKJaXmPLvHcESHA=",
        "source_ip": "192.0.2.7",
        "outcome": "success",
        "status": 200,
    }


def test_oauth_error_is_returned_and_logged() -> None:
    answer, line = _run(_raising(InvalidScopeError(reason="because")))
    assert answer["statusCode"] == 400
    assert (line["outcome"], line["reason"], line["status"]) == ("invalid_scope", "because", 400)
    assert "cause" not in line


def _broken() -> Exception:
    try:
        int("a-secret")
    except ValueError as error:
        return error
    raise AssertionError


def test_cause_is_logged_without_its_message() -> None:
    answer, line = _run(_raising(ServerError(reason="because"), _broken()))
    assert str(line["cause"]).startswith("ValueError < test_endpoint.py:")
    assert "secret" not in json.dumps(line) + answer["body"]


@pytest.mark.parametrize(
    ("error", "status", "outcome"),
    [
        (StorageError("GetItem: AccessDenied"), 500, "server_error"),
        (StorageCorruptError("a record is malformed"), 500, "server_error"),
        (UnusableKeyRingError("no key may sign"), 500, "server_error"),
        (StorageUnavailableError("GetItem: Throttling"), 503, "temporarily_unavailable"),
    ],
)
def test_storage_error_becomes_an_oauth_error(error: StorageError, status: int, outcome: str) -> None:
    answer, line = _run(_raising(error, _broken()))
    assert (answer["statusCode"], json.loads(answer["body"])["error"]) == (status, outcome)
    assert answer["headers"].get("Retry-After") == ("1" if status == 503 else None)
    assert (line["outcome"], line["reason"]) == (outcome, error.reason)
    assert str(line["cause"]).startswith("ValueError < test_endpoint.py:")
    assert error.reason not in answer["body"]


def test_cause_that_was_never_raised_is_logged_by_kind() -> None:
    _, line = _run(_raising(ServerError(reason="because"), ValueError("secret")))
    assert line["cause"] == "ValueError"


def test_unexpected_error_is_a_server_error_without_a_trace() -> None:
    answer, line = _run(_raising(KeyError("secret")))
    assert answer["statusCode"] == 500
    assert json.loads(answer["body"])["error"] == "server_error"
    assert line["outcome"] == "server_error"
    assert str(line["cause"]).startswith("KeyError < test_endpoint.py:")
    assert "secret" not in json.dumps(line) + answer["body"]


@pytest.mark.parametrize("event", [{}, {"httpMethod": "GET"}, {"httpMethod": "GET", "path": "/"}])
def test_malformed_event_gets_a_response(event: dict[str, object]) -> None:
    answer = Endpoint("thing", _echo, print)(event)
    assert answer["statusCode"] in {200, 500}


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "post", "BREW"])
def test_rfc9110_15_5_6_other_method_is_405_with_allow(method: str) -> None:
    log: list[str] = []
    endpoint = Endpoint("test", lambda *_: json_response(200, {}), log.append, ("POST", "PUSH"))
    answer = endpoint(proxy_event(method, "/x"))
    assert answer["statusCode"] == 405
    assert answer["headers"]["Allow"] == "POST, PUSH"
    assert json.loads(answer["body"])["error"] == "invalid_request"
    assert endpoint(proxy_event("POST", "/x"))["statusCode"] == 200


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
