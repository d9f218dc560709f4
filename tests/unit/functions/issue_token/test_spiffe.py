"""SVIDs at the token endpoint: clients that are found by their SPIFFE ID, and JWT-SVIDs as grants."""

import json
from dataclasses import replace
from typing import Any

import jwt
import pytest

from functions.shared.clients.assertion_rules import FederationRule
from functions.shared.clients.client import Client
from functions.shared.clients.supported import JWT_BEARER
from functions.shared.clients.trust_rule import TrustRule, federated_clients
from functions.shared.web.endpoint import TOKEN_PATH, ProxyResponse
from tests.support.aws import ISSUER
from tests.support.client_certificates import with_certificate
from tests.support.memory_server import MemoryServer, memory_server
from tests.support.proxy_events import form_event
from tests.support.server import NOW, assertion_client, client
from tests.support.spiffe import DOMAIN, WORKLOAD, TrustDomain, pem, svid_form, workload_client
from tests.support.tokens import ed25519_jwk, ed25519_key

API = "https://api.example"
ORG = TrustDomain()
RULE = TrustRule(
    name="workers",
    issuer=f"spiffe://{DOMAIN}",
    client_id="workers",
    claims={"sub": f"spiffe://{DOMAIN}/ns/payments/*"},
    spiffe_bundle_endpoint="https://bundles.example/example.org",
)
WORKERS = assertion_client("workers", API)


def server(*clients: Client, rules: tuple[TrustRule, ...] = ()) -> MemoryServer:
    made = memory_server(*clients)
    made.trust.entries.extend([*rules, *(pointer for each in clients for pointer in federated_clients(each))])
    return made


def by_svid(at: MemoryServer, svid: str, **form: str) -> ProxyResponse:
    return at.token_endpoint(form_event(TOKEN_PATH, svid_form(svid, **form)))


def by_certificate(at: MemoryServer, client_id: str, spiffe_id: str = WORKLOAD) -> ProxyResponse:
    form = {"grant_type": "client_credentials", "client_id": client_id}
    return at.token_endpoint(with_certificate(form_event(TOKEN_PATH, form), pem(ORG.x509_svid(spiffe_id))))


def by_grant(at: MemoryServer, svid: str) -> ProxyResponse:
    return at.token_endpoint(form_event(TOKEN_PATH, {"grant_type": JWT_BEARER, "assertion": svid}))


def subject(answer: ProxyResponse) -> str:
    assert answer["statusCode"] == 200, answer["body"]
    claims: dict[str, Any] = jwt.decode(json.loads(answer["body"])["access_token"], options={"verify_signature": False})
    return str(claims["client_id" if "client_id" in claims else "sub"])


def refused(at: MemoryServer, answer: ProxyResponse, error: str = "invalid_client") -> str:
    assert json.loads(answer["body"])["error"] == error
    return str(json.loads(at.log[-1])["reason"])


def test_spiffe_client_auth_3_spiffe_id_finds_the_client() -> None:
    methods = ("spiffe_jwt", "spiffe_x509")
    at = server(
        workload_client("spiffe://example.org/ns/payments/*", *methods, client_id="payments"),
        workload_client("spiffe://example.org/ns/billing/*", *methods, client_id="billing"),
    )
    billing = "spiffe://example.org/ns/billing/a"
    assert subject(by_svid(at, ORG.jwt_svid(billing))) == "billing"
    for response in (
        by_svid(at, ORG.jwt_svid()),
        by_svid(at, ORG.jwt_svid(), client_id=WORKLOAD),
        by_svid(at, ORG.jwt_svid(), client_id="payments"),
        by_certificate(at, WORKLOAD),
        by_certificate(at, "payments"),
    ):
        assert subject(response) == "payments"
    assert len(at.trust.lookups) == 1
    assert [json.loads(line)["spiffe_id"] for line in at.log] == [billing, *[WORKLOAD] * 5]


def test_spiffe_id_2_3_long_id_finds_the_client() -> None:
    at = server(workload_client("spiffe://example.org/*", "spiffe_jwt", "spiffe_x509", client_id="all"))
    longest = "spiffe://example.org/".ljust(2048, "a")
    assert subject(by_svid(at, ORG.jwt_svid(longest))) == "all"
    assert subject(by_certificate(at, longest, longest)) == "all"


def test_other_workloads_find_no_client() -> None:
    at = server(workload_client("spiffe://example.org/ns/payments/*", client_id="payments"))
    other = "spiffe://example.org/ns/payments-2/a"
    assert refused(at, by_svid(at, ORG.jwt_svid(other))) == "unknown client"
    assert refused(at, by_svid(at, TrustDomain("other.example").jwt_svid("spiffe://other.example/ns/payments/a"))) == (
        "unknown client"
    )
    assert "client_id is another" in refused(
        at, by_svid(at, ORG.jwt_svid(), client_id="spiffe://example.org/ns/payments/x")
    )
    assert "may not use this method" in refused(at, by_certificate(at, WORKLOAD))


