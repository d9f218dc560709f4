"""The example stacks of docs/, guarded by tokens of the laptop's authorization server."""

import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import boto3
import pytest
import requests

from infra.cloudformation import TemplateError
from local.addresses import use_local_aws
from local.demo_clients import COUNTRY_API, CUSTOMER_API
from local.external_stack import ExternalStack, gateway
from tests.support.laptop import ROOT, Laptop, serving
from tests.support.laptop import STACK_COMMAND as COMMAND

EXAMPLES = ROOT / "docs" / "examples"
CLIENT = "service-client-api"


def stack_error(laptop: Laptop, folder: Path, text: str) -> str:
    """Return why a stack cannot run."""
    template = folder / "template.yaml"
    template.write_text(text, encoding="utf-8")
    environ = dict(laptop.environ)
    use_local_aws(environ, laptop.addresses)
    sys.modules.pop("customers", None)  # imported by an earlier test
    with (
        patch.dict(os.environ, environ, clear=True),
        patch.object(sys, "path", sys.path.copy()),
        patch.object(boto3, "DEFAULT_SESSION", None),  # it has the credentials of an earlier test
        pytest.raises(TemplateError) as raised,
    ):
        gateway(ExternalStack(template, laptop.addresses, {}), os.environ, "http://localhost:1")
    return str(raised.value)


def call(url: str, method: str = "GET", token: str | None = None) -> requests.Response:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return requests.request(method, url, headers=headers, timeout=10)


def token(laptop: Laptop, scope: str, resource: str = CUSTOMER_API) -> str:
    form = {"grant_type": "client_credentials", "scope": scope, "resource": resource}
    url = laptop.token_endpoint
    return str(requests.post(url, form, auth=(CLIENT, f"{CLIENT}-secret"), timeout=10).json()["access_token"])


@pytest.mark.parametrize("name", ["rest-api", "http-api", "own-authorizer", "rest-api-jwt", "http-api-jwt"])
def test_example_accepts_tokens_by_scope_and_audience(laptop: Laptop, name: str) -> None:
    reader = token(laptop, "customer.read")
    writer = token(laptop, "customer.write")
    other_audience = token(laptop, "customer.read customer.write", COUNTRY_API)
    with serving(laptop, EXAMPLES / name / "template.yaml") as url:
        for _ in range(2):  # computed, and from API Gateway's cache
            assert call(f"{url}/customers", token=reader).status_code == 200
            assert call(f"{url}/customers/1", token=reader).status_code == 200
            assert call(f"{url}/customers", "POST", reader).status_code == 403
            assert call(f"{url}/customers/1", token=writer).status_code == 403
            added = call(f"{url}/customers", "POST", writer)
            assert (added.status_code, added.json()) == (201, {"added_by": CLIENT})
            assert call(f"{url}/customers/1", token=other_audience).status_code == 401
            assert call(f"{url}/customers").status_code == 401
        altered = reader[:-8] + "AAAAAAAA"
        assert call(f"{url}/customers", token=altered).status_code == 401


