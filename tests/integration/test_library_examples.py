"""The examples of docs/examples/library, each served by its framework, with the wheel and over HTTP."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import sha256
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from authorizer.jwk_thumbprint import thumbprint
from tests.support import dpop_proofs
from tests.support.answers_server import Reply, answers_server
from tests.support.authorizer_events import recorded
from tests.support.http_issuer import JWKS_PATH, HttpIssuer
from tests.support.tokens import encode
from tests.support.wheel import ROOT, python_with_wheel, unpacked_wheel

pytestmark = pytest.mark.slow

EXAMPLES = ROOT / "docs" / "examples" / "library"
FUNCTION_URL = str(ROOT / "tests" / "support" / "function_url.py")
WSGI = "import sys; from wsgiref.simple_server import make_server; from importlib import import_module; "
WSGI += "sys.path.insert(0, ''); app = import_module(sys.argv[1]).app; "
WSGI += "make_server('127.0.0.1', int(sys.argv[2]), app).serve_forever()"
UVICORN = ("-m", "uvicorn", "--log-level", "warning", "--port", "PORT")
COMMANDS: Mapping[str, tuple[str, ...]] = {
    "asgi_app": (*UVICORN, "asgi_app:app"),
    "fastapi_app": (*UVICORN, "fastapi_app:app"),
    "flask_app": ("-c", WSGI, "flask_app", "PORT"),
    "django_app": ("-c", WSGI, "django_app", "PORT"),
    "lambda_app": (FUNCTION_URL, "lambda_app:handler", "PORT"),
    "powertools_app": (FUNCTION_URL, "powertools_app:handler", "PORT"),
    "chalice": ("-m", "chalice", "local", "--no-autoreload", "--port", "PORT"),
}
WITH_HEALTH = {"asgi_app", "fastapi_app", "flask_app", "django_app", "chalice"}
WITH_WRITE = {"asgi_app", "fastapi_app", "flask_app", "powertools_app"}
ENTRY = "import sys; from chalice.cli import main; sys.argv[0] = 'chalice'; main()"


class Response(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: Any


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


@contextmanager
def running(name: str, issuer: str, command: tuple[str, ...] = ()) -> Iterator[str]:
    """Start an example; yield its URL."""
    port = free_port()
    command = tuple(str(port) if word == "PORT" else word for word in command or COMMANDS[name])
    if name == "chalice":
        command = ("-c", ENTRY, *command[2:])
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("COVERAGE", "AWS_"))}
    environ |= {"PYTHONPATH": str(unpacked_wheel()), "ISSUER": issuer, "AWS_DEFAULT_REGION": "eu-west-1"}
    environ |= {"POWERTOOLS_SERVICE_NAME": "orders", "PYTHONDONTWRITEBYTECODE": "1"}
    folder = EXAMPLES / "chalice" if name == "chalice" else EXAMPLES
    process = subprocess.Popen(
        [sys.executable, *command], cwd=folder, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        wait_until_it_listens(port, process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.communicate()


def wait_until_it_listens(port: int, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end and process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.05):
            return
        time.sleep(0.02)
    process.kill()
    pytest.fail(f"The example did not start: {process.communicate()[0]}")


def call(url: str, token: str | None = None, method: str = "GET", **headers: str) -> Response:
    address, _, path = url.removeprefix("http://").partition("/")
    connection = HTTPConnection(address, timeout=20)
    credentials = {"Authorization": f"Bearer {token}"} if token else {}
    connection.request(method, f"/{path}", headers=credentials | headers)
    response = connection.getresponse()
    raw = response.read()
    connection.close()
    found = {name.lower(): value for name, value in response.getheaders()}
    return Response(response.status, found, json.loads(raw) if raw.startswith(b"{") else raw.decode())


def call_until_available(url: str, token: str, method: str = "GET") -> Response:
    """Repeat a request during the back-off after a failed fetch, which is a second at most."""
    end = time.monotonic() + 10
    while (response := call(url, token, method)).status == 503 and time.monotonic() < end:
        time.sleep(0.05)
    return response


@pytest.fixture(scope="module")
def issuer() -> Iterator[HttpIssuer]:
    with answers_server() as server:
        yield HttpIssuer(server)


@pytest.mark.parametrize("name", COMMANDS)
def test_example_guards_its_routes(name: str) -> None:
    with answers_server() as server:
        issuer = HttpIssuer(server)
        key_set, server.answers[JWKS_PATH] = server.answers[JWKS_PATH], Reply(500)
        with running(name, issuer.url) as url:
            unavailable = call(f"{url}/orders", issuer.token())
            assert unavailable.status == 503
            assert int(unavailable.headers["retry-after"]) > 0
            assert "www-authenticate" not in unavailable.headers
            server.answers[JWKS_PATH] = key_set
            check_responses(name, url, issuer)


def check_responses(name: str, url: str, issuer: HttpIssuer) -> None:
    accepted = call_until_available(f"{url}/orders", issuer.token())
    assert (accepted.status, accepted.body) == (200, {"client": "service-client-jwt"})

    missing = call(f"{url}/orders")
    assert (missing.status, missing.headers["www-authenticate"]) == (401, "Bearer")

    expired = call(f"{url}/orders", issuer.token(exp=int(time.time()) - 1, iat=..., nbf=...))
    assert expired.status == 401
    assert expired.headers["www-authenticate"].startswith("Bearer")

    forbidden = call(f"{url}/orders", issuer.token(scope="other"))
    assert forbidden.status == 403
    assert forbidden.headers["www-authenticate"].startswith('Bearer error="insufficient_scope"')

    if name in WITH_HEALTH:
        assert call(f"{url}/health").status == 200
    if name in WITH_WRITE:
        assert call(f"{url}/orders", issuer.token(), "POST").body == {"status": "created"}
        assert call(f"{url}/orders", issuer.token(scope="orders.read"), "POST").status == 403


# FastAPI


def test_fastapi_shows_the_scopes_of_each_route(issuer: HttpIssuer) -> None:
    with running("fastapi_app", issuer.url) as url:
        document = call(f"{url}/openapi.json").body
    flow = document["components"]["securitySchemes"]["AccessToken"]["flows"]["clientCredentials"]
    assert flow == {
        "tokenUrl": f"{issuer.url}/oauth2/token",
        "scopes": {"orders.read": "Read orders", "orders.write": "Create orders"},
    }
    assert document["paths"]["/orders"]["get"]["security"] == [{"AccessToken": ["orders.read"]}]
    assert document["paths"]["/orders"]["post"]["security"] == [{"AccessToken": ["orders.write"]}]
    assert "security" not in document["paths"]["/health"]["get"]


NESTED = """
from fastapi import APIRouter, FastAPI, Security
from gatehouse import AccessTokens
from gatehouse.adapters.asgi import AccessTokenMiddleware
from gatehouse.adapters.fastapi import AccessTokenScheme
import os, uvicorn, sys