def test_ambiguous_workload_is_refused_unless_the_client_is_named() -> None:
    at = server(
        workload_client("spiffe://example.org/*", client_id="all"),
        workload_client("spiffe://example.org/ns/*", client_id="some"),
    )
    assert refused(at, by_svid(at, ORG.jwt_svid())) == "the token authenticates several clients: all, some"
    assert subject(by_svid(at, ORG.jwt_svid(), client_id="some")) == "some"


def test_unknown_trust_domains_share_a_limit() -> None:
    at = server()
    for number in range(60):
        domain = TrustDomain(f"domain-{number}.example")
        answer = by_svid(at, domain.jwt_svid(f"spiffe://{domain.name}/a"))
    assert answer["statusCode"] == 429
    assert len(at.trust.lookups) < 40


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"iat": ...},
        {"header": {"kid": ...}},
        *({"iss": iss} for iss in ("https://token.actions.githubusercontent.com", "x" * 3000, "https://spire.example")),
    ],
    ids=lambda changes: str(changes)[:20],
)
def test_rfc7523_2_1_jwt_svid_is_a_grant(changes: dict[str, Any]) -> None:
    """The issuer of a workload is its trust domain, whatever `iss` is, and whatever client has rules for `iss`."""
    federation = (FederationRule(issuer="https://spire.example", audience=ISSUER, subject=WORKLOAD),)
    workload = client(
        "workload", authentication_methods=frozenset({"federated_jwt"}), federation=federation, secrets=()
    )
    answer = by_grant(server(WORKERS, workload, rules=(RULE,)), ORG.jwt_svid(**changes))
    assert subject(answer) == "workers"
    claims = jwt.decode(json.loads(answer["body"])["access_token"], options={"verify_signature": False})
    assert claims["sub_id"] == {"format": "iss_sub", "iss": f"spiffe://{DOMAIN}", "sub": WORKLOAD}


@pytest.mark.parametrize(
    ("svid", "reason"),
    [
        (ORG.jwt_svid("spiffe://example.org/ns/billing/a"), "no trust rule matches: workers: sub"),
        (ORG.jwt_svid("spiffe://example.org/ns/payments/../billing/a"), "no trust rule matches: workers: sub"),
        (ORG.jwt_svid("spiffe://example.org/ns/payments/%61"), "no trust rule matches: workers: sub"),
        (ORG.jwt_svid("spiffe://Example.org/ns/payments/a"), "the issuer is not trusted"),
        (ORG.jwt_svid("spiffe://other.example/ns/payments/a"), "the issuer is not trusted"),
        (TrustDomain("other.example").jwt_svid(), "kid_unknown"),
        (TrustDomain("other.example").jwt_svid(header={"kid": "example.org jwt-1"}), "signature_invalid"),
        (ORG.jwt_svid(aud="https://other.example"), "aud_other"),
        (ORG.jwt_svid(exp=NOW - 1), "expired"),
        (ORG.jwt_svid(iat=..., exp=NOW + 4000), "lifetime_too_long"),
        (ORG.jwt_svid(iat=NOW - 4000), "lifetime_too_long"),
    ],
)
def test_other_jwt_svids_are_rejected_as_grants(svid: str, reason: str) -> None:
    at = server(WORKERS, rules=(RULE,))
    assert reason in refused(at, by_grant(at, svid), "invalid_grant")


def test_spiffe_3_trust_domain_speaks_for_its_own_workloads_only() -> None:
    any_workload = replace(RULE, claims={"sub": "spiffe://*"})
    at = server(WORKERS, rules=(any_workload,))
    svid = ORG.jwt_svid("spiffe://other.example/ns/payments/a", iss=f"spiffe://{DOMAIN}")
    assert refused(at, by_grant(at, svid), "invalid_grant") == "no trust rule matches: workers: sub"


def test_jwt_svid_2_1_grant_has_an_algorithm_of_svids() -> None:
    at = server(WORKERS, rules=(RULE,))
    at.endpoints.publish({"keys": [ed25519_jwk("ed", use="jwt-svid")]})
    claims = {"sub": WORKLOAD, "aud": "http://localhost:8085/ms-auth-server", "iat": NOW, "exp": NOW + 60}
    svid = jwt.encode(claims, ed25519_key("ed"), "EdDSA", {"kid": "ed"})
    assert "workers: alg" in refused(at, by_grant(at, svid), "invalid_grant")


def test_bundle_outage_is_503_for_a_grant() -> None:
    at = server(WORKERS, rules=(RULE,))
    at.endpoints.responses.clear()
    assert by_grant(at, ORG.jwt_svid())["statusCode"] == 503
