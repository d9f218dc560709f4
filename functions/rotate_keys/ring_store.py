"""The ring in its secret, written only over the ring that was read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from functions.shared.keys import key_ring
from functions.shared.keys.key_ring import KeyRing

if TYPE_CHECKING:
    from functions.shared.runtime.secret_store import SecretVersion, VersionedSecretStore


@dataclass(frozen=True, slots=True)
class SeenRing:
    """A ring as it was read. Before the first one was written it has no keys and no version."""

    ring: KeyRing
    version: SecretVersion | None


@dataclass(frozen=True, slots=True)
class RingStore:
    """Reads and writes the ring."""

    secrets: VersionedSecretStore
    name: str

    def read(self) -> SeenRing:
        """Return the ring.

        Raises:
            UnusableKeyRingError: there is one and it cannot be read. It is never replaced.
        """
        version = self.secrets.read_version(self.name)
        ring = KeyRing(()) if version is None else key_ring.from_json(version.text)
        return SeenRing(ring, version)

    def write(self, ring: KeyRing, seen: SeenRing) -> None:
        """Write a ring in the place of the one that was read.

        Raises:
            SecretConflictError: somebody else was faster.
        """
        self.secrets.replace(self.name, key_ring.to_json(ring), seen.version)
