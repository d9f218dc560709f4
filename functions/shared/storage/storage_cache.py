"""Cache of storage with stale-if-error (RFC 5861), for warm processes."""

import time
from collections.abc import Callable
from functools import partial
from threading import Lock
from typing import Generic, TypeVar

from authorizer.cache import BackOff, CacheEntry, Lifetime, Loaded, LRUCache, RefreshingCache
from authorizer.clock import Clock, Clocks, Deadline, Instant

from .errors import StorageUnavailableError

K = TypeVar("K")
V = TypeVar("V")

PAUSE_SECONDS = 10
"""After a failed load, stale entries are used for this time without another attempt."""

RELOAD_SECONDS = 1
"""The shortest time between two forced reloads of a key."""

_WAIT_SECONDS = 60.0  # a concurrent load has time-outs of its own


class StorageCache(Generic[K, V]):
    """A `RefreshingCache` in front of `load`, whose errors are storage errors.

    An entry is fresh for `fresh_for` seconds. While `load` raises StorageUnavailableError, it is
    used until `stale_for`. Any other error, such as access denied, removes the entry.
    """

    def __init__(
        self,
        load: Callable[[K], V],
        *,
        clock: Clock,
        monotonic: Clock = time.monotonic,
        fresh_for: float,
        max_entries: int,
        stale_for: float = 0,
    ) -> None:
        clocks = Clocks(clock, monotonic)
        self._load = load
        self._clock = clock
        self._lifetime = Lifetime(fresh_for, stale_for)
        self._entries: LRUCache[K, CacheEntry[V]] = LRUCache(max_entries)
        self._cache: RefreshingCache[K, V] = RefreshingCache(
            self._entries,
            clocks,
            unavailable=StorageUnavailableError,
            make_error=lambda _paused: StorageUnavailableError(reason="a load failed a moment ago"),
            back_off=BackOff(clocks, first=PAUSE_SECONDS, longest=PAUSE_SECONDS, jitter=lambda: 0.0),
            is_answer=lambda error: not isinstance(error, StorageUnavailableError),
            pause_without_entry=False,
        )
        self._reloaded_at: LRUCache[K, float] = LRUCache(max_entries)
        self._reloading = Lock()

    def get(self, key: K) -> V:
        """Return the cached value of `key`, or load it."""
        entry = self._cache.peek(key)
        if entry is None:
            entry = self._cache.get(key, partial(self._loaded, key), Deadline(_WAIT_SECONDS))
        return entry.value

    def peek(self, key: K) -> V | None:
        """Return the cached value of `key`, or None; nothing is loaded."""
        entry = self._cache.peek(key)
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
            if entry and since <= entry.loaded_at.wall <= now:
                return entry.value
            if self._cache.is_paused:
                raise StorageUnavailableError(reason="a reload failed a moment ago")
            reloaded_at = self._reloaded_at.get(key)
            if reloaded_at is not None and 0 <= now - reloaded_at < RELOAD_SECONDS:
                return self.get(key)
            permit()
            self._reloaded_at.put(key, now)
            load, deadline = partial(self._loaded, key), Deadline(_WAIT_SECONDS)
            return self._cache.refresh(key, load, deadline, lambda found: found is not entry).value

    def _loaded(self, key: K, _deadline: Deadline) -> Loaded[V]:
        return Loaded(self._load(key), self._lifetime)


class RecordCache(Generic[V]):
    """A `StorageCache` of records that may not exist.

    Unknown keys are cached for `fresh_for` seconds. They have a cache of their own, so that a flood of them does not
    evict records. `permit` decides about each reload. Its argument is true for an unknown key.
    """

    def __init__(
        self,
        load: Callable[[str], V | None],
        permit: Callable[[bool], bool],
        clocks: Clocks,
        *,
        fresh_for: float,
        stale_for: float,
        max_entries: int,
    ) -> None:
        self._find = load
        self._may_reload = permit
        self._clocks = clocks
        self._fresh_for = fresh_for
        self._records: StorageCache[str, V] = StorageCache(
            self._load,
            clock=clocks.wall,
            monotonic=clocks.monotonic,
            fresh_for=fresh_for,
            stale_for=stale_for,
            max_entries=max_entries,
        )
        self._unknown: LRUCache[str, Instant] = LRUCache(max_entries)

    def peek(self, key: str) -> V | None:
        """Return the cached record, or None; nothing is loaded."""
        return self._records.peek(key)

    def find(self, key: str) -> V | None:
        """Return the record, cached or loaded, or None."""
        record = self._records.peek(key)
        if record is not None or self._is_unknown(key):
            return record
        try:
            return self._records.get(key)
        except _UnknownKeyError:
            return None

    def find_again(self, key: str, since: float) -> V | None:
        """Return the record or None, reloaded at most once a second unless it was loaded after `since`.

        Raises:
            StorageUnavailableError: only an older record is cached, and it cannot be reloaded.
        """
        unknown_at = self._unknown.get(key)
        if unknown_at is not None and since <= unknown_at.wall <= self._clocks.wall():
            return None
        try:
            return self._records.reload(key, since, partial(self._permit, key))
        except _UnknownKeyError:
            return None

    def _permit(self, key: str) -> None:
        if not self._may_reload(self._unknown.get(key) is not None):
            raise _UnknownKeyError
        self._unknown.remove(key)

    def _load(self, key: str) -> V:
        if self._is_unknown(key):
            raise _UnknownKeyError
        started = self._clocks.now()
        record = self._find(key)
        if record is None:
            self._unknown.put(key, started)
            raise _UnknownKeyError
        return record

    def _is_unknown(self, key: str) -> bool:
        since = self._unknown.get(key)
        return since is not None and 0 <= self._clocks.since(since) < self._fresh_for


class _UnknownKeyError(Exception):
    """Raised so that the cache of records has records only."""
