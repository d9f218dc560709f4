"""The protected resource's metadata: RFC 9728, 2 and 3."""

import json
from typing import Any

import pytest

from authorizer.jws import PROOF_ALGORITHMS
from functions.publish_resource_metadata.handler import MAX_AGE, Settings, build
from functions.shared.lambda_function import MissingSettingsError
from functions.shared.web.endpoint import ProxyResponse
from tests.support.aws import ISSUER
from tests.support.proxy_events import proxy_event

PATH = "/.well-known/oauth-protected-resource"
DOMAIN = "abcdef1234.execute-api.eu-west-1.amazonaws.com"


def _get(
    method: str = "GET",
    path: str = PATH,
    domain: str = DOMAIN,
    stage: str = "ms-system",
    headers: dict[str, str] | None = None,
    **settings: str,
) -> ProxyResponse:
    event = proxy_event(method, path, headers=headers)
    event["requestContext"] |= {"domainName": domain, "stage": stage}
    return build(Settings(ISSUER, **settings), emit=lambda _: None)(event)


def _document(**rest: Any) -> dict[str, Any]:
    members: dict[str, Any] = json.loads(_get(**rest)["body"])
    return members


def test_rfc9728_2_document_has_issuer_and_scopes() -> None:
    assert _document() == {
        "resource": f"https://{DOMAIN}/ms-system",
        "authorization_servers": [ISSUER],
        "scopes_supported": ["country.read", "customer.read", "customer.write"],
        "bearer_methods_supported": ["header"],
    }


def test_rfc9728_3_every_address_has_the_same_document() -> None:
    assert _get(path=f"{PATH}/ms-system") == _get()


def _forwarded(scheme: str, port: str) -> dict[str, str]:
    return {"X-Forwarded-Proto": scheme, "X-Forwarded-Port": port}


@pytest.mark.parametrize(
    ("request_", "resource"),
    [
        ({"domain": "localhost", "headers": _forwarded("https", "443")}, "https://localhost/ms-system"),
        ({"domain": "localhost", "headers": _forwarded("http", "80")}, "http://localhost/ms-system"),
        ({"domain": "localhost", "headers": _forwarded("http", "8091")}, "http://localhost:8091/ms-system"),
        ({"stage": "$default"}, f"https://{DOMAIN}"),
        ({"resource": "https://api.example.com/v1/"}, "https://api.example.com/v1"),
    ],
    ids=["https", "http", "a port", "the default stage", "configured"],
)
def test_resource_is_the_address_of_the_stage_unless_configured(request_: dict[str, Any], resource: str) -> None:
    assert _document(**request_)["resource"] == resource


ALB_CONTEXT = {"elb": {"targetGroupArn": "arn:aws:elasticloadbalancing:eu-west-1:1:targetgroup/a/b"}}


@pytest.mark.parametrize("context", [ALB_CONTEXT, {"domainName": "", "stage": ""}, {}, None], ids=str)
def test_event_without_a_domain_name_is_rejected(context: dict[str, Any] | None) -> None:
    event = proxy_event("GET", PATH, headers={"X-Forwarded-Proto": "https"})
    event["requestContext"] = context
    lines: list[str] = []
    response = build(Settings(ISSUER), emit=lines.append)(event)
    assert response["statusCode"] == 500
    assert json.loads(response["body"])["error"] == "server_error"
    assert "set RESOURCE" in json.loads(lines[0])["reason"]
    known = build(Settings(ISSUER, resource="https://api.example.com"), emit=lines.append)(event)
    assert json.loads(known["body"])["resource"] == "https://api.example.com"


def test_rfc9728_2_accepted_proofs_are_listed() -> None:
    members = _document(proof_of_possession="dpop,mtls")
    assert members["dpop_signing_alg_values_supported"] == sorted(PROOF_ALGORITHMS)
    assert members["tls_client_certificate_bound_access_tokens"] is True


def test_document_is_public_and_cacheable() -> None:
    headers = _get()["headers"]
    assert headers["Content-Type"] == "application/json"
    assert headers["Cache-Control"] == f"public, max-age={MAX_AGE}"
    assert headers["Access-Control-Allow-Origin"] == "*"


def test_another_method_is_405() -> None:
    assert _get("POST")["statusCode"] == 405


def test_issuer_is_required() -> None:
    assert Settings.from_env({"ISSUER": ISSUER}) == Settings(ISSUER)
    with pytest.raises(MissingSettingsError, match="ISSUER"):
        Settings.from_env({})