def test_websocket_handshake_needs_a_scope(laptop: Laptop) -> None:
    reader = token(laptop, "customer.read")
    headers = {
        f"Bearer {reader}": 101,
        f"Bearer {token(laptop, 'customer.write')}": 403,
        f"Bearer {token(laptop, 'customer.read', COUNTRY_API)}": 401,
        f"Bearer {reader[:-8]}AAAAAAAA": 401,
        "": 401,
    }
    process = subprocess.run(
        [
            *(sys.executable, "-m", "tests.support.websocket_handshake"),
            str(EXAMPLES / "websocket-api" / "template.yaml"),
        ],
        cwd=ROOT,
        env=laptop.environ,
        input="\n".join(headers) + "\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert [int(line) for line in process.stderr.splitlines()] == list(headers.values())


def test_rest_example_sends_challenges(laptop: Laptop) -> None:
    with serving(laptop, EXAMPLES / "rest-api" / "template.yaml") as url:
        answer = call(f"{url}/customers")
        assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
        answer = call(f"{url}/customers", "POST", token(laptop, "customer.read"))
        assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (403, 'Bearer error="insufficient_scope"')
        assert call(f"{url}/elsewhere", token=token(laptop, "customer.read")).status_code == 404


def test_api_without_valid_rules_answers_500(laptop: Laptop, tmp_path: Path) -> None:
    text = (EXAMPLES / "rest-api" / "template.yaml").read_text(encoding="utf-8")
    text = text.replace("../backend/", str(EXAMPLES / "backend"))
    # Another API's id: the laptop has no rules for it.
    text = text.replace("CustomersApi", "OrdersApi")
    head, mark, tail = text.partition("  Customers:\n")
    without_rules = head.partition("  # Which scope opens")[0] + mark + tail
    invalid = text.replace('"GET /customers"', '"ANY /customers"')
    answers = []
    for number, version in enumerate((without_rules, invalid, text)):
        template = tmp_path / str(number) / "template.yaml"
        template.parent.mkdir()
        template.write_text(version, encoding="utf-8")
        with serving(laptop, template) as url:
            answers.append(call(f"{url}/customers", token=token(laptop, "customer.read")).status_code)
    assert answers == [500, 500, 200]


def test_template_without_an_api_is_one_sentence(laptop: Laptop, tmp_path: Path) -> None:
    template = tmp_path / "template.yaml"
    template.write_text("Resources: {}", encoding="utf-8")
    ended = subprocess.run(
        [*COMMAND, str(template)], cwd=ROOT, env=laptop.environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 1
    assert ended.stderr == f"{template} cannot run on the laptop: the template needs exactly one API and has 0.\n"


EXAMPLE = (EXAMPLES / "rest-api" / "template.yaml").read_text(encoding="utf-8")
RUNTIME = "      Runtime: python3.13\n"
CODE = "      CodeUri: ../backend/\n"
NO_MODULE = "cannot be imported: No module named"
ONLY = "and only Python functions in a local folder can run here."


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"python3.13": "nodejs24.x"}, f"Customers has the runtime nodejs24.x, {ONLY}"),
        ({"python3.13": "java25"}, f"Customers has the runtime java25, {ONLY}"),
        ({"python3.13": "provided.al2023"}, f"Customers has the runtime provided.al2023, {ONLY}"),
        (
            {RUNTIME: "      PackageType: Image\n", CODE: "      ImageUri: x.example/y:1\n"},
            f"Customers is a container image, {ONLY}",
        ),
        ({CODE: "      InlineCode: pass\n"}, f"Customers has its code in the template, {ONLY}"),
        ({"../backend/": "s3://bucket/key"}, f"Customers has its code in S3, {ONLY}"),
        ({"../backend/": "nowhere"}, f"Customers cannot run: customers.handle {NO_MODULE} 'customers'."),
        (
            {"../backend/": str(EXAMPLES / "backend"), "customers.handle": "absent.handle"},
            f"Customers cannot run: absent.handle {NO_MODULE} 'absent'.",
        ),
    ],
)
def test_function_that_cannot_run_is_an_error(
    laptop: Laptop, tmp_path: Path, changes: dict[str, str], sentence: str
) -> None:
    text = EXAMPLE
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    assert f"{stack_error(laptop, tmp_path, text)}." == sentence


def test_routes_without_scope_are_reported_at_the_start(laptop: Laptop, tmp_path: Path) -> None:
    template = tmp_path / "template.yaml"
    changes = {"../backend/": str(EXAMPLES / "backend"), '"GET /customers", ': ""}
    text = EXAMPLE
    for old, new in changes.items():
        text = text.replace(old, new)
    template.write_text(text, encoding="utf-8")
    with serving(laptop, template, stderr := tmp_path / "stderr") as url:
        assert call(f"{url}/customers", token=token(laptop, "customer.read")).status_code == 403
    assert stderr.read_text() == "warning: GET /customers is guarded and no scope opens it\n"


HTTP_API = f"""
Transform: AWS::Serverless-2016-10-31
Globals: {{Function: {{Runtime: python3.13}}}}
Resources:
  CustomersApi:
    Type: AWS::Serverless::HttpApi
    Properties:
      StageName: live
      Auth:
        DefaultAuthorizer: Gatehouse
        Authorizers:
          Gatehouse:
            FunctionArn: !ImportValue gatehouse-AuthorizerArn
            AuthorizerPayloadFormatVersion: "2.0"
            EnableSimpleResponses: false
            Identity: {{Headers: [Authorization]}}
  CustomersRules:
    Type: AWS::SSM::Parameter
    Properties:
      Name: !Sub ["${{Path}}/${{CustomersApi}}", Path: !ImportValue gatehouse-ApiRulesPath]
      Type: String
      Value: |
        {{"audience": "{CUSTOMER_API}", "scopes": {{"customer.read": ["GET /customers/{{id}}"]}}}}
  Customers:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: {EXAMPLES / "backend"}
      Handler: customers.handle
      AutoPublishAlias: live
      Events:
        Show: {{Type: HttpApi, Properties: {{ApiId: !Ref CustomersApi, Method: get, Path: "/customers/{{id}}"}}}}
        Add: {{Type: HttpApi, Properties: {{ApiId: !Ref CustomersApi, Method: post, Path: /customers}}}}
        Open:
          Type: HttpApi
          Properties: {{ApiId: !Ref CustomersApi, Method: get, Path: /open, Auth: {{Authorizer: NONE}}}}
"""


def test_http_api_of_sam_is_served(laptop: Laptop, tmp_path: Path) -> None:
    template = tmp_path / "template.yaml"
    template.write_text(HTTP_API, encoding="utf-8")
    reader = token(laptop, "customer.read")
    with serving(laptop, template, stderr := tmp_path / "stderr") as url:
        for path in ("customers/1", "customers/1/", "/customers//1"):
            assert call(f"{url}/{path}", token=reader).status_code == 200
        assert call(f"{url}/customers/1").status_code == 401
        assert call(f"{url}/customers", "POST", reader).status_code == 403
        assert call(f"{url}/nowhere", token=reader).status_code == 404
        # The route names no authorizer, so the backend has no context and rejects the request.
        assert call(f"{url}/open", token=reader).status_code == 401
    assert stderr.read_text() == "warning: POST /customers is guarded and no scope opens it\n"