tokens = AccessTokens(
    issuer=os.environ["ISSUER"], audience="https://orders.example",
    proof_of_possession=["dpop"], replays_in_memory=True, resource="https://orders.example",
)
other = AccessTokens(issuer=os.environ["ISSUER"], audience="https://other.example")
router = APIRouter(dependencies=[Security(AccessTokenScheme(tokens), scopes=["orders.read"])])

@router.get("/orders", dependencies=[Security(AccessTokenScheme(tokens), scopes=["orders.write"])])
async def orders() -> dict[str, str]:
    return {"status": "read"}

@router.get("/other", dependencies=[Security(AccessTokenScheme(other))])
async def others() -> dict[str, str]:
    return {"status": "read"}

app = FastAPI()
app.include_router(router)
app.add_middleware(AccessTokenMiddleware, tokens=tokens)
uvicorn.run(app, port=int(sys.argv[1]), log_level="warning")
"""


def test_proof_is_consumed_once_by_nested_dependencies(issuer: HttpIssuer) -> None:
    token = issuer.token(cnf={"jkt": thumbprint(dpop_proofs.public_jwk())})

    def get(url: str, path: str) -> Response:
        ath = encode(sha256(token.encode()).digest())
        htu = f"https://orders.example{path}"
        proof = dpop_proofs.proof(now=int(time.time()), htm="GET", htu=htu, ath=ath)
        return call(url + path, Authorization=f"DPoP {token}", DPoP=proof)

    with running("asgi_app", issuer.url, ("-c", NESTED, "PORT")) as url:
        assert get(url, "/orders").body == {"status": "read"}
        # A token that one API accepts is not accepted by the next one of the same process.
        assert get(url, "/other").status == 401


# MCP


MCP_CLIENT = """
import asyncio, sys
import httpx2
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client

