"""Every built artifact, started as Lambda starts it, with real events."""

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest

from local.emulated_aws import names
from tests.artifacts.conftest import Stack
from tests.support.answers_server import ReceivedRequest, Reply, answers_server
from tests.support.authorizer_events import recorded
from tests.support.cloudwatch import extract
from tests.support.lambda_runtime import REGION, LambdaProcess, Outcome, started
from tests.support.proxy_events import basic, form_event, proxy_event, token_event
from tests.support.tokens import claims, mint

GRANT = {"grant_type": "client_credentials", "scope": "country.read"}
NOWHERE = "http://localhost:1"
PATHS = {
    "/ms-auth-server/oauth2/token": "IssueToken",
    "/ms-auth-server/oauth2/jwks": "PublishJwks",
    "/ms-auth-server/oauth2/introspect": "IntrospectToken",
}


@dataclass
class AuthServer:
    """The address of the HTTP API in front of the authorization server's artifacts, and their processes."""

    url: str
    functions: dict[str, LambdaProcess]


@pytest.fixture(scope="module")
def auth_server(stack: Stack) -> Iterator[AuthServer]:
    functions: dict[str, LambdaProcess] = {}
    one_at_a_time = threading.Lock()

    def forward(request: ReceivedRequest) -> Reply:
        event = proxy_event(request.method, request.path, headers=dict(request.headers.items()), body=request.body)
        with one_at_a_time:
            response = functions[PATHS[request.path]].invoke(event).body
        return Reply(response["statusCode"], response["body"], response["headers"])

    with answers_server() as server, contextlib.ExitStack() as running:
        for path, name in PATHS.items():
            server.answers |= {f"GET {path}": forward, f"POST {path}": forward}
            functions[name] = running.enter_context(stack.start(name, server.url))
        yield AuthServer(server.url, functions)


def _body(outcome: Outcome) -> Any:
    assert outcome.kind == "response", outcome
    return json.loads(outcome.body["body"])


def _effect(outcome: Outcome) -> str:
    assert outcome.kind == "response", outcome
    return str(outcome.body["policyDocument"]["Statement"][0]["Effect"])


def _token(function: LambdaProcess, client_id: str = "service-client-jwt") -> str:
    event = token_event(GRANT, headers=basic(client_id, f"{client_id}-secret"))
    return str(_body(function.invoke(event))["access_token"])


def test_token_endpoint_works_cold_and_warm(auth_server: AuthServer) -> None:
    function = auth_server.functions["IssueToken"]
    assert _token(function).count(".") == 2
    assert _token(function).count(".") == 2
    assert "." not in _token(function, "service-client-opaque")
    refused = function.invoke(token_event(GRANT, headers=basic("service-client-jwt", "wrong")))
    assert refused.body["statusCode"] == 401
    assert _body(function.invoke({"no": "event"}))["error"] == "server_error"


def test_the_key_set_is_published(auth_server: AuthServer) -> None:
    outcome = auth_server.functions["PublishJwks"].invoke(proxy_event("GET", "/oauth2/jwks"))
    (jwk,) = _body(outcome)["keys"]
    assert jwk["alg"] == "RS256"


def test_introspection_finds_tokens_of_both_formats(auth_server: AuthServer) -> None:
    for client_id in ("service-client-jwt", "service-client-opaque"):
        token = _token(auth_server.functions["IssueToken"], client_id)
        headers = basic(client_id, f"{client_id}-secret")
        event = form_event("/oauth2/introspect", {"token": token}, headers=headers)
        assert _body(auth_server.functions["IntrospectToken"].invoke(event))["active"] is True


