"""Key rotation: all transitions of a key ring. Pure.

An upcoming key is published, so that every verifier has it before its first signature. The current
key signs until its successor does. A retired key is published until its last token has expired.

The times are written to a key once, when its successor is announced, and are not derived from its
age. A changed setting applies to later keys. It can only prolong the times of existing ones.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import ceil, floor

from authorizer.claims import LEEWAY
from authorizer.jwk_thumbprint import thumbprint

from ..lifetimes import LONGEST_TOKEN_LIFETIME
from .key_ring import IN_SECRETS_MANAGER, JWKS_MAX_AGE, STALE_SECONDS, KeyRing, RingKey, same_algorithm

CLOCK_SKEW = 60
"""Seconds by which two clocks may differ, including the time of a write."""

RETENTION_NEEDED = LONGEST_TOKEN_LIFETIME + LEEWAY + CLOCK_SKEW
"""Seconds after a key's last signature until none of its tokens is valid anywhere."""

PROPAGATION_SECONDS = STALE_SECONDS + CLOCK_SKEW
"""Seconds until each process uses the written key ring, or none."""


class UnsafeRotationError(Exception):
    """Raised when settings would make verifiers reject valid tokens; names all faults."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("These rotation settings are not safe: " + "; ".join(faults))
        self.faults = tuple(faults)


class RotationError(Exception):
    """Raised when a transition of the key ring is rejected."""


class UnknownKeyError(RotationError):
    """Raised when the key ring does not have a key."""

    def __init__(self, kid: str) -> None:
        super().__init__(f"the key ring has no key {kid}")
        self.kid = kid


class LastSigningKeyError(RotationError):
    """Raised when no other key of an algorithm would sign."""

    def __init__(self, alg: str) -> None:
        super().__init__(f"no other {alg} key can sign")
        self.alg = alg


class SuccessorAnnouncedError(RotationError):
    """Raised when a key already has a successor."""

    def __init__(self, successor: RingKey) -> None:
        super().__init__(f"key {successor.kid} is already announced")
        self.successor = successor


class NoSigningKeyError(RotationError):
    """Raised when no key of an algorithm signs, and none can have a successor."""

    def __init__(self, alg: str) -> None:
        super().__init__(f"no {alg} key signs")
        self.alg = alg


class KeyInUseError(RotationError):
    """Raised when tokens need a key at a time."""

    def __init__(self, key: RingKey, now: float) -> None:
        super().__init__(f"tokens need key {key.kid}")
        self.key = key
        self.now = now


@dataclass(frozen=True, slots=True, kw_only=True)
class RotationRules:
    """Times in seconds, of the settings KEY_SIGNING_DAYS, KEY_ANNOUNCE_HOURS and KEY_RETIRE_HOURS.

    Verifiers may use a cached JWK Set for `verifier_cache`.

    Raises:
        UnsafeRotationError: a key would sign before every verifier has it, or be removed while its
            tokens are valid.
    """

    signing: int
    announcing: int
    retiring: int
    verifier_cache: int

    def __post_init__(self) -> None:
        faults = []
        if self.announcing < self.announcement_needed:
            faults.append(
                f"a key is announced for {self.announcing} seconds, but {self.announcement_needed} "
                "are needed until every verifier has it: "
                f"{JWKS_MAX_AGE} in HTTP caches, {self.verifier_cache} in verifiers, "
                f"{PROPAGATION_SECONDS} in the authorization server"
            )
        if self.retiring < RETENTION_NEEDED:
            faults.append(
                f"a key stays published for {self.retiring} seconds after its last signature, but "
                f"a token can be valid for {RETENTION_NEEDED}"
            )
        if self.signing < self.announcing:
            faults.append(
                f"a key signs for {self.signing} seconds, but its successor is announced for {self.announcing}"
            )
        if self.verifier_cache < 0:
            faults.append("the time in verifiers is negative")
        if faults:
            raise UnsafeRotationError(faults)

    @property
    def announcement_needed(self) -> int:
        """Seconds until every verifier can have a key that is written to the key ring now."""
        return JWKS_MAX_AGE + self.verifier_cache + PROPAGATION_SECONDS


@dataclass(frozen=True, slots=True)
class NewKey:
    """A new key pair: the public key as a JWK, the private key as PKCS #8 in PEM.

    The PEM is empty if the private key is in KMS; `signer` is then the ARN, as in `RingKey`.
    """

    alg: str
    public_jwk: dict[str, str]
    private_pem: str = field(default="", repr=False)
    signer: str = IN_SECRETS_MANAGER

    @property
    def kid(self) -> str:
        """The key's id: its RFC 7638 thumbprint."""
        return thumbprint(self.public_jwk)

    def to_ring_key(self, publish_from: int, sign_from: int) -> RingKey:
        """Return the key for a key ring, without an end."""
        return RingKey(
            kid=self.kid,
            alg=self.alg,
            public_jwk=self.public_jwk,
            publish_from=publish_from,
            sign_from=sign_from,
            signer=self.signer,
        )