async def main():
    async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {sys.argv[2]}"}) as http:
        async with Client(streamable_http_client(sys.argv[1], http_client=http)) as client:
            print((await client.call_tool("count_orders", {})).content[0].text)

asyncio.run(main())
"""


def test_mcp_server_accepts_clients_with_a_valid_token(tmp_path: Path) -> None:
    with answers_server() as server:
        issuer = HttpIssuer(server)
        key_set, server.answers[JWKS_PATH] = server.answers[JWKS_PATH], Reply(500)
        with running("mcp_app", issuer.url, (*UVICORN, "mcp_app:app")) as url:
            unavailable = call(f"{url}/mcp", issuer.token(), "POST")
            assert unavailable.status == 503
            assert int(unavailable.headers["retry-after"]) > 0
            server.answers[JWKS_PATH] = key_set
            assert call_until_available(f"{url}/mcp", issuer.token(scope="other"), "POST").status == 403
            assert call(f"{url}/mcp", method="POST").status == 401
            assert call(f"{url}/mcp", issuer.token(aud="https://other.example"), "POST").status == 401
            done = python_with_wheel("-c", MCP_CLIENT, f"{url}/mcp", issuer.token(), cwd=tmp_path)
    assert done.stdout.strip() == "3", done.stderr


# Lambda events


LAMBDA = """
import json, os, sys
sys.path.insert(0, "")
from lambda_app import handler
for event in json.load(open(sys.argv[1])):
    print(json.dumps(handler(event, None)))
"""


def load_balancer_event(headers: dict[str, str], *, many: bool) -> dict[str, Any]:
    arn = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/orders/6d0ecf831eec9f09"
    event: dict[str, Any] = {
        "requestContext": {"elb": {"targetGroupArn": arn}},
        "httpMethod": "GET",
        "path": "/orders",
        "body": "",
        "isBase64Encoded": False,
    }
    if many:
        values = {name: [value] for name, value in headers.items()}
        return event | {"multiValueHeaders": values, "multiValueQueryStringParameters": {}}
    return event | {"headers": headers, "queryStringParameters": {}}


def test_decorated_handler_takes_the_events_of_every_front(issuer: HttpIssuer, tmp_path: Path) -> None:
    token, events = issuer.token(), []
    for credentials in (token, "forged"):
        headers = {"authorization": f"Bearer {credentials}"}
        events += [load_balancer_event(headers, many=False), load_balancer_event(headers, many=True)]
        events += [recorded(kind, credentials) for kind in ("rest_request", "http_1", "http_2")]
    twice = load_balancer_event({"authorization": f"Bearer {token}"}, many=True)
    events.append(twice | {"multiValueQueryStringParameters": {"access_token": [token]}})
    file = tmp_path / "events.json"
    file.write_text(json.dumps(events))
    done = python_with_wheel("-c", LAMBDA, str(file), cwd=EXAMPLES, ISSUER=issuer.url)
    assert done.returncode == 0, done.stderr
    responses = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["statusCode"] for each in responses] == [200] * 5 + [401] * 5 + [400]
    assert responses[5]["headers"]["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    assert responses[6]["multiValueHeaders"]["WWW-Authenticate"] == ['Bearer error="invalid_token"']


# AppSync


APPSYNC = """
import json, sys
sys.path.insert(0, "")
from appsync_app import handler
for value in json.loads(sys.argv[1]):
    print(json.dumps(handler({"authorizationToken": value, "requestContext": {"apiId": "abc"}}, None)))
