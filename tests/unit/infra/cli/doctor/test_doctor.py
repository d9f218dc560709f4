"""Findings of the doctor at endpoints and in data, one fault at a time."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from botocore.validate import validate_parameters

from functions.publish_metadata.handler import document
from functions.shared.clients.client import Client, TokenFormat, TokenProfile, to_item
from functions.shared.clients.client_secrets import StoredSecret, digest_generated
from functions.shared.clients.supported import JWT_BEARER
from functions.shared.keys import key_ring
from functions.shared.keys.key_ring import KeyRing
from functions.shared.keys.rotation import RETENTION_NEEDED
from functions.shared.storage.state_table import SecretUses
from infra.cli.context import Deployment
from infra.cli.doctor import clients as client_checks
from infra.cli.doctor import command as doctor
from infra.cli.doctor import endpoints as endpoint_checks
from infra.cli.doctor import guards as guard_checks
from infra.cli.doctor import keys as key_checks
from infra.cli.doctor.context import Check, Level
from infra.cli.documents import build_rule
from infra.cli.errors import UsageError
from infra.cli.record_store import RuleTable
from tests.support.answers_server import AnswersServer, ReceivedRequest, Reply, answers_server
from tests.support.cli import AWS, RECORDED, STACK, CommandLine, aws_client, deploy, physical_name
from tests.support.server import NOW, client, key, ring
from tests.support.spiffe import WORKLOAD, TrustDomain, workload_client
from tests.support.tokens import rsa_jwk
from tests.support.whole_deployment import CREDENTIALS, deploy_all, faults, findings

DAY = 86_400
STAGE = "/ms-auth-server"
METADATA = f"GET {STAGE}/.well-known/oauth-authorization-server"
JWKS = f"GET {STAGE}/oauth2/jwks"
ROUTE = "GET /ms-system/country"


def cached(body: str, max_age: int) -> Callable[[ReceivedRequest], Reply]:
    headers = {"ETag": '"tag"', "Cache-Control": f"public, max-age={max_age}", "Date": formatdate(NOW, usegmt=True)}
    return lambda request: Reply(304 if request.headers.get("If-None-Match") == '"tag"' else 200, body, headers)


class Healthy:
    """A deployment where all is well, until a test breaks something."""

    def __init__(self, server: AnswersServer) -> None:
        self.server = server
        self.issuer = server.url + STAGE
        self.metadata = document(self.issuer, authorization_endpoint=f"{self.issuer}/oauth2/authorize")
        for endpoint in ("token", "introspection", "revocation"):
            self.metadata[f"{endpoint}_endpoint_auth_methods_supported"] = ["client_secret_basic"]
        self.say_metadata(self.metadata)
        self.say_keys(ring(now=NOW - DAY).key_set(NOW))
        refused = Reply(401, '{"error":"invalid_client"}')
        for path in ("token", "introspect", "revoke"):
            server.answers[f"POST {STAGE}/oauth2/{path}"] = refused
        server.answers[f"POST {STAGE}/oauth2/introspect"] = self.introspect
        challenge = {"WWW-Authenticate": "Bearer"}
        server.answers[ROUTE] = Reply(401, '{"error":"unauthorized"}', challenge)
        unknown = "GET /ms-system/gatehouse-doctor-knows-no-such-route"
        server.answers[unknown] = Reply(404, '{"error":"not_found"}')
        server.answers["GET /ms-system/.well-known/oauth-protected-resource"] = Reply(
            200, json.dumps({"authorization_servers": [self.issuer]})
        )

    def introspect(self, request: ReceivedRequest) -> Reply:
        if "Authorization" in request.headers:
            return Reply(200, '{"active": false}', {"Content-Type": "application/json"})
        return Reply(401, '{"error":"invalid_client"}')

    def say_metadata(self, members: dict[str, Any]) -> None:
        for name in ("oauth-authorization-server", "openid-configuration"):
            self.server.answers[f"GET {STAGE}/.well-known/{name}"] = cached(json.dumps(members), 3600)

    def say_keys(self, key_set: dict[str, Any], max_age: int = 300) -> None:
        self.server.answers[JWKS] = cached(json.dumps(key_set), max_age)

    def deploy(
        self, *clients: Client, kept: KeyRing | None = None, authorizers: dict[str, Any] | None = None, **more: Any
    ) -> None:
        """Deploy all; `authorizers` are members of the client that the authorizer is."""
        given = {"authorizer": {"AUDIENCE": "billing"}, **more}
        deploy_all(self.issuer, f"{self.server.url}/ms-system", kept=kept or ring(now=NOW - DAY), **given)
        own = {"client_id": "authorizer", "grant_types": frozenset[str](), **(authorizers or {})}
        digest = digest_generated(CREDENTIALS["client_secret"])
        known = client(**{"secrets": (StoredSecret(digest),), **own})
        for each in (*(clients or (client("billing"),)), known):
            aws_client("dynamodb").put_item(TableName=physical_name("ClientsTable"), Item=to_item(each))


@pytest.fixture
def healthy(account: None) -> Iterator[Healthy]:
    with answers_server() as server:
        yield Healthy(server)


def test_healthy_deployment_has_no_findings(healthy: Healthy, cli: CommandLine, tmp_path: Path) -> None:
    healthy.deploy()
    report = tmp_path / "report.json"
    examined = cli("doctor", "--report", str(report))
    assert (examined.code, examined.stderr) == (0, "")
    written = json.loads(report.read_text())
    assert written["counts"]["ok"] == len(written["findings"]), examined.stdout
    assert {each["check"] for each in written["findings"]} == {
        check.name for check in (*doctor.CHECKS, *guard_checks.CHECKS)
    }
    assert examined.stdout == f"{len(written['findings'])} ok.\n"
    everything = cli("doctor", "--all").stdout
    assert everything.count("\nok ") == len(written["findings"])
    assert max(map(len, everything.splitlines())) <= 80
    refused = cli("doctor", "--report", str(tmp_path / "no" / "report.json"))
    assert (refused.code, "cannot be written" in refused.stderr) == (2, True)


def test_warnings_fail_only_with_strict(healthy: Healthy, cli: CommandLine) -> None:
    healthy.deploy(client("another"))
    found = cli("doctor", "--json")
    assert [each["check"] for each in found.json["findings"] if each["level"] != "ok"] == ["audiences"]
    assert (found.code, cli("doctor", "--strict").code) == (0, 1)


def client_check(name: str) -> list[Check]:
    return [check for check in client_checks.CHECKS if check.name == name]


RULE: dict[str, Any] = {
    "name": "deploy",
    "issuer": "https://ci.example",
    "client_id": "deploy",
    "claims": {"repository": "acme/shop"},
    "jwks": {"keys": [rsa_jwk()]},
}


ANY_SUBJECT = "deploy matches any subject of https://ci.example"
UNREACHABLE = "https://127.0.0.1:1/keys"
OF_SPIFFE = {"issuer": "spiffe://acme", "spiffe_bundle_endpoint": UNREACHABLE, "jwks": None}
OPEN = {"claims": {"sub": "repo:*"}}


@pytest.mark.parametrize(
    ("rules", "changes", "check", "text"),
    [
        ([{"client_id": "gone"}], {}, "clients", "deploy is for client gone, which does not exist"),
        ([{}], {"disabled": True}, "clients", "deploy is for client deploy, which is disabled"),
        ([{}], {"grant_types": frozenset({"client_credentials"})}, "clients", f"not use the grant type {JWT_BEARER}"),
        ([{"scopes": ["x"]}], {}, "clients", "deploy: client deploy may not get the scopes x"),
        ([{"jwks_uri": UNREACHABLE, "jwks": None}], {}, "issuers", f"deploy: no usable key set from {UNREACHABLE}: F"),
        ([OF_SPIFFE], {}, "issuers", "deploy: "),
        ([{}, {"name": "wide", "claims": {"repository": "acme/*"}}], {}, "overlaps", "match deploy and wide, and is"),
        ([OPEN], {}, "conditions", f"{ANY_SUBJECT} (sub repo:*)"),
        ([{"claims": {"sub": ["repo:acme/shop", "repo:*"]}}], {}, "conditions", ANY_SUBJECT),
        ([{"profile": "id-jag", "claims": {}}], {}, "conditions", f"{ANY_SUBJECT} (no condition)"),
        ([OPEN | {"client_id": "gone", "disabled": True}], {}, "", ""),
        ([{"claims": {"sub": "repo:*", "repository_owner": "acme"}}], {}, "", ""),
        ([{"claims": {"sub": "system:serviceaccount:prod:*"}}], {}, "", ""),
    ],
    ids=str,
)
def test_rules_that_give_nothing_or_too_much_are_found(
    gatehouse: CommandLine, rules: list[dict[str, Any]], changes: dict[str, Any], check: str, text: str
) -> None:
    made = {"token_profile": TokenProfile.AT_JWT, "audience": ("billing",), "grant_types": frozenset({JWT_BEARER})}
    gatehouse.clients.put(client("deploy", **{**made, **changes}), None)
    table = RuleTable(AWS, physical_name("TrustTable"))
    for rule in rules:
        given = {name: value for name, value in {**RULE, **rule}.items() if value is not None}
        table.put(build_rule(given), None)
    seen = faults(check for check in client_checks.CHECKS if check.area == "rules")
    assert list(seen) == ([f"rules: {check}"] if check else [])
    assert text in "".join(seen.values())


def test_authorization_endpoint_is_optional(healthy: Healthy) -> None:
    healthy.deploy()
    healthy.metadata.pop("authorization_endpoint")
    for given, is_found in ({}, False), ({"authorization_endpoint": "https://other.example/oauth2/authorize"}, True):
        healthy.say_metadata(healthy.metadata | given)
        assert ("authorization server: metadata" in faults(endpoint_checks.CHECKS)) is is_found


def test_endpoint_faults_are_found(healthy: Healthy) -> None:
    healthy.deploy(given={"DomainName": "auth.example"})
    private = {**key(1).public_jwk, "kid": key(1).kid, "d": "AQAB"}
    answers = healthy.server.answers
    healthy.say_metadata({**healthy.metadata, "issuer": "https://other.example"})
    healthy.say_keys({"keys": [private]}, max_age=86_400)
    answers[f"POST {STAGE}/oauth2/token"] = Reply(200, '{"access_token":"x"}')
    answers[ROUTE] = lambda request: (
        Reply(500, '{"error":"server_error"}') if "Authorization" in request.headers else Reply(401)
    )
    answers["GET /ms-system/gatehouse-doctor-knows-no-such-route"] = Reply(403, "{}")
    answers["GET /ms-system/.well-known/oauth-protected-resource"] = Reply(200, "{}")
    seen = findings(endpoint_checks.CHECKS, now=NOW + 90)  # and Date may be a second behind
    found = {name: finding.seen for name, finding in seen if finding.level is not Level.OK}
    texts = " ".join(finding.seen for _, finding in seen)
    assert f"{healthy.server.url}/.well-known/oauth-authorization-server{STAGE} answers 404" in texts
    assert "has the issuer https://other.example" in texts
    for check, said in {
        "authorization server: metadata": "the documents differ",
        "authorization server: endpoints": "/oauth2/token answers 200 None without credentials",
        "authorization server: key set": "a published key has the private members d",
        "authorization server: cache headers": "may be cached for 86400 s, and rotation assumes",
        "authorization server: clocks": "the clocks differ by 1 min 29 s",
        "guarded API: without a token": "gets 401 without a reason in the body",
        "guarded API: with a forged token": "is answered 500: the authorizer cannot be invoked",
        "guarded API: unknown route": "is answered 403",
        "guarded API: metadata": "name None",
    }.items():
        assert said in found[check]


def test_faults_of_a_proxy_are_found(healthy: Healthy) -> None:
    healthy.deploy(with_bundle())
    healthy.server.answers |= {METADATA: Reply(200, json.dumps(healthy.metadata)), JWKS: Reply(500)}
    found = faults(endpoint_checks.CHECKS)
    for check, said in {
        "cache headers": "comes without max-age or ETag (no Cache-Control)",
        "clocks": "responses have no Date header",
        "key set": "it answers 500, so verifiers use their cached keys",
        "mutual TLS": "worker cannot authenticate: no address has mutual TLS",
    }.items():
        assert said in found[f"authorization server: {check}"]


def test_key_set_differences_are_found(healthy: Healthy) -> None:
    healthy.deploy()
    healthy.say_keys(ring(key(2)).key_set(NOW))
    found = [finding.seen for _, finding in findings(endpoint_checks.CHECKS)]
    assert f"not published: {key(1).kid}; its tokens are refused" in found
    assert f"published, and not in the ring: {key(2).kid}" in found


def test_unreachable_server_is_one_failure(cli: CommandLine, account: None, tmp_path: Path) -> None:
    with answers_server() as server:
        healthy = Healthy(server)
        healthy.deploy()
    host = server.url.removeprefix("http://")
    shown = cli("doctor", "--all", "--report", str(tmp_path / "report.json"))
    document = json.loads((tmp_path / "report.json").read_text())
    failed = [each for each in document["findings"] if each["level"] == "failure"]
    assert [each["check"] for each in failed] == ["reach"]
    assert failed[0]["seen"] == (f"no answer: the authorization server at {host}, the guarded API at {host}")
    assert "make run" in failed[0]["to_do"]
    skipped = [each for each in document["findings"] if each["level"] == "not examined"]
    assert {each["area"] for each in skipped} == {"authorization server", "guarded API"}
    assert document["counts"]["not examined"] == len(skipped) == 10
    assert shown.code == 1
    said = " ".join(shown.stdout.split())
    assert "10 checks" in said
    assert "10 not examined" in said
    assert said.count("see above:") == 1


def test_authorizers_client_is_checked(healthy: Healthy, cli: CommandLine) -> None:
    # The endpoint lets it in all the same, as a warm process does for a while.
    healthy.deploy(client("opaque", token_format=TokenFormat.OPAQUE, audience=("billing",)))
    table = cli.clients
    own = client_check("the authorizer's own")
    for change, said in (
        ({"disabled": True}, "authorizer is disabled: processes that know it otherwise"),
        ({"disabled": False, "secrets": (StoredSecret(digest_generated("x")),)}, "registered with another secret"),
        (None, "authorizer is not registered"),
    ):
        seen = table.get("authorizer")
        if change is None:
            table.delete(seen)
        else:
            table.put(replace(seen.record, **change), seen)
        ((_, found),) = findings(own)
        assert found.level is Level.FAILURE
        assert said in found.seen
        assert "follow within 30 s" in found.seen
    table.delete(table.get("opaque"))
    assert [found.level for _, found in findings(own)] == [Level.WARNING]  # no client gets opaque tokens


def test_missing_sample_api_is_not_applicable(healthy: Healthy, cli: CommandLine, tmp_path: Path) -> None:
    healthy.deploy(sample_api=False)
    shown = cli("doctor", "--all", "--report", str(tmp_path / "report.json"))
    document = json.loads((tmp_path / "report.json").read_text())
    levels = {(each["area"], each["check"]): each["level"] for each in document["findings"]}
    assert not {"failure", "warning"} & set(levels.values())
    assert levels["guarded API", "without a token"] == "not applicable"
    assert levels["account", "authorizer cache"] == "not applicable"
    assert levels["account", "functions"] == levels["clients", "the authorizer's own"] == "ok"
    assert " ".join(shown.stdout.split()).count("the stack has no sample API") == 1


def test_faults_of_clients_are_found(healthy: Healthy) -> None:
    digest = digest_generated("used long ago")

    def secret(ends: int | None) -> tuple[StoredSecret, ...]:
        return (StoredSecret(digest, expires_at=ends),)

    healthy.deploy(
        client("billing"),
        client("ended", secrets=secret(NOW - DAY)),
        client("ending", secrets=secret(NOW + DAY)),
        client("idle", secrets=secret(None)),
        client("off", disabled=True, secrets=()),
        client("bound", dpop_bound_access_tokens=True),
        client("short", token_lifetime=60),
        client("curved", signing_algorithm="ES256"),
        client("lattice", audience=("https://a",), audience_signing_algorithms={"https://a": "ML-DSA-65"}),
        client("opaque", token_format=TokenFormat.OPAQUE),
        client("by-name", authentication_methods=frozenset({"client_secret_basic"})),
    )
    healthy.server.answers[f"POST {STAGE}/oauth2/introspect"] = Reply(401, '{"error":"invalid_client"}')
    uses = SecretUses(AWS, physical_name("StateTable"))
    uses.record("idle", digest, NOW - 100 * DAY)
    seen = [finding.seen for _, finding in findings([*client_checks.CHECKS, *key_checks.CHECKS])]
    for said in (
        "ended has no valid secret: it gets no tokens",
        "the last secret of ending ends on 2023-11-15 22:13 UTC",
        "a secret of idle was last used on 2023-08-06",
        "12 clients, disabled: off",
        (
            "no token of bound, by-name, curved, ended, ending and 5 more can be for billing: this "
            "API refuses all of them"
        ),
        "this API refuses the bound tokens of bound",
        (
            "API Gateway reuses a decision for 300 s, and tokens of short live shorter: some may "
            "be let through past their end"
        ),
        "curved, lattice cannot get tokens: no key signs ES256, ML-DSA-65",
    ):
        assert said in seen
    assert any(each.startswith("opaque tokens of opaque are answered with") for each in seen)


def test_proofs_with_a_cache_are_found(healthy: Healthy) -> None:
    authorizer = {"PROOF_OF_POSSESSION": "dpop", "REPLAY_TABLE": "table"}
    healthy.deploy(authorizer={"DENY_LIST_TABLE": "", **authorizer})
    found = faults(client_checks.CHECKS)
    assert "decisions reused for 300 s without any" in found["clients: bound tokens"]
    assert "tokens for any audience" in found["clients: audiences"]


@pytest.mark.parametrize(
    ("times", "check", "said"),
    [
        ({}, "rotation", "was to sign until 2023-10-15 22:13 UTC, and has no successor"),
        ({"sign_from": NOW - 30 * DAY + 12 * 3600}, "rotation", "was to be announced on 2023-11-14 10:13 UTC"),
        ({"sign_until": NOW - DAY, "publish_until": NOW + DAY}, "signing", "no key signs and none is announced: no"),
        ({"sign_from": NOW + DAY}, "signing", "nothing signs until 2023-11-15 22:13 UTC"),
        (
            {"sign_until": NOW + DAY, "publish_until": NOW + DAY + RETENTION_NEEDED - 1},
            "retention",
            f"{key(1).kid} ends before its last token may",
        ),
    ],
    ids=["overdue", "unannounced", "nothing signs", "not yet", "withdrawn early"],
)
def test_faults_of_the_ring_are_found(account: None, times: dict[str, Any], check: str, said: str) -> None:
    (known,) = ring(now=NOW - 60 * DAY).keys
    deploy(kept=KeyRing((replace(known, **times),)))
    assert said in faults(key_checks.CHECKS)[f"keys: {check}"]


def test_unsafe_times_of_rotation_are_found(account: None) -> None:
    deploy(given={"KeyRetireHours": "24"})
    assert "a key stays published for 86400 seconds" in faults(key_checks.CHECKS)["keys: rules"]


@pytest.mark.parametrize(
    ("given", "most"),
    [
        ({}, None),
        ({"KeySigningDays": "2"}, None),
        ({"KeySigningDays": "2", "KeyRetireHours": "360"}, None),
        ({"KeySigningDays": "2", "KeyRetireHours": "361"}, 11),
        ({"SigningAlgorithms": "RS256,PS256,ES256,EdDSA"}, None),
        ({"SigningAlgorithms": "RS256,PS256,ES256,EdDSA", "KeyRetireHours": "744"}, 13),
        ({"KeySigningDays": "2", "KeyRetireHours": "744"}, 18),
    ],
    ids=str,
)
def test_oversized_key_set_is_predicted(account: None, given: dict[str, str], most: int | None) -> None:
    deploy(given={"SigningAlgorithms": "RS256", **given})
    found = faults(key_checks.CHECKS).get("keys: size of the key set", "")
    assert (f"there can be {most}:" in found) if most else not found


def test_oversized_key_set_is_found(account: None) -> None:
    old: dict[str, Any] = {"publish_from": int(NOW) - DAY, "sign_from": int(NOW) - DAY}
    old |= {"sign_until": int(NOW), "publish_until": int(NOW) + 9 * DAY}
    keys = [key(number, "ES256") for number in range(1, 12)]
    deploy(kept=KeyRing(tuple(replace(each, **old) for each in ring(*keys).keys)))
    assert "11 published, and there can be 11" in faults(key_checks.CHECKS)["keys: size of the key set"]


@pytest.mark.parametrize(("hours", "is_found"), [("48", False), ("744", True)])
def test_key_set_with_too_many_bytes_is_predicted(account: None, hours: str, *, is_found: bool) -> None:
    """Keys of ML-DSA have thousands of bytes, and Gatehouse's verifiers read 64 KB."""
    keys = ring(key(1, "ML-DSA-65"), key(1, "ML-DSA-87"))
    given = {"SigningAlgorithms": "ML-DSA-65,ML-DSA-87", "KeySigningDays": "2", "KeyRetireHours": hours}
    deploy(kept=keys, given=given)
    found = faults(key_checks.CHECKS).get("keys: size of the key set", "")
    assert ("and verifiers read 65536 bytes" in found) is is_found


