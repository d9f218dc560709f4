from contextlib import suppress

import pytest

from functions.shared.clients.client import Client
from functions.shared.clients.client_registry import FRESH_SECONDS, MAX_CACHED_CLIENTS, RELOADS_A_SECOND, CachedClients
from functions.shared.storage.errors import StorageUnavailableError
from tests.support.clock import ManualClock
from tests.support.memory_stores import MemoryClients
from tests.support.server import client


def test_client_is_cached_for_thirty_seconds() -> None:
    registry, clock = MemoryClients(client("a")), ManualClock()
    warm = CachedClients(registry, clock)
    for _ in range(100):
        assert warm.find("a") == client("a")
    assert registry.lookups == ["a"]
    clock.now += FRESH_SECONDS
    warm.find("a")
    assert registry.lookups == ["a", "a"]


def test_unknown_client_is_looked_up_once() -> None:
    registry = MemoryClients()
    warm = CachedClients(registry, ManualClock())
    assert warm.find("a") is None
    assert warm.find("a") is None
    assert registry.lookups == ["a"]


def test_unknown_client_is_cached_for_thirty_seconds() -> None:
    registry, clock = MemoryClients(), ManualClock()
    warm = CachedClients(registry, clock)
    assert warm.find("a") is None
    registry.put(client("a"))
    clock.now += FRESH_SECONDS - 1
    assert warm.find("a") is None
    clock.now += 1
    assert warm.find("a") == client("a")


def test_clock_set_back_prolongs_no_rejection() -> None:
    registry, clock, monotonic = MemoryClients(), ManualClock(), ManualClock()
    warm = CachedClients(registry, clock, monotonic)
    assert warm.find("a") is None
    registry.put(client("a"))
    clock.now -= FRESH_SECONDS / 2
    monotonic.now += FRESH_SECONDS - 1
    assert warm.find("a") is None
    monotonic.now += 1
    assert warm.find("a") == client("a")


def test_unknown_ids_evict_no_client() -> None:
    registry = MemoryClients(client("a"))
    warm = CachedClients(registry, ManualClock())
    warm.find("a")
    for number in range(2 * MAX_CACHED_CLIENTS):
        assert warm.find(f"unknown-{number}") is None
    registry.lookups.clear()
    assert warm.find("a") == client("a")
    assert registry.lookups == []


def test_invalid_id_is_not_looked_up() -> None:
    registry = MemoryClients()
    assert CachedClients(registry, ManualClock()).find("x" * 65_536) is None
    assert registry.lookups == []


@pytest.mark.parametrize(("age", "disabled"), [(FRESH_SECONDS - 1, False), (FRESH_SECONDS, True)])
def test_change_is_seen_after_thirty_seconds(age: int, *, disabled: bool) -> None:
    registry, clock = MemoryClients(client("a")), ManualClock()
    warm = CachedClients(registry, clock)
    warm.find("a")
    registry.put(client("a", disabled=True))
    clock.now += age
    found = warm.find("a")
    assert found is not None
    assert found.disabled is disabled


def _warm(*clients: Client) -> tuple[CachedClients, MemoryClients, ManualClock]:
    registry, clock = MemoryClients(*clients), ManualClock()
    return CachedClients(registry, clock), registry, clock


def test_changed_client_is_reloaded_before_rejection() -> None:
    warm, registry, clock = _warm(client("a"))
    warm.find("a")
    registry.put(client("a", disabled=True))
    clock.now += 0.1
    assert warm.find_again("a", clock.now) == client("a", disabled=True)
    assert warm.find("a") == client("a", disabled=True)


def test_unknown_id_is_reloaded_before_rejection() -> None:
    warm, registry, clock = _warm()
    assert warm.find("a") is None
    registry.put(client("a"))
    clock.now += 0.1
    assert warm.find_again("a", clock.now) == client("a")
    assert warm.find("a") == client("a")


@pytest.mark.parametrize("known", [True, False])
def test_record_of_the_request_is_not_reloaded(*, known: bool) -> None:
    warm, registry, clock = _warm(*([client("a")] if known else []))
    since = clock.now
    warm.find("a")
    warm.find_again("a", since)
    assert registry.lookups == ["a"]


@pytest.mark.parametrize("known", [True, False])
def test_one_client_reloads_once_a_second(*, known: bool) -> None:
    warm, registry, clock = _warm(*([client("a")] if known else []))
    warm.find("a")
    registry.lookups.clear()
    for _ in range(1_000):
        clock.now += 0.01
        warm.find_again("a", clock.now)
    assert 10 <= len(registry.lookups) <= 11


@pytest.mark.parametrize("known", [True, False])
def test_many_clients_reload_ten_times_a_second(*, known: bool) -> None:
    ids = [f"client-{number}" for number in range(100)]
    warm, registry, clock = _warm(*(client(each) for each in ids if known))
    for each in ids:
        warm.find(each)
    registry.lookups.clear()
    for second in range(3):
        clock.now += 1
        for each in ids:
            with suppress(StorageUnavailableError):
                warm.find_again(each, clock.now)
        assert len(registry.lookups) == RELOADS_A_SECOND * (second + 1)


def test_failed_reload_is_unavailable() -> None:
    warm, _, clock = _warm(*(client(f"client-{number}") for number in range(20)))
    for number in range(20):
        warm.find(f"client-{number}")
    clock.now += 1
    for number in range(RELOADS_A_SECOND):
        warm.find_again(f"client-{number}", clock.now)
    with pytest.raises(StorageUnavailableError):
        warm.find_again("client-19", clock.now)
    clock.now += 1
    assert warm.find_again("client-19", clock.now) == client("client-19")


def test_unknown_ids_have_their_own_budget() -> None:
    warm, registry, clock = _warm(client("a"))
    ids = [f"unknown-{number}" for number in range(2 * RELOADS_A_SECOND)]
    for each in ("a", *ids):
        warm.find(each)
    registry.put(client("a", disabled=True))
    clock.now += 1
    for each in ids:
        with suppress(StorageUnavailableError):
            warm.find_again(each, clock.now)
    assert warm.find_again("a", clock.now) == client("a", disabled=True)


def test_clock_set_back_does_not_block_reloads() -> None:
    warm, registry, clock = _warm(client("a"))
    clock.now += 3600
    warm.find("a")
    warm.find_again("a", clock.now + 1)
    registry.put(client("a", disabled=True))
    clock.now -= 3600
    assert warm.find_again("a", clock.now) == client("a", disabled=True)
