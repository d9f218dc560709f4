"""The CDK constructs of the wheel, synthesised, and held against template.yaml and `gatehouse guard plan`."""

import json
import os
import shutil
import subprocess
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from authorizer.scope_map import parse_scope_map
from authorizer.settings import Settings
from infra import guard_plans, template_checks
from infra.guards import Guard, Requirements
from tests.support.deployed_template import declared as declared_template
from tests.support.deployed_template import gateway_responses, statement_shapes
from tests.support.wheel import ROOT, unpacked_wheel

PYTHON = ROOT / ".venv-cdk" / "bin" / "python"
EXAMPLE = ROOT / "docs" / "examples" / "cdk" / "app.py"
METADATA = "https://customer.example/.well-known/oauth-protected-resource"
SCOPES = {
    "customer.read": ["GET /customers", "GET /customers/{id}"],
    "customer.write": ["POST /customers", "PUT /customers/{id}"],
}
Stacks = Mapping[str, dict[str, Any]]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON.exists(), reason="aws-cdk-lib is not installed: make .venv-cdk/cdk.stamp"),
    pytest.mark.skipif(shutil.which("node") is None, reason="aws-cdk-lib needs Node"),
]


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dist") / "gatehouse-authorizer-0.1.0-python3.13-arm64.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("authorizer/handler.py", "")
    return path


