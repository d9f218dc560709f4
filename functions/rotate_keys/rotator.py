"""One run of rotate_keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from functions.rotate_keys.rotation import first_ring

if TYPE_CHECKING:
    from collections.abc import Callable

    from functions.rotate_keys.key_generation import NewKey
    from functions.rotate_keys.key_store import KeyStore
    from functions.shared.clock import Clock


@dataclass(frozen=True, slots=True)
class Rotator:
    """Looks at the ring and does what is due."""

    keys: KeyStore
    clock: Clock
    generate: Callable[[], NewKey]

    def run(self) -> dict[str, object]:
        """Make the first ring if there is none; answer with the new key's id, if any."""
        if self.keys.ring() is not None:
            return {"created": None}
        key = self.generate()
        self.keys.add(key, first_ring(key, self.clock()))
        return {"created": key.kid}
