"""private_key_jwt. RFC 7521, 4.2; RFC 7523, 2.2 and 3, as updated by RFC 10070."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import jwt
import pytest

from authorizer.jws import ALGORITHMS
from functions.shared.authentication.client_assertion import ReplayCheck
from functions.shared.authentication.client_authentication import ClientAuthentication
from functions.shared.authentication.client_secret import secret_methods
from functions.shared.authentication.credentials import ASSERTION_TYPE
from functions.shared.authentication.private_key_jwt import PrivateKeyJwt
from functions.shared.clients.assertion_rules import AssertionRules
from functions.shared.clients.client import Client
from functions.shared.web.oauth_errors import InvalidClientError, InvalidRequestError, TemporarilyUnavailableError
from tests.support.assertions import (
    CLIENT_ID,
    CountedDummy,
    MemoryRemoteJwks,
    assertion,
    assertion_claims,
    assertion_form,
    authenticate,
)
from tests.support.aws import ISSUER
from tests.support.clock import ManualClock
from tests.support.dpop_proofs import private_key, public_jwk
from tests.support.memory_stores import MemoryClients, MemoryOneTimeUse
from tests.support.proxy_events import basic, token_event
from tests.support.server import NOW, SECRET, client
from tests.support.tokens import ec_jwk, ec_key, ed25519_jwk, forge, rsa_jwk

JWKS_URI = "https://client.example/jwks"
ENCRYPTION_KEY = rsa_jwk("rsa") | {"kid": "ec", "use": "enc", "alg": "RSA-OAEP"}
TOKEN_ENDPOINT = f"{ISSUER}/oauth2/token"
METHODS = frozenset({"private_key_jwt"})
INLINE = AssertionRules(jwks=json.dumps({"keys": [ec_jwk("ec"), rsa_jwk("rsa"), ed25519_jwk("ed")]}))


def signer(client_id: str = CLIENT_ID, **rules: Any) -> Client:
    """Return a client that signs assertions, by default with inline keys."""
    assertion_rules = AssertionRules(**rules) if "jwks_uri" in rules else replace(INLINE, **rules)
    return client(client_id, authentication_methods=METHODS, assertion=assertion_rules, secrets=())


@dataclass
class Authenticator:
    """A server's client authentication with these clients."""

    clients: tuple[Client, ...] = (signer(),)
    keys: MemoryRemoteJwks = field(default_factory=MemoryRemoteJwks)
    used: MemoryOneTimeUse = field(default_factory=MemoryOneTimeUse)
    dummy: CountedDummy = field(default_factory=CountedDummy)
    clock: ManualClock = field(default_factory=lambda: ManualClock(NOW))

    def __post_init__(self) -> None:
        method = PrivateKeyJwt(ISSUER, self.keys, ReplayCheck("client-assertion", self.used), self.dummy)
        methods = (*secret_methods(), method)
        self.authentication = ClientAuthentication(MemoryClients(*self.clients), methods, self.clock)

    def knock(self, parameters: dict[str, str], **rest: Any) -> Client:
        return authenticate(self.authentication, token_event(parameters, **rest))

    def show(self, token: str, **more: str) -> Client:
        return self.knock(assertion_form(token, **more))

    def refusal(self, token: str, **more: str) -> str:
        """Return the logged reason of a rejected assertion."""
        with pytest.raises(InvalidClientError) as refused:
            self.show(token, **more)
        assert refused.value.description == "Client authentication failed."
        assert not self.used.until, "a refused assertion must not be used up"
        return str(refused.value.reason)


@pytest.mark.parametrize(("alg", "kid"), [("ES256", "ec"), ("RS256", "rsa"), ("EdDSA", "ed")])
def test_rfc7523_2_2_signed_assertion_authenticates(alg: str, kid: str) -> None:
    assert Authenticator().show(assertion(alg=alg, kid=kid)).client_id == CLIENT_ID


