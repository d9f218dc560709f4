from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event
from typing import TYPE_CHECKING

import pytest

from functions.shared.runtime.warm_cache import PAUSE_SECONDS, WarmCache
from functions.shared.storage.errors import StorageError, StorageUnavailableError
from tests.support.memory_stores import ManualClock

if TYPE_CHECKING:
    from collections.abc import Iterator


MAX_AGE, HARD_AGE = 30, 300


class Loader:
    def __init__(self) -> None:
        self.loads: list[str] = []

    def __call__(self, key: str) -> str | None:
        self.loads.append(key)
        return None if key == "nothing" else f"{key}-{len(self.loads)}"


class Source:
    """What is asked: it answers with how often it was, or has trouble."""

    def __init__(self) -> None:
        self.asked = 0
        self.trouble: Exception | None = None
        self.clock = ManualClock()
        self.seconds = 0.0

    def __call__(self, key: str) -> str:
        self.asked += 1
        self.clock.now += self.seconds
        if self.trouble:
            raise self.trouble
        return f"{key}-{self.asked}"

    def cache(self) -> WarmCache[str, str]:
        return WarmCache(self, clock=self.clock, max_age=MAX_AGE, hard_age=HARD_AGE, max_entries=3)


@pytest.fixture
def source() -> Source:
    return Source()


def _cache(loader: Loader, clock: ManualClock, max_entries: int = 3) -> WarmCache[str, str | None]:
    return WarmCache(loader, clock=clock, max_age=30, max_entries=max_entries)


@pytest.mark.parametrize(("age", "loads"), [(0, 1), (29.9, 1), (30, 2), (31, 2)])
def test_a_value_is_used_while_it_is_younger_than_max_age(age: float, loads: int) -> None:
    loader, clock = Loader(), ManualClock()
    cache = _cache(loader, clock)
    cache.get("a")
    clock.now += age
    cache.get("a")
    assert len(loader.loads) == loads


def test_peeking_finds_what_is_fresh_and_loads_nothing() -> None:
    loader, clock = Loader(), ManualClock()
    cache = _cache(loader, clock)
    assert cache.peek("a") is None
    assert cache.get("a") == cache.peek("a") == "a-1"
    clock.now += 30
    assert cache.peek("a") is None
    assert loader.loads == ["a"]


def test_a_clock_that_was_set_back_keeps_nothing_alive() -> None:
    loader, clock = Loader(), ManualClock()
    cache = _cache(loader, clock)
    cache.get("a")
    clock.now -= 3600
    cache.get("a")
    assert len(loader.loads) == 2


def test_a_failure_is_everyone_s_who_waited_for_it() -> None:
    waiting, loads = Barrier(8), []

    def load(key: str) -> str:
        loads.append(key)
        time.sleep(0.2)  # long enough for the others to come and wait
        raise LookupError(key)

    cache = WarmCache(load, clock=ManualClock(), max_age=30, max_entries=3)

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


def test_none_is_an_answer_too() -> None:
    loader = Loader()
    cache = _cache(loader, ManualClock())
    assert cache.get("nothing") is None
    assert cache.get("nothing") is None
    assert loader.loads == ["nothing"]


def test_what_was_loaded_longest_ago_goes_first() -> None:
    loader, clock = Loader(), ManualClock()
    cache = _cache(loader, clock, max_entries=2)
    cache.get("a")
    cache.get("b")
    cache.get("c")
    cache.get("b")
    cache.get("a")
    assert loader.loads == ["a", "b", "c", "a"]


def test_a_value_that_is_loaded_again_counts_as_new() -> None:
    loader, clock = Loader(), ManualClock()
    cache = _cache(loader, clock, max_entries=2)
    cache.get("a")
    clock.now += 20
    cache.get("b")
    clock.now += 20
    cache.get("a")
    cache.get("c")
    cache.get("a")
    assert loader.loads == ["a", "b", "a", "c"]


def test_an_error_is_passed_on_and_not_remembered() -> None:
    answers: Iterator[str | Exception] = iter([ValueError("down"), "up"])

    def load(key: str) -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    cache = WarmCache(load, clock=ManualClock(), max_age=30, max_entries=1)
    with pytest.raises(ValueError, match="down"):
        cache.get("a")
    assert cache.get("a") == "up"


def test_many_threads_that_want_one_value_cause_one_load() -> None:
    together, loads = Barrier(8), []

    def load(key: str) -> str:
        loads.append(key)
        Event().wait(0.02)
        return key

    cache = WarmCache(load, clock=ManualClock(), max_age=30, max_entries=1)

    def get(_: int) -> str:
        together.wait()
        return cache.get("a")

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(get, range(8))) == {"a"}
    assert loads == ["a"]