def test_unreadable_record_is_found(account: None, cli: CommandLine) -> None:
    deploy()
    ended = tuple(replace(each, expires_at=int(NOW) - 1) for each in client().secrets)
    cli.clients.put(client(secrets=ended), None)
    aws_client("dynamodb").put_item(TableName=cli.clients.name, Item={"client_id": {"S": "bare"}})
    wanted = {"records", "secrets", "disabled"}
    found = faults([check for check in client_checks.CHECKS if check.name in wanted])
    assert found.keys() == {"clients: records", "clients: secrets"}
    assert "bare cannot be read, and is answered 500" in found["clients: records"]
    assert "service-client-jwt" in found["clients: secrets"]


def test_unreadable_ring_is_a_failure(account: None) -> None:
    deploy()
    newer = key_ring.to_json(ring()).replace('"version": 1', '"version": 9')
    aws_client("secretsmanager").put_secret_value(SecretId=physical_name("KeyRingSecret"), SecretString=newer)
    failed, *others = [finding for _, finding in findings(key_checks.CHECKS)]
    assert failed.level is Level.FAILURE
    assert "newer version" in failed.to_do
    assert {each.level for each in others} == {Level.OK, Level.NOT_EXAMINED}  # the rules are known without it


CUSTOMERS = "https://customer.example"


