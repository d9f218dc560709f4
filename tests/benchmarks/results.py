"""Results of a benchmark, ready for JSON."""

from collections.abc import Iterator, Sequence
from statistics import median
from typing import NamedTuple

ROUNDS = 3


class Measurement(NamedTuple):
    """One figure: the median of its samples."""

    name: str
    value: float
    unit: str
    samples: int = 1


class Goal(NamedTuple):
    """A promise, and what became of it: `found` is to be at most `limit`, or at least.

    `rounds` has what each round found. Without a limit, the figure is only reported.
    """

    name: str
    found: float
    limit: float | None
    unit: str = "times"
    at_least: bool = False
    rounds: tuple[float, ...] = ()

    @property
    def is_met(self) -> bool:
        """True if the goal is met."""
        if self.limit is None:
            return True
        return self.found >= self.limit if self.at_least else self.found <= self.limit

    @property
    def bound(self) -> str:
        """The limit in words."""
        if self.limit is None:
            return "reported only"
        return f"{'at least' if self.at_least else 'at most'} {self.limit:g} {self.unit}"

    @property
    def spread(self) -> float:
        """How far the rounds are apart, as a share of what was found."""
        return (max(self.rounds) - min(self.rounds)) / self.found if self.rounds else 0.0

    def to_json(self) -> dict[str, object]:
        """Return everything that the page states."""
        return self._asdict() | {"met": self.is_met, "bound": self.bound, "spread": self.spread}


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


def compared(
    name: str, ours: Sequence[float], theirs: Sequence[float], limit: float | None, *, at_least: bool = False
) -> Goal:
    """Hold the ratio of samples taken in turns to a limit."""
    rounds = [paired_ratio(*pair) for pair in zip(_by_round(ours), _by_round(theirs), strict=True)]
    return Goal(name, median(rounds), limit, at_least=at_least, rounds=tuple(rounds))


def within(name: str, samples: Sequence[float], limit: float, unit: str) -> Goal:
    """Hold a figure to a limit."""
    rounds = tuple(map(median, _by_round(samples)))
    return Goal(name, median(rounds), limit, unit, rounds=rounds)


def _by_round(samples: Sequence[float]) -> Iterator[Sequence[float]]:
    size = len(samples) // ROUNDS
    return (samples[at * size : (at + 1) * size] for at in range(ROUNDS))
