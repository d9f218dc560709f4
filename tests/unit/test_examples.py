"""The example templates of docs/: what CloudFormation and the gateway make of them."""

from pathlib import Path
from runpy import run_path
from typing import Any

import jwt
import pytest

from authorizer.scope_map import ScopeMap, parse_api_rules, parse_scope_map
from authorizer.settings import Settings
from functions.shared.clients.client import DEFAULT_TOKEN_LIFETIME
from infra.build import ARTIFACTS
from infra.cloudformation import TemplateError, load
from infra.template_checks import transformed
from local.addresses import LAPTOP, Addresses
from local.demo_clients import MCP_SERVER
from local.external_stack import ExternalStack
from local.gateway.core import Gateway
from local.gateway.model import Api, Authorizer, PayloadFormat, Request, Route
from local.gateway.template import Template
from tests.support.template_lint import faults

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "docs" / "examples"
TEMPLATES = {path.parent.name: path for path in sorted(EXAMPLES.glob("*/template.yaml"))}
IMPORTS = {
    "gatehouse-Issuer": "https://issuer.example.com",
    "gatehouse-AuthorizerArn": LAPTOP.function_arn("gatehouse-SharedAuthorizer"),
    "gatehouse-AuthorizerInvocationUri": (
        "arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/"
        f"{LAPTOP.function_arn('gatehouse-SharedAuthorizer')}/invocations"
    ),
    "gatehouse-ApiRulesPath": "/gatehouse/gatehouse/apis",
}

OTHERS = {"agentcore", "mcp"}
"""Examples without an API that an authorizer guards. The tests of docs/agents.md have their checks."""

NATIVE = {"rest-api-jwt", "http-api-jwt", "alb"}
"""Examples without an authorizer function. tests/contract/test_guard_fragments.py has their checks."""

# The laptop's gateway emulates no WebSockets, so only that template is read.
each_emulated = pytest.mark.parametrize("name", sorted(TEMPLATES.keys() - NATIVE - OTHERS - {"websocket-api"}))


def read(name: str) -> Template:
    return Template.read(TEMPLATES[name], imports=IMPORTS)


def scope_map(template: Template) -> ScopeMap:
    """Return the example's scope map, from its parameter or its setting."""
    parameters = template.of_type("AWS::SSM::Parameter")
    if parameters:
        value = template.properties(parameters[0].logical_id, {})["Value"]
        return parse_api_rules(value.encode()).scope_map
    environ = template.function("Authorizer").environment
    return parse_scope_map(environ["SCOPE_MAP"].encode())


def test_there_is_an_example_of_each_kind() -> None:
    assert set(TEMPLATES) == {"rest-api", "http-api", "websocket-api", "own-authorizer", *OTHERS, *NATIVE}


@each_emulated
def test_example_agrees_with_its_scope_map(name: str) -> None:
    template = read(name)
    assert faults(template, "CustomersApi", scope_map(template)) == []
    assert ExternalStack(TEMPLATES[name], Addresses(), {}).route_findings() == []
    for route in template.api("CustomersApi").routes:
        assert isinstance(route.authorizer, Authorizer)
        assert 0 < route.authorizer.cache_seconds < DEFAULT_TOKEN_LIFETIME


@pytest.mark.parametrize("name", ["rest-api", "http-api", "websocket-api"])
def test_shared_authorizer_example_has_rules_and_no_function(name: str) -> None:
    template = read(name)
    rules = template.properties("CustomersRules", {})
    api_id = template.resolver().text({"Ref": "CustomersApi"}, "CustomersApi")
    assert rules["Name"] == f"/gatehouse/gatehouse/apis/{api_id}"
    assert parse_api_rules(rules["Value"].encode()).audiences == {"https://customer.example"}
    assert len(rules["Value"]) < 4096  # a standard parameter holds no more
    resources = transformed(TEMPLATES[name])["Resources"].values()
    functions = [each["Properties"]["FunctionName"] for each in resources if each["Type"] == "AWS::Lambda::Permission"]
    assert functions
    assert all(function == {"Ref": "Customers"} for function in functions)