def test_authorizer_decides_and_emits_metrics(auth_server: AuthServer, stack: Stack) -> None:
    tokens = [_token(auth_server.functions["IssueToken"], f"service-client-{kind}") for kind in ("jwt", "opaque")]
    with stack.start("Authorizer", auth_server.url) as authorizer:
        for token in (*tokens, *tokens):
            assert _effect(authorizer.invoke(recorded("rest_request", token))) == "Allow"
        forged = authorizer.invoke(recorded("rest_request", "e30.e30.e30"))
        assert (forged.kind, forged.body["errorMessage"]) == ("error", "Unauthorized")
        # The same process continues after an error.
        assert _effect(authorizer.invoke(recorded("rest_request", tokens[0]))) == "Allow"
    with stack.start("PublishJwks") as publish_jwks:
        publish_jwks.invoke(proxy_event("GET", "/oauth2/jwks"))
    values = {
        (value.series.name, *sorted(value.series.dimensions))
        for line in [*authorizer.lines, *publish_jwks.lines]
        for value in extract(line)
    }
    stack_name = ("stack", "gatehouse")
    assert values == {
        ("Decisions", ("decision", "allow"), stack_name),
        ("Decisions", ("decision", "unauthorized"), stack_name),
        ("Decisions", ("reason", "alg_missing"), stack_name),
        ("KeySetFetches", stack_name),
        ("Requests", ("endpoint", "publish_jwks"), ("outcome", "success"), stack_name),
    }


def test_shared_authorizer_uses_the_apis_rules(auth_server: AuthServer, stack: Stack) -> None:
    event = recorded("rest_request", _token(auth_server.functions["IssueToken"]))
    declared = stack.template.function("SharedAuthorizer", names())
    parameter = f"{declared.environment['API_RULES']}/abcdef1234"  # the API of the recorded events
    with stack.start("SharedAuthorizer", auth_server.url) as authorizer:
        assert authorizer.invoke(event).kind == "error"
    rules = json.dumps({"audience": "*", "scopes": {"country.read": ["GET /country/code/{code}"]}})
    ssm = boto3.Session("local", "local", region_name=REGION).client("ssm", endpoint_url=stack.aws_url)
    ssm.put_parameter(Name=parameter, Value=rules, Type="String")
    with stack.start("SharedAuthorizer", auth_server.url) as authorizer:
        for _ in range(2):
            assert _effect(authorizer.invoke(event)) == "Allow"


def test_logging_would_wrap_lines_and_lose_metrics(runtime: Path, tmp_path: Path) -> None:
    """Why lines are printed: this is what the runtime makes of the same line in a logger."""
    (tmp_path / "logs.py").write_text(
        "import logging\ndef handle(event, context):\n    logging.warning(event['line'])\n"
    )
    with started(tmp_path, "logs.handle", runtime, {}) as function:
        function.invoke({"line": '{"_aws": {}}'})
    (line,) = map(json.loads, function.lines)
    assert line["message"] == '{"_aws": {}}'
    assert "_aws" not in line


def test_an_authorizer_without_its_issuer_fails(stack: Stack) -> None:
    with stack.start("Authorizer", NOWHERE) as authorizer:
        token = mint(claims(time.time(), iss=f"{NOWHERE}/ms-auth-server"))
        outcome = authorizer.invoke(recorded("rest_request", token))
    # An error other than "Unauthorized" is API Gateway's 500.
    assert outcome.kind == "error"
    assert outcome.body["errorType"] == "KeySetUnavailableError"


def test_a_token_is_revoked(auth_server: AuthServer, stack: Stack) -> None:
    token = _token(auth_server.functions["IssueToken"], "service-client-opaque")
    headers = basic("service-client-opaque", "service-client-opaque-secret")
    event = form_event("/oauth2/revoke", {"token": token}, headers=headers)
    with stack.start("RevokeToken", auth_server.url) as revoke:
        assert revoke.invoke(event).body["statusCode"] == 200
    event = form_event("/oauth2/introspect", {"token": token}, headers=headers)
    assert _body(auth_server.functions["IntrospectToken"].invoke(event)) == {"active": False}


