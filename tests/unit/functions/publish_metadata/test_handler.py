"""The metadata document: RFC 8414, 2 and 3.2, and OpenID Connect Discovery 1.0, 3."""

import json

import pytest

from functions.publish_metadata.handler import MAX_AGE, Settings, build
from functions.shared.web.endpoint import ProxyResponse
from tests.support.aws import ISSUER
from tests.support.proxy_events import proxy_event

LOG: list[str] = []
ENDPOINT = build(Settings(ISSUER), emit=LOG.append)
PATHS = [
    f"/.well-known/{document}{issuer_path}"
    for document in ("oauth-authorization-server", "openid-configuration")
    for issuer_path in ("", "/ms-auth-server")
]


def _get(path: str = PATHS[0], method: str = "GET") -> ProxyResponse:
    return ENDPOINT(proxy_event(method, path))


@pytest.mark.parametrize("path", PATHS)
def test_rfc8414_3_2_every_address_has_the_same_document(path: str) -> None:
    assert _get(path) == _get()


def test_rfc8414_2_required_members_exist() -> None:
    """OpenID Connect Discovery, 3, requires some of them. An authorization endpoint would add response types."""
    document = json.loads(_get()["body"])
    assert (document["issuer"], document["response_types_supported"]) == (ISSUER, [])
    assert {"token_endpoint", "jwks_uri", "subject_types_supported"} <= document.keys()
    assert "RS256" in document["id_token_signing_alg_values_supported"]
    assert None not in document.values()


def test_rfc8705_5_mtls_aliases_are_listed() -> None:
    assert "mtls_endpoint_aliases" not in json.loads(_get()["body"])
    behind = build(Settings(ISSUER, "https://mtls.example/auth/"), emit=LOG.append)
    document = json.loads(behind(proxy_event("GET", PATHS[0]))["body"])
    assert document["mtls_endpoint_aliases"] == {
        "token_endpoint": "https://mtls.example/auth/oauth2/token",
        "introspection_endpoint": "https://mtls.example/auth/oauth2/introspect",
        "revocation_endpoint": "https://mtls.example/auth/oauth2/revoke",
    }
    assert document["issuer"] == ISSUER
    assert document["token_endpoint"] == f"{ISSUER}/oauth2/token"


def test_spiffe_client_auth_4_methods_are_listed() -> None:
    document = json.loads(_get()["body"])
    for endpoint in ("token", "introspection", "revocation"):
        assert {"spiffe_jwt", "spiffe_x509"} <= set(document[f"{endpoint}_endpoint_auth_methods_supported"])


def test_document_is_public_and_cacheable() -> None:
    headers = _get()["headers"]
    assert headers["Content-Type"] == "application/json"
    assert headers["Cache-Control"] == f"public, max-age={MAX_AGE}"
    assert headers["Access-Control-Allow-Origin"] == "*"


def test_another_method_is_405() -> None:
    answer = _get(method="POST")
    assert (answer["statusCode"], answer["headers"]["Allow"]) == (405, "GET, HEAD, OPTIONS")
