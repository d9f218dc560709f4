import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.shared.clients.client import TokenFormat
from tests.support.memory_server import memory_server
from tests.support.proxy_events import basic, form_event, token_event
from tests.support.server import NOW, SECRET, client

SERVER = memory_server(
    client("jwt", default_scopes=("country.read",), token_lifetime=600),
    client("opaque", token_format=TokenFormat.OPAQUE),
)
ENDPOINT = SERVER.token_endpoint


def _granted(client_id: str = "jwt", **parameters: str) -> dict[str, Any]:
    request = {"grant_type": "client_credentials", **parameters}
    answer = ENDPOINT(token_event(request, headers=basic(client_id, SECRET)))
    assert answer["statusCode"] == 200
    members: dict[str, Any] = json.loads(answer["body"])
    return members


def test_response_names_default_scopes() -> None:
    assert _granted()["scope"] == "country.read"


def test_response_without_scopes_has_no_scope() -> None:
    assert _granted("opaque").keys() == {"access_token", "token_type", "expires_in"}


def test_lifetime_comes_from_the_client() -> None:
    assert _granted()["expires_in"] == 599


def test_client_selects_the_token_format() -> None:
    assert _granted("jwt")["access_token"].count(".") == 2
    assert SERVER.opaque.find(_granted("opaque")["access_token"], NOW)


def test_unknown_parameters_are_ignored() -> None:
    assert _granted(resource_owner="someone")["token_type"] == "Bearer"


def test_every_token_is_new() -> None:
    assert _granted("opaque")["access_token"] != _granted("opaque")["access_token"]


@given(st.text(max_size=200), st.sampled_from([{}, basic("jwt", SECRET), basic("x", "y")]))
def test_no_body_breaks_the_endpoint(body: str, headers: dict[str, str]) -> None:
    answer = ENDPOINT(form_event("/oauth2/token", body, headers=headers))
    assert answer["statusCode"] in {200, 400, 401}
    assert "error" in json.loads(answer["body"])


@given(
    st.dictionaries(
        st.sampled_from(["Authorization", "Content-Type", "X"]), st.lists(st.text(max_size=50), min_size=1, max_size=3)
    )
)
def test_no_header_breaks_the_endpoint(headers: dict[str, list[str]]) -> None:
    event = form_event("/oauth2/token", "grant_type=client_credentials", headers=headers)
    assert ENDPOINT(event)["statusCode"] in {400, 401}


@pytest.mark.parametrize("credentials", [basic("jwt", SECRET), basic("absent", SECRET), {}])
def test_authentication_is_checked_first(credentials: dict[str, str]) -> None:
    answer = ENDPOINT(token_event({"grant_type": "password"}, headers=credentials))
    expected = 400 if credentials == basic("jwt", SECRET) else 401
    assert answer["statusCode"] == expected