@pytest.mark.parametrize("alg", sorted(ALGORITHMS))
def test_key_of_each_algorithm_authenticates(alg: str) -> None:
    """With and without `alg` in the key, with `signing_alg`, and not under the name of another algorithm."""
    unnamed, key = public_jwk(alg) | {"kid": "own"}, private_key(alg)
    for jwk in (unnamed, unnamed | {"alg": alg, "use": "sig", "key_ops": ["verify"]}):
        for rules in ({}, {"signing_alg": alg}):
            authenticator = Authenticator((signer(jwks=json.dumps({"keys": [jwk]}), **rules),))
            made = jwt.api_jws.encode(json.dumps(assertion_claims()).encode(), key, alg, {"kid": "own"})
            assert authenticator.show(made).client_id == CLIENT_ID
            assert authenticator.dummy.checks == 0
    other = "ES256" if alg != "ES256" else "RS256"
    forged = jwt.api_jws.encode(json.dumps(assertion_claims()).encode(), private_key(other), other, {"kid": "own"})
    assert "alg_not_of_key" in Authenticator((signer(jwks=json.dumps({"keys": [unnamed]})),)).refusal(forged)


@pytest.mark.parametrize("alg", sorted(ALGORITHMS))
def test_unknown_client_costs_a_verification_of_each_algorithm(alg: str) -> None:
    authenticator = Authenticator(())
    made = jwt.api_jws.encode(json.dumps(assertion_claims()).encode(), private_key(alg), alg, {"kid": "own"})
    authenticator.refusal(made)
    assert authenticator.dummy.checks == 1


def test_ps256_key_authenticates() -> None:
    jwks = json.dumps({"keys": [rsa_jwk("rsa")]})
    authenticator = Authenticator((signer(jwks=jwks, signing_alg="PS256"),))
    assert authenticator.show(assertion(alg="PS256", kid="rsa")).client_id == CLIENT_ID
    assert authenticator.dummy.checks == 0


@pytest.mark.parametrize("typ", [..., "JWT", "jwt", "client-authentication+jwt"])
def test_rfc10070_assertion_may_have_its_type(typ: object) -> None:
    assert Authenticator().show(assertion(typ=typ)).client_id == CLIENT_ID


@pytest.mark.parametrize("typ", ["at+jwt", "dpop+jwt", "token-introspection+jwt", "JOSE"])
def test_rfc8725_3_11_other_jwt_type_is_rejected(typ: str) -> None:
    assert "typ_not_allowed" in Authenticator().refusal(assertion(typ=typ))


@pytest.mark.parametrize("typ", [..., "JWT"])
def test_rfc10070_strict_client_needs_the_type(typ: object) -> None:
    authenticator = Authenticator((signer(requires_typ=True),))
    assert "typ_not_allowed" in authenticator.refusal(assertion(typ=typ))
    authenticator.show(assertion(typ="client-authentication+jwt"))


def test_rfc7521_4_2_client_id_may_be_sent_too() -> None:
    assert Authenticator().show(assertion(), client_id=CLIENT_ID).client_id == CLIENT_ID


def test_rfc7521_4_2_other_client_id_is_invalid_request() -> None:
    with pytest.raises(InvalidRequestError, match="differs"):
        Authenticator().show(assertion(), client_id="other")


@pytest.mark.parametrize(
    "assertion_type", ["urn:ietf:params:oauth:client-assertion-type:saml2-bearer", ASSERTION_TYPE.upper(), "jwt"]
)
def test_rfc7523_2_2_any_other_assertion_type_is_rejected(assertion_type: str) -> None:
    form = assertion_form(assertion()) | {"client_assertion_type": assertion_type}
    with pytest.raises(InvalidClientError, match="not supported"):
        Authenticator().knock(form)


