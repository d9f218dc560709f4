"""The one place that knows which real parts make rotate_keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from functions.rotate_keys.key_generation import NewKey, generate_key
from functions.rotate_keys.private_halves import PrivateHalves, StoredHalves
from functions.rotate_keys.ring_store import RingStore
from functions.rotate_keys.rotator import Rotator
from functions.shared.keys.key_ring import IN_KMS, IN_SECRETS_MANAGER

if TYPE_CHECKING:
    from collections.abc import Callable

    from functions.rotate_keys.settings import Settings
    from functions.shared.runtime.clock import Clock
    from functions.shared.runtime.secret_store import VersionedSecretStore


def build(
    settings: Settings,
    *,
    clock: Clock,
    secrets: VersionedSecretStore,
    kms_halves: PrivateHalves | None = None,
    generate: Callable[[str], NewKey] = generate_key,
) -> Rotator:
    """Compose the function. Without `kms_halves` no key in KMS is made, and none is deleted.

    Raises:
        UnsafeRotationError: with these settings good tokens would be refused.
    """
    halves: dict[str, PrivateHalves] = {
        IN_SECRETS_MANAGER: StoredHalves(secrets, settings.signing_keys_secret, generate)
    }
    if kms_halves is not None:
        halves[IN_KMS] = kms_halves
    return Rotator(
        store=RingStore(secrets, settings.key_ring_secret),
        halves=halves,
        edition=settings.key_edition,
        algorithms=settings.signing_algorithms(),
        rules=settings.rules(),
        clock=clock,
    )
