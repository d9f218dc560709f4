import pytest

from functions.shared.keys import key_ring
from functions.shared.keys.key_ring import FRESH_SECONDS, CachedKeyRing, UnusableKeyRingError
from tests.support.aws import KEY_RING_SECRET
from tests.support.memory_stores import ManualClock, MemorySecrets
from tests.support.server import key, ring, secrets


def test_ring_is_cached_for_thirty_seconds() -> None:
    store, clock = secrets(), ManualClock()
    warm = CachedKeyRing(store, KEY_RING_SECRET, clock)
    for _ in range(100):
        assert warm.current() == ring()
    assert store.reads == [KEY_RING_SECRET]
    store.write(KEY_RING_SECRET, key_ring.to_json(ring(key(1), key(2))))
    clock.now += FRESH_SECONDS
    assert len(warm.current().keys) == 2


def test_absent_ring_is_not_cached() -> None:
    store = MemorySecrets()
    warm = CachedKeyRing(store, KEY_RING_SECRET, ManualClock())
    with pytest.raises(UnusableKeyRingError, match="rotate_keys makes one"):
        warm.current()
    store.write(KEY_RING_SECRET, key_ring.to_json(ring()))
    assert warm.current() == ring()
