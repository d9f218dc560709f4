"""The fragments of `gatehouse guard plan`, against AWS's API models, cfn-lint, SAM and OpenAPI."""

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import botocore.session
import pytest
import yaml
from botocore.model import ListShape, Shape, StructureShape
from botocore.validate import ParamValidator
from openapi_spec_validator import validate

from authorizer.scope_map import parse_api_rules, parse_scope_map
from infra import guard_plans
from infra.build import ROOT
from infra.cloudformation import load, parse
from infra.guards import Guard, Need, Requirements, alternatives, obstacles
from infra.template_checks import cfn_lint

WANTED = Requirements("https://issuer.example/ms-auth-server", frozenset({"https://customer.example"}))
ROUTES = {
    "customer.read": ["GET /customers", "GET /customers/{id}", "GET /customers/{id}/orders/{order}", "GET /"],
    "customer.write": ["POST /customers", "PUT /customers/{customer}", "DELETE /a.b/x=y"],
    "file.read": ["GET /files/{path+}", "GET /files/public", "HEAD /files/{path+}"],
}
PORTABLE = {scope: [route for route in routes if "x=y" not in route] for scope, routes in ROUTES.items()}
"""The routes without a character that a REST API rejects."""

API_TYPES: Mapping[str, tuple[str, str]] = {
    "AWS::ApiGateway::Authorizer": ("apigateway", "CreateAuthorizer"),
    "AWS::ApiGateway::Resource": ("apigateway", "CreateResource"),
    "AWS::ApiGateway::Method": ("apigateway", "PutMethod"),
    "AWS::ApiGatewayV2::Authorizer": ("apigatewayv2", "CreateAuthorizer"),
    "AWS::ApiGatewayV2::Integration": ("apigatewayv2", "CreateIntegration"),
    "AWS::ApiGatewayV2::Route": ("apigatewayv2", "CreateRoute"),
    "AWS::ElasticLoadBalancingV2::ListenerRule": ("elbv2", "CreateRule"),
    "AWS::SSM::Parameter": ("ssm", "PutParameter"),
}
IN_CLOUDFORMATION_ONLY = {"Integration"}
"""Properties that are another operation of the API."""

_BACKEND = {"Type": "AWS::Serverless::Function", "Properties": {"InlineCode": "", "Handler": "index.handle"}}
_HTTP_API = {"Type": "AWS::ApiGatewayV2::Api", "Properties": {"Name": "customers", "ProtocolType": "HTTP"}}
_REST_API = {"Type": "AWS::ApiGateway::RestApi", "Properties": {"Name": "customers"}}
SURROUNDINGS: Mapping[Guard, dict[str, Any]] = {
    Guard.REST_JWT: {"Api": _REST_API, "Backend": _BACKEND},
    Guard.HTTP_JWT: {"Api": _HTTP_API, "Backend": _BACKEND},
    Guard.ALB: {},
    Guard.LAMBDA: {"Api": _HTTP_API},
}
PARAMETERS: Mapping[Guard, list[str]] = {Guard.ALB: ["Listener", "Targets"], Guard.LAMBDA: ["GatehouseStack"]}
KNOWN_FINDINGS: Mapping[Guard, list[tuple[str, str]]] = {
    Guard.REST_JWT: [("E3002", "Additional properties are not allowed ('JwtConfiguration' was unexpected)")]
}
"""Findings of cfn-lint 1.58.0, whose schemas are older than REST APIs' JWT authorizers."""

MODELS = botocore.session.get_session()


def _fragment(guard: Guard, routes: Mapping[str, list[str]] = PORTABLE) -> dict[str, Any]:
    scope_map = parse_scope_map(json.dumps(routes).encode())
    assert obstacles(guard, scope_map, WANTED) == []
    texts = [route for each in routes.values() for route in each]
    document = guard_plans.plan(guard, scope_map, WANTED, texts)
    assert parse(guard_plans.dump(guard, document)) == document
    return document


FRAGMENTS = {
    Guard.REST_JWT: {
        scope: [r for r in routes if "/files/" not in r or "{" in r] for scope, routes in PORTABLE.items()
    },
    Guard.HTTP_JWT: PORTABLE,
    Guard.ALB: ROUTES,
    Guard.LAMBDA: PORTABLE,
}


