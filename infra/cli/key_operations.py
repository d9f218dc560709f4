"""Operations on signing keys: planned and emergency rotation, retirement and revocation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from math import floor
from typing import TYPE_CHECKING, Any, Final

from functions.rotate_keys.kms_halves import KmsHalves
from functions.rotate_keys.private_halves import StoredHalves
from functions.rotate_keys.ring_store import RingStore
from functions.rotate_keys.rotation import announce, ring_key, signs_after
from functions.rotate_keys.rotation_rules import CLOCK_SKEW, RETENTION_NEEDED, SETTLING
from functions.rotate_keys.settings import Settings
from functions.shared.keys.key_ring import IN_KMS, JWKS_MAX_AGE, KeyRing
from functions.shared.keys.warm_key_ring import STALE_SECONDS, WARM_SECONDS
from functions.shared.runtime.secret_store import SecretsManagerStore, retrying_conflicts
from infra.cli.errors import CommandError, ConflictError, NotFoundError
from infra.cli.times import readable, span

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from functions.rotate_keys.key_generation import NewKey
    from functions.rotate_keys.private_halves import PrivateHalves
    from functions.rotate_keys.rotation_rules import RotationRules
    from functions.shared.keys.key_ring import RingKey
    from functions.shared.runtime.clock import Clock
    from infra.cli.context import Session
    from infra.cli.stack import Deployment


class ConcurrentRotationError(ConflictError):
    """Raised when another process lets a new key sign at the same moment: one is enough."""

    def __init__(self, kid: str) -> None:
        super().__init__(
            f"Another process made key {kid} sign at the same moment, so no second key was added.",
            "List the keys before you go on: gatehouse keys list.",
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
            ConcurrentRotationError: somebody else did so since the ring was looked at here.
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
                    raise ConcurrentRotationError(known.kid)
            return rotated(ring, key, now, self.rules)

        change_ring(self.store, self.clock, with_key)
        return key.kid

    def revocation_breaks(self, kid: str) -> tuple[str, ...]:
        """Say what `revoke` breaks. Raises CommandError when the ring has no such key."""
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
            CommandError: the ring has no such key, or no other could sign: rotate first.
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
        CommandError: there is no such key, or none of its algorithm would sign any more.
    """
    key = find_key(ring, kid)
    left = KeyRing(tuple(_reopened(known, key, now) for known in ring.keys if known.kid != kid))
    if key.may_sign(now) and not any(
        known.alg == key.alg and known.may_sign(now) for known in left.keys
    ):
        raise CommandError(
            f"No other {key.alg} key can sign.", "Rotate first: gatehouse keys emergency."
        )
    return left


def _reopened(known: RingKey, gone: RingKey, now: float) -> RingKey:
    """Take back the end that an announced key had set for its predecessor."""
    if known.alg == gone.alg and known.sign_until == gone.sign_from and now < gone.sign_from:
        return replace(known, sign_until=None, publish_until=None)
    return known


def find_key(ring: KeyRing, kid: str) -> RingKey:
    """Return the ring's key of an id; raises NotFoundError."""
    for key in ring.keys:
        if key.kid == kid:
            return key
    raise NotFoundError(f"The key ring has no key {kid}.", "List the keys: gatehouse keys list.")


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
            CommandError: one is announced already, or there is none to succeed.
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
        """Return if `retire` would take a key out now; raises CommandError."""
        retired(self.store.read().ring, kid, self.clock(), self.rules)

    def retire(self, kid: str) -> None:
        """Take a key out of the ring.

        Raises:
            CommandError: it signs, or tokens of it may count; says until when.
            SecretConflictError: others wrote the ring faster every time.
        """
        change_ring(self.store, self.clock, lambda ring, now: retired(ring, kid, now, self.rules))


def refuse_second_successor(ring: KeyRing, alg: str, now: float) -> None:
    """Return if a key of the algorithm signs and no other is to succeed it.

    Raises:
        CommandError: another is, or none signs.
    """
    keys = [key for key in ring.keys if key.alg == alg]
    announced = [key for key in keys if key.sign_from > now]
    if announced:
        first = min(announced, key=lambda key: key.sign_from)
        raise CommandError(
            f"Key {first.kid} is announced already, and a key has one successor at a time: it "
            f"signs from {readable(first.sign_from)} on.",
            "Wait for it, or rotate at once with 'gatehouse keys emergency'.",
        )
    if not any(key.may_sign(now) for key in keys):
        raise CommandError(
            f"No {alg} key signs that another could succeed.",
            "Make one that signs at once with 'gatehouse keys emergency'.",
        )


def retired(ring: KeyRing, kid: str, now: float, rules: RotationRules) -> KeyRing:
    """Return the ring without a key that nobody needs.

    That is a key which has not signed and will not before every process of ours knows that it is
    gone (then its predecessor signs on), or one whose last token can count nowhere any more.

    Raises:
        CommandError: it is another.
    """
    key = find_key(ring, kid)
    if now < key.sign_from - SETTLING:
        return revoked(ring, kid, now)
    possible = retirable_from(key)
    if possible is None or now < possible:
        raise CommandError(*_why_not(key, now, possible, rules))
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


_FIELDS: Final[Mapping[str, str]] = {
    "KeyEdition": "key_edition",
    "SigningAlgorithms": "algorithms",
    "KeySigningDays": "key_signing_days",
    "KeyAnnounceHours": "key_announce_hours",
    "KeyRetireHours": "key_retire_hours",
    "AuthorizerKeyCacheSeconds": "verifier_cache_seconds",
}
"""Fields of rotate_keys' settings by the parameter that sets each; a test holds both together."""


def rotation_settings(deployment: Deployment) -> Settings:
    """Return the settings that the deployment's rotate_keys runs with."""
    given: dict[str, Any] = {
        field: deployment.parameters[name]
        for name, field in _FIELDS.items()
        if name in deployment.parameters
    }
    return Settings(
        key_ring_secret=deployment.key_ring_secret,
        signing_keys_secret=deployment.signing_keys_secret,
        stack_name=deployment.name,
        **given,
    )


@dataclass(frozen=True)
class KeyRoom:
    """Where a deployment's keys are looked at and changed."""

    session: Session

    @cached_property
    def settings(self) -> Settings:
        """What rotate_keys is set to."""
        return rotation_settings(self.session.deployment)

    @cached_property
    def rules(self) -> RotationRules:
        """The times of rotation; raises UnsafeRotationError."""
        return self.settings.rules()

    @property
    def ring(self) -> KeyRing:
        """The ring as it is now."""
        return self._store.read().ring

    @property
    def planned(self) -> Planned:
        """What breaks nothing."""
        return Planned(self._store, self._halves, self.rules, self.session.now)

    @property
    def emergency(self) -> Emergency:
        """What breaks something."""
        return Emergency(self._store, self._halves, self.rules, self.session.now)

    @cached_property
    def _secrets(self) -> SecretsManagerStore:
        return SecretsManagerStore(self.session.aws.secrets_manager)

    @cached_property
    def _store(self) -> RingStore:
        return RingStore(self._secrets, self.settings.key_ring_secret)

    @cached_property
    def _halves(self) -> PrivateHalves:
        if self.settings.key_edition == IN_KMS:
            return KmsHalves(self.session.aws.kms, self.settings.stack_name)
        return StoredHalves(self._secrets, self.settings.signing_keys_secret)
