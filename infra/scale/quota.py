"""Signing under a quota: throttled calls are tried again, and after the last try it is 503."""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Final

from functions.shared.runtime.aws_clients import ATTEMPTS

if TYPE_CHECKING:
    from collections.abc import Iterable
    from random import Random

LONGEST_FIRST_PAUSE: Final = 1.0
"""Seconds; botocore's standard mode waits a random share of this, doubled for each try."""


@dataclass(frozen=True, slots=True)
class Signed:
    """How many signatures were made, and how many requests ended in 503."""

    served: int
    refused: int

    @property
    def refused_share(self) -> float:
        """Return the share of the requests that ended in 503."""
        return self.refused / (self.served + self.refused)


def sign(requests: Iterable[float], per_second: float, random: Random) -> Signed:
    """Play requests against a bucket that a second's quota fills."""
    waiting = [(at, 1) for at in requests]
    heapify(waiting)
    allowed, allowed_at = per_second, 0.0
    served = refused = 0
    while waiting:
        now, attempt = heappop(waiting)
        allowed = min(per_second, allowed + (now - allowed_at) * per_second)
        allowed_at = now
        if allowed >= 1:
            allowed -= 1
            served += 1
        elif attempt < ATTEMPTS:
            pause = random.random() * LONGEST_FIRST_PAUSE * 2 ** (attempt - 1)
            heappush(waiting, (now + pause, attempt + 1))
        else:
            refused += 1
    return Signed(served, refused)
