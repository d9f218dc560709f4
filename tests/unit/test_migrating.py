"""The settings of docs/migrating.md work."""

from typing import Any

import pytest

from infra.build import ROOT
from infra.cloudformation import parse
from tests.support.authorizer_sandbox import Sandbox
from tests.support.doc_blocks import blocks
from tests.support.policies import allows
from tests.support.tokens import METHOD_ARN, NOW, at_jwt_claims, mint, rest_event

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


@pytest.fixture
def authorizer() -> Sandbox:
    """The authorizer as the page configures it."""
    (text,) = (block.text for block in blocks(ROOT / "docs" / "migrating.md") if block.kind == "yaml")
    return Sandbox(**parse(text)["Environment"]["Variables"])


@pytest.mark.parametrize(("claims", "typ"), [(COGNITOS, None), (OURS, "at+jwt")], ids=["Cognito's", "ours"])
def test_tokens_of_both_issuers_are_valid(authorizer: Sandbox, claims: dict[str, Any], typ: str | None) -> None:
    policy = authorizer.decide(rest_event(mint(claims, typ=typ)))["policyDocument"]
    assert allows(policy, METHOD_ARN)
    keys = {COGNITO: f"{COGNITO}/.well-known/jwks.json", GATEHOUSE: f"{GATEHOUSE}/oauth2/jwks"}
    assert [request.url for request in authorizer.requests] == [keys[claims["iss"]]]


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        (COGNITOS | {"token_use": "id"}, "id_token"),
        (COGNITOS | {"client_id": "another", "sub": "another"}, "client_id_not_allowed"),
        (OURS | {"aud": "https://customer.example"}, "aud_other"),
        (COGNITOS | {"iss": f"{COGNITO}2"}, "iss_unknown"),
    ],
)
def test_other_tokens_are_rejected(authorizer: Sandbox, claims: dict[str, Any], reason: str) -> None:
    typ = "at+jwt" if claims["iss"] == GATEHOUSE else None
    assert authorizer.refusal(rest_event(mint(claims, typ=typ))) == reason
