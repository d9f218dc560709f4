"""The settings of docs/migrating.md work."""

import json
from typing import Any

import pytest

from authorizer.app import build
from authorizer.errors import Unauthorized
from authorizer.https_client import Request, Response
from authorizer.settings import Settings
from infra.cloudformation import parse
from infra.reference import ROOT
from tests.support.authorizer_events import decide
from tests.support.doc_blocks import blocks
from tests.support.policies import allows
from tests.support.tokens import METHOD_ARN, NOW, at_jwt_claims, jwks, mint, rest_event, rsa_jwk

CLIENT = "4example0billing0client0id"
COGNITO = "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_EXAMPLE"
GATEHOUSE = "https://auth.example.com/ms-auth-server"
COGNITOS: dict[str, Any] = {
    "sub": CLIENT,
    "token_use": "access",
    "scope": "country.read",
    "auth_time": NOW,
    "iss": COGNITO,
    "exp": NOW + 3600,
    "iat": NOW,
    "version": 2,
    "jti": "2c1b7a3e-0d5f-4c55-9d5e-1c5f8f7a2b11",
    "client_id": CLIENT,
}
OURS = at_jwt_claims() | {"iss": GATEHOUSE, "aud": "https://country.example"}


class BothIssuers:
    """The authorizer as the page sets it up, and what it fetches."""

    def __init__(self) -> None:
        (text,) = (block.text for block in blocks(ROOT / "docs" / "migrating.md") if block.kind == "yaml")
        self.lines: list[str] = []
        self.fetched: list[str] = []
        self._gate = build(
            Settings.from_env(parse(text)["Environment"]["Variables"]),
            clock=lambda: NOW,
            monotonic=lambda: 0,
            send=self._send,
            emit=self.lines.append,
        )

    def _send(self, request: Request) -> Response:
        self.fetched.append(request.url)
        return Response(200, {}, jwks(rsa_jwk()))

    def policy(self, token: str) -> dict[str, Any]:
        document = decide(self._gate, rest_event(token), 1)["policyDocument"]
        assert isinstance(document, dict)
        return document


@pytest.mark.parametrize(("claims", "typ"), [(COGNITOS, None), (OURS, "at+jwt")], ids=["Cognito's", "ours"])
def test_both_issuers_tokens_are_good(claims: dict[str, Any], typ: str | None) -> None:
    authorizer = BothIssuers()
    assert allows(authorizer.policy(mint(claims, typ=typ)), METHOD_ARN)
    keys = {COGNITO: f"{COGNITO}/.well-known/jwks.json", GATEHOUSE: f"{GATEHOUSE}/oauth2/jwks"}
    assert authorizer.fetched == [keys[claims["iss"]]]


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        (COGNITOS | {"token_use": "id"}, "id_token"),
        (COGNITOS | {"client_id": "another", "sub": "another"}, "client_id_not_allowed"),
        (OURS | {"aud": "https://customer.example"}, "aud_other"),
        (COGNITOS | {"iss": f"{COGNITO}2"}, "iss_unknown"),
    ],
)
def test_other_tokens_are_refused(claims: dict[str, Any], reason: str) -> None:
    authorizer = BothIssuers()
    with pytest.raises(Unauthorized):
        authorizer.policy(mint(claims, typ="at+jwt" if claims["iss"] == GATEHOUSE else None))
    assert json.loads(authorizer.lines[-1])["reason"] == reason
