"""The Lambda handler, and the cost of its import."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import cryptography
import pytest

import authorizer
from authorizer import handler
from authorizer.errors import KeySetUnavailableError, Unauthorized
from authorizer.settings import SettingsError
from tests.support.lambda_runtime import make_runtime, started
from tests.support.tokens import ISSUER, mint, rest_event

HEAVY = (
    "http",
    "ssl",
    "urllib",
    "socket",
    "boto3",
    "logging",
    "email",
    "inspect",
    "dataclasses",
    "hashlib",
    "threading",
)


@pytest.fixture(autouse=True)
def _cold(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("AUDIENCE", "INTROSPECTION_URI", "SCOPE_MAP", "JWKS_SEED"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ISSUER", ISSUER)
    # This port is closed, so a fetch fails at once.
    monkeypatch.setenv("JWKS_URI", "http://127.0.0.1:9/jwks")
    handler._build.cache_clear()
    yield
    handler._build.cache_clear()


def test_request_without_token_is_unauthorized(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Unauthorized, match=r"^Unauthorized$"):
        handler.handle({"type": "REQUEST", "headers": {}}, None)
    assert '"decision":"unauthorized"' in capsys.readouterr().out


@pytest.mark.parametrize(
    "context",
    [None, object(), *(SimpleNamespace(get_remaining_time_in_millis=lambda ms=ms: ms) for ms in (10_000, 100))],
)
def test_unreachable_issuer_is_an_internal_error(context: object) -> None:
    with pytest.raises(KeySetUnavailableError):
        handler.handle(rest_event(mint()), context)


def test_instance_is_reused() -> None:
    for _ in range(2):
        with pytest.raises(Unauthorized):
            handler.handle({}, None)
    assert handler._build.cache_info().misses == 1


def test_invalid_environment_fails_every_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ISSUER")
    for _ in range(2):
        with pytest.raises(SettingsError, match="ISSUER is not set"):
            handler.handle({}, None)


def test_unauthorized_request_logs_one_short_error(tmp_path: Path) -> None:
    """Lambda's runtime writes the exception, with its stack trace, at any log level."""
    task = tmp_path / "task"
    task.mkdir()
    (task / "authorizer").symlink_to(Path(authorizer.__file__).parent)
    packages = Path(cryptography.__file__).parents[1]
    for pattern in ("cryptography", "cffi", "pycparser", "_cffi_backend*"):
        for package in packages.glob(pattern):
            (task / package.name).symlink_to(package)
    runtime = make_runtime(tmp_path / "runtime")
    environ = {"ISSUER": ISSUER, "AUDIENCE": "api"}
    with started(task, "authorizer.handler.handle", runtime, environ) as function:
        outcome = function.invoke({"type": "REQUEST", "headers": {}})
    assert (outcome.kind, outcome.body["errorMessage"]) == ("error", "Unauthorized")
    own, error = (line.replace(str(task), "/var/task") for line in function.lines)
    assert json.loads(own)["reason"] == "credentials_missing"
    assert json.loads(error)["level"] == "ERROR"
    assert len(json.loads(error)["stackTrace"]) == 1
    assert len(error) < 300, error


def test_handler_import_loads_no_heavy_modules() -> None:
    code = (
        "import sys; before = set(sys.modules); import authorizer.handler; "
        f"print([m for m in {HEAVY!r} if m in set(sys.modules) - before])"
    )
    output = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, '.'); {code}"],
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    assert output.strip() == "[]"
