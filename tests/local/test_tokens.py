"""Bound, exchanged, introspected and revoked tokens over real HTTP."""

import http.client
import json
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import jwt
import pytest

from authorizer.jwk_thumbprint import thumbprint
from functions.shared.clients.supported import TOKEN_EXCHANGE
from local.demo_clients import COUNTRY_API, CUSTOMER_API
from tests.support.dpop_proofs import proof, public_jwk
from tests.support.laptop import Laptop
from tests.support.proxy_events import FORM, basic

ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def members(self) -> dict[str, Any]:
        members: dict[str, Any] = json.loads(self.body)
        return members


def _send(port: int, method: str, path: str, headers: dict[str, str] | None = None, body: str | None = None) -> Answer:
    connection = http.client.HTTPConnection("localhost", port, timeout=30)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())
    finally:
        connection.close()


class AuthServer:
    """The running authorization server, as its demo clients use it."""

    def __init__(self, laptop: Laptop) -> None:
        self.port = laptop.addresses.auth_port
        self.api_port = laptop.addresses.api_port
        self.issuer = laptop.addresses.issuer

    def get(self, path: str, method: str = "GET", **headers: str) -> Answer:
        return _send(self.port, method, path, headers)

    def post(self, path: str, client_id: str, parameters: dict[str, str], **headers: str) -> Answer:
        sent = {"Content-Type": FORM, **basic(client_id, f"{client_id}-secret"), **headers}
        return _send(self.port, "POST", f"/ms-auth-server{path}", sent, urlencode(parameters))

    def ask(self, client_id: str, parameters: dict[str, str], **headers: str) -> Answer:
        request = {"grant_type": "client_credentials", **parameters}
        return self.post("/oauth2/token", client_id, request, **headers)

    def token(self, client_id: str, **parameters: str) -> str:
        return str(self.ask(client_id, parameters).members["access_token"])

    def introspect(self, client_id: str, token: str) -> dict[str, Any]:
        return self.post("/oauth2/introspect", client_id, {"token": token}).members

    def proof(self, **claims: Any) -> str:
        return proof(now=time.time(), htu=f"{self.issuer}/oauth2/token", **claims)

    def country(self, token: str) -> Answer:
        headers = {"Authorization": f"Bearer {token}"}
        return _send(self.api_port, "GET", "/ms-system/country/code/AUS", headers)


@pytest.fixture(scope="module")
def server(laptop: Laptop) -> AuthServer:
    return AuthServer(laptop)


def _claims(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


def test_rfc9449_11_1_concurrent_proofs_are_accepted_once(server: AuthServer) -> None:
    once = {"DPoP": server.proof()}
    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(lambda _: server.ask("service-client-jwt", {}, **once), range(100)))
    assert Counter(answer.status for answer in answers) == {200: 1, 400: 99}
    refusals = {answer.members["error"] for answer in answers if answer.status == 400}
    assert refusals == {"invalid_dpop_proof"}


def test_rfc9449_8_nonce_is_required(server: AuthServer) -> None:
    refused = server.ask("service-client-dpop", {}, DPoP=server.proof())
    assert refused.members["error"] == "use_dpop_nonce"
    nonce = refused.headers["DPoP-Nonce"]
    granted = server.ask("service-client-dpop", {}, DPoP=server.proof(nonce=nonce))
    assert granted.members["token_type"] == "DPoP"
    assert _claims(granted.members["access_token"])["cnf"] == {"jkt": thumbprint(public_jwk())}


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
    assert server.country(exchanged).members == {"code": "AUS", "name": "AUSTRALIA"}


@pytest.mark.parametrize("client_id", ["service-client-jwt", "service-client-api", "service-client-opaque"])
def test_rfc7009_2_concurrent_revocations_succeed(server: AuthServer, client_id: str) -> None:
    token = server.token(client_id, scope="country.read customer.read")
    assert server.introspect(client_id, token)["active"] is True
    with ThreadPoolExecutor(2) as threads:
        answers = list(threads.map(lambda _: server.post("/oauth2/revoke", client_id, {"token": token}), range(2)))
    assert [(answer.status, answer.body) for answer in answers] == [(200, b"{}")] * 2
    assert server.introspect(client_id, token) == {"active": False}


def test_rfc9701_4_signed_introspection(server: AuthServer) -> None:
    token = server.token("service-client-api")
    media_type = "application/token-introspection+jwt"
    answer = server.post("/oauth2/introspect", "service-client-api", {"token": token}, Accept=media_type)
    assert answer.headers["Content-Type"] == media_type
    keys = jwt.PyJWKSet.from_json(server.get("/ms-auth-server/oauth2/jwks").body.decode())
    kid = jwt.get_unverified_header(answer.body.decode())["kid"]
    claims = jwt.decode(answer.body, keys[kid], algorithms=["RS256"], audience="service-client-api")
    assert claims["token_introspection"]["client_id"] == "service-client-api"


METADATA = [
    f"{prefix}/.well-known/{document}{suffix}"
    for prefix, suffix in (("/ms-auth-server", ""), ("", "/ms-auth-server"))
    for document in ("oauth-authorization-server", "openid-configuration")
]


@pytest.mark.parametrize("path", METADATA)
def test_rfc8414_3_metadata_locations(server: AuthServer, path: str) -> None:
    answer = server.get(path)
    assert answer.status == 200
    assert answer.members["issuer"] == server.issuer
    known = server.get(path, **{"If-None-Match": answer.headers["ETag"]})
    assert (known.status, known.body) == (304, b"")


@pytest.mark.parametrize("path", ["/ms-auth-server/oauth2/jwks", *METADATA])
def test_rfc9110_9_3_head_and_options(server: AuthServer, path: str) -> None:
    get, head, options = (server.get(path, method) for method in ("GET", "HEAD", "OPTIONS"))
    assert (head.status, head.body) == (200, b"")
    assert head.headers["ETag"] == get.headers["ETag"]
    assert head.headers["Content-Length"] == str(len(get.body))
    assert options.status == 204
    assert options.headers["Access-Control-Allow-Origin"] == "*"
    refused = server.get(path, "POST")
    assert (refused.status, refused.headers["Allow"]) == (405, "GET, HEAD, OPTIONS")


@pytest.mark.parametrize("endpoint", ["token", "introspect", "revoke"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT"])
def test_rfc6749_3_2_other_method_is_405(server: AuthServer, endpoint: str, method: str) -> None:
    answer = server.get(f"/ms-auth-server/oauth2/{endpoint}", method)
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")
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
    assert (answer.status, answer.members) == (404, {"message": "Not Found"})
