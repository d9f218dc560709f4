import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from functions.shared.clients.additional_claims import RESERVED_NAMES
from functions.shared.clients.assertion_rules import AssertionRules, FederationRule
from functions.shared.clients.certificate_name import CertificateName, CertificateNameKind
from functions.shared.clients.client import Client
from infra.cli.changes import plan
from infra.cli.documents import CLIENTS, build_client, checked, client_document, parse_documents
from infra.cli.errors import ConflictError, UsageError
from infra.cloudformation import load
from local.demo_clients import authorizer_client, demo_clients, keyed_clients
from local.emulated_aws import TEMPLATE
from tests.support.cli import CommandLine, DelayedInput
from tests.support.server import client

SCHEMA = CLIENTS.schema
PLAIN = {
    "client_id": "service-client-jwt",
    "name": "A service",
    "authentication_methods": ["client_secret_basic", "client_secret_post"],
    "scopes": ["country.read", "customer.read", "customer.write"],
    "token_profile": "plain",
}
"""The document of `client()`."""
FULL = client(
    authentication_methods=frozenset(
        {"private_key_jwt", "federated_jwt", "tls_client_auth", "self_signed_tls_client_auth"}
    ),
    secrets=(),
    assertion=AssertionRules(jwks_uri="https://client.example/jwks", lifetime=60),
    federation=(FederationRule(issuer="https://issuer.example", audience="us", subject="a:*", claims={"run": 1}),),
    certificate_name=CertificateName(CertificateNameKind.SAN_DNS, "client.example"),
    certificate_thumbprints=frozenset({"t" * 43}),
    allowed_resources=frozenset({"https://c"}),
    audience=("https://b", "https://a"),
    claims={"tenant": "blue", "level": 1, "teams": ["a", {"b": None}]},
    disabled=True,
)


def written(folder: Path, *documents: dict[str, Any]) -> str:
    file = folder / "clients.yaml"
    file.write_text(yaml.safe_dump({"clients": list(documents)}), encoding="utf-8")
    return str(file)


def test_schema_has_every_field_but_secrets(cli: CommandLine) -> None:
    assert cli("clients", "schema").json == SCHEMA
    Draft202012Validator.check_schema(SCHEMA)
    known = CLIENTS.schema["properties"]["clients"]["items"]["properties"]
    assert set(known) == {field.name for field in fields(Client)} - {"secrets"}
    nested = {"assertion": AssertionRules, "certificate_name": CertificateName}
    for name, kind in nested.items():
        assert set(known[name]["properties"]) == {field.name for field in fields(kind)}
    rule = known["federation"]["items"]["properties"]
    assert set(rule) == {field.name for field in fields(FederationRule)}


def test_schema_reserves_the_names_that_the_code_reserves() -> None:
    validator = Draft202012Validator(SCHEMA)
    for name in (*RESERVED_NAMES, "aws:tag", "x" * 129, "", "é"):
        assert not validator.is_valid({"clients": [{"client_id": "a", "claims": {name: "x"}}]}), name
    assert validator.is_valid({"clients": [{"client_id": "a", "claims": {"roles": ["x"], "x" * 128: None}}]})


def test_schema_defaults_equal_the_code() -> None:
    least = checked({"client_id": "a", "authentication_methods": ["client_secret_basic"]})
    for name, rule in CLIENTS.schema["properties"]["clients"]["items"]["properties"].items():
        if "default" in rule:
            value = getattr(least, name)
            plain = sorted(value) if isinstance(value, frozenset) else value
            assert rule["default"] == (list(plain) if isinstance(plain, tuple) else plain), name


