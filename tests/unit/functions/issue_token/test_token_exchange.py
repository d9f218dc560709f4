"""Token exchange: RFC 8693. A caller calls orders, and orders calls stock for it."""

import json
from dataclasses import replace
from typing import Any

import jwt
import pytest

from authorizer.jwk_thumbprint import thumbprint
from functions.issue_token.token_exchange import ACCESS_TOKEN, MAX_ACTORS
from functions.shared.clients.client import TokenFormat, TokenProfile
from functions.shared.clients.supported import CLIENT_CREDENTIALS, TOKEN_EXCHANGE
from tests.support.aws import ISSUER
from tests.support.dpop_proofs import proof, public_jwk
from tests.support.memory_server import MemoryServer, memory_server
from tests.support.server import NOW, client

ORDERS, STOCK, BILLS = "https://orders.example", "https://stock.example", "https://bills.example"
BOTH_GRANTS = frozenset({CLIENT_CREDENTIALS, TOKEN_EXCHANGE})


def _server(**orders: Any) -> MemoryServer:
    exchanging = {
        "grant_types": BOTH_GRANTS,
        "token_profile": TokenProfile.AT_JWT,
        "resource_audiences": frozenset({ORDERS}),
        "allowed_resources": frozenset({STOCK, BILLS}),
        "exchange_subjects": frozenset({"caller", "opaque-caller", "seed-caller"}),
        "scopes": frozenset({"country.read", "customer.read", "stock.read"}),
    }
    return memory_server(
        client("caller", token_profile=TokenProfile.AT_JWT, audience=(ORDERS,), token_lifetime=600),
        client("opaque-caller", token_format=TokenFormat.OPAQUE, audience=(ORDERS,)),
        client("seed-caller"),
        client("stranger", token_profile=TokenProfile.AT_JWT, audience=(ORDERS,)),
        client("orders", **{**exchanging, **orders}),
        client("plain"),
    )


def _exchange(token: str, **changes: str) -> dict[str, str]:
    request = {
        "grant_type": TOKEN_EXCHANGE,
        "subject_token": token,
        "subject_token_type": ACCESS_TOKEN,
        "resource": STOCK,
        "scope": "country.read",
        **changes,
    }
    return {name: value for name, value in request.items() if value}


def _subject_token(server: MemoryServer, caller: str = "caller") -> str:
    asked = {"scope": "country.read customer.read customer.write"}
    return str(server.token(caller, asked)["access_token"])


