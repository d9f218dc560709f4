"""What an operator does with keys that breaks nothing: rotate ahead of schedule, retire early.

Both keep the rules of rotation, refuse what would break one, and write the ring under the same
condition as the rotator, so they may run beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from functions.rotate_keys.rotation import announce
from functions.rotate_keys.rotation_rules import RETENTION_NEEDED, SETTLING
from infra.cli.terminal.times import readable, span
from infra.emergency import RefusedError, change_ring, find_key, revoked

if TYPE_CHECKING:
    from functions.rotate_keys.private_halves import PrivateHalves
    from functions.rotate_keys.ring_store import RingStore
    from functions.rotate_keys.rotation_rules import RotationRules
    from functions.shared.keys.key_ring import KeyRing, RingKey
    from functions.shared.runtime.clock import Clock


@dataclass(frozen=True, slots=True)
class Planned:
    """Announces keys before they are due, and takes keys out that nobody needs any more."""

    store: RingStore
    halves: PrivateHalves
    rules: RotationRules
    clock: Clock

    def rotate(self, alg: str) -> RingKey:
        """Announce a successor of the key that signs; it signs when every verifier can know it.

        Raises:
            RefusedError: one is announced already, or there is none to succeed.
            SecretConflictError: others wrote the ring faster every time.
        """
        # Asked before there is a key, so that a refusal leaves none behind.
        refuse_second_successor(self.store.read().ring, alg, self.clock())
        key = self.halves.create(alg, self.clock())

        def announced(ring: KeyRing, now: float) -> KeyRing:
            refuse_second_successor(ring, alg, now)
            return announce(ring, key, self.rules, now)

        return find_key(change_ring(self.store, self.clock, announced), key.kid)

    def may_retire(self, kid: str) -> None:
        """Return if `retire` would take a key out now; raises RefusedError."""
        retired(self.store.read().ring, kid, self.clock(), self.rules)

    def retire(self, kid: str) -> None:
        """Take a key out of the ring.

        Raises:
            RefusedError: it signs, or tokens of it may count; says until when.
            SecretConflictError: others wrote the ring faster every time.
        """
        change_ring(self.store, self.clock, lambda ring, now: retired(ring, kid, now, self.rules))


def refuse_second_successor(ring: KeyRing, alg: str, now: float) -> None:
    """Return if a key of the algorithm signs and no other is to succeed it.

    Raises:
        RefusedError: another is, or none signs.
    """
    keys = [key for key in ring.keys if key.alg == alg]
    announced = [key for key in keys if key.sign_from > now]
    if announced:
        first = min(announced, key=lambda key: key.sign_from)
        raise RefusedError(
            f"Key {first.kid} is announced already, and a key has one successor at a time: it "
            f"signs from {readable(first.sign_from)} on.",
            "Wait for it, or rotate at once with 'gatehouse keys emergency'.",
        )
    if not any(key.may_sign(now) for key in keys):
        raise RefusedError(
            f"No {alg} key signs that another could succeed.",
            "Make one that signs at once with 'gatehouse keys emergency'.",
        )


def retired(ring: KeyRing, kid: str, now: float, rules: RotationRules) -> KeyRing:
    """Return the ring without a key that nobody needs.

    That is a key which has not signed and will not before every process of ours knows that it is
    gone (then its predecessor signs on), or one whose last token can count nowhere any more.

    Raises:
        RefusedError: it is another.
    """
    key = find_key(ring, kid)
    if now < key.sign_from - SETTLING:
        return revoked(ring, kid, now)
    possible = retirable_from(key)
    if possible is None or now < possible:
        raise RefusedError(*_why_not(key, now, possible, rules))
    return replace(ring, keys=tuple(known for known in ring.keys if known.kid != kid))


def retirable_from(key: RingKey) -> int | None:
    """Return from when on no token of a key can count; None while no end of its signing is set.

    `SETTLING` is there for keys whose end was set for the moment at which it was written: slow
    processes have signed with them a little longer.
    """
    if key.sign_until is None:
        return None
    return key.sign_until + SETTLING + RETENTION_NEEDED


def _why_not(
    key: RingKey, now: float, possible: int | None, rules: RotationRules
) -> tuple[str, str]:
    """Return the rule that retiring a key would break, and what to do."""
    if now < key.sign_from:
        problem = (
            f"Key {key.kid} signs in less than {SETTLING} seconds, before every process can know "
            "that it was taken back: tokens of it would be refused."
        )
        return problem, "Let it sign, and announce a successor with 'gatehouse keys rotate'."
    if possible is None:
        earliest = now + rules.announcing + SETTLING + RETENTION_NEEDED
        problem = f"Key {key.kid} signs, and nothing is to sign {key.alg} tokens after it."
        return problem, (
            "Announce a successor with 'gatehouse keys rotate': then it can be retired from "
            f"{readable(earliest)} on. {_INSTEAD}"
        )
    ended = "signs" if key.may_sign(now) else "signed"
    problem = (
        f"Key {key.kid} {ended} until {readable(key.sign_until)}, and a token can count for "
        f"{span(RETENTION_NEEDED)} more: good ones would be refused."
    )
    return problem, f"It can be retired from {readable(possible)} on. {_INSTEAD}"


_INSTEAD: Final = (
    "If it must go at once, and its tokens with it: 'gatehouse keys emergency --revoke' and its id."
)