def test_websocket_api_is_guarded_by_one_header() -> None:
    template = read("websocket-api")
    routes = {
        route["RouteKey"]: route.get("AuthorizationType", "NONE")
        for route in (template.properties(each.logical_id, {}) for each in template.of_type("AWS::ApiGatewayV2::Route"))
    }
    # API Gateway takes an authorizer at $connect and nowhere else.
    assert routes == {"$connect": "CUSTOM", "$default": "NONE"}
    assert scope_map(template).scopes() == {"customer.read"}
    authorizer = template.properties("Tokens", {})
    assert authorizer["IdentitySource"] == ["route.request.header.Authorization"]
    assert authorizer["AuthorizerUri"] == IMPORTS["gatehouse-AuthorizerInvocationUri"]
    # API Gateway's reference: both are for HTTP APIs only.
    assert not {"AuthorizerResultTtlInSeconds", "AuthorizerPayloadFormatVersion"} & set(authorizer)


def test_own_authorizer_starts_with_the_examples_settings() -> None:
    authorizer = read("own-authorizer").function("Authorizer")
    settings = Settings.from_env(authorizer.environment)
    assert settings.simple_response
    assert settings.audiences == {"https://customer.example"}
    folder = load(TEMPLATES["own-authorizer"])["Resources"]["Authorizer"]["Properties"]["CodeUri"]
    built = (EXAMPLES / "own-authorizer" / folder).resolve()
    assert built.parent == ROOT / ".aws-sam" / "build"
    assert built.name in ARTIFACTS


def test_mcp_server_has_its_own_address_as_audience() -> None:
    stack = ExternalStack(TEMPLATES["mcp"], Addresses(), {})
    (on_aws,) = stack.functions()
    assert on_aws.environment["SERVER_URL"] == "https://mcpapi.execute-api.us-east-1.amazonaws.com/mcp"
    (on_laptop,) = stack.functions("http://localhost:8101")
    assert on_laptop.environment["SERVER_URL"] == MCP_SERVER
    assert on_laptop.environment["ISSUER"] == Addresses().issuer
    # The function sends the challenges: an authorizer's 401 has none, and its 403 no scope.
    assert all(route.authorizer is None for route in stack.api.routes)


def test_mcp_server_may_be_behind_the_shared_authorizer() -> None:
    stack = ExternalStack(TEMPLATES["mcp"], Addresses(), {"SharedAuthorizer": "true"})
    guarded = {route.path: route.authorizer is not None for route in stack.api.routes}
    assert guarded == {"/mcp": True, "/.well-known/oauth-protected-resource/mcp": False}
    assert faults(stack.template, "McpApi", scope_map(stack.template)) == []
    (rules,) = stack.template.of_type("AWS::SSM::Parameter")
    audiences = parse_api_rules(stack.template.properties(rules.logical_id, {})["Value"].encode()).audiences
    assert audiences == {"https://mcpapi.execute-api.us-east-1.amazonaws.com/mcp"}


def test_an_import_that_no_stack_exports_is_an_error() -> None:
    with pytest.raises(TemplateError, match="no stack exports gatehouse-Auth"):
        Template.read(TEMPLATES["rest-api"]).api("CustomersApi")


def test_external_stack_needs_one_api(tmp_path: Path) -> None:
    path = tmp_path / "template.yaml"
    path.write_text("Resources: {}")
    with pytest.raises(TemplateError, match="exactly one API and has 0"):
        ExternalStack(path, Addresses(), {}).functions()


# --- The example backends -----------------------------------------------------------------------


def backend(name: str) -> Any:
    """Return the handler of an example's module."""
    return run_path(str(EXAMPLES / "backend" / f"{name}.py"))["handle"]


ALLOWED = {"client_id": "acme", "scope": "customer.read", "exp": "4102444800"}
NO_CONTEXT = [
    {},
    {"authorizer": None},
    {"authorizer": {}},
    {"authorizer": {"claims": None, "scopes": None}},
    {"authorizer": {"principalId": "acme", "integrationLatency": 0}},
    {"authorizer": {"lambda": None}},
    {"authorizer": {"lambda": {}}},
]


@pytest.mark.parametrize("context", NO_CONTEXT)
def test_backend_rejects_requests_without_a_context(context: dict[str, Any]) -> None:
    handle = backend("customers")
    assert handle({"httpMethod": "POST", "pathParameters": None, "requestContext": context}, None)["statusCode"] == 401
    assert handle({"requestContext": {"http": {"method": "GET"}, **context}}, None)["statusCode"] == 401
    for key in ("$connect", "$default"):
        assert backend("live")({"requestContext": {"routeKey": key, **context}}, None)["statusCode"] == 401


