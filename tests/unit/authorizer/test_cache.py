"""The LRU cache, the cache for remote data, and the pause after failures."""

import os
from collections.abc import Callable
from threading import Event, Thread
from typing import cast

import pytest

from authorizer.cache import BackOff, CacheEntry, Lifetime, Loaded, LRUCache, RefreshingCache, _Lock, jitter
from authorizer.clock import Clocks, Deadline
from authorizer.errors import Reason, StateUnavailableError
from tests.support.clock import ManualClock

LIFETIME = Lifetime(fresh_for=60, stale_for=300)
DOWN = Reason.PROOF_STORE_UNAVAILABLE
PAUSED = Reason.DENY_LIST_UNAVAILABLE


class Source:
    """A source that returns increasing numbers and records the time budgets."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        clocks = Clocks(self.clock, self.clock)
        self.store: LRUCache[str, CacheEntry[int]] = LRUCache(8)
        self.cache: RefreshingCache[str, int] = RefreshingCache(
            self.store,
            clocks,
            unavailable=StateUnavailableError,
            make_error=lambda _paused: StateUnavailableError(PAUSED),
            back_off=BackOff(clocks, jitter=lambda: 0),
        )
        self.allowed: list[float] = []
        self.failure: BaseException | None = None
        self.during_load: Callable[[], object] = lambda: None

    def load(self, deadline: Deadline) -> Loaded[int]:
        self.allowed.append(deadline.remaining())
        self.during_load()
        if self.failure is not None:
            raise self.failure
        return Loaded(len(self.allowed), LIFETIME)

    def get(self, seconds: float = 1, key: str = "key") -> int:
        return self.cache.get(key, self.load, Deadline(seconds, self.clock)).value

    def refresh(self, old: CacheEntry[int]) -> int:
        deadline = Deadline(1, self.clock)
        return self.cache.refresh("key", self.load, deadline, lambda entry: entry is not old).value

    def go_down(self) -> None:
        self.failure = StateUnavailableError(DOWN)

    def fault(self, seconds: float = 1) -> Reason:
        with pytest.raises(StateUnavailableError) as error:
            self.get(seconds)
        return error.value.reason


class SlowLock:
    """A lock that is released after some seconds."""

    def __init__(self, clock: ManualClock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds

    def acquire(self, timeout: float) -> bool:
        self._clock.advance(min(self._seconds, timeout))
        return timeout >= self._seconds

    def release(self) -> None: ...


def _hold_the_lock(source: Source, seconds: float) -> None:
    lock = _Lock()
    lock.lock = SlowLock(source.clock, seconds)  # type: ignore[assignment]
    lock.users = 1
    source.cache._locks._locks[os.getpid(), "key"] = lock


@pytest.mark.parametrize(
    ("age", "when_up", "when_down"),
    [(0, 1, 1), (59.9, 1, 1), (60, 2, 1), (299.9, 2, 1), (300, 2, DOWN), (1e9, 2, DOWN)],
)
def test_entry_is_fresh_then_stale_then_expired(age: float, when_up: int, when_down: int | Reason) -> None:
    for down, expected in ((False, when_up), (True, when_down)):
        source = Source()
        source.get()
        source.clock.advance(age)
        if down:
            source.go_down()
        assert (source.fault() if expected is DOWN else source.get()) == expected


def test_entry_that_expires_during_reload_is_not_used() -> None:
    source = Source()
    source.get()
    source.clock.advance(299)
    source.go_down()
    source.during_load = lambda: source.clock.advance(1)
    assert source.fault() is DOWN


def test_failure_starts_a_pause() -> None:
    source = Source()
    source.go_down()
    assert [source.fault() for _ in range(3)] == [DOWN, PAUSED, PAUSED]
    source.clock.advance(1)
    assert source.fault() is DOWN
    assert (len(source.allowed), source.cache.failures) == (2, 2)
    source.failure = None
    source.clock.advance(2)
    assert (source.get(), source.cache.failures) == (3, 0)


def test_crash_is_raised_and_paused() -> None:
    source = Source()
    source.get()
    source.clock.advance(60)
    source.failure = RuntimeError("a fault of our own")
    with pytest.raises(RuntimeError):
        source.get()
    assert source.get() == 1
    assert len(source.allowed) == 2


def test_refresh_rejects_older_entries() -> None:
    source = Source()
    source.get()
    old = source.store.get("key")
    assert old is not None
    assert source.refresh(old) == 2
    assert source.refresh(old) == 2  # newer already
    source.go_down()
    with pytest.raises(StateUnavailableError):
        source.refresh(cast("CacheEntry[int]", source.store.get("key")))
    assert source.get() == 2


def test_waiting_reduces_the_remaining_time() -> None:
    source = Source()
    _hold_the_lock(source, 0.75)
    assert source.get(seconds=1) == 1
    assert source.allowed == [0.25]


def test_waiting_past_the_deadline_fails() -> None:
    source = Source()
    with source.cache._locks.acquire("key", 0):
        assert source.fault(0.001) is PAUSED
    assert source.allowed == []


def test_usable_entry_is_returned_without_waiting() -> None:
    source = Source()
    source.get()
    source.clock.advance(60)
    _hold_the_lock(source, 0.75)
    started = source.clock.now
    assert source.get() == 1
    assert source.clock.now == started
    assert source.allowed == [1]


def test_waiters_share_the_load() -> None:
    source = Source()
    started, go_on = Event(), Event()

    def hang() -> None:
        started.set()
        assert go_on.wait(10)

    source.during_load = hang
    answers: list[int] = []
    threads = [Thread(target=lambda: answers.append(source.get(10))) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert started.wait(10)
    go_on.set()
    for thread in threads:
        thread.join()
    assert answers == [1] * 8
    assert len(source.allowed) == 1


def test_keys_load_concurrently() -> None:
    source = Source()
    source.during_load = lambda: source.get(10, "another") if len(source.allowed) == 1 else None
    source.get(10, "one")
    assert len(source.allowed) == 2


@pytest.mark.parametrize("fault", [StateUnavailableError(DOWN), RuntimeError(), KeyboardInterrupt()])
def test_lock_is_released_after_any_end(fault: BaseException) -> None:
    source = Source()
    source.failure = fault
    with pytest.raises(type(fault)):
        source.get()
    source.failure = None
    source.clock.advance(1)
    assert source.get(0.01) == 2


def test_concurrent_failures_count_once() -> None:
    clock = ManualClock()
    for tolerance in (0, 2):
        back_off = BackOff(Clocks(clock, clock), tolerance=tolerance, jitter=lambda: 0)
        for _ in range(50):
            back_off.failed()
        clock.advance(1)
        assert not back_off.is_on()
        back_off.failed()
        clock.advance(1.99)
        assert back_off.is_on()
        clock.advance(0.01)
        assert not back_off.is_on()


def test_pause_doubles_up_to_a_minute() -> None:
    clock = ManualClock()
    back_off = BackOff(Clocks(clock, clock), jitter=lambda: 0)
    assert not back_off.is_on()
    for pause in (1, 2, 4, 8, 16, 32, 60, 60):
        back_off.failed()
        clock.advance(pause - 0.01)
        assert back_off.is_on()
        clock.advance(0.01)
        assert not back_off.is_on()


def test_success_resets_failures() -> None:
    clock = ManualClock()
    back_off = BackOff(Clocks(clock, clock), tolerance=2, jitter=lambda: 0)
    back_off.failed()
    back_off.failed()
    assert not back_off.is_on()
    back_off.failed()
    assert back_off.is_on()
    back_off.succeeded()
    assert not back_off.is_on()


def test_jitter_shortens_a_pause_by_half() -> None:
    clock = ManualClock()
    back_off = BackOff(Clocks(clock, clock), jitter=lambda: 0.5)
    back_off.failed()
    clock.advance(0.75)
    back_off.failed()
    clock.advance(1.49)
    assert back_off.is_on()
    clock.advance(0.01)
    assert not back_off.is_on()


def test_jitter_is_between_0_and_1() -> None:
    drawn = {jitter() for _ in range(100)}
    assert len(drawn) > 1
    assert all(0 <= number < 1 for number in drawn)


def test_least_recently_used_entry_is_evicted() -> None:
    recent: LRUCache[str, int] = LRUCache(2)
    recent.put("a", 1)
    recent.put("b", 2)
    assert recent.get("a") == 1
    recent.put("c", 3)
    assert (recent.get("a"), recent.get("b"), recent.get("c")) == (1, None, 3)


def test_removing_a_key_twice_is_harmless() -> None:
    recent: LRUCache[str, int] = LRUCache(2)
    recent.put("a", 1)
    recent.remove("a")
    recent.remove("a")
    assert recent.get("a") is None


def test_forked_process_does_not_wait_for_a_load_of_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source()

    def fork() -> None:
        source.during_load = lambda: None
        monkeypatch.setattr(os, "getpid", lambda: -1)
        assert source.get() == 2

    source.during_load = fork
    source.get()
    assert len(source.allowed) == 2
