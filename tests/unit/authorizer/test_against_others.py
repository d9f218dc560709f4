"""PyJWT and joserfc accept every token that Gatehouse accepts. They share no code with it.

`make fuzz` runs more examples.
"""

import json
import time
import warnings

import jwt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from joserfc import jws as joserfc_jws
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import import_key
from jwt.utils import base64url_decode

from authorizer import jws
from authorizer.errors import InvalidTokenError
from authorizer.jwk import InvalidKeyError, parse_key
from authorizer.jws import ALGORITHMS, ML_DSA, HeaderRules
from tests.strictness.mutations import tokens
from tests.strictness.oracles import DisagreementError, compare, joserfc_objection, pyjwt_objection
from tests.support.dpop_proofs import private_key, public_jwk
from tests.support.pyjwt_algorithms import algorithm
from tests.support.tokens import at_jwt_claims, claims, encode, forge, mint


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


COMMON_ALGORITHMS = sorted(ALGORITHMS - ML_DSA)


def _joserfc_verifies(token: str, jwk: dict[str, str], alg: str) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SecurityWarning)  # it recommends some algorithms only
        return _joserfc_accepts(token, jwk, alg)


def _joserfc_accepts(token: str, jwk: dict[str, str], alg: str) -> bool:
    try:
        joserfc_jws.deserialize_compact(token.encode(), import_key(jwk), algorithms=[alg])  # type: ignore[arg-type]
    except (JoseError, ValueError):
        return False
    return True


def _pyjwt_verifies(token: str, jwk: dict[str, str], alg: str) -> bool:
    try:
        jwt.api_jws.decode(token, algorithm(alg).from_jwk(jwk), algorithms=[alg])
    except jwt.InvalidTokenError:
        return False
    return True


def _gatehouse_verifies(token: str, jwk: dict[str, str], alg: str) -> bool:
    try:
        unverified = jws.parse(token, HeaderRules(frozenset({alg}), frozenset({None, "jwt"}), key_id_required=False))
        key = parse_key(jwk | {"kid": "key"}, frozenset({alg}))
        key.verify(unverified.header.alg, unverified.signature, unverified.signing_input)
    except (InvalidTokenError, InvalidKeyError):
        return False
    return True


@pytest.mark.parametrize("alg", COMMON_ALGORITHMS)
@settings(suppress_health_check=list(HealthCheck), max_examples=settings().max_examples // 4)
@given(data=st.data())
def test_signatures_that_gatehouse_accepts_pass_the_others(alg: str, data: st.DataObject) -> None:
    """With the right key and algorithm, and with those of any other token."""
    signed_by = data.draw(st.sampled_from([alg, alg, *COMMON_ALGORITHMS]))
    token = jwt.api_jws.encode(b"payload", private_key(signed_by), signed_by)
    header, payload, signature = token.split(".")
    made = bytearray(base64url_decode(signature))
    for flip in data.draw(st.lists(st.integers(0, 8 * len(made) - 1), max_size=2)):
        made[flip // 8] ^= 1 << flip % 8
    named = data.draw(st.sampled_from([signed_by, signed_by, alg]))
    if named != signed_by:
        header = encode(json.dumps({"alg": named, "typ": "JWT"}).encode())
    changed = f"{header}.{payload}.{encode(bytes(made))}"
    jwk = public_jwk(alg)
    if _gatehouse_verifies(changed, jwk, alg):
        assert _pyjwt_verifies(changed, jwk, alg)
        assert _joserfc_verifies(changed, jwk, alg)


@pytest.mark.parametrize("alg", COMMON_ALGORITHMS)
def test_all_three_verify_each_algorithm(alg: str) -> None:
    token, jwk = jwt.api_jws.encode(b"payload", private_key(alg), alg), public_jwk(alg)
    for verifies in (_gatehouse_verifies, _pyjwt_verifies, _joserfc_verifies):
        assert verifies(token, jwk, alg), verifies
