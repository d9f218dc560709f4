"""Where the private halves of the ring's keys are made, kept and deleted."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor
from typing import TYPE_CHECKING, Final, Protocol

from functions.rotate_keys.key_generation import generate_key
from functions.shared.keys import signing_keys
from functions.shared.runtime.secret_store import retrying_conflicts

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from functions.rotate_keys.key_generation import NewKey
    from functions.shared.keys.key_ring import RingKey
    from functions.shared.runtime.secret_store import SecretVersion, VersionedSecretStore

ORPHAN_SECONDS: Final = 3600
"""A private half that no ring names is left alone so long: its ring may be about to be written."""


class PrivateHalves(Protocol):
    """Makes keys, and deletes what is needed no more."""

    def create(self, alg: str, now: float) -> NewKey:
        """Make a key. Its private half is kept when this returns."""

    def tidy(self, needed: Collection[RingKey], now: float) -> int:
        """Delete private halves that are not needed and not new; return how many."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """What the signing keys secret holds: private keys in PEM and when each was made, by key id."""

    private_keys: Mapping[str, str]
    made_at: Mapping[str, int]

    def add(self, key: NewKey, now: float) -> _Kept:
        return _Kept(
            {**self.private_keys, key.kid: key.private_pem},
            {**self.made_at, key.kid: floor(now)},
        )

    def without(self, kids: Collection[str]) -> _Kept:
        return _Kept(
            {kid: pem for kid, pem in self.private_keys.items() if kid not in kids},
            {kid: time for kid, time in self.made_at.items() if kid not in kids},
        )

    def idle(self, needed: Collection[str], now: float) -> set[str]:
        return {
            kid
            for kid in self.private_keys
            if kid not in needed and now - self.made_at.get(kid, 0) >= ORPHAN_SECONDS
        }


@dataclass(frozen=True, slots=True)
class StoredHalves:
    """Private halves in the signing keys secret, by key id."""

    secrets: VersionedSecretStore
    name: str
    generate: Callable[[str], NewKey] = generate_key

    def create(self, alg: str, now: float) -> NewKey:
        """Make a key. Its private half is kept when this returns."""
        key = self.generate(alg)
        self._change(lambda kept: kept.add(key, now))
        return key

    def tidy(self, needed: Collection[RingKey], now: float) -> int:
        """Delete private halves that are not needed and not new; return how many."""
        kids = {key.kid for key in needed}
        idle = self._read()[0].idle(kids, now)
        if idle:
            self._change(lambda kept: kept.without(idle))
        return len(idle)

    def _read(self) -> tuple[_Kept, SecretVersion | None]:
        version = self.secrets.read_version(self.name)
        text = version.text if version else None
        return _Kept(signing_keys.from_json(text), signing_keys.times_from_json(text)), version

    def _change(self, change: Callable[[_Kept], _Kept]) -> None:
        """Write a change of what is kept, again on top of somebody else's if need be.

        Raises:
            SecretConflictError: somebody else was faster every time.
        """

        def write() -> None:
            kept, version = self._read()
            changed = change(kept)
            text = signing_keys.to_json(changed.private_keys, changed.made_at)
            self.secrets.replace(self.name, text, version)

        retrying_conflicts(write)
