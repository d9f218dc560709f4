"""The authorizer behind `chalice local`: the gateway's result cache, and bound tokens."""

import http.client
import json
import os
import subprocess
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import yaml

from authorizer.aws import Boto3Clients
from functions.shared.clients.client_registry import DynamoDbClients
from infra.cloudformation import load
from local.addresses import MUTUAL_TLS
from local.certificates import LaptopCertificates
from tests.support.chalice import chalice_local
from tests.support.dpop_proofs import proof
from tests.support.laptop import ROOT, Laptop, aws_client, free_environment
from tests.support.server import SECRET, client

APP = """
from pathlib import Path
from local.chalice_app import GatewayApp
app = GatewayApp("guarded_api", template=Path(__file__).with_name("template.yaml"))
"""


class GuardedApi:
    """A second guarded API on the laptop, with its own parameters and log."""

    def __init__(self, port: int, mtls_port: int, log: Path) -> None:
        self.port = port
        self.mtls_port = mtls_port
        self.url = f"http://localhost:{port}/ms-system"
        self._log = log

    def get(self, path: str, headers: Mapping[str, str]) -> tuple[int, Any, str | None]:
        """Return the status, the body and the challenge."""
        connection = http.client.HTTPConnection("localhost", self.port, timeout=20)
        connection.request("GET", f"/ms-system{path}", headers=dict(headers))
        response = connection.getresponse()
        body = json.loads(response.read())
        connection.close()
        return response.status, body, response.getheader("WWW-Authenticate")

    def decisions(self) -> list[dict[str, Any]]:
        """Return what the authorizer logged: one line for each of its invocations."""
        lines = self._log.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines if line.startswith('{"decision"')]


