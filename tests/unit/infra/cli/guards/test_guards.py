"""`gatehouse guard plan` and `gatehouse guard compare`."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from infra.cli.errors import ExitCode
from infra.cloudformation import parse
from infra.guards import Guard
from tests.support.cli import GUARDED_API, ISSUER, STACK, CommandLine, aws_client, physical_name
from tests.support.whole_deployment import deploy_all

AUDIENCE = "https://customer.example"
MAP = {"customer.read": ["GET /customers/{id}"], "customer.write": ["POST /customers"]}
SETTINGS = {"SCOPE_MAP": json.dumps(MAP), "AUDIENCE": AUDIENCE}
OPTIONS = ("--issuer", "https://issuer.example", "--audience", AUDIENCE)


@pytest.fixture
def scopes(tmp_path: Path) -> str:
    path = tmp_path / "scopes.json"
    path.write_text(json.dumps(MAP))
    return str(path)


@pytest.fixture
def rules(tmp_path: Path) -> str:
    path = tmp_path / "rules.json"
    path.write_text(json.dumps({"audience": AUDIENCE, "scopes": {**MAP, "a b": ["DELETE /customers"]}}))
    return str(path)


def plan(cli: CommandLine, scopes: str, guard: str, *more: str) -> Any:
    return cli("guard", "plan", scopes, "--for", guard, *more, environ={})


def test_plan_writes_a_template_fragment(cli: CommandLine, scopes: str) -> None:
    run = plan(cli, scopes, "http-jwt", *OPTIONS)
    resources = parse(run.stdout)["Resources"]
    assert resources["GetCustomersIdRoute"]["Properties"]["AuthorizationScopes"] == ["customer.read"]
    assert resources["Gatehouse"]["Properties"]["JwtConfiguration"]["Audience"] == [AUDIENCE]
    assert "may use a withdrawn key for 2 h" in run.stderr
    assert plan(cli, scopes, "http-jwt", *OPTIONS, "--json").json["Resources"] == resources


def test_plan_writes_the_librarys_settings(cli: CommandLine, rules: str) -> None:
    document = plan(cli, rules, "library", "--issuer", "https://issuer.example", "--need", "mtls", "--json").json
    assert document["settings"]["audience"] == [AUDIENCE]
    assert document["settings"]["proof_of_possession"] == ["mtls"]
    assert document["scopes"]["DELETE /customers"] == [["a", "b"]]


def test_plan_writes_a_file(cli: CommandLine, scopes: str, tmp_path: Path) -> None:
    output = tmp_path / "fragment.yaml"
    run = plan(cli, scopes, "alb", *OPTIONS, "--output", str(output))
    assert run.stdout == ""
    assert output.read_text() == plan(cli, scopes, "alb", *OPTIONS).stdout
    assert "default action must not forward" in output.read_text()
    missing = plan(cli, scopes, "alb", *OPTIONS, "--output", str(tmp_path / "none" / "file"))
    assert missing.code == ExitCode.USAGE


def test_plan_writes_openapi_for_api_gateway(cli: CommandLine, scopes: str) -> None:
    for guard in Guard:
        run = plan(cli, scopes, guard.value, *OPTIONS, "--format", "openapi")
        if guard in (Guard.REST_JWT, Guard.HTTP_JWT):
            assert parse(run.stdout)["paths"]["/customers"]["post"]["security"] == [{"Gatehouse": ["customer.write"]}]
        else:
            assert run.code == ExitCode.USAGE


@pytest.mark.parametrize(
    ("guard", "more", "reason"),
    [
        ("rest-jwt", ("--need", "dpop"), "passes without a proof"),
        ("http-jwt", ("--algorithm", "PS256"), "does not support PS256"),
        ("alb", ("--keys", "11"), "11 keys"),
        ("alb", ("--issuer", "http://localhost:8085/ms-auth-server"), "name a deployed issuer with --issuer https://…"),
        ("lambda", ("--need", "mtls"), "Use --for library"),
    ],
)
def test_plan_refuses_with_the_reason(
    cli: CommandLine, scopes: str, tmp_path: Path, guard: str, more: tuple[str, ...], reason: str
) -> None:
    output = tmp_path / "fragment.yaml"
    run = plan(cli, scopes, guard, *OPTIONS, *more, "--output", str(output))
    assert (run.code, run.stdout) == (ExitCode.REFUSED, "")
    assert reason in run.stderr
    assert not output.exists()


def test_plan_notes_what_a_need_requires(cli: CommandLine, scopes: str) -> None:
    assert plan(cli, scopes, "lambda", *OPTIONS).stderr == ""
    revocation = plan(cli, scopes, "lambda", *OPTIONS, "--need", "revocation")
    assert revocation.code == ExitCode.DONE
    assert "CheckRevokedTokens=true" in revocation.stderr
    for guard in ("lambda", "library"):
        refused = plan(cli, scopes, guard, *OPTIONS, "--need", "plain")
        assert (refused.code, refused.stdout) == (ExitCode.REFUSED, "")
        assert f"the API accepts only {AUDIENCE}: name the IDs of the clients" in refused.stderr
        plain = plan(cli, scopes, guard, *OPTIONS, "--audience", "shop", "--need", "plain")
        assert f"only if its client's ID is an audience. These are: {AUDIENCE}, shop." in plain.stderr


@pytest.mark.usefixtures("account")
def test_revocation_is_that_of_the_stack(cli: CommandLine, scopes: str) -> None:
    deploy_all(ISSUER, GUARDED_API, authorizer={**SETTINGS, "DENY_LIST_TABLE": "table"})
    of_stack = ("guard", "plan", scopes, "--audience", AUDIENCE, "--for", "lambda", "--need", "revocation")
    for checks in (True, False):
        run = cli("--stack", STACK, *of_stack)
        assert run.code == (ExitCode.DONE if checks else ExitCode.REFUSED)
        assert ("CheckRevokedTokens=false" in run.stderr) is not checks
        compared = cli("--stack", STACK, "guard", "compare", scopes, "--audience", AUDIENCE, "--json").json
        revoked = next(row["answers"] for row in compared["rows"] if row["token"] == "revoked")
        assert (revoked["lambda"]["status"], revoked["library"]["status"]) == (401 if checks else 200, 200)
        aws_client("lambda").update_function_configuration(
            FunctionName=physical_name("SharedAuthorizer"), Environment={"Variables": {"ISSUER": ISSUER}}
        )


BIG = {f"s{n}": [f"GET /r{n}", f"GET /r{n}/{{id}}"] for n in range(250)}


def test_plan_refuses_what_cloudformation_cannot_create(cli: CommandLine, tmp_path: Path) -> None:
    path = tmp_path / "scopes.json"
    path.write_text(json.dumps(BIG))
    for guard, reason in (
        ("rest-jwt", "and a template has at most 500. Use --format openapi"),
        ("http-jwt", "it needs 502 resources, and a template has at most 500. Use --format openapi"),
        ("lambda", "characters, and a parameter has at most 8192. Use an authorizer of the API's own"),
    ):
        run = plan(cli, str(path), guard, *OPTIONS)
        assert (run.code, reason in run.stderr) == (ExitCode.REFUSED, True)
    for guard, more in (("http-jwt", ("--format", "openapi")), ("alb", ()), ("library", ())):
        run = plan(cli, str(path), guard, *OPTIONS, *more)
        assert run.code == ExitCode.DONE
        note = "The default quota is 100 rules of a load balancer, and these are 500"
        assert (note in run.stderr) is (guard == "alb")


def test_plan_notes_a_policy_of_all_scopes_that_is_too_large(cli: CommandLine, tmp_path: Path) -> None:
    path = tmp_path / "scopes.json"
    path.write_text(json.dumps({f"scope{n}": [f"GET /resource{n}"] for n in range(150)}))
    run = plan(cli, str(path), "lambda", *OPTIONS)
    assert run.code == ExitCode.DONE
    assert "A token with all scopes of the map gets 500" in run.stderr


@pytest.mark.parametrize(
    ("text", "more", "problem"),
    [
        ('{"a": ["FETCH /x"]}', OPTIONS, "is not a scope map"),
        ("[]", OPTIONS, "is not a scope map"),
        ('{"scopes": {"a": []}}', OPTIONS, "there is no audience"),
        ('{"a": ["GET /x"]}', OPTIONS[:2], "does not name the audience"),
        ('{"a": ["GET /x"]}', OPTIONS[2:], "The issuer is unknown"),
        ("{}", OPTIONS, "The scope map has no routes"),
        ('{"a": []}', OPTIONS, "The scope map has no routes"),
        *(
            ('{"a": ["GET /x"]}', ("--issuer", issuer, *OPTIONS[2:]), "The issuer")
            for issuer in ("", "issuer", "https://[x", "https://x.example/ ", "https://x.example/?a", "https://x:99999")
        ),
        *(
            ('{"a": ["GET /x"]}', (*OPTIONS[:2], *(f"--audience={each}" for each in audiences)), "The audience")
            for audiences in (("",), ("\t",), ("é",), ("*", "https://x.example"))
        ),
    ],
)
def test_incomplete_input_is_a_usage_error(
    cli: CommandLine, tmp_path: Path, text: str, more: tuple[str, ...], problem: str
) -> None:
    path = tmp_path / "scopes.json"
    path.write_text(text)
    run = plan(cli, str(path), "rest-jwt", *more)
    assert (run.code, problem in run.stderr) == (ExitCode.USAGE, True)
    assert "Traceback" not in run.stderr
    assert plan(cli, str(tmp_path / "none.json"), "rest-jwt", *OPTIONS).code == ExitCode.NOT_FOUND


def test_star_is_any_audience(cli: CommandLine, scopes: str) -> None:
    any_audience = (*OPTIONS[:2], "--audience", "*")
    rules = plan(cli, scopes, "lambda", *any_audience, "--json").json["Resources"]["Rules"]["Properties"]["Value"]
    assert json.loads(rules)["audience"] == "*"
    assert "it requires at least one audience" in plan(cli, scopes, "rest-jwt", *any_audience).stderr


def test_compare_shows_each_kind_of_token(cli: CommandLine, rules: str) -> None:
    run = cli("guard", "compare", rules, "--issuer", "https://issuer.example", "--json", environ={})
    assert run.code == ExitCode.DONE
    rows = {(row["token"], tuple(row["routes"])): row for row in run.json["rows"]}
    native = ("GET /customers/{id}", "POST /customers")
    stolen = rows["DPoP-bound, stolen", native]
    assert {guard: answer["status"] for guard, answer in stolen["answers"].items()} == {
        "rest-jwt": 200,
        "http-jwt": 200,
        "alb": 200,
        "lambda": 401,
        "library": 401,
    }
    assert stolen["differs"] is True
    assert rows["at+jwt", native]["differs"] is False
    both = rows["with one of the scopes", ("DELETE /customers",)]["answers"]
    assert [both[guard] for guard in ("rest-jwt", "http-jwt", "alb")] == [None] * 3
    assert both["lambda"]["status"] == both["library"]["status"] == 403
    (obstacle,) = run.json["obstacles"]["rest-jwt"]
    assert obstacle.startswith("DELETE /customers: one scope")


def test_reasons_name_routes_as_the_file_does(cli: CommandLine, tmp_path: Path) -> None:
    path = tmp_path / "scopes.json"
    path.write_text(json.dumps({"orders.read orders.all": ["GET /orders/{order}"]}))
    expected = "GET /orders/{order}: one scope is enough for it, and the map requires all of orders.all orders.read"
    assert expected in plan(cli, str(path), "alb", *OPTIONS).stderr
    assert plan(cli, str(path), "library", *OPTIONS).code == ExitCode.DONE
    compared = cli("guard", "compare", str(path), *OPTIONS, "--json", environ={}).json
    assert compared["obstacles"]["alb"] == [expected]
    routes = {"r": ["GET /a/{order}"], "r t": ["GET /a/{order}/c/b"], "s": ["GET /a/{order}/b"]}
    path.write_text(json.dumps(routes))
    assert "GET /a/{order}/c/b: the policy for" in plan(cli, str(path), "lambda", *OPTIONS).stderr


def test_compare_prints_a_table_for_each_group_of_routes(cli: CommandLine, rules: str) -> None:
    run = cli("guard", "compare", rules, "--issuer", "https://issuer.example", environ={})
    groups = run.stdout.split("\n\n")
    assert len(groups) == 3
    for group, routes in zip(groups, ("GET /customers/{id}, POST /customers", "DELETE /customers"), strict=False):
        title, heading, first, *rows = group.splitlines()
        assert title == f"{routes}:"
        assert heading.split() == ["token", *Guard]
        assert first.split()[0] == "at+jwt"
        assert all(len(row) <= 80 for row in (heading, first, *rows))
        assert any(row.startswith("DPoP-bound, stolen ") for row in rows)
        assert any(row.startswith(("ES256, ", "PS256, ES256, ")) for row in rows)
    assert groups[2].splitlines()[0].startswith("- rest-jwt, http-jwt, alb: DELETE /customers: one scope is enough")
    assert "~: AWS does not document this answer." in groups[2]
    assert "403~" in groups[0]


def test_compare_takes_seconds_for_a_large_map(cli: CommandLine, tmp_path: Path) -> None:
    path = tmp_path / "scopes.json"
    path.write_text(json.dumps({f"s{n}": [f"GET /r{n}/{each}" for each in range(6)] for n in range(200)}))
    started = time.process_time()
    run = cli("guard", "compare", str(path), *OPTIONS, environ={})
    assert time.process_time() - started < 10  # 40 s when each answer read the whole map
    assert run.stdout.startswith("All routes:")


@pytest.mark.usefixtures("account")
def test_stack_gives_map_and_issuer(cli: CommandLine) -> None:
    deploy_all(ISSUER, GUARDED_API, authorizer=SETTINGS)
    run = cli("guard", "plan", "--for", "rest-jwt")
    assert run.code == ExitCode.DONE, run.stderr
    resources = parse(run.stdout)["Resources"]
    configuration = resources["Gatehouse"]["Properties"]["JwtConfiguration"]
    assert configuration == {"Issuers": [{"Issuer": ISSUER, "Audiences": [AUDIENCE]}], "DefaultAlgorithms": ["RS256"]}
    assert resources["CustomersParameterResource"]["Properties"]["PathPart"] == "{parameter}"


@pytest.mark.usefixtures("account")
@pytest.mark.parametrize(
    ("variables", "parameters", "reason"),
    [
        ({"DENY_LIST_TABLE": "table"}, {}, "passes until it expires"),
        ({"PROOF_OF_POSSESSION": "mtls"}, {}, "passes without the certificate"),
        ({"PROOF_OF_POSSESSION": "dpop", "REPLAY_TABLE": "table"}, {}, "passes without a proof"),
        ({}, {"SigningAlgorithms": "RS256,PS256"}, "does not support PS256"),
        ({}, {"KeySigningDays": "1", "KeyRetireHours": "240"}, "keys, and with more than 10"),
    ],
)
def test_stack_needs_what_it_signs_and_checks(
    cli: CommandLine, variables: dict[str, str], parameters: dict[str, str], reason: str
) -> None:
    deploy_all(ISSUER, GUARDED_API, given=parameters, authorizer={**SETTINGS, **variables})
    run = cli("--stack", STACK, "guard", "plan", "--for", "alb")
    assert run.code == ExitCode.REFUSED
    assert reason in run.stderr
