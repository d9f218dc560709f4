"""Elapsed time that is right across a freeze of the sandbox and a step of the wall clock."""

import os
from collections.abc import Callable
from typing import NamedTuple

Clock = Callable[[], float]
Chance = Callable[[], float]
"""Returns a number from 0 up to 1."""


class Instant(NamedTuple):
    """One moment on both clocks, in seconds."""

    wall: float
    monotonic: float


class Clocks(NamedTuple):
    """A wall clock, which goes on while Lambda freezes us, and one that never goes backwards."""

    wall: Clock
    monotonic: Clock

    def now(self) -> Instant:
        """Return the present moment."""
        return Instant(self.wall(), self.monotonic())

    def since(self, start: Instant) -> float:
        """Return the seconds passed, by whichever clock saw more: ages are never understated."""
        return max(self.wall() - start.wall, self.monotonic() - start.monotonic)

    def left(self, seconds: float, start: Instant) -> float:
        """Return how many of the seconds that began then are left."""
        return max(0.0, seconds - self.since(start))


class Ages(NamedTuple):
    """How long, in seconds, what was asked is taken for current, and how long it is used at all.

    Past the soft age it is asked again, and used on if nobody answers; past the hard age it is not.
    """

    soft: float
    hard: float


def chance() -> float:
    """Draw a number from 0 up to 1. The `random` module would make every cold start longer."""
    return int.from_bytes(os.urandom(4)) / 2**32


class BackOff:
    """The pause after failures: none for the first `tolerance`, then doubling up to a minute.

    `chance` takes away up to half of each pause, so that the sandboxes of one function, which all
    saw the same outage begin, do not all come back at the same moment.
    """

    LONGEST = 60.0

    def __init__(self, clocks: Clocks, *, tolerance: int = 0, chance: Chance = chance) -> None:
        self._clocks = clocks
        self._tolerance = tolerance
        self._chance = chance
        self._failed_at = Instant(0, 0)
        self._pause = 0.0
        self.failures = 0

    def failed(self) -> None:
        """Count a failure; the pause starts now."""
        self.failures += 1
        self._failed_at = self._clocks.now()
        doublings = min(self.failures - self._tolerance - 1, 10)
        self._pause = min(self.LONGEST, 2.0**doublings) * (1 - self._chance() / 2)

    def succeeded(self) -> None:
        """Forget all failures."""
        self.failures = 0

    def is_on(self) -> bool:
        """Tell whether to leave the other side alone for now."""
        if self.failures <= self._tolerance:
            return False
        return self._clocks.since(self._failed_at) < self._pause