@pytest.fixture
def guarded_api(laptop: Laptop, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[GuardedApi]:
    """Run an API that trusts the laptop's authorization server, behind mutual TLS too."""
    folder, parameters = tmp_path, request.param
    environ = free_environment()
    log = folder / "log"
    api = GuardedApi(int(environ["GATEHOUSE_API_PORT"]), int(environ["GATEHOUSE_MTLS_API_PORT"]), log)
    document = load(ROOT / "template.yaml")
    for name, value in {"ResourceUrl": api.url, **parameters}.items():
        document["Parameters"][name]["Default"] = value
    (folder / "template.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    (folder / "app.py").write_text(APP, encoding="utf-8")
    (folder / ".chalice").mkdir()
    config = (ROOT / "local" / "guarded_api" / ".chalice" / "config.json").read_bytes()
    (folder / ".chalice" / "config.json").write_bytes(config)
    environ |= {
        "GATEHOUSE_AUTH_PORT": str(laptop.addresses.auth_port),
        "GATEHOUSE_AWS_PORT": str(laptop.addresses.aws_port),
        MUTUAL_TLS: "true",
        "PYTHONPATH": os.pathsep.join((str(ROOT), environ.get("PYTHONPATH", ""))),
    }
    with (
        log.open("w", encoding="utf-8") as output,
        chalice_local(folder, api.port, environ, "--no-autoreload", output=output),
    ):
        yield api


AUSTRALIA = {"code": "AUS", "name": "AUSTRALIA"}


def _token(laptop: Laptop, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    form = {
        "grant_type": "client_credentials",
        "client_id": "service-client-jwt",
        "client_secret": "service-client-jwt-secret",
        "scope": "country.read",
    }
    connection = http.client.HTTPConnection("localhost", laptop.addresses.auth_port, timeout=20)
    connection.request(
        "POST",
        "/ms-auth-server/oauth2/token",
        urlencode(form),
        {"Content-Type": "application/x-www-form-urlencoded", **(headers or {})},
    )
    answer: dict[str, Any] = json.loads(connection.getresponse().read())
    connection.close()
    assert "access_token" in answer, answer
    return answer


@pytest.mark.parametrize("guarded_api", [{}], indirect=True)
def test_cached_policy_covers_every_route(laptop: Laptop, guarded_api: GuardedApi) -> None:
    headers = {"Authorization": f"Bearer {_token(laptop)['access_token']}"}
    status, countries, _ = guarded_api.get("/country", headers)
    assert status == 200
    assert {"code": "AFG", "name": "AFGHANISTAN"} in countries["countries"]
    assert guarded_api.get("/country/code/AUS", headers)[:2] == (200, AUSTRALIA)
    assert guarded_api.get("/country/code/NZL", headers)[0] == 200
    assert guarded_api.get("/country/code/NZL/secret", headers)[0] == 404
    assert [line["decision"] for line in guarded_api.decisions()] == ["allow"]


@pytest.mark.parametrize("guarded_api", [{"ProofOfPossession": "dpop", "AuthorizerCacheSeconds": 0}], indirect=True)
def test_dpop_token_needs_a_proof_per_request(laptop: Laptop, guarded_api: GuardedApi) -> None:
    token_url = f"{laptop.addresses.issuer}/oauth2/token"
    answer = _token(laptop, {"DPoP": proof(htu=token_url, now=time.time())})
    assert answer["token_type"] == "DPoP"
    token = answer["access_token"]
    ath = urlsafe_b64encode(sha256(token.encode()).digest()).rstrip(b"=").decode()

    def ask(path: str = "/country/code/AUS", scheme: str = "DPoP", **proofs: str) -> tuple[int, Any, str | None]:
        return guarded_api.get(path, {"Authorization": f"{scheme} {token}", **proofs})

    def prove(path: str = "/country/code/AUS", **changes: Any) -> str:
        said: dict[str, Any] = {"htm": "GET", "htu": guarded_api.url + path, "ath": ath, "now": time.time()}
        return proof(**(said | changes))

    used = prove()
    assert ask(DPoP=used)[:2] == (200, AUSTRALIA)
    assert ask(DPoP=prove())[:2] == (200, AUSTRALIA)
    assert ask("/country", DPoP=prove("/country"))[0] == 200
    status, _, challenge = ask(DPoP=used)
    assert status == 401
    assert challenge == 'DPoP algs="ES256 EdDSA PS256 RS256", Bearer'
    for answer_to in (
        ask(),
        ask(scheme="Bearer"),
        ask(scheme="Bearer", DPoP=prove()),
        ask(DPoP=prove("/country")),
        ask(DPoP=prove(number=2)),
        ask(DPoP=prove(ath=None)),
    ):
        assert answer_to[0] == 401
    assert [line["reason"] for line in guarded_api.decisions()] == [
        None,
        None,
        None,
        "proof_used",
        "proof_missing",
        "proof_required",
        "proof_required",
        "htu_other",
        "jkt_other",
        "ath_missing",
    ]


@pytest.mark.parametrize("guarded_api", [{"CheckRevokedTokens": "true"}], indirect=True)
def test_revoked_token_is_rejected(laptop: Laptop, guarded_api: GuardedApi) -> None:
    token = _token(laptop)["access_token"]
    form = {"token": token, "client_id": "service-client-jwt", "client_secret": "service-client-jwt-secret"}
    connection = http.client.HTTPConnection("localhost", laptop.addresses.auth_port, timeout=20)
    connection.request(
        "POST", "/ms-auth-server/oauth2/revoke", urlencode(form), {"Content-Type": "application/x-www-form-urlencoded"}
    )
    assert connection.getresponse().status == 200
    connection.close()
    status, _, challenge = guarded_api.get("/country", {"Authorization": f"Bearer {token}"})
    assert (status, challenge) == (401, "Bearer")
    assert guarded_api.decisions()[0]["reason"] == "token_revoked"


@pytest.mark.parametrize("guarded_api", [{"ProofOfPossession": "mtls", "AuthorizerCacheSeconds": 0}], indirect=True)
def test_certificate_bound_token_needs_the_certificate(laptop: Laptop, guarded_api: GuardedApi) -> None:
    certificates = LaptopCertificates.ensure()
    aws = Boto3Clients(partial(aws_client, laptop.addresses.aws_port))
    bound = client("certificate-bound", tls_client_certificate_bound_access_tokens=True)
    DynamoDbClients(aws, "gatehouse-ClientsTable").put(bound)

    def curl(url: str, certificate: Path, *arguments: str) -> tuple[int, Any]:
        command = ["curl", "--silent", "--show-error", "--write-out", "\n%{http_code}"]
        trust = ["--cacert", str(certificates.authority), "--cert", str(certificate)]
        output = subprocess.run([*command, *trust, *arguments, url], capture_output=True, text=True, check=True).stdout
        body, _, status = output.rpartition("\n")
        return int(status), json.loads(body)

    form = {
        "grant_type": "client_credentials",
        "client_id": "certificate-bound",
        "client_secret": SECRET,
        "scope": "country.read",
    }
    token_url = f"{laptop.addresses.mtls_auth_server}/oauth2/token"
    status, answer = curl(token_url, certificates.client, "--data", urlencode(form))
    assert (status, answer["token_type"]) == (200, "Bearer")
    value = f"Bearer {answer['access_token']}"
    url = f"https://localhost:{guarded_api.mtls_port}/ms-system/country/code/AUS"
    header = ("--header", f"Authorization: {value}")
    assert curl(url, certificates.client, *header) == (200, AUSTRALIA)
    assert curl(url, certificates.self_signed_client, *header)[0] == 401
    assert guarded_api.get("/country/code/AUS", {"Authorization": value})[0] == 401
    assert [line["reason"] for line in guarded_api.decisions()] == [None, "certificate_other", "certificate_missing"]


def test_guarded_api_publishes_its_issuer(laptop: Laptop) -> None:
    addresses = laptop.addresses
    documents = []
    for path in ("/ms-system/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/ms-system"):
        connection = http.client.HTTPConnection("localhost", addresses.api_port, timeout=20)
        connection.request("GET", path)
        response = connection.getresponse()
        assert response.status == 200
        documents.append(json.loads(response.read()))
        connection.close()
    assert documents[0] == documents[1]
    assert documents[0]["resource"] == addresses.guarded_api
    assert documents[0]["authorization_servers"] == [addresses.issuer]
