"""PyJWT and joserfc accept every token that Gatehouse accepts. They share no code with it.

`make fuzz` runs more examples.
"""

import json
import time

import pytest
from hypothesis import HealthCheck, given, settings

from tests.strictness.mutations import tokens
from tests.strictness.oracles import DisagreementError, compare, joserfc_objection, pyjwt_objection
from tests.support.tokens import at_jwt_claims, claims, forge, mint


@settings(suppress_health_check=list(HealthCheck))
@given(tokens())
def test_accepted_tokens_pass_pyjwt_and_joserfc(token: str) -> None:
    compare(token)


@pytest.mark.parametrize("whitespace", ["", " ", "\r\n\t"])
def test_all_verifiers_accept_a_valid_token(whitespace: str) -> None:
    payload = whitespace + json.dumps(claims(time.time()), indent=2)
    assert compare(forge(payload=payload.encode()))


def test_all_verifiers_accept_a_valid_at_jwt() -> None:
    token = mint(at_jwt_claims(time.time(), aud=claims()["aud"]), typ="at+jwt")
    assert compare(token)


def test_other_verifiers_reject_expired_tokens() -> None:
    token = forge(payload=claims(1))
    assert "ExpiredSignatureError" in str(pyjwt_objection(token))
    assert "ExpiredTokenError" in str(joserfc_objection(token))
    assert not compare(token)


def test_disagreement_is_raised() -> None:
    with pytest.raises(DisagreementError, match=r"PyJWT.*joserfc"):
        compare("not.a.token", lambda _token: True)
