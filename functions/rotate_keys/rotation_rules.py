"""The rules of rotation: how long a key is announced, signs and stays published, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from authorizer.claims import LEEWAY
from functions.shared.clients.client import LONGEST_TOKEN_LIFETIME
from functions.shared.keys.key_ring import JWKS_MAX_AGE
from functions.shared.keys.warm_key_ring import STALE_SECONDS

CLOCK_SKEW: Final = 60
"""Seconds by which any two clocks may differ, and a write may take to arrive."""

RETENTION_NEEDED: Final = LONGEST_TOKEN_LIFETIME + LEEWAY + CLOCK_SKEW
"""Seconds after a key's last signature until no token of it can count anywhere."""

SETTLING: Final = STALE_SECONDS + CLOCK_SKEW
"""Seconds until every process of ours knows what was written to the ring, or uses none."""


class UnsafeRotationError(Exception):
    """Raised when settings would make good tokens be refused; names every one of them."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("These rotation settings are not safe: " + "; ".join(faults))
        self.faults = tuple(faults)


@dataclass(frozen=True, slots=True, kw_only=True)
class RotationRules:
    """Times in seconds. `verifier_cache` is how long a verifier may go on using a key set.

    Raises:
        UnsafeRotationError: a key would sign before every verifier can know it, or be withdrawn
            while tokens of it still count.
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
                f"can pass until every verifier knows it ({JWKS_MAX_AGE} in HTTP caches, "
                f"{self.verifier_cache} in verifiers, {SETTLING} on our side)"
            )
        if self.retiring < RETENTION_NEEDED:
            faults.append(
                f"a key stays published for {self.retiring} seconds after its last signature, but "
                f"a token can count for {RETENTION_NEEDED}"
            )
        if self.signing < self.announcing:
            faults.append(
                f"a key signs for {self.signing} seconds, but its successor is announced for "
                f"{self.announcing}"
            )
        if self.verifier_cache < 0:
            faults.append("verifiers cannot keep a key set for less than no time")
        if faults:
            raise UnsafeRotationError(faults)

    @property
    def announcement_needed(self) -> int:
        """Seconds until every verifier can know a key that has just been written to the ring."""
        return JWKS_MAX_AGE + self.verifier_cache + SETTLING
