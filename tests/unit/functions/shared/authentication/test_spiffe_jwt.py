"""Clients that authenticate with a JWT-SVID. draft-ietf-oauth-spiffe-client-auth-02, 3.1."""

import json
from dataclasses import dataclass, field
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from authorizer.clock import Clocks
from functions.shared.authentication.client_assertion import ReplayCheck
from functions.shared.authentication.client_authentication import ClientAuthentication
from functions.shared.authentication.federated_jwt import FederatedJwt
from functions.shared.authentication.private_key_jwt import PrivateKeyJwt
from functions.shared.authentication.remote_jwks import RemoteJwks
from functions.shared.authentication.spiffe_jwt import SpiffeJwt
from functions.shared.authentication.trust_bundles import TrustBundles
from functions.shared.clients.assertion_rules import AssertionRules
from functions.shared.clients.client import Client
from functions.shared.web.oauth_errors import InvalidClientError, InvalidRequestError, TemporarilyUnavailableError
from tests.support.assertions import CountedDummy, assertion, assertion_claims, assertion_form, authenticate
from tests.support.aws import ISSUER
from tests.support.clock import ManualClock
from tests.support.memory_stores import MemoryClients, MemoryOneTimeUse
from tests.support.proxy_events import token_event
from tests.support.server import NOW, client
from tests.support.spiffe import (
    BUNDLE_ENDPOINT,
    WORKLOAD,
    BundleEndpoints,
    TrustDomain,
    spiffe_rules,
    svid_form,
    workload_client,
)
from tests.support.tokens import ec_jwk, ec_key, encode, jwks, rsa_jwk, rsa_key

DOMAIN = TrustDomain()
OTHER = TrustDomain("other.example")
OTHER_WORKLOAD = WORKLOAD.replace(DOMAIN.name, OTHER.name)


@dataclass
class Authenticator:
    """A server's client authentication with bundles of two trust domains."""

    clients: tuple[Client, ...] = (workload_client(),)
    web: BundleEndpoints = field(default_factory=lambda: BundleEndpoints(DOMAIN, OTHER))
    clock: ManualClock = field(default_factory=ManualClock)
    dummies: CountedDummy = field(default_factory=CountedDummy)

    def __post_init__(self) -> None:
        clocks = Clocks(self.clock, self.clock)
        keys, used = RemoteJwks(self.web.send, clocks), MemoryOneTimeUse()
        methods = (
            SpiffeJwt(ISSUER, TrustBundles(self.web.send, clocks), keys, ReplayCheck("jwt-svid", used), self.dummies),
            PrivateKeyJwt(ISSUER, keys, ReplayCheck("client-assertion", used)),
            FederatedJwt(ISSUER, keys, ReplayCheck("federated-token", used)),
        )
        self.authentication = ClientAuthentication(MemoryClients(*self.clients), methods, self.clock)

    def knock(self, svid: str, client_id: str | None = "worker", **form: str) -> Client:
        named = {} if client_id is None else {"client_id": client_id}
        return authenticate(self.authentication, token_event(svid_form(svid, **named) | form))

    def rejects(self, svid: str, client_id: str | None = "worker", **form: str) -> str:
        with pytest.raises(InvalidClientError) as caught:
            self.knock(svid, client_id, **form)
        return str(caught.value.reason)

    def defers(self, svid: str) -> TemporarilyUnavailableError:
        with pytest.raises(TemporarilyUnavailableError) as caught:
            self.knock(svid)
        return caught.value


@pytest.fixture
def server() -> Authenticator:
    return Authenticator()


@pytest.mark.parametrize(
    ("registered", "subject"),
    [
        (WORKLOAD, WORKLOAD),
        ("spiffe://example.org/ns/payments/*", WORKLOAD),
        ("spiffe://example.org/*", "spiffe://example.org/a"),
    ],
)
def test_spiffe_client_auth_3_1_jwt_svid_authenticates(registered: str, subject: str) -> None:
    server = Authenticator((workload_client(registered),))
    assert server.knock(DOMAIN.jwt_svid(subject)).client_id == "worker"
    assert server.knock(DOMAIN.jwt_svid(subject)).client_id == "worker"
    assert server.web.fetched == [BUNDLE_ENDPOINT]


