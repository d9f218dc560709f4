"""The authorizer behind an HTTP API and other REST APIs, emulated by the gateway."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from authorizer.app import build
from authorizer.https_client import Request as Fetch
from authorizer.https_client import Response as Fetched
from authorizer.scope_map import parse_scope_map
from authorizer.settings import Settings
from local.gateway.core import Gateway
from local.gateway.lambda_runtime import FunctionError
from local.gateway.model import Request, Response
from local.gateway.template import Template
from tests.support.authorizer_events import decide
from tests.support.clock import ManualClock
from tests.support.template_lint import faults
from tests.support.tokens import CLIENT, ISSUER, forge_claims, jwks, mint, rsa_jwk

Document = dict[str, Any]
ROUTES = ("GET /country", "GET /country/code/{code}", "DELETE /country/code/{code}")
SCOPES = {
    "country.read": ["GET /country", "GET /country/code/{code}"],
    "country.write": ["DELETE /country/code/{code}"],
}


def _api(kind: str, authorizer: Document, **settings: str) -> Document:
    """Write an API of SAM whose routes share one authorizer, without gateway responses of its own."""
    function, own_id = "AWS::Serverless::Function", {"Api": "RestApiId", "HttpApi": "ApiId"}[kind]
    routes = [route.split(" ") for route in ROUTES]
    events = {
        f"Route{number}": {"Type": kind, "Properties": {own_id: {"Ref": "Api"}, "Method": method, "Path": path}}
        for number, (method, path) in enumerate(routes)
    }
    declared = {"FunctionArn": {"Fn::GetAtt": ["Authorizer", "Arn"]}, **authorizer}
    auth = {"DefaultAuthorizer": "Tokens", "Authorizers": {"Tokens": declared}}
    handler = {"Handler": "authorizer.handler.handle", "Environment": {"Variables": settings}}
    return {
        "Api": {"Type": f"AWS::Serverless::{kind}", "Properties": {"StageName": "live", "Auth": auth}},
        "Country": {"Type": function, "Properties": {"Handler": "country.handle", "Events": events}},
        "Authorizer": {"Type": function, "Properties": handler},
    }


def _rest_api(kind: str) -> Document:
    identity = {"Headers": ["Authorization"]} if kind == "REQUEST" else {}
    return _api("Api", {"FunctionPayloadType": kind, "Identity": identity})


def _http_api(payload_format: str = "2.0", *context: str, simple: bool = False) -> Document:
    authorizer = {
        "AuthorizerPayloadFormatVersion": payload_format,
        "EnableSimpleResponses": simple,
        "Identity": {"Headers": ["Authorization"], "Context": list(context), "ReauthorizeEvery": 300},
    }
    return _api("HttpApi", authorizer, **({"SIMPLE_RESPONSE": "true"} if simple else {}))


class Sandbox:
    """An API of its own in front of a real authorizer."""

    def __init__(self, document: Document, folder: Path) -> None:
        path = folder / "template.yaml"
        path.write_text(yaml.safe_dump({"Resources": document}), encoding="utf-8")
        scope_map = folder / "scopes.json"
        scope_map.write_text(json.dumps(SCOPES), encoding="utf-8")
        self.template = Template.read(path)
        self.clock = ManualClock()
        self.log: list[str] = []
        self.events: list[Document] = []
        self.served: list[Document] = []
        environ = {"ISSUER": ISSUER, "SCOPE_MAP": str(scope_map)}
        self._gate = build(
            Settings.from_env(environ | dict(self.template.function("Authorizer").environment)),
            clock=self.clock,
            monotonic=self.clock,
            send=self._publish_keys,
            emit=self.log.append,
        )
        self.gateway = Gateway(self.template.api("Api"), self._invoke, clock=self.clock)

    def _publish_keys(self, _request: Fetch) -> Fetched:
        return Fetched(200, {}, jwks(rsa_jwk()))

    def _invoke(self, function: str, event: object) -> object:
        assert isinstance(event, dict)
        if function == "Country":
            self.served.append(event)
            return {"statusCode": 200, "body": "{}"}
        self.events.append(event)
        try:
            return decide(self._gate, event, 1)
        except Exception as error:
            raise FunctionError(type(error).__name__, str(error)) from error

    def request(self, method: str, path: str, *authorizations: str) -> Response:
        headers = (
            ("Host", "api.execute-api.us-east-1.amazonaws.com"),
            *(("authorization", value) for value in authorizations),
        )
        return self.gateway.handle(Request(method, f"/live{path}", headers=headers))

    def status(self, method: str, path: str, token: str) -> int:
        return self.request(method, path, f"Bearer {token}").status


APIS = {
    "REST TOKEN": _rest_api("TOKEN"),
    "REST REQUEST": _rest_api("REQUEST"),
    "HTTP 1.0": _http_api("1.0"),
    "HTTP 2.0": _http_api("2.0"),
    "HTTP 2.0, simple": _http_api("2.0", "routeKey", simple=True),
}


@pytest.mark.parametrize("document", APIS.values(), ids=APIS)
def test_scopes_open_routes_of_every_api_type(document: Document, tmp_path: Path) -> None:
    api = Sandbox(document, tmp_path)
    reader = forge_claims(scope="country.read")
    writer = forge_claims(scope="country.write")
    for _ in range(2):  # computed, and cached
        assert api.status("GET", "/country", reader) == 200
        assert api.status("GET", "/country/code/AUS", reader) == 200
        assert api.status("DELETE", "/country/code/AUS", reader) == 403
        assert api.status("DELETE", "/country/code/AUS", writer) == 200
        assert api.status("GET", "/country", writer) == 403
        assert api.status("GET", "/country", forge_claims(scope="other")) == 403
    assert len(api.served) == 6


@pytest.mark.parametrize("name", APIS)
def test_invalid_token_is_401_in_every_api_type(name: str, tmp_path: Path) -> None:
    api = Sandbox(APIS[name], tmp_path)
    good = mint()
    assert api.request("GET", "/country").status == 401
    assert api.status("GET", "/country", good[:-8] + "AAAAAAAA") == 401
    assert api.status("GET", "/country", forge_claims(exp=1)) == 401
    assert api.request("GET", "/country", f"Basic {good}").status == 401
    assert api.request("GET", "/country", f"DPoP {good}").status == 401
    if name != "REST TOKEN":  # its event has one value
        assert api.request("GET", "/country", f"Bearer {good}", f"Bearer {good}").status == 401
    assert api.served == []


@pytest.mark.parametrize("name", ["REST TOKEN", "REST REQUEST", "HTTP 1.0", "HTTP 2.0"])
def test_policy_is_cached_for_every_route(name: str, tmp_path: Path) -> None:
    api = Sandbox(APIS[name], tmp_path)
    token = forge_claims(scope="country.read")
    assert api.status("GET", "/country", token) == 200
    assert api.status("GET", "/country/code/AUS", token) == 200
    assert api.status("DELETE", "/country/code/AUS", token) == 403
    assert len(api.events) == 1


def test_simple_response_is_cached_per_route(tmp_path: Path) -> None:
    api = Sandbox(APIS["HTTP 2.0, simple"], tmp_path)
    token = forge_claims(scope="country.read")
    for code in ("AUS", "NZL"):
        assert api.status("GET", f"/country/code/{code}", token) == 200
    assert api.status("DELETE", "/country/code/AUS", token) == 403
    assert [event["routeKey"] for event in api.events] == ["GET /country/code/{code}", "DELETE /country/code/{code}"]


def test_simple_response_cached_by_token_is_a_lint_error(tmp_path: Path) -> None:
    api = Sandbox(_http_api(simple=True), tmp_path)
    token = forge_claims(scope="country.read")
    assert api.status("GET", "/country", token) == 200
    # API Gateway does not call the authorizer for the second route. The lint reports that.
    assert api.status("DELETE", "/country/code/AUS", token) == 200
    (fault,) = faults(api.template, "Api", parse_scope_map(json.dumps(SCOPES).encode()))
    assert "without $context.routeKey" in fault


@pytest.mark.parametrize("name", ["HTTP 1.0", "HTTP 2.0", "HTTP 2.0, simple"])
def test_correct_http_api_passes_the_lint(name: str, tmp_path: Path) -> None:
    scope_map = parse_scope_map(json.dumps(SCOPES).encode())
    assert faults(Sandbox(APIS[name], tmp_path).template, "Api", scope_map) == []


@pytest.mark.parametrize("name", ["REST REQUEST", "HTTP 1.0", "HTTP 2.0"])
def test_cached_policy_ends_with_its_token(name: str, tmp_path: Path) -> None:
    api = Sandbox(APIS[name], tmp_path)
    token = forge_claims(exp=int(api.clock()) + 60)
    assert api.status("GET", "/country", token) == 200
    api.clock.advance(59)
    assert api.status("GET", "/country", token) == 200
    api.clock.advance(1)
    assert api.status("GET", "/country", token) == 403
    assert len(api.events) == 1


@pytest.mark.parametrize("name", APIS)
def test_function_gets_the_caller_and_listed_claims(name: str, tmp_path: Path) -> None:
    document = deepcopy(APIS[name])
    document["Authorizer"]["Properties"]["Environment"]["Variables"]["CONTEXT_CLAIMS"] = "tenant,teams,absent"
    api = Sandbox(document, tmp_path)
    token = forge_claims(scope="country.read", jti="one-of-a-kind", tenant="blue", teams=["a", "b"], other="x")
    assert api.status("GET", "/country", token) == 200
    context = api.served[0]["requestContext"]["authorizer"]
    passed = context.get("lambda", context)
    assert passed["iss"] == ISSUER
    assert passed["client_id"] == passed["sub"] == CLIENT
    assert (passed["scope"], passed["jti"]) == ("country.read", "one-of-a-kind")
    assert token not in json.dumps(passed)
    claims = {name: value for name, value in passed.items() if name.startswith("claim_")}
    assert claims == {"claim_tenant": "blue", "claim_teams": '["a","b"]'}
