"""The authorization endpoint: RFC 6749, 3.1 and 4.1.2.1."""

import json

import pytest

from functions.publish_metadata.handler import Settings, build
from functions.shared.web.endpoint import ProxyResponse
from tests.support.aws import ISSUER
from tests.support.proxy_events import proxy_event

ADDRESS = f"{ISSUER}/oauth2/authorize"
METADATA = "/.well-known/oauth-authorization-server"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
CODE_REQUEST = {
    "response_type": "code",
    "client_id": "service",
    "redirect_uri": "https://evil.example/<script>",
    "state": "<script>alert(1)</script>",
}
LOG: list[str] = []
ENDPOINT = build(Settings(ISSUER, authorization_endpoint=ADDRESS), emit=LOG.append)


def _authorize(
    parameters: dict[str, str], method: str = "GET", path: str = "/oauth2/authorize", **headers: str
) -> ProxyResponse:
    return ENDPOINT(proxy_event(method, path, headers=headers) | {"queryStringParameters": parameters})


@pytest.mark.parametrize("configured", [ADDRESS, ""])
def test_rfc8414_2_endpoint_is_listed_if_configured(configured: str) -> None:
    publish = build(Settings(ISSUER, authorization_endpoint=configured), emit=LOG.append)
    document = json.loads(publish(proxy_event("GET", METADATA))["body"])
    assert document.get("authorization_endpoint", "") == configured
    assert document["response_types_supported"] == []


@pytest.mark.parametrize("path", ["/oauth2/authorize", "/ms-auth-server/oauth2/authorize"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("accept", ["application/json", "application/json;q=0.9, text/plain", BROWSER, "*/*", ""])
@pytest.mark.parametrize(
    "parameters", [CODE_REQUEST, {"response_type": "none"}, {}], ids=["code", "none", "no parameters"]
)
def test_rfc6749_4_1_2_1_every_request_is_an_unsupported_response_type(
    parameters: dict[str, str], accept: str, method: str, path: str
) -> None:
    answer = _authorize(parameters, method, path, Accept=accept)
    assert answer["statusCode"] == 400
    headers = answer["headers"]
    if "json" in accept:
        assert headers["Content-Type"] == "application/json"
        assert json.loads(answer["body"])["error"] == "unsupported_response_type"
    else:
        assert headers["Content-Type"] == "text/html; charset=utf-8"
        assert "<h1>unsupported_response_type</h1>" in answer["body"]
    assert headers["Cache-Control"] == "no-store"
    assert headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert json.loads(LOG[-1])["outcome"] == "unsupported_response_type"


@pytest.mark.parametrize("accept", ["application/json", BROWSER])
def test_rfc9700_4_11_2_redirection_uri_is_ignored(accept: str) -> None:
    answer = _authorize(CODE_REQUEST, Accept=accept)
    assert answer == _authorize({}, Accept=accept)
    assert "Location" not in answer["headers"]
    assert "evil" not in LOG[-2]


@pytest.mark.parametrize("method", ["OPTIONS", "POST", "PUT", "DELETE"])
def test_rfc9700_2_6_preflight_is_405(method: str) -> None:
    answer = _authorize(CODE_REQUEST, method, Origin="https://evil.example")
    assert (answer["statusCode"], answer["headers"]["Allow"]) == (405, "GET, HEAD")
    assert [name for name in answer["headers"] if name.startswith("Access-Control")] == []
