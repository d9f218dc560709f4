"""Whatever we accept, PyJWT and joserfc accept: oracles that share no code with us.

`make fuzz` runs the same over very many more examples.
"""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import HealthCheck, given, settings

from tests.strictness.mutations import tokens
from tests.strictness.oracles import Disagreement, compare, joserfc_objection, pyjwt_objection
from tests.support.tokens import at_jwt_claims, claims, forge, mint


@settings(suppress_health_check=list(HealthCheck))
@given(tokens())
def test_what_we_accept_is_accepted_by_pyjwt_and_joserfc(token: str) -> None:
    compare(token)


@pytest.mark.parametrize("whitespace", ["", " ", "\r\n\t"])
def test_all_accept_a_good_token(whitespace: str) -> None:
    payload = whitespace + json.dumps(claims(time.time()), indent=2)
    assert compare(forge(payload=payload.encode()))


def test_all_accept_a_good_at_jwt() -> None:
    token = mint(at_jwt_claims(time.time(), aud=claims()["aud"]), typ="at+jwt")
    assert compare(token)


def test_the_others_do_object() -> None:
    token = forge(payload=claims(1))
    assert "ExpiredSignatureError" in str(pyjwt_objection(token))
    assert "ExpiredTokenError" in str(joserfc_objection(token))
    assert not compare(token)


def test_a_disagreement_would_be_raised() -> None:
    with pytest.raises(Disagreement, match=r"PyJWT.*joserfc"):
        compare("not.a.token", lambda _token: True)
