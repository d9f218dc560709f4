"""A run of rotate_keys, and the key ring's secret that it changes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..shared.keys import key_ring
from ..shared.keys.key_ring import KeyRing, RingKey
from ..shared.keys.rotation import (
    PROPAGATION_SECONDS,
    NewKey,
    RotationRules,
    algorithms_due,
    announce,
    first_ring,
    prune,
    signing_age,
)
from ..shared.lambda_function import Clock
from ..shared.lifetimes import DAY
from ..shared.storage.secrets_manager import SecretStore, SecretVersion, retrying_conflicts
from .key_backends import KeyBackend

LONGEST_RUN = 900
"""Seconds. A run that took longer does not write: another run may have deleted its new key."""


class SlowRotationError(Exception):
    """Raised when a run took so long that its new key may have been deleted."""


@dataclass(frozen=True, slots=True)
class SeenRing:
    """A key ring as it was read. Before the first write it has no keys and no version."""

    ring: KeyRing
    version: SecretVersion | None


@dataclass(frozen=True, slots=True)
class RingStore:
    """Reads and writes the key ring in its secret."""

    secrets: SecretStore
    name: str

    def read(self) -> SeenRing:
        """Return the key ring.

        Raises:
            UnusableKeyRingError: it cannot be read. It is never replaced.
        """
        version = self.secrets.read_version(self.name)
        ring = KeyRing(()) if version is None else key_ring.from_json(version.text)
        return SeenRing(ring, version)

    def write(self, ring: KeyRing, seen: SeenRing) -> None:
        """Replace the key ring that was read.

        Raises:
            SecretConflictError: another process has replaced it.
        """
        self.secrets.replace(self.name, key_ring.to_json(ring), seen.version)

    def change(self, change: Callable[[KeyRing], KeyRing]) -> KeyRing:
        """Write a change, repeated on top of concurrent changes; return the key ring.

        Raises:
            SecretConflictError: other processes wrote the key ring each time.
        """

        def write() -> KeyRing:
            seen = self.read()
            ring = change(seen.ring)
            self.write(ring, seen)
            return ring

        return retrying_conflicts(write)


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a run: ids of keys that it added to the key ring and that it removed.

    `signing_key_age_days` is the time since the oldest current key's first signature. The fields are
    members of the log line: `deleted_private_halves` is the number of deleted private keys.
    """

    created: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    deleted_private_halves: int = 0
    signing_key_age_days: float = 0.0


@dataclass(frozen=True, slots=True)
class Rotator:
    """Creates, announces and removes keys when they are due.

    A run may be interrupted, and several may run concurrently. A private key is stored before the key ring names it. A
    key ring is written only over the one that was read. A later run deletes private keys that are left over.
    """

    store: RingStore
    backends: Mapping[str, KeyBackend]
    backend: str
    algorithms: Sequence[str]
    rules: RotationRules
    clock: Clock

    def run(self) -> Report:
        """Create, announce and remove the keys that are due.

        Raises:
            SecretConflictError: other processes wrote the key ring each time.
            UnusableKeyRingError: the key ring cannot be read. It is not changed.
            StorageError: AWS refuses or is unavailable.
        """
        seen, ring, created = retrying_conflicts(self._rotate)
        dropped = {key.kid for key in seen.keys} - {key.kid for key in ring.keys}
        age = round(signing_age(ring, self.clock()) / DAY, 2)
        return Report(created, tuple(sorted(dropped)), self._delete_unused(ring), age)

    def _rotate(self) -> tuple[KeyRing, KeyRing, tuple[str, ...]]:
        """Change the key ring if due; return the old one, the new one, and the new key ids."""
        seen = self.store.read()
        started = self.clock()
        ring = prune(seen.ring, started)
        due = algorithms_due(ring, self.algorithms, self.rules, started, self.backend)
        made = [self.backends[self.backend].create(alg, started) for alg in due]
        # Creating keys takes a while, and they are announced from the time of the write.
        now = self.clock()
        if abs(now - started) > LONGEST_RUN:
            raise SlowRotationError
        changed = self._with(ring, made, now)
        if changed != seen.ring:
            self.store.write(changed, seen)
        return seen.ring, changed, tuple(key.kid for key in made)

    def _with(self, ring: KeyRing, made: Sequence[NewKey], now: float) -> KeyRing:
        if not ring.keys:
            return first_ring(made, now)
        for key in made:
            ring = announce(ring, key, self.rules, now)
        return ring

    def _delete_unused(self, ring: KeyRing) -> int:
        now = self.clock()
        needed = [key for key in ring.keys if _may_still_sign(key, now)]
        return sum(backend.delete_unused(needed, now) for backend in self.backends.values())


def _may_still_sign(key: RingKey, now: float) -> bool:
    """Return whether a process may sign with it, even a slow one or one whose clock is behind."""
    return key.sign_until is None or now < key.sign_until + PROPAGATION_SECONDS