def _claims(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


def test_rfc8693_2_2_1_exchange_narrows_a_token() -> None:
    server = _server()
    answer = server.token("orders", _exchange(_subject_token(server)))
    claims = _claims(answer.pop("access_token"))
    assert answer == {
        "scope": "country.read",
        "token_type": "Bearer",
        "expires_in": 599,
        "issued_token_type": ACCESS_TOKEN,
    }
    assert claims.pop("jti")
    assert claims == {
        "iss": ISSUER,
        "sub": "caller",
        "client_id": "orders",
        "aud": STOCK,
        "iat": NOW,
        "nbf": NOW,
        "exp": NOW + 600,
        "scope": "country.read",
        "act": {"sub": "orders"},
    }


def test_rfc8693_2_1_opaque_token_is_exchanged() -> None:
    server = _server()
    token = _subject_token(server, "opaque-caller")
    claims = _claims(server.token("orders", _exchange(token))["access_token"])
    assert (claims["sub"], claims["client_id"]) == ("opaque-caller", "orders")


@pytest.mark.parametrize("party", ["caller", "orders"])
def test_disabled_actor_ends_exchanged_tokens(party: str) -> None:
    server = _server(token_profile=TokenProfile.AT_JWT)
    token = server.token("orders", _exchange(_subject_token(server)))["access_token"]
    assert server.introspect("orders", token)["active"] is True
    known = server.clients.find(party)
    assert known is not None
    server.clients.put(replace(known, disabled=True))
    onlooker = client("onlooker", resource_scopes=frozenset({"country.read"}))
    server.clients.put(onlooker)
    assert server.introspect("onlooker", token) == {"active": False}


def test_rfc8693_4_1_introspection_shows_the_actor() -> None:
    server = _server(token_format=TokenFormat.OPAQUE)
    token = server.token("orders", _exchange(_subject_token(server)))["access_token"]
    shown = server.introspect("orders", token)
    assert (shown["sub"], shown["client_id"]) == ("caller", "orders")
    assert shown["act"] == {"sub": "orders"}


def test_rfc8693_4_1_earlier_actors_are_nested() -> None:
    server = _server()
    stock = client(
        "stock",
        grant_types=BOTH_GRANTS,
        token_profile=TokenProfile.AT_JWT,
        resource_audiences=frozenset({STOCK}),
        allowed_resources=frozenset({BILLS}),
        exchange_subjects=frozenset({"orders"}),
    )
    server.clients.put(stock)
    first = server.token("orders", _exchange(_subject_token(server)))["access_token"]
    second = server.token("stock", _exchange(first, resource=BILLS))["access_token"]
    claims = _claims(second)
    assert claims["sub"] == "caller"
    assert claims["act"] == {"sub": "stock", "act": {"sub": "orders"}}
    assert claims["aud"] == BILLS


def _refusal(server: MemoryServer, parameters: dict[str, str], **rest: Any) -> str:
    return server.refusal("orders", parameters, **rest)


BAD_REQUESTS = {
    "no subject_token": {"subject_token": ""},
    "no subject_token_type": {"subject_token_type": ""},
    "another subject_token_type": {"subject_token_type": "urn:ietf:params:oauth:token-type:saml2"},
    "another requested_token_type": {"requested_token_type": "urn:ietf:params:oauth:token-type:refresh_token"},
    "an actor_token": {"actor_token": "x", "actor_token_type": ACCESS_TOKEN},
    "an unknown token": {"subject_token": "gh_at_" + "x" * 43},
    "no token at all": {"subject_token": "x"},
}


@pytest.mark.parametrize("changes", BAD_REQUESTS.values(), ids=BAD_REQUESTS)
def test_rfc8693_2_2_2_other_tokens_are_invalid_request(changes: dict[str, str]) -> None:
    server = _server()
    request = _exchange(_subject_token(server), **changes)
    assert _refusal(server, request) == "invalid_request"


def test_rfc8693_2_2_2_expired_token_is_invalid_request() -> None:
    server = _server()
    token = _subject_token(server)
    server.clock.now = NOW + 600
    assert _refusal(server, _exchange(token)) == "invalid_request"


@pytest.mark.parametrize("caller", ["caller", "opaque-caller"])
def test_rfc7009_2_revoked_subject_token_is_an_invalid_request(caller: str) -> None:
    server = _server()
    token = _subject_token(server, caller)
    assert server.revoke(caller, token)["statusCode"] == 200
    assert _refusal(server, _exchange(token)) == "invalid_request"


def test_rfc8693_2_2_2_other_clients_token_is_rejected() -> None:
    server = _server()
    assert _refusal(server, _exchange(_subject_token(server, "stranger"))) == "invalid_request"
    assert "subject's client" in json.loads(server.log[-1])["reason"]


def test_rfc8693_2_2_2_other_apis_token_is_rejected() -> None:
    server = _server(resource_audiences=frozenset({"https://elsewhere.example"}))
    answer = server.ask("orders", _exchange(_subject_token(server)))
    assert json.loads(answer["body"])["error_description"] == "The subject token is not acceptable."
    assert "not meant" in json.loads(server.log[-1])["reason"]


def test_plain_token_is_for_the_owner_of_its_scope() -> None:
    server = _server(resource_scopes=frozenset({"customer.read"}))
    token = _subject_token(server, "seed-caller")
    assert _claims(server.token("orders", _exchange(token))["access_token"])["sub"] == "seed-caller"


def test_rfc8693_2_2_2_client_needs_the_grant_type() -> None:
    server = _server()
    assert server.refusal("plain", _exchange(_subject_token(server))) == "unauthorized_client"


@pytest.mark.parametrize("scope", ["stock.read", "customer.write", "country.read stock.read", "x"])
def test_rfc8693_2_2_2_scopes_only_shrink(scope: str) -> None:
    server = _server()
    assert _refusal(server, _exchange(_subject_token(server), scope=scope)) == "invalid_scope"


def test_rfc8693_2_1_default_scopes_are_narrowed() -> None:
    server = _server(default_scopes=("stock.read", "country.read"))
    answer = server.token("orders", _exchange(_subject_token(server), scope=""))
    assert answer["scope"] == "country.read"


@pytest.mark.parametrize(
    "changes",
    [
        {"resource": "https://elsewhere.example"},
        {"resource": "", "audience": "elsewhere"},
        {"audience": BILLS},
        {"resource": ""},
    ],
    ids=["unknown", "unknown name", "two", "none and no default"],
)
def test_rfc8693_2_2_2_forbidden_target_is_invalid_target(changes: dict[str, str]) -> None:
    server = _server()
    assert _refusal(server, _exchange(_subject_token(server), **changes)) == "invalid_target"


def test_rfc8693_2_1_audience_may_name_the_target() -> None:
    server = _server(audience=("stock",))
    request = _exchange(_subject_token(server), resource="", audience="stock")
    assert _claims(server.token("orders", request)["access_token"])["aud"] == "stock"


@pytest.mark.parametrize(("own", "left"), [(60, 60), (86_400, 100)])
def test_rfc8693_6_new_token_ends_with_the_subject_token(own: int, left: int) -> None:
    server = _server(token_lifetime=own)
    token = _subject_token(server)
    server.clock.now = NOW + 500
    claims = _claims(server.token("orders", _exchange(token))["access_token"])
    assert claims["exp"] == NOW + 500 + left


def test_rfc9449_6_bound_token_needs_a_proof_to_exchange() -> None:
    server = _server()
    asked = {"scope": "country.read"}
    token = server.token("caller", asked, headers={"DPoP": proof()})["access_token"]
    request = _exchange(token)
    assert _refusal(server, request) == "invalid_request"
    other = {"DPoP": proof(number=2)}
    assert _refusal(server, request, headers=other) == "invalid_request"
    answer = server.token("orders", request, headers={"DPoP": proof()})
    assert answer["token_type"] == "DPoP"
    assert _claims(answer["access_token"])["cnf"] == {"jkt": thumbprint(public_jwk())}


def test_client_acts_once_in_a_chain() -> None:
    known = frozenset({"caller", "orders"})
    server = _server(exchange_subjects=known, resource_audiences=frozenset({ORDERS, STOCK}))
    token = server.token("orders", _exchange(_subject_token(server)))["access_token"]
    assert _refusal(server, _exchange(token, resource=BILLS)) == "invalid_request"
    assert "chain already" in json.loads(server.log[-1])["reason"]


def test_chain_length_is_limited() -> None:
    server = _server()
    names = [f"service-{number}" for number in range(MAX_ACTORS + 1)]
    for before, name in zip(["caller", *names], names, strict=False):
        service = client(
            name,
            grant_types=BOTH_GRANTS,
            token_profile=TokenProfile.AT_JWT,
            resource_audiences=frozenset({ORDERS}),
            allowed_resources=frozenset({ORDERS}),
            exchange_subjects=frozenset({before}),
        )
        server.clients.put(service)
    token = _subject_token(server)
    for name in names[:-1]:
        token = server.token(name, _exchange(token, resource=ORDERS))["access_token"]
    assert server.refusal(names[-1], _exchange(token, resource=ORDERS)) == "invalid_request"
    assert "too long" in json.loads(server.log[-1])["reason"]


def test_log_has_subject_and_actors_without_tokens() -> None:
    server = _server()
    token = _subject_token(server)
    answer = server.token("orders", _exchange(token))
    line = json.loads(server.log[-1])
    assert (line["client_id"], line["subject"], line["actor"]) == ("orders", "caller", {"sub": "orders"})
    assert token not in server.log[-1]
    assert answer["access_token"] not in server.log[-1]


def test_client_with_plain_jwts_cannot_exchange() -> None:
    with pytest.raises(ValueError, match="separate client and subject"):
        client(grant_types=BOTH_GRANTS)
