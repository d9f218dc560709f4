"""The Terraform modules: parsed and held against template.yaml. They are neither planned nor applied here.

The modules' variables and locals need no provider: Terraform evaluates them where it is installed.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import hcl2
import pytest

from authorizer.scope_map import parse_scope_map
from authorizer.settings import Settings
from infra import guard_plans, template_checks
from infra.build import ROOT
from infra.guards import Guard, Requirements, obstacles
from tests.support.deployed_template import declared as declared_template
from tests.support.deployed_template import gateway_responses, statement_shapes

MODULES = ROOT / "infra" / "terraform"
EXAMPLE = ROOT / "docs" / "examples" / "terraform"
FOLDERS = [MODULES / "authorizer", MODULES / "native_guard", EXAMPLE]
METADATA = "https://customer.example/.well-known/oauth-protected-resource"
SCOPES = {
    "customer.read": ["GET /customers", "GET /customers/{id}"],
    "customer.write": ["POST /customers", "PUT /customers/{id}"],
}
WANTED = Requirements("https://auth.example.com/ms-auth-server", frozenset({"https://customer.example"}))

needs_terraform = pytest.mark.skipif(shutil.which("terraform") is None, reason="terraform is not installed")


def _plain(value: Any) -> Any:
    """Return parsed HCL without quotation marks and marks of blocks. An expression stays a text."""
    if isinstance(value, dict):
        return {_plain(name): _plain(each) for name, each in value.items() if name != "__is_block__"}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return json.loads(value) if isinstance(value, str) and value.startswith('"') and "${" not in value else value


def read(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the resources and data sources of a folder by address."""
    found: dict[str, dict[str, Any]] = {}
    for path in folder.glob("*.tf"):
        document = _plain(hcl2.loads(path.read_text()))
        for kind in ("resource", "data", "variable", "module"):
            for block in document.get(kind, []):
                for first, second in block.items():
                    if kind in ("variable", "module"):
                        found[f"{kind}.{first}"] = second
                    else:
                        found |= {f"{first}.{name}": content for name, content in second.items()}
    return found


def test_function_has_the_properties_of_the_template() -> None:
    module = read(MODULES / "authorizer")
    function = module["aws_lambda_function.authorizer"]
    document, resolver = declared_template()
    common = resolver.resolve(document["Globals"]["Function"], "Globals")
    assert function["handler"] == document["Resources"]["Authorizer"]["Properties"]["Handler"]
    assert function["timeout"] == common["Timeout"]
    assert module["variable.runtime"]["default"] == common["Runtime"]
    assert [module["variable.architecture"]["default"]] == common["Architectures"]
    assert str(module["variable.memory_size"]["default"]) == common["MemorySize"]
    assert module["variable.log_retention_days"]["default"] == document["Parameters"]["LogRetentionDays"]["Default"]
    assert function["tracing_config"] == [{"mode": common["Tracing"]}]
    (logging,) = function["logging_config"]
    assert logging.pop("log_group") == "${aws_cloudwatch_log_group.authorizer.name}"
    assert {name.title().replace("_", ""): value for name, value in logging.items()} == common["LoggingConfig"]
    assert function["source_code_hash"] == "${filebase64sha256(var.artifact)}"


def test_authorizer_is_that_of_the_template() -> None:
    module = read(MODULES / "authorizer")
    sam = template_checks.transformed(template_checks.TEMPLATE)["Resources"]["GuardedApi"]["Properties"]["Body"]
    expected = sam["securityDefinitions"]["BearerToken"]["x-amazon-apigateway-authorizer"]
    authorizer = module["aws_api_gateway_authorizer.tokens"]
    assert authorizer["type"] == expected["type"].upper() == "REQUEST"
    assert authorizer["identity_source"] == expected["identitySource"]
    assert authorizer["authorizer_result_ttl_in_seconds"] == "${var.cache_seconds}"
    document, _ = declared_template()
    assert module["variable.cache_seconds"]["default"] == document["Parameters"]["AuthorizerCacheSeconds"]["Default"]


