"""The Lambda function itself, and what importing it costs."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from authorizer import handler
from authorizer.errors import KeySetUnavailable, Unauthorized
from authorizer.settings import SettingsError
from tests.support.tokens import ISSUER, mint, rest_event

if TYPE_CHECKING:
    from collections.abc import Iterator

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


class Context:
    """A Lambda context with some time left."""

    def __init__(self, milliseconds: int) -> None:
        self._milliseconds = milliseconds

    def get_remaining_time_in_millis(self) -> int:
        return self._milliseconds


@pytest.fixture(autouse=True)
def _cold(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("AUDIENCE", "INTROSPECTION_URI", "SCOPE_MAP", "JWKS_SEED"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ISSUER", ISSUER)
    # Nobody listens on this port, so a fetch fails at once.
    monkeypatch.setenv("JWKS_URI", "http://127.0.0.1:9/jwks")
    handler._warm.cache_clear()
    yield
    handler._warm.cache_clear()


def test_a_request_without_a_token_is_unauthorized(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Unauthorized, match=r"^Unauthorized$"):
        handler.handle({"type": "REQUEST", "headers": {}}, None)
    assert '"decision":"unauthorized"' in capsys.readouterr().out


@pytest.mark.parametrize("context", [None, object(), Context(10_000), Context(100)])
def test_an_issuer_that_cannot_be_reached_is_our_trouble(context: object) -> None:
    with pytest.raises(KeySetUnavailable):
        handler.handle(rest_event(mint()), context)


def test_the_instance_stays_warm() -> None:
    for _ in range(2):
        with pytest.raises(Unauthorized):
            handler.handle({}, None)
    assert handler._warm.cache_info().misses == 1


def test_a_bad_environment_is_told_at_every_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ISSUER")
    for _ in range(2):
        with pytest.raises(SettingsError, match="ISSUER is not set"):
            handler.handle({}, None)


def test_importing_the_handler_imports_neither_http_nor_aws_nor_anything_else_heavy() -> None:
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
