"""Malformed headers and segments, and the parser's rules for tokens other than access tokens."""

import json

import pytest

from authorizer.errors import InvalidTokenError, Reason
from authorizer.jws import HeaderRules, looks_like_jws, parse
from authorizer.verifier import header_rules
from tests.support.tokens import KID, forge, forge_header, mint, rsa_jwk

ACCESS_TOKEN = header_rules(frozenset({"RS256"}), require_at_jwt=False)

PROOF = HeaderRules(frozenset({"RS256"}), frozenset({"dpop+jwt"}), embedded_key=True)
ASSERTION = HeaderRules(frozenset({"RS256"}), frozenset({None, "jwt"}))


def _refusal(token: str, rules: HeaderRules = ACCESS_TOKEN) -> Reason:
    with pytest.raises(InvalidTokenError) as refused:
        parse(token, rules)
    return refused.value.reason


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
    assert _refusal(forge({"alg": "RS256", "typ": "dpop+jwt", "jwk": jwk}), PROOF) is Reason.KEY_MALFORMED


def test_header_cache_is_per_rule_set() -> None:
    token = mint()
    parse(token, ASSERTION)
    assert _refusal(token, PROOF) is Reason.TYP_NOT_ALLOWED


@pytest.mark.parametrize("token", [mint(), "a.b.c", "..", "a.b.c.d.e", "eyJx", '{"payload":""}'])
def test_90_malformed_jwt_is_not_an_opaque_token(token: str) -> None:
    assert looks_like_jws(token)


@pytest.mark.parametrize("token", ["opaque", "a.b", "a-b_c~d", "AAAA=="])
def test_90_opaque_token_may_contain_a_dot(token: str) -> None:
    assert not looks_like_jws(token)


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("." + mint(), Reason.SEGMENT_COUNT),
        (mint().replace(".", "%2E"), Reason.SEGMENT_COUNT),
        (mint().replace(".", "\uff0e"), Reason.SEGMENT_ALPHABET),
        ("\u0435" + mint()[1:], Reason.SEGMENT_ALPHABET),
        (mint() + "\x00", Reason.SEGMENT_ALPHABET),
        (mint() + "~", Reason.SEGMENT_ALPHABET),  # a token with selective disclosure
        ("{1}.{1}.{2}".format(*mint().split(".")), Reason.ALG_MISSING),
    ],
)
def test_malformed_segments_are_rejected(token: str, reason: Reason) -> None:
    assert _refusal(token) is reason


# The members of a header, or its text.
HEADERS: dict[Reason, list[dict[str, object] | str]] = {
    Reason.ALG_MISSING: ['{"Alg":"RS256","kid":"key-1"}'],
    Reason.ALG_NOT_STRING: [{"alg": {"RS256": 1}}, {"alg": False}],
    Reason.ALG_SYMMETRIC: [{"alg": "hs512"}],
    Reason.ALG_NOT_ALLOWED: [
        {"alg": alg}
        for alg in (
            *("RS256\u200b", "\uff32\uff33\uff12\uff15\uff16", "RS256\x00", " none "),
            *("RSA-OAEP", "SHA256withRSA", "PBES2-HS256+A128KW"),
        )
    ],
    Reason.KID_NOT_STRING: [{"kid": [KID]}],
    Reason.KID_CHARACTERS: [{"kid": "\ufeff" + KID}, {"kid": KID + "\u0301"}, {"kid": "\x7f"}],
    Reason.TYP_NOT_STRING: [{"typ": ["JWT"]}],
    Reason.TYP_NOT_ALLOWED: [
        {"typ": typ}
        for typ in (
            *("JWT; charset=utf-8", "application/application/jwt", "JWT ", "JOSE", "text/at+jwt"),
            *("\uff4a\uff57\uff54", "client-authentication+jwt", "token-introspection+jwt"),
        )
    ],
    Reason.B64_PRESENT: [dict[str, object](b64=None), r'{"alg":"RS256","kid":"key-1","\u0062\u0036\u0034":false}'],
    Reason.ZIP_PRESENT: [{"zip": ""}],
    Reason.CTY_PRESENT: [{"cty": None}],
    Reason.JWK_PRESENT: [{"jwk": None}],
    Reason.CRIT_PRESENT: [{"alg": "none", "crit": ["exp"]}],
    Reason.HEADER_DUPLICATE_MEMBER: [r'{"alg":"RS256","\u0061lg":"none","kid":"key-1"}'],
}


@pytest.mark.parametrize(("reason", "header"), [(reason, each) for reason, some in HEADERS.items() for each in some])
def test_malformed_header_is_rejected(reason: Reason, header: dict[str, object] | str) -> None:
    token = forge(header.encode()) if isinstance(header, str) else forge_header(**header)
    assert _refusal(token) is reason
