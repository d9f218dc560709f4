"""How the parts are put together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from authorizer.composition import build, fetch_jwks
from authorizer.errors import Unauthorized
from authorizer.https_client import ExchangeFailed, Request, Response
from authorizer.scope_map import ScopeMapError
from authorizer.settings import Settings
from tests.support.policies import allows
from tests.support.tokens import (
    ISSUER,
    NOW,
    STAGE_ARN,
    forge_claims,
    jwks,
    mint,
    rest_event,
    rsa_jwk,
)

if TYPE_CHECKING:
    from pathlib import Path

    from authorizer.gate import Gate


def _down(_request: Request) -> Response:
    raise ExchangeFailed("down")


def _build(**environ: str) -> Gate:
    settings = Settings.from_env({"ISSUER": ISSUER} | environ)
    return build(settings, clock=lambda: NOW, monotonic=lambda: 0, send=_down, emit=lambda _: None)


def test_a_seeded_authorizer_works_while_its_issuer_is_down(tmp_path: Path) -> None:
    seed = tmp_path / "jwks.json"
    seed.write_bytes(jwks(rsa_jwk()))
    assert _build(JWKS_SEED=str(seed)).decide(rest_event(mint()), 1)


def test_another_scope_map_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "jwks.json").write_bytes(jwks(rsa_jwk()))
    scope_map = tmp_path / "map.json"
    scope_map.write_text('{"thing.read": ["GET /thing"]}')
    gate = _build(JWKS_SEED=str(tmp_path / "jwks.json"), SCOPE_MAP=str(scope_map))
    answer = gate.decide(rest_event(forge_claims(scope="thing.read")), 1)
    document = answer["policyDocument"]
    assert isinstance(document, dict)
    assert allows(document, f"{STAGE_ARN}/GET/thing")


def test_a_scope_map_in_doubt_stops_the_authorizer_from_starting(tmp_path: Path) -> None:
    scope_map = tmp_path / "map.json"
    scope_map.write_text('{"thing.read": ["ANY /thing"]}')
    with pytest.raises(ScopeMapError):
        _build(SCOPE_MAP=str(scope_map))


def test_a_secret_arn_alone_is_enough_for_introspection() -> None:
    gate = _build(
        INTROSPECTION_URI=f"{ISSUER}/oauth2/introspect",
        INTROSPECTION_SECRET_ARN="arn:aws:secretsmanager:eu-west-1:123456789012:secret:x",
    )
    with pytest.raises(Unauthorized):
        gate.decide({"type": "REQUEST"}, 1)


def test_an_etag_makes_the_request_conditional() -> None:
    requests: list[Request] = []

    def send(request: Request) -> Response:
        requests.append(request)
        return Response(304, {}, b"")

    fetch_jwks(send, f"{ISSUER}/oauth2/jwks", None, 1)
    fetch_jwks(send, f"{ISSUER}/oauth2/jwks", '"v1"', 1)
    assert "If-None-Match" not in requests[0].headers
    assert requests[1].headers["If-None-Match"] == '"v1"'