def _value(text: str) -> str:
    """Return the value of an expression that is a text in quotation marks."""
    return json.loads(text.replace("${data.aws_region.current.region}", "${AWS::Region}")) if text[0] == '"' else text


def test_role_allows_what_the_template_allows() -> None:
    module = read(MODULES / "authorizer")
    declared = module["aws_iam_policy_document.calls"]
    blocks = [*declared["statement"], *(each["statement"]["content"][0] for each in declared["dynamic"])]
    found = [
        {
            "Effect": each.get("effect", "Allow"),
            "Action": each["actions"],
            "Condition": {
                condition["test"]: {condition["variable"]: [_value(value) for value in condition["values"]]}
                for condition in each.get("condition", [])
            },
        }
        for each in blocks
    ]
    document, resolver = declared_template(ProofOfPossession="dpop,mtls", CheckRevokedTokens="true", DataKeyArn="key")
    (policy,) = resolver.resolve(document["Resources"]["AuthorizerRole"]["Properties"]["Policies"], "AuthorizerRole")
    expected = policy["PolicyDocument"]["Statement"]
    for each in expected:
        for condition in each.get("Condition", {}).values():
            condition.update({name: [value] for name, value in condition.items() if isinstance(value, str)})
    assert statement_shapes(found) == statement_shapes(expected)
    assert [each["actions"][0] for each in blocks if each["resources"] == ["*"]] == ["xray:PutTraceSegments"]


def test_modules_are_parsed_and_examples_use_their_variables() -> None:
    example = read(EXAMPLE)
    for name, folder in (
        ("authorizer", "authorizer"), ("native_guard", "native_guard"), ("rest_guard", "native_guard")
    ):  # fmt: skip
        given = example[f"module.{name}"]
        module = read(MODULES / folder)
        assert (EXAMPLE / given.pop("source")).resolve() == MODULES / folder
        variables = {address.partition(".")[2]: each for address, each in module.items() if "variable." in address}
        assert (
            {each for each, declared in variables.items() if "default" not in declared}
            <= given.keys()
            <= set(variables)
        )
        text = "".join(path.read_text() for path in (MODULES / folder).glob("*.tf"))
        assert set(re.findall(r"\bvar\.(\w+)", text)) == set(variables)


@pytest.mark.parametrize("guard", [Guard.HTTP_JWT, Guard.ALB])
def test_native_guard_uses_every_value_of_a_plan(guard: Guard) -> None:
    module = read(MODULES / "native_guard")
    scope_map = parse_scope_map(json.dumps(SCOPES).encode())
    assert obstacles(guard, scope_map, WANTED) == []
    plan = guard_plans.plan(guard, scope_map, WANTED, [each for routes in SCOPES.values() for each in routes])
    types = {
        "AWS::ApiGatewayV2::Authorizer": "aws_apigatewayv2_authorizer.jwt",
        "AWS::ApiGatewayV2::Integration": "aws_apigatewayv2_integration.backend",
        "AWS::ApiGatewayV2::Route": "aws_apigatewayv2_route.guarded",
        "AWS::ElasticLoadBalancingV2::ListenerRule": "aws_lb_listener_rule.guarded",
    }
    for resource in plan["Resources"].values():
        text = json.dumps(module[types[resource["Type"]]])
        used = {re.sub(r"\[(\d)\]", r".\1", each) for each in re.findall(r"each\.value\.(\w+(?:\.\w+|\[\d\])*)", text)}
        leaves = {path for path, value in _leaves(resource["Properties"]) if not _is_reference(value)}
        constant = {"Conditions.0.Field", "Conditions.1.Field", "TargetGroupArn"}
        missing = {
            leaf for leaf in leaves - constant if not any(leaf == each or leaf.startswith(f"{each}.") for each in used)
        }
        assert not missing
        unknown = {
            each for each in used if not any(leaf == each or leaf.startswith(f"{each}.") for leaf in _all(resource))
        }
        assert unknown <= {f"Conditions.1.PathPatternConfig.{name}" for name in ("Values", "RegexValues")}


