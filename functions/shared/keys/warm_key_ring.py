"""The key ring as a warm process knows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from functions.shared.keys.key_ring import KeyRing, UnusableKeyRingError, from_json, key_errors
from functions.shared.runtime.warm_cache import WarmCache

if TYPE_CHECKING:
    from functions.shared.keys.key_ring import RingKey
    from functions.shared.runtime.clock import Clock
    from functions.shared.runtime.secret_store import SecretStore

WARM_SECONDS: Final = 30
"""What is written to the ring takes that long to be everywhere, if Secrets Manager answers."""

STALE_SECONDS: Final = 300
"""And that long in a process that cannot ask it: rotation relies on it."""


class WarmKeyRing:
    """Reads the ring from a secret, at most once in 30 seconds.

    While Secrets Manager throttles, fails or cannot be reached, a ring is used until it is five
    minutes old. An answer without a ring that can be used (none, malformed, access denied) ends it.
    """

    def __init__(self, store: SecretStore, secret: str, clock: Clock) -> None:
        self._secret = secret
        self._rings: WarmCache[str, KeyRing] = WarmCache(
            lambda name: _read(store, name),
            clock=clock,
            max_age=WARM_SECONDS,
            hard_age=STALE_SECONDS,
            max_entries=1,
        )

    def current(self) -> KeyRing:
        """Return the ring, perhaps as it was up to 30 seconds ago, or 5 minutes (see above).

        Raises:
            UnusableKeyRingError: there is none, or it cannot be read.
            StorageUnavailableError: Secrets Manager cannot be asked, and no ring is young
                enough.
        """
        return self._rings.get(self._secret)

    def signing_key(self, now: float, alg: str) -> RingKey:
        """Return the key that signs at `now`, by a ring that is read again if it has none.

        Raises:
            UnusableKeyRingError, StorageUnavailableError: as `current`; or no key may sign.
        """
        ring = self.current()
        try:
            return ring.signing_key(now, alg)
        except UnusableKeyRingError:
            return self._current_again(now).signing_key(now, alg)

    def published_key(self, kid: str, now: float) -> RingKey | None:
        """Return the published key of this id, by a ring that is read again if it has none.

        Raises:
            UnusableKeyRingError, StorageUnavailableError: as `current`.
        """
        return _published(self.current(), kid, now) or _published(
            self._current_again(now), kid, now
        )

    def _current_again(self, since: float) -> KeyRing:
        """Return the ring as it was at `since`, or at most a second before: one read a second."""
        return self._rings.get_again(self._secret, since)


def _published(ring: KeyRing, kid: str, now: float) -> RingKey | None:
    return next((key for key in ring.published_keys(now) if key.kid == kid), None)


def _read(store: SecretStore, name: str) -> KeyRing:
    with key_errors():
        return from_json(store.read(name))
