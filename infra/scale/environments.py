"""A Lambda function's environments: reused last in, first out, started when all are at work.

Facts (AWS Lambda's documentation): one environment answers one request at a time; an account has
1,000 at work at once before the quota is raised; a function gets at most 1,000 more in ten
seconds. How long an idle one is kept is not promised; some minutes are usual.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

NEW_AT_ONCE: Final = 1_000
NEW_PER_SECOND: Final = 100.0
IDLE_SECONDS: Final = 300.0


@dataclass(frozen=True, slots=True)
class Function:
    """How long a function takes, in seconds, and how long what it fetched stays fresh."""

    warm: float
    start: float
    fresh: float = float("inf")


@dataclass(slots=True)
class Outcome:
    """What became of the requests: answered (when, how long it took), refused; all in seconds."""

    answered: list[tuple[float, float]] = field(default_factory=list)
    fetches: list[float] = field(default_factory=list)
    started: int = 0
    refused: int = 0

    def latency(self, share: float, *, since: float = 0.0) -> float:
        """Return what this share of the requests answered since then stays within."""
        ordered = sorted(took for at, took in self.answered if at >= since)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    def busiest_second(self) -> int:
        """Return the most fetches within a second of the clock."""
        seconds: dict[int, int] = {}
        for at in self.fetches:
            seconds[int(at)] = seconds.get(int(at), 0) + 1
        return max(seconds.values(), default=0)


@dataclass(slots=True)
class _Environment:
    fetched_at: float
    idle_since: float = 0.0


def serve(requests: Iterable[float], function: Function, concurrency: int = 1_000) -> Outcome:
    """Play requests, in order of their times, against one function."""
    outcome = Outcome()
    at_work: list[tuple[float, int, _Environment]] = []
    idle: deque[_Environment] = deque()
    order = count()
    permits, permits_at = float(NEW_AT_ONCE), 0.0
    for now in requests:
        permits = min(NEW_AT_ONCE, permits + (now - permits_at) * NEW_PER_SECOND)
        permits_at = now
        while at_work and at_work[0][0] <= now:
            free_at, _, environment = heappop(at_work)
            environment.idle_since = free_at
            idle.append(environment)
        while idle and now - idle[0].idle_since > IDLE_SECONDS:
            idle.popleft()
        took = function.warm
        if idle:
            environment = idle.pop()
            if now - environment.fetched_at >= function.fresh:
                environment.fetched_at = now
                outcome.fetches.append(now)
        elif len(at_work) < concurrency and permits >= 1:
            permits -= 1
            environment = _Environment(fetched_at=now)
            outcome.fetches.append(now)
            outcome.started += 1
            took += function.start
        else:
            outcome.refused += 1
            continue
        heappush(at_work, (now + took, next(order), environment))
        outcome.answered.append((now, took))
    return outcome
