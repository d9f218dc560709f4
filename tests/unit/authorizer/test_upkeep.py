"""The cache for remote data, and the pause after failures."""

from collections.abc import Callable
from contextlib import suppress
from threading import Event, Thread

import pytest

from authorizer.cache import Ages, BackOff, Kept, Question, Turn, Upkeep, jitter
from authorizer.clock import Clocks
from authorizer.errors import Reason, StateUnavailableError
from tests.support.tokens import FakeClock

AGES = Ages(soft=60, hard=300)
DOWN = Reason.PROOF_STORE_UNAVAILABLE
NOT_ASKED = Reason.DENY_LIST_UNAVAILABLE


class Source:
    """A source that returns increasing numbers and records the time budgets."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        clocks = Clocks(self.clock, self.clock)
        self.clocks = clocks
        self.upkeep: Upkeep[int] = Upkeep(
            clocks, lambda: StateUnavailableError(NOT_ASKED), jitter=lambda: 0
        )
        self.kept: Kept[int] | None = None
        self.allowed: list[float] = []
        self.failure: BaseException | None = None
        self.while_asked: Callable[[], object] = lambda: None

    def ask(self, seconds: float) -> Kept[int]:
        self.allowed.append(seconds)
        asked = self.clocks.now()
        self.while_asked()
        if self.failure is not None:
            raise self.failure
        self.kept = Kept(len(self.allowed), asked, AGES)
        return self.kept

    def current(self, seconds: float = 1, about: str | None = None) -> int:
        return self.upkeep.current(self._question(about), seconds).value

    def newer(self, old: Kept[int], seconds: float = 1) -> int:
        return self.upkeep.newer(old, self._question(), seconds).value

    def _question(self, about: str | None = None) -> Question[int]:
        return Question(lambda: self.kept, self.ask, about)

    def go_down(self) -> None:
        self.failure = StateUnavailableError(DOWN)

    def trouble(self, seconds: float = 1) -> Reason:
        with pytest.raises(StateUnavailableError) as trouble:
            self.current(seconds)
        return trouble.value.reason


class SlowTurn:
    """A lock that is free after so many seconds."""

    def __init__(self, clock: FakeClock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds

    def acquire(self, timeout: float) -> bool:
        self._clock.advance(min(self._seconds, timeout))
        return timeout >= self._seconds

    def release(self) -> None: ...


def _wait_for_each_turn(source: Source, seconds: float) -> None:
    """Let callers find the lock taken for so many seconds."""
    turn = Turn()
    turn.lock = SlowTurn(source.clock, seconds)  # type: ignore[assignment]
    turn.wanted_by = 1
    source.upkeep._turns._wanted[None] = turn


@pytest.mark.parametrize(
    ("age", "when_up", "when_down"),
    [(0, 1, 1), (59.9, 1, 1), (60, 2, 1), (299.9, 2, 1), (300, 2, DOWN), (1e9, 2, DOWN)],
)
def test_entry_is_fresh_then_stale_then_expired(
    age: float, when_up: int, when_down: int | Reason
) -> None:
    for down, expected in ((False, when_up), (True, when_down)):
        source = Source()
        source.current()
        source.clock.advance(age)
        if down:
            source.go_down()
        assert (source.trouble() if expected is DOWN else source.current()) == expected


def test_entry_that_expires_during_reload_is_not_used() -> None:
    source = Source()
    source.current()
    source.clock.advance(299)
    source.go_down()
    source.while_asked = lambda: source.clock.advance(1)
    assert source.trouble() is DOWN


def test_failure_starts_a_pause() -> None:
    source = Source()
    source.go_down()
    assert [source.trouble() for _ in range(3)] == [DOWN, NOT_ASKED, NOT_ASKED]
    source.clock.advance(1)
    assert source.trouble() is DOWN
    assert (len(source.allowed), source.upkeep.failures) == (2, 2)
    source.failure = None
    source.clock.advance(2)
    assert (source.current(), source.upkeep.failures) == (3, 0)


def test_crash_is_raised_and_paused() -> None:
    source = Source()
    source.current()
    source.clock.advance(60)
    source.failure = RuntimeError("a fault of our own")
    with pytest.raises(RuntimeError):
        source.current()
    assert source.current() == 1
    assert len(source.allowed) == 2


def test_refresh_rejects_older_entries() -> None:
    source = Source()
    source.current()
    assert source.kept is not None
    old = source.kept
    assert source.newer(old) == 2
    assert source.newer(old) == 2  # newer already
    source.go_down()
    with pytest.raises(StateUnavailableError):
        source.newer(source.kept)
    assert source.current() == 2


def test_waiting_reduces_the_remaining_time() -> None:
    source = Source()
    _wait_for_each_turn(source, 0.75)
    assert source.current(seconds=1) == 1
    assert source.allowed == [0.25]


def test_waiting_past_the_deadline_fails() -> None:
    source = Source()
    with source.upkeep._turns.take(None, 0):
        assert source.trouble(0.001) is NOT_ASKED
    assert source.allowed == []


def test_usable_entry_is_returned_without_waiting() -> None:
    source = Source()
    source.current()
    source.clock.advance(60)
    _wait_for_each_turn(source, 0.75)
    started = source.clock.now
    assert source.current() == 1
    assert source.clock.now == started
    assert source.allowed == [1]


def test_waiters_share_the_load() -> None:
    source = Source()
    asked, go_on = Event(), Event()

    def hang() -> None:
        asked.set()
        assert go_on.wait(10)

    source.while_asked = hang
    answers: list[int] = []
    threads = [Thread(target=lambda: answers.append(source.current(10))) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert asked.wait(10)
    go_on.set()
    for thread in threads:
        thread.join()
    assert answers == [1] * 8
    assert len(source.allowed) == 1


def test_keys_load_concurrently() -> None:
    source = Source()
    source.while_asked = lambda: source.current(10, "another") if len(source.allowed) == 1 else None
    source.current(10, "one")
    assert len(source.allowed) == 2


def test_unused_locks_are_removed() -> None:
    source = Source()
    for number in range(100):
        source.kept = None
        source.failure = StateUnavailableError(DOWN) if number % 3 == 0 else None
        with suppress(StateUnavailableError):
            source.current(1, str(number))
    assert source.upkeep._turns._wanted == {}


@pytest.mark.parametrize(
    "fault", [StateUnavailableError(DOWN), RuntimeError(), KeyboardInterrupt()]
)
def test_lock_is_released_after_any_end(fault: BaseException) -> None:
    source = Source()
    source.failure = fault
    with pytest.raises(type(fault)):
        source.current()
    source.failure = None
    source.clock.advance(1)
    assert source.current(0.01) == 2


def test_concurrent_failures_count_once() -> None:
    clock = FakeClock()
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
    clock = FakeClock()
    back_off = BackOff(Clocks(clock, clock), jitter=lambda: 0)
    assert not back_off.is_on()
    for pause in (1, 2, 4, 8, 16, 32, 60, 60):
        back_off.failed()
        clock.advance(pause - 0.01)
        assert back_off.is_on()
        clock.advance(0.01)
        assert not back_off.is_on()


def test_success_resets_failures() -> None:
    clock = FakeClock()
    back_off = BackOff(Clocks(clock, clock), tolerance=2, jitter=lambda: 0)
    back_off.failed()
    back_off.failed()
    assert not back_off.is_on()
    back_off.failed()
    assert back_off.is_on()
    back_off.succeeded()
    assert not back_off.is_on()


def test_jitter_shortens_a_pause_by_half() -> None:
    clock = FakeClock()
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