def _rest(issuer: object, *audiences: str) -> dict[str, Any]:
    trusted = {"Issuer": issuer, "Audiences": list(audiences)}
    configuration = {"Issuers": [trusted], "DefaultAlgorithms": ["RS256"]}
    return {"Type": "AWS::ApiGateway::Authorizer", "Properties": {"Type": "JWT", "JwtConfiguration": configuration}}


def _http(issuer: object, *audiences: str) -> dict[str, Any]:
    authorizers = {"Gatehouse": {"JwtConfiguration": {"issuer": issuer, "audience": list(audiences)}}}
    return {"Type": "AWS::Serverless::HttpApi", "Properties": {"Auth": {"Authorizers": authorizers}}}


def _alb(issuer: object, jwks: object, *audiences: str) -> dict[str, Any]:
    claims = [{"Format": "single-string", "Name": "aud", "Values": list(audiences)}] if audiences else []
    configuration = {"Issuer": issuer, "JwksEndpoint": jwks, "AdditionalClaims": claims}
    actions = [{"Type": "jwt-validation", "Order": 1, "JwtValidationConfig": configuration}]
    return {"Type": "AWS::ElasticLoadBalancingV2::ListenerRule", "Properties": {"Actions": actions}}


def _openapi(issuer: object, *audiences: str) -> dict[str, Any]:
    configuration = {"issuers": [{"issuer": issuer, "audiences": list(audiences)}], "defaultAlgorithms": ["RS256"]}
    scheme = {"x-amazon-apigateway-authorizer": {"type": "jwt", "jwtConfiguration": configuration}}
    return {
        "Type": "AWS::ApiGateway::RestApi",
        "Properties": {"Body": {"components": {"securitySchemes": {"a": scheme}}}},
    }