@pytest.mark.parametrize("age", [MAX_AGE, HARD_AGE - 1])
def test_an_old_value_is_used_while_another_cannot_be_had(source: Source, age: float) -> None:
    cache = source.cache()
    cache.get("a")
    source.clock.now += age
    source.trouble = StorageUnavailableError("throttled")
    assert cache.get("a") == "a-1"
    source.trouble = None
    source.clock.now += PAUSE_SECONDS
    assert cache.get("a") == "a-3"


@pytest.mark.parametrize("age", [HARD_AGE, HARD_AGE + 1, -1])
def test_a_value_that_is_too_old_or_from_the_future_is_never_used(
    source: Source, age: float
) -> None:
    cache = source.cache()
    cache.get("a")
    source.clock.now += age
    source.trouble = StorageUnavailableError("throttled")
    for _ in range(2):
        with pytest.raises(StorageUnavailableError):
            cache.get("a")
    assert source.asked == 3


def test_an_old_value_ends_in_the_middle_of_a_pause_too(source: Source) -> None:
    cache = source.cache()
    cache.get("a")
    source.trouble = StorageUnavailableError("throttled")
    source.clock.now += HARD_AGE - 1
    assert cache.get("a") == "a-1"
    source.clock.now += 1
    with pytest.raises(StorageUnavailableError):
        cache.get("a")


def test_a_value_that_gets_too_old_while_nobody_answers_is_not_used(source: Source) -> None:
    cache = source.cache()
    cache.get("a")
    source.trouble, source.seconds = StorageUnavailableError("throttled"), 6
    source.clock.now += HARD_AGE - 3
    with pytest.raises(StorageUnavailableError):
        cache.get("a")


def test_a_value_is_as_old_as_the_question(source: Source) -> None:
    cache = source.cache()
    source.seconds = 6
    cache.get("a")
    source.clock.now += MAX_AGE - 6
    assert cache.get("a") == "a-2"


def test_of_those_who_have_old_values_one_asks_in_ten_seconds(source: Source) -> None:
    cache = source.cache()
    for key in "ab":
        cache.get(key)
    source.clock.now += MAX_AGE
    source.trouble, source.asked = StorageUnavailableError("throttled"), 0
    for _ in range(PAUSE_SECONDS):
        assert [cache.get("a"), cache.get("b")] == ["a-1", "b-2"]
        source.clock.now += 1
    assert source.asked == 1
    cache.get("b")
    assert source.asked == 2


def test_an_answer_for_one_key_ends_the_pause_for_all(source: Source) -> None:
    cache = source.cache()
    cache.get("a")
    source.clock.now += MAX_AGE
    source.trouble = StorageUnavailableError("throttled")
    cache.get("a")
    source.trouble = None
    assert [cache.get("new"), cache.get("a")] == ["new-3", "a-4"]


@pytest.mark.parametrize("answer", [StorageError("denied"), LookupError()])
def test_any_other_error_is_an_answer_and_ends_an_old_value(
    source: Source, answer: Exception
) -> None:
    cache = source.cache()
    cache.get("a")
    source.clock.now += MAX_AGE
    source.trouble = answer
    with pytest.raises(type(answer)):
        cache.get("a")
    source.trouble = StorageUnavailableError("throttled")
    with pytest.raises(StorageUnavailableError):
        cache.get("a")


def test_without_a_hard_age_nothing_old_is_used(source: Source) -> None:
    cache = WarmCache(source, clock=source.clock, max_age=MAX_AGE, max_entries=1)
    cache.get("a")
    source.clock.now += MAX_AGE
    source.trouble = StorageUnavailableError("throttled")
    with pytest.raises(StorageUnavailableError):
        cache.get("a")


def test_everyone_who_waited_in_vain_gets_the_old_value() -> None:
    waiting, loads, clock = Barrier(8), [], ManualClock()

    def load(key: str) -> str:
        loads.append(key)
        if len(loads) == 1:
            return "old"
        time.sleep(0.2)  # long enough for the others to come and wait
        raise StorageUnavailableError("throttled")

    cache = WarmCache(load, clock=clock, max_age=MAX_AGE, hard_age=HARD_AGE, max_entries=1)
    cache.get("a")
    clock.now += MAX_AGE

    def get(_: int) -> str:
        waiting.wait()
        return cache.get("a")

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(get, range(8))) == {"old"}
    assert len(loads) == 2
