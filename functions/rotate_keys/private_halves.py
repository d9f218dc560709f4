"""Where the private halves of the ring's keys are made, kept and deleted."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor
from typing import TYPE_CHECKING, Final, Protocol

from functions.rotate_keys.key_generation import NewKey, generate_key
from functions.shared import signing_keys
from functions.shared.key_ring import IN_SECRETS_MANAGER
from functions.shared.secret_store import SecretConflictError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from functions.shared.key_ring import RingKey
    from functions.shared.secret_store import SecretVersion, VersionedSecretStore

ORPHAN_SECONDS: Final = 3600
"""A private half that no ring names is left alone so long: its ring may be about to be written."""

ATTEMPTS: Final = 5
"""How often a write is tried again after somebody else's."""


class PrivateHalves(Protocol):
    """Makes keys, and deletes what is needed no more."""

    def create(self, alg: str, now: float) -> NewKey:
        """Make a key. Its private half is kept when this returns."""

    def tidy(self, needed: Collection[RingKey], now: float) -> int:
        """Delete private halves that are not needed and not new; return how many."""


@dataclass(frozen=True, slots=True)
class StoredHalves:
    """Private halves in the signing keys secret, by key id."""

    secrets: VersionedSecretStore
    name: str
    generate: Callable[[str], NewKey] = generate_key

    def create(self, alg: str, now: float) -> NewKey:
        """Make a key. Its private half is kept when this returns."""
        key = self.generate(alg)
        private_pem = key.private_pem
        if private_pem is None:
            raise TypeError("A key that is kept here has a private half.")
        self._change(lambda kept: kept.add(key.kid, private_pem, made_at=floor(now)))
        return key

    def tidy(self, needed: Collection[RingKey], now: float) -> int:
        """Delete private halves that are not needed and not new; return how many."""
        kids = {key.kid for key in needed if key.signer == IN_SECRETS_MANAGER}
        if not self._read()[0].idle(kids, floor(now) - ORPHAN_SECONDS):
            return 0
        deleted = 0

        def drop(kept: signing_keys.SigningKeys) -> signing_keys.SigningKeys:
            nonlocal deleted
            idle = kept.idle(kids, floor(now) - ORPHAN_SECONDS)
            deleted = len(idle)
            return kept.without(idle)

        self._change(drop)
        return deleted

    def _read(self) -> tuple[signing_keys.SigningKeys, SecretVersion | None]:
        version = self.secrets.read_version(self.name)
        return signing_keys.from_json(version.text if version else None), version

    def _change(
        self, change: Callable[[signing_keys.SigningKeys], signing_keys.SigningKeys]
    ) -> None:
        """Write a change of what is kept, again on top of somebody else's if need be."""
        for attempt in range(1, ATTEMPTS + 1):
            kept, version = self._read()
            text = signing_keys.to_json(change(kept))
            try:
                return self.secrets.replace(self.name, text, version)
            except SecretConflictError:
                if attempt == ATTEMPTS:
                    raise
        raise AssertionError
