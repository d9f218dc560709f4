"""Resource indicators at the token endpoint: RFC 8707."""

import json
from typing import Any

import jwt
import pytest

from functions.shared.clients.client import TokenFormat, TokenProfile
from tests.support.memory_server import MemoryServer, memory_server
from tests.support.server import client

ORDERS, STOCK, OTHER = "https://orders.example/api", "urn:example:stock", "https://other.example"


def _server() -> MemoryServer:
    resources = frozenset({ORDERS, STOCK})
    return memory_server(
        client("plain"),
        client("seed", allowed_resources=resources),
        client(
            "api", token_profile=TokenProfile.AT_JWT, audience=("https://default.example",), allowed_resources=resources
        ),
        client("choosy", token_profile=TokenProfile.AT_JWT, allowed_resources=resources),
        client("opaque", token_format=TokenFormat.OPAQUE, allowed_resources=resources),
    )


def _audience(answer: dict[str, Any]) -> Any:
    return jwt.decode(answer["access_token"], options={"verify_signature": False})["aud"]


@pytest.mark.parametrize("client_id", ["seed", "api", "choosy"])
@pytest.mark.parametrize("resource", [ORDERS, STOCK])
def test_rfc8707_2_2_resource_is_the_tokens_audience(client_id: str, resource: str) -> None:
    """Named twice, it is one resource."""
    for times in (1, 2):
        assert _audience(_server().token(client_id, times * [("resource", resource)])) == resource


def test_rfc8707_2_2_resource_is_an_opaque_tokens_audience() -> None:
    server = _server()
    token = server.token("opaque", {"resource": ORDERS})["access_token"]
    assert server.introspect("opaque", token)["aud"] == ORDERS


def test_rfc9068_3_default_resource_is_the_audience() -> None:
    for named in ({}, {"resource": ""}, {"resource": "https://default.example"}):
        assert _audience(_server().token("api", named)) == "https://default.example"
    assert _audience(_server().token("seed")) == "seed"


@pytest.mark.parametrize("client_id", ["plain", "seed", "api", "choosy", "opaque"])
def test_rfc8707_2_unknown_resource_is_invalid_target(client_id: str) -> None:
    assert _server().refusal(client_id, {"resource": OTHER}) == "invalid_target"


@pytest.mark.parametrize(
    "resource",
    [
        *("orders", "/api", "//orders.example/api", "https:", "a b:c", "1a:b", "https://ö.example", "https://a/%zz"),
        *(f"{ORDERS}#part", f"{ORDERS}#", f"{ORDERS}\n", f"https://a/{'a' * 512}"),
    ],
)
def test_rfc8707_2_malformed_resource_is_invalid_target(resource: str) -> None:
    server = _server()
    assert server.refusal("api", {"resource": resource}) == "invalid_target"
    assert resource not in server.log[-1]


@pytest.mark.parametrize("close", [f"{ORDERS}/", ORDERS.upper(), ORDERS[:-1], f"{ORDERS}?a=b"])
def test_rfc8707_2_resource_is_compared_exactly(close: str) -> None:
    assert _server().refusal("api", {"resource": close}) == "invalid_target"


def test_rfc8707_2_several_resources_are_invalid_target() -> None:
    server = _server()
    answer = server.post("api", [("resource", ORDERS), ("resource", STOCK)])
    assert json.loads(answer["body"]) == {
        "error": "invalid_target",
        "error_description": "A token is for one resource: ask for one at a time.",
    }


def test_rfc8707_2_client_without_default_must_name_one() -> None:
    assert _server().refusal("choosy") == "invalid_target"


def test_invalid_resource_cannot_be_registered() -> None:
    with pytest.raises(ValueError, match="absolute URI"):
        client(allowed_resources=frozenset({"orders"}))
