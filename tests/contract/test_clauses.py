"""Clauses that no other test is named after. docs/standards.md lists them all."""

import json
from typing import Any

import jwt
import pytest

from authorizer import base64url
from authorizer.jwk import parse_key
from authorizer.jws import ALGORITHMS
from functions.shared.clients.client import TokenFormat, TokenProfile
from functions.shared.clients.supported import CLIENT_CREDENTIALS, TOKEN_EXCHANGE
from tests.support.memory_server import MemoryServer, memory_server
from tests.support.server import client

API = "https://api.example"
NEXT = "https://next.example"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"


def _server() -> MemoryServer:
    at_jwt: dict[str, Any] = {"token_profile": TokenProfile.AT_JWT, "audience": (API,)}
    return memory_server(
        client("seed"),
        client("at-jwt", **at_jwt),
        client("opaque", token_format=TokenFormat.OPAQUE),
        client(
            "service",
            grant_types=frozenset({CLIENT_CREDENTIALS, TOKEN_EXCHANGE}),
            resource_audiences=frozenset({API}),
            exchange_subjects=frozenset({"at-jwt"}),
            token_profile=TokenProfile.AT_JWT,
            audience=(NEXT,),
        ),
    )


@pytest.mark.parametrize("client_id", ["seed", "at-jwt", "opaque"])
def test_rfc6749_4_4_3_no_refresh_token_is_issued(client_id: str) -> None:
    assert "refresh_token" not in _server().token(client_id)


def test_rfc8693_2_2_1_exchange_issues_no_refresh_token() -> None:
    server = _server()
    answer = server.token(
        "service",
        {
            "grant_type": TOKEN_EXCHANGE,
            "subject_token": server.token("at-jwt")["access_token"],
            "subject_token_type": ACCESS_TOKEN,
        },
    )
    assert "refresh_token" not in answer
    assert answer["issued_token_type"] == ACCESS_TOKEN
    assert answer["token_type"] == "Bearer"


@pytest.mark.parametrize("client_id", ["seed", "at-jwt", "opaque"])
def test_rfc6749_5_1_response_is_uncacheable_json(client_id: str) -> None:
    answer = _server().ask(client_id, {"scope": "country.read"})
    assert answer["headers"]["Content-Type"] == "application/json"
    assert answer["headers"]["Cache-Control"] == "no-store"
    assert answer["headers"]["Pragma"] == "no-cache"
    members = json.loads(answer["body"])
    assert {name: type(value) for name, value in members.items()} == {
        "access_token": str,
        "scope": str,
        "token_type": str,
        "expires_in": int,
    }


@pytest.mark.parametrize(
    "grant_type", ["password", "authorization_code", "implicit", "refresh_token", "CLIENT_CREDENTIALS"]
)
def test_rfc9700_2_4_interactive_grants_are_unknown(grant_type: str) -> None:
    parameters = {"grant_type": grant_type, "username": "u", "password": "p", "code": "c"}
    assert _server().refusal("seed", parameters) == "unsupported_grant_type"


@pytest.mark.parametrize("client_id", ["seed", "at-jwt", "opaque"])
def test_rfc7662_2_2_members_have_their_types(client_id: str) -> None:
    server = _server()
    token = server.token(client_id, {"scope": "country.read customer.read"})["access_token"]
    shown = server.introspect(client_id, token)
    assert shown["active"] is True
    assert shown["scope"] == "country.read customer.read"
    texts = ("client_id", "token_type", "sub", "aud", "iss")
    assert [type(shown[name]) for name in texts] == [str] * len(texts)
    times = ("exp", "iat", "nbf")
    assert [type(shown[name]) for name in times] == [int] * len(times)


@pytest.mark.parametrize("client_id", ["seed", "at-jwt"])
def test_rfc9068_2_1_signature_is_asymmetric(client_id: str) -> None:
    header = jwt.get_unverified_header(_server().token(client_id)["access_token"])
    assert header["alg"] == "RS256"


# The examples of RFC 7515, A.2 and A.3, and RFC 8037, A.4: key, signed text, signature.
_CLAIMS = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
EXAMPLES: dict[str, tuple[dict[str, str], str, str]] = {
    "RS256": (
        {
            "kty": "RSA",
            "e": "AQAB",
            "n": (
                "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJ"
                "PMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0"
                "LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uD"
                "Zlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2"
                "PAcDTW9gb54h4FRWyuXpoQ"
            ),
        },
        f"eyJhbGciOiJSUzI1NiJ9.{_CLAIMS}",
        (
            "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W"
            "2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkS"
            "jtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnv"
            "Wh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"
        ),
    ),
    "ES256": (
        {
            "kty": "EC",
            "crv": "P-256",
            "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        },
        f"eyJhbGciOiJFUzI1NiJ9.{_CLAIMS}",
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
    ),
    "EdDSA": (
        {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
        "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc",
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
    ),
}


@pytest.mark.parametrize("alg", EXAMPLES)
def test_rfc7515_appendix_a_the_examples_verify(alg: str) -> None:
    jwk, signed, signature = EXAMPLES[alg]
    key = parse_key({**jwk, "kid": "example", "alg": alg}, ALGORITHMS)
    key.verify(base64url.decode(signature.encode()), signed.encode())
