"""A cache of the key ring."""

from __future__ import annotations

from ..runtime.lambda_function import Clock
from ..storage.cache import StorageCache
from ..storage.secrets_manager import SecretStore
from .key_ring import KeyRing, RingKey, UnusableKeyRingError, from_json, key_errors

FRESH_SECONDS = 30
"""Cache lifetime, and the time in which all processes use a written key ring."""

STALE_SECONDS = 300
"""The same during an outage of Secrets Manager. Rotation depends on it."""


class CachedKeyRing:
    """Reads the key ring from its secret, at most once in 30 seconds.

    While Secrets Manager is unavailable, a key ring is used until it is five minutes old. It is
    discarded when the secret is empty or malformed, or access is denied.
    """

    def __init__(self, store: SecretStore, secret: str, clock: Clock) -> None:
        self._secret = secret
        self._rings: StorageCache[str, KeyRing] = StorageCache(
            lambda name: _read(store, name),
            clock=clock,
            fresh_for=FRESH_SECONDS,
            stale_for=STALE_SECONDS,
            max_entries=1,
        )

    def current(self) -> KeyRing:
        """Return the key ring, up to 30 seconds old, or 5 minutes during an outage.

        Raises:
            UnusableKeyRingError: there is none, or it cannot be read.
            StorageUnavailableError: Secrets Manager is unavailable, and no key ring is cached.
        """
        return self._rings.get(self._secret)

    def signing_key(self, now: float, alg: str) -> RingKey:
        """Return the key that signs at `now`. The key ring is reloaded if it has none.

        Raises:
            UnusableKeyRingError, StorageUnavailableError: as `current`; or no key may sign.
        """
        ring = self.current()
        try:
            return ring.signing_key(now, alg)
        except UnusableKeyRingError:
            return self._reloaded(now).signing_key(now, alg)

    def published_key(self, kid: str, now: float) -> RingKey | None:
        """Return the published key with this `kid`. The key ring is reloaded if it has none.

        Raises:
            UnusableKeyRingError, StorageUnavailableError: as `current`.
        """
        return _published(self.current(), kid, now) or _published(self._reloaded(now), kid, now)

    def _reloaded(self, since: float) -> KeyRing:
        """Return the key ring, reloaded unless it was loaded at most a second before `since`."""
        return self._rings.reload(self._secret, since)


def _published(ring: KeyRing, kid: str, now: float) -> RingKey | None:
    return next((key for key in ring.published_keys(now) if key.kid == kid), None)


def _read(store: SecretStore, name: str) -> KeyRing:
    with key_errors():
        return from_json(store.read(name))