CLAIMS = """
import json

def handle(event, context):
    authorizer = event["requestContext"]["authorizer"]
    return {"statusCode": 200, "body": json.dumps(authorizer)}
"""
NATIVE_HTTP_API = f"""
Transform: AWS::Serverless-2016-10-31
Resources:
  CustomersApi:
    Type: AWS::Serverless::HttpApi
    Properties:
      StageName: live
      Auth:
        DefaultAuthorizer: Tokens
        Authorizers:
          Tokens:
            IdentitySource: $request.header.Authorization
            JwtConfiguration: {{issuer: !ImportValue gatehouse-Issuer, audience: ["{CUSTOMER_API}"]}}
  Customers:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: .
      Handler: claims.handle
      Runtime: python3.13
      Events:
        List:
          Type: HttpApi
          Properties:
            ApiId: !Ref CustomersApi
            Method: get
            Path: /customers
            Auth: {{AuthorizationScopes: [customer.read]}}
"""


def test_native_jwt_authorizer_of_sam_accepts_gatehouse_tokens(laptop: Laptop, tmp_path: Path) -> None:
    (tmp_path / "claims.py").write_text(CLAIMS, encoding="utf-8")
    template = tmp_path / "template.yaml"
    template.write_text(NATIVE_HTTP_API, encoding="utf-8")
    reader = token(laptop, "customer.read")
    with serving(laptop, template) as url:
        answer = call(f"{url}/customers", token=reader)
        assert answer.status_code == 200
        claims = answer.json()["jwt"]["claims"]
        assert (claims["client_id"], claims["scope"]) == (CLIENT, "customer.read")
        assert call(f"{url}/customers").status_code == 401
        assert call(f"{url}/customers", token=reader[:-8] + "AAAAAAAA").status_code == 401
        assert call(f"{url}/customers", token=token(laptop, "customer.read", COUNTRY_API)).status_code == 401
        assert call(f"{url}/customers", token=token(laptop, "customer.write")).status_code == 403


def test_example_of_a_load_balancer_forwards_valid_requests(laptop: Laptop) -> None:
    parameters = ("SubnetIds=a", "SecurityGroupIds=b", "CertificateArn=c")
    reader = token(laptop, "customer.read")
    with serving(laptop, EXAMPLES / "alb" / "template.yaml", parameters=parameters) as url:
        assert call(f"{url}/customers", token=reader).status_code == 200
        assert call(f"{url}/customers/1", token=reader).status_code == 200
        assert call(f"{url}/customers", "POST", reader).status_code == 401
        assert call(f"{url}/customers").status_code == 401
        assert call(f"{url}/customers", token=reader[:-8] + "AAAAAAAA").status_code == 401
        assert call(f"{url}/customers", token=token(laptop, "customer.read", COUNTRY_API)).status_code == 401
        added = call(f"{url}/customers", "POST", token(laptop, "customer.write"))
        assert (added.status_code, added.json()) == (201, {"added_by": CLIENT})
        assert call(f"{url}/customers/1/orders", token=reader).status_code == 404


def test_template_has_an_api_or_a_listener(laptop: Laptop, tmp_path: Path) -> None:
    listener = "  Listener: {Type: AWS::ElasticLoadBalancingV2::Listener}\n"
    text = NATIVE_HTTP_API.replace("Resources:\n", f"Resources:\n{listener}")
    assert stack_error(laptop, tmp_path, text).startswith("the template needs one listener without an API")


def test_native_jwt_authorizer_needs_a_reachable_issuer(laptop: Laptop, tmp_path: Path) -> None:
    (tmp_path / "claims.py").write_text(CLAIMS, encoding="utf-8")
    text = NATIVE_HTTP_API.replace("!ImportValue gatehouse-Issuer", f"{laptop.addresses.issuer}/other")
    assert "CustomersApi: authorizer Tokens: " in stack_error(laptop, tmp_path, text)


def test_terminal_shows_requests_and_no_json(laptop: Laptop) -> None:
    template = EXAMPLES / "rest-api" / "template.yaml"
    reading, terminal = pty.openpty()
    process = subprocess.Popen([*COMMAND, str(template), "--port", "0"], cwd=ROOT, env=laptop.environ, stdout=terminal)
    os.close(terminal)
    try:
        with open(reading, encoding="utf-8", closefd=True) as shown:
            log = Path(shown.readline().strip().partition(" is in ")[2].rstrip("."))
            url = shown.readline().strip().partition(" at ")[2]
            assert call(f"{url}/customers", token="a.b.c").status_code == 401
            assert re.fullmatch(r"GET /\S+/customers 401 [0-9.]+ ms\n", shown.readline())
        assert '"decision"' in log.read_text()
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=10)
