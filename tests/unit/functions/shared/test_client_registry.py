from __future__ import annotations

import pytest

from functions.shared.client_registry import WARM_SECONDS, WarmClients
from tests.support.memory_stores import ManualClock, MemoryClients
from tests.support.server import client


def test_a_warm_process_looks_a_client_up_once_in_thirty_seconds() -> None:
    registry, clock = MemoryClients(client("a")), ManualClock()
    warm = WarmClients(registry, clock)
    for _ in range(100):
        assert warm.find("a") == client("a")
    assert registry.lookups == ["a"]
    clock.now += WARM_SECONDS
    warm.find("a")
    assert registry.lookups == ["a", "a"]


def test_an_unknown_client_is_looked_up_once_too() -> None:
    registry = MemoryClients()
    warm = WarmClients(registry, ManualClock())
    assert warm.find("a") is None
    assert warm.find("a") is None
    assert registry.lookups == ["a"]


@pytest.mark.parametrize(("age", "disabled"), [(WARM_SECONDS - 1, False), (WARM_SECONDS, True)])
def test_a_change_is_seen_after_thirty_seconds(age: int, *, disabled: bool) -> None:
    registry, clock = MemoryClients(client("a")), ManualClock()
    warm = WarmClients(registry, clock)
    warm.find("a")
    registry.put(client("a", disabled=True))
    clock.now += age
    found = warm.find("a")
    assert found is not None
    assert found.disabled is disabled
