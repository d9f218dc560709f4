"""Cache of storage with stale-if-error (RFC 5861), for warm processes."""

import time
from collections.abc import Callable
from functools import partial
from threading import Lock
from typing import Generic, TypeVar

from authorizer.cache import BackOff, CacheEntry, Lifetime, Loaded, LRUCache, RefreshingCache
from authorizer.clock import Clock, Clocks, Deadline

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
