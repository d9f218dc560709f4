"""Revocation: RFC 7009."""

import json
from concurrent.futures import ThreadPoolExecutor

import jwt
import pytest

from authorizer.state_table import revocation_key
from functions.shared.clients.client import TokenFormat, TokenProfile
from tests.support.aws import ISSUER
from tests.support.memory_server import MemoryServer, memory_server
from tests.support.proxy_events import basic, form_event
from tests.support.server import NOW, SECRET, client

OWNERS = ("seed", "api", "opaque")
INACTIVE = {"active": False}


def _server() -> MemoryServer:
    return memory_server(
        client("seed"),
        client("api", token_profile=TokenProfile.AT_JWT, audience=("https://api",)),
        client("opaque", token_format=TokenFormat.OPAQUE),
        client("unrelated", resource_scopes=frozenset({"country.read"})),
    )


def _token(server: MemoryServer, owner: str) -> str:
    return str(server.token(owner, {"scope": "country.read"})["access_token"])


@pytest.mark.parametrize("owner", OWNERS)
def test_rfc7009_2_2_revoked_token_is_inactive_at_once(owner: str) -> None:
    server = _server()
    before, token = _token(server, owner), _token(server, owner)
    assert server.introspect(owner, token)["active"] is True
    answer = server.revoke(owner, token)
    assert (answer["statusCode"], answer["body"]) == (200, "{}")
    assert answer["headers"]["Content-Type"] == "application/json"
    assert answer["headers"]["Cache-Control"] == "no-store"
    for caller in (owner, "unrelated"):
        assert server.introspect(caller, token) == INACTIVE
    for other in (before, _token(server, owner)):  # issued in the same second
        assert server.introspect(owner, other)["active"] is True


@pytest.mark.parametrize("owner", OWNERS)
def test_rfc7009_2_2_second_revocation_is_200(owner: str) -> None:
    server = _server()
    token = _token(server, owner)
    with ThreadPoolExecutor(2) as threads:
        answers = [*threads.map(lambda _: server.revoke(owner, token), range(2)), server.revoke(owner, token)]
    assert [answer["statusCode"] for answer in answers] == [200] * 3


@pytest.mark.parametrize("token", ["x", "gh_at_" + "x" * 43, "a.b.c", "ä", "x" * 9000])
def test_rfc7009_2_2_unknown_token_is_200(token: str) -> None:
    assert _server().revoke("seed", token)["statusCode"] == 200


@pytest.mark.parametrize("owner", OWNERS)
def test_rfc7009_2_2_expired_token_is_200_without_an_entry(owner: str) -> None:
    server = _server()
    token = _token(server, owner)
    server.clock.now = NOW + 14_400
    assert server.revoke(owner, token)["statusCode"] == 200
    assert not server.denied.until


@pytest.mark.parametrize("owner", OWNERS)
def test_rfc7009_2_1_other_clients_token_stays_valid(owner: str) -> None:
    server = _server()
    token = _token(server, owner)
    answer = server.revoke("unrelated", token)
    assert answer["statusCode"] == 400
    assert json.loads(answer["body"])["error"] == "unauthorized_client"
    assert server.introspect(owner, token)["active"] is True


@pytest.mark.parametrize("hint", ["access_token", "refresh_token", "nonsense"])
@pytest.mark.parametrize("owner", OWNERS)
def test_rfc7009_2_1_token_type_hint_is_only_a_hint(owner: str, hint: str) -> None:
    server = _server()
    token = _token(server, owner)
    assert server.revoke(owner, token, token_type_hint=hint)["statusCode"] == 200
    assert server.introspect(owner, token) == INACTIVE


def test_rfc7009_2_1_missing_token_is_an_invalid_request() -> None:
    event = form_event("/oauth2/revoke", {}, headers=basic("seed", SECRET))
    answer = _server().revocation_endpoint(event)
    assert json.loads(answer["body"])["error"] == "invalid_request"


def test_rfc7009_2_1_unauthenticated_client_revokes_nothing() -> None:
    server = _server()
    token = _token(server, "seed")
    event = form_event("/oauth2/revoke", {"token": token}, headers=basic("seed", "wrong"))
    assert server.revocation_endpoint(event)["statusCode"] == 401
    assert server.introspect("seed", token)["active"] is True


def test_revoked_jwt_is_listed_until_it_expires() -> None:
    server = _server()
    tokens = {owner: _token(server, owner) for owner in ("seed", "api")}
    names = {revocation_key(ISSUER, server.introspect(owner, token)["jti"], token) for owner, token in tokens.items()}
    for owner, token in tokens.items():
        server.revoke(owner, token)
    assert server.denied.until == dict.fromkeys(names, NOW + 14_400)


def test_opaque_token_is_deleted() -> None:
    server = _server()
    server.revoke("opaque", _token(server, "opaque"))
    assert not server.opaque.by_digest
    assert not server.denied.until


def test_token_without_jti_is_introspected_and_revoked() -> None:
    """Older versions issued such tokens; they are valid for up to a day."""
    server = _server()
    claims = jwt.decode(_token(server, "seed"), options={"verify_signature": False})
    del claims["jti"]
    token = server.signers.current(NOW, "RS256").sign(claims, None)
    shown = server.introspect("seed", token)
    assert (shown["active"], "jti" in shown) == (True, False)
    assert server.revoke("seed", token)["statusCode"] == 200
    assert server.introspect("seed", token) == INACTIVE
    assert server.denied.until == {revocation_key(ISSUER, None, token): NOW + 14_400}


def test_log_has_the_outcome_without_the_token() -> None:
    server = _server()
    token = _token(server, "seed")
    for revoked in (True, False):
        server.revoke("seed", token)
        assert json.loads(server.log[-1])["revoked"] is revoked
        assert token not in server.log[-1]
