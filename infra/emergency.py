"""What an operator does when a key must go before its time, and what breaks first.

A planned rotation breaks nothing; these two break something, and say what before they do it. Both
write the ring under the same condition as the rotator, so they may run beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import floor
from typing import TYPE_CHECKING

from functions.rotate_keys.rotation import ring_key, signs_after
from functions.rotate_keys.rotation_rules import CLOCK_SKEW, RETENTION_NEEDED, SETTLING
from functions.shared.keys.key_ring import JWKS_MAX_AGE, KeyRing
from functions.shared.keys.warm_key_ring import STALE_SECONDS, WARM_SECONDS
from functions.shared.runtime.secret_store import retrying_conflicts

if TYPE_CHECKING:
    from collections.abc import Callable

    from functions.rotate_keys.key_generation import NewKey
    from functions.rotate_keys.private_halves import PrivateHalves
    from functions.rotate_keys.ring_store import RingStore
    from functions.rotate_keys.rotation_rules import RotationRules
    from functions.shared.keys.key_ring import RingKey
    from functions.shared.runtime.clock import Clock


class RefusedError(Exception):
    """Raised when an operation would break a rule: says which, and what to do in its place."""

    def __init__(self, problem: str, next_step: str = "") -> None:
        super().__init__(f"{problem} {next_step}".strip())
        self.problem = problem
        self.next_step = next_step


class NoSuchKeyError(RefusedError):
    """Raised when the ring has no key of an id."""


class OvertakenError(RefusedError):
    """Raised when somebody else has let a new key sign at the same moment: one is enough."""

    def __init__(self, kid: str) -> None:
        super().__init__(
            f"Somebody else let key {kid} sign at the same moment, so ours does not.",
            "Look before you go on: gatehouse keys list.",
        )


@dataclass(frozen=True, slots=True)
class Emergency:
    """Rotates at once, and revokes keys."""

    store: RingStore
    halves: PrivateHalves
    rules: RotationRules
    clock: Clock

    def rotation_breaks(self, alg: str) -> tuple[str, ...]:
        """Say what `rotate` breaks."""
        warm, unknown = WARM_SECONDS, JWKS_MAX_AGE + self.rules.verifier_cache
        return (
            f"First, for {warm} seconds: warm processes still sign {alg} tokens with the old key.",
            f"Then, for {warm} seconds: the key set may lack the new key, its tokens are refused.",
            f"Both take up to {STALE_SECONDS} seconds where Secrets Manager cannot be asked.",
            f"Verifiers that fetch nothing for an unknown key refuse for {unknown} seconds.",
            "Tokens of the old key stay good. To withdraw them too, revoke the key afterwards.",
        )

    def rotate(self, alg: str) -> str:
        """Let a new key sign at once, and the keys before it never again; return its id.

        Raises:
            OvertakenError: somebody else did so since the ring was looked at here.
            SecretConflictError: others wrote the ring faster every time.
        """
        seen = {known.kid for known in self.store.read().ring.keys}
        key = self.halves.create(alg, self.clock())
        seen.add(key.kid)

        def with_key(ring: KeyRing, now: float) -> KeyRing:
            for known in ring.keys:
                is_new = known.alg == alg and known.kid not in seen
                # By a clock that may be ahead of ours.
                if is_new and known.sign_until is None and known.sign_from <= now + CLOCK_SKEW:
                    raise OvertakenError(known.kid)
            return rotated(ring, key, now, self.rules)

        change_ring(self.store, self.clock, with_key)
        return key.kid

    def revocation_breaks(self, kid: str) -> tuple[str, ...]:
        """Say what `revoke` breaks. Raises RefusedError when the ring has no such key."""
        key = find_key(self.store.read().ring, kid)
        if key.sign_from > self.clock():
            return ("Nothing: the key has not signed yet. Another is announced when one is due.",)
        cache = self.rules.verifier_cache
        return (
            f"Every {key.alg} token that key {kid} signed is refused before its time.",
            f"First, within {WARM_SECONDS} seconds, by introspection.",
            f"Where Secrets Manager cannot be asked, within {STALE_SECONDS} seconds.",
            f"Then by verifiers as they renew their key sets: most within {JWKS_MAX_AGE} seconds.",
            f"A verifier that is kept from the issuer accepts them for up to {cache} seconds.",
            "API Gateway reuses decisions that were made before, for AuthorizerCacheSeconds.",
        )

    def revoke(self, kid: str) -> None:
        """Withdraw a key and every token that it signed.

        Its private half goes at a later run of the rotator: the next one, or for a young key the
        first one ORPHAN_SECONDS after it was made.

        Raises:
            RefusedError: the ring has no such key, or no other could sign: rotate first.
            SecretConflictError: others wrote the ring faster every time.
        """
        change_ring(self.store, self.clock, lambda ring, now: revoked(ring, kid, now))


def change_ring(
    store: RingStore, clock: Clock, change: Callable[[KeyRing, float], KeyRing]
) -> KeyRing:
    """Write a change of the ring, again on top of somebody else's if need be; return the ring.

    Raises:
        SecretConflictError: others were faster every time.
    """

    def write() -> KeyRing:
        seen = store.read()
        ring = change(seen.ring, clock())
        store.write(ring, seen)
        return ring

    return retrying_conflicts(write)


def rotated(ring: KeyRing, key: NewKey, now: float, rules: RotationRules) -> KeyRing:
    """Return the ring with a key that signs from now on, and no other of its algorithm that does.

    An announced key goes altogether: it never signed, and whoever has the one may have the other.
    """
    start = floor(now)
    # Warm processes sign with the old key until they read the ring again, or may not use theirs.
    publish_until = start + SETTLING + max(rules.retiring, RETENTION_NEEDED)
    ended = (
        replace(known, sign_until=start, publish_until=publish_until)
        if known.alg == key.alg and signs_after(known, start)
        else known
        for known in ring.keys
        if known.alg != key.alg or known.sign_from <= start
    )
    return KeyRing((*ended, ring_key(key, start, start)))


def revoked(ring: KeyRing, kid: str, now: float) -> KeyRing:
    """Return the ring without a key. What was to end for its sake goes on.

    Raises:
        RefusedError: there is no such key, or none of its algorithm would sign any more.
    """
    key = find_key(ring, kid)
    left = KeyRing(tuple(_reopened(known, key, now) for known in ring.keys if known.kid != kid))
    if key.may_sign(now) and not any(
        known.alg == key.alg and known.may_sign(now) for known in left.keys
    ):
        raise RefusedError(f"No other {key.alg} key may sign: rotate first.")
    return left


def _reopened(known: RingKey, gone: RingKey, now: float) -> RingKey:
    """Take back the end that an announced key had set for its predecessor."""
    if known.alg == gone.alg and known.sign_until == gone.sign_from and now < gone.sign_from:
        return replace(known, sign_until=None, publish_until=None)
    return known


def find_key(ring: KeyRing, kid: str) -> RingKey:
    """Return the ring's key of an id; raises NoSuchKeyError."""
    for key in ring.keys:
        if key.kid == kid:
            return key
    raise NoSuchKeyError(f"The ring has no key {kid}.")
