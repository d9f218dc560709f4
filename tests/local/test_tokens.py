"""Bound, exchanged, introspected and revoked tokens over real HTTP."""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jwt
import pytest
import requests

from authorizer.jwk_thumbprint import thumbprint
from functions.shared.clients.supported import TOKEN_EXCHANGE
from local.demo_clients import COUNTRY_API, CUSTOMER_API
from tests.support.dpop_proofs import proof, public_jwk
from tests.support.laptop import Laptop

ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"


class AuthServer:
    """The running authorization server, as its demo clients use it."""

    def __init__(self, laptop: Laptop) -> None:
        self.origin = laptop.addresses.origin("auth_server")
        self.api = laptop.addresses.guarded_api
        self.issuer = laptop.addresses.issuer

    def get(self, path: str, method: str = "GET", **headers: str) -> requests.Response:
        return requests.request(method, f"{self.origin}{path}", headers=headers, timeout=30)

    def post(self, path: str, client_id: str, parameters: dict[str, str], **headers: str) -> requests.Response:
        credentials = (client_id, f"{client_id}-secret")
        return requests.post(f"{self.issuer}{path}", parameters, auth=credentials, headers=headers, timeout=30)

    def request_token(self, client_id: str, parameters: dict[str, str], **headers: str) -> requests.Response:
        request = {"grant_type": "client_credentials", **parameters}
        return self.post("/oauth2/token", client_id, request, **headers)

    def token(self, client_id: str, **parameters: str) -> str:
        return str(self.request_token(client_id, parameters).json()["access_token"])

    def introspect(self, client_id: str, token: str) -> dict[str, Any]:
        shown: dict[str, Any] = self.post("/oauth2/introspect", client_id, {"token": token}).json()
        return shown

    def proof(self, **claims: Any) -> str:
        return proof(now=time.time(), htu=f"{self.issuer}/oauth2/token", **claims)

    def country(self, token: str) -> requests.Response:
        headers = {"Authorization": f"Bearer {token}"}
        return requests.get(f"{self.api}/country/code/AUS", headers=headers, timeout=30)


@pytest.fixture(scope="module")
def server(laptop: Laptop) -> AuthServer:
    return AuthServer(laptop)


def _claims(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


def test_rfc9449_11_1_concurrent_proofs_are_accepted_once(server: AuthServer) -> None:
    once = {"DPoP": server.proof()}
    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(lambda _: server.request_token("service-client-jwt", {}, **once), range(100)))
    assert Counter(answer.status_code for answer in answers) == {200: 1, 400: 99}
    refusals = {answer.json()["error"] for answer in answers if answer.status_code == 400}
    assert refusals == {"invalid_dpop_proof"}


def test_rfc9449_8_nonce_is_required(server: AuthServer) -> None:
    refused = server.request_token("service-client-dpop", {}, DPoP=server.proof())
    assert refused.json()["error"] == "use_dpop_nonce"
    nonce = refused.headers["DPoP-Nonce"]
    granted = server.request_token("service-client-dpop", {}, DPoP=server.proof(nonce=nonce))
    assert granted.json()["token_type"] == "DPoP"
    assert _claims(granted.json()["access_token"])["cnf"] == {"jkt": thumbprint(public_jwk())}


def test_rfc8693_2_delegation(server: AuthServer) -> None:
    received = server.token("service-client-api", resource=CUSTOMER_API, scope="country.read customer.read")
    exchanged = server.token(
        "customer-service",
        grant_type=TOKEN_EXCHANGE,
        subject_token=received,
        subject_token_type=ACCESS_TOKEN,
        resource=COUNTRY_API,
        scope="country.read",
    )
    claims = _claims(exchanged)
    assert (claims["sub"], claims["aud"]) == ("service-client-api", COUNTRY_API)
    assert claims["act"] == {"sub": "customer-service"}
    assert server.country(exchanged).json() == {"code": "AUS", "name": "AUSTRALIA"}


@pytest.mark.parametrize("client_id", ["service-client-jwt", "service-client-api", "service-client-opaque"])
def test_rfc7009_2_concurrent_revocations_succeed(server: AuthServer, client_id: str) -> None:
    token = server.token(client_id, scope="country.read customer.read")
    assert server.introspect(client_id, token)["active"] is True
    with ThreadPoolExecutor(2) as threads:
        answers = list(threads.map(lambda _: server.post("/oauth2/revoke", client_id, {"token": token}), range(2)))
    assert [(answer.status_code, answer.content) for answer in answers] == [(200, b"{}")] * 2
    assert server.introspect(client_id, token) == {"active": False}


def test_rfc9701_4_signed_introspection(server: AuthServer) -> None:
    token = server.token("service-client-api")
    media_type = "application/token-introspection+jwt"
    answer = server.post("/oauth2/introspect", "service-client-api", {"token": token}, Accept=media_type)
    assert answer.headers["Content-Type"] == media_type
    keys = jwt.PyJWKSet.from_json(server.get("/ms-auth-server/oauth2/jwks").text)
    kid = jwt.get_unverified_header(answer.text)["kid"]
    claims = jwt.decode(answer.text, keys[kid], algorithms=["RS256"], audience="service-client-api")
    assert claims["token_introspection"]["client_id"] == "service-client-api"


METADATA = [
    f"{prefix}/.well-known/{document}{suffix}"
    for prefix, suffix in (("/ms-auth-server", ""), ("", "/ms-auth-server"))
    for document in ("oauth-authorization-server", "openid-configuration")
]


@pytest.mark.parametrize("path", METADATA)
def test_rfc8414_3_metadata_locations(server: AuthServer, path: str) -> None:
    answer = server.get(path)
    assert answer.status_code == 200
    assert answer.json()["issuer"] == server.issuer
    known = server.get(path, **{"If-None-Match": answer.headers["ETag"]})
    assert (known.status_code, known.content) == (304, b"")


@pytest.mark.parametrize("path", ["/ms-auth-server/oauth2/jwks", *METADATA])
def test_rfc9110_9_3_head_and_options(server: AuthServer, path: str) -> None:
    get, head, options = (server.get(path, method) for method in ("GET", "HEAD", "OPTIONS"))
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["ETag"] == get.headers["ETag"]
    assert head.headers["Content-Length"] == str(len(get.content))
    assert options.status_code == 204
    assert options.headers["Access-Control-Allow-Origin"] == "*"
    refused = server.get(path, "POST")
    assert (refused.status_code, refused.headers["Allow"]) == (405, "GET, HEAD, OPTIONS")


@pytest.mark.parametrize("endpoint", ["token", "introspect", "revoke"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT"])
def test_rfc6749_3_2_other_method_is_405(server: AuthServer, endpoint: str, method: str) -> None:
    answer = server.get(f"/ms-auth-server/oauth2/{endpoint}", method)
    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")
    assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize(
    "path",
    [
        "/ms-auth-server/oauth2",
        "/ms-auth-server/oauth2/tokens",
        "/oauth2/token",
        "/",
        "/.well-known/oauth-authorization-server",
        "/.well-known/jwks.json",
    ],
)
def test_unknown_path_is_404_json(server: AuthServer, path: str) -> None:
    answer = server.get(path)
    assert (answer.status_code, answer.json()) == (404, {"message": "Not Found"})
