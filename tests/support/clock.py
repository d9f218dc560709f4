"""A clock for tests."""

from dataclasses import dataclass


@dataclass
class ManualClock:
    """Returns `now`, which tests set or advance."""

    now: float = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
