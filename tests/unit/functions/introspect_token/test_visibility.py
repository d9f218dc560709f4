from collections.abc import Collection
from dataclasses import replace
from typing import Any

import pytest

from functions.introspect_token.handler import visible_part
from functions.shared.tokens.opaque_tokens import ActiveToken
from tests.support.server import NOW, client

TOKEN = ActiveToken(
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


def test_client_sees_its_whole_token() -> None:
    assert visible_part(TOKEN, _caller("service", "country.read")) == TOKEN


def test_audience_sees_the_whole_token() -> None:
    assert visible_part(TOKEN, _caller("https://api")) == TOKEN


@pytest.mark.parametrize(
    ("owned", "shown"),
    [
        (("country.read",), ("country.read",)),
        (("customer.read", "country.read"), ("country.read", "customer.read")),
        (("country.read", "unrelated"), ("country.read",)),
    ],
)
def test_resource_server_sees_only_its_scopes(owned: Collection[str], shown: tuple[str, ...]) -> None:
    assert visible_part(TOKEN, _caller("api", *owned)) == replace(TOKEN, scopes=shown)


@pytest.mark.parametrize("owned", [(), ("unrelated",), ("country",), ("country.read2",)])
def test_other_callers_see_nothing(owned: Collection[str]) -> None:
    assert visible_part(TOKEN, _caller("unrelated", *owned)) is None


def test_resource_audiences_count_as_audience() -> None:
    caller = client("orders", resource_audiences=frozenset({"https://api"}))
    assert visible_part(TOKEN, caller) == TOKEN


def test_allowed_scope_is_not_an_owned_scope() -> None:
    assert visible_part(TOKEN, client("unrelated")) is None
