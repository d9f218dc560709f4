"""The scope map."""

import json
from pathlib import Path

import pytest

import authorizer
from authorizer.routes import parse_route
from authorizer.scope_map import ScopeMapError, parse_api_rules, parse_scope_map

SHIPPED = Path(authorizer.__file__).parent / "scopes.json"


def test_keys_are_alternatives_and_scopes_are_joint() -> None:
    scope_map = parse_scope_map(b'{"a":["GET /x","GET /y"],"b":["GET /x"],"a b":["POST /x"],"c":[]}')

    def opened(*scopes: str) -> list[str]:
        return [route.pattern() for route in scope_map.routes_for(frozenset(scopes))]

    assert opened() == []
    assert opened("c", "unknown") == []
    assert opened("a") == ["GET/x", "GET/y"]
    assert opened("b") == ["GET/x"]
    assert opened("a", "b") == ["GET/x", "GET/y", "POST/x"]


def test_shipped_map_opens_countries_to_readers() -> None:
    scope_map = parse_scope_map(SHIPPED.read_bytes())
    assert scope_map.routes_for(frozenset({"country.read"})) == [
        parse_route("GET /country"),
        parse_route("GET /country/code/{code}"),
    ]
    assert scope_map.routes_for(frozenset({"customer.read", "customer.write"})) == []


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (b"", "not a JSON object"),
        (b"[]", "not a JSON object"),
        (b'{"a":[],"a":[]}', "not a JSON object"),
        (b'{"a":"GET /x"}', "the routes of 'a' are not a list"),
        (b'{"a":[1]}', "a route of 'a' is not a string"),
        (b'{"a":["ANY /x"]}', "'a': not METHOD /path: 'ANY /x'"),
        (b'{"a":["GET /*"]}', "'a': not a path segment"),
        (b'{"":[]}', "not scopes"),
        (b'{"a  b":[]}', "not scopes"),
        (b'{" a":[]}', "not scopes"),
        (json.dumps({"\u00e9": []}).encode(), "not scopes"),
        (b'{"*":["GET /x"]}', "not scopes"),
        (b'{"a *":["GET /x"]}', "not scopes"),
        (b'{"a\\"b":["GET /x"]}', "not scopes"),
        (json.dumps({"a": ["GET /x"] * 5001}).encode(), "more than 5000"),
    ],
)
def test_invalid_map_is_rejected_with_its_entry(raw: bytes, fault: str) -> None:
    with pytest.raises(ScopeMapError, match=fault):
        parse_scope_map(raw)


@pytest.mark.parametrize(
    ("audience", "audiences"),
    [
        ({"audience": "*"}, set()),
        ({"audience": "https://orders.example"}, {"https://orders.example"}),
        ({"audience": ["orders", "old-orders"]}, {"orders", "old-orders"}),
    ],
)
def test_rules_are_a_scope_map_and_audiences(audience: dict[str, object], audiences: set[str]) -> None:
    rules = parse_api_rules(json.dumps({"scopes": {"a": ["GET /x"]}, **audience}).encode())
    assert rules.audiences == audiences
    assert rules.scope_map.routes_for(frozenset({"a"})) == [parse_route("GET /x")]


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (b"", "the API's rules are not a JSON object"),
        (b'"scopes"', "the API's rules are not a JSON object: not_object"),
        (b'{"scopes":{},"scopes":{}}', "not a JSON object: duplicate_member"),
        (b"{}", "there is no scope map in scopes"),
        (b'{"scopes":{}}', 'there is no audience; .* write "audience": "[*]"'),
        (b'{"scopes":{},"audience":["*"]}', "not part of a list"),
        (b'{"scopes":{},"audience":["x","*"]}', "not part of a list"),
        (b'{"a":["GET /x"]}', "members other than audience, scopes"),
        (b'{"scopes":{},"audiences":["x"]}', "members other than audience, scopes"),
        (b'{"scopes":["GET /x"]}', "there is no scope map in scopes"),
        (b'{"scopes":{"a":["GET /*"]}}', "'a': not a path segment"),
        (b'{"scopes":{},"audience":null}', "neither a text nor a list of texts"),
        (b'{"scopes":{},"audience":[]}', "neither a text nor a list of texts"),
        (b'{"scopes":{},"audience":{}}', "neither a text nor a list of texts"),
        (b'{"scopes":{},"audience":""}', "neither a text nor a list of texts"),
        (b'{"scopes":{},"audience":["x",1]}', "neither a text nor a list of texts"),
    ],
)
def test_invalid_rules_are_rejected_with_the_fault(raw: bytes, fault: str) -> None:
    with pytest.raises(ScopeMapError, match=fault):
        parse_api_rules(raw)
