"""Elapsed time."""

from authorizer.clock import Clocks, Deadline
from tests.support.clock import ManualClock


def test_age_includes_a_frozen_monotonic_clock() -> None:
    wall, monotonic = ManualClock(), ManualClock(5)
    clocks = Clocks(wall, monotonic)
    start = clocks.now()
    wall.advance(100)
    assert clocks.since(start) == 100


def test_age_ignores_a_wall_clock_set_back() -> None:
    wall, monotonic = ManualClock(), ManualClock(5)
    clocks = Clocks(wall, monotonic)
    start = clocks.now()
    wall.advance(-3600)
    monotonic.advance(7)
    assert clocks.since(start) == 7


def test_deadline_counts_down_to_0() -> None:
    monotonic = ManualClock(5)
    deadline = Deadline(1, monotonic)
    remaining = []
    for step in (0, 0.75, 0.75):
        monotonic.advance(step)
        remaining.append(deadline.remaining())
    assert remaining == [1, 0.25, 0]
