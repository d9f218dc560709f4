"""The example stacks of docs/, guarded by tokens of the laptop's authorization server."""

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest

from local.demo_clients import COUNTRY_API, CUSTOMER_API
from tests.support.laptop import ROOT, Laptop

EXAMPLES = ROOT / "docs" / "examples"
CLIENT = "service-client-api"


def ports(laptop: Laptop) -> dict[str, str]:
    """Where the laptop edition is, for a process beside it."""
    addresses = laptop.addresses
    return {
        "GATEHOUSE_AUTH_PORT": str(addresses.auth_port),
        "GATEHOUSE_API_PORT": str(addresses.api_port),
        "GATEHOUSE_AWS_PORT": str(addresses.aws_port),
    }


@contextlib.contextmanager
def guest(laptop: Laptop, template: Path, stderr: Path | None = None) -> Iterator[str]:
    """Serve a stack next to the laptop edition; yields its API's address."""
    with contextlib.ExitStack() as stack:
        process = subprocess.Popen(
            [sys.executable, "-m", "local.guest", str(template), "--port", "0"],
            cwd=ROOT,
            env={**os.environ, **ports(laptop)},
            stdout=subprocess.PIPE,
            stderr=None if stderr is None else stack.enter_context(stderr.open("w")),
            text=True,
        )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        yield line.strip().partition(" at ")[2]
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=10)
    assert process.returncode == 0


def ask(url: str, method: str = "GET", token: str | None = None) -> tuple[int, Message, bytes]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with urlopen(Request(url, method=method, headers=headers), timeout=10) as answer:  # noqa: S310 - our own address
            return answer.status, answer.headers, answer.read()
    except HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def token(laptop: Laptop, scope: str, resource: str = CUSTOMER_API) -> str:
    form = {"grant_type": "client_credentials", "scope": scope, "resource": resource}
    credentials = b64encode(f"{CLIENT}:{CLIENT}-secret".encode()).decode()
    request = Request(  # noqa: S310 - the laptop's own address
        f"{laptop.addresses.auth_origin}/ms-auth-server/oauth2/token",
        data=urlencode(form).encode(),
        headers={"Authorization": f"Basic {credentials}"},
    )
    with urlopen(request, timeout=10) as answer:  # noqa: S310 - our own address
        return str(json.load(answer)["access_token"])


@pytest.mark.parametrize("name", ["rest-api", "http-api", "own-authorizer"])
def test_an_example_lets_a_token_do_what_its_scopes_open_and_nothing_else(
    laptop: Laptop, name: str
) -> None:
    reader = token(laptop, "customer.read")
    writer = token(laptop, "customer.write")
    foreigner = token(laptop, "customer.read customer.write", COUNTRY_API)
    with guest(laptop, EXAMPLES / name / "template.yaml") as url:
        for _ in range(2):  # asked for, and out of API Gateway's memory
            assert ask(f"{url}/customers", token=reader)[0] == 200
            assert ask(f"{url}/customers/1", token=reader)[0] == 200
            assert ask(f"{url}/customers", "POST", reader)[0] == 403
            assert ask(f"{url}/customers/1", token=writer)[0] == 403
            status, _, body = ask(f"{url}/customers", "POST", writer)
            assert (status, json.loads(body)) == (201, {"added_by": CLIENT})
            assert ask(f"{url}/customers/1", token=foreigner)[0] == 401
            assert ask(f"{url}/customers")[0] == 401
        altered = reader[:-8] + "AAAAAAAA"
        assert ask(f"{url}/customers", token=altered)[0] == 401


def test_a_websocket_is_opened_by_a_token_whose_scope_opens_it_and_by_no_other(
    laptop: Laptop,
) -> None:
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
        env={**os.environ, **ports(laptop)},
        input="\n".join(headers) + "\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert [int(line) for line in process.stderr.splitlines()] == list(headers.values())


def test_a_guests_rest_api_answers_with_challenges(laptop: Laptop) -> None:
    with guest(laptop, EXAMPLES / "rest-api" / "template.yaml") as url:
        status, headers, _ = ask(f"{url}/customers")
        assert (status, headers["WWW-Authenticate"]) == (401, "Bearer")
        status, headers, _ = ask(f"{url}/customers", "POST", token(laptop, "customer.read"))
        assert status == 403
        assert headers["WWW-Authenticate"] == 'Bearer error="insufficient_scope"'
        assert ask(f"{url}/elsewhere", token=token(laptop, "customer.read"))[0] == 404


