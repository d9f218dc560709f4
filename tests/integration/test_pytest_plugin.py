"""The pytest plugin of the wheel, in the suites of its users."""

from pathlib import Path

import pytest

from tests.support.wheel import ROOT, python_with_wheel

pytestmark = pytest.mark.slow

EXAMPLES = ROOT / "docs" / "examples" / "library"

SUITE = """
import time

def test_tokens_take_milliseconds(access_token):
    from gatehouse import AccessTokens
    tokens = AccessTokens(issuer="https://issuer.test", audience="https://api.test")
    tokens.verify(access_token())
    start = time.process_time()
    for _ in range(100):
        tokens.verify(access_token("orders.read"), "orders.read")
    assert time.process_time() - start < 1

def test_lambda_authorizer(access_token, monkeypatch):
    monkeypatch.setenv("ISSUER", "https://issuer.test")
    monkeypatch.setenv("AUDIENCE", "https://api.test")
    monkeypatch.setenv("SCOPE_MAP", '{"orders.read": ["GET /orders"]}')
    from gatehouse.handler import handle
    arn = "arn:aws:execute-api:eu-west-1:123456789012:abcdef1234/dev/GET/orders"
    event = {"type": "TOKEN", "authorizationToken": f"Bearer {access_token('orders.read')}", "methodArn": arn}
    assert handle(event, None)["principalId"] == "test-client"

def test_dpop_key(access_token, dpop_key):
    from gatehouse import AccessTokens, HttpRequest
    tokens = AccessTokens(
        issuer="https://issuer.test", audience="https://api.test",
        proof_of_possession=["dpop"], replays_in_memory=True, resource="https://api.test",
    )
    headers = dpop_key.headers("GET", "https://api.test/orders", access_token(key=dpop_key))
    assert tokens.verify(HttpRequest("GET", "/orders", headers.items())).confirmation
"""


def run_suite(folder: Path, *arguments: str) -> str:
    unused = ("cacheprovider", "schemathesis", "hypothesispytest", "xdist")  # they are slow to import
    options = (word for name in unused for word in ("-p", f"no:{name}"))
    done = python_with_wheel("-m", "pytest", "-q", *options, *arguments, cwd=folder)
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_documented_suites_pass() -> None:
    suites = ("test_fastapi_app.py", "test_lambda_app.py", "chalice/test_app.py")
    assert "30 passed" in run_suite(EXAMPLES, *suites)


def test_fixtures_work_with_the_library_and_the_authorizer(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\ngatehouse_issuer = https://issuer.test\ngatehouse_audience = https://api.test\n"
    )
    (tmp_path / "test_suite.py").write_text(SUITE)
    assert "3 passed" in run_suite(tmp_path)


def test_pytest_loads_no_cryptography_for_other_suites(tmp_path: Path) -> None:
    (tmp_path / "test_other.py").write_text(
        "def test_other():\n    import sys\n    assert 'cryptography' not in sys.modules\n"
    )
    assert "1 passed" in run_suite(tmp_path)
