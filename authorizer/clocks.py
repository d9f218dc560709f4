"""Elapsed time that is right across a freeze of the sandbox and a step of the wall clock."""

from collections.abc import Callable
from typing import NamedTuple

Clock = Callable[[], float]


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


class BackOff:
    """The pause after failures: none for the first `tolerance`, then doubling up to a minute."""

    LONGEST = 60.0

    def __init__(self, clocks: Clocks, *, tolerance: int = 0) -> None:
        self._clocks = clocks
        self._tolerance = tolerance
        self._failed_at = Instant(0, 0)
        self.failures = 0

    def failed(self) -> None:
        """Count a failure; the pause starts now."""
        self.failures += 1
        self._failed_at = self._clocks.now()

    def succeeded(self) -> None:
        """Forget all failures."""
        self.failures = 0

    def is_on(self) -> bool:
        """Tell whether to leave the other side alone for now."""
        counted = self.failures - self._tolerance
        if counted <= 0:
            return False
        pause: float = min(self.LONGEST, 2.0 ** min(counted - 1, 10))
        return self._clocks.since(self._failed_at) < pause
