"""Elapsed time."""

import pytest

from authorizer.clock import Clocks
from tests.support.tokens import FakeClock


def test_age_includes_a_frozen_monotonic_clock() -> None:
    wall, monotonic = FakeClock(), FakeClock(5)
    clocks = Clocks(wall, monotonic)
    start = clocks.now()
    wall.advance(100)
    assert clocks.since(start) == 100


def test_age_ignores_a_wall_clock_set_back() -> None:
    wall, monotonic = FakeClock(), FakeClock(5)
    clocks = Clocks(wall, monotonic)
    start = clocks.now()
    wall.advance(-3600)
    monotonic.advance(7)
    assert clocks.since(start) == 7


@pytest.mark.parametrize("step", [0, -86_400, 86_400])
def test_deadline_ignores_the_wall_clock(step: float) -> None:
    wall, monotonic = FakeClock(), FakeClock(5)
    clocks = Clocks(wall, monotonic)
    start = clocks.now()
    wall.advance(step)
    assert clocks.left(1, start) == 1
    monotonic.advance(0.75)
    assert clocks.left(1, start) == 0.25
    monotonic.advance(0.75)
    assert clocks.left(1, start) == 0
