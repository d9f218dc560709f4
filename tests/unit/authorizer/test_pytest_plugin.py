"""The pytest plugin, in a suite of its own: wrong settings must not make a test pass."""

import subprocess
import sys
from pathlib import Path

import pytest

from authorizer.testing import FAULTS

ISSUER, AUDIENCE = "https://issuer.example", "https://orders.example"
SUITE = """
from authorizer.access_tokens import AccessTokenError, AccessTokens
import pytest

tokens = AccessTokens(issuer={issuer!r}, audience={audience!r})


def test_faulty_token_is_rejected(rejected_token):
    with pytest.raises(AccessTokenError):
        tokens.verify(rejected_token)


def test_valid_token_is_accepted(access_token):
    assert tokens.verify(access_token("orders.read"))
"""
LAMBDA = """
from authorizer.app import build
from authorizer.clock import Deadline
from authorizer.errors import Unauthorized
from authorizer.event import AuthorizerEvent
from authorizer.settings import Settings
import pytest

authorizer = build(Settings.from_env({{"ISSUER": {issuer!r}, "AUDIENCE": {audience!r}}}))


def test_faulty_token_is_rejected(rejected_token):
    event = {{"type": "TOKEN", "authorizationToken": f"Bearer {{rejected_token}}", "methodArn": {arn!r}}}
    with pytest.raises(Unauthorized):
        authorizer.decide(AuthorizerEvent(event), Deadline(1))
"""
ARN = "arn:aws:execute-api:eu-west-1:123456789012:abc/live/GET/orders"
UNUSED = ("cacheprovider", "schemathesis", "hypothesispytest", "xdist", "anyio")  # slow to import
UNGUARDED = """
def test_other_code_rejects_the_token(rejected_token):
    pass
"""


def run(
    folder: Path, suite: str, *, issuer: str = ISSUER, audience: str = AUDIENCE, settings: str | None = None
) -> tuple[int, str]:
    """Run a suite whose API has this issuer and audience; return the exit code and the report."""
    own = f"gatehouse_issuer = {ISSUER}\ngatehouse_audience = {AUDIENCE}\n" if settings is None else settings
    (folder / "pytest.ini").write_text(f"[pytest]\n{own}")
    (folder / "test_api.py").write_text(suite.format(issuer=issuer, audience=audience, arn=ARN))
    plugins = ("authorizer.pytest_plugin", *(f"no:{name}" for name in UNUSED))
    options = (word for name in plugins for word in ("-p", name))
    command = (sys.executable, "-m", "pytest", "-q", *options)
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


@pytest.mark.parametrize("suite", [SUITE, LAMBDA], ids=["library", "Lambda authorizer"])
def test_suite_with_the_settings_of_its_api_passes(tmp_path: Path, suite: str) -> None:
    code, report = run(tmp_path, suite)
    assert code == 0, report


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"issuer": "https://other.example"}, "iss_unknown"), ({"audience": "https://other.example"}, "aud_other")],
)
def test_rejection_for_another_reason_fails(tmp_path: Path, changes: dict[str, str], reason: str) -> None:
    code, report = run(tmp_path, SUITE, **changes)
    assert code == 1
    assert f"The token is to be rejected for proof_required, and was for {reason}. Compare gatehouse_issuer" in report
    captured = report.partition("test_valid_token_is_accepted")[2]
    assert "Captured log call" in captured
    assert "INFO     gatehouse:access_tokens.py" in captured
    assert reason in captured


def test_rejection_by_something_else_fails(tmp_path: Path) -> None:
    code, report = run(tmp_path, UNGUARDED)
    assert code == 1
    assert report.count("no authorizer of this process has rejected the token") >= len(FAULTS)


@pytest.mark.parametrize(
    ("settings", "missing"),
    [("", "gatehouse_issuer and gatehouse_audience"), (f"gatehouse_issuer = {ISSUER}", "gatehouse_audience")],
)
def test_missing_settings_fail(tmp_path: Path, settings: str, missing: str) -> None:
    code, report = run(tmp_path, SUITE, settings=settings)
    assert code == 1
    assert f"pytest has no setting {missing}: name those of the API under test." in report