@pytest.mark.parametrize("guard", FRAGMENTS)
def test_every_resource_is_a_valid_api_request(guard: Guard) -> None:
    checked = 0
    for resource in _fragment(guard, FRAGMENTS[guard])["Resources"].values():
        service, operation = API_TYPES[resource["Type"]]
        model = MODELS.get_service_model(service)
        shape = model.operation_model(operation).input_shape
        assert isinstance(shape, StructureShape)
        properties = {key: value for key, value in resource["Properties"].items() if key not in IN_CLOUDFORMATION_ONLY}
        request = _as_request(_with_references(properties), shape)
        report = ParamValidator().validate(request, shape)
        assert not report.has_errors(), report.generate_report()
        assert list(_outside_enumerations(request, shape)) == []
        checked += 1
    assert checked > 1 or guard is Guard.LAMBDA


def _with_references(value: object) -> Any:
    """Replace each intrinsic function by a text."""
    if isinstance(value, dict):
        if len(value) == 1 and next(iter(value)) in ("Ref", "Fn::Sub", "Fn::GetAtt"):
            return "reference"
        return {key: _with_references(item) for key, item in value.items()}
    return [_with_references(item) for item in value] if isinstance(value, list) else value


def _as_request(value: Any, shape: Shape) -> Any:
    """Write properties with the names of the API: CloudFormation capitalizes the first letter."""
    if isinstance(shape, StructureShape):
        names = {name[:1].upper() + name[1:]: name for name in shape.members}
        assert set(value) <= set(names), f"{set(value) - set(names)} of {shape.name}"
        return {names[key]: _as_request(item, shape.members[names[key]]) for key, item in value.items()}
    if isinstance(shape, ListShape):
        return [_as_request(item, shape.member) for item in value]
    return value


def _outside_enumerations(value: Any, shape: Shape) -> Iterator[str]:
    if isinstance(shape, StructureShape):
        for key, item in value.items():
            yield from _outside_enumerations(item, shape.members[key])
    elif isinstance(shape, ListShape):
        for item in value:
            yield from _outside_enumerations(item, shape.member)
    elif (allowed := getattr(shape, "enum", None)) and value not in allowed:
        yield f"{value} is not one of {allowed}"


def _template(guard: Guard) -> dict[str, Any]:
    fragment = _fragment(guard, FRAGMENTS[guard])
    document = {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Transform": "AWS::Serverless-2016-10-31",
        "Parameters": {name: {"Type": "String"} for name in PARAMETERS.get(guard, [])},
        "Globals": {"Function": {"Runtime": "python3.13"}},
        "Resources": {**SURROUNDINGS[guard], **fragment["Resources"]},
    }
    return {key: value for key, value in document.items() if value}


@pytest.mark.slow
@pytest.mark.parametrize("guard", [Guard.ALB, Guard.LAMBDA])
def test_cfn_lint_finds_nothing(guard: Guard, tmp_path: Path) -> None:
    path = tmp_path / "template.json"
    path.write_text(json.dumps(_template(guard)))
    assert cfn_lint([path]) == []


@pytest.mark.slow
@pytest.mark.parametrize("guard", [Guard.REST_JWT, Guard.HTTP_JWT])
def test_sam_and_its_cfn_lint_validate_fragment(guard: Guard, tmp_path: Path) -> None:
    """SAM's own resources are in these fragments only."""
    path = tmp_path / "template.yaml"
    path.write_text(yaml.safe_dump(_template(guard)))
    run = subprocess.run(
        [ROOT / ".venv-sam" / "bin" / "sam", "validate", "--lint", "--template", path, "--region", "eu-west-1"],
        capture_output=True,
        text=True,
        check=False,
        env={"HOME": str(tmp_path), "SAM_CLI_TELEMETRY": "0", "PATH": "/usr/bin:/bin"},
    )
    found = re.findall(r"\[\[([EW]\d+): [^\]]*\] \((.*)\) matched", run.stdout + run.stderr)
    assert found == KNOWN_FINDINGS.get(guard, [])
    assert (run.returncode == 0) is (guard not in KNOWN_FINDINGS), run.stdout + run.stderr