def test_backend_serves_requests_with_a_context() -> None:
    http = {"http": {"method": "GET"}}
    events: list[dict[str, Any]] = [
        {"httpMethod": "GET", "requestContext": {"authorizer": ALLOWED}},
        {"httpMethod": "GET", "requestContext": {"authorizer": {"claims": ALLOWED}}},
        {"requestContext": http | {"authorizer": {"lambda": ALLOWED}}},
        {"requestContext": http | {"authorizer": {"jwt": {"claims": ALLOWED, "scopes": None}}}},
    ]
    for event in events:
        assert backend("customers")(event, None)["statusCode"] == 200
    opened = {"requestContext": {"routeKey": "$connect", "authorizer": ALLOWED}}
    assert backend("live")(opened, None)["statusCode"] == 200


def _alb_event(method: str, path: str, claims: dict[str, str] | None, **context: object) -> dict[str, Any]:
    headers = {"authorization": f"Bearer {jwt.encode(claims, 'k' * 32)}"} if claims else {}
    return {"httpMethod": method, "path": path, "headers": headers, "requestContext": context}


def test_backend_behind_a_load_balancer_reads_the_forwarded_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES / "backend"))
    handle = backend("behind_alb")
    claims = {"client_id": "acme"}
    added = handle(_alb_event("POST", "/customers", claims, elb={}), None)
    assert (added["statusCode"], added["body"]) == (201, '{"added_by": "acme"}')
    for path, sent, status in (("/customers/1", claims, 200), ("/customers/9", claims, 404), ("/customers", None, 401)):
        assert handle(_alb_event("GET", path, sent, elb={}), None)["statusCode"] == status
    assert handle(_alb_event("GET", "/customers", claims), None)["statusCode"] == 401


@pytest.mark.parametrize("path", ["/customers", "/customers/", "//customers"])
@pytest.mark.parametrize("payload_format", ["1.0", "2.0"])
def test_open_http_route_does_not_reach_customers(path: str, payload_format: PayloadFormat) -> None:
    route = Route("GET", "/customers", "Customers", payload_format=payload_format)
    api = Api("CustomersApi", "customersapi", "http", "$default", (route,))
    handle = backend("customers")

    def invoke(function: str, event: object) -> object:
        assert function == "Customers"
        return handle(event, None)

    assert Gateway(api, invoke).handle(Request("GET", path)).status == 401


# --- Routes compared with the scope map ---------------------------------------------------------


def changed(name: str, folder: Path, changes: dict[str, str]) -> ExternalStack:
    """Return an example with other text in places."""
    text = TEMPLATES[name].read_text(encoding="utf-8")
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    path = folder / "template.yaml"
    path.write_text(text, encoding="utf-8")
    return ExternalStack(path, Addresses(), {})


SWALLOWED = "is open to every scope that opens GET /customers/{parameter}, because no scope names it"
EXPORT = """      Events:
        Export:
          Type: Api
          Properties: {RestApiId: !Ref CustomersApi, Method: get, Path: /customers/export-all}
        Remove:
          Type: Api
          Properties: {RestApiId: !Ref CustomersApi, Method: delete, Path: "/customers/{id}"}
        Health:
          Type: Api
          Properties:
            RestApiId: !Ref CustomersApi
            Method: get
            Path: /health
            Auth: {Authorizer: NONE}
"""


def test_routes_that_a_map_forgets_are_named(tmp_path: Path) -> None:
    changes = {"      Events:\n": EXPORT, '["POST /customers"]': '["POST /customers", "GET /older"]'}
    assert changed("rest-api", tmp_path, changes).route_findings() == [
        f"GET /customers/export-all {SWALLOWED}",
        "DELETE /customers/{id} is guarded and no scope opens it",
        "the scope map names GET /older, which is not a guarded route",
    ]


def test_simple_answers_close_routes_that_a_map_forgets(tmp_path: Path) -> None:
    changes = {'"GET /customers", ': '"GET /{any}", '}
    assert changed("own-authorizer", tmp_path, changes).route_findings() == [
        "GET /customers is guarded and no scope opens it",
        "the scope map names GET /{parameter}, which is not a guarded route",
    ]


def test_scope_map_that_cannot_be_read_is_a_finding(tmp_path: Path) -> None:
    (found,) = changed("rest-api", tmp_path, {'"GET /customers"': '"ANY /customers"'}).route_findings()
    assert found.startswith("the scope map cannot be read: ")


def test_rest_example_has_the_gateway_responses() -> None:
    found = []
    for path, api in ((ROOT / "template.yaml", "GuardedApi"), (TEMPLATES["rest-api"], "CustomersApi")):
        responses = load(path)["Resources"][api]["Properties"]["GatewayResponses"]
        found.append(
            {kind: (response.get("StatusCode"), response["ResponseTemplates"]) for kind, response in responses.items()}
        )
    assert found[0] == found[1]
