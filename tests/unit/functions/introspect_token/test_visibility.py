from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from functions.introspect_token.visibility import visible_part
from functions.shared.tokens.known_tokens import KnownToken
from tests.support.server import NOW, client

if TYPE_CHECKING:
    from collections.abc import Collection

TOKEN = KnownToken(
    client_id="service",
    subject="service",
    scopes=("country.read", "customer.read"),
    audience=("https://api",),
    issuer="https://issuer",
    issued_at=NOW,
    expires_at=NOW + 600,
    not_before=NOW,
)


def _caller(client_id: str, *owned: str, **changes: Any) -> Any:
    return client(client_id, resource_scopes=frozenset(owned), **changes)


def test_a_client_sees_its_own_token_whole() -> None:
    assert visible_part(TOKEN, _caller("service", "country.read")) == TOKEN


def test_an_api_in_the_audience_sees_the_token_whole() -> None:
    assert visible_part(TOKEN, _caller("https://api")) == TOKEN


@pytest.mark.parametrize(
    ("owned", "shown"),
    [
        (("country.read",), ("country.read",)),
        (("customer.read", "country.read"), ("country.read", "customer.read")),
        (("country.read", "unrelated"), ("country.read",)),
    ],
)
def test_a_resource_server_sees_its_own_scopes_alone(
    owned: Collection[str], shown: tuple[str, ...]
) -> None:
    assert visible_part(TOKEN, _caller("api", *owned)) == replace(TOKEN, scopes=shown)


@pytest.mark.parametrize("owned", [(), ("unrelated",), ("country",), ("country.read2",)])
def test_anyone_else_sees_nothing(owned: Collection[str]) -> None:
    assert visible_part(TOKEN, _caller("stranger", *owned)) is None


def test_an_api_is_known_by_the_audiences_that_it_answers_to_as_well() -> None:
    caller = client("orders", resource_audiences=frozenset({"https://api"}))
    assert visible_part(TOKEN, caller) == TOKEN


def test_being_allowed_to_ask_for_a_scope_is_not_owning_it() -> None:
    assert visible_part(TOKEN, client("stranger")) is None