def _leaves(value: Any, path: str = "") -> Iterable[tuple[str, Any]]:
    if isinstance(value, list):
        value = dict(enumerate(value))
    if not isinstance(value, dict) or _is_reference(value):
        yield path.removeprefix("."), value
        return
    for name, each in value.items():
        yield from _leaves(each, f"{path}.{name}")


def _all(resource: Mapping[str, Any]) -> set[str]:
    return {f"{path}.Ref" if _is_reference(value) else path for path, value in _leaves(resource["Properties"])}


def _is_reference(value: Any) -> bool:
    return isinstance(value, dict) and set(value) <= {"Ref", "Fn::Sub", "Fn::GetAtt"}


@needs_terraform
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_modules_are_formatted(folder: Path, tmp_path: Path) -> None:
    done = _terraform(tmp_path, "fmt", "-check", "-diff", str(folder))
    assert done.returncode == 0, done.stdout


def _terraform(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environ = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(folder), "CHECKPOINT_DISABLE": "1"}
    command = [str(shutil.which("terraform")), *words]
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False, timeout=60)


def _evaluate(module: str, folder: Path, outputs: Iterable[str], **variables: Any) -> Any:
    """Evaluate locals of a module without its resources. Return the error message if that fails."""
    target = folder / "infra" / "terraform" / module
    target.mkdir(parents=True)
    shutil.copy(ROOT / "infra" / "gateway_responses.json", folder / "infra")
    for name in ("variables.tf", "locals.tf"):
        shutil.copy(MODULES / module / name, target)
    values = "\n".join(f"{name} = local.{name}" for name in outputs)
    (target / "outputs.tf").write_text(f'output "values" {{\n value = {{\n{values}\n}}\n}}\n')
    (target / "terraform.tfvars.json").write_text(json.dumps(variables))
    done = _terraform(target, "apply", "-auto-approve", "-no-color")
    if done.returncode:
        return re.sub(r"\s+", " ", done.stderr.replace("│", ""))
    return json.loads(_terraform(target, "output", "-json").stdout)["values"]["value"]


AUTHORIZER: Mapping[str, Any] = {
    "name": "customers",
    "artifact": "authorizer.zip",
    "rest_api_id": "a1",
    "rest_api_execution_arn": "arn:aws:execute-api:eu-west-1:123456789012:a1",
    "issuer": WANTED.issuer,
    "audience": sorted(WANTED.audiences),
    "scopes": SCOPES,
}
COMPLETE: Mapping[str, Any] = {
    **AUTHORIZER,
    "proof_of_possession": ["dpop", "mtls"],
    "cache_seconds": 0,
    "check_revoked_tokens": True,
    "state_table_arn": "arn:aws:dynamodb:eu-west-1:123456789012:table/state",
    "introspection_secret_arn": "arn:aws:secretsmanager:eu-west-1:123456789012:secret:authorizer-a1b2c3",
    "metadata_url": METADATA,
    "variables": {"JWKS_HARD_AGE": "600"},
}


@needs_terraform
def test_environment_is_that_of_the_template(tmp_path: Path) -> None:
    document, _ = declared_template()
    names = set(document["Resources"]["Authorizer"]["Properties"]["Environment"]["Variables"])
    variables = _evaluate("authorizer", tmp_path, ["environment"], **COMPLETE)["environment"]
    assert variables.keys() == (names | {"STACK_NAME", "SCOPE_MAP"}) - {"OTHER_ISSUERS", "CONTEXT_CLAIMS"}
    assert json.loads(variables["SCOPE_MAP"]) == SCOPES
    assert variables["REPLAY_TABLE"] == variables["DENY_LIST_TABLE"] == "state"
    assert variables["INTROSPECTION_URI"] == f"{WANTED.issuer}/oauth2/introspect"
    settings = Settings.from_env(variables)
    assert settings.issuer == WANTED.issuer


