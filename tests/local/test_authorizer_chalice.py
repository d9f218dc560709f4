"""The authorizer behind `chalice local`: the gateway's result cache, and bound tokens."""

import json
import os
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from authorizer.jws import PROOF_ALGORITHMS
from infra.cloudformation import load
from local.addresses import MUTUAL_TLS, Addresses
from local.certificates import LaptopCertificates
from tests.support.chalice import chalice_local
from tests.support.dpop_proofs import proof
from tests.support.laptop import ROOT, Laptop, free_environment
from tests.support.server import SECRET, client

APP = """
from pathlib import Path
from local.chalice_app import GatewayApp
app = GatewayApp("guarded_api", template=Path(__file__).with_name("template.yaml"))
"""


class GuardedApi:
    """A second guarded API on the laptop, with its own parameters and log."""

    def __init__(self, addresses: Addresses, log: Path) -> None:
        self.port = addresses.api_port
        self.url = addresses.guarded_api
        self.mtls_url = addresses.mtls_guarded_api
        self._log = log

    def get(self, path: str, headers: Mapping[str, str]) -> tuple[int, Any, str | None]:
        """Return the status, the body and the challenge."""
        response = requests.get(f"{self.url}{path}", headers=headers, timeout=20)
        return response.status_code, response.json(), response.headers.get("WWW-Authenticate")

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
    api = GuardedApi(Addresses.from_env(environ), log)
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


CLIENT = {"client_id": "service-client-jwt", "client_secret": "service-client-jwt-secret"}


def _token(laptop: Laptop, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    form = {"grant_type": "client_credentials", "scope": "country.read", **CLIENT}
    response = requests.post(laptop.token_endpoint, form, headers=headers, timeout=20)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
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
    token_url = laptop.token_endpoint
    answer = _token(laptop, {"DPoP": proof(htu=token_url, now=time.time())})
    assert answer["token_type"] == "DPoP"
    token = answer["access_token"]
    ath = urlsafe_b64encode(sha256(token.encode()).digest()).rstrip(b"=").decode()

    def call(path: str = "/country/code/AUS", scheme: str = "DPoP", **proofs: str) -> tuple[int, Any, str | None]:
        return guarded_api.get(path, {"Authorization": f"{scheme} {token}", **proofs})

    def prove(path: str = "/country/code/AUS", **changes: Any) -> str:
        said: dict[str, Any] = {"htm": "GET", "htu": guarded_api.url + path, "ath": ath, "now": time.time()}
        return proof(**(said | changes))

    used = prove()
    assert call(DPoP=used)[:2] == (200, AUSTRALIA)
    assert call(DPoP=prove())[:2] == (200, AUSTRALIA)
    assert call("/country", DPoP=prove("/country"))[0] == 200
    status, _, challenge = call(DPoP=used)
    assert status == 401
    assert challenge == f'DPoP algs="{" ".join(sorted(PROOF_ALGORITHMS))}", Bearer'
    for answer_to in (
        call(),
        call(scheme="Bearer"),
        call(scheme="Bearer", DPoP=prove()),
        call(DPoP=prove("/country")),
        call(DPoP=prove(number=2)),
        call(DPoP=prove(ath=None)),
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
    url = f"{laptop.addresses.issuer}/oauth2/revoke"
    assert requests.post(url, {"token": token, **CLIENT}, timeout=20).status_code == 200
    status, _, challenge = guarded_api.get("/country", {"Authorization": f"Bearer {token}"})
    assert (status, challenge) == (401, "Bearer")
    assert guarded_api.decisions()[0]["reason"] == "token_revoked"


@pytest.mark.parametrize("guarded_api", [{"ProofOfPossession": "mtls", "AuthorizerCacheSeconds": 0}], indirect=True)
def test_certificate_bound_token_needs_the_certificate(laptop: Laptop, guarded_api: GuardedApi) -> None:
    certificates = LaptopCertificates.ensure()
    bound = client("certificate-bound", tls_client_certificate_bound_access_tokens=True)
    laptop.clients.put(bound)

    form = {"grant_type": "client_credentials", "client_id": "certificate-bound", "client_secret": SECRET}
    token_url, trust = f"{laptop.addresses.mtls_auth_server}/oauth2/token", str(certificates.authority)
    form |= {"scope": "country.read"}
    answer = requests.post(token_url, form, cert=str(certificates.client), verify=trust, timeout=30)
    assert answer.json()["token_type"] == "Bearer"
    value = f"Bearer {answer.json()['access_token']}"

    def get(certificate: Path) -> tuple[int, Any]:
        url, headers = f"{guarded_api.mtls_url}/country/code/AUS", {"Authorization": value}
        response = requests.get(url, headers=headers, cert=str(certificate), verify=trust, timeout=30)
        return response.status_code, response.json()

    assert get(certificates.client) == (200, AUSTRALIA)
    assert get(certificates.self_signed_client)[0] == 401
    assert guarded_api.get("/country/code/AUS", {"Authorization": value})[0] == 401
    assert [line["reason"] for line in guarded_api.decisions()] == [None, "certificate_other", "certificate_missing"]


def test_guarded_api_publishes_its_issuer(laptop: Laptop) -> None:
    addresses = laptop.addresses
    documents = [
        requests.get(f"{addresses.origin('guarded_api')}{path}", timeout=20).json()
        for path in (
            "/ms-system/.well-known/oauth-protected-resource",
            "/.well-known/oauth-protected-resource/ms-system",
        )
    ]
    assert documents[0] == documents[1]
    assert documents[0]["resource"] == addresses.guarded_api
    assert documents[0]["authorization_servers"] == [addresses.issuer]