IMPORTED = {"Fn::ImportValue": {"Fn::Sub": "${GatehouseStack}-Issuer"}}
IMPORTED_KEYS = {"Fn::ImportValue": {"Fn::Sub": "${GatehouseStack}-JwksUri"}}


GuardFindings = Callable[..., list[str]]


@pytest.fixture
def guard_findings(tmp_path: Path) -> GuardFindings:
    """Return the findings of the native guards of a template, as `check: text`."""

    def examine(**resources: dict[str, Any]) -> list[str]:
        path = tmp_path / "guards.json"
        parameters = {"GatehouseStack": {"Type": "String", "Default": "gatehouse"}}
        path.write_text(json.dumps({"Parameters": parameters, "Resources": resources}))
        return [
            f"{name.removeprefix('native guards: ')}: {finding.seen}"
            for name, finding in findings(guard_checks.CHECKS, path)
            if finding.level is not Level.OK and "is not an https URL" not in finding.seen
        ]

    return examine


def _apps() -> list[Client]:
    """Return clients whose tokens are for an API with native guards."""
    at_jwt = {"token_profile": TokenProfile.AT_JWT, "audience": (CUSTOMERS,)}
    return [
        client("bearer", **at_jwt),
        client("proving", dpop_bound_access_tokens=True, **at_jwt),
        client("certified", tls_client_certificate_bound_access_tokens=True, **at_jwt),
        client("pss", signing_algorithm="PS256", **at_jwt),
        client("lattice", audience_signing_algorithms={CUSTOMERS: "ML-DSA-44"}, **at_jwt),
        client("opaque", token_format=TokenFormat.OPAQUE, audience=(CUSTOMERS,)),
        client("old", audience=(CUSTOMERS,)),
    ]


