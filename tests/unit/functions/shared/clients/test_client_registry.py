from __future__ import annotations

import pytest

from functions.shared.clients.client_registry import MAX_WARM_CLIENTS, WARM_SECONDS, WarmClients
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


def test_an_unknown_client_is_looked_up_again_after_thirty_seconds() -> None:
    registry, clock = MemoryClients(), ManualClock()
    warm = WarmClients(registry, clock)
    assert warm.find("a") is None
    registry.put(client("a"))
    clock.now += WARM_SECONDS - 1
    assert warm.find("a") is None
    clock.now += 1
    assert warm.find("a") == client("a")


def test_a_flood_of_unknown_ids_pushes_out_no_client() -> None:
    registry = MemoryClients(client("a"))
    warm = WarmClients(registry, ManualClock())
    warm.find("a")
    for number in range(2 * MAX_WARM_CLIENTS):
        assert warm.find(f"unknown-{number}") is None
    registry.lookups.clear()
    assert warm.find("a") == client("a")
    assert registry.lookups == []


def test_what_cannot_be_an_id_is_neither_looked_up_nor_remembered() -> None:
    registry = MemoryClients()
    assert WarmClients(registry, ManualClock()).find("x" * 65_536) is None
    assert registry.lookups == []


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
