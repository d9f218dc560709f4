"""Elapsed time, and the pause after failures."""

from authorizer.clocks import BackOff, Clocks, chance
from tests.support.tokens import FakeClock


def test_a_freeze_seen_by_the_wall_clock_only_counts() -> None:
    wall, monotonic = FakeClock(), FakeClock(5)
    clocks = Clocks(wall, monotonic)
    start = clocks.now()
    wall.advance(100)
    assert clocks.since(start) == 100


def test_a_wall_clock_set_back_does_not_make_things_young() -> None:
    wall, monotonic = FakeClock(), FakeClock(5)
    clocks = Clocks(wall, monotonic)
    start = clocks.now()
    wall.advance(-3600)
    monotonic.advance(7)
    assert clocks.since(start) == 7


def test_the_pause_doubles_with_each_failure_up_to_a_minute() -> None:
    clock = FakeClock()
    back_off = BackOff(Clocks(clock, clock), chance=lambda: 0)
    assert not back_off.is_on()
    for pause in (1, 2, 4, 8, 16, 32, 60, 60):
        back_off.failed()
        clock.advance(pause - 0.01)
        assert back_off.is_on()
        clock.advance(0.01)
        assert not back_off.is_on()


def test_failures_are_tolerated_and_forgotten_after_a_success() -> None:
    clock = FakeClock()
    back_off = BackOff(Clocks(clock, clock), tolerance=2, chance=lambda: 0)
    back_off.failed()
    back_off.failed()
    assert not back_off.is_on()
    back_off.failed()
    assert back_off.is_on()
    back_off.succeeded()
    assert not back_off.is_on()


def test_chance_shortens_a_pause_by_up_to_a_half() -> None:
    clock = FakeClock()
    back_off = BackOff(Clocks(clock, clock), chance=lambda: 0.5)
    back_off.failed()
    back_off.failed()
    clock.advance(1.49)
    assert back_off.is_on()
    clock.advance(0.01)
    assert not back_off.is_on()


def test_chance_is_a_number_from_0_up_to_1() -> None:
    drawn = {chance() for _ in range(100)}
    assert len(drawn) > 1
    assert all(0 <= number < 1 for number in drawn)
