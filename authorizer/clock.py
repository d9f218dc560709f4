"""Time: what o'clock it is, how old something is, and how long there is left.

The wall clock is for what others say in seconds since the epoch. It may be set, back as well. The
monotonic clock never is, but may stand still while Lambda freezes the sandbox between invocations.
So an age goes by whichever saw more. A deadline lies within one invocation, where nothing is
frozen, and goes by the monotonic clock alone.
"""

from collections.abc import Callable
from typing import NamedTuple

Clock = Callable[[], float]


class Instant(NamedTuple):
    """One moment on both clocks, in seconds."""

    wall: float
    monotonic: float


class Clocks(NamedTuple):
    """The wall clock, and the monotonic one."""

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
        return max(0.0, seconds - (self.monotonic() - start.monotonic))
