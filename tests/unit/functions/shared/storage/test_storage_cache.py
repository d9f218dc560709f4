import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from functions.shared.storage.errors import StorageError, StorageUnavailableError
from functions.shared.storage.storage_cache import PAUSE_SECONDS, StorageCache
from tests.support.clock import ManualClock

MAX_AGE, HARD_AGE = 30, 300


class Loader:
    def __init__(self) -> None:
        self.loads: list[str] = []

    def __call__(self, key: str) -> str | None:
        self.loads.append(key)
        return None if key == "nothing" else f"{key}-{len(self.loads)}"


class Source:
    """A loader that returns the number of its calls, or fails."""

    def __init__(self) -> None:
        self.loads = 0
        self.failure: Exception | None = None
        self.clock = ManualClock()
        self.seconds = 0.0

    def __call__(self, key: str) -> str:
        self.loads += 1
        self.clock.now += self.seconds
        if self.failure:
            raise self.failure
        return f"{key}-{self.loads}"

    def cache(self) -> StorageCache[str, str]:
        return StorageCache(self, clock=self.clock, fresh_for=MAX_AGE, stale_for=HARD_AGE, max_entries=3)


@pytest.fixture
def source() -> Source:
    return Source()


def _cache(loader: Loader, clock: ManualClock, max_entries: int = 3) -> StorageCache[str, str | None]:
    return StorageCache(loader, clock=clock, fresh_for=30, max_entries=max_entries)


def test_peek_returns_fresh_values_without_loading() -> None:
    loader, clock = Loader(), ManualClock()
    cache = _cache(loader, clock)
    assert cache.peek("a") is None
    assert cache.get("a") == cache.peek("a") == "a-1"
    clock.now += 30
    assert cache.peek("a") is None
    assert loader.loads == ["a"]


def test_waiters_share_a_failure() -> None:
    waiting, loads = Barrier(8), []

    def load(key: str) -> str:
        loads.append(key)
        time.sleep(0.2)  # long enough for the others to come and wait
        raise LookupError(key)

    cache = StorageCache(load, clock=ManualClock(), fresh_for=30, max_entries=3)

    def get(_: int) -> bool:
        waiting.wait()
        with pytest.raises(LookupError):
            cache.get("a")
        return True

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(get, range(8)))
    assert len(loads) == 1
    with pytest.raises(LookupError):
        cache.get("a")
    assert len(loads) == 2


def test_error_is_raised_and_not_cached() -> None:
    answers: Iterator[str | Exception] = iter([ValueError("down"), "up"])

    def load(key: str) -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    cache = StorageCache(load, clock=ManualClock(), fresh_for=30, max_entries=1)
    with pytest.raises(ValueError, match="down"):
        cache.get("a")
    assert cache.get("a") == "up"


@pytest.mark.parametrize("age", [MAX_AGE, HARD_AGE - 1])
def test_stale_value_serves_an_outage(source: Source, age: float) -> None:
    cache = source.cache()
    cache.get("a")
    source.clock.now += age
    source.failure = StorageUnavailableError("throttled")
    assert cache.get("a") == "a-1"
    source.failure = None
    source.clock.now += PAUSE_SECONDS
    assert cache.get("a") == "a-3"


@pytest.mark.parametrize("age", [HARD_AGE, HARD_AGE + 1])
def test_old_value_is_not_used(source: Source, age: float) -> None:
    cache = source.cache()
    cache.get("a")
    source.clock.now += age
    source.failure = StorageUnavailableError("throttled")
    for _ in range(2):
        with pytest.raises(StorageUnavailableError):
            cache.get("a")
    assert source.loads == 3


def test_clock_set_back_prolongs_no_entry(source: Source) -> None:
    monotonic = ManualClock()
    cache = StorageCache(source, clock=source.clock, monotonic=monotonic, fresh_for=MAX_AGE, max_entries=1)
    cache.get("a")
    source.clock.now -= 10
    monotonic.now += MAX_AGE - 1
    assert cache.get("a") == "a-1"
    source.clock.now += 5
    monotonic.now += 1
    assert cache.get("a") == "a-2"


def test_age_starts_at_the_load(source: Source) -> None:
    cache = source.cache()
    source.seconds = 6
    cache.get("a")
    source.clock.now += MAX_AGE - 6
    assert cache.get("a") == "a-2"


def test_stale_cache_retries_every_ten_seconds(source: Source) -> None:
    cache = source.cache()
    for key in "ab":
        cache.get(key)
    source.clock.now += MAX_AGE
    source.failure, source.loads = StorageUnavailableError("throttled"), 0
    for _ in range(PAUSE_SECONDS):
        assert [cache.get("a"), cache.get("b")] == ["a-1", "b-2"]
        source.clock.now += 1
    assert source.loads == 1
    cache.get("b")
    assert source.loads == 2


def test_success_for_one_key_ends_the_pause(source: Source) -> None:
    cache = source.cache()
    cache.get("a")
    source.clock.now += MAX_AGE
    source.failure = StorageUnavailableError("throttled")
    cache.get("a")
    source.failure = None
    assert [cache.get("new"), cache.get("a")] == ["new-3", "a-4"]


@pytest.mark.parametrize("answer", [StorageError("denied"), LookupError()])
def test_other_error_ends_a_stale_value(source: Source, answer: Exception) -> None:
    cache = source.cache()
    cache.get("a")
    source.clock.now += MAX_AGE
    source.failure = answer
    with pytest.raises(type(answer)):
        cache.get("a")
    source.failure = StorageUnavailableError("throttled")
    with pytest.raises(StorageUnavailableError):
        cache.get("a")


def test_no_hard_age_means_no_stale_values(source: Source) -> None:
    cache = StorageCache(source, clock=source.clock, fresh_for=MAX_AGE, max_entries=1)
    cache.get("a")
    source.clock.now += MAX_AGE
    source.failure = StorageUnavailableError("throttled")
    with pytest.raises(StorageUnavailableError):
        cache.get("a")