"""


def test_appsync_authorizer_answers_in_appsyncs_form(issuer: HttpIssuer) -> None:
    token, reader = issuer.token(), issuer.token(scope="orders.read", exp=int(time.time()) + 30)
    values = [token, f"Bearer {token}", reader, issuer.token(scope="other"), "forged", "", None]
    done = python_with_wheel("-c", APPSYNC, json.dumps(values), cwd=EXAMPLES, ISSUER=issuer.url)
    assert done.returncode == 0, done.stderr
    bare, with_scheme, read_only, *rejected = [json.loads(line) for line in done.stdout.splitlines()]
    assert bare == with_scheme
    assert bare["resolverContext"]["client_id"] == "service-client-jwt"
    assert (bare["isAuthorized"], bare["deniedFields"], bare["ttlOverride"]) == (True, [], 60)
    assert read_only["deniedFields"] == ["Mutation.createOrder"]
    assert 0 < read_only["ttlOverride"] <= 30
    assert rejected == [{"isAuthorized": False, "ttlOverride": 0}] * 4


def test_appsync_authorizer_raises_without_key_set() -> None:
    with answers_server() as server:
        issuer = HttpIssuer(server)
        server.answers[JWKS_PATH] = Reply(500)
        done = python_with_wheel("-c", APPSYNC, json.dumps([issuer.token()]), cwd=EXAMPLES, ISSUER=issuer.url)
    assert done.returncode == 1
    assert "key_set_unavailable" in done.stderr


# Migrations


MIGRATION = """
import sys, warnings
warnings.simplefilter("ignore")
sys.path.insert(0, "")
import urllib.request
from importlib import import_module
urlopen = urllib.request.urlopen  # Powertools accepts https issuers only
name, keys, valid, *invalid = sys.argv[1:]
urllib.request.urlopen = lambda url: urlopen(url.replace("https://issuer.example", keys))
claims_of = import_module(name).claims_of
claims = claims_of(valid)
assert "service-client-jwt" in (getattr(claims, "subject", None) or claims["sub"])
for token in invalid:
    try:
        claims_of(token)
    except Exception as error:
        print(type(error).__name__)
"""


@pytest.mark.parametrize(
    ("name", "rejections"),
    [
        ("pyjwt_before", ["InvalidSignatureError", "InvalidAudienceError"]),
        ("python_jose_before", ["JWTError", "JWTClaimsError"]),
        ("authlib_before", ["BadSignatureError", "InvalidClaimError"]),
        ("powertools_before", ["InvalidSignatureError", "InvalidClaimsError"]),
        ("after", ["AccessTokenError", "AccessTokenError"]),
    ],
)
def test_code_before_and_after_a_migration_verifies_the_same_token(
    issuer: HttpIssuer, name: str, rejections: list[str]
) -> None:
    url = "https://issuer.example" if name == "powertools_before" else issuer.url
    token = issuer.token(iss=url)
    forged = token[:-8] + ("AAAAAAAA" if token[-8:] != "AAAAAAAA" else "BBBBBBBB")
    arguments = (issuer.url, token, forged, issuer.token(iss=url, aud="https://other.example"))
    done = python_with_wheel("-c", MIGRATION, name, *arguments, cwd=EXAMPLES / "migrating", ISSUER=url)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == rejections