@needs_terraform
@pytest.mark.parametrize(
    ("given", "parameters"),
    [(AUTHORIZER, {}), (COMPLETE, {"ProofOfPossession": "dpop,mtls", "ResourceMetadataUrl": METADATA})],
    ids=["plain", "complete"],
)
def test_gateway_responses_are_those_of_the_template(
    given: Mapping[str, Any], parameters: dict[str, str], tmp_path: Path
) -> None:
    found = _evaluate("authorizer", tmp_path, ["gateway_responses"], **given)["gateway_responses"]
    assert {
        name: (each["status"] or "", {"application/json": each["body"]}, each["headers"])
        for name, each in found.items()
    } == gateway_responses(**parameters)


@needs_terraform
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"proof_of_possession": ["mtls"]}, "proof_of_possession needs cache_seconds 0"),
        ({"proof_of_possession": ["dpop"], "cache_seconds": 0}, "DPoP needs state_table_arn"),
        ({"proof_of_possession": ["tls"], "cache_seconds": 0}, "proof_of_possession is dpop, mtls or both"),
        ({"check_revoked_tokens": True}, "The check of revoked tokens needs state_table_arn"),
    ],
)
def test_unsafe_settings_are_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    assert message in _evaluate("authorizer", tmp_path, ["environment"], **{**AUTHORIZER, **changes})


@needs_terraform
@pytest.mark.parametrize("guard", [Guard.HTTP_JWT, Guard.ALB, Guard.REST_JWT])
def test_native_guard_reads_plans(guard: Guard, tmp_path: Path) -> None:
    plan = guard_plans.plan(guard, parse_scope_map(json.dumps(SCOPES).encode()), WANTED)
    found = _evaluate_plan(plan, ["planned", "rest_templates"], tmp_path)
    planned = {name: each for of_type in found["planned"].values() for name, each in of_type.items()}
    if guard is not Guard.REST_JWT:
        assert planned == {name: each["Properties"] for name, each in plan["Resources"].items()}
        assert found["rest_templates"] == {}
        return
    assert not planned
    template = json.loads(found["rest_templates"]["rest"])
    assert template == _with_parameters(plan)
    (tmp_path / "template.json").write_text(json.dumps(template))
    findings = {(each.check, each.message) for each in template_checks.cfn_lint([tmp_path / "template.json"])}
    # cfn-lint's schemas are older than the JWT authorizers of REST APIs.
    assert findings == {("E3002", "Additional properties are not allowed ('JwtConfiguration' was unexpected)")}


def _evaluate_plan(plan: Mapping[str, Any], outputs: Iterable[str], folder: Path) -> Any:
    """Evaluate locals of the native guard with a plan of `gatehouse guard plan`."""
    (folder / "plan.json").write_text(json.dumps(plan))
    return _evaluate("native_guard", folder, outputs, plan=str(folder / "plan.json"))


def _with_parameters(plan: dict[str, Any]) -> dict[str, Any]:
    """Return a plan as a whole template, with parameters in place of the resources that it refers to."""
    text = json.dumps(plan["Resources"])
    text = text.replace('{"Fn::GetAtt": ["Api", "RootResourceId"]}', '{"Ref": "RootResourceId"}')
    parameters = {name: {"Type": "String"} for name in ("Api", "BackendArn", "RootResourceId")}
    return {"Parameters": parameters, "Resources": json.loads(text.replace("${Backend.Arn}", "${BackendArn}"))}


@needs_terraform
@pytest.mark.parametrize("guard", [Guard.LAMBDA, Guard.LIBRARY])
def test_native_guard_refuses_other_plans(guard: Guard, tmp_path: Path) -> None:
    plan = guard_plans.plan(guard, parse_scope_map(json.dumps(SCOPES).encode()), WANTED)
    assert "The plan has to be for rest-jwt, http-jwt or alb" in _evaluate_plan(plan, ["planned"], tmp_path)
