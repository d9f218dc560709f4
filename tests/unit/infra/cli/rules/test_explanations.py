"""`gatehouse rules explain` and `gatehouse rules test`, and the doctor's checks of rules."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from functions.shared.clients.supported import JWT_BEARER
from infra.cli.documents import build_rule
from infra.cli.record_store import RuleTable
from tests.support.cli import AWS, ISSUER, CommandLine, Result, deploy, physical_name
from tests.support.server import NOW, assertion_client
from tests.support.tokens import mint, rsa_jwk

CI = "https://ci.example"
API = "https://country.example"
DEPLOY: dict[str, Any] = {
    "name": "deploy",
    "issuer": CI,
    "client_id": "deploy",
    "claims": {"repository": "acme/shop", "ref": ["refs/heads/main", "refs/tags/v*"]},
    "jwks": {"keys": [rsa_jwk(alg="RS256")]},
    "scopes": ["country.read", "customer.read"],
    "copied_claims": ["repository"],
    "max_age": 600,
}
TESTS = {**DEPLOY, "name": "tests", "claims": {"repository": "acme/tests", "ref": "refs/heads/main"}}
OTHER = {**DEPLOY, "name": "other", "issuer": "https://ci.example/"}
CLAIMS: dict[str, Any] = {
    "iss": CI,
    "aud": ISSUER,
    "sub": "repo:acme/shop:ref:refs/heads/main",
    "iat": NOW - 60,
    "exp": NOW + 300,
    "repository": "acme/shop",
    "ref": "refs/heads/main",
}


def assertion(**changes: object) -> str:
    return mint({name: value for name, value in {**CLAIMS, **changes}.items() if value is not ...})


def register(*documents: dict[str, Any]) -> None:
    for document in documents:
        RuleTable(AWS, physical_name("TrustTable")).put(build_rule(document), None)


@pytest.fixture
def gatehouse(account: None, cli: CommandLine) -> CommandLine:
    """The command line, and a deployment with three rules."""
    deploy()
    cli.clients.put(assertion_client("deploy", API, claims={"tenant": "blue"}), None)
    register(DEPLOY, TESTS, OTHER)
    return cli


def explained(cli: CommandLine, token: str, *options: str) -> Result:
    return cli("rules", "explain", *options, answer=token + "\n")


def test_accepted_assertion_shows_its_rule_and_token(gatehouse: CommandLine) -> None:
    said = explained(gatehouse, assertion(), "--json")
    assert said.code == 0
    assert said.json["decision"] == "accepted"
    assert said.json["token"] == {
        "client_id": "deploy",
        "subject": "repo:acme/shop:ref:refs/heads/main",
        "scopes": ["country.read", "customer.read"],
        "audiences": [API],
        "lifetime": 3600,
        "claims": {"tenant": "blue", "repository": "acme/shop"},
        "needs_client_authentication": False,
    }
    assert (said.json["signature"], said.json["times"]) == ("valid", "valid")
    deploy, tests = said.json["rules"]
    assert (deploy["name"], deploy["matches"]) == ("deploy", True)
    assert (tests["name"], tests["matches"]) == ("tests", False)
    assert tests["failed"] == [{"claim": "repository", "expected": "acme/tests", "found": "acme/shop"}]


def test_id_jag_needs_its_client_and_limits_the_scopes(gatehouse: CommandLine) -> None:
    register({**DEPLOY, "name": "idp", "issuer": "https://idp.example", "profile": "id-jag", "claims": {}})
    claims = {**CLAIMS, "iss": "https://idp.example", "client_id": "deploy", "scope": "country.read customer.write"}
    jag = mint(claims, typ="oauth-id-jag+jwt")
    said = explained(gatehouse, jag, "--json")
    assert (said.code, said.json["rule"]) == (0, "idp")
    assert said.json["token"]["scopes"] == ["country.read"]
    assert said.json["token"]["needs_client_authentication"] is True
    plain = explained(gatehouse, mint(claims), "--json")
    assert (plain.code, plain.json["rules"][0]["reason"]) == (1, "typ")
    other = explained(gatehouse, mint(claims | {"client_id": "another"}, typ="oauth-id-jag+jwt"), "--json")
    assert other.json["rules"][0]["failed"][0]["claim"] == "client_id"


def test_explanation_names_each_failed_claim(gatehouse: CommandLine) -> None:
    said = explained(gatehouse, assertion(ref="refs/heads/topic", repository=...))
    assert said.code == 1
    for line in (
        "deploy does not match",
        "repository: expected acme/shop, it is missing",
        'ref: expected ["refs/heads/main", "refs/tags/v*"], found refs/heads/topic',
        "tests does not match",
        "repository: expected acme/tests, it is missing",
        "other (https://ci.example/)",
        "Refused: no trust rule matches",
    ):
        assert line in said.stdout
    accepted = explained(gatehouse, assertion())
    for line in (
        "deploy matches: sub repo:acme/shop:ref:refs/heads/main, client deploy",
        "copied: repository acme/shop",
        "✓ signature     valid",
        "Accepted by rule deploy: a token for client deploy with at most country.read customer.read.",
    ):
        assert line in accepted.stdout


def test_refused_assertion_shows_the_reason(gatehouse: CommandLine) -> None:
    refused: tuple[tuple[dict[str, object], str], ...] = (
        ({"iat": NOW - 1000, "exp": NOW + 300}, "lifetime_too_long"),
        ({"exp": NOW - 1}, "expired"),
        ({"iat": NOW + 600, "exp": NOW + 900}, "not_yet_valid"),
        ({"aud": "https://another.example"}, "deploy: aud_other"),
        ({"aud": [ISSUER, "https://another.example"]}, "deploy: aud_other"),
        ({"iss": "https://unknown.example"}, "the issuer is not trusted"),
        ({"iss": ISSUER}, "the issuer is not trusted"),
        ({"sub": ...}, "deploy: sub"),
        ({"nonce": "x"}, "id_token"),
    )
    for changes, reason in refused:
        said = explained(gatehouse, assertion(**changes), "--json")
        assert (said.code, said.json["decision"], said.json["token"]) == (1, "refused", None)
        assert reason in said.json["reason"]
    forged = explained(gatehouse, assertion()[:-8] + "AAAAAAAA", "--json")
    assert (forged.code, forged.json["rule"]) == (1, "deploy")
    assert forged.json["signature"].startswith("signature_invalid")
    for token in ("not a token", "a.b.c", "eyJ.e30.AA", "gh_at_" + "x" * 43):
        said = explained(gatehouse, token, "--json")
        assert (said.code, said.json["decision"]) == (1, "refused")


def test_keys_that_cannot_be_fetched_leave_the_decision_open(gatehouse: CommandLine) -> None:
    closed = "https://127.0.0.1:1"  # the SSRF guard refuses this address
    register({**{name: value for name, value in DEPLOY.items() if name != "jwks"}, "name": "remote", "issuer": closed})
    said = explained(gatehouse, assertion(iss=closed), "--json")
    assert (said.code, said.json["decision"], said.json["signature"]) == (4, "not decided", "not checked")
    assert "ForbiddenAddressError from https://127.0.0.1:1/" in said.json["reason"]


def test_token_is_read_from_a_file_or_the_argument(gatehouse: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "assertion"
    file.write_text(assertion() + "\n")
    for argument in (str(file), assertion()):
        assert gatehouse("rules", "explain", argument).code == 0
    missing = gatehouse("rules", "explain", str(tmp_path / "missing"))
    assert missing.code == 3


def test_client_can_be_the_reason(gatehouse: CommandLine) -> None:
    said = explained(gatehouse, assertion(), "--client-id", "another", "--json")
    assert (said.code, said.json["rules"][0]["reason"]) == (1, "another client")
    assert explained(gatehouse, assertion(), "--client-id", "deploy").code == 0
    only = frozenset({"client_credentials"})
    gatehouse.clients.change("deploy", lambda known: replace(known, grant_types=only))
    said = explained(gatehouse, assertion(), "--json")
    assert (said.code, said.json["reason"]) == (1, f"client deploy may not use the grant type {JWT_BEARER}")
    gatehouse.clients.change("deploy", lambda known: replace(known, disabled=True))
    said = explained(gatehouse, assertion(), "--json")
    assert (said.code, said.json["reason"]) == (1, "client deploy is disabled or does not exist")


def _tests_file(folder: Path, *tests: dict[str, Any]) -> str:
    file = folder / "tests.yaml"
    file.write_text(yaml.safe_dump({"tests": list(tests)}), encoding="utf-8")
    return str(file)


def test_captured_tokens_are_decided_at_their_own_time(gatehouse: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "captured").write_text(assertion(iat=1_000_000, exp=1_000_300) + "\n")
    accepted = {
        "rule": "deploy",
        "subject": "repo:acme/shop:ref:refs/heads/main",
        "client_id": "deploy",
        "scopes": ["customer.read", "country.read"],
        "claims": {"tenant": "blue", "repository": "acme/shop"},
    }
    topic = {"ref": "refs/heads/topic"}
    passing: list[dict[str, Any]] = [
        {"name": "file", "token_file": "captured", "expect": accepted},
        {"name": "token", "token": assertion(), "expect": {"rule": "deploy"}},
        {"name": "claims", "claims": {**CLAIMS, "iat": 5}, "expect": {"subject": CLAIMS["sub"]}},
        {"name": "topic", "claims": CLAIMS | topic, "expect": {"refused": "deploy: ref"}},
        {"name": "any reason", "claims": CLAIMS | topic, "expect": {"refused": ""}},
        {"name": "late", "claims": CLAIMS, "at": "2024-01-01", "expect": {"refused": "expired"}},
        {"name": "in time", "claims": CLAIMS, "at": NOW, "expect": {"rule": "deploy"}},
        {"name": "early", "claims": CLAIMS, "at": NOW - 600, "expect": {"refused": "not_yet_valid"}},
        {"name": "type", "claims": CLAIMS, "header": {"typ": "at+jwt"}, "expect": {"refused": "typ"}},
        {"name": "client", "claims": CLAIMS, "client_id": "x", "expect": {"refused": "another client"}},
    ]
    said = gatehouse("rules", "test", _tests_file(tmp_path, *passing))
    assert said.code == 0, said.stdout
    assert "10 tests passed, 0 failed." in said.stdout


def test_differing_decision_is_shown_and_exits_with_1(gatehouse: CommandLine, tmp_path: Path) -> None:
    failing = [
        {"name": "scopes", "claims": CLAIMS, "expect": {"rule": "deploy", "scopes": ["country.read"]}},
        {"name": "open", "claims": CLAIMS, "expect": {"refused": ""}},
        {"name": "closed", "claims": CLAIMS | {"repository": "x"}, "expect": {"rule": "deploy"}},
        {"name": "reason", "claims": CLAIMS | {"repository": "x"}, "expect": {"refused": "expired"}},
        {"name": "good", "claims": CLAIMS, "expect": {"rule": "deploy"}},
    ]
    said = gatehouse("rules", "test", _tests_file(tmp_path, *failing), "--json")
    assert said.code == 1
    assert (said.json["passed"], said.json["failed"]) == (1, 4)
    differences = {each["name"]: each["differences"] for each in said.json["tests"]}
    assert differences["scopes"] == ['scopes: expected ["country.read"], got ["country.read", "customer.read"]']
    assert differences["open"] == ["expected a refusal, was accepted by deploy"]
    assert "no trust rule matches" in differences["closed"][0]
    assert differences["reason"][0].startswith("refused: expected expired, got no trust rule matches")
    assert differences["good"] == []


def test_rules_file_is_tested_before_it_is_applied(gatehouse: CommandLine, tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    changed = {**DEPLOY, "claims": {"repository": "acme/shop", "ref": "refs/heads/topic"}}
    rules.write_text(json.dumps({"rules": [changed]}))
    topic = {"name": "topic", "claims": CLAIMS | {"ref": "refs/heads/topic"}, "expect": {"rule": "deploy"}}
    file = _tests_file(tmp_path, topic)
    assert gatehouse("rules", "test", file).code == 1
    assert gatehouse("rules", "test", file, "--rules", str(rules)).code == 0
    assert explained(gatehouse, assertion(ref="refs/heads/topic"), "--rules", str(rules)).code == 0


def test_malformed_test_is_a_usage_error(gatehouse: CommandLine, tmp_path: Path) -> None:
    malformed: tuple[tuple[dict[str, Any], str], ...] = (
        ({"expect": {"rule": "x"}}, "tests file"),
        ({"claims": {}, "token": "x", "expect": {"rule": "x"}}, "tests file"),
        ({"claims": {}, "expect": {}}, "test a: expect"),
        ({"claims": {}, "expect": {"scope": []}}, "test a: expect: unknown field scope"),
    )
    for test, said in malformed:
        refused = gatehouse("rules", "test", _tests_file(tmp_path, {"name": "a", **test}))
        assert (refused.code, said in refused.stderr) == (2, True), refused.stderr
    assert gatehouse("rules", "schema", "--tests").json["title"] == "Tests of trust rules"
