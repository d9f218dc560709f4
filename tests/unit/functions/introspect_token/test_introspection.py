import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from functions.shared.clients.client import Client
from functions.shared.tokens.opaque_tokens import ActiveToken
from functions.shared.web.endpoint import ProxyResponse
from tests.support.memory_server import memory_server
from tests.support.proxy_events import basic, form_event
from tests.support.server import NOW, SECRET, client

SCOPES = "country.read customer.read"
MEANING = ActiveToken(
    client_id="service",
    subject="service",
    scopes=("country.read", "customer.read"),
    audience=("service",),
    issuer="https://issuer",
    issued_at=NOW,
    not_before=NOW,
    expires_at=NOW + 600,
)
TOKEN = "gh_at_" + "t" * 43
BARE = "gh_at_" + "b" * 43
INACTIVE = {"active": False}


KNOWN = (
    client("service"),
    client("unrelated"),
    client("api", resource_scopes=frozenset({"country.read"})),
    client("orders", resource_audiences=frozenset({"service"})),
)


class Server:
    def __init__(self, *known: Client) -> None:
        self.server = memory_server(*(known or KNOWN))
        self.clients, self.tokens = self.server.clients, self.server.opaque
        self.clock, self.log = self.server.clock, self.server.log
        self.tokens.put(TOKEN, MEANING)

    def post(self, parameters: dict[str, str], headers: Mapping[str, str | Sequence[str]]) -> ProxyResponse:
        event = form_event("/oauth2/introspect", parameters, headers=headers)
        return self.server.introspection_endpoint(event)

    def introspect(self, caller: str, token: str = TOKEN, **more: str) -> Any:
        answer = self.post({"token": token, **more}, basic(caller, SECRET))
        assert answer["statusCode"] == 200
        assert answer["headers"]["Cache-Control"] == "no-store"
        return json.loads(answer["body"])


def test_client_sees_its_whole_token() -> None:
    assert Server().introspect("service") == {
        "active": True,
        "scope": "country.read customer.read",
        "client_id": "service",
        "token_type": "Bearer",
        "exp": NOW + 600,
        "iat": NOW,
        "nbf": NOW,
        "sub": "service",
        "aud": "service",
        "iss": "https://issuer",
    }


@pytest.mark.parametrize(
    ("owned", "shown"),
    [
        ({"country.read"}, "country.read"),
        ({"customer.read", "country.read"}, SCOPES),
        ({"country.read", "unrelated"}, "country.read"),
        (set(), None),
        ({"unrelated"}, None),
        ({"country"}, None),
        ({"country.read2"}, None),
    ],
)
def test_resource_server_gets_only_its_scopes(owned: set[str], shown: str | None) -> None:
    """A scope that it may request is not a scope of its own."""
    server = Server(client("service"), client("api", resource_scopes=frozenset(owned)))
    whole = server.introspect("service")
    assert server.introspect("api") == (whole | {"scope": shown} if shown else INACTIVE)


def test_resource_audience_sees_the_whole_token() -> None:
    server = Server()
    assert server.introspect("orders") == server.introspect("service")


def test_token_without_scopes_has_no_scope_member() -> None:
    server = Server()
    bare = replace(MEANING, scopes=(), audience=("a", "b"))
    server.tokens.put(BARE, bare)
    answer = server.introspect("service", BARE)
    assert "scope" not in answer
    assert answer["aud"] == ["a", "b"]


@pytest.mark.parametrize("token", ["gh_at_" + "u" * 43, "gh_at_", "ä", "a.b.c", "x" * 9000])
def test_unknown_token_is_only_inactive(token: str) -> None:
    assert Server().introspect("service", token) == INACTIVE


def test_invisible_token_is_inactive() -> None:
    assert Server().introspect("unrelated") == INACTIVE


@pytest.mark.parametrize(("age", "active"), [(599.9, True), (600, False), (601, False)])
def test_token_is_inactive_at_its_expiry(age: float, *, active: bool) -> None:
    server = Server()
    server.clock.now += age
    assert server.introspect("service")["active"] is active


def test_tokens_of_a_disabled_or_deleted_client_are_inactive() -> None:
    server = Server()
    server.clients.put(client("service", disabled=True))
    assert server.introspect("api") == INACTIVE
    assert Server(client("api", resource_scopes=frozenset({"country.read"}))).introspect("api") == INACTIVE


@pytest.mark.parametrize("hint", ["access_token", "refresh_token", "nonsense"])
def test_token_type_hint_is_only_a_hint(hint: str) -> None:
    assert Server().introspect("service", token_type_hint=hint)["active"] is True


def test_missing_token_is_an_invalid_request() -> None:
    answer = Server().post({}, basic("service", SECRET))
    assert answer["statusCode"] == 400
    assert json.loads(answer["body"])["error"] == "invalid_request"


def test_unauthenticated_caller_learns_nothing() -> None:
    answer = Server().post({"token": TOKEN}, basic("service", "wrong"))
    assert answer["statusCode"] == 401
    assert answer["headers"]["WWW-Authenticate"].startswith("Basic")


@pytest.mark.parametrize("caller", ["service", "api", "unrelated"])
def test_log_has_caller_and_client_without_token(caller: str) -> None:
    server = Server()
    server.introspect(caller)
    (line,) = server.log
    assert json.loads(line)["client_id"] == caller
    assert json.loads(line)["active"] is (caller != "unrelated")
    assert TOKEN not in line
    assert SECRET not in line
