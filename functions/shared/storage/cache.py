"""Cache of storage with stale-if-error (RFC 5861), for warm processes."""

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
"""Back-off after a failed load: stale values are used without another attempt."""

RELOAD_SECONDS: Final = 1
"""Minimum seconds between two reloads of a key."""

_STRIPES = 16


@dataclass(frozen=True, slots=True)
class _Entry(Generic[V]):
    value: V
    loaded_at: float


@dataclass(frozen=True, slots=True)
class _Failure(Generic[K]):
    key: K
    error: Exception


class StorageCache(Generic[K, V]):
    """A bounded, thread-safe cache of `load`, with one load at a time per key.

    A value is fresh for `fresh_for` seconds after its load started. While `load` raises
    StorageUnavailableError, it is used until `stale_for`. After any other error it is removed. An
    entry timestamped in the future (clock moved back) is treated as expired.

    An error of `load` is raised to all callers that waited for it, and not cached. When the cache
    is full, the entry that was loaded first is removed.
    """

    def __init__(
        self,
        load: Callable[[K], V],
        *,
        clock: Callable[[], float],
        fresh_for: float,
        max_entries: int,
        stale_for: float = 0,
    ) -> None:
        self._load = load
        self._clock = clock
        self._fresh_for = fresh_for
        self._stale_for = stale_for
        self._max_entries = max_entries
        self._entries: dict[K, _Entry[V]] = {}
        self._writing = Lock()
        # Locks per key would need a cache of their own; a few shared ones are enough.
        self._loading = tuple(Lock() for _ in range(_STRIPES))
        self._failures: list[_Failure[K] | None] = [None] * _STRIPES
        self._unavailable_at = float("-inf")
        self._reloaded_at: LRUCache[K, float] = LRUCache(max_entries)
        self._reloading = Lock()

    def get(self, key: K) -> V:
        """Return the cached value of `key`, or load it."""
        entry = self._younger(key, self._fresh_for) or self._renewed(key)
        return entry.value

    def peek(self, key: K) -> V | None:
        """Return the cached value of `key`, or None without a load."""
        entry = self._younger(key, self._fresh_for)
        return entry.value if entry else None

    def reload(self, key: K, since: float, permit: Callable[[], None] = lambda: None) -> V:
        """Return the value of `key` after an error that an outdated value may have caused.

        A value that was loaded after `since`, the start of the request, is current. Any other is
        reloaded, at most once a second for each key. `permit` may raise to prevent that.

        Raises:
            StorageUnavailableError: the value may be outdated and cannot be loaded.
        """
        with self._reloading:
            entry, now = self._entries.get(key), self._clock()
            if entry and since <= entry.loaded_at <= now:
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
        if entry and 0 <= self._clock() - entry.loaded_at < age:
            return entry
        return None

    def _renewed(self, key: K) -> _Entry[V]:
        """Load a value; return the stale one while storage is unavailable."""
        if 0 <= self._clock() - self._unavailable_at < PAUSE_SECONDS:
            old = self._younger(key, self._stale_for)
            if old:
                return old
        try:
            return self._load_once(key)
        except StorageUnavailableError:
            # Looked up again: time has passed, and another thread may have loaded it.
            old = self._younger(key, self._stale_for)
            if old is None:
                raise
            return old

    def _load_once(self, key: K) -> _Entry[V]:
        stripe = hash(key) % _STRIPES
        failed_before = self._failures[stripe]
        with self._loading[stripe]:
            failure = self._failures[stripe]
            if failure is not failed_before and failure is not None and failure.key == key:
                # It failed while this thread waited. Retries one after another would take too long.
                raise failure.error
            try:
                return self._younger(key, self._fresh_for) or self._load_now(key)
            except Exception as error:
                self._failures[stripe] = _Failure(key, error)
                raise

    def _load_now(self, key: K) -> _Entry[V]:
        loaded_at = self._clock()
        try:
            entry = _Entry(self._load(key), loaded_at)
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
