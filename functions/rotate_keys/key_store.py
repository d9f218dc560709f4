"""The ring and its private halves, in the two secrets that keep them apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from functions.shared import key_ring, signing_keys

if TYPE_CHECKING:
    from functions.rotate_keys.key_generation import NewKey
    from functions.shared.key_ring import KeyRing
    from functions.shared.secret_store import SecretStore


@dataclass(frozen=True, slots=True)
class KeyStore:
    """Reads and writes both secrets in the order that is safe for whoever reads them meanwhile."""

    store: SecretStore
    key_ring_secret: str
    signing_keys_secret: str

    def ring(self) -> KeyRing | None:
        """Return the ring, or None before the first one was written."""
        text = self.store.read(self.key_ring_secret)
        return key_ring.from_json(text) if text is not None else None

    def add(self, key: NewKey, ring: KeyRing) -> None:
        """Write a new key's private half first, then the ring that names it."""
        private_keys = signing_keys.from_json(self.store.read(self.signing_keys_secret))
        private_keys[key.kid] = key.private_pem
        self.store.write(self.signing_keys_secret, signing_keys.to_json(private_keys))
        self.store.write(self.key_ring_secret, key_ring.to_json(ring))