@pytest.mark.parametrize("missing", ["client_assertion", "client_assertion_type"])
def test_rfc7521_4_2_assertion_and_type_go_together(missing: str) -> None:
    form = assertion_form(assertion())
    del form[missing]
    with pytest.raises(InvalidRequestError, match="go together"):
        Authenticator().knock(form)


def test_rfc6749_2_3_assertion_and_secret_are_two_methods() -> None:
    with pytest.raises(InvalidRequestError, match="More than one"):
        Authenticator().knock(assertion_form(assertion()), headers=basic(CLIENT_ID, SECRET))
    with pytest.raises(InvalidRequestError, match="More than one"):
        Authenticator().show(assertion(), client_id=CLIENT_ID, client_secret=SECRET)


@pytest.mark.parametrize(
    "audience",
    [
        ...,
        "",
        [],
        "https://other.example",
        f"{ISSUER}/",
        TOKEN_ENDPOINT,
        [TOKEN_ENDPOINT],
        [ISSUER, TOKEN_ENDPOINT],
        [ISSUER, "https://other.example"],
        [ISSUER, ISSUER],
        {"url": ISSUER},
    ],
)
def test_rfc7523_3_aud_must_be_the_issuer_alone(audience: object) -> None:
    assert "aud_" in Authenticator().refusal(assertion(assertion_claims(aud=audience)))


def test_rfc10070_audience_may_be_an_array_of_one() -> None:
    Authenticator().show(assertion(assertion_claims(aud=[ISSUER])))


def test_token_endpoint_audience_is_configurable() -> None:
    authenticator = Authenticator((signer(accepts_token_endpoint=True),))
    authenticator.show(assertion(assertion_claims(aud=TOKEN_ENDPOINT)))
    authenticator.show(assertion(assertion_claims(aud=ISSUER)))
    assert "aud_other" in Authenticator((signer(accepts_token_endpoint=True),)).refusal(
        assertion(assertion_claims(aud=[ISSUER, TOKEN_ENDPOINT]))
    )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"exp": ...}, "exp_missing"),
        ({"exp": "soon"}, "exp_malformed"),
        ({"exp": NOW}, "expired"),
        ({"exp": NOW - 1}, "expired"),
        ({"exp": NOW + 331}, "lifetime_too_long"),
        ({"nbf": NOW + 31}, "not_yet_valid"),
        ({"iat": NOW + 31}, "not_yet_valid"),
        ({"iat": NOW + 60}, "iat_after_exp"),
        ({"jti": ...}, "jti_missing"),
        ({"jti": ""}, "jti_malformed"),
        ({"jti": 1}, "jti_malformed"),
        ({"jti": "x" * 257}, "jti_malformed"),
    ],
)
def test_rfc7523_3_invalid_claim_is_rejected(changes: dict[str, object], reason: str) -> None:
    assert reason in Authenticator().refusal(assertion(assertion_claims(NOW, **changes)))


@pytest.mark.parametrize("changes", [{"exp": NOW + 330}, {"iat": ...}, {"nbf": NOW + 30, "iat": NOW + 30}])
def test_rfc7523_3_boundary_claim_is_accepted(changes: dict[str, object]) -> None:
    Authenticator().show(assertion(assertion_claims(NOW, **changes)))


def test_assertion_lifetime_is_configurable() -> None:
    authenticator = Authenticator((signer(lifetime=3600),))
    authenticator.show(assertion(assertion_claims(exp=NOW + 3600)))
    assert "lifetime_too_long" in Authenticator((signer(lifetime=3600),)).refusal(
        assertion(assertion_claims(exp=NOW + 3631))
    )


@pytest.mark.parametrize("changes", [{"iss": "other"}, {"sub": "other"}, {"iss": ...}, {"sub": ...}, {"sub": 1}])
def test_rfc7523_3_iss_and_sub_must_both_be_the_client(changes: dict[str, object]) -> None:
    token = assertion(assertion_claims(NOW, **changes))
    with pytest.raises(InvalidClientError):
        Authenticator().show(token, client_id=CLIENT_ID)


