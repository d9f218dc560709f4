"""Operations on signing keys: planned and emergency rotation, retirement and revocation.

A planned operation breaks nothing and is rejected if it would. An emergency operation reports first
what it breaks. Both write the key ring on condition that it is unchanged, as the rotator does.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import floor
from typing import Any

from functions.rotate_keys.key_generation import NewKey
from functions.rotate_keys.kms_halves import KmsHalves
from functions.rotate_keys.private_halves import PrivateHalves, StoredHalves
from functions.rotate_keys.ring_store import RingStore
from functions.rotate_keys.rotation import announce, ring_key, signs_after
from functions.rotate_keys.rotation_rules import (
    CLOCK_SKEW,
    RETENTION_NEEDED,
    SETTLING,
    RotationRules,
)
from functions.rotate_keys.settings import Settings
from functions.shared.keys.key_ring import IN_KMS, JWKS_MAX_AGE, KeyRing, RingKey
from functions.shared.keys.warm_key_ring import STALE_SECONDS, WARM_SECONDS
from functions.shared.runtime.clock import Clock
from functions.shared.runtime.secret_store import SecretsManagerStore, retrying_conflicts
from infra.cli.context import Session
from infra.cli.errors import CommandError, ConflictError, NotFoundError
from infra.cli.stack import Deployment
from infra.cli.times import readable, span

_REVOKE = "To revoke the key and its tokens at once: gatehouse keys emergency --revoke KID."
_FIELDS: Mapping[str, str] = {
    "KeyEdition": "key_edition",
    "SigningAlgorithms": "algorithms",
    "KeySigningDays": "key_signing_days",
    "KeyAnnounceHours": "key_announce_hours",
    "KeyRetireHours": "key_retire_hours",
    "AuthorizerKeyCacheSeconds": "verifier_cache_seconds",
}
"""Fields of rotate_keys' settings by the parameter that sets each; a test compares both."""


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
        """Return sentences about what `rotate` breaks."""
        warm, unknown = WARM_SECONDS, JWKS_MAX_AGE + self.rules.verifier_cache
        return (
            f"First, for {warm} seconds: warm processes still sign {alg} tokens with the old key.",
            f"Then, for {warm} seconds: the key set may lack the new key, its tokens are rejected.",
            f"Both take up to {STALE_SECONDS} seconds while Secrets Manager is unavailable.",
            f"Verifiers that do not refetch for an unknown key reject for {unknown} seconds.",
            "Tokens of the old key stay valid. To revoke them, revoke the key afterwards.",
        )

    def rotate(self, alg: str) -> str:
        """Make a new key sign at once, and the previous keys never again; return its id.

        Raises:
            ConcurrentRotationError: another process has done so since the key ring was read.
            SecretConflictError: other processes wrote the key ring each time.
        """
        known_ids = {known.kid for known in self.store.read().ring.keys}
        key = self.halves.create(alg, self.clock())
        known_ids.add(key.kid)

        def with_key(ring: KeyRing, now: float) -> KeyRing:
            for known in ring.keys:
                is_new = known.alg == alg and known.kid not in known_ids
                # The clock of the other process may be ahead.
                if is_new and known.sign_until is None and known.sign_from <= now + CLOCK_SKEW:
                    raise ConcurrentRotationError(known.kid)
            return rotated(ring, key, now, self.rules)

        change_ring(self.store, self.clock, with_key)
        return key.kid

    def revocation_breaks(self, kid: str) -> tuple[str, ...]:
        """Return sentences about what `revoke` breaks; raises NotFoundError."""
        key = find_key(self.store.read().ring, kid)
        if key.sign_from > self.clock():
            return ("Nothing: the key has not signed yet. Another one is announced when due.",)
        cache = self.rules.verifier_cache
        return (
            f"Every {key.alg} token signed by key {kid} is rejected before it expires.",
            f"First, within {WARM_SECONDS} seconds, by introspection.",
            f"While Secrets Manager is unavailable, within {STALE_SECONDS} seconds.",
            f"Then by verifiers as they refresh their key sets: most within {JWKS_MAX_AGE} s.",
            f"A verifier that cannot reach the issuer accepts them for up to {cache} seconds.",
            "API Gateway reuses cached decisions for AuthorizerCacheSeconds.",
        )

    def revoke(self, kid: str) -> None:
        """Remove a key from the key ring, which invalidates every token that it signed.

        A later run of the rotator deletes the private key: the next one, or for a young key the
        first one ORPHAN_SECONDS after the key was made.

        Raises:
            NotFoundError: the key ring has no such key.
            CommandError: no other key could sign.
            SecretConflictError: other processes wrote the key ring each time.
        """
        change_ring(self.store, self.clock, lambda ring, now: revoked(ring, kid, now))


@dataclass(frozen=True, slots=True)
class Planned:
    """Announces keys before they are due, and removes keys that no token needs."""

    store: RingStore
    halves: PrivateHalves
    rules: RotationRules
    clock: Clock

    def rotate(self, alg: str) -> RingKey:
        """Announce a successor of the current key; it signs once every verifier can have it.

        Raises:
            CommandError: a successor is announced, or no key signs.
            SecretConflictError: other processes wrote the key ring each time.
        """
        # Checked before a key is created, so that a rejection leaves none behind.
        refuse_second_successor(self.store.read().ring, alg, self.clock())
        key = self.halves.create(alg, self.clock())

        def announced(ring: KeyRing, now: float) -> KeyRing:
            refuse_second_successor(ring, alg, now)
            return announce(ring, key, self.rules, now)

        return find_key(change_ring(self.store, self.clock, announced), key.kid)

    def may_retire(self, kid: str) -> None:
        """Return if `retire` is possible now; raises CommandError otherwise."""
        retired(self.store.read().ring, kid, self.clock(), self.rules)

    def retire(self, kid: str) -> None:
        """Remove a key from the key ring.

        Raises:
            CommandError: the key signs, or tokens of it can be valid; the error has the date.
            SecretConflictError: other processes wrote the key ring each time.
        """
        change_ring(self.store, self.clock, lambda ring, now: retired(ring, kid, now, self.rules))


