"""Clocks, ages and deadlines.

The wall clock may be set back. The monotonic clock may stop while Lambda freezes the sandbox
between invocations. An age is therefore measured on both clocks, and the larger value counts.
"""

from collections.abc import Callable
from time import monotonic
from typing import NamedTuple

Clock = Callable[[], float]


class Instant(NamedTuple):
    """One moment on both clocks, in seconds."""

    wall: float
    monotonic: float


class Clocks(NamedTuple):
    """The wall clock, in seconds since the epoch, and the monotonic clock."""

    wall: Clock
    monotonic: Clock

    def now(self) -> Instant:
        """Return the present moment."""
        return Instant(self.wall(), self.monotonic())

    def since(self, start: Instant) -> float:
        """Return the seconds since then, on the clock that advanced more."""
        return max(self.wall() - start.wall, self.monotonic() - start.monotonic)


class Deadline:
    """The end of a time budget within one invocation, on the monotonic clock."""

    __slots__ = ("_end", "_monotonic")

    def __init__(self, seconds: float, monotonic: Clock = monotonic) -> None:
        self._monotonic = monotonic
        self._end = monotonic() + seconds

    def remaining(self) -> float:
        """Return the seconds that are left; 0 after the deadline."""
        return max(0.0, self._end - self._monotonic())