def test_rfc7523_3_other_clients_assertion_is_rejected() -> None:
    authenticator = Authenticator((signer(), signer("other", jwks=json.dumps({"keys": [ec_jwk("other")]}))))
    forged = assertion(assertion_claims(iss="other", sub="other"))
    assert "signature_invalid" in authenticator.refusal(forged)
    named = jwt.encode(assertion_claims(iss="other", sub="other"), ec_key("ec"), "ES256")
    assert "signature_invalid" in authenticator.refusal(named)


@pytest.mark.parametrize("alg", ["RS256", "EdDSA"])
def test_rfc8725_3_1_signing_alg_is_enforced(alg: str) -> None:
    authenticator = Authenticator((signer(jwks=json.dumps({"keys": [ec_jwk("ec")]}), signing_alg="ES256"),))
    authenticator.show(assertion())
    kid = {"RS256": "rsa", "EdDSA": "ed"}[alg]
    fresh = Authenticator((signer(jwks=json.dumps({"keys": [ec_jwk("ec")]}), signing_alg="ES256"),))
    assert "alg_not_allowed" in fresh.refusal(assertion(alg=alg, kid=kid))


def test_rfc8725_3_1_symmetric_or_no_signature_is_rejected() -> None:
    claims = assertion_claims()
    symmetric = jwt.encode(claims, "s" * 32, "HS256", {"kid": "ec"})
    assert "alg_symmetric" in Authenticator().refusal(symmetric)
    assert "alg_none" in Authenticator().refusal(forge({"alg": "none", "kid": "ec"}, claims))


@pytest.mark.parametrize("token", ["x", "a.b.c", "e30.e30.", "{}", "é", "x" * 9000, "...."])
def test_rfc7519_7_2_non_jwt_is_invalid_client(token: str) -> None:
    assert "client assertion" in Authenticator().refusal(token)


def test_rfc7515_4_1_4_kid_is_optional_for_a_single_key() -> None:
    Authenticator().show(_without_kid())
    two = json.dumps({"keys": [ec_jwk("ec"), ec_jwk("ec-2")]})
    assert "signature_invalid" in Authenticator((signer(jwks=two),)).refusal(_without_kid())


def _without_kid() -> str:
    return jwt.encode(assertion_claims(), ec_key("ec"), "ES256")


def test_jwks_uri_keys_are_found_by_kid() -> None:
    authenticator = Authenticator((signer(jwks_uri=JWKS_URI),))
    authenticator.keys.publish(JWKS_URI, ec_jwk("ec"))
    authenticator.show(assertion())
    assert authenticator.keys.fetched == [JWKS_URI]
    fresh = Authenticator((signer(jwks_uri=JWKS_URI),), keys=authenticator.keys)
    assert "kid_missing" in fresh.refusal(_without_kid())
    assert "kid_unknown" in fresh.refusal(assertion(kid="ec-2"))


def test_unavailable_keys_are_503() -> None:
    authenticator = Authenticator((signer(jwks_uri=JWKS_URI),))
    with pytest.raises(TemporarilyUnavailableError):
        authenticator.show(assertion())
    assert not authenticator.used.until


def test_rfc7523_3_jti_is_valid_once() -> None:
    authenticator = Authenticator()
    token = assertion()
    authenticator.show(token)
    with pytest.raises(InvalidClientError, match="used before") as refused:
        authenticator.show(token)
    assert refused.value.description == "Client authentication failed."


def test_rfc7523_3_jti_is_stored_past_expiry() -> None:
    authenticator = Authenticator()
    authenticator.show(assertion(assertion_claims(exp=NOW + 60)))
    (until,) = authenticator.used.until.values()
    assert until > NOW + 60


def test_rfc7523_3_two_clients_may_choose_the_same_jti() -> None:
    authenticator = Authenticator((signer(), signer("second")))
    authenticator.show(assertion(assertion_claims(jti="same")))
    authenticator.show(assertion(assertion_claims(jti="same", iss="second", sub="second")))


