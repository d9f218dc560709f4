"""Results of a benchmark, ready for JSON."""

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple


class Measurement(NamedTuple):
    """One figure: the median of its samples."""

    name: str
    value: float
    unit: str
    samples: int = 1


class Goal(NamedTuple):
    """A promise, and what became of it: `found` is to be at most `limit`, or at least."""

    name: str
    found: float
    limit: float
    unit: str = "times"
    at_least: bool = False

    @property
    def is_met(self) -> bool:
        """True if the goal is met."""
        return self.found >= self.limit if self.at_least else self.found <= self.limit


class Section(NamedTuple):
    """A table of figures, how they were taken, and the goals they are held to."""

    title: str
    how: str
    measurements: list[Measurement]
    goals: list[Goal]


def measured(name: str, samples: Sequence[float], unit: str) -> Measurement:
    """Return the median of some samples."""
    return Measurement(name, median(samples), unit, len(samples))


def paired_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the median ratio of samples taken one right after the other."""
    return median(our / their for our, their in zip(ours, theirs, strict=True))
