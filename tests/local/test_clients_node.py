"""Client libraries from npm against the running services: each script in node/ proves a list."""

import json
import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

from local.certificates import LaptopCertificates
from local.demo_clients import KEY_FILE
from tests.support.laptop import ROOT, Laptop

FOLDER = ROOT / "tests" / "local" / "node"
SCRIPTS = (
    "oauth4webapi",
    "openid-client",
    "simple-oauth2",
    "badgateway-oauth2-client",
    "jose",
    "aws-jwt-verify",
    "express",
)
SECONDS = 120

_PROOF = re.compile(r"^  '((?:[^'\\]|\\.)+)': async", re.MULTILINE)


def _proofs(script: str) -> list[str]:
    """The names of what a script proves, read from its text: pytest asks before Node runs."""
    text = (FOLDER / f"{script}.mjs").read_text()
    return [name.replace("\\'", "'") for name in _PROOF.findall(text)]


@cache
def _outcomes(script: str, given: str) -> dict[str, str]:
    command = ["node", f"{script}.mjs", given]
    result = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False, timeout=SECONDS)
    assert result.returncode == 0, result.stderr
    outcomes: dict[str, str] = json.loads(result.stdout)
    return outcomes


@pytest.fixture(scope="module")
def given(laptop: Laptop) -> str:
    """The parameters of the scripts: addresses, and files with keys."""
    certificates = LaptopCertificates.ensure()
    return json.dumps(
        {
            "issuer": laptop.addresses.issuer,
            "guardedApi": laptop.addresses.guarded_api,
            "boundApi": laptop.addresses.bound_api_url,
            "mtlsBoundApi": laptop.addresses.mtls_bound_api,
            "authority": str(certificates.authority),
            "certificate": str(certificates.client),
            "selfSignedCertificate": str(certificates.self_signed_client),
            "signingKey": str(KEY_FILE),
        }
    )


@pytest.mark.parametrize(("script", "proof"), [(script, proof) for script in SCRIPTS for proof in _proofs(script)])
def test_npm_library(packages: Path, given: str, script: str, proof: str) -> None:
    assert _outcomes(script, given)[proof] == "proved"


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_check_of_the_scripts_is_reported(packages: Path, given: str, script: str) -> None:
    assert list(_outcomes(script, given)) == _proofs(script)
