"""Clients that authenticate with a JWT of a trusted issuer."""

import json
from dataclasses import dataclass, field
from typing import Any

import jwt
import pytest

from authorizer.jws import ALGORITHMS
from functions.shared.authentication.client_assertion import ReplayCheck
from functions.shared.authentication.client_authentication import ClientAuthentication
from functions.shared.authentication.federated_jwt import FederatedJwt
from functions.shared.authentication.private_key_jwt import PrivateKeyJwt
from functions.shared.clients.assertion_rules import FederationRule
from functions.shared.clients.client import Client
from functions.shared.web.oauth_errors import InvalidClientError, InvalidRequestError, TemporarilyUnavailableError
from tests.support.assertions import CountedDummy, MemoryRemoteJwks, assertion, assertion_form, authenticate
from tests.support.aws import ISSUER
from tests.support.clock import ManualClock
from tests.support.dpop_proofs import private_key, public_jwk
from tests.support.memory_stores import MemoryClients, MemoryOneTimeUse
from tests.support.proxy_events import token_event
from tests.support.server import NOW, client
from tests.support.tokens import ec_jwk, rsa_jwk

GITHUB = "https://token.actions.githubusercontent.com"
CLUSTER = "https://oidc.eks.eu-west-1.amazonaws.com/id/0123456789ABCDEF"
STS = "https://abc123-def456.tokens.sts.global.api.aws"
STS_CLAIMS = "https://sts.amazonaws.com/"

WORKLOADS: dict[str, tuple[FederationRule, dict[str, Any]]] = {
    "GitHub Actions": (
        FederationRule(
            issuer=GITHUB,
            audience=ISSUER,
            subject="repo:example/deploy:*",
            claims={"repository": "example/deploy", "ref": "refs/heads/main"},
        ),
        {
            "iss": GITHUB,
            "aud": ISSUER,
            "sub": "repo:example/deploy:environment:production",
            "repository": "example/deploy",
            "ref": "refs/heads/main",
            "environment": "production",
        },
    ),
    "Kubernetes": (
        FederationRule(
            issuer=CLUSTER,
            audience=ISSUER,
            subject="system:serviceaccount:payments:worker",
            claims={"kubernetes.io": {"serviceaccount": {"name": "worker"}}},
        ),
        {
            "iss": CLUSTER,
            "aud": [ISSUER],
            "sub": "system:serviceaccount:payments:worker",
            "kubernetes.io": {
                "namespace": "payments",
                "pod": {"name": "worker-1", "uid": "2"},
                "serviceaccount": {"name": "worker", "uid": "1"},
            },
        },
    ),
    "AWS STS": (
        FederationRule(
            issuer=STS,
            audience=ISSUER,
            subject="arn:aws:iam::123456789012:role/Billing",
            claims={STS_CLAIMS: {"aws_account": "123456789012", "org_id": "o-abc"}},
        ),
        {
            "iss": STS,
            "aud": ISSUER,
            "sub": "arn:aws:iam::123456789012:role/Billing",
            STS_CLAIMS: {"aws_account": "123456789012", "org_id": "o-abc", "region": "eu-west-1"},
        },
    ),
}
RULE, CLAIMS = WORKLOADS["GitHub Actions"]
RULES = tuple(rule for rule, _ in WORKLOADS.values())


def federated(*rules: FederationRule) -> Client:
    return client(
        "workload", authentication_methods=frozenset({"federated_jwt"}), federation=rules or RULES, secrets=()
    )


def token(claims: dict[str, Any] | None = None, **header: Any) -> str:
    """Sign a workload's claims with the issuer's key; times have defaults."""
    times = {"iat": NOW - 60, "exp": NOW + 600, "nbf": NOW - 60, "jti": "one"}
    given = times | (claims or CLAIMS)
    return assertion(
        {name: value for name, value in given.items() if value is not ...}, **{"alg": "RS256", "kid": "idp"} | header
    )


