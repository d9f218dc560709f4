"""`gatehouse token inspect`: the authorizer's own decision, explained step by step."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from authorizer.errors import Reason
from authorizer.jwk_thumbprint import thumbprint
from authorizer.state_table import revocation_key
from functions.shared.keys.signing_keys import to_pem
from functions.shared.web.proxy_request import certificate_from_pem
from infra.cli.errors import UsageError
from infra.cli.input_files import token_in
from infra.cli.local_authorizer import laptop_environment
from infra.cli.times import span
from infra.explain import Stage, reason_text, stage_of
from infra.local_stack import secret_name
from local.certificates import LaptopCertificates
from local.emulated_aws import TEMPLATE, names
from local.gateway.template import Template
from tests.support.answers_server import AnswersServer, Reply, answers_server
from tests.support.cli import STACK as NAME
from tests.support.cli import CommandLine, Result, aws_client, deploy, physical_name
from tests.support.server import NOW, key, ring
from tests.support.whole_deployment import deploy_all

STAGE = "/ms-auth-server"
HOUR = 3600


class Issuer:
    """An issuer that publishes its first key."""

    def __init__(self, server: AnswersServer) -> None:
        self.server = server
        self.url = server.url + STAGE
        self.ring = ring(now=NOW - HOUR)
        server.answers[f"GET {STAGE}/oauth2/jwks"] = Reply(200, json.dumps(self.ring.key_set(NOW)))

    def deploy(self, **authorizer: str) -> None:
        deploy_all(self.url, f"{self.server.url}/ms-system", kept=self.ring, authorizer=authorizer)

    def token(self, number: int = 1, **claims: object) -> str:
        made = {
            "iss": self.url,
            "sub": "billing",
            "aud": "billing",
            "iat": NOW - 60,
            "exp": NOW + HOUR,
            "scope": ["country.read"],
            **claims,
        }
        members = {name: value for name, value in made.items() if value is not None}
        signer = key(number)
        return jwt.encode(members, signer.private_pem, "RS256", {"kid": signer.kid})


@pytest.fixture
def issuer(account: None) -> Iterator[Issuer]:
    with answers_server() as server:
        yield Issuer(server)


def inspected(cli: CommandLine, token: str, *options: str) -> Result:
    return cli("token", "inspect", *options, "--json", answer=token + "\n")


def steps(result: Result) -> dict[str, bool | None]:
    return {step["stage"]: step["passed"] for step in result.json["steps"]}


def test_allowed_request_shows_the_statement(issuer: Issuer, cli: CommandLine, tmp_path: Path) -> None:
    issuer.deploy(AUDIENCE="billing,others")
    file = tmp_path / "token"
    file.write_text(issuer.token())
    said = cli("token", "inspect", str(file), "--request", "get", "/country/code/AUS?x=1")
    assert said.code == 0
    for line in (
        "✓ read          a JWT of",
        "alg RS256 (accepted: RS256), typ JWT",
        f"{issuer.url} (trusted: {issuer.url})",
        f"✓ key           {key(1).kid}",
        "signs since 2023-11-14 21:13 UTC (1 h)",
        "published until its last token expires",
        "aud billing (accepted: billing, others)",
        "iat 2023-11-14 22:12 UTC: issued 1 min ago",
        "exp 2023-11-14 23:13 UTC: expires in 1 h",
        "not checked (CheckRevokedTokens is false)",
        "not bound to a key",
        "country.read opens GET /country, GET /country/code/*",
        "✓ policy        Allow arn:aws:execute-api:eu-west-1:123456789012:",
        "/ms-system/GET/country/code/*",
        "until 2023-11-14T23:13:20Z, when the token expires",
        "GET /country/code/AUS is allowed",
    ):
        assert line in said.stdout
    assert issuer.token() not in said.stdout + said.stderr


def test_additional_claims_are_shown_with_their_name_in_the_context(issuer: Issuer, cli: CommandLine) -> None:
    issuer.deploy(CONTEXT_CLAIMS="tenant,absent")
    said = cli("token", "inspect", answer=issuer.token(tenant="blue", teams=["a", {"b": 1}]) + "\n")
    assert "tenant blue (passed to the API as claim_tenant)" in said.stdout
    assert 'teams ["a", {"b": 1}]\n' in said.stdout


def test_wrapped_lines_are_indented(issuer: Issuer, cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    issuer.deploy()
    monkeypatch.setenv("COLUMNS", "80")
    shown = cli("token", "inspect", "--request", "GET", "/country", answer=issuer.token()).stdout
    steps, _, decision = shown.rpartition("\n\n")
    assert "GET /country is allowed" in decision
    assert max(map(len, shown.splitlines())) <= 80
    arn = "".join(line.removeprefix(" " * 16) for line in steps.partition("policy        ")[2].splitlines())
    assert arn.startswith("Allow arn:aws:execute-api:eu-west-1:123456789012:")
    assert "/ms-system/GET/country" in arn
    assert all(line.startswith("✓ ") or (line[:16].isspace() and line[16] != " ") for line in steps.splitlines())


def test_denied_request_names_the_scope(issuer: Issuer, cli: CommandLine) -> None:
    issuer.deploy()
    for token, path, statement, would in (
        (issuer.token(scope=["other"]), "/country", "/*", "country.read would open it"),
        (issuer.token(), "/customer", None, "no single scope opens it"),
        (issuer.token(), "/country/code/A/B", "/GET/country/code/*/*", "no single scope"),
    ):
        said = inspected(cli, token, "--request", "GET", path)
        assert (said.code, said.json["status"], said.json["reason"]) == (1, 403, "scope_insufficient")
        assert steps(said)["policy"] is False
        assert would in said.json["steps"][-1]["says"][1]
        found = said.json["statement"]
        assert found is None if statement is None else found["Resource"].endswith(statement)


@pytest.mark.parametrize(
    "form",
    [
        "{}",
        "Bearer {}",
        "bearer  {}\n",
        "Authorization: Bearer {}",
        "Authorization: DPoP {}\nDPoP: a.b.c\n",
        '{{"access_token": "{}", "token_type": "Bearer", "expires_in": 3599}}',
        '\n  {{"token_type": "Bearer",\n "access_token": "{}"}}\n',
    ],
)
def test_token_is_read_from_a_header_or_a_token_response(form: str) -> None:
    for token in ("eyJh.eyJp.c2ln", "gh_at_abc"):
        assert token_in(form.format(token)) == token


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"error": "invalid_client"}', "The token response has the error invalid_client."),
        ('{"token_type": "Bearer"}', "The token response has no access_token."),
        ('{"access_token": null}', "The token response has no access_token."),
        ('{"access_token": ', "in JSON that cannot be read"),
    ],
)
def test_response_without_a_token_is_a_usage_error(text: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        token_in(text)


def test_pasted_token_is_not_repeated(cli: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "variables.json"
    file.write_text('{"ISSUER": "https://issuer.example"}')
    for token in ("eyJhbGciOiJSUzI1NiJ9." + "A" * 500, "gh_at_" + "A" * 43):
        refused = cli("token", "inspect", token, "--settings", str(file))
        assert (refused.code, "must be a file" in refused.stderr, token in refused.stderr) == (2, True, False)


def test_inspect_lists_open_routes(issuer: Issuer, cli: CommandLine) -> None:
    issuer.deploy()
    said = inspected(cli, issuer.token())
    assert (said.code, said.json["decision"]) == (0, "Valid token. It opens GET /country, GET /country/code/*.")
    response = json.dumps({"access_token": issuer.token(), "token_type": "Bearer"})
    assert inspected(cli, response).json == said.json
    nothing = inspected(cli, issuer.token(scope=None))
    assert (nothing.code, "opens no route" in nothing.json["decision"]) == (1, True)


def test_invalid_token_shows_the_failed_step(issuer: Issuer, cli: CommandLine) -> None:
    issuer.deploy(AUDIENCE="billing")
    good = issuer.token()
    head, payload, _signature = good.split(".")
    for token, stage, status, words in (
        (good[:-8] + "AAAAAAAA", Stage.SIGNATURE, 401, "changed or forged"),
        (f"{head}.{payload}", Stage.READ, 401, "cut off"),
        (jwt.encode({}, "s" * 32, "HS256"), Stage.HEADER, 401, "shared secret"),
        (issuer.token(iss="https://other"), Stage.ISSUER, 401, "another issuer"),
        (issuer.token(number=2), Stage.KEY, 401, "does not publish this key"),
        (issuer.token(exp=NOW), Stage.CLAIMS, 401, "The token has expired"),
        (issuer.token(aud="others"), Stage.CLAIMS, 401, "for another API"),
        (issuer.token(iat=NOW + HOUR), Stage.CLAIMS, 401, "issued after its expiry"),
        (issuer.token(cnf={"jkt": "a" * 43}), Stage.POSSESSION, 401, "bound to a key"),
    ):
        said = inspected(cli, token, "--request", "GET", "/country")
        assert (said.code, said.json["status"]) == (1, status), token
        passed = steps(said)
        assert passed[stage] is False, (token, passed)
        stages = list(passed)
        at = stages.index(stage)
        assert all(passed[each] is True for each in stages[:at])
        assert all(passed[each] is None for each in stages[at + 1 :])
        assert words in said.json["decision"]
        # Claims are unverified until the signature has been checked.
        assert (said.json["claims"] is None) == (at <= stages.index(Stage.SIGNATURE))


def test_malformed_token_makes_no_request(issuer: Issuer, cli: CommandLine) -> None:
    issuer.deploy()
    said = inspected(cli, "to ken", "--request", "GET", "/country")
    assert (said.code, steps(said)["read"]) == (1, False)
    assert "no token has" in said.json["decision"]
    assert issuer.server.received == []


def test_internal_failure_is_500(issuer: Issuer, cli: CommandLine) -> None:
    issuer.deploy()
    del issuer.server.answers[f"GET {STAGE}/oauth2/jwks"]
    said = inspected(cli, issuer.token(), "--request", "GET", "/country")
    assert (said.code, said.json["status"]) == (1, 500)
    assert said.json["decision"].startswith("Not decided: The issuer's key set cannot be fetched")


def test_revoked_token_is_found(issuer: Issuer, cli: CommandLine) -> None:
    issuer.deploy()
    table = physical_name("StateTable")
    aws_client("lambda").update_function_configuration(
        FunctionName=physical_name("Authorizer"),
        Environment={"Variables": {"ISSUER": issuer.url, "DENY_LIST_TABLE": table}},
    )
    token = issuer.token(jti="one")
    assert inspected(cli, token).code == 0
    aws_client("dynamodb").put_item(TableName=table, Item={"entry": {"S": revocation_key(issuer.url, "one", token)}})
    said = inspected(cli, token)
    assert (said.code, said.json["reason"]) == (1, "token_revoked")


def test_bound_token_leaves_its_proof_unused(issuer: Issuer, cli: CommandLine, tmp_path: Path) -> None:
    issuer.deploy(PROOF_OF_POSSESSION="dpop", REPLAY_TABLE="no-such-table")
    own, other = tmp_path / "own.pem", tmp_path / "other.pem"
    private_key = ec.generate_private_key(ec.SECP256R1())
    own.write_text(to_pem(private_key))
    other.write_text(to_pem(ec.generate_private_key(ec.SECP256R1())))
    jwk: dict[str, Any] = jwt.get_algorithm_by_name("ES256").to_jwk(private_key.public_key(), as_dict=True)
    # On this machine's own address; in an account it is the API's.
    issuer.server.answers.clear()
    token = issuer.token(cnf={"jkt": thumbprint(jwk)})
    issuer.server.answers[f"GET {STAGE}/oauth2/jwks"] = Reply(200, json.dumps(issuer.ring.key_set(NOW)))
    request = ("--request", "GET", "/country")
    assert inspected(cli, token, *request).json["reason"] == "proof_required"
    said = inspected(cli, token, *request, "--dpop-key", str(other))
    assert said.json["reason"] == "htu_other"
    aws_client("lambda").update_function_configuration(
        FunctionName=physical_name("Authorizer"),
        Environment={
            "Variables": {
                "ISSUER": issuer.url,
                "PROOF_OF_POSSESSION": "dpop",
                "REPLAY_TABLE": "no-such-table",
                "RESOURCE": f"{issuer.server.url}/ms-system",
            }
        },
    )
    said = inspected(cli, token, *request, "--dpop-key", str(other))
    assert said.json["reason"] == "jkt_other"
    assert inspected(cli, token, *request, "--dpop-key", str(own)).code == 0


def test_opaque_token_is_introspected(issuer: Issuer, cli: CommandLine) -> None:
    issuer.deploy()
    active = {
        "active": True,
        "token_type": "Bearer",
        "iss": issuer.url,
        "sub": "billing",
        "client_id": "billing",
        "scope": "country.read",
        "exp": NOW + HOUR,
    }
    json_type = {"Content-Type": "application/json"}
    endpoint = f"POST {STAGE}/oauth2/introspect"
    issuer.server.answers[endpoint] = Reply(200, json.dumps(active), json_type)
    said = inspected(cli, "gh_at_opaque", "--request", "GET", "/country")
    assert said.code == 0
    assert steps(said)["introspection"] is True
    assert said.json["claims"]["sub"] == "billing"
    assert issuer.server.received[-1].headers["Authorization"].startswith("Basic ")
    issuer.server.answers[endpoint] = Reply(200, '{"active": false}', json_type)
    said = inspected(cli, "gh_at_another", "--request", "GET", "/country")
    assert (said.code, said.json["reason"]) == (1, "token_inactive")


def test_another_scope_map_has_to_be_named(issuer: Issuer, cli: CommandLine, tmp_path: Path) -> None:
    issuer.deploy(SCOPE_MAP="scopes-of-ours.json")
    refused = inspected(cli, issuer.token(), "--request", "GET", "/orders")
    assert (refused.code, "--scope-map" in refused.stderr) == (2, True)
    file = tmp_path / "scopes.json"
    file.write_text('{"country.read": ["GET /orders"]}')
    named = ("--request", "GET", "/orders", "--scope-map", str(file))
    assert inspected(cli, issuer.token(), *named).code == 0
    file.write_text("[]")
    refused = inspected(cli, issuer.token(), *named)
    assert (refused.code, "scope map" in refused.stderr) == (2, True)


RULES = {"audience": "https://customer.example", "scopes": {"orders.read": ["GET /orders/{id}"]}}


def test_shared_authorizer_uses_the_apis_rules(issuer: Issuer, cli: CommandLine, tmp_path: Path) -> None:
    issuer.deploy()
    parameter = "/gatehouse/gatehouse-test/apis/a1b2c3"
    aws_client("ssm").put_parameter(Name=parameter, Value=json.dumps(RULES), Type="String")
    token = issuer.token(scope=["orders.read"], aud="https://customer.example")
    request = ("--api", "a1b2c3/live", "--request", "GET", "/orders/7")
    said = inspected(cli, token, *request)
    assert (said.code, said.json["status"]) == (0, 200), said
    assert said.json["steps"][0] == {"stage": "rules", "passed": True, "says": [f"rules of {parameter}"]}
    arn = "arn:aws:execute-api:eu-west-1:123456789012:a1b2c3/live/GET/orders/*"
    assert said.json["statement"]["Resource"] == arn
    (claims,) = [step for step in said.json["steps"] if step["stage"] == "claims"]
    expected = "aud https://customer.example (accepted: https://customer.example)"
    assert claims["says"][0] == expected
    other = inspected(cli, issuer.token(scope=["orders.read"]), *request)
    assert (other.code, other.json["reason"]) == (1, "aud_other")

    # Before they are deployed, rules can be tried from a file.
    file = tmp_path / "rules.json"
    file.write_text(json.dumps({**RULES, "scopes": {"orders.read": ["GET /orders"]}}))
    tried = inspected(cli, token, *request, "--scope-map", str(file))
    assert (tried.code, tried.json["status"]) == (1, 403)
    none = inspected(cli, token, *request, "--scope-map", str(tmp_path / "none"))
    assert (none.code, "none cannot be read" in none.stderr) == (3, True)


def test_missing_or_malformed_rules_close_the_api(issuer: Issuer, cli: CommandLine) -> None:
    issuer.deploy()
    for rules, reason, notice in (
        (None, "api_rules_missing", "API a1b2c3 has no rules"),
        ("{}", "api_rules_malformed", "there is no scope map in scopes"),
    ):
        if rules is not None:
            name = "/gatehouse/gatehouse-test/apis/a1b2c3"
            aws_client("ssm").put_parameter(Name=name, Value=rules, Type="String")
        said = inspected(cli, issuer.token(), "--api", "a1b2c3", "--request", "GET", "/orders")
        assert (said.code, said.json["status"], said.json["reason"]) == (1, 500, reason)
        first, *others = said.json["steps"]
        assert (first["stage"], first["passed"]) == ("rules", False)
        assert notice in " ".join(first["says"])
        assert {step["passed"] for step in others} == {None}


SIMPLE = {
    "SIMPLE_RESPONSE": "true",
    "SCOPE_MAP": json.dumps(
        {
            "orders.read": ["GET /orders", "GET /orders/{id}", "GET /files/{path+}"],
            "orders.write": ["GET /orders/latest"],
        }
    ),
}


def test_simple_response_is_for_one_route(issuer: Issuer, cli: CommandLine) -> None:
    issuer.deploy(**SIMPLE)
    other = "no route of the scope map matches; name another route of the API with --route"
    for method, path, more, status, says in (
        ("GET", "/orders/7", (), 200, ["isAuthorized true for GET /orders/{part}"]),
        ("GET", "/files/a/b", (), 200, ["isAuthorized true for GET /files/{rest+}"]),
        ("GET", "/orders/latest", (), 403, ["isAuthorized false for GET /orders/latest", "orders.write would open it"]),
        ("GET", "/orders/latest", ("--route", "ANY /orders/{id}"), 200, ["isAuthorized true for GET /orders/{id}"]),
        ("DELETE", "/orders/7", (), 403, ["isAuthorized false for $default", other]),
    ):
        named = ("--function", physical_name("Authorizer"), "--request", method, path, *more)
        said = inspected(cli, issuer.token(scope=["orders.read"]), *named)
        assert (said.code, said.json["status"]) == (status != 200, status)
        assert said.json["steps"][-1] == {"stage": "route", "passed": status == 200, "says": says}


def test_settings_file_describes_an_authorizer(issuer: Issuer, cli: CommandLine, tmp_path: Path) -> None:
    issuer.deploy()
    file = tmp_path / "variables.yaml"
    file.write_text(json.dumps({"ISSUER": issuer.url, "AUDIENCE": "billing", **SIMPLE}))
    said = inspected(cli, issuer.token(scope=["orders.read"]), "--settings", str(file))
    opens = "GET /orders, GET /orders/*, GET /files/*"
    assert (said.code, said.json["decision"]) == (0, f"Valid token. It opens {opens}.")
    file.write_text(json.dumps({"ISSUER": issuer.url, "JWKS_HARD_AGE": "never"}))
    refused = inspected(cli, "any", "--settings", str(file))
    assert (refused.code, "JWKS_HARD_AGE" in refused.stderr) == (1, True)
    file.write_text("SIMPLE_RESPONSE: true\n")
    refused = inspected(cli, "any", "--settings", str(file))
    assert (refused.code, "quote true and numbers" in refused.stderr) == (2, True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--api", "a", "--function", "b"), "Choose one."),
        (("--api", "a/b/c"), "'a/b/c' is not an API id."),
        (("--route", "orders"), "'orders' is not a route."),
        (("--local", "--function", "a"), "--settings FILE"),
    ],
)
def test_ambiguous_authorizer_is_rejected(cli: CommandLine, options: tuple[str, ...], said: str) -> None:
    environ = {} if "--local" in options else {"GATEHOUSE_STACK": NAME}
    refused = cli("token", "inspect", *options, environ=environ)
    assert (refused.code, refused.stdout, said in refused.stderr) == (2, "", True)


def test_stack_without_sample_api_needs_an_api(account: None, cli: CommandLine) -> None:
    deploy(guarded_api=None)
    refused = inspected(cli, "any")
    assert (refused.code, "--api" in refused.stderr) == (2, True)
    refused = cli("token", "get", "a", "--headers", answer="secret\n")
    assert (refused.code, "SampleApi=false" in refused.stderr) == (3, True)


def test_unreadable_ring_leaves_other_steps(issuer: Issuer, cli: CommandLine) -> None:
    issuer.deploy()
    aws_client("secretsmanager").put_secret_value(
        SecretId=physical_name("KeyRingSecret"), SecretString='{"version": 9}'
    )
    said = inspected(cli, issuer.token(), "--request", "GET", "/country")
    assert said.code == 0
    (step,) = [step for step in said.json["steps"] if step["stage"] == "key"]
    assert "its times are unknown" in step["says"][1]
    assert "version 9" in step["says"][1]


def test_bound_token_needs_its_certificate(issuer: Issuer, cli: CommandLine, tmp_path: Path) -> None:
    issuer.deploy(PROOF_OF_POSSESSION="mtls", DENY_LIST_TABLE="")
    file, other = tmp_path / "client.pem", tmp_path / "other.pem"
    certificates = LaptopCertificates.ensure(tmp_path / "tls")
    file.write_text(certificates.client.read_text())
    other.write_text(certificates.self_signed_client.read_text())
    pem = file.read_text().partition("-----BEGIN PRIVATE KEY")[0]
    token = issuer.token(cnf={"x5t#S256": certificate_from_pem(pem).thumbprint})
    request = ("--request", "GET", "/country")
    assert inspected(cli, token, *request).json["reason"] == "certificate_missing"
    wrong = inspected(cli, token, *request, "--certificate", str(other))
    assert wrong.json["reason"] == "certificate_other"
    assert inspected(cli, token, *request, "--certificate", str(file)).code == 0
    none = inspected(cli, token, *request, "--certificate", __file__)
    assert (none.code, "does not contain a certificate" in none.stderr) == (2, True)


def test_every_reason_has_a_step_and_words() -> None:
    for reason in Reason:
        assert stage_of(reason) in Stage
        assert reason_text(reason).endswith((".", "?"))


def test_local_environment_matches_the_template() -> None:
    template = Template.read(TEMPLATE)
    known = {**names(), "AuthServerApi": "api"}
    credentials = secret_name("IntrospectionCredentials")
    for name in ("Authorizer", "SharedAuthorizer"):
        environment = template.function(name, known).environment
        shared = name == "SharedAuthorizer"
        said = laptop_environment(environment["ISSUER"], credentials, shared=shared)
        ours = {name: value for name, value in environment.items() if value}
        assert said.items() <= ours.items()
        # A table that is only used where proofs are taken, and a name for metrics.
        assert set(ours) - set(said) <= {"REPLAY_TABLE", "STACK_NAME"}


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "0 s"), (59.6, "1 min"), (3661, "1 h 1 min"), (90_061, "1 d 1 h"), (86_460, "1 d")]
)
def test_span_has_two_units(seconds: float, said: str) -> None:
    assert span(seconds) == said
