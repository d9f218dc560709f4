"""Whose call a call is, and that a run fails for one that its function's role does not allow."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.recorder import aws_call_recorder as recorder
from tests.support import privileges
from tests.support.aws import CREDENTIALS

ROOT = Path(__file__).resolve().parents[2]

ISSUE, REVOKE = "functions.issue_token.handler", "functions.revoke_token.handler"
STORE, RING = "functions.shared.storage.secrets_manager", "functions.rotate_keys.key_rotation"
TEST, PYTEST = "tests.integration.functions.test_handlers", "_pytest.python"


@pytest.mark.parametrize(
    ("stack", "expected"),
    [
        ((STORE, ISSUE, TEST, PYTEST), "functions.issue_token"),
        ((STORE, "authorizer.verifier", ISSUE, "local.gateway.lambda_runtime"), "functions.issue_token"),
        ((STORE, REVOKE, "authorizer.authorizer", TEST), "functions.revoke_token"),
        (("authorizer.introspection", "authorizer.authorizer", TEST), "authorizer"),
        (("authorizer.aws_client", "authorizer.state_table", "threading"), "authorizer"),
        (("authorizer.aws_client", STORE, ISSUE, TEST), "functions.issue_token"),
        (("authorizer.aws_client", "authorizer.state_table", STORE, ISSUE, TEST), "functions.issue_token"),
        (("authorizer.aws_client", "authorizer.state_table", STORE, TEST), None),
        (("authorizer.aws_client", TEST, PYTEST), None),
        (("functions.shared.storage.boto3_client", STORE, RING, "local.emulated_aws"), "functions.rotate_keys"),
        ((STORE, ISSUE, "awslambdaric.bootstrap"), "functions.issue_token"),
        ((STORE, RING, "local.emulated_aws"), "functions.rotate_keys"),
        ((STORE, RING, "infra.cli.key_operations", TEST), None),
        ((STORE, TEST, PYTEST), None),
        ((TEST, ISSUE, TEST), None),
        ((PYTEST,), None),
        ((STORE, "threading"), recorder.UNKNOWN),
    ],
)
def test_a_call_is_the_slices_whose_code_it_came_from(stack: tuple[str, ...], expected: str | None) -> None:
    named = [f"botocore.{name}" for name in ("hooks", "client")]
    assert recorder.caller([*named, *stack]) == expected


PLANTED = """
from tests.support.aws import STATE_TABLE, aws_account


def test_that_passes(monkeypatch):
    with aws_account(monkeypatch) as aws:
        code = compile("aws.dynamodb.%(operation)s(TableName=STATE_TABLE%(more)s)", "it", "exec")
        names = {"__name__": "functions.issue_token.planted", "aws": aws}
        exec(code, {**names, "STATE_TABLE": STATE_TABLE})
"""
UNUSED = ("-p", "no:schemathesis", "-p", "no:anyio", "-p", "no:hypothesispytest")
READ = {"operation": "get_item", "more": ", Key={'entry': {'S': 'revoked#1'}}"}
SCAN = {"operation": "scan", "more": ""}


def _run(folder: Path, planted: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_planted.py").write_text(PLANTED % planted)
    (folder / "pytest.ini").write_text("[pytest]\ntestpaths = .\n")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.support.privilege_plugin", *UNUSED, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_forbidden_call_fails_the_run(tmp_path: Path) -> None:
    run = _run(tmp_path, SCAN, "test_planted.py")
    assert run.returncode == 1, run.stdout
    assert "1 passed" in run.stdout
    assert "IssueToken may not dynamodb:Scan" in run.stdout
    assert "test_planted.py::test_that_passes" in run.stdout
    assert " may dynamodb:" not in run.stdout  # only a full run reports unused grants


def test_unused_grant_fails_a_full_run(tmp_path: Path) -> None:
    run = _run(tmp_path, READ, "-n", "1")
    assert run.returncode == 1, run.stdout
    assert "1 passed" in run.stdout
    assert "IssueToken may dynamodb:PutItem" in run.stdout
    needed = "IssueToken may dynamodb:GetItem on arn:aws:dynamodb:us-east-1:123456789012:table/"
    assert f"{needed}gatehouse-TokensTable, and no test has it do so" in run.stdout
    assert f"{needed}gatehouse-StateTable" not in run.stdout


SCRIPT = """
import sys
from functions.publish_jwks import handler
handler.handle({"httpMethod": "GET", "path": "/oauth2/jwks", "headers": {}}, None)
assert "botocore" not in sys.modules
"""


def test_processes_that_tests_start_are_recorded_too(tmp_path: Path) -> None:
    environ = {**os.environ, **recorder.environment(str(tmp_path)), "KEY_RING_SECRET": "key-ring",
               "AWS_ENDPOINT_URL": "http://127.0.0.1:9", **CREDENTIALS}  # fmt: skip
    environ.pop("PYTEST_CURRENT_TEST")
    subprocess.run([sys.executable, "-c", SCRIPT], env=environ, check=True, cwd=ROOT)
    (record,) = privileges.read(tmp_path)
    assert record["caller"] == "functions.publish_jwks"
    assert record["operation"] == "GetSecretValue"
    assert record["parameters"] == {"SecretId": "key-ring"}