def _synthesise(*arguments: str | Path, out: Path, **environ: str) -> tuple[Stacks, str]:
    """Run an app with the wheel. Return its stacks, and its output."""
    # CDK's own validation takes most of a run and fails nothing: cfn-lint has the same rules.
    environ = {"PYTHONPATH": str(unpacked_wheel()), "CDK_OUTDIR": str(out), "CDK_VALIDATION": "false", **environ}
    done = subprocess.run(
        [PYTHON, "-P", *arguments], env={**os.environ, **environ}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return {path.name.split(".")[0]: json.loads(path.read_text()) for path in out.glob("*.template.json")}, done.stdout


@pytest.fixture(scope="module")
def example(artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Stacks:
    return _synthesise(EXAMPLE, out=tmp_path_factory.mktemp("cdk"), GATEHOUSE_DIST=str(artifact.parent))[0]


@pytest.fixture(scope="module")
def complete(artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Stacks, str]:
    out = tmp_path_factory.mktemp("cdk")
    return _synthesise(ROOT / "tests" / "support" / "cdk_app.py", artifact, out, out=out)


@pytest.fixture(scope="module")
def stacks(complete: tuple[Stacks, str]) -> Stacks:
    return complete[0]


def _of_type(stack: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    return [each["Properties"] for each in stack["Resources"].values() if each["Type"] == name]


@pytest.mark.parametrize(
    ("stack", "parameters"),
    [
        ("Plain", {}),
        ("Dpop", {"ProofOfPossession": "dpop"}),
        ("Metadata", {"ResourceMetadataUrl": METADATA}),
        ("Full", {"ProofOfPossession": "dpop,mtls", "ResourceMetadataUrl": METADATA}),
    ],
)
def test_gateway_responses_are_those_of_the_template(stacks: Stacks, stack: str, parameters: dict[str, str]) -> None:
    found = _of_type(stacks[stack], "AWS::ApiGateway::GatewayResponse")
    assert {
        each["ResponseType"]: (
            each.get("StatusCode", ""),
            each["ResponseTemplates"],
            each.get("ResponseParameters", {}),
        )
        for each in found
    } == gateway_responses(**parameters)


def _text(value: Any) -> Any:
    """Write a concatenation of references as a text."""
    if isinstance(value, dict) and len(value) == 1:
        if "Fn::Join" in value:
            return "".join(map(_text, value["Fn::Join"][1]))
        if "Ref" in value:
            return f"${{{value['Ref']}}}"
    if isinstance(value, dict):
        return {name: _text(each) for name, each in value.items()}
    return [_text(each) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    ("stack", "parameters"), [("Plain", {}), ("Full", {"ProofOfPossession": "dpop,mtls", "CheckRevokedTokens": "true"})]
)
def test_role_allows_what_the_template_allows(stacks: Stacks, stack: str, parameters: dict[str, str]) -> None:
    (role,) = _of_type(stacks[stack], "AWS::IAM::Role")
    document, resolver = declared_template(**parameters, DataKeyArn="key")
    declared = document["Resources"]["AuthorizerRole"]["Properties"]
    (expected,) = resolver.resolve(declared["Policies"], "AuthorizerRole")
    (policy,) = role["Policies"]
    found = policy["PolicyDocument"]["Statement"]
    assert policy["PolicyName"] == expected["PolicyName"]
    assert statement_shapes(_text(found)) == statement_shapes(expected["PolicyDocument"]["Statement"])
    assert [each["Action"] for each in found if each["Resource"] == "*"] == [
        ["xray:PutTraceSegments", "xray:PutTelemetryRecords"]
    ]
    assert role["AssumeRolePolicyDocument"] == declared["AssumeRolePolicyDocument"]
    assert "ManagedPolicyArns" not in role, "which would grant every log of the account"
    assert not _of_type(stacks[stack], "AWS::IAM::Policy")


def test_function_has_the_properties_of_the_template(stacks: Stacks) -> None:
    (function,) = _of_type(stacks["Full"], "AWS::Lambda::Function")
    document, resolver = declared_template(ProofOfPossession="dpop,mtls", CheckRevokedTokens="true")
    common = resolver.resolve(document["Globals"]["Function"], "Globals")
    declared = document["Resources"]["Authorizer"]["Properties"]
    function["LoggingConfig"].pop("LogGroup")
    assert function["Handler"] == declared["Handler"]
    assert str(function["MemorySize"]) == common["MemorySize"]
    assert function["TracingConfig"] == {"Mode": common["Tracing"]}
    for name in ("Runtime", "Architectures", "Timeout", "LoggingConfig"):
        assert function[name] == common[name]
    variables = function["Environment"]["Variables"]
    names = {*common["Environment"]["Variables"], *declared["Environment"]["Variables"]}
    # The artifact has a scope map of its own. The others are `variables` of the settings.
    assert variables.keys() == (names | {"SCOPE_MAP"}) - {"OTHER_ISSUERS", "JWKS_HARD_AGE", "CONTEXT_CLAIMS"}
    assert variables["ALGORITHMS"] == declared["Environment"]["Variables"]["ALGORITHMS"]
    settings = Settings.from_env(_text(variables))
    assert settings.issuer == "https://auth.example.com/ms-auth-server"
    assert settings.introspection_uri == f"{settings.issuer}/oauth2/introspect"
    assert settings.replay_table == settings.deny_list_table == "state"


def test_other_scopes_are_deployed(stacks: Stacks) -> None:
    read, write = (
        {name for name, each in stacks[stack]["Resources"].items() if each["Type"] == "AWS::ApiGateway::Deployment"}
        for stack in ("ScopesRead", "ScopesWrite")
    )
    assert len(read) == len(write) == 1
    assert read.isdisjoint(write)


def test_api_has_the_authorizer_of_the_template(example: Stacks, stacks: Stacks) -> None:
    sam = template_checks.transformed(template_checks.TEMPLATE)["Resources"]["GuardedApi"]["Properties"]["Body"]
    expected = sam["securityDefinitions"]["BearerToken"]["x-amazon-apigateway-authorizer"]
    (found,) = _of_type(example["LambdaGuard"], "AWS::ApiGateway::Authorizer")
    assert found["Type"] == expected["type"].upper() == "REQUEST"
    assert found["IdentitySource"] == expected["identitySource"]
    document, _ = declared_template()
    assert found["AuthorizerResultTtlInSeconds"] == document["Parameters"]["AuthorizerCacheSeconds"]["Default"]
    (of_proofs,) = _of_type(stacks["Full"], "AWS::ApiGateway::Authorizer")
    assert of_proofs["AuthorizerResultTtlInSeconds"] == 0
    methods = _of_type(example["LambdaGuard"], "AWS::ApiGateway::Method")
    assert sorted(each["HttpMethod"] for each in methods) == ["GET", "GET", "POST", "PUT"]
    assert {each["AuthorizationType"] for each in methods} == {"CUSTOM"}
    (stage,) = _of_type(example["LambdaGuard"], "AWS::ApiGateway::Stage")
    declared = document["Resources"]["GuardedApi"]["Properties"]["AccessLogSetting"]["Format"]
    assert json.loads(stage["AccessLogSetting"]["Format"]) == json.loads(declared)


WANTED = Requirements("https://auth.example.com/ms-auth-server", frozenset({"https://customer.example"}))


def _planned(guard: Guard) -> dict[str, Any]:
    texts = [route for routes in SCOPES.values() for route in routes]
    return guard_plans.plan(guard, parse_scope_map(json.dumps(SCOPES).encode()), WANTED, texts)


@pytest.mark.parametrize(
    ("stack", "guard", "kind"),
    [
        ("RestJwtGuard", Guard.REST_JWT, "AWS::ApiGateway::Method"),
        ("HttpJwtGuard", Guard.HTTP_JWT, "AWS::ApiGatewayV2::Route"),
    ],
)
def test_native_guard_is_that_of_the_plan(example: Stacks, stack: str, guard: Guard, kind: str) -> None:
    not_compared = {"Name", "ApiId", "RestApiId", "ResourceId", "AuthorizerId", "Target", "Integration"}
    for each in (kind.rpartition("::")[0] + "::Authorizer", kind):
        expected, found = (
            [{name: value for name, value in properties.items() if name not in not_compared} for properties in listed]
            for listed in (_of_type(_planned(guard), each), _of_type(example[stack], each))
        )
        assert _sorted(found) == _sorted(expected)
        assert found
    paths = {each["PathPart"] for each in _of_type(example[stack], "AWS::ApiGateway::Resource")}
    assert paths == ({"customers", "{id}"} if guard is Guard.REST_JWT else set())


def test_rules_of_the_load_balancer_are_those_of_the_plan(example: Stacks) -> None:
    found, expected = (
        _of_type(stack, "AWS::ElasticLoadBalancingV2::ListenerRule")
        for stack in (example["LoadBalancerGuard"], _planned(Guard.ALB))
    )
    for name, references in (
        ("Listener", [each.pop("ListenerArn")["Ref"] for each in found]),
        ("TargetGroup", [each["Actions"][1].pop("TargetGroupArn")["Ref"] for each in found]),
    ):
        resources = example["LoadBalancerGuard"]["Resources"].items()
        kind = f"AWS::ElasticLoadBalancingV2::{name}"
        assert set(references) == {logical_id for logical_id, each in resources if each["Type"] == kind}
    for each in expected:
        del each["ListenerArn"], each["Actions"][1]["TargetGroupArn"]
    assert _sorted(found) == _sorted(expected)


def _sorted(listed: list[dict[str, Any]]) -> list[str]:
    return sorted(json.dumps(each, sort_keys=True) for each in listed)


def test_constructs_refuse_what_a_guard_cannot_express(complete: tuple[Stacks, str]) -> None:
    refusals = json.loads(complete[1])
    for api, guard in (("Rest", "rest-jwt"), ("Http", "http-jwt"), ("Balancer", "alb")):
        for name, reason in (
            ("two scopes", "GET /x: one scope is enough for it, and the map requires all of a b"),
            ("opaque", "every opaque token is rejected"),
            ("no audience", "it requires at least one audience"),
        ):
            if (api, name) == ("Balancer", "no audience"):  # which a load balancer accepts
                continue
            message = refusals.pop(f"{api} {name}")
            assert message.startswith(f"{guard} cannot guard this API: ")
            assert reason in message
    assert refusals.pop("cached proofs").startswith("proof_of_possession needs cache_seconds 0")
    assert refusals.pop("no table") == "DPoP and revoked tokens need state_table"
    for name, reason in (
        ("large policy", "the policy of the scope a is larger than API Gateway accepts"),
        ("denied route", "GET /a/{order}/c/b: the policy for r t has to deny it"),
        ("large map", "the scope map is longer than the 4096 bytes of a function's environment"),
    ):
        message = refusals.pop(name)
        assert message.startswith("lambda cannot guard this API: ")
        assert reason in message
    assert not refusals


def test_linters_find_what_is_explained_for_the_template(example: Stacks, tmp_path: Path) -> None:
    for name, document in example.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(document))
    paths = sorted(tmp_path.glob("*.json"))
    found = {(each.check, each.message) for each in template_checks.cfn_lint(paths) if each.check != "W3005"}
    # cfn-lint's schemas are older than the JWT authorizers of REST APIs. CDK repeats dependencies (W3005).
    assert found == {("E3002", "Additional properties are not allowed ('JwtConfiguration' was unexpected)")}
    if template_checks.CHECKOV.exists():
        explained = {each.check for each in template_checks.read_explanations()}
        assert {each.check for each in template_checks.checkov(paths)} <= explained
