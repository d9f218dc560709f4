"""The LRU cache."""

from authorizer.cache import LRUCache


def test_least_recently_used_entry_is_evicted() -> None:
    recent: LRUCache[str, int] = LRUCache(2)
    recent.put("a", 1)
    recent.put("b", 2)
    assert recent.get("a") == 1
    recent.put("c", 3)
    assert (recent.get("a"), recent.get("b"), recent.get("c")) == (1, None, 3)


def test_capacity_is_never_exceeded() -> None:
    recent: LRUCache[int, int] = LRUCache(10)
    for number in range(1000):
        recent.put(number, number)
    assert len(recent) == 10


def test_removing_a_key_twice_is_harmless() -> None:
    recent: LRUCache[str, int] = LRUCache(2)
    recent.put("a", 1)
    recent.remove("a")
    recent.remove("a")
    assert recent.get("a") is None
