"""Answers of a slow look-up, remembered for a short while by a warm process."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from functions.shared.runtime.clock import Clock

K = TypeVar("K")
V = TypeVar("V")

_STRIPES = 16


@dataclass(frozen=True, slots=True)
class _Entry(Generic[V]):
    value: V
    loaded_at: float


@dataclass(frozen=True, slots=True)
class _Failure(Generic[K]):
    key: K
    error: Exception


class WarmCache(Generic[K, V]):
    """A bounded cache in front of `load`: safe in threads, one load at a time per key.

    A value is used while it is younger than `max_age` seconds. A value from the future is
    not: a clock that was set back must not keep anything alive. What `load` raises is passed
    on to everyone who waited for it, and not remembered. When the cache is full, what was
    loaded longest ago goes first.
    """

    def __init__(
        self, load: Callable[[K], V], *, clock: Clock, max_age: float, max_entries: int
    ) -> None:
        self._load = load
        self._clock = clock
        self._max_age = max_age
        self._max_entries = max_entries
        self._entries: dict[K, _Entry[V]] = {}
        self._writing = Lock()
        # A lock per key would need a bound and a cache of its own; a few shared ones do.
        self._loading = tuple(Lock() for _ in range(_STRIPES))
        self._failures: list[_Failure[K] | None] = [None] * _STRIPES

    def get(self, key: K) -> V:
        """Return the remembered value for `key`, or load it."""
        entry = self._fresh(key) or self._load_once(key)
        return entry.value

    def peek(self, key: K) -> V | None:
        """Return the remembered value for `key`, or None; nothing is loaded."""
        entry = self._fresh(key)
        return entry.value if entry else None

    def _fresh(self, key: K) -> _Entry[V] | None:
        entry = self._entries.get(key)
        if entry and 0 <= self._clock() - entry.loaded_at < self._max_age:
            return entry
        return None

    def _load_once(self, key: K) -> _Entry[V]:
        stripe = hash(key) % _STRIPES
        failed_before = self._failures[stripe]
        with self._loading[stripe]:
            failure = self._failures[stripe]
            if failure is not failed_before and failure is not None and failure.key == key:
                # It failed while we waited: each trying again in turn would take ever longer.
                raise failure.error
            try:
                return self._fresh(key) or self._remember(key, self._load(key))
            except Exception as error:
                self._failures[stripe] = _Failure(key, error)
                raise

    def _remember(self, key: K, value: V) -> _Entry[V]:
        entry = _Entry(value, self._clock())
        with self._writing:
            self._entries.pop(key, None)
            while len(self._entries) >= self._max_entries:
                del self._entries[next(iter(self._entries))]
            self._entries[key] = entry
        return entry
