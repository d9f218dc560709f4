"""The parser, beyond access tokens."""

import json

import pytest

from authorizer.errors import InvalidTokenError, Reason
from authorizer.jws import HeaderRules, looks_like_jws, parse
from tests.support.tokens import forge, mint, rsa_jwk

PROOF = HeaderRules(frozenset({"RS256"}), frozenset({"dpop+jwt"}), embedded_key=True)
ASSERTION = HeaderRules(frozenset({"RS256"}), frozenset({None, "jwt"}))


def test_token_is_split_without_loss() -> None:
    token = mint()
    unverified = parse(token, ASSERTION)
    assert unverified.signing_input.decode() == token.rpartition(".")[0]
    assert json.loads(unverified.payload)["sub"]
    assert len(unverified.signature) == 256


def test_proof_has_its_own_key() -> None:
    header = parse(forge({"alg": "RS256", "typ": "dpop+jwt", "jwk": rsa_jwk()}), PROOF).header
    assert header.jwk == rsa_jwk()
    assert header.kid == ""


@pytest.mark.parametrize("jwk", [None, "key", []])
def test_proof_without_key_is_rejected(jwk: object) -> None:
    with pytest.raises(InvalidTokenError) as refused:
        parse(forge({"alg": "RS256", "typ": "dpop+jwt", "jwk": jwk}), PROOF)
    assert refused.value.reason is Reason.KEY_MALFORMED


def test_header_cache_is_per_rule_set() -> None:
    token = mint()
    parse(token, ASSERTION)
    with pytest.raises(InvalidTokenError) as refused:
        parse(token, PROOF)
    assert refused.value.reason is Reason.TYP_NOT_ALLOWED


@pytest.mark.parametrize("token", [mint(), "a.b.c", "..", "a.b.c.d.e", "eyJx", '{"payload":""}'])
def test_90_malformed_jwt_is_not_an_opaque_token(token: str) -> None:
    assert looks_like_jws(token)


@pytest.mark.parametrize("token", ["opaque", "a.b", "a-b_c~d", "AAAA=="])
def test_90_opaque_token_may_contain_a_dot(token: str) -> None:
    assert not looks_like_jws(token)
