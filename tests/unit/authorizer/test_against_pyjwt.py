"""Whatever we accept, PyJWT accepts: an oracle that shares no code with us."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import cache
from typing import Any

import jwt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from authorizer.claims import LEEWAY, ClaimRules
from authorizer.clocks import Clocks
from authorizer.errors import TokenRefused
from authorizer.https_client import Response
from authorizer.jwk import parse_key_set
from authorizer.jwks_cache import JwksCache
from authorizer.verifier import IssuerTrust, Verifier, header_rules
from tests.support.tokens import ISSUER, FakeClock, claims, forge, jwks, rsa_jwk, rsa_key

RS256 = frozenset({"RS256"})
# PyJWT reads the real clock, so these tokens are of today and live for hours.
TODAY = datetime.now(UTC).timestamp()


@cache
def _verifier() -> Verifier:
    clock = FakeClock(TODAY)
    keys = JwksCache(
        lambda _etag, _seconds: Response(200, {}, jwks(rsa_jwk())),
        lambda raw: parse_key_set(raw, RS256),
        Clocks(clock, clock),
    )
    rules = ClaimRules(ISSUER, frozenset(), frozenset(), 86_400)
    return Verifier(
        {ISSUER: IssuerTrust(keys, rules)},
        header_rules(RS256, require_at_jwt=False),
        remembered_tokens=1,
    )


def _we_accept(token: str) -> bool:
    try:
        _verifier().verify(token, TODAY, 1)
    except TokenRefused:
        return False
    return True


def _pyjwt_accepts(token: str) -> bool:
    try:
        jwt.decode(
            token,
            rsa_key().public_key(),
            algorithms=["RS256"],
            issuer=ISSUER,
            leeway=LEEWAY,
            options={"verify_aud": False},
        )
    except jwt.InvalidTokenError:
        return False
    return True


def _check(token: str) -> None:
    if _we_accept(token):
        assert _pyjwt_accepts(token)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-10, 2**40)
    | st.floats(allow_nan=True)
    | st.text(max_size=8)
    | st.sampled_from([ISSUER, "RS256", "none", "JWT", "at+jwt", "key-1", "country.read"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
HEADER_NAMES = st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jwk", "x5t", "cty", "zip"])
CLAIM_NAMES = st.sampled_from(
    ["iss", "sub", "aud", "exp", "nbf", "iat", "scope", "scp", "cnf", "jti", "client_id", "nonce"]
)


@given(st.dictionaries(HEADER_NAMES, VALUES, max_size=2))
def test_odd_headers(changes: dict[str, Any]) -> None:
    _check(forge({"alg": "RS256", "kid": "key-1"} | changes))


@given(st.dictionaries(CLAIM_NAMES, VALUES, max_size=2), st.sets(CLAIM_NAMES, max_size=2))
def test_odd_claims(changes: dict[str, Any], missing: set[str]) -> None:
    odd = {k: v for k, v in claims(TODAY).items() if k not in missing} | changes
    _check(forge(payload=odd))


@given(st.integers(-90, 90), st.integers(-90, 90), st.integers(-90, 90))
@example(0, 0, 0)
def test_odd_times(nbf: int, iat: int, exp: int) -> None:
    now = int(TODAY)
    _check(forge(payload=claims(TODAY, nbf=now + nbf, iat=now + iat, exp=now + exp)))


@settings(max_examples=300)
@given(st.data())
def test_mutated_tokens(data: st.DataObject) -> None:
    token = _good_token()
    at = data.draw(st.integers(0, len(token)))
    taken = data.draw(st.integers(0, 3))
    put = data.draw(st.text("AQgw-_=.+/ \n{}", max_size=3))
    _check(token[:at] + put + token[at + taken :])


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_odd_bytes_in_the_payload(before: bytes, after: bytes) -> None:
    _check(forge(payload=before + json.dumps(claims(TODAY)).encode() + after))


@cache
def _good_token() -> str:
    return forge(payload=claims(TODAY))


@pytest.mark.parametrize("whitespace", ["", " ", "\r\n\t"])
def test_both_accept_a_good_token(whitespace: str) -> None:
    token = forge(payload=(whitespace + json.dumps(claims(TODAY), indent=2)).encode())
    assert _we_accept(token)
    assert _pyjwt_accepts(token)
