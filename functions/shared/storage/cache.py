"""Answers of a slow look-up, remembered for a short while by a warm process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Final, Generic, TypeVar

from authorizer.cache import LRUCache
from functions.shared.storage.errors import StorageUnavailableError

K = TypeVar("K")
V = TypeVar("V")

PAUSE_SECONDS: Final = 10
"""After a load that could not be, nobody who has an old value waits for another for so long."""

RELOAD_SECONDS: Final = 1
"""A key is reloaded at most once in so many seconds; until then its value is young enough."""

_STRIPES = 16


@dataclass(frozen=True, slots=True)
class _Entry(Generic[V]):
    value: V
    asked_at: float


@dataclass(frozen=True, slots=True)
class _Failure(Generic[K]):
    key: K
    error: Exception


class WarmCache(Generic[K, V]):
    """A bounded cache in front of `load`: safe in threads, one load at a time per key.

    A value is used while it is younger than `max_age` seconds, and while `load` raises
    StorageUnavailableError, as long as it is younger than `hard_age`. Any other error is an
    answer: the value is forgotten. A value from the future is not used: a clock that was set back
    must not keep anything alive. Ages count from the question.

    What `load` raises is passed on to everyone who waited for it, and not remembered. When the
    cache is full, what was loaded longest ago goes first.
    """

    def __init__(
        self,
        load: Callable[[K], V],
        *,
        clock: Callable[[], float],
        max_age: float,
        max_entries: int,
        hard_age: float = 0,
    ) -> None:
        self._load = load
        self._clock = clock
        self._max_age = max_age
        self._hard_age = hard_age
        self._max_entries = max_entries
        self._entries: dict[K, _Entry[V]] = {}
        self._writing = Lock()
        # A lock per key would need a bound and a cache of its own; a few shared ones do.
        self._loading = tuple(Lock() for _ in range(_STRIPES))
        self._failures: list[_Failure[K] | None] = [None] * _STRIPES
        self._unavailable_at = float("-inf")
        self._reloaded_at: LRUCache[K, float] = LRUCache(max_entries)
        self._reloading = Lock()

    def get(self, key: K) -> V:
        """Return the remembered value for `key`, or load it."""
        entry = self._younger(key, self._max_age) or self._renewed(key)
        return entry.value

    def peek(self, key: K) -> V | None:
        """Return the remembered value for `key`, or None; nothing is loaded."""
        entry = self._younger(key, self._max_age)
        return entry.value if entry else None

    def get_again(self, key: K, since: float, permit: Callable[[], None] = lambda: None) -> V:
        """Return the value for `key` after a rejection that a cached value may have caused.

        A value that was loaded after `since`, the start of the request, is current. Any other is
        loaded again, at most once a second for each key. `permit` may raise to prevent that.

        Raises:
            StorageUnavailableError: the value may be outdated and cannot be loaded.
        """
        with self._reloading:
            entry, now = self._entries.get(key), self._clock()
            if entry and since <= entry.asked_at <= now:
                return entry.value
            if 0 <= now - self._unavailable_at < PAUSE_SECONDS:
                raise StorageUnavailableError(reason="a reload failed a moment ago")
            reloaded_at = self._reloaded_at.get(key)
            if reloaded_at is not None and 0 <= now - reloaded_at < RELOAD_SECONDS:
                return self.get(key)
            permit()
            self._reloaded_at.put(key, now)
            with self._loading[hash(key) % _STRIPES]:
                return self._load_now(key).value

    def _younger(self, key: K, age: float) -> _Entry[V] | None:
        entry = self._entries.get(key)
        if entry and 0 <= self._clock() - entry.asked_at < age:
            return entry
        return None

    def _renewed(self, key: K) -> _Entry[V]:
        """Load a value; as long as that cannot be, return the old one."""
        if 0 <= self._clock() - self._unavailable_at < PAUSE_SECONDS:
            old = self._younger(key, self._hard_age)
            if old:
                return old
        try:
            return self._load_once(key)
        except StorageUnavailableError:
            # Looked for again: time has passed, and somebody else may have had an answer.
            old = self._younger(key, self._hard_age)
            if old is None:
                raise
            return old

    def _load_once(self, key: K) -> _Entry[V]:
        stripe = hash(key) % _STRIPES
        failed_before = self._failures[stripe]
        with self._loading[stripe]:
            failure = self._failures[stripe]
            if failure is not failed_before and failure is not None and failure.key == key:
                # It failed while we waited: each trying again in turn would take ever longer.
                raise failure.error
            try:
                return self._younger(key, self._max_age) or self._load_now(key)
            except Exception as error:
                self._failures[stripe] = _Failure(key, error)
                raise

    def _load_now(self, key: K) -> _Entry[V]:
        asked_at = self._clock()
        try:
            entry = _Entry(self._load(key), asked_at)
        except StorageUnavailableError:
            self._unavailable_at = self._clock()
            raise
        except Exception:
            self._forget(key)
            raise
        self._unavailable_at = float("-inf")
        self._remember(key, entry)
        return entry

    def _forget(self, key: K) -> None:
        with self._writing:
            self._entries.pop(key, None)

    def _remember(self, key: K, entry: _Entry[V]) -> None:
        with self._writing:
            self._entries.pop(key, None)
            while len(self._entries) >= self._max_entries:
                del self._entries[next(iter(self._entries))]
            self._entries[key] = entry
