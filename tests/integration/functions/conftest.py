from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from tests.support.aws import aws_account
from tests.support.memory_stores import ManualClock
from tests.support.server import NOW

if TYPE_CHECKING:
    from collections.abc import Iterator

    from functions.shared.runtime.aws_clients import AwsClients


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsClients]:
    with aws_account(monkeypatch) as clients:
        yield clients


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have boto3 ask an AWS in trouble again at once."""
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda _seconds: None))
