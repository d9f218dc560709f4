import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from moto import mock_aws

from authorizer import https_client
from authorizer.access_tokens import AccessTokenError, AccessTokens
from authorizer.app import build
from authorizer.clock import Deadline
from authorizer.errors import Unauthorized
from authorizer.event import AuthorizerEvent
from authorizer.settings import Settings
from authorizer.testing import FAULTS, MemoryIssuer, ProofKey
from tests.support.tokens import rest_event

ISSUER = "https://issuer.test/tenant"
AUDIENCE = "https://api.test"


@pytest.fixture(scope="module")
def issuer() -> Iterator[MemoryIssuer]:
    issuer = MemoryIssuer(ISSUER, AUDIENCE)
    with issuer.serving():
        yield issuer


def access_tokens(**options: Any) -> AccessTokens:
    return AccessTokens(**{"issuer": ISSUER, "audience": AUDIENCE} | options)


def test_each_fault_has_its_reason(issuer: MemoryIssuer) -> None:
    tokens = access_tokens(require_at_jwt=True)
    for fault, reason in FAULTS.items():
        with pytest.raises(AccessTokenError) as raised:
            tokens.verify(issuer.access_token(fault=fault))
        assert (raised.value.reason, raised.value.status) == (reason, 401)


def test_tokens_of_a_later_issuer_with_the_same_url_are_valid() -> None:
    tokens = access_tokens()
    for _ in range(2):
        later = MemoryIssuer(ISSUER, AUDIENCE)
        with later.serving():
            assert tokens.verify(later.access_token()).client_id == "test-client"


def test_unknown_fault_is_named(issuer: MemoryIssuer) -> None:
    with pytest.raises(ValueError, match="fault is not one of expired"):
        issuer.access_token(fault="late")


def test_claims_are_added_replaced_and_removed(issuer: MemoryIssuer) -> None:
    token = access_tokens().verify(issuer.access_token("a b", sub="other", client_id="billing"), "a", "b")
    assert (token.subject, token.client_id) == ("other", "billing")
    with pytest.raises(AccessTokenError, match="iat_missing"):
        access_tokens().verify(issuer.access_token(iat=None))


@pytest.mark.parametrize("jwks_uri", [None, "discover"])
def test_key_set_is_found_by_default_and_by_discovery(issuer: MemoryIssuer, jwks_uri: str | None) -> None:
    assert access_tokens(jwks_uri=jwks_uri, jwks_soft_age=61).verify(issuer.access_token())
    assert asyncio.run(access_tokens(jwks_uri=jwks_uri, jwks_soft_age=62).verify_async(issuer.access_token()))


def test_opaque_token_is_active_until_it_is_unknown(issuer: MemoryIssuer) -> None:
    tokens = access_tokens(
        introspection_uri=f"{ISSUER}/oauth2/introspect",
        introspection_client_id="api",
        introspection_client_secret="secret",
    )
    assert tokens.verify(issuer.opaque_token("orders.read"), "orders.read").client_id == "test-client"
    for token in ("unknown", issuer.opaque_token(active=False)):
        with pytest.raises(AccessTokenError, match="token_inactive"):
            tokens.verify(token)


def test_proof_key_signs_proofs_of_its_tokens(issuer: MemoryIssuer) -> None:
    key, url = ProofKey(), f"{AUDIENCE}/orders"
    tokens = access_tokens(proof_of_possession=["dpop"], replays_in_memory=True, resource=AUDIENCE)

    def event(headers: dict[str, str]) -> dict[str, object]:
        return {"httpMethod": "GET", "path": "/orders", "headers": headers, "requestContext": {"elb": {}}}

    token = issuer.access_token(key=key)
    assert tokens.verify(event(key.headers("GET", url, token))).confirmation
    with pytest.raises(AccessTokenError, match="jkt_other"):
        tokens.verify(event(ProofKey().headers("GET", url, token)))
    with pytest.raises(AccessTokenError, match="htu_other"):
        tokens.verify(event({**key.headers("GET", url, token), "DPoP": key.proof("GET", AUDIENCE, token)}))


def test_lambda_authorizer_accepts_the_tokens(issuer: MemoryIssuer) -> None:
    scope_map = json.dumps({"orders.read": ["GET /country/code/{code}"]})
    settings = Settings.from_env({"ISSUER": ISSUER, "AUDIENCE": AUDIENCE, "SCOPE_MAP": scope_map})
    authorizer = build(settings, emit=lambda _: None)
    policy = authorizer.decide(AuthorizerEvent(rest_event(issuer.access_token("orders.read"))), Deadline(1))
    assert policy["principalId"] == "test-client"
    with pytest.raises(Unauthorized):
        authorizer.decide(AuthorizerEvent(rest_event(issuer.access_token(fault="forged"))), Deadline(1))


@mock_aws
def test_tokens_are_verified_next_to_moto(issuer: MemoryIssuer) -> None:
    assert access_tokens(jwks_soft_age=63).verify(issuer.access_token())


def test_other_addresses_are_not_answered_from_memory() -> None:
    send = https_client.send
    with MemoryIssuer(ISSUER).serving():
        request = https_client.Request("GET", "http://127.0.0.1:9/", {}, b"", Deadline(1))
        with pytest.raises(https_client.HttpExchangeError):
            https_client.send(request)
    assert https_client.send is send
