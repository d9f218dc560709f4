"""Every authentication method of the documentation, between real processes."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Barrier, Thread
from typing import Any
from uuid import uuid4

import jwt
import pytest
import requests

from functions.issue_token.token_exchange import ACCESS_TOKEN, JWT
from functions.shared.authentication.rate_limit import Limits
from functions.shared.clients.assertion_rules import AssertionRules, FederationRule
from functions.shared.clients.client import TokenProfile
from functions.shared.clients.spiffe_rules import SpiffeRules
from functions.shared.clients.supported import JWT_BEARER, TOKEN_EXCHANGE
from functions.shared.clients.trust_rule import TrustRule, to_item
from local.certificates import SPIFFE_ID, LaptopCertificates
from local.demo_clients import COUNTRY_API, CUSTOMER_API, SIGNING_CLIENT
from local.demo_clients import assertion as demo_assertion
from local.gateway import model
from local.http_server import Server
from local.prefork import worker_count
from tests.support.assertions import assertion, assertion_claims, assertion_form
from tests.support.dpop_proofs import proof
from tests.support.laptop import ROOT, Laptop, aws_client
from tests.support.proxy_events import basic
from tests.support.server import SECRET, client
from tests.support.spiffe import BundleEndpoints, TrustDomain, svid_form
from tests.support.tokens import ec_jwk, jwks, rsa_jwk

CERTIFICATES = LaptopCertificates.ensure()


def post(url: str, form: dict[str, str], certificate: Path | None = None, **headers: str) -> tuple[int, Any]:
    """Post a form, with a client certificate behind mutual TLS."""
    cert, trust = str(certificate or "") or None, str(CERTIFICATES.authority)
    answer = requests.post(url, form, headers=headers, cert=cert, verify=trust, timeout=30)
    return answer.status_code, answer.json()


@dataclass
class Site:
    """A web site that publishes keys, and the metadata of an issuer."""

    origin: str = ""
    received: int = 0
    bundle: dict[str, Any] = field(default_factory=lambda: TrustDomain().bundle())

    def handle(self, request: model.Request) -> model.Response:
        self.received += 1
        if request.path == "/.well-known/openid-configuration":
            metadata = {"issuer": self.origin, "jwks_uri": f"{self.origin}/jwks"}
            return model.Response(200, (), json.dumps(metadata).encode())
        if request.path == "/bundle":
            return model.Response(200, (), BundleEndpoints.write(self.bundle))
        return model.Response(200, (), jwks(ec_jwk("ec"), rsa_jwk("idp")))

    def too_large(self, request: model.Request) -> model.Response:
        return model.Response(413)


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    with Server("127.0.0.1", 0) as server:
        site.origin = f"http://localhost:{server.port}"
        server.open(site)
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield site
        server.shutdown()
        thread.join()


def printed(laptop: Laptop, kind: str) -> str:
    """Return a JWT that a documented command prints."""
    command = [sys.executable, "-m", "local.demo_clients", kind]
    return subprocess.check_output(command, cwd=ROOT, env=laptop.environ, text=True).strip()


CLIENT, SELF_SIGNED = CERTIFICATES.client, CERTIFICATES.self_signed_client
SVID = CERTIFICATES.svid


@pytest.mark.parametrize(
    ("client_id", "certificate", "with_proof", "status", "answer"),
    [
        pytest.param("service-client-mtls", CLIENT, False, 200, "Bearer", id="rfc8705_2_1"),
        pytest.param("service-client-mtls", CLIENT, True, 200, "DPoP", id="rfc9449_5"),
        pytest.param("service-client-self-signed", SELF_SIGNED, False, 200, "Bearer", id="rfc8705_2_2"),
        pytest.param("service-client-self-signed", CLIENT, False, 401, "invalid_client", id="other certificate"),
        pytest.param("service-client-spiffe", SVID, False, 200, "Bearer", id="spiffe_client_auth_3_2"),
        pytest.param(SPIFFE_ID, SVID, False, 200, "Bearer", id="SPIFFE ID as client_id"),
        pytest.param("service-client-spiffe", CLIENT, False, 401, "invalid_client", id="not an X509-SVID"),
    ],
)
def test_rfc8705_2_certificate_authenticates(
    laptop: Laptop, client_id: str, certificate: Path, status: int, answer: str, *, with_proof: bool
) -> None:
    url = f"{laptop.addresses.mtls_auth_server}/oauth2/token"
    headers = {"DPoP": proof(htu=url, now=int(time.time()))} if with_proof else {}
    got = post(url, {"grant_type": "client_credentials", "client_id": client_id}, certificate, **headers)
    assert (got[0], got[1].get("token_type", got[1].get("error"))) == (status, answer)


def test_connection_needs_a_client_certificate(laptop: Laptop) -> None:
    with pytest.raises(requests.exceptions.ConnectionError, match=r"(?i)certificate.required"):
        post(f"{laptop.addresses.mtls_auth_server}/oauth2/token", {"grant_type": "client_credentials"})


def test_tls_client_without_mutual_tls_is_rejected(laptop: Laptop) -> None:
    status, answer = post(
        laptop.token_endpoint, {"grant_type": "client_credentials", "client_id": "service-client-mtls"}
    )
    assert (status, answer["error"]) == (401, "invalid_client")


def test_guarded_api_behind_mutual_tls(laptop: Laptop) -> None:
    form = {"grant_type": "client_credentials", "client_id": "service-client-mtls", "scope": "country.read"}
    status, answer = post(f"{laptop.addresses.mtls_auth_server}/oauth2/token", form, CLIENT)
    assert status == 200
    url = f"{laptop.addresses.mtls_guarded_api}/country/code/AUS"
    headers = {"Authorization": f"Bearer {answer['access_token']}"}
    got = requests.get(url, headers=headers, cert=str(CLIENT), verify=str(CERTIFICATES.authority), timeout=30)
    assert (got.status_code, got.json()) == (200, {"code": "AUS", "name": "AUSTRALIA"})


def test_rfc7523_2_2_demo_assertion_is_valid_once(laptop: Laptop) -> None:
    form = assertion_form(printed(laptop, "assertion"))
    statuses = [post(laptop.token_endpoint, form)[0] for _ in range(2)]
    assert statuses == [200, 401]


def test_rfc7523_3_concurrent_assertions_are_accepted_once(laptop: Laptop) -> None:
    url = laptop.token_endpoint
    form = assertion_form(demo_assertion(laptop.addresses.issuer, time.time()))
    together = Barrier(20)

    def use(number: int) -> int:
        if number < 20:
            together.wait(timeout=10)
        return post(url, form)[0]

    with ThreadPoolExecutor(20) as threads:
        statuses = list(threads.map(use, range(100)))
    assert sorted(statuses) == [200] + [401] * 99


def test_assertion_authenticates_at_introspection(laptop: Laptop) -> None:
    issuer = laptop.addresses.issuer
    form = assertion_form(demo_assertion(issuer, time.time())) | {"token": "gh_at_nothing"}
    assert post(f"{issuer}/oauth2/introspect", form) == (200, {"active": False})


def test_jwks_uri_is_fetched_once_per_process(laptop: Laptop, site: Site) -> None:
    client_id = f"remote-{uuid4()}"
    rules = AssertionRules(jwks_uri=f"{site.origin}/jwks")
    laptop.clients.put(client(client_id, authentication_methods=frozenset({"private_key_jwt"}), assertion=rules))
    issuer = laptop.addresses.issuer
    workers = worker_count(os.environ)
    for _ in range(5 * workers):
        claims = assertion_claims(time.time(), iss=client_id, sub=client_id, aud=issuer)
        assert post(laptop.token_endpoint, assertion_form(assertion(claims)))[0] == 200
    assert 1 <= site.received <= workers


def test_unreachable_jwks_uri_is_503(laptop: Laptop) -> None:
    client_id = f"unreachable-{uuid4()}"
    rules = AssertionRules(jwks_uri="http://localhost:1/jwks")
    laptop.clients.put(client(client_id, authentication_methods=frozenset({"private_key_jwt"}), assertion=rules))
    issuer = laptop.addresses.issuer
    claims = assertion_claims(time.time(), iss=client_id, sub=client_id, aud=issuer)
    status, answer = post(laptop.token_endpoint, assertion_form(assertion(claims)))
    assert (status, answer["error"]) == (503, "temporarily_unavailable")


def test_workload_token_authenticates(laptop: Laptop, site: Site) -> None:
    issuer, client_id = laptop.addresses.issuer, f"workload-{uuid4()}"
    rule = FederationRule(issuer=site.origin, audience=issuer, subject="repo:example/*", claims={"ref": "main"})
    laptop.clients.put(
        client(
            client_id,
            authentication_methods=frozenset({"federated_jwt"}),
            federation=(rule,),
            scopes=frozenset({"country.read"}),
        )
    )
    times = {"iat": int(time.time()), "exp": int(time.time()) + 300}
    claims = {"iss": site.origin, "aud": issuer, "sub": "repo:example/a", "ref": "main", **times}
    good = assertion(claims, alg="RS256", kid="idp")
    bad = assertion(claims | {"ref": "other"}, alg="RS256", kid="idp")
    url = laptop.token_endpoint
    statuses = [post(url, assertion_form(token, client_id=client_id))[0] for token in (good, good, bad)]
    assert statuses == [200, 200, 401]
    # Discovery and keys, in each process that was asked.
    assert site.received in range(2, 2 * worker_count(os.environ) + 1, 2)


def test_spiffe_client_auth_3_1_demo_svid_is_accepted(laptop: Laptop) -> None:
    url, form = laptop.token_endpoint, svid_form(printed(laptop, "svid"))
    named = [{}, {"client_id": SPIFFE_ID}, {"client_id": "service-client-spiffe"}, {"client_id": "service-client-key"}]
    assert [post(url, form | more)[0] for more in named] == [200, 200, 200, 401]


def test_bundle_endpoint_is_fetched_once_per_process(laptop: Laptop, site: Site) -> None:
    issuer, client_id, domain = laptop.addresses.issuer, f"spiffe-{uuid4()}", TrustDomain(now=time.time())
    rules = SpiffeRules(spiffe_id="spiffe://example.org/ns/payments/*", spiffe_bundle_endpoint=f"{site.origin}/bundle")
    laptop.clients.put(client(client_id, authentication_methods=frozenset({"spiffe_jwt"}), spiffe=rules, secrets=()))
    url = laptop.token_endpoint
    good, bad = domain.jwt_svid(aud=issuer), domain.jwt_svid("spiffe://example.org/ns/payments", aud=issuer)
    statuses = [post(url, svid_form(svid, client_id=client_id))[0] for svid in (good, good, bad)]
    assert statuses == [200, 200, 401]
    assert 1 <= site.received <= worker_count(os.environ)


def test_workload_token_is_the_actor_of_an_exchange(laptop: Laptop, site: Site) -> None:
    issuer, client_id = laptop.addresses.issuer, f"actor-{uuid4()}"
    rule = FederationRule(issuer=site.origin, audience=issuer, subject="arn:aws:iam::123456789012:role/*")
    laptop.clients.put(
        client(
            client_id,
            federation=(rule,),
            grant_types=frozenset({"client_credentials", TOKEN_EXCHANGE}),
            token_profile=TokenProfile.AT_JWT,
            audience=(COUNTRY_API,),
            resource_audiences=frozenset({CUSTOMER_API}),
            exchange_subjects=frozenset({"service-client-api"}),
        )
    )
    url = laptop.token_endpoint
    asked = {"grant_type": "client_credentials", "resource": CUSTOMER_API, "scope": "country.read"}
    caller: dict[str, Any] = basic("service-client-api", "service-client-api-secret")
    _, subject = post(url, asked, **caller)
    claims: dict[str, Any] = {"iss": site.origin, "aud": issuer, "sub": "arn:aws:iam::123456789012:role/agent"}
    claims |= {"iat": int(time.time()), "exp": int(time.time()) + 300}
    form = {
        "grant_type": TOKEN_EXCHANGE,
        "subject_token": subject["access_token"],
        "subject_token_type": ACCESS_TOKEN,
        "actor_token": assertion(claims, alg="RS256", kid="idp"),
        "actor_token_type": JWT,
    }
    credentials: dict[str, Any] = basic(client_id, SECRET)
    status, exchanged = post(url, form, **credentials)
    assert status == 200
    content = jwt.decode(exchanged["access_token"], options={"verify_signature": False})
    assert content["sub"] == "service-client-api"
    assert content["act"] == {"iss": site.origin, "sub": claims["sub"], "client_id": client_id}
    form["actor_token"] = assertion(claims | {"sub": "arn:aws:iam::210987654321:role/agent"}, alg="RS256", kid="idp")
    status, refused = post(url, form, **credentials)
    assert (status, refused["error"]) == (400, "invalid_request")


def test_jwt_svid_is_a_grant(laptop: Laptop, site: Site) -> None:
    issuer, domain = laptop.addresses.issuer, TrustDomain(f"{uuid4()}.example", now=time.time())
    site.bundle = domain.bundle()
    workers = client(
        f"workers-{uuid4()}",
        authentication_methods=frozenset(),
        secrets=(),
        grant_types=frozenset({JWT_BEARER}),
        token_profile=TokenProfile.AT_JWT,
        audience=("https://api.example",),
    )
    rule = TrustRule(
        name="workers",
        issuer=f"spiffe://{domain.name}",
        client_id=workers.client_id,
        claims={"sub": f"spiffe://{domain.name}/ns/*"},
        spiffe_bundle_endpoint=f"{site.origin}/bundle",
    )
    laptop.clients.put(workers)
    dynamodb = aws_client(laptop.addresses.aws_port, "dynamodb")
    dynamodb.put_item(TableName="gatehouse-TrustTable", Item=to_item(rule))
    svids = [domain.jwt_svid(f"spiffe://{domain.name}/{path}", aud=issuer) for path in ("ns/a", "other/a")]
    forms = [{"grant_type": JWT_BEARER, "assertion": svid} for svid in svids]
    answers = [post(laptop.token_endpoint, form) for form in forms]
    assert [status for status, _ in answers] == [200, 400]
    assert answers[1][1]["error"] == "invalid_grant"


def test_too_many_failures_are_429(laptop: Laptop) -> None:
    url = laptop.token_endpoint
    # A client of its own: every client of these tests comes from the same address.
    unknown = {"grant_type": "client_credentials", "client_id": str(uuid4()), "client_secret": "x"}
    limits = Limits()
    failures = 0
    # A new window may begin during the loop. Then up to twice as many failures are allowed.
    while (answer := requests.post(url, unknown, timeout=30)).status_code == 401:
        failures += 1
        assert failures <= 2 * limits.per_source
    assert failures >= limits.per_source
    assert (answer.status_code, answer.json()["error"]) == (429, "slow_down")
    assert 0 < int(answer.headers["Retry-After"]) <= limits.window


def test_demo_private_keys_are_private(laptop: Laptop) -> None:
    for path in (CERTIFICATES.client, ROOT / ".gatehouse" / "keys" / f"{SIGNING_CLIENT}.pem"):
        assert path.stat().st_mode & 0o077 == 0
