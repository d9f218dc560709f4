"""The key ring as a warm process knows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from functions.shared.keys.key_ring import KeyRing, from_json, key_errors
from functions.shared.runtime.warm_cache import WarmCache

if TYPE_CHECKING:
    from functions.shared.runtime.clock import Clock
    from functions.shared.runtime.secret_store import SecretStore

WARM_SECONDS: Final = 30
"""Rotation relies on it: what is written to the ring takes that long to be everywhere."""


class WarmKeyRing:
    """Reads the ring from a secret, at most once in 30 seconds."""

    def __init__(self, store: SecretStore, secret: str, clock: Clock) -> None:
        self._secret = secret
        self._rings: WarmCache[str, KeyRing] = WarmCache(
            lambda name: _read(store, name),
            clock=clock,
            max_age=WARM_SECONDS,
            max_entries=1,
        )

    def current(self) -> KeyRing:
        """Return the ring, perhaps as it was up to 30 seconds ago.

        Raises:
            UnusableKeyRingError: there is none, or it cannot be read.
        """
        return self._rings.get(self._secret)


def _read(store: SecretStore, name: str) -> KeyRing:
    with key_errors():
        return from_json(store.read(name))
