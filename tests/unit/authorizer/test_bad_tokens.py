"""Invalid tokens and their reasons, the table of docs/strictness.md."""

import jwt
import pytest

from authorizer.clock import Deadline
from authorizer.errors import InvalidTokenError, Reason
from tests.strictness.cases import (
    API,
    CASES,
    CONTROLS,
    Case,
    Control,
    World,
    claims,
    forge,
    forge_claims,
    mint,
    verifier,
)
from tests.support.tokens import CLIENT, NOW, ec_jwk, ec_key, encode, sign


def _refusal(world: World, token: str) -> Reason:
    with pytest.raises(InvalidTokenError) as refused:
        verifier(world).verify(token, NOW, Deadline(1))
    return refused.value.reason


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.number} {case.name}")
def test_invalid_token_is_rejected_with_its_reason(case: Case) -> None:
    assert _refusal(case.world, case.make()) is case.reason


@pytest.mark.parametrize("control", CONTROLS, ids=lambda control: control.name)
def test_valid_token_is_accepted(control: Control) -> None:
    assert verifier(control.world).verify(control.make(), NOW, Deadline(1)).subject == CLIENT


def test_malformed_jti_is_rejected() -> None:
    assert _refusal(World(), forge_claims(jti=1)) is Reason.JTI_MALFORMED


def test_69_one_matching_audience_is_enough() -> None:
    assert verifier(World(audience=API)).verify(forge_claims(aud=["else", API]), NOW, Deadline(1))


def test_75_azp_may_name_the_client() -> None:
    world = World(client_ids=frozenset({CLIENT}))
    assert verifier(world).verify(forge_claims(client_id=CLIENT), NOW, Deadline(1))
    assert verifier(world).verify(forge_claims(azp=CLIENT), NOW, Deadline(1))


def test_es256_signature_fails_under_another_key() -> None:
    world = World((ec_jwk(),), frozenset({"ES256"}))
    token = jwt.encode(claims(), ec_key("impostor"), "ES256", headers={"kid": "ec", "typ": None})
    assert _refusal(world, token) is Reason.SIGNATURE_INVALID


def test_signature_covers_every_byte() -> None:
    header, payload, _ = mint().split(".")
    signature = encode(sign(f"{header}.{payload}x".encode()))
    assert _refusal(World(), f"{header}.{payload}.{signature}") is Reason.SIGNATURE_INVALID


def test_token_without_claims_is_rejected() -> None:
    assert _refusal(World(), forge(payload={})) is Reason.ISS_MISSING
