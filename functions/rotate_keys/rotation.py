"""When a key is published and when it signs. Pure: a ring and the time in, a ring out.

announced  published, so that every verifier gets to know it before its first signature
signing    until its successor signs
retired    published, until no token that it signed can count
deleted

All four are times on the key, written once, when its successor is announced. Nothing is derived
from a key's age: a changed setting is for the keys to come, and can only lengthen what was promised
about those that exist.
"""

from __future__ import annotations

from dataclasses import replace
from math import ceil, floor
from typing import TYPE_CHECKING

from functions.rotate_keys.rotation_rules import CLOCK_SKEW, RETENTION_NEEDED
from functions.shared.keys.key_ring import KeyRing, RingKey

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from functions.rotate_keys.key_generation import NewKey
    from functions.rotate_keys.rotation_rules import RotationRules


def first_ring(keys: Iterable[NewKey], now: float) -> KeyRing:
    """Return a ring of keys that sign at once: no verifier can hold an older key set.

    A key has no end. Its successor sets one, so that a rotation that never comes leaves an old key
    in use and not a server without keys.
    """
    return KeyRing(tuple(ring_key(key, floor(now), floor(now)) for key in keys))


def algorithms_due(
    ring: KeyRing, algorithms: Sequence[str], rules: RotationRules, now: float, edition: str
) -> Iterator[str]:
    """Yield the algorithms for which a new key is due.

    That is so when the youngest key has signed long enough that its successor must be announced,
    when it is of another edition than wanted, and when there is none.
    """
    for alg in algorithms:
        youngest = _youngest(ring, alg)
        if youngest is None or (
            youngest.sign_from <= now
            and (
                now >= youngest.sign_from + rules.signing - rules.announcing
                or youngest.edition != edition
            )
        ):
            yield alg


def announce(ring: KeyRing, key: NewKey, rules: RotationRules, now: float) -> KeyRing:
    """Publish a key now that signs when every verifier can know it, and date its predecessor's end.

    The predecessor signs until then, whatever was planned before: there is never nobody who signs.
    """
    sign_from = ceil(now) + rules.announcing
    keys = (
        _end(known, sign_from, rules) if known.alg == key.alg and signs_after(known, now) else known
        for known in ring.keys
    )
    return KeyRing((*keys, ring_key(key, floor(now), sign_from)))


def signing_age(ring: KeyRing, now: float) -> float:
    """Return for how many seconds the oldest of the keys that sign now has done so."""
    algorithms = {key.alg for key in ring.keys if key.may_sign(now)}
    signing = (ring.signing_key(now, alg) for alg in algorithms)
    return max((now - key.sign_from for key in signing), default=0.0)


def kept(ring: KeyRing, now: float) -> KeyRing:
    """Return the ring without the keys whose time is over, and no promise shorter than needed."""
    return KeyRing(
        tuple(
            _long_enough(key)
            for key in ring.keys
            if key.publish_until is None or now < key.publish_until + CLOCK_SKEW
        )
    )


def ring_key(key: NewKey, publish_from: int, sign_from: int) -> RingKey:
    """Return a new key as a ring has it: without an end."""
    return RingKey(
        kid=key.kid,
        alg=key.alg,
        public_jwk=key.public_jwk,
        publish_from=publish_from,
        sign_from=sign_from,
        signer=key.signer,
    )


def signs_after(key: RingKey, moment: float) -> bool:
    """Whether a key is to sign, now or later, beyond a moment."""
    return key.sign_until is None or moment < key.sign_until


def _youngest(ring: KeyRing, alg: str) -> RingKey | None:
    endless = (key for key in ring.keys if key.alg == alg and key.sign_until is None)
    return max(endless, key=lambda key: (key.sign_from, key.kid), default=None)


def _end(key: RingKey, sign_until: int, rules: RotationRules) -> RingKey:
    return replace(key, sign_until=sign_until, publish_until=sign_until + rules.retiring)


def _long_enough(key: RingKey) -> RingKey:
    """Stretch what an older version promised, should tokens live longer by now."""
    if key.sign_until is None or key.publish_until is None:
        return key
    return replace(key, publish_until=max(key.publish_until, key.sign_until + RETENTION_NEEDED))
