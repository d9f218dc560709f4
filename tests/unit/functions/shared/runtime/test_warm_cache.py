from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event
from typing import TYPE_CHECKING

import pytest

from functions.shared.runtime.warm_cache import WarmCache
from tests.support.memory_stores import ManualClock

if TYPE_CHECKING:
    from collections.abc import Iterator


class Loader:
    def __init__(self) -> None:
        self.loads: list[str] = []

    def __call__(self, key: str) -> str | None:
        self.loads.append(key)
        return None if key == "nothing" else f"{key}-{len(self.loads)}"


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
