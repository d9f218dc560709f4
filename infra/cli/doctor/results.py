"""Findings: an observation, its severity, and the remedy."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from infra.cli.doctor.context import CheckContext


class Level(StrEnum):
    """The severity. A check that was not made has not passed."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"
    NOT_EXAMINED = "not examined"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True)
class Finding:
    """The result of a check."""

    level: Level
    seen: str
    to_do: str = ""


@dataclass(frozen=True)
class Check:
    """A check. Some apply to accounts only, or with the sample API only."""

    area: str
    name: str
    look: Callable[[CheckContext], Iterable[Finding]]
    in_account_only: bool = False
    of_sample_api: bool = False


def ok(seen: str) -> Finding:
    """Return a finding without a problem."""
    return Finding(Level.OK, seen)


def warning(seen: str, to_do: str) -> Finding:
    """Return a finding about a future problem or a weakness."""
    return Finding(Level.WARNING, seen, to_do)


def failure(seen: str, to_do: str) -> Finding:
    """Return a finding about a problem."""
    return Finding(Level.FAILURE, seen, to_do)


def either(faults: Iterable[Finding], good: str) -> Iterable[Finding]:
    """Return the faults, or one finding that there is none."""
    return list(faults) or [ok(good)]


def named(names: Iterable[str], most: int = 5) -> str:
    """Return a list of names for a sentence: the first few, and how many more there are."""
    listed = sorted(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more