@pytest.mark.parametrize("guard", [Guard.REST_JWT, Guard.HTTP_JWT])
def test_openapi_definition_is_valid_and_has_every_route(guard: Guard) -> None:
    routes = FRAGMENTS[guard]
    scope_map = parse_scope_map(json.dumps(routes).encode())
    texts = [route for each in routes.values() for route in each]
    document = guard_plans.openapi(guard, scope_map, WANTED, texts)
    # OpenAPI has no greedy parameters: API Gateway's own definitions have a + in the path only.
    plain = json.loads(json.dumps(document).replace("+}", "}"))
    validate(plain)
    found = {
        f"{method.upper()} {path}": operation["security"]
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }
    paths = guard_plans.route_paths(scope_map, texts)
    assert found == {
        f"{route.method} {paths[route]}": [{"Gatehouse": sorted(scope for scopes in sets for scope in scopes)}]
        for route, sets in alternatives(scope_map).items()
    }


def test_rest_openapi_extension_has_the_shape_of_the_api_model() -> None:
    scope_map = parse_scope_map(json.dumps(FRAGMENTS[Guard.REST_JWT]).encode())
    scheme = guard_plans.openapi(Guard.REST_JWT, scope_map, WANTED)["components"]["securitySchemes"]["Gatehouse"]
    extension = scheme["x-amazon-apigateway-authorizer"]
    shape = MODELS.get_service_model("apigateway").shape_for("CreateAuthorizerRequest")
    request = {
        "restApiId": "api",
        "name": "Gatehouse",
        "type": extension["type"].upper(),
        "identitySource": extension["identitySource"],
        "jwtConfiguration": extension["jwtConfiguration"],
    }
    assert set(extension) == {"type", "identitySource", "jwtConfiguration"}
    assert not ParamValidator().validate(request, shape).has_errors()
    assert list(_outside_enumerations(request, shape)) == []
    assert (scheme["type"], scheme["in"], scheme["name"]) == ("apiKey", "header", "Authorization")


def test_http_openapi_extension_has_the_documented_members() -> None:
    scope_map = parse_scope_map(json.dumps(PORTABLE).encode())
    scheme = guard_plans.openapi(Guard.HTTP_JWT, scope_map, WANTED)["components"]["securitySchemes"]["Gatehouse"]
    assert scheme["type"] == "oauth2"
    assert scheme["x-amazon-apigateway-authorizer"] == {
        "type": "jwt",
        "identitySource": "$request.header.Authorization",
        "jwtConfiguration": {"issuer": WANTED.issuer, "audience": sorted(WANTED.audiences)},
    }


def test_listener_rules_are_in_the_order_of_api_gateways_preference() -> None:
    rules = [each["Properties"] for each in _fragment(Guard.ALB, ROUTES)["Resources"].values()]
    conditions = {
        rule["Priority"]: (*rule["Conditions"][0]["HttpRequestMethodConfig"].values(), *rule["Conditions"][1].values())
        for rule in rules
    }
    assert sorted(conditions) == list(range(1, len(rules) + 1))
    order = [next(iter(path.values()))[0] for _, (_, _, path) in sorted(conditions.items())]
    assert order.index("/files/public") < order.index("^/files/.+$")
    assert order.index("/customers") < order.index("^/customers/[^/]+$")
    assert r"^/a\.b/x=y$" in order
    for rule in rules:
        actions = [(action["Order"], action["Type"]) for action in rule["Actions"]]
        assert actions == [(1, "jwt-validation"), (2, "forward")]
        claims = rule["Actions"][0]["JwtValidationConfig"]["AdditionalClaims"]
        assert [(claim["Name"], claim["Format"], len(claim["Values"])) for claim in claims] == [
            ("aud", "single-string", 1),
            ("scope", "space-separated-values", 1),
        ]


@pytest.mark.parametrize(
    "routes", [PORTABLE, {"a b": ["GET /x"], "b a": ["GET /y"], "c": []}, {"a": ["$connect"], "b": ["$connect"]}]
)
def test_lambda_authorizer_reads_the_rules(routes: dict[str, list[str]]) -> None:
    value = _fragment(Guard.LAMBDA, routes)["Resources"]["Rules"]["Properties"]["Value"]
    rules, scope_map = parse_api_rules(value.encode()), parse_scope_map(json.dumps(routes).encode())
    assert rules.audiences == WANTED.audiences
    assert alternatives(rules.scope_map) == alternatives(scope_map)
    assert rules.scope_map.scopes() == scope_map.scopes()