def test_spiffe_client_auth_3_1_client_id_is_optional() -> None:
    server = Authenticator((workload_client(client_id=WORKLOAD),))
    assert server.knock(DOMAIN.jwt_svid(), None).client_id == WORKLOAD
    assert server.knock(DOMAIN.jwt_svid(), WORKLOAD).client_id == WORKLOAD
    assert server.rejects(DOMAIN.jwt_svid(f"{WORKLOAD}-2"), WORKLOAD) == (
        "JWT-SVID: client_id is another SPIFFE ID than sub"
    )


@pytest.mark.parametrize(
    ("subject", "registered"),
    [
        (f"{WORKLOAD}2", WORKLOAD),
        (f"{WORKLOAD}/2", WORKLOAD),
        (WORKLOAD.upper().replace("SPIFFE", "spiffe"), WORKLOAD),
        ("spiffe://Example.org/ns/payments/sa/worker", WORKLOAD),
        ("spiffe://example.org/ns/payments/sa/../sa/worker", WORKLOAD),
        ("spiffe://example.org/ns/payments/%73a/worker", WORKLOAD),
        (f"{WORKLOAD}/", WORKLOAD),
        (f"{WORKLOAD}?x", WORKLOAD),
        ("spiffe://example.org/ab", "spiffe://example.org/a/*"),
        ("spiffe://example.org/a", "spiffe://example.org/a/*"),
        ("spiffe://example.org/a/../b", "spiffe://example.org/a/*"),
        ("spiffe://example.org/a/%2e%2e/b", "spiffe://example.org/a/*"),
        ("spiffe://example.org/a/*", "spiffe://example.org/a/*"),
        ("spiffe://example.org", "spiffe://example.org/*"),
        ("worker", WORKLOAD),
        ([WORKLOAD], WORKLOAD),
        (..., WORKLOAD),
    ],
)
def test_other_spiffe_id_is_rejected(subject: object, registered: str) -> None:
    server = Authenticator((workload_client(registered),))
    assert server.rejects(DOMAIN.jwt_svid(subject)).startswith("JWT-SVID: sub is not")
    assert not server.web.fetched
    assert server.dummies.checks == 1


def test_trust_domain_of_the_subject_decides_the_keys(server: Authenticator) -> None:
    assert "not the SPIFFE ID of the client" in server.rejects(OTHER.jwt_svid(OTHER_WORKLOAD))
    assert server.rejects(OTHER.jwt_svid(WORKLOAD)) == "client assertion: kid_unknown"
    stolen_kid = {"kid": DOMAIN.key_id("jwt-1")}
    assert server.rejects(OTHER.jwt_svid(WORKLOAD, header=stolen_kid)) == "client assertion: signature_invalid"


def test_bundle_of_another_trust_domain_is_not_used() -> None:
    """Both trust domains are trusted, and each has a client of the same path."""
    server = Authenticator((workload_client(), workload_client(OTHER_WORKLOAD, client_id="other")))
    assert server.knock(DOMAIN.jwt_svid()).client_id == "worker"
    assert server.knock(OTHER.jwt_svid(OTHER_WORKLOAD), "other").client_id == "other"
    for svid, client_id in ((OTHER.jwt_svid(WORKLOAD), "worker"), (DOMAIN.jwt_svid(OTHER_WORKLOAD), "other")):
        server.clock.advance(31)
        assert server.rejects(svid, client_id) == "client assertion: kid_unknown"


def test_one_url_for_two_trust_domains_is_two_bundles(server: Authenticator) -> None:
    """A bundle has no name: a wrong registration must not join two trust domains in the cache."""
    shared = Authenticator((workload_client(), workload_client(OTHER_WORKLOAD, client_id="other")))
    shared.web.publish(DOMAIN.bundle(), f"https://bundles.example/{OTHER.name}")
    shared.knock(DOMAIN.jwt_svid())
    assert shared.rejects(OTHER.jwt_svid(OTHER_WORKLOAD), "other") == "client assertion: kid_unknown"
    assert len(set(shared.web.fetched)) == 2


