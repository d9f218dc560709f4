from collections.abc import Iterator

import pytest
from moto import mock_aws

from local.emulated_aws import make_writes_atomic
from tests.support.aws import CREDENTIALS
from tests.support.cli import CommandLine, deploy
from tests.support.clock import ManualClock
from tests.support.server import NOW


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty account, and nothing of the developer's own settings."""
    make_writes_atomic()
    for name in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_ENDPOINT_URL", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with mock_aws():
        yield


@pytest.fixture
def cli() -> CommandLine:
    """The command line. The test creates the deployment."""
    return CommandLine(ManualClock(NOW))


@pytest.fixture
def gatehouse(account: None, cli: CommandLine) -> CommandLine:
    """The command line, and a deployment for it."""
    deploy()
    return cli
