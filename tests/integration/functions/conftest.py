import hashlib
from collections.abc import Iterator
from functools import cache
from types import SimpleNamespace

import pytest

from functions.shared.clients import client_secrets
from tests.support.aws import AwsAccount, aws_account
from tests.support.aws_server import AwsServer
from tests.support.clock import ManualClock
from tests.support.server import NOW, client


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsAccount]:
    with aws_account(monkeypatch) as clients:
        yield clients


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
def server(aws: AwsAccount, clock: ManualClock) -> AwsServer:
    """Return a server with a key and the client `service`."""
    server = AwsServer(aws, clock)
    server.make_keys()
    server.clients.put(client("service"))
    return server


_scrypt = cache(hashlib.scrypt)


@pytest.fixture(autouse=True)
def each_secret_is_hashed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute scrypt once for a secret and its salt. The tests repeat wrong secrets, and none measures time."""
    monkeypatch.setattr(client_secrets, "scrypt", _scrypt)


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let boto3 retry at once."""
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda _seconds: None))