@pytest.mark.parametrize(
    ("resource", "name", "cache"),
    [
        (_rest(IMPORTED, CUSTOMERS), "Guard (rest-jwt)", "1 h"),
        (_openapi(IMPORTED, CUSTOMERS), "Guard (rest-jwt)", "1 h"),
        (_http(IMPORTED, CUSTOMERS), "Guard (http-jwt)", "2 h"),
        (_alb(IMPORTED, IMPORTED_KEYS, CUSTOMERS), "Guard (alb)", "a time that AWS does not document"),
    ],
)
def test_native_guards_weaknesses_are_named(
    healthy: Healthy, guard_findings: GuardFindings, resource: dict[str, Any], name: str, cache: str
) -> None:
    healthy.deploy(*_apps())
    bound, *rejected, revocation = guard_findings(Guard=resource)
    assert bound.startswith(
        f"tokens bound to a key: {name} does not check the key of bound tokens: those of certified, pro"
    )
    assert rejected == [
        f"rejected tokens: {name} rejects the tokens of opaque: opaque",
        f"rejected tokens: {name} rejects the tokens of old: the plain profile",
        f"rejected tokens: {name} rejects the tokens of lattice, pss: an algorithm that it does not support",
    ]
    assert revocation.startswith(f"revocation: {name} caches keys for {cache}. Until then")


