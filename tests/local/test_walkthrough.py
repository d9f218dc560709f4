"""The walkthrough's commands, run by curl in bash exactly as a reader would paste them."""

import base64
import json
import subprocess
from dataclasses import dataclass
from typing import Any

import jwt
import pytest

from tests.support.laptop import Laptop

SCOPES = "country.read customer.read customer.write"


@dataclass(frozen=True)
class Answer:
    """The output of curl -i."""

    status: int
    headers: dict[str, str]
    body: Any


def bash(command: str) -> Answer:
    """Run a curl command in bash; add what makes curl print the headers, and nothing else."""
    script = command.replace("curl ", "curl --silent --show-error --include ", 1)
    result = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, timeout=30)
    head, _, body = result.stdout.replace("\r\n", "\n").partition("\n\n")
    status, *fields = head.split("\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in fields)}
    return Answer(int(status.split()[1]), headers, json.loads(body))


def token_command(laptop: Laptop, client: str, scope: str = SCOPES) -> str:
    return f"""curl --location --request POST '{laptop.addresses.issuer}/oauth2/token' \\
--header 'Content-Type: application/x-www-form-urlencoded' \\
--data-urlencode 'grant_type=client_credentials' \\
--data-urlencode 'client_id={client}' \\
--data-urlencode 'client_secret={client}-secret' \\
--data-urlencode 'scope={scope}'"""


def country_command(laptop: Laptop, token: str, code: str = "AUS") -> str:
    return (
        f"curl --location --request GET '{laptop.addresses.guarded_api}/country/code/{code}' \\\n"
        f"--header 'Authorization: Bearer {token}'"
    )


def get_token(laptop: Laptop, client: str, scope: str = SCOPES) -> str:
    token = bash(token_command(laptop, client, scope)).body["access_token"]
    assert isinstance(token, str)
    return token


def test_missing_token_gets_a_challenge(laptop: Laptop) -> None:
    answer = bash(f"curl -v --request GET '{laptop.addresses.guarded_api}/country/code/AUS'")
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["content-type"] == "application/json"
    assert answer.body["error"] == "unauthorized"


def test_token_response(laptop: Laptop) -> None:
    answer = bash(token_command(laptop, "service-client-jwt"))
    assert answer.status == 200
    assert answer.headers["cache-control"] == "no-store"
    assert sorted(answer.body) == ["access_token", "expires_in", "scope", "token_type"]
    assert answer.body["token_type"] == "Bearer"
    assert answer.body["expires_in"] == 14399
    assert sorted(answer.body["scope"].split(" ")) == sorted(SCOPES.split())


def test_jwt_and_its_published_key(laptop: Laptop) -> None:
    token = get_token(laptop, "service-client-jwt")
    published = bash(f"curl --location --request GET '{laptop.addresses.issuer}/oauth2/jwks'")
    assert published.status == 200
    # More than one, when another test has just announced a key here.
    assert {tuple(sorted(key)) for key in published.body["keys"]} == {("alg", "e", "kid", "kty", "n", "use")}
    header = jwt.get_unverified_header(token)
    assert sorted(header) == ["alg", "kid"]
    claims = jwt.decode(
        token,
        jwt.PyJWKSet.from_dict(published.body)[header["kid"]],
        algorithms=["RS256"],
        audience="service-client-jwt",
        issuer=laptop.addresses.issuer,
    )
    assert sorted(claims) == ["aud", "exp", "iat", "iss", "jti", "nbf", "scope", "sub"]
    assert claims["sub"] == claims["aud"] == "service-client-jwt"
    assert claims["exp"] - claims["iat"] == 4 * 60 * 60
    assert claims["nbf"] == claims["iat"]
    assert sorted(claims["scope"]) == sorted(SCOPES.split())


@pytest.mark.parametrize("client", ["service-client-jwt", "service-client-opaque"])
def test_scope_opens_the_guarded_api(laptop: Laptop, client: str) -> None:
    answer = bash(country_command(laptop, get_token(laptop, client)))
    assert (answer.status, answer.body) == (200, {"code": "AUS", "name": "AUSTRALIA"})
    answer = bash(country_command(laptop, get_token(laptop, client, "customer.read")))
    assert answer.status == 403
    assert answer.headers["www-authenticate"] == 'Bearer error="insufficient_scope"'
    assert answer.body["error"] == "insufficient_scope"


def test_forged_token_is_rejected(laptop: Laptop) -> None:
    header, claims, signature = get_token(laptop, "service-client-jwt").split(".")
    answer = bash(country_command(laptop, f"{header}.{claims}.{signature[::-1]}"))
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == "Bearer"


def test_opaque_token_is_introspected(laptop: Laptop) -> None:
    token = get_token(laptop, "service-client-opaque")
    assert "." not in token
    answer = bash(
        f"curl --request POST '{laptop.addresses.issuer}/oauth2/introspect' "
        "--user service-client-opaque:service-client-opaque-secret "
        f"--data-urlencode 'token={token}'"
    )
    assert answer.status == 200
    assert answer.body["active"] is True
    assert answer.body["client_id"] == "service-client-opaque"
    assert sorted(answer.body["scope"].split()) == sorted(SCOPES.split())


def test_introspection_needs_authentication(laptop: Laptop) -> None:
    unknown = base64.b64encode(b"unknown:secret").decode()
    answer = bash(
        f"curl --request POST '{laptop.addresses.issuer}/oauth2/introspect' "
        f"--header 'Authorization: Basic {unknown}' --data token=whatever"
    )
    assert answer.status == 401
    assert answer.headers["www-authenticate"].startswith("Basic ")
    assert answer.body["error"] == "invalid_client"


def test_country_by_every_code_format(laptop: Laptop) -> None:
    token = get_token(laptop, "service-client-jwt")
    for code in ("nzl", "NZ", "554"):
        answer = bash(country_command(laptop, token, code))
        assert (answer.status, answer.body) == (200, {"code": "NZL", "name": "NEW ZEALAND"})
    for code, status in {"XXX": 404, "A1": 400, "AUSTRALIA": 400}.items():
        answer = bash(country_command(laptop, token, code))
        assert answer.status == status
        assert sorted(answer.body) == ["error", "error_description"]
