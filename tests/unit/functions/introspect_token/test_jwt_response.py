"""Introspection responses as JWTs: RFC 9701."""

from typing import Any

import jwt
import pytest

from authorizer.errors import InvalidTokenError, Reason
from authorizer.jws import parse
from authorizer.verifier import header_rules
from functions.shared.clients.client import TokenProfile
from functions.shared.web.endpoint import INTROSPECTION_PATH
from tests.support.aws import ISSUER
from tests.support.memory_server import MemoryServer, memory_server
from tests.support.proxy_events import basic, form_event
from tests.support.server import NOW, SECRET, client, key, ring

MEDIA_TYPE = "application/token-introspection+jwt"


def _server() -> MemoryServer:
    return memory_server(
        client("api", token_profile=TokenProfile.AT_JWT, audience=("https://api",)), client("unrelated")
    )


def _introspect(server: MemoryServer, caller: str, accept: str | list[str]) -> Any:
    token = server.token("api", {"scope": "country.read"})["access_token"]
    headers = {**basic(caller, SECRET), "Accept": accept}
    event = form_event(INTROSPECTION_PATH, {"token": token}, headers=headers)
    return server.introspection_endpoint(event)


def _claims(answer: Any, audience: str) -> dict[str, Any]:
    (jwk,) = ring().key_set(NOW)["keys"]
    claims: dict[str, Any] = jwt.decode(
        answer["body"],
        jwt.PyJWK(jwk),
        algorithms=["RS256"],
        audience=audience,
        issuer=ISSUER,
        options={"verify_iat": False},
    )
    return claims


def test_rfc9701_5_response_is_a_jwt_for_its_caller() -> None:
    answer = _introspect(_server(), "api", MEDIA_TYPE)
    assert answer["headers"]["Content-Type"] == MEDIA_TYPE
    assert answer["headers"]["Cache-Control"] == "no-store"
    header = jwt.get_unverified_header(answer["body"])
    assert header == {"typ": "token-introspection+jwt", "alg": "RS256", "kid": key().kid}
    claims = _claims(answer, "api")
    assert claims.keys() == {"iss", "aud", "iat", "token_introspection"}
    assert claims["iat"] == NOW
    assert claims["token_introspection"]["active"] is True
    assert claims["token_introspection"]["scope"] == "country.read"


def test_rfc9701_5_invisible_token_is_inactive() -> None:
    claims = _claims(_introspect(_server(), "unrelated", MEDIA_TYPE), "unrelated")
    assert claims["token_introspection"] == {"active": False}


def test_rfc9701_8_1_response_is_not_an_access_token() -> None:
    answer = _introspect(_server(), "api", MEDIA_TYPE)
    rules = header_rules(frozenset(("RS256",)), require_at_jwt=False)
    with pytest.raises(InvalidTokenError, match=Reason.TYP_NOT_ALLOWED):
        parse(answer["body"], rules)


@pytest.mark.parametrize(
    "accept",
    [
        MEDIA_TYPE.upper(),
        f"application/json;q=0.5, {MEDIA_TYPE}",
        f"{MEDIA_TYPE};q=0.1",
        ["application/json", MEDIA_TYPE],
    ],
)
def test_rfc9701_4_accept_requests_a_jwt(accept: str | list[str]) -> None:
    assert _introspect(_server(), "api", accept)["headers"]["Content-Type"] == MEDIA_TYPE


@pytest.mark.parametrize(
    "accept",
    [
        *("", "*/*", "application/*", "application/json", "application/jwt"),
        *(f"{MEDIA_TYPE};q=0", f"{MEDIA_TYPE}; Q = 0.000", f"{MEDIA_TYPE}x"),
    ],
)
def test_rfc7662_2_2_default_response_is_json(accept: str) -> None:
    assert _introspect(_server(), "api", accept)["headers"]["Content-Type"] == "application/json"
