"""When a key is published and when it signs. Pure: a ring and the time in, a ring out."""

from __future__ import annotations

from math import floor
from typing import TYPE_CHECKING

from functions.shared.key_ring import KeyRing, RingKey

if TYPE_CHECKING:
    from functions.rotate_keys.key_generation import NewKey


def first_ring(key: NewKey, now: float) -> KeyRing:
    """Return a ring of one key that signs at once: no verifier can hold an older key set.

    The key has no end. Its successor sets one, so that a rotation that never comes leaves an old
    key in use and not a server without keys.
    """
    start = floor(now)
    return KeyRing(
        (
            RingKey(
                kid=key.kid,
                alg=key.alg,
                public_jwk=key.public_jwk,
                publish_from=start,
                sign_from=start,
            ),
        )
    )
