"""The one place that knows which real parts make rotate_keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from functions.rotate_keys.key_generation import NewKey, generate_rsa_key
from functions.rotate_keys.key_store import KeyStore
from functions.rotate_keys.rotator import Rotator

if TYPE_CHECKING:
    from collections.abc import Callable

    from functions.rotate_keys.settings import Settings
    from functions.shared.clock import Clock
    from functions.shared.secret_store import SecretStore


def build(
    settings: Settings,
    *,
    clock: Clock,
    secrets: SecretStore,
    generate: Callable[[], NewKey] = generate_rsa_key,
) -> Rotator:
    """Compose the function."""
    keys = KeyStore(secrets, settings.key_ring_secret, settings.signing_keys_secret)
    return Rotator(keys, clock, generate)