def test_native_guards_of_an_account_are_found(healthy: Healthy, monkeypatch: pytest.MonkeyPatch) -> None:
    healthy.deploy(client("proving", dpop_bound_access_tokens=True, audience=(CUSTOMERS,)))
    rest = aws_client("apigateway").create_rest_api(name="rest")["id"]
    http = aws_client("apigatewayv2").create_api(Name="http", ProtocolType="HTTP")["ApiId"]
    aws_client("apigatewayv2").create_api(Name="chat", ProtocolType="WEBSOCKET", RouteSelectionExpression="$body.a")
    jwt_rest = {"type": "JWT", "jwtConfiguration": {"issuers": [{"issuer": healthy.issuer, "audiences": [CUSTOMERS]}]}}
    others = [
        {
            "type": "REQUEST",
            "authorizerResultTtlInSeconds": 300,
            "identitySource": "method.request.header.Authorization",
        }
    ]
    monkeypatch.setitem(RECORDED, "api-gateway.GetAuthorizers", {"items": [jwt_rest, *others]})
    configuration = {"Issuer": f"{healthy.issuer}/", "Audience": [CUSTOMERS]}
    items = [{"AuthorizerType": "JWT", "JwtConfiguration": configuration}, {"AuthorizerType": "REQUEST"}]
    monkeypatch.setitem(RECORDED, "apigatewayv2.GetAuthorizers", {"Items": items})
    found = [finding.seen for _, finding in findings(guard_checks.CHECKS)]
    assert any(seen.startswith(f"rest {rest} (rest-jwt) does not check the key of bound tokens") for seen in found)
    assert any(
        seen.startswith(f"http {http} (http-jwt) has the issuer {healthy.issuer}/, and tokens") for seen in found
    )
    assert not any("chat" in seen for seen in found)


def test_rules_of_the_accounts_load_balancers_are_found(healthy: Healthy, monkeypatch: pytest.MonkeyPatch) -> None:
    healthy.deploy(client("proving", dpop_bound_access_tokens=True, audience=(CUSTOMERS,)))
    verified = {
        "Issuer": healthy.issuer,
        "JwksEndpoint": f"{healthy.issuer}/oauth2/jwks",
        "AdditionalClaims": [{"Format": "single-string", "Name": "aud", "Values": [CUSTOMERS]}],
    }
    forward = {"Type": "forward", "Order": 2, "TargetGroupArn": "arn:targets"}
    rules = [
        {
            "Priority": "7",
            "Actions": [{"Type": "jwt-validation", "Order": 1, "JwtValidationConfig": verified}, forward],
        },
        {"Priority": "8", "Actions": [forward]},
        {"Priority": "default", "Actions": [{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "404"}}]},
    ]
    balancers = [
        {"LoadBalancerName": "shop", "LoadBalancerArn": "arn:shop", "Type": "application"},
        {"LoadBalancerName": "tcp", "LoadBalancerArn": "arn:tcp", "Type": "network"},
    ]
    listeners = [{"ListenerArn": "arn:listener", "Port": 443, "Protocol": "HTTPS"}]
    model = aws_client("elbv2").meta.service_model
    for operation, response in (
        ("DescribeLoadBalancers", {"LoadBalancers": balancers}),
        ("DescribeListeners", {"Listeners": listeners}),
        ("DescribeRules", {"Rules": rules}),
    ):
        validate_parameters(response, model.operation_model(operation).output_shape)
        monkeypatch.setitem(RECORDED, f"elastic-load-balancing-v2.{operation}", response)
    found = [finding.seen for _, finding in findings(guard_checks.CHECKS)]
    assert "1 native guard for " + healthy.issuer in found
    assert any(
        seen.startswith("shop:443 rule 7 (alb) does not check the key of bound tokens: those of") for seen in found
    )


