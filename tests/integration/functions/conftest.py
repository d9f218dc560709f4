from __future__ import annotations

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