def change_ring(
    store: RingStore, clock: Clock, change: Callable[[KeyRing, float], KeyRing]
) -> KeyRing:
    """Write a change of the key ring, repeated on top of concurrent changes; return the ring.

    Raises:
        SecretConflictError: other processes wrote the key ring each time.
    """

    def write() -> KeyRing:
        seen = store.read()
        ring = change(seen.ring, clock())
        store.write(ring, seen)
        return ring

    return retrying_conflicts(write)


def rotated(ring: KeyRing, key: NewKey, now: float, rules: RotationRules) -> KeyRing:
    """Return the key ring with a key that is the only one of its algorithm to sign from now on.

    An announced key is removed: it never signed, and an attacker with one key may have both.
    """
    start = floor(now)
    # Warm processes sign with the old key until they refresh the key ring.
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
    """Return the key ring without a key. A predecessor that it would have replaced signs on.

    Raises:
        NotFoundError: there is no such key.
        CommandError: no key of the algorithm would sign.
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


def _reopened(known: RingKey, removed: RingKey, now: float) -> RingKey:
    """Undo the end that an announced key has set for its predecessor."""
    is_predecessor = known.alg == removed.alg and known.sign_until == removed.sign_from
    if is_predecessor and now < removed.sign_from:
        return replace(known, sign_until=None, publish_until=None)
    return known


def find_key(ring: KeyRing, kid: str) -> RingKey:
    """Return the key with an id; raises NotFoundError."""
    for key in ring.keys:
        if key.kid == kid:
            return key
    raise NotFoundError(f"The key ring has no key {kid}.", "List the keys: gatehouse keys list.")


def refuse_second_successor(ring: KeyRing, alg: str, now: float) -> None:
    """Return if a key of the algorithm signs and has no successor yet.

    Raises:
        CommandError: it has a successor, or no key signs.
    """
    keys = [key for key in ring.keys if key.alg == alg]
    announced = [key for key in keys if key.sign_from > now]
    if announced:
        first = min(announced, key=lambda key: key.sign_from)
        raise CommandError(
            f"Key {first.kid} is already announced and signs from {readable(first.sign_from)}. "
            "Only one key can be announced at a time.",
            "Wait for it, or rotate at once: gatehouse keys emergency.",
        )
    if not any(key.may_sign(now) for key in keys):
        raise CommandError(
            f"No {alg} key signs, so none can be replaced.",
            "Create a key that signs at once: gatehouse keys emergency.",
        )


def retired(ring: KeyRing, kid: str, now: float, rules: RotationRules) -> KeyRing:
    """Return the key ring without a key that no token needs.

    Its last token has expired, or it has not signed and starts late enough for every process to
    refresh.

    Raises:
        CommandError: tokens need the key.
    """
    key = find_key(ring, kid)
    if now < key.sign_from - SETTLING:
        return revoked(ring, kid, now)
    possible = retirable_from(key)
    if possible is None or now < possible:
        raise CommandError(*_why_not(key, now, possible, rules))
    return replace(ring, keys=tuple(known for known in ring.keys if known.kid != kid))


def retirable_from(key: RingKey) -> int | None:
    """Return the time at which the last token of a key has expired; None without an end.

    `SETTLING` is added, because slow processes may have signed a little longer.
    """
    if key.sign_until is None:
        return None
    return key.sign_until + SETTLING + RETENTION_NEEDED


def _why_not(
    key: RingKey, now: float, possible: int | None, rules: RotationRules
) -> tuple[str, str]:
    """Return the rule that retiring a key would break, and the next step."""
    if now < key.sign_from:
        problem = (
            f"Key {key.kid} signs in less than {SETTLING} seconds. Some processes would not know "
            "of its removal, and its tokens would be rejected."
        )
        return problem, "Let it sign, and announce a successor: gatehouse keys rotate."
    if possible is None:
        earliest = now + rules.announcing + SETTLING + RETENTION_NEEDED
        return f"Key {key.kid} signs, and no other key is to sign {key.alg} tokens after it.", (
            "Announce a successor: gatehouse keys rotate. Then the key can be retired from "
            f"{readable(earliest)}. {_REVOKE}"
        )
    signs = "signs" if key.may_sign(now) else "signed"
    problem = (
        f"Key {key.kid} {signs} until {readable(key.sign_until)}, and its tokens can be valid for "
        f"another {span(RETENTION_NEEDED)}."
    )
    return problem, f"It can be retired from {readable(possible)}. {_REVOKE}"


def rotation_settings(deployment: Deployment) -> Settings:
    """Return the settings of the deployment's rotate_keys."""
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
class KeyAdmin:
    """A deployment's keys, read and changed with the caller's credentials.

    It runs the code of rotate_keys here, because in an incident that function may be broken.
    """

    session: Session

    @cached_property
    def settings(self) -> Settings:
        """The settings of rotate_keys."""
        return rotation_settings(self.session.deployment)

    @cached_property
    def rules(self) -> RotationRules:
        """The times of rotation; raises UnsafeRotationError."""
        return self.settings.rules()

    @property
    def ring(self) -> KeyRing:
        """The current key ring."""
        return self._store.read().ring

    @property
    def planned(self) -> Planned:
        """Operations that break nothing."""
        return Planned(self._store, self._halves, self.rules, self.session.now)

    @property
    def emergency(self) -> Emergency:
        """Operations that break something."""
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
