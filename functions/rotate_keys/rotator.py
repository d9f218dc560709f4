"""One run of rotate_keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from functions.rotate_keys.rotation import (
    algorithms_due,
    announce,
    first_ring,
    kept,
    signing_age,
)
from functions.rotate_keys.rotation_rules import SETTLING
from functions.shared.runtime.secret_store import retrying_conflicts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from functions.rotate_keys.key_generation import NewKey
    from functions.rotate_keys.private_halves import PrivateHalves
    from functions.rotate_keys.ring_store import RingStore
    from functions.rotate_keys.rotation_rules import RotationRules
    from functions.shared.keys.key_ring import KeyRing, RingKey
    from functions.shared.runtime.clock import Clock

_DAY: Final = 86_400

LONGEST_RUN: Final = 900
"""Seconds. A run that took longer does not write: its key may have been tidied away meanwhile."""


class SlowRotationError(Exception):
    """Raised when a run took so long that the key it made may be gone."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a run did: ids of keys that it put into the ring and that it took out.

    `signing_key_age_days` is for how long the oldest of the keys that sign now has done so.
    """

    created: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    deleted_private_halves: int = 0
    signing_key_age_days: float = 0.0


@dataclass(frozen=True, slots=True)
class Rotator:
    """Looks at the ring and does what is due.

    Safe to end anywhere and to run beside itself: a key's private half is kept before a ring names
    the key, and a ring is written only over the one that was read. What that leaves behind, a later
    run deletes.
    """

    store: RingStore
    halves: Mapping[str, PrivateHalves]
    edition: str
    algorithms: Sequence[str]
    rules: RotationRules
    clock: Clock

    def run(self) -> Report:
        """Make, announce and drop what is due.

        Raises:
            SecretConflictError: others were faster every time.
            UnusableKeyRingError: the ring cannot be read. It is left as it is.
            StorageError: AWS refuses or is unavailable.
        """
        seen, ring, created = retrying_conflicts(self._rotate)
        dropped = {key.kid for key in seen.keys} - {key.kid for key in ring.keys}
        age = round(signing_age(ring, self.clock()) / _DAY, 2)
        return Report(created, tuple(sorted(dropped)), self._tidy(ring), age)

    def _rotate(self) -> tuple[KeyRing, KeyRing, tuple[str, ...]]:
        """Do what is due to the ring; return it as it was, as it is now, and the new key ids."""
        seen = self.store.read()
        started = self.clock()
        ring = kept(seen.ring, started)
        due = algorithms_due(ring, self.algorithms, self.rules, started, self.edition)
        made = [self.halves[self.edition].create(alg, started) for alg in due]
        # Read anew: making keys takes a while, and they are announced from the time of the write.
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

    def _tidy(self, ring: KeyRing) -> int:
        now = self.clock()
        needed = [key for key in ring.keys if _may_still_sign(key, now)]
        return sum(halves.tidy(needed, now) for halves in self.halves.values())


def _may_still_sign(key: RingKey, now: float) -> bool:
    """Whether any process may sign with it, the slowest and the one that is behind included."""
    return key.sign_until is None or now < key.sign_until + SETTLING
