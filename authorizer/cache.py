"""Caches: a bounded map, and a refreshing cache for remote data."""

import os
from _thread import allocate_lock  # importing threading takes a fiftieth of a cold start
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Generic, NamedTuple, Protocol, TypeVar

from .clock import Clocks, Deadline, Instant

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")
_Key_contra = TypeVar("_Key_contra", contravariant=True)
Jitter = Callable[[], float]
"""Returns a number from 0 up to 1."""


def jitter() -> float:
    """Return a random number from 0 up to 1. Importing `random` would slow down cold starts."""
    return int.from_bytes(os.urandom(4)) / 2**32


class LRUCache(Generic[Key, Value]):
    """A map of at most `capacity` entries that drops the least recently used. Thread-safe."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._entries: OrderedDict[Key, Value] = OrderedDict()
        self._lock = allocate_lock()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Key) -> Value | None:
        """Return the value of a key, and mark it as used."""
        value = self._entries.get(key)
        if value is not None:
            try:
                self._entries.move_to_end(key)
            except KeyError:  # another thread has just removed it
                return value
        return value

    def put(self, key: Key, value: Value) -> None:
        """Store a value."""
        with self._lock:
            self._entries[key] = value
            self._entries.move_to_end(key)
            if len(self._entries) > self._capacity:
                self._entries.popitem(last=False)

    def remove(self, key: Key) -> None:
        """Remove a key, if it exists."""
        with self._lock:
            self._entries.pop(key, None)


class BackOff:
    """A pause after failures: none for the first `tolerance`, then doubling up to `longest`.

    `jitter` shortens each pause by up to a half. Otherwise all sandboxes of a function, which see
    an outage begin at once, would retry at once.
    """

    def __init__(
        self, clocks: Clocks, *, first: float = 1.0, longest: float = 60.0, tolerance: int = 0, jitter: Jitter = jitter
    ) -> None:
        self._clocks = clocks
        self._first = first
        self._longest = longest
        self._tolerance = tolerance
        self._jitter = jitter
        self._failed_at = Instant(0, 0)
        self._pause = 0.0
        self.failures = 0

    def failed(self) -> None:
        """Count a failure and start the pause.

        A failure during the pause is ignored: its load began before the pause.
        """
        if self.is_on():
            return
        doublings = min(self.failures - self._tolerance, 10)
        self._pause = min(self._longest, self._first * 2.0**doublings) * (1 - self._jitter() / 2)
        self._failed_at = self._clocks.now()
        self.failures += 1

    def succeeded(self) -> None:
        """Forget all failures."""
        self.failures = 0

    def is_on(self) -> bool:
        """Return whether the pause lasts."""
        if self.failures <= self._tolerance:
            return False
        return 0 <= self._clocks.since(self._failed_at) < self._pause


class Lifetime(NamedTuple):
    """The seconds for which an entry is fresh, and for which it may be used at all."""

    fresh_for: float
    stale_for: float


class Loaded(NamedTuple, Generic[Value]):
    """The result of a load."""

    value: Value
    lifetime: Lifetime


class CacheEntry(NamedTuple, Generic[Value]):
    """A value and the start of its load. The value is not younger than that."""

    value: Value
    loaded_at: Instant
    lifetime: Lifetime


Load = Callable[[Deadline], Loaded[Value]]
"""Loads the value of one key before the deadline, or raises."""


class Store(Protocol[_Key_contra, Value]):
    """Stores the entries of a cache."""

    def get(self, key: _Key_contra) -> CacheEntry[Value] | None:
        """Return an entry."""

    def put(self, key: _Key_contra, entry: CacheEntry[Value]) -> None:
        """Store an entry."""

    def remove(self, key: _Key_contra) -> None:
        """Remove an entry, if it exists."""


class _Lock:
    __slots__ = ("error", "lock", "users")

    def __init__(self) -> None:
        self.lock = allocate_lock()
        self.users = 0
        self.error: Exception | None = None


class KeyedLock:
    """One lock per key, which exists while it is used. A forked process does not wait for its parent's locks."""

    def __init__(self) -> None:
        self._locks: dict[Hashable, _Lock] = {}
        self._guard = allocate_lock()

    @contextmanager
    def acquire(self, key: Hashable, timeout: float) -> Iterator[_Lock | None]:
        """Wait for the lock of a key; yield it if it was acquired in time."""
        key = os.getpid(), key
        with self._guard:
            lock = self._locks.setdefault(key, _Lock())
            lock.users += 1
        acquired = False
        try:
            acquired = lock.lock.acquire(timeout=timeout)
            yield lock if acquired else None
        finally:
            if acquired:
                lock.lock.release()
            with self._guard:
                lock.users -= 1
                if not lock.users:
                    del self._locks[key]