def test_key_set_that_a_load_balancer_does_not_accept(healthy: Healthy, guard_findings: GuardFindings) -> None:
    healthy.deploy(given={"KeySigningDays": "1", "KeyRetireHours": "240"})
    keys = f"{healthy.issuer}/oauth2/jwks"
    guards = {"Alb": _alb(healthy.issuer, keys, CUSTOMERS), "Http": _http(healthy.issuer, CUSTOMERS)}
    (found,) = [each for each in guard_findings(**guards) if each.startswith("key set")]
    assert re.match(
        r"key set: the key set can have \d+ keys, and Alb \(alb\) forwards no request with more than 10", found
    )
    many = {"keys": [{"kid": str(number), "n": "x" * 20_000} for number in range(11)]}
    healthy.server.answers[f"GET {STAGE}/oauth2/jwks"] = Reply(200, json.dumps(many))
    found_now = [each.partition(",")[0] for each in guard_findings(**guards) if each.startswith("key set")]
    size = len(json.dumps(many))
    assert found_now == ["key set: the key set has 11 keys", *[f"key set: the key set has {size} bytes"] * 2]


def test_algorithms_of_a_rest_apis_authorizer(healthy: Healthy, guard_findings: GuardFindings) -> None:
    at_jwt = {"token_profile": TokenProfile.AT_JWT, "audience": (CUSTOMERS,)}
    healthy.deploy(client("rsa", **at_jwt), client("ec", signing_algorithm="ES256", **at_jwt))
    guard = _rest(healthy.issuer, CUSTOMERS)
    for algorithms, rejected in (["RS256"], ["ec"]), (["RS256", "ES256"], []), (["ES256"], ["rsa"]):
        guard["Properties"]["JwtConfiguration"]["DefaultAlgorithms"] = algorithms
        assert [each for each in guard_findings(Guard=guard) if each.startswith("rejected tokens")] == [
            f"rejected tokens: Guard (rest-jwt) rejects the tokens of {each}: an algorithm that it does not support"
            for each in rejected
        ]


def test_native_guard_for_any_audience_is_named(healthy: Healthy, guard_findings: GuardFindings) -> None:
    healthy.deploy(client("proving", dpop_bound_access_tokens=True))
    found = guard_findings(Guard=_alb(healthy.issuer, f"{healthy.issuer}/other"))
    assert any("accepts tokens for any audience" in each for each in found)
    assert any("those of proving pass as bearer tokens" in each for each in found)
    assert any(f"reads keys at {healthy.issuer}/other, not at {healthy.issuer}/oauth2/jwks" in each for each in found)


def test_native_guards_are_compared_byte_for_byte(healthy: Healthy, guard_findings: GuardFindings) -> None:
    healthy.deploy(client("bearer", token_profile=TokenProfile.AT_JWT, audience=(CUSTOMERS,)))
    (found,) = guard_findings(Guard=_rest(f"{healthy.issuer}/", CUSTOMERS))
    assert found.startswith(
        f"issuer: Guard (rest-jwt) has the issuer {healthy.issuer}/, and tokens have {healthy.issuer}"
    )
    (found,) = guard_findings(Guard=_rest("https://other.example", CUSTOMERS))
    assert found.startswith(f"issuer: no guard of the templates trusts {healthy.issuer}")
    wrong = guard_findings(Guard=_http(healthy.issuer, f"{CUSTOMERS}/", "https://gone.example"))
    similar, unknown, *_ = [each for each in wrong if each.startswith("audience")]
    assert similar.startswith(f"audience: Guard (http-jwt) has the audience {CUSTOMERS}/, and tokens have {CUSTOMERS}:")
    assert unknown == "audience: no client gets tokens for the audience https://gone.example of Guard (http-jwt)"


def test_audiences_are_those_of_the_token_endpoint(healthy: Healthy, guard_findings: GuardFindings) -> None:
    """A plain JWT is for its client by default, an opaque token for the registered audience."""
    own = {"token_format": TokenFormat.OPAQUE, "audience": (CUSTOMERS,)}
    healthy.deploy(client("plain", audience=(CUSTOMERS,)), client("opaque", **own), authorizer={"AUDIENCE": "opaque"})
    found = guard_findings(Guard=_http(healthy.issuer, "plain", "opaque"))
    assert [each for each in found if each.startswith("audience")] == [
        "audience: no client gets tokens for the audience opaque of Guard (http-jwt)"
    ]
    assert "no token of opaque, plain can be for opaque" in faults(client_check("audiences"))["clients: audiences"]


def test_discovery_document_of_native_guards(healthy: Healthy, guard_findings: GuardFindings) -> None:
    healthy.deploy()
    healthy.server.answers[f"GET {STAGE}/.well-known/openid-configuration"] = Reply(
        200, '{"issuer": "https://a.example"}'
    )
    found = guard_findings(Guard=_rest(healthy.issuer, CUSTOMERS))
    assert any("answers 200 with the issuer https://a.example and the jwks_uri None" in each for each in found)


