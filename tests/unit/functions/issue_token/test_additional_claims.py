"""Additional claims (RFC 9068, 2.2.2) of tokens, through issuing, introspection and exchange."""

from typing import Any

import jwt
import pytest

from functions.issue_token.token_exchange import ACCESS_TOKEN
from functions.shared.clients.client import Client, TokenFormat, TokenProfile
from functions.shared.clients.supported import CLIENT_CREDENTIALS, TOKEN_EXCHANGE
from tests.support.memory_server import MemoryServer, memory_server
from tests.support.server import client

ORDERS, STOCK = "https://orders.example", "https://stock.example"
CLAIMS = {"tenant": "blue", "level": 1, "teams": ["a", {"b": None}], 'quoted"\\': "é\u2028</script>"}

FORMATS: dict[str, dict[str, Any]] = {
    "plain": {"token_profile": TokenProfile.PLAIN},
    "at+jwt": {"token_profile": TokenProfile.AT_JWT},
    "opaque": {"token_format": TokenFormat.OPAQUE},
}


def _server(caller: Client) -> MemoryServer:
    return memory_server(
        caller,
        client("reader", resource_audiences=frozenset({ORDERS, "caller", STOCK})),
        client(
            "orders",
            grant_types=frozenset({CLIENT_CREDENTIALS, TOKEN_EXCHANGE}),
            token_profile=TokenProfile.AT_JWT,
            resource_audiences=frozenset({ORDERS, "caller"}),
            allowed_resources=frozenset({STOCK}),
            exchange_subjects=frozenset({"caller"}),
            claims={"tenant": "of orders", "team": "orders"},
        ),
    )


def _decoded(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


@pytest.mark.parametrize("kind", FORMATS)
def test_token_has_the_claims_of_its_client(kind: str) -> None:
    """A request cannot add claims."""
    server = _server(client("caller", audience=(ORDERS,), claims=CLAIMS, **FORMATS[kind]))
    forged = {"tenant": "red", "claims": '{"access_token":{"role":null}}', "role": "admin"}
    token = server.token("caller", {"scope": "country.read", **forged})["access_token"]
    for seen in (server.introspect("reader", token), *([_decoded(token)] if kind != "opaque" else [])):
        assert {name: seen[name] for name in CLAIMS} == CLAIMS
        assert not {"claims", "role"} & seen.keys()


@pytest.mark.parametrize("kind", FORMATS)
def test_exchanged_token_has_the_claims_of_its_subject(kind: str) -> None:
    server = _server(client("caller", audience=(ORDERS,), claims={"tenant": "blue"}, **FORMATS[kind]))
    subject_token = server.token("caller", {"scope": "country.read"})["access_token"]
    exchange = {
        "grant_type": TOKEN_EXCHANGE,
        "subject_token": subject_token,
        "subject_token_type": ACCESS_TOKEN,
        "resource": STOCK,
    }
    token = server.token("orders", exchange | {"scope": "country.read"})["access_token"]
    claims = _decoded(token)
    assert (claims["sub"], claims["act"], claims["tenant"]) == ("caller", {"sub": "orders"}, "blue")
    assert "team" not in claims
    assert server.introspect("reader", token)["tenant"] == "blue"


def test_token_of_a_client_without_claims_has_none() -> None:
    server = _server(client("caller", audience=(ORDERS,), token_profile=TokenProfile.AT_JWT))
    token = server.token("caller", {"scope": "country.read"})["access_token"]
    assert set(_decoded(token)) == {"iss", "sub", "client_id", "aud", "iat", "nbf", "exp", "jti", "scope"}