@pytest.mark.parametrize("audience", [ISSUER, [ISSUER]])
def test_spiffe_client_auth_3_1_audience_is_the_issuer(server: Authenticator, audience: object) -> None:
    assert server.knock(DOMAIN.jwt_svid(aud=audience)).client_id == "worker"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"aud": ...}, "aud_missing"),
        ({"aud": []}, "aud_"),
        ({"aud": f"{ISSUER}/oauth2/token"}, "aud_other"),
        ({"aud": f"{ISSUER}/"}, "aud_other"),
        ({"aud": [ISSUER, "https://other.example"]}, "aud_other"),
        ({"aud": [ISSUER, ISSUER]}, "aud_other"),
        ({"aud": "spiffe://example.org/auth"}, "aud_other"),
        ({"exp": ...}, "exp_missing"),
        ({"exp": NOW}, "expired"),
        ({"exp": "never"}, "exp_"),
        ({"exp": NOW + 3631}, "lifetime_too_long"),
        ({"iat": NOW + 31}, "not_yet_valid"),
        ({"nbf": NOW + 31}, "not_yet_valid"),
        ({"iss": ISSUER}, "iss_unknown"),
    ],
)
def test_jwt_svid_3_claims_are_checked(server: Authenticator, changes: dict[str, Any], reason: str) -> None:
    assert server.rejects(DOMAIN.jwt_svid(**changes)).startswith(f"client assertion: {reason}")


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://spire.example"},
        {"iss": ...},
        {"iss": WORKLOAD},
        {"iat": ...},
        {"jti": "one"},
        {"nbf": NOW, "exp": NOW + 3600},
        {"role": ["a", {"b": 1}]},
    ],
)
def test_jwt_svid_3_optional_claims_change_nothing(server: Authenticator, changes: dict[str, Any]) -> None:
    svid = DOMAIN.jwt_svid(**changes)
    assert server.knock(svid).client_id == "worker"
    assert server.knock(svid).client_id == "worker"


def test_jwt_svid_7_1_one_time_svids_need_a_jti() -> None:
    server = Authenticator((workload_client(one_time=True),))
    svid = DOMAIN.jwt_svid(jti="one")
    assert server.knock(svid).client_id == "worker"
    assert server.rejects(svid) == "client assertion: used before"
    assert server.rejects(DOMAIN.jwt_svid()) == "client assertion: jti_missing"


@pytest.mark.parametrize("typ", ["JWT", "JOSE", ...])
def test_jwt_svid_2_3_type_is_jwt_or_jose(server: Authenticator, typ: object) -> None:
    assert server.knock(DOMAIN.jwt_svid(header={"typ": typ})).client_id == "worker"


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"typ": "at+jwt"}, "typ_not_allowed"),
        ({"typ": "dpop+jwt"}, "typ_not_allowed"),
        ({"typ": "client-authentication+jwt"}, "typ_not_allowed"),
        ({"typ": "wit+jwt"}, "typ_not_allowed"),
        ({"jwk": ec_jwk("own")}, "jwk_present"),
        ({"x5c": ["AA=="]}, "x5c_present"),
        ({"jku": BUNDLE_ENDPOINT}, "jku_present"),
        ({"crit": ["exp"]}, "crit_present"),
        ({"kid": "unknown"}, "kid_unknown"),
        ({"kid": 7}, "kid_not_string"),
    ],
)
def test_jwt_svid_2_other_headers_are_rejected(server: Authenticator, header: dict[str, object], reason: str) -> None:
    svid = DOMAIN.jwt_svid()
    _, payload, _ = svid.split(".")
    signed = {"alg": "ES256", "kid": DOMAIN.key_id("jwt-1")} | header
    assert server.rejects(f"{encode(json.dumps(signed).encode())}.{payload}.{encode(bytes(64))}") == (
        f"client assertion: {reason}"
    )


def _signed_with(alg: str, key: Any, kid: str) -> str:
    claims = {"sub": WORKLOAD, "aud": ISSUER, "exp": NOW + 300}
    return jwt.encode(claims, key, alg, {"kid": kid, "typ": None})