def test_short_announcement_of_keys_is_a_failure(healthy: Healthy, guard_findings: GuardFindings) -> None:
    healthy.deploy(given={"KeyAnnounceHours": "2"})
    guards = {"Http": _http(healthy.issuer, CUSTOMERS), "Rest": _rest(healthy.issuer, CUSTOMERS)}
    found = [each for each in guard_findings(**guards) if each.startswith("key rotation")]
    assert [each.partition(" until")[0] for each in found] == [
        "key rotation: a key is announced for 2 h, and Http (http-jwt) can need 2 h 11 min"
    ]


def test_guard_with_an_issuer_over_http_is_a_failure(healthy: Healthy, cli: CommandLine, tmp_path: Path) -> None:
    healthy.deploy()
    path = tmp_path / "guards.json"
    path.write_text(json.dumps({"Resources": {"Guard": _rest(healthy.issuer, CUSTOMERS)}}))
    run = cli("doctor", "--guards", str(path), "--json")
    found = [each["seen"] for each in run.json["findings"] if each["level"] == "failure"]
    assert found == [f"the issuer {healthy.issuer} is not an https URL, and AWS's guards read no other"]
    assert run.code == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: [", "are not known"),
        ("[]", "there are no Resources"),
        (json.dumps({"Resources": {"Guard": _rest({"Ref": "Unknown"}, CUSTOMERS)}}), "Unknown has no value"),
        (json.dumps({"Resources": {"Guard": {"JwtConfiguration": {"Issuer": "https://a.example"}}}}), "not complete"),
        ('"text"', "there are no Resources"),
        ('{"Resources": null}', "Resources is not an object"),
        ('{"Parameters": [], "Resources": {}}', "Parameters is not an object"),
        *(
            (json.dumps({"Resources": {"Guard": {"JwtConfiguration": configuration}}}), "not complete")
            for configuration in (
                None,
                "text",
                ["issuers"],
                {"Issuers": [None]},
                {"Issuer": 5, "Audience": [CUSTOMERS]},
                {"Issuer": "https://a.example", "Audience": [[CUSTOMERS]]},
            )
        ),
        *(
            (json.dumps({"Resources": {"Guard": _rest(issuer, CUSTOMERS)}}), "Guard: Fn::")
            for issuer in ({"Fn::Sub": 5}, {"Fn::Select": [9, ["a"]]}, {"Fn::GetAtt": [5]}, {"Fn::FindInMap": ["a"]})
        ),
    ],
)
def test_template_without_known_guards_is_a_usage_error(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "guards.yaml"
    path.write_text(text)
    deployment = Deployment(name=STACK, issuer="https://a.example", guarded_api="", region="eu-west-1", resources={})
    with pytest.raises(UsageError, match=problem):
        guard_checks.template_guards(path, deployment)


BOTH_METHODS = ("spiffe_jwt", "spiffe_x509")


def with_bundle(**domain: Any) -> Client:
    return workload_client(WORKLOAD, *BOTH_METHODS, bundle=json.dumps(TrustDomain(**domain).bundle()))


@pytest.mark.parametrize(
    ("known", "fault"),
    [
        (with_bundle(), ""),
        (with_bundle(x509_authorities=[]), "cannot use spiffe_x509: the bundle of example.org has no valid key"),
        (with_bundle(now=NOW - 2 * DAY), "cannot use spiffe_x509: the bundle of example.org has no valid key"),
        (with_bundle(jwt_authorities=[]), "cannot use spiffe_jwt: the bundle of example.org has no valid key"),
        (
            workload_client(spiffe_bundle_endpoint="https://127.0.0.1:1/bundle"),
            "worker cannot authenticate: no usable bundle of example.org from https://127.0.0.1:1/bundle",
        ),
        (workload_client(jwks_uri="https://127.0.0.1:1/keys"), "no usable key set from https://127.0.0.1:1/keys"),
    ],
)
def test_spiffe_bundles_are_read(gatehouse: CommandLine, known: Client, fault: str) -> None:
    gatehouse.clients.put(known, None)
    found = faults(client_check("SPIFFE bundles")).get("clients: SPIFFE bundles", "")
    assert fault in found
    assert bool(fault) == bool(found)


def test_one_bundle_for_two_trust_domains_is_a_failure(gatehouse: CommandLine) -> None:
    endpoint = {"spiffe_bundle_endpoint": "https://127.0.0.1:1/bundle"}
    other = workload_client("spiffe://other.example/a", client_id="other", **endpoint)
    for each in (workload_client(**endpoint), other):
        gatehouse.clients.put(each, None)
    assert "could sign for the other" in faults(client_checks.CHECKS)["clients: SPIFFE bundles"]


def test_clients_without_pointers_are_a_warning(gatehouse: CommandLine) -> None:
    table = {"TableName": physical_name("ClientsTable")}
    aws_client("dynamodb").put_item(**table, Item=to_item(with_bundle()))
    assert "does not find worker" in faults(client_check("pointers"))["clients: pointers"]
    gatehouse.clients.change("worker", lambda client: replace(client, name="Worker"))
    assert faults(client_check("pointers")) == {}
    aws_client("dynamodb").delete_item(**table, Key={"client_id": {"S": "worker"}})
    assert (
        "an entry client#worker for spiffe://example.org that no client needs"
        in faults(client_check("pointers"))["clients: pointers"]
    )
