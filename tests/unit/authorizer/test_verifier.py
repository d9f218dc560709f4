"""Valid and invalid tokens, and the cache of verified tokens."""

import json
from typing import Any

import jwt
import pytest
from jwt.utils import base64url_decode

from authorizer.claims import ClaimRules, Confirmation, VerifiedToken
from authorizer.clock import Clocks, Deadline
from authorizer.errors import InvalidTokenError, Reason
from authorizer.https_client import Response
from authorizer.jwk import parse_key_set
from authorizer.jwks_cache import JwksCache
from authorizer.jws import ALGORITHMS
from authorizer.verifier import TrustedIssuer, Verifier, header_rules
from tests.strictness import cases
from tests.strictness.cases import CASES, CONTROLS, Case, Control, World
from tests.support.clock import ManualClock
from tests.support.dpop_proofs import private_key, public_jwk
from tests.support.tokens import (
    CLIENT,
    ISSUER,
    KID,
    LIFETIME,
    NOW,
    at_jwt_claims,
    claims,
    ec_jwk,
    encode,
    forge,
    forge_claims,
    forge_header,
    jwks,
    mint,
    rsa_jwk,
    rsa_key,
    sign,
    unsigned,
)


class Sandbox:
    """A verifier with its issuer's key set and its clock."""

    def __init__(self, *keys: dict[str, Any], remembered_tokens: int = 16) -> None:
        self.clock = ManualClock()
        self.published = keys or (rsa_jwk(),)
        self.fetches = 0
        self.cache = JwksCache(self._fetch, lambda raw: parse_key_set(raw, ALGORITHMS), Clocks(self.clock, self.clock))
        self.verifier = Verifier(
            {ISSUER: TrustedIssuer(self.cache, ClaimRules(ISSUER, frozenset(), frozenset(), 86_400))},
            header_rules(ALGORITHMS, require_at_jwt=False),
            remembered_tokens=remembered_tokens,
        )

    def _fetch(self, _etag: str | None, _deadline: Deadline) -> Response:
        self.fetches += 1
        return Response(200, {}, jwks(*self.published))

    def verify(self, token: str) -> VerifiedToken:
        return self.verifier.verify(token, self.clock.now, Deadline(1))

    def refusal(self, token: str) -> Reason:
        with pytest.raises(InvalidTokenError) as refused:
            self.verify(token)
        return refused.value.reason


def test_demo_client_token_is_valid() -> None:
    token = Sandbox().verify(mint())
    assert token.subject == token.client_id == CLIENT
    assert token.scopes == {"customer.read", "customer.write", "country.read"}
    assert (token.issuer, token.key_id) == (ISSUER, KID)
    assert (token.not_before, token.expires_at) == (NOW, NOW + LIFETIME)
    assert (token.jti, token.confirmation) == (None, None)


@pytest.mark.parametrize("typ", ["at+jwt", "AT+JWT", "application/at+jwt"])
def test_rfc9068_token_is_valid(typ: str) -> None:
    token = Sandbox().verify(mint(at_jwt_claims(), typ=typ))
    assert token.scopes == {"country.read", "customer.read"}
    assert (token.client_id, token.jti) == (CLIENT, "one-of-a-kind")


@pytest.mark.parametrize("alg", sorted(ALGORITHMS))
def test_every_allowed_algorithm_verifies(alg: str) -> None:
    jwk = public_jwk(alg) | {"kid": KID}
    token = jwt.encode(claims(), private_key(alg), alg, headers={"kid": KID})
    for key in (jwk, jwk | {"alg": alg}):
        assert Sandbox(key).verify(token).subject == CLIENT


@pytest.mark.parametrize(
    "changes",
    [
        {"iat": ...},
        {"nbf": ...},
        {"aud": ...},
        {"aud": ["a", "b"]},
        {"scope": ...},
        {"scope": []},
        {"scope": ..., "scp": ["country.read"]},
        {"scope": "a b", "scp": ["b", "a"]},
        {"nbf": NOW + 30},
        {"iat": NOW + 30},
        {"exp": NOW + 0.5, "iat": NOW - 1},
        {"token_use": "access"},
        {"client_id": "x", "azp": "x"},
        {"sub": "a b/c|d"},
        {"unknown": {"a": [1, None, "x"]}},
    ],
    ids=str,
)
def test_unusual_legal_tokens_are_accepted(changes: dict[str, Any]) -> None:
    assert Sandbox().verify(forge_claims(**changes))


def test_unknown_header_members_are_ignored() -> None:
    assert Sandbox().verify(forge_header(unknown=1))


def test_bound_token_has_a_confirmation() -> None:
    thumbprint = "A" * 43
    token = Sandbox().verify(forge_claims(cnf={"x5t#S256": thumbprint}))
    assert token.confirmation == Confirmation("x5t#S256", thumbprint)


def test_cached_token_is_not_verified_again() -> None:
    sandbox = Sandbox()
    token = mint()
    assert sandbox.verify(token) is sandbox.verify(token)
    assert sandbox.fetches == 1


def test_97_cached_token_expires_on_time() -> None:
    sandbox = Sandbox()
    token = mint()
    sandbox.verify(token)
    sandbox.clock.advance(LIFETIME - 1)
    assert sandbox.verify(token)
    sandbox.clock.advance(1)
    assert sandbox.refusal(token) is Reason.EXPIRED