def first_ring(keys: Iterable[NewKey], now: float) -> KeyRing:
    """Return a key ring of keys that sign at once: no verifier can have cached an older JWK Set.

    A key has no end until a successor sets one. If rotation fails, the old key stays in use.
    """
    return KeyRing(tuple(key.to_ring_key(floor(now), floor(now)) for key in keys))


def algorithms_due(
    ring: KeyRing, algorithms: Sequence[str], rules: RotationRules, now: float, backend: str
) -> Iterator[str]:
    """Yield the algorithms for which a new key is due.

    A new key is due without one, or when the youngest key has another backend or needs a successor.
    """
    for alg in algorithms:
        youngest = _youngest(ring, alg)
        if youngest is None or (
            youngest.sign_from <= now
            and (now >= youngest.sign_from + rules.signing - rules.announcing or youngest.backend != backend)
        ):
            yield alg


def announce(ring: KeyRing, key: NewKey, rules: RotationRules, now: float) -> KeyRing:
    """Publish a key now, let it sign once every verifier has it, and date its predecessor's end.

    The predecessor signs until the new key does, so at least one key can always sign.
    """
    sign_from = ceil(now) + rules.announcing
    keys = (
        replace(known, sign_until=sign_from, publish_until=sign_from + rules.retiring)
        if same_algorithm(known.alg, key.alg) and _signs_after(known, now)
        else known
        for known in ring.keys
    )
    return KeyRing((*keys, key.to_ring_key(floor(now), sign_from)))


def announce_successor(ring: KeyRing, key: NewKey, rules: RotationRules, now: float) -> KeyRing:
    """Announce a key if its predecessor has no successor yet.

    Raises:
        SuccessorAnnouncedError, NoSigningKeyError: as `check_successor_possible`.
    """
    check_successor_possible(ring, key.alg, now)
    return announce(ring, key, rules, now)


def check_successor_possible(ring: KeyRing, alg: str, now: float) -> None:
    """Return if a key of the algorithm signs and has no successor yet.

    Raises:
        SuccessorAnnouncedError: it has a successor.
        NoSigningKeyError: no key signs.
    """
    keys = [key for key in ring.keys if same_algorithm(key.alg, alg)]
    upcoming = [key for key in keys if key.sign_from > now]
    if upcoming:
        raise SuccessorAnnouncedError(min(upcoming, key=lambda key: key.sign_from))
    if not any(key.may_sign(now) for key in keys):
        raise NoSigningKeyError(alg)