@pytest.mark.parametrize("alg", ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"])
def test_jwt_svid_2_1_bundle_keys_have_no_algorithm(server: Authenticator, alg: str) -> None:
    curves = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
    key = ec.generate_private_key(curves[alg]) if alg in curves else rsa_key("rsa")
    jwk = jwt.get_algorithm_by_name(alg).to_jwk(key.public_key(), as_dict=True)
    jwk.pop("key_ops", None)
    bundle = DOMAIN.bundle()
    bundle["keys"].append(jwk | {"kid": "new", "use": "jwt-svid"})
    server.web.publish(bundle)
    assert server.knock(_signed_with(alg, key, "new")).client_id == "worker"


def test_jwt_svid_2_1_algorithm_is_of_the_key(server: Authenticator) -> None:
    bundle = DOMAIN.bundle()
    bundle["keys"] += [rsa_jwk("rsa", use="jwt-svid", alg="PS256"), rsa_jwk("rsa-2", use="jwt-svid")]
    server.web.publish(bundle)
    kid = DOMAIN.key_id("jwt-1")
    numbers = ec_key(kid).public_key().public_numbers()
    public = numbers.x.to_bytes(32) + numbers.y.to_bytes(32)
    rejected = {
        _signed_with("RS256", rsa_key("rsa"), "rsa"): "key_algorithm",
        _signed_with("RS256", rsa_key("rsa"), kid): "key_algorithm",
        DOMAIN.jwt_svid(header={"kid": "rsa-2"}): "key_algorithm",
        _signed_with("HS256", public, kid): "alg_symmetric",
        _signed_with("none", None, kid): "alg_none",
        assertion({"sub": WORKLOAD, "aud": ISSUER, "exp": NOW + 300}, alg="EdDSA", kid="ed"): "alg_not_allowed",
    }
    for svid, reason in rejected.items():
        assert server.rejects(svid) == f"client assertion: {reason}"


def test_jwt_svid_2_2_key_id_is_optional(server: Authenticator) -> None:
    svid = DOMAIN.jwt_svid(header={"kid": ...})
    assert server.knock(svid).client_id == "worker"
    rotating = Authenticator()
    rotating.web.publish(TrustDomain(jwt_authorities=["jwt-1", "jwt-2"]).bundle())
    assert rotating.rejects(svid) == "client assertion: kid_missing"


@pytest.mark.parametrize(
    "members",
    [
        {"use": "x509-svid"},
        {"use": "sig"},
        {"use": ...},
        {"use": "JWT-SVID"},
        {"kid": ...},
        {"kid": 7},
        {"kty": "unknown"},
        {"kty": ...},
        {"crv": "P-521"},
        {"d": "AA"},
        {"alg": "ES384"},
        {"key_ops": ["sign"]},
    ],
)
def test_jwt_svid_6_2_other_members_do_not_verify(members: dict[str, object]) -> None:
    server = Authenticator()
    server.web.publish({"keys": [DOMAIN.jwt_member("jwt-1", **members), 7, None, DOMAIN.jwt_member("jwt-2")]})
    assert server.rejects(DOMAIN.jwt_svid()).startswith("client assertion: k")
    assert server.knock(DOMAIN.jwt_svid(authority="jwt-2")).client_id == "worker"


def test_key_id_of_two_keys_is_not_used(server: Authenticator) -> None:
    kid = DOMAIN.key_id("jwt-1")
    server.web.publish({"keys": [DOMAIN.jwt_member("jwt-1"), DOMAIN.jwt_member("jwt-2", kid=kid)]})
    assert server.rejects(DOMAIN.jwt_svid()) == "client assertion: kid_ambiguous"


def test_assertions_of_two_kinds_are_not_exchangeable() -> None:
    """A JWT-SVID does not pass as private_key_jwt, and the reverse."""
    keys = jwks(ec_jwk("ec"), DOMAIN.jwt_member("jwt-1", use="sig")).decode()
    signer = client(
        "signer", authentication_methods=frozenset({"private_key_jwt"}), assertion=AssertionRules(jwks=keys), secrets=()
    )
    both = client(
        WORKLOAD,
        authentication_methods=frozenset({"private_key_jwt"}),
        assertion=AssertionRules(jwks=keys),
        spiffe=spiffe_rules(),
        secrets=(),
    )
    server = Authenticator((workload_client(), signer, both))
    bearer = assertion_form("")["client_assertion_type"]
    assert server.knock(assertion(), None, client_assertion_type=bearer).client_id == "signer"
    assert server.rejects(assertion(), None) == "the client may not use this method"
    assert server.rejects(assertion(), "worker") == "JWT-SVID: sub is not a SPIFFE ID"
    assert (
        server.rejects(DOMAIN.jwt_svid(), "worker", client_assertion_type=bearer)
        == "the client may not use this method"
    )
    svid = DOMAIN.jwt_svid(iss=WORKLOAD, jti="one")
    assert server.rejects(svid, WORKLOAD) == "the client may not use this method"
    own = assertion(assertion_claims(NOW, iss=WORKLOAD, sub=WORKLOAD))
    assert server.knock(own, WORKLOAD, client_assertion_type=bearer).client_id == WORKLOAD


@pytest.mark.parametrize(
    "form",
    [
        {"client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-SPIFFE"},
        {"client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"},
    ],
)
def test_other_assertion_type_is_rejected(server: Authenticator, form: dict[str, str]) -> None:
    assert "client_assertion_type is not supported" in server.rejects(DOMAIN.jwt_svid(), **form)


def test_jwt_svid_excludes_a_secret(server: Authenticator) -> None:
    from functions.shared.authentication.client_secret import secret_methods

    methods = (*secret_methods(), *server.authentication.methods)
    both = ClientAuthentication(MemoryClients(workload_client()), methods, server.clock)
    event = token_event(svid_form(DOMAIN.jwt_svid(), client_id="worker", client_secret="x"))
    with pytest.raises(InvalidRequestError, match="More than one"):
        authenticate(both, event)


def test_unknown_client_takes_one_signature_check(server: Authenticator) -> None:
    assert server.rejects(DOMAIN.jwt_svid(), "absent") == "unknown client"
    assert server.dummies.checks == 1
    assert not server.web.fetched


def test_unpublished_keys_are_503(server: Authenticator) -> None:
    server.web.responses.clear()
    assert "no usable bundle of example.org" in str(server.defers(DOMAIN.jwt_svid()).reason)


def test_unknown_key_ids_cause_one_fetch(server: Authenticator) -> None:
    server.knock(DOMAIN.jwt_svid())
    server.clock.advance(10)
    assert server.rejects(DOMAIN.jwt_svid(header={"kid": "random"})) == "client assertion: kid_unknown"
    server.clock.advance(10)
    for number in range(20):
        assert server.defers(DOMAIN.jwt_svid(header={"kid": f"random-{number}"})).headers == {"Retry-After": "20"}
        server.knock(DOMAIN.jwt_svid())
    assert len(server.web.fetched) == 2
    server.web.publish(TrustDomain(jwt_authorities=["jwt-1", "jwt-2"]).bundle(spiffe_sequence=2))
    server.clock.advance(20)
    assert server.knock(DOMAIN.jwt_svid(authority="jwt-2")).client_id == "worker"
    assert len(server.web.fetched) == 3


def test_jwks_without_use_verifies_jwt_svids() -> None:
    """SPIRE's OIDC discovery provider publishes such a set."""
    uri = "https://oidc.example/keys"
    server = Authenticator((workload_client(jwks_uri=uri),))
    server.web.publish({"keys": [DOMAIN.jwt_member("jwt-1", use=...)]}, uri)
    assert server.knock(DOMAIN.jwt_svid()).client_id == "worker"
    assert server.rejects(DOMAIN.jwt_svid(header={"kid": ...})) == "client assertion: kid_missing"
    assert server.rejects(DOMAIN.jwt_svid(header={"kid": DOMAIN.key_id("jwt-2")})) == "client assertion: kid_unknown"


def test_registered_bundle_is_not_fetched() -> None:
    server = Authenticator((workload_client(bundle=json.dumps(DOMAIN.bundle())),))
    assert server.knock(DOMAIN.jwt_svid()).client_id == "worker"
    assert server.rejects(DOMAIN.jwt_svid(authority="jwt-2")) == "client assertion: kid_unknown"
    assert not server.web.fetched
