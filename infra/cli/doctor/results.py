"""Findings: what was seen, how bad it is, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from infra.cli.doctor.context import Patient


class Level(StrEnum):
    """How bad it is. What was not examined, or is not applicable, is no pass."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"
    NOT_EXAMINED = "not examined"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True)
class Finding:
    """What a check has seen."""

    level: Level
    seen: str
    to_do: str = ""


@dataclass(frozen=True)
class Check:
    """A check, and whether it makes sense in an account only, or with the sample API only."""

    area: str
    name: str
    look: Callable[[Patient], Iterable[Finding]]
    in_account_only: bool = False
    of_sample_api: bool = False


def ok(seen: str) -> Finding:
    """Return that something is as it should be."""
    return Finding(Level.OK, seen)


def warning(seen: str, to_do: str) -> Finding:
    """Return that something will go wrong, or is weaker than it could be."""
    return Finding(Level.WARNING, seen, to_do)


def failure(seen: str, to_do: str) -> Finding:
    """Return that something is wrong."""
    return Finding(Level.FAILURE, seen, to_do)


def either(faults: Iterable[Finding], good: str) -> Iterable[Finding]:
    """Return the faults, or that there is none."""
    return list(faults) or [ok(good)]


def named(names: Iterable[str], most: int = 5) -> str:
    """Return a list of names for a sentence: the first few, and how many more there are."""
    listed = sorted(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more