@dataclass
class Authenticator:
    """A server's client authentication with a federated client."""

    clients: tuple[Client, ...] = (federated(),)
    used: MemoryOneTimeUse = field(default_factory=MemoryOneTimeUse)
    dummy: CountedDummy = field(default_factory=CountedDummy)
    clock: ManualClock = field(default_factory=lambda: ManualClock(NOW))
    keys: MemoryRemoteJwks = field(default_factory=MemoryRemoteJwks)

    def __post_init__(self) -> None:
        for issuer in (GITHUB, CLUSTER, STS, ISSUER):
            self.keys.publish(issuer, rsa_jwk("idp"), ec_jwk("ec"))

    def show(self, unverified_token: str, client_id: str = "workload") -> Client:
        methods = (
            PrivateKeyJwt(ISSUER, self.keys, ReplayCheck("a", self.used), self.dummy),
            FederatedJwt(ISSUER, self.keys, ReplayCheck("b", self.used), self.dummy),
        )
        authentication = ClientAuthentication(MemoryClients(*self.clients), methods, self.clock)
        form = assertion_form(unverified_token, client_id=client_id)
        return authenticate(authentication, token_event(form))

    def refusal(self, unverified_token: str) -> str:
        with pytest.raises(InvalidClientError) as refused:
            self.show(unverified_token)
        assert refused.value.description == "Client authentication failed."
        return str(refused.value.reason)


@pytest.mark.parametrize("alg", sorted(ALGORITHMS))
def test_issuer_may_sign_with_each_algorithm(alg: str) -> None:
    """The issuer's key set has keys of several types, without `alg`."""
    authenticator = Authenticator()
    authenticator.keys.publish(GITHUB, rsa_jwk("idp"), ec_jwk("ec"), public_jwk(alg) | {"kid": "own"})
    times = {"iat": NOW - 60, "exp": NOW + 600, "jti": "one"}
    made = jwt.api_jws.encode(json.dumps(times | CLAIMS).encode(), private_key(alg), alg, {"kid": "own"})
    assert authenticator.show(made).client_id == "workload"


@pytest.mark.parametrize(("rule", "claims"), WORKLOADS.values(), ids=WORKLOADS)
def test_workload_token_authenticates_its_client(rule: FederationRule, claims: dict[str, Any]) -> None:
    assert Authenticator((federated(rule),)).show(token(claims)).client_id == "workload"


@pytest.mark.parametrize("claims", [claims for _, claims in WORKLOADS.values()])
def test_client_may_have_several_issuers(claims: dict[str, Any]) -> None:
    assert Authenticator().show(token(claims)).client_id == "workload"


@pytest.mark.parametrize("header", [{}, {"typ": ...}, {"typ": "JOSE"}, {"x5t": "thumb"}, {"x5t#S256": "thumb"}])
def test_well_known_issuers_headers_are_accepted(header: dict[str, Any]) -> None:
    Authenticator().show(token(**header))


@pytest.mark.parametrize("typ", ["at+jwt", "dpop+jwt", "logout+jwt"])
def test_rfc8725_3_11_token_of_other_type_is_rejected(typ: str) -> None:
    assert "typ_not_allowed" in Authenticator().refusal(token(typ=typ))


@pytest.mark.parametrize("member", ["jku", "x5u", "x5c", "crit"])
def test_rfc8725_3_10_header_with_own_key_is_rejected(member: str) -> None:
    with pytest.raises(InvalidClientError):
        Authenticator().show(token(None, **{member: ["https://evil.example"]}))


def test_gatehouse_tokens_are_not_assertions() -> None:
    rule = FederationRule(issuer=ISSUER, audience=ISSUER, subject="service-client-jwt")
    ours = token({"iss": ISSUER, "aud": ISSUER, "sub": "service-client-jwt"})
    assert "kid_unknown" not in Authenticator((federated(rule),)).refusal(ours)


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://other.example"},
        {"iss": GITHUB + "/"},
        {"iss": ...},
        {"aud": "https://other.example"},
        {"aud": [ISSUER, "https://other.example"]},
        {"aud": ...},
        {"sub": "repo:example/deploy"},
        {"sub": "repo:example/deploy2:ref:refs/heads/main"},
        {"sub": "prefix repo:example/deploy:ref:refs/heads/main"},
        {"sub": ...},
        {"sub": 1},
        {"repository": "example/Deploy"},
        {"repository": ["example/deploy"]},
        {"ref": ...},
        {"exp": NOW},
        {"exp": ...},
        {"iat": ...},
        {"iat": NOW - 3630, "nbf": ...},
        {"iat": NOW + 31},
        {"nbf": NOW + 31},
    ],
)
def test_token_without_matching_rule_is_rejected(changes: dict[str, Any]) -> None:
    assert Authenticator().refusal(token(CLAIMS | changes))


