"""`gatehouse rules`: list, show, apply and remove, on a table in moto."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from functions.shared.clients.client import TokenProfile
from functions.shared.clients.supported import JWT_BEARER
from functions.shared.clients.trust_rule import GrantProfile, TrustRule, to_item
from infra.cli.documents import RULES, build_rule, plain, read_file
from infra.cli.errors import UsageError
from infra.cli.record_store import RuleTable
from tests.support.cli import AWS, CommandLine, DelayedInput, deploy, physical_name
from tests.support.server import assertion_client, client

GITHUB = "https://token.actions.githubusercontent.com"
API = "https://country.example"
DEPLOY = {
    "name": "deploy",
    "issuer": GITHUB,
    "client_id": "deploy",
    "claims": {"repository": "acme/shop", "ref": ["refs/heads/main", "refs/tags/v*"]},
    "scopes": ["country.read"],
    "copied_claims": ["repository"],
}
TESTS = {**DEPLOY, "name": "tests", "claims": {"repository": "acme/tests"}}
SVIDS = {
    **{key: DEPLOY[key] for key in ("client_id", "scopes")},
    "name": "workers",
    "issuer": "spiffe://example.org",
    "claims": {"sub": "spiffe://example.org/ns/payments/*"},
    "spiffe_bundle_endpoint": "https://bundles.example/example.org",
}
FULL = TrustRule(
    name="full",
    issuer="spiffe://acme.example",
    client_id="deploy",
    profile=GrantProfile.ID_JAG,
    claims={"level": 1, "nested": {"public": True}},
    accepts_token_endpoint=True,
    jwks_uri="https://keys.acme.example",
    algorithms=frozenset({"ES256", "RS256"}),
    max_age=60,
    one_time=True,
    authenticates_client=True,
    subject="someone",
    scopes=frozenset({"country.read"}),
    audiences=frozenset({API}),
    lifetime=600,
    copied_claims=frozenset({"tenant"}),
    disabled=True,
)


def table() -> RuleTable:
    return RuleTable(AWS, physical_name("TrustTable"))


def stored() -> dict[str, TrustRule]:
    return {seen.key: seen.readable for seen in table().list() if seen.readable}


def written(folder: Path, *documents: dict[str, Any]) -> str:
    file = folder / "rules.yaml"
    file.write_text(yaml.safe_dump({"rules": list(documents)}), encoding="utf-8")
    return str(file)


@pytest.fixture
def gatehouse(account: None, cli: CommandLine) -> CommandLine:
    """The command line, and a deployment with a client for the rules."""
    deploy()
    cli.clients.put(assertion_client("deploy", API), None)
    return cli


@pytest.mark.parametrize("rule", [FULL, build_rule(DEPLOY), build_rule(SVIDS)], ids=lambda rule: rule.name)
def test_document_round_trip(rule: TrustRule) -> None:
    Draft202012Validator.check_schema(RULES.schema)
    document = plain(rule)
    assert not list(Draft202012Validator(RULES.schema).iter_errors({"rules": [document]}))
    assert build_rule(json.loads(json.dumps(document))) == rule


def test_schema_has_every_field_with_the_defaults_of_the_code(cli: CommandLine) -> None:
    assert cli("rules", "schema").json == RULES.schema
    known = RULES.schema["properties"]["rules"]["items"]["properties"]
    least = TrustRule(name="a", issuer="https://a.example", client_id="a", claims={"sub": "a"})
    assert set(known) == set(TrustRule.__slots__)
    for name, rule in known.items():
        if "default" in rule and name != "claims":
            assert rule["default"] == plain(getattr(least, name)), name


def test_file_is_applied_once(gatehouse: CommandLine, tmp_path: Path) -> None:
    file = written(tmp_path, DEPLOY, TESTS)
    dry = gatehouse("rules", "apply", file, "--dry-run")
    assert (dry.code, stored()) == (0, {})
    assert "+ deploy  (create)" in dry.stdout
    assert '    claims: {"ref": ["refs/heads/main", "refs/tags/v*"], "repository": "acme/shop"}' in dry.stdout
    assert gatehouse("rules", "apply", file, answer="n\n").code == 1
    assert stored() == {}
    done = gatehouse("rules", "apply", file, answer="y\n")
    assert (done.code, done.stdout) == (0, "Done: 2 created.\n")
    assert "+ tests  (create)" in done.stderr
    assert "within 30 seconds" in done.stderr
    assert stored() == {"deploy": build_rule(DEPLOY), "tests": build_rule(TESTS)}
    again = gatehouse("rules", "apply", file)
    assert (again.code, again.stdout) == (0, "No changes.\n")


def test_exported_rules_equal_the_table(gatehouse: CommandLine, tmp_path: Path) -> None:
    gatehouse("rules", "apply", written(tmp_path, DEPLOY, {**TESTS, "disabled": True}), "--yes")
    file = tmp_path / "exported.yaml"
    file.write_text(gatehouse("rules", "export").stdout)
    same = gatehouse("rules", "diff", str(file), "--strict")
    assert (same.code, same.stdout) == (0, "No differences.\n")
    assert len(gatehouse("rules", "export", "--json").json["rules"]) == 2
    changed = gatehouse("rules", "diff", written(tmp_path, {**DEPLOY, "lifetime": 600}))
    assert (changed.code, "lifetime: (the default) → 600" in changed.stdout) == (1, True)


def test_rule_of_another_issuer_replaces_the_rule_of_its_name(gatehouse: CommandLine, tmp_path: Path) -> None:
    gatehouse("rules", "apply", written(tmp_path, DEPLOY), "--yes")
    moved = {**DEPLOY, "issuer": "https://ci.example"}
    shown = gatehouse("rules", "apply", written(tmp_path, moved), "--yes")
    assert f"issuer: {GITHUB} → https://ci.example" in shown.stderr
    assert [(seen.item["issuer"]["S"], seen.key) for seen in table().list()] == [("https://ci.example", "deploy")]


def test_file_without_disabled_does_not_enable_a_rule(gatehouse: CommandLine, tmp_path: Path) -> None:
    gatehouse("rules", "apply", written(tmp_path, {**DEPLOY, "disabled": True}), "--yes")
    gatehouse("rules", "apply", written(tmp_path, {**DEPLOY, "lifetime": 600}), "--yes")
    assert stored()["deploy"].disabled
    gatehouse("rules", "apply", written(tmp_path, {**DEPLOY, "disabled": False}), "--yes")
    assert not stored()["deploy"].disabled


@pytest.mark.parametrize("listed", [True, False], ids=["in the file", "in the table"])
def test_overlapping_rules_are_refused(gatehouse: CommandLine, tmp_path: Path, *, listed: bool) -> None:
    wide = {**DEPLOY, "name": "wide", "claims": {"repository": "acme/*"}}
    if not listed:
        gatehouse("rules", "apply", written(tmp_path, DEPLOY), "--yes")
    refused = gatehouse("rules", "apply", written(tmp_path, wide, *([DEPLOY] if listed else [])), "--yes")
    assert (refused.code, refused.stdout) == (2, "")
    assert "One assertion could match two rules: " in refused.stderr
    assert "wide" in refused.stderr
    assert "deploy" in refused.stderr
    assert "wide" not in stored()
    apart = {**wide, "claims": {"repository": "acme/*", "ref": "refs/heads/other"}}
    assert gatehouse("rules", "apply", written(tmp_path, apart, DEPLOY), "--yes").code == 0


def test_pruned_rule_does_not_overlap(gatehouse: CommandLine, tmp_path: Path) -> None:
    gatehouse("rules", "apply", written(tmp_path, DEPLOY), "--yes")
    wide = {**DEPLOY, "name": "wide", "claims": {"repository": "acme/*"}}
    assert gatehouse("rules", "apply", written(tmp_path, wide), "--prune", "--yes").code == 0
    assert set(stored()) == {"wide"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"claims": {}}, "A rule needs a condition for a claim"),
        ({"claims": {"repository": "*"}}, "which is not its first character"),
        ({"claims": {"aud": "x"}}, "The claim aud is always checked"),
        ({"copied_claims": ["sub"]}, "rule deploy: copied_claims[0] (line 9) has the name sub"),
        ({"issuer": "http://ci.example"}, "The issuer of a rule is an http URL"),
        ({"issuer": "spiffe://acme.example"}, "needs its spiffe_bundle_endpoint"),
        ({"name": "a b"}, "does not match the pattern"),
        ({"max_age": 0}, "max_age (line 11) must be at least 1"),
        ({"claim": "x"}, "unknown field claim"),
        ({"algorithms": ["HS256"]}, "must be one of"),
        ({"lifetime": 86_401}, "must be at most 86400"),
    ],
    ids=str,
)
def test_invalid_rule_is_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as refused:
        list(map(build_rule, read_file(Path(written(tmp_path, {**DEPLOY, **change})), RULES)))
    assert said in str(refused.value)


def test_rule_that_gives_more_than_its_client_may_get_is_refused(gatehouse: CommandLine, tmp_path: Path) -> None:
    gatehouse.clients.put(client("plain"), None)
    opaque = {"token_profile": TokenProfile.AT_JWT, "audience": (API,), "grant_types": frozenset({JWT_BEARER})}
    gatehouse.clients.put(client("tenant", claims={"tenant": "blue"}, **opaque), None)
    changes: tuple[tuple[dict[str, Any], int, str], ...] = (
        ({"client_id": "missing"}, 3, "Rules name clients that do not exist: missing."),
        ({"scopes": ["country.write"]}, 2, "rule deploy: client deploy may not get the scopes country.write"),
        ({"audiences": ["https://other.example"]}, 2, "may not address https://other.example"),
        ({"client_id": "plain"}, 2, f"client plain may not use the grant type {JWT_BEARER}"),
        ({"client_id": "tenant", "copied_claims": ["tenant"]}, 2, "client tenant has the claim tenant itself"),
    )
    for change, code, said in changes:
        refused = gatehouse("rules", "apply", written(tmp_path, {**DEPLOY, **change}), "--yes")
        assert (refused.code, refused.stdout) == (code, "")
        assert said in refused.stderr
    assert stored() == {}


def test_edit_after_the_diff_is_a_conflict(gatehouse: CommandLine, tmp_path: Path) -> None:
    gatehouse("rules", "apply", written(tmp_path, DEPLOY, TESTS), "--yes")
    file = written(tmp_path, {**DEPLOY, "lifetime": 600}, {**TESTS, "lifetime": 600})
    seen = table().get("deploy")
    theirs = build_rule({**DEPLOY, "lifetime": 900})
    answer = DelayedInput("y\n", lambda: table().put(theirs, seen))
    conflict = gatehouse("rules", "apply", file, answer=answer)
    assert conflict.code == 5
    assert "not written: deploy" in conflict.stderr
    assert (stored()["deploy"].lifetime, stored()["tests"].lifetime) == (900, 600)


def test_rules_are_listed_and_shown(gatehouse: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    gatehouse("rules", "apply", written(tmp_path, DEPLOY, {**TESTS, "subject": "tests", "disabled": True}), "--yes")
    listed = gatehouse("rules", "list")
    for text in ("deploy", GITHUB, "repository: acme/shop", "tests", "sub tests", "disabled", "country.read"):
        assert text in listed.stdout
    assert gatehouse("rules", "list", "--json").json == [
        {**DEPLOY, "disabled": False},
        {**TESTS, "subject": "tests", "disabled": True},
    ]
    assert yaml.safe_load(gatehouse("rules", "show", "deploy").stdout) == {"rules": [{**DEPLOY, "disabled": False}]}
    assert gatehouse("rules", "show", "deploy", "--json").json == {**DEPLOY, "disabled": False}
    missing = gatehouse("rules", "show", "missing")
    assert (missing.code, "Rule missing does not exist" in missing.stderr) == (3, True)


def test_rule_is_removed_after_confirmation(gatehouse: CommandLine, tmp_path: Path) -> None:
    gatehouse("rules", "apply", written(tmp_path, DEPLOY), "--yes")
    assert gatehouse("rules", "remove", "deploy", answer="n\n").code == 1
    assert set(stored()) == {"deploy"}
    assert gatehouse("rules", "remove", "deploy", "--yes").stdout == "Rule deploy deleted.\n"
    assert stored() == {}
    assert gatehouse("rules", "remove", "deploy", "--yes").code == 3


def test_unreadable_rule_is_named_and_can_be_replaced(gatehouse: CommandLine, tmp_path: Path) -> None:
    item = {**to_item(build_rule(DEPLOY)), "max_age": {"S": "x"}}
    AWS.call("dynamodb", "PutItem", TableName=physical_name("TrustTable"), Item=item)
    listed = gatehouse("rules", "list")
    assert listed.code == 4
    assert "The record of rule deploy cannot be read: a trust record is malformed" in listed.stderr
    assert gatehouse("rules", "show", "deploy").code == 4
    assert gatehouse("rules", "apply", written(tmp_path, DEPLOY), "--yes").code == 0
    assert stored() == {"deploy": build_rule(DEPLOY)}


def test_client_for_rules_only_is_created_and_updated(gatehouse: CommandLine) -> None:
    create = ("clients", "create", "ci", "--audience", API, "--scope", "a", "--grant-type", JWT_BEARER)
    made = gatehouse(*create, "--method", "none", "--json")
    assert (made.code, made.json) == (0, {"client_id": "ci"})
    assert gatehouse.clients.get("ci").record.authentication_methods == frozenset()
    assert gatehouse("clients", "update", "ci", "--name", "CI").code == 0
    assert gatehouse.clients.get("ci").record.authentication_methods == frozenset()
    for refused in (("--method", "none"), ("--method", "none", "--method", "private_key_jwt")):
        assert gatehouse("clients", "create", "other", "--scope", "a", *refused).code == 2