@pytest.mark.parametrize(
    ("routes", "paths"),
    [
        (["GET /c/{id}", "PUT /c/{customer}/x"], ["/c/{id}", "/c/{id}/x"]),
        (["GET /{id}/{id}", "GET /{other}/x"], ["/{id}/{id1}", "/{id}/x"]),
        (["GET /{id1}/{id}/{id}"], ["/{id1}/{id}/{id2}"]),
        (["GET /{a}/{a1}/{a}", "GET /files/{path+}"], ["/{a}/{a1}/{a2}", "/files/{path+}"]),
    ],
)
def test_parameters_have_one_name_at_each_place(routes: list[str], paths: list[str]) -> None:
    scope_map = parse_scope_map(json.dumps({"a": routes}).encode())
    assert list(guard_plans.route_paths(scope_map, routes).values()) == paths


def test_similar_paths_have_different_logical_ids() -> None:
    routes = {"a": ["GET /a-b", "GET /a/b", "GET /a.b", "GET /{a}/b", "GET /"]}
    for guard in (Guard.REST_JWT, Guard.HTTP_JWT, Guard.ALB):
        types = [each["Type"] for each in _fragment(guard, routes)["Resources"].values()]
        assert sum(each.rpartition("::")[2] in ("Method", "Route", "ListenerRule") for each in types) == 5


@pytest.mark.parametrize("needs", [frozenset(), frozenset(Need)])
def test_library_accepts_the_settings(needs: frozenset[Need], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RESOURCE", "REPLAY_TABLE", "CERTIFICATE_HEADER", "INTROSPECTION_SECRET_ARN", "DENY_LIST_TABLE"):
        monkeypatch.setenv(name, "https://customer.example" if name == "RESOURCE" else name.lower())
    scope_map = parse_scope_map(json.dumps({**PORTABLE, "a b": ["GET /both"]}).encode())
    document = guard_plans.plan(Guard.LIBRARY, scope_map, replace(WANTED, needs=needs), ["GET /both"])
    text = guard_plans.dump(Guard.LIBRARY, document)
    members: dict[str, Any] = {}
    exec(text.replace("from gatehouse", "from authorizer"), members)  # noqa: S102 - the module under test
    assert members["TOKENS"].issuer == WANTED.issuer
    assert members["SCOPES"]["GET /both"] == [["a", "b"]]


@pytest.mark.parametrize(
    ("name", "guard", "form"),
    [("rest-api-jwt", Guard.REST_JWT, "openapi"), ("http-api-jwt", Guard.HTTP_JWT, "openapi"), ("alb", Guard.ALB, "")],
)
def test_example_has_the_fragment_of_its_rules(name: str, guard: Guard, form: str) -> None:
    folder = ROOT / "docs" / "examples" / name
    rules = json.loads((folder / "rules.json").read_text())
    texts = [route for routes in rules["scopes"].values() for route in routes]
    scope_map, audiences = parse_api_rules((folder / "rules.json").read_bytes())
    wanted = replace(WANTED, audiences=audiences)
    assert obstacles(guard, scope_map, wanted) == []
    imports = {"gatehouse-Issuer": wanted.issuer, "gatehouse-JwksUri": guard_plans.jwks_endpoint(wanted.issuer)}
    resources = load(folder / "template.yaml")["Resources"]
    if form == "openapi":
        expected = guard_plans.openapi(guard, scope_map, wanted, texts)
        found = resources["Api"]["Properties"]["DefinitionBody"]
    else:
        expected = guard_plans.plan(guard, scope_map, wanted, texts)["Resources"]
        found = {key: value for key, value in resources.items() if key.endswith("Rule")}
    assert _imported(found, imports) == expected


def _imported(node: Any, imports: Mapping[str, str]) -> Any:
    """Replace what the example imports from Gatehouse's stack, and nothing else."""
    match node:
        case {"Fn::ImportValue": {"Fn::Sub": str(name)}}:
            return imports[name.replace("${GatehouseStack}", "gatehouse")]
        case {"Fn::Sub": [str(text), dict(values)]}:
            for name, value in values.items():
                text = text.replace(f"${{{name}}}", _imported(value, imports))
            return text
        case dict():
            return {key: _imported(value, imports) for key, value in node.items()}
        case list():
            return [_imported(value, imports) for value in node]
    return node