@pytest.mark.parametrize(
    ("function", "name", "member", "value"),
    [
        ("PublishMetadata", "oauth-authorization-server", "issuer", f"{NOWHERE}/ms-auth-server"),
        ("PublishResourceMetadata", "oauth-protected-resource", "resource", "https://api.example.com/ms-system"),
    ],
)
def test_metadata_is_published(stack: Stack, function: str, name: str, member: str, value: str) -> None:
    context = {"domainName": "api.example.com", "path": "/ms-system/x", "stage": "ms-system"}
    event = proxy_event("GET", f"/.well-known/{name}", requestContext=context)
    with stack.start(function) as process:
        assert _body(process.invoke(event))[member] == value


def test_a_country_is_looked_up(stack: Stack) -> None:
    with stack.start("LookUpCountry") as function:
        for code, status in (("AUS", 200), ("036", 200), ("XXX", 404)):
            event = proxy_event("GET", f"/country/code/{code}", pathParameters={"code": code})
            event["requestContext"]["authorizer"] = {"principalId": "service"}
            outcome = function.invoke(event)
            assert outcome.body["statusCode"] == status, outcome


@pytest.mark.parametrize(("settings", "status"), [({}, "SUCCESS"), ({"KEY_ANNOUNCE_HOURS": "1"}, "FAILED")])
def test_keys_are_rotated_and_a_deployment_gets_their_state(
    stack: Stack, settings: dict[str, str], status: str
) -> None:
    with answers_server() as cloudformation:
        cloudformation.answers["PUT /response"] = Reply(200)
        event = {
            "RequestType": "Create",
            "ResponseURL": f"{cloudformation.url}/response",
            "StackId": "stack",
            "RequestId": "request",
            "LogicalResourceId": "KeyRing",
        }
        with stack.start("RotateKeys", **settings) as function:
            assert function.invoke(event).kind == "response"
            scheduled = function.invoke({"source": "aws.events", "detail-type": "Scheduled Event"})
    (answer,) = (json.loads(request.body) for request in cloudformation.received)
    assert answer["Status"] == status
    assert ("not safe" in answer["Reason"]) == (status == "FAILED")
    assert scheduled.kind == ("response" if status == "SUCCESS" else "error")


def test_missing_settings_are_named(stack: Stack) -> None:
    with stack.start("PublishJwks", KEY_RING_SECRET="") as function:
        outcome = function.invoke(proxy_event("GET", "/oauth2/jwks"))
    assert outcome.kind == "error"
    assert "KEY_RING_SECRET" in outcome.body["errorMessage"]


@pytest.mark.parametrize(
    "handler", ["publish_jwks.handlers.handle", "publish_jwks.handler.handler", "issue_token.handler.handle"]
)
def test_a_wrong_handler_or_another_slices_is_found(stack: Stack, handler: str) -> None:
    with started(stack.build / "PublishJwks", f"functions.{handler}", stack.runtime, {}) as function:
        outcome = function.outcome(function.started)
    assert outcome.kind == "init error"
    assert outcome.body["errorType"] in ("Runtime.ImportModuleError", "Runtime.HandlerNotFound")


def test_an_artifact_cannot_import_what_the_tests_run_with(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "probe.py").write_text(
        "import importlib.util\n"
        "def handle(event, context):\n"
        "    return {name: importlib.util.find_spec(name) is not None for name in event}\n"
        "def strange(event, context):\n"
        "    return {1, 2}\n"
    )
    with started(tmp_path, "probe.handle", stack.runtime, {}) as function:
        found = function.invoke(["boto3", "jwt", "pytest", "moto", "functions", "cryptography"])
    assert found.body == {
        "boto3": True, "jwt": False, "pytest": False, "moto": False, "functions": False,
        "cryptography": False,
    }  # fmt: skip
    with started(tmp_path, "probe.strange", stack.runtime, {}) as function:
        outcome = function.invoke({})
    assert outcome.body["errorType"] == "Runtime.MarshalError"