def test_token_at_max_age_is_accepted() -> None:
    Authenticator().show(token(CLAIMS | {"iat": NOW - 3629}))


def test_token_of_unpublished_key_is_rejected() -> None:
    assert "kid_unknown" in Authenticator().refusal(token(kid="another"))
    authenticator = Authenticator()
    authenticator.keys.publish(GITHUB, rsa_jwk("another") | {"kid": "idp"})
    assert "signature_invalid" in authenticator.refusal(token())


def test_unreachable_issuer_is_503() -> None:
    authenticator = Authenticator()
    del authenticator.keys.published[GITHUB]
    with pytest.raises(TemporarilyUnavailableError):
        authenticator.show(token())


def test_untrusted_issuer_is_never_contacted() -> None:
    authenticator = Authenticator()
    authenticator.refusal(token(CLAIMS | {"iss": "https://evil.example"}))
    assert authenticator.keys.fetched == []
    assert authenticator.dummy.checks == 1


def test_client_id_is_required() -> None:
    with pytest.raises(InvalidRequestError, match="client_id is missing"):
        Authenticator().show(token(), client_id="")


def test_token_is_reusable_until_it_expires() -> None:
    authenticator = Authenticator()
    authenticator.show(token())
    authenticator.show(token())
    assert not authenticator.used.until


def test_one_time_rule_accepts_a_token_once() -> None:
    rule = FederationRule(issuer=GITHUB, audience=ISSUER, subject="repo:*", one_time=True)
    authenticator = Authenticator((federated(rule),))
    authenticator.show(token())
    assert "used before" in authenticator.refusal(token())
    assert "jti_missing" in Authenticator((federated(rule),)).refusal(token(CLAIMS | {"jti": ...}))


@pytest.mark.parametrize(
    "clients",
    [(), (client("workload"),), (client("workload", disabled=True),)],
    ids=["unknown client", "method not allowed", "disabled client"],
)
def test_every_failure_costs_one_signature_check(clients: tuple[Client, ...]) -> None:
    authenticator = Authenticator(clients)
    authenticator.refusal(token())
    assert authenticator.dummy.checks == 1


@pytest.mark.parametrize(
    ("subject", "found", "admitted"),
    [
        ("a", "a", True),
        ("a", "ab", False),
        ("a*", "a", True),
        ("a*", "a\nb", True),
        ("a*c", "abc", True),
        ("a*c", "abcd", False),
        ("a.c", "abc", False),
        ("a?c", "abc", False),
        ("a[b]c", "abc", False),
    ],
)
def test_only_star_is_a_wildcard(subject: str, found: str, *, admitted: bool) -> None:
    rule = FederationRule(issuer=GITHUB, audience=ISSUER, subject=subject)
    assert rule.admits_subject(found) is admitted


@pytest.mark.parametrize(
    ("wanted", "found", "admitted"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, True),
        ({"a": 1}, {"a": True}, False),
        ({"a": True}, {"a": 1}, False),
        ({"a": "1"}, {"a": 1}, False),
        ({"a": ["x", "y"]}, {"a": ["x", "y"]}, True),
        ({"a": ["x"]}, {"a": ["x", "y"]}, False),
        ({"a": {"b": "c"}}, {"a": {"b": "c", "d": "e"}}, True),
        ({"a": {"b": "c"}}, {"a": "b"}, False),
        ({"a": None}, {}, False),
    ],
)
def test_claims_are_compared_exactly(wanted: dict[str, object], found: dict[str, object], *, admitted: bool) -> None:
    rule = FederationRule(issuer=GITHUB, audience=ISSUER, subject="a", claims=wanted)
    assert rule.admits_claims(found) is admitted


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"issuer": "http://issuer.example"}, "other than localhost"),
        ({"issuer": "issuer.example"}, "https"),
        ({"audience": ""}, "audience"),
        ({"subject": ""}, "subject"),
        ({"subject": "*"}, "subject"),
        ({"subject": "*:main"}, "subject"),
        ({"max_age": 0}, "counts"),
        ({"max_age": 86_401}, "counts"),
    ],
)
def test_invalid_rule_cannot_be_created(changes: dict[str, Any], complaint: str) -> None:
    given: dict[str, Any] = {"issuer": GITHUB, "audience": ISSUER, "subject": "a"} | changes
    with pytest.raises(ValueError, match=complaint):
        FederationRule(**given)