def test_97_clock_set_back_rejects_a_cached_token() -> None:
    sandbox = Sandbox()
    token = mint()
    sandbox.verify(token)
    sandbox.clock.advance(-31)
    assert sandbox.refusal(token) is Reason.NOT_YET_VALID


def test_56_replaced_key_ends_cached_tokens() -> None:
    sandbox = Sandbox()
    token = mint()
    sandbox.verify(token)
    sandbox.published = (rsa_jwk(key=rsa_key("another")),)
    sandbox.clock.advance(300)
    assert sandbox.refusal(token) is Reason.SIGNATURE_INVALID


def test_97_one_byte_makes_another_token() -> None:
    sandbox = Sandbox()
    token = mint()
    sandbox.verify(token)
    changed = token[:-2] + ("A" if token[-2] != "A" else "B") + token[-1]
    assert sandbox.refusal(changed) is Reason.SIGNATURE_INVALID


def test_memory_is_bounded() -> None:
    sandbox = Sandbox(remembered_tokens=4)
    for number in range(10):
        sandbox.verify(forge_claims(jti=str(number)))
    assert len(sandbox.verifier._cache) == 4


@pytest.mark.parametrize("names", [{}, {"sub": ..., "client_id": CLIENT}, {"sub": ..., "appid": "a"}])
def test_94_rotation_works_during_a_flood(names: dict[str, object]) -> None:
    sandbox = Sandbox()
    sandbox.verify(mint(claims(NOW, **names)))
    for number in range(1000):
        token = unsigned(claims(sub=f"unknown-{number}"), kid=f"random-{number}")
        assert sandbox.refusal(token) is Reason.KID_UNKNOWN
    assert sandbox.fetches == 2
    sandbox.published = (rsa_jwk(), rsa_jwk("key-2"))
    sandbox.clock.advance(1)
    assert sandbox.verify(mint(claims(sandbox.clock.now, **names), "key-2")).key_id == "key-2"
    assert sandbox.fetches == 3


def _refusal(token: str, world: World | None = None) -> Reason:
    with pytest.raises(InvalidTokenError) as refused:
        cases.verifier(world or World()).verify(token, NOW, Deadline(1))
    return refused.value.reason


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.number} {case.name}")
def test_invalid_token_is_rejected_with_its_reason(case: Case) -> None:
    assert _refusal(case.make(), case.world) is case.reason


@pytest.mark.parametrize("control", CONTROLS, ids=lambda control: control.name)
def test_valid_token_is_accepted(control: Control) -> None:
    assert cases.verifier(control.world).verify(control.make(), NOW, Deadline(1)).subject == CLIENT


def test_signature_covers_every_byte() -> None:
    header, payload, _ = cases.mint().split(".")
    decoded = b".".join(map(base64url_decode, (header, payload)))
    for text in (f"{header}.{payload}x", header, payload, f"{header}{payload}"):
        assert _refusal(f"{header}.{payload}.{encode(sign(text.encode()))}") is Reason.SIGNATURE_INVALID
    assert _refusal(f"{header}.{payload}.{encode(sign(decoded))}") is Reason.SIGNATURE_INVALID


@pytest.mark.parametrize("kid", [KID + " ", KID.upper(), "%6bey-1"])
def test_key_id_is_matched_exactly(kid: str) -> None:
    assert _refusal(cases.forge_header(kid=kid)) is Reason.KID_UNKNOWN


@pytest.mark.parametrize(
    "issuer",
    [
        cases.ISSUER.replace(".com", ".com:443"),
        cases.ISSUER.replace("://", "://x@"),
        cases.ISSUER.replace("auth", "%61uth"),
        cases.ISSUER + "#",
        cases.ISSUER + "\n",
    ],
)
def test_issuer_is_matched_exactly(issuer: str) -> None:
    assert _refusal(cases.forge_claims(iss=issuer)) is Reason.ISS_UNKNOWN


def test_algorithm_belongs_to_the_key() -> None:
    keys = (rsa_jwk(), rsa_jwk("pss", rsa_key(), alg="PS256"), ec_jwk())
    world = World(keys, frozenset({"RS256", "PS256", "ES256"}))
    for kid in ("ec", "pss"):
        assert _refusal(cases.forge_header(kid=kid), world) is Reason.ALG_NOT_OF_KEY
    pss = jwt.encode(cases.claims(), rsa_key(), "PS256", headers={"kid": KID, "typ": None})
    assert _refusal(pss, World((rsa_jwk(alg="RS256"),), world.algorithms)) is Reason.ALG_NOT_OF_KEY
    assert _refusal(pss) is Reason.ALG_NOT_ALLOWED
    assert cases.verifier(world).verify(pss, NOW, Deadline(1))  # a key without `alg` has those of its type
    assert cases.verifier(world).verify(cases.mint(), NOW, Deadline(1))


def test_similar_claim_names_are_ignored() -> None:
    text = json.dumps(cases.claims()).replace('"iss"', r'"\u0069ss"')
    more = r',"EXP":1,"\u0435xp":1,"iss ":"x","__proto__":{"sub":"root"}}'
    token = forge(payload=f"{text[:-1]}{more}".encode())
    assert cases.verifier(World()).verify(token, NOW, Deadline(1)).subject == CLIENT
