"""Requests arrive one by one, at a rate that may change."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from random import Random


def arrivals(random: Random, phases: Sequence[tuple[float, float]]) -> Iterator[float]:
    """Yield times in seconds of a Poisson process; a phase is (seconds, requests a second)."""
    begin = 0.0
    for seconds, rate in phases:
        at, end = begin, begin + seconds
        while rate > 0:
            at += random.expovariate(rate)
            if at >= end:
                break
            yield at
        begin = end
