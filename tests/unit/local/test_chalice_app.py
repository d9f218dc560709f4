import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import chalice.local
import pytest
from chalice.config import Config
from chalice.local import LocalDevServer

from local.addresses import Addresses
from local.chalice_app import GatewayApp, GatewayServer, host_documents
from local.cli import LaptopError
from local.gateway.lambda_runtime import shared_environment
from local.gateway.model import Function, Request, Route
from tests.unit.local.gateway.apis import http_api

TEMPLATE = """
Resources:
  AuthServerApi: {Type: AWS::ApiGatewayV2::Api, Properties: {ProtocolType: HTTP}}
  Stage:
    Type: AWS::ApiGatewayV2::Stage
    Properties: {ApiId: !Ref AuthServerApi, StageName: ms-auth-server}
  Route:
    Type: AWS::ApiGatewayV2::Route
    Properties:
      ApiId: !Ref AuthServerApi
      RouteKey: ANY /x/{name}
      Target: !Sub integrations/${Lambda}
  Lambda:
    Type: AWS::ApiGatewayV2::Integration
    Properties:
      ApiId: !Ref AuthServerApi
      IntegrationType: AWS_PROXY
      IntegrationUri: !GetAtt Echo.Arn
      PayloadFormatVersion: "1.0"
  Echo:
    Type: AWS::Serverless::Function
    Properties:
      Handler: echo_module.handle
      Environment:
        Variables:
          ISSUER: !Sub https://${AuthServerApi}.execute-api.${AWS::Region}.${AWS::URLSuffix}/ms-auth-server
          TABLE: !Ref Table
  Table: {Type: AWS::DynamoDB::Table, Properties: {}}
"""


class EchoModule:
    """Replaces the function's module."""

    @staticmethod
    def handle(event: dict[str, Any], _context: object) -> dict[str, Any]:
        return {"statusCode": 200, "headers": {"Content-Type": "application/json"}, "body": json.dumps(event)}


def provision(addresses: Addresses) -> Mapping[str, str]:
    return {"Table": f"table-{addresses.auth_port}"}


@pytest.fixture(autouse=True)
def own_server() -> Iterator[None]:
    """Give chalice its own server back, which an app takes from it."""
    yield
    chalice.local.LocalDevServer = LocalDevServer  # type: ignore[misc]


@pytest.fixture
def environ() -> dict[str, str]:
    return {}


class GaveUpError(Exception):
    """Takes the place of the end of the process."""


def give_up(sentence: str) -> NoReturn:
    raise GaveUpError(sentence)


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str]) -> GatewayApp:
    monkeypatch.setitem(sys.modules, "echo_module", EchoModule)
    path = tmp_path / "template.yaml"
    path.write_text(TEMPLATE, encoding="utf-8")
    return GatewayApp("auth_server", template=path, environ=environ, provision=provision, give_up=give_up)


def test_chalice_lists_routes_below_the_stage(app: GatewayApp) -> None:
    assert set(app.routes) == {"/ms-auth-server/x/{name}"}
    assert "PATCH" in app.routes["/ms-auth-server/x/{name}"]


def test_functions_get_their_environment(app: GatewayApp, environ: dict[str, str]) -> None:
    app.open(Addresses(auth_port=9000))
    assert environ["ISSUER"] == "http://localhost:9000/ms-auth-server"
    assert environ["TABLE"] == "table-9000"
    assert environ["AWS_ENDPOINT_URL"] == "http://localhost:8095"
    assert environ["AWS_ACCESS_KEY_ID"] == "local"


def test_gateway_is_composed_once_and_answers_requests(app: GatewayApp) -> None:
    gateway = app.open(Addresses())
    assert app.open(Addresses(auth_port=9001)) is gateway
    response = gateway.handle(Request("GET", "/ms-auth-server/x/y", headers=(("Host", "h"),)))
    assert json.loads(response.body)["pathParameters"] == {"name": "y"}
    assert gateway.too_large(Request("POST", "/")).status == 413


def test_chalice_local_uses_the_gateway_server(app: GatewayApp, environ: dict[str, str]) -> None:
    server = chalice.local.create_local_server(app, Config(), "127.0.0.1", 0)
    assert isinstance(server, GatewayServer)
    try:
        assert app.open(Addresses()).handle(Request("GET", "/")).status == 404
        assert environ["ISSUER"] == f"http://localhost:{server.server.port}/ms-auth-server"
    finally:
        server.server.server_close()


def test_port_in_use_ends_the_process(app: GatewayApp) -> None:
    first = GatewayServer(app, Config(), "127.0.0.1", 0)
    port = first.server.port
    try:
        with pytest.raises(GaveUpError) as sentence:
            GatewayServer(app, Config(), "127.0.0.1", port)
        expected = f"Port {port} on 127.0.0.1 cannot be used: Address already in use."
        assert str(sentence.value) == expected
    finally:
        first.server.server_close()


def test_invalid_setting_ends_the_process(app: GatewayApp, environ: dict[str, str]) -> None:
    environ["GATEHOUSE_AUTH_PORT"] = "x"
    with pytest.raises(GaveUpError, match="GATEHOUSE_AUTH_PORT must be a port number"):
        GatewayServer(app, Config(), "127.0.0.1", 0)


def test_table_without_a_name_ends_the_process(tmp_path: Path, environ: dict[str, str]) -> None:
    path = tmp_path / "template.yaml"
    path.write_text(TEMPLATE, encoding="utf-8")
    app = GatewayApp("auth_server", template=path, environ=environ, provision=lambda _addresses: {}, give_up=give_up)
    with pytest.raises(GaveUpError, match="Table has no value on the laptop"):
        GatewayServer(app, Config(), "127.0.0.1", 0)


def test_unsupported_template_ends_the_process(tmp_path: Path) -> None:
    path = tmp_path / "template.yaml"
    path.write_text("Resources: {Api: {Type: AWS::Serverless::SimpleTable}}", encoding="utf-8")
    with pytest.raises(GaveUpError, match="SimpleTable is not supported on the laptop"):
        GatewayApp("auth_server", template=path, give_up=give_up)


def function(logical_id: str, **environment: str) -> Function:
    return Function(logical_id, logical_id, "arn", "m.handle", environment, 3, 128)


def test_functions_share_an_environment_without_conflicts() -> None:
    functions = [function("A", X="1", Y="2"), function("B", X="1", Z="3")]
    assert shared_environment(functions) == {"X": "1", "Y": "2", "Z": "3"}
    with pytest.raises(LaptopError, match="A and C need different values of X"):
        shared_environment([*functions, function("C", X="2")])


def test_metadata_is_at_the_hosts_root() -> None:
    paths = ["/.well-known/a", "/.well-known/a/ms-auth-server", "/b/ms-auth-server"]
    api = http_api(*(Route("ANY", path, "F") for path in paths))
    assert host_documents(api) == {"/.well-known/a/ms-auth-server"}


def test_projects_serve_the_templates_routes() -> None:
    auth_server, guarded_api = GatewayApp("auth_server"), GatewayApp("guarded_api")
    assert "POST" in auth_server.routes["/ms-auth-server/oauth2/token"]
    assert "GET" in guarded_api.routes["/ms-system/country/code/{code}"]