@pytest.mark.parametrize(
    "known",
    [*demo_clients(), *keyed_clients(), authorizer_client("x"), client(), FULL],
    ids=lambda known: known.client_id,
)
def test_document_round_trip_drops_secrets(known: Client) -> None:
    document = client_document(known)
    assert not list(Draft202012Validator(SCHEMA).iter_errors({"clients": [document]}))
    assert client_document(build_client(document)) == document
    assert build_client(document, known).secrets == known.secrets
    assert client_document(build_client(document, known)) == document


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"secret": "x"}, "client a: unknown field secret."),
        ({"authentication_methods": ["none"]}, "authentication_methods[0] must be one of"),
        ({"authentication_methods": []}, "only the grant type urn:ietf:params:oauth:grant-type:jwt-bearer needs no"),
        ({"token_lifetime": 86_401}, "token_lifetime must be at most 86400"),
        ({"token_lifetime": "600"}, "client a: token_lifetime must be a whole number."),
        ({"name": 600}, "name must be text (quote it)"),
        ({"scopes": ["a", "a"]}, "scopes contains an entry twice"),
        ({"scopes": ["a b"]}, "scopes[0] is not a valid scope: visible ASCII without spaces"),
        ({"scopes": ["*"]}, "scopes[0] is not a valid scope"),
        ({"assertion": {}}, "exactly one of jwks and jwks_uri"),
        (
            {"federation": [{"issuer": "https://i"}]},
            "The client is not valid: client a: federation[0] lacks the field audience, subject.",
        ),
        ({"federation": [{"issuer": "https://i", "audience": "a", "subject": "*"}]}, "subject"),
        ({"certificate_name": {"kind": "phone", "value": "1"}}, "certificate_name.kind must be"),
        ({"claims": ["a"]}, "claims must be a mapping"),
        ({"claims": {"sub": "a"}}, "claims has the name sub, but a claim's name is 1 to 128 visible ASCII characters"),
        ({"claims": {"aws:tag": "a"}}, "claims has the name aws:tag"),
        ({"claims": {"a b": "a"}}, "claims has the name a b"),
        ({"claims": {"a": "x" * 1024}}, "The claims have 1032 bytes as JSON. The limit is 1024."),
        ({"claims": {"a": 2**53}}, "A claim is JSON that every verifier reads"),
        ({"default_scopes": ["other"]}, "Default scopes must be among"),
        ({"authentication_methods": ["private_key_jwt"]}, "has nothing to be checked by"),
        ({"audience": ["a"], "token_profile": "at+jwt", "grant_types": ["password"]}, "grant_ty"),
    ],
)
def test_invalid_client_names_the_field(change: dict[str, Any], said: str) -> None:
    document = {"client_id": "a", "authentication_methods": ["client_secret_basic"]}
    with pytest.raises(UsageError) as refused:
        checked({**document, **change})
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("clients: [", "is not YAML: line 1"),
        ("clients: []\nclients: []\n", "line 2, column 1: duplicate key clients"),
        ("- a\n", "the file (line 1) must be a mapping"),
        ("", "the file (line 1) must be a mapping"),
        ("clients:\n- 1\n", "client 0 (line 2) must be a mapping"),
        ("clients: []\nother: 1\n", "the file: unknown field other (line 2)"),
        (
            "clients:\n- client_id: a\n  colour: red\n  scope: [a]\n  token_lifetime: 1\n",
            (
                "client a: unknown field colour (line 3), scope (line 4); "
                "client a: token_lifetime (line 5) must be at least 2."
            ),
        ),
        (
            '{"clients": [{"client_id": "a",\n "authentication_methods": ["none"]}]}',
            "client a: authentication_methods[0] (line 2) must be one of",
        ),
        ("!!python/object:os.system {}", "is not YAML"),
        ("clients: !!binary aGVsbG8=", "line 1, column 10: binary is not a JSON type"),
        ("clients: !!set {a}", "set is not a JSON type"),
        ("clients: !!timestamp 2027-01-31", "timestamp is not a JSON type"),
        ("clients: .nan", "line 1, column 10: nan is not a JSON number"),
        ("clients: -.inf", "-inf is not a JSON number"),
        (f"clients: {'9' * 5000}", "line 1, column 10: a number is too long"),
        ("clients:\n- 1: a\n", "line 2, column 3: the key 1 is not a string"),
        ("[" * 20_000, "is nested too deeply"),
    ],
)
def test_invalid_file_names_the_line(text: str, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_documents(text, "clients.yaml", CLIENTS)
    assert said in str(refused.value)


def test_yaml_dates_are_strings() -> None:
    text = (
        "clients:\n"
        "- {client_id: dated, name: 2027-01-31, authentication_methods: [federated_jwt],\n"
        "   token_lifetime: 600.0, federation: [{issuer: 'https://i', audience: us, subject: s,\n"
        "   claims: {since: 2027-02-30, share: 0.5}}]}\n"
    )
    (document,) = parse_documents(text, "clients.yaml", CLIENTS)
    made = build_client(document)
    assert (made.name, made.token_lifetime) == ("2027-01-31", 600)
    assert made.federation[0].claims == {"since": "2027-02-30", "share": 0.5}


def test_rejected_file_is_not_repeated(gatehouse: CommandLine, tmp_path: Path) -> None:
    file = written(tmp_path, {**PLAIN, "client_secret": "hunter2", "token_lifetime": "hunter2"})
    refused = gatehouse("clients", "apply", file)
    assert (refused.code, refused.stdout, "hunter2" in refused.stderr) == (2, "", False)
    refused = gatehouse("clients", "diff", written(tmp_path, PLAIN, PLAIN))
    assert (refused.code, "contains clients twice: service-client-jwt" in refused.stderr) == (2, True)


def test_export_matches_the_table(gatehouse: CommandLine, tmp_path: Path) -> None:
    for each in (client(), replace(FULL, client_id="full")):
        gatehouse.clients.put(each, None)
    (tmp_path / "clients.yaml").write_text(gatehouse("clients", "export").stdout)
    same = gatehouse("clients", "diff", str(tmp_path / "clients.yaml"))
    assert (same.code, same.stdout.strip()) == (0, "No differences.")
    (tmp_path / "clients.json").write_text(gatehouse("clients", "export", "--json").stdout)
    assert gatehouse("clients", "diff", str(tmp_path / "clients.json"), "--json").json == {"changes": []}


def test_diff_shows_fields_and_exits_with_1(gatehouse: CommandLine, tmp_path: Path) -> None:
    gatehouse.clients.put(client(), None)
    gatehouse.clients.put(client("extra"), None)
    file = written(
        tmp_path,
        {**PLAIN, "scopes": ["country.read", "x"], "token_lifetime": 600},
        {"client_id": "new", "authentication_methods": ["client_secret_basic"]},
    )
    drift = gatehouse("clients", "diff", file)
    assert drift.code == 1
    assert drift.stdout.splitlines() == [
        "? extra  (not in the file)",
        "+ new  (create)",
        "    client_id: new",
        '    authentication_methods: ["client_secret_basic"]',
        "    token_profile: plain",
        "~ service-client-jwt  (change)",
        "    scopes: -customer.read -customer.write +x",
        "    token_lifetime: (the default) → 600",
    ]
    by_id = {each["client_id"]: each for each in gatehouse("clients", "diff", file, "--json").json["changes"]}
    assert by_id["service-client-jwt"]["fields"]["token_lifetime"] == {"from": None, "to": 600}


def test_dry_run_and_refusal_write_nothing(gatehouse: CommandLine, tmp_path: Path) -> None:
    gatehouse.clients.put(client(), None)
    file = written(tmp_path, {**PLAIN, "name": "Another"})
    for options, answer, code in ((("--dry-run",), "", 0), ((), "n\n", 1), ((), "", 2)):
        shown = gatehouse("clients", "apply", file, *options, answer=answer)
        assert (shown.code, "name: A service → Another" in shown.stdout + shown.stderr) == (code, True)
    assert gatehouse.clients.get("service-client-jwt").record == client()


def test_a_file_is_applied_and_secrets_stay(gatehouse: CommandLine, tmp_path: Path) -> None:
    gatehouse.clients.put(client(), None)
    gatehouse.clients.put(client("extra"), None)
    file = written(
        tmp_path, {**PLAIN, "name": "Another"}, {"client_id": "new", "authentication_methods": ["client_secret_basic"]}
    )
    applied = gatehouse("clients", "apply", file, answer="y\n")
    assert applied.code == 0, applied.stderr
    assert gatehouse.clients.get("service-client-jwt").record == client(name="Another")
    assert gatehouse.clients.get("new").record.secrets == ()
    assert "gatehouse clients rotate-secret new" in applied.stderr
    assert gatehouse.clients.find("extra") is not None
    again = gatehouse("clients", "apply", file)
    assert (again.code, again.stdout) == (0, "No changes.\n")
    outside = gatehouse("clients", "diff", file)
    assert (outside.code, outside.stdout) == (0, "? extra  (not in the file)\n")
    assert gatehouse("clients", "diff", file, "--strict").code == 1


def test_prune_deletes_others_first_but_not_the_stacks_client(gatehouse: CommandLine, tmp_path: Path) -> None:
    federation = {"federation": [{"issuer": "https://i.example", "audience": "a", "subject": "s"}]}
    gatehouse.clients.put(checked({"client_id": "z", **federation}), None)
    own = authorizer_client("a secret that the stack made")
    gatehouse.clients.put(own, None)
    credentials = load(TEMPLATE)["Resources"]["IntrospectionCredentials"]["Properties"]
    made = json.loads(credentials["GenerateSecretString"]["SecretStringTemplate"])
    assert own.client_id == made["client_id"] == CLIENTS.of_the_stack
    # A token of the issuer could authenticate both a and z.
    pruned = gatehouse("clients", "apply", written(tmp_path, {"client_id": "a", **federation}), "--prune", "--yes")
    assert (pruned.code, pruned.stdout) == (0, "Done: 1 created, 1 deleted.\n")
    assert [seen.key for seen in gatehouse.clients.list()] == ["a", own.client_id]
    assert gatehouse.clients.get(own.client_id).record == own


@pytest.mark.parametrize(("disabled", "is_disabled"), [({}, True), ({"disabled": False}, False)])
def test_file_enables_a_client_only_with_disabled_false(disabled: dict[str, bool], *, is_disabled: bool) -> None:
    assert build_client({**PLAIN, **disabled}, client(disabled=True)) == client(disabled=is_disabled)


@pytest.mark.parametrize("is_created", [True, False])
def test_client_that_another_process_creates_or_deletes_is_a_conflict(
    gatehouse: CommandLine, *, is_created: bool
) -> None:
    clients = gatehouse.clients
    if not is_created:
        clients.put(client(), None)
    (change,) = plan(CLIENTS, [{**PLAIN, "name": "Ours"}], clients.list())
    if is_created:
        clients.put(client(), None)
    else:
        clients.delete(clients.get("service-client-jwt"))
    with pytest.raises(ConflictError, match="client service-client-jwt at the same time"):
        change.apply(clients)
    assert [seen.record for seen in clients.list()] == [client()] * is_created


def test_conflict_is_exit_code_5(gatehouse: CommandLine, tmp_path: Path) -> None:
    for client_id in ("other", "service-client-jwt"):
        gatehouse.clients.put(client(client_id), None)
    ours = {**PLAIN, "name": "Ours"}
    file = written(tmp_path, {**ours, "client_id": "other"}, ours)
    answer = DelayedInput("y\n", lambda: gatehouse.clients.change("other", lambda found: replace(found, name="Theirs")))
    applied = gatehouse("clients", "apply", file, answer=answer)
    assert applied.code == 5
    assert "therefore not written: other." in applied.stderr
    assert "Run the command again." in applied.stderr
    names = {seen.record.client_id: seen.record.name for seen in gatehouse.clients.list()}
    assert names == {"other": "Theirs", "service-client-jwt": "Ours"}


def test_diff_and_apply_can_be_limited(gatehouse: CommandLine, tmp_path: Path) -> None:
    gatehouse.clients.put(client(), None)
    gatehouse.clients.put(client("extra"), None)
    changed = {**PLAIN, "name": "New"}
    file = written(tmp_path, changed, {**changed, "client_id": "other"})
    limited = gatehouse("clients", "diff", file, "--client", "extra", "--json")
    assert (limited.code, [each["client_id"] for each in limited.json["changes"]]) == (0, ["extra"])
    assert gatehouse("clients", "diff", file, "--client", "other").code == 1
    assert gatehouse("clients", "apply", file, "--client", "other", "--yes").code == 0
    assert gatehouse.clients.find("other") is not None
    assert gatehouse.clients.get("service-client-jwt").record == client()
    unknown = gatehouse("clients", "diff", file, "--client", "typo")
    assert (unknown.code, "has client typo" in unknown.stderr) == (3, True)


@pytest.mark.parametrize(
    ("fields", "methods"),
    [
        ({"assertion": {"jwks_uri": "https://client.example/jwks"}}, {"private_key_jwt"}),
        ({"certificate_name": {"kind": "san_dns", "value": "a.example"}}, {"tls_client_auth"}),
        ({"certificate_thumbprints": ["t" * 43]}, {"self_signed_tls_client_auth"}),
        ({"federation": [{"issuer": "https://i", "audience": "a", "subject": "s"}]}, {"federated_jwt"}),
        ({}, {"client_secret_basic", "client_secret_post"}),
    ],
)
def test_file_may_omit_implied_methods(fields: dict[str, Any], methods: set[str]) -> None:
    assert checked({"client_id": "a", **fields}).authentication_methods == methods


def test_file_with_audience_gets_at_jwt(gatehouse: CommandLine, tmp_path: Path) -> None:
    gatehouse.clients.put(client("registered", audience=("https://api",)), None)
    entry = {"audience": ["https://api"], "scopes": ["country.read"]}
    assert build_client({"client_id": "new", **entry}).token_profile == "at+jwt"
    assert build_client({"client_id": "opaque", "token_format": "opaque", **entry}).token_profile == "plain"
    applied = gatehouse("clients", "apply", written(tmp_path, {"client_id": "registered", **entry}), "--yes")
    assert gatehouse.clients.get("registered").record.token_profile == "plain"
    assert "https://api rejects them" in applied.stderr
    assert "update registered --token-profile at+jwt" in applied.stderr


def test_claim_that_changes_only_its_type_is_a_difference(gatehouse: CommandLine, tmp_path: Path) -> None:
    gatehouse.clients.put(client("a", claims={"level": 1}), None)
    file = written(tmp_path, {**client_document(client("a")), "claims": {"level": True}})
    assert 'claims: {"level": 1} → {"level": true}' in gatehouse("clients", "diff", file).stdout
    assert gatehouse("clients", "apply", file, "--yes").code == 0
    assert gatehouse.clients.get("a").record.claims["level"] is True