class RefreshingCache(Generic[Key, Value]):
    """Cache for remote data with stale-while-revalidate and stale-if-error (RFC 5861).

    An entry is fresh for `fresh_for` seconds after its load started. After that, the first caller
    reloads it; concurrent callers get the stale entry until `stale_for`. A failed load starts a
    back-off with jitter. At most one load per key runs at a time.

    Args:
        store: the entries.
        clocks: the clocks.
        unavailable: the class of errors after which a stale entry is used.
        make_error: makes such an error, for a caller that may not load: because of the back-off,
            if its argument is true, and otherwise because another load takes too long.
        back_off: the pause after failed loads of any key.
        is_answer: returns whether an error is the remote side's answer. Such an error removes the
            entry and starts no back-off.
        pause_without_entry: whether the back-off is for callers without a usable entry, too.
    """

    def __init__(
        self,
        store: Store[Key, Value],
        clocks: Clocks,
        *,
        unavailable: type[Exception],
        make_error: Callable[[bool], Exception],
        back_off: BackOff,
        is_answer: Callable[[Exception], bool] = lambda _error: False,
        pause_without_entry: bool = True,
    ) -> None:
        self._store = store
        self._clocks = clocks
        self._unavailable = unavailable
        self._make_error = make_error
        self._back_off = back_off
        self._is_answer = is_answer
        self._pause_without_entry = pause_without_entry
        self._locks = KeyedLock()

    @property
    def failures(self) -> int:
        """The number of failed loads since the last success."""
        return self._back_off.failures

    @property
    def is_paused(self) -> bool:
        """True during the back-off."""
        return self._back_off.is_on()

    def peek(self, key: Key) -> CacheEntry[Value] | None:
        """Return the entry of a key if it is fresh; load nothing."""
        entry = self._store.get(key)
        return entry if entry is not None and self._is_fresh(entry) else None

    def get(self, key: Key, load: Load[Value], deadline: Deadline) -> CacheEntry[Value]:
        """Return a fresh entry, or a stale one if a load is running or fails.

        Raises:
            Exception: no usable entry exists, and the load failed or is not possible now.
        """
        entry = self._store.get(key)
        if entry is not None and self._is_fresh(entry):
            return entry
        usable = self._is_usable(entry)
        try:
            return self._load_once(key, load, deadline, self._is_fresh, 0.0 if usable else None)
        except self._unavailable:
            # Read again: time has passed, and a concurrent load may have succeeded.
            entry = self._store.get(key)
            if entry is None or not self._is_usable(entry):
                raise
            return entry

    def refresh(
        self, key: Key, load: Load[Value], deadline: Deadline, is_current: Callable[[CacheEntry[Value]], bool]
    ) -> CacheEntry[Value]:
        """Load again, however fresh the entry is, unless a concurrent load made it current.

        Raises:
            Exception: the load failed, or is not possible now.
        """
        return self._load_once(key, load, deadline, is_current, None)

    def _load_once(
        self,
        key: Key,
        load: Load[Value],
        deadline: Deadline,
        is_current: Callable[[CacheEntry[Value]], bool],
        timeout: float | None,
    ) -> CacheEntry[Value]:
        wait_seconds = deadline.remaining() if timeout is None else timeout
        with self._locks.acquire(key, wait_seconds) as lock:
            if lock is None:
                raise self._make_error(False)
            entry = self._store.get(key)
            if entry is not None and is_current(entry):
                return entry
            pauses = self._pause_without_entry or self._is_usable(entry)
            if pauses and self._back_off.is_on():
                raise self._make_error(True)
            if lock.error is not None:
                # The load failed during the wait. With one attempt each, the last would wait long.
                raise lock.error
            try:
                return self._load(key, load, deadline)
            except Exception as error:
                lock.error = error
                raise

    def _load(self, key: Key, load: Load[Value], deadline: Deadline) -> CacheEntry[Value]:
        loaded_at = self._clocks.now()
        try:
            loaded = load(deadline)
        except Exception as error:
            if self._is_answer(error):
                self._store.remove(key)
            else:
                self._back_off.failed()
            raise
        self._back_off.succeeded()
        entry = CacheEntry(loaded.value, loaded_at, loaded.lifetime)
        self._store.put(key, entry)
        return entry

    def _is_fresh(self, entry: CacheEntry[Value]) -> bool:
        # A negative age means that the clock was set back: the entry counts as expired.
        return 0 <= self._clocks.since(entry.loaded_at) < entry.lifetime.fresh_for

    def _is_usable(self, entry: CacheEntry[Value] | None) -> bool:
        if entry is None:
            return False
        return 0 <= self._clocks.since(entry.loaded_at) < entry.lifetime.stale_for
