"""APIs started separately, as in the README, with autoreload."""

import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import jwt
import pytest
import requests

from infra.local_stack import secret_name
from tests.support.answers_server import answers_server
from tests.support.chalice import chalice_local, refusal_to_start
from tests.support.laptop import ROOT, aws_client, free_environment, is_listening, wait_until

TOKEN = "/ms-auth-server/oauth2/token"


def form(client: str, **fields: str) -> dict[str, str]:
    return {"grant_type": "client_credentials", "client_id": client, "client_secret": f"{client}-secret", **fields}


def call(port: int, method: str, path: str, body: Mapping[str, str] | None = None, token: str = "") -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    response = requests.request(method, f"http://localhost:{port}{path}", data=body, headers=headers, timeout=20)
    return response.status_code, response.json()


def test_separate_apis_serve_both_token_formats() -> None:
    environ = free_environment()
    auth, api = (int(environ[name]) for name in ("GATEHOUSE_AUTH_PORT", "GATEHOUSE_API_PORT"))
    with chalice_local("auth_server", auth, environ), chalice_local("guarded_api", api, environ):
        for client in ("service-client-jwt", "service-client-opaque"):
            request = form(client, scope="country.read")
            status, answer = call(auth, "POST", TOKEN, request)
            assert status == 200
            france = call(api, "GET", "/ms-system/country/code/FR", token=answer["access_token"])
            assert france == (200, {"code": "FRA", "name": "FRANCE"})


def test_issuer_has_the_port_of_chalice() -> None:
    environ = free_environment()
    port = int(environ.pop("GATEHOUSE_AUTH_PORT"))
    with chalice_local("auth_server", port, environ, "--no-autoreload"):
        _, answer = call(port, "POST", TOKEN, form("service-client-jwt"))
    claims = jwt.decode(answer["access_token"], options={"verify_signature": False})
    assert claims["iss"] == f"http://localhost:{port}/ms-auth-server"


def generated_secret(environ: Mapping[str, str]) -> str:
    """Return a value that differs between two runs of moto."""
    secrets = aws_client(int(environ["GATEHOUSE_AWS_PORT"]), "secretsmanager")
    name = secret_name("IntrospectionCredentials")
    return str(secrets.get_secret_value(SecretId=name)["SecretString"])


def test_moto_ends_with_the_last_api() -> None:
    environ = free_environment()
    auth, api, aws = (int(environ[f"GATEHOUSE_{name}_PORT"]) for name in ("AUTH", "API", "AWS"))
    with ExitStack() as first, ExitStack() as second:
        first.enter_context(chalice_local("guarded_api", api, environ, "--no-autoreload"))
        second.enter_context(chalice_local("auth_server", auth, environ, "--no-autoreload"))
        before = generated_secret(environ)
        first.close()
        # Its start takes longer than moto takes to detect an end.
        with chalice_local("guarded_api", api, environ, "--no-autoreload"):
            assert generated_secret(environ) == before
            assert call(auth, "POST", TOKEN, form("service-client-opaque"))[0] == 200
    wait_until(lambda: not is_listening(aws))


def test_api_ends_with_its_moto(capfd: pytest.CaptureFixture[str]) -> None:
    environ = free_environment()
    moto = subprocess.Popen([sys.executable, "-m", "local.emulated_aws"], cwd=ROOT, env=environ)
    # Otherwise the API starts one of its own.
    wait_until(lambda: is_listening(int(environ["GATEHOUSE_AWS_PORT"])), 30)
    port = int(environ["GATEHOUSE_AUTH_PORT"])
    with chalice_local("auth_server", port, environ, "--no-autoreload") as process:
        moto.kill()
        moto.wait()
        assert process.wait(timeout=30) == 1
    assert "AWS (moto) has ended" in capfd.readouterr().err


def test_other_server_on_the_aws_port_is_one_sentence() -> None:
    with answers_server() as other:
        stderr = refusal_to_start(
            "auth_server", free_environment() | {"GATEHOUSE_AWS_PORT": other.url.rpartition(":")[2]}
        )
    assert "is in use, but not by an AWS (moto) that Gatehouse started: " in stderr
    assert "Traceback" not in stderr