def replace_at_once(ring: KeyRing, key: NewKey, now: float, rules: RotationRules) -> KeyRing:
    """Return the key ring with a key that is the only one of its algorithm to sign from now on.

    An announced key is removed: it never signed, and an attacker with one key may have both.
    """
    start = floor(now)
    # Warm processes sign with the old key until they refresh the key ring.
    publish_until = start + PROPAGATION_SECONDS + max(rules.retiring, RETENTION_NEEDED)
    ended = (
        replace(known, sign_until=start, publish_until=publish_until)
        if same_algorithm(known.alg, key.alg) and _signs_after(known, start)
        else known
        for known in ring.keys
        if not same_algorithm(known.alg, key.alg) or known.sign_from <= start
    )
    return KeyRing((*ended, key.to_ring_key(start, start)))


def revoke(ring: KeyRing, kid: str, now: float) -> KeyRing:
    """Return the key ring without a key. A predecessor that it would have replaced signs on.

    Raises:
        UnknownKeyError: there is no such key.
        LastSigningKeyError: no key of the algorithm would sign.
    """
    key = find_key(ring, kid)
    left = KeyRing(tuple(_reopened(known, key, now) for known in ring.keys if known.kid != kid))
    if key.may_sign(now) and not any(same_algorithm(known.alg, key.alg) and known.may_sign(now) for known in left.keys):
        raise LastSigningKeyError(key.alg)
    return left


def retire(ring: KeyRing, kid: str, now: float) -> KeyRing:
    """Return the key ring without a key that no token needs.

    Its last token has expired. Or it has not signed, and every process refreshes the key ring before it would.

    Raises:
        UnknownKeyError: there is no such key.
        KeyInUseError: tokens need the key.
    """
    key = find_key(ring, kid)
    if now < key.sign_from - PROPAGATION_SECONDS:
        return revoke(ring, kid, now)
    possible = retirable_from(key)
    if possible is None or now < possible:
        raise KeyInUseError(key, now)
    return replace(ring, keys=tuple(known for known in ring.keys if known.kid != kid))


def retirable_from(key: RingKey) -> int | None:
    """Return the time at which the last token of a key has expired; None without an end.

    `PROPAGATION_SECONDS` is added, because slow processes may have signed a little longer.
    """
    if key.sign_until is None:
        return None
    return key.sign_until + PROPAGATION_SECONDS + RETENTION_NEEDED


def prune(ring: KeyRing, now: float) -> KeyRing:
    """Return the key ring without removed keys, with retired keys published long enough."""
    return KeyRing(
        tuple(
            _published_long_enough(key)
            for key in ring.keys
            if key.publish_until is None or now < key.publish_until + CLOCK_SKEW
        )
    )


def find_key(ring: KeyRing, kid: str) -> RingKey:
    """Return the key with an id; raises UnknownKeyError."""
    for key in ring.keys:
        if key.kid == kid:
            return key
    raise UnknownKeyError(kid)


def signing_age(ring: KeyRing, now: float) -> float:
    """Return for how many seconds the oldest current key has signed."""
    algorithms = {key.alg for key in ring.keys if key.may_sign(now)}
    signing = (ring.signing_key(now, alg) for alg in algorithms)
    return max((now - key.sign_from for key in signing), default=0.0)


def _signs_after(key: RingKey, time: float) -> bool:
    return key.sign_until is None or time < key.sign_until


def _youngest(ring: KeyRing, alg: str) -> RingKey | None:
    endless = (key for key in ring.keys if same_algorithm(key.alg, alg) and key.sign_until is None)
    return max(endless, key=lambda key: (key.sign_from, key.kid), default=None)


def _reopened(known: RingKey, removed: RingKey, now: float) -> RingKey:
    """Undo the end that an announced key has set for its predecessor."""
    is_predecessor = same_algorithm(known.alg, removed.alg) and known.sign_until == removed.sign_from
    if is_predecessor and now < removed.sign_from:
        return replace(known, sign_until=None, publish_until=None)
    return known


def _published_long_enough(key: RingKey) -> RingKey:
    """Prolong the publication that an older version wrote, if tokens live longer now."""
    if key.sign_until is None or key.publish_until is None:
        return key
    return replace(key, publish_until=max(key.publish_until, key.sign_until + RETENTION_NEEDED))
