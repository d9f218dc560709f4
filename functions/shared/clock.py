"""Where the time comes from."""

from collections.abc import Callable

Clock = Callable[[], float]
"""Seconds since the epoch. `time.time` in Lambda, a number that the test holds in a test."""