def test_concurrent_uses_of_an_assertion_succeed_once() -> None:
    authenticator, token = Authenticator(), assertion()

    def use(_: int) -> bool:
        try:
            authenticator.show(token)
        except InvalidClientError:
            return False
        return True

    with ThreadPoolExecutor(16) as threads:
        assert sum(threads.map(use, range(100))) == 1


@pytest.mark.parametrize(
    "authenticator",
    [
        Authenticator(()),
        Authenticator((replace(signer(), disabled=True),)),
        Authenticator((client(CLIENT_ID),)),
        Authenticator((signer(jwks=json.dumps({"keys": [ec_jwk("ec-2")]})),)),
    ],
    ids=["unknown client", "disabled client", "method not allowed", "no such key"],
)
def test_every_failure_costs_one_signature_check(authenticator: Authenticator) -> None:
    authenticator.dummy.checks = 0
    authenticator.refusal(assertion())
    assert authenticator.dummy.checks == 1


@pytest.mark.parametrize(
    ("rules", "complaint"),
    [
        ({"jwks": "", "jwks_uri": ""}, "not both"),
        ({"jwks": INLINE.jwks, "jwks_uri": JWKS_URI}, "not both"),
        ({"jwks": "{"}, "not_json"),
        ({"jwks": "{}"}, "JWK Set"),
        ({"jwks": '{"keys": []}'}, "usable public signing key"),
        ({"jwks": json.dumps({"keys": [ENCRYPTION_KEY]})}, "usable public signing key"),
        ({"jwks": json.dumps({"keys": [ec_jwk("ec"), ec_jwk("x") | {"kid": "ec"}]})}, "same kid"),
        ({"jwks": json.dumps({"keys": [rsa_jwk("rsa") | {"d": "AQAB"}]})}, "private"),
        ({"jwks": json.dumps({"keys": [ec_jwk("ec"), {"kty": "oct", "k": "AQAB"}]})}, "private"),
        ({"jwks_uri": "http://client.example/jwks"}, "other than localhost"),
        ({"jwks_uri": "file:///etc/passwd"}, "https"),
        ({"jwks_uri": JWKS_URI, "signing_alg": "HS256"}, "signed with one of"),
        ({"jwks_uri": JWKS_URI, "lifetime": 0}, "lives"),
        ({"jwks_uri": JWKS_URI, "lifetime": 3601}, "lives"),
    ],
)
def test_invalid_assertion_rules_cannot_be_created(rules: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        AssertionRules(**rules)


UNUSABLE_KEYS = {
    "another use": ENCRYPTION_KEY,
    "another kty": {"kty": "AKP", "kid": "ec", "alg": "ML-DSA-44", "pub": "AAAA"},
    "an unknown alg": rsa_jwk("rsa") | {"kid": "ec", "alg": "RSA-OAEP-256"},
    "other operations": rsa_jwk("rsa") | {"kid": "ec", "key_ops": ["wrapKey"]},
    "no kid": {"kty": "RSA", "use": "enc", "n": rsa_jwk("rsa")["n"], "e": "AQAB"},
    "an exact duplicate": ec_jwk("ec"),
}


@pytest.mark.parametrize("other", UNUSABLE_KEYS.values(), ids=UNUSABLE_KEYS)
@pytest.mark.parametrize("signing_alg", ["", "ES256"])
def test_rfc7517_5_unverifiable_inline_key_is_ignored(other: dict[str, object], signing_alg: str) -> None:
    for keys in ([ec_jwk("ec"), other], [other, ec_jwk("ec")]):
        authenticator = Authenticator((signer(jwks=json.dumps({"keys": keys}), signing_alg=signing_alg),))
        assert authenticator.show(assertion(kid="ec")).client_id == CLIENT_ID