def test_an_api_whose_rules_are_missing_or_in_doubt_is_500_until_they_are_good(
    laptop: Laptop, tmp_path: Path
) -> None:
    text = (EXAMPLES / "rest-api" / "template.yaml").read_text(encoding="utf-8")
    text = text.replace("../backend/", str(EXAMPLES / "backend"))
    # The shared authorizer is another API's: what the laptop has for that one does not count.
    text = text.replace("CustomersApi", "OrdersApi")
    head, mark, tail = text.partition("  Customers:\n")
    without_rules = head.partition("  # Which scope opens")[0] + mark + tail
    in_doubt = text.replace('"GET /customers"', '"ANY /customers"')
    answers = []
    for number, version in enumerate((without_rules, in_doubt, text)):
        template = tmp_path / str(number) / "template.yaml"
        template.parent.mkdir()
        template.write_text(version, encoding="utf-8")
        with guest(laptop, template) as url:
            answers.append(ask(f"{url}/customers", token=token(laptop, "customer.read"))[0])
    assert answers == [500, 500, 200]


def test_a_template_that_cannot_be_played_ends_with_a_sentence(
    laptop: Laptop, tmp_path: Path
) -> None:
    template = tmp_path / "template.yaml"
    template.write_text("Resources: {}", encoding="utf-8")
    process = subprocess.run(
        [sys.executable, "-m", "local.guest", str(template)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert process.returncode == 1
    assert process.stderr == (
        f"{template} cannot run on the laptop: the template needs exactly one API and has 0.\n"
    )


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
        (
            {"../backend/": "nowhere"},
            f"Customers cannot run: customers.handle {NO_MODULE} 'customers'.",
        ),
        (
            {"../backend/": str(EXAMPLES / "backend"), "customers.handle": "absent.handle"},
            f"Customers cannot run: absent.handle {NO_MODULE} 'absent'.",
        ),
    ],
)
def test_function_that_cannot_run_is_refused_with_one_sentence(
    laptop: Laptop, tmp_path: Path, changes: dict[str, str], sentence: str
) -> None:
    text = EXAMPLE
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    template = tmp_path / "template.yaml"
    template.write_text(text, encoding="utf-8")
    process = subprocess.run(
        [sys.executable, "-m", "local.guest", str(template), "--port", "0"],
        cwd=ROOT,
        env={**os.environ, **ports(laptop)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert process.returncode == 1
    assert process.stderr == f"{template} cannot run on the laptop: {sentence}\n"


def test_forgotten_routes_are_named_at_the_start(laptop: Laptop, tmp_path: Path) -> None:
    template = tmp_path / "template.yaml"
    changes = {"../backend/": str(EXAMPLES / "backend"), '"GET /customers", ': ""}
    text = EXAMPLE
    for old, new in changes.items():
        text = text.replace(old, new)
    template.write_text(text, encoding="utf-8")
    with guest(laptop, template, stderr := tmp_path / "stderr") as url:
        assert ask(f"{url}/customers", token=token(laptop, "customer.read"))[0] == 403
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
"""  # noqa: E501 - events that fit a line are easier to compare


def test_guest_serves_an_http_api_of_sam(laptop: Laptop, tmp_path: Path) -> None:
    template = tmp_path / "template.yaml"
    template.write_text(HTTP_API, encoding="utf-8")
    reader = token(laptop, "customer.read")
    with guest(laptop, template, stderr := tmp_path / "stderr") as url:
        for path in ("customers/1", "customers/1/", "/customers//1"):
            assert ask(f"{url}/{path}", token=reader)[0] == 200
        assert ask(f"{url}/customers/1")[0] == 401
        assert ask(f"{url}/customers", "POST", reader)[0] == 403
        assert ask(f"{url}/nowhere", token=reader)[0] == 404
        # The route names no authorizer, so the backend has no context and rejects the request.
        assert ask(f"{url}/open", token=reader)[0] == 401
    assert stderr.read_text() == "warning: POST /customers is guarded and no scope opens it\n"


def test_a_terminal_shows_a_line_for_each_request_and_no_json(laptop: Laptop) -> None:
    template = ROOT / "docs" / "examples" / "rest-api" / "template.yaml"
    reading, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "local.guest", str(template), "--port", "0"],
        cwd=ROOT,
        env={**os.environ, **ports(laptop)},
        stdout=terminal,
    )
    os.close(terminal)
    try:
        with open(reading, encoding="utf-8", closefd=True) as shown:  # noqa: PTH123 - no path
            log = Path(shown.readline().strip().partition(" is in ")[2].rstrip("."))
            url = shown.readline().strip().partition(" at ")[2]
            assert ask(f"{url}/customers", token="a.b.c")[0] == 401
            assert re.fullmatch(r"GET /\S+/customers 401 [0-9.]+ ms\n", shown.readline())
        assert '"decision"' in log.read_text()
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=10)
