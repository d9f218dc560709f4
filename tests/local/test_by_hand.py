"""Either API started by hand, as the README shows, autoreload included."""

from __future__ import annotations

import http.client
import json
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import jwt

from tests.support.chalice import chalice_local
from tests.support.laptop import free_environment

if TYPE_CHECKING:
    from collections.abc import Mapping


def call(
    port: int, method: str, path: str, form: Mapping[str, str] | None = None, token: str = ""
) -> tuple[int, object]:
    connection = http.client.HTTPConnection("localhost", port, timeout=20)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    if form:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    connection.request(method, path, urlencode(form) if form else None, headers)
    response = connection.getresponse()
    body = json.loads(response.read())
    connection.close()
    return response.status, body


def test_both_apis_started_by_hand_serve_both_kinds_of_token() -> None:
    environ = free_environment()
    auth, api = (int(environ[name]) for name in ("GATEHOUSE_AUTH_PORT", "GATEHOUSE_API_PORT"))
    with chalice_local("auth_server", auth, environ), chalice_local("guarded_api", api, environ):
        for client in ("service-client-jwt", "service-client-opaque"):
            form = {
                "grant_type": "client_credentials",
                "client_id": client,
                "client_secret": f"{client}-secret",
                "scope": "country.read",
            }
            status, answer = call(auth, "POST", "/ms-auth-server/oauth2/token", form)
            assert status == 200
            assert isinstance(answer, dict)
            token = answer["access_token"]
            assert call(api, "GET", "/ms-system/country/code/FR", token=token) == (
                200,
                {"code": "FRA", "name": "FRANCE"},
            )


def test_the_issuer_follows_the_port_given_to_chalice() -> None:
    environ = free_environment()
    port = int(environ.pop("GATEHOUSE_AUTH_PORT"))
    form = {
        "grant_type": "client_credentials",
        "client_id": "service-client-jwt",
        "client_secret": "service-client-jwt-secret",
    }
    with chalice_local("auth_server", port, environ, "--no-autoreload"):
        _, answer = call(port, "POST", "/ms-auth-server/oauth2/token", form)
    assert isinstance(answer, dict)
    claims = jwt.decode(answer["access_token"], options={"verify_signature": False})
    assert claims["iss"] == f"http://localhost:{port}/ms-auth-server"
